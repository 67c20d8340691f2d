# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the project on the controller, then runs the module of the same name on the host."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_owners, project_source

SPEC: dict[str, dict[str, Any]] = {
    "source": {"type": "path"},
    "files": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
}


def _names(given: Any) -> list[str]:
    """A list, also where Ansible would make one of a text."""
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    return [str(name) for name in given or []]


class ActionModule(ActionBase):
    """`christmas.selfheal.compose_files`."""

    MODULE = "christmas.selfheal.compose_files"

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Find the files that the compose files name, and hand them on."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = str(arguments.get("source") or "").rstrip("/")
        if source:
            try:
                found = project_source.read(source, _names(arguments.get("files")))
            except (project_source.ProjectError, OSError) as error:
                return {**result, "failed": True, "msg": str(error)}
            owners = project_owners.read(source, found.documents, _names(arguments.get("exclude")), os.geteuid())
            arguments.update(files=found.files, more=found.more, owners=owners)
        ended = self._execute_module(module_name=self.MODULE, module_args=arguments, task_vars=task_vars)
        return {**result, **ended}
