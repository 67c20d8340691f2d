# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who changed what, and when: an append-only log of JSON lines, each of which holds the hash of the one before.

A line that was changed, taken out or put in breaks the chain from there on. What a chain alone cannot tell is a cut at
its end, so the hash of its head stands in every report, and who appends says which one the last report told: when it is
not in the log any more, the log says so from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypedDict, cast

FIRST = "0" * 64
CUT = "log was cut"
"""The event of an entry that stands where others were taken away."""


class Event(TypedDict):
    """What happened to which host, who asked for it, and when (ISO 8601)."""

    time: str
    by: str
    event: str
    host: str
    what: str


class Entry(TypedDict, total=False):
    """A line of the log: an event, the hash of the line before, its own. One that was changed may not have all keys."""

    time: str
    by: str
    event: str
    host: str
    what: str
    before: str
    hash: str


class Verdict(NamedTuple):
    """Whether a log is whole: how many lines are, the hash of the last of them, what is wrong with the first other."""

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
    """Every line that can be read; `verify` says whether they are what was written."""
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
    """Follow the chain from its beginning. `reported` is the head that the last report told; "" when none did.

    The log may go on after it: a check that was killed had written, and told nobody yet.
    """
    head, number, met = FIRST, 0, not reported
    for line in _lines(path):
        try:
            entry = json.loads(line)
            told = entry.pop("hash")
        except (ValueError, KeyError, TypeError, AttributeError):
            return Verdict(
                number, head, f"line {number + 1} is no entry: a write that was cut off, or a change by hand"
            )
        if entry.get("before") != head:
            return Verdict(
                number, head, f"line {number + 1} does not follow line {number}: one was taken out, or put in"
            )
        if _hash(entry) != told:
            return Verdict(number, head, f"line {number + 1} is not what was written")
        if entry.get("event") == CUT:
            return Verdict(number, head, f"line {number + 1} says that others that stood there were taken away")
        head, number = str(told), number + 1
        met = met or head == reported
    return Verdict(number, head, "" if met else "those that came after them are gone")


def append(path: str, entries: list[Event], reported: str = "") -> str:
    """Add entries to the log, on the disk when this returns; the hash of its head. Whoever calls holds the lock.

    What a write that was killed has left at the end, a line without its end, is cut off first: it was never told to
    anybody. When the head that the last report told, `reported`, is not there, an entry says so first. Raises OSError.
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
            what = f"the last report told of an entry that is gone, with the hash {reported}"
            entries = [{**entries[0], "event": CUT, "host": "", "what": what}, *entries]
        for one in entries:
            entry = {**one, "before": head}
            head = _hash(entry)
            text += json.dumps({**entry, "hash": head}, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return head
