# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Docker's bridges, and how often the kernel asks there who has an address (arp(7), ip-ntable(8)).

A connection that is tried while a container starts has the kernel ask for the container's address, and gets no answer
yet. It asks again a second later, and all connections that are tried meanwhile wait for that: each start of a container
that users ask took a second longer.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import NamedTuple

from . import command as commands

# The kernel gives up after as long as before: three times a second each.
EVERY_MS, TIMES = 100, 30
_SECONDS = 2.0
# The names that the engine chooses. A bridge that was named by hand is left alone.
_BRIDGE = re.compile(r"docker0|br-[0-9a-f]{12}")
_TABLES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}


class Bridge(NamedTuple):
    """A bridge, in one of the kernel's two tables of neighbours."""

    table: str
    name: str


def slow(root: str = "/") -> list[Bridge]:
    """Return the bridges of Docker on which the kernel asks less often."""
    found = []
    for family, table in _TABLES.items():
        folder = os.path.join(root, "proc/sys/net", family, "neigh")
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(folder) if _BRIDGE.fullmatch(name))
            found += [Bridge(table, name) for name in names if _milliseconds(os.path.join(folder, name)) > EVERY_MS]
    return found


def _milliseconds(folder: str) -> int:
    """How long the kernel waits before it asks again; 0 for a bridge that has just gone."""
    try:
        with open(os.path.join(folder, "retrans_time_ms"), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def hasten(bridge: Bridge) -> str:
    """Have the kernel ask more often; "", or why that failed."""
    settings = ("retrans", str(EVERY_MS), "mcast_probes", str(TIMES))
    done = commands.run(["ip", "ntable", "change", "name", bridge.table, "dev", bridge.name, *settings], _SECONDS)
    return "" if done.code == 0 else done.reason
