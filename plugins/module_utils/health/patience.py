# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long an app is waited for, by what its answers took in the last hour.

An app that has answered within 0.1 s for an hour, and leaves a request without an answer for half a second, is looked
at closely. One whose answers take 1.9 s is given all the time that its check has.
"""

from __future__ import annotations

from typing import Any

# What is remembered: the slowest answer of each minute, for an hour.
_MINUTES, _MINUTE = 60, 60.0
# With less than this nothing is learnt yet.
_LEAST_MINUTES = 5
# The slowest answer so many times over, and never less than this (s).
_TIMES, _SHORTEST = 4.0, 0.5


class Patience:
    """The patience with one check.

    :arg known: what another one had learnt, as `to_json` gives it; what is damaged teaches nothing.
    """

    def __init__(self, known: Any = None) -> None:
        self._slowest: dict[int, float] = {}
        if isinstance(known, dict):
            for minute, seconds in list(known.items())[:_MINUTES]:
                if str(minute).isdigit() and isinstance(seconds, (int, float)) and seconds >= 0.0:
                    self._slowest[int(minute)] = float(seconds)

    def answered(self, seconds: float, now: float) -> None:
        """Learn from a good answer that took so long. `now`: monotonic seconds."""
        minute = int(now // _MINUTE)
        if minute not in self._slowest:
            # Those of a time to come are of before a reboot.
            self._slowest = {one: slowest for one, slowest in self._slowest.items() if 0 < minute - one < _MINUTES}
        self._slowest[minute] = max(seconds, self._slowest.get(minute, 0.0))

    def seconds(self, longest: float, now: float) -> float:
        """How long to wait for an answer, at most `longest`: that is, too, while little is known."""
        minute = int(now // _MINUTE)
        known = [slowest for one, slowest in self._slowest.items() if 0 <= minute - one < _MINUTES]
        if len(known) < _LEAST_MINUTES:
            return longest
        return min(longest, max(_SHORTEST, _TIMES * max(known)))

    def to_json(self) -> dict[str, float]:
        """What was learnt: {minute of the monotonic clock: the slowest answer in it, in seconds}."""
        return {str(minute): round(seconds, 3) for minute, seconds in self._slowest.items()}
