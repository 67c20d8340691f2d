# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the status page asks Prometheus: a closed list of queries, by name. Pure.

Nothing that a client sends gets into a query: the app and the host of `about` are labels that Prometheus itself, or the
role, has told before. The API: prometheus.io/docs/prometheus/latest/querying/api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from . import slo

DAYS = 90
"""For how many days the bars go back."""
HOURS = 24
STEP_SECONDS = 300
"""The charts: how far they go back, and how far apart their points are."""

APPS = "group by (app, host) (app:state:now or selfheal_healthy)"
"""Which apps there are, on which hosts. The one query without an app."""

_FRONT = '%(app)s,proxy="selfheal-%(name)s"'
_ON_DISK = "{%(host)s}"

# One value each, or a few with labels.
NOW: dict[str, str] = {
    "state": "max(app:state:now{%(app)s})",
    "healthy": "max(selfheal_healthy{%(app)s})",
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
    "drift_checked": "max(selfheal_drift_last_check_timestamp_seconds{%(app)s})",
    "drift_found": "max(selfheal_drift_found{%(app)s})",
    "pool_active": "sum(pgbouncer_pools_server_active_connections{%(host)s})",
    "pool_idle": "sum(pgbouncer_pools_server_idle_connections{%(host)s})",
    "pool_waiting": "sum(pgbouncer_pools_client_waiting_connections{%(host)s})",
    "pool_query": (
        "sum(rate(pgbouncer_stats_queries_duration_seconds_total{%(host)s}[5m]))"
        " / sum(rate(pgbouncer_stats_queries_pooled_total{%(host)s}[5m]))"
    ),
    "database_up": "min(pg_up{%(host)s})",
    "database_active": 'sum(pg_stat_activity_count{%(host)s,state="active"})',
    "database_used": "sum(pg_stat_activity_count{%(host)s})",
    "database_limit": "max(pg_settings_max_connections{%(host)s})",
    "database_longest": "max(pg_stat_activity_max_tx_duration{%(host)s})",
    "cache_memory": "max(redis_memory_used_bytes{%(host)s} / (redis_memory_max_bytes{%(host)s} > 0))",
    "cache_hits": (
        "sum(rate(redis_keyspace_hits_total{%(host)s}[5m]))"
        " / (sum(rate(redis_keyspace_hits_total{%(host)s}[5m])) + sum(rate(redis_keyspace_misses_total{%(host)s}[5m])))"
    ),
}

# A minute is 1 (up), 0.5 (degraded) or 0 (down). Count, mean and variance tell how many there are of each, in a
# hundredth of the time that it takes to count them one by one, as `slo.day_queries` does.
BY_DAY: dict[str, str] = {
    "count": "max(count_over_time(app:state:now{%(app)s}[1d]))",
    "mean": "max(avg_over_time(app:state:now{%(app)s}[1d]))",
    "variance": "max(stdvar_over_time(app:state:now{%(app)s}[1d]))",
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


class AnswerError(Exception):
    """Prometheus says something else than its API has it."""


def expression(template: str, about: Mapping[str, str]) -> str:
    """Return the PromQL for the app and the host of `about`."""
    app, host = _label("app", about["app"]), _label("host", about["host"])
    return template % {"app": f"{app},{host}", "host": host, "name": _quoted(about["app"])}


def _quoted(text: str) -> str:
    """The inside of a PromQL string, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _label(name: str, value: str) -> str:
    return f'{name}="{_quoted(value)}"'


def instant(promql: str, now: float) -> str:
    """Return the path that asks for a value at a moment (epoch s)."""
    return "/api/v1/query?" + urlencode({"query": promql, "time": f"{now:.3f}"})


def by_day(promql: str, now: float) -> str:
    """Return the path that asks at the end of each of the last days; that of today is still to come."""
    return _range(promql, first_day(now) + slo.DAY, first_day(now) + DAYS * slo.DAY, slo.DAY)


def first_day(now: float) -> float:
    """Return when the first of the days that end today begins, in epoch s."""
    return now - now % slo.DAY - (DAYS - 1) * slo.DAY


def by_step(promql: str, now: float) -> str:
    """Return the path that asks for the line of a chart."""
    end = now - now % STEP_SECONDS
    return _range(promql, end - HOURS * 3600, end, STEP_SECONDS)


def _range(promql: str, start: float, end: float, step: int) -> str:
    asked = {"query": promql, "start": f"{start:.0f}", "end": f"{end:.0f}", "step": str(step)}
    return "/api/v1/query_range?" + urlencode(asked)


def samples(answer: Any) -> Samples:
    """Read what `instant` brought: [(labels, value)], without what is no number. Raises AnswerError."""
    try:
        found = [(dict(one["metric"]), float(one["value"][1])) for one in _result(answer)]
    except (KeyError, TypeError, ValueError, IndexError):
        raise AnswerError("Prometheus answers in another shape than its API") from None
    return [(labels, value) for labels, value in found if _is_number(value)]


def line(answer: Any) -> Line:
    """Read the first series of what `by_step` or `by_day` brought: [(epoch s, value)]. Raises AnswerError."""
    try:
        result = _result(answer)
        found = [(float(at), float(value)) for at, value in result[0]["values"]] if result else []
    except (KeyError, TypeError, ValueError, IndexError):
        raise AnswerError("Prometheus answers in another shape than its API") from None
    return [(at, value) for at, value in found if _is_number(value)]


def minutes(days: Mapping[str, Line]) -> dict[str, dict[int, float]]:
    """Return, as `slo.bars` takes it, how many minutes of each day were so, from what BY_DAY brought."""
    found: dict[str, dict[int, float]] = {state: {} for state in slo.STATES}
    means, variances = dict(days.get("mean", [])), dict(days.get("variance", []))
    for at, count in days.get("count", []):
        mean, variance = means.get(at), variances.get(at)
        if mean is None or variance is None:
            continue
        # up + degraded / 2 is the mean, up + degraded / 4 the mean of the squares.
        degraded = 4 * (mean - mean * mean - variance)
        up = mean - degraded / 2
        for state, share in (("up", up), ("degraded", degraded), ("down", 1 - up - degraded)):
            found[state][round(at) - slo.DAY] = round(max(0.0, share) * count)
    return found


def _result(answer: Any) -> Any:
    if answer["status"] != "success":
        raise AnswerError(f"Prometheus refuses a query: {answer.get('error', 'without a reason')}")
    return answer["data"]["result"]


def _is_number(value: float) -> bool:
    return value == value and abs(value) != float("inf")
