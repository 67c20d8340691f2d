# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of logs, and which of them a person need not read: those of our own checks, and repetitions. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..core.check import Check
from ..probe.web import USER_AGENT

# What differs between lines that say the same: times, the client's port, and how long it took.
_DIFFERS = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\d{1,2}/[A-Z][a-z]{2}/\d{4}[: ]\d\d:\d\d:\d\d(?: [+-]\d{4})?"
    r"|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\b1\d{9}(?:\d{3}|\.\d+)?\b"
    r"|\b\d+(?:\.\d+)?(?:e-\d+)? ?(?:ns|µs|us|ms|s)\b"
    r"|(?<=\d):\d{4,5}\b"
)
# In the usual format of web servers it follows the request, which is in quotes; in JSON it has a key.
_SUCCESS = re.compile(r"(?:\" |\bstatus\"?[:=] ?)[23]\d\d\b")
# A longer line is data, or a part of a line that has no end.
_LONGEST = 2000
_URL = re.compile(r"https?://[^/]*(/[^?#$]*)?")


class Line(NamedTuple):
    """A line as it is shown, and when it was logged."""

    time: str
    label: str
    text: str


class _Run(NamedTuple):
    """Equal lines of one container after the first, which was shown; `last` is the last of them."""

    form: str
    more: int
    last: Line


class Reading:
    """Shortens the lines of containers as they come, and counts what it leaves out."""

    def __init__(self, checks: Iterable[Check]) -> None:
        """Leave out requests of these checks, when they were answered well."""
        self._paths = frozenset(_path(check.url) for check in checks)
        self._runs: dict[str, _Run] = {}
        self.own = 0
        self.equal = 0

    def shorten(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield what is to be read. Equal lines at the end are held, until others come or `rest` is asked for."""
        for line in lines:
            if _is_own(line.text, self._paths):
                self.own += 1
                continue
            form = _DIFFERS.sub("*", line.text) if len(line.text) < _LONGEST else ""
            run = self._runs.get(line.label)
            if run is not None and form and run.form == form:
                self._runs[line.label] = _Run(form, run.more + 1, line)
                continue
            yield from self.rest(line.label)
            self._runs[line.label] = _Run(form, 0, line)
            yield line

    def rest(self, label: str) -> Iterator[Line]:
        """Yield what is held of a container."""
        run = self._runs.pop(label, None)
        if run is None or not run.more:
            return
        if run.more == 1:
            yield run.last
            return
        self.equal += run.more
        yield run.last._replace(text=f"… {run.more} more lines like this, but for the time")

    def left_out(self) -> str:
        """Say what was left out; "" for nothing."""
        own = f"{self.own} requests that name our checks ({USER_AGENT})" if self.own else ""
        equal = f"{self.equal} repetitions" if self.equal else ""
        found = " and ".join(filter(None, (own, equal)))
        return f"left out: {found}; --all shows them" if found else ""


def _path(url: str) -> str:
    """The path that a check asks for; of one with variables, what comes before them."""
    found = _URL.match(url)
    return (found[1] if found else "") or "/"


def _is_own(text: str, paths: Collection[str]) -> bool:
    """Whether a line is surely a request of one of our checks that was answered well.

    Anybody can send our name, so another path, and an answer that is an error, are shown.
    """
    if USER_AGENT not in text or not _SUCCESS.search(text):
        return False
    return any(f" {path} " in text or f'"{path}"' in text for path in paths)
