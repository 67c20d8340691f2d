# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One HTTP request, with one deadline over name lookup, connection, TLS, headers and body.

A server that sends a byte a second cannot hold it. No proxy is used and no redirect is followed: the status is what the
server itself said. Nothing heavy is imported, and nothing is kept between two requests but a TLS context, because the
watcher sends one every second.
"""

from __future__ import annotations

import calendar
import functools
import http.client
import io
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

BODY_LIMIT = 1 << 20
# Besides the body: status line, headers (http.client allows 100 lines of 64 KiB), chunk sizes.
_STREAM_LIMIT = BODY_LIMIT + (8 << 20)
_URL_SAFE = "/%:=&?~+!$,;'@()*[]"
_NO_HOST = re.compile(r"[\s%\"<>\\^`{|}]")
USER_AGENT = "selfheal-probe"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Request(NamedTuple):
    """What goes over the wire. `timeout` is seconds, for all of it."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout: float = 5.0
    verify_tls: bool = True


class Address(NamedTuple):
    """Where a URL leads to, and what is asked there (`target`: path and query)."""

    scheme: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Answer(NamedTuple):
    """What came back. `body` is at most BODY_LIMIT long, `cut` says that there was more.

    `seconds` is from the name lookup to the last byte; `expires` is the certificate's end (epoch s), None without TLS.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    cut: bool
    seconds: float
    expires: float | None


class Fault(Exception):
    """A request, or a check, that did not succeed: `kind` is a word for programs, the text says what was seen."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def address(url: str) -> Address | None:
    """Split a URL; None for another than http(s). One with a user name or password is refused: it would end in logs."""
    if CONTROL.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or _NO_HOST.search(host) or "@" in parts.netloc:
        return None
    target = quote(parts.path or "/", safe=_URL_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_URL_SAFE)
    return Address(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target)


def duration(seconds: float) -> str:
    """0.034 → "34 ms", 1.5 → "1.50 s"; never "0 ms"."""
    return f"{max(seconds * 1000, 1):.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


class _Clock:
    """The time that one request has left. Each wait asks for it again."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self.now, self.begun, self.seconds = now, now(), seconds
        self.waiting = ""

    def left(self) -> float:
        """Seconds left. Raises Fault (timeout), naming what was waited for, when there are none."""
        left = self.seconds - (self.now() - self.begun)
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> Fault:
        """The Fault to raise when the time is over."""
        return Fault("timeout", f"{self.waiting} within {duration(self.seconds)}")


class _Raw(io.RawIOBase):
    """The receiving side of a socket that lets no single read, and no sequence of reads, outlast the clock."""

    def __init__(self, connection: socket.socket, clock: _Clock) -> None:
        self.connection, self.clock, self.room = connection, clock, _STREAM_LIMIT

    def readable(self) -> bool:
        """Say that this can be read, as BufferedReader wants to know."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive what is there, at most what fits."""
        self.connection.settimeout(self.clock.left())
        count = self.connection.recv_into(buffer)
        self.room -= count
        if self.room < 0:
            raise Fault("answer", "sends more than an answer may hold")
        return count


class _Stream:
    """What http.client uses of a socket, within the clock."""

    def __init__(self, connection: socket.socket, clock: _Clock) -> None:
        self.connection, self.clock = connection, clock

    def sendall(self, data: Any) -> None:
        """Send everything (Python's sendall holds its timeout over all of it)."""
        self.connection.settimeout(self.clock.left())
        self.connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """A reader for http.client's response."""
        return io.BufferedReader(_Raw(self.connection, self.clock))

    def close(self) -> None:
        """Nothing: http.client closes its socket when the headers say so, and still reads the body. `fetch` closes."""


def fetch(request: Request, now: Callable[[], float] = time.monotonic) -> Answer:
    """Send one request, and return the whole answer.

    :raises Fault: refused, unreachable, timeout, reset, dns, tls, or answer (what came is not HTTP).
    :raises ValueError: the URL is not an http(s) URL.
    """
    where = address(request.url)
    if where is None:
        raise ValueError("not an http(s) URL")
    clock = _Clock(now, request.timeout)
    try:
        with _connect(where, request.verify_tls, clock) as connection:
            expires = _expiry(connection.getpeercert(True)) if hasattr(connection, "getpeercert") else None
            status, headers, body = _exchange(request, where, _Stream(connection, clock), clock)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _fault(error, where, clock) from None
    return Answer(status, headers, body[:BODY_LIMIT], len(body) > BODY_LIMIT, now() - clock.begun, expires)


def _fault(error: Exception, where: Address, clock: _Clock) -> Fault:
    """What went wrong, in words."""
    if hasattr(error, "verify_message"):
        return Fault("tls", f"the certificate of {where} is not valid: {error.verify_message}")
    # ssl.SSLError is an OSError; its module's name identifies it, so that ssl need not be loaded.
    if type(error).__module__ == "ssl":
        reason = str(getattr(error, "reason", "") or "protocol error").replace("_", " ").lower()
        return Fault("tls", f"no TLS with {where}: {reason}")
    if isinstance(error, (socket.timeout, TimeoutError)):
        return clock.late()
    if isinstance(error, (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, http.client.IncompleteRead)):
        return Fault("reset", f"connection closed by {where} before the answer was complete")
    if isinstance(error, OSError):
        return Fault("unreachable", f"cannot reach {where}: {error.strerror or error}")
    return Fault("answer", f"what {where} sends is not HTTP ({type(error).__name__})")


def _exchange(
    request: Request, where: Address, stream: _Stream, clock: _Clock
) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Send the request, and receive status, headers and body (one byte more than BODY_LIMIT, when there is more)."""
    clock.waiting = "no answer"
    connection = http.client.HTTPConnection(where.host, where.port)
    # http.client leaves the scheme's own port out of the Host header; it only knows that of plain HTTP.
    connection.default_port = 443 if where.scheme == "https" else 80
    connection.auto_open = 0  # a connection that it opened by itself would be outside the clock
    connection.sock = stream
    headers: dict[str, str | bytes] = {"Accept": "*/*", "User-Agent": USER_AGENT, "Connection": "close"}
    for name, value in request.headers:
        headers = {key: item for key, item in headers.items() if key.lower() != name.lower()}
        headers[name] = value.encode("utf-8", "surrogateescape")
    connection.request(request.method, where.target, request.body, headers)
    response = connection.getresponse()
    clock.waiting = "the answer did not end"
    with response:
        body = response.read(BODY_LIMIT + 1)
        # Asked for an amount, http.client returns a body that ended too early without a word.
        if response.length and len(body) <= BODY_LIMIT:
            raise http.client.IncompleteRead(b"")
    return response.status, tuple((name, _text(value)) for name, value in response.getheaders()), body


def _text(value: str) -> str:
    """A header's value as it was sent: http.client reads bytes as Latin-1, and today's servers send UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _connect(where: Address, verify: bool, clock: _Clock) -> socket.socket:
    """Connect, trying each address of the host in turn, and put TLS on it."""
    candidates = _resolve(where.host, where.port, clock)
    clock.waiting = f"no connection to {where}"
    errors: list[OSError] = []
    for index, (family, target) in enumerate(candidates):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            # An address that swallows packets must leave time for the others.
            connection.settimeout(clock.left() / (len(candidates) - index))
            connection.connect(target)
        except OSError as error:
            connection.close()
            errors.append(error)
            continue
        except Fault:
            connection.close()
            raise
        return _with_tls(connection, where.host, verify, clock) if where.scheme == "https" else connection
    if any(isinstance(error, (socket.timeout, TimeoutError)) for error in errors):
        raise clock.late()
    if any(isinstance(error, ConnectionRefusedError) for error in errors):
        raise Fault("refused", f"connection refused by {where}: nothing listens there")
    raise errors[-1]


def _ssl() -> Any:
    """The module ssl, loaded for the first https URL: OpenSSL takes 5 MB, which a watcher of plain HTTP need not have.

    The agent's command hides `_ssl` until then, because http.client would load it in any case.
    """
    if sys.modules.get("_ssl", ...) is None:
        del sys.modules["_ssl"]
    import ssl

    return ssl


def _with_tls(connection: socket.socket, host: str, verify: bool, clock: _Clock) -> Any:
    """Put TLS on a connection; it is closed when that fails."""
    clock.waiting = "no TLS handshake"
    try:
        secured = _context(verify).wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        connection.close()
        raise
    try:
        secured.settimeout(clock.left())
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


@functools.lru_cache(maxsize=2)
def _context(verify: bool) -> Any:
    """A TLS context. Reading the system's certificates costs some 10 ms, so each is made once."""
    ssl = _ssl()
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _resolve(host: str, port: int, clock: _Clock) -> list[tuple[int, Any]]:
    """The addresses of a host as (family, socket address).

    The system's resolver has no timeout, so a name (not a literal address) is looked up in a thread of its
    own, which is abandoned when the time is over.
    """
    clock.waiting = f"name lookup of {host} gave no answer"
    box: list[Any] = []

    def look_up(flags: int) -> None:
        try:
            box.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
        except (OSError, UnicodeError) as error:
            box.append(error)

    look_up(socket.AI_NUMERICHOST)
    if isinstance(box[0], Exception):
        box.clear()
        thread = threading.Thread(target=look_up, args=(0,), daemon=True)
        thread.start()
        thread.join(clock.left())
    if not box:
        raise Fault("dns", str(clock.late()))
    if isinstance(box[0], Exception):
        reason = getattr(box[0], "strerror", None) or "not a host name"
        raise Fault("dns", f"no address for {host}: {reason}")
    return [(entry[0], entry[4]) for entry in box[0]]


def addresses(url: str, seconds: float = 1.0) -> list[tuple[str, int]]:
    """The IPv4 (address, port) that a URL leads to; [] when it is not known in time."""
    where = address(url)
    if where is None:
        return []
    try:
        found = _resolve(where.host, where.port, _Clock(time.monotonic, seconds))
    except Fault:
        return []
    return sorted({(str(target[0]), where.port) for family, target in found if family == socket.AF_INET})


def _expiry(der: bytes | None) -> float | None:
    """The end of an X.509 certificate (epoch seconds), None when it cannot be read.

    Python gives the fields of verified certificates only, and a self-signed one has an end too. RFC 5280, 4.1:
    certificate = SEQUENCE {tbs, …}, tbs = SEQUENCE {[0] version, serial, algorithm, issuer, SEQUENCE {from, to}, …}.
    """
    try:
        _tag, certificate, _rest = _element(der or b"")
        _tag, rest, _after = _element(certificate)
        if rest[:1] == b"\xa0":
            _tag, _version, rest = _element(rest)
        for _field in ("serial", "algorithm", "issuer"):
            _tag, _content, rest = _element(rest)
        _tag, validity, _rest = _element(rest)
        _tag, _not_before, rest = _element(validity)
        tag, content, _rest = _element(rest)
        text = content.decode("ascii")
        if tag == 0x17:  # UTCTime has two digits of the year, and 50 is 1950
            text = ("19" if text[:2] >= "50" else "20") + text
        parts = (int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2)))
        return float(calendar.timegm((*parts, 0, 0, 0)))
    except (ValueError, IndexError):
        return None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split DER into the first element's tag and content, and what follows it."""
    length, start = data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("cut short")
    return data[0], data[start : start + length], data[start + length :]
