# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Do something in a thread of its own when what is waited for is overdue.

`threading.Timer` starts its thread at once, in most cases for nothing. Here the kernel's timer of the process waits.
"""

from __future__ import annotations

import _thread
import signal
from typing import Any, Callable


class Overdue:
    """Calls `act` when it was not cancelled within `seconds`. Of the main thread, and one at a time.

    A host that has no room for a thread goes without.
    """

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self._seconds, self._act = seconds, act
        self._runs = _thread.allocate_lock()
        self._is_cancelled = False

    def start(self) -> None:
        """Begin to wait."""
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def cancel(self) -> None:
        """Wait no longer. What has begun goes on."""
        self._is_cancelled = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def is_alive(self) -> bool:
        """Whether `act` has begun and not ended."""
        return self._runs.locked()

    def join(self, seconds: float) -> None:
        """Wait for the end of `act`, for so long at most."""
        if self._runs.acquire(timeout=seconds):
            self._runs.release()

    def _ring(self, *_unused: Any) -> None:
        if self._is_cancelled:
            return
        self._runs.acquire()
        # `threading` has locks, which the interrupted main thread may hold.
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:
            self._runs.release()

    def _run(self) -> None:
        try:
            self._act()
        finally:
            self._runs.release()
