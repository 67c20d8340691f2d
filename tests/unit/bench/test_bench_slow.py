# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""On a slow host causes and remedies count, not seconds."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.bench import slow
from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY

RUN: dict[str, Any] = {
    "fault": "crash",
    "mttd": 9.0,
    "mttr": 90.0,
    "cause": "crashed",
    "remedies": ["up", "recreate"],
    "problems": [],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"remedies": ["restart", "restart"]}, ["restart was applied twice"]),
        ({"problems": ["cause hung, expected crashed"]}, ["cause hung, expected crashed"]),
    ],
)
def test_problems_on_a_slow_host(changes: dict[str, Any], expected: list[str]) -> None:
    assert slow.wrong({**RUN, **changes}) == expected


def test_a_fault_that_is_held_has_no_time_of_recovery() -> None:
    shown = slow.table([RUN, {**RUN, "fault": "overload", "mttr": None, "remedies": []}])
    assert "| crash | 9.0 s | 90.0 s | crashed | up, recreate |  |" in shown
    assert "| overload | 9.0 s | - | crashed | none |  |" in shown


def test_every_drilled_fault_is_in_the_catalogue() -> None:
    there = {path.stem for path in (REPOSITORY / "roles/drill/faults").glob("*.yml")}
    assert set(slow.FAULTS) <= there
