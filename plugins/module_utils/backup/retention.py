# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which backup sets and images to forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from . import sets as backup_sets
from .sets import Set


class Keep(NamedTuple):
    """How many backups stay: the newest of each of so many days, weeks and months."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


def to_forget(sets: Sequence[Set], app: str, host: str, keep: Keep, now: float, verified: str = "") -> list[Set]:
    """The sets that the policy does not keep, and unfinished ones.

    The newest complete one always stays, and so do those younger than a day: they may have been made as a safeguard. A
    set that is dated later than now says that a clock was wrong: it stays until then, and replaces no other.

    :arg verified: the id of the one that was verified last: it stays until another is, since newer ones may be damaged.
    """
    mine = [one for one in sets if (one.app, one.host) == (app, host)]
    complete = [one for one in mine if one.complete]
    kept = {verified} | {one.id for one in complete if now - one.time < 86400.0}
    kept |= {one.id for one in complete if one.why == backup_sets.SAFETY and now - one.time < 86400.0 * keep.daily}
    past = [one for one in complete if one.time <= now]
    regular = [one for one in past if one.why != backup_sets.SAFETY]
    kept |= {one.id for one in [*past[-1:], *regular[-1:]]}
    for form, count in (("%Y-%m-%d", keep.daily), ("%G-%V", keep.weekly), ("%Y-%m", keep.monthly)):
        newest: dict[str, str] = {}
        for one in regular:
            newest[datetime.fromtimestamp(one.time, timezone.utc).strftime(form)] = one.id
        kept |= set(list(newest.values())[-count:] if count else [])
    return [one for one in mine if not one.complete or one.id not in kept]


def unused_images(sets: Sequence[Set], images: Mapping[str, str], gone: Sequence[Set], mine: str) -> list[str]:
    """The snapshots of images that no set uses any more.

    :arg mine: the mark of a set that is being made.
    """
    doomed = {(one.app, one.host, one.id) for one in gone}
    needed = {one.images for one in sets if (one.app, one.host, one.id) not in doomed} | {mine}
    return [snapshot for mark, snapshot in images.items() if mark not in needed]
