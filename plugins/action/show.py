# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shows a text as it is: a callback may print a task's result as JSON, a whole table in one line."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

SPEC: dict[str, dict[str, Any]] = {"text": {"type": "str", "required": True}}


class ActionModule(ActionBase):
    """`christmas.selfheal.show`."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the text, and return its lines for callbacks that write results elsewhere."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        text = str(given["text"]).rstrip("\n")
        self._display.display(f"\n{text}\n")
        return {**result, "changed": False, "msg": text.splitlines()}
