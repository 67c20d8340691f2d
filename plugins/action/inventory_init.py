# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes an inventory for a compose project on the controller; it connects to no host."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible import constants, context
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import docker_compose, this_run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.run import Request, run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.vault import Identity

SPEC: dict[str, dict[str, Any]] = {
    "source": {"type": "list", "elements": "str", "required": True},
    "to": {"type": "str", "default": ""},
    "host": {"type": "str", "default": ""},
    "app": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.inventory_init`."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read, guess, plan, write; and show the report as it is, so that its commands can be pasted."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=SPEC)
        request = Request(
            given=[str(path) for path in given["source"] if path],
            to=str(given["to"]),
            host=str(given["host"]),
            app=str(given["app"]),
            here=os.getcwd(),
            command=this_run.command(context.CLIARGS, "init"),
            collections=this_run.collections(),
            identities=[Identity(*one) for one in self._loader._vault.secrets or []],
            encrypt_identity=constants.DEFAULT_VAULT_ENCRYPT_IDENTITY or "",
        )
        try:
            done = run(request, self._task.check_mode, time.time(), docker_compose.require_valid)
        except InitError as error:
            return {**result, "changed": False, "failed": True, "msg": str(error)}
        self._display.display(f"\n{done.report.text}\n")
        shown = {"diff": list(done.diff)} if self._task.diff else {}
        found = {
            "folder": done.folder,
            "files": list(done.files),
            "missing": list(done.missing),
            "text": done.report.text,
        }
        return {**result, **shown, **found, "changed": done.changed}
