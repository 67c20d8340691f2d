# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person sees of a long module run: each step as it is done, and a sign of life between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

QUIET_SECONDS = 10.0
"""After this long without a step, the last one is shown again."""


class Step(NamedTuple):
    """A step of the run: seconds since its beginning, and what was done."""

    seconds: float
    what: str


class Progress:
    """Decides which lines to show of a run."""

    def __init__(self, name: str, known: Sequence[Step]) -> None:
        """Follow the run on a host; the steps `known` before are those of an earlier run."""
        self._name = name
        self._known = list(known)[-1:]
        self._shown: list[Step] = []
        self._at = 0.0

    def lines(self, steps: Sequence[Step], now: float) -> list[str]:
        """Return the lines to show.

        :arg steps: all that the run has said so far.
        :arg now: seconds of a clock that never goes back.
        """
        # The steps of the run before stay until this one begins.
        if not steps or list(steps[-1:]) == self._known:
            return []
        new = list(steps[len(self._shown) :])
        if new:
            self._shown, self._at = list(steps), now
            return [self._line(step) for step in new]
        quiet = now - self._at
        if quiet < QUIET_SECONDS:
            return []
        last = self._shown[-1]
        self._shown[-1], self._at = Step(last.seconds + quiet, last.what), now
        return [self._line(Step(last.seconds + quiet, f"still: {last.what}"))]

    def _line(self, step: Step) -> str:
        return f"{self._name}: {step.seconds:6.1f} s  {step.what}"
