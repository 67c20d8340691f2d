# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The logs of the containers of a release that failed: the last lines for the message, all of them in a file."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..core.files import atomic_write
from ..core.redact import redact
from ..docker.containers import Container
from ..probe.run import CheckResult

SHOWN_LINES, LINE_LENGTH = 15, 300
# A traceback that is longer than this is shown as often as it is there.
_LONGEST_BLOCK = 100
# Of a log that never ends, the last so many lines are kept.
KEPT_LINES = 20_000
KEPT_FILES = 10
_ERROR = re.compile(
    r"\b(error|fatal|exception|panic|denied|refused|failed|failure)\b(?! *[=:] *(0|null|none|false)\b)", re.IGNORECASE
)


class Log(NamedTuple):
    """The log of one container, not redacted. `because_of`: the service at fault that it depends on, "" for none."""

    container: str
    text: str
    because_of: str = ""


def failed(instances: Sequence[Container], results: Sequence[CheckResult]) -> list[str]:
    """Return the ids of the containers whose logs may say why a release failed.

    Those that ended, restart or are unhealthy; without any, those that the failing checks asked.
    """
    bad = [item["id"] for item in instances if _is_bad(item)]
    if bad:
        return bad
    ports = {item.get("port") for item in results if not item["ok"]}
    return [item["id"] for item in instances if ports & set(item["ports"])]


def _is_bad(item: Container) -> bool:
    if item["state"] in ("exited", "dead"):
        return not item["job_done"]
    return item["state"] == "restarting" or bool(item["restarts"]) or item["health"] == "unhealthy"


def keep(folder: str, stamp: str, logs: Sequence[Log], secrets: Mapping[str, str]) -> str:
    """Write each log into `folder`, and return what to say of them: their last lines, and where the rest is."""
    shown = []
    for log in logs:
        text = redact(log.text, secrets).rstrip("\n")
        if not text:
            shown.append(f"{log.container} has logged nothing.")
            continue
        path = os.path.join(folder, f"{stamp}-{log.container}.log")
        where = f"all of it: {path}" if _write(path, text) else f"{path} cannot be written"
        if log.because_of:
            shown.append(f"{log.container} depends on {log.because_of} ({where}).")
            continue
        lines, repeated = _once(text.splitlines())
        last = [f"    {line[:LINE_LENGTH]}" for line in _shown(lines)]
        shown.append("\n".join([f"The last lines that {log.container} logged ({where}{repeated}):", *last]))
    _prune(folder)
    return "\n".join(shown)


def _once(lines: Sequence[str]) -> tuple[Sequence[str], str]:
    """The lines without what they repeat at their end, apart from its times; and what to say of that."""
    texts = [line.partition(" ")[2] for line in lines]
    repeats = {size: _repeats(texts, size) for size in range(1, min(_LONGEST_BLOCK, len(lines) // 2) + 1)}
    size = max(repeats, key=lambda one: (repeats[one] - 1) * one, default=0)
    count = repeats.get(size, 1)
    if count == 1:
        return lines, ""
    what = "the last line" if size == 1 else f"the last {size} lines"
    return [*lines[: -size * count], *lines[-size:]], f"; {what} {count} times"


def _repeats(texts: Sequence[str], size: int) -> int:
    """How many times the last block of this size is at the end."""
    block, count = texts[-size:], 1
    while len(texts) >= size * (count + 1) and texts[-size * (count + 1) : -size * count] == block:
        count += 1
    return count


def _shown(lines: Sequence[str]) -> list[str]:
    """The last lines. Where the last error is above them, before its own details, that line as well."""
    above, last = lines[:-SHOWN_LINES], list(lines[-SHOWN_LINES:])
    error = next((line for line in reversed(above) if _ERROR.search(line)), "")
    is_repeated = any(line.partition(" ")[2] == error.partition(" ")[2] for line in last)
    return last if not error or is_repeated else [error, "…", *last[2:]]


def _write(path: str, text: str) -> bool:
    """Write a log; a full disk must not keep the message from saying why the release failed."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic_write(path, (text + "\n").encode())
    except OSError:
        return False
    return True


def _prune(folder: str) -> None:
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder))[:-KEPT_FILES]:
            os.unlink(os.path.join(folder, name))
