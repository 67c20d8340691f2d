# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One HTTP request against real sockets: every way of failing has its kind, and none outlasts the timeout."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.probe import web
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.web import (
    Fault,
    Request,
    address,
    duration,
    fetch,
)

Handler = Callable[[socket.socket], None]


class Server:
    """A listening socket; each connection is given to `handle` in a thread. `received` holds what was read first."""

    def __init__(
        self, handle: Handler, family: socket.AddressFamily = socket.AF_INET, context: ssl.SSLContext | None = None
    ) -> None:
        self.listener = socket.socket(family)
        self.listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.received: list[bytes] = []
        self.ended = threading.Event()
        self.handle, self.context = handle, context
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _peer = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                self.handle(connection)

    def wait(self, seconds: float) -> None:
        """Wait as a server that does not answer does, until the test is over."""
        self.ended.wait(seconds)

    def close(self) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)


Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Server] = []

    def run(handle: Handler, **keys: Any) -> Server:
        servers.append(Server(handle, **keys))
        return servers[-1]

    yield run
    for server in servers:
        server.close()


def complete(data: bytes) -> bool:
    """Whether `data` is a whole request."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(end) and len(body) >= int((length or [b"0"])[0])


def reader(server: list[Server], answer: bytes) -> Handler:
    """A handler that reads the request and sends `answer`."""

    def handle(connection: socket.socket) -> None:
        data, more = b"", b"-"
        while more and not complete(data):
            more = connection.recv(65536)
            data += more
        server[0].received.append(data)
        connection.sendall(answer)

    return handle


def serving(start: Start, answer: bytes, **keys: Any) -> Server:
    box: list[Server] = []
    box.append(start(reader(box, answer), **keys))
    return box[0]


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-B: 선물\r\nX-C: \xff\r\n\r\nok".encode().replace(
    b"\xc3\xbf", b"\xff"
)


def test_a_plain_answer(start: Start) -> None:
    server = serving(start, OK)
    answer = fetch(Request(f"http://127.0.0.1:{server.port}/a b?c=d e&f=%20#"))
    assert (answer.status, answer.body, answer.cut, answer.expires) == (200, b"ok", False, None)
    assert dict(answer.headers) == {"Content-Length": "2", "X-A": "1", "X-B": "선물", "X-C": "ÿ"}
    assert 0 < answer.seconds < 1
    head = server.received[0].decode()
    assert head.startswith("GET /a%20b?c=d%20e&f=%20 HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in head
    assert "\r\nConnection: close\r\n" in head


def test_what_is_sent(start: Start) -> None:
    server = serving(start, OK)
    request = Request(
        f"http://127.0.0.1:{server.port}",
        method="POST",
        headers=(("user-agent", "mine"), ("Host", "other.example"), ("X-Name", "Jürgen")),
        body="고양이".encode(),
    )
    fetch(request)
    head, body = server.received[0].split(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST / HTTP/1.1"
    for line in (b"user-agent: mine", b"Host: other.example", b"Content-Length: 9", "X-Name: Jürgen".encode()):
        assert lines.count(line) == 1
    assert sum(line.lower().startswith((b"host:", b"user-agent:")) for line in lines) == 2
    assert body == "고양이".encode()


def test_ipv6_literal(start: Start) -> None:
    try:
        server = serving(start, OK, family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert fetch(Request(f"http://[::1]:{server.port}/")).status == 200
    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.received[0]


def test_a_name_with_several_addresses(start: Start) -> None:
    """The name localhost is ::1 and 127.0.0.1 on many hosts; only one of them listens here."""
    server = serving(start, OK)
    assert fetch(Request(f"http://localhost:{server.port}/")).status == 200


def test_no_proxy_is_used_and_no_redirect_followed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    server = serving(start, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
    answer = fetch(Request(f"http://127.0.0.1:{server.port}/"))
    assert (answer.status, len(server.received)) == (302, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failing(url: str, timeout: float = 0.4, **keys: Any) -> tuple[str, str, float]:
    begun = time.monotonic()
    with pytest.raises(Fault) as caught:
        fetch(Request(url, timeout=timeout, **keys))
    return caught.value.kind, str(caught.value), time.monotonic() - begun


def drip(data: bytes, server: list[Server]) -> Handler:
    """Send `data`, then one byte of it every 20 ms, for much longer than anyone should wait."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        for _byte in range(500):
            connection.sendall(b"x")
            server[0].wait(0.02)

    return handle


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(connection: socket.socket) -> None:
    connection.recv(65536)


FAULTS = [
    ("hangs before the status", b"", "timeout", "no answer within 400 ms", True),
    ("hangs in the headers", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", "timeout", "no answer within 400 ms", True),
    (
        "hangs in the body",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "timeout",
        "did not end within 400 ms",
        True,
    ),
    (
        "hangs in a chunk",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
        "timeout",
        "did not end",
        True,
    ),
    ("100 for ever", b"HTTP/1.1 100 Continue\r\n\r\n", "timeout", "no answer", True),
    ("not HTTP", b"SSH-2.0-OpenSSH_9.9\r\n", "answer", "not HTTP (BadStatusLine)", False),
    ("headers without end", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "answer", "not HTTP", False),
    ("a line without end", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000, "answer", "not HTTP (LineTooLong)", False),
    (
        "body cut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "reset",
        "before the answer was complete",
        False,
    ),
    ("chunks cut short", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", "reset", "complete", False),
    ("headers cut short", b"HTTP/1.1 200 OK\r\nX-A", None, "", False),
    ("nothing", b"", "reset", "complete", False),
]


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "hang"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_faults(start: Start, answer: bytes, kind: str | None, reason: str, hang: bool) -> None:
    box: list[Server] = []

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        if hang:
            box[0].wait(5)
        else:
            connection.shutdown(socket.SHUT_WR)
            box[0].wait(0.1)

    box.append(start(handle))
    if kind is None:  # http.client takes an end of file for the end of the headers
        assert fetch(Request(f"http://127.0.0.1:{box[0].port}/", timeout=1)).status == 200
        return
    found, text, seconds = failing(f"http://127.0.0.1:{box[0].port}/")
    assert (found, reason in text) == (kind, True), text
    assert seconds < 0.9
    if hang:
        assert seconds >= 0.39


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["status", "header", "body", "body without length"],
)
def test_a_byte_now_and_then_does_not_extend_the_timeout(start: Start, answer: bytes) -> None:
    box: list[Server] = []
    box.append(start(drip(answer, box)))
    kind, _text, seconds = failing(f"http://127.0.0.1:{box[0].port}/")
    assert kind == "timeout"
    assert 0.39 <= seconds < 0.9


def test_a_server_that_does_not_read_does_not_hold_us(start: Start) -> None:
    box: list[Server] = []
    box.append(start(lambda _connection: box[0].wait(5)))
    kind, _text, seconds = failing(f"http://127.0.0.1:{box[0].port}/", method="POST", body=b"x" * (32 << 20))
    assert kind == "timeout"
    assert seconds < 0.9


def test_refused() -> None:
    port = free_port()
    kind, text, seconds = failing(f"http://127.0.0.1:{port}/")
    assert (kind, text) == ("refused", f"connection refused by 127.0.0.1:{port}: nothing listens there")
    assert seconds < 0.3


def test_reset(start: Start) -> None:
    for handle in (reset, close):
        server = start(handle)
        assert failing(f"http://127.0.0.1:{server.port}/")[:2] == (
            "reset",
            f"connection closed by 127.0.0.1:{server.port} before the answer was complete",
        )


def test_no_connection_in_time() -> None:
    """A full backlog lets connections hang as a dead host does."""
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _attempt in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        kind, text, seconds = failing(f"http://127.0.0.1:{port}/")
    assert (kind, text) == ("timeout", f"no connection to 127.0.0.1:{port} within 400 ms")
    assert seconds < 0.9


def test_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, text, _seconds = failing("http://no-such-host.invalid/", timeout=5)
    assert kind == "dns"
    assert text.startswith("no address for no-such-host.invalid: ")
    assert failing("http://" + "a" * 64 + ".example/")[0] == "dns"

    real, over = socket.getaddrinfo, threading.Event()

    def slow(host: str, port: int, **keys: Any) -> object:
        if keys["flags"] == 0:
            over.wait(5)
        return real(host, port, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    kind, text, seconds = failing("http://localhost/")
    over.set()
    assert (kind, text) == ("dns", "name lookup of localhost gave no answer within 400 ms")
    assert seconds < 0.9


def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(_self: socket.socket, _target: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", no_route)
    assert failing("http://192.0.2.1/")[:2] == ("unreachable", "cannot reach 192.0.2.1:80: No route to host")


def test_large_bodies_are_cut(start: Start) -> None:
    for size, cut in ((web.BODY_LIMIT, False), (web.BODY_LIMIT + 1, True), (web.BODY_LIMIT * 3, True)):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
        server = serving(start, head + b"x" * size)
        answer = fetch(Request(f"http://127.0.0.1:{server.port}/"))
        assert (len(answer.body), answer.cut) == (min(size, web.BODY_LIMIT), cut)


def test_a_body_that_never_ends_is_cut(start: Start) -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    server = start(endless)
    answer = fetch(Request(f"http://127.0.0.1:{server.port}/", timeout=5))
    assert (len(answer.body), answer.cut) == (web.BODY_LIMIT, True)


def test_a_chunk_of_negative_size_does_not_fill_the_memory(start: Start) -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    server = start(endless)
    assert failing(f"http://127.0.0.1:{server.port}/", timeout=5)[0] in ("answer", "reset")


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_an_answer_or_a_fault(start: Start, tail: bytes) -> None:
    for head in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        server = serving(start, head + tail)
        try:
            answer = fetch(Request(f"http://127.0.0.1:{server.port}/", timeout=2))
            assert 100 <= answer.status <= 999
        except Fault as fault:
            assert fault.kind in ("answer", "reset")
        server.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


EC = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


def certificate(directory: Path, days: int, key: list[str]) -> Path:
    """A self-signed certificate for localhost and 127.0.0.1 (cert.pem), and one file that holds its key too."""
    both, public = directory / "both.pem", directory / "cert.pem"
    argv = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=localhost", "-days", str(days), "-newkey", *key]
    argv += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(both), "-out", str(public)]
    subprocess.run(argv, check=True, capture_output=True)
    both.write_bytes(both.read_bytes() + public.read_bytes())
    return both


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), 30, EC)


def server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_tls(start: Start, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serving(start, OK, context=server_context(pem))
    url = f"https://127.0.0.1:{server.port}/"
    answer = fetch(Request(url, verify_tls=False, timeout=5))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.expires is not None
    assert 29.9 < (answer.expires - time.time()) / 86400 < 30.1
    kind, text, _seconds = failing(url, timeout=5)
    assert (kind, text.replace("self-", "self ")) == (
        "tls",
        f"the certificate of 127.0.0.1:{server.port} is not valid: self signed certificate",
    )
    # A certificate that this host trusts is taken; one for another name is not.
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.parent / "cert.pem"))
    web._context.cache_clear()
    assert fetch(Request(f"https://localhost:{server.port}/", timeout=5)).status == 200
    monkeypatch.setattr(web, "_resolve", lambda _host, port, _clock: [(socket.AF_INET, ("127.0.0.1", port))])
    kind, text, _seconds = failing(f"https://other.example:{server.port}/", timeout=5)
    web._context.cache_clear()
    assert kind == "tls"
    assert "mismatch" in text


def test_tls_against_a_plain_server(start: Start) -> None:
    def plain(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = start(plain)
    kind, text, _seconds = failing(f"https://127.0.0.1:{server.port}/", timeout=2)
    assert (kind, text) == ("tls", f"no TLS with 127.0.0.1:{server.port}: wrong version number") or "record" in text


def test_a_handshake_that_hangs(start: Start) -> None:
    box: list[Server] = []
    box.append(start(lambda _connection: box[0].wait(5)))
    kind, text, seconds = failing(f"https://127.0.0.1:{box[0].port}/")
    assert (kind, text) == ("timeout", "no TLS handshake within 400 ms")
    assert seconds < 0.9


@pytest.mark.parametrize(
    ("key", "days"),
    [(EC, 30), (EC, 12000), (["rsa:2048"], 1)],
    ids=["UTCTime", "after 2049, GeneralizedTime", "RSA"],
)
def test_the_end_of_a_certificate(tmp_path: Path, key: list[str], days: int) -> None:
    pem = certificate(tmp_path, days, key)
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())
    argv = ["openssl", "x509", "-noout", "-enddate", "-in", str(pem)]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    end = datetime.datetime.strptime(shown, "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=datetime.timezone.utc)
    assert web._expiry(der) == end.timestamp()
    for length in range(0, 200, 7):
        assert web._expiry(der[:length]) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_a_certificate(der: bytes) -> None:
    found = web._expiry(der)
    assert found is None or isinstance(found, float)


# --- small things -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/health", ("http", "127.0.0.1", 8000, "/health")),
        ("https://x.example", ("https", "x.example", 443, "/")),
        ("http://[::1]/a?b", ("http", "::1", 80, "/a?b")),
        ("HTTP://X/", ("http", "x", 80, "/")),
        ("http://x/ü ?q=ü#f", ("http", "x", 80, "/%C3%BC%20?q=%C3%BC")),
        ("http://x/%2F", ("http", "x", 80, "/%2F")),
        ("http://u@x/", None),
        ("http://x:y/", None),
        ("http://[::1/", None),
        ("http://x/\n", None),
        ("//x/", None),
        ("x", None),
        ("", None),
    ],
)
def test_address(url: str, expected: object) -> None:
    assert address(url) == expected


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    for url in (text, "http://" + text, "http://x/" + text):
        found = address(url)
        assert found is None or found.target.isascii()


def test_a_bad_url_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="not an http"):
        fetch(Request("file:///etc/passwd"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1 ms"), (0.0341, "34 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (1.5, "1.50 s"), (60, "60.00 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_left_open(start: Start) -> None:
    server = serving(start, OK)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _request in range(20):
        fetch(Request(f"http://127.0.0.1:{server.port}/"))
        failing(f"http://127.0.0.1:{free_port()}/")
    time.sleep(0.05)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before + 2


def test_a_watcher_without_openssl_loads_it_for_the_first_https_url() -> None:
    """As roles/watcher/files/selfheal begins; -I: nothing but the library and Python."""
    library = Path(web.__file__).parents[1]
    script = f"""
import sys
sys.modules["_hashlib"] = sys.modules["_ssl"] = None
sys.path.insert(0, {str(library.parent)!r})
from module_utils.core.fingerprint import fingerprint
from module_utils.probe import web
assert fingerprint(b"") and "ssl" not in sys.modules
try:
    web.fetch(web.Request("http://127.0.0.1:{free_port()}/"))
except web.Fault as fault:
    assert fault.kind == "refused", fault.kind
assert "ssl" not in sys.modules
try:
    web.fetch(web.Request("https://127.0.0.1:{free_port()}/"))
except web.Fault as fault:
    assert fault.kind == "refused", fault.kind
assert web._context(True).check_hostname
"""
    ended = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
