# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whom the files belong to that services of a project mount writable: the copy of the project does not have it."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from typing import TypedDict

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import mounts
from ansible_collections.christmas.selfheal.plugins.plugin_utils.project_source import Document, services_of


class Owners(TypedDict):
    """The user who runs this; by relative path [uid, gid, mode], where they differ from the folder above."""

    user: int
    paths: dict[str, list[int]]


def read(source: str, documents: Sequence[Document], exclude: Sequence[str], user: int) -> Owners:
    """Read the owners of a project's data.

    :arg source: the folder of the project.
    :arg exclude: the patterns of what is not copied.
    :arg user: the numeric id of the user who runs this.
    """
    paths: dict[str, list[int]] = {}
    for name in sorted(set(_mounted(documents))):
        for one, ids in _below(source, name, exclude):
            above = _above(paths, one)
            is_folder = os.path.isdir(os.path.join(source, one))
            # Most of it is as the folder above. The copy has the modes of files.
            if above is None or ids[:2] != above[:2] or (is_folder and ids != above):
                paths[one] = ids
    return Owners(user=user, paths=paths)


def _mounted(documents: Sequence[Document]) -> Iterator[str]:
    """The paths in the project that services mount writable."""
    for document in documents:
        for _service, spec in services_of(document.content):
            given = spec.get("volumes")
            for item in given if isinstance(given, list) else ():
                path = dotenv.resolved(mounts.writable(item), {})
                name = posixpath.normpath(posixpath.join(document.base, path))
                if path and not name.startswith(("/", "..")) and name != ".":
                    yield name


def _below(source: str, name: str, exclude: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """A path and all below, each folder before what is in it; links have no owner that counts."""
    path = os.path.join(source, name)
    if project_layout.is_left_out(name, exclude) or os.path.islink(path) or not os.path.exists(path):
        return
    found = os.lstat(path)
    yield name, [found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)]
    if not stat.S_ISDIR(found.st_mode):
        return
    try:
        names = sorted(os.listdir(path))
    except PermissionError:
        # The copy fails there, and says so.
        return
    for one in names:
        yield from _below(source, posixpath.join(name, one), exclude)


def _above(paths: dict[str, list[int]], name: str) -> list[int] | None:
    """The nearest folder above that is listed."""
    while name:
        name = posixpath.dirname(name)
        if name in paths:
            return paths[name]
    return None
