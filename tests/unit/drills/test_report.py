# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a run of drills: its verdict, its page and its picture."""

from __future__ import annotations

from typing import cast
from xml.etree import ElementTree

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import report as drill_report
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.tests.unit.drills.factories import RECORD, SEEN, fault

ABOUT: drill_report.About = {
    "id": "20251123T000000Z-drill-lab1",
    "app": "shop",
    "host": "lab1",
    "address": "192.0.2.1",
    "url": "http://192.0.2.1:8000/health",
    "language": "ko",
    "left_out": ["reboot is left out: it needs a lab host"],
}


def runs(*seconds: float) -> list[drill_judge.Run]:
    return [drill_judge.judge(fault(), SEEN._replace(recovered=100.0 + one)) for one in seconds]


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        pytest.param([5.0], "drills: 1 of 1 goals met", id="met"),
        pytest.param([6.1], "drills: 0 of 1 goals met; hang missed: 6.1 s, goal 5 s", id="median"),
        pytest.param([4, 4, 9], "drills: 0 of 1 goals met; hang missed: p95 9.0 s, goal 8 s", id="p95"),
    ],
)
def test_verdict(seconds: list[float], verdict: str) -> None:
    report = drill_report.build(ABOUT, [fault()], runs(*seconds))
    assert report["verdict"] == verdict
    assert report["ok"] == (report["met"] == report["total"])
    assert drill_report.screen(report, "reports/x.md").splitlines()[-1] == verdict


def test_a_run_that_ended_early_is_no_success() -> None:
    report = drill_report.build(ABOUT, [fault()], [], ["ended early: the host does not answer"])
    assert report["ok"] is False
    assert report["verdict"] == "drills: 0 of 0 goals met; ended early: the host does not answer"


def test_pages() -> None:
    report = drill_report.build(ABOUT, [fault()], runs(4.0, 6.0, 9.0))
    page = drill_report.markdown(report, "x.svg")
    assert "| hang | 3 | 1.9 s | 6.0 s | 9.0 s | ≤ 5 / 8 s | 39 | hung | restart | yes | NO |" in page
    assert "- hang, 멈춤: 6.0 s, goal 5 s" in page
    assert "- reboot is left out: it needs a lab host" in page
    assert "![Timelines](x.svg)" in page
    picture = ElementTree.fromstring(drill_report.svg(report))
    colors = [node.get("fill") for node in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert colors.count("#c44e52") == 1
    assert colors.count("#55a868") == 2
    ElementTree.fromstring(drill_report.svg(drill_report.build(ABOUT, [fault()], [])))


def test_the_incident_must_name_the_broken_service() -> None:
    broken = drill_fault.service_faults("shop", {"db": 1}, {})["db.stopped"]
    record = cast(IncidentRecord, {**RECORD, "cause": "crashed", "remedies": [], "services": ["web"], "unasked": True})
    run = drill_judge.judge(broken, SEEN._replace(incidents=[record]))
    assert run["problems"] == ["the incident names web"]
    good = drill_judge.judge(broken, SEEN._replace(incidents=[{**record, "services": ["db"]}]))
    assert good["problems"] == []
    report = drill_report.build(ABOUT, [broken], [{**good, "failed": 0}])
    sentence = "No check would have noticed, and the watcher did: db.stopped"
    assert sentence in drill_report.screen(report, "there")
    assert sentence in drill_report.markdown(report, "picture.svg")
    # Failed requests are noticed, even when the restart policy recovers faster than the watcher.
    assert "No check" not in drill_report.screen(drill_report.build(ABOUT, [broken], [{**good, "failed": 2}]), "there")
