# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the module on the host is given of the project on the controller."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.action.compose_files import ActionModule


def test_the_module_gets_the_files_and_the_owners_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: x, volumes: ['./combs:/c', './kept:/k']}}\n")
    for name in ("combs", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o750)
    given: dict[str, Any] = {}

    def execute(_self: Any, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        given.update(module_args)
        return {"changed": True}

    monkeypatch.setattr(ActionBase, "run", lambda *_unused: {})
    monkeypatch.setattr(ActionModule, "_execute_module", execute)
    action = object.__new__(ActionModule)
    action._task = SimpleNamespace(args={"source": f"{tmp_path}/", "exclude": ["/kept"]})
    assert action.run() == {"changed": True}
    folder = (tmp_path / "combs").stat()
    assert given["files"] == ["compose.yaml"]
    assert given["owners"] == {"user": os.geteuid(), "paths": {"combs": [folder.st_uid, folder.st_gid, 0o750]}}
