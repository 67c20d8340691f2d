# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inventories that a controller for drift checks gets copies of."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.inventory_copies import (
    inventory_copies,
    uncopyable_inventories,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose inventory is a file next to the compose file and its env."""
    variables = ("group_vars/all/vault.yml", "host_vars/web.yml")
    for name in ("hosts.yml", ".env", ".vault-password", "compose.yaml", *variables):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path / "project"


def copied(source: Path, to: Path) -> list[str]:
    """Copy as the role does, and return what came over."""
    (one,) = inventory_copies([str(source)], str(to))
    Path(one["folder"]).mkdir(parents=True)
    subprocess.run(["rsync", "-r", *one["filters"], f"{one['source']}/", f"{one['folder']}/"], check=True)
    assert Path(one["path"]).exists()
    return sorted(str(path.relative_to(one["folder"])) for path in Path(one["folder"]).rglob("*") if path.is_file())


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_file_is_copied_with_its_variables_and_nothing_else(project: Path, tmp_path: Path) -> None:
    found = copied(project / "hosts.yml", tmp_path / "to")
    assert found == ["group_vars/all/vault.yml", "host_vars/web.yml", "hosts.yml"]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_folder_is_copied_without_what_ansible_does_not_read(project: Path, tmp_path: Path) -> None:
    found = copied(project, tmp_path / "to")
    assert "hosts.yml" in found
    assert [name for name in found if name.startswith(".")] == []


def test_inventories_of_the_same_name_keep_their_order(tmp_path: Path) -> None:
    names = [tmp_path / "a" / "hosts", tmp_path / "b" / "hosts"]
    for path in names:
        path.mkdir(parents=True)
    paths = [one["path"] for one in inventory_copies([f"{path}/" for path in names], "/opt/drift/inventories")]
    assert paths == ["/opt/drift/inventories/0", "/opt/drift/inventories/1"]


def test_a_list_of_hosts_is_no_inventory_to_copy(project: Path) -> None:
    assert uncopyable_inventories([str(project), "web1,web2,"]) == ["web1,web2,"]
