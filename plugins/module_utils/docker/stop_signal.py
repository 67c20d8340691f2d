# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which containers do not handle the stop signal: the engine kills them after their grace period."""

from __future__ import annotations

from collections.abc import Iterable

from . import containers as docker_containers
from .containers import Document

_TERM = 15


def stop_seconds(document: Document) -> float:
    """How long the engine waits for a container that does not handle SIGTERM; 0.0 for one that does."""
    one = docker_containers.instance(document, 0.0)
    seconds = document["Config"].get("StopTimeout")
    grace = 10.0 if seconds is None else float(seconds)
    is_deaf = one["state"] == "running" and one["pid"] > 0 and not _handles_stop(one["pid"])
    return grace if is_deaf else 0.0


def said(stops: Iterable[tuple[str, float]]) -> str:
    """Which services do not handle SIGTERM, by their (service, seconds); "" when all do."""
    deaf = sorted({(service, seconds) for service, seconds in stops if seconds})
    if not deaf:
        return ""
    listed = ", ".join(f"{service} ({taken:g} s)" for service, taken in deaf)
    if len(deaf) == 1:
        return f"{listed} does not handle SIGTERM, and is killed after its stop_grace_period"
    return f"{listed} do not handle SIGTERM, and are killed after their stop_grace_period"


def _handles_stop(pid: int) -> bool:
    """Whether a process handles SIGTERM. The first one of a container ignores it otherwise, and is killed.

    One that waits for it, as Docker's init does (`init: true`), has it blocked.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            lines = dict(line.split(":", 1) for line in stream if ":" in line)
        return any(int(lines[name], 16) >> (_TERM - 1) & 1 for name in ("SigCgt", "SigBlk"))
    except (OSError, KeyError, ValueError):
        return True
