# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far a take-over is, as the host knows it: before, begun, serves, done; and the notice in the old folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption, adoption_record
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import AdoptError, Asked
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

LABEL = "com.docker.compose"


class Host:
    """A host whose only app runs from a folder; `release`: the id of the one that serves, "" without one."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.paths: AppPaths = app_paths("shop", root=self.root)
        self.old = root / "root/shop"
        self.old.mkdir(parents=True)
        self.folder, self.release = str(self.old), ""

    def documents(self, *_unused: Any) -> list[dict[str, Any]]:
        labels = {
            f"{LABEL}.project": "shop",
            f"{LABEL}.service": "web",
            f"{LABEL}.project.working_dir": self.folder,
            f"{LABEL}.project.config_files": f"{self.folder}/compose.yaml",
        }
        return [{"Id": "1", "Name": "/shop-web-1", "Config": {"Labels": labels}}]

    def stage(self) -> str:
        asked = Asked(str(self.old)) if os.path.isdir(self.old) else Asked(app="shop")
        return adoption._stage(adoption.find(asked, self.documents(), self.root))

    def deploy(self) -> None:
        self.folder, self.release = self.paths.directory, "20260101"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    there = Host(tmp_path)
    monkeypatch.setattr(docker_containers, "inspected", there.documents)
    monkeypatch.setattr(release_store, "last_good", lambda _directory: there.release or None)
    return there


def test_a_take_over_goes_from_begun_to_done(host: Host) -> None:
    assert host.stage() == ""
    adoption.begin(Asked(str(host.old)), host.root)
    assert host.stage() == "begun"
    host.deploy()
    assert host.stage() == "serves"
    notice = Path(adoption.end(Asked(str(host.old)), host.root))
    assert (notice.parent, notice.stat().st_mode & 0o777) == (host.old, 0o644)
    assert host.paths.directory in notice.read_text(encoding="utf-8")
    assert host.stage() == "done"


def test_a_begun_one_is_recorded_with_where_the_app_was_started_from(host: Host) -> None:
    adoption.begin(Asked(), host.root)
    recorded = adoption_record.read(host.paths)
    assert recorded is not None
    assert recorded.origin == (str(host.old), [f"{host.old}/compose.yaml"], [])
    # The containers of a killed run come from the app's directory, and tell nothing of the old folder.
    host.folder = host.paths.directory
    adoption.begin(Asked(str(host.old)), host.root)
    assert adoption_record.read(host.paths) == recorded


def test_an_app_that_was_deployed_is_not_recorded_as_taken_over(host: Host) -> None:
    host.deploy()
    host.folder = host.paths.directory
    adoption.begin(Asked(app="shop"), host.root)
    assert adoption_record.read(host.paths) is None
    assert adoption._stage(adoption.find(Asked(app="shop"), host.documents(), host.root)) == "elsewhere"


def test_a_take_over_ends_only_when_a_release_serves(host: Host) -> None:
    adoption.begin(Asked(), host.root)
    with pytest.raises(AdoptError, match="no release of it serves"):
        adoption.end(Asked(str(host.old)), host.root)
    assert os.listdir(host.old) == []


def test_without_the_old_folder_there_is_no_notice(host: Host) -> None:
    adoption.begin(Asked(), host.root)
    host.deploy()
    host.old.rmdir()
    assert adoption.end(Asked(app="shop"), host.root) == ""
    assert host.stage() == "done"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": "/x"}'])
def test_a_damaged_record_counts_as_none(text: str, host: Host) -> None:
    Path(host.paths.state).mkdir(parents=True)
    Path(host.paths.state, "adopted.json").write_text(text, encoding="utf-8")
    assert adoption_record.read(host.paths) is None
    assert host.stage() == ""
