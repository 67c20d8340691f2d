# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that was measured, and its incidents, for tests of the status page."""

from __future__ import annotations

from typing import Any, cast

from ansible_collections.christmas.selfheal.plugins.module_utils.status_page import figures as page_figures

NOW = 1748347215.0  # 2025-05-27 12:00:15 UTC
ABOUT: page_figures.ShownApp = {"app": "shop", "host": "web1", "thresholds": {}}
WELL: dict[str, Any] = {"state": [({}, 1.0)], "healthy": [({}, 1.0)], "seen": [({}, NOW - 1)]}


def incident(**changed: Any) -> dict[str, Any]:
    return {
        "id": "20250527T110000Z-hung",
        "cause": "hung",
        "meaning": "",
        "seen": "2025-05-27T11:00:00.000Z",
        "ended": "2025-05-27T11:00:04.500Z",
        "healthy": True,
        "escalated": False,
        "seconds": 4.5,
        "evidence": [],
        "remedies": [{"name": "restart", "done": True}],
        **changed,
    }


def build(
    answers: Any = None, incidents: Any = (), releases: Any = (), lines: Any = None, **about: Any
) -> page_figures.Figures:
    given = WELL if answers is None else answers
    shown = cast(page_figures.ShownApp, {**ABOUT, **about})
    return page_figures.build(shown, given, lines or {}, {}, list(incidents), list(releases), NOW)


CRASHED = {"healthy": [({}, 0.0)], "state": [({}, 0.0)], "incident": [({"cause": "crashed"}, 1.0)]}

MIDNIGHT = int(NOW // 86400 * 86400)
MINUTE, HOUR = 60.0, 3600.0


def measured(seconds: float) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
    """The answers of Prometheus for an app that was measured, and up, for these seconds: (answers, minutes)."""
    since = NOW - seconds
    days = range(int(since // 86400 * 86400), MIDNIGHT + 1, 86400)
    up = {day: (min(NOW, day + 86400) - max(since, day)) // 60 for day in days}
    first = max(since, NOW - 86400)
    return {**WELL, "first": [({}, first)], "uptime_day": [({}, 0.995)]}, {"up": up}
