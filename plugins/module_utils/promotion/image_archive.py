# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Transfer images from one host to another, in one archive. A step that was killed is done again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

from ..docker import engine
from ..docker import images as docker_images
from ..host import procfs
from . import rules as promotion_rules


class Image(TypedDict):
    """The image of a service of a release: its id, its size, and what it is for (os/architecture)."""

    service: str
    id: str
    bytes: int
    platform: str


class Comparison(TypedDict):
    """The images that this host does not have, and their size."""

    missing: list[Image]
    bytes: int


class Archive(TypedDict):
    """The size of an archive."""

    bytes: int


class ArchiveError(Exception):
    """The images cannot be transferred; the message says why and what to do."""


def compare(images: Sequence[Image], path: str) -> Comparison:
    """Say which images this host does not have, and make sure that it can take them.

    :arg path: where their archive is going to be.
    :raises ArchiveError: they are for another platform, or there is too little room.
    :raises EngineError: the engine of this host does not answer.
    """
    found = engine.state()
    if not found["answers"]:
        raise engine.EngineError(
            f"the Docker engine does not answer here: {found['reason']}. Try: systemctl status docker; on a new host "
            "run christmas.selfheal.site first, which sets it up"
        )
    here = engine.platform()
    foreign = sorted({f"{one['service']} ({one['platform']})" for one in images if one["platform"] != here})
    if foreign:
        raise ArchiveError(
            f"this host is {here}, and these images are for another platform: {', '.join(foreign)}. Build on a "
            "staging host of the same platform"
        )
    there = docker_images.image_facts([one["id"] for one in images])
    missing = list({one["id"]: one for one in images if one["id"] not in there}.values())
    size = _size(missing)
    if missing:
        require_room([(path, size), (engine.data_root(), size)])
    return {"missing": missing, "bytes": size}


def _size(images: Sequence[Image]) -> int:
    return sum(int(one["bytes"]) for one in images)


def require_room(wanted: Sequence[tuple[str, int]]) -> None:
    """Raise ArchiveError unless there is room for these: (path, bytes that are going to be written there)."""
    disks = {path: _room(path) for path, _size in wanted}
    short = promotion_rules.missing_room(wanted, disks)
    if short:
        raise ArchiveError(f"too little room for the images: {'; '.join(short)}. Make room there, then run this again")


def _room(path: str) -> promotion_rules.Room:
    return {"device": _device(path), "free_bytes": procfs.disk([path])[0]["free_bytes"]}


def _device(path: str) -> int:
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return os.stat(path).st_dev


def save(images: Sequence[Image], path: str) -> Archive:
    """Write the images into an archive at `path`; the folder that holds it is its own."""
    require_room([(path, _size(images))])
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    docker_images.save_images([one["id"] for one in images], path)
    return {"bytes": os.path.getsize(path)}


def load(images: Sequence[Image], path: str) -> Archive:
    """Read the images from the archive, and make sure that they are the right ones."""
    size = os.path.getsize(path)
    docker_images.load_images(path)
    there = docker_images.image_facts([one["id"] for one in images])
    wrong = sorted(one["service"] for one in images if one["id"] not in there)
    if wrong:
        raise ArchiveError(
            f"the loaded images have other ids than on staging: {', '.join(wrong)}. Both engines have to store images "
            "in the same way: compare `docker info` there and here (Storage Driver, containerd snapshotter)"
        )
    return {"bytes": size}
