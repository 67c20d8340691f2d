# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""promtool's cases: for each rule the series that it gets, and its expected result. One case fires, one does not.

A series is in promtool's notation: `5+2x30` is 5, 7, 9, …; `3x30` is 3 thirty times more; `_` is a missing sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

APP, HOST = "christmas-backend", "molecule-monitoring"
OF = f'app="{APP}",host="{HOST}"'
PROXY = f'{OF},proxy="selfheal-{APP}"'
CONTAINER = f'{OF},service="backend",container="one"'
DAY = 86400


class Case(NamedTuple):
    """The number of alerts, or the value, that the rule gives at a time; None for no value."""

    rule: str
    at: str
    gives: float | None
    series: dict[str, str]
    step: str = "10s"


def answers(good: float, bad: float, steps: int = 90) -> dict[str, str]:
    """HAProxy's counters in each step."""
    name = "haproxy_frontend_http_responses_total"
    return {
        f'{name}{{{PROXY},code="2xx"}}': f"0+{good}x{steps}",
        f'{name}{{{PROXY},code="5xx"}}': f"0+{bad}x{steps}",
    }


def slots(*up: int) -> dict[str, str]:
    name = "haproxy_server_status"
    return {f'{name}{{{PROXY},server="slot{at}",state="UP"}}': f"{one}x90" for at, one in enumerate(up)}


def probes(metric: str, values: str, check: str = "health") -> dict[str, str]:
    return {f'{metric}{{{OF},check="{check}"}}': values}


def memory(used: int) -> dict[str, str]:
    limit = {f"selfheal_container_memory_limit_bytes{{{CONTAINER}}}": "256x90"}
    return {f"selfheal_container_memory_bytes{{{CONTAINER}}}": f"{used}x90", **limit}


def cpu(used: float) -> dict[str, str]:
    limit = {f"selfheal_container_cpu_limit_cores{{{CONTAINER}}}": "0.5x90"}
    return {f"selfheal_container_cpu_seconds_total{{{CONTAINER}}}": f"0+{used}x90", **limit}


def slow_requests(per_step: int) -> dict[str, str]:
    return {
        f"haproxy_backend_response_time_average_seconds{{{PROXY}}}": "3x90",
        **answers(per_step, 0),
    }


def oom_incidents(values: str) -> dict[str, str]:
    return {f'selfheal_incidents_total{{{OF},cause="out_of_memory"}}': values, f"selfheal_healthy{{{OF}}}": "1x90"}


def disk(values: str) -> dict[str, str]:
    about = f'{{host="{HOST}",mountpoint="/"}}'
    return {
        f"node_filesystem_avail_bytes{about}": values,
        f"node_filesystem_size_bytes{about}": "1000x90",
        f"node_filesystem_readonly{about}": "0x90",
    }


def clock(offset: float, sync: int) -> dict[str, str]:
    about = f'{{host="{HOST}"}}'
    return {f"node_timex_offset_seconds{about}": f"{offset}x90", f"node_timex_sync_status{about}": f"{sync}x90"}


def host_memory(available: int) -> dict[str, str]:
    about = f'{{host="{HOST}"}}'
    return {
        f"node_memory_MemAvailable_bytes{about}": f"{available}x90",
        f"node_memory_MemTotal_bytes{about}": "100x90",
    }


def idle(seconds: float) -> dict[str, str]:
    return {f'node_cpu_seconds_total{{host="{HOST}",cpu="0",mode="idle"}}': f"0+{seconds}x90"}


def up(**jobs: int) -> dict[str, str]:
    return {f'up{{host="{HOST}",job="{job}"}}': f"{value}x90" for job, value in jobs.items()}


def watcher(values: str) -> dict[str, str]:
    return {f"selfheal_watcher_turn_timestamp_seconds{{{OF}}}": values, **up(node=1)}


def served(values: str, seen: str = "0+10x90") -> dict[str, str]:
    """The watcher's result of all checks, and the time of its last check."""
    return {f"selfheal_users_served{{{OF}}}": values, f"selfheal_watcher_turn_timestamp_seconds{{{OF}}}": seen}


def starts(*times: int) -> dict[str, str]:
    """A container that was started at these times. Each start is visible for a minute, the last one from then on."""
    seen = " ".join(f"{time}x5" for time in times[:-1])
    return {f"selfheal_container_start_timestamp_seconds{{{CONTAINER}}}": f"{seen} {times[-1]}x30"}


def seen_until(values: str) -> dict[str, str]:
    return {f'up{{host="{HOST}",job="node"}}': values}


def drift(severity: str, found: str) -> dict[str, str]:
    return {f'selfheal_drift_found{{{OF},target="{HOST}",severity="{severity}"}}': found}


def compared(values: str) -> dict[str, str]:
    return {f'selfheal_drift_last_check_timestamp_seconds{{{OF},target="{HOST}"}}': values}


def backup(what: str, values: str) -> dict[str, str]:
    return {f"selfheal_backup_last_{what}_timestamp_seconds{{{OF}}}": values}


def failed(values: str) -> dict[str, str]:
    """Days of other rules' records."""
    return {f"app:errors:ratio{window}{{{OF}}}": values for window in ("5m", "6h", "3d")}


OTHER_APP = {'probe_success{app="other",host="h",check="health"}': "0x90"}

ALERTS = [
    Case("ContainerMemory", "5m", 1, memory(210)),
    Case("ContainerMemory", "5m", 0, memory(200)),
    Case("ContainerCpu", "5m", 1, cpu(3.6)),
    Case("ContainerCpu", "5m", 0, cpu(3.4)),
    Case("AppErrors", "5m", 1, answers(94, 6)),
    Case("AppErrors", "5m", 0, answers(96, 4)),
    Case("AppErrors", "5m", 1, {**answers(100, 0), **probes("probe_success", "0x90")}),
    Case("AppErrors", "5m", 0, OTHER_APP),
    Case("AppSlow", "5m", 1, probes("probe_duration_seconds", "2.1x90")),
    Case("AppSlow", "5m", 0, probes("probe_duration_seconds", "1.9x90")),
    Case("AppSlow", "5m", 1, slow_requests(200)),
    # An old average.
    Case("AppSlow", "5m", 0, slow_requests(20)),
    Case("AppDown", "2m", 1, probes("probe_success", "0x90")),
    # The watcher recovers the app sooner.
    Case("AppDown", "2m", 0, probes("probe_success", "1x3 0x4 1x90")),
    Case("AppDown", "5m", 0, probes("probe_success", "0x90", "certificate")),
    Case("CertificateEnds", "10m", 1, probes("probe_ssl_earliest_cert_expiry", f"{14 * DAY}x90", "certificate")),
    Case("CertificateEnds", "10m", 0, probes("probe_ssl_earliest_cert_expiry", f"{15 * DAY}x90", "certificate")),
    Case("ContainerOom", "5m", 1, {f"selfheal_container_oom_kills_total{{{CONTAINER}}}": "0x20 1x60"}),
    Case("ContainerOom", "5m", 0, {f"selfheal_container_oom_kills_total{{{CONTAINER}}}": "1x90"}),
    Case("ContainerOom", "6m", 1, oom_incidents("_x31 1x60")),
    Case("ContainerOom", "6m", 1, oom_incidents("4x31 5x60")),
    Case("ContainerOom", "6m", 0, oom_incidents("4x90")),
    Case("RestartLoop", "5m", 1, starts(10, 20, 30, 40)),
    Case("RestartLoop", "5m", 0, starts(10, 20, 30)),
    # One instance, at one of two slots.
    Case("InstancesMissing", "7m", 1, slots(0, 0)),
    Case("InstancesMissing", "4m", 0, slots(0, 0)),
    Case("InstancesMissing", "7m", 0, slots(0, 1)),
    Case("BreakerOpen", "2m", 1, {f"selfheal_breaker_open{{{OF}}}": "1x90"}),
    Case("BreakerOpen", "2m", 0, {f"selfheal_breaker_open{{{OF}}}": "0x90"}),
    Case("WatcherNotSeen", "5m", 1, watcher("0x90")),
    Case("WatcherNotSeen", "5m", 0, watcher("0+10x90")),
    Case("WatcherNotSeen", "5m", 1, up(node=1)),
    Case("HostMemory", "5m", 1, host_memory(19)),
    Case("HostMemory", "5m", 0, host_memory(21)),
    Case("HostCpu", "5m", 1, idle(2.9)),
    Case("HostCpu", "5m", 0, idle(3.1)),
    Case("DiskFullSoon", "40m", 1, disk("400-3x90"), "1m"),
    Case("DiskFullSoon", "40m", 0, disk("400-1x90"), "1m"),
    # It grows fast, but there is enough room.
    Case("DiskFullSoon", "40m", 0, disk("1000-6x90"), "1m"),
    Case("ClockOff", "14m", 1, clock(-0.2, 1)),
    Case("ClockOff", "14m", 1, clock(0.0, 0)),
    Case("ClockOff", "14m", 0, clock(0.05, 1)),
    Case("DriftFound", "2m", 1, drift("security", "2x90")),
    Case("DriftFound", "2m", 0, drift("security", "0x90")),
    Case("DriftFound", "2m", 0, drift("cosmetic", "2x90")),
    Case("DriftNotChecked", "4h", 1, compared("0x300"), "1m"),
    Case("DriftNotChecked", "4h", 0, compared("0x90 5400x300"), "1m"),
    Case("DriftNotChecked", "4h", 0, up(node=1), "1m"),
    Case("HostDown", "3m", 1, up(node=0, containers=0)),
    Case("HostDown", "3m", 0, up(node=0, containers=1)),
    Case("TargetDown", "3m", 1, up(node=0, containers=1)),
    Case("TargetDown", "3m", 0, up(node=1, containers=1)),
    Case("MeasuringStopped", "3m", 1, seen_until("1x3")),
    # A target is down.
    Case("MeasuringStopped", "3m", 0, seen_until("0x90")),
    Case("MeasuringStopped", "20m", 1, seen_until("1x3")),
    Case("BudgetBurnsFast", "2h", 1, answers(985, 15, 200), "1m"),
    Case("BudgetBurnsFast", "2h", 0, answers(986, 14, 200), "1m"),
    # One failure in the first minutes does not make a trend.
    Case("BudgetBurnsFast", "20m", 0, answers(900, 100, 200), "1m"),
    Case("BudgetBurns", "4h", 1, answers(993, 7, 600), "1m"),
    Case("BudgetBurns", "4h", 0, answers(995, 5, 600), "1m"),
    Case("BudgetBurnsSlowly", "25h", 1, failed("0.0012x40"), "1h"),
    Case("BudgetBurnsSlowly", "25h", 0, failed("0.0008x40"), "1h"),
    # A day ago nothing was measured.
    Case("BudgetBurnsSlowly", "25h", 0, failed("_x3 0.0012x40"), "1h"),
    Case("BackupTooOld", "29h", 1, backup("success", "0x40"), "1h"),
    Case("BackupTooOld", "29h", 0, backup("success", f"0x10 {12 * 3600}x30"), "1h"),
    Case("BackupNotVerified", "200h", 1, backup("verified", "0x250"), "1h"),
    Case("BackupNotVerified", "200h", 0, backup("verified", f"0x100 {4 * DAY}x150"), "1h"),
]
OTHER_CHECKS = {**probes("probe_success", "1x90", "login"), **probes("probe_success", "1x90", "data")}

RECORDS = [
    Case("app:errors:ratio1m", "5m", 0.1, answers(90, 10)),
    Case("app:errors:ratio1m", "5m", None, OTHER_APP),
    Case("app:errors:ratio5m", "10m", 0.5, {**answers(90, 10), **probes("probe_success", "0.5x90")}),
    Case("app:errors:ratio5m", "10m", None, OTHER_APP),
    Case("app:errors:ratio30m", "1h", 0.1, answers(90, 10), "1m"),
    Case("app:errors:ratio30m", "1h", None, OTHER_APP, "1m"),
    Case("app:errors:ratio1h", "1h", 0.1, answers(90, 10), "1m"),
    Case("app:errors:ratio1h", "1h", None, OTHER_APP, "1m"),
    Case("app:errors:ratio6h", "1h", 0.1, answers(90, 10), "1m"),
    Case("app:errors:ratio6h", "1h", None, OTHER_APP, "1m"),
    Case("app:errors:ratio3d", "1h", 0.1, answers(90, 10), "1m"),
    Case("app:errors:ratio3d", "1h", None, OTHER_APP, "1m"),
    Case("app:healthy:now", "5m", 1, {f"selfheal_healthy{{{OF}}}": "1x90"}),
    # Another app of the server, which this host reports too.
    Case("app:healthy:now", "5m", None, {f'selfheal_healthy{{app="other",host="{HOST}"}}': "1x90"}),
    Case("app:errors:minute", "5m", 0.1, answers(90, 10)),
    # No requests and no checks.
    Case("app:errors:minute", "5m", None, answers(0, 0)),
    # A failure that only the watcher's checks see.
    Case("app:errors:minute", "5m", 1, {**probes("probe_success", "1x90"), **served("0x90")}),
    Case("app:errors:minute", "5m", 0, served("1x90")),
    # The result of a watcher that has not checked for minutes does not count.
    Case("app:errors:minute", "8m", 0, {**probes("probe_success", "1x90"), **served("0x90", "0x90")}),
    Case("app:errors:minute", "8m", None, served("0x90", "0x90")),
    Case("app:state:now", "5m", 1, {**answers(96, 4), **probes("probe_success", "1x90")}),
    Case("app:state:now", "5m", 0.5, answers(94, 6)),
    Case("app:state:now", "5m", 0.5, {**answers(100, 0), **probes("probe_duration_seconds", "2.1x90")}),
    Case("app:state:now", "5m", 0.5, slow_requests(200)),
    Case("app:state:now", "5m", 0, answers(50, 50)),
    # One check of three fails, which is less than half.
    Case("app:state:now", "5m", 0, {**probes("probe_success", "0x90"), **OTHER_CHECKS}),
    # Only the watcher's checks fail.
    Case("app:state:now", "5m", 0, {**answers(100, 0), **probes("probe_success", "1x90"), **served("0x90")}),
    Case("app:state:now", "5m", 1, {**answers(100, 0), **probes("probe_success", "1x90"), **served("1x90")}),
    # The app recovered within the minute.
    Case("app:state:now", "5m", 0.5, probes("probe_success", "1x26 0 0 1x90")),
    Case("app:state:now", "5m", None, answers(0, 0)),
    Case("app:state:now", "5m", None, OTHER_APP),
    Case("app:error_budget:burn", "1h", 5, answers(995, 5), "1m"),
    Case("app:error_budget:burn", "1h", None, OTHER_APP, "1m"),
    # 21.5 of the 43.2 minutes in 30 days are used: half of the minute of the recovery counts. In the other case more
    # minutes are used than the budget has. The query is late, since promtool evaluates rule groups in any order.
    Case("app:error_budget:left", "1h", 0.502, probes("probe_success", "0x20 1x300"), "1m"),
    Case("app:error_budget:left", "2h", -0.424, probes("probe_success", "0x60 1x300"), "1m"),
    Case("app:error_budget:left", "1h", None, OTHER_APP, "1m"),
    Case("app:requests:rate1m", "5m", 20, slow_requests(200)),
    Case("app:requests:rate1m", "5m", None, OTHER_APP),
    Case("app:response_seconds:avg5m", "10m", 0.3, probes("probe_duration_seconds", "0.3x90")),
    Case("app:response_seconds:avg5m", "10m", None, probes("probe_duration_seconds", "1x90", "certificate")),
    Case("container:cpu:ratio", "5m", 0.6, cpu(3)),
    Case("container:cpu:ratio", "5m", None, memory(128)),
    Case("container:memory:ratio", "5m", 0.5, memory(128)),
    Case("container:memory:ratio", "5m", None, cpu(3)),
    Case("host:memory:ratio", "5m", 0.25, host_memory(75)),
    Case("host:memory:ratio", "5m", None, idle(1)),
    Case("host:cpu:ratio", "5m", 0.75, idle(2.5)),
    Case("host:cpu:ratio", "5m", None, host_memory(75)),
]


def documents(
    texts: dict[str, str], alerts: list[Case] = ALERTS, records: list[Case] = RECORDS
) -> dict[str, dict[str, Any]]:
    """The cases in promtool's format: one document for each file of rules and each step.

    `texts` holds the files' contents by their paths: no rule needs another file's.
    """
    homes = {
        str(rule.get("alert") or rule.get("record")): path
        for path, text in texts.items()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    }
    found: dict[str, dict[str, Any]] = {}
    for case in [*alerts, *records]:
        home = homes[case.rule]
        empty: dict[str, Any] = {"rule_files": [home], "evaluation_interval": case.step, "tests": []}
        tests = found.setdefault(f"{list(texts).index(home)}-{case.step}", empty)["tests"]
        fires = f'count(ALERTS{{alertname="{case.rule}",alertstate="firing"}}) or vector(0)'
        asked = fires if case in alerts else f"round(max({case.rule}), 0.001)"
        tests.append(
            {
                "name": f"{len(tests) + 1} {case.rule} gives {case.gives} at {case.at}",
                "interval": case.step,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {
                        "expr": asked,
                        "eval_time": case.at,
                        "exp_samples": [] if case.gives is None else [{"labels": "{}", "value": case.gives}],
                    }
                ],
            }
        )
    return found
