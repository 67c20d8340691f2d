# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What tests on lab hosts do again and again.

Wait for a condition, read the incidents, let the watcher look away, kill a program with all that it has started, take
minutes only when they are asked to.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

EVERYTHING = os.environ.get("SELFHEAL_FAULTS") == "all"
slow = pytest.mark.skipif(not EVERYTHING, reason="takes minutes: make test-faults")


def until(
    what: Callable[[], Any], seconds: float = 60.0, why: Callable[[], Any] = lambda: "", longest: float = 1.0
) -> float:
    """Wait for a condition, and return for how long; fail, and say why, when it does not come true in time.

    Each look at a host costs a tenth of a second of processor time: the longer it takes, the less often one is taken.

    :arg longest: seconds between two looks at most; 0.2 for what does not last.
    """
    begun, pause = time.monotonic(), 0.2
    while not what():
        assert time.monotonic() < begun + seconds, f"it did not come true within {seconds:g} s. {why()}"
        time.sleep(pause)
        pause = min(1.2 * pause, longest)
    return time.monotonic() - begun


def incidents(host: Any) -> list[dict[str, Any]]:
    """Those that the host has had, the newest first. One that is just being written for the first time is none yet."""
    found: list[dict[str, Any]] = json.loads(host.check_output("selfheal incidents --json --last 100"))
    return found


@contextlib.contextmanager
def paused(host: Any) -> Iterator[None]:
    """The watcher looks away for as long as this lasts."""
    host.check_output("selfheal pause --for 1h --reason 'a fault is made'")
    try:
        yield
    finally:
        host.check_output("selfheal resume")


def kill(pid: int) -> None:
    """Kill a process and all that it has started. Ansible's workers are in sessions of their own, and would go on."""
    shown = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], text=True, capture_output=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in shown.splitlines()]
    doomed = [pid]
    for one in doomed:
        doomed += [child for child, parent in pairs if parent == one]
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
