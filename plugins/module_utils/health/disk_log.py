# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a log says of a disk that has no room left. Pure."""

from __future__ import annotations

import re
from datetime import datetime

# The texts of ENOSPC and EDQUOT (errno(3)), and their names, as Node.js and Go write them.
_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded|\bENOSPC\b|\bEDQUOT\b", re.IGNORECASE)
# ENOSPC, too, and no disk: the limits of inotify(7), and a segment of shared memory.
_NO_DISK = re.compile(r"inotify|watche|shared memory", re.IGNORECASE)
_BEFORE_ITS_END = 60.0
_LONGEST_LINE = 200


def no_room(log: str, ended: str) -> str:
    """Return the last line of a container's log that says so, without its time; "" for none.

    :arg log: lines that begin with their time, as the engine gives them, oldest first.
    :arg ended: when the container ended (RFC 3339, UTC); a line of more than a minute before that does not count.
    """
    end = _moment(ended)
    for line in reversed(log.splitlines()):
        at, _unused, text = line.partition(" ")
        moment = _moment(at)
        if end is None or moment is None or (end - moment).total_seconds() > _BEFORE_ITS_END:
            continue
        if _NO_ROOM.search(text) and not _NO_DISK.search(text):
            return text.strip()[:_LONGEST_LINE]
    return ""


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text[:19])
    except ValueError:
        return None
