# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which containers do not handle the stop signal: the engine kills them after their grace period."""

from __future__ import annotations

from collections.abc import Iterable

from . import containers as docker_containers
from .containers import Document

_TERM = 15
# No process can ignore it, or block it.
_KILL = ("SIGKILL", "KILL", "9")
# What `init: true` starts, and what images have of their own.
_INITS = ("docker-init", "tini")


def stop_seconds(document: Document, proc: str = "/proc") -> float:
    """How long the engine waits for a container that does not handle SIGTERM; 0.0 for one that does."""
    one = docker_containers.instance(document, 0.0)
    if one["state"] != "running" or one["pid"] <= 0:
        return 0.0
    if str(document["Config"].get("StopSignal") or "").upper() in _KILL:
        return 0.0
    if _ends(one["pid"], bool(document["HostConfig"].get("Init")), proc):
        return 0.0
    seconds = document["Config"].get("StopTimeout")
    return 10.0 if seconds is None else float(seconds)


def said(stops: Iterable[tuple[str, float]]) -> str:
    """Which services do not handle SIGTERM, by their (service, seconds); "" when all do."""
    deaf = sorted({(service, seconds) for service, seconds in stops if seconds})
    if not deaf:
        return ""
    listed = ", ".join(f"{service} ({taken:g} s)" for service, taken in deaf)
    if len(deaf) == 1:
        return f"{listed} does not handle SIGTERM, and is killed after its stop_grace_period"
    return f"{listed} do not handle SIGTERM, and are killed after their stop_grace_period"


def _ends(pid: int, init: bool, proc: str) -> bool:
    """Whether SIGTERM ends a container whose first process this is; also where that is not known.

    An init forwards it to the process that it started. Its own masks say nothing: while it waits for a signal, the
    kernel takes that out of the blocked ones.
    """
    try:
        first = _status(pid, proc)
        if not init and first["Name"].strip() not in _INITS:
            # The kernel gives the first process of a namespace no signal that it has no handler for. One that waits for
            # it in another way, as by signalfd, has it blocked.
            return _holds(first, "SigCgt") or _holds(first, "SigBlk")
        child = _child(pid, proc)
        if child is None:
            return True
        # The default action ends every other process. One that has it blocked may wait for it, as by signalfd.
        return not _holds(_status(child, proc), "SigIgn")
    except (OSError, KeyError, ValueError):
        return True


def _status(pid: int, proc: str) -> dict[str, str]:
    with open(f"{proc}/{pid}/status", encoding="ascii", errors="replace") as stream:
        return dict(line.split(":", 1) for line in stream if ":" in line)


def _holds(status: dict[str, str], mask: str) -> bool:
    return bool(int(status[mask], 16) >> (_TERM - 1) & 1)


def _child(pid: int, proc: str) -> int | None:
    """The process that an init started; None when it has ended. Orphans that the init adopts come after it."""
    with open(f"{proc}/{pid}/task/{pid}/children", encoding="ascii") as stream:
        children = stream.read().split()
    return int(children[0]) if children else None
