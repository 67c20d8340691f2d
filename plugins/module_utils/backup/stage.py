# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a backup next to the app: its files into folders and volumes, its dumps into databases of a scratch project.

A restore and a verification begin like this. Nothing of the app is touched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from typing import Callable

from ..core.clock import Clock
from ..core.files import atomic_write
from ..docker import cgroup, engine
from ..docker import containers as docker_containers
from ..docker import images as docker_images
from ..docker import project as docker_project
from ..docker.model import Spec
from ..host import command as commands
from ..host import procfs
from ..releases import store as release_store
from . import atomic_swap, remote_postgres, restic, scratch_model
from . import create as backup_create
from . import sets as backup_sets
from .databases import BackupError, Database
from .scratch import Scratch
from .sets import SqliteRow, What
from .source import Source, parts_of
from .volumes import Volume

Say = Callable[[str], None]

UP_SECONDS = 300.0
# A server is the one that stays when it accepts connections from the network at two looks in a row.
READY_LOOKS, READY_LOOK_SECONDS, READY_SECONDS = 2, 1.0, 20.0
# The file system keeps some room for itself.
_SPARE = 1.1


def stage(source: Source, scratch: Scratch, what: What, say: Say, clock: Clock, remote: bool = False) -> dict[str, str]:
    """Put a backup's files next to the app, and its dumps into scratch databases: {volume's key: folder}.

    :arg remote: with the dumps of other servers' databases, which no restore puts in place.
    """
    config, manifest = source.config, source.manifest
    if manifest["platform"] != engine.platform():
        raise BackupError(f"backup {source.set.id} is of {manifest['platform']}, and this host is {engine.platform()}")
    if what.kind == "app":
        _require_no_mounts(config.paths.directory)
    scratch.remove()
    chosen = source.chosen(what)
    others = source.remote if remote else []
    _require_room(source, what, chosen, others)
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
    databases = source.dumps(chosen) + others
    if databases:
        _load_databases(source, scratch, databases, say, clock)
    return folders


def sqlite_places(source: Source, scratch: Scratch, folders: Mapping[str, str]) -> list[tuple[SqliteRow, str]]:
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
    places = sqlite_places(source, scratch, folders) if what.kind in ("app", "volume") else []
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
    """Raise BackupError when something in the app's directory is a mount: it cannot be swapped."""
    there = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    for path in (directory, *(os.path.join(directory, name) for name in there)):
        if os.path.ismount(path):
            raise BackupError(
                f"{path} is a mount, so what is restored could not take its place. Nothing was touched. Fix: mount it "
                "outside of the app's directory, or restore volume:NAME and database:NAME alone"
            )


def _require_room(source: Source, what: What, chosen: list[Volume], remote: Iterable[Database] = ()) -> None:
    """Raise BackupError when the disks have too little room for what is going to be staged.

    A database needs more than its dump: its size when that was made, and the dump while it is loaded. The size of one
    on another server is not known: its rows need about as much as the dump, and their indexes as much again.
    """
    sizes, keys = source.manifest["parts"], {one.key for one in chosen}
    app = int(sizes.get(backup_sets.APP, 0))
    data = sum(int(sizes.get(part, 0)) for part in parts_of(source, what, chosen) if part != backup_sets.APP)
    rows = [row for row in source.manifest["volumes"] if row["key"] in keys]
    app += sum(int(row.get("used", 0)) for row in rows if not row.get("name", "-"))
    data += sum(int(row.get("used", 0)) for row in rows if row.get("name", "-"))
    data += sum(3 * int(sizes[one.part]) for one in remote)
    for path, needed in ((source.config.paths.directory, app), (engine.data_root(), data)):
        free = int(procfs.disk([path])[0]["free_bytes"])
        if free < needed * _SPARE + (64 << 20):
            raise BackupError(
                f"too little room at {path}: {free >> 20} MiB are free, and the backup needs {needed >> 20} MiB on top "
                "of what is there. Make room, then run this again. Nothing was touched"
            )


def _load_images(source: Source, scratch: Scratch, say: Say) -> None:
    """Load the images of the backup's release: from the backup, or from the registry that has them.

    They are pulled by their digests: their names may point to newer ones by now.
    """
    wanted = source.manifest["images"]
    if all(docker_images.has_image(image) for image in wanted.values()):
        return
    if source.images:
        say("loading the images")
        restic.pour(source.config.repository, source.images, "images.tar", ["docker", "load", "--quiet"])
    last = release_store.last_good(scratch.directory)
    for service, image in sorted(wanted.items()):
        pin = last.get("pins", {}).get(last["names"].get(service, ""), "") if last else ""
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
        model = docker_project.Project(config.paths.name, scratch.directory).config(profiles=True)
    except engine.EngineError as error:
        raise BackupError(scratch.redacted(str(error))) from None
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
    servers: dict[str, Spec] = dict(made["services"])
    volumes: dict[str, Spec] = dict(made["volumes"])
    for database in databases:
        if not database.service:
            backup_create.bring_image(config, database, say)
            # The image's own user for PostgreSQL writes into it.
            os.chmod(scratch.make([database.scratch])[database.scratch], 0o1777)
            servers[database.scratch] = remote_postgres.server(database.image, database.scratch)
            volumes[database.scratch] = {"name": scratch.volume(database.scratch), "external": True}
    atomic_write(scratch.compose, json.dumps({**made, "services": servers, "volumes": volumes}).encode(), mode=0o600)
    say(f"starting scratch databases: {', '.join(sorted({one.scratch for one in databases}))}")
    words = ["up", "--detach", "--no-build", "--wait", "--wait-timeout", f"{UP_SECONDS:.0f}"]
    started = commands.run(scratch.compose_words(*words), UP_SECONDS + 60.0)
    if started.code:
        raise BackupError(f"a scratch database did not start: {scratch.redacted(started.reason)}")
    values = scratch.env_values(clock)
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
                say(f"not created, as it needs something that only its own server has: {line}")


def _await_server(scratch: Scratch, database: Database, secrets: Mapping[str, str], say: Say, clock: Clock) -> None:
    """Wait for the server that stays. Raises BackupError.

    At a first start an image's entrypoint starts a temporary server, fills it and stops it: a dump that is loaded into
    that one is lost. It accepts connections from its own container only.
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
