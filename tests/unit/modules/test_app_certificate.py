# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module: what it would do in check mode, and its result. What a renewal does is in domain/test_renewal.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import config as domain_config
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import renewal
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.certificate import Certificate
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.config import Domain
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError
from ansible_collections.christmas.selfheal.plugins.modules import app_certificate

HELD = Certificate(("shop.example",), 0.0, 4102444800.0, "CN=CA")
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with arguments; its result, as Ansible would get it."""
    domain = Domain(app_paths("shop", root=str(tmp_path)), HELD.names, "", "", "", "127.0.0.1")
    monkeypatch.setattr(domain_config, "load", lambda _: domain)

    def with_arguments(**arguments: Any) -> dict[str, Any]:
        with patch_module_args({"app": "shop", **arguments}), pytest.raises(SystemExit) as ended:
            app_certificate.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed"))
        return result

    return with_arguments


@pytest.mark.parametrize("state", ["prepared", "renewed"])
def test_check_mode_writes_nothing_and_asks_no_one(run: Run, tmp_path: Path, state: str) -> None:
    result = run(state=state, _ansible_check_mode=True)
    assert result["changed"]
    assert list(tmp_path.iterdir()) == []


def test_check_mode_before_the_settings_are_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_unused: str) -> Domain:
        raise ConfigError("/etc/selfheal/domain/shop.json does not exist")

    monkeypatch.setattr(domain_config, "load", missing)
    assert run(_ansible_check_mode=True)["why"] == "there is no certificate yet"
    assert "does not exist" in run()["msg"]


def test_a_certificate_that_is_not_due(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "in_use", lambda _: renewal.InUse(HELD, ""))
    monkeypatch.setattr(renewal, "renew", lambda *_: renewal.Renewed(False, "", HELD))
    for check_mode in (True, False):
        result = run(_ansible_check_mode=check_mode)
        assert (result["changed"], result["names"], result["ends"][:10]) == (False, ["shop.example"], "2100-01-01")


def test_a_refusal_is_the_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_unused: object) -> renewal.Renewed:
        raise renewal.DomainError("shop.example: no new certificate: the CA says: no")

    monkeypatch.setattr(renewal, "renew", refuse)
    assert run()["msg"] == "shop.example: no new certificate: the CA says: no"
