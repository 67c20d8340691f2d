# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The timers that start the watchers, one for each app: what systemd says of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from . import command as commands

_PROPERTIES = "Id,ActiveState,InactiveEnterTimestampMonotonic"


class Timer(NamedTuple):
    """One timer. `state` as systemd has it (active, inactive, failed); `since`: when it stopped, µs since boot."""

    state: str
    since: str

    @property
    def is_stopped(self) -> bool:
        """Whether it starts nothing."""
        return self.state in ("inactive", "failed")


def unit(name: str) -> str:
    """The unit of an app's timer."""
    return f"selfheal@{name}.timer"


def read(names: Iterable[str]) -> dict[str, Timer]:
    """Ask systemd for the timers of some apps; {} when it cannot be asked."""
    units = {unit(name): name for name in names}
    if not units:
        return {}
    asked = commands.run(["systemctl", "show", f"--property={_PROPERTIES}", *units], 10.0)
    found = {}
    for block in asked.out.split("\n\n") if asked.code == 0 else []:
        properties = dict(line.partition("=")[::2] for line in block.splitlines())
        name = units.get(properties.get("Id", ""))
        if name:
            found[name] = Timer(
                properties.get("ActiveState", ""), properties.get("InactiveEnterTimestampMonotonic", "0")
            )
    return found


def problem(name: str, timer: Timer) -> str:
    """What is wrong with the timer of an app, and what corrects it; "" when it runs."""
    if not timer.is_stopped:
        return ""
    return (
        f"{unit(name)} is {timer.state}, so nothing starts the watcher of {name} again when it is stopped. "
        f"Try: systemctl enable --now {unit(name)}"
    )
