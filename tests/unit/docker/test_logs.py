# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine does not hand out a log: the message says why."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine, logs
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.engine import EngineError


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'HTTP/1.0 404 Not Found\r\n\r\n{"message": "No such container: 1a2b"}', "No such container: 1a2b"),
        (b"HTTP/1.0 500 Broken\r\n\r\nout of order\n", "out of order"),
        (b"", "no answer"),
    ],
    ids=["a message", "a text", "nothing"],
)
def test_a_refusal(answer: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "engine.sock")
    monkeypatch.setattr(engine, "address", lambda: path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _unused = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(EngineError, match=said):
            logs.ContainerLog("1a2b", tty=False, follow=False, tail=None)
        thread.join()
