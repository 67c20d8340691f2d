# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""promtool's cases for the rules of cache, pool and database, in the format of the scenario `monitoring`."""

from __future__ import annotations

from monitoring.tests.rule_cases import Case

OF = 'app="christmas-backend",host="molecule-monitoring-app"'
# The same app on the host that watches.
ELSEWHERE = {
    f'{name}{{app="christmas-backend",host="molecule-monitoring-hub"{more}}}': value
    for name, more, value in (
        ("redis_up", "", "0x90"),
        ("pgbouncer_up", "", "0x90"),
        ("pg_up", "", "0x90"),
        ("pg_settings_max_connections", "", "100x90"),
        ("pg_stat_activity_count", ',state="active",backend_type="client backend"', "99x90"),
        ("pgbouncer_databases_pool_size", "", "20x90"),
        ("pgbouncer_pools_server_active_connections", "", "20x90"),
        ("redis_keyspace_hits_total", "", "0+1x90"),
        ("redis_keyspace_misses_total", "", "0+1x90"),
        ("redis_memory_used_bytes", "", "9x90"),
        ("redis_memory_max_bytes", "", "10x90"),
        ("pgbouncer_stats_queries_duration_seconds_total", "", "0+1x90"),
        ("pgbouncer_stats_queries_pooled_total", "", "0+1x90"),
    )
}


def one(name: str, values: str) -> dict[str, str]:
    return {f"{name}{{{OF}}}": values}


def queue(seconds: str, waiting: int) -> dict[str, str]:
    about = f'{OF},database="postgres",user="backend"'
    return {
        f"pgbouncer_pools_client_maxwait_seconds{{{about}}}": seconds,
        f"pgbouncer_pools_client_waiting_connections{{{about}}}": f"{waiting}x90",
    }


def hits(good: int, bad: int) -> dict[str, str]:
    return {
        **one("redis_keyspace_hits_total", f"0+{good}x90"),
        **one("redis_keyspace_misses_total", f"0+{bad}x90"),
    }


def connections(active: int, idle: int = 0) -> dict[str, str]:
    about = f'{OF},backend_type="client backend"'
    return {
        f'pg_stat_activity_count{{{about},state="active"}}': f"{active}x90",
        f'pg_stat_activity_count{{{about},state="idle"}}': f"{idle}x90",
        **one("pg_settings_max_connections", "100x90"),
    }


def transaction(seconds: int, state: str = "active", backend: str = "client backend") -> dict[str, str]:
    about = f'{OF},state="{state}",backend_type="{backend}"'
    return {f"pg_stat_activity_max_tx_duration{{{about}}}": f"{seconds}x90"}


def queries(seconds: str, count: str) -> dict[str, str]:
    return {
        **one("pgbouncer_stats_queries_duration_seconds_total", seconds),
        **one("pgbouncer_stats_queries_pooled_total", count),
    }


ALERTS = [
    Case("CacheGone", "2m", 1, one("redis_up", "0x90")),
    Case("CacheGone", "2m", 0, one("redis_up", "1x5 0x1 1x90")),
    Case("CacheGone", "2m", 0, ELSEWHERE),
    Case("CacheEvicting", "14m", 1, one("redis_evicted_keys_total", "0+20x90")),
    Case("CacheEvicting", "14m", 0, one("redis_evicted_keys_total", "0+9x90")),
    Case("PoolGone", "3m", 1, one("pgbouncer_up", "0x90")),
    Case("PoolGone", "3m", 0, one("pgbouncer_up", "1x90")),
    Case("PoolExhausted", "3m", 1, queue("2x90", 5)),
    # Short queues are normal; a long wait has just ended.
    Case("PoolExhausted", "3m", 0, queue("0.5x90", 5)),
    Case("PoolExhausted", "3m", 0, queue("2x90", 0)),
    Case("DatabaseGone", "3m", 1, one("pg_up", "0x90")),
    Case("DatabaseGone", "3m", 0, one("pg_up", "1x90")),
    Case("DatabaseConnections", "3m", 1, connections(41, 40)),
    Case("DatabaseConnections", "3m", 0, connections(40, 40)),
    Case("SlowQueries", "3m", 1, transaction(31)),
    Case("SlowQueries", "3m", 1, transaction(31, "idle in transaction")),
    Case("SlowQueries", "3m", 0, transaction(29)),
    # A vacuum takes long, and blocks no other transaction.
    Case("SlowQueries", "3m", 0, transaction(900, backend="autovacuum worker")),
    Case("SlowQueries", "3m", 0, transaction(900, "idle")),
]

RECORDS = [
    Case("app:cache:hit_ratio5m", "10m", 0.75, hits(3, 1)),
    Case("app:cache:hit_ratio5m", "10m", None, hits(0, 0)),
    Case(
        "app:cache:memory_ratio",
        "5m",
        0.5,
        {**one("redis_memory_used_bytes", "5x90"), **one("redis_memory_max_bytes", "10x90")},
    ),
    # No limit.
    Case(
        "app:cache:memory_ratio",
        "5m",
        None,
        {**one("redis_memory_used_bytes", "5x90"), **one("redis_memory_max_bytes", "0x90")},
    ),
    Case(
        "app:pool:used_ratio",
        "5m",
        0.25,
        {**one("pgbouncer_pools_server_active_connections", "5x90"), **one("pgbouncer_databases_pool_size", "20x90")},
    ),
    Case("app:pool:used_ratio", "5m", None, ELSEWHERE),
    Case("app:query_seconds:avg1m", "5m", 0.02, queries("0+2x90", "0+100x90")),
    Case("app:query_seconds:avg1m", "5m", None, queries("0x90", "0x90")),
    Case("app:database:connections_ratio", "5m", 0.3, connections(10, 20)),
    Case("app:database:connections_ratio", "5m", None, ELSEWHERE),
    Case("app:database:queries_active", "5m", 10, connections(10, 20)),
    Case("app:database:queries_active", "5m", None, ELSEWHERE),
]
