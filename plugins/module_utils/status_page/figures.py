# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures of the status page, from what Prometheus, the incidents and the releases say. Pure: no clock, no I/O.

A figure that nobody has told is None, and the page says so: that nothing is known is not that all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..reporting import slo_queries
from . import queries as page_queries
from .queries import BY_STEP, DAYS, Line, Samples

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
"""No alert goes by it (that one looks ahead); the bar needs a mark."""

SHOWN = 8
"""How many incidents are shown."""
MONTH_DAYS = 30
SPANS = (7, MONTH_DAYS, DAYS)
"""For how many days there is an uptime, as far as they were measured."""
# A watcher that has not looked for so long does not say how it is now.
_SILENT_SECONDS = 90.0

Answers = Mapping[str, Samples]
Minutes = Mapping[str, Mapping[int, float]]


def build(
    about: Mapping[str, Any],
    answers: Answers,
    lines: Mapping[str, Line],
    minutes: Minutes,
    incidents: Iterable[Mapping[str, Any]],
    releases: Sequence[Mapping[str, Any]],
    now: float,
) -> dict[str, Any]:
    """Put the figures together.

    :arg about: {app, host, thresholds}.
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
    found: dict[str, Any] = {
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
        "app_now": {key: value(answers, key) for key in ("response", "requests", "errors", "connections", "serving")},
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
    return found


def value(answers: Answers, name: str) -> float | None:
    """The one value of an answer; None when there is none."""
    found = answers.get(name) or []
    return found[0][1] if found else None


def measured_since(answers: Answers, minutes: Minutes, now: float) -> float | None:
    """When somebody looked first: to the minute within the last 24 hours, else the day. None when it is not known."""
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


def _uptime(
    answers: Answers, days: Sequence[Mapping[str, Any]], since: float | None, now: float
) -> dict[str, float | None]:
    """The uptime of the last 24 hours ("day"), of so many days, and of "all" where that is less than what could be."""
    found: dict[str, float | None] = {}
    if since is not None and now - since >= slo_queries.DAY:
        found["day"] = value(answers, "uptime_day")
    whole = [count for count in SPANS if count < len(days) or count == len(days) == DAYS]
    found.update({str(count): slo_queries.uptime(days[-count:]) for count in whole})
    return found if len(days) == DAYS else {**found, "all": slo_queries.uptime(days)}


def is_incident(one: Mapping[str, Any]) -> bool:
    """Whether a record is whole enough to be shown and counted."""
    kinds: dict[str, Any] = {
        "id": str,
        "cause": str,
        "seen": str,
        "seconds": (int, float),
        "evidence": list,
        "remedies": list,
    }
    if not all(isinstance(one.get(key), kind) for key, kind in kinds.items()) or parse(one["seen"]) is None:
        return False
    if not isinstance(one.get("services", []), list):
        return False
    remedies = all(isinstance(item, dict) and {"name", "done"} <= set(item) for item in one["remedies"])
    return remedies and all(isinstance(item, str) for item in one["evidence"])


def parse(text: Any) -> float | None:
    """ISO 8601 as epoch seconds; None for anything else."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


# --- how it is -------------------------------------------------------------------------------------------------------


def _state(answers: Answers, incidents: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """{state, open, since, …}. What the watcher says of now goes before what was recorded of the last minute."""
    breaker, paused = (bool(value(answers, name)) for name in ("breaker", "paused"))
    recorded, healthy, seen = (value(answers, name) for name in ("state", "healthy", "seen"))
    looked = seen is not None and now - seen <= _SILENT_SECONDS
    causes = [labels.get("cause", "") for labels, _ in answers.get("incident") or []]
    cause = causes[0] if causes and looked else ""
    # A record is written some seconds before Prometheus hears of it. One that could not be ended is over all the same.
    over = bool(looked and healthy and not cause)
    unended = [one for one in incidents[:1] if not one.get("healthy") and not over]
    # Of an app on another host Prometheus alone tells, and knows no more than the cause.
    told = [{"cause": cause, "meaning": "", "evidence": [], "escalated": breaker, "next_step": ""}] if cause else []
    return {
        "state": _judged(recorded, healthy if looked else None, cause, paused and looked),
        "open": next(iter([*unended, *told]), None),
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


def _slo(answers: Answers, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """{goal, left, burn: {window: how many times as fast as it may the budget is used}}."""
    budget = (100 - thresholds["slo_percent"]) / 100
    failed = {window: value(answers, f"failed_{window}") for window in ("1h", "6h", "3d")}
    return {
        "goal": thresholds["slo_percent"] / 100,
        "left": value(answers, "budget_left"),
        "burn": {window: None if share is None else share / budget for window, share in failed.items()},
    }


def _host(answers: Answers) -> dict[str, Any]:
    """{memory, cpu, disk (the fullest), mountpoint}, in shares."""
    disks = sorted((share, labels.get("mountpoint", "")) for labels, share in answers.get("host_disk") or [])
    return {
        "memory": value(answers, "host_memory"),
        "cpu": value(answers, "host_cpu"),
        "disk": disks[-1][0] if disks else None,
        "mountpoint": disks[-1][1] if disks else "",
    }


def _instances(answers: Answers) -> list[dict[str, Any]]:
    """All containers: [{container, service, running, started, memory, cpu}] by name."""

    def by_container(name: str) -> dict[str, float]:
        return {labels.get("container", ""): number for labels, number in answers.get(name) or []}

    started, memory, cpu = (by_container(name) for name in ("started", "container_memory", "container_cpu"))
    found = [
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
    """What is known of database, pool and cache; empty where no exporter tells."""
    found = {name: value(answers, name) for name in DATABASE}
    return {name: number for name, number in found.items() if number is not None}


# Labels that say which of several an alert is about.
_ABOUT = ("container", "mountpoint", "check")


def _alerts(answers: Answers) -> list[dict[str, Any]]:
    """What fires: [{name, severity, since, about}], what is critical first."""

    def key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
        return frozenset(pair for pair in labels.items() if pair[0] not in ("__name__", "alertstate"))

    since = {key(labels): number for labels, number in answers.get("alerts_since") or []}
    found: dict[str, dict[str, Any]] = {}
    for labels, _ in answers.get("alerts") or []:
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


def month(incidents: Iterable[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """The incidents of the last 30 days: {count, ended, mean_seconds, unattended: a share}; None for nothing."""
    recent = [one for one in incidents if (parse(one["seen"]) or 0.0) > now - MONTH_DAYS * 86400]
    ended = [one for one in recent if one.get("healthy")]
    alone = [one for one in ended if slo_queries.unattended(one)]
    return {
        "count": len(recent),
        "ended": len(ended),
        "mean_seconds": sum(float(one["seconds"]) for one in ended) / len(ended) if ended else None,
        "unattended": len(alone) / len(ended) if ended else None,
    }


def _release(releases: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The newest release: {id, at, by}; empty when none is known."""
    if not releases:
        return {}
    newest = releases[-1]
    return {"id": str(newest.get("id", "")), "time": str(newest.get("time", "")), "by": str(newest.get("by", ""))}
