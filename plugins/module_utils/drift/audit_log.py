# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who changed what, and when: an append-only log of JSON lines, each with the hash of the one before.

A line that was changed, removed or inserted breaks the chain. The chain does not show a cut at its end, so every report
holds the hash of the newest line. `append` gets the hash of the last report: when the log does not have it any more, an
entry says so from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypedDict, cast

FIRST = "0" * 64
CUT = "log was cut"
"""The event of an entry that replaces removed ones."""


class Event(TypedDict):
    """What happened to which host, who asked for it, and when (ISO 8601)."""

    time: str
    by: str
    event: str
    host: str
    what: str


class Entry(TypedDict, total=False):
    """A line of the log: an event, the hash of the line before, and its own. A line that was changed may miss keys."""

    time: str
    by: str
    event: str
    host: str
    what: str
    before: str
    hash: str


class Verdict(NamedTuple):
    """How many lines are intact, the hash of the last of them, and what is wrong with the next line, or ""."""

    lines: int
    head: str
    problem: str


def _hash(entry: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _lines(path: str) -> Iterator[bytes]:
    if os.path.exists(path):
        with open(path, "rb") as stream:
            yield from stream


def read(path: str) -> list[Entry]:
    """Every line that can be read; `verify` says whether they are intact."""
    found: list[Entry] = []
    for line in _lines(path):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(cast("Entry", entry))
    return found


def verify(path: str, reported: str = "") -> Verdict:
    """Follow the chain from its beginning.

    :arg reported: the hash in the last report, "" when there is none. The log may go on after it: a check that was
        killed has written to the log, and no report.
    """
    head, number, met = FIRST, 0, not reported
    for line in _lines(path):
        try:
            entry = json.loads(line)
            stated = entry.pop("hash")
        except (ValueError, KeyError, TypeError, AttributeError):
            return Verdict(
                number, head, f"line {number + 1} is not an entry: a write was cut off, or it was changed by hand"
            )
        if entry.get("before") != head:
            return Verdict(
                number, head, f"line {number + 1} does not follow line {number}: a line was removed or inserted"
            )
        if _hash(entry) != stated:
            return Verdict(number, head, f"line {number + 1} is not what was written")
        if entry.get("event") == CUT:
            return Verdict(number, head, f"line {number + 1} says that earlier lines were removed")
        head, number = str(stated), number + 1
        met = met or head == reported
    return Verdict(number, head, "" if met else "the lines after them are gone")


def append(path: str, entries: list[Event], reported: str = "") -> str:
    """Add entries to the log and sync it; the hash of the newest line. The caller holds the lock. Raises OSError.

    An incomplete line at the end, left by a killed write, is removed first: it was never reported. When the hash in the
    last report, `reported`, is not in the log, an entry says so first.
    """
    head = FIRST
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as stream:
        whole = stream.read()
        kept = whole[: whole.rfind(b"\n") + 1]
        last = kept.rstrip(b"\n").rpartition(b"\n")[2]
        if last:
            try:
                head = str(json.loads(last)["hash"])
            except (ValueError, KeyError, TypeError):
                head = FIRST
        stream.seek(len(kept))
        stream.truncate()
        text = b""
        if entries and reported and f'"{reported}"'.encode() not in kept:
            what = f"the last report has the hash {reported}, whose entry is gone"
            entries = [{**entries[0], "event": CUT, "host": "", "what": what}, *entries]
        for one in entries:
            entry = {**one, "before": head}
            head = _hash(entry)
            text += json.dumps({**entry, "hash": head}, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return head
