# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The prober: which check it asks and from where, and how it measures an outage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.tests.unit.probe.samples import answers


@contextlib.contextmanager
def server() -> Iterator[tuple[dict[str, int], str]]:
    """A server whose status can be set. With 0 it does not answer."""
    state = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while not state["status"]:
                time.sleep(0.02)
            self.send_response(state["status"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=listening.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state, f"http://127.0.0.1:{listening.server_address[1]}/health"
    finally:
        state["status"] = 200
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.mark.parametrize("status", [500, 0], ids=["errors", "hangs"])
def test_an_outage_is_measured(status: int) -> None:
    with server() as (state, url):
        ask, asked = continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, timeout=0.3)
        assert asked == url
        with continuous.Prober(ask, rate=50) as watching:
            assert watching.wait_healthy(watching.now(), 20) is not None
            state["status"], broken = status, watching.now()
            deadline = time.monotonic() + 20
            while sum(not sample.ok for sample in watching.samples(broken)) < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            state["status"], mended = 200, watching.now()
            recovered = watching.wait_healthy(broken, 20)
            samples = watching.samples(broken)
    failed = [sample for sample in samples if not sample.ok]
    assert len(failed) >= 5
    assert recovered is not None
    # A request that waited through the outage may be the first good one; its answer came after the outage.
    assert recovered >= mended
    assert all(sample.reason for sample in failed)
    assert all(sample.ended - sample.sent < 5 for sample in failed)


def test_requests_overlap_while_nothing_answers() -> None:
    with server() as (state, url):
        state["status"] = 0
        ask, _unused = continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, timeout=1.0)
        with continuous.Prober(ask, rate=50) as watching:
            begun = watching.now()
            deadline = time.monotonic() + 20
            while len(watching.samples(begun)) < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            samples = watching.samples(begun)
    assert len(samples) >= 5
    assert samples[4].sent < samples[0].ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("x" * 5 + "." * 10, 100.51, id="ten in a row"),
        pytest.param("x" * 5 + "." * 9, None, id="nine"),
        pytest.param("." * 9 + "x" + "." * 10, 101.01, id="the row begins again"),
    ],
)
def test_first_of_row(text: str, expected: float | None) -> None:
    found = continuous.first_of_row(answers(text))
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_late_answer_is_not_the_first_good_one() -> None:
    """A packet to a container that is just starting is resent a second later, and answered then."""
    late, *others = answers("." * 10)
    assert continuous.first_of_row([late._replace(ended=101.2), *others]) == pytest.approx(100.11)


def test_the_prober_asks_a_check_without_secrets() -> None:
    login = {"name": "login", "url": "http://${HOST}/login", "headers": {"apikey": "${KEY}"}, "proves": "health"}
    page = {"name": "page", "url": "http://${HOST}/", "proves": "frontend"}
    health = {"name": "health", "url": "http://${HOST}/health", "proves": "health"}
    checks = parse_checks([login, page, health])
    assert continuous.asker(checks, {"HOST": "192.0.2.1"})[1] == "http://192.0.2.1/health"
    assert continuous.asker(checks[:2], {"HOST": "192.0.2.1"})[1] == "http://192.0.2.1/"
    with pytest.raises(ValueError, match="drill_url"):
        continuous.asker(checks[:1], {"HOST": "192.0.2.1"})


OUTSIDE = [
    ("loopback", "http://127.0.0.1:8000/health?full=1", "203.0.113.5", "http://203.0.113.5:8000/health?full=1"),
    ("a name of its own", "http://localhost/health", "web1.internal", "http://web1.internal:80/health"),
    ("loopback, IPv6", "https://[::1]/", "2001:db8::5", "https://[2001:db8::5]:443/"),
    ("every address", "http://0.0.0.0:8000/", "203.0.113.5", "http://203.0.113.5:8000/"),
    ("an address of its own", "http://203.0.113.9:8000/", "203.0.113.5", "http://203.0.113.9:8000/"),
    ("a name", "https://shop.internal/health", "203.0.113.5", "https://shop.internal/health"),
    ("the host is this machine", "http://127.0.0.1:8000/", "", "http://127.0.0.1:8000/"),
]


@pytest.mark.parametrize(("url", "outside", "asked"), [case[1:] for case in OUTSIDE], ids=[case[0] for case in OUTSIDE])
def test_the_host_is_probed_from_outside(url: str, outside: str, asked: str) -> None:
    assert continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, outside=outside)[1] == asked
