# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done about each drift: the policy is read, and each finding decided. Pure."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

ACTIONS = ("report", "correct", "ignore")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OFTEN = 3
"""So often the same drift is corrected; when it is there again after that, a person has to look."""

ROLES = (
    "docker_engine",
    "log_rotation",
    "load_balancer",
    "alerting",
    "watcher",
    "backup",
    "monitoring",
    "slo",
    "status_page",
    "compose_app",
    "app_env",
)
"""What can correct, and in which order: the env last, and the app with it only where the app itself has drifted."""

_KEYS = ("role", "object", "host", "severity", "do", "until", "because")


class PolicyError(Exception):
    """The policy is written wrongly; the message names the entry, the key and the fix."""


class Window(NamedTuple):
    """When corrections may be made: days (of DAYS) and minutes of the day; over midnight when `begin` > `end`."""

    days: tuple[str, ...]
    begin: int
    end: int


def read_policy(given: Sequence[Any]) -> list[dict[str, str]]:
    """Check a policy and give it its defaults. Raises PolicyError."""
    return [_entry(f"drift_policy[{number}]", one) for number, one in enumerate(given)]


def _entry(where: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise PolicyError(f"{where}: is no table. Fix: write {{role: log_rotation, do: correct}}")
    unknown = sorted(set(map(str, given)) - set(_KEYS))
    if unknown:
        raise PolicyError(f"{where}.{unknown[0]}: is not known. Fix: use {', '.join(_KEYS)}")
    entry = {key: str(given[key]).strip() for key in _KEYS if given.get(key) not in (None, "")}
    action = entry.get("do", "")
    if action not in ACTIONS:
        raise PolicyError(
            f"{where}.do: {action or 'nothing'!r} is no way to treat drift. Fix: write {', '.join(ACTIONS)}"
        )
    if not {"role", "object", "host", "severity"} & set(entry):
        raise PolicyError(f"{where}: says not what it is about. Fix: give role or object, '*' for all")
    if action == "ignore":
        for key, example in (("until", "2027-01-31"), ("because", '"why it is meant, and who decided"')):
            if key not in entry:
                raise PolicyError(f"{where}.{key}: is missing, and nothing is ignored without. Fix: {key}: {example}")
        try:
            # Newer Pythons read other ways to write a date, too, and the controller's may be newer than the host's.
            if datetime.date.fromisoformat(entry["until"]).isoformat() != entry["until"]:
                raise ValueError(entry["until"])
        except ValueError:
            raise PolicyError(f"{where}.until: {entry['until']!r} is no date. Fix: write 2027-01-31") from None
    elif "until" in entry:
        raise PolicyError(f"{where}.until: belongs to `do: ignore`. Fix: take it away, or write do: ignore")
    return {"role": "*", "object": "*", "host": "*", "severity": "*", "until": "", "because": "", **entry}


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
                f'drift_windows[{number}]: {text!r} is no window. Fix: write "Sat,Sun 02:00-05:00" or "02:00-05:00"'
            )
        found.append(Window(days, times[0] * 60 + times[1], times[2] * 60 + times[3]))
    return found


def is_open(windows: Iterable[Window], weekday: int, minute: int) -> bool:
    """Whether corrections may be made at that minute; without windows always."""
    known = list(windows)

    def within(one: Window) -> bool:
        if one.begin <= one.end:
            return DAYS[weekday] in one.days and one.begin <= minute < one.end
        # What began the evening before goes on after midnight.
        today, before = DAYS[weekday], DAYS[(weekday - 1) % 7]
        return (today in one.days and minute >= one.begin) or (before in one.days and minute < one.end)

    return not known or any(within(one) for one in known)


def held(host: Mapping[str, Any], whole: bool, in_window: bool) -> str:
    """Why nothing may be corrected on a host now; "" when it may.

    :arg host: what it says of itself.
    :arg whole: whether all of it was compared.
    :arg in_window: whether its windows are open.
    """
    if not whole:
        return "not all of the host could be compared"
    if host["incident"]:
        return f"incident {host['incident']} is open"
    if host["busy"]:
        return "a deploy or a recovery goes on"
    return "" if in_window else "outside the windows of drift_windows"


def decide(
    findings: Iterable[dict[str, Any]],
    policies: Mapping[str, Sequence[Mapping[str, str]]],
    holds: Mapping[str, str],
    corrected: Mapping[str, int],
    today: datetime.date,
    released: Mapping[str, str],
) -> None:
    """Write `decision` and `because` into each finding: ignored, pending, report, correct, waits or escalate.

    The first entry of a host's policy that fits counts; without one a drift is reported. What is pending was not
    changed by hand, and is not for a correction: a change of the inventory is rolled out by whoever made it.

    :arg holds: by host, why nothing may be corrected there now, as `held` says.
    :arg corrected: how often each finding, by id, was to be corrected lately.
    :arg released: by host, the release that runs there since somebody else has deployed, or rolled back. What is meant
        here may be what was before, a secret that was changed since among it.
    """
    known = list(findings)
    for one in known:
        entry = next((entry for entry in policies.get(one["host"], ()) if _fits(entry, one, today)), None)
        one["decision"], one["because"] = _decision(one, entry, holds.get(one["host"], ""), corrected.get(one["id"], 0))
        release = released.get(one["host"]) if of_the_app(one) else None
        if release and one["decision"] in ("report", "correct"):
            one["decision"] = "report"
            one["because"] = (
                f"a deploy or a rollback from elsewhere has brought release {release}: is the inventory here older?"
            )
    for one in known:
        if one["decision"] == "correct":
            # A role is run as a whole.
            spared = next((other for other in known if _undone_along(one, other)), None)
            if spared is not None:
                one["decision"] = "report"
                one["because"] = f"{one['role']} would also change {spared['object']}, which is not to be corrected"


def of_the_app(one: Mapping[str, Any]) -> bool:
    """Whether a finding is about what a deploy brings."""
    return one["role"] in ("app_env", "compose_app") and one["what"] not in BY_HAND


def _decision(one: Mapping[str, Any], entry: Mapping[str, str] | None, hold: str, often: int) -> tuple[str, str]:
    """What is to be done about one finding by itself, and why."""
    if entry is not None and entry["do"] == "ignore":
        return "ignored", f"until {entry['until']}: {entry['because']}"
    if one["pending"]:
        return (
            "pending",
            "nobody has changed it: the playbooks say another thing than at the check before. Run site.yml",
        )
    if entry is None or entry["do"] == "report":
        return "report", entry["because"] if entry else ""
    if one["role"] not in ROLES or one["what"] in BY_HAND:
        return "report", "no role corrects this: it is for a person"
    if often >= OFTEN:
        return "escalate", f"corrected {often} times, and there again: find out who changes it, or why it does not last"
    return ("waits", hold) if hold else ("correct", entry["because"])


def _undone_along(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether correcting one finding would undo another that is to stay. A deploy takes the env with it."""
    roles = (one["role"], "app_env") if one["role"] == "compose_app" else (one["role"],)
    stays = other["decision"] in ("ignored", "pending", "report", "escalate") and other["what"] not in BY_HAND
    return bool(stays and other["host"] == one["host"] and other["role"] in roles)


BY_HAND = (
    "added",
    "container",
    "cpus",
    "memory",
    "memory_reservation",
    "pids",
    "privileged",
    "ports",
    "restart",
    "tag",
)
"""What a role's run leaves as it is: it deletes nothing that it did not bring, and a deploy compares files only."""


def _fits(entry: Mapping[str, str], one: Mapping[str, Any], today: datetime.date) -> bool:
    if entry["until"] and datetime.date.fromisoformat(entry["until"]) < today:
        return False
    return all(fnmatch.fnmatchcase(str(one[key]), entry[key]) for key in ("role", "object", "host", "severity"))


def plan(findings: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By host, in the order of their names: the roles to run, in the order in which they are run."""
    wanted: dict[str, set[str]] = {}
    for one in findings:
        if one["decision"] == "correct":
            wanted.setdefault(one["host"], set()).add(one["role"])
    return {host: [role for role in ROLES if role in wanted[host]] for host in sorted(wanted)}


def runs(roles: Sequence[str]) -> list[list[str]]:
    """The runs that correct these roles: those that hold the env, and with it the app, come last and by themselves."""
    last = [role for role in roles if role in ("app_env", "compose_app")]
    first = [role for role in roles if role not in last]
    return [one for one in (first, last) if one]


def builds(findings: Iterable[Mapping[str, Any]], host: str) -> bool:
    """Whether correcting the app may build its image anew: putting the compose files back must not restart it."""
    mine = [one for one in findings if one["host"] == host and one["role"] == "compose_app"]
    wanted = [one for one in mine if one["decision"] == "correct"]
    files = ("compose.yaml", "compose.hardened.yaml")
    return any(one["object"] not in files for one in wanted) or any(one["what"] == "tag" for one in mine)
