# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read of the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import host

WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
WORKS = "print('ready', flush=True)\nwhile True: pass"
# The work is a child's, and its parent waits for it.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKS!r}])"


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", request.param],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
        os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.parametrize(("process", "idle"), [(WAITS, True), (WORKS, False), (PARENT, False)], indirect=["process"])
def test_who_waits_for_a_processor_is_not_idle(process: subprocess.Popen[str], idle: bool) -> None:
    assert host.idle([process.pid]) is idle


@pytest.mark.parametrize("process", [WORKS], indirect=True)
def test_who_is_stopped_is_idle(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert host.idle([process.pid]) is True


def test_nobody_is_idle() -> None:
    assert host.idle([0]) is True
