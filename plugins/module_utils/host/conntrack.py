# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel's table of connections, which says what iptables has translated each to.

Over netlink: linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. IPv4 and IPv6.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=HH")
# Attributes of a connection, of a direction of it, and of its state.
_THERE, _BACK, _STATE = 1, 2, 4
_NESTED, _KINDS = 0x8000, 0x3FFF
_ADDRESSES, _PORTS = 1, 2
_SOURCES, _TARGETS = (1, 3), (2, 4)
_SOURCE_PORT, _TARGET_PORT = 2, 3
_TCP, _TCP_STATE = 1, 1
_CLOSED = (b"\x07", b"\x08")  # TIME_WAIT and CLOSE
_SECONDS = 10.0


class _Closed(NamedTuple):
    """A closed connection: its family, and how its answers came back, as the kernel says it."""

    family: int
    back: bytes


def forget_closed(public: int, inner: int) -> int:
    """Have the kernel forget the closed connections to a port of the host that iptables has sent to a container.

    A connection is named by the way that its answers took. So a new one from the same port of the same client, which
    iptables sends elsewhere, is not found by it.

    :arg public: the port of the host.
    :arg inner: the port of the container.
    :returns: how many.
    :raises OSError: the kernel does not hand out its table.
    """
    count = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as connection:
        connection.settimeout(_SECONDS)
        connection.bind((0, 0))
        for one in [*_found(connection, public, inner)]:
            # Without its attribute, the kernel would forget all connections.
            _send(connection, _DELETE, _ACKNOWLEDGE, one.family, _attribute(_BACK | _NESTED, one.back))
            try:
                list(_answers(connection))
                count += 1
            except OSError as error:
                # It may be gone by now, or in the care of a network card.
                if error.errno not in (errno.ENOENT, errno.EBUSY):
                    raise
    return count


def _found(connection: socket.socket, public: int, inner: int) -> Iterator[_Closed]:
    _send(connection, _GET, _DUMP, socket.AF_UNSPEC, b"")
    # Most connections are others: a busy host has 100,000s.
    part = _attribute(_TARGET_PORT, struct.pack(">H", public))
    for message in _answers(connection):
        if part in message and (one := _closed(message, public, inner)):
            yield one


def _closed(message: bytes, public: int, inner: int) -> _Closed | None:
    """The connection of a message, if it is one of those."""
    one = _attributes(message[_FAMILY.size :])
    if _STATE not in one or _attributes(_attributes(one[_STATE]).get(_TCP, b"")).get(_TCP_STATE) not in _CLOSED:
        return None
    there, back = _attributes(one[_THERE]), _attributes(one[_BACK])
    ports = _number(there, _TARGET_PORT), _number(back, _SOURCE_PORT)
    is_sent_on = _address(there, _TARGETS) != _address(back, _SOURCES)
    return _Closed(message[0], one[_BACK]) if ports == (public, inner) and is_sent_on else None


def _number(direction: dict[int, bytes], which: int) -> int:
    return int.from_bytes(_attributes(direction[_PORTS]).get(which, b""), "big")


def _address(direction: dict[int, bytes], which: tuple[int, int]) -> bytes:
    found = _attributes(direction[_ADDRESSES])
    return next((found[kind] for kind in which if kind in found), b"")


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & _KINDS] = data[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _send(connection: socket.socket, kind: int, flags: int, family: int, attribute: bytes) -> None:
    body = _FAMILY.pack(family, 0, 0) + attribute
    connection.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body)


def _answers(connection: socket.socket) -> Iterator[bytes]:
    """The messages until the kernel says that there are no more. Raises OSError with its error."""
    while True:
        data = connection.recv(1 << 17)
        while data:
            length, kind, _unused, _unused, _unused = _HEADER.unpack_from(data)
            message, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == _ERROR and (code := -struct.unpack_from("=i", message)[0]):
                raise OSError(code, os.strerror(code))
            if kind in (_ERROR, _DONE):
                return
            yield message
