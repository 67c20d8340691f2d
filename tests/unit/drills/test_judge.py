# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures of a drill, and what its judge finds wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.tests.unit.drills.factories import RECORD, SEEN, fault
from ansible_collections.christmas.selfheal.tests.unit.probe.samples import answers


@pytest.mark.parametrize(
    ("seconds", "median", "p95"),
    [
        pytest.param([3.0], 3.0, 3.0, id="one"),
        pytest.param([4.0, 1.0], 2.5, 4.0, id="two"),
        pytest.param([float(n) for n in range(20, 0, -1)], 10.5, 19.0, id="twenty: the nineteenth"),
        pytest.param([float(n) for n in range(1, 22)], 11.0, 20.0, id="twenty-one: the twentieth"),
    ],
)
def test_statistics(seconds: list[float], median: float, p95: float) -> None:
    assert (drill_judge.median(seconds), drill_judge.p95(seconds)) == (median, p95)


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        pytest.param("...xxx", 100.6, 100.2, id="the last good one before the first that failed"),
        pytest.param("xxx", 100.3, 100.0, id="at once"),
        pytest.param("...xxx", 100.0, 100.0, id="the command took no time"),
        pytest.param("......", 100.35, 100.3, id="the app goes on: until the command had ended"),
    ],
)
def test_injected_at(text: str, ended: float, expected: float) -> None:
    assert drill_judge.injected_at(100.0, ended, answers(text)) == pytest.approx(expected)


def test_a_request_that_waited_through_the_fault_is_not_the_last_good_one() -> None:
    waited = [
        Sample(sent, sent + (1.0 if sent > 100.25 else 0.01), ok, why) for sent, _unused, ok, why in answers("......")
    ]
    assert drill_judge.injected_at(100.0, 100.6, waited) == pytest.approx(100.2)


def test_segments() -> None:
    samples = answers("..xxx..")
    samples[5] = Sample(samples[5].sent, samples[5].sent + 1.0, True, "")
    found = drill_judge.segments(samples, 100.2)
    assert found == [(-0.2, 0.0, "good"), (0.0, 0.3, "failed"), (0.3, 0.4, "late"), (0.4, 0.4, "good")]


def test_judge() -> None:
    run = drill_judge.judge(fault(), SEEN)
    assert run["problems"] == []
    assert (run["mttr"], run["noticed"], run["mttd"]) == (4.0, 2.0, 1.9)
    assert (run["failed"], run["requests"], run["cause"], run["remedies"]) == (39, 60, "hung", ["restart"])
    assert run["evidence"] is True


def test_a_recovery_may_count_from_later_than_the_fault() -> None:
    run = drill_judge.judge(fault(), SEEN._replace(since=103.0))
    assert (run["mttr"], run["failed"], run["noticed"]) == (1.0, 39, 2.0)


HELD = {"expect": "held", "goal": {}}
QUIET: IncidentRecord = {**RECORD, "remedies": []}


@pytest.mark.parametrize(
    ("change", "seen", "said"),
    [
        pytest.param({}, {"recovered": None}, ["not recovered within 60 s"], id="not recovered"),
        pytest.param({}, {"well": False}, ["the app has not answered since"], id="down for good"),
        pytest.param({}, {"incidents": [], "files": []}, ["the host opened no incident"], id="no incident"),
        pytest.param({"incident": False}, {"incidents": [], "files": []}, [], id="over before it was noticed"),
        pytest.param({"causes": ["crashed"]}, {}, ["cause hung, expected crashed"], id="another cause"),
        pytest.param({}, {"files": []}, ["no evidence was kept"], id="no evidence"),
        pytest.param({}, {"incidents": [RECORD, RECORD]}, ["2 incidents instead of one"], id="two incidents"),
        pytest.param({"names": "nginx"}, {}, ["the evidence does not name nginx"], id="evidence"),
        pytest.param({"names": "2 s"}, {}, [], id="evidence that names it"),
        pytest.param(
            {}, {"incidents": [{**RECORD, "healthy": False}]}, ["the incident was not closed"], id="still open"
        ),
        pytest.param({}, {"afterwards": "no alert"}, ["afterwards: no alert"], id="afterwards"),
        pytest.param(
            {"instance": True},
            {"balanced": True, "whole": 107.0, "samples": answers("." + "x" * 19)},
            [],
            id="ejected in time",
        ),
        pytest.param(
            {"instance": True},
            {"balanced": True, "whole": 107.0},
            ["19 requests failed, the last one 3.9 s after the fault"],
            id="noticed by users",
        ),
        pytest.param(
            {"instance": True},
            {"balanced": True, "samples": answers("." * 9)},
            ["not all instances serve again"],
            id="one stays away",
        ),
        pytest.param(
            {"served": True},
            {"samples": answers("..x.")},
            ["1 requests failed, the last one 0.2 s after the fault"],
            id="a request was dropped",
        ),
        pytest.param(HELD, {"recovered": None, "incidents": [QUIET]}, [], id="held"),
        pytest.param(
            HELD,
            {"recovered": None, "incidents": [QUIET], "restarted": ["shop-1"]},
            ["touched the app (shop-1 started)"],
            id="not held",
        ),
        pytest.param(
            {**HELD, "expect": "escalated"},
            {"recovered": None, "held": {**QUIET, "escalated": False}},
            ["no person was notified"],
            id="not escalated",
        ),
        # The incident includes the remedies that ran once the port was free, after the fault was held.
        pytest.param(
            {**HELD, "expect": "escalated"},
            {"recovered": None, "held": {**QUIET, "escalated": True}},
            [],
            id="escalated, and restarted when that could help",
        ),
    ],
)
def test_problems(change: dict[str, Any], seen: dict[str, Any], said: list[str]) -> None:
    assert drill_judge.judge(fault(**change), SEEN._replace(**seen))["problems"] == said
