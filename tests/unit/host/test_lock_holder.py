# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The holder of a lock, with real processes: a stuck holder loses the lock, a working one keeps it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import locks
from ansible_collections.christmas.selfheal.plugins.module_utils.host import lock_holder

OURS = """
import sys
sys.path[:0] = sys.argv[2:]
import subprocess
from module_utils.core import locks
locks.LOCK_BEAT_SECONDS = 0.05
with locks.hold_lock(sys.argv[1], 0, "deploy shop"):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    child.wait()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def begin(*command: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield begin
    for one in started:
        os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stuck_holder_of_this_collection_is_killed(tmp_path: Path, start: Start) -> None:
    lock = f"{tmp_path}/shop.lock"
    assert lock_holder.progress(lock) is None
    holder = start(sys.executable, "-c", OURS, lock, str(Path(locks.__file__).parents[2]))
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    assert [(one.pid, one.ours) for one in lock_holder.holders(lock)] == [(holder.pid, True)]
    # It only waits, but it makes progress.
    before = lock_holder.progress(lock)
    until(lambda: lock_holder.progress(lock) != before)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.2)
    before = lock_holder.progress(lock)
    time.sleep(0.3)
    assert lock_holder.progress(lock) == before
    with pytest.raises(locks.LockHeld), locks.hold_lock(lock, 0.0, "recover shop"):
        pytest.fail("two hold the lock")
    assert f"pid {holder.pid}" in lock_holder.free(lock)
    with locks.hold_lock(lock, 5.0, "recover shop"):
        assert holder.wait(5) == -signal.SIGKILL
    # Its child does not keep running.
    until(lambda: not os.path.exists(f"/proc/{child}") or b") Z" in Path(f"/proc/{child}/stat").read_bytes())


def test_another_process_is_not_killed_and_not_waited_for(tmp_path: Path, start: Start) -> None:
    lock = f"{tmp_path}/shop.lock"
    holder = start("flock", lock, "sleep", "60")
    until(lambda: len(lock_holder.holders(lock)) == 2)
    before = lock_holder.progress(lock)
    time.sleep(0.3)
    assert lock_holder.progress(lock) == before
    assert "the lock was taken from pid" in lock_holder.free(lock)
    with locks.hold_lock(lock, 0.0, "recover shop"):
        assert holder.poll() is None
        assert locks.is_locked(lock)
        with pytest.raises(locks.LockHeld), locks.hold_lock(lock, 0.0, "deploy shop"):
            pytest.fail("two hold the lock")


def test_a_process_that_waits_for_a_replaced_lock_takes_the_new_one(tmp_path: Path) -> None:
    """It opened the lock file before the file was replaced."""
    lock = tmp_path / "shop.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    lock.unlink()
    lock.touch()
    real = os.open
    calls: list[tuple[Any, ...]] = []

    def old_first(*arguments: Any) -> int:
        calls.append(arguments)
        return os.dup(descriptor) if len(calls) == 1 else real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", old_first)
        with locks.hold_lock(str(lock), 1.0, "deploy shop"):
            assert lock.read_text() == f"{os.getpid()} deploy shop\n"
    os.close(descriptor)
