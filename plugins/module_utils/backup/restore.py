# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restore an app from a backup, and prove backups by doing so beside it.

Both begin alike: files and volumes come to lie beside those of the app, and a scratch project without a port loads the
dumps into databases of its own. A proof ends there: it asks, and removes all that it made. A restore asks the same,
then stops the app, lets what lies beside and what is there change places, and has the app pass its gate. What was
replaced stays beside until it is removed by policy.

It may be killed at any point. Until the first exchange nothing of the app was touched. From then on `restore.json` says
what to take back, and until that was done neither a deploy nor a recovery touches the app.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ..core.app import App
from ..core.clock import Clock, iso
from ..core.files import atomic_write, explain
from ..core.locks import hold_lock
from ..core.redact import redact
from ..deploy import deploy as deployment
from ..deploy import rolling
from ..docker import cgroup, engine
from ..docker import containers as docker_containers
from ..docker import images as docker_images
from ..docker import project as docker_project
from ..docker import volumes as docker_volumes
from ..env import history as env_history
from ..env import read as env_file
from ..env.rules import secrets_of
from ..host import command as commands
from ..host import procfs
from ..releases import haproxy
from ..releases import store as release_store
from . import atomic_swap, questions, remote_postgres, restic, scratch_model, sqlite_files
from . import create as backup_create
from . import sets as backup_sets
from . import volumes as backup_volumes
from .config import Backup
from .databases import BackupError, Database, differs, held, read_databases
from .sets import Set, What

Say = Callable[[str], None]

EXPECTED = (*backup_create.EXPECTED, deployment.DeployError, env_history.EnvError, haproxy.BalancerError)
LOCK_SECONDS = 120.0
UP_SECONDS, STOP_SECONDS, ASK_SECONDS = 300.0, 60.0, 600.0
# A server is the one that stays when it accepts connections from the network at two looks in a row.
READY_LOOKS, READY_LOOK_SECONDS, READY_SECONDS = 2, 1.0, 20.0
# The file system keeps some room for itself.
_SPARE = 1.1


class Scratch:
    """What lies beside an app while it is restored, or proved: folders, volumes, and a project that holds databases."""

    def __init__(self, config: Backup, name: str) -> None:
        app = config.app
        self.config, self.app, self.name = config, app, name
        self.project = f"{app.name}-{name}"
        # In the same file systems as what they are going to change places with.
        self.directory = os.path.join(os.path.dirname(app.directory), f".{os.path.basename(app.directory)}.{name}")
        self.state = os.path.join(app.state, name)
        self.compose = os.path.join(self.state, "compose.json")
        # Says that what was replaced is in no backup.
        self.only_copy = os.path.join(self.state, "only-copy")
        self.label = f"christmas.selfheal.{name}={app.name}"

    def volume(self, key: str) -> str:
        """The name of the volume that lies beside the app's."""
        return f"{self.project}_{key}"

    def remove(self) -> None:
        """Remove everything. Raises EngineError, OSError."""
        self.stop()
        docker_volumes.remove_volumes(docker_volumes.labelled_volumes(self.label))
        for path in (self.directory, self.state):
            shutil.rmtree(path, ignore_errors=True)

    def stop(self) -> None:
        """Stop the databases, give them time to write what they have, and remove containers and network."""
        _remove_containers(docker_project.Project(self.project, "/"))
        filters = ["--filter", f"label=com.docker.compose.project={self.project}"]
        networks = commands.run(["docker", "network", "ls", "--quiet", *filters], 10.0).out.split()
        if networks:
            commands.run(["docker", "network", "rm", *networks], 30.0)
        # It holds the env's values, and says that there may be something to stop.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.compose)

    def data(self, key: str) -> str:
        """The path of a data folder next to the app's."""
        return os.path.join(self.directory, key[2:])

    def make(self, keys: Iterable[str]) -> dict[str, str]:
        """Make empty volumes: {key: folder}."""
        names = {key: self.volume(key) for key in keys}
        for key, name in names.items():
            docker_volumes.make_volume(
                name, {"christmas.selfheal." + self.name: self.app.name, "christmas.selfheal.volume": key}
            )
        facts = docker_volumes.volume_facts(list(names.values()))
        return {key: str(facts[name]["path"]) for key, name in names.items()}

    def compose_words(self, *words: str) -> list[str]:
        """`docker compose` for the scratch project."""
        base = ["docker", "compose", "--project-name", self.project, "--project-directory", self.directory]
        return [*base, "--file", self.compose, *words]

    def container(self, service: str) -> str:
        """The id of the container of a service."""
        return str(self._instance(service)["id"])

    def pid(self, service: str) -> int:
        """The first process of the container of a service. Raises BackupError, with its log, when it has ended."""
        found = self._instance(service)
        if found["state"] == "running":
            return int(found["pid"])
        said = restic.first_error(
            _clean(self.config, self, docker_project.Project(self.project, "/").logs(str(found["id"])))
        )
        raise BackupError(f"a scratch database did not start: {service} ended with code {found['exit_code']}: {said}")

    def _instance(self, service: str) -> Mapping[str, Any]:
        for item in docker_project.Project(self.project, "/").containers():
            if item["service"] == service:
                return item
        raise BackupError(f"the scratch database {service} has no container")


# --- what is in a backup ---------------------------------------------------------------------------------------------


class Source:
    """One backup of the repository, and its manifest."""

    def __init__(self, config: Backup, to: str, now: float) -> None:
        restic.require()
        self.config = config
        snapshots = restic.snapshots(config.repository)
        self.set: Set = backup_sets.choose(backup_sets.read_sets(snapshots), config.app.name, config.host, to, now)
        text = restic.read_text(config.repository, self.set.parts[backup_sets.MANIFEST], "manifest.json")
        try:
            self.manifest: dict[str, Any] = json.loads(text)
            known = self.manifest["format"] in backup_sets.READABLE
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise BackupError(f"backup {self.set.id} was made by another version: update this one, then try again")
        problems = backup_sets.lacking(self.manifest, self.set.parts)
        if problems:
            raise BackupError(f"backup {self.set.id} is not whole: {'; '.join(problems)}")
        self.images = backup_sets.read_images(snapshots).get(self.manifest["images_mark"], "")
        self.databases = read_databases(self.manifest["databases"])

    @property
    def volumes(self) -> list[backup_volumes.Volume]:
        """The volumes that it holds."""
        return [backup_volumes.Volume(one["key"], one["name"], one["covered"]) for one in self.manifest["volumes"]]

    def chosen(self, what: What) -> list[backup_volumes.Volume]:
        """The volumes that are restored. Raises BackupError when the backup does not have what is asked for."""
        if what.kind == "env" and not self.manifest["env"]:
            raise BackupError(f"restore_what: backup {self.set.id} has no env: the app had none. Nothing was touched")
        if what.kind == "env":
            return []
        if what.kind == "app":
            return self.volumes
        if what.kind == "volume":
            found = [one for one in self.volumes if one.key == what.name]
            if not found:
                there = ", ".join(one.key for one in self.volumes) or "none"
                raise BackupError(f"restore_what: backup {self.set.id} has no volume {what.name}; it has {there}")
            return found
        databases = [one for one in self.databases if one.name == what.name]
        services = [one.service for one in databases]
        if not services:
            there = ", ".join(one.name for one in self.databases) or "none"
            raise BackupError(f"restore_what: backup {self.set.id} has no database {what.name}; it has {there}")
        if not services[0]:
            raise BackupError(f"nothing was touched: {self.by_hand(databases[0])}")
        found = [one for one in self.volumes if one.covered == services[0]]
        if not found:
            raise BackupError(f"restore_what: service {services[0]} has no volume of its own: restore the app instead")
        return found

    def dumps(self, volumes: Iterable[backup_volumes.Volume]) -> list[Database]:
        """The databases whose dumps fill these volumes."""
        services = {one.covered for one in volumes if one.covered}
        return [one for one in self.databases if one.service in services]

    @property
    def remote(self) -> list[Database]:
        """The databases of other servers."""
        return [one for one in self.databases if not one.service]

    def by_hand(self, database: Database) -> str:
        """Say that the live database of another server is left alone, and how a person loads its dump."""
        words = restic.dump_words(self.config.repository, self.set.parts[database.part], database.file)
        return (
            f"database {database.name} is on another server, which a restore leaves alone: what is written there since "
            f"would be lost, for all who use it. To load its dump, {remote_postgres.by_hand(words, database)}"
        )


def differences(config: Backup, source: Source, what: What) -> list[str]:
    """Say what a restore would change."""
    app, manifest, last = config.app, source.manifest, release_store.last_good(config.app.directory)
    age = f"backup {source.set.id}, made {manifest['time']} ({source.set.why})"
    found = [f"{what} would be that of {age}"]
    if what.kind == "app":
        here = last["id"] if last else "none"
        same = "the same" if here == manifest["release"] else f"here it is {here}"
        found.append(f"release {manifest['release'] or 'none'} ({same})")
    if what.kind in ("app", "env"):
        mark = backup_create.env_mark(app.env)
        same = "the same" if mark == manifest["env"] else f"here it is {mark or 'none'}"
        found.append(f"env {manifest['env']} ({same})")
    chosen = source.chosen(what)
    for volume in chosen:
        filled = ", ".join(one.name for one in source.dumps([volume]))
        found.append(f"volume {volume.key}: " + (f"from the dumps of {filled}" if filled else "its files"))
    found += [source.by_hand(one) for one in source.remote if what.kind == "app"]
    size = sum(int(manifest["parts"].get(part, 0)) for part in _parts(source, what, chosen))
    found.append(f"{size / 1e6:.1f} MB would be read, and the app would be stopped while it changes places")
    return found


def _parts(source: Source, what: What, chosen: list[backup_volumes.Volume]) -> list[str]:
    parts = [backup_sets.APP] if what.kind in ("app", "env") else []
    parts += [backup_sets.VOLUMES] if any(not one.covered for one in chosen) else []
    parts += (
        [backup_sets.SQLITE]
        if backup_sets.SQLITE in source.manifest["parts"] and what.kind in ("app", "volume")
        else []
    )
    return parts + [one.part for one in source.dumps(chosen)]


# --- beside ----------------------------------------------------------------------------------------------------------


def stage(source: Source, scratch: Scratch, what: What, say: Say, clock: Clock, proof: bool = False) -> dict[str, str]:
    """Have everything lie beside the app, and every dump in its database: {volume's key: folder}.

    :arg proof: with the dumps of other servers' databases, which no restore puts in place.
    """
    config, manifest = source.config, source.manifest
    if manifest["platform"] != engine.platform():
        raise BackupError(f"backup {source.set.id} is of {manifest['platform']}, and this host is {engine.platform()}")
    if what.kind == "app":
        _require_no_mounts(config.app.directory)
    scratch.remove()
    chosen = source.chosen(what)
    remote = source.remote if proof else []
    _require_room(source, what, chosen, remote)
    os.makedirs(scratch.state, mode=0o700, exist_ok=True)
    os.makedirs(scratch.directory, mode=0o700, exist_ok=True)
    atomic_swap.require(os.path.dirname(scratch.directory))
    repository, parts = config.repository, source.set.parts
    say("reading the app's own files")
    restic.put_files(repository, parts[backup_sets.APP], manifest["directory"], scratch.directory)
    for name in manifest["state_folders"] if what.kind == "app" else ():
        restic.put_files(repository, parts[backup_sets.APP], f"{manifest['state']}/{name}", f"{scratch.state}/{name}")
    folders = scratch.make([one.key for one in chosen if one.name])
    for one in sorted(chosen):
        if not one.name:
            folders[one.key] = scratch.data(one.key)
            os.makedirs(folders[one.key], exist_ok=True)
    for key, folder in folders.items():
        row = next(one for one in manifest["volumes"] if one["key"] == key)
        if not row["covered"]:
            say(f"reading volume {key}")
            restic.put_files(repository, parts[backup_sets.VOLUMES], row["path"], folder)
        if row["owner"]:
            uid, gid, mode = row["owner"]
            os.chown(folder, uid, gid)
            os.chmod(folder, mode)
    _put_sqlite(source, scratch, what, folders, say)
    _load_images(source, scratch, say)
    databases = source.dumps(chosen) + remote
    if databases:
        _load_databases(source, scratch, databases, say, clock)
    return folders


def _sqlite_places(source: Source, scratch: Scratch, folders: Mapping[str, str]) -> list[tuple[Mapping[str, Any], str]]:
    """The SQLite databases of the backup that are restored, each with its path in what is staged."""
    rows = source.manifest["volumes"]
    roots = {str(row["path"]): folders[row["key"]] for row in rows if row["path"] and row["key"] in folders}
    if all(row["key"] in folders for row in rows):
        roots.setdefault(source.manifest["directory"], scratch.directory)
    found = []
    for one in source.manifest.get("sqlite") or []:
        inside = [root for root in roots if str(one["path"]).startswith(root + "/")]
        if inside:
            root = max(inside, key=len)
            found.append((one, roots[root] + str(one["path"])[len(root) :]))
    return found


def _put_sqlite(source: Source, scratch: Scratch, what: What, folders: Mapping[str, str], say: Say) -> None:
    """Put the copies of SQLite databases where the databases were, each with its owner and mode."""
    places = _sqlite_places(source, scratch, folders) if what.kind in ("app", "volume") else []
    if not places:
        return
    say(f"reading {len(places)} SQLite databases")
    copies = os.path.join(scratch.state, backup_sets.SQLITE)
    kept = os.path.join(source.manifest["state"], backup_sets.SQLITE)
    restic.put_files(source.config.repository, source.set.parts[backup_sets.SQLITE], kept, copies)
    for one, path in places:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(os.path.join(copies, one["file"]), path)
        uid, gid, mode = one["owner"]
        os.chown(path, uid, gid)
        os.chmod(path, mode)
    shutil.rmtree(copies)


def _require_no_mounts(directory: str) -> None:
    """Raise BackupError when something in the app's directory is a mount: nothing can change places with it."""
    there = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    for path in (directory, *(os.path.join(directory, name) for name in there)):
        if os.path.ismount(path):
            raise BackupError(
                f"{path} is a mount, so what is restored could not take its place. Nothing was touched. Fix: mount it "
                "outside of the app's directory, or restore volume:NAME and database:NAME alone"
            )


def _require_room(
    source: Source, what: What, chosen: list[backup_volumes.Volume], remote: Iterable[Database] = ()
) -> None:
    """Raise BackupError when the disks have too little room for what is going to lie beside.

    A database takes more than its dump: what it took when that was made, and the dump while it is loaded. What one of
    another server took is not known: its rows take about what the dump does, and their indexes as much again.
    """
    sizes, keys = source.manifest["parts"], {one.key for one in chosen}
    app = int(sizes.get(backup_sets.APP, 0))
    data = sum(int(sizes.get(part, 0)) for part in _parts(source, what, chosen) if part != backup_sets.APP)
    rows = [row for row in source.manifest["volumes"] if row["key"] in keys]
    app += sum(int(row.get("used", 0)) for row in rows if not row.get("name", "-"))
    data += sum(int(row.get("used", 0)) for row in rows if row.get("name", "-"))
    data += sum(3 * int(sizes[one.part]) for one in remote)
    for path, needed in ((source.config.app.directory, app), (engine.data_root(), data)):
        free = int(procfs.disk([path])[0]["free_bytes"])
        if free < needed * _SPARE + (64 << 20):
            raise BackupError(
                f"too little room at {path}: {free >> 20} MiB are free, and the backup needs {needed >> 20} MiB beside "
                "what is there. Make room, then run this again. Nothing was touched"
            )


def _load_images(source: Source, scratch: Scratch, say: Say) -> None:
    """Have the images of the backup's release on this host: from the backup, or from the registry that holds them.

    They are pulled by their digests: their names may mean newer ones by now.
    """
    wanted = source.manifest["images"]
    if all(docker_images.has_image(image) for image in wanted.values()):
        return
    if source.images:
        say("loading the images")
        restic.pour(source.config.repository, source.images, "images.tar", ["docker", "load", "--quiet"])
    last = release_store.last_good(scratch.directory)
    for service, image in sorted(wanted.items()):
        pin = (last or {}).get("pins", {}).get((last or {}).get("names", {}).get(service, ""), "")
        if docker_images.has_image(image) or not pin:
            continue
        say(f"pulling {pin}")
        pulled = docker_project.Project(scratch.project, "/").pull({pin: pin})
        if pulled.code:
            raise BackupError(f"the image of service {service}, {pin}, cannot be pulled: {pulled.reason}")


def _load_databases(source: Source, scratch: Scratch, databases: list[Database], say: Say, clock: Clock) -> None:
    """Start empty databases, as the backup's compose file has them, and load the dumps into them."""
    config = source.config
    try:
        model = docker_project.Project(config.app.name, scratch.directory).config(profiles=True)
    except engine.EngineError as error:
        raise BackupError(_clean(config, scratch, str(error))) from None
    services = {one.service for one in databases if one.service}
    for service in sorted(services):
        image = source.manifest["images"].get(service, "")
        if image and not docker_images.has_image(image):
            raise BackupError(
                f"the image of service {service} is neither on this host nor in the backup: pull it first"
            )
    names = {one.key: scratch.volume(one.key) for one in source.volumes if one.name and one.covered in services}
    waited = {one.service for one in databases if one.ready}
    made = scratch_model.scratch_model(model, services, source.manifest["images"], names, waited)
    for database in databases:
        if not database.service:
            backup_create.bring_image(config, database, say)
            # Whoever the image has for PostgreSQL writes into it.
            os.chmod(scratch.make([database.scratch])[database.scratch], 0o1777)
            made["services"][database.scratch] = remote_postgres.server(database.image, database.scratch)
            made["volumes"][database.scratch] = {"name": scratch.volume(database.scratch), "external": True}
    atomic_write(scratch.compose, json.dumps(made).encode(), mode=0o600)
    say(f"starting scratch databases: {', '.join(sorted({one.scratch for one in databases}))}")
    words = ["up", "--detach", "--no-build", "--wait", "--wait-timeout", f"{UP_SECONDS:.0f}"]
    started = commands.run(scratch.compose_words(*words), UP_SECONDS + 60.0)
    if started.code:
        raise BackupError(f"a scratch database did not start: {_clean(config, scratch, started.reason)}")
    values = _values(config, scratch, clock)
    for database in databases:
        secrets = {variable: values.get(name, "") for variable, name in database.secrets.items()}
        if database.ready:
            _await_server(scratch, database, secrets, say, clock)
        say(f"loading database {database.name}")
        command = docker_containers.within(scratch.container(database.scratch), database.load, secrets, stdin=True)
        snapshot = source.set.parts[database.part]
        said = restic.pour(config.repository, snapshot, database.file, command, secrets)
        if not database.service:
            for line in said.splitlines():
                say(f"not made for want of what only its own server has: {line}")


def _await_server(scratch: Scratch, database: Database, secrets: Mapping[str, str], say: Say, clock: Clock) -> None:
    """Wait for the server that stays. Raises BackupError.

    At a first start the entrypoint of an image serves with a temporary server, fills it, and ends it: what is loaded
    into that one is lost half-way. It accepts connections from its own container only.
    """
    until, seen, last = clock.monotonic() + UP_SECONDS, 0, commands.Result(1, "", "it does not answer")
    while clock.monotonic() < until:
        pid = scratch.pid(database.service)
        command = docker_containers.within(scratch.container(database.service), database.ready, secrets)
        last = restic.run_with(command, secrets, READY_SECONDS)
        answers = last.code == 0
        seen = seen + 1 if answers and cgroup.accepts(pid) else 0
        if seen == READY_LOOKS:
            return
        clock.sleep(READY_LOOK_SECONDS)
    if last.code:
        raise BackupError(
            f"the scratch database of service {database.service} does not answer for {UP_SECONDS:.0f} s: "
            f"{restic.first_error(last.err or last.out)}. Fix: see its image's log of a first start"
        )
    say(f"{database.service} accepts no connection from the network; its dump is loaded through its socket")


def _values(config: Backup, scratch: Scratch, clock: Clock) -> dict[str, str]:
    """The values of the backup's own env."""
    beside = App(config.app.name, scratch.directory, config.app.variables, root=config.app.root)
    found: dict[str, str] = env_file.read(beside, clock.now())["values"]
    return found


def _clean(config: Backup, scratch: Scratch, text: str) -> str:
    return redact(text, secrets_of(config.app.variables, _values(config, scratch, Clock())))


# --- the proof -------------------------------------------------------------------------------------------------------


def prove(
    source: Source, scratch: Scratch, folders: Mapping[str, str], clock: Clock, every: bool = False
) -> list[dict[str, Any]]:
    """Ask what was restored: [{about, problem}].

    :arg every: that a check's database or volume is not in the backup is a problem; else that check is left out.
    """
    config, found = source.config, []
    values = _values(config, scratch, clock)
    loaded = {one.name: one for one in source.dumps([one for one in source.volumes if one.key in folders])}
    loaded.update({one.name: one for one in source.remote if every})
    for check in config.checks:
        if check.get("database", "") in loaded:
            database = loaded[check["database"]]
            secrets = {variable: values.get(name, "") for variable, name in database.secrets.items()}
            command = docker_containers.within(
                scratch.container(database.scratch), questions.question(database, check["ask"]), secrets
            )
            asked = restic.run_with(command, secrets, ASK_SECONDS)
            problem = (
                questions.judge(check, asked.out) if asked.code == 0 else f"{questions.about(check)}: {asked.reason}"
            )
        elif check.get("volume", "") in folders:
            problem = _ask_folder(check, folders[check["volume"]])
        elif every:
            problem = f"{questions.about(check)}: that is not in it"
        else:
            continue
        found.append({"about": questions.about(check), "problem": problem})
    found += [_compare_tables(source, scratch, one, values) for one in loaded.values() if one.tables]
    return found + _check_sqlite(source, scratch, folders)


def _compare_tables(source: Source, scratch: Scratch, database: Database, values: Mapping[str, str]) -> dict[str, Any]:
    """Compare how many tables a dump made with what its server had: {about, problem}."""
    counts = _counted(scratch, database, database.tables, values)
    dumped = (source.manifest.get("tables") or {}).get(database.name) or []
    problem = differs(database, sum(counts), dumped)
    return {"about": f"database {database.name}: as many as when it was dumped: {sum(counts)}", "problem": problem}


def _counted(scratch: Scratch, database: Database, words: Sequence[str], values: Mapping[str, str]) -> list[int]:
    """The numbers that a loaded database prints. Raises BackupError."""
    secrets = {variable: values.get(name, "") for variable, name in database.secrets.items()}
    asked = restic.run_with(
        docker_containers.within(scratch.container(database.scratch), words, secrets), secrets, ASK_SECONDS
    )
    lines = asked.out.split()
    if asked.code or not all(line.isdigit() for line in lines):
        raise BackupError(f"database {database.name}: {restic.first_error(asked.err or asked.out)}")
    return [int(line) for line in lines]


def _contents(source: Source, scratch: Scratch, checks: Iterable[Mapping[str, Any]], clock: Clock) -> list[str]:
    """What was verified, and how, a line for each thing."""
    values = _values(source.config, scratch, clock)
    manifest = source.manifest
    names = (release_store.last_good(scratch.directory) or {}).get("names", {})
    found = ["the app's own files: checksums"]
    for database in [*source.dumps(source.volumes), *source.remote]:
        image = database.image or names.get(database.service) or manifest["images"].get(database.service, "")
        how = f"database {database.name}: loaded into a throwaway server of {image}"
        counts = _counted(scratch, database, database.rows, values) if database.rows else []
        found.append(f"{how}, {held(database.kind, counts)}" if database.rows else f"{how}, not counted")
    found += [f"volume {one.key}: checksums of its files" for one in source.volumes if not one.covered]
    found += [str(one["about"]) for one in checks if str(one["about"]).startswith("SQLite ")]
    if manifest["images_mark"]:
        found.append("the images: they are in the repository")
    return found


def _check_sqlite(source: Source, scratch: Scratch, folders: Mapping[str, str]) -> list[dict[str, Any]]:
    """Have SQLite check each database that was restored: [{about, problem}]."""
    found = []
    for one, path in _sqlite_places(source, scratch, folders):
        content = sqlite_files.check(path)
        about = f"SQLite {one['path']}: integrity_check, {content.tables} tables, {content.rows} rows"
        found.append({"about": about, "problem": content.problem and f"SQLite {one['path']}: {content.problem}"})
    return found


def _ask_folder(check: Mapping[str, Any], folder: str) -> str:
    """Say why a restored folder is not as a check expects it, "" when it is."""
    path = os.path.join(folder, str(check.get("sums") or check["path"]).lstrip("/"))
    if not os.path.lexists(path):
        return f"{questions.about(check)} is not there"
    if "sums" in check:
        return _compare_sums(path, questions.about(check))
    if "equals" in check:
        with open(path, "rb") as stream:
            return questions.judge(check, stream.read(1 << 20).decode("utf-8", "replace"))
    count = sum(len(files) for _, _, files in os.walk(path)) if os.path.isdir(path) else os.path.getsize(path)
    return questions.judge(check, str(count))


def _compare_sums(path: str, about: str) -> str:
    """Compare files with the sums that sha256sum wrote of them; "" when all are as they were."""
    count = 0
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            # With * before the name when it was read as binary.
            wanted, name = line[:64], line.rstrip("\n")[66:]
            if line[64:66] not in ("  ", " *") or not name:
                return f"{about}: {line.strip()[:80]!r} is no line of sha256sum"
            try:
                with open(os.path.join(os.path.dirname(path), name), "rb") as file:
                    made = hashlib.sha256()
                    while block := file.read(1 << 20):
                        made.update(block)
            except OSError as error:
                return f"{about}: {explain(error)}"
            if made.hexdigest() != wanted:
                return f"{about}: {name} has another sum"
            count += 1
    return "" if count else f"{about} lists no file"


def verify(config: Backup, say: Say, clock: Clock) -> dict[str, Any]:
    """Restore the newest backup next to the app, ask whether it is whole, remove it.

    Returns {set, seconds, checks, contents, changed}; `contents` says of each thing how it was verified.

    The newest that is not dated later than now: one that is says that a clock was wrong, not that it is the newest.

    :raises LockHeld: another backup, verification or restore of this app goes on.
    :raises BackupError, RepositoryError, EngineError, OSError: it is not whole, or that cannot be told.
    """
    begun = clock.monotonic()
    with backup_create.alone(config, "verify a backup of"):
        try:
            identity, checks, contents = _prove_newest(config, say, clock)
        except EXPECTED as error:
            text = explain(error) if isinstance(error, OSError) else str(error)
            backup_create.trouble(config, clock, "verify", text)
            raise
        seconds = round(clock.monotonic() - begun, 1)
        done = {"set": identity, "at": clock.now(), "seconds": seconds, "contents": contents}
        backup_create.remember(config, clock, last_verified=done)
        backup_create.trouble(config, clock, "verify", "")
    for line in contents:
        say(f"verified: {line}")
    say(f"backup {identity} is proved: {len(checks)} checks passed")
    return {**done, "checks": checks, "changed": False}


@backup_create.redacted
def _prove_newest(config: Backup, say: Say, clock: Clock) -> tuple[str, list[dict[str, Any]], list[str]]:
    """The id of the newest backup, what was asked of it, and what was verified in which way."""
    restic.require()
    restic.make_ready(config.repository, may_make=False)
    restic.check(config.repository, config.check_percent)
    source, scratch = Source(config, iso(clock.now()), clock.now()), Scratch(config, "verify")
    say(f"proving backup {source.set.id}")
    if source.manifest["images_mark"] and not source.images:
        raise BackupError(f"backup {source.set.id} is not whole: its images are missing")
    try:
        folders = stage(source, scratch, What("app"), say, clock, proof=True)
        checks = prove(source, scratch, folders, clock, every=True)
        wrong = [one["problem"] for one in checks if one["problem"]]
        contents = [] if wrong else _contents(source, scratch, checks, clock)
    finally:
        with contextlib.suppress(engine.EngineError, OSError):
            scratch.remove()
    if wrong:
        raise BackupError(f"backup {source.set.id} is not what it should be: {'; '.join(wrong)}")
    return source.set.id, checks, contents


# --- the restore -----------------------------------------------------------------------------------------------------


@backup_create.redacted
def restore(config: Backup, to: str, what: What, say: Say, clock: Clock, check: bool = False) -> dict[str, Any]:
    """Restore from a backup: {set, what, changed, differences, safety, unsaved, checks, seconds, gap}.

    :raises LockHeld: another backup or restore of this app goes on.
    :raises BackupError, RepositoryError, EngineError, DeployError, OSError: the app is as it was.
    """
    begun = clock.monotonic()
    if check:
        source = Source(config, to, clock.now())
        return {
            "set": source.set.id,
            "what": str(what),
            "changed": True,
            "differences": differences(config, source, what),
        }
    scratch = Scratch(config, "restore")
    with backup_create.alone(config, "restore"):
        settle(config, say, clock)
        if os.path.lexists(scratch.only_copy):
            raise BackupError(
                "what the last restore replaced could not be backed up, and this one would remove the only copy: "
                f"{scratch.directory}, and the volumes of `docker volume ls --filter label={scratch.label}`. "
                f"Fix: copy from there what you need, then: rm {scratch.only_copy}"
            )
        restic.make_ready(config.repository, may_make=False)
        source = Source(config, to, clock.now())
        changes = differences(config, source, what)
        say(f"restoring {what} from backup {source.set.id}")
        replaces = _replaces(source)
        safety = _safety(config, say, clock) if replaces else ""
        unsaved = replaces and not safety
        try:
            folders = stage(source, scratch, what, say, clock)
            checks = prove(source, scratch, folders, clock)
            wrong = [one["problem"] for one in checks if one["problem"]]
            if wrong:
                raise BackupError(
                    f"backup {source.set.id} is not what it should be: {'; '.join(wrong)}. The app was not touched"
                )
            scratch.stop()
            gap = _switch(source, scratch, what, folders, unsaved, say, clock)
        except BaseException:
            # What may have to be taken back is not removed.
            if not os.path.lexists(config.app.restoring):
                with contextlib.suppress(engine.EngineError, OSError):
                    scratch.remove()
            raise
        seconds = round(clock.monotonic() - begun, 1)
    for database in source.remote if what.kind == "app" else ():
        say(source.by_hand(database))
    say(f"{what} is that of backup {source.set.id}; the app was stopped for {gap:.1f} s")
    return {
        "set": source.set.id,
        "what": str(what),
        "changed": True,
        "differences": changes,
        "safety": safety,
        "unsaved": unsaved,
        "checks": checks,
        "seconds": seconds,
        "gap": round(gap, 1),
    }


def _replaces(source: Source) -> bool:
    """Whether there is something of the app here: on a new host there may be its env alone."""
    app = source.config.app
    return bool(
        docker_project.Project(app.name, app.directory).files
        or docker_volumes.volume_facts([one.name for one in source.volumes if one.name])
    )


def _safety(config: Backup, say: Say, clock: Clock) -> str:
    """Back up what is going to be replaced; its id, "" when that cannot be done: what is broken is restored, too."""
    try:
        say("backing up what is going to be replaced")
        return str(backup_create.make(config, backup_sets.SAFETY, say, clock)["set"])
    except backup_create.EXPECTED as error:
        say(f"it cannot be backed up ({error}); it stays beside what takes its place, until you remove it")
        return ""


def _switch(
    source: Source, scratch: Scratch, what: What, folders: Mapping[str, str], unsaved: bool, say: Say, clock: Clock
) -> float:
    """Stop the app, let everything change places, and have it pass its gate; for how long it was stopped.

    :arg unsaved: whether what is replaced is in no backup.
    """
    app = source.config.app
    with hold_lock(app.lock, LOCK_SECONDS, f"restore {app.name}", app.restoring):
        moves: list[dict[str, Any]] = []
        ran = bool(docker_project.Project(app.name, app.directory).containers())
        note = {"set": source.set.id, "what": str(what), "at": iso(clock.now()), "moves": moves, "ran": ran}
        # What lies beside has to be on the disk before anything relies on it.
        os.sync()
        atomic_write(app.restoring, json.dumps(note).encode())
        stopped = clock.monotonic()
        try:
            say("stopping the app")
            _down(app)
            # Not before: until then the app may have replaced files of its own.
            moves += _moves(source, scratch, what, folders)
            atomic_write(app.restoring, json.dumps(note).encode())
            if unsaved:
                atomic_write(scratch.only_copy, b"")
            atomic_swap.do(moves)
            say("starting the app with what was restored")
            # Another env makes another release of the same files and images.
            last = release_store.last_good(app.directory)
            how = deployment.How(build=bool(last is None or last["contexts"]), say=say)
            deployment.serve_restored(app, how, last if what.kind != "env" else None, clock)
            if what.kind in ("app", "env"):
                env_history.remember(app.env, app.history, now=clock.now())
        except EXPECTED as error:
            say(f"taking it back: {str(error).splitlines()[0]}")
            _take_back(app, moves, ran, say, clock)
            raise BackupError(f"{error}\nWhat was there before is back in its place.") from error
        gap = clock.monotonic() - stopped
        os.unlink(app.restoring)
    return gap


def _moves(source: Source, scratch: Scratch, what: What, folders: Mapping[str, str]) -> list[dict[str, Any]]:
    """What changes places."""
    app = source.config.app
    moves: list[dict[str, Any]] = []
    for volume in source.chosen(what):
        if not volume.name:
            # Those of the whole app change places with its directory.
            if what.kind != "app":
                here = os.path.join(app.directory, volume.key[2:])
                os.makedirs(os.path.dirname(here), exist_ok=True)
                moves.append(atomic_swap.plan(here, folders[volume.key]))
            continue
        labels = {"com.docker.compose.project": app.name, "com.docker.compose.volume": volume.key}
        if volume.name not in docker_volumes.volume_facts([volume.name]):
            docker_volumes.make_volume(volume.name, labels)
        here = str(docker_volumes.volume_facts([volume.name])[volume.name]["path"])
        moves.append(atomic_swap.plan(here, folders[volume.key]))
    if what.kind == "env":
        moves.append(atomic_swap.plan(app.env, os.path.join(scratch.directory, ".env")))
    if what.kind == "app":
        os.makedirs(app.directory, exist_ok=True)
        moves += atomic_swap.plan_entries(app.directory, scratch.directory)
        moves += [
            atomic_swap.plan(os.path.join(app.state, name), os.path.join(scratch.state, name))
            for name in source.manifest["state_folders"]
        ]
    return moves


def _down(app: App) -> None:
    """Stop and remove the app's containers, each after the time that it is given to end by itself."""
    _remove_containers(docker_project.Project(app.name, app.directory))


def _remove_containers(project: docker_project.Project) -> None:
    """Stop and remove the containers of a project. Raises EngineError when one is still there.

    It would write on into what it has open, wherever that lies after an exchange.
    """
    project.remove([item["id"] for item in project.containers()], STOP_SECONDS, 60.0)
    left = [str(item["name"]) for item in project.containers()]
    if left:
        raise engine.EngineError(f"containers cannot be removed: {', '.join(left)}. Try: docker rm --force, then again")


def _take_back(app: App, moves: list[dict[str, Any]], ran: bool, say: Say, clock: Clock) -> None:
    """Put what was there before in its place again, start it, and forget the restore."""
    _down(app)
    atomic_swap.undo(moves)
    # What a killed run had started may have gone on until now, with the other volumes.
    _down(app)
    last = release_store.last_good(app.directory)
    if ran:
        try:
            deployment.serve_restored(app, deployment.How(say=say), last, clock)
        except EXPECTED as error:
            # It was ill before: that is what recovery is for, which waits until the restore is forgotten.
            say(f"what was there before does not pass its gate either: {str(error).splitlines()[0]}")
    rolling.finish(app)
    os.unlink(app.restoring)


@backup_create.redacted
def settle(config: Backup, say: Say, clock: Clock) -> bool:
    """Take back what was killed: a restore, whether it had begun to change places or not, and a proof.

    The caller holds the backup's lock. Whether there was a restore that changed places.
    """
    app = config.app
    proof, restoring = Scratch(config, "verify"), Scratch(config, "restore")
    backup_create.end_dumps(config)
    # What a restore has replaced stays in its folder.
    for scratch, trace in ((proof, proof.state), (restoring, restoring.compose)):
        if os.path.lexists(trace):
            say(f"something was killed: removing what it had beside ({scratch.project})")
            scratch.remove()
    try:
        with open(app.restoring, encoding="utf-8") as stream:
            found = json.load(stream)
        moves, ran = list(found["moves"]), bool(found["ran"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        raise BackupError(
            f"{app.restoring} is damaged: look what lies beside {app.directory}, then remove it"
        ) from None
    with hold_lock(app.lock, LOCK_SECONDS, f"take back a restore of {app.name}"):
        say(f"a restore of {found.get('what')} was killed half-way: taking it back")
        _take_back(app, moves, ran, say, clock)
        restoring.remove()
    return True


def remove_kept(config: Backup, clock: Clock) -> bool:
    """Remove what the last restore replaced, when it is old enough; whether there was something to remove.

    The caller holds the backup's lock.
    """
    scratch = Scratch(config, "restore")
    if os.path.lexists(config.app.restoring) or not os.path.isdir(scratch.state):
        return False
    if os.path.lexists(scratch.only_copy):
        return False
    if clock.now() - os.stat(scratch.state).st_mtime < 86400.0 * config.kept_days:
        return False
    scratch.remove()
    return True
