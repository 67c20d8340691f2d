# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Time: a clock that tests can replace, stamps in ISO 8601, and ages that survive a reboot and a clock that is set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable, NamedTuple


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


def boot() -> str:
    """The id of this boot of the machine, "" when the kernel does not tell."""
    try:
        with open(_BOOT_ID, encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def moment(wall: float | None = None, monotonic: float | None = None) -> dict[str, Any]:
    """A point in time that survives a jump of the clock, as well as a reboot: {wall, monotonic, boot}."""
    return {
        "wall": time.time() if wall is None else wall,
        "monotonic": time.monotonic() if monotonic is None else monotonic,
        "boot": boot(),
    }


def age(then: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """Seconds between two moments: by the monotonic clock within a boot, else by the wall clock; never below 0."""
    clock = "monotonic" if then["boot"] and then["boot"] == now["boot"] else "wall"
    return max(0.0, float(now[clock]) - float(then[clock]))
