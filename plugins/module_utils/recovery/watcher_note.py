# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The note that a watcher leaves: for `selfheal status`, and for the watcher after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..core import clock as core_clock
from ..core.clock import Clock, Moment, moment
from ..core.locks import is_locked
from ..records import state
from ..reporting import alert_outbox
from .config import Config
from .ladder import TOUCHING

METRICS_SECONDS = 15.0
# How old an answer may be for `selfheal status`: an app that limits how often it is asked is asked once a minute.
FRESH_SECONDS = 75.0


def note_path(root: str, name: str) -> str:
    """Where a watcher leaves a note for `selfheal status`."""
    return os.path.join(root, "run/selfheal", f"{name}.json")


def read_note(config: Config, clock: Clock) -> dict[str, Any]:
    """What the watcher left: {alive, age in seconds or None, pid, problems, hold: why it does nothing, or "", checks}.

    `checks` are {ok, passed, total, age: s}, how those went that it asked last; None when that was too long ago.
    """
    nothing: dict[str, Any] = {"alive": False, "age": None, "pid": 0, "problems": [], "hold": "", "checks": None}
    try:
        with open(note_path(config.app.root, config.app.name), encoding="utf-8") as stream:
            note = json.load(stream)
        now = moment(clock.now(), clock.monotonic())
        age = core_clock.age(note["at"], now)
        lives = age < METRICS_SECONDS + config.silence or is_locked(config.app.lock)
        os.kill(int(note["pid"]), 0)
        checks = _fresh(note.get("checks"), now) if lives else None
        told = {"problems": list(note["problems"]), "hold": str(note["hold"]), "checks": checks}
        return {"alive": lives, "age": round(age, 1), "pid": note["pid"], **told}
    except (OSError, ValueError, KeyError, TypeError):
        return nothing


def _fresh(checks: Mapping[str, Any] | None, now: Moment) -> dict[str, Any] | None:
    """The checks of a note, with their age; None when there are none, or none of late."""
    if checks is None:
        return None
    age = core_clock.age(checks["at"], now)
    told = {"ok": bool(checks["ok"]), "passed": int(checks["passed"]), "total": int(checks["total"])}
    return {**told, "age": round(age, 1)} if age < FRESH_SECONDS else None


def last_good(root: str, name: str, now: Moment) -> float | None:
    """When the app answered well last, as the watcher before this one noted (epoch s, by the clock as it is now)."""
    note = last(root, name)
    try:
        before = float(note["at"]["wall"]) - float(note["good"])
        return float(now["wall"]) - core_clock.age(note["at"], now) - before
    except (KeyError, TypeError, ValueError):
        return None


def last(root: str, name: str) -> dict[str, Any]:
    """What the watcher before this one noted; {} without it."""
    try:
        with open(note_path(root, name), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def status_facts(config: Config, memory: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """What state and orders say, for metrics and for `selfheal status`."""
    now = moment(clock.now(), clock.monotonic())
    orders = state.read_orders(config.app.state)
    forgiven = core_clock.age(orders["resumed"], now) if orders["resumed"] else float("inf")
    ages = [
        core_clock.age(one["at"], now)
        for one in memory["attempts"]
        if one["remedy"] in TOUCHING and not one.get("refused")
    ]
    attempts = [age for age in ages if age < min(forgiven, config.policy.window)]
    left = state.pause_left(orders, now)
    return {
        "incident": memory["incident"],
        "attempts": len(attempts),
        "breaker_open": len(attempts) >= config.policy.attempts,
        "paused": {**orders["paused"], "left": round(left)} if left else None,
        "alerts_waiting": alert_outbox.waiting(memory["outbox"]) if config.alertmanager else 0,
        "counts": dict(memory["counts"]),
        "now": clock.now(),
    }
