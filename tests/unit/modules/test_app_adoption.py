# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading changes nothing; recording changes something, but not in check mode."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import Asked
from ansible_collections.christmas.selfheal.plugins.modules import app_adoption


@pytest.mark.parametrize(
    ("state", "check", "done", "changed"),
    [
        ("read", False, ["read"], False),
        ("read", True, ["read"], False),
        ("begun", False, ["begin"], True),
        ("begun", True, [], True),
        ("ended", False, ["end"], True),
        ("ended", True, [], True),
    ],
)
def test_what_is_done_in_each_state(
    state: str, check: bool, done: list[str], changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Asked]] = []
    for name in ("read", "begin", "end"):
        monkeypatch.setattr(adoption, name, lambda asked, name=name: calls.append((name, asked)))
    module: Any = SimpleNamespace(params={"state": state, "folder": "/root/shop", "app": ""}, check_mode=check)
    assert app_adoption.work(module)["changed"] is changed
    assert calls == [(name, Asked("/root/shop", "")) for name in done]
