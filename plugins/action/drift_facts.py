# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name on the host, and adds the stamp of the desired state on the controller."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils import desired_stamp


class ActionModule(ActionBase):
    """`christmas.selfheal.drift_facts`."""

    MODULE = "christmas.selfheal.drift_facts"

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the stamp before the facts: a change in between makes the next check a whole one."""
        known = task_vars or {}
        result: dict[str, Any] = {**super().run(tmp, task_vars), "began": time.time()}
        stamp, looks_at = self._desired(known)
        ended = self._execute_module(module_name=self.MODULE, module_args=dict(self._task.args), task_vars=task_vars)
        if isinstance(ended.get("drift"), Mapping):
            ended["drift"] = {**ended["drift"], "desired_stamp": stamp, "looks_at": looks_at}
        # As of Ansible's own facts: only -vvv shows thousands of lines.
        return {**result, **ended, "_ansible_verbose_override": True}

    def _desired(self, known: Mapping[str, Any]) -> tuple[str, list[str]]:
        """The stamp of the desired state, and the other hosts that the roles look at; "" where it cannot be known."""
        try:
            variables = known["hostvars"]
            raw = {str(name): variables.raw_get(name) for name in variables}
            files = [path for name in desired_stamp.NAMED_FILES if (path := self._option(known, name))]
            found = [self._find_needle("files", path) for path in files]
            hub = self._option(known, "monitoring_hub")
            given = self._task.args
            project = desired_stamp.Project(str(given.get("source") or ""), list(given.get("exclude") or ()))
            stamp = desired_stamp.read(raw, project, found)
        except (AnsibleError, OSError, TypeError, ValueError, KeyError):
            # The roles report what is wrong with a variable or a file.
            return "", []
        return stamp, [hub] if hub else []

    def _option(self, known: Mapping[str, Any], name: str) -> str:
        """The value of an option in the inventory, "" without one."""
        return str(self._templar.template(known[name]) or "") if name in known else ""
