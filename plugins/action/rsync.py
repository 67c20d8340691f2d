# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs rsync on the controller, over the ssh options of the play's own connection."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.plugin_utils.rsync import (
    SUDO_PASSWORD,
    Connection,
    rsync_command,
    ssh_words,
)

SPEC: dict[str, dict[str, Any]] = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    "pull": {"type": "bool", "default": False},
    "options": {"type": "list", "elements": "str", "default": []},
}
_SSH_OPTIONS = ("ssh_args", "ssh_common_args", "ssh_extra_args")


class ActionModule(ActionBase):
    """`christmas.selfheal.rsync`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Copy, or say what would be copied."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        _unused, given = self.validate_argument_spec(argument_spec=SPEC)
        problem = self._problem()
        if problem:
            return {**result, "failed": True, "msg": problem}
        connection, secrets = self._reached()
        command = rsync_command(
            connection,
            given["src"],
            given["dest"],
            pull=given["pull"],
            options=given["options"],
            dry=self._task.check_mode,
        )
        ended = subprocess.run(
            command,
            env={**os.environ, **secrets},
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            capture_output=True,
            check=False,
        )
        result |= {"path": given["dest"], "cmd": shlex.join(command), "stdout_lines": ended.stdout.splitlines()}
        if ended.returncode:
            reason = ended.stderr.strip() or f"rsync ended with {ended.returncode}"
            return {**result, "failed": True, "rc": ended.returncode, "msg": reason}
        if self._task.diff:
            result["diff"] = {"prepared": ended.stdout}
        return {**result, "changed": bool(ended.stdout.strip())}

    def _problem(self) -> str:
        transport, become = self._connection.transport, self._connection.become
        if transport != "ssh":
            return f"files are copied over ssh only, and this connection is {transport}. Fix: ansible_connection: ssh"
        if become and become.name.rpartition(".")[2] != "sudo":
            return f"files are copied as root with sudo only, not with {become.name}. Fix: ansible_become_method: sudo"
        if shutil.which("rsync") is None:
            return "rsync is missing on this machine. Fix: install it, on Debian with apt-get install rsync"
        return ""

    def _reached(self) -> tuple[Connection, dict[str, str]]:
        """The connection, and the environment with its passwords."""
        option = self._connection.get_option
        ssh = ssh_words(
            option("ssh_executable"),
            port=option("port"),
            key=option("private_key_file") or "",
            options=[option(name) or "" for name in _SSH_OPTIONS],
            checks_keys=option("host_key_checking"),
            seconds=option("timeout"),
        )
        secrets: dict[str, str] = {}
        if option("password"):
            # The program that Ansible's own connection needs for a password.
            ssh, secrets["SSHPASS"] = ("sshpass", "-e", *ssh), option("password")
        become = self._connection.become
        user, password = "", ""
        if become:
            user = become.get_option("become_user", playcontext=self._play_context) or "root"
            password = become.get_option("become_pass", playcontext=self._play_context) or ""
        if password:
            secrets[SUDO_PASSWORD] = password
        found = Connection(ssh, option("host"), option("remote_user") or "", user, bool(password))
        return found, secrets
