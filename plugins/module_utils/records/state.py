# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a watcher that was killed has to know to go on: the open incident, the attempts, what people ordered.

Two files under the app's state directory, each replaced atomically and each with one writer. `state.json` is written by
the holder of the app's lock (a recovery), or by the watcher between recoveries. `orders.json` is written by `selfheal
pause` and `selfheal resume`, which must not wait for a recovery that goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, TypedDict

from ..core.clock import Moment, age, moment
from ..core.files import atomic_write
from . import incidents
from .incidents import IncidentRecord

STATE, ORDERS = "state.json", "orders.json"


class Attempt(TypedDict, total=False):
    """A remedy that was tried. `refused`: it failed at once, before it changed anything.

    `unasked`: users were served meanwhile.
    """

    remedy: str
    incident: str
    at: Moment
    refused: bool
    unasked: bool


class State(TypedDict):
    """What a watcher has to know to go on: the open incident, when it was first seen, since when the app is healthy.

    `outbox` holds the alerts to deliver, as `reporting.alert_outbox` put them there. It checks them when it reads them.
    """

    incident: IncidentRecord | None
    seen: Moment | None
    attempts: list[Attempt]
    clean: Moment | None
    outbox: list[Any]
    counts: dict[str, int]


def empty() -> State:
    """The state of an app that nothing has happened to."""
    return {"incident": None, "seen": None, "attempts": [], "clean": None, "outbox": [], "counts": {}}


# What an incident's record has to be for those who go on with it (`incident`).
_RECORD: tuple[tuple[str, type], ...] = (
    *((key, str) for key in ("id", "app", "host", "cause", "meaning", "seen", "confirmed", "hold", "next_step")),
    *((key, list) for key in ("evidence", "remedies", "timeline", "files")),
    *((key, bool) for key in ("healthy", "escalated")),
)


def load(folder: str, spare: str = "", repair: bool = True) -> tuple[State, str]:
    """Read the state: (state, what was wrong with it or ""). What `save` had to keep in `spare` is newer.

    A state that cannot be read counts as empty, and is moved aside as `state.json.damaged` unless `repair` is False:
    the app must be watched all the same.
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
        # That it could not be read just now does not mean that it is damaged.
        if not repair or (isinstance(error, OSError) and not isinstance(error, IsADirectoryError)):
            return empty(), problem
        with contextlib.suppress(OSError):
            os.replace(path, f"{path}.damaged")
        return empty(), f"{problem}; it was moved aside, and an empty state is used"


_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _read(path: str) -> Any:
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _checked(found: Any) -> State:
    """The state, when all that others rely on is there. Raises what a wrong shape raises."""
    state: State = {
        "incident": found["incident"],
        "seen": found["seen"],
        "attempts": found["attempts"],
        "clean": found["clean"],
        "outbox": found["outbox"],
        "counts": found["counts"],
    }
    for attempt in state["attempts"]:
        str(attempt["remedy"]), str(attempt["incident"]), age(attempt["at"], moment())
    if state["incident"] is not None:
        _check_record(state["incident"])
        age(found["seen"], moment())
    if state["clean"] is not None:
        age(state["clean"], moment())
    lists: tuple[tuple[str, type], ...] = (("outbox", list), ("counts", dict))
    for key, kind in lists:
        if not isinstance(found[key], kind):
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


def save(folder: str, state: State, spare: str = "") -> tuple[bool, str]:
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


class Pause(TypedDict):
    """A person's order to leave the app alone, until then (epoch s)."""

    until: float
    reason: str
    since: Moment


class Ordered(TypedDict):
    """What people ordered: a pause, and when they last ended one."""

    paused: Pause | None
    resumed: Moment | None


class Orders(Ordered):
    """The same as read from the disk; `problem` says why it could not be read, or is ""."""

    problem: str


def read_orders(folder: str) -> Orders:
    """What people ordered. A person's next order replaces a damaged file."""
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


def write_orders(folder: str, orders: Ordered) -> None:
    """Write what a person orders. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    kept = {"paused": orders["paused"], "resumed": orders["resumed"]}
    atomic_write(os.path.join(folder, ORDERS), (json.dumps(kept) + "\n").encode())


def pause_left(orders: Ordered, now: Moment) -> float:
    """Seconds that a pause still lasts at a moment, 0.0 without one; a clock that is set changes nothing."""
    paused = orders["paused"]
    if not paused:
        return 0.0
    return max(0.0, float(paused["until"]) - float(paused["since"]["wall"]) - age(paused["since"], now))


class BackupDone(TypedDict, total=False):
    """A backup or a verification that succeeded: the set's id, when (epoch s), and how long it took.

    Of a backup `repository` is its URL, `bytes` what it holds, and `added` what was new in the repository. Of a
    verification `contents` says what was verified, and how.
    """

    set: str
    at: float
    seconds: float
    repository: str
    bytes: int
    added: int
    contents: list[str]


class BackupProblem(TypedDict):
    """What is wrong with the backups, since then (epoch s)."""

    text: str
    since: float


class BackupMemory(TypedDict):
    """What is remembered of an app's backups; `problems` by what failed: backup, verify."""

    last_success: BackupDone | None
    last_verified: BackupDone | None
    problems: dict[str, BackupProblem]


def read_backup(path: str) -> BackupMemory:
    """What is remembered of an app's backups. A damaged file counts as empty."""
    found: BackupMemory = {"last_success": None, "last_verified": None, "problems": {}}
    with contextlib.suppress(*_DAMAGE):
        kept = _read(path)
        for key in ("last_success", "last_verified"):
            if kept.get(key) is not None:
                float(kept[key]["at"]), str(kept[key]["set"])
                found[key] = kept[key]
        found["problems"] = {
            str(what): {"text": str(one["text"]), "since": float(one["since"])}
            for what, one in (kept.get("problems") or {}).items()
        }
    return found


class BackupAges(TypedDict):
    """How long ago the last backup was made and one was verified (s), what was verified and how, and what is wrong."""

    made: float | None
    proved: float | None
    contents: list[str]
    problems: list[str]


def backups(path: str, now: float) -> BackupAges | None:
    """How old the last backup and the last verified one are; None for an app that is not backed up."""
    if not os.path.exists(path):
        return None
    record = read_backup(path)
    made, verified = (
        None if one is None else round(max(0.0, now - float(one["at"])))
        for one in (record["last_success"], record["last_verified"])
    )
    contents = list((record["last_verified"] or {}).get("contents") or [])
    return {
        "made": made,
        "proved": verified,
        "contents": contents,
        "problems": [one["text"] for one in record["problems"].values()],
    }


class CertificateProblem(TypedDict):
    """Why the certificate was not renewed, since when that fails, and when it was tried last (epoch s)."""

    text: str
    since: float
    tried: float


class CertificateMemory(TypedDict):
    """What is remembered of the certificate of an app's domain.

    `wanted` are the names of the inventory, `names` those of the certificate in use: none while there is only the
    self-signed one. `begins` and `ends` are its own (epoch s), `directory` is the URL of the CA that issued it.
    """

    wanted: list[str]
    names: list[str]
    begins: float
    ends: float
    directory: str
    problem: CertificateProblem | None


def read_certificate(path: str) -> CertificateMemory | None:
    """What is remembered of the certificate of an app's domain; None without one. A damaged file counts as none."""
    with contextlib.suppress(*_DAMAGE):
        kept = _read(path)
        problem: CertificateProblem | None = None
        if kept["problem"]:
            text, since, tried = (kept["problem"][key] for key in ("text", "since", "tried"))
            problem = {"text": str(text), "since": float(since), "tried": float(tried)}
        return {
            "wanted": [str(name) for name in kept["wanted"]],
            "names": [str(name) for name in kept["names"]],
            "begins": float(kept["begins"]),
            "ends": float(kept["ends"]),
            "directory": str(kept["directory"]),
            "problem": problem,
        }
    return None


# A renewal is due when a third of the time is left. A sixth: of 90 days, 15.
_URGENT_PART = 6


def is_urgent(certificate: CertificateMemory, now: float) -> bool:
    """Whether a renewal that failed needs a person: a name has no certificate, or the one in use ends soon."""
    if certificate["problem"] is None:
        return False
    if set(certificate["wanted"]) - set(certificate["names"]):
        return True
    return certificate["ends"] - now < (certificate["ends"] - certificate["begins"]) / _URGENT_PART
