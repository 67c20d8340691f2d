# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Incidents: a timeline and evidence, kept as JSON and Markdown under the app's state directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import TypedDict

from ..core.clock import stamp
from ..core.files import atomic_write

ID = re.compile(r"\d{8}T\d{6}Z-[a-z_]+(?:-\d+)?")
"""What `new_id` gives; it names a folder."""
KEPT, LONGEST = 20, 500
"""How many incidents `forget` leaves in any case, and how many at most."""


BEGUN = "begun"
"""The result of a remedy that is under way, or that was killed in the middle."""


class RemedyRecord(TypedDict, total=False):
    """A remedy of an incident: whether it was carried out, what came of it, and how long it took (s).

    `services` are those that it was about; none for the whole app. `unasked`: users were served meanwhile.
    """

    name: str
    done: bool
    result: str
    seconds: float
    services: list[str]
    unasked: bool


class TimelineEntry(TypedDict):
    """What happened, when (ISO 8601), and how long after the incident was first seen (s)."""

    time: str
    seconds: float
    what: str


class IncidentRecord(TypedDict, total=False):
    """One incident, from the first confirmed failure until the checks pass again. Times are ISO 8601.

    `ended` is "" while it is open. `seconds` are those from first seen to healthy, or so far. `by_hand`: a person
    applied a remedy. `hold` says why nothing more is done. `files` name the evidence. `told`: people were notified.
    `held`: the last decision was to leave the app alone. `number` counts from 1: their order, which a clock that is set
    does not change. `opened_as` is the cause that it looked like first. `unasked`: all checks passed when it began.
    `about` is what the next step names, such as variables.
    """

    id: str
    app: str
    host: str
    number: int
    cause: str
    opened_as: str
    meaning: str
    services: list[str]
    evidence: list[str]
    about: str
    seen: str
    confirmed: str
    ended: str
    healthy: bool
    escalated: bool
    by_hand: bool
    seconds: float
    remedies: list[RemedyRecord]
    timeline: list[TimelineEntry]
    hold: str
    next_step: str
    files: list[str]
    told: bool
    held: bool
    unasked: bool


class IncidentSummary(TypedDict):
    """An incident, and how it ended."""

    id: str
    cause: str
    healthy: bool
    seconds: float


def summary_of(incident: IncidentRecord) -> IncidentSummary:
    """Return what a list of incidents says of one."""
    return {
        "id": incident["id"],
        "cause": incident["cause"],
        "healthy": incident["healthy"],
        "seconds": incident["seconds"],
    }


def new_id(folder: str, seen: float, cause: str) -> str:
    """Name an incident that was first seen then (epoch s); no other in `folder` has that name."""
    name = known = f"{stamp(seen)}-{cause}"
    number = 1
    while os.path.exists(os.path.join(folder, name)):
        number += 1
        name = f"{known}-{number}"
    return name


def next_number(folder: str) -> int:
    """Return the number of an incident that begins now."""
    return max((_number(folder, name) for name in _listed(folder)), default=0) + 1


def markdown(incident: IncidentRecord) -> str:
    """Return an incident as a page that a person reads the morning after."""
    ended = f"healthy again after {incident['seconds']:.1f} s" if incident["healthy"] else "not healthy yet"
    lines = [
        f"# {incident['app']}: {incident['cause']}",
        "",
        f"{incident['meaning'][:1].upper()}{incident['meaning'][1:]}. First seen {incident['seen']}, {ended}.",
        "",
        "## Evidence of the cause",
        "",
        *[f"- {item}" for item in incident["evidence"]],
    ]
    if incident["remedies"]:
        lines += ["", "## What was done", ""]
        lines += [f"1. {one['name']} ({one['seconds']:.2f} s): {_cell(one['result'])}" for one in incident["remedies"]]
    if incident["hold"]:
        lines += ["", "## Why nothing more is done", "", incident["hold"]]
    if incident["next_step"]:
        lines += ["", "## Next", "", incident["next_step"]]
    lines += ["", "## Timeline", "", "| time | seconds | what |", "|---|---:|---|"]
    lines += [f"| {item['time']} | {item['seconds']:.2f} | {_cell(item['what'])} |" for item in incident["timeline"]]
    if incident["files"]:
        lines += ["", "## Evidence", "", *[f"- [{name}]({name})" for name in incident["files"]]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def write(folder: str, incident: IncidentRecord, attachments: Mapping[str, str]) -> str:
    """Write `incident.json`, `incident.md` and the evidence files; return the incident's own folder.

    :arg attachments: file name → text, already redacted.
    """
    target = os.path.join(folder, str(incident["id"]))
    os.makedirs(target, mode=0o700, exist_ok=True)
    for name, text in attachments.items():
        atomic_write(os.path.join(target, name), text.encode("utf-8", "replace"))
    atomic_write(os.path.join(target, "incident.md"), markdown(incident).encode())
    atomic_write(os.path.join(target, "incident.json"), (json.dumps(incident, indent=2) + "\n").encode())
    return target


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _names(folder: str) -> list[str]:
    """The folders of incidents, newest first. Those without a number come last, by their names, which have the time."""
    return sorted(_listed(folder), key=lambda name: (_number(folder, name), name), reverse=True)


def _number(folder: str, name: str) -> int:
    number = (_read(folder, name) or {}).get("number")
    return number if isinstance(number, int) else 0


def _read(folder: str, name: str) -> IncidentRecord | None:
    """One record, None when it cannot be read."""
    try:
        with open(os.path.join(folder, name, "incident.json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    sound = isinstance(found, dict) and {"id", "cause", "healthy", "seconds"} <= set(found)
    return found if sound else None


def every(folder: str) -> Iterator[IncidentRecord]:
    """Yield the incidents that can be read, newest first."""
    # One at a time: together they may be large.
    for name in _names(folder):
        found = _read(folder, name)
        if found is not None:
            yield found


def latest(folder: str) -> IncidentRecord | None:
    """Return the newest incident that can be read, or None."""
    return next(every(folder), None)


def forget(folder: str, older_than: float, now: float) -> None:
    """Delete incidents whose folder was last written more than `older_than` seconds before `now` (epoch s).

    The newest KEPT stay in any case (a clock may jump), and never more than LONGEST; other folders stay. One that was
    written at a time to come is as old as the next newer one.
    """
    import shutil  # not needed by a watcher, whose memory it would take

    known = [name for name in _names(folder) if ID.fullmatch(name)]
    written = now
    for at, name in enumerate(known):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            own = os.stat(path).st_mtime
            written = own if own <= now else written
            if at >= LONGEST or (at >= KEPT and now - written > older_than):
                shutil.rmtree(path, ignore_errors=True)
