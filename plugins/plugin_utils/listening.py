# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes that hold a port which HAProxy needs, from what `ss` shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

EVERYWHERE = ("*", "0.0.0.0", "::")
LOOPBACK = "127.0.0.1"
BALANCER = "haproxy"
_PROCESS = re.compile(r'users:\(\("([^"]*)",pid=([0-9]+)')
_UNNAMED = ("a process without a name", "?")


class Holder(TypedDict):
    """A process that listens on a port."""

    address: str
    port: int
    who: str
    pid: str


class Wanted(NamedTuple):
    """What HAProxy is going to listen on: its public ports at one address, its metrics on the loopback address."""

    address: str
    public: Sequence[int]
    metrics: int

    def at(self, port: int) -> str:
        """Return the address at which HAProxy needs the port; "" when it does not."""
        if port == self.metrics:
            return LOOPBACK
        return self.address if port in self.public else ""


def holders(lines: Sequence[str], wanted: Wanted) -> list[Holder]:
    """Return who has a port that is wanted, unless it is HAProxy itself.

    :arg lines: of `ss --no-header --listening --numeric --tcp --processes`.
    """
    return [
        holder
        for holder in map(_listener, lines)
        if holder["who"] != BALANCER and _collides(holder["address"], wanted.at(holder["port"]))
    ]


def _listener(line: str) -> Holder:
    """Read one line, whose fourth column is the address with an optional zone, and the port."""
    local, _unused, port = line.split()[3].rpartition(":")
    address = re.sub(r"[][]", "", local.split("%")[0])
    process = _PROCESS.search(line)
    who, pid = process.groups() if process else _UNNAMED
    return Holder(address=address, port=int(port) if port.isdecimal() else 0, who=who, pid=pid)


def _collides(address: str, wanted: str) -> bool:
    if not wanted:
        return False
    return address == wanted or address in EVERYWHERE or wanted in EVERYWHERE


def port_holders(lines: Sequence[str], address: str, public: Sequence[int], metrics: int) -> list[Holder]:
    """Return the listeners that are in the way."""
    return holders(lines, Wanted(address, public, metrics))
