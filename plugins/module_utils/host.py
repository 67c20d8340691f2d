# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the host has: disk, memory, cores, and who listens where. Read from /proc and statvfs, no command is run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
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


def cpus() -> int:
    """Return how many cores the host has."""
    return os.cpu_count() or 1


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
