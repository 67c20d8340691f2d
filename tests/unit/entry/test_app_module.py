# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules of one app share: their arguments become an app, values are validated, steps can be followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules

GOOD = "Vq3mZk8TtPw2Lr9xHs5B"
TABLE: list[dict[str, Any]] = [{"name": "KEY", "kind": "token"}]
CHECKS = [{"name": "health", "url": "http://127.0.0.1:8000/", "proves": "health"}]
ARGUMENTS: dict[str, Any] = {
    "app": "shop",
    "directory": "/srv/shop/",
    "variables": TABLE,
    "checks": CHECKS,
    "balancer": {"service": "web", "instances": 2, "first_port": 18000, "ports": [8000]},
}


def test_arguments_become_an_app() -> None:
    found = app_module.app_of(ARGUMENTS)
    assert (found.name, found.paths.directory, found.paths.env) == ("shop", "/srv/shop", "/srv/shop/.env")
    assert found.balancer == Balancer("web", 2, 18000, (8000,))
    assert app_module.app_of({**ARGUMENTS, "directory": None, "balancer": {}}).paths.directory == "/opt/shop"


@pytest.mark.parametrize(
    "wrong",
    [
        {"app": "Shop"},
        {"variables": [{"name": "KEY", "kind": "nonsense"}]},
        {"checks": [{**CHECKS[0], "url": "ftp://shop/"}]},
        {"balancer": {"service": "web"}},
    ],
    ids=["its name", "its table", "its checks", "its balancer"],
)
def test_invalid_arguments_are_an_error_for_the_user(wrong: dict[str, Any]) -> None:
    with pytest.raises(app_module.EXPECTED):
        app_module.app_of({**ARGUMENTS, **wrong})


def test_values_are_validated_before_they_are_used() -> None:
    variables = secret_rules.parse_table(TABLE)
    assert app_module.validated(variables, None) is None
    assert app_module.validated(variables, {"KEY": GOOD}) == {"KEY": GOOD}
    with pytest.raises(env_history.InvalidValues) as raised:
        app_module.validated(variables, {"KEY": "your-key-here"})
    assert "KEY" in str(raised.value)
    assert secret_rules.describe(raised.value.findings) in str(raised.value)


@pytest.mark.parametrize(
    "ours",
    ["opt/shop/compose.hardened.yaml", "opt/shop/releases/x", "etc/selfheal/shop.json", "var/lib/selfheal/shop/x"],
)
def test_an_app_that_was_removed_is_refused(tmp_path: Path, ours: str) -> None:
    paths = app_paths("shop", root=str(tmp_path))
    own = tmp_path / "opt/shop/compose.yaml"
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(app_module.EXPECTED, match="shop is not under care on this host"):
        app_module.require_cared_for(paths)
    (tmp_path / ours).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / ours).touch()
    app_module.require_cared_for(paths)
    assert app_module.not_cared_for(paths) == ""


def test_the_steps_of_a_run_can_be_followed_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.progress"
    monkeypatch.setattr(app_module, "progress_path", lambda _app: str(path))
    logged: list[str] = []
    steps = app_module.Steps("shop", logged.append)
    for text in ("building the images", "starting web"):
        steps.say(text)
        assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["what"] == text
    assert logged == ["shop: building the images", "shop: starting web"]
    monkeypatch.setattr(app_module, "progress_path", lambda _app: str(tmp_path / "missing" / "shop.progress"))
    steps.say("done")
    assert [step["what"] for step in steps.done] == ["building the images", "starting web", "done"]
