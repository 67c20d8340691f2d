# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The server of the status page: which requests it serves, and what it asks Prometheus."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import queries as page_queries
from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import server as page_server
from ansible_collections.christmas.selfheal.tests.unit.status_page.factories import NOW


def test_apps_of_the_same_name_are_distinguished_by_host() -> None:
    labels = [{"app": "shop", "host": "web1"}, {"app": "shop", "host": "web2"}, {"app": "mail", "host": "web1"}, {}]
    own = cast(page_server.PageSettings, {"app": "shop", "host": "web1", "directory": "/opt/shop"})
    found = page_server.choice(labels, [own])
    assert {key: (one.app, one.host, bool(one.settings)) for key, one in found.items()} == {
        "mail": ("mail", "web1", False),
        "shop@web1": ("shop", "web1", True),
        "shop@web2": ("shop", "web2", False),
    }


class Prometheus(BaseHTTPRequestHandler):
    """A Prometheus that has measured one healthy app for six minutes. `asked` has the requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        labels = {"app": "shop", "host": "web1"}
        value = str(time.time() - 360) if "timestamp%28" in self.path else "1"
        values = [[NOW, value]] if "query_range" in self.path else [NOW, value]
        result = [{"metric": labels, "values" if "query_range" in self.path else "value": values}]
        if "step=86400" in self.path:
            # No day is over yet.
            result = []
        body = json.dumps({"status": "success", "data": {"result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """The page's server on a free port, and what it asks Prometheus."""
    asked: list[str] = []
    monkeypatch.setattr(Prometheus, "asked", asked, raising=False)
    prometheus = HTTPServer(("127.0.0.1", 0), Prometheus)
    folder = tmp_path / "page"
    folder.mkdir()
    settings = {
        "app": "shop",
        "host": "web1",
        "directory": str(tmp_path),
        "language": "ko",
        "prometheus": prometheus.server_port,
    }
    (folder / "shop.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "damaged.json").write_text("{", encoding="utf-8")
    listening = socket.create_server(("127.0.0.1", 0))
    serving = page_server.Server(listening, page_server.Page(str(folder), str(tmp_path)))
    threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in (prometheus, serving)]
    for thread in threads:
        thread.start()
    yield listening.getsockname()[1], asked
    for one in (serving, prometheus):
        one.shutdown()
        one.server_close()
    for thread in threads:
        thread.join()


def get(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response, response.read()
    finally:
        connection.close()


def test_it_serves_the_page_and_asks_only_its_own_queries(server: tuple[int, list[str]]) -> None:
    port, asked = server
    status, response, body = get(port, "/?app=shop&lang=en")
    assert status == 200
    assert "default-src 'none'" in str(response.headers["Content-Security-Policy"])
    assert response.headers["Cache-Control"] == "no-store"
    assert b"All is well" in body
    assert len(asked) == 1 + len(page_queries.NOW) + 3 + len(page_queries.BY_STEP)
    assert {path.partition("?")[0] for path in asked} == {"/api/v1/query", "/api/v1/query_range"}
    # The days, and charts of ten minutes.
    assert sorted(re.findall(r"step=(\d+)", " ".join(asked))) == [*["15"] * len(page_queries.BY_STEP), *["86400"] * 3]
    asked.clear()
    assert get(port, "/?app=shop&lang=en")[0] == 200
    assert asked == [], "a recent page is served from the cache"
    assert "정상".encode() in get(port, "/")[2]
    assert b"All is well" in get(port, "/", **{"Accept-Language": "en-GB,en;q=0.9"})[2]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?query=up", 400),
        ("/?app=shop&query=up", 400),
        ("/?app=shop&app=shop", 400),
        ("/?app=other", 404),
        ("/?app=%22%7D%20or%20up", 404),
        ("/api/v1/query?query=up", 404),
        ("/page", 404),
    ],
)
def test_it_refuses_every_other_request(server: tuple[int, list[str]], path: str, status: int) -> None:
    port, asked = server
    assert get(port, path)[0] == status
    assert [one for one in asked if "group+by" not in one] == []


@pytest.mark.parametrize(
    ("name", "status"),
    [("localhost:9418", 200), ("[::1]:9418", 200), ("127.0.0.1", 200), ("other.example:9418", 421)],
)
def test_a_request_for_another_host_name_is_refused(server: tuple[int, list[str]], name: str, status: int) -> None:
    assert get(server[0], "/", Host=name)[0] == status


def test_without_prometheus_it_says_so(server: tuple[int, list[str]], tmp_path: Path) -> None:
    settings = {"app": "shop", "host": "web1", "directory": str(tmp_path), "language": "en", "prometheus": 1}
    (tmp_path / "page" / "shop.json").write_text(json.dumps(settings), encoding="utf-8")
    status, _unused, body = get(server[0], "/")
    assert status == 200
    assert b"Prometheus does not answer" in body
    assert b'data-state="unknown"' in body


def test_an_unchanged_file_is_not_sent_again(
    server: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.css").write_text("body {}" * 1000, encoding="utf-8")
    monkeypatch.setitem(page_server.STATIC, "/page.css", (str(tmp_path / "page.css"), "text/css"))
    status, response, body = get(server[0], "/page.css", **{"Accept-Encoding": "gzip"})
    assert (status, response.headers["Content-Encoding"], len(body) < 200) == (200, "gzip", True)
    assert get(server[0], "/page.css", **{"If-None-Match": str(response.headers["ETag"])})[::2] == (304, b"")
