# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""While the first release of an app is started: put back what ran before, should the deploy be killed.

A later deploy has the watcher for that. Between the stop of the old containers and the start of the new ones nothing
runs, and a process that is killed cannot put anything back. So a second one, in a session of its own, waits for its
end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Callable

from ..core.app_paths import AppPaths, app_paths
from ..core.locks import LOCK_SECONDS, LockHeld, hold_lock
from ..host import procfs
from ..releases import haproxy
from ..releases import store as release_store
from . import before_first

_ENDED = b"ended"
_POLL_SECONDS = 0.1
# A command of the killed deploy that hangs is not waited for any longer.
_COMMAND_SECONDS = 60.0
_AGAIN_SECONDS = 2.0
_ATTEMPTS = 5


@contextlib.contextmanager
def held(paths: AppPaths) -> Iterator[None]:
    """Inside the `with` block, what ran before is put back when this process is killed. Without it, nothing is done."""
    if before_first.read(paths) is None or release_store.last_good(paths.directory) is not None:
        yield
        return
    guard = _start(paths)
    try:
        yield
    finally:
        if guard is not None:
            # It is gone when a person has killed it.
            with contextlib.suppress(OSError):
                guard.communicate(_ENDED)


def _start(paths: AppPaths) -> subprocess.Popen[bytes] | None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, paths.name, paths.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    except OSError:
        # A host without room for a process has other troubles; the deploy says which.
        return None


def put_back(paths: AppPaths, commands: Callable[[], bool], sleep: Callable[[float], None]) -> str:
    """Put back what ran before, unless it runs still or a release serves; return why that failed, "" when it did not.

    :arg commands: whether a command of the killed deploy goes on; it is waited for.
    """
    note = before_first.read(paths)
    if note is None or release_store.last_good(paths.directory) is not None:
        return ""
    waited = 0.0
    while commands() and waited < _COMMAND_SECONDS:
        sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS
    if before_first.still_runs(paths, note):
        return ""
    failure = ""
    # HAProxy may hold the port that the app publishes itself.
    with contextlib.suppress(OSError):
        haproxy.leave(paths)
    for _unused in range(_ATTEMPTS):
        failure = before_first.put_back(paths, note).failure
        if not failure:
            return ""
        sleep(_AGAIN_SECONDS)
    return failure


def _compose_runs(app: str) -> bool:
    """Whether a `docker compose` of an app runs on this host."""
    words = ("compose", "--project-name", app)
    return any(_holds(line, words) for line in procfs.command_lines())


def _holds(line: Sequence[str], words: Sequence[str]) -> bool:
    count = len(words)
    return any(tuple(line[at : at + count]) == tuple(words) for at in range(len(line) - count + 1))


def main(name: str, directory: str) -> int:
    """Wait for the deploy to end; put back what ran before when it was killed."""
    if sys.stdin.buffer.read() == _ENDED:
        return 0
    paths = app_paths(name, directory)
    with contextlib.suppress(LockHeld), hold_lock(paths.lock, LOCK_SECONDS, f"put {name} back", paths.restoring):
        return 1 if put_back(paths, lambda: _compose_runs(name), time.sleep) else 0
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
