# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role monitoring."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import (
    PORTS,
    Ranges,
    error,
    out_of_range,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import (
    Inventory,
    Variables,
    whole_number,
)

THRESHOLDS: Ranges = {
    "memory_percent": (1, 99),
    "cpu_percent": (1, 99),
    "error_percent": (0.1, 99),
    "response_ms": (10, 7000),
    "hold_seconds": (0, 3600),
    "host_hold_seconds": (0, 86400),
    "disk_hours": (1, 168),
    "certificate_days": (1, 365),
    "restarts": (1, 100),
    "watcher_seconds": (35, 3600),
    "clock_ms": (1, 60000),
    # PgBouncer lets no client wait longer than 10 s.
    "pool_wait_seconds": (0.1, 9),
    "connections_percent": (1, 99),
    "query_seconds": (1, 86400),
    "evictions_per_second": (0.01, 100000),
    "drift_hours": (1, 1000),
    "slo_percent": (90, 99.99),
    "backup_hours": (1, 720),
    "verified_days": (1, 90),
}

# The least that Prometheus works with: option, least, why less is not enough, fix.
LEAST = (
    ("monitoring_memory_mb", 64, "too small for Prometheus", "Write 64 or more; 96 is enough for one host"),
    ("monitoring_retention_days", 4, "shorter than the longest window of the burn rate", "Write 4 or more"),
    ("monitoring_retention_mb", 128, "too small for one block of data", "Write 128 or more"),
)


def errors(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the monitoring host, the thresholds, the exporters and the ports."""
    yield from _hub(variables)
    yield from out_of_range("monitoring_thresholds", variables.table("monitoring_thresholds"), THRESHOLDS)
    yield from _backing(variables)
    yield from database_errors(variables.table("monitoring_database"), variables.host)
    yield from port_errors(variables.table("__monitoring_ports"))
    for option, least, problem, fix in LEAST:
        if variables.number(option) < least:
            yield error(option, f"{variables.value(option)} is {problem}", fix)


def _hub(variables: Variables) -> Iterator[str]:
    """Report the first thing that is wrong with who watches whom, and who is notified."""
    hub, names = variables.text("monitoring_hub"), variables.value("__monitoring_names")
    others = [name for name in names if name != variables.host]
    hubs = [variables.inventory.hosts[name].get("monitoring_hub") for name in others]
    if others and (hub or any(hubs)) and hub not in names:
        address = variables.text("ansible_host", variables.host)
        yield error(
            "monitoring_hub",
            f"{variables.host} and {', '.join(others)} are one server, {address}, "
            "and a monitoring host keeps one tunnel to a server, for one app",
            "Leave monitoring_hub empty for all of them: the server watches itself, and its page shows each app. "
            "Or set monitoring_enabled: false for all but one",
        )
    elif hub:
        where = f"{hub}, the monitoring host of {variables.host},"
        for problem, fix in _hub_itself(hub, names, variables.inventory):
            yield error("monitoring_hub", f"{where} {problem}", fix)
    elif not variables.number("__monitoring_receivers") and not variables.flag("monitoring_without_receivers"):
        yield error(
            "alerting_receivers",
            f"it is empty for {variables.host}, so no one would be notified of an alert",
            "Add an entry (see the role alerting), or set monitoring_without_receivers: true",
        )


def _hub_itself(hub: str, names: Sequence[str], inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Return what is wrong with the monitoring host, and the fix."""
    if hub in names:
        yield "is the same server", "Leave monitoring_hub empty: a server watches itself"
        return
    if hub not in inventory.names:
        yield "is not a host of the inventory", "Write the name of one, or leave monitoring_hub empty"
        return
    its = inventory.hosts[hub]
    if not _is_on(its, "monitoring_enabled") or its.get("monitoring_hub"):
        yield "does not measure", "Set monitoring_enabled: true and no monitoring_hub for it"
    elif not its.get("alerting_receivers") and not _is_on(its, "monitoring_without_receivers"):
        problem = "has no alerting_receivers, so no one would be notified of an alert"
        yield problem, "Add an entry for it (see the role alerting)"


def _is_on(variables: Mapping[str, object], name: str) -> bool:
    return bool(boolean(variables.get(name, False), strict=False))


def _backing(variables: Variables) -> Iterator[str]:
    """Report what the exporters of pool and cache do not have."""
    needed = []
    if variables.flag("monitoring_pool"):
        needed += [
            ("monitoring_pool_user", "monitoring_pool", "DATABASE_USER"),
            ("monitoring_pool_password", "monitoring_pool", "DATABASE_PASSWORD"),
        ]
    if variables.flag("monitoring_cache"):
        needed.append(("monitoring_cache_password", "monitoring_cache", "REDIS_PASSWORD"))
    for option, switch, name in needed:
        if not variables.text(option):
            problem = f"it is empty for {variables.host}, and {switch} is true"
            yield error(option, problem, f"Set {name} in app_env_values, or this variable")


def database_errors(database: Mapping[str, object], host: str) -> Iterator[str]:
    """Report what the exporter of the database does not have, or cannot have."""
    if not database:
        return
    for key in ("host", "user", "password"):
        if not database.get(key):
            fix = "Write host, user and password, the password from the vault"
            yield error("monitoring_database", f"{key} is missing for {host}", fix)
    for key in ("host", "user"):
        value = database.get(key) or ""
        if re.search(r'[\s"@/?\\]', str(value)):
            fix = "Write it without quotes, spaces, slashes and @"
            yield error("monitoring_database", f"{key} is {json.dumps(value)}, which is not valid", fix)


def port_errors(ports: Mapping[str, object]) -> Iterator[str]:
    """Report what is not a port, and a port that is used twice."""
    numbers = [whole_number(port) for port in ports.values()]
    fix = f"Each of {', '.join(ports)} needs one of its own"
    for port in dict.fromkeys(numbers):
        if port not in PORTS:
            yield error("monitoring_ports", f"{port} is not a port", fix)
        elif numbers.count(port) > 1:
            yield error("monitoring_ports", f"{port} is used twice", fix)
