# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name, and shows each of its steps as it is done.

A deploy takes a while, and a module says nothing until it has ended. It writes its steps to a file on the host; this
reads on in it meanwhile, over the same ssh connection.
"""

from __future__ import annotations

import copy
import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import progress_path
from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import deployment
from ansible_collections.christmas.selfheal.plugins.plugin_utils.progress import Progress, Step

# Of a failure, what the message and the steps that were shown say already.
_IN_WORDS = frozenset(("checks", "hints", "log", "refused", "steps", "variables"))
PAUSE = 0.5
"""Seconds between two looks at the file."""


class ActionModule(ActionBase):
    """`christmas.selfheal.app_deploy`."""

    MODULE = "christmas.selfheal.app_deploy"

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and show what it does."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        with self._shown(str(variables.get("inventory_hostname", "")), str(self._task.args.get("app", ""))):
            ended = self._execute_module(
                module_name=self.MODULE, module_args=dict(self._task.args), task_vars=variables
            )
        return {**result, **self._shortened(ended)}

    def _shortened(self, ended: dict[str, Any]) -> dict[str, Any]:
        """Show the log of a failure once: Ansible shows the message twice, and each other key of the result."""
        if "hints" not in ended:
            return ended
        shown = deployment.failure(cast(deployment.Failed, ended))
        if shown.log:
            self._display.display(shown.log)
        kept = {key: value for key, value in ended.items() if key not in _IN_WORDS}
        return {**kept, "msg": shown.msg}

    @contextmanager
    def _shown(self, name: str, app_name: str) -> Iterator[None]:
        """While this lasts, show what the file on the host has gained."""
        if self._task.check_mode:
            yield
            return
        # Of the same options, and without the state of the one that the module runs over.
        connection = copy.copy(self._connection)
        path = shlex.quote(progress_path(app_name))
        progress = Progress(name, self._read(connection, path))
        over = threading.Event()

        def follow() -> None:
            while True:
                last = over.wait(PAUSE)
                for line in progress.lines(self._read(connection, path), time.monotonic()):
                    self._display.display(line)
                if last:
                    return

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join(timeout=5.0)

    def _read(self, connection: Any, path: str) -> list[Step]:
        """The steps that the file has now; none when it cannot be read: a deploy does not fail for its display."""
        try:
            code, out, _err = connection.exec_command(f"cat {path}", in_data=b"\n", sudoable=False)
        except (AnsibleError, OSError):
            return []
        if code:
            return []
        found = []
        for text in out.decode("utf-8", "replace").splitlines():
            try:
                step = json.loads(text)
                found.append(Step(float(step["seconds"]), str(step["what"])))
            except (ValueError, KeyError, TypeError):
                return found
        return found
