# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal report`: what it needs, and what it says without it. With a Prometheus it is tested on a lab host."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import agent, monthly
from ansible_collections.christmas.selfheal.plugins.module_utils.slo import SloError

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
    goals, prometheus, alertmanager = monthly.load("shop", str(root))
    assert (goals["response_ms"], goals["uptime_percent"]) == (300, 99.9)
    assert (prometheus, alertmanager) == (9090, "http://127.0.0.1:9093")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "slo/shop.json is no JSON"),
        ([], "slo/shop.json is no JSON object"),
        ({**GOOD, "month": 5}, "`month` is no key of it"),
        ({**GOOD, "goals": [1]}, r"`goals` is \[1\], no goals"),
        ({**GOOD, "goals": {"uptime": 99}}, "`goals` has uptime, which is no goal. Fix: write uptime_percent, "),
        ({**GOOD, "goals": {"incidents": "1"}}, r"`goals.incidents` is '1'. Fix: write a number from 0 to 1000"),
        (
            {**GOOD, "goals": {"uptime_percent": 999}},
            r"`goals.uptime_percent` is 999. Fix: write a number from 50 to 100",
        ),
        ({**GOOD, "prometheus": "9090"}, "`prometheus` is '9090', no port"),
        ({**GOOD, "alertmanager": "localhost:9093"}, r"`alertmanager` is 'localhost:9093', no http\(s\) URL"),
    ],
)
def test_bad_settings(root: Path, content: Any, words: str) -> None:
    settle(root, content)
    with pytest.raises(SloError, match=words):
        monthly.load("shop", str(root))


def test_no_settings(root: Path) -> None:
    with pytest.raises(
        SloError,
        match=r"does not exist: with monitoring_enabled: true, and no monitoring_hub, playbooks/site\.yml writes",
    ):
        monthly.load("shop", str(root))


def test_an_app_that_is_not_there(root: Path) -> None:
    with pytest.raises(
        SloError, match=r"this host has no app bakery; it has shop\. Correct the name, or run site\.yml"
    ):
        monthly.config("bakery", str(root))


@pytest.mark.parametrize(
    ("month", "words"),
    [
        ("May", "selfheal: --month: 'May' is no month. Write year and month, as 2025-05"),
        ("9000-01", "selfheal: --month: 9000-01 has not begun. Write this month, "),
        ("", "selfheal: Prometheus gives no answer: connection refused by 127.0.0.1:"),
    ],
)
def test_no_report(root: Path, capsys: pytest.CaptureFixture[str], month: str, words: str) -> None:
    """Nothing is printed as if it were one, and nothing is kept."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settle(root, {**GOOD, "prometheus": free.getsockname()[1]})
        code = agent.main(["report", "--keep", "--send", "--month", month], str(root))
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith(words)
    assert not (root / "var").exists()
