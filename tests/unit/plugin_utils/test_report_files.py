# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reports are in one folder for an inventory, and never where Ansible reads inventories."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.report_files import (
    NotMoved,
    reports_folder,
    require_moved,
)

# id, the folder of the host's file, the inventories of the run, the folder
PLACES = [
    ("a file", "shop/deploy", ["shop/deploy/hosts.yml"], "shop/deploy/reports"),
    ("a folder", "inventory/production", ["inventory/production/"], "inventory/reports"),
    ("a folder of folders", "inventory/production", ["inventory"], "reports"),
    ("a folder with a similar name", "inventory", ["inv"], "inventory/reports"),
    ("two inventories", "shop", ["inventory/lab", "shop/hosts.yml"], "shop/reports"),
    ("hosts of the command line", "", ["web1,"], "elsewhere/reports"),
]


@pytest.mark.parametrize(("folder", "sources", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_the_folder_is_next_to_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, sources: list[str], expected: str
) -> None:
    for name in ("shop/deploy", "inventory/production", "inventory/lab", "inv", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    given = str(tmp_path / folder) if folder else ""
    named = [one if one.endswith(",") else str(tmp_path / one) for one in sources]
    assert reports_folder(given, named) == str(tmp_path / expected)


def test_an_earlier_baseline_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    before, folder = tmp_path / "here/reports/drift", tmp_path / "in the shop/reports/drift"
    before.mkdir(parents=True)
    require_moved(str(folder), str(before))
    (before / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(NotMoved) as refused:
        require_moved(str(folder), str(tmp_path / "here"))
    command = str(refused.value).partition("move them: ")[2]
    assert shlex.quote(str(folder)) in command
    subprocess.run(["sh", "-c", command], check=True)
    require_moved(str(folder), str(tmp_path / "here"))
    assert (folder / "state.json").exists()
