# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that does nothing while it owes an answer hangs; one that works, or waits for another, does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health.standstill import Standstill
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs, sockets

IDLE = (100, False)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    def look(looks: Sequence[tuple[int, bool]], asks: bool = False, pids: Sequence[int] = (7,)) -> bool:
        left = list(looks)
        monkeypatch.setattr(procfs, "work", lambda *_: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(sockets, "await_answers", lambda *_: asks)
        return Standstill(pids).lasts(0.5, lambda _seconds: None)

    return look


def test_a_deadlock_does_nothing(looked_at: Callable[..., bool]) -> None:
    assert looked_at([IDLE])


@pytest.mark.parametrize(
    "looks",
    [[(100, True), IDLE], [IDLE, IDLE, (100, True), IDLE], [IDLE, (130, False)]],
    ids=["at work at first", "at work now and then", "a garbage collection"],
)
def test_an_app_that_works_does_not_hang(looked_at: Callable[..., bool], looks: list[tuple[int, bool]]) -> None:
    assert not looked_at(looks)


def test_an_app_that_waits_for_another_does_not_hang(looked_at: Callable[..., bool]) -> None:
    assert not looked_at([IDLE], asks=True)


@pytest.mark.parametrize(
    ("ran", "sleeps"), [(0, True), (2, True), (20, False)], ids=["never", "a timer", "tries again"]
)
def test_an_app_that_gets_a_processor_now_and_then_does_not_sleep(
    monkeypatch: pytest.MonkeyPatch, ran: int, sleeps: bool
) -> None:
    counts = [100, 100 + ran]
    monkeypatch.setattr(procfs, "work", lambda *_: IDLE)
    monkeypatch.setattr(procfs, "switches", lambda _: counts.pop(0))
    slept: list[float] = []
    assert Standstill([7]).sleeps(0.4, slept.append) is sleeps
    assert slept == [0.4]


def test_an_app_whose_processes_are_not_known_is_taken_to_work(looked_at: Callable[..., bool]) -> None:
    assert not looked_at([IDLE], pids=())
