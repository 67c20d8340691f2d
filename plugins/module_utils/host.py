# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the host has: disk, memory, cores, and who listens where. Read from /proc and statvfs, no command is run."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def disk(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Say how full the file systems under `paths` are: [{path, total_bytes, free_bytes, used_percent, inodes_percent}].

    A path that does not exist yet stands for its nearest parent; a file system is listed once.
    """
    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        while not os.path.exists(path) and path != os.path.dirname(path):
            path = os.path.dirname(path)
        device = os.stat(path).st_dev
        if device in found:
            continue
        sizes = os.statvfs(path)
        usable = sizes.f_blocks - sizes.f_bfree + sizes.f_bavail
        found[device] = {
            "path": path,
            "total_bytes": sizes.f_blocks * sizes.f_frsize,
            "free_bytes": sizes.f_bavail * sizes.f_frsize,
            "used_percent": round(100.0 * (usable - sizes.f_bavail) / usable, 1) if usable else 0.0,
            "inodes_percent": 100.0 * (sizes.f_files - sizes.f_ffree) / sizes.f_files if sizes.f_files else 0.0,
        }
    return list(found.values())


def memory() -> dict[str, int]:
    """Return {total_bytes, available_bytes} of the host."""
    values: dict[str, int] = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                values[name] = int(rest.split()[0]) * 1024
    return {"total_bytes": values.get("MemTotal", 0), "available_bytes": values.get("MemAvailable", 0)}


def pressure(folder: str = "/proc/pressure") -> dict[str, float]:
    """Return {cpu, memory, io}: percent of the last ten seconds in which somebody waited for it (PSI, "some avg10").

    0.0 where the kernel keeps no count. Source: Documentation/accounting/psi.rst of the kernel.
    """
    found = dict.fromkeys(("cpu", "memory", "io"), 0.0)
    for name in found:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"{folder}/{name}", encoding="ascii") as stream:
            found[name] = float(stream.readline().split("avg10=")[1].split()[0])
    return found


def cpu_ticks(path: str = "/proc/stat") -> tuple[int, int]:
    """Return (busy, all) ticks of all processors since boot; their difference over a while is what counts."""
    try:
        with open(path, encoding="ascii") as stream:
            ticks = [int(word) for word in stream.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    # user nice system idle iowait irq softirq steal (proc(5)); waiting for a disk is no work.
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def cpu_busy(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return the share (0 to 1) of the processors' time between two readings that was work."""
    passed = after[1] - before[1]
    return min(1.0, max(0.0, (after[0] - before[0]) / passed)) if passed > 0 else 0.0


def oom_kills(path: str = "/proc/vmstat") -> int:
    """Return how many processes the kernel has killed for want of memory since boot, those at a container's limit, too.

    Source: OOM_KILL in mm/oom_kill.c of the kernel, 4.13 or newer; 0 where it does not count.
    """
    try:
        with open(path, encoding="ascii") as stream:
            return next((int(line.split()[1]) for line in stream if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def idle(pids: Iterable[int], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Say whether these processes and their children hardly ran, nor wanted to, for a third of a second.

    Whoever is short of processors waits for one (state R); who hangs waits for something else, or is stopped (proc(5)).
    """
    family = {pid for pid in pids if pid > 0}
    first, _ = _work(family)
    ticks, waited = first, 0
    for _ in range(_IDLE_SAMPLES):
        sleep(0.03)
        ticks, ran = _work(family)
        waited += ran
    return 2 * waited < _IDLE_SAMPLES and ticks - first <= _IDLE_TICKS


# Accepting a connection now and then is no work.
_IDLE_SAMPLES, _IDLE_TICKS = 12, 3


def _work(family: set[int]) -> tuple[int, bool]:
    """(ticks so far, whether a thread is runnable) of processes and all their children."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parents[int(entry)] = int(_stat(f"/proc/{entry}/stat")[1])
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family = family | children
        grown = bool(children)
    ticks, runnable = 0, False
    for pid in family:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _stat(f"/proc/{pid}/stat")
            ticks += int(fields[11]) + int(fields[12])
            for task in os.listdir(f"/proc/{pid}/task"):
                runnable = runnable or _stat(f"/proc/{pid}/task/{task}/stat")[0] == "R"
    return ticks, runnable


def _stat(path: str) -> list[str]:
    """The fields of a process that stand behind its name, the state first."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()


def engine_process(path: str = "/run/docker.pid") -> dict[str, bool]:
    """Say whether dockerd's process lives, without asking it: {known, alive}. Not known where it keeps no pid file."""
    try:
        with open(path, encoding="ascii") as stream:
            pid = int(stream.read().strip())
    except FileNotFoundError:
        # dockerd removes it when it is stopped, and leaves its folder.
        return {"known": os.path.exists("/run/docker"), "alive": False}
    except (OSError, ValueError):
        return {"known": False, "alive": False}
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as stream:
            return {"known": True, "alive": stream.read().strip() == "dockerd"}
    except OSError:
        return {"known": True, "alive": False}


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as stream:
            next(stream, None)
            for line in stream:
                fields = line.split()
                # 0A is TCP_LISTEN (include/net/tcp_states.h); the local address is HEX:PORT.
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    yield fields[9]


def listeners(port: int) -> list[dict[str, Any]]:
    """Name the processes that listen on a TCP port: [{pid, process}]; pid 0 and "unknown" when it cannot be told."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return []
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            folder = f"/proc/{entry}/fd"
            if any(os.readlink(f"{folder}/{fd}") in wanted for fd in os.listdir(folder)):
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as stream:
                    found[int(entry)] = stream.read().strip()
    return [{"pid": pid, "process": name} for pid, name in sorted(found.items())] or [{"pid": 0, "process": "unknown"}]
