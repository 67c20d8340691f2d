# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done about each finding, by the policy of its host, and which roles correct it. Pure."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from .findings import Finding
from .host_facts import Activity
from .policy import PolicyEntry

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


def held(host: Activity, whole: bool, in_window: bool) -> str:
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
    findings: Iterable[Finding],
    policies: Mapping[str, Sequence[PolicyEntry]],
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


def of_the_app(one: Finding) -> bool:
    """Whether a finding is about what a deploy brings."""
    return one["role"] in ("app_env", "compose_app") and one["what"] not in BY_HAND


def _decision(one: Finding, entry: PolicyEntry | None, hold: str, often: int) -> tuple[str, str]:
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


def _undone_along(one: Finding, other: Finding) -> bool:
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


def plan(findings: Iterable[Finding]) -> dict[str, list[str]]:
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


def builds(findings: Iterable[Finding], host: str) -> bool:
    """Whether correcting the app may build its image anew: putting the compose files back must not restart it."""
    mine = [one for one in findings if one["host"] == host and one["role"] == "compose_app"]
    wanted = [one for one in mine if one["decision"] == "correct"]
    files = ("compose.yaml", "compose.hardened.yaml")
    return any(one["object"] not in files for one in wanted) or any(one["what"] == "tag" for one in mine)
