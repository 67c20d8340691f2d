# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put the project's files that came from the host into a folder of the controller. What is there stays as it is."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import adopted_mounts
from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import atomic_write
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import is_inside
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError

RECORD = "deploy/.adopted.json"
_SHOWN = 5


class Record(TypedDict):
    """From where the folder's files came: the host, the folder there, the app.

    `temporary_env`: the `.env` that is in the folder while its values are put into the inventory, "" afterwards.
    """

    host: str
    folder: str
    app: str
    temporary_env: str


class Received(NamedTuple):
    """The names that are new, and those that differ from the host's and stay; `env`: the `.env`, "" without one."""

    new: Sequence[str]
    kept: Sequence[str]
    env: str


class _Member(NamedTuple):
    """A file of the archive: its content, or where it leads when it is a link."""

    name: str
    content: bytes
    link: str
    mode: int


def record(to: str) -> Record | None:
    """Return the record in a folder; None without one."""
    try:
        with open(os.path.join(to, RECORD), encoding="utf-8") as stream:
            said = json.load(stream)
        left = str(said.get("temporary_env", ""))
        return Record(host=str(said["host"]), folder=str(said["folder"]), app=str(said["app"]), temporary_env=left)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(to: str, said: Record) -> None:
    """Write the record, unless it is there. Raises OSError."""
    if record(to) == said:
        return
    path = os.path.join(to, RECORD)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    atomic_write(path, (json.dumps(said, indent=1) + "\n").encode(), mode=0o644)


def compare(archive: str, to: str, files: Sequence[str], wanted: Record) -> Received:
    """Compare an archive with a folder; write nothing.

    :arg files: the compose files, in order.
    :raises InitError: the folder holds something else.
    """
    if os.path.lexists(to) and not os.path.isdir(to):
        raise InitError(to, "it is a file, and the project needs a folder", "name another one: -e to=DIR")
    known = record(to)
    if known is not None and (known["host"], known["app"]) != (wanted["host"], wanted["app"]):
        raise InitError(to, f"it is the folder of {known['app']} on {known['host']}", "name another one: -e to=DIR")
    new, kept, env = [], [], ""
    for member in _members(archive):
        path = os.path.join(to, member.name)
        is_env = os.path.basename(member.name) == ".env"
        env = member.name if is_env and not env and _is_project_env(member.name, files) else env
        # A run that was killed has left it.
        is_left = known is not None and known["temporary_env"] == member.name
        if is_left or not os.path.lexists(path):
            new.append(member.name)
        elif not _is_same(path, member) and not _is_ours(path):
            kept.append(member.name)
    if known is None and kept:
        shown = ", ".join(kept[:_SHOWN])
        raise InitError(
            to, f"it has other files than the host: {shown}", "name another folder: -e to=DIR, or make them equal"
        )
    if known is None and files[0] in new and any(names for _folder, _folders, names in os.walk(to)):
        raise InitError(to, "it is not empty, and holds no copy of this project", "name another folder: -e to=DIR")
    return Received(new, kept, env)


def unpack(archive: str, to: str) -> None:
    """Write the files that are not there yet, each atomically. Raises OSError."""
    for member in _members(archive):
        path = os.path.join(to, member.name)
        if os.path.lexists(path) and not (_is_ours(path) and not _is_same(path, member)):
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if member.link:
            os.symlink(member.link, path)
        else:
            atomic_write(path, member.content, mode=member.mode)


def _members(archive: str) -> Iterator[_Member]:
    """The files and links. Raises InitError for one that leaves the project: such a host is not sound."""
    links: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as stream:
        for item in stream:
            name = os.path.normpath(item.name)
            target = os.path.join(os.path.dirname(name), item.linkname) if item.issym() else name
            parts = name.split("/")
            behind_link = any("/".join(parts[:count]) in links for count in range(1, len(parts)))
            if not is_inside(name) or not is_inside(os.path.normpath(target)) or behind_link:
                raise InitError(item.name, "the host sent a path that leaves the project", "look at that host")
            if item.issym():
                links.add(name)
                yield _Member(item.name, b"", item.linkname, 0o777)
            elif item.isfile():
                content = stream.extractfile(item)
                yield _Member(item.name, content.read() if content else b"", "", item.mode & 0o755)


def _is_project_env(name: str, files: Sequence[str]) -> bool:
    return os.path.dirname(name) == os.path.dirname(files[0])


def _is_same(path: str, member: _Member) -> bool:
    if member.link or os.path.islink(path):
        return os.path.islink(path) and os.readlink(path) == member.link
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).digest() == hashlib.sha256(member.content).digest()


def _is_ours(path: str) -> bool:
    """Whether the compose file of the data is there, which follows the host."""
    if os.path.basename(path) != adopted_mounts.FILE:
        return False
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.readline().startswith(adopted_mounts.MARK)
