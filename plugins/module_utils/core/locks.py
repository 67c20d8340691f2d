# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One lock per app, shared by deploy, recovery, backup and drift: who holds it, and how long to wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator

# How often a waiting process asks for the lock again; short, because recoveries are counted in seconds.
LOCK_POLL_SECONDS = 0.05
# The holder of a lock touches its file this often, which tells a holder that is stuck from one that works.
LOCK_BEAT_SECONDS = 5.0


class LockHeld(Exception):
    """Another process holds the lock. The text names the lock file, the holder's pid and what it does."""


def is_locked(path: str) -> bool:
    """Whether a process holds the lock file just now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_lock(path: str, timeout: float, what: str, unless: str = "") -> Iterator[None]:
    """Hold the lock file ``path`` for the ``with`` block; ``what`` says what for, e.g. "recover christmas-backend".

    ``unless`` is a file that, while it is there, forbids it: a restore that was killed has to be rolled back first.

    Waits up to ``timeout`` seconds (0: one try). The kernel drops the lock when the process dies, so it is never stale.
    The file stays, and is touched every LOCK_BEAT_SECONDS; only `lock_holder.free` takes it from a stuck holder.

    Raises LockHeld when it is still held by another.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o755, exist_ok=True)
    descriptor = _locked(path, time.monotonic() + timeout, timeout)
    try:
        if unless and os.path.lexists(unless):
            raise LockHeld(
                f"a restore was killed half-way and is being rolled back ({unless}); `selfheal backup settle` does it"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {what}\n".encode(), 0)
        with _beating(descriptor):
            try:
                yield
            finally:
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(path: str, deadline: float, timeout: float) -> int:
    """Return the descriptor of the lock file, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if _try_lock(descriptor):
                # Meanwhile the file may have been taken from a holder that was stuck: then another one counts.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                        kept, descriptor = descriptor, -1
                        return kept
            elif time.monotonic() >= deadline:
                raise LockHeld(f"{path} is held by {_holder(descriptor)}; waited {timeout:g} s")
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        time.sleep(LOCK_POLL_SECONDS)


@contextlib.contextmanager
def _beating(descriptor: int) -> Iterator[None]:
    """Touch an open file now and then while the block lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(LOCK_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=beat, daemon=True)
    # Work goes on when the host has no room for a thread.
    with contextlib.suppress(RuntimeError):
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    pid, _unused, what = os.pread(descriptor, 512, 0).decode("utf-8", "replace").strip().partition(" ")
    return f"pid {pid} ({what})" if pid else "another process"


# How long to wait for another deploy or recovery to let go of the lock.
LOCK_SECONDS = 60.0
