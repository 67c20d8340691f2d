# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuses values that Ansible would read as a template; in an action, variables are not templated yet."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.template import is_trusted_as_template

from ansible_collections.christmas.selfheal.plugins.module_utils.env import unsafe_text

SPEC: dict[str, dict[str, Any]] = {"names": {"type": "list", "elements": "str", "required": True}}


class ActionModule(ActionBase):
    """`christmas.selfheal.literal_values`."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail for values that are not literal text."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        found = unsafe_text.find(given["names"], task_vars or {}, is_trusted_as_template)
        failure = {"failed": True, "msg": unsafe_text.describe(found)} if found else {}
        return {**result, "changed": False, **failure}
