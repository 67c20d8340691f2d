# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide by the policy what is done about each finding, and which roles correct it. Pure."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from .findings import Finding
from .host_facts import Activity
from .policy import PolicyEntry

OFTEN = 3
"""How often the same drift is corrected before it is left to a person."""

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
"""The roles that correct drift, in their order: the env last, and the app with it only where it has drifted itself."""


def held(host: Activity, whole: bool, in_window: bool) -> str:
    """Why nothing may be corrected on a host now; "" when it may.

    :arg whole: whether all of the host was compared.
    :arg in_window: whether one of its windows is open.
    """
    if not whole:
        return "not all of the host could be compared"
    if host["incident"]:
        return f"incident {host['incident']} is open"
    if host["busy"]:
        return "a deploy or a recovery is running"
    return "" if in_window else "outside the windows of drift_windows"


def decide(
    findings: Iterable[Finding],
    policies: Mapping[str, Sequence[PolicyEntry]],
    holds: Mapping[str, str],
    corrected: Mapping[str, int],
    today: datetime.date,
    released: Mapping[str, str],
) -> None:
    """Set `decision` and `because` of each finding: ignored, pending, report, correct, waits or escalate.

    The first entry of a host's policy that matches counts; without one a drift is reported. A pending one was not
    changed by hand, and is not corrected: the person who changed the inventory rolls the change out.

    :arg holds: by host, why nothing may be corrected there now, see `held`.
    :arg corrected: how often a correction of each finding, by id, was tried lately.
    :arg released: by host, the release that runs there since a deploy or rollback from elsewhere. The desired state
        here may be older, with older secrets.
    """
    known = list(findings)
    for one in known:
        entry = next((entry for entry in policies.get(one["host"], ()) if _fits(entry, one, today)), None)
        one["decision"], one["because"] = _decision(one, entry, holds.get(one["host"], ""), corrected.get(one["id"], 0))
        release = released.get(one["host"]) if of_the_app(one) else None
        if release and one["decision"] in ("report", "correct"):
            one["decision"] = "report"
            one["because"] = (
                f"release {release} was deployed, or rolled back to, from elsewhere: is the inventory here older?"
            )
    for one in known:
        if one["decision"] == "correct":
            # A role runs as a whole.
            kept = next((other for other in known if _undone_along(one, other)), None)
            if kept is not None:
                one["decision"] = "report"
                one["because"] = f"{one['role']} would also change {kept['object']}, which must not be corrected"


def without_policy(findings: Iterable[Finding], policies: Mapping[str, Sequence[PolicyEntry]]) -> list[str]:
    """Why a correction that was asked for corrects nothing on a host: its policy lets it correct nothing."""
    drifted = dict.fromkeys(one["host"] for one in findings if one["decision"] == "report")
    said = []
    for host in drifted:
        policy = policies.get(host, ())
        if not any(entry["do"] == "correct" for entry in policy):
            why = "drift_policy has no entry with `do: correct`" if policy else "drift_policy is not set"
            fix = 'write e.g. drift_policy: [{role: "*", do: correct}] into the inventory (docs/guides/drift.md)'
            said.append(f"{host}: nothing was corrected: {why}. Fix: {fix}")
    return said


def of_the_app(one: Finding) -> bool:
    """Whether a finding is about something that a deploy changes."""
    return one["role"] in ("app_env", "compose_app") and one["what"] not in BY_HAND


def _decision(one: Finding, entry: PolicyEntry | None, hold: str, often: int) -> tuple[str, str]:
    """The decision about one finding by itself, and why."""
    if entry is not None and entry["do"] == "ignore":
        return "ignored", f"until {entry['until']}: {entry['because']}"
    if one["pending"]:
        return (
            "pending",
            "it was not changed by hand: the desired state is another one than at the last check. Run site.yml",
        )
    if entry is None or entry["do"] == "report":
        return "report", entry["because"] if entry else ""
    if one["role"] not in ROLES or one["what"] in BY_HAND:
        return "report", "no role corrects this: a person has to"
    if often >= OFTEN:
        return (
            "escalate",
            f"corrected {often} times, and back again: find out who changes it, or why the correction does not last",
        )
    return ("waits", hold) if hold else ("correct", entry["because"])


def _undone_along(one: Finding, other: Finding) -> bool:
    """Whether correcting one finding would also change another that must stay. A deploy writes the env, too."""
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
"""What no role corrects: a role deletes only its own files, and a deploy compares files."""


def _fits(entry: PolicyEntry, one: Finding, today: datetime.date) -> bool:
    if entry["until"] and datetime.date.fromisoformat(entry["until"]) < today:
        return False
    pairs = (
        (one["role"], entry["role"]),
        (one["object"], entry["object"]),
        (one["host"], entry["host"]),
        (one["severity"], entry["severity"]),
    )
    return all(fnmatch.fnmatchcase(value, pattern) for value, pattern in pairs)


def roles_by_host(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """The roles that correct the findings, in their order, by host in the order of the names."""
    wanted: dict[str, set[str]] = {}
    for one in findings:
        if one["decision"] == "correct":
            wanted.setdefault(one["host"], set()).add(one["role"])
    return {host: [role for role in ROLES if role in wanted[host]] for host in sorted(wanted)}


def split_runs(roles: Sequence[str]) -> list[list[str]]:
    """Split the roles into runs: those of the env and the app come last, in a run of their own."""
    last = [role for role in roles if role in ("app_env", "compose_app")]
    first = [role for role in roles if role not in last]
    return [one for one in (first, last) if one]


def may_build(findings: Iterable[Finding], host: str) -> bool:
    """Whether correcting the app may rebuild its image: restoring the compose files must not restart it."""
    mine = [one for one in findings if one["host"] == host and one["role"] == "compose_app"]
    wanted = [one for one in mine if one["decision"] == "correct"]
    files = ("compose.yaml", "compose.hardened.yaml")
    return any(one["object"] not in files for one in wanted) or any(one["what"] == "tag" for one in mine)
