# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the kernel's log says of containers that were killed at their memory limit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from . import command as commands

# A kill is reported with the incident that it caused, not with the next one.
RECENT_SECONDS = 60.0
# A container ends, for the engine, a moment after the kernel killed it, on a busy host some seconds. An end later than
# this had another reason.
_END_SECONDS = 5.0

# mm/oom_kill.c and mm/memcontrol.c of the kernel: first what the group used, then which process was killed for it.
_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\] (.*)$")
_USAGE = re.compile(r"memory: usage (\d+)kB, limit (\d+)kB")
_KILL = re.compile(r"oom-kill:.*oom_memcg=\S*?([0-9a-f]{64})(?:\.scope)?,.*task=([^,]+),pid=(\d+)")


def read(timeout: float = 1.0) -> str:
    """Return the kernel's log, "" where it may not be read."""
    asked = commands.run(["dmesg", "--kernel", "--nopager"], timeout)
    return asked.out if asked.code == 0 else ""


class Limited(NamedTuple):
    """A container with its memory limit (0 for none), and how many seconds ago it ended last; None for never."""

    id: str
    name: str
    limit_bytes: int
    ended_seconds: float | None


class OomKill(TypedDict):
    """A process of a container that the kernel killed; `seconds` ago. The peak is what was in use, 0 when not said."""

    container: str
    limit_bytes: int
    peak_bytes: int
    seconds: float
    line: str


def oom_kills(text: str, containers: Sequence[Limited], uptime: float) -> list[OomKill]:
    """Return the newest kill of each of these containers within the last minute, unless it ended again since then.

    :arg text: the kernel's log, as dmesg prints it.
    :arg uptime: seconds since boot, by the clock of the log.
    """
    by_id = {item.id: item for item in containers}
    found: dict[str, OomKill] = {}
    usage, limit = 0, 0
    for line in text.splitlines():
        stamped = _STAMP.match(line)
        if stamped is None:
            continue
        used = _USAGE.search(stamped.group(2))
        if used:
            usage, limit = int(used.group(1)) * 1024, int(used.group(2)) * 1024
        kill = _KILL.search(stamped.group(2))
        if kill is None:
            continue
        ago = uptime - float(stamped.group(1))
        # In a nested engine the path has the outer container's id, too; the innermost is ours.
        ours = [one for one in re.findall(r"[0-9a-f]{64}", stamped.group(2)) if one in by_id]
        if ours and _is_recent(by_id[ours[-1]], ago):
            item = by_id[ours[-1]]
            found[item.name] = {
                "container": item.name,
                "limit_bytes": limit or item.limit_bytes,
                "peak_bytes": usage,
                "seconds": round(ago, 3),
                "line": f"killed {kill.group(2)} (pid {kill.group(3)}): used {usage >> 10} KiB of {limit >> 10} KiB",
            }
        usage, limit = 0, 0
    return list(found.values())


def _is_recent(item: Limited, ago: float) -> bool:
    """Whether a kill is of the last minute, and the container has not ended again since."""
    if ago > RECENT_SECONDS:
        return False
    return item.ended_seconds is None or item.ended_seconds + _END_SECONDS >= ago
