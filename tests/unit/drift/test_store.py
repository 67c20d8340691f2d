# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the store keeps of a drift from one check to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import store as drift_store
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Finding
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.host_facts import ReportedFacts
from ansible_collections.christmas.selfheal.tests.unit.drift import factories

HOUR = 3600.0


def finding(id_: str) -> Finding:
    return factories.finding(id=id_)


def test_first_seen_stays_until_it_goes_away() -> None:
    state = drift_store.empty()
    seen = []
    for now, there in ((1 * HOUR, True), (2 * HOUR, True), (3 * HOUR, False), (4 * HOUR, True)):
        found = [finding("a")] if there else []
        gone = drift_store.remember(state, found, ["web1"], now)
        seen.append(found[0]["first_seen"] if found else gone)
    assert seen == [HOUR, HOUR, ["web1: watcher: /etc/x (content)"], 4 * HOUR]


def test_nothing_goes_away_on_a_host_that_was_not_compared() -> None:
    state = drift_store.empty()
    drift_store.remember(state, [finding("a")], ["web1"], HOUR)
    assert drift_store.remember(state, [], ["web2"], 2 * HOUR) == []
    found = [finding("a")]
    drift_store.remember(state, found, ["web1"], 3 * HOUR)
    assert found[0]["first_seen"] == HOUR


def test_old_corrections_do_not_count() -> None:
    state = drift_store.empty()
    drift_store.remember(state, [finding("a")], ["web1"], HOUR)
    state["findings"]["a"]["corrected"] = [0.0, 50 * 86400.0]
    assert drift_store.corrected(state, 51 * 86400.0) == {"a": 1}


def test_a_host_is_accepted_once_or_on_request() -> None:
    state = drift_store.empty()
    assert drift_store.accept(state, {"web1": {"group docker": "no member"}}, all_=False) == ["web1"]
    assert drift_store.accept(state, {"web1": {"group docker": "mallory"}}, all_=False) == []
    assert state["baseline"]["web1"] == {"group docker": "no member"}
    assert drift_store.accept(state, {"web1": {"group docker": "intern"}}, all_=True) == ["web1"]
    assert state["baseline"]["web1"] == {"group docker": "intern"}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = drift_store.empty()
    drift_store.remember(state, [finding("a")], ["web1"], HOUR)
    drift_store.save(str(tmp_path), state)
    assert drift_store.load(str(tmp_path)) == state
    assert (tmp_path / drift_store.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"findings": []}', "\0"])
def test_a_damaged_state_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / drift_store.FILE).write_text(text)
    with pytest.raises(drift_store.StateError, match=r"state.json cannot be read .* move it away"):
        drift_store.load(str(tmp_path))


# --- whole comparisons ---

DAY = 86400.0
STAMPS = {"stamp": "host", "desired_stamp": "desired"}


def compared(**about: Any) -> drift_store.State:
    """The state after the roles have found nothing on web1 and on its monitoring host, at 1000 s."""
    state = drift_store.empty()
    drift_store.note_whole(state, ["web1", "hub"], hosts(**about), 1000.0)
    return state


def hosts(hub: str = "hub", **about: Any) -> dict[str, ReportedFacts]:
    web1 = factories.facts(**{**STAMPS, "looks_at": ["hub"], **about})
    return {"web1": web1, "hub": factories.facts(stamp=hub, desired_stamp="desired")}


UNCHANGED: list[tuple[str, dict[str, ReportedFacts], float, list[str]]] = [
    ("nothing has changed", hosts(), 1000.0 + DAY - 1, ["hub", "web1"]),
    ("a day is over", hosts(), 1000.0 + DAY, []),
    ("the clock was set back", hosts(), 999.0, []),
    ("the host has changed", hosts(stamp="other"), 2000.0, ["hub"]),
    ("the desired state has changed", hosts(desired_stamp="other"), 2000.0, ["hub"]),
    ("the host's stamp is unknown", hosts(stamp=""), 2000.0, ["hub"]),
    ("the desired state is unknown", hosts(desired_stamp=""), 2000.0, ["hub"]),
    ("a host that its roles look at has changed", hosts(hub="other"), 2000.0, []),
    ("a host that its roles look at was not asked", {"web1": hosts()["web1"]}, 2000.0, []),
    ("it looks at no other host any more", hosts(looks_at=[]), 2000.0, ["hub"]),
    ("a new host", {"web2": factories.facts(**STAMPS)}, 2000.0, []),
]


@pytest.mark.parametrize(
    ("facts", "now", "expected"), [case[1:] for case in UNCHANGED], ids=[case[0] for case in UNCHANGED]
)
def test_the_roles_need_not_compare_an_unchanged_host(
    facts: dict[str, ReportedFacts], now: float, expected: list[str]
) -> None:
    assert drift_store.unchanged(compared(), facts, now) == expected


def test_unknown_stamps_are_never_the_same() -> None:
    unknown = hosts(stamp="")
    state = compared(stamp="")
    assert set(state["whole"]) == {"hub"}
    assert drift_store.unchanged(state, unknown, 2000.0) == ["hub"]


def test_a_forgotten_host_is_compared_whole() -> None:
    state = compared()
    drift_store.forget_whole(state, ["hub", "never seen"])
    assert drift_store.unchanged(state, hosts(), 2000.0) == ["web1"]


DAMAGED: list[object] = [
    [],
    {"web1": []},
    {"web1": {"time": "1", "stamps": ["a"]}},
    {"web1": {"time": 1.0}},
    {"web1": {"time": 1.0, "stamps": []}},
    {"web1": {"time": 1.0, "stamps": [1]}},
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=str)
def test_a_damaged_whole_comparison_is_as_if_there_was_none(tmp_path: Path, damaged: object) -> None:
    whole = damaged if not isinstance(damaged, dict) else {**compared()["whole"], **damaged}
    text = json.dumps({**drift_store.empty(), "head": "x", "whole": whole})
    (tmp_path / drift_store.FILE).write_text(text, encoding="utf-8")
    state = drift_store.load(str(tmp_path))
    assert "web1" not in state["whole"]
    assert ("hub" in state["whole"]) == isinstance(damaged, dict)
    assert state["head"] == "x"
