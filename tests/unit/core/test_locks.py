# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Locks that name their holder and end with it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import locks

HOLDER = """
import sys, time
sys.path[:0] = sys.argv[2:]
from module_utils.core.locks import hold_lock
with hold_lock(sys.argv[1], 0, "deploy shop"):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(lock: Path) -> subprocess.Popen[str]:
    library = str(Path(locks.__file__).parents[2])
    arguments = [sys.executable, "-c", HOLDER, str(lock), library]
    holder = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_held_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "shop.lock"
    holder = start_holder(lock)
    with holder:
        message = rf"shop\.lock is held by pid {holder.pid} \(deploy shop\); waited 0\.1 s"
        with pytest.raises(locks.LockHeld, match=message), locks.hold_lock(str(lock), 0.1, "recover shop"):
            pytest.fail("two hold the lock")
        holder.kill()
        with locks.hold_lock(str(lock), 5, "recover shop"):
            assert lock.read_text() == f"{os.getpid()} recover shop\n"
    assert lock.read_text() == ""
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_lock_is_free_after_an_error_in_the_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.hold_lock(f"{tmp_path}/lock", 0, "one"):
        raise KeyError
    with locks.hold_lock(f"{tmp_path}/lock", 0, "two"):
        pass


def test_a_lock_excludes_its_own_process_too(tmp_path: Path) -> None:
    with (
        locks.hold_lock(f"{tmp_path}/lock", 0, "one"),
        pytest.raises(locks.LockHeld),
        locks.hold_lock(f"{tmp_path}/lock", 0, "two"),
    ):
        pass
