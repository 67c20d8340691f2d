# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page in both languages: what it shows of its figures, their format, and that names are escaped."""

from __future__ import annotations

import json
import re
from datetime import timezone
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import figures as page_figures
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import html as page_html
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import queries as page_queries
from ansible_collections.christmas.selfheal.tests.unit.status_page.factories import (
    ABOUT,
    CRASHED,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOW,
    WELL,
    build,
    incident,
    measured,
)

EVIL = "<script>alert('1')</script>\"&{for}</title>"


def page(figures: page_figures.Figures, language: str = "en", choice: Any = (("shop", "shop"),)) -> str:
    return page_html.render(figures, choice, "shop", language, timezone.utc)


def figure(text: str, name: str) -> str:
    found = re.search(rf'data-figure="{name}">(.*?)</', text)
    assert found, name
    return re.sub("<[^>]*>", "", found[1])


# --- the figures -----------------------------------------------------------------------------------------------------


def test_an_open_incident_is_shown_with_its_record() -> None:
    found = incident(cause="upstream_down", healthy=False, evidence=["upstream supabase: 503"])
    figures = build({**WELL, "healthy": [({}, 0.0)], "incident": [({"cause": "upstream_down"}, 1.0)]}, [found])
    assert figures["since"] == pytest.approx(NOW - 3615)
    text = page(figures)
    assert "Upstream supabase is down" in text
    assert "· for 1 h<" in text
    assert "goes on" in text


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


def test_services_are_shown_by_their_names() -> None:
    assert ">db: it is not running<" in page(build(incidents=[incident(cause="crashed", services=["db"])]))


@pytest.mark.parametrize(
    ("count", "shown", "hidden"), [(0, 0, 0), (1, 1, 0), (3, 3, 0), (4, 3, 1), (8, 3, 5), (30, 3, 5)]
)
@pytest.mark.parametrize(("language", "more"), [("en", "{} more"), ("ko", "{}건 더 보기")])
def test_the_newest_few_incidents_are_shown_and_the_rest_on_a_click(
    count: int, shown: int, hidden: int, language: str, more: str
) -> None:
    records = [incident(id=f"number {at}", seen=f"2025-05-{27 - at % 27:02}T11:00:00Z") for at in range(count)]
    text = page(build(incidents=records), language)
    open_part, _unused, behind = text.partition("<details>")
    found = [re.findall(r'data-incident="number (\d+)"', part) for part in (open_part, behind)]
    assert found == [[str(at) for at in range(shown)], [str(at) for at in range(shown, shown + hidden)]]
    assert (f"<summary>{more.format(hidden)}</summary>" in text) == bool(hidden)


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


# --- names -----------------------------------------------------------------------------------------------------------


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
        for _unused, attributes in checked.seen
        if any(key == "style" or key.startswith("on") for key in attributes)
    ] == []
    assert all(
        str(attributes["href"]).startswith(("./?", "icon.svg", "page.css"))
        for _unused, attributes in checked.seen
        if "href" in attributes
    )
    block = re.search(r'id="data">(.*?)</script>', text)
    assert block
    assert json.loads(block[1])["charts"]["response"]["rows"] == [[int(NOW), 1000.0]]
    assert "<script>alert" not in text
