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
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from .files import fingerprint

FORMAT = 1
# A set may be dated so much later than now: two hosts' clocks.
AHEAD_SECONDS = 3600.0
SAFETY = "safety"
APP, VOLUMES, MANIFEST, IMAGES = "app", "volumes", "manifest", "images"
KINDS = ("postgres", "redis", "command")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_STAMP = "%Y%m%dT%H%M%SZ"
# What the last line of a dump says: one that was cut off does not.
WHOLE = "selfheal: the dump is whole"


class BackupError(Exception):
    """A backup, or a restore, cannot be done as it was asked for; the message says why and what to do."""


# --- databases -------------------------------------------------------------------------------------------------------


class Database(NamedTuple):
    """One database of the app, and how its service dumps and loads it: commands within the container.

    `secrets`: {variable of the commands' environment: variable of the app's env}. `volume`: the one that its dump makes
    anew, "" for the only one of the service.

    Of one on another server `service` is "", `dsn_variable` the variable of the app's env that says how it is reached,
    and `image` what it is dumped and proved with.
    """

    name: str
    kind: str
    service: str
    dump: list[str]
    load: list[str]
    secrets: dict[str, str]
    ask: list[str]
    volume: str = ""
    dsn_variable: str = ""
    image: str = ""

    @property
    def part(self) -> str:
        """The part of a set that holds its dump."""
        return f"database:{self.name}"

    @property
    def file(self) -> str:
        """What the dump is called in its snapshot."""
        return f"{self.name}.dump"

    @property
    def scratch(self) -> str:
        """The service of a scratch project that takes the dump."""
        return self.service or f"remote.{self.name}"


# Roles first: those that are there already are no reason to stop. `$1` is the user, `$2` the database.
_POSTGRES_DUMP = (
    r"""printf '%s\n' '\set ON_ERROR_STOP off'; pg_dumpall -U "$1" --globals-only; """
    r"""printf '%s\n' '\set ON_ERROR_STOP on'; pg_dump -U "$1" --create --clean --if-exists "$2"; """
    rf"""printf '%s\n' '\echo {WHOLE}'"""
)
# Nothing may be connected to a database that is made anew. What has no last line was cut off.
_POSTGRES_LOAD = f"""psql -X -q -v ON_ERROR_STOP=1 -U "$1" -d template1 | grep -qx '{WHOLE}'"""
# restic compresses, and finds what it has already: in what is compressed it would find nothing.
_REMOTE_DUMP = ["pg_dump", "--format=custom", "--compress=0"]
# A dump of another server names what is not in it: roles, extensions, schemas that nobody may dump. What cannot be made
# for want of them (a policy, a foreign key) is told. A table or its rows that cannot be made is a failure, and so is a
# dump that is cut off.
_REMOTE_LOAD = r"""
code=0
pg_restore --dbname=postgres --no-owner --no-privileges 2>/tmp/said || code=$?
test "$code" = 0 || tail -n 1 /tmp/said | grep -q 'errors ignored on restore' || { cat /tmp/said >&2; exit "$code"; }
if grep -m 1 -A 1 'from TOC entry [0-9]*; [0-9]* [0-9]* \(TABLE\|SEQUENCE\|BLOB\)' /tmp/said; then exit 1; fi
grep 'pg_restore: error' /tmp/said || true
"""
# The dump is served by a second Redis, of which the first becomes the replica: that works with and without AOF, and a
# dump that is cut off, or damaged, is not loaded.
_REDIS_LOAD = r"""
set -eu
cd "$(redis-cli --raw CONFIG GET dir | sed -n 2p)"
trap 'rm -f selfheal-load.rdb; redis-cli REPLICAOF NO ONE >/dev/null; kill $second 2>/dev/null || true' EXIT
second=
cat >selfheal-load.rdb
set -- --port 16379 --bind 127.0.0.1 --appendonly no --save '' --repl-diskless-sync-delay 0
redis-server "$@" --dir "$PWD" --dbfilename selfheal-load.rdb >/dev/null &
second=$!
tries=0
until REDISCLI_AUTH= redis-cli -p 16379 ping 2>/dev/null | grep -q PONG; do
    kill -0 $second || { echo 'Redis does not take the dump: it is damaged, or not whole' >&2; exit 1; }
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli REPLICAOF 127.0.0.1 16379 >/dev/null
until redis-cli INFO replication | grep -q master_link_status:up; do
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli REPLICAOF NO ONE >/dev/null
while redis-cli INFO persistence | grep -q 'aof_rewrite_in_progress:1\|aof_rewrite_scheduled:1'; do
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli SAVE >/dev/null
"""


def read_databases(given: Any) -> list[Database]:
    """Read `backup_databases`. Raises BackupError, which names the row and the fix."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BackupError("backup_databases: is no list. Fix: write - {name: shop, kind: postgres, service: database}")
    found: list[Database] = []
    for number, row in enumerate(given, 1):
        where = f"backup_databases, row {number}"
        if not isinstance(row, Mapping):
            raise BackupError(f"{where}: is no mapping. Fix: write {{name: shop, kind: postgres, service: database}}")
        name, kind, service = (str(row.get(key) or "") for key in ("name", "kind", "service"))
        if not _NAME.fullmatch(name) or name in [one.name for one in found]:
            raise BackupError(f"{where}: `name` is {name!r}. Fix: write a name of its own, of letters, digits, - and _")
        if kind not in KINDS:
            raise BackupError(f"{where} ({name}): `kind` is {kind!r}. Fix: write one of {', '.join(KINDS)}")
        if "dsn_variable" in row:
            found.append(_remote(f"{where} ({name})", name, kind, row))
            continue
        if not service:
            raise BackupError(
                f"{where} ({name}): `service` is missing. Fix: name the service of the compose file; for a PostgreSQL "
                "on another server write `dsn_variable` and `image`"
            )
        known = {"name", "kind", "service", "volume", "user", "database", "password", "dump", "load"}
        for key in row:
            if key not in known:
                raise BackupError(f"{where} ({name}): `{key}` is no key of it. Fix: remove it")
        found.append(_database(where, name, kind, service, row)._replace(volume=str(row.get("volume") or "")))
    return found


def _database(where: str, name: str, kind: str, service: str, row: Mapping[str, Any]) -> Database:
    password = str(row.get("password") or "")
    if kind == "postgres":
        user, database = str(row.get("user") or "postgres"), str(row.get("database") or name)
        secrets = {"PGPASSWORD": password} if password else {}
        dump = ["sh", "-ec", _POSTGRES_DUMP, "sh", user, database]
        load = ["sh", "-ec", _POSTGRES_LOAD, "sh", user]
        return Database(
            name, kind, service, dump, load, secrets, ["psql", "-X", "-q", "-A", "-t", "-U", user, "-d", database, "-c"]
        )
    if kind == "redis":
        secrets = {"REDISCLI_AUTH": password} if password else {}
        return Database(
            name, kind, service, ["redis-cli", "--rdb", "-"], ["sh", "-c", _REDIS_LOAD], secrets, ["redis-cli", "--raw"]
        )
    commands = {}
    for key in ("dump", "load"):
        words = row.get(key)
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise BackupError(f"{where} ({name}): `{key}` is no list of words. Fix: write [my-dump, --to-stdout]")
        commands[key] = list(words)
    return Database(name, kind, service, commands["dump"], commands["load"], {}, [])


def _remote(where: str, name: str, kind: str, row: Mapping[str, Any]) -> Database:
    """A PostgreSQL on another server."""
    if row.get("service"):
        raise BackupError(
            f"{where}: has both `service` and `dsn_variable`. Fix: keep `service` when it runs in the compose file, "
            "`dsn_variable` when it is on another server"
        )
    if kind != "postgres":
        raise BackupError(f"{where}: `dsn_variable` is for kind postgres only. Fix: remove it, or write kind: postgres")
    for key in row:
        if key not in ("name", "kind", "dsn_variable", "image", "schemas"):
            raise BackupError(f"{where}: `{key}` is no key of a database on another server. Fix: remove it")
    variable, image, schemas = str(row["dsn_variable"] or ""), str(row.get("image") or ""), row.get("schemas") or []
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise BackupError(
            f"{where}: `dsn_variable` is no name of a variable. Fix: write the name of the one of the app's env that "
            "holds the DSN, and the DSN there alone"
        )
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9._/:@-]*", image):
        raise BackupError(
            f"{where}: `image` is {image!r}. Fix: name an image of PostgreSQL, of the server's major version or a "
            "newer one, such as postgres:17"
        )
    if not isinstance(schemas, list) or not all(isinstance(one, str) and one for one in schemas):
        raise BackupError(f"{where}: `schemas` is no list of names. Fix: write [public]")
    dump = [*_REMOTE_DUMP, *(["--strict-names"] if schemas else []), *(f"--schema={one}" for one in schemas)]
    load, ask = ["sh", "-ec", _REMOTE_LOAD], ["psql", "-X", "-q", "-A", "-t", "-c"]
    return Database(name, kind, "", dump, load, {}, ask, dsn_variable=variable, image=image)


# --- what belongs to an app ------------------------------------------------------------------------------------------


class Volume(NamedTuple):
    """A named volume of the app: its key in the compose file, its name in the engine, and what covers it.

    `covered`: the service whose dumps make it anew, "" when the files are copied.
    """

    key: str
    name: str
    covered: str


def volumes(app: str, model: Mapping[str, Any], databases: Sequence[Database], left_out: Sequence[str]) -> list[Volume]:
    """The volumes of a merged compose model that belong to a backup. Raises BackupError for one that is not there."""
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
        covered.update(dict.fromkeys(_covered(services, service, named, left_out), service))
    names = volume_names(app, model)
    return [Volume(key, names[key], covered.get(key, "")) for key in sorted(known) if key not in left_out]


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


def _covered(services: Mapping[str, Any], service: str, named: set[str], left_out: Sequence[str]) -> set[str]:
    """The volumes that the dumps of a service make anew. Raises BackupError when that cannot be told.

    A dump that belongs to no volume could be loaded nowhere, and a volume that is taken for one would be lost.
    """
    writers: dict[str, set[str]] = {}
    for name, spec in services.items():
        for mount in spec.get("volumes") or []:
            if mount.get("type") == "volume" and mount.get("source") and not mount.get("read_only"):
                writers.setdefault(str(mount["source"]), set()).add(name)
    mine = sorted(key for key, names in writers.items() if service in names and key not in left_out)
    strange = sorted(named - set(mine))
    if strange:
        raise BackupError(
            f"backup_databases: service {service} does not write to a volume {strange[0]!r} that is backed up; it "
            f"writes to {', '.join(mine) or 'none'}"
        )
    alone = [key for key in mine if writers[key] == {service}]
    if not named and len(alone) != 1:
        has = f"several volumes of its own, {', '.join(alone)}" if alone else "no named volume of its own"
        fix = "write `volume: NAME` into its row" if mine else "give it a named volume (a bind mount is none)"
        raise BackupError(
            f"backup_databases: service {service} has {has}, so its dump could not be restored: it cannot be told what "
            f"the dump makes anew. Fix: {fix}; the other volumes are copied"
        )
    return named or set(alone)


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
        found = [one for one in mine if one.why != SAFETY]
        if found and found[-1].time > now + AHEAD_SECONDS:
            past = [one.id for one in found if one.time <= now]
            raise BackupError(
                f"restore_to: backup {found[-1].id} is dated later than now, so a clock is wrong, or was when it was "
                f"made, and nobody can tell which one is the latest. The newest before now: {(past or ['none'])[-1]}. "
                "Fix: set this host's clock, or name the backup that you mean"
            )
        if found:
            return found[-1]
    elif _is_stamp(to):
        for one in sets:
            if one.id == to and one.complete and (one.app, one.host) != (app, host):
                raise BackupError(
                    f"restore_to: backup {to} is of app {one.app} on {one.host}, not of {app} on {host}. Nothing was "
                    "touched. Fix: name one of this app, or set backup_host when the host had another name"
                )
        found = [one for one in mine if one.id == to]
        if found:
            return found[-1]
    else:
        moment = _moment(to)
        found = [one for one in mine if one.time <= moment and one.why != SAFETY]
        if found:
            return found[-1]
    there = ", ".join(one.id for one in mine[-5:]) or "none"
    others = sorted({f"{one.app} on {one.host}" for one in sets if one.complete} - {f"{app} on {host}"})
    hint = f" The repository also has {', '.join(others)}." if others else ""
    raise BackupError(f"restore_to: there is no backup {to} of {app} on {host}. The newest: {there}.{hint}")


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


def scratch_model(
    model: Mapping[str, Any], services: Iterable[str], images: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, Any]:
    """The services that hold databases, alone: no port, no network that leads anywhere, volumes of their own.

    Each may take twice its memory: a Redis loads its dump beside a second one that serves it.

    :arg images: {service: image id}. :arg names: {volume's key: name of the volume that takes its place}.
    """
    made: dict[str, Any] = {}
    for name in sorted(set(services)):
        spec = dict(model["services"][name])
        for key in ("ports", "expose", "networks", "depends_on", "container_name", "build", "profiles", "links"):
            spec.pop(key, None)
        spec.update(restart="no", image=images.get(name) or spec.get("image"))
        spec.update({key: _twice(spec[key]) for key in ("mem_limit", "memswap_limit") if key in spec})
        resources = (spec.get("deploy") or {}).get("resources") or {}
        if "memory" in (resources.get("limits") or {}):
            limits = {**resources["limits"], "memory": _twice(resources["limits"]["memory"])}
            spec["deploy"] = {"resources": {**resources, "limits": limits}}
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
