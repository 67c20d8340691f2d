# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which process holds an app's lock, whether it makes progress, and taking the lock from one that is stuck."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NamedTuple

from . import procfs


class Holder(NamedTuple):
    """A process that holds a lock: its pid, its command's name, and whether it took it as `hold_lock` does."""

    pid: int
    name: str
    ours: bool


def holders(path: str) -> list[Holder]:
    """Return the processes that hold a lock file, without those that wait for it. Source: proc(5), fdinfo, `lock:`."""
    try:
        wanted = os.lstat(path)
        with open(path, encoding="utf-8", errors="replace") as stream:
            noted = stream.read(32).partition(" ")[0]
    except OSError:
        return []
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        if int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(_holds(entry, fd, wanted) for fd in os.listdir(f"/proc/{entry}/fd")):
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as stream:
                    found.append(Holder(int(entry), stream.read().strip(), entry == noted))
    return found


def _holds(pid: str, descriptor: str, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), wanted):
            with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as stream:
                return any(line.startswith("lock:") and "FLOCK" in line for line in stream)
    return False


def progress(path: str) -> tuple[int, int] | None:
    """Return numbers that stay the same while the holders do nothing: the file's time, their context switches.

    None when no process holds it.
    """
    found = holders(path)
    try:
        return (os.lstat(path).st_mtime_ns, procfs.switches(one.pid for one in found)) if found else None
    except OSError:
        return None


def free(path: str) -> str:
    """Take the lock from a process that is stuck with it; return what was done.

    What is ours is killed with all that it runs: it was made to be killed at any point. Another process is left alone,
    with a file that is no longer the lock.
    """
    found = holders(path)
    said = []
    for one in found:
        if one.ours:
            for pid in sorted(procfs.family([one.pid])):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            said.append(f"pid {one.pid} ({one.name}) was killed")
    others = [f"pid {one.pid} ({one.name})" for one in found if not one.ours]
    if others:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        said.append(f"the lock was taken from {', '.join(others)}")
    return "; ".join(said) or "no process holds it any more"
