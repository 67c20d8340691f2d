# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The policy: what is to be done about which drift, and when corrections may be made. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

ACTIONS = ("report", "correct", "ignore")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_KEYS = ("role", "object", "host", "severity", "do", "until", "because")


class PolicyError(Exception):
    """The policy is invalid; the message names the entry, the key and the fix."""


class PolicyEntry(TypedDict):
    """One entry: `do` is of ACTIONS; `role`, `object`, `host` and `severity` are patterns; `until` is a date or ""."""

    role: str
    object: str
    host: str
    severity: str
    do: str
    until: str
    because: str


class Window(NamedTuple):
    """When corrections may be made: days (of DAYS) and minutes of the day; past midnight when `begin` > `end`."""

    days: tuple[str, ...]
    begin: int
    end: int


def read_policy(given: Sequence[Any]) -> list[PolicyEntry]:
    """Validate a policy and fill in its defaults. Raises PolicyError."""
    return [_entry(f"drift_policy[{number}]", one) for number, one in enumerate(given)]


def _entry(where: str, given: Any) -> PolicyEntry:
    if not isinstance(given, Mapping):
        raise PolicyError(f"{where}: is not a mapping. Fix: write e.g. {{role: log_rotation, do: correct}}")
    unknown = sorted(set(map(str, given)) - set(_KEYS))
    if unknown:
        raise PolicyError(f"{where}.{unknown[0]}: unknown key. Fix: use {', '.join(_KEYS)}")
    entry = {key: str(given[key]).strip() for key in _KEYS if given.get(key) not in (None, "")}
    action = entry.get("do", "")
    if action not in ACTIONS:
        problem = f"invalid value {action!r}" if action else "is missing"
        raise PolicyError(f"{where}.do: {problem}. Fix: use {', '.join(ACTIONS)}")
    if not {"role", "object", "host", "severity"} & set(entry):
        raise PolicyError(f"{where}: no pattern. Fix: add role or object, '*' for all")
    if action == "ignore":
        for key, example in (("until", "2027-01-31"), ("because", '"the reason, and who decided"')):
            if key not in entry:
                raise PolicyError(f"{where}.{key}: is missing, and `do: ignore` needs it. Fix: add {key}: {example}")
        try:
            # Newer Pythons accept other forms of a date, and the controller's may be newer than the host's.
            if datetime.date.fromisoformat(entry["until"]).isoformat() != entry["until"]:
                raise ValueError(entry["until"])
        except ValueError:
            raise PolicyError(f"{where}.until: invalid date {entry['until']!r}. Fix: write e.g. 2027-01-31") from None
    elif "until" in entry:
        raise PolicyError(f"{where}.until: is only for `do: ignore`. Fix: remove it, or write do: ignore")
    return PolicyEntry(
        role=entry.get("role", "*"),
        object=entry.get("object", "*"),
        host=entry.get("host", "*"),
        severity=entry.get("severity", "*"),
        do=action,
        until=entry.get("until", ""),
        because=entry.get("because", ""),
    )


def read_windows(given: Sequence[Any]) -> list[Window]:
    """Read `Sat,Sun 02:00-05:00` or `02:00-05:00`. Raises PolicyError."""
    found = []
    for number, text in enumerate(given):
        parts = re.fullmatch(r"(?:([A-Za-z,]+) +)?(\d\d):(\d\d)-(\d\d):(\d\d)", str(text).strip())
        days = tuple(parts[1].split(",")) if parts and parts[1] else DAYS
        times = [int(parts[part]) for part in (2, 3, 4, 5)] if parts else []
        known = bool(parts) and not set(days) - set(DAYS)
        if not known or max(times[0], times[2]) > 23 or max(times[1], times[3]) > 59 or times[:2] == times[2:]:
            raise PolicyError(
                f'drift_windows[{number}]: invalid window {text!r}. Fix: write "Sat,Sun 02:00-05:00" or "02:00-05:00"'
            )
        found.append(Window(days, times[0] * 60 + times[1], times[2] * 60 + times[3]))
    return found


def is_open(windows: Iterable[Window], weekday: int, minute: int) -> bool:
    """Whether corrections may be made at that minute; always when there are no windows."""
    known = list(windows)

    def within(one: Window) -> bool:
        if one.begin <= one.end:
            return DAYS[weekday] in one.days and one.begin <= minute < one.end
        # A window of the evening before goes on after midnight.
        today, before = DAYS[weekday], DAYS[(weekday - 1) % 7]
        return (today in one.days and minute >= one.begin) or (before in one.days and minute < one.end)

    return not known or any(within(one) for one in known)
