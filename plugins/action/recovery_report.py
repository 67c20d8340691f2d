# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the report of a recovery on the controller, within Ansible itself.

An action and not a module, because two files written by modules would take as long as the recovery (0.3 s and more for
each of four module runs), and because it works for a host that cannot be reached.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, cast

from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import stamp
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import recovery_report

SPEC: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "address": {"type": "str", "default": ""},
    "language": {"type": "str", "choices": sorted(recovery_report.TITLES), "default": "en"},
    "directory": {"type": "path", "required": True},
    "clock": {"type": "dict", "required": True},
    "ssh": {"type": "dict", "required": True},
    "findings": {"type": "list", "elements": "dict", "default": []},
    "recovery": {"type": "dict", "default": {}},
    "problem": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.recovery_report`."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Build the report, write it as Markdown and JSON, return it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        now, host = time.time(), str((task_vars or {})["inventory_hostname"])
        about: recovery_report.About = {
            "id": f"{stamp(now)}-{host}",
            "app": given["app"],
            "host": host,
            "address": given["address"],
            "check_mode": bool(self._task.check_mode),
            "language": given["language"],
        }
        clock = {name: float(seconds) for name, seconds in given["clock"].items()}
        times = cast(recovery_report.Times, {**clock, "ended": now})
        built = recovery_report.build(
            about, times, given["ssh"], given["findings"], given["recovery"], given["problem"]
        )
        path = "" if about["check_mode"] else os.path.join(given["directory"], about["id"])
        if path:
            os.makedirs(given["directory"], mode=0o750, exist_ok=True)
            files.atomic_write(f"{path}.md", recovery_report.markdown(built).encode(), mode=0o640)
            files.atomic_write(f"{path}.json", (json.dumps(built, indent=2) + "\n").encode(), mode=0o640)
        text = recovery_report.screen(built, f"{path}.md" if path else "")
        return {**result, "changed": False, "report": built, "text": text, "path": path}
