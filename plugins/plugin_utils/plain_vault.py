# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Vaults of an inventory that were never encrypted, or not again: Ansible reads them as any other file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from ansible.parsing.vault import is_encrypted

from ansible_collections.christmas.selfheal.plugins.plugin_utils.shown_path import shown_path

# Where Ansible looks for variables, next to an inventory.
_FOLDERS = ("group_vars", "host_vars")
# A value that is written there: neither nothing, nor a vaulted one, nor what a lookup reads elsewhere.
_VALUE = re.compile(r"""^\w+:[ \t]+(?!!vault|["']?\{\{|["']{2}[ \t]*$|[#|>])\S""", re.MULTILINE)


def warnings(folders: Iterable[str], here: str) -> list[str]:
    """Return a warning for each vault that holds a value in plain text; no warning has a value.

    :arg folders: those of the inventories.
    :arg here: the folder that paths are shown from.
    """
    return [
        f"{shown_path(path, here)} is not encrypted: everybody who reads it has the app's secrets. Fix: "
        f"ansible-vault encrypt {shown_path(path, here)}"
        for folder in sorted(set(folders))
        for path in _vaults(folder)
        if _is_plain(path)
    ]


def _vaults(folder: str) -> Iterator[str]:
    """The files that are called vault, with or without an ending, or are in a folder called so."""
    for top in _FOLDERS:
        for place, _unused, names in sorted(os.walk(os.path.join(folder, top))):
            in_vault = os.path.basename(place).startswith("vault")
            yield from (os.path.join(place, name) for name in sorted(names) if in_vault or name.startswith("vault"))


def _is_plain(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError:
        return False
    return not is_encrypted(content) and bool(_VALUE.search(content.decode("utf-8", "replace")))
