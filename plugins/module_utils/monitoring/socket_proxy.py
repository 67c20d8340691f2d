# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A way from a Unix socket of the host into a container that has no published port.

A container's address is another one after each deploy, and exporters get theirs once: they get a socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Optional

Find = Callable[[], Optional["tuple[str, int]"]]
"""Says where to go now, address and port; None for nowhere."""

CONNECT_SECONDS = 3.0
# An exporter that keeps its connection asks more often than that.
IDLE_SECONDS = 120.0


def offer(path: str, find: Find) -> None:
    """Listen at `path`, for the process's own user and group, and carry each connection on, until the process ends.

    :raises OSError: the socket cannot be made.
    """
    os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    os.chmod(path, 0o660)
    listener.listen(16)
    threading.Thread(target=_accept, args=(listener, find), daemon=True).start()


def _accept(listener: socket.socket, find: Find) -> None:
    while True:
        near, _unused = listener.accept()
        threading.Thread(target=_carry, args=(near, find), daemon=True).start()


def _carry(near: socket.socket, find: Find) -> None:
    """Carry one connection; close it when it cannot be carried."""
    with near, contextlib.suppress(OSError):
        near.settimeout(CONNECT_SECONDS)
        if (there := find()) is not None:
            with socket.create_connection(there, CONNECT_SECONDS) as far:
                _copy(near, far)


def _copy(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    while ready := select.select([near, far], [], [], IDLE_SECONDS)[0]:
        for one in ready:
            data = one.recv(1 << 16)
            if not data:
                return
            other[one].sendall(data)
