# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The watcher's state survives kills, clock jumps, reboots and damage; damaged orders have no effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Moment, age
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state


def moment(wall: float, monotonic: float, boot: str = "b1") -> Moment:
    return {"wall": wall, "monotonic": monotonic, "boot": boot}


@pytest.mark.parametrize(
    ("then", "now", "seconds"),
    [
        pytest.param(moment(1000, 50), moment(1010, 60), 10, id="the clock was not set"),
        pytest.param(moment(1000, 50), moment(4600, 60), 10, id="the clock was set forward an hour"),
        pytest.param(moment(1000, 50), moment(10, 60), 10, id="the clock was set back"),
        pytest.param(moment(1000, 5000), moment(1030, 7, "b2"), 30, id="a reboot"),
        pytest.param(moment(1000, 5000), moment(900, 7, "b2"), 0, id="a reboot, and the clock was set back"),
        pytest.param(moment(1000, 50, ""), moment(1030, 60, ""), 30, id="a kernel without boot ids"),
    ],
)
def test_age(then: Moment, now: Moment, seconds: float) -> None:
    assert age(then, now) == seconds


def test_a_saved_state_is_loaded_again(tmp_path: Path) -> None:
    attempts: list[state.Attempt] = [{"remedy": "restart", "incident": "i1", "at": clock.moment()}]
    wanted: state.State = {**state.empty(), "attempts": attempts, "counts": {"recovered": 2}}
    assert state.save(str(tmp_path / "new"), wanted) == (True, "")
    assert state.load(str(tmp_path / "new")) == (wanted, "")


RECORD: dict[str, Any] = {
    **dict.fromkeys(("app", "host", "cause", "meaning", "seen", "confirmed", "ended", "hold", "next_step"), ""),
    **{"id": "20250527T020000Z-hung", "healthy": False, "escalated": False, "seconds": 0.0},
    **{"evidence": [], "remedies": [], "timeline": [], "files": []},
}
OPEN: dict[str, Any] = {**state.empty(), "incident": RECORD, "seen": moment(1000, 50)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="zero bytes"),
        pytest.param('{"incident": nul', id="cut short"),
        pytest.param("[]", id="a list"),
        pytest.param("{}", id="no keys"),
        pytest.param(json.dumps({**state.empty(), "attempts": [{"remedy": "up"}]}), id="an attempt without a time"),
        pytest.param(json.dumps({**OPEN, "seen": None}), id="an incident without its beginning"),
        pytest.param(json.dumps({**OPEN, "incident": {**RECORD, "hold": None}}), id="a record without a text"),
        pytest.param(json.dumps({**OPEN, "incident": {**RECORD, "remedies": [1]}}), id="a remedy that is a number"),
        pytest.param(json.dumps({**OPEN, "incident": {**RECORD, "id": "../../etc"}}), id="an id with a path"),
        pytest.param(json.dumps({**state.empty(), "counts": {"recovered": "x"}}), id="a count that is not a number"),
        pytest.param(json.dumps({**state.empty(), "outbox": {}}), id="an outbox that is not a list"),
        pytest.param("[" * 100000, id="nested too deep"),
    ],
)
def test_a_damaged_state_is_moved_aside_and_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / state.STATE).write_text(text)
    assert "could not be read" in state.load(str(tmp_path), repair=False)[1]
    found, problem = state.load(str(tmp_path))
    assert found == state.empty()
    assert "moved aside" in problem
    assert (tmp_path / f"{state.STATE}.damaged").read_text() == text
    assert state.load(str(tmp_path)) == (state.empty(), "")


def test_a_state_that_cannot_be_written_is_reported_and_kept_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder, spare = str(tmp_path / "file" / "below"), str(tmp_path / "spare.json")
    wanted: state.State = {**state.empty(), "counts": {"recovered": 2}}
    assert state.save(folder, wanted)[0] is False
    remembered, problem = state.save(folder, wanted, spare)
    assert (remembered, "cannot be written" in problem) == (True, True)
    assert state.load(folder, spare) == (wanted, "")
    assert state.save(str(tmp_path), state.empty(), spare) == (True, "")
    assert not (tmp_path / "spare.json").exists(), "the spare copy is older than the saved state"


def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    paused: state.Pause = {"until": 100.0, "reason": "a new disk", "since": moment(70, 5)}
    state.write_orders(str(tmp_path), {"paused": paused, "resumed": None})
    orders = state.read_orders(str(tmp_path))
    left = [state.pause_left(orders, now) for now in (moment(90, 25), moment(100, 35), moment(4000, 25))]
    assert left == [10.0, 0.0, 10.0], "setting the clock forward does not shorten a pause"


def test_damaged_orders_have_no_effect(tmp_path: Path) -> None:
    (tmp_path / state.ORDERS).write_text('{"paused": {"until": "tomorrow"}, "resumed": null}')
    assert state.read_orders(str(tmp_path)) == {"paused": None, "resumed": None, "problem": ANY}
    assert "order it again" in state.read_orders(str(tmp_path))["problem"]
