# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the host has: disk, memory, cores, and who listens where. Read from /proc and statvfs, no command is run."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TypedDict


def _text(path: str) -> str:
    """What a file of the kernel holds. The watcher reads several each second, and `open` takes longer than the read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace")


class Disk(TypedDict):
    """How full a file system is; `path` is the one that was asked about, or its nearest parent that exists."""

    path: str
    total_bytes: int
    free_bytes: int
    used_percent: float
    inodes_percent: float


def disk(paths: Iterable[str]) -> list[Disk]:
    """Say how full the file systems under `paths` are.

    A path that does not exist yet counts as its nearest parent; a file system is listed once.
    """
    found: dict[int, Disk] = {}
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


# File systems of disks of this host. Another may be without a size, or wait for a server for ever.
_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay"})


def on_disk(paths: Iterable[str], mounts: str = "/proc/self/mounts") -> list[str]:
    """Return those of the paths that are on a disk of this host, without touching one."""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as stream:
            fields = [line.split() for line in stream]
    except OSError:
        return []
    # Spaces are written as \\040 there (proc(5)).
    kinds = {one[1].replace("\\040", " "): one[2] for one in fields if len(one) > 2}
    found = []
    for path in dict.fromkeys(paths):
        if kinds.get(_mounted_at(path, kinds)) in _DISKS:
            found.append(path)
    return found


_FROZEN = frozenset({"ro", "emergency_ro"})
# Most hosts have no such line, and the many lines of the others need not be taken apart.
_MAY_BE_FROZEN = re.compile(r" - \S+ \S+ (?:\S+,)?(?:emergency_)?ro(?:,|\s|$)")


class FrozenDisk(TypedDict):
    """A file system that the kernel made read-only; `path` is where it is mounted."""

    path: str
    device: str


def frozen(paths: Iterable[str], mounts: str = "/proc/1/mountinfo") -> list[FrozenDisk]:
    """Return the file systems under `paths` that the kernel made read-only.

    That is what it does after an error (errors=remount-ro): the file system is read-only, and the mount is not. A
    person who mounts one read-only makes both so.

    Sources: proc_pid_mountinfo(5), the mount options and the super options; ext4_show_options of the kernel, which says
    emergency_ro in place of ro (seen with 6.18; statvfs(3) says writable).
    """
    try:
        text = _text(mounts)
    except OSError:
        return []
    if not _MAY_BE_FROZEN.search(text):
        return []
    # With many containers there are many mounts, and only those of `paths` are looked at closely.
    there = {}
    for line in text.splitlines():
        fields = line.split(" ", 5)
        if len(fields) > 5:
            there[fields[4].replace("\\040", " ")] = fields[5]
    found = {}
    for path in paths:
        # An app's folder, or the engine's, may be a link to another disk.
        place = _mounted_at(os.path.realpath(path), there)
        device = _frozen_device(there.get(place, ""))
        if device:
            found[place] = device
    return [{"path": place, "device": device} for place, device in sorted(found.items())]


def _frozen_device(options: str) -> str:
    """The device of a mount that the kernel made read-only, by its options in mountinfo; "" for another mount."""
    of_mount, _unused, rest = options.partition(" - ")
    kind, device, of_file_system = (*rest.split(), "", "", "")[:3]
    # An overlay without an upper layer is always read-only (overlayfs.rst of the kernel).
    if "rw" not in of_mount.split(" ")[0].split(",") or kind == "overlay":
        return ""
    return device if _FROZEN.intersection(of_file_system.split(",")) else ""


def _mounted_at(path: str, mounts: Collection[str]) -> str:
    """The place among `mounts` that a path is below."""
    while path not in mounts and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


class Memory(TypedDict):
    """The memory of the host, and how much of it is available."""

    total_bytes: int
    available_bytes: int


def memory() -> Memory:
    """Return how much memory the host has."""
    values: dict[str, int] = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            name, _unused, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                values[name] = int(rest.split()[0]) * 1024
    return {"total_bytes": values.get("MemTotal", 0), "available_bytes": values.get("MemAvailable", 0)}


class Pressure(TypedDict):
    """Percent of the last ten seconds in which a task waited for each resource (PSI, "some avg10")."""

    cpu: float
    memory: float
    io: float


def pressure(folder: str = "/proc/pressure") -> Pressure:
    """Read the pressure on the host; 0.0 where the kernel keeps no count.

    Source: Documentation/accounting/psi.rst of the kernel.
    """
    return {
        "cpu": _pressure(f"{folder}/cpu"),
        "memory": _pressure(f"{folder}/memory"),
        "io": _pressure(f"{folder}/io"),
    }


def _pressure(path: str) -> float:
    with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="ascii") as stream:
        return float(stream.readline().split("avg10=")[1].split()[0])
    return 0.0


class CpuTime(NamedTuple):
    """What the processors have done so far: `busy` of `every` tick (1/100 s each, of all processors).

    Where the host has a quota of them, as a container has: in how many periods of it the quota was `used_up`. `at`:
    monotonic seconds.
    """

    busy: int = 0
    every: int = 0
    used_up: int = 0
    at: float = 0.0


# At least this many ticks of the processors say how busy they are.
SHORTEST_TICKS = 50
# Of the quota, as nearly every host has it (sched-bwc.rst of the kernel).
_PERIOD_SECONDS = 0.1


def cpu_time(root: str = "/") -> CpuTime:
    """Read /proc/stat and the quota of this host; the difference over a while is what counts.

    Sources: proc(5); cpu.stat of cgroup-v2.rst and sched-bwc.rst of the kernel.
    """
    try:
        ticks = [int(word) for word in _text(os.path.join(root, "proc/stat")).partition("\n")[0].split()[1:9]]
    except (OSError, ValueError):
        ticks = [0] * 8
    used_up = 0
    for path in ("sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = _text(os.path.join(root, path)).splitlines()
            used_up += sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    # user nice system idle iowait irq softirq steal (proc(5)); waiting for a disk is not work.
    return CpuTime(sum(ticks) - ticks[3] - ticks[4], sum(ticks), used_up, time.monotonic())


def cpu_busy(before: CpuTime, after: CpuTime) -> float:
    """Return the share (0 to 1) of the time between two readings in which all processors of the host worked."""
    passed, seconds = after.every - before.every, after.at - before.at
    work = (after.busy - before.busy) / passed if passed > 0 else 0.0
    quota = (after.used_up - before.used_up) * _PERIOD_SECONDS / seconds if seconds > 0 else 0.0
    return min(1.0, max(0.0, work, quota))


def oom_kills(path: str = "/proc/vmstat") -> int:
    """Return how many processes the kernel has killed for want of memory since boot, those at a container's limit, too.

    Source: OOM_KILL in mm/oom_kill.c of the kernel, 4.13 or newer; 0 where it does not count.
    """
    try:
        return int(_text(path).partition("\noom_kill ")[2].partition("\n")[0] or 0)
    except (OSError, ValueError):
        return 0


def idle(pids: Iterable[int], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Say whether these processes and their children hardly ran, nor wanted to, for a third of a second.

    A process that is short of processors waits for one (state R); one that hangs waits for something else, or is
    stopped (proc(5)).
    """
    them = {pid for pid in pids if pid > 0}
    first, _ran = work(them)
    ticks, waited = first, 0
    for _unused in range(_IDLE_SAMPLES):
        sleep(0.03)
        ticks, ran = work(them)
        waited += ran
    return 2 * waited < _IDLE_SAMPLES and ticks - first <= IDLE_TICKS


# Accepting a connection now and then is not work.
_IDLE_SAMPLES, IDLE_TICKS = 12, 3


def work(pids: Collection[int], states: str = "R") -> tuple[int, bool]:
    """(ticks so far, whether a thread is in one of these states) of processes and all their children."""
    ticks, is_so = 0, False
    for pid in family(pids):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _stat(f"/proc/{pid}/stat")
            ticks += int(fields[11]) + int(fields[12])
            for task in os.listdir(f"/proc/{pid}/task"):
                is_so = is_so or _stat(f"/proc/{pid}/task/{task}/stat")[0] in states
    return ticks, is_so


def family(pids: Iterable[int]) -> set[int]:
    """Return these processes and all their children."""
    found, parents = set(pids), dict[int, int]()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parents[int(entry)] = int(_stat(f"/proc/{entry}/stat")[1])
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return found
        found |= children


def switches(pids: Iterable[int]) -> int:
    """Return how often these processes and their children have got a processor so far: an idle one gets none.

    Source: proc(5), voluntary_ctxt_switches and nonvoluntary_ctxt_switches of each thread.
    """
    count = 0
    for pid in family(pids):
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8", errors="replace") as stream:
                    count += sum(int(line.split()[1]) for line in stream if "ctxt_switches" in line)
    return count


def stopped(pid: int, near: bool = False) -> bool:
    """Say whether a process or one of its children is stopped, as by SIGSTOP (state T of proc(5)): it cannot answer.

    :arg near: whether no more is looked at than the process and what it has started itself: an init has the app.
    """
    seen: set[int] = set()
    left = [pid] if pid > 0 else []
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        with contextlib.suppress(OSError, ValueError, IndexError):
            if _stat(f"/proc/{one}/stat")[0] == "T":
                return True
            left += _children(one) if one == pid or not near else []
    return False


def _children(pid: int) -> list[int]:
    """The children of a process, where the kernel lists them (CONFIG_PROC_CHILDREN, as Debian's)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in _text(f"/proc/{pid}/task/{task}/children").split()]
    return found


def command_lines(folder: str = "/proc") -> Iterator[list[str]]:
    """The words of each process's command line."""
    for name in filter(str.isdigit, os.listdir(folder)):
        try:
            with open(os.path.join(folder, name, "cmdline"), encoding="utf-8", errors="replace") as stream:
                yield stream.read().split("\0")
        except OSError:
            # It has ended meanwhile.
            continue


def age(pid: int) -> float | None:
    """For how many seconds a process has run, by a clock that is never set; None without one."""
    if pid <= 0:
        return None
    try:
        # starttime of proc(5), in ticks since boot.
        begun = int(_stat(f"/proc/{pid}/stat")[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, round(time.clock_gettime(time.CLOCK_BOOTTIME) - begun, 3))


def newest_child(pid: int) -> int:
    """Return the child of a process that was started last; 0 without one."""
    begun: dict[int, int] = {}
    for child in _children(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # starttime of proc(5), in ticks since boot.
            begun[child] = int(_stat(f"/proc/{child}/stat")[19])
    return max(begun, key=lambda child: (begun[child], child), default=0)


def pid_in(path: str, name: str) -> int:
    """Return the pid that a file holds; 0 without one, or when that process is not called `name` (any more)."""
    try:
        with open(path, encoding="ascii") as stream:
            pid = int(stream.read().strip())
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return pid if stream.read().strip() == name else 0
    except (OSError, ValueError):
        return 0


def _stat(path: str) -> list[str]:
    """The fields of a process after its name, the state first."""
    return _text(path).rpartition(")")[2].split()


class EngineProcess(TypedDict):
    """What is known of dockerd's process. `stopped` as by SIGSTOP: it accepts questions, and answers none."""

    known: bool
    alive: bool
    stopped: bool
    pid: int


def engine_process(path: str = "/run/docker.pid") -> EngineProcess:
    """Say whether dockerd's process lives, without asking it. Not known where it keeps no pid file."""
    found: EngineProcess = {"known": False, "alive": False, "stopped": False, "pid": 0}
    try:
        with open(path, encoding="ascii") as stream:
            pid = int(stream.read().strip())
    except FileNotFoundError:
        # dockerd removes it when it is stopped, and leaves its folder.
        return {**found, "known": os.path.exists("/run/docker")}
    except (OSError, ValueError):
        return found
    found["known"], found["pid"] = True, pid
    with contextlib.suppress(OSError, IndexError):
        with open(f"/proc/{pid}/comm", encoding="utf-8") as stream:
            found["alive"] = stream.read().strip() == "dockerd"
        found["stopped"] = found["alive"] and _stat(f"/proc/{pid}/stat")[0] == "T"
    return found


def unanswered(pid: int, folder: str = "/proc") -> list[tuple[str, int]]:
    """Return the (IPv4 address, port) of which a process's network has no answer: a segment waits to be acknowledged.

    Source: proc(5), net/tcp of the process: state 02 is TCP_SYN_SENT, `retrnsmt` counts timeouts without recovery.
    """
    found = []
    with contextlib.suppress(OSError), open(f"{folder}/{pid}/net/tcp", encoding="ascii") as stream:
        next(stream, None)
        for line in stream:
            fields = line.split()
            if fields[3] == "02" or int(fields[6], 16):
                address, _unused, port = fields[2].partition(":")
                # In the byte order of the machine, which is little-endian wherever the engine is packaged.
                found.append((".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16)))
    return sorted(set(found))


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as stream:
            next(stream, None)
            for line in stream:
                fields = line.split()
                # 0A is TCP_LISTEN (include/net/tcp_states.h); the local address is HEX:PORT.
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    yield fields[9]


class Holder(TypedDict, total=False):
    """What holds a port: a process of this host, or a container."""

    pid: int
    process: str
    container: str


def listeners(port: int) -> list[Holder]:
    """Name the processes that listen on a TCP port; pid 0 and "unknown" when it cannot be read."""
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
