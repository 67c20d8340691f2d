# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes over an app that was started by hand: reads it on the host, writes its inventory here, and runs site.yml."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible import constants, context
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption
from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_line
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import messages, take_over
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import run as adoption
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import docker_compose, this_run
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.run import Request
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.vault import Identity

SPEC: dict[str, dict[str, Any]] = {
    "folder": {"type": "str", "default": ""},
    "app": {"type": "str", "default": ""},
    "to": {"type": "str", "default": ""},
    "host": {"type": "str", "required": True},
    "dry": {"type": "bool", "default": False},
    "load_balancer": {"type": "bool", "default": False},
}
_MODULE = "christmas.selfheal.app_adoption"


class _HostSaid(Exception):
    """The module on the host failed; its result."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(str(result.get("msg", "")))
        self.result = result


class ActionModule(ActionBase):
    """`christmas.selfheal.app_adopt`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read, plan, take over, record."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        _, given = self.validate_argument_spec(argument_spec=SPEC)
        self._variables = task_vars or {}
        self._in_front = bool(given["load_balancer"])
        self._asked = {"folder": str(given["folder"]), "app": str(given["app"])}
        check = bool(self._task.check_mode or given["dry"])
        try:
            # Before the first change: the take-over could not be given a typed password.
            command_line.passed_on(context.CLIARGS)
            found: Adoption = self._on_host("read")["adoption"]
            where = adoption.place(str(given["to"]), found["app"], str(given["host"]), os.getcwd())
            return {**result, **self._adopt(found, where, check)}
        except _HostSaid as error:
            return {**result, **error.result, "failed": True}
        except (InitError, OSError, command_line.TypedPassword) as error:
            return {**result, "failed": True, "msg": str(error)}

    def _adopt(self, found: Adoption, where: adoption.Place, check: bool) -> dict[str, Any]:
        known = {"app": found["app"], "folder": where.to}
        if found["stage"] in ("done", "elsewhere") or (
            found["stage"] == "serves" and not adoption.is_known(where, found)
        ):
            self._show(messages.adopted(found, where))
            return {**known, "changed": False}
        if found["stage"] != "serves":
            prepared = adoption.prepare(
                found, where, self._request(), time.time(), docker_compose.require_valid, check, self._in_front
            )
            self._show(prepared.plan)
            if prepared.to_do:
                said = messages.to_do(prepared.to_do, check)
                return {**known, "changed": prepared.changed, "failed": not check, "msg": said}
            if check:
                self._show(messages.dry(where))
        if check:
            return {**known, "changed": True}
        return {**known, **self._take_over(found, where)}

    def _take_over(self, found: Adoption, where: adoption.Place) -> dict[str, Any]:
        self._on_host("begun")
        argv = take_over.command(
            this_run.playbook("site"), where.hosts, where.password_file, command_line.passed_on, context.CLIARGS
        )
        code = take_over.run(argv, this_run.collections(), self._display.display)
        if code:
            return {"changed": True, "failed": True, "msg": messages.failed(self._now(), found, where)}
        notice = str(self._on_host("ended")["notice"])
        self._show(messages.done(found, where, notice))
        return {"changed": True, "notice": notice}

    def _now(self) -> Adoption | None:
        try:
            now: Adoption = self._on_host("read")["adoption"]
        except _HostSaid:
            return None
        return now

    def _on_host(self, state: str) -> dict[str, Any]:
        """Run the module. What it returns has secrets, so the connection shows none of it, at any verbosity."""
        contexts = (self._play_context, self._connection._play_context)
        shown = [one.no_log for one in contexts]
        for one in contexts:
            one.no_log = True
        try:
            arguments = {**self._asked, "state": state}
            ended = self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=self._variables)
        finally:
            for one, before in zip(contexts, shown, strict=True):
                one.no_log = before
        if ended.get("failed") or ended.get("unreachable"):
            raise _HostSaid({key: ended[key] for key in ("msg", "unreachable", "exception", "rc") if key in ended})
        return dict(ended)

    def _request(self) -> Request:
        return Request(
            given=[],
            to="",
            host="",
            app="",
            here=os.getcwd(),
            command=this_run.command(context.CLIARGS, "adopt"),
            collections=this_run.collections(),
            identities=[Identity(*one) for one in self._loader._vault.secrets or []],
            encrypt_identity=constants.DEFAULT_VAULT_ENCRYPT_IDENTITY or "",
        )

    def _show(self, text: str) -> None:
        self._display.display(f"\n{text}\n")
