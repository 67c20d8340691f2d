# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the folder that an app was adopted from, and the copy that it runs from now, are the same project."""

from __future__ import annotations

import filecmp
import json
import os
from typing import NamedTuple

from ..docker.model import Model, Services


class Place(NamedTuple):
    """The folder that holds all files of a project, and the merged model of the compose files there.

    That is the project directory, or one above it, where files lie above that (`../`).
    """

    folder: str
    model: Model


def within(folder: str, path: str) -> str | None:
    """Return a path relative to a folder, None when it is elsewhere."""
    name = os.path.relpath(path, folder)
    return None if name == os.pardir or name.startswith(os.pardir + os.sep) else name


def difference(before: Place, here: Place) -> str:
    """Say what is different, "" when nothing is. A value is never said.

    Data of the folder `before` is used from there by the copy, too. What is mounted from both has to be equal.
    """
    folders = (before.folder, here.folder)
    then, now = _services(before.model), _services(here.model)
    if set(then) != set(now):
        return f"the services are {', '.join(sorted(then))} there, and {', '.join(sorted(now))} here"
    for service in sorted(then):
        keys = {*then[service], *now[service]} - {"build"}
        for key in sorted(keys):
            if _placed(then[service].get(key), folders) != _placed(now[service].get(key), folders):
                return f"`{key}` of the service {service} differs"
    for part in ("volumes", "networks", "configs", "secrets"):
        if _placed(before.model.get(part), folders) != _placed(here.model.get(part), folders):
            return f"`{part}` differs"
    written = _written(here.model)
    for name in mounted_twice(before, here):
        path = os.path.join(here.folder, name)
        # Adoption never copies what is written. Equal or not, what is written next goes there.
        if path in written and os.path.isdir(path):
            return f"{name} is data, which is in {here.folder} now"
        if not _is_equal(os.path.join(before.folder, name), os.path.join(here.folder, name)):
            return f"{name} differs"
    return ""


def mounted_twice(before: Place, here: Place) -> list[str]:
    """What is mounted from the folder `before` there, and from its copy here; relative to both."""
    then, now = ({within(one.folder, path) for path in mounted(one.model)} for one in (before, here))
    return sorted(name for name in then & now if name is not None)


def mounted(model: Model) -> frozenset[str]:
    """The files and folders of the host that are mounted."""
    mounts = [mount for spec in _services(model).values() for mount in spec.get("volumes") or []]
    found = {str(mount.get("source")) for mount in mounts if mount.get("type") == "bind"}
    for part in (model.get("configs"), model.get("secrets")):
        found |= {str(one["file"]) for one in (part or {}).values() if one and one.get("file")}
    return frozenset(found)


def _written(model: Model) -> frozenset[str]:
    """The files and folders of the host that services may write to."""
    mounts = [mount for spec in _services(model).values() for mount in spec.get("volumes") or []]
    return frozenset(str(one.get("source")) for one in mounts if one.get("type") == "bind" and not one.get("read_only"))


def _is_equal(one: str, other: str) -> bool:
    """Whether two files have the same content, or two folders the same files."""
    names = _files(one)
    try:
        return names == _files(other) and all(
            filecmp.cmp(_join(one, name), _join(other, name), shallow=False) for name in names
        )
    except OSError:
        return False


def _files(path: str) -> list[str]:
    """The files below a folder, relative to it; "" for a file itself."""
    if not os.path.isdir(path):
        return [""]
    return sorted(
        os.path.relpath(os.path.join(at, name), path) for at, _unused, names in os.walk(path) for name in names
    )


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name) if name else folder


def _services(model: Model) -> Services:
    return model.get("services") or {}


def _placed(value: object, folders: tuple[str, str]) -> str:
    """A part of a model as text, in which both folders have the same name."""
    text = json.dumps(value, sort_keys=True)
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(json.dumps(f"{folder}/")[1:-1], "./").replace(json.dumps(folder), '"."')
    return text
