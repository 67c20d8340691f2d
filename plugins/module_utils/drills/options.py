# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a drill is given: the options of the module `drill`, and the name of the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..core.check import Check
from ..env.variables import Variable


class Options(NamedTuple):
    """The options; the module documents each. `host` is the host's name in the inventory."""

    host: str
    app: str
    directory: str
    faults: Sequence[str] = ()
    rounds: int = 1
    checks: Sequence[Check] = ()
    values: Mapping[str, object] = {}
    variables: Sequence[Variable] = ()
    url: str = ""
    address: str = ""
    lab: bool = False
    confirm: str = ""
    fault_file: str = ""
    standin: str = ""
    language: str = "en"
    reports: str = ""

    @property
    def secret(self) -> str:
        """The first secret that the app requires; "" when it has none."""
        return next((one.name for one in self.variables if one.required and one.secret), "")
