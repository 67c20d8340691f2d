# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The secrets come from a real OpenBao server: HashiCorp Vault's API, KV v2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ENV = "/opt/christmas-backend/.env"


@pytest.fixture(scope="module")
def from_vault() -> dict[str, Any]:
    """The variables of the server, as in converge.yml."""
    known = yaml.safe_load((Path(__file__).resolve().parents[1] / "vars.yml").read_text(encoding="utf-8"))
    return {
        "app_env_backend": "hashi_vault",
        "app_env_vault_url": f"http://{known['vault_test_address']}",
        "app_env_vault_token": known["vault_test_token"],
        "app_env_vault_path": "christmas-backend",
        "app_env_values": {},
    }


def test_the_values_on_the_host_are_the_vaults(host: Any, secrets: dict[str, str]) -> None:
    written = host.file(ENV).content_string
    assert secrets["vault_supabase_service_key"] in written
    assert secrets["vault_jwt_secret"] in written


def test_the_playbook_validates_the_values_and_shows_none(
    play: Callable[..., Any], from_vault: dict[str, Any], leaks: Callable[[str], list[str]]
) -> None:
    ended = play("validate.yml", "-vvv", extra=from_vault)
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert leaks(ended.stdout) == []


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ({"app_env_vault_token": "no-such-token"}, ("refuses", "secret/data/christmas-backend")),
        ({"app_env_vault_path": "no-such-app"}, ("has nothing at that path", "no-such-app")),
    ],
    ids=["a token that does not hold", "a path that is not there"],
)
def test_a_vault_without_the_secret_stops_the_run(
    host: Any, play: Callable[..., Any], from_vault: dict[str, Any], spoiled: dict[str, str], words: tuple[str, ...]
) -> None:
    before = host.file(ENV).mtime
    ended = play("site.yml", extra={**from_vault, **spoiled})
    assert ended.returncode != 0
    output = " ".join(ended.stdout.split())
    assert [word for word in words if word not in output] == []
    assert host.file(ENV).mtime == before


def test_recover_takes_the_key_from_the_vault(host: Any, play: Callable[..., Any], from_vault: dict[str, Any]) -> None:
    host.check_output(f"sed -i 's/^SUPABASE_SERVICE_KEY=.*/SUPABASE_SERVICE_KEY=placeholder/' {ENV}")
    host.check_output("docker rm -f christmas-backend-backend-1")
    ended = play("recover.yml", extra=from_vault)
    assert ended.returncode == 0, ended.stdout[-3000:]
