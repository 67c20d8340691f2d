# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Docker commands that give prepared answers, and an app to run them for."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands


def cli(monkeypatch: pytest.MonkeyPatch, *answers: commands.Result) -> list[list[str]]:
    """Have docker give these answers in turn, and repeat the last one. Return the commands."""
    asked: list[list[str]] = []
    left = list(answers)

    def run(argv: list[str], *_unused: Any, **__: Any) -> commands.Result:
        asked.append(list(argv))
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(commands, "run", run)
    return asked


FAILED = commands.Result(1, "", "Error response from daemon: no room")
SHOP = docker_project.Project("shop", "/nowhere")
