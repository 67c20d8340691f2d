# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The note that a watcher leaves, for `selfheal status` and for the watcher after it."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, TypedDict, cast

from ..core import clock as core_clock
from ..core.clock import Clock, Moment, moment
from ..core.locks import is_locked
from ..health.service_watch import KnownJson
from ..records import state
from ..records.incidents import IncidentRecord
from ..records.state import Pause, State
from ..reporting import alert_outbox
from ..reporting.alert_messages import Changed
from .config import Config
from .ladder import TOUCHING

METRICS_SECONDS = 15.0
# How old an answer may be for `selfheal status`: an app that limits how often it is asked is asked once a minute.
FRESH_SECONDS = 75.0


class NotedChecks(TypedDict):
    """How the checks went that were asked last; whether all passed, how many did, of how many."""

    ok: bool
    passed: int
    total: int
    at: Moment


class Note(TypedDict):
    """What a watcher notes, for `selfheal status` and for the watcher after it.

    `hold` says why it does nothing, and `cause` of what. `good` is when the probe passed last (epoch s). `slowest` is
    what `Patience` has learnt, `changed` are changes by hand that go on.
    """

    at: Moment
    pid: int
    healthy: bool
    hold: str
    cause: str
    problems: list[str]
    good: float | None
    checks: NotedChecks | None
    services: KnownJson | None
    slowest: dict[str, float]
    changed: list[Changed]


class SeenChecks(TypedDict):
    """The checks of a note, and how long ago (s) they went so last."""

    ok: bool
    passed: int
    total: int
    age: float


class WatcherSeen(TypedDict):
    """A watcher as its note shows it. `age` (s) is the note's; None without one.

    `hold` says why it does nothing; "" when it works. `checks` are None when it asked them too long ago.
    """

    alive: bool
    age: float | None
    pid: int
    problems: list[str]
    hold: str
    checks: SeenChecks | None


class PauseSeen(Pause):
    """A pause, with the seconds that it still lasts."""

    left: int


class StatusFacts(TypedDict):
    """What state and orders say. `attempts` are those that the breaker counts; `now` is epoch seconds."""

    incident: IncidentRecord | None
    attempts: int
    breaker_open: bool
    paused: PauseSeen | None
    alerts_waiting: int
    counts: dict[str, int]
    now: float


def note_path(root: str, name: str) -> str:
    """Where a watcher leaves a note for `selfheal status`."""
    return os.path.join(root, "run/selfheal", f"{name}.json")


def touch(root: str, name: str, at: Moment) -> None:
    """Note that the checks went as the note says, also at this moment: its file's time says so."""
    with contextlib.suppress(OSError):
        os.utime(note_path(root, name), (at["wall"], at["wall"]))


def read_note(config: Config, clock: Clock) -> WatcherSeen:
    """Read the watcher's note, and say whether it lives."""
    nothing: WatcherSeen = {"alive": False, "age": None, "pid": 0, "problems": [], "hold": "", "checks": None}
    try:
        with open(note_path(config.app.paths.root, config.app.name), encoding="utf-8") as stream:
            note = json.load(stream)
            touched = os.fstat(stream.fileno()).st_mtime
        now = moment(clock.now(), clock.monotonic())
        age = core_clock.age(note["at"], now)
        lives = age < METRICS_SECONDS + config.silence or is_locked(config.app.paths.lock)
        os.kill(int(note["pid"]), 0)
        checks = _fresh(note.get("checks"), now) if lives else None
        if checks and 0.0 <= now["wall"] - touched < checks["age"]:
            checks["age"] = round(now["wall"] - touched, 1)
        return {
            "alive": lives,
            "age": round(age, 1),
            "pid": note["pid"],
            "problems": list(note["problems"]),
            "hold": str(note["hold"]),
            "checks": checks,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return nothing


def _fresh(checks: NotedChecks | None, now: Moment) -> SeenChecks | None:
    """The checks of a note, with their age; None when there are none, or none of late."""
    if checks is None:
        return None
    age = core_clock.age(checks["at"], now)
    seen: SeenChecks = {
        "ok": bool(checks["ok"]),
        "passed": int(checks["passed"]),
        "total": int(checks["total"]),
        "age": round(age, 1),
    }
    return seen if age < FRESH_SECONDS else None


def last_good(root: str, name: str, now: Moment) -> float | None:
    """When the app answered well last, as the watcher before this one noted (epoch s, by the clock as it is now)."""
    note: Any = last(root, name)
    try:
        before = float(note["at"]["wall"]) - float(note["good"])
        return float(now["wall"]) - core_clock.age(note["at"], now) - before
    except (KeyError, TypeError, ValueError):
        return None


def last(root: str, name: str) -> Note | None:
    """What the watcher before this one noted, unchecked: each key may be missing. None without a note."""
    try:
        with open(note_path(root, name), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    return cast(Note, found) if isinstance(found, dict) else None


def status_facts(config: Config, memory: State, clock: Clock) -> StatusFacts:
    """What state and orders say, for metrics and for `selfheal status`."""
    now = moment(clock.now(), clock.monotonic())
    # While users wait, what was tried when they did not holds nothing back.
    record = memory["incident"]
    counts_unasked = record is None or record.get("unasked", False)
    orders = state.read_orders(config.app.paths.state)
    forgiven = core_clock.age(orders["resumed"], now) if orders["resumed"] else float("inf")
    ages = [
        core_clock.age(one["at"], now)
        for one in memory["attempts"]
        if one["remedy"] in TOUCHING and not one.get("refused") and (counts_unasked or not one.get("unasked"))
    ]
    attempts = [age for age in ages if age < min(forgiven, config.policy.window)]
    left, pause = state.pause_left(orders, now), orders["paused"]
    return {
        "incident": record,
        "attempts": len(attempts),
        "breaker_open": len(attempts) >= config.policy.attempts,
        "paused": {**pause, "left": round(left)} if pause and left else None,
        "alerts_waiting": alert_outbox.waiting(memory["outbox"]) if config.alertmanager else 0,
        "counts": dict(memory["counts"]),
        "now": clock.now(),
    }
