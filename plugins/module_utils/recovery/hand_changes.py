# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes by hand that go on: what differs, since when, and who was logged in. Pure, but for asking who that was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.clock import iso
from ..host.logins import Login, logged_in
from ..reporting.alert_messages import Changed
from .watched_files import Difference

CONFIRM_SECONDS = 1.0
"""A difference counts when it was seen twice: a file may be in the middle of being written."""
CLEAR_SECONDS = 10.0
"""One is over when it was not seen for so long: a file that flaps is one change."""
MOST = 5
"""So many changes are alerts of their own; later ones join the newest."""
SHOWN = 5
"""So many things of a change are named."""
LONGEST = 160
# Year 9999: a later time cannot be shown.
_LATEST = 253370764800.0


class Change(NamedTuple):
    """What was changed together: {file or container: what is different}, when, and who was logged in then.

    `number` (epoch s) tells it from the others, `at` is when it was done (epoch s).
    """

    number: int
    at: float
    who: tuple[str, ...]
    things: Mapping[str, str]

    def named(self) -> str:
        """The things, in a few words."""
        words = [f"{name} ({what})"[:LONGEST] for name, what in list(self.things.items())[:SHOWN]]
        more = len(self.things) - SHOWN
        return ", ".join([*words, *([f"and {more} more"] if more > 0 else [])])


class HandChanges:
    """The changes that go on.

    :arg logins: says who was logged in, and when; asked only when something has changed.
    :arg known: the changes that the watcher before knew, as JSON has them.
    """

    def __init__(self, logins: Callable[[], Sequence[Login]], known: Any = None) -> None:
        self._logins = logins
        self.changes = from_json(known)
        self._seen: dict[str, float] = {}
        self._gone: dict[str, float] = {}

    @property
    def things(self) -> frozenset[str]:
        """Everything that was changed by hand, and is not yet as it was."""
        return frozenset(name for change in self.changes for name in change.things)

    def update(self, found: Mapping[str, Difference], now: float, wall: float, unread: Collection[str] = ()) -> None:
        """Take in what differs now. `now`: monotonic seconds; `unread`: files of which nothing is known yet."""
        known = self.things
        self._seen = {name: self._seen.get(name, now) for name in found if name not in known}
        self._gone = {name: self._gone.get(name, now) for name in known if name not in found and name not in unread}
        over = {name for name, since in self._gone.items() if now - since >= CLEAR_SECONDS}
        if over:
            self.changes = [one for one in (_without(change, over) for change in self.changes) if one.things]
        confirmed = {name: found[name] for name, since in self._seen.items() if now - since >= CONFIRM_SECONDS}
        if confirmed:
            self._add(confirmed, wall)

    def postpone(self) -> None:
        """Another run works on the app or the host: what differs now may be its work."""
        self._seen, self._gone = {}, {}

    def _add(self, confirmed: Mapping[str, Difference], wall: float) -> None:
        things = {name: one.what for name, one in confirmed.items()}
        if len(self.changes) >= MOST:
            newest = self.changes[-1]
            self.changes[-1] = newest._replace(things={**newest.things, **things})
            return
        at = max(one.at for one in confirmed.values())
        number = max([int(wall), *(one.number + 1 for one in self.changes)])
        self.changes.append(Change(number, at, tuple(logged_in(self._logins(), at)), things))

    def text(self) -> str:
        """What `selfheal status` and the journal say; "" for nothing."""
        said = "; ".join(_text(change) for change in self.changes)
        return f"changed by hand: {said}. Undo it, or write it into the inventory and run site.yml" if said else ""


def _without(change: Change, over: Collection[str]) -> Change:
    return change._replace(things={name: what for name, what in change.things.items() if name not in over})


def _text(change: Change) -> str:
    who = f", logged in: {', '.join(change.who)}" if change.who else ", no one was logged in over ssh"
    return f"{change.named()} at {iso(change.at)[:19]}Z{who}"


def to_json(changes: Sequence[Change]) -> list[Changed]:
    """The changes, as JSON and the alerts have them."""
    return [
        {"number": one.number, "at": one.at, "who": list(one.who), "things": dict(one.things)} for one in changes[:MOST]
    ]


def from_json(found: Any) -> list[Change]:
    """The reverse; [] for nothing, and for what is damaged."""
    try:
        changes = [
            Change(
                number=int(one["number"]),
                at=float(one["at"]),
                who=tuple(map(str, one["who"])),
                things={str(name): str(what) for name, what in one["things"].items()},
            )
            for one in found[:MOST]
        ]
        return [one for one in changes if one.things and 0.0 <= one.at < _LATEST]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
