# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page: its figures from answers of Prometheus, their format, and that names are escaped."""

from __future__ import annotations

import http.client
import json
import re
import socket
import string
import threading
import time
from collections.abc import Iterator
from datetime import timezone
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import figures as page_figures
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import html as page_html
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import queries as page_queries
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import server as page_server
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import words as page_words

ROOT = Path(__file__).resolve().parents[3]
NOW = 1748347215.0  # 2025-05-27 12:00:15 UTC
ABOUT: page_figures.ShownApp = {"app": "shop", "host": "web1", "thresholds": {}}
WELL: dict[str, Any] = {"state": [({}, 1.0)], "healthy": [({}, 1.0)], "seen": [({}, NOW - 1)]}
EVIL = "<script>alert('1')</script>\"&{for}</title>"


def incident(**changed: Any) -> dict[str, Any]:
    return {
        "id": "20250527T110000Z-hung",
        "cause": "hung",
        "meaning": "",
        "seen": "2025-05-27T11:00:00.000Z",
        "ended": "2025-05-27T11:00:04.500Z",
        "healthy": True,
        "escalated": False,
        "seconds": 4.5,
        "evidence": [],
        "remedies": [{"name": "restart", "done": True}],
        **changed,
    }


def build(
    answers: Any = None, incidents: Any = (), releases: Any = (), lines: Any = None, **about: Any
) -> page_figures.Figures:
    given = WELL if answers is None else answers
    shown = cast(page_figures.ShownApp, {**ABOUT, **about})
    return page_figures.build(shown, given, lines or {}, {}, list(incidents), list(releases), NOW)


def page(figures: page_figures.Figures, language: str = "en", choice: Any = (("shop", "shop"),)) -> str:
    return page_html.render(figures, choice, "shop", language, timezone.utc)


def figure(text: str, name: str) -> str:
    found = re.search(rf'data-figure="{name}">(.*?)</', text)
    assert found, name
    return re.sub("<[^>]*>", "", found[1])


# --- the figures -----------------------------------------------------------------------------------------------------

OPEN = [({"cause": "hung"}, 1.0)]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({}, "unknown"),
        (WELL, "up"),
        ({**WELL, "state": [({}, 0.5)]}, "degraded"),
        ({**WELL, "state": [({}, 0.0)], "healthy": [({}, 0.0)]}, "down"),
        ({**WELL, "healthy": [({}, 0.0)]}, "down"),
        ({**WELL, "state": [({}, 0.0)]}, "up"),
        ({**WELL, "incident": OPEN}, "degraded"),
        ({**WELL, "paused": [({}, 1.0)]}, "paused"),
        ({**WELL, "paused": [({}, 1.0)], "healthy": [({}, 0.0)]}, "down"),
        ({**WELL, "healthy": [({}, 0.0)], "seen": [({}, NOW - 600)]}, "up"),
        ({"healthy": [({}, 1.0)], "seen": [({}, NOW - 600)]}, "unknown"),
        ({"state": [({}, 0.0)]}, "down"),
    ],
    ids=[
        *(
            "no answer",
            "up",
            "degraded",
            "down",
            "down a moment ago",
            "up again",
            "an open incident",
            "paused",
        ),
        *("paused and down", "a silent watcher", "only a silent watcher", "no watcher"),
    ],
)
def test_state(answers: Any, state: str) -> None:
    assert build(answers)["state"] == state


def test_an_open_incident_is_shown_with_its_record() -> None:
    found = incident(cause="upstream_down", healthy=False, evidence=["upstream supabase: 503"])
    figures = build({**WELL, "healthy": [({}, 0.0)], "incident": [({"cause": "upstream_down"}, 1.0)]}, [found])
    assert figures["since"] == pytest.approx(NOW - 3615)
    text = page(figures)
    assert "Upstream supabase is down" in text
    assert "· for 1 h<" in text
    assert "goes on" in text


CRASHED = {"healthy": [({}, 0.0)], "state": [({}, 0.0)], "incident": [({"cause": "crashed"}, 1.0)]}
STEP = "Read the last log lines, then deploy."


@pytest.mark.parametrize(
    ("language", "answers", "record", "wanted"),
    [
        ("en", {}, {}, ["It is not running · for 1 h<", "At fault: db, api", "Next: Nothing to do yet."]),
        ("ko", {}, {}, ["실행되고 있지 않음 · 1시간째", "서비스: db, api", "다음 할 일: 아직 할 일은 없습니다."]),
        ("en", {}, {"escalated": True}, ["At fault: db, api", f"Next: {STEP}"]),
        ("ko", {}, {"escalated": True}, ["다음 할 일: 인시던트에 보관된 증거"]),
        ("en", {"paused": [({}, 1.0)]}, {}, ["At fault: db, api", "paused the healing"]),
        # The record is written before Prometheus has the incident, or while Prometheus is down.
        ("en", {"incident": []}, {}, ["It is not running", "At fault: db, api"]),
    ],
    ids=["healing", "in Korean", "escalated", "escalated, in Korean", "paused", "not known to Prometheus yet"],
)
def test_while_it_is_down_cause_services_and_next_step_are_on_top(
    language: str, answers: Any, record: Any, wanted: list[str]
) -> None:
    found = incident(cause="crashed", healthy=False, services=["db", "api"], next_step=STEP, **record)
    figures = build({**WELL, **CRASHED, **answers}, [found])
    headline = page(figures, language).partition('class="headline down"')[2].partition("</section>")[0]
    assert [one for one in wanted if one not in headline] == []


def test_an_app_of_one_service_does_not_name_it() -> None:
    text = page(build({**WELL, **CRASHED}, [incident(cause="crashed", healthy=False, services=[])]))
    assert "At fault" not in text


def test_the_cause_is_shown_for_an_app_on_another_host() -> None:
    text = page(build({**WELL, **CRASHED, "breaker": [({}, 1.0)]}))
    assert "It is not running" in text
    assert "a person is needed" in text
    assert "Nothing to do yet" not in text


def test_an_incident_of_a_service_that_no_check_asks_is_not_an_outage() -> None:
    found = incident(cause="crashed", healthy=False, services=["worker"])
    figures = build({**WELL, "incident": CRASHED["incident"]}, [found])
    assert figures["open"]
    assert (figures["state"], figures["open"]["services"]) == ("degraded", ["worker"])


def test_an_unfinished_record_is_not_open_when_the_watcher_has_no_incident() -> None:
    assert build(incidents=[incident(healthy=False)])["open"] is None


def test_services_are_shown_by_their_names() -> None:
    assert ">db: it is not running<" in page(build(incidents=[incident(cause="crashed", services=["db"])]))


def test_month() -> None:
    records = [
        incident(),
        incident(seconds=15.5, escalated=True),
        incident(by_hand=True, seconds=10.0),
        incident(healthy=False, seconds=99.0),
        incident(seen="2025-04-01T00:00:00Z", seconds=1000.0),
    ]
    assert build(incidents=records)["month"] == {
        "count": 4,
        "ended": 3,
        "mean_seconds": pytest.approx(10.0),
        "unattended": pytest.approx(1 / 3),
    }
    assert build()["month"] == {"count": 0, "ended": 0, "mean_seconds": None, "unattended": None}


@pytest.mark.parametrize(
    ("count", "shown", "hidden"), [(0, 0, 0), (1, 1, 0), (3, 3, 0), (4, 3, 1), (8, 3, 5), (30, 3, 5)]
)
@pytest.mark.parametrize(("language", "more"), [("en", "{} more"), ("ko", "{}건 더 보기")])
def test_the_newest_few_incidents_are_shown_and_the_rest_on_a_click(
    count: int, shown: int, hidden: int, language: str, more: str
) -> None:
    records = [incident(id=f"number {at}", seen=f"2025-05-{27 - at % 27:02}T11:00:00Z") for at in range(count)]
    text = page(build(incidents=records), language)
    open_part, _, behind = text.partition("<details>")
    found = [re.findall(r'data-incident="number (\d+)"', part) for part in (open_part, behind)]
    assert found == [[str(at) for at in range(shown)], [str(at) for at in range(shown, shown + hidden)]]
    assert (f"<summary>{more.format(hidden)}</summary>" in text) == bool(hidden)


@pytest.mark.parametrize(
    "changed",
    [
        {"seen": "yesterday"},
        {"seconds": "4"},
        {"remedies": ["restart"]},
        {"remedies": [{}]},
        {"evidence": [1]},
        {"services": 5},
        {"cause": 5},
    ],
)
def test_a_damaged_record_is_left_out(changed: dict[str, Any]) -> None:
    assert [one["seconds"] for one in build(incidents=[incident(**changed), incident()])["incidents"]] == [4.5]


def test_figures_of_the_host_and_of_the_error_budget() -> None:
    answers = {
        **WELL,
        "host_disk": [({"mountpoint": "/"}, 0.4), ({"mountpoint": "/srv"}, 0.93)],
        "budget_left": [({}, -0.25)],
        "failed_1h": [({}, 0.0144)],
    }
    figures = build(answers)
    assert (figures["host_now"]["disk"], figures["host_now"]["mountpoint"]) == (0.93, "/srv")
    assert figures["slo"]["burn"] == {"1h": pytest.approx(14.4), "6h": None, "3d": None}
    text = page(figures)
    assert figure(text, "budget_left") == "-25.0 %"
    assert figure(text, "burn_1h") == "14.4×"
    assert figure(text, "burn_6h") == "–"
    assert figure(text, "host_disk") == "93 %"


def test_thresholds_mark_what_is_above_them() -> None:
    answers = {**WELL, "host_memory": [({}, 0.81)], "response": [({}, 0.3)]}
    assert 'gauge over"><dt>Memory' in page(build(answers))
    assert 'gauge over"><dt>Memory' not in page(build(answers, thresholds={"memory_percent": 90}))
    assert 'tile over"><dt>Response' in page(build(answers, thresholds={"response_ms": 250}))


def test_alerts() -> None:
    labels = {"alertname": "HostMemory", "severity": "warning", "host": "web1"}
    loop = {"alertname": "RestartLoop", "severity": "critical", "container": "shop-web-1"}
    answers = {
        **WELL,
        "alerts": [
            ({**labels, "__name__": "ALERTS", "alertstate": "firing"}, 1.0),
            ({**loop, "alertstate": "firing"}, 1.0),
        ],
        "alerts_since": [({**labels, "__name__": "ALERTS_FOR_STATE"}, NOW - 120), (loop, NOW - 60)],
    }
    found = build(answers)["alerts"]
    assert [(one["name"], one["about"], NOW - (one["since"] or 0.0)) for one in found] == [
        ("RestartLoop", "shop-web-1", 60),
        ("HostMemory", "", 120),
    ]
    assert ">Restart loop</b> shop-web-1" in page(build(answers))
    assert ">반복 재시작</b> shop-web-1" in page(build(answers), "ko")


def test_the_database_is_shown_where_there_is_one() -> None:
    assert "Database and cache" not in page(build())
    text = page(build({**WELL, "pool_waiting": [({}, 3.0)], "pool_query": [({}, 0.0042)], "database_up": [({}, 0.0)]}))
    assert (figure(text, "pool_waiting"), figure(text, "pool_query"), figure(text, "database_up")) == (
        "3",
        "4 ms",
        "no",
    )


def test_release_backup_and_drift() -> None:
    release = {"id": "2", "time": "2025-05-27T11:00:15Z", "by": "kim"}
    text = page(build(releases=[{"id": "1"}, release]))
    assert figure(text, "release") == "1 h ago"
    assert "by kim" in text
    assert figure(text, "backup") == figure(text, "drift") == "not set up"
    answers = {**WELL, "backup": [({}, NOW - 7200)], "drift_checked": [({}, NOW - 60)], "drift_found": [({}, 2.0)]}
    text = page(build(answers))
    assert (figure(text, "backup"), figure(text, "drift")) == ("2 h ago", "1 min ago")
    assert "drift found: 2" in text


def test_a_day_shows_even_one_bad_minute() -> None:
    midnight = int(NOW // 86400 * 86400)
    minutes = {"up": {midnight: 700.0, midnight - 86400: 1440.0}, "down": {midnight: 1.0}, "degraded": {midnight: 10.0}}
    figures = page_figures.build(ABOUT, WELL, {}, minutes, [], [], NOW)
    text = page(figures)
    assert 'title="2025-05-27: down 1 min, degraded 10 min"' in text
    assert '<span class="up" title="2025-05-26: up">' in text
    assert text.count('class="none" title="') == 0
    # 1 of 2151 minutes: not rounded up to 100 %.
    assert figure(text, "uptime_all") == "99.95 %"


# --- the measured time -----------------------------------------------------------------------------------------------

MIDNIGHT = int(NOW // 86400 * 86400)
MINUTE, HOUR = 60.0, 3600.0


def measured(seconds: float) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
    """The answers of Prometheus for an app that was measured, and up, for these seconds: (answers, minutes)."""
    since = NOW - seconds
    days = range(int(since // 86400 * 86400), MIDNIGHT + 1, 86400)
    up = {day: (min(NOW, day + 86400) - max(since, day)) // 60 for day in days}
    first = max(since, NOW - 86400)
    return {**WELL, "first": [({}, first)], "uptime_day": [({}, 0.995)]}, {"up": up}


@pytest.mark.parametrize(
    ("seconds", "shown", "since", "bars", "window", "charts"),
    [
        (6 * MINUTE, {"all": "6 min"}, "2025-05-27 11:54", 1, 600, "Last 10 minutes"),
        (50 * MINUTE, {"all": "50 min"}, "2025-05-27 11:10", 1, 3600, "Last 60 minutes"),
        (20 * HOUR, {"all": "20 h"}, "2025-05-26 16:00", 2, 86400, "Last 24 hours"),
        (30 * HOUR, {"day": "24 h", "all": "2 days"}, "2025-05-26", 2, 86400, "Last 24 hours"),
        (9 * 24 * HOUR, {"day": "24 h", "7": "7 days", "all": "10 days"}, "2025-05-18", 10, 86400, "Last 24 hours"),
        (
            40 * 24 * HOUR,
            {"day": "24 h", "7": "7 days", "30": "30 days", "all": "41 days"},
            *("2025-04-17", 41, 86400, "Last 24 hours"),
        ),
        (
            200 * 24 * HOUR,
            {"day": "24 h", "7": "7 days", "30": "30 days", "90": "90 days"},
            *(None, 90, 86400, "Last 24 hours"),
        ),
    ],
    ids=[
        "minutes",
        "an hour",
        "since yesterday",
        "more than a day",
        "days",
        "more than a month",
        "longer than it shows",
    ],
)
def test_the_page_goes_back_as_far_as_the_measurements(
    seconds: float, shown: dict[str, str], since: str | None, bars: int, window: int, charts: str
) -> None:
    answers, minutes = measured(seconds)
    lines = {"response": [(NOW, 1.0)]}
    text = page(page_figures.build(ABOUT, answers, lines, minutes, [], [], NOW))
    assert dict(re.findall(r'data-figure="uptime_(\w+)">[\d.]+ %</span> <small>(.+?)</small>', text)) == shown
    assert re.findall(r'data-figure="measured">measured since (.+?)<', text) == ([since] if since else [])
    assert len(re.findall(r'<span class="\w+" title="2\d\d\d-', text)) == bars
    block = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert block["to"] - block["from"] == window
    assert f"<h2>{charts}</h2>" in text


def test_without_measurements_no_day_is_up() -> None:
    text = page(build({}))
    assert (figure(text, "uptime_all"), text.count('class="none" title="')) == ("–", 1)
    assert "measured since" not in text


def test_a_gap_does_not_hide_the_days_before_it() -> None:
    """The app was not measured for four days."""
    answers, minutes = measured(6 * MINUTE)
    minutes["up"][MIDNIGHT - 5 * 86400] = 1440.0
    figures = page_figures.build(ABOUT, answers, {}, minutes, [], [], NOW)
    assert [day["state"] for day in figures["days"]] == ["up", "none", "none", "none", "none", "up"]
    assert figures["window"] == 86400


def test_an_outage_lowers_the_uptime_and_colours_the_day() -> None:
    answers, minutes = measured(20 * HOUR)
    minutes["up"][MIDNIGHT] -= 5
    text = page(page_figures.build(ABOUT, answers, {}, {**minutes, "down": {MIDNIGHT: 5.0}}, [], [], NOW))
    assert figure(text, "uptime_all") == "99.58 %"
    assert '<span class="down" title="2025-05-27: down 5 min">' in text


# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "en", "ko"),
    [
        (None, "–", "–"),
        (0.0071, "7 ms", "7 ms"),
        (4.5, "4.5 s", "4.5초"),
        (2.0, "2 s", "2초"),
        (60, "1 min", "1분"),
        (200, "3 min 20 s", "3분 20초"),
        (3600 * 5, "5 h", "5시간"),
        (86400 * 2 + 4 * 3600 + 59, "2 d 4 h", "2일 4시간"),
    ],
)
def test_seconds(number: float | None, en: str, ko: str) -> None:
    assert (page_html.seconds(number, "en"), page_html.seconds(number, "ko")) == (en, ko)


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (1, "100.00 %"), (0.99999, "99.99 %"), (0.5, "50.00 %"), (0, "0.00 %")]
)
def test_percent(share: float | None, text: str) -> None:
    assert page_html.percent(share, 2) == text


@pytest.mark.parametrize(
    ("asked", "accepted", "default", "language"),
    [
        ("ko", "en", "en", "ko"),
        ("xx", "ko-KR,ko;q=0.9,en;q=0.8", "en", "ko"),
        ("", "fr-FR, fr;q=0.9, en;q=0.8", "ko", "en"),
        ("", "fr", "ko", "ko"),
        ("", "", "en", "en"),
    ],
)
def test_language(asked: str, accepted: str, default: str, language: str) -> None:
    assert page_html.choose(asked, accepted, default) == language


def test_both_languages_say_the_same() -> None:
    english, korean = page_words.WORDS["en"], page_words.WORDS["ko"]
    assert list(english) == list(korean)

    def gaps(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [key for key in english if gaps(english[key]) != gaps(korean[key])] == []


def test_every_alert_has_a_korean_name() -> None:
    pages = set(re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert pages - set(page_words.ALERTS["ko"]) == set()


def test_thresholds_are_those_of_monitoring() -> None:
    known = yaml.safe_load((ROOT / "roles/monitoring/vars/main.yml").read_text(encoding="utf-8"))
    defaults = known["__monitoring_thresholds_default"]
    assert {name: defaults[name] for name in page_figures.THRESHOLDS} == page_figures.THRESHOLDS


class Checked(HTMLParser):
    """Collects the elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("language", page_html.LANGUAGES)
def test_hostile_names_stay_text(language: str) -> None:
    labels = dict.fromkeys(("container", "service", "mountpoint", "check", "alertname", "severity", "cause"), EVIL)
    answers: dict[str, Any] = {name: [(labels, 1.0)] for name in page_queries.NOW}
    answers["seen"] = [({}, NOW)]
    records = [
        incident(
            **dict.fromkeys(("id", "cause", "meaning", "next_step"), EVIL),
            **{"healthy": False, "escalated": True, "services": [EVIL], "evidence": [EVIL]},
            remedies=[{"name": EVIL, "done": True}],
        )
    ]
    releases = [{"id": EVIL, "time": "2025-05-27T11:00:15Z", "by": EVIL}]
    lines = {name: [(NOW, 1.0)] for name in page_queries.BY_STEP}
    figures = build(answers, records, releases, lines, app=EVIL, host=EVIL)
    text = page_html.render(figures, [(EVIL, EVIL), ("b", "b")], EVIL, language, timezone.utc)
    checked = Checked()
    checked.feed(text)
    scripts = [attributes for tag, attributes in checked.seen if tag == "script"]
    assert [(one.get("src"), one.get("type")) for one in scripts] == [
        ("dygraph.js", None),
        ("page.js", None),
        (None, "application/json"),
    ]
    assert [
        attributes
        for _, attributes in checked.seen
        if any(key == "style" or key.startswith("on") for key in attributes)
    ] == []
    assert all(
        str(attributes["href"]).startswith(("./?", "icon.svg", "page.css"))
        for _, attributes in checked.seen
        if "href" in attributes
    )
    block = re.search(r'id="data">(.*?)</script>', text)
    assert block
    assert json.loads(block[1])["charts"]["response"]["rows"] == [[int(NOW), 1000.0]]
    assert "<script>alert" not in text


# --- the server ------------------------------------------------------------------------------------------------------


def test_apps_of_the_same_name_are_distinguished_by_host() -> None:
    labels = [{"app": "shop", "host": "web1"}, {"app": "shop", "host": "web2"}, {"app": "mail", "host": "web1"}, {}]
    own = cast(page_server.PageSettings, {"app": "shop", "host": "web1", "directory": "/opt/shop"})
    found = page_server.choice(labels, [own])
    assert {key: (one.app, one.host, bool(one.settings)) for key, one in found.items()} == {
        "mail": ("mail", "web1", False),
        "shop@web1": ("shop", "web1", True),
        "shop@web2": ("shop", "web2", False),
    }


class Prometheus(BaseHTTPRequestHandler):
    """A Prometheus that has measured one healthy app for six minutes. `asked` has the requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        labels = {"app": "shop", "host": "web1"}
        value = str(time.time() - 360) if "timestamp%28" in self.path else "1"
        values = [[NOW, value]] if "query_range" in self.path else [NOW, value]
        result = [{"metric": labels, "values" if "query_range" in self.path else "value": values}]
        if "step=86400" in self.path:
            # No day is over yet.
            result = []
        body = json.dumps({"status": "success", "data": {"result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """The page's server on a free port, and what it asks Prometheus."""
    asked: list[str] = []
    monkeypatch.setattr(Prometheus, "asked", asked, raising=False)
    prometheus = HTTPServer(("127.0.0.1", 0), Prometheus)
    folder = tmp_path / "page"
    folder.mkdir()
    settings = {
        "app": "shop",
        "host": "web1",
        "directory": str(tmp_path),
        "language": "ko",
        "prometheus": prometheus.server_port,
    }
    (folder / "shop.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "damaged.json").write_text("{", encoding="utf-8")
    listening = socket.create_server(("127.0.0.1", 0))
    serving = page_server.Server(listening, page_server.Page(str(folder), str(tmp_path)))
    threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in (prometheus, serving)]
    for thread in threads:
        thread.start()
    yield listening.getsockname()[1], asked
    for one in (serving, prometheus):
        one.shutdown()
        one.server_close()
    for thread in threads:
        thread.join()


def get(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response, response.read()
    finally:
        connection.close()


def test_it_serves_the_page_and_asks_only_its_own_queries(server: tuple[int, list[str]]) -> None:
    port, asked = server
    status, response, body = get(port, "/?app=shop&lang=en")
    assert status == 200
    assert "default-src 'none'" in str(response.headers["Content-Security-Policy"])
    assert response.headers["Cache-Control"] == "no-store"
    assert b"All is well" in body
    assert len(asked) == 1 + len(page_queries.NOW) + 3 + len(page_queries.BY_STEP)
    assert {path.partition("?")[0] for path in asked} == {"/api/v1/query", "/api/v1/query_range"}
    # The days, and charts of ten minutes.
    assert sorted(re.findall(r"step=(\d+)", " ".join(asked))) == [*["15"] * len(page_queries.BY_STEP), *["86400"] * 3]
    asked.clear()
    assert get(port, "/?app=shop&lang=en")[0] == 200
    assert asked == [], "a recent page is served from the cache"
    assert "정상".encode() in get(port, "/")[2]
    assert b"All is well" in get(port, "/", **{"Accept-Language": "en-GB,en;q=0.9"})[2]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?query=up", 400),
        ("/?app=shop&query=up", 400),
        ("/?app=shop&app=shop", 400),
        ("/?app=other", 404),
        ("/?app=%22%7D%20or%20up", 404),
        ("/api/v1/query?query=up", 404),
        ("/page", 404),
    ],
)
def test_it_refuses_every_other_request(server: tuple[int, list[str]], path: str, status: int) -> None:
    port, asked = server
    assert get(port, path)[0] == status
    assert [one for one in asked if "group+by" not in one] == []


@pytest.mark.parametrize(
    ("name", "status"),
    [("localhost:9418", 200), ("[::1]:9418", 200), ("127.0.0.1", 200), ("other.example:9418", 421)],
)
def test_a_request_for_another_host_name_is_refused(server: tuple[int, list[str]], name: str, status: int) -> None:
    assert get(server[0], "/", Host=name)[0] == status


def test_without_prometheus_it_says_so(server: tuple[int, list[str]], tmp_path: Path) -> None:
    settings = {"app": "shop", "host": "web1", "directory": str(tmp_path), "language": "en", "prometheus": 1}
    (tmp_path / "page" / "shop.json").write_text(json.dumps(settings), encoding="utf-8")
    status, _, body = get(server[0], "/")
    assert status == 200
    assert b"Prometheus does not answer" in body
    assert b'data-state="unknown"' in body


def test_an_unchanged_file_is_not_sent_again(
    server: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.css").write_text("body {}" * 1000, encoding="utf-8")
    monkeypatch.setitem(page_server.STATIC, "/page.css", (str(tmp_path / "page.css"), "text/css"))
    status, response, body = get(server[0], "/page.css", **{"Accept-Encoding": "gzip"})
    assert (status, response.headers["Content-Encoding"], len(body) < 200) == (200, "gzip", True)
    assert get(server[0], "/page.css", **{"If-None-Match": str(response.headers["ETag"])})[::2] == (304, b"")
