# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the store keeps of a drift from one check to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import store as drift_store
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Finding
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
