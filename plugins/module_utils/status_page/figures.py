# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures of the status page, from what Prometheus, the incidents and the releases say. Pure: no clock, no I/O.

A figure that is not known is None, and the page says so: nothing known does not mean that all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypedDict

from ..records.incidents import IncidentRecord
from ..releases.store import Release
from ..reporting import slo_queries
from ..reporting.slo_queries import Bar
from . import queries as page_queries
from .queries import BY_STEP, DAYS, About, Line, Samples

UP, DEGRADED, DOWN, UNKNOWN, PAUSED = "up", "degraded", "down", "unknown", "paused"

THRESHOLDS: dict[str, float] = {
    "memory_percent": 80,
    "cpu_percent": 70,
    "error_percent": 5,
    "response_ms": 2000,
    "slo_percent": 99.9,
}
"""Those of the role monitoring that the page shows, with its defaults."""
DISK_PERCENT = 90
"""No alert goes by it (that one looks ahead); the bar needs a limit."""

SHOWN = 8
"""How many incidents are shown."""
MONTH_DAYS = 30
SPANS = (7, MONTH_DAYS, DAYS)
"""For how many days there is an uptime, as far as they were measured."""
# A watcher that has not looked for so long does not say how it is now.
_SILENT_SECONDS = 90.0

Answers = Mapping[str, Samples]
Minutes = Mapping[str, Mapping[int, float]]


class ShownApp(About, total=False):
    """The app that is shown; `thresholds` are those of its host that are not the defaults."""

    thresholds: Mapping[str, float]


class StateNow(TypedDict):
    """How the app is.

    `open` is the incident that goes on, `since` when it was first seen (epoch s). `silent`: for how many seconds the
    watcher has not looked; None when it has.
    """

    state: str
    open: IncidentRecord | None
    since: float | None
    breaker: bool
    paused: bool
    silent: float | None


class Slo(TypedDict):
    """The goal, and what is left of the error budget, as shares.

    `burn`, by window: how many times as fast as allowed the budget is used.
    """

    goal: float
    left: float | None
    burn: dict[str, float | None]


class AppNow(TypedDict):
    """Seconds until the app answers, requests a minute, the share that fails, connections, instances that serve."""

    response: float | None
    requests: float | None
    errors: float | None
    connections: float | None
    serving: float | None


class HostNow(TypedDict):
    """What of the host is in use, in shares. The disk is the fullest one."""

    memory: float | None
    cpu: float | None
    disk: float | None
    mountpoint: str


class InstanceNow(TypedDict):
    """A container; `started` is epoch seconds, memory and CPU are shares of its limits."""

    container: str
    service: str
    running: bool
    started: float | None
    memory: float | None
    cpu: float | None


class FiringAlert(TypedDict):
    """An alert that fires, since then (epoch s), and which of several things it is about."""

    name: str
    severity: str
    since: float | None
    about: str


class Month(TypedDict):
    """The incidents of the last 30 days; `unattended` is the share that ended without a person."""

    count: int
    ended: int
    mean_seconds: float | None
    unattended: float | None


class NewestRelease(TypedDict, total=False):
    """The newest release; empty when none is known."""

    id: str
    time: str
    by: str


class BackupTimes(TypedDict):
    """When the last backup was made, and one was verified last (epoch s)."""

    at: float | None
    verified: float | None


class DriftNow(TypedDict):
    """When the host was compared last (epoch s), and how many drifts were found."""

    at: float | None
    found: float | None


class Figures(About, StateNow):
    """All that the page shows.

    `answered`: whether Prometheus answers. `uptime` is by span ("day", a number of days, "all"). `window` is how many
    seconds the charts go back. `certificate` is when it ends (epoch s).
    """

    now: float
    answered: bool
    thresholds: dict[str, float]
    days: list[Bar]
    measured_since: float | None
    uptime: dict[str, float | None]
    window: int
    slo: Slo
    app_now: AppNow
    host_now: HostNow
    instances: list[InstanceNow]
    database: dict[str, float]
    charts: dict[str, Line]
    alerts: list[FiringAlert]
    incidents: list[IncidentRecord]
    month: Month
    release: NewestRelease
    certificate: float | None
    backup: BackupTimes
    drift: DriftNow


def build(
    about: ShownApp,
    answers: Answers,
    lines: Mapping[str, Line],
    minutes: Minutes,
    incidents: Iterable[IncidentRecord],
    releases: Sequence[Release],
    now: float,
) -> Figures:
    """Put the figures together.

    :arg answers: what NOW of the queries brought, by name; one that is missing was not answered.
    :arg lines: the same of BY_STEP, for the charts.
    :arg minutes: by state, how many minutes of each day were so.
    :arg incidents: records, newest first; they may hold anything.
    :arg releases: the records of releases, oldest first.
    """
    thresholds = {**THRESHOLDS, **about.get("thresholds", {})}
    since = measured_since(answers, minutes, now)
    days = slo_queries.bars(page_queries.first_day(now), DAYS, minutes, now)[-_day_count(since, now) :]
    known = [one for one in incidents if is_incident(one)]
    return {
        "app": about["app"],
        "host": about["host"],
        "now": now,
        "answered": bool(answers),
        "thresholds": thresholds,
        **_state(answers, known, now),
        "days": days,
        "measured_since": since,
        "uptime": _uptime(answers, days, since, now),
        "window": window(answers, minutes, now),
        "slo": _slo(answers, thresholds),
        "app_now": {
            "response": value(answers, "response"),
            "requests": value(answers, "requests"),
            "errors": value(answers, "errors"),
            "connections": value(answers, "connections"),
            "serving": value(answers, "serving"),
        },
        "host_now": _host(answers),
        "instances": _instances(answers),
        "database": _database(answers),
        "charts": {name: lines.get(name, []) for name in BY_STEP},
        "alerts": _alerts(answers),
        "incidents": known[:SHOWN],
        "month": month(known, now),
        "release": _release(releases),
        "certificate": value(answers, "certificate"),
        "backup": {"at": value(answers, "backup"), "verified": value(answers, "backup_verified")},
        "drift": {"at": value(answers, "drift_checked"), "found": value(answers, "drift_found")},
    }


def value(answers: Answers, name: str) -> float | None:
    """The one value of an answer; None without one."""
    found = answers.get(name) or []
    return found[0][1] if found else None


def measured_since(answers: Answers, minutes: Minutes, now: float) -> float | None:
    """When the app was measured first: to the minute within the last 24 hours, else the day. None when not known."""
    day = min((at for counts in minutes.values() for at, count in counts.items() if count), default=None)
    first = value(answers, "first")
    if first is None or first < now - slo_queries.DAY + 2 * slo_queries.MINUTE:
        # It goes back as far as it was asked for.
        return day
    return day if day is not None and day < first - first % slo_queries.DAY else first


def window(answers: Answers, minutes: Minutes, now: float) -> int:
    """How many seconds the charts go back."""
    since = measured_since(answers, minutes, now)
    return page_queries.window(slo_queries.DAY if since is None else now - since)


def _day_count(since: float | None, now: float) -> int:
    """How many days, today included, there is something to show of."""
    today = now - now % slo_queries.DAY
    return 1 if since is None else min(DAYS, 1 + round((today - (since - since % slo_queries.DAY)) / slo_queries.DAY))


def _uptime(answers: Answers, days: Sequence[Bar], since: float | None, now: float) -> dict[str, float | None]:
    """The uptime of the last 24 hours ("day"), of so many days, and of "all" where that is less than what could be."""
    found: dict[str, float | None] = {}
    if since is not None and now - since >= slo_queries.DAY:
        found["day"] = value(answers, "uptime_day")
    whole = [count for count in SPANS if count < len(days) or count == len(days) == DAYS]
    found.update({str(count): slo_queries.uptime(days[-count:]) for count in whole})
    return found if len(days) == DAYS else {**found, "all": slo_queries.uptime(days)}


def is_incident(one: Mapping[str, object]) -> bool:
    """Whether a record is whole enough to be shown and counted: a file may hold anything."""
    texts = [one.get(key) for key in ("id", "cause", "seen")]
    if not all(isinstance(text, str) for text in texts) or parse(one["seen"]) is None:
        return False
    evidence, remedies = one.get("evidence"), one.get("remedies")
    if not isinstance(one.get("seconds"), (int, float)) or not isinstance(one.get("services", []), list):
        return False
    if not isinstance(evidence, list) or not isinstance(remedies, list):
        return False
    are_remedies = all(isinstance(item, dict) and {"name", "done"} <= set(item) for item in remedies)
    return are_remedies and all(isinstance(item, str) for item in evidence)


def parse(text: object) -> float | None:
    """ISO 8601 as epoch seconds; None for anything else."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


# --- how it is -------------------------------------------------------------------------------------------------------


def _state(answers: Answers, incidents: Sequence[IncidentRecord], now: float) -> StateNow:
    """How the app is. What the watcher says of now goes before what was recorded of the last minute."""
    breaker, paused = (bool(value(answers, name)) for name in ("breaker", "paused"))
    recorded, healthy, seen = (value(answers, name) for name in ("state", "healthy", "seen"))
    looked = seen is not None and now - seen <= _SILENT_SECONDS
    causes = [labels.get("cause", "") for labels, _unused in answers.get("incident") or []]
    cause = causes[0] if causes and looked else ""
    # A record is written some seconds before Prometheus hears of it. One that could not be ended is over all the same.
    over = bool(looked and healthy and not cause)
    unended = [one for one in incidents[:1] if not one.get("healthy") and not over]
    # Of an app on another host only Prometheus knows, and no more than the cause.
    measured: list[IncidentRecord] = []
    if cause:
        measured.append({"cause": cause, "meaning": "", "evidence": [], "escalated": breaker, "next_step": ""})
    return {
        "state": _judged(recorded, healthy if looked else None, cause, paused and looked),
        "open": next(iter([*unended, *measured]), None),
        "since": parse(unended[0]["seen"]) if unended else None,
        "breaker": breaker and looked,
        "paused": paused and looked,
        "silent": None if looked or seen is None else now - seen,
    }


def _judged(recorded: float | None, healthy: float | None, cause: str, paused: bool) -> str:
    """How the app is, by what was recorded of the last minute, and by what the watcher says of now (None: nothing)."""
    state = _as_recorded(recorded)
    if healthy == 0:
        state = DOWN
    elif healthy and state in (UNKNOWN, DOWN):
        state = UP
    if state == UP and cause:
        state = DEGRADED
    return PAUSED if paused and state in (UP, UNKNOWN) else state


def _as_recorded(recorded: float | None) -> str:
    if recorded is None:
        return UNKNOWN
    if recorded > 0.75:
        return UP
    return DEGRADED if recorded > 0.25 else DOWN


def _slo(answers: Answers, thresholds: Mapping[str, float]) -> Slo:
    budget = (100 - thresholds["slo_percent"]) / 100
    failed = {window: value(answers, f"failed_{window}") for window in ("1h", "6h", "3d")}
    return {
        "goal": thresholds["slo_percent"] / 100,
        "left": value(answers, "budget_left"),
        "burn": {window: None if share is None else share / budget for window, share in failed.items()},
    }


def _host(answers: Answers) -> HostNow:
    disks = sorted((share, labels.get("mountpoint", "")) for labels, share in answers.get("host_disk") or [])
    return {
        "memory": value(answers, "host_memory"),
        "cpu": value(answers, "host_cpu"),
        "disk": disks[-1][0] if disks else None,
        "mountpoint": disks[-1][1] if disks else "",
    }


def _instances(answers: Answers) -> list[InstanceNow]:
    """All containers, by name."""

    def by_container(name: str) -> dict[str, float]:
        return {labels.get("container", ""): number for labels, number in answers.get(name) or []}

    started, memory, cpu = (by_container(name) for name in ("started", "container_memory", "container_cpu"))
    found: list[InstanceNow] = [
        {
            "container": labels.get("container", ""),
            "service": labels.get("service", ""),
            "running": bool(number),
            "started": started.get(labels.get("container", "")),
            "memory": memory.get(labels.get("container", "")),
            "cpu": cpu.get(labels.get("container", "")),
        }
        for labels, number in answers.get("running") or []
    ]
    return sorted(found, key=lambda one: (one["service"], len(one["container"]), one["container"]))


DATABASE = (
    *("database_up", "database_active", "database_used", "database_limit", "database_longest"),
    *("pool_active", "pool_idle", "pool_waiting", "pool_query", "cache_memory", "cache_hits"),
)


def _database(answers: Answers) -> dict[str, float]:
    """What is known of database, pool and cache; empty without an exporter."""
    found = {name: value(answers, name) for name in DATABASE}
    return {name: number for name, number in found.items() if number is not None}


# Labels that say which of several an alert is about.
_ABOUT = ("container", "mountpoint", "check")


def _alerts(answers: Answers) -> list[FiringAlert]:
    """What fires, what is critical first."""

    def key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
        return frozenset(pair for pair in labels.items() if pair[0] not in ("__name__", "alertstate"))

    since = {key(labels): number for labels, number in answers.get("alerts_since") or []}
    found: dict[str, FiringAlert] = {}
    for labels, _unused in answers.get("alerts") or []:
        name = labels.get("alertname", "")
        keys = (*_ABOUT, "job") if name == "TargetDown" else _ABOUT
        about = next((labels[key] for key in keys if labels.get(key)), "")
        found[f"{name} {about}"] = {
            "name": name,
            "severity": labels.get("severity", ""),
            "since": since.get(key(labels)),
            "about": about,
        }
    return sorted(found.values(), key=lambda one: (one["severity"] != "critical", one["name"], one["about"]))


# --- what happened ---------------------------------------------------------------------------------------------------


def month(incidents: Iterable[IncidentRecord], now: float) -> Month:
    """The incidents of the last 30 days; a figure is None without one."""
    recent = [one for one in incidents if (parse(one["seen"]) or 0.0) > now - MONTH_DAYS * 86400]
    ended = [one for one in recent if one.get("healthy")]
    alone = [one for one in ended if slo_queries.unattended(one)]
    return {
        "count": len(recent),
        "ended": len(ended),
        "mean_seconds": sum(float(one["seconds"]) for one in ended) / len(ended) if ended else None,
        "unattended": len(alone) / len(ended) if ended else None,
    }


def _release(releases: Sequence[Release]) -> NewestRelease:
    if not releases:
        return {}
    newest = releases[-1]
    return {"id": str(newest.get("id", "")), "time": str(newest.get("time", "")), "by": str(newest.get("by", ""))}
