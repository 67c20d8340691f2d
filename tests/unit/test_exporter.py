# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whom the exporter tells when nobody asks it any more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import exporter


@pytest.fixture
def alertmanager() -> Iterator[tuple[str, list[Any]]]:
    """An Alertmanager's address, and what it was told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
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
def test_it_tells_the_first_alertmanager(
    tmp_path: Path, alertmanager: tuple[str, list[Any]], language: str, words: str
) -> None:
    address, told = alertmanager
    config(tmp_path, "a-quiet-one")
    config(tmp_path, "shop", alertmanager=address, host="web1", language=language)
    assert exporter.tell(1_000_000_000.0, str(tmp_path))
    [(path, [alert])] = told
    assert path == "/api/v2/alerts"
    assert alert["labels"] == {"alertname": "MeasuringStopped", "host": "web1", "scope": "host", "severity": "critical"}
    assert words in alert["annotations"]["summary"]
    # It ends by itself, but not before it is told again.
    ends = datetime.fromisoformat(alert["endsAt"].replace("Z", "+00:00")).timestamp()
    assert 160 < ends - 1_000_000_000 < 300


def test_there_is_nobody_to_tell(tmp_path: Path) -> None:
    assert not exporter.tell(0.0, str(tmp_path))
    config(tmp_path, "a-quiet-one")
    (tmp_path / "etc/selfheal/broken.json").write_text("{", encoding="utf-8")
    config(tmp_path, "shop", alertmanager="http://127.0.0.1:9")
    assert not exporter.tell(0.0, str(tmp_path))
