# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a backup of an app, and remember how that went.

It never holds the app's lock, so that no recovery waits for a slow repository. It begins when no deploy or recovery
works on the app, and reads the app's own files again when a deploy went on meanwhile. It may be killed at any point: a
set without a manifest is not a backup, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, TypedDict, TypeVar, cast

from ..core.app_paths import AppPaths
from ..core.clock import Clock, iso
from ..core.files import NoFile, atomic_write, explain, read_small
from ..core.fingerprint import fingerprint
from ..core.locks import LockHeld, hold_lock, is_locked
from ..core.redact import redact
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import images as docker_images
from ..docker import project as docker_project
from ..docker import volumes as docker_volumes
from ..docker.model import Model
from ..env import read as env_file
from ..env.rules import secrets_of
from ..host import command as commands
from ..records import state
from ..records.state import BackupDone, BackupMemory, BackupProblem
from ..releases import store as release_store
from ..releases.store import Release
from ..reporting import metrics
from . import remote_postgres, restic, retention, sqlite_files
from . import sets as backup_sets
from . import volumes as backup_volumes
from .config import Backup, Hook
from .databases import BackupError, Database, Row, cannot_enter, read_databases
from .restic import Kept, RepositoryError
from .sets import Manifest, Set, SqliteRow, VolumeRow

Say = Callable[[str], None]

QUIET_SECONDS = 600.0
HOOK_SECONDS = 60.0
WHO_SECONDS = 60.0
# Cleaning up after a killed run takes less.
ALONE_SECONDS = 5.0
# What the disk keeps free while a SQLite database is copied.
_SQLITE_SPARE = 64 << 20
# What changes while it is read is read again so often.
TRIES = 3
EXPECTED = (BackupError, RepositoryError, engine.EngineError, OSError)

# Of the app's state: what a restore brings back, and what belongs to this moment and this host only.
_STATE = ("env", "incidents")
_NOT_KEPT = (
    *("restore", "verify", "sqlite", "promotion", "haproxy", "domain"),
    *("certificate.json", "config.json", "rollout.json", "restore.json", "writes-paused"),
)


# --- what is remembered ----------------------------------------------------------------------------------------------


def remember(
    config: Backup,
    last_success: BackupDone | None = None,
    last_verified: BackupDone | None = None,
    problems: dict[str, BackupProblem] | None = None,
) -> None:
    """Change what is remembered, and publish it as metrics. What is not given stays."""
    before = state.read_backup(config.paths.backup)
    record: BackupMemory = {
        "last_success": last_success or before["last_success"],
        "last_verified": last_verified or before["last_verified"],
        "problems": before["problems"] if problems is None else problems,
    }
    os.makedirs(config.paths.state, mode=0o700, exist_ok=True)
    atomic_write(config.paths.backup, (json.dumps(record, indent=1) + "\n").encode())
    folder = config.watched.metrics_directory
    if folder and os.path.isdir(folder):
        path = os.path.join(folder, f"selfheal-{config.paths.name}-backup.prom")
        # A backup without its metrics is still a backup.
        with contextlib.suppress(OSError):
            atomic_write(path, metrics.render_backup(config.paths.name, record).encode(), mode=0o644)


def trouble(config: Backup, clock: Clock, what: str, text: str) -> None:
    """Record what went wrong with a backup or a verification ("" when it succeeded): the watcher notifies people."""
    problems = dict(state.read_backup(config.paths.backup)["problems"])
    if text:
        before = problems.get(what)
        problems[what] = {"text": text, "since": before["since"] if before else clock.now()}
    elif problems.pop(what, None) is None:
        return
    # The disk may be full, which is then the error to report.
    with contextlib.suppress(OSError):
        remember(config, problems=problems)


@contextlib.contextmanager
def alone(config: Backup, what: str, seconds: float = ALONE_SECONDS) -> Iterator[None]:
    """Hold the lock that backup, verification and restore of an app share. Raises LockHeld."""
    with hold_lock(config.paths.backup_lock, seconds, f"{what} {config.paths.name}"):
        yield


# --- a backup --------------------------------------------------------------------------------------------------------


class Made(TypedDict):
    """A backup that was made: the set's id, when (epoch s), and how long it took.

    `repository` is its URL, `bytes` what the set holds, `added` what of it was new. `not_in_it`: what of the app is not
    in the set, in words.
    """

    set: str
    at: float
    repository: str
    seconds: float
    bytes: int
    added: int
    not_in_it: list[str]
    changed: bool


class BackupResult(Made):
    """A backup that was made, and the ids of those that were forgotten after it."""

    forgotten: list[str]


def back_up(config: Backup, why: str, say: Say, clock: Clock) -> BackupResult:
    """Make a backup.

    :arg why: schedule, hand or safety.
    :raises LockHeld: another backup, verification or restore of this app goes on.
    :raises BackupError, RepositoryError, EngineError, OSError: nothing was backed up, and the app is as it was.
    """
    try:
        with alone(config, "back up"):
            problem = end_pause(config)
            if problem:
                raise BackupError(problem)
            done = make(config, why, say, clock)
            forgotten = tidy(config, done["set"], say, clock)
    except LockHeld:
        raise
    except EXPECTED as error:
        trouble(config, clock, "backup", explain(error) if isinstance(error, OSError) else str(error))
        raise
    trouble(config, clock, "backup", "")
    return {**done, "forgotten": forgotten}


def end_pause(config: Backup) -> str:
    """Resume the app's writes, when a backup has paused them. Each hook is run, also after one that fails.

    Returns what went wrong, "" when they are resumed.
    """
    if not os.path.lexists(config.paths.writes_paused):
        return ""
    problems = []
    for hook in config.after:
        try:
            _run_hook(config, hook)
        except EXPECTED as error:
            problems.append(str(error))
    if problems:
        return f"writes may still be paused: {'; '.join(problems)}"
    os.unlink(config.paths.writes_paused)
    return ""


def killed(result: str) -> str:
    """Say that a backup was killed, from systemd's SERVICE_RESULT; "" when it ended by itself."""
    if result in ("", "success", "exit-code"):
        return ""
    return f"the backup was killed before it had finished ({result}): journalctl -u selfheal-backup@*. Run it again"


Work = TypeVar("Work", bound=Callable[..., Any])


def redacted(work: Work) -> Work:
    """Redact the errors of a function of a config: they show no value of the app's env.

    Compose, the engine and the user's own commands repeat their input.
    """

    @functools.wraps(work)
    def inner(config: Backup, *given: Any, **named: Any) -> Any:
        try:
            return work(config, *given, **named)
        except (BackupError, RepositoryError, engine.EngineError) as error:
            values = env_file.read(config.paths, config.watched.app.variables, Clock().now())["values"]
            text = redact(str(error), secrets_of(config.watched.app.variables, values))
            if text == str(error):
                raise
        raise BackupError(text)

    return cast(Work, inner)


@redacted
def make(config: Backup, why: str, say: Say, clock: Clock) -> Made:
    """Make a set; the caller holds the lock."""
    begun = clock.monotonic()
    _await_quiet(config.paths)
    _open_repository(config, say)
    identity = backup_sets.set_id(clock.now())
    # Not while writes are paused, and before anything is kept.
    config = _with_names(config, why, clock)
    draft = Draft(config, why, identity, _belongs(config), _dumped(config, why))
    shutil.rmtree(_sqlite_folder(config), ignore_errors=True)
    for database in draft.databases:
        # A pull may take long: not while writes are paused.
        bring_image(config, database, say)
    not_in_it = _not_in_it(draft)
    for text in not_in_it:
        say(f"NOT in it: {text}")
    if config.before:
        # Not while writes are paused.
        restic.await_turn(config.repository)
    with _paused(config, say):
        copied = _copy(draft, say, clock)
    not_in_it += copied.torn
    last = release_store.last_good(config.paths.directory)
    mark = _keep_images(config, last, say) if last and config.images else ""
    manifest = _manifest(draft, copied, last, mark, clock.now())
    _keep_manifest(draft, {**manifest, "not_in_it": not_in_it})
    done: BackupDone = {
        "set": identity,
        "at": clock.now(),
        "repository": config.repository.url,
        "seconds": round(clock.monotonic() - begun, 1),
        "bytes": sum(one["bytes"] for one in copied.sizes.values()),
        "added": sum(one["added"] for one in copied.sizes.values()),
    }
    if why != backup_sets.SAFETY:
        remember(config, last_success=done)
    say(f"backup {identity} is complete: {done['bytes'] / 1e6:.1f} MB, {done['added'] / 1e6:.1f} MB of it new")
    return {
        "set": identity,
        "at": done["at"],
        "repository": done["repository"],
        "seconds": done["seconds"],
        "bytes": done["bytes"],
        "added": done["added"],
        "not_in_it": not_in_it,
        "changed": True,
    }


class Belongs(NamedTuple):
    """What belongs to a backup of an app.

    `model`: the merged compose model. By volume's key: `paths` of those whose files are copied, `used`, the bytes on
    the disk of those that dumps fill, and of data folders; `folders`, the paths of all data folders. `roots`: where
    SQLite databases may be. `missing`: what is not in the backup, in words.
    """

    model: Model
    volumes: list[backup_volumes.Volume]
    paths: dict[str, str]
    used: dict[str, int]
    folders: dict[str, str]
    roots: list[str]
    missing: list[str]

    @property
    def covered(self) -> set[str]:
        """The keys of the volumes that dumps fill."""
        return {one.key for one in self.volumes if one.covered}


class Draft(NamedTuple):
    """A set that is being made. `config`: with the names of its databases; `databases`: those that are dumped."""

    config: Backup
    why: str
    identity: str
    belongs: Belongs
    databases: list[Database]

    def tags(self, part: str) -> list[str]:
        """The tags of the snapshot of a part."""
        return backup_sets.tags(self.config.paths.name, self.config.host, self.identity, self.why, part)


class Copied(NamedTuple):
    """What of a set is in the repository.

    `sizes`: by part; `tables`: {database: how many before and after its dump}; `folders`: of the app's state; `torn`:
    what has no consistent copy, in words.
    """

    sizes: dict[str, Kept]
    tables: dict[str, list[int | None]]
    sqlite: list[SqliteRow]
    folders: list[str]
    torn: list[str]


def _await_quiet(paths: AppPaths) -> None:
    """Wait until no deploy, recovery or restore works on the app. Raises BackupError."""
    restic.require()
    if not restic.wait_free(lambda: is_locked(paths.lock), QUIET_SECONDS):
        raise BackupError(
            f"a deploy or a recovery of {paths.name} goes on for {QUIET_SECONDS / 60:.0f} min: {paths.lock}"
        )
    if os.path.lexists(paths.restoring):
        raise BackupError(f"a restore was killed half-way: run `selfheal backup settle --app {paths.name}` first")


def _open_repository(config: Backup, say: Say) -> None:
    """Open the repository, or create it; not when a backup was kept there before: then it is lost."""
    last = state.read_backup(config.paths.backup)["last_success"]
    known = last.get("repository", "") if last else ""
    made = restic.make_ready(config.repository, may_make=known != config.repository.url)
    say(f"{'made' if made else 'opened'} the repository {config.repository.url}")


def _not_in_it(draft: Draft) -> list[str]:
    """What of the app is in no backup, in words."""
    paths, model = draft.config.paths, draft.belongs.model
    outside = backup_volumes.mounts_outside(model, paths.directory)
    documents = docker_project.Project(paths.name, paths.directory).documents()
    unnamed = backup_volumes.unnamed(documents, backup_volumes.volume_names(paths.name, model).values())
    return [
        *(f"{source} is outside of {paths.directory}, and is in no backup" for source in outside),
        *(f"{what} is in a volume that the compose file does not name, and is in no backup" for what in unnamed),
        *backup_volumes.undumped(model, draft.config.databases),
        *draft.belongs.missing,
    ]


def _copy(draft: Draft, say: Say, clock: Clock) -> Copied:
    """Copy databases, volumes and the app's own files into the repository."""
    sizes, tables = _dump_all(draft, say, clock)
    sqlite, torn = _copy_sqlite(draft.config, draft.belongs, say, clock)
    if sqlite:
        sizes[backup_sets.SQLITE] = _keep_sqlite(draft)
    copied_already = [path for one in sqlite for path in sqlite_files.files(one["path"])]
    copied_already += [path for key, path in draft.belongs.folders.items() if key in draft.belongs.covered]
    if draft.belongs.paths:
        sizes[backup_sets.VOLUMES] = _keep_volumes(draft, copied_already, say)
    sizes[backup_sets.APP], folders = _keep_app(draft, copied_already, say)
    return Copied(sizes, tables, sqlite, folders, torn)


def _dump_all(draft: Draft, say: Say, clock: Clock) -> tuple[dict[str, Kept], dict[str, list[int | None]]]:
    """Keep the dumps of the databases: (by part, {database: tables before and after})."""
    config = draft.config
    sizes: dict[str, Kept] = {}
    tables: dict[str, list[int | None]] = {}
    for database in draft.databases:
        say(f"dumping database {database.name}")
        before = _tables(config, database, clock)
        sizes[database.part] = _dump(config, database, draft.tags(database.part), clock)
        if before is not None:
            tables[database.name] = [before, _tables(config, database, clock)]
    return sizes, tables


def _keep_sqlite(draft: Draft) -> Kept:
    """Keep the copies of SQLite databases. They go from this host."""
    config, folder = draft.config, _sqlite_folder(draft.config)
    kept = restic.keep_files(config.repository, [folder], draft.tags(backup_sets.SQLITE), config.host)
    shutil.rmtree(folder, ignore_errors=True)
    return kept


def _keep_volumes(draft: Draft, left_out: Sequence[str], say: Say) -> Kept:
    """Keep the files of volumes."""
    config, belongs = draft.config, draft.belongs
    say(f"copying volumes: {', '.join(one.key for one in belongs.volumes if not one.covered)}")
    paths = list(belongs.paths.values())
    return restic.keep_files(config.repository, paths, draft.tags(backup_sets.VOLUMES), config.host, left_out)


def _keep_app(draft: Draft, left_out: Sequence[str], say: Say) -> tuple[Kept, list[str]]:
    """Keep the app's own files: (what was kept, the folders of its state); again when a deploy went on."""
    config, paths = draft.config, draft.config.paths
    out = [os.path.join(paths.state, name) for name in _NOT_KEPT] + [*left_out, *draft.belongs.folders.values()]
    attempt = 0
    while True:
        described = _description(config)
        say("copying the app's own files" + (", again: a deploy went on" if attempt else ""))
        # Before they are copied: the first incident may begin meanwhile.
        folders = [name for name in _STATE if os.path.isdir(os.path.join(paths.state, name))]
        there = [path for path in (paths.directory, paths.state) if os.path.isdir(path)]
        size = restic.keep_files(config.repository, there, draft.tags(backup_sets.APP), config.host, out)
        attempt += 1
        if attempt == TRIES or _description(config) == described:
            return size, folders


def _manifest(draft: Draft, copied: Copied, last: Release | None, images_mark: str, now: float) -> Manifest:
    """What a restore has to know of the set."""
    config, paths = draft.config, draft.config.paths
    dumped = [one.name for one in draft.databases]
    return {
        "format": backup_sets.FORMAT,
        "app": paths.name,
        "host": config.host,
        "set": draft.identity,
        "time": iso(now),
        "why": draft.why,
        "directory": paths.directory,
        "state": paths.state,
        "state_folders": copied.folders,
        "release": last["id"] if last else "",
        "env": env_mark(paths.env),
        "images": dict(last["images"]) if last else {},
        "images_mark": images_mark,
        "platform": engine.platform(),
        "volumes": [_described(one, draft.belongs) for one in draft.belongs.volumes],
        "sqlite": copied.sqlite,
        "tables": copied.tables,
        "databases": [row for row in config.rows if row["name"] in dumped],
        "parts": {part: one["bytes"] for part, one in copied.sizes.items()},
    }


def _described(volume: backup_volumes.Volume, belongs: Belongs) -> VolumeRow:
    """A volume as the manifest has it."""
    path = belongs.paths.get(volume.key, "")
    return {
        "key": volume.key,
        "name": volume.name,
        "covered": volume.covered,
        "path": path,
        "owner": _owner(path or belongs.folders.get(volume.key, "")),
        "used": belongs.used.get(volume.key, 0),
    }


def _keep_manifest(draft: Draft, manifest: Manifest) -> None:
    """Keep the manifest: with it the set is complete."""
    config, tags = draft.config, draft.tags(backup_sets.MANIFEST)
    if manifest["images_mark"]:
        tags.append(f"images={manifest['images_mark']}")
    restic.keep_text(config.repository, json.dumps(manifest, indent=1), "manifest.json", tags, config.host)


def _belongs(config: Backup) -> Belongs:
    """Raises BackupError for a volume that is not on this host, or cannot be copied."""
    app, directory = config.paths.name, config.paths.directory
    model = docker_project.Project(app, directory).config(profiles=True)
    mounted = backup_volumes.data_paths(model, directory)
    data = {key: path for key, path in mounted.items() if key != "./" and os.path.isdir(path)}
    linked = {key: path for key, path in data.items() if _is_linked(path, directory)}
    data = {key: path for key, path in data.items() if key not in linked}
    missing = [f"{path} is a link to {os.path.realpath(path)}, which is in no backup" for path in linked.values()]
    kept = backup_volumes.volumes(app, model, config.databases, config.volumes_left_out, data)
    facts = docker_volumes.volume_facts([one.name for one in kept if one.name])
    needed = backup_volumes.always_there(model)
    kept = [one for one in kept if not one.name or one.name in facts or one.key in needed]
    for one in kept:
        if not one.name:
            continue
        if one.name not in facts:
            raise BackupError(
                f"volume {one.key} ({one.name}) is not on this host: the app does not run, or the volume was removed. "
                "Fix: run christmas.selfheal.status; to keep going without it, name it in backup_volumes_left_out"
            )
        if not facts[one.name]["plain"]:
            raise BackupError(
                f"volume {one.key} is not a folder of this host, so it cannot be copied. Fix: name it in "
                "backup_volumes_left_out, and back it up on its own server"
            )
    folders = {one.key: str(facts[one.name]["path"]) if one.name else data[one.key] for one in kept}
    paths = {one.key: folders[one.key] for one in kept if not one.covered}
    used = {one.key: used_bytes(folders[one.key]) for one in kept if one.covered or not one.name}
    roots = [*paths.values(), *([directory] if "./" in mounted else [])]
    return Belongs(model, kept, paths, used, data, roots, missing)


def _is_linked(path: str, directory: str) -> bool:
    """Whether a path below a directory leads through a link: restic keeps the link, and not what it leads to."""
    return os.path.realpath(path) != os.path.join(os.path.realpath(directory), os.path.relpath(path, directory))


def _sqlite_folder(config: Backup) -> str:
    """Where copies of SQLite databases wait until they are in the repository."""
    return os.path.join(config.paths.state, "sqlite")


def _copy_sqlite(config: Backup, belongs: Belongs, say: Say, clock: Clock) -> tuple[list[SqliteRow], list[str]]:
    """Copy SQLite databases as of one moment each; and what cannot be copied so, in words: its files are copied."""
    made = _sqlite_folder(config)
    covered = [path + "/" for key, path in belongs.folders.items() if key in belongs.covered]
    ours = [release_store.folder(config.paths.directory) + "/", *covered]
    found = [path for path in sqlite_files.find(belongs.roots) if not path.startswith(tuple(ours))]
    copied: list[SqliteRow] = []
    torn: list[str] = []
    if found:
        say(f"copying {len(found)} SQLite databases")
        os.makedirs(made, mode=0o700, exist_ok=True)
    for path in found:
        name = str(len(copied))
        reason = _copy_one(path, os.path.join(made, name), clock)
        if reason:
            torn.append(f"a consistent copy of {path} is not in it, its file is: {reason}")
            say(f"NOT in it: {torn[-1]}")
        else:
            copied.append({"file": name, "path": path, "owner": _owner(path)})
    return copied, torn


def _copy_one(path: str, target: str, clock: Clock) -> str:
    try:
        room = shutil.disk_usage(os.path.dirname(target)).free
        if room < sum(os.path.getsize(one) for one in sqlite_files.files(path) if os.path.exists(one)) + _SQLITE_SPARE:
            return f"too little room at {os.path.dirname(target)}"
    except OSError as error:
        return explain(error)
    return sqlite_files.copy(path, target, clock.sleep)


def used_bytes(folder: str) -> int:
    """What the files in a folder take of its disk; those that vanish meanwhile take nothing."""
    found = 0
    for root, _unused, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found += os.lstat(os.path.join(root, name)).st_blocks * 512
    return found


def _description(config: Backup) -> tuple[dict[str, str], str, str, bool]:
    """What a deploy would change."""
    paths = config.paths
    last = release_store.last_good(paths.directory)
    return (
        release_store.files(paths.directory),
        env_mark(paths.env),
        last["id"] if last else "",
        os.path.exists(paths.rollout),
    )


def env_mark(path: str) -> str:
    """The fingerprint of an env, "" without one. One that is not a file may be what a restore is to repair."""
    try:
        content = read_small(path)
    except NoFile:
        return "unreadable"
    return fingerprint(content) if content is not None else ""


def _owner(path: str) -> list[int]:
    """User, group and mode of a folder: restic keeps those of its content only."""
    if not path:
        return []
    found = os.stat(path)
    return [found.st_uid, found.st_gid, found.st_mode & 0o7777]


def _keep_images(config: Backup, last: Release, say: Say) -> str:
    """Keep the images of a release that no registry has, once; return the tag that finds them."""
    pins = last.get("pins") or {}
    wanted = {service: image for service, image in last["images"].items() if last["names"][service] not in pins}
    if not wanted:
        return ""
    mark = backup_sets.images_mark(wanted)
    if mark in backup_sets.read_images(restic.snapshots(config.repository, f"images={mark}")):
        return mark
    say("keeping the images, which no registry has")
    command = ["docker", "save", *sorted(set(wanted.values()))]
    restic.keep_output(
        config.repository, command, "images.tar", [f"part={backup_sets.IMAGES}", f"images={mark}"], config.host
    )
    return mark


def _dumped(config: Backup, why: str) -> list[Database]:
    """The databases that a backup dumps.

    A restore does not replace the databases of other servers, so the backup before it does not dump them: their server
    may be down.
    """
    return [one for one in config.databases if why != backup_sets.SAFETY or one.service]


def _with_names(config: Backup, why: str, clock: Clock) -> Backup:
    """The config with the user and the database in each row, as the containers' own environments name them.

    Raises BackupError for a server that refuses the login.
    """
    nothing: Row = {}
    found = {one.name: _names(config, one, clock) for one in _dumped(config, why) if one.who}
    rows: list[Row] = [{**row, **found.get(str(row["name"]), nothing)} for row in config.rows]
    return config._replace(databases=read_databases(rows), rows=rows)


def _names(config: Backup, database: Database, clock: Clock) -> Row:
    command = docker_containers.within(_running(config, database.service)[0], database.who, database.secrets)
    asked = restic.run_with(command, _secret_values(config, database.secrets, clock), WHO_SECONDS)
    if asked.code:
        raise BackupError(cannot_enter(database, restic.first_error(asked.err or asked.out)))
    user, name = asked.out.split("\n")[:2]
    found: Row = {}
    if user:
        found["user"] = user
    if name:
        found["database"] = name
    return found


def _tables(config: Backup, database: Database, clock: Clock) -> int | None:
    """How many tables a database has; None for a kind that cannot count them. Raises BackupError."""
    if not database.tables:
        return None
    command = docker_containers.within(_running(config, database.service)[0], database.tables, database.secrets)
    asked = restic.run_with(command, _secret_values(config, database.secrets, clock), WHO_SECONDS)
    if asked.code or not asked.out.strip().isdigit():
        raise BackupError(f"backup_databases ({database.name}): {restic.first_error(asked.err or asked.out)}")
    return int(asked.out)


def _dump(config: Backup, database: Database, tags: list[str], clock: Clock) -> Kept:
    """Keep the dump of a database. One that fails makes no snapshot."""
    if database.service:
        command = docker_containers.within(_running(config, database.service)[0], database.dump, database.secrets)
        extra = _secret_values(config, database.secrets, clock)
        return restic.keep_output(config.repository, command, database.file, tags, config.host, extra)
    dsn = _secret_values(config, {"dsn": database.dsn_variable}, clock)["dsn"]
    extra = remote_postgres.environment(database.dsn_variable, dsn)
    command = remote_postgres.dump_command(config.paths.name, database, extra)
    end_dumps(config)
    try:
        return restic.keep_output(config.repository, command, database.file, tags, config.host, extra)
    finally:
        # A container outlives the command that waited for it.
        end_dumps(config)


def end_dumps(config: Backup) -> None:
    """Remove the containers that dump a database of another server. Raises EngineError."""
    docker_containers.remove_labelled(remote_postgres.dump_label(config.paths.name))


def bring_image(config: Backup, database: Database, say: Say) -> None:
    """Pull the image with which a database of another server is dumped and verified."""
    if not database.image or docker_images.has_image(database.image):
        return
    say(f"pulling {database.image}")
    pulled = docker_project.Project(config.paths.name, config.paths.directory).pull({database.image: database.image})
    if pulled.code:
        raise BackupError(
            f"backup_databases ({database.name}): its image {database.image} cannot be pulled: {pulled.reason}"
        )


def _running(config: Backup, service: str) -> list[str]:
    """The ids of the running containers of a service; raises BackupError when none runs."""
    running = [
        str(item["id"])
        for item in docker_project.Project(config.paths.name, config.paths.directory).containers()
        if item["service"] == service and item["state"] == "running"
    ]
    if not running:
        raise BackupError(
            f"service {service} does not run, so its data cannot be read. Fix: christmas.selfheal.recover first"
        )
    return running


def _secret_values(config: Backup, secrets: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """The values that commands need, {their variable: value}, from the app's env."""
    if not secrets:
        return {}
    values = env_file.read(config.paths, config.watched.app.variables, clock.now())["values"]
    for name in secrets.values():
        if name not in values:
            raise BackupError(f"backup_databases: the app's env has no {name}. Fix: name a variable that it has")
    return {variable: values[name] for variable, name in secrets.items()}


@contextlib.contextmanager
def _paused(config: Backup, say: Say) -> Iterator[None]:
    """Pause the app's writes, where it has a command for that, and resume them afterwards."""
    if not config.before and not config.after:
        yield
        return
    os.makedirs(config.paths.state, mode=0o700, exist_ok=True)
    # It exists as long as writes are paused: a killed backup is detected by it.
    atomic_write(config.paths.writes_paused, b"")
    problem = ""
    try:
        say("pausing writes")
        for hook in config.before:
            _run_hook(config, hook)
        yield
    finally:
        problem = end_pause(config)
        say(problem or "writes are resumed")
    if problem:
        raise BackupError(problem)


@redacted
def _run_hook(config: Backup, hook: Hook) -> None:
    """Run a hook in every instance of its service. Raises BackupError."""
    for container in _running(config, hook.service):
        ended = commands.run(docker_containers.within(container, hook.command), HOOK_SECONDS)
        if ended.code:
            raise BackupError(f"the hook `{' '.join(hook.command)}` in {hook.service} failed: {ended.reason}")


def tidy(config: Backup, mine: str, say: Say, clock: Clock) -> list[str]:
    """Forget the sets that the policy does not keep, and unfinished ones; return their ids."""
    snapshots = restic.snapshots(config.repository)
    sets = backup_sets.read_sets(snapshots)
    verified = state.read_backup(config.paths.backup)["last_verified"]
    verified_set = str(verified["set"]) if verified else ""
    gone = retention.to_forget(sets, config.paths.name, config.host, config.keep, clock.now(), verified_set)
    gone = [one for one in gone if one.id != mine]
    mark = next((one.images for one in sets if one.id == mine and one.host == config.host), "")
    doomed = [snapshot for one in gone for snapshot in one.parts.values()]
    doomed += retention.unused_images(sets, backup_sets.read_images(snapshots), gone, mark)
    if doomed:
        say(f"forgetting {len(gone)} backups that the policy does not keep, or that were not finished")
        try:
            restic.forget(config.repository, doomed)
            restic.prune(config.repository)
        except RepositoryError as error:
            if error.code != restic.LOCKED:
                raise
            say(f"{error}; the next backup forgets them")
            return []
    return [one.id for one in gone]


def list_sets(config: Backup) -> list[Set]:
    """The complete backups of this app, oldest first."""
    restic.require()
    sets = backup_sets.read_sets(restic.snapshots(config.repository))
    return [one for one in sets if one.complete and (one.app, one.host) == (config.paths.name, config.host)]
