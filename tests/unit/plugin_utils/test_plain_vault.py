# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A vault in plain text is named, and nothing that is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils import plain_vault

ENCRYPTED = "$ANSIBLE_VAULT;1.1;AES256\n3132\n"
SECRET = "m4Zr7Qw9Lx2Vb8Nc5Kt1"


@pytest.mark.parametrize(
    ("name", "content", "is_plain"),
    [
        ("group_vars/all/vault.yml", f"---\nvault_key: {SECRET}\n", True),
        ("host_vars/web1/vault", f'vault_key: "{SECRET}"\n', True),
        ("group_vars/all/vault/keys.yml", f"vault_key: {SECRET}\n", True),
        ("group_vars/all/vault.yml", ENCRYPTED, False),
        ("group_vars/all/vault.yml", "vault_key: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n", False),
        ("group_vars/all/vault.yml", "vault_key: \"{{ lookup('env', 'KEY') }}\"\nvault_other: ''\n", False),
        ("group_vars/all/vault.yml", f"app_env_values:\n  KEY: {SECRET}\n", True),
        ("group_vars/all/vault.yml", f"app_env_values:\n  KEY: !unsafe '{SECRET}'\n", True),
        (
            "group_vars/all/vault.yml",
            "app_env_values:\n  KEY: ''\n  OTHER: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n",
            False,
        ),
        ("group_vars/all/vault.yml.example", f"vault_key: {SECRET}\n", False),
        ("group_vars/all/app.yml", "app_env_plain: {MODE: fast}\n", False),
        ("group_vars/all/vault.yml", f"{SECRET}: [\n", False),
    ],
    ids=[
        *("a file", "of a host", "in a folder", "encrypted", "each value", "a lookup"),
        *("below a key", "unsafe", "each value below a key", "an example", "no vault", "no YAML"),
    ],
)
def test_a_vault_in_plain_text(tmp_path: Path, name: str, content: str, is_plain: bool) -> None:
    path = tmp_path / "deploy" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    found = plain_vault.warnings([str(tmp_path / "deploy")], str(tmp_path))
    assert [one.partition(" is not encrypted")[0] for one in found] == ([f"deploy/{name}"] if is_plain else [])
    assert all(one.endswith(f"ansible-vault encrypt deploy/{name}") for one in found)
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(
    ("name", "vault"),
    [("group_vars/all/app.yml", "group_vars/all/vault.yml"), ("host_vars/web1.yml", "host_vars/web1/vault.yml")],
)
def test_secrets_in_another_file_than_a_vault(tmp_path: Path, name: str, vault: str) -> None:
    files = {
        "group_vars/all/table.yml": (
            "app_env_variables: [{name: KEY, kind: token}, {name: DSN, kind: postgres_dsn}, {name: MODE, kind: text}]\n"
        ),
        name: (
            f"app_env_values: {{KEY: {SECRET}, DSN: 'postgresql://a:{{{{ vault_key }}}}@db/a', MODE: fast}}\n"
            "app_env_plain: {MODE: slow}\n"
        ),
    }
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    assert plain_vault.warnings([str(tmp_path)], str(tmp_path)) == [
        f"{name} holds secrets that are not encrypted: KEY. Everybody who reads it has them. Fix: move them into "
        f"app_env_values of {vault}, then: ansible-vault encrypt {vault}"
    ]


def test_without_an_inventory_folder(tmp_path: Path) -> None:
    assert plain_vault.warnings([str(tmp_path / "none")], str(tmp_path)) == []
