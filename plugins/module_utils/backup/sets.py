# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What belongs to a backup of an app, which backups stay, and whether a restored one is whole. Pure: no clock, no I/O.

A backup is a *set* of restic snapshots that carry the same tag `set=`: `part=app` (the app's directory and its state),
`part=volumes`, `part=database:NAME` for each database, and `part=manifest`, which is written last and says what the set
is made of. A set without it was not finished, and is no backup. The images of a release are a snapshot of their own
(`part=images`), shared by the sets whose manifest carries the same tag `images=`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

from ..core.files import fingerprint
from .databases import BackupError, Database

# 2: with data folders and SQLite databases, which one that knows 1 alone would leave out.
FORMAT, READABLE = 2, (1, 2)
# A set may be dated so much later than now: two hosts' clocks.
AHEAD_SECONDS = 3600.0
SAFETY = "safety"
APP, VOLUMES, SQLITE, MANIFEST, IMAGES = "app", "volumes", "sqlite", "manifest", "images"
_STAMP = "%Y%m%dT%H%M%SZ"


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


def data_paths(model: Mapping[str, Any], directory: str) -> dict[str, str]:
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
    model: Mapping[str, Any],
    databases: Sequence[Database],
    left_out: Sequence[str],
    folders: Mapping[str, str] = MappingProxyType({}),
) -> list[Volume]:
    """The volumes of a merged compose model that belong to a backup. Raises BackupError for one that is not there.

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


def volume_names(app: str, model: Mapping[str, Any]) -> dict[str, str]:
    """{key: name in the engine} of the named volumes of a merged compose model."""
    return {key: str((spec or {}).get("name") or f"{app}_{key}") for key, spec in (model.get("volumes") or {}).items()}


def always_there(model: Mapping[str, Any]) -> set[str]:
    """The volumes that exist wherever the app runs: those of services that need no profile to be started."""
    mounts = [
        mount
        for spec in (model.get("services") or {}).values()
        if not spec.get("profiles")
        for mount in spec.get("volumes") or []
    ]
    return {str(mount.get("source")) for mount in mounts if mount.get("type") == "volume"}


def _covered(
    services: Mapping[str, Any], service: str, named: set[str], left_out: Sequence[str], folders: Mapping[str, str]
) -> set[str]:
    """The volumes, or data folders, that the dumps of a service fill. Raises BackupError when that cannot be told.

    A dump that belongs to no volume could be loaded nowhere, and a volume that is taken for one would be lost.
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
            f"backup_databases: service {service} has {has}, so its dump could not be restored: it cannot be told what "
            f"the dump makes anew. Fix: {fix}; the other volumes are copied"
        )
    return named or set(alone)


def _data_first(spec: Mapping[str, Any], keys: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    """Of a service's data folders, the one at a path where images keep their data; all where that is not one."""
    targets = {str(mount.get("source") or "").rstrip("/"): str(mount.get("target")) for mount in spec["volumes"]}
    found = [key for key in keys if targets[folders[key]].startswith(_DATA_TARGETS)]
    return found if len(found) == 1 else list(keys)


def undumped(model: Mapping[str, Any], databases: Sequence[Database]) -> list[str]:
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


def strangers(model: Mapping[str, Any], directory: str) -> list[str]:
    """The bind mounts that lie outside of the app's directory: they are in no backup."""
    found = set()
    for spec in (model.get("services") or {}).values():
        for mount in spec.get("volumes") or []:
            source = str(mount.get("source") or "")
            if mount.get("type") == "bind" and not (source + "/").startswith(directory.rstrip("/") + "/"):
                found.add(source)
    return sorted(found)


def unnamed(documents: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """What containers (`docker inspect`) write to volumes that the compose file does not name: it is in no backup."""
    known, found = set(names), set()
    for document in documents:
        service = (document["Config"].get("Labels") or {}).get("com.docker.compose.service", "")
        for mount in document.get("Mounts") or []:
            if mount.get("Type") == "volume" and mount.get("Name") not in known:
                found.add(f"{mount.get('Destination')} of service {service}")
    return sorted(found)


def images_mark(images: Mapping[str, str]) -> str:
    """The tag by which sets find the snapshot of their images."""
    return fingerprint(json.dumps(sorted(set(images.values())))).partition(":")[2]


# --- sets ------------------------------------------------------------------------------------------------------------


class Set(NamedTuple):
    """A backup: its id (the time when it began), whose it is, why it was made, and its snapshots by part."""

    id: str
    app: str
    host: str
    why: str
    images: str
    parts: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether it was finished."""
        return MANIFEST in self.parts

    @property
    def time(self) -> float:
        """When it began, epoch seconds."""
        return datetime.strptime(self.id, _STAMP).replace(tzinfo=timezone.utc).timestamp()


def set_id(now: float) -> str:
    """The id of a set that begins now."""
    return datetime.fromtimestamp(now, timezone.utc).strftime(_STAMP)


def tags(app: str, host: str, identity: str, why: str, part: str) -> list[str]:
    """The tags of a snapshot of a set."""
    return [f"app={app}", f"host={host}", f"set={identity}", f"why={why}", f"part={part}"]


def read_sets(snapshots: Iterable[Mapping[str, Any]]) -> list[Set]:
    """The sets that restic's snapshots make, oldest first. Of a part that was made twice the newer one counts."""
    found: dict[tuple[str, str, str], Set] = {}
    for snapshot in sorted(snapshots, key=lambda one: str(one.get("time"))):
        told = dict(tag.split("=", 1) for tag in snapshot.get("tags") or [] if "=" in tag)
        if not {"app", "host", "set", "part", "why"} <= set(told) or not _is_stamp(told["set"]):
            continue
        key = (told["app"], told["host"], told["set"])
        one = found.setdefault(key, Set(told["set"], told["app"], told["host"], told["why"], "", {}))
        one.parts[told["part"]] = str(snapshot["id"])
        if told["part"] == MANIFEST:
            found[key] = one._replace(images=told.get("images", ""))
    return sorted(found.values(), key=lambda one: one.id)


def _is_stamp(text: str) -> bool:
    try:
        datetime.strptime(text, _STAMP)
    except ValueError:
        return False
    return True


def read_images(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """{mark: snapshot} of the images that are kept."""
    found = {}
    for snapshot in sorted(snapshots, key=lambda one: str(one.get("time"))):
        told = dict(tag.split("=", 1) for tag in snapshot.get("tags") or [] if "=" in tag)
        if told.get("part") == IMAGES and told.get("images") and "set" not in told:
            found[told["images"]] = str(snapshot["id"])
    return found


def choose(sets: Sequence[Set], app: str, host: str, to: str, now: float) -> Set:
    """The set that `to` means: latest, an id, or the newest one before a time. Raises BackupError."""
    mine = [one for one in sets if one.app == app and one.host == host and one.complete]
    if to == "latest":
        found = _latest(mine, now)
    elif _is_stamp(to):
        found = _by_id(sets, app, host, to)
    else:
        moment = _moment(to)
        found = _newest(one for one in mine if one.time <= moment and one.why != SAFETY)
    if found:
        return found
    there = ", ".join(one.id for one in mine[-5:]) or "none"
    others = sorted({f"{one.app} on {one.host}" for one in sets if one.complete} - {f"{app} on {host}"})
    hint = f" The repository also has {', '.join(others)}." if others else ""
    raise BackupError(f"restore_to: there is no backup {to} of {app} on {host}. The newest: {there}.{hint}")


def _newest(sets: Iterable[Set]) -> Set | None:
    """The last one, since sets come oldest first."""
    return next(reversed(list(sets)), None)


def _latest(mine: Sequence[Set], now: float) -> Set | None:
    """The newest set; raises BackupError when it is dated later than now."""
    kept = [one for one in mine if one.why != SAFETY]
    found = _newest(kept)
    if found and found.time > now + AHEAD_SECONDS:
        past = [one.id for one in kept if one.time <= now]
        raise BackupError(
            f"restore_to: backup {found.id} is dated later than now, so a clock is wrong, or was when it was "
            f"made, and nobody can tell which one is the latest. The newest before now: {(past or ['none'])[-1]}. "
            "Fix: set this host's clock, or name the backup that you mean"
        )
    return found


def _by_id(sets: Sequence[Set], app: str, host: str, identity: str) -> Set | None:
    """The set with this id; raises BackupError when there is one of another app or host."""
    found = [one for one in sets if one.id == identity and one.complete]
    for one in found:
        if (one.app, one.host) != (app, host):
            raise BackupError(
                f"restore_to: backup {identity} is of app {one.app} on {one.host}, not of {app} on {host}. Nothing was "
                "touched. Fix: name one of this app, or set backup_host when the host had another name"
            )
    return _newest(found)


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BackupError(
            f"restore_to: {text!r} is no backup and no time. Fix: write latest, an id as backup.yml lists them, or a "
            "time such as 2026-11-25T02:00:00Z"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


class Keep(NamedTuple):
    """How many backups stay: the newest of each of so many days, weeks and months."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


def to_forget(sets: Sequence[Set], app: str, host: str, keep: Keep, now: float, proved: str = "") -> list[Set]:
    """The sets that the policy does not keep, and those that were not finished.

    The newest complete one stays always, and so does what is younger than a day: it may have been made just in case.
    What is dated later than now says that a clock was wrong: it stays until it is of the past, and takes no other's
    place until then.

    :arg proved: the one that was proved last: it stays until another is, since newer ones may be no good.
    """
    mine = [one for one in sets if (one.app, one.host) == (app, host)]
    complete = [one for one in mine if one.complete]
    kept = {proved} | {one.id for one in complete if now - one.time < 86400.0}
    kept |= {one.id for one in complete if one.why == SAFETY and now - one.time < 86400.0 * keep.daily}
    past = [one for one in complete if one.time <= now]
    regular = [one for one in past if one.why != SAFETY]
    kept |= {one.id for one in [*past[-1:], *regular[-1:]]}
    for form, count in (("%Y-%m-%d", keep.daily), ("%G-%V", keep.weekly), ("%Y-%m", keep.monthly)):
        newest: dict[str, str] = {}
        for one in regular:
            newest[datetime.fromtimestamp(one.time, timezone.utc).strftime(form)] = one.id
        kept |= set(list(newest.values())[-count:] if count else [])
    return [one for one in mine if not one.complete or one.id not in kept]


def unused_images(sets: Sequence[Set], images: Mapping[str, str], gone: Sequence[Set], mine: str) -> list[str]:
    """The snapshots of images that no set needs any more.

    :arg mine: the mark of a set that is being made.
    """
    doomed = {(one.app, one.host, one.id) for one in gone}
    needed = {one.images for one in sets if (one.app, one.host, one.id) not in doomed} | {mine}
    return [snapshot for mark, snapshot in images.items() if mark not in needed]


# --- a restore -------------------------------------------------------------------------------------------------------


class What(NamedTuple):
    """What is restored: the whole `app`, its `env`, one `volume` or one `database`, and its name."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def read_what(text: str) -> What:
    """Read `restore_what`. Raises BackupError."""
    kind, _, name = text.partition(":")
    if (kind in ("app", "env") and not name) or (kind in ("volume", "database") and name):
        return What(kind, name)
    raise BackupError(f"restore_what: {text!r} is none. Fix: write app, env, volume:NAME or database:NAME")


def lacking(manifest: Mapping[str, Any], parts: Iterable[str]) -> list[str]:
    """Say what a set lacks of what its manifest says that it has; [] when it is whole."""
    there = set(parts)
    found = [f"part {part} is missing" for part in sorted(set(manifest["parts"]) - there)]
    covered = {row.get("service") for row in manifest["databases"]}
    for volume in manifest["volumes"]:
        if volume["covered"] and volume["covered"] not in covered:
            found.append(f"volume {volume['key']} has neither files nor a dump")
    return found


# What ties a service to the app, to the network, or to a number of instances.
_NOT_SCRATCH = (
    *("ports", "expose", "networks", "network_mode", "links", "external_links", "mac_address"),
    *("depends_on", "container_name", "build", "profiles", "scale", "pid", "ipc", "volumes_from"),
)


# `up --wait` of Compose 2.26 fails for a container whose health check is disabled.
_NO_CHECK = {"test": ["CMD", "true"], "interval": "1s"}


def scratch_model(
    model: Mapping[str, Any],
    services: Iterable[str],
    images: Mapping[str, str],
    names: Mapping[str, str],
    waited: Iterable[str] = (),
) -> dict[str, Any]:
    """The services that hold databases, alone: no port, no network that leads anywhere, volumes of their own.

    Each may take twice its memory: a Redis loads its dump beside a second one that serves it.

    :arg waited: the services whose server the caller waits for: a health check would connect to what is replaced.
    :arg images: {service: image id}. :arg names: {volume's key: name of the volume that takes its place}.
    """
    made: dict[str, Any] = {}
    for name in sorted(set(services)):
        spec = dict(model["services"][name])
        for key in _NOT_SCRATCH:
            spec.pop(key, None)
        spec.update(restart="no", image=images.get(name) or spec.get("image"))
        spec.update({key: _twice(spec[key]) for key in ("mem_limit", "memswap_limit") if key in spec})
        if name in waited or (spec.get("healthcheck") or {}).get("disable"):
            spec["healthcheck"] = dict(_NO_CHECK)
        # Of the number of instances, which may be 0, and of placements nothing is left.
        resources = (spec.pop("deploy", None) or {}).get("resources") or {}
        if "memory" in (resources.get("limits") or {}):
            resources = {
                **resources,
                "limits": {**resources["limits"], "memory": _twice(resources["limits"]["memory"])},
            }
        if resources:
            spec["deploy"] = {"resources": resources}
        spec["volumes"] = [
            mount
            for mount in spec.get("volumes") or []
            if mount.get("type") != "volume" or mount.get("source") in (None, "", *names)
        ]
        made[name] = spec
    return {
        "services": made,
        "networks": {"default": {"internal": True}},
        "volumes": {key: {"name": name, "external": True} for key, name in names.items()},
        **{key: model[key] for key in ("configs", "secrets") if model.get(key)},
    }


def _twice(size: Any) -> Any:
    """Twice a size as `docker compose config` writes it, in bytes; what is no number, or unlimited, stays."""
    return str(2 * int(size)) if str(size).isdigit() else size


# --- checks of a restored backup -------------------------------------------------------------------------------------

_CHECK_KEYS = {"database", "ask", "volume", "path", "sums", "minimum", "equals"}


def read_checks(given: Any, databases: Sequence[Database]) -> list[dict[str, Any]]:
    """Read `backup_checks`. Raises BackupError, which names the row and the fix."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BackupError('backup_checks: is no list. Fix: write - {database: shop, ask: "SELECT 1", minimum: 1}')
    names = [one.name for one in databases]
    found = []
    for number, row in enumerate(given, 1):
        where = f"backup_checks, row {number}"
        if not isinstance(row, Mapping) or set(row) - _CHECK_KEYS:
            raise BackupError(f"{where}: has keys that it does not know. Fix: use {', '.join(sorted(_CHECK_KEYS))}")
        if ("database" in row) == ("volume" in row):
            raise BackupError(f"{where}: names a database or a volume. Fix: write one of both")
        if "database" in row and (row["database"] not in names or not row.get("ask")):
            raise BackupError(f"{where}: needs `ask`, and a `database` of backup_databases ({', '.join(names)})")
        if "volume" in row and ("sums" in row) == ("path" in row):
            raise BackupError(f"{where}: needs `path`, or `sums`, the path of a file that sha256sum wrote")
        if "sums" not in row and ("minimum" in row) == ("equals" in row):
            raise BackupError(f"{where}: needs `minimum`, a number, or `equals`, a text")
        try:
            float(row.get("minimum", 0))
        except (TypeError, ValueError):
            raise BackupError(f"{where}: `minimum` is {row['minimum']!r}. Fix: write a number") from None
        found.append(dict(row))
    return found


def about(check: Mapping[str, Any]) -> str:
    """What a check asks, in words."""
    if "database" in check:
        return f"database {check['database']}: {' '.join(_words(check['ask']))}"
    return f"volume {check['volume']}: {check.get('sums') or check['path']}"


def _words(ask: Any) -> list[str]:
    return [str(word) for word in ask] if isinstance(ask, list) else [str(ask)]


def question(database: Database, ask: Any) -> list[str]:
    """The command, within the container, that asks a database."""
    words = _words(ask)
    return [*database.ask, *(words if database.kind != "redis" or len(words) > 1 else words[0].split())]


def judge(check: Mapping[str, Any], answer: str) -> str:
    """Say why an answer is not what a check expects, "" when it is."""
    text = answer.strip()
    if "equals" in check:
        return "" if text == str(check["equals"]) else f"{about(check)} gives {text[:80]!r}, not {check['equals']!r}"
    try:
        value = float(text)
    except ValueError:
        return f"{about(check)} gives {text[:80]!r}, no number"
    if value >= float(check["minimum"]):
        return ""
    return f"{about(check)} gives {value:g}, and at least {float(check['minimum']):g} is expected"
