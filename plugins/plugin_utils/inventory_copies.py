# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inventories of a run, as a controller for drift checks needs copies of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

# What Ansible reads next to an inventory file.
_NEXT_TO = ("group_vars", "host_vars")
# Ansible reads no hidden file of an inventory: a vault's password may be in one.
_HIDDEN = ".*"


class InventoryCopy(TypedDict):
    """An inventory on this machine: the folder to copy, where to, the filters of rsync, and the path of the copy."""

    source: str
    folder: str
    filters: list[str]
    path: str


def inventory_copies(sources: Sequence[str], directory: str) -> list[InventoryCopy]:
    """Return what is copied of each inventory, in their order: a folder whole, a file with the variables next to it.

    :arg sources: C(ansible_inventory_sources), absolute paths.
    :arg directory: the folder on the controller that gets them.
    """
    return [_copy(source.rstrip("/"), f"{directory}/{index}") for index, source in enumerate(sources)]


def _copy(source: str, folder: str) -> InventoryCopy:
    if os.path.isdir(source):
        return InventoryCopy(source=source, folder=folder, filters=[f"--exclude={_HIDDEN}"], path=folder)
    parent, name = os.path.split(source)
    wanted = [f"/{name}", *(f"/{name_}/***" for name_ in _NEXT_TO)]
    filters = [f"--exclude={_HIDDEN}", *(f"--include={path}" for path in wanted), "--exclude=*"]
    return InventoryCopy(source=parent, folder=folder, filters=filters, path=f"{folder}/{name}")


def uncopyable_inventories(sources: Sequence[str]) -> list[str]:
    """Return those that are no file or folder of this machine, for example a list of hosts on the command line."""
    return [source for source in sources if not os.path.exists(source)]
