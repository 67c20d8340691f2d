# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A browser, the host's Prometheus, and after a failure the journals of the page's server and HAProxy."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from seeing import browser, look, prometheus, repository

__all__ = ["browser", "look", "prometheus", "repository"]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add the page's and HAProxy's journal to a failing test."""
    outcome = yield
    report = outcome.get_result()
    host = getattr(item, "funcargs", {}).get("host")
    if report.when == "call" and report.failed and host is not None:
        command = "journalctl --no-pager --lines=40 --unit=selfheal-page --unit=haproxy"
        report.sections.append((command, host.run(command).stdout))
