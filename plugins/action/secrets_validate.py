# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validates values that the controller holds within Ansible itself; a file on a host is the module's.

The same library call as in the module, without the 0.3 s and more that a module run costs: a recovery waits for it.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import env_module

SPEC: dict[str, dict[str, Any]] = {
    "variables": {"type": "list", "elements": "dict", "required": True},
    "values": {"type": "dict", "no_log": True, "required": True},
    "online": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 5.0},
    "report_only": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.secrets_validate`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Validate here what is here; hand everything else to the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if "values" not in self._task.args or "path" in self._task.args or self._connection.transport != "local":
            return {**result, **self._execute_module(task_vars=task_vars)}
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        try:
            validated, unlisted = env_module.validate({**given, "path": None}, time.time())
        except env_module.EXPECTED as error:
            return {**result, "failed": True, "msg": str(error)}
        warnings = [
            f"{name} has a value, but no entry in the table: nothing validates it, and it is not written."
            for name in unlisted
        ]
        failed = bool(validated["findings"]) and not given["report_only"]
        message = {"msg": env_module.message(given["values"], validated["findings"])} if failed else {}
        shown = {"warnings": warnings} if warnings else {}
        return {**result, **validated, **message, **shown, "changed": False, "failed": failed}
