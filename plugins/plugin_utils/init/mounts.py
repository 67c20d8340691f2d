# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Folders and files of the project that services write to, and what a deploy does with them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence

from ansible.module_utils.common.text.formatters import bytes_to_human

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import data_owners
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Mounted, Spec

_MOST_FILES = 20000


def find(folder: str, services: Mapping[str, Spec], values: Mapping[str, str]) -> list[Mounted]:
    """The paths below a folder that services mount writable, each once."""
    readers: dict[str, list[str]] = {}
    for service, spec in services.items():
        # Of two mounts at one place, the later file's holds.
        by_target = {_target(item): item for item in spec.get("volumes") or []}
        for item in by_target.values():
            source = posixpath.normpath(dotenv.resolved(writable(item), values) or "/")
            if not source.startswith(("/", "..")):
                readers.setdefault(source, []).append(service)
    said = {name: {"user": dotenv.resolved(str(spec.get("user") or ""), values)} for name, spec in services.items()}
    known = data_owners.users(said, {})
    return [
        _measured(folder, name, tuple(dict.fromkeys(named)), [known[one].uid for one in named if one in known])
        for name, named in readers.items()
    ]


def _target(item: object) -> str:
    if isinstance(item, Mapping):
        return str(item.get("target")).rstrip("/")
    source, rest = compose.mount(str(item))
    return (rest.partition(":")[0] or source).rstrip("/")


def writable(item: object) -> str:
    """The source of a bind mount that is relative and writable; "" for every other mount."""
    if isinstance(item, Mapping):
        is_data = item.get("type") == "bind" and not item.get("read_only")
        return str(item.get("source") or "") if is_data else ""
    source, rest = compose.mount(str(item))
    options = rest.rpartition(":")[2].split(",")
    return source if rest and source.startswith(".") and "ro" not in options else ""


def _measured(folder: str, name: str, services: Sequence[str], users: Sequence[int]) -> Mounted:
    path = os.path.join(folder, name)
    owner = _owner(path)
    if os.path.isfile(path):
        return Mounted(name, services, 1, os.path.getsize(path), owner, users)
    files, size = 0, 0
    for found in _sizes(path):
        files, size = files + 1, size + found
        if files == _MOST_FILES:
            break
    return Mounted(name, services, files, size, owner, users)


def _owner(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_uid}:{found.st_gid}"


def _sizes(path: str) -> Iterator[int]:
    for top, _folders, names in os.walk(path):
        for name in names:
            place = os.path.join(top, name)
            if os.path.isfile(place) and not os.path.islink(place):
                yield os.path.getsize(place)


def sentences(mounted: Sequence[Mounted]) -> list[str]:
    """What a deploy does with each of them."""
    return [_sentence(one) for one in mounted]


def _owner_there(one: Mounted) -> str:
    """Whom it belongs to on the server: what belongs to the person who deploys goes to the user of the service."""
    mine = one.owner.partition(":")[0] == str(os.getuid())
    return f"user {one.users[0]}, which the service runs as" if mine and one.users else f"the same owner ({one.owner})"


def _sentence(one: Mounted) -> str:
    shown = "The project's folder" if one.name == "." else one.name
    verb = "writes" if len(one.services) == 1 else "write"
    who = f"{shown} is data, as {', '.join(one.services)} {verb} to it"
    if not one.files and one.owner:
        return f"{who}. It is empty here, so the server gets an empty folder, for {_owner_there(one)}."
    if not one.files:
        missing = f"{who}. There is none here, so the server gets an empty folder, owned by root"
        users = ", ".join(str(user) for user in dict.fromkeys(one.users) if user)
        return f"{missing}: user {users} cannot write to it. Create it here first." if users else f"{missing}."
    leave = f"To copy nothing, add /{one.name} to compose_app_exclude in app.yml. "
    leave = "" if one.name == "." else leave
    size = str(bytes_to_human(one.size))
    count = "its file" if one.files == 1 else f"its {one.files}{'+' if one.files == _MOST_FILES else ''} files"
    return (
        f"{who}. The first deploy copies {count} ({size}) to the server, for {_owner_there(one)}. "
        "Later ones keep the server's, and stop when "
        f"the two differ. {leave}If it is configuration, write `:ro` behind its mount in the compose file."
    )
