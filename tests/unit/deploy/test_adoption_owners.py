# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service that works as root on files of other users needs a capability that the overlay would drop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_owners

BUILT: dict[str, Any] = {"services": {"notes": {"build": {"context": "."}}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/notes.sqlite").write_text("", encoding="utf-8")
    os.chown(tmp_path / "deep/notes.sqlite", 1001, 1001)
    return tmp_path


def container(folder: Path, user: str = "", is_writable: bool = True, **host: Any) -> dict[str, Any]:
    return {
        "Config": {"User": user, "Labels": {"com.docker.compose.service": "notes"}},
        "HostConfig": host,
        "Mounts": [{"Source": str(folder), "Destination": "/data", "RW": is_writable}],
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize(
    ("change", "model", "is_found"),
    [
        ({}, BUILT, True),
        ({"user": "0:0"}, BUILT, True),
        ({"user": "1001"}, BUILT, False),
        ({"is_writable": False}, BUILT, False),
        ({"Privileged": True}, BUILT, False),
        ({"CapDrop": ["ALL"]}, BUILT, False),
        ({"CapAdd": ["CAP_DAC_OVERRIDE"]}, BUILT, False),
        ({}, {"services": {"notes": {"image": "postgres:17"}}}, False),
    ],
    ids=["root", "0:0", "another user", "read-only", "privileged", "dropped", "added", "a known image"],
)
def test_who_works_on_files_of_others(
    folder: Path, change: dict[str, Any], model: dict[str, Any], is_found: bool
) -> None:
    found = adoption_owners.find([container(folder, **change)], model)
    assert found == ([{"service": "notes", "target": "/data", "uid": 1001}] if is_found else [])


def test_files_of_root_alone_need_nothing(tmp_path: Path) -> None:
    os.chown(tmp_path, 0, 0) if os.geteuid() == 0 else pytest.skip("only root gives files to root")
    assert adoption_owners.find([container(tmp_path)], BUILT) == []


def test_a_folder_that_is_gone_needs_nothing(tmp_path: Path) -> None:
    assert adoption_owners.find([container(tmp_path / "gone")], BUILT) == []
