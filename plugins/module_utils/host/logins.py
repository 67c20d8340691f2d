# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who was logged in on this host, and when: the sessions over ssh, from the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TypedDict

from . import command as commands

NEWEST = 2000
"""How many of the newest lines of the journal about sessions are read."""

Login = TypedDict("Login", {"user": str, "from": str, "begun": float, "ended": float})
"""A session over ssh (epoch s); `ended` is 0 for one that goes on. `from` is an address, and a keyword of Python."""

_ACCEPTED = re.compile(r"^Accepted \S+ for (\S+) from (\S+) ")


def read(seconds: float) -> list[Login]:
    """The newest sessions over ssh; [] when the journal does not answer in so many seconds."""
    argv = ("journalctl", "--quiet", "--output=json", "--output-fields=MESSAGE,_PID", f"--lines={NEWEST}")
    asked = commands.run([*argv, "SYSLOG_IDENTIFIER=sshd", "SYSLOG_IDENTIFIER=sshd-session"], seconds)
    return [] if asked.code else parse(asked.out.splitlines())


def parse(lines: Sequence[str]) -> list[Login]:
    """The sessions of what journalctl prints as JSON, a line each."""
    found: list[Login] = []
    by_pid: dict[str, Login] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            message, at = str(entry["MESSAGE"]), int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError):
            continue
        accepted = _ACCEPTED.match(message)
        if accepted:
            by_pid[entry.get("_PID", "")] = {"user": accepted[1], "from": accepted[2], "begun": at, "ended": 0.0}
            found.append(by_pid[entry.get("_PID", "")])
        elif "session closed" in message and entry.get("_PID") in by_pid:
            by_pid[entry["_PID"]]["ended"] = at
    return found


def logged_in(logins: Iterable[Login], moment: float) -> list[str]:
    """The sessions at that moment, as `user from ADDRESS`."""
    if not moment:
        return []
    there = [one for one in logins if one["begun"] <= moment and (not one["ended"] or moment <= one["ended"] + 1.0)]
    return sorted({f"{one['user']} from {one['from']}" for one in there})
