# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closed connections are forgotten by the way that their answers took, against a simulated kernel.

The messages are those of Linux 6.18 for an app at port 8000 of 172.30.57.75, in a container at 172.18.0.2.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import conntrack

# From 172.30.57.1 to the host, and what comes back: of the container, and of HAProxy at port 47379.
_THERE = "340001801400018008000100ac1e390108000200ac1e394b1c000280050001000600000006000200{port}0000060003001f400000"
_OF_CONTAINER = "1400018008000100ac12000208000200ac1e39011c0002800500010006000000060002001f40000006000300{port}0000"
_OF_HAPROXY = "1400018008000100ac1e394b08000200ac1e39011c000280050001000600000006000200b913000006000300{port}0000"
_MORE = "08000300000001ae080008000000000008000c007bbea64808000b000000000108000700000000713000048"
_STATE = "02c00018005000100{state}000000050002000a000000050003000a00000006000400230000000600050027000000"
TIME_WAIT, CLOSE, ESTABLISHED, FIN_WAIT = "07", "08", "03", "04"
DELETE = 0x102


def message(port: str, state: str, back: str = _OF_CONTAINER) -> bytes:
    """A connection as the kernel lists it; `port`: of the client, four hexadecimal digits."""
    whole = "02000000" + _THERE + "34000280" + back + _MORE + _STATE
    return bytes.fromhex(whole.format(port=port, state=state))


class Kernel:
    """The kernel's end of the socket: lists what it has, and forgets what it is asked to; or its errors for that."""

    def __init__(self, *listed: bytes, deletes: int = 0, lists: int = 0) -> None:
        self.listed, self.deletes, self.lists = listed, deletes, lists
        self.deleted: list[str] = []
        self.answers: list[bytes] = []

    def __call__(self, *_unused: Any) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_unused: object) -> None:
        assert self.answers == []

    def settimeout(self, _seconds: float) -> None:
        pass

    def bind(self, _address: tuple[int, int]) -> None:
        pass

    def send(self, sent: bytes) -> None:
        length, kind = struct.unpack_from("=IH", sent)
        assert length == len(sent)
        if kind == DELETE:
            self.deleted.append(sent[20:].hex())
            self.answers = [self.packed(2, struct.pack("=i", -self.deletes))]
        elif self.lists:
            self.answers = [self.packed(2, struct.pack("=i", -self.lists))]
        else:
            # Several in one, as far as they fit.
            self.answers = [b"".join(self.packed(0x100, one) for one in self.listed), self.packed(3, bytes(4))]

    def recv(self, _most: int) -> bytes:
        return self.answers.pop(0)

    @staticmethod
    def packed(kind: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, 2, 0, 0) + body


def forgotten(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, public: int = 8000, inner: int = 8000) -> int:
    monkeypatch.setattr("socket.socket", kernel)
    return conntrack.forget_closed(public, inner)


@pytest.mark.parametrize(
    ("one", "closed"),
    [
        (message("6d3e", TIME_WAIT), True),
        (message("6d3e", CLOSE), True),
        (message("6d3e", ESTABLISHED), False),
        # The last answers of the container may still have to come through.
        (message("6d3e", FIN_WAIT), False),
        (message("6d3e", TIME_WAIT, _OF_HAPROXY), False),
        # UDP has no state.
        (message("6d3e", TIME_WAIT)[: -len(_STATE) // 2], False),
    ],
    ids=["TIME_WAIT", "CLOSE", "ESTABLISHED", "FIN_WAIT", "through HAProxy", "no state"],
)
def test_only_closed_connections_to_the_container_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, one: bytes, closed: bool
) -> None:
    assert forgotten(monkeypatch, Kernel(one)) == closed


def test_a_connection_is_named_by_its_way_back_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its way there, which a new connection from the same port shares, the kernel would find that one."""
    kernel = Kernel(message("6d3e", TIME_WAIT), message("2fed", ESTABLISHED), message("55d7", CLOSE))
    assert forgotten(monkeypatch, kernel) == 2
    back = "34000280" + _OF_CONTAINER
    assert kernel.deleted == [back.format(port="6d3e"), back.format(port="55d7")]


def test_other_ports_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    for ports in ((8001, 8000), (8000, 80)):
        assert forgotten(monkeypatch, Kernel(message("6d3e", TIME_WAIT)), *ports) == 0


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EBUSY], ids=["gone by then", "offloaded"])
def test_one_that_cannot_be_forgotten_is_passed_over(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    kernel = Kernel(message("6d3e", TIME_WAIT), message("55d7", CLOSE), deletes=error)
    assert forgotten(monkeypatch, kernel) == 0
    assert len(kernel.deleted) == 2


@pytest.mark.parametrize("refuses", [{"lists": errno.EPERM}, {"deletes": errno.EPERM}], ids=["lists", "deletes"])
def test_a_kernel_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, refuses: dict[str, int]) -> None:
    with pytest.raises(PermissionError):
        forgotten(monkeypatch, Kernel(message("6d3e", TIME_WAIT), **refuses))
