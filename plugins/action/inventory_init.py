# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes an inventory for a compose project on the controller; it connects to no host."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible import constants, context
from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import docker_compose, this_run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.ask import NoTerminal
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.run import Request, run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.vault import Identity

SPEC: dict[str, dict[str, Any]] = {
    "source": {"type": "list", "elements": "str", "required": True},
    "to": {"type": "str", "default": ""},
    "host": {"type": "str", "default": ""},
    "app": {"type": "str", "default": ""},
    "ask": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.inventory_init`."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read, guess, plan, write; and show the report as it is, so that its commands can be pasted."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        request = Request(
            given=[str(path) for path in given["source"] if path],
            to=str(given["to"]),
            host=str(given["host"]),
            app=str(given["app"]),
            here=os.getcwd(),
            command=this_run.command(context.CLIARGS, "init", os.getcwd()),
            collections=this_run.collections(),
            identities=[Identity(*one) for one in self._loader._vault.secrets or []],
            encrypt_identity=constants.DEFAULT_VAULT_ENCRYPT_IDENTITY or "",
            connection=this_run.connection(context.CLIARGS),
        )
        try:
            ask = self._ask if given["ask"] else None
            done = run(request, self._task.check_mode, time.time(), docker_compose.require_valid, ask)
        except AnsiblePromptInterrupt:
            return {**result, "changed": False, "failed": True, "msg": "Interrupted. Nothing was written."}
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

    def _ask(self, question: str, hidden: bool) -> str:
        """Ask on the terminal, by way of the process that has it."""
        try:
            answer = self._display.prompt_until(question, private=hidden)
        except AnsiblePromptNoninteractive:
            self._display.warning("ask: this run has no terminal, so it takes the defaults")
            raise NoTerminal from None
        return str(to_text(answer, errors="replace"))
