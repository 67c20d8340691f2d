# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Helpers of the tests on lab hosts.

They wait for a condition, fetch a page, read the incidents, pause the watcher, kill a program with its child processes,
and skip slow tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

SITE = Path(__file__).resolve().parents[2] / "playbooks/site.yml"
HOST_PLAY = f"PLAY [{yaml.safe_load(SITE.read_text(encoding='utf-8'))[-1]['name']}]"
"""The line of a run's output with which site.yml begins to change hosts."""
EVERYTHING = os.environ.get("SELFHEAL_FAULTS") == "all"
slow = pytest.mark.skipif(not EVERYTHING, reason="takes minutes: make test-faults")


def until(
    what: Callable[[], Any], seconds: float = 60.0, why: Callable[[], Any] = lambda: "", longest: float = 1.0
) -> float:
    """Wait for a condition, and return the seconds waited; fail with the reason when it does not come true in time.

    Each check of a host costs a tenth of a second of CPU time, so the checks become less frequent.

    :arg longest: seconds between two checks at most; 0.2 for a short-lived condition.
    """
    begun, pause = time.monotonic(), 0.2
    while not what():
        assert time.monotonic() < begun + seconds, f"it did not come true within {seconds:g} s. {why()}"
        time.sleep(pause)
        pause = min(1.2 * pause, longest)
    return time.monotonic() - begun


def fetching(address: str) -> str:
    """The command that prints the page at an address of the host, PORT/PATH; it fails when the status is not 200.

    It costs a tenth of the CPU time of Python's start, and some tests ask a hundred times.
    """
    port, _unused, path = address.partition("/")
    asked = f'printf "GET /%s HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n" "{path}" >&3'
    answer = 'read -r _ status _ <&3 && [ "$status" = 200 ] && sed "1,/^\\r$/d" <&3'
    return f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && {asked} && {answer}'"


def incidents(host: Any) -> list[dict[str, Any]]:
    """The host's incidents, newest first, without one that is being written for the first time."""
    found: list[dict[str, Any]] = json.loads(host.check_output("selfheal incidents --json --last 100"))
    return found


@contextlib.contextmanager
def paused(host: Any) -> Iterator[None]:
    """Pause the watcher inside the `with` block."""
    host.check_output("selfheal pause --for 1h --reason 'a fault is made'")
    try:
        yield
    finally:
        host.check_output("selfheal resume")


def kill(pid: int) -> None:
    """Kill a process and its child processes. Ansible's workers have their own sessions, and would continue."""
    shown = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], text=True, capture_output=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in shown.splitlines()]
    doomed = [pid]
    for one in doomed:
        doomed += [child for child, parent in pairs if parent == one]
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
