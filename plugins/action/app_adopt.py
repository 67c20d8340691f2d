# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes over an app that was started by hand: reads it on the host, writes its inventory here, and runs site.yml."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import explain
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
# What the new inventory needs to connect as this run does, and what it must not hold, with the option to use instead.
_CONNECTION: dict[str, Callable[[Any], object]] = {
    "ansible_port": int,
    "ansible_ssh_private_key_file": str,
    "ansible_ssh_common_args": str,
    "ansible_ssh_extra_args": str,
}
_PASSWORDS = {
    "ansible_password": ("connection_password_file", "--connection-password-file FILE, or a key"),
    "ansible_ssh_pass": ("connection_password_file", "--connection-password-file FILE, or a key"),
    "ansible_become_password": ("become_password_file", "--become-password-file FILE"),
    "ansible_become_pass": ("become_password_file", "--become-password-file FILE"),
}
# Seconds before each attempt to ask what runs: the app may be put back just now, or the host has lost its connections.
_PAUSES = (0.0, 3.0, 10.0)


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
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        self._variables = task_vars or {}
        self._in_front = bool(given["load_balancer"])
        self._asked = {"folder": str(given["folder"]), "app": str(given["app"])}
        check = bool(self._task.check_mode or given["dry"])
        try:
            self._require_connection(str(given["host"]))
            # Before the first change: the take-over could not be given a typed password.
            command_line.passed_on(context.CLIARGS)
            found: Adoption = self._on_host("read")["adoption"]
            where = adoption.place(str(given["to"]), found["app"], self._address(str(given["host"])), os.getcwd())
            return {**result, **self._adopt(found, where, check)}
        except _HostSaid as error:
            return {**result, **error.result, "failed": True}
        except OSError as error:
            fix = "make room or access there, and run the same command again"
            return {**result, "failed": True, "msg": f"{explain(error)}. The app was not touched. Fix: {fix}"}
        except (InitError, command_line.TypedPassword) as error:
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
                if check:
                    self._show(said)
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
        # It notices within 15 s that the host went away; Ansible's defaults wait for hours.
        configuration = "" if constants.CONFIG_FILE else where.configuration
        code = take_over.run(argv, this_run.collections(), configuration, self._display.display)
        if code:
            return {"changed": True, "failed": True, "msg": messages.failed(self._now(), found, where)}
        notice = str(self._on_host("ended")["notice"])
        self._show(messages.done(found, where, notice, self._next(where)))
        return {"changed": True, "notice": notice}

    def _next(self, where: adoption.Place) -> messages.Next:
        command = this_run.command(context.CLIARGS, "adopt", os.getcwd())
        given = (f"{where.shown}/deploy", bool(where.password_file))
        return messages.Next(command.text("site", *given), command.edit(*given))

    def _now(self) -> Adoption | None:
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                now: Adoption = self._on_host("read")["adoption"]
            except _HostSaid:
                continue
            return now
        return None

    def _address(self, host: str) -> str:
        """The host for the new inventory, with the user of `--user`."""
        user = str(context.CLIARGS.get("remote_user") or "")
        return f"{user}@{host}" if user not in ("", "root") and "@" not in host else host

    def _require_connection(self, host: str) -> None:
        """Connect once while messages of the connection are shown: `_on_host` hides them."""
        for name, (option, fix) in _PASSWORDS.items():
            if self._variables.get(name) and not context.CLIARGS.get(option):
                why = f"it has {name} in this run's inventory, which the new inventory does not get"
                raise InitError(host, why, f"use {fix}")
        try:
            ended = self._execute_module(module_name="ansible.builtin.ping", module_args={}, task_vars=self._variables)
        except AnsibleError as error:
            ended = {"failed": True, "unreachable": isinstance(error, AnsibleConnectionFailure), "msg": str(error)}
        if ended.get("failed") or ended.get("unreachable"):
            fix = (
                f"make `ssh {host.replace('[', '').replace(']', '')}` work first. Another key: --private-key FILE; "
                "another port: -e ansible_port=PORT; a password of sudo: --become-password-file FILE"
            )
            said = f"{host}: {str(ended.get('msg', '')).rstrip('.')}. Nothing was changed. Fix: {fix}"
            raise _HostSaid({"unreachable": bool(ended.get("unreachable")), "msg": said})

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
            command=this_run.command(context.CLIARGS, "adopt", os.getcwd()),
            collections=this_run.collections(),
            identities=[Identity(*one) for one in self._loader._vault.secrets or []],
            encrypt_identity=constants.DEFAULT_VAULT_ENCRYPT_IDENTITY or "",
            name=str(self._variables.get("inventory_hostname", "")),
            connection=self._connects_by(context.CLIARGS),
        )

    def _connects_by(self, arguments: Mapping[str, object]) -> list[tuple[str, object]]:
        """How this run connects. A variable of the host outranks the option of the command line, as Ansible has it."""
        variables = {
            name: kind(self._templar.template(self._variables[name]))
            for name, kind in _CONNECTION.items()
            if self._variables.get(name)
        }
        return list({**dict(this_run.connection(arguments)), **variables}.items())

    def _show(self, text: str) -> None:
        self._display.display(f"\n{text}\n")
