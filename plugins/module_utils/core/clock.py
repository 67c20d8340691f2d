# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Time: a clock that tests can replace, stamps in ISO 8601, and ages that survive a reboot and a clock that is set."""

from __future__ import annotations

import functools
import time
from datetime import datetime, timezone
from typing import Callable, NamedTuple, TypedDict


class Clock(NamedTuple):
    """Time comes in from outside, so that tests can say what time it is."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def stamp(now: float) -> str:
    """Epoch seconds as "20250527T020000Z", which sorts as text."""
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def iso(now: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@functools.cache
def boot() -> str:
    """The id of this boot of the machine, "" when the kernel does not tell. No process outlives a boot."""
    try:
        with open(_BOOT_ID, encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


class Moment(TypedDict):
    """A point in time (s) that survives a jump of the clock and a reboot; `boot` is that of the monotonic clock."""

    wall: float
    monotonic: float
    boot: str


def moment(wall: float | None = None, monotonic: float | None = None) -> Moment:
    """The moment now, or the one that is given."""
    return {
        "wall": time.time() if wall is None else wall,
        "monotonic": time.monotonic() if monotonic is None else monotonic,
        "boot": boot(),
    }


def age(then: Moment, now: Moment) -> float:
    """Seconds between two moments: by the monotonic clock within a boot, else by the wall clock; never below 0."""
    if then["boot"] and then["boot"] == now["boot"]:
        return max(0.0, float(now["monotonic"]) - float(then["monotonic"]))
    return max(0.0, float(now["wall"]) - float(then["wall"]))
