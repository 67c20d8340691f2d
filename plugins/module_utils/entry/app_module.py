# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules that work on one app share: their common arguments, and the errors for the user.

Imports nothing of Ansible.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from typing import Callable, TypedDict

from ..core.app import App, read_balancer
from ..core.app_paths import AppError, AppPaths, app_paths, progress_path
from ..core.files import atomic_write
from ..core.locks import LockHeld
from ..docker.engine import EngineError
from ..docker.project_layout import HARDENED_FILE, RELEASES
from ..env import history as env_history
from ..env import rules as secret_rules
from ..env.rules import Values, Variable
from ..probe import run as probe
from ..releases import haproxy
from .ansible_no_log import Params

APP_SPEC: dict[str, dict[str, object]] = {
    "app": {"type": "str", "required": True},
    "directory": {"type": "path"},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "checks": {"type": "list", "elements": "dict", "required": True},
    "balancer": {"type": "dict", "default": {}},
}

EXPECTED = (
    AppError,
    EngineError,
    haproxy.BalancerError,
    LockHeld,
    env_history.EnvError,
    secret_rules.TableError,
    probe.CheckError,
    OSError,
)
"""Errors whose text is for the user; anything else is a defect and keeps its traceback."""


def app_of(params: Params) -> App:
    """Return the app that a module's arguments describe, its tables checked."""
    variables = secret_rules.parse_table(params["variables"])
    checks = probe.parse_checks(params["checks"], known=[one.name for one in variables], may_be_empty=True)
    return App(
        paths=app_paths(params["app"], (params["directory"] or "").rstrip("/")),
        variables=variables,
        checks=checks,
        balancer=read_balancer(params["balancer"]),
    )


def not_cared_for(paths: AppPaths) -> str:
    """Why no one takes care of an app, when this host has nothing of ours of it: it was never deployed, or removed."""
    ours = [
        os.path.join(paths.directory, HARDENED_FILE),
        os.path.join(paths.directory, RELEASES),
        os.path.join(paths.root, "etc/selfheal", f"{paths.name}.json"),
        paths.state,
    ]
    if any(os.path.lexists(path) for path in ours):
        return ""
    return (
        f"{paths.name} is not under care on this host: it was never deployed here, or remove.yml took it out. "
        "Nothing was changed. Fix: correct selfheal_app, or deploy it with site.yml"
    )


def require_cared_for(paths: AppPaths) -> None:
    """Raise AppError for such an app."""
    why = not_cared_for(paths)
    if why:
        raise AppError(why)


def validated(variables: Sequence[Variable], values: Values | None) -> dict[str, str] | None:
    """Return the values as they will be written; raise `InvalidValues` when one does not pass. None stays None."""
    if values is None:
        return None
    findings = secret_rules.validate(variables, values, time.time())
    if findings:
        raise env_history.InvalidValues(findings)
    return secret_rules.texts(variables, values)


class Step(TypedDict):
    """A step of a run, and when it was taken: seconds after its beginning."""

    seconds: float
    what: str


class Steps:
    """The steps of a module run, in a file on the host, so that they can be shown while it goes on."""

    def __init__(self, app: str, log: Callable[[str], None]) -> None:
        self.app, self.log = app, log
        self.begun, self.done = time.monotonic(), list[Step]()

    def say(self, text: str) -> None:
        """Note a step."""
        self.done.append({"seconds": round(time.monotonic() - self.begun, 1), "what": text})
        self.log(f"{self.app}: {text}")
        # Progress that cannot be shown must not stop the work.
        with contextlib.suppress(OSError):
            lines = "".join(json.dumps(step) + "\n" for step in self.done)
            atomic_write(progress_path(self.app), lines.encode(), mode=0o644)
