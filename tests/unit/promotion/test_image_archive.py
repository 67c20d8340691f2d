# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stops images on their way, before or after they have come. That they come is molecule's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.promotion import image_archive

MIB = 1 << 20
WEB: image_archive.Image = {"service": "web", "id": "sha256:1", "bytes": 100 * MIB, "platform": "linux/amd64"}
DB: image_archive.Image = {"service": "db", "id": "sha256:2", "bytes": 200 * MIB, "platform": "linux/amd64"}
PATH = "/var/lib/selfheal/shop/promotion/images.tar"


class Engine:
    """One that has some images, and some room."""

    def __init__(self) -> None:
        self.answers, self.there, self.free = True, {"sha256:1"}, 10_000 * MIB


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Engine:
    it = Engine()
    monkeypatch.setattr(engine, "state", lambda: {"answers": it.answers, "reason": "docker is not installed"})
    monkeypatch.setattr(engine, "platform", lambda: "linux/amd64")
    monkeypatch.setattr(docker_images, "image_facts", lambda images: {one: {} for one in images if one in it.there})
    monkeypatch.setattr(docker_images, "load_images", lambda _: None)
    monkeypatch.setattr(procfs, "disk", lambda _: [{"free_bytes": it.free}])
    return it


def test_only_missing_images_are_sent_and_each_image_once(fake: Engine) -> None:
    found = image_archive.compare([WEB, DB, {**DB, "service": "replica"}], PATH)
    assert ([one["id"] for one in found["missing"]], found["bytes"]) == (["sha256:2"], 200 * MIB)


def test_no_room_is_asked_for_when_nothing_is_sent(fake: Engine) -> None:
    fake.free = 0
    assert image_archive.compare([WEB], PATH) == {"missing": [], "bytes": 0}


@pytest.mark.parametrize(
    ("change", "images", "said"),
    [
        ({"answers": False}, [WEB], "docker is not installed.*run christmas.selfheal.site first"),
        ({"free": 500 * MIB}, [DB], "too little room for the images: .*500 MiB free"),
        ({}, [{**DB, "platform": "linux/arm64"}], r"this host is linux/amd64.*db \(linux/arm64\)"),
    ],
    ids=["no engine", "no room", "another platform"],
)
def test_what_cannot_be_taken_is_reported_before_anything_is_sent(
    fake: Engine, change: dict[str, Any], images: list[image_archive.Image], said: str
) -> None:
    for name, value in change.items():
        setattr(fake, name, value)
    with pytest.raises((image_archive.ArchiveError, engine.EngineError), match=said):
        image_archive.compare(images, PATH)


def test_what_comes_out_of_the_archive_as_something_else_is_reported(fake: Engine, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    archive.write_bytes(b"x")
    assert image_archive.load([WEB], str(archive)) == {"bytes": 1}
    with pytest.raises(image_archive.ArchiveError, match="the loaded images have other ids than on staging: db"):
        image_archive.load([WEB, DB], str(archive))
