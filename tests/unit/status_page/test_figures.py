# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures of the status page, from answers of Prometheus and from records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import figures as page_figures
from ansible_collections.christmas.selfheal.tests.unit.status_page.factories import (
    ABOUT,
    CRASHED,
    MIDNIGHT,
    MINUTE,
    NOW,
    WELL,
    build,
    incident,
    measured,
)

ROOT = Path(__file__).resolve().parents[3]

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


def test_an_incident_of_a_service_that_no_check_asks_is_not_an_outage() -> None:
    found = incident(cause="crashed", healthy=False, services=["worker"])
    figures = build({**WELL, "incident": CRASHED["incident"]}, [found])
    assert figures["open"]
    assert (figures["state"], figures["open"]["services"]) == ("degraded", ["worker"])


def test_an_unfinished_record_is_not_open_when_the_watcher_has_no_incident() -> None:
    assert build(incidents=[incident(healthy=False)])["open"] is None


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


def test_a_gap_does_not_hide_the_days_before_it() -> None:
    """The app was not measured for four days."""
    answers, minutes = measured(6 * MINUTE)
    minutes["up"][MIDNIGHT - 5 * 86400] = 1440.0
    figures = page_figures.build(ABOUT, answers, {}, minutes, [], [], NOW)
    assert [day["state"] for day in figures["days"]] == ["up", "none", "none", "none", "none", "up"]
    assert figures["window"] == 86400


def test_thresholds_are_those_of_monitoring() -> None:
    known = yaml.safe_load((ROOT / "roles/monitoring/vars/main.yml").read_text(encoding="utf-8"))
    defaults = known["__monitoring_thresholds_default"]
    assert {name: defaults[name] for name in page_figures.THRESHOLDS} == page_figures.THRESHOLDS
