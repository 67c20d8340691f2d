# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole backups, restores and verifications against an engine and a repository in memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, outcome
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import create as backup_create
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import restic, restore, stage
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import sets as backup_sets
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import verify as backup_verify
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.config import Backup
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.databases import BackupError, read_databases
from ansible_collections.christmas.selfheal.plugins.module_utils.core import locks
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import cgroup
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.tests.unit.world import (
    DONE,
    OTHER_TOKEN,
    REMOTE,
    ROW,
    Container,
    Killed,
    World,
    die,
    digest,
    live,
    simulated,
)

FILES = {"volumes": [{"type": "volume", "source": "files", "target": "/files"}]}
ONE = digest("version 1")
DATABASE = read_databases([ROW])[0]
DSN = "postgresql://shop:hunter2-hunter2@db.internal/shop"


def prepare(world: World) -> World:
    """The app serves, and has data: three rows, and a file in a volume that no dump fills."""
    world.compose(web=FILES)
    deployment.deploy(world.app, deployment.How(), clock=world.clock)
    world.rows().write_text("1\n2\n3\n", encoding="utf-8")
    (world.docker.folder("shop_files") / "a.txt").write_text("a", encoding="utf-8")
    world.docker.acts.clear()
    return world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch) as it:
        yield prepare(it)


@pytest.fixture
def config(world: World) -> Backup:
    return world.backup(checks=[{"database": "shop", "ask": "SELECT count(*) FROM orders", "minimum": 3}])


def back_up(world: World, config: Backup, why: str = "hand") -> backup_create.BackupResult:
    """An hour after what was done before."""
    world.tick(3600.0)
    world.said.clear()
    return backup_create.back_up(config, why, world.say, world.clock)


def parts(world: World) -> list[str]:
    return [one["part"] for one in world.repository.parts()]


def problems(config: Backup) -> dict[str, str]:
    return {what: one["text"] for what, one in state.read_backup(config.paths.backup)["problems"].items()}


def snapshot(world: World, part: str) -> str:
    """The oldest snapshot of a part."""
    return next(name for name, one in world.repository.snapshots.items() if f"part={part}" in one["tags"])


def text(world: World, part: str, name: str) -> str:
    """What the newest snapshot of a part has of a file."""
    newest = [one["id"] for one in world.repository.snapshots.values() if f"part={part}" in one["tags"]][-1]
    return world.repository.text(newest, name)


# --- a backup --------------------------------------------------------------------------------------------------------


def test_a_backup_holds_the_dump_the_files_and_last_of_all_what_it_is_made_of(world: World, config: Backup) -> None:
    done = back_up(world, config)
    assert parts(world) == ["database:shop", "volumes", "app", "images", "manifest"]
    assert text(world, "database:shop", "shop.dump") == "1\n2\n3\n"
    assert text(world, "app", f"{config.paths.directory}/compose.yaml") == world.files()["compose.yaml"]
    kept = [path for files_ in world.repository.files.values() for path in files_]
    assert str(world.docker.folder("shop_files") / "a.txt") in kept
    assert str(world.rows()) not in kept
    assert (done["changed"], done["forgotten"], done["not_in_it"]) == (True, [], [])
    assert [one.id for one in backup_create.list_sets(config)] == [done["set"]]
    memory = state.read_backup(config.paths.backup)
    assert memory["last_success"] is not None
    assert (memory["last_success"]["set"], memory["problems"]) == (done["set"], {})
    metrics = (world.root / "metrics/selfheal-shop-backup.prom").read_text(encoding="utf-8")
    assert f'selfheal_backup_size_bytes{{app="shop"}} {done["bytes"]}' in metrics
    assert world.docker.acts == []


def test_images_that_no_registry_holds_are_kept_once(world: World, config: Backup) -> None:
    back_up(world, config)
    back_up(world, config)
    assert parts(world).count("images") == 1
    assert json.loads(text(world, "images", "images.tar")) == [ONE]


def _dump_fails(world: World) -> None:
    world.docker.fails[DATABASE.dump[2]] = "pg_dump: error: out of memory"


def _no_entry(world: World) -> None:
    world.docker.fails[list(DATABASE.who)[2]] = 'psql: error: role "postgres" does not exist'


def _not_counted(world: World) -> None:
    world.docker.fails[list(DATABASE.tables)[2]] = "psql: error: permission denied"


def _database_down(world: World) -> None:
    next(one for one in world.docker.of("shop") if one.service == "database").state = "exited"


def _volume_gone(world: World) -> None:
    del world.docker.volumes["shop_files"]


def _volume_elsewhere(world: World) -> None:
    world.docker.volumes["shop_files"]["driver"] = "nfs"


def _restore_killed(world: World) -> None:
    Path(world.app.paths.restoring).write_text("{}", encoding="utf-8")


def _repository_gone(world: World) -> None:
    world.repository.exists = False


def _repository_full(world: World) -> None:
    world.repository.fails["part=volumes"] = (1, "write /srv/backup/data: no space left on device")


def _no_version(world: World) -> None:
    world.repository.fails["part=app"] = (0, "")


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_dump_fails, "shop.dump cannot be made: .*out of memory", id="a dump fails"),
        pytest.param(
            _no_entry, r"backup_databases \(shop\): service database: .*Fix: write `user: NAME`", id="no role"
        ),
        pytest.param(_not_counted, r"backup_databases \(shop\): psql: error: permission denied", id="not allowed"),
        pytest.param(_database_down, "service database does not run.*Fix: christmas.selfheal.recover first", id="down"),
        pytest.param(
            _volume_gone, r"volume files \(shop_files\) is not on this host.*backup_volumes_left_out", id="gone"
        ),
        pytest.param(_volume_elsewhere, "volume files is not a folder of this host.*backup_volumes_left_out", id="nfs"),
        pytest.param(_restore_killed, "run `selfheal backup settle --app shop` first", id="a restore was killed"),
        pytest.param(_repository_gone, "not there any more, though a backup was made there.*mounted", id="repository"),
        pytest.param(_repository_full, "the disk is full: restic backup says", id="full"),
        pytest.param(_no_version, "restic printed no summary", id="another restic"),
    ],
)
def test_a_backup_that_fails_is_not_a_backup_and_is_remembered_until_one_succeeds(
    world: World, config: Backup, happens: Callable[[World], None], said: str
) -> None:
    good = back_up(world, config)["set"]
    before = dict(world.docker.volumes["shop_files"])
    happens(world)
    with pytest.raises(backup_create.EXPECTED, match=f"(?s){said}"):
        back_up(world, config)
    assert list(problems(config)) == ["backup"]
    world.docker.fails.clear()
    world.repository.fails.clear()
    world.repository.exists = True
    world.docker.volumes["shop_files"] = before
    next(one for one in world.docker.of("shop") if one.service == "database").state = "running"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(world.app.paths.restoring)
    assert [one.id for one in backup_create.list_sets(config)] == [good]
    after = back_up(world, config)["set"]
    assert [one.id for one in backup_create.list_sets(config)] == [good, after]
    assert {one["set"] for one in world.repository.parts() if "set" in one} == {good, after}
    assert problems(config) == {}


def test_files_that_a_deploy_changes_meanwhile_are_copied_again(world: World, config: Backup) -> None:
    changes = ["services: {web: {image: shop:1}}\n"]

    def before(line: str) -> None:
        if line.startswith("restic backup") and "part=app" in line and changes:
            Path(config.paths.directory, "compose.yaml").write_text(changes.pop(), encoding="utf-8")

    world.docker.before = before
    back_up(world, config)
    assert [one for one in world.said if "own files" in one][1].endswith(", again: a deploy went on")
    assert "services: {web" in text(world, "app", f"{config.paths.directory}/compose.yaml")


def test_a_backup_waits_for_a_deploy_and_gives_up_in_the_end(
    world: World, config: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_create, "QUIET_SECONDS", 0.0)
    with (
        locks.hold_lock(config.paths.lock, 0.0, "deploy shop"),
        pytest.raises(BackupError, match="a deploy or a recovery of shop goes on"),
    ):
        back_up(world, config)


def test_writes_are_paused_for_the_dump_and_the_files_alone(world: World) -> None:
    config = world.backup(
        before=[{"service": "web", "command": ["pause"]}], after=[{"service": "web", "command": ["go-on"]}]
    )
    order: list[str] = []

    def hook(_one: Container, command: Sequence[str], _given: str) -> Result | None:
        order.append(command[0])
        return DONE if command[0] in ("pause", "go-on") else None

    def before(line: str) -> None:
        part = next((word[5:] for word in line.split() if word.startswith("part=")), "")
        if line.startswith("restic backup"):
            order.append(part)

    world.docker.programs.insert(0, hook)
    world.docker.before = before
    back_up(world, config)
    order = [one for one in order if one != "sh"]
    assert order == ["pause", "database:shop", "volumes", "app", "go-on", "images", "manifest"]
    assert not Path(config.paths.writes_paused).exists()


def test_writes_that_a_killed_backup_has_paused_go_on_before_the_next(world: World) -> None:
    config = world.backup(after=[{"service": "web", "command": ["go-on"]}])
    Path(config.paths.writes_paused).touch()
    with pytest.raises(BackupError, match="writes may still be paused: the hook `go-on` in web failed"):
        back_up(world, config)
    world.docker.programs.insert(0, lambda _one, command, _given: DONE if command[0] == "go-on" else None)
    back_up(world, config)
    assert not Path(config.paths.writes_paused).exists()


def test_a_repository_that_is_held_keeps_its_old_backups_until_the_next_run(
    world: World, config: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restic, "LOCKED_SECONDS", 0.0)
    old = back_up(world, config)["set"]
    del world.repository.snapshots[snapshot(world, "manifest")]
    world.repository.fails["forget"] = (restic.LOCKED, "unable to create lock")
    assert back_up(world, config)["forgotten"] == []
    assert "the next backup forgets them" in world.said[-1]
    world.repository.fails["forget"] = (1, "Fatal: connection reset by peer")
    with pytest.raises(restic.RepositoryError, match="does not answer: restic forget"):
        back_up(world, config)
    world.repository.fails.clear()
    assert back_up(world, config)["forgotten"] == [old]


def test_what_no_backup_holds_is_said(world: World) -> None:
    world.compose(
        web={
            "volumes": [
                *FILES["volumes"],
                {"type": "bind", "source": "/srv/elsewhere", "target": "/x"},
            ]
        }
    )
    done = back_up(world, world.backup(databases=[]))
    assert len(done["not_in_it"]) == 2
    assert done["not_in_it"][0].startswith("/srv/elsewhere ")
    assert "backup_databases" in done["not_in_it"][1]


# --- a database of another server ------------------------------------------------------------------------------------


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An app with a second database, on another server."""
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch, more={"DATABASE_URL": DSN}) as it:
        yield prepare(it)


def test_a_database_of_another_server_is_dumped_verified_and_left_alone_by_a_restore(far: World) -> None:
    lines: list[str] = []
    config = far.backup(databases=[ROW, {**REMOTE, "image": "postgres:18"}])
    far.docker.registry["postgres:18"] = digest("postgres 18")
    far.docker.before = lines.append
    back_up(far, config)
    assert "pulling postgres:18" in far.said
    assert text(far, "database:far", "far.dump") == "dump by pg_dump"
    assert not [line for line in lines if "hunter2" in line]
    assert [line for line in lines if line.startswith("docker ps --all")] != []
    assert any(line.startswith("database far: loaded into a throwaway server") for line in verify(far, config))
    far.said.clear()
    restored(far, config, "app")
    assert any("database far is on another server" in line for line in far.said)


# --- verification ----------------------------------------------------------------------------------------------------


def verify(world: World, config: Backup) -> list[str]:
    world.tick(60.0)
    return backup_verify.verify(config, world.say, world.clock)["contents"]


def traces(world: World) -> list[str]:
    """What is still there of a scratch project."""
    folders = [path.name for path in (world.root / "opt").iterdir() if path.name != "shop"]
    volumes = [name for name in world.docker.volumes if name.startswith("shop-")]
    return folders + volumes + [one.project for one in world.docker.containers.values() if one.project != "shop"]


def test_a_verification_loads_the_newest_backup_next_to_the_app_and_leaves_nothing(
    world: World, config: Backup
) -> None:
    with contextlib.closing(sqlite3.connect(world.docker.folder("shop_files") / "app.db")) as database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("INSERT INTO notes VALUES ('x')")
        database.commit()
    made = back_up(world, config)
    assert verify(world, config) == [
        "the app's own files: checksums",
        "database shop: loaded into a throwaway server of postgres:17, 1 tables, 3 rows",
        "volume files: checksums of its files",
        f"SQLite {world.docker.folder('shop_files')}/app.db: integrity_check, 1 tables, 1 rows",
        "the images: they are in the repository",
    ]
    assert traces(world) == []
    verified = state.read_backup(config.paths.backup)["last_verified"]
    assert verified is not None
    assert verified["set"] == made["set"]
    assert world.running() == {"web": ONE, "database": digest("postgres 17")}


def _cut_off(world: World) -> None:
    world.repository.files[snapshot(world, "database:shop")]["shop.dump"] = (b"1\n", 0o600)


def _part_gone(world: World) -> None:
    del world.repository.snapshots[snapshot(world, "volumes")]


def _images_gone(world: World) -> None:
    del world.repository.snapshots[snapshot(world, "images")]


def _damaged(world: World) -> None:
    world.repository.fails["check"] = (1, "Fatal: repository contains errors")


def _folder_gone(world: World) -> None:
    world.repository.files[snapshot(world, "volumes")] = {}


def _no_start(world: World) -> None:
    world.docker.fails["up --detach --no-build --wait"] = "dependency failed to start: container is unhealthy"


def _ends(world: World) -> None:
    world.docker.behaves["database"] = "exits 1"
    world.docker.log = "FATAL: no space"


def _not_loaded(world: World) -> None:
    world.docker.fails[DATABASE.load[2]] = "psql: error: syntax"


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_cut_off, "does not pass its checks: .*gives 1, and at least 3 is expected", id="a check fails"),
        pytest.param(_part_gone, "is incomplete: part volumes is missing", id="a part is missing"),
        pytest.param(_images_gone, "is incomplete: its images are missing", id="no images"),
        pytest.param(_damaged, "the repository is damaged: .*Fix: set another backup_repository", id="damaged"),
        pytest.param(_folder_gone, "is incomplete: it does not have ", id="a folder is missing"),
        pytest.param(_no_start, "a scratch database did not start: dependency failed", id="no start"),
        pytest.param(_ends, "a scratch database did not start: database ended with code 1: .*FATAL", id="it ends"),
        pytest.param(_not_loaded, "cannot load shop.dump: psql: error: syntax", id="not loaded"),
    ],
)
def test_a_bad_backup_is_a_problem_until_another_is_verified(
    world: World, config: Backup, happens: Callable[[World], None], said: str
) -> None:
    back_up(world, config)
    happens(world)
    with pytest.raises(restore.EXPECTED, match=f"(?s){said}"):
        verify(world, config)
    assert (list(problems(config)), traces(world)) == (["verify"], [])
    world.repository.fails.clear()
    world.docker.fails.clear()
    world.docker.behaves.clear()
    back_up(world, config)
    verify(world, config)
    assert problems(config) == {}


def test_a_server_that_is_not_ready_is_waited_for_and_then_named(
    world: World, config: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "UP_SECONDS", 5.0)
    back_up(world, config)
    world.docker.fails[list(DATABASE.ready)[2]] = "psql: error: the database system is starting up"
    with pytest.raises(BackupError, match=r"of service database does not answer for 5 s: .*starting up\. Fix: see"):
        verify(world, config)
    world.docker.fails.clear()
    monkeypatch.setattr(cgroup, "accepts", lambda _pid: False)
    verify(world, config)
    assert any("accepts no connection from the network" in line for line in world.said)


# --- a restore -------------------------------------------------------------------------------------------------------


def restored(world: World, config: Backup, what: str, to: str = "latest") -> restore.RestoreResult:
    world.tick(3600.0)
    return restore.restore(config, to, backup_sets.read_what(what), world.say, world.clock)


def data(world: World) -> dict[str, str]:
    """What users would notice."""
    return {
        "rows": world.rows().read_text(encoding="utf-8"),
        "file": (world.docker.folder("shop_files") / "a.txt").read_text(encoding="utf-8"),
        "token": world.files()[".env"],
        "source": world.files()["src/app.py"],
    }


def change(world: World) -> dict[str, str]:
    """Another release with other data; what was there before."""
    before = data(world)
    world.tick(60.0)
    world.source("version 2")
    world.env(OTHER_TOKEN)
    deployment.deploy(world.app, deployment.How(), clock=world.clock)
    world.rows().write_text("9\n", encoding="utf-8")
    (world.docker.folder("shop_files") / "a.txt").write_text("z", encoding="utf-8")
    return before


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        ("app", {"rows", "file", "token", "source"}),
        ("env", {"token"}),
        ("volume:files", {"file"}),
        ("database:shop", {"rows"}),
    ],
)
def test_a_restore_brings_back_what_was_asked_for_and_nothing_else(
    world: World, config: Backup, what: str, keys: set[str]
) -> None:
    made = back_up(world, config)["set"]
    before, after = change(world), data(world)
    done = restored(world, config, what, made)
    assert data(world) == {key: before[key] if key in keys else after[key] for key in before}
    assert set(world.running()) == {"web", "database"}
    assert (done["set"], done["what"], done["unsaved"]) == (made, what, False)
    assert [one.why for one in backup_create.list_sets(config)] == ["hand", "safety"]
    assert (world.running()["web"] == ONE) == (what == "app")


def test_what_a_restore_replaced_stays_for_a_while(world: World, config: Backup) -> None:
    made = back_up(world, config)["set"]
    change(world)
    restored(world, config, "app", made)
    assert world.rows("shop-restore_data").read_text(encoding="utf-8") == "9\n"
    assert not restore.remove_kept(config, world.clock)
    world.tick(8 * 86400.0)
    assert restore.remove_kept(config, world.clock)
    assert traces(world) == []
    assert not restore.remove_kept(config, world.clock)


def test_a_dry_run_of_a_restore_says_what_would_change(world: World, config: Backup) -> None:
    made = back_up(world, config)["set"]
    change(world)
    world.docker.acts.clear()
    found = restore.restore(config, made, backup_sets.What("app"), world.say, world.clock, check=True)
    lines = found["differences"]
    assert lines[0].startswith(f"app would be that of backup {made}, made ")
    assert "here it is" in lines[1] and "here it is" in lines[2]
    assert lines[3:5] == ["volume data: from the dumps of shop", "volume files: its files"]
    assert (found["changed"], world.docker.acts, traces(world)) == (True, [], [])


def test_a_backup_whose_app_fails_its_checks_leaves_what_was_there(world: World, config: Backup) -> None:
    made = back_up(world, config)["set"]
    change(world)
    after = data(world)
    world.bad.add(ONE)
    with pytest.raises(BackupError, match=r"(?s)did not pass its gate.*What was there before is back in its place\."):
        restored(world, config, "app", made)
    assert data(world) == after
    assert world.running()["web"] == digest("version 2")
    assert (traces(world), Path(config.paths.restoring).exists()) == ([], False)


def _platform(world: World) -> None:
    name = snapshot(world, "manifest")
    found = json.loads(world.repository.text(name, "manifest.json"))
    changed = json.dumps({**found, "platform": "linux/arm64"})
    world.repository.files[name]["manifest.json"] = (changed.encode(), 0o600)


def _format(world: World) -> None:
    name = snapshot(world, "manifest")
    world.repository.files[name]["manifest.json"] = (b'{"format": 9}', 0o600)


def _database_image_gone(world: World) -> None:
    world.docker.registry.clear()
    image = digest("postgres 17")
    world.docker.there.discard(image)
    world.docker.images = {name: one for name, one in world.docker.images.items() if one != image}


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        pytest.param(_platform, "is of linux/arm64, and this host is linux/amd64", id="another platform"),
        pytest.param(_format, "was made by another version: update this one", id="another version"),
        pytest.param(
            _database_image_gone, r"the image of service database, postgres@.*cannot be pulled", id="no image"
        ),
        pytest.param(_cut_off, "does not pass its checks: .*The app was not touched", id="a check fails"),
        pytest.param(_part_gone, "is incomplete: part volumes is missing", id="a part is missing"),
        pytest.param(_no_start, "a scratch database did not start: dependency failed", id="no start"),
    ],
)
def test_a_restore_that_cannot_be_done_touches_nothing(
    world: World, config: Backup, happens: Callable[[World], None], said: str
) -> None:
    made = back_up(world, config)["set"]
    change(world)
    after, acts = data(world), list(world.docker.acts)
    happens(world)
    with pytest.raises(restore.EXPECTED, match=f"(?s){said}"):
        restored(world, config, "app", made)
    assert data(world) == after
    assert not [act for act in world.docker.acts[len(acts) :] if act in ("stop web", "remove web")]
    assert traces(world) == []


def test_too_little_room_is_seen_before_anything_is_read(
    world: World, config: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(world, config)["set"]
    monkeypatch.setattr(procfs, "disk", lambda _paths: [{"free_bytes": 1 << 20}])
    world.repository.asked.clear()
    with pytest.raises(BackupError, match=r"too little room at .*Make room, then run this again\. Nothing was touched"):
        restored(world, config, "app", made)
    assert not [line for line in world.repository.asked if line.startswith("restore")]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("volume:nope", "has no volume nope; it has data, files"),
        ("database:nope", "has no database nope; it has shop"),
    ],
)
def test_what_a_backup_does_not_hold_is_named_with_what_it_does(
    world: World, config: Backup, what: str, said: str
) -> None:
    back_up(world, config)
    with pytest.raises(BackupError, match=said):
        restored(world, config, what)


def test_what_cannot_be_backed_up_is_replaced_all_the_same_and_guarded_as_the_only_copy(
    world: World, config: Backup
) -> None:
    """The database that is restored may be just what does not run."""
    made = back_up(world, config)["set"]
    change(world)
    _database_down(world)
    done = restored(world, config, "app", made)
    assert (done["unsaved"], done["safety"]) == (True, "")
    assert world.rows("shop-restore_data").read_text(encoding="utf-8") == "9\n"
    with pytest.raises(
        BackupError, match=r"would remove the only copy: .*Fix: copy from there what you need, then: rm "
    ):
        restored(world, config, "app", made)
    world.tick(99 * 86400.0)
    assert not restore.remove_kept(config, world.clock)


def test_a_new_host_gets_the_app_with_its_data_and_images(world: World, config: Backup) -> None:
    made = back_up(world, config)["set"]
    before = data(world)
    world.docker.containers.clear()
    world.docker.volumes.clear()
    world.docker.images.clear()
    world.docker.there.clear()
    for folder in ("volumes", "opt/shop", "var/lib/selfheal"):
        shutil.rmtree(world.root / folder)
    done = restored(world, config, "app", made)
    assert (data(world), done["safety"], done["unsaved"]) == (before, "", False)
    assert world.running() == {"web": ONE, "database": digest("postgres 17")}
    good = release_store.last_good(config.paths.directory)
    assert good is not None


@pytest.mark.parametrize(
    ("line", "swapped"),
    [
        pytest.param("restic restore", False, id="while files are read"),
        pytest.param(DATABASE.load[2], False, id="while a dump is loaded"),
        pytest.param("docker rm --force c", True, id="while the app is stopped"),
        pytest.param("up --no-start", True, id="before it starts with the restored data"),
        pytest.param("selfheal/shop-web:last-good", True, id="before its release is recorded"),
    ],
)
def test_a_restore_that_was_killed_is_rolled_back_and_may_be_done_again(
    world: World, config: Backup, line: str, swapped: bool
) -> None:
    made = back_up(world, config)["set"]
    before = change(world)
    after = data(world)
    die(world, lambda command: line in command and Path(config.paths.restoring).exists() is swapped)
    with pytest.raises(Killed):
        restored(world, config, "app", made)
    live(world)
    with backup_create.alone(config, "settle"):
        assert restore.settle(config, world.say, world.clock) is swapped
    assert (data(world), set(world.running())) == (after, {"web", "database"})
    assert not Path(config.paths.restoring).exists()
    restored(world, config, "app", made)
    assert data(world) == before


def test_a_verification_that_was_killed_is_cleared_away_by_the_next_run(world: World, config: Backup) -> None:
    back_up(world, config)
    die(world, lambda command: DATABASE.load[2] in command)
    with pytest.raises(Killed):
        verify(world, config)
    assert traces(world) != []
    live(world)
    assert restore.settle(config, world.say, world.clock) is False
    assert traces(world) == []


def test_a_note_of_a_restore_that_is_damaged_is_left_to_a_person(world: World, config: Backup) -> None:
    Path(config.paths.restoring).write_text("{", encoding="utf-8")
    with pytest.raises(BackupError, match=r"restore\.json is damaged"):
        restore.settle(config, world.say, world.clock)
    assert set(world.running()) == {"web", "database"}


# --- the command on the host -----------------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    world: World, config: Backup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run `selfheal WORDS` an hour after what was done before; its exit code, output and errors."""
    monkeypatch.setattr(cli, "Clock", lambda: world.clock)

    def run(*words: str) -> tuple[int, str, str]:
        world.tick(3600.0)
        code = cli.main(words, str(world.root))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_command_makes_lists_verifies_and_restores_backups(world: World, config: Backup, command: Command) -> None:
    assert command("backup", "--why", "schedule")[0] == outcome.GOOD
    [made] = backup_create.list_sets(config)
    assert command("backup", "list") == (outcome.GOOD, f"{made.id}  schedule\n", "")
    code, text_, _unused = command("backup", "verify")
    assert (code, "selfheal: verified: volume files: checksums of its files" in text_) == (outcome.GOOD, True)
    code, text_, _unused = command("backup", "list")
    assert text_.split() == [made.id, "schedule", "verified", "(the", "last", "one", "that", "was)"]
    world.rows().write_text("9\n", encoding="utf-8")
    code, text_, _unused = command("restore", "--what", "database:shop", "--check")
    assert text_.startswith(f"database:shop would be that of backup {made.id}")
    assert world.rows().read_text(encoding="utf-8") == "9\n"
    assert command("restore", "--what", "database:shop")[0] == outcome.GOOD
    assert world.rows().read_text(encoding="utf-8") == "1\n2\n3\n"
    code, _unused, error = command("restore", "--what", "everything")
    assert (code, error.startswith("selfheal: restore_what: ")) == (outcome.WRONG, True)


def test_the_command_says_what_failed_in_one_line(world: World, command: Command) -> None:
    _database_down(world)
    code, _unused, error = command("backup")
    assert (code, error.count("\n")) == (outcome.WRONG, 1)
    assert error.startswith("selfheal: service database does not run")
    assert "christmas.selfheal.recover" in error


def test_after_a_backup_that_systemd_killed_the_problem_is_known_and_writes_go_on(
    world: World, config: Backup, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_RESULT", "timeout")
    assert command("backup", "settle")[0] == outcome.GOOD
    assert "was killed before it had finished (timeout)" in problems(config)["backup"]
    world.backup(after=[{"service": "web", "command": ["go-on"]}])
    Path(config.paths.writes_paused).touch()
    code, _unused, error = command("backup", "settle")
    assert (code, error.startswith("selfheal: writes may still be paused: ")) == (outcome.WRONG, True)


def test_the_command_judges_the_config_of_a_backup(world: World, command: Command) -> None:
    path = str(world.root / "etc/selfheal/backup/shop.json")
    assert command("check-backup-config", path) == (outcome.GOOD, f"{path}: good, for shop\n", "")
    with contextlib.suppress(ConfigError):
        world.backup(keep={"hourly": 3})
    code, _unused, error = command("check-backup-config", path)
    assert (code, f"{path}: backup_keep has other keys than daily, weekly, monthly" in error) == (outcome.SICK, True)
    with contextlib.suppress(ConfigError):
        world.backup(before=[{"service": "web", "command": "pause"}])
    assert (
        "backup_before, row 1: expected a service and a command. Fix: write {service: backend"
        in command("check-backup-config", path)[2]
    )
