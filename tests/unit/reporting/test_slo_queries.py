# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a month is, what a day's bar shows, and what counts as unattended."""

from __future__ import annotations

import statistics
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import slo_queries

MAY, JUNE = 1746057600.0, 1748736000.0
NOW = JUNE + 10 * slo_queries.DAY


@pytest.mark.parametrize(
    ("text", "now", "month"),
    [
        ("2025-05", NOW, ("2025-05", MAY, JUNE, True, 31)),
        ("", NOW, ("2025-05", MAY, JUNE, True, 31)),
        ("", 1736000000.0, ("2024-12", 1733011200.0, 1735689600.0, True, 31)),
        ("2024-02", NOW, ("2024-02", 1706745600.0, 1709251200.0, True, 29)),
        ("2025-06", NOW, ("2025-06", JUNE, NOW, False, 30)),
        ("2025-05", JUNE, ("2025-05", MAY, JUNE, True, 31)),
    ],
    ids=["given", "the last one", "the last one, in January", "a leap year", "it goes on", "it ended just now"],
)
def test_month(text: str, now: float, month: tuple[Any, ...]) -> None:
    assert tuple(slo_queries.month(text, now)) == month


@pytest.mark.parametrize(
    "text", ["May", "2025-13", "2025-00", "2025-5", "202505", "0000-01", "9999-12", "2025-05-01", "٢٠٢٥-٠٥"]
)
def test_no_month(text: str) -> None:
    with pytest.raises(slo_queries.SloError, match=r"is not a month\. Write year and month, as 2025-05"):
        slo_queries.month(text, NOW)


def test_a_month_that_has_not_begun() -> None:
    with pytest.raises(slo_queries.SloError, match=r"2025-07 has not begun\. Write this month, 2025-06, or"):
        slo_queries.month("2025-07", NOW)


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [
        ({"up": 1440}, ("up", 0, 0, 86400, 0)),
        ({"up": 1439, "down": 1}, ("down", 60, 0, 86340, 0)),
        ({"up": 1435, "degraded": 5}, ("up", 0, 300, 86100, 0)),
        ({"up": 1434, "degraded": 6}, ("degraded", 0, 360, 86040, 0)),
        ({"up": 600, "degraded": 100, "down": 20}, ("down", 1200, 6000, 36000, 43200)),
        ({"up": 10}, ("up", 0, 0, 600, 85800)),
        ({}, ("none", 0, 0, 0, 86400)),
    ],
    ids=["up", "a minute down", "degraded for a moment", "degraded", "half of it seen", "hardly seen", "not seen"],
)
def test_bar(minutes: dict[str, float], shown: tuple[Any, ...]) -> None:
    counts = {state: {int(MAY): count} for state, count in minutes.items()}
    [one] = slo_queries.bars(MAY, 1, counts, NOW)
    assert tuple(one.values()) == ("2025-05-01", *shown)


def test_the_day_that_goes_on_and_those_to_come() -> None:
    counts = {"up": {int(MAY): 1440.0, int(MAY) + slo_queries.DAY: 60.0}}
    found = slo_queries.bars(MAY, 3, counts, MAY + slo_queries.DAY + 3630)
    assert [(one["state"], one["up"], one["none"]) for one in found] == [
        ("up", 86400, 0),
        ("up", 3600, 0),
        ("none", 0, 0),
    ]


def test_days_are_asked_for_at_their_ends() -> None:
    """One step a day; the answer is by the day's beginning."""
    path = slo_queries.day_paths(slo_queries.of("shop", "web1"), MAY, 31)["count"]
    asked = {name: value[0] for name, value in parse_qs(path.partition("?")[2]).items()}
    assert (asked["start"], asked["end"], asked["step"]) == (str(int(MAY) + 86400), str(int(JUNE)), "86400")
    assert asked["query"] == 'count_over_time(app:state:now{app="shop",host="web1"}[1d])'


@pytest.mark.parametrize(
    ("down", "degraded", "up"),
    [(0, 0, 1440), (1440, 0, 0), (0, 1440, 0), (1, 0, 0), (43, 0, 1397), (1, 1, 1438), (7, 60, 3), (480, 480, 480)],
)
def test_minutes_follow_from_count_mean_and_variance(down: int, degraded: int, up: int) -> None:
    """A day's are as they were; a day that was not measured is in none of the answers."""
    values = [0.0] * down + [0.5] * degraded + [1.0] * up
    figures = {"count": len(values), "mean": statistics.fmean(values), "variance": statistics.pvariance(values)}
    answers = {name: {"result": [{"values": [[JUNE, str(value)]]}]} for name, value in figures.items()}
    day = int(JUNE) - slo_queries.DAY
    by_name = {name: slo_queries.counted(data) for name, data in answers.items()}
    assert slo_queries.minutes(by_name) == {"down": {day: down}, "degraded": {day: degraded}, "up": {day: up}}


def test_of_nothing_there_are_no_minutes() -> None:
    assert slo_queries.counted({"result": []}) == {}
    assert slo_queries.minutes({name: {} for name in ("count", "mean", "variance")}) == {
        "down": {},
        "degraded": {},
        "up": {},
    }


def test_uptime_is_of_what_was_seen() -> None:
    counts = {"up": {int(MAY): 900.0}, "degraded": {int(MAY): 90.0}, "down": {int(MAY): 10.0}}
    assert slo_queries.uptime(slo_queries.bars(MAY, 2, counts, NOW)) == pytest.approx(0.99)
    assert slo_queries.uptime(slo_queries.bars(MAY, 2, {}, NOW)) is None


def test_the_budget_of_30_days() -> None:
    assert slo_queries.budget_minutes(30, 99.9) == pytest.approx(43.2)


@pytest.mark.parametrize(
    ("record", "alone"),
    [
        ({"healthy": True, "escalated": False}, True),
        ({"healthy": True, "escalated": True}, False),
        ({"healthy": True, "escalated": False, "by_hand": True}, False),
        ({"healthy": False, "escalated": False}, None),
        ({"healthy": False, "escalated": True}, False),
    ],
)
def test_unattended(record: dict[str, Any], alone: bool | None) -> None:
    assert slo_queries.unattended(cast(IncidentRecord, record)) is alone
