# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Grafana's dashboards, from code; docs/generate.py writes them.

A dashboard is a list of panels, each a kind, a title in both languages, a unit and its queries. Where the monthly
report asks the same thing, the query is the report's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "plugins"))

from module_utils.reporting import slo_queries

FOLDER = Path(__file__).resolve().parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The width of Grafana's grid.
COLUMNS = 24
MONTH = slo_queries.month_queries(slo_queries.of("$app", "$host"), slo_queries.BUDGET_DAYS * slo_queries.DAY)
APP = slo_queries.of("$app", "$host")
PROXY = f'{APP},proxy="selfheal-$app"'
# The network interfaces that lead out of the host.
CARD = 'host="$host",device!~"lo|veth.*|br-.*|docker.*"'
GREEN, YELLOW, RED = "green", "yellow", "red"


class Panel(NamedTuple):
    """One panel. `queries` are PromQL by legend, `steps` colours by lowest value, `words` texts by value."""

    kind: str
    en: str
    ko: str
    unit: str
    queries: Mapping[str, str]
    width: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),)
    words: Mapping[str, tuple[str, str]] = {}
    most: float | None = None


def line(en: str, ko: str, unit: str, queries: Mapping[str, str], threshold: float | None = None) -> Panel:
    """A panel of curves, with the threshold of its alert if it has one."""
    steps = ((None, GREEN),) if threshold is None else ((None, GREEN), (threshold, RED))
    return Panel("timeseries", en, ko, unit, queries, steps=steps)


STATES = {"0": ("down", "중단"), "0.5": ("degraded", "성능 저하"), "1": ("up", "정상")}
STATE_STEPS = ((None, RED), (0.5, YELLOW), (1.0, GREEN))

DASHBOARDS: dict[str, tuple[str, str, list[Panel]]] = {
    "app": (
        "Selfheal: app",
        "Selfheal: 앱",
        [
            Panel("stat", "Now", "현재 상태", "none", {"": f"app:state:now{{{APP}}}"}, 4, STATE_STEPS, STATES),
            Panel(
                *("gauge", "Error budget left", "남은 오류 허용량", "percentunit"),
                *({"": f"app:error_budget:left{{{APP}}}"}, 4, ((None, RED), (0.1, YELLOW), (0.5, GREEN))),
                most=1.0,
            ),
            Panel(
                *("stat", "Burn rate, 1 h", "소진 속도, 1시간", "none", {"": f"app:error_budget:burn{{{APP}}}"}, 4),
                ((None, GREEN), (1.0, YELLOW), (14.4, RED)),
            ),
            Panel("stat", "Minutes failed, 30 days", "실패한 분, 30일", "m", {"": MONTH["failed_minutes"]}, 4),
            Panel("stat", "Mean response, 30 days", "평균 응답 시간, 30일", "s", {"": MONTH["response_seconds"]}, 4),
            Panel("stat", "Last recovery", "최근 복구 시간", "s", {"": f"selfheal_last_recovery_seconds{{{APP}}}"}, 4),
            Panel(
                *("state-timeline", "Each minute", "분별 상태", "none", {"": f"app:state:now{{{APP}}}"}, 24),
                *(STATE_STEPS, STATES),
            ),
            line("Requests per second", "초당 요청", "reqps", {"": f"app:requests:rate1m{{{APP}}}"}),
            line("Failed", "실패 비율", "percentunit", {"": f"app:errors:ratio1m{{{APP}}}"}, 0.05),
            line(
                *("Response time", "응답 시간", "s"),
                {"{{check}}": f'probe_duration_seconds{{{APP},check!="certificate"}}'},
                2.0,
            ),
            line("Connections", "연결 수", "none", {"": f"haproxy_frontend_current_sessions{{{PROXY}}}"}),
            line(
                *("Serving instances", "요청을 받는 인스턴스", "none"),
                {"": f'count by (host) (haproxy_server_status{{{PROXY},state="UP"}} == 1)'},
            ),
            line("Restarts", "재시작", "none", {"{{container}}": f"selfheal_container_restarts_total{{{APP}}}"}),
            line(
                *("Memory of its limit", "메모리 한도 대비", "percentunit"),
                {"{{container}}": f"container:memory:ratio{{{APP}}}"},
                0.8,
            ),
            line(
                *("CPU of its limit", "CPU 한도 대비", "percentunit"),
                {"{{container}}": f"container:cpu:ratio{{{APP}}}"},
                0.7,
            ),
            line(
                *("Throttled by its CPU limit", "CPU 한도로 제한된 시간", "percentunit"),
                {"{{container}}": f"rate(selfheal_container_cpu_throttled_seconds_total{{{APP}}}[5m])"},
            ),
            line("Incidents", "장애", "none", {"{{cause}}": f"selfheal_incidents_total{{{APP}}}"}),
            line("Remedies", "복구 조치", "none", {"{{remedy}} {{result}}": f"selfheal_remedies_total{{{APP}}}"}),
            line(
                *("The watcher", "감시 프로그램", "none"),
                {
                    "healthy": f"selfheal_healthy{{{APP}}}",
                    "breaker open": f"selfheal_breaker_open{{{APP}}}",
                    "paused": f"selfheal_paused{{{APP}}}",
                },
            ),
        ],
    ),
    "host": (
        "Selfheal: host",
        "Selfheal: 호스트",
        [
            line("Memory", "메모리", "percentunit", {"": 'host:memory:ratio{host="$host"}'}, 0.8),
            line("CPU", "CPU", "percentunit", {"": 'host:cpu:ratio{host="$host"}'}, 0.7),
            line(
                *("Disk", "디스크", "percentunit"),
                {
                    "{{mountpoint}}": '1 - node_filesystem_avail_bytes{host="$host"}'
                    ' / node_filesystem_size_bytes{host="$host"}'
                },
                0.9,
            ),
            line(
                *("Load", "부하", "none"),
                {"1 min": 'node_load1{host="$host"}', "15 min": 'node_load15{host="$host"}'},
            ),
            line(
                *("Waiting for", "대기 시간", "percentunit"),
                {
                    "CPU": 'rate(node_pressure_cpu_waiting_seconds_total{host="$host"}[5m])',
                    "disk": 'rate(node_pressure_io_waiting_seconds_total{host="$host"}[5m])',
                    "memory": 'rate(node_pressure_memory_waiting_seconds_total{host="$host"}[5m])',
                },
            ),
            line(
                *("Network", "네트워크", "Bps"),
                {
                    "{{device}} in": f"rate(node_network_receive_bytes_total{{{CARD}}}[5m])",
                    "{{device}} out": f"rate(node_network_transmit_bytes_total{{{CARD}}}[5m])",
                },
            ),
            line(
                *("Disk traffic", "디스크 입출력", "Bps"),
                {
                    "{{device}} read": 'rate(node_disk_read_bytes_total{host="$host"}[5m])',
                    "{{device}} written": 'rate(node_disk_written_bytes_total{host="$host"}[5m])',
                },
            ),
            line("Clock", "시계 오차", "s", {"": 'node_timex_offset_seconds{host="$host"}'}),
            line(
                *("Processes killed for lack of memory", "메모리 부족으로 종료된 프로세스", "none"),
                {"": 'increase(node_vmstat_oom_kill{host="$host"}[1h])'},
            ),
            Panel(
                *("state-timeline", "Exporters", "exporter 상태", "none", {"{{job}} {{instance}}": 'up{host="$host"}'}),
                *(24, ((None, RED), (1.0, GREEN)), {"0": ("down", "중단"), "1": ("up", "정상")}),
            ),
            line(
                *("Memory of monitoring", "모니터링의 메모리", "bytes"),
                {"{{instance}}": 'process_resident_memory_bytes{host="$host",job="monitoring"}'},
            ),
            line(
                *("Disk of the samples", "측정 데이터의 디스크", "bytes"),
                {"": 'prometheus_tsdb_storage_blocks_bytes{host="$host"}'},
            ),
        ],
    ),
}


def panel(of: Panel, number: int, at: tuple[int, int], height: int, language: int) -> dict[str, Any]:
    """A panel in Grafana's format."""
    mappings = [{"type": "value", "options": {value: {"text": texts[language]}}} for value, texts in of.words.items()]
    custom = {"thresholdsStyle": {"mode": "dashed"}} if of.kind == "timeseries" and len(of.steps) > 1 else {}
    defaults: dict[str, Any] = {
        "unit": of.unit,
        "mappings": mappings,
        "color": {"mode": "palette-classic" if of.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in of.steps]},
        "custom": custom,
    }
    if of.most is not None:
        defaults.update(min=0, max=of.most)
    return {
        "id": number,
        "type": of.kind,
        "title": (of.en, of.ko)[language],
        "datasource": DATASOURCE,
        "gridPos": {"x": at[0], "y": at[1], "w": of.width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(of.queries.items())
        ],
    }


def variable(name: str, query: str) -> dict[str, Any]:
    """A selection list above a dashboard."""
    return {
        **{"name": name, "type": "query", "datasource": DATASOURCE, "query": {"query": query, "refId": name}},
        **{"definition": query, "refresh": 2, "sort": 1, "includeAll": False, "multi": False},
    }


def dashboard(name: str, language: int) -> dict[str, Any]:
    """A dashboard in Grafana's format; the language is 0 for English, 1 for Korean."""
    title, panels = DASHBOARDS[name][language], DASHBOARDS[name][2]
    placed, x, y, tallest = [], 0, 0, 0
    for number, one in enumerate(panels, start=1):
        height = 4 if one.kind in ("stat", "gauge", "state-timeline") else 7
        if x + one.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        placed.append(panel(one, number, (x, y), height, language))
        x, tallest = x + one.width, max(tallest, height)
    choices = {
        "app": [
            variable("app", "label_values(app:state:now, app)"),
            variable("host", 'label_values(app:state:now{app="$app"}, host)'),
        ],
        "host": [variable("host", "label_values(host:memory:ratio, host)")],
    }
    return {
        "uid": f"selfheal-{name}{('', '-ko')[language]}",
        "title": title,
        "tags": ["selfheal"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1},
                *choices[name],
            ]
        },
        "panels": placed,
    }


def files() -> dict[Path, str]:
    """Every dashboard, by the path of its file."""
    return {
        FOLDER / f"{name}{suffix}.json": json.dumps(dashboard(name, language), indent=2, ensure_ascii=False) + "\n"
        for name in DASHBOARDS
        for language, suffix in enumerate(("", ".ko"))
    }
