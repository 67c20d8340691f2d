# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks for drift from a play, with the inventory, the limit and the password files of that play."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible import constants, context
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import report as drift_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Event
from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_line, drift_control, report_files
from ansible_collections.christmas.selfheal.plugins.plugin_utils.shown_path import shown_path

FACTS = "christmas.selfheal.drift_facts"
SPEC: dict[str, dict[str, Any]] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "folder": {"type": "path", "required": True},
    "reports": {"type": "path", "required": True},
    "playbooks": {"type": "path", "required": True},
    "correct": {"type": "bool", "default": False},
    "accept": {"type": "bool", "default": False},
    "whole": {"type": "bool", "default": False},
    "by": {"type": "str", "default": ""},
    "registered": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """`christmas.selfheal.drift`."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check, show the table, and end as the report says."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        # "failed" is how drift ends, so an error ends as "unreachable".
        try:
            report = self._check(task_vars or {})
        except (drift_control.DriftError, command_line.TypedPassword, report_files.NotMoved) as error:
            return {**result, "unreachable": True, "msg": str(error)}
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            message = f"the drift check itself failed, so it is not known whether the hosts have drifted ({said})"
            return {**result, "unreachable": True, "msg": message}
        self._display.display(drift_report.screen(report, shown_path(report["path"], os.getcwd())))
        return {**result, **drift_control.ending(report)}

    def _check(self, known: Mapping[str, Any]) -> drift_report.Report:
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        if not given["hosts"]:
            raise drift_control.DriftError("hosts: is empty, so there is nothing to compare: name at least one host")
        report_files.require_moved(os.path.abspath(given["folder"]), os.getcwd())
        check_mode = bool(self._task.check_mode)
        registered = _registered(given["hosts"], given["registered"], known)
        return drift_control.check(
            drift_control.How(
                options=command_line.passed_on(context.CLIARGS),
                hosts=given["hosts"],
                folder=given["folder"],
                reports=given["reports"],
                playbooks=given["playbooks"],
                correct=given["correct"] and not check_mode,
                accept=given["accept"] and not check_mode,
                whole=given["whole"],
                by=given["by"],
                facts=[_event(host, result) for host, result in registered.items()],
                begun=min((result["began"] for result in registered.values() if "began" in result), default=0.0),
                environment={"ANSIBLE_CONFIG": str(constants.CONFIG_FILE)} if constants.CONFIG_FILE else {},
                say=self._display.display,
            )
        )


def _registered(hosts: Sequence[str], name: str, known: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a task of the play has registered for these hosts."""
    found = {host: known["hostvars"].raw_get(host).get(name) for host in hosts} if name else {}
    return {host: result for host, result in found.items() if result}


def _event(host: str, result: Mapping[str, Any]) -> Event:
    """A result as the event that ansible-runner would have given of the task."""
    kind = "runner_on_ok"
    if result.get("unreachable"):
        kind = "runner_on_unreachable"
    elif result.get("failed") or "drift" not in result:
        kind = "runner_on_failed"
    task = "Read the facts that no role manages"
    return {"event": kind, "event_data": {"host": host, "task": task, "resolved_action": FACTS, "res": result}}
