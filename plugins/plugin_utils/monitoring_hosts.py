# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which hosts a monitoring host watches, at which addresses, and which of its units run or restart. Pure."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.christmas.selfheal.plugins.plugin_utils.scraping import Exporter, Hosts, ManagedFile

# One block of `systemctl show` for each unit, its properties always in this order.
_RUNNING = re.compile(r"Id=(\S+)\nActiveState=active\nUnitFileState=enabled(?!-)")


class FoundFile(TypedDict):
    """A file from the module find."""

    path: str


class ServiceFile(TypedDict):
    """A file that a unit is started with."""

    unit: str
    file: ManagedFile


def loopback_address(host: str) -> str:
    """Return the host's own loopback address on its monitoring host, in 127.64.0.0/10."""
    digest = hashlib.sha256(host.encode()).digest()
    return f"127.{64 + digest[0] % 128}.{digest[1]}.{1 + digest[2] % 254}"


def watched_hosts(names: Iterable[str], variables: Hosts, hub: Sequence[str]) -> list[str]:
    """Return the hosts that have one of the hub's names as their monitoring host."""
    return [name for name in names if _is_watched(variables[name], hub)]


def _is_watched(variables: Mapping[str, Any], hub: Sequence[str]) -> bool:
    enabled = boolean(variables.get("monitoring_enabled", False), strict=False)
    return bool(enabled) and variables.get("monitoring_hub") in hub


def file_stems(files: Iterable[FoundFile], suffix: str) -> list[str]:
    """Return the names of the files with this suffix, without it."""
    names = [posixpath.basename(file["path"]) for file in files]
    return sorted(name[: -len(suffix)] for name in names if name.endswith(suffix))


def running_units(shown: str) -> list[str]:
    """Return the units that run and start at boot.

    :arg shown: by `systemctl show --property=Id,ActiveState,UnitFileState`.
    """
    return _RUNNING.findall(shown)


def units_to_restart(
    services: Iterable[ServiceFile], exporters: Iterable[Exporter], written: Sequence[str]
) -> list[str]:
    """Return each unit, once, of which a file or the secret was written."""
    units = [service["unit"] for service in services if service["file"]["path"] in written]
    units += [exporter["unit"] for exporter in exporters if exporter["secret"] in written]
    return list(dict.fromkeys(units))


def units_to_stop(exporters: Iterable[Exporter], written: Sequence[str]) -> list[str]:
    """Return the units of exporters that are not used any more and whose file was removed just now."""
    return [exporter["unit"] for exporter in exporters if not exporter["wanted"] and exporter["file"] in written]
