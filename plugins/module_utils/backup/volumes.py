# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The data of an app: its volumes and bind mounts, and which of them a dump covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..docker.containers import Document
from ..docker.model import Model, Services, Spec
from .databases import BackupError, Database

# --- what belongs to an app ------------------------------------------------------------------------------------------


# Where images of database servers keep their data.
_DATA_TARGETS = ("/var/lib/postgresql", "/var/lib/mysql", "/data/db", "/bitnami")
# The last part of the names of images that serve a database, by kind.
_SERVERS = {
    "postgres": ("postgres", "postgresql", "postgis", "pgvector", "timescaledb"),
    "mysql": ("mysql", "mysql-server", "percona", "percona-server"),
    "mariadb": ("mariadb",),
    "mongodb": ("mongo", "mongodb", "mongodb-community-server"),
}


class Volume(NamedTuple):
    """A named volume of the app: its key in the compose file, its name in the engine, and what covers it.

    `covered`: the service whose dumps fill it, "" when the files are copied. A data folder of the project has no name;
    its key is its path from the app's directory, with "./" before it.
    """

    key: str
    name: str
    covered: str


def data_paths(model: Model, directory: str) -> dict[str, str]:
    """{key: path} of what services mount writable from the app's directory; "./" is the key of all of it."""
    root = directory.rstrip("/")
    found = {}
    for spec in (model.get("services") or {}).values():
        for mount in spec.get("volumes") or []:
            source = str(mount.get("source") or "").rstrip("/")
            writable = mount.get("type") == "bind" and not mount.get("read_only")
            if writable and (source + "/").startswith(root + "/"):
                found["./" + source[len(root) + 1 :]] = source
    return found


def volumes(
    app: str,
    model: Model,
    databases: Sequence[Database],
    left_out: Sequence[str],
    folders: Mapping[str, str] = MappingProxyType({}),
) -> list[Volume]:
    """The volumes of a merged compose model that belong to a backup. Raises BackupError for an unknown name.

    :arg folders: {key: path} of the data folders.
    """
    known = model.get("volumes") or {}
    for key in left_out:
        if key not in known:
            there = ", ".join(sorted(known)) or "none"
            raise BackupError(f"backup_volumes_left_out: the compose file has no volume {key!r}; it has {there}")
    services = model.get("services") or {}
    dumped = {one.service for one in databases if one.service}
    for service in sorted(dumped - set(services)):
        raise BackupError(
            f"backup_databases: the compose file has no service {service!r}: it has {', '.join(services)}"
        )
    covered = {}
    for service in sorted(dumped):
        named = {one.volume for one in databases if one.service == service and one.volume}
        covered.update(dict.fromkeys(_covered(services, service, named, left_out, folders), service))
    names = {**volume_names(app, model), **dict.fromkeys(folders, "")}
    return [Volume(key, names[key], covered.get(key, "")) for key in sorted(names) if key not in left_out]


def volume_names(app: str, model: Model) -> dict[str, str]:
    """{key: name in the engine} of the named volumes of a merged compose model."""
    return {key: str((spec or {}).get("name") or f"{app}_{key}") for key, spec in (model.get("volumes") or {}).items()}


def always_there(model: Model) -> set[str]:
    """The volumes that exist wherever the app runs: those of services that need no profile to be started."""
    mounts = [
        mount
        for spec in (model.get("services") or {}).values()
        if not spec.get("profiles")
        for mount in spec.get("volumes") or []
    ]
    return {str(mount.get("source")) for mount in mounts if mount.get("type") == "volume"}


def _covered(
    services: Services, service: str, named: set[str], left_out: Sequence[str], folders: Mapping[str, str]
) -> set[str]:
    """The volumes, or data folders, that the dumps of a service fill. Raises BackupError when that is not clear.

    A dump without its volume could not be loaded, and the data of a wrong volume would be lost.
    """
    keys = {path: key for key, path in folders.items()}
    writers: dict[str, set[str]] = {}
    for name, spec in services.items():
        for mount in spec.get("volumes") or []:
            source = str(mount.get("source") or "")
            if mount.get("type") == "bind":
                source = keys.get(source.rstrip("/"), "")
            elif mount.get("type") != "volume":
                continue
            if source and not mount.get("read_only"):
                writers.setdefault(source, set()).add(name)
    mine = sorted(key for key, names in writers.items() if service in names and key not in left_out)
    strange = sorted(named - set(mine))
    if strange:
        raise BackupError(
            f"backup_databases: service {service} does not write to a volume {strange[0]!r} that is backed up; it "
            f"writes to {', '.join(mine) or 'none'}"
        )
    alone = [key for key in mine if writers[key] == {service}]
    # A folder of scripts for the first start is often mounted writable, too.
    alone = [key for key in alone if key not in folders] or _data_first(services[service], alone, folders)
    if not named and len(alone) != 1:
        has = f"several volumes of its own, {', '.join(alone)}" if alone else "no named volume of its own"
        fix = "write `volume: NAME` into its row" if mine else "give it a named volume, or a folder of the project"
        raise BackupError(
            f"backup_databases: service {service} has {has}, so its dump could not be restored: it is not clear which "
            f"volume the dump fills. Fix: {fix}; the other volumes are copied"
        )
    return named or set(alone)


def _data_first(spec: Spec, keys: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    """The one of a service's data folders at a path where images keep their data; all when there is not exactly one."""
    targets = {str(mount.get("source") or "").rstrip("/"): str(mount.get("target")) for mount in spec["volumes"]}
    found = [key for key in keys if targets[folders[key]].startswith(_DATA_TARGETS)]
    return found if len(found) == 1 else list(keys)


def undumped(model: Model, databases: Sequence[Database]) -> list[str]:
    """Say which services are database servers whose files are copied while they write: such a copy may be torn."""
    dumped = {one.service for one in databases}
    found = []
    for name, spec in sorted((model.get("services") or {}).items()):
        image = str(spec.get("image") or "").rpartition("/")[2].partition(":")[0].partition("@")[0]
        kind = next((kind for kind, words in _SERVERS.items() if image in words), "")
        if kind and name not in dumped and spec.get("volumes"):
            row = f"{{name: {name}, kind: {kind}, service: {name}}}"
            found.append(
                f"a dump of service {name}: its files are copied while it writes them, and such a copy may not start. "
                f"Fix: add - {row} to backup_databases"
            )
    return found


def mounts_outside(model: Model, directory: str) -> list[str]:
    """The bind mounts from outside of the app's directory: they are in no backup."""
    found = set()
    for spec in (model.get("services") or {}).values():
        for mount in spec.get("volumes") or []:
            source = str(mount.get("source") or "")
            if mount.get("type") == "bind" and not (source + "/").startswith(directory.rstrip("/") + "/"):
                found.add(source)
    return sorted(found)


def unnamed(documents: Iterable[Document], names: Iterable[str]) -> list[str]:
    """What containers (`docker inspect`) write to volumes that the compose file does not name: it is in no backup."""
    known, found = set(names), set()
    for document in documents:
        service = (document["Config"].get("Labels") or {}).get("com.docker.compose.service", "")
        for mount in document.get("Mounts") or []:
            if mount.get("Type") == "volume" and mount.get("Name") not in known:
                found.add(f"{mount.get('Destination')} of service {service}")
    return sorted(found)
