# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""With real sockets: data reaches the current target; a connection without a target is closed."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.monitoring import socket_proxy


class Place:
    """A server on loopback that sends its name, then echoes what it receives."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.listener.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                there, _unused = self.listener.accept()
            except OSError:
                return
            with there:
                there.sendall(self.name)
                while data := there.recv(1 << 16):
                    there.sendall(data)

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    with ExitStack() as stack:
        found = Place(b"one"), Place(b"two")
        for place in found:
            stack.callback(place.close)
        yield found


def connect(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(5.0)
    found.connect(str(path))
    return found


def hear(near: socket.socket, length: int) -> bytes:
    heard = b""
    while len(heard) < length and (data := near.recv(1 << 16)):
        heard += data
    return heard


def test_each_connection_goes_to_the_target_of_its_time(tmp_path: Path, places: tuple[Place, Place]) -> None:
    path, now = tmp_path / "app" / "cache", [places[0].address]
    socket_proxy.offer(str(path), lambda: now[0])
    with connect(path) as first:
        assert hear(first, 3) == b"one"
        now[0] = places[1].address
        with connect(path) as second:
            assert hear(second, 3) == b"two"
        # The first connection keeps its target.
        long = b"x" * (1 << 20)
        sender = threading.Thread(target=first.sendall, args=(long,))
        sender.start()
        assert hear(first, len(long)) == long
        sender.join(5)


def test_only_its_own_user_and_group_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    socket_proxy.offer(str(path), lambda: None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_connection_without_a_reachable_target_is_closed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed: tuple[str, int] = taken.getsockname()
    for number, find in enumerate((lambda: None, lambda: closed)):
        path = tmp_path / str(number)
        socket_proxy.offer(str(path), find)
        with connect(path) as near:
            assert near.recv(1) == b""


def test_a_socket_of_a_process_that_was_killed_is_replaced(tmp_path: Path, places: tuple[Place, Place]) -> None:
    path = tmp_path / "cache"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    socket_proxy.offer(str(path), lambda: places[0].address)
    with connect(path) as near:
        assert hear(near, 3) == b"one"
