# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The faults of a drill, by the address of the host that they affect. The lab's other hosts notice nothing."""

from __future__ import annotations

import threading

KNOWN = ("503", "hang")
# A client may have hung up meanwhile, so a request does not wait for ever.
LONGEST_HANG = 60.0


class Faults:
    """The API's current faults, by address."""

    def __init__(self) -> None:
        self._modes: dict[str, str] = {}
        self._changed = threading.Condition()

    def set(self, address: str, mode: str) -> bool:
        """Begin a fault, or end it with ""; False for an unknown fault."""
        if mode and mode not in KNOWN:
            return False
        with self._changed:
            self._modes[address] = mode
            self._changed.notify_all()
        return True

    def mode(self, address: str) -> str:
        """The fault of this address, "" for none."""
        return self._modes.get(address, "")

    def hang(self, address: str, longest: float = LONGEST_HANG) -> None:
        """Wait until the fault `hang` of this address ends."""
        with self._changed:
            self._changed.wait_for(lambda: self.mode(address) != "hang", timeout=longest)
