# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the answers of an hour say about how long to wait for the next one."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health.patience import Patience

LONGEST = 2.0


def learnt(seconds: float, minutes: int, begun: float = 0.0) -> Patience:
    it = Patience()
    for minute in range(minutes):
        it.answered(seconds, begun + 60.0 * minute)
    return it


@pytest.mark.parametrize(
    ("slowest", "patience"),
    [(0.004, 0.5), (0.1, 0.5), (0.2, 0.8), (0.45, 1.8), (0.6, LONGEST), (1.9, LONGEST)],
)
def test_the_patience_follows_the_slowest_answer_of_the_hour(slowest: float, patience: float) -> None:
    it = learnt(0.001, 10)
    it.answered(slowest, 300.0)
    assert it.seconds(LONGEST, 600.0) == pytest.approx(patience)


def test_little_knowledge_gives_all_the_time_of_the_check() -> None:
    assert learnt(0.01, 4).seconds(LONGEST, 200.0) == LONGEST
    assert learnt(0.01, 5).seconds(LONGEST, 260.0) < LONGEST


def test_what_was_slow_is_forgotten_after_an_hour() -> None:
    it = learnt(0.01, 120)
    it.answered(1.9, 7200.0)
    assert it.seconds(LONGEST, 7200.0) == LONGEST
    for minute in range(121, 185):
        it.answered(0.01, 60.0 * minute)
    assert it.seconds(LONGEST, 60.0 * 184) < LONGEST


def test_what_was_learnt_before_a_gap_of_an_hour_does_not_count() -> None:
    assert learnt(0.01, 30).seconds(LONGEST, 30 * 60.0 + 3600.0) == LONGEST


def test_a_monotonic_clock_that_begins_again_at_0_teaches_nothing() -> None:
    it = learnt(0.01, 30, begun=1e6)
    it.answered(0.01, 60.0)
    assert it.seconds(LONGEST, 60.0) == LONGEST


def test_the_next_watcher_knows_what_this_one_has_learnt() -> None:
    it = learnt(0.3, 30)
    assert Patience(it.to_json()).seconds(LONGEST, 1800.0) == it.seconds(LONGEST, 1800.0) == pytest.approx(1.2)


@pytest.mark.parametrize("damaged", [None, [], "x", {"1": "fast"}, {"one": 0.1}, {"1": None}, {"1": -1.0}])
def test_a_damaged_note_teaches_nothing(damaged: object) -> None:
    assert Patience(damaged).seconds(LONGEST, 60.0) == LONGEST


def test_no_more_than_an_hour_is_kept() -> None:
    assert len(learnt(0.01, 500).to_json()) <= 60
