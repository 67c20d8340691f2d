# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The healthcheck of a container sends the health check's Host and headers, with whatever client its image has."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import overlay
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.health_request import (
    HealthRequest,
    container_command,
    through_balancer,
    with_host,
)

ODD = 'it\'s $5: "ok"; `x`'
HEADERS = (("Host", "shop.example"), ("X-Probe", ODD))
CLIENTS = [name for name in ("curl", "wget", "python3", "node") if shutil.which(name)]


class Picky(BaseHTTPRequestHandler):
    """An app that answers to its own host alone."""

    def do_GET(self) -> None:
        asked = (self.headers["Host"], self.headers["X-Probe"], self.path)
        self.send_response(200 if asked == ("shop.example", ODD, "/health?full=1") else 400)
        # Without it wget takes the end of a TLS connection for a broken answer, and asks again.
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_unused: Any) -> None:
        pass


@pytest.fixture(params=[False, True], ids=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, bool]]:
    it = ThreadingHTTPServer(("127.0.0.1", 0), Picky)
    if request.param:
        key, public = tmp_path / "key.pem", tmp_path / "public.pem"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop"]
        subprocess.run([*made, "-keyout", key, "-out", public], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(public, key)
        it.socket = context.wrap_socket(it.socket, server_side=True)
    threading.Thread(target=it.serve_forever, daemon=True).start()
    yield it.server_address[1], request.param
    it.shutdown()
    it.server_close()


def run(lines: tuple[str, ...], client: str, folder: Path) -> int:
    """Run the command in a shell that knows one client; Compose makes a `$` of `$$`."""
    # A version manager's `python3` is a script, which needs more programs than these.
    program = os.path.realpath(sys.executable) if client == "python3" else str(shutil.which(client))
    (folder / client).symlink_to(program)
    shell = " ".join(lines).replace("$$", "$")
    return subprocess.run(
        ["/bin/sh", "-c", shell], env={"PATH": str(folder)}, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_asks_as_the_health_check_does(server: tuple[int, bool], client: str, tmp_path: Path) -> None:
    port, tls = server
    asked = HealthRequest("GET", "/health?full=1", HEADERS, (200,), port, tls)
    assert run(container_command(port, "/health", asked), client, tmp_path) == 0


# Without the check's TLS, too, wget would ask 20 times.
@pytest.mark.parametrize("server", [False], indirect=True)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_path_alone_is_asked_where_the_health_check_leads_elsewhere(
    server: tuple[int, bool], client: str, tmp_path: Path
) -> None:
    assert run(container_command(server[0], "/health?full=1", None), client, tmp_path) != 0


def test_there_is_a_client_to_test_with() -> None:
    assert "python3" in CLIENTS


@pytest.mark.parametrize(
    ("url", "headers", "host"),
    [
        (("http", "127.0.0.1", 8000), (), "127.0.0.1:8000"),
        (("http", "shop.example", 80), (), "shop.example"),
        (("https", "shop.example", 443), (), "shop.example"),
        (("http", "shop.example", 443), (), "shop.example:443"),
        (("http", "::1", 8000), (), "[::1]:8000"),
        (("http", "127.0.0.1", 8000), (("host", "shop.example"),), "shop.example"),
    ],
)
def test_the_host_header(url: tuple[str, str, int], headers: tuple[tuple[str, str], ...], host: str) -> None:
    assert with_host(*url, headers) == (("Host", host),)
    assert dict(through_balancer(*url, headers))["X-Forwarded-Host"] == host


SPEC = {"image": "shop", "ports": [{"target": 8000, "published": "80"}]}
BALANCER = Balancer("web", 2, 18000, (80, 443))


@pytest.mark.parametrize(
    ("port", "target", "balanced", "sends"),
    [
        (80, "/health", None, True),
        (80, "/health?full=1", None, True),
        (81, "/health", None, False),
        (80, "/ready", None, False),
        (443, "/health", BALANCER, True),
        (81, "/health", BALANCER, False),
    ],
    ids=["its port", "with a query", "another port", "another path", "through the balancer", "past the balancer"],
)
def test_the_overlay_has_it_for_the_service_that_is_asked(
    port: int, target: str, balanced: Balancer | None, sends: bool
) -> None:
    table = overlay.read_table({"web": {"port": 8000, "health_path": "/health"}})
    asked = HealthRequest("GET", target, HEADERS, (200,), port)
    text = overlay.render(table, {"web": SPEC}, (26, 1, 5), balanced, asked=asked).text
    assert ("Host: shop.example" in text) is sends
