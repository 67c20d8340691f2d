# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes this library from where the watcher has it, compiled, when a module of Ansible brings it as source.

Ansible sends a module and all that it imports as a zip archive, and Python compiles each of its files at each run: up
to 0.6 s of a processor. A file whose source is the same on the host is taken from there; any other from the archive.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from types import ModuleType
from zipimport import zipimporter

FOLDER = "/usr/local/lib/selfheal"
"""Where the role `watcher` puts the library."""


def use(name: str, folder: str = FOLDER) -> None:
    """Take what is imported from now on from the host, where it is the same.

    :arg name: of a module in the library's package `entry`, as it was imported.
    """
    if os.path.isdir(folder):
        sys.meta_path.insert(0, Installed(name.rpartition(".entry.")[0], folder))


class Installed(MetaPathFinder):
    """Finds the modules of the package `root` in a folder.

    :arg root: the name of the library's package, as Ansible's archive has it.
    """

    def __init__(self, root: str, folder: str) -> None:
        self._prefix = f"{root}."
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the library; None for any other, and for one that is not the same on the host."""
        if not fullname.startswith(self._prefix):
            return None
        sent = PathFinder.find_spec(fullname, path, target)
        if sent is None or not isinstance(sent.loader, zipimporter) or sent.origin is None:
            return None
        package = sent.submodule_search_locations
        ending = ".py" if package is None else "/__init__.py"
        here = os.path.join(self._folder, *fullname[len(self._prefix) :].split(".")) + ending
        if _content(here) != sent.loader.get_data(sent.origin):
            return None
        return spec_from_file_location(fullname, here, submodule_search_locations=package)


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
