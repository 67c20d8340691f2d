# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The compose projects of a host → which of them is the app that is about to be deployed, under another name. Pure.

Compose names volumes after the project: the same app under another name starts with empty ones.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..docker.containers import Document

_MIB = 1 << 20


class Volume(NamedTuple):
    """A volume: `project` and `key` are what Compose calls it, `size` is in bytes, None when it was not counted."""

    name: str
    project: str
    key: str
    size: int | None = None


class Neighbour(NamedTuple):
    """A compose project on the host: its folder, its services, its compose files."""

    name: str
    folder: str
    services: frozenset[str]
    files: tuple[str, ...] = ()


class Left(NamedTuple):
    """A folder or file that a service writes to, and `target`, where the app would look for it once it is deployed."""

    source: str
    target: str
    service: str


class Wanted(NamedTuple):
    """What is about to be deployed. `own_name`: what the compose file's `name:` says, "" without it."""

    app: str
    directories: frozenset[str]
    own_name: str
    services: frozenset[str]
    volumes: frozenset[str]


def neighbours(documents: Sequence[Document]) -> list[Neighbour]:
    """Read the projects from `docker inspect` documents of a host's containers."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for document in documents:
        labels = document["Config"].get("Labels") or {}
        name = labels.get("com.docker.compose.project")
        if name:
            found.setdefault(name, []).append(labels)
    return [_neighbour(name, labels) for name, labels in sorted(found.items())]


def _neighbour(name: str, labels: Sequence[Mapping[str, str]]) -> Neighbour:
    folder = next((one.get("com.docker.compose.project.working_dir", "") for one in labels), "")
    files = next((one.get("com.docker.compose.project.config_files", "") for one in labels), "")
    services = frozenset(one.get("com.docker.compose.service", "") for one in labels)
    return Neighbour(name, folder, services, tuple(filter(None, files.split(","))))


def same_app(
    wanted: Wanted, there: Sequence[Neighbour], volumes: Sequence[Volume], apart: Collection[str]
) -> tuple[Neighbour, str] | None:
    """Return the project that seems to be the same app under another name, and why; None without one.

    :arg apart: projects that are known to be another app: managed from here, or named by the user.
    """
    names = {one.name: one for one in there}
    own = wanted.own_name
    if own and own not in (wanted.app, *apart) and (own in names or any(one.project == own for one in volumes)):
        return names.get(own, Neighbour(own, "", frozenset())), f"the compose file says `name: {own}`"
    ended = sorted({volume.project for volume in volumes} - set(names))
    for one in [*there, *(Neighbour(name, "", frozenset()) for name in ended)]:
        if one.name == wanted.app or one.name in apart:
            continue
        if one.folder in wanted.directories:
            return one, "it runs from the same folder"
        if _shares(wanted, one, volumes):
            what = "services and volumes" if one.services else "volumes"
            return one, f"it has the same {what}"
    return None


def _shares(wanted: Wanted, one: Neighbour, volumes: Sequence[Volume]) -> bool:
    """Whether a project has volumes that ours would begin empty, and is alike.

    Most services are enough: a profile is off, a finished job was pruned, a service was added. A project without
    containers, after `docker compose down` say, is known by its volumes alone, so those have to be the same.
    """
    theirs = {volume.key for volume in volumes if volume.project == one.name}
    ours = {volume.key for volume in volumes if volume.project == wanted.app}
    if not (theirs & wanted.volumes) - ours:
        return False
    if not one.services:
        return theirs == wanted.volumes
    common = one.services & wanted.services
    return 2 * len(common) > max(len(one.services), len(wanted.services))


def left_data(documents: Sequence[Document], app: str, directory: str, folder: str) -> list[Left]:
    """Return what the app's containers mount writable from a folder that is not the app's directory.

    The app's containers were started in another folder, by hand, so their relative mounts start there.

    :arg directory: the app's directory; `folder`: the project directory, from which relative mounts will start.
    """
    found = []
    for document in documents:
        labels = document["Config"].get("Labels") or {}
        started = labels.get("com.docker.compose.project.working_dir", "")
        if labels.get("com.docker.compose.project") != app or not started or _is_below(started, directory):
            continue
        for mount in document.get("Mounts") or []:
            source = str(mount.get("Source", ""))
            target = posixpath.normpath(posixpath.join(folder, posixpath.relpath(source, started)))
            if mount.get("Type") != "bind" or not mount.get("RW") or not _is_below(target, directory):
                continue
            found.append(Left(source, target, labels.get("com.docker.compose.service", "")))
    return found


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def refusal(wanted: Wanted, one: Neighbour, why: str, volumes: Sequence[Volume]) -> str:
    """Say which project it is and what would be left behind."""
    mine = [volume for volume in volumes if volume.project == one.name]
    kept = ", ".join(f"{volume.name}{_size(volume.size)}" for volume in mine)
    where = f" from {one.folder}" if one.folder else ""
    data = f". Its data is in the volumes {kept}, and {wanted.app} would start with empty ones" if kept else ""
    state = "runs" if one.services else "was"
    return f"the compose project {one.name} {state} on this host{where}, and {why}{data}. Nothing was changed"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    if size >= _MIB:
        return f" ({size // _MIB} MiB)"
    return f" ({size >> 10} KiB)" if size >= 1 << 10 else f" ({size} bytes)"


def holder(port: int, documents: Sequence[Document]) -> str:
    """Say which container publishes a TCP port, "" when no container does."""
    for document in documents:
        published = (document.get("NetworkSettings") or {}).get("Ports") or {}
        tcp = [bindings or [] for inside, bindings in published.items() if inside.endswith("/tcp")]
        held = {str(bound.get("HostPort")) for bindings in tcp for bound in bindings}
        if str(port) in held:
            labels = document["Config"].get("Labels") or {}
            name, project = str(document["Name"]).lstrip("/"), labels.get("com.docker.compose.project")
            folder = labels.get("com.docker.compose.project.working_dir")
            of = f" of the compose project {project}" if project else ""
            return f"the container {name}{of}{f' in {folder}' if folder else ''}"
    return ""
