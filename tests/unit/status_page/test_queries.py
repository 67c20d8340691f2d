# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page sends a fixed list of queries, whatever the name of an app holds, and reads the answers."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import queries as page_queries

NOW = 1748347215.5  # 2025-05-27 12:00:15 UTC
MIDNIGHT = 1748304000
HOSTILE: page_queries.About = {"app": 'shop"} or up{a="', "host": "web\\1\n%(app)s"}


@pytest.mark.parametrize("name", [*page_queries.NOW, *page_queries.BY_STEP])
def test_a_name_stays_within_its_quotes(name: str) -> None:
    template = {**page_queries.NOW, **page_queries.BY_STEP}[name]
    found = page_queries.expression(template, HOSTILE)
    assert 'or up{a="' not in found
    assert "\n" not in found
    assert re.search(r'(host|target)="web\\\\1\\n%\(app\)s"', found)


def test_a_query_selects_an_app_by_its_labels() -> None:
    about: page_queries.About = {"app": "shop", "host": "web1"}
    assert page_queries.expression(page_queries.NOW["state"], about) == 'max(app:state:now{app="shop",host="web1"})'
    assert 'proxy="selfheal-shop"' in page_queries.expression(page_queries.NOW["serving"], about)


def asked(path: str) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(path.partition("?")[2]).items()}


def test_times() -> None:
    assert asked(page_queries.instant("up", NOW)) == {"query": "up", "time": "1748347215.500"}
    days = asked(page_queries.by_day({"app": "shop", "host": "web1"}, NOW)["count"])
    assert (int(days["start"]), int(days["end"]), days["step"]) == (MIDNIGHT - 88 * 86400, MIDNIGHT + 86400, "86400")
    steps = asked(page_queries.by_step("up", NOW))
    assert (int(steps["end"]), int(steps["end"]) - int(steps["start"])) == (1748347200, 86400)
    assert steps["step"] == "300"
    steps = asked(page_queries.by_step("up", NOW, 600))
    assert (int(steps["end"]), int(steps["end"]) - int(steps["start"]), steps["step"]) == (1748347215, 600, "15")


@pytest.mark.parametrize(
    ("age", "window"), [(0, 600), (360, 600), (601, 1800), (3600, 3600), (5 * 3600, 6 * 3600), (86401, 86400)]
)
def test_charts_show_the_shortest_time_that_fits_the_measurements(age: float, window: int) -> None:
    assert page_queries.window(age) == window


def test_a_day_needs_all_of_its_answers() -> None:
    days = {name: {MIDNIGHT: number} for name, number in (("count", 10.0), ("mean", 1.0), ("variance", 0.0))}
    assert page_queries.minutes(days)["up"] == {MIDNIGHT: 10}
    for name in days:
        assert page_queries.minutes({key: value for key, value in days.items() if key != name}) == {}
    assert page_queries.minutes({**days, "mean": {}}) == {}


def answer(*results: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"result": list(results)}}


def test_values_that_are_not_numbers_are_left_out() -> None:
    values = [{"metric": {"a": one}, "value": [NOW, one]} for one in ("1.5", "NaN", "+Inf", "-Inf", "0")]
    assert page_queries.samples(answer(*values)) == [({"a": "1.5"}, 1.5), ({"a": "0"}, 0.0)]
    line = {"metric": {}, "values": [[1, "2"], [2, "NaN"], [3, "4"]]}
    assert page_queries.line(answer(line)) == [(1.0, 2.0), (3.0, 4.0)]
    assert page_queries.line(answer()) == []
    assert page_queries.samples(answer()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "error", "error": "parse error"},
        {"status": "success"},
        {"status": "success", "data": {"result": [{}]}},
        {"status": "success", "data": {"result": [{"metric": {}, "value": ["x"], "values": [["x"]]}]}},
        {"status": "success", "data": {"result": [{"metric": {}, "value": [1, "one"], "values": [[1, "one"]]}]}},
        [],
        "",
    ],
)
def test_an_answer_of_another_shape_is_an_error(wrong: Any) -> None:
    for read in (page_queries.samples, page_queries.line, page_queries.counted):
        with pytest.raises(page_queries.AnswerError):
            read(wrong)
