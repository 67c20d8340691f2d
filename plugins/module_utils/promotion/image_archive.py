# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images on their way from one host to another, in one archive. Each step may be killed, and is done anew then."""

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

    lacking: list[Image]
    bytes: int


class Archive(TypedDict):
    """The size of an archive."""

    bytes: int


class ArchiveError(Exception):
    """The images cannot be carried on; the message says why and what to do."""


def compare(images: Sequence[Image], path: str) -> Comparison:
    """Say which images this host lacks, and make sure that it can take them.

    :arg path: where their archive is going to be.
    :raises ArchiveError: they are for another kind of machine, or there is too little room.
    :raises EngineError: there is no engine here that answers.
    """
    found = engine.state()
    if not found["answers"]:
        raise engine.EngineError(
            f"the Docker engine does not answer here: {found['reason']}. Try: systemctl status docker; on a new host "
            "run playbooks/site.yml first, which sets it up"
        )
    here = engine.platform()
    foreign = sorted({f"{one['service']} ({one['platform']})" for one in images if one["platform"] != here})
    if foreign:
        raise ArchiveError(
            f"this host is {here}, and these images are for another kind of machine: {', '.join(foreign)}. Build on a "
            "staging host of the same kind"
        )
    there = docker_images.image_facts([one["id"] for one in images])
    lacking = list({one["id"]: one for one in images if one["id"] not in there}.values())
    size = _size(lacking)
    if lacking:
        require_room([(path, size), (engine.data_root(), size)])
    return {"lacking": lacking, "bytes": size}


def _size(images: Sequence[Image]) -> int:
    return sum(int(one["bytes"]) for one in images)


def require_room(wanted: Sequence[tuple[str, int]]) -> None:
    """Raise ArchiveError unless there is room for what is going to be written: (path, bytes)."""
    disks = {path: _room(path) for path, _size in wanted}
    short = promotion_rules.lacking_room(wanted, disks)
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
    """Read the images from the archive, and make sure that they are those that are meant."""
    size = os.path.getsize(path)
    docker_images.load_images(path)
    there = docker_images.image_facts([one["id"] for one in images])
    strange = sorted(one["service"] for one in images if one["id"] not in there)
    if strange:
        raise ArchiveError(
            f"what was loaded has other ids than on staging: {', '.join(strange)}. Both engines have to store images "
            "in the same way: compare `docker info` there and here (Storage Driver, containerd snapshotter)"
        )
    return {"bytes": size}
