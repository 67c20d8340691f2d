# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What containers use of processor and memory, and whether one accepts connections.

The use is what the kernel counts in their control groups, v1 and v2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TypedDict

from . import containers as docker_containers
from .containers import Container

ROOT = "/sys/fs/cgroup"
# TCP_LISTEN, as /proc/net/tcp writes it.
_LISTEN = "0A"
# The beginning of 2100.
_THEN = 4102444800.0


class Usage(TypedDict, total=False):
    """What a control group has used; empty for a container that does not run, or has ended meanwhile.

    Memory is without what the kernel could give back at once, as Docker and Kubernetes count it.
    """

    cpu_seconds: float
    throttled_seconds: float
    memory_bytes: float
    oom_kills: float


class ContainerUsage(TypedDict):
    """What a container uses. `started` is in epoch seconds; `memory_limit_bytes` is 0 for none."""

    name: str
    service: str
    running: bool
    restarts: int
    started: float | None
    cpus: float
    memory_limit_bytes: int
    usage: Usage


def read(instances: Iterable[Container], proc: str = "/proc", root: str = ROOT) -> list[ContainerUsage]:
    """Return what each container uses."""
    return [
        {
            "name": one["name"],
            "service": one["service"],
            "running": one["state"] == "running",
            "restarts": one["restarts"],
            "started": _started(one["started"]),
            # Without a limit it may have all of the host.
            "cpus": one["limits"]["cpus"] or float(os.cpu_count() or 1),
            "memory_limit_bytes": one["limits"]["memory_bytes"],
            "usage": usage(one["pid"], proc, root),
        }
        for one in instances
    ]


def _started(text: str) -> float | None:
    """Count back from one fixed moment: from now it would be another thousandth of a second each time."""
    age = docker_containers.seconds_since(text, _THEN)
    return None if age is None else round(_THEN - age, 3)


def usage(pid: int, proc: str = "/proc", root: str = ROOT) -> Usage:
    """Return what the control group of a process has used; empty for pid 0, and when the process is gone."""
    if not pid:
        return {}
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="ascii") as stream:
            lines = [line.rstrip("\n").split(":", 2) for line in stream]
        paths = {name: path for _unused, names, path in lines for name in names.split(",")}
        return _version_1(paths, root) if "memory" in paths else _version_2(root + paths[""])
    except (OSError, KeyError, ValueError):
        return {}


def accepts(pid: int, proc: str = "/proc") -> bool:
    """Whether something in the network namespace of a process listens for TCP from elsewhere than its own loopback."""
    return any(_listens_outside(f"{proc}/{pid}/net/{name}") for name in ("tcp", "tcp6"))


def _listens_outside(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
    except OSError:
        return False
    return any(row[3] == _LISTEN and not _is_loopback(row[1].partition(":")[0]) for row in rows)


def _is_loopback(address: str) -> bool:
    """Whether an address of /proc/net/tcp is one: words of four bytes each, in the byte order of the host."""
    words = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
    found = ip_address(b"".join(words))
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _version_1(paths: Mapping[str, str], root: str) -> Usage:
    memory, cpu = f"{root}/memory{paths['memory']}", f"{root}/cpu{paths['cpu']}"
    return {
        "cpu_seconds": _number(f"{root}/cpuacct{paths['cpuacct']}/cpuacct.usage") / 1e9,
        "throttled_seconds": _table(f"{cpu}/cpu.stat").get("throttled_time", 0) / 1e9,
        "memory_bytes": _in_use(f"{memory}/memory.usage_in_bytes", f"{memory}/memory.stat", "total_inactive_file"),
        "oom_kills": _table(f"{memory}/memory.oom_control").get("oom_kill", 0),
    }


def _version_2(folder: str) -> Usage:
    cpu = _table(f"{folder}/cpu.stat")
    return {
        "cpu_seconds": cpu["usage_usec"] / 1e6,
        "throttled_seconds": cpu.get("throttled_usec", 0) / 1e6,
        "memory_bytes": _in_use(f"{folder}/memory.current", f"{folder}/memory.stat", "inactive_file"),
        "oom_kills": _table(f"{folder}/memory.events").get("oom_kill", 0),
    }


def _in_use(path: str, stat: str, inactive: str) -> float:
    return max(0.0, _number(path) - _table(stat).get(inactive, 0))


def _number(path: str) -> float:
    with open(path, encoding="ascii") as stream:
        return float(stream.read())


def _table(path: str) -> dict[str, float]:
    """Read lines of a name and a number."""
    with open(path, encoding="ascii") as stream:
        return {name: float(value) for name, value in (line.split() for line in stream)}
