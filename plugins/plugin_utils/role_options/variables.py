# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the variables that a role's rules are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list


class Inventory(NamedTuple):
    """The host that is validated; the names of all hosts, and their variables."""

    host: str
    names: Sequence[str]
    hosts: Mapping[str, Mapping[str, object]]


class Variables:
    """The variables of one host. Each is templated when it is read, so one that no rule reads is not evaluated.

    :arg known: the variables as they are written, of which only the names are used here.
    :arg read: returns the value of a variable that is known, without templates in it.
    """

    def __init__(self, known: Mapping[str, object], read: Callable[[str], Any], inventory: Inventory) -> None:
        self._known = known
        self._read = read
        self.inventory = inventory

    @property
    def host(self) -> str:
        """The name of the host in the inventory."""
        return self.inventory.host

    def value(self, name: str, default: object = None) -> Any:
        """The value; of an unknown variable the default, and KeyError where there is no default."""
        if name not in self._known and default is not None:
            return default
        return self._read(name)

    def text(self, name: str, default: str | None = None) -> str:
        """The value as a text; nothing is an empty one."""
        found = self.value(name, default)
        return "" if found is None else str(found)

    def number(self, name: str, default: int | None = None) -> int:
        """The value as a whole number, as Jinja's filter `int` converts it; 0 where it is not a number."""
        return whole_number(self.value(name, default))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """The value as a switch."""
        return bool(boolean(self.value(name, default), strict=False))

    def table(self, name: str) -> Mapping[str, object]:
        """The value as a mapping."""
        found: Mapping[str, object] = self.value(name) or {}
        return found

    def rows(self, name: str) -> Sequence[Mapping[str, object]]:
        """The value as a list of mappings."""
        found: Sequence[Mapping[str, object]] = self.value(name) or []
        return found

    def texts(self, name: str) -> list[str]:
        """The value as a list of texts; one text is a list of one."""
        return [str(entry) for entry in as_list(self.value(name))]


def whole_number(value: object) -> int:
    """Convert like Jinja's filter `int`: 0 for what is not a number."""
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError):
        pass
    try:
        return int(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0
