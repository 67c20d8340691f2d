# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a watcher that was killed has to know to go on: the open incident, the attempts, what people ordered.

Two files under the app's state directory, each replaced atomically and each with one writer: `state.json` is written by
whoever holds the app's lock (a recovery), or by the watcher between recoveries; `orders.json` by a person's
`selfheal pause` and `selfheal resume`, which must not wait for a recovery that goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ..core.clock import age, moment
from ..core.files import atomic_write
from . import incidents

STATE, ORDERS = "state.json", "orders.json"


def empty() -> dict[str, Any]:
    """The state of an app that nothing has happened to.

    {incident: the open one's record or None, seen: moment when it was first seen or None, attempts: [{remedy, incident,
    at: moment}], clean: moment since when the app is healthy or None, outbox: [alerts to deliver], counts: {name: int}}
    """
    return {"incident": None, "seen": None, "attempts": [], "clean": None, "outbox": [], "counts": {}}


# What an incident's record has to be for those who go on with it (`incident`).
_RECORD: tuple[tuple[str, type], ...] = (
    *((key, str) for key in ("id", "app", "host", "cause", "meaning", "seen", "confirmed", "hold", "next_step")),
    *((key, list) for key in ("evidence", "remedies", "timeline", "files")),
    *((key, bool) for key in ("healthy", "escalated")),
)


def load(folder: str, spare: str = "", repair: bool = True) -> tuple[dict[str, Any], str]:
    """Read the state: (state, what was wrong with it or ""). What `save` had to keep in `spare` is newer.

    A state that cannot be read is begun anew, and moved aside as `state.json.damaged` unless `repair` is False: a
    broken memory is no reason to leave an app alone, nor to touch one.
    """
    path = os.path.join(folder, STATE)
    with contextlib.suppress(*_DAMAGE):
        return _checked(_read(spare)), ""
    try:
        return _checked(_read(path)), ""
    except FileNotFoundError:
        return empty(), ""
    except _DAMAGE as error:
        problem = f"{path} could not be read ({type(error).__name__})"
        # That it could not be read just now says nothing of what is in it.
        if not repair or (isinstance(error, OSError) and not isinstance(error, IsADirectoryError)):
            return empty(), problem
        with contextlib.suppress(OSError):
            os.replace(path, f"{path}.damaged")
        return empty(), f"{problem}; it was moved aside and begun anew"


_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _read(path: str) -> Any:
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _checked(found: Any) -> dict[str, Any]:
    """The state, when all that others rely on is there. Raises what a wrong shape raises."""
    state = {key: found[key] for key in empty()}
    for attempt in state["attempts"]:
        str(attempt["remedy"]), str(attempt["incident"]), age(attempt["at"], moment())
    if state["incident"] is not None:
        _check_record(state["incident"])
        age(state["seen"], moment())
    if state["clean"] is not None:
        age(state["clean"], moment())
    lists: tuple[tuple[str, type], ...] = (("outbox", list), ("counts", dict))
    for key, kind in lists:
        if not isinstance(state[key], kind):
            raise TypeError(key)
    for count in state["counts"].values():
        float(count)
    return state


def _check_record(record: Any) -> None:
    """Raise what a wrong shape of an incident's record raises."""
    for key, kind in _RECORD:
        if not isinstance(record[key], kind):
            raise TypeError(key)
    # It names a folder.
    if not incidents.ID.fullmatch(record["id"]):
        raise ValueError("id")
    for one in record["remedies"]:
        str(one["name"]), str(one["result"]), bool(one["done"]), float(one["seconds"])
        [str(name) for name in one.get("services", [])]
    for one in record["timeline"]:
        str(one["time"]), str(one["what"]), float(one["seconds"])


def save(folder: str, state: Mapping[str, Any], spare: str = "") -> tuple[bool, str]:
    """Write the state: (whether it will be remembered, why it could not be written or "").

    A full disk must not stop a recovery, nor make it forget how often it has tried: `spare` is in memory.
    """
    text = (json.dumps(state) + "\n").encode()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        atomic_write(os.path.join(folder, STATE), text)
    except OSError as error:
        problem = f"{os.path.join(folder, STATE)} cannot be written: {error.strerror or error}"
        try:
            atomic_write(spare, text)
        except OSError:
            return False, problem
        return True, f"{problem}; it is kept in {spare} meanwhile"
    with contextlib.suppress(OSError):
        os.unlink(spare)
    return True, ""


def read_orders(folder: str) -> dict[str, Any]:
    """What people ordered.

    {paused: {until: epoch s, reason, since: moment} or None, resumed: moment or None, problem: why it could not be
    read, or ""}. A person's next order replaces a damaged file.
    """
    path = os.path.join(folder, ORDERS)
    try:
        found = _read(path)
        paused, resumed = found["paused"], found["resumed"]
        if paused is not None:
            float(paused["until"]), str(paused["reason"]), age(paused["since"], moment())
        if resumed is not None:
            age(resumed, moment())
        return {"paused": paused, "resumed": resumed, "problem": ""}
    except FileNotFoundError:
        return {"paused": None, "resumed": None, "problem": ""}
    except _DAMAGE as error:
        problem = f"{path} could not be read ({type(error).__name__}): if it held a pause, order it again"
        return {"paused": None, "resumed": None, "problem": problem}


def write_orders(folder: str, orders: Mapping[str, Any]) -> None:
    """Write what a person orders (`paused` and `resumed` of `read_orders`). Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    kept = {"paused": orders["paused"], "resumed": orders["resumed"]}
    atomic_write(os.path.join(folder, ORDERS), (json.dumps(kept) + "\n").encode())


def pause_left(orders: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """Seconds that a pause still lasts at a moment, 0.0 when there is none; a clock that is set changes nothing."""
    paused = orders["paused"]
    if not paused:
        return 0.0
    return max(0.0, float(paused["until"]) - float(paused["since"]["wall"]) - age(paused["since"], now))


def read_backup(path: str) -> dict[str, Any]:
    """What is remembered of an app's backups.

    {last_success, last_verified: {set, at, seconds, ...} or None, problems: {what: {text, since}}}. A damaged file
    counts as empty.
    """
    found: dict[str, Any] = {"last_success": None, "last_verified": None, "problems": {}}
    with contextlib.suppress(*_DAMAGE):
        told = _read(path)
        for key in ("last_success", "last_verified"):
            if told.get(key) is not None:
                float(told[key]["at"]), str(told[key]["set"])
                found[key] = told[key]
        found["problems"] = {
            str(what): {"text": str(one["text"]), "since": float(one["since"])}
            for what, one in (told.get("problems") or {}).items()
        }
    return found


def backups(path: str, now: float) -> dict[str, Any] | None:
    """How old the last backup and the last verified one are; None for an app that is not backed up.

    {made, proved: seconds or None, contents: what was verified and how, problems: [texts]}.
    """
    if not os.path.exists(path):
        return None
    record = read_backup(path)
    made, proved = (
        None if one is None else round(max(0.0, now - float(one["at"])))
        for one in (record["last_success"], record["last_verified"])
    )
    contents = list((record["last_verified"] or {}).get("contents") or [])
    return {
        "made": made,
        "proved": proved,
        "contents": contents,
        "problems": [one["text"] for one in record["problems"].values()],
    }
