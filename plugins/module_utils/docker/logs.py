# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A container's log as it comes from the engine: Docker Engine API, GET /containers/{id}/logs.

Without a terminal, the engine sends frames: a byte that says which stream, three of zero, the length in four, and the
message, which begins with its time. A line of more than 16 KiB is several messages. With a terminal, it sends the
messages alone.
"""

from __future__ import annotations

import codecs
import json
import re
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from . import engine
from .engine import EngineError

OUTPUT, ERRORS = 1, 2
# A message's time: RFC 3339 with nine digits and a zone, and a space.
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) ")
# The engine cuts a longer line into messages of this length.
_MESSAGE_BYTES = 16384
_HEADER = struct.Struct(">BxxxL")
_READ_BYTES = 1 << 18


class Message(NamedTuple):
    """A message of a container: a line with its end, or a part of a long one. `time` is as the engine writes it."""

    time: str
    stream: int
    text: str


class ContainerLog:
    """The log of one container, over one connection. It ends with the container, when it is followed."""

    def __init__(
        self, container: str, tty: bool, follow: bool, tail: int | None, since: float = 0.0, timeout: float = 60.0
    ) -> None:
        """Connect and ask.

        :arg tty: whether the container has a terminal.
        :arg tail: the last so many messages; None for all.
        :arg since: only what is newer (epoch s); 0 for all.
        :arg timeout: seconds for the engine to answer, and between two of its parts where it does not follow.
        :raises EngineError: it does not answer, or the container has no log that can be read.
        """
        self._tty, self.ended = tty, False
        self._data, self._time = b"", ""
        self._decoders = {one: codecs.getincrementaldecoder("utf-8")("replace") for one in (OUTPUT, ERRORS)}
        question = (
            f"/containers/{container}/logs?stdout=1&stderr=1&timestamps=1&follow={int(follow)}"
            f"&tail={'all' if tail is None else tail}{f'&since={since:.9f}' if since else ''}"
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(engine.address())
            # With HTTP/1.0 the answer is not in chunks, and its end is the end of the connection.
            self._socket.sendall(f"GET {question} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            self._read_head()
        except (OSError, ValueError, IndexError) as error:
            self._socket.close()
            raise EngineError(
                f"the Docker engine does not hand out the log of {container[:12]}: {error or type(error).__name__}"
            ) from None

    def _read_head(self) -> None:
        """Read to the end of the head, and no further: what comes after it is what one waits for."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self._socket.recv(1)
            if not byte:
                raise ValueError("no answer")
            head += byte
        if head.split(maxsplit=2)[1] != b"200":
            raise ValueError(self._refusal())

    def _refusal(self) -> str:
        body = b""
        while part := self._socket.recv(65536):
            body += part
        try:
            return str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            return body.decode("utf-8", "replace").strip()

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def read(self) -> list[Message]:
        """Wait for the next part and return its messages; when there are no more, `ended` is true.

        :raises EngineError: the connection broke, or the engine stopped answering.
        """
        try:
            part = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise EngineError(f"the Docker engine has stopped answering: {error or type(error).__name__}") from None
        self.ended = not part
        self._data += part
        return self._lines() if self._tty else self._frames()

    def _frames(self) -> list[Message]:
        found, at = [], 0
        while len(self._data) - at >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._data, at)
            if len(self._data) - at - _HEADER.size < length:
                break
            at += _HEADER.size
            found.append(self._message(ERRORS if stream == ERRORS else OUTPUT, self._data[at : at + length]))
            at += length
        self._data = self._data[at:]
        return found

    def _lines(self) -> list[Message]:
        """Without frames, a time in the middle of a long line is recognised by its place."""
        found = []
        while self._data:
            timed = _TIME.match(self._data)
            begin = timed.end() if timed else 0
            end = self._data.find(b"\n", begin) + 1
            if not end or end - begin > _MESSAGE_BYTES:
                end = begin + _MESSAGE_BYTES
                # The time after it must be there completely.
                if len(self._data) < end + 64 and not self.ended:
                    break
            found.append(self._message(OUTPUT, self._data[:end]))
            self._data = self._data[end:]
        return found

    def _message(self, stream: int, data: bytes) -> Message:
        timed = _TIME.match(data)
        if timed:
            self._time = timed[1].decode()
            data = data[timed.end() :]
        return Message(self._time, stream, self._decoders[stream].decode(data))


def lines(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """The lines of a log, each with its time, without their ends; a long line comes in several messages."""
    found: list[tuple[str, str]] = []
    begun: dict[int, tuple[str, str]] = {}
    for one in messages:
        time, text = begun.pop(one.stream, (one.time, ""))
        if one.text.endswith("\n"):
            found.append((time, text + one.text[:-1]))
        else:
            begun[one.stream] = (time, text + one.text)
    # What a process said last need not end with its line.
    return [*found, *begun.values()]
