# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the status page asks Prometheus: a closed list of queries, by name. Pure.

Nothing that a client sends gets into a query: the app and the host of `about` are labels that Prometheus itself, or the
role, has named before. The API: prometheus.io/docs/prometheus/latest/querying/api.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypedDict
from urllib.parse import urlencode

from ..reporting import slo_queries

DAYS = 90
"""For how many days the bars go back."""
WINDOWS = (600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, slo_queries.DAY)
"""How far the charts may go back, in seconds. They have the shortest that all of what was measured fits in."""
_POINTS = 288
# Rules are evaluated every ten seconds.
_SHORTEST_STEP = 15

APPS = "group by (app, host) (app:state:now or app:healthy:now)"
"""Which apps there are, on which hosts. The one query without an app."""

_FRONT = '%(app)s,proxy="selfheal-%(name)s"'
_ON_DISK = "{%(host)s}"

# One value each, or a few with labels.
NOW: dict[str, str] = {
    "state": "max(app:state:now{%(app)s})",
    # When it was looked at first, and the uptime, of the last 24 hours: the days are whole ones.
    "first": "min(min_over_time(timestamp(app:state:now{%(app)s})[1d:1m]))",
    "uptime_day": "min(1 - avg_over_time((app:state:now{%(app)s} == bool 0)[1d:1m]))",
    # A watcher from before this metric was there has a metric of incidents alone.
    "healthy": "max(selfheal_users_served{%(app)s} or selfheal_healthy{%(app)s})",
    "incident": "selfheal_incident_open{%(app)s} == 1",
    "paused": "max(selfheal_paused{%(app)s})",
    "breaker": "max(selfheal_breaker_open{%(app)s})",
    "seen": "max(selfheal_watcher_turn_timestamp_seconds{%(app)s})",
    "budget_left": "max(app:error_budget:left{%(app)s})",
    "failed_1h": "max(app:errors:ratio1h{%(app)s})",
    "failed_6h": "max(app:errors:ratio6h{%(app)s})",
    "failed_3d": "max(app:errors:ratio3d{%(app)s})",
    "errors": "max(app:errors:ratio1m{%(app)s})",
    "response": "max(app:response_seconds:avg5m{%(app)s})",
    "requests": "60 * sum(app:requests:rate1m{%(app)s})",
    "connections": f"sum(haproxy_frontend_current_sessions{{{_FRONT}}})",
    "serving": f'sum(haproxy_server_status{{{_FRONT},server=~"slot[0-9]+",state="UP"}})',
    "running": "max by (service, container) (selfheal_container_running{%(app)s})",
    "started": "max by (service, container) (selfheal_container_start_timestamp_seconds{%(app)s})",
    "container_memory": "max by (container) (container:memory:ratio{%(app)s})",
    "container_cpu": "max by (container) (container:cpu:ratio{%(app)s})",
    "host_memory": "max(host:memory:ratio{%(host)s})",
    "host_cpu": "max(host:cpu:ratio{%(host)s})",
    "host_disk": (
        f"max by (mountpoint) (1 - node_filesystem_avail_bytes{_ON_DISK} / node_filesystem_size_bytes{_ON_DISK})"
    ),
    "alerts": 'ALERTS{%(app)s,alertstate="firing"} or ALERTS{%(host)s,scope="host",alertstate="firing"}',
    "alerts_since": 'ALERTS_FOR_STATE{%(app)s} or ALERTS_FOR_STATE{%(host)s,scope="host"}',
    "certificate": "min(probe_ssl_earliest_cert_expiry{%(app)s})",
    "backup": "max(selfheal_backup_last_success_timestamp_seconds{%(app)s})",
    "backup_verified": "max(selfheal_backup_last_verified_timestamp_seconds{%(app)s})",
    # A host that compares others names each as its target.
    "drift_checked": (
        "max(selfheal_drift_last_check_timestamp_seconds{%(target)s}"
        ' or selfheal_drift_last_check_timestamp_seconds{%(app)s,target=""})'
    ),
    "drift_found": (
        'sum(max by (severity) (selfheal_drift_found{%(target)s,severity!="cosmetic"}'
        ' or selfheal_drift_found{%(app)s,target="",severity!="cosmetic"}))'
    ),
    "pool_active": "sum(pgbouncer_pools_server_active_connections{%(app)s})",
    "pool_idle": "sum(pgbouncer_pools_server_idle_connections{%(app)s})",
    "pool_waiting": "sum(pgbouncer_pools_client_waiting_connections{%(app)s})",
    "pool_query": (
        "sum(rate(pgbouncer_stats_queries_duration_seconds_total{%(app)s}[5m]))"
        " / sum(rate(pgbouncer_stats_queries_pooled_total{%(app)s}[5m]))"
    ),
    "database_up": "min(pg_up{%(app)s})",
    "database_active": 'sum(pg_stat_activity_count{%(app)s,state="active"})',
    "database_used": "sum(pg_stat_activity_count{%(app)s})",
    "database_limit": "max(pg_settings_max_connections{%(app)s})",
    "database_longest": "max(pg_stat_activity_max_tx_duration{%(app)s})",
    "cache_memory": "max(redis_memory_used_bytes{%(app)s} / (redis_memory_max_bytes{%(app)s} > 0))",
    "cache_hits": (
        "sum(rate(redis_keyspace_hits_total{%(app)s}[5m]))"
        " / (sum(rate(redis_keyspace_hits_total{%(app)s}[5m])) + sum(rate(redis_keyspace_misses_total{%(app)s}[5m])))"
    ),
}

# The charts.
BY_STEP: dict[str, str] = {
    "response": "max(app:response_seconds:avg5m{%(app)s})",
    "requests": "60 * sum(avg_over_time(app:requests:rate1m{%(app)s}[5m]))",
    "errors": "max(avg_over_time(app:errors:ratio1m{%(app)s}[5m]))",
    "connections": f"sum(avg_over_time(haproxy_frontend_current_sessions{{{_FRONT}}}[5m]))",
    "host_memory": "max(avg_over_time(host:memory:ratio{%(host)s}[5m]))",
    "host_cpu": "max(avg_over_time(host:cpu:ratio{%(host)s}[5m]))",
    "container_memory": "max(avg_over_time(container:memory:ratio{%(app)s}[5m]))",
    "container_cpu": "max(avg_over_time(container:cpu:ratio{%(app)s}[5m]))",
}

Samples = list[tuple[dict[str, str], float]]
Line = list[tuple[float, float]]


class About(TypedDict):
    """The app that is asked about, and its host."""

    app: str
    host: str


class AnswerError(Exception):
    """Prometheus says something else than its API has it."""


def expression(template: str, about: About) -> str:
    """Return the PromQL for the app and the host of `about`."""
    app, host = _label("app", about["app"]), _label("host", about["host"])
    target = f"{app},{_label('target', about['host'])}"
    return template % {"app": f"{app},{host}", "host": host, "name": _quoted(about["app"]), "target": target}


def _quoted(text: str) -> str:
    """The inside of a PromQL string, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _label(name: str, value: str) -> str:
    return f'{name}="{_quoted(value)}"'


def instant(promql: str, now: float) -> str:
    """Return the path that asks for a value at a moment (epoch s)."""
    return "/api/v1/query?" + urlencode({"query": promql, "time": f"{now:.3f}"})


def by_day(about: About, now: float) -> dict[str, str]:
    """Return the paths that ask how each of the last days was, by the names that `minutes` knows."""
    labels = f"{_label('app', about['app'])},{_label('host', about['host'])}"
    return {name: f"/api/v1/{path}" for name, path in slo_queries.day_paths(labels, first_day(now), DAYS).items()}


def first_day(now: float) -> float:
    """Return when the first of the days that end today begins, in epoch s."""
    return now - now % slo_queries.DAY - (DAYS - 1) * slo_queries.DAY


def window(age: float) -> int:
    """Return how many seconds the charts go back when something has been measured for so many."""
    return next((one for one in WINDOWS if one >= age), WINDOWS[-1])


def by_step(promql: str, now: float, seconds: int = slo_queries.DAY) -> str:
    """Return the path that asks for the line of a chart that goes back so far."""
    step = max(_SHORTEST_STEP, seconds // _POINTS)
    end = now - now % step
    asked = {"query": promql, "start": f"{end - seconds:.0f}", "end": f"{end:.0f}", "step": str(step)}
    return "/api/v1/query_range?" + urlencode(asked)


def samples(answer: Any) -> Samples:
    """Read what `instant` brought: [(labels, value)], without what is not a number. Raises AnswerError."""
    try:
        found = [(dict(one["metric"]), float(one["value"][1])) for one in _result(answer)]
    except (KeyError, TypeError, ValueError, IndexError):
        raise AnswerError("Prometheus answers in another shape than its API") from None
    return [(labels, value) for labels, value in found if _is_number(value)]


def line(answer: Any) -> Line:
    """Read the first series of what `by_step` brought: [(epoch s, value)]. Raises AnswerError."""
    try:
        result = _result(answer)
        found = [(float(at), float(value)) for at, value in result[0]["values"]] if result else []
    except (KeyError, TypeError, ValueError, IndexError):
        raise AnswerError("Prometheus answers in another shape than its API") from None
    return [(at, value) for at, value in found if _is_number(value)]


def counted(answer: Any) -> dict[int, float]:
    """Read what a path of `by_day` brought, by the midnight at which the day began. Raises AnswerError."""
    try:
        _result(answer)
        return slo_queries.counted(answer["data"])
    except (KeyError, TypeError, ValueError, IndexError):
        raise AnswerError("Prometheus answers in another shape than its API") from None


def minutes(by_name: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Return, as `slo.bars` takes it, how many minutes of each day were so; {} when not all of it was answered."""
    try:
        return slo_queries.minutes(by_name)
    except KeyError:
        return {}


def _result(answer: Any) -> Any:
    if answer["status"] != "success":
        raise AnswerError(f"Prometheus refuses a query: {answer.get('error', 'without a reason')}")
    return answer["data"]["result"]


def _is_number(value: float) -> bool:
    return math.isfinite(value)
