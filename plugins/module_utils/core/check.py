# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One check of an app, ready to be sent. `probe/check_spec.py` parses them, `probe/run.py` sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Expectation(NamedTuple):
    """What one value must be: `how` is equals, matches (`want` is a pattern) or exists (`want` is a bool)."""

    how: str
    want: Any


class Capture(NamedTuple):
    """A value that later checks use as ${name}.

    `where` is a path for json, a name for cookie and header, for body a pattern whose group is the value.
    """

    name: str
    source: str
    where: str


class Form(NamedTuple):
    """A body as a form of a page sends it: pairs of a field and its text."""

    fields: tuple[tuple[str, str], ...]


class Check(NamedTuple):
    """One check, complete. Times are seconds; `needs` are the names whose values it uses.

    `body` is None, the text to send, a form, or a 1-tuple holding what is sent as JSON.
    """

    name: str
    url: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: Any
    timeout: float
    status: tuple[int, ...]
    json_path: tuple[tuple[str, Expectation], ...]
    contains: str
    header: tuple[tuple[str, Expectation], ...]
    max_latency: float
    tls_days_left: int | None
    capture: tuple[Capture, ...]
    proves: str
    verify_tls: bool
    needs: frozenset[str]


def health_check(checks: Sequence[Check]) -> list[Check]:
    """The check that says whether the app is healthy, alone: the first with `proves: health`, else the first of all."""
    return [check for check in checks if check.proves == "health"][:1] or list(checks[:1])
