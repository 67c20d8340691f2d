# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Injects faults on a host, watches the app from the controller, and writes a report.

An action and not a module: what watches must be outside the host, and go on while the host is being broken.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import host as drill_host
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import run as drill_run
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import DrillError
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.options import Options
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import TableError, parse_entries
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import CheckError, parse_checks
from ansible_collections.christmas.selfheal.plugins.plugin_utils import fault_catalogue

SPEC: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "catalogue": {"type": "path", "required": True},
    "faults": {"type": "list", "elements": "str", "default": []},
    "rounds": {"type": "int", "default": 1},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "values": {"type": "dict", "default": {}},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "url": {"type": "str", "default": ""},
    "address": {"type": "str", "default": ""},
    "lab": {"type": "bool", "default": False},
    "confirm": {"type": "str", "default": ""},
    "fault_file": {"type": "str", "default": ""},
    "standin": {"type": "str", "default": ""},
    "language": {"type": "str", "choices": ["en", "ko"], "default": "en"},
    "reports": {"type": "path", "required": True},
}


class Connection:
    """The host through Ansible's connection, with the privileges of the task."""

    def __init__(self, action: ActionModule) -> None:
        self._action = action

    @property
    def is_remote(self) -> bool:
        """Whether it is another machine, reached over ssh."""
        return self._action._connection.transport in ("ssh", "paramiko")

    def execute(self, text: str) -> Result:
        """Run a shell text. Raises Away."""
        try:
            # With something to read, if only a line, ssh takes no terminal, and stdout stays what it is.
            ended = self._action._low_level_execute_command(text, in_data=b"\n")
        except AnsibleConnectionFailure as error:
            raise drill_host.Away(str(error)) from None
        return Result(int(ended["rc"]), str(ended["stdout"]), str(ended["stderr"]))

    def reconnect(self) -> None:
        """Forget the connection."""
        self._action._connection.reset()


class ActionModule(ActionBase):
    """`christmas.selfheal.drill`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """List, plan or run."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False, "path": "", "report": {}}
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        host = str((task_vars or {})["inventory_hostname"])
        try:
            parsed = {
                "checks": parse_checks(given["checks"], may_be_empty=True),
                "variables": parse_entries(given["variables"]),
            }
            options = Options(host, *({**given, **parsed}[name] for name in Options._fields[1:]))
            catalogue = fault_catalogue.read(given["catalogue"])
            done = drill_run.drill(
                options, catalogue, Connection(self), bool(self._task.check_mode), self._display.display
            )
        except (DrillError, CheckError, TableError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, **done}
