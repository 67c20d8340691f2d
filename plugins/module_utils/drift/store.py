# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the controller remembers from one drift check to the next, in one file, replaced atomically.

It holds when each drift was first seen, how often it was corrected, the baseline of each host, past checks, and how a
host was when its roles last found nothing to change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypedDict, cast

from ..core.files import atomic_write
from .findings import Finding
from .host_facts import HostFacts, ReportedFacts

FILE = "state.json"
HISTORY = 200
LATELY = 30 * 86400.0
"""A correction older than this does not count."""
WHOLE_SECONDS = 86400.0
"""So long the roles need not compare a host again on which nothing has changed: stamps do not cover everything."""


class StateError(Exception):
    """The state cannot be read; the message names the file and what to do."""


class KnownFinding(TypedDict):
    """What is remembered of a finding: whether it is still `there`, and when its correction was tried (epoch s).

    `as_meant_at` is when it was last as desired, by the host's clock.
    """

    host: str
    name: str
    first_seen: float
    last_seen: float
    there: bool
    as_meant_at: float
    corrected: list[float]


class PastCheck(TypedDict):
    """A check in the history: when it began and how long it took, and counts. `accepted` are the ignored findings."""

    id: str
    time: float
    seconds: float
    hosts: int
    found: int
    corrected: int
    accepted: int
    troubles: int
    exit: int


class CheckedHost(TypedDict):
    """A host that should be compared: when it last was, 0 for never; `as_meant_at` is that by the host's clock.

    `release` is the last one whose files and env were as desired.
    """

    app: str
    time: float
    as_meant_at: float
    release: str


class WholeComparison(TypedDict):
    """When the roles last compared a host and found nothing, by the clock of the controller, and its stamps then."""

    time: float
    stamps: list[str]


class RunningCheck(TypedDict, total=False):
    """The check that runs now: when it began, and its process. Without keys when none does."""

    begun: float
    pid: int


class State(TypedDict):
    """What is remembered.

    `findings` by id, `baseline` is {host: {name: value}}, `history` has the oldest check first, `head` is that of the
    event log, `checked` and `whole` by host.
    """

    findings: dict[str, KnownFinding]
    baseline: dict[str, dict[str, str]]
    history: list[PastCheck]
    running: RunningCheck
    head: str
    checked: dict[str, CheckedHost]
    whole: dict[str, WholeComparison]


def empty() -> State:
    """The state of a controller that has not checked yet."""
    return {"findings": {}, "baseline": {}, "history": [], "running": {}, "head": "", "checked": {}, "whole": {}}


def load(folder: str) -> State:
    """Read the state. Raises StateError, since no part of it can be guessed, but for `whole`: without it, roles run."""
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
        known = {key: found.get(key, default) for key, default in empty().items()}
        known["whole"] = _readable(known["whole"])
        if any(type(known[key]) is not type(default) for key, default in empty().items()):
            raise TypeError(FILE)
        return cast("State", known)
    except FileNotFoundError:
        return empty()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StateError(
            f"{path} cannot be read ({type(error).__name__}): move it away. The next check then begins without the "
            "baselines of the hosts, and with no history of the drifts"
        ) from None


def _readable(found: object) -> dict[str, WholeComparison]:
    """The whole comparisons that can be used; a damaged one is left out."""
    entries = found.items() if isinstance(found, dict) else ()
    return {host: one for host, one in entries if _is_readable(one)}


def _is_readable(one: object) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("time"), float):
        return False
    stamps = one.get("stamps")
    return isinstance(stamps, list) and bool(stamps) and all(isinstance(stamp, str) for stamp in stamps)


def save(folder: str, state: State) -> None:
    """Write the state. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    atomic_write(os.path.join(folder, FILE), (json.dumps(state, sort_keys=True) + "\n").encode())


def note_compared(
    state: State,
    hosts: Sequence[str],
    facts: Mapping[str, HostFacts],
    now: float,
    all_: bool,
    differing: Collection[str],
) -> None:
    """Note which hosts were compared; of the others, when they last were.

    :arg facts: those of the hosts that were compared.
    :arg differing: the hosts whose app is not as desired.
    :arg all_: whether there are no other hosts; those that left the inventory are forgotten then.
    """
    known = state["checked"]
    state["checked"] = {} if all_ else dict(known)
    never: CheckedHost = {"app": "", "time": 0.0, "as_meant_at": 0.0, "release": ""}
    for host in hosts:
        its, before = facts.get(host), known.get(host, never)
        if its is None:
            state["checked"][host] = before
            continue
        release = before.get("release", "") if host in differing else ""
        state["checked"][host] = {
            "app": str(its["app"]),
            "time": now,
            "as_meant_at": its["now"],
            "release": release or its["release"].get("id", ""),
        }


def released_elsewhere(state: State, facts: Mapping[str, HostFacts]) -> dict[str, str]:
    """By host, the release that runs there, where it is another one than when its app was last as desired."""
    found = {}
    for host, its in facts.items():
        checked = state["checked"].get(host)
        before, now = checked.get("release", "") if checked else "", its["release"].get("id", "")
        if before and now and before != now:
            found[host] = now
    return found


def set_pending(state: State, findings: Iterable[Finding]) -> None:
    """Set of each finding whether it is `pending`: a change of the playbooks or the inventory, and not one by hand.

    Then it was as desired at an earlier check, and its file was not touched since. Both times are by the host's clock,
    which need not be right. What no file shows counts as changed by hand.
    """
    for one in findings:
        one["as_meant_at"] = _as_meant_at(state, one)
        one["pending"] = 0.0 < one["untouched_since"] < one["as_meant_at"]


def _as_meant_at(state: State, one: Finding) -> float:
    """When a finding's object was last as desired, by its host's clock; 0 when that is not known."""
    before = state["findings"].get(one["id"])
    if before and before["there"]:
        return before.get("as_meant_at", 0.0)
    checked = state["checked"].get(one["host"])
    return checked.get("as_meant_at", 0.0) if checked else 0.0


def corrected(state: State, now: float) -> dict[str, int]:
    """How often a correction of each finding, by id, was tried lately."""
    return {id_: sum(now - at < LATELY for at in one["corrected"]) for id_, one in state["findings"].items()}


def remember(state: State, findings: Iterable[Finding], hosts: Iterable[str], now: float) -> list[str]:
    """Set `first_seen` and `returns` of the findings, and note them in the state; what went away, in words.

    :arg hosts: those that were compared; nothing is known of the others.
    """
    known, compared, there = state["findings"], set(hosts), set()
    for one in findings:
        there.add(one["id"])
        before = known.get(one["id"])
        since = before["first_seen"] if before and before["there"] else now
        given = before["corrected"] if before else []
        known[one["id"]] = {
            "host": one["host"],
            "name": f"{one['role']}: {one['object']} ({one['what']})",
            "first_seen": since,
            "last_seen": now,
            "there": True,
            "as_meant_at": one["as_meant_at"],
            "corrected": given,
        }
        one["first_seen"], one["returns"] = since, len(given)
    gone = []
    for id_, old in list(known.items()):
        if id_ in there or old["host"] not in compared:
            continue
        if old["there"]:
            gone.append(f"{old['host']}: {old['name']}")
            old["there"] = False
        elif now - old["last_seen"] > LATELY:
            del known[id_]
    return sorted(gone)


def accept(state: State, entries: Mapping[str, Mapping[str, str]], all_: bool) -> list[str]:
    """Take what hosts have as their baseline: hosts without one, or all of them. The names of those hosts."""
    accepted = [host for host in entries if all_ or host not in state["baseline"]]
    for host in accepted:
        state["baseline"][host] = dict(entries[host])
    return sorted(accepted)


def unchanged(state: State, facts: Mapping[str, ReportedFacts], now: float) -> list[str]:
    """The hosts that the roles need not compare: nothing has changed since they did, and that is not long ago."""
    found = []
    for host in facts:
        last = state["whole"].get(host)
        # A clock that was set back says nothing of how long ago that was.
        if last and 0.0 <= now - last["time"] < WHOLE_SECONDS and last["stamps"] == _stamps(host, facts):
            found.append(host)
    return sorted(found)


def note_whole(state: State, hosts: Iterable[str], facts: Mapping[str, ReportedFacts], now: float) -> None:
    """Note how hosts are on which the roles have just found nothing; `facts` are those from before they ran."""
    for host in hosts:
        stamps = _stamps(host, facts)
        if stamps:
            state["whole"][host] = {"time": now, "stamps": stamps}


def forget_whole(state: State, hosts: Iterable[str]) -> None:
    """The next check compares these hosts by their roles again."""
    for host in hosts:
        state["whole"].pop(host, None)


def _stamps(host: str, facts: Mapping[str, ReportedFacts]) -> list[str]:
    """The stamps of a host, of its desired state, and of the hosts that its roles look at; [] when one is unknown."""
    its = facts[host]
    others = [facts[other]["stamp"] if other in facts else "" for other in its["looks_at"]]
    found = [its["stamp"], its["desired_stamp"], *others]
    return found if all(found) else []
