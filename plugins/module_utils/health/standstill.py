# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an app that owes an answer does nothing at all: then it will not give one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Callable

from ..host import procfs, sockets

# Runnable, or waiting for a disk (proc(5)).
_AT_WORK = "RD"
_SAMPLES, _PAUSE = 4, 0.02
# How often a runtime may look at its clock meanwhile.
_TIMERS = 2


class Standstill:
    """Looks at the processes of an app from its making on.

    :arg pids: the first processes of its containers; where none is known, it is taken to work.
    """

    def __init__(self, pids: Collection[int]) -> None:
        self._pids = pids
        self._ticks, self._works = procfs.work(pids, _AT_WORK) if pids else (0, True)

    def lasts(self, waited: float, sleep: Callable[[float], None]) -> bool:
        """Say whether nothing has happened since.

        A garbage collection works, a cold cache asks a database or a disk. A deadlock does neither.

        :arg waited: for how many seconds the answer is awaited.
        """
        for _unused in range(_SAMPLES):
            if self._works:
                return False
            ticks, self._works = procfs.work(self._pids, _AT_WORK)
            self._works = self._works or ticks - self._ticks > procfs.IDLE_TICKS
            sleep(_PAUSE)
        return not self._works and not sockets.await_answers(self._pids, waited)

    def takes_connections(self) -> bool:
        """Say whether none waits to be accepted. One that is silent then may rest before it asks another again."""
        return not sockets.unaccepted(self._pids)

    def sleeps(self, seconds: float, sleep: Callable[[float], None]) -> bool:
        """Say whether no process gets a processor for so long: what tries again now and then does."""
        before = procfs.switches(self._pids)
        sleep(seconds)
        return procfs.switches(self._pids) - before <= _TIMERS
