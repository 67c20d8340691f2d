# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the status page asks: a closed list, whatever the names; and how answers are read."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import page_queries, slo

NOW = 1748347215.5  # 2025-05-27 12:00:15 UTC
MIDNIGHT = 1748304000
HOSTILE = {"app": 'shop"} or up{a="', "host": "web\\1\n%(app)s"}


@pytest.mark.parametrize("name", [*page_queries.NOW, *page_queries.BY_DAY, *page_queries.BY_STEP])
def test_a_name_stays_within_its_quotes(name: str) -> None:
    template = {**page_queries.NOW, **page_queries.BY_DAY, **page_queries.BY_STEP}[name]
    found = page_queries.expression(template, HOSTILE)
    assert 'or up{a="' not in found
    assert "\n" not in found
    assert 'host="web\\\\1\\n%(app)s"' in found


def test_an_app_is_asked_for_by_its_labels() -> None:
    about = {"app": "shop", "host": "web1"}
    assert page_queries.expression(page_queries.NOW["state"], about) == 'max(app:state:now{app="shop",host="web1"})'
    assert 'proxy="selfheal-shop"' in page_queries.expression(page_queries.NOW["serving"], about)


def asked(path: str) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(path.partition("?")[2]).items()}


def test_times() -> None:
    assert asked(page_queries.instant("up", NOW)) == {"query": "up", "time": "1748347215.500"}
    days = asked(page_queries.by_day("up", NOW))
    assert (int(days["start"]), int(days["end"]), days["step"]) == (MIDNIGHT - 88 * 86400, MIDNIGHT + 86400, "86400")
    steps = asked(page_queries.by_step("up", NOW))
    assert (int(steps["end"]), int(steps["end"]) - int(steps["start"])) == (1748347200, 86400)


@pytest.mark.parametrize(
    ("up", "degraded", "down"),
    [(1440, 0, 0), (0, 1440, 0), (0, 0, 1440), (1400, 30, 10), (1, 1, 1), (0, 3, 2), (1439, 0, 1)],
)
def test_minutes_of_each_state(up: int, degraded: int, down: int) -> None:
    samples = [1.0] * up + [0.5] * degraded + [0.0] * down
    mean = sum(samples) / len(samples)
    variance = sum((one - mean) ** 2 for one in samples) / len(samples)
    at = float(MIDNIGHT + slo.DAY)
    days = {"count": [(at, float(len(samples)))], "mean": [(at, mean)], "variance": [(at, variance)]}
    found = {state: minutes[MIDNIGHT] for state, minutes in page_queries.minutes(days).items()}
    assert found == {"up": up, "degraded": degraded, "down": down}


def test_days_that_nobody_told_of() -> None:
    assert (
        page_queries.minutes({}) == page_queries.minutes({"count": [(1.0, 5.0)]}) == {state: {} for state in slo.STATES}
    )


def answer(*results: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"result": list(results)}}


def test_what_is_no_number_is_left_out() -> None:
    values = [{"metric": {"a": one}, "value": [NOW, one]} for one in ("1.5", "NaN", "+Inf", "-Inf", "0")]
    assert page_queries.samples(answer(*values)) == [({"a": "1.5"}, 1.5), ({"a": "0"}, 0.0)]
    line = {"metric": {}, "values": [[1, "2"], [2, "NaN"], [3, "4"]]}
    assert page_queries.line(answer(line)) == [(1.0, 2.0), (3.0, 4.0)]
    assert page_queries.line(answer()) == page_queries.samples(answer()) == []


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
def test_an_answer_of_another_shape(wrong: Any) -> None:
    for read in (page_queries.samples, page_queries.line):
        with pytest.raises(page_queries.AnswerError):
            read(wrong)
