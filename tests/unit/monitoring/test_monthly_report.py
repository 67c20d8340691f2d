# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal report`: what it needs, and what it says without it; Prometheus and Alertmanager are simulated."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, outcome
from ansible_collections.christmas.selfheal.plugins.module_utils.monitoring import monthly_report
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting.slo_queries import SloError

GOOD = {"goals": {"response_ms": 300}, "prometheus": 9090, "alertmanager": "http://127.0.0.1:9093"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with an app."""
    config = {"app": "shop", "variables": [], "checks": [{"name": "health", "url": "http://127.0.0.1:1/"}]}
    (tmp_path / "etc/selfheal/slo").mkdir(parents=True)
    (tmp_path / "etc/selfheal/shop.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def settle(root: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "etc/selfheal/slo/shop.json").write_text(text, encoding="utf-8")


def test_settings(root: Path) -> None:
    settle(root, GOOD)
    goals, prometheus, alertmanager = monthly_report.load("shop", str(root))
    assert (goals["response_ms"], goals["uptime_percent"]) == (300, 99.9)
    assert (prometheus, alertmanager) == (9090, "http://127.0.0.1:9093")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "slo/shop.json is not valid JSON"),
        ([], "slo/shop.json is not a JSON object"),
        ({**GOOD, "month": 5}, "unknown key `month`"),
        ({**GOOD, "goals": [1]}, r"`goals` is \[1\], not a mapping"),
        ({**GOOD, "goals": {"uptime": 99}}, "unknown goal `goals.uptime`. Fix: write uptime_percent, "),
        ({**GOOD, "goals": {"incidents": "1"}}, r"`goals.incidents` is '1'. Fix: write a number from 0 to 1000"),
        (
            {**GOOD, "goals": {"uptime_percent": 999}},
            r"`goals.uptime_percent` is 999. Fix: write a number from 50 to 100",
        ),
        ({**GOOD, "prometheus": "9090"}, "`prometheus` is '9090', not a port"),
        ({**GOOD, "alertmanager": "localhost:9093"}, r"`alertmanager` is 'localhost:9093', not an http\(s\) URL"),
    ],
)
def test_bad_settings(root: Path, content: Any, words: str) -> None:
    settle(root, content)
    with pytest.raises(SloError, match=words):
        monthly_report.load("shop", str(root))


def test_no_settings(root: Path) -> None:
    with pytest.raises(
        SloError,
        match=r"does not exist: with monitoring_enabled: true, and no monitoring_hub, christmas\.selfheal\.site writes",
    ):
        monthly_report.load("shop", str(root))


def test_an_app_that_is_not_there(root: Path) -> None:
    with pytest.raises(
        SloError, match=r"this host has no app bakery; it has shop\. Correct the name, or run site\.yml"
    ):
        monthly_report.config("bakery", str(root))


@pytest.mark.parametrize(
    ("month", "words"),
    [
        ("May", "selfheal: --month: 'May' is not a month. Write year and month, as 2025-05"),
        ("9000-01", "selfheal: --month: 9000-01 has not begun. Write this month, "),
        ("", "selfheal: Prometheus does not answer: connection refused by 127.0.0.1:"),
    ],
)
def test_no_report(root: Path, capsys: pytest.CaptureFixture[str], month: str, words: str) -> None:
    """Nothing is printed as if it were one, and nothing is kept."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settle(root, {**GOOD, "prometheus": free.getsockname()[1]})
        code = cli.main(["report", "--keep", "--send", "--month", month], str(root))
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith(words)
    assert not (root / "var").exists()


# --- with what it needs ----------------------------------------------------------------------------------------------

DAY = 86400


class Monitoring(http.server.ThreadingHTTPServer):
    """Prometheus, to which the app was up all the time, and Alertmanager."""

    refuses, taken = "", 200
    received: list[Any]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Monitoring

    def do_GET(self) -> None:
        where = urllib.parse.urlsplit(self.path)
        asked = {key: values[0] for key, values in urllib.parse.parse_qs(where.query).items()}
        if self.server.refuses:
            self.answer(400, {"status": "error", "error": self.server.refuses})
            return
        numbers = {"count": "1440", "avg": "1", "stdvar": "0", "sum": "3"}
        number = "0.1" if "response_seconds" in asked["query"] else numbers[asked["query"].partition("_")[0]]
        if where.path == "/api/v1/query":
            found = [{"metric": {}, "value": [0, number]}]
        else:
            times = range(int(asked["start"]), int(asked["end"]) + 1, DAY)
            found = [{"metric": {}, "values": [[at, number] for at in times]}]
        self.answer(200, {"status": "success", "data": {"result": found}})

    def do_POST(self) -> None:
        self.server.received += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(self.server.taken, {})

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_unused: Any) -> None:
        pass


@pytest.fixture
def monitoring(root: Path) -> Iterator[Monitoring]:
    with Monitoring(("127.0.0.1", 0), Handler) as server:
        server.received = []
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        port = server.server_address[1]
        settle(root, {"goals": {}, "prometheus": port, "alertmanager": f"http://127.0.0.1:{port}"})
        yield server
        server.shutdown()
        thread.join()


def test_a_month_is_measured_kept_and_sent(
    root: Path, monitoring: Monitoring, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "--month", "2025-05", "--keep", "--send"], str(root)) == outcome.GOOD
    printed = capsys.readouterr()
    folder = root / "var/lib/selfheal/shop/reports"
    assert "5 of 5 goals met" in printed.out
    assert printed.err == f"kept: {folder}/slo-2025-05.md\nsent: Alertmanager has taken it\n"
    assert "5 of 5 goals met" in (folder / "slo-2025-05.md").read_text(encoding="utf-8")
    kept = json.loads((folder / "slo-2025-05.json").read_text(encoding="utf-8"))
    [alert] = monitoring.received
    assert (kept["month"], alert["labels"]["alertname"]) == ("2025-05", "SelfhealReport")
    assert cli.main(["report", "--month", "2025-05", "--json"], str(root)) == outcome.GOOD
    assert json.loads(capsys.readouterr().out) == kept
    assert len(monitoring.received) == 1


def test_a_report_that_is_not_taken_is_kept_all_the_same(
    root: Path, monitoring: Monitoring, capsys: pytest.CaptureFixture[str]
) -> None:
    monitoring.taken = 500
    assert cli.main(["report", "--month", "2025-05", "--keep", "--send"], str(root)) == outcome.WRONG
    assert "Alertmanager did not take it: status 500" in capsys.readouterr().err
    assert (root / "var/lib/selfheal/shop/reports/slo-2025-05.md").exists()


def test_a_prometheus_that_refuses_is_quoted(
    root: Path, monitoring: Monitoring, capsys: pytest.CaptureFixture[str]
) -> None:
    monitoring.refuses = "query timed out"
    assert cli.main(["report", "--month", "2025-05"], str(root)) == outcome.WRONG
    assert "refuses a query: query timed out. On the host: journalctl -u prometheus" in capsys.readouterr().err
