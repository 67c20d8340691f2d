# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validates the options of a role on the controller, within Ansible itself.

The values are read here and not passed as arguments of the task, so no verbosity of the run shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.validate import RULES, validate
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Inventory, Variables

SPEC: dict[str, dict[str, Any]] = {"role": {"type": "str", "choices": sorted(RULES), "required": True}}


class ActionModule(ActionBase):
    """`christmas.selfheal.role_options`."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with a line for each error."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        errors = validate(given["role"], self._variables(task_vars or {}))
        if not errors:
            return result
        return {**result, "failed": True, "msg": "\n".join(errors)}

    def _variables(self, known: Mapping[str, Any]) -> Variables:
        return Variables(
            known,
            lambda name: self._templar.template(known[name]),
            Inventory(known["inventory_hostname"], known["groups"]["all"], known["hostvars"]),
        )
