# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The alerts that wait for Alertmanager: posted until it has them, repeated while they fire, ended once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from ..core.clock import iso
from . import alert_messages
from .alert_messages import Alert

# How often what fires is posted again, and for how long each post holds.
REPEAT_SECONDS = 60.0
HOLD_SECONDS = 300.0
# The dead-man's signal ends sooner: two posts were missed.
WATCHDOG_HOLD_SECONDS = 150.0
# The time between the posts of two phases of an incident. Alertmanager sends a new alert at once (group_wait 0s).
APART_SECONDS = 3.0
# For each app. A night of flapping makes a few dozen; beyond this, the oldest that are over are dropped.
BOUND = 200


# --- the outbox ------------------------------------------------------------------------------------------------------


class End(TypedDict):
    """The end of an alert, and its words."""

    endsAt: str
    annotations: dict[str, str]


class Entry(TypedDict):
    """An alert of the outbox: `key` is its labels as text, `alert` is as it fires.

    `told_at` is when Alertmanager first took it, `posted_at` when it did last (epoch s). `renewed`: that was after its
    end was known.
    """

    key: str
    alert: Alert
    end: End | None
    told_at: float | None
    posted_at: float | None
    renewed: bool


Outbox = list[Entry]
"""What waits for Alertmanager, oldest first. Functions take any sequence: it comes from a file that may be damaged."""


def add(outbox: Sequence[object], alert: Alert, now: float) -> Outbox:
    """Add an alert. One that is there already gets the new texts; one with an end ends all alerts of its incident.

    An alert that is over stays until Alertmanager has taken its beginning and its end. The end of an unknown alert is
    ignored. The outbox is bounded: see `dropped`.
    """
    entries = _sound(outbox)
    if "endsAt" in alert:
        incident = _incident(alert)
        annotations = dict(alert["annotations"])
        return [_ended(one, now, annotations) if _incident(one["alert"]) == incident else one for one in entries]
    key = _key(alert)
    fresh: Alert = {"labels": dict(alert["labels"]), "annotations": dict(alert["annotations"])}
    if "startsAt" in alert:
        fresh["startsAt"] = alert["startsAt"]
    for index, one in enumerate(entries):
        if one["key"] == key:
            entries[index] = {**one, "alert": fresh, "end": None, "renewed": False}
            return entries
    entries.append({"key": key, "alert": fresh, "end": None, "told_at": None, "posted_at": None, "renewed": False})
    return _bounded(entries, _incident(alert))


def end(outbox: Sequence[object], alert: Alert, now: float) -> Outbox:
    """End the alerts of a name, an app and a host, which have no incident, if any are there; each says its `over`."""

    def about(one: Alert) -> tuple[str, ...]:
        return tuple(str(one["labels"][name]) for name in ("alertname", "app", "host"))

    return [
        _ended(one, now, dict(one["alert"]["annotations"])) if about(one["alert"]) == about(alert) else one
        for one in _sound(outbox)
    ]


def only(outbox: Sequence[object], name: str, wanted: Iterable[Alert], now: float) -> Outbox:
    """Have these alerts of a name fire, and end all others of that name."""
    alerts = list(wanted)
    keys = {_key(alert) for alert in alerts}
    entries = _sound(outbox)
    for one in entries:
        if one["alert"]["labels"]["alertname"] == name and one["key"] not in keys:
            entries = end(entries, one["alert"], now)
    for alert in alerts:
        entries = add(entries, alert, now)
    return entries


def due(outbox: Sequence[object], now: float) -> list[Alert]:
    """What has to be posted now, as one JSON array, in this order. `now` is epoch seconds."""
    entries = _sound(outbox)
    incidents: dict[tuple[str, ...], Outbox] = {}
    for one in entries:
        incidents.setdefault(_incident(one["alert"]), []).append(one)
    posts = []
    for one in entries:
        together = incidents[_incident(one["alert"])]
        if _fires(one, now):
            before = together[: together.index(one)]
            if one["told_at"] is not None or all(_was_taken(other, now) for other in before):
                posts.append(_firing(one, now))
        elif one["end"] and all(_may_end(other, now) for other in together):
            posts.append(_post(one, one["end"]["annotations"], min(one["end"]["endsAt"], iso(now)), now))
    return posts


def posted(outbox: Sequence[object], sent: Iterable[Alert], now: float) -> Outbox:
    """Record that Alertmanager has taken what `due` returned for the same `now`; remove what is over."""
    taken = {_key(alert): str(alert["endsAt"]) <= iso(now) for alert in sent}
    entries: Outbox = []
    for one in _sound(outbox):
        over = taken.get(one["key"])
        if over is None or (over and not one["end"]):
            entries.append(one)
        elif not over:
            first = now if one["told_at"] is None else one["told_at"]
            entries.append({**one, "told_at": first, "posted_at": now, "renewed": bool(one["end"])})
    return entries


def holds(outbox: Sequence[object], name: str) -> bool:
    """Whether an alert of a name is there."""
    return any(one["alert"]["labels"]["alertname"] == name for one in _sound(outbox))


def waiting(outbox: Sequence[object]) -> int:
    """How many alerts Alertmanager has not taken yet: their beginning or their end."""
    return sum(
        1
        for one in _sound(outbox)
        if (one["told_at"] is None or one["end"]) and one["alert"]["labels"]["alertname"] != alert_messages.WATCHDOG
    )


def dropped(before: Sequence[object], after: Sequence[object]) -> int:
    """How many alerts `add` dropped between `before` and `after`, because too many wait."""
    kept = {_incident(one["alert"]) for one in _sound(after)}
    return sum(1 for one in _sound(before) if _incident(one["alert"]) not in kept)


def _key(alert: Alert) -> str:
    return json.dumps(alert["labels"], sort_keys=True)


def _incident(alert: Alert) -> tuple[str, ...]:
    return tuple(str(alert["labels"][name]) for name in ("app", "host", "incident"))


def _sound(outbox: Sequence[Any]) -> Outbox:
    """The valid entries: an edited state file must not stop the others."""
    found = []
    for one in outbox:
        try:
            times = all(one[name] is None or float(one[name]) >= 0 for name in ("told_at", "posted_at"))
            whole = times and one["key"] == _key(one["alert"]) and "renewed" in one
            str(one["alert"]["annotations"]["summary"]), _incident(one["alert"])
            if one["end"]:
                str(one["end"]["endsAt"]), str(one["end"]["annotations"]["summary"])
            if whole:
                found.append(one)
        except (KeyError, TypeError, ValueError):
            continue
    return found


def _ended(one: Entry, now: float, annotations: dict[str, str]) -> Entry:
    return one if one["end"] else {**one, "end": {"endsAt": iso(now), "annotations": annotations}, "renewed": False}


def _bounded(entries: Outbox, newest: tuple[str, ...]) -> Outbox:
    """Drop whole incidents until the bound is kept: the oldest that are over, then the oldest, never the newest."""
    while len(entries) > BOUND:
        others = [one for one in entries if _incident(one["alert"]) != newest] or entries
        oldest = next((one for one in others if one["end"]), others[0])
        gone = _incident(oldest["alert"])
        entries = [one for one in entries if _incident(one["alert"]) != gone]
    return entries


def _since(then: float | None, now: float) -> float | None:
    """Seconds since `then`; None for never, and for a clock that was set back: then nothing is known."""
    return None if then is None or then > now else now - then


def _fires(one: Entry, now: float) -> bool:
    """Whether its beginning has to be posted (again)."""
    age = _since(one["posted_at"], now)
    return age is None or (age >= REPEAT_SECONDS and not (one["end"] and one["renewed"]))


def _was_taken(one: Entry, now: float) -> bool:
    return one["told_at"] is not None and not 0 <= now - one["told_at"] < APART_SECONDS


def _may_end(one: Entry, now: float) -> bool:
    age = _since(one["posted_at"], now)
    return age is not None and age >= APART_SECONDS and not _fires(one, now)


def _firing(one: Entry, now: float) -> Alert:
    name = one["alert"]["labels"]["alertname"]
    hold = WATCHDOG_HOLD_SECONDS if name == alert_messages.WATCHDOG else HOLD_SECONDS
    return _post(one, one["alert"]["annotations"], iso(now + hold), now)


def _post(one: Entry, annotations: Mapping[str, str], ends: str, now: float) -> Alert:
    """As it is posted. Alertmanager refuses all of a post for one alert that starts after its end."""
    starts = str(one["alert"].get("startsAt", ""))
    starts = starts if _is_time(starts) and starts < ends else min(iso(now), ends)
    return {
        "labels": one["alert"]["labels"],
        "annotations": {name: str(text) for name, text in annotations.items()},
        "startsAt": starts,
        "endsAt": ends,
    }


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return True
