# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The exporter: the alert it sends when no one scrapes it any longer, and its metrics."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.monitoring import exporter, socket_proxy
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config


@pytest.fixture
def alertmanager() -> Iterator[tuple[str, list[Any]]]:
    """An Alertmanager's address, and the alerts it received."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def config(root: Path, app: str, **more: Any) -> None:
    folder = root / "etc" / "selfheal"
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "app": app,
        "directory": "/opt/shop",
        "variables": [],
        "checks": [{"name": "up", "url": "http://127.0.0.1/"}],
    }
    (folder / f"{app}.json").write_text(json.dumps({**said, **more}), encoding="utf-8")


@pytest.mark.parametrize(("language", "words"), [("en", "nothing is measured"), ("ko", "측정되지 않음")])
def test_it_alerts_the_first_alertmanager(
    tmp_path: Path, alertmanager: tuple[str, list[Any]], language: str, words: str
) -> None:
    address, received = alertmanager
    config(tmp_path, "a-quiet-one")
    config(tmp_path, "shop", alertmanager=address, host="web1", language=language)
    assert exporter.tell(1_000_000_000.0, str(tmp_path))
    [(path, [alert])] = received
    assert path == "/api/v2/alerts"
    assert alert["labels"] == {"alertname": "MeasuringStopped", "host": "web1", "scope": "host", "severity": "critical"}
    assert words in alert["annotations"]["summary"]
    # The alert expires by itself, but not before it is sent again.
    ends = datetime.fromisoformat(alert["endsAt"].replace("Z", "+00:00")).timestamp()
    assert 160 < ends - 1_000_000_000 < 300


def test_without_an_alertmanager_no_alert_is_sent(tmp_path: Path) -> None:
    assert not exporter.tell(0.0, str(tmp_path))
    config(tmp_path, "a-quiet-one")
    (tmp_path / "etc/selfheal/broken.json").write_text("{", encoding="utf-8")
    config(tmp_path, "shop", alertmanager="http://127.0.0.1:9")
    assert not exporter.tell(0.0, str(tmp_path))


# --- metrics for Prometheus -------------------------------------------------------------------------------------------

CONTAINER = {
    "Id": "1" * 64,
    "Name": "/shop-cache-1",
    "State": {"Status": "running", "Pid": 0},
    "Config": {"Labels": {"com.docker.compose.service": "cache"}},
    "HostConfig": {},
    "NetworkSettings": {"Networks": {"shop": {"IPAddress": "172.18.0.3"}}},
}


class Engine:
    """An engine that knows one app, or does not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = True
        monkeypatch.setattr(agent_config, "apps", lambda *_: ["shop"])
        monkeypatch.setattr(docker_containers, "inspected", self.inspected)

    def inspected(self, app: str, timeout: float) -> list[dict[str, Any]]:
        assert (app, timeout) == ("shop", exporter.ENGINE_SECONDS)
        if not self.answers:
            raise engine.EngineError("the Docker engine does not answer")
        return [CONTAINER]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_prometheus_gets_metrics_or_an_error_without_an_engine(
    shop: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves for its lifetime, and offers the app's sockets meanwhile."""
    offered: list[str] = []
    asked: list[tuple[int, str]] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(socket_proxy, "offer", lambda path, _where: offered.append(path))
    monkeypatch.setattr(sys, "argv", ["exporter", str(port)])
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(exporter, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(exporter, "LIFE_SECONDS", 60.0)

    def visit() -> None:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError):
                asked.append(ask(port, "/metrics"))
                break
        asked.append(ask(port, "/"))
        shop.answers = False
        asked.append(ask(port, "/metrics"))
        exporter.LIFE_SECONDS = 0.0

    visitor = threading.Thread(target=visit, daemon=True)
    visitor.start()
    assert exporter.main() == 0
    visitor.join(10.0)
    assert [status for status, _unused in asked] == [200, 404, 503]
    assert 'app="shop"' in asked[0][1]
    assert asked[1][1] == "try /metrics\n"
    assert asked[2][1] == "the Docker engine does not answer\n"
    assert offered == [f"{tmp_path}/shop/cache", f"{tmp_path}/shop/.s.PGSQL.6432"]


def test_the_current_address_of_a_service(shop: Engine) -> None:
    assert exporter.place("shop", "cache") == ("172.18.0.3", 6379)
    assert exporter.place("shop", "pool") is None
    shop.answers = False
    assert exporter.place("shop", "cache") is None
