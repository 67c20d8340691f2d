# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Data folders of the project and SQLite databases: what a backup contains, and how it is restored."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import create as backup_create
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import databases, restic, sqlite_files, stage
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import sets as backup_sets
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import verify as backup_verify
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import volumes as backup_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.scratch import Scratch
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.source import Source
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes

# --- data folders ----------------------------------------------------------------------------------------------------


def bind(source: str, target: str = "/x", **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, **more}


def model(**services: list[dict[str, Any]]) -> dict[str, Any]:
    return {"services": {name: {"volumes": mounts} for name, mounts in services.items()}, "volumes": {"named": {}}}


def test_writable_mounts_from_the_project_are_data() -> None:
    given = model(
        web=[bind("/opt/shop/data"), bind("/opt/shop/conf", read_only=True), bind("/opt/shop-other/data")],
        worker=[bind("/opt/shop/docker/data/"), bind("/srv/data"), bind("/opt/shop")],
    )
    assert backup_volumes.data_paths(given, "/opt/shop") == {
        "./data": "/opt/shop/data",
        "./docker/data": "/opt/shop/docker/data",
        "./": "/opt/shop",
    }


NAMED = {"type": "volume", "source": "named", "target": "/var/lib/postgresql/data"}
PG, INIT = bind("/opt/shop/pg", "/var/lib/postgresql/data"), bind("/opt/shop/init", "/docker-entrypoint-initdb.d")


@pytest.mark.parametrize(
    ("mounts", "row", "covered"),
    [
        pytest.param([PG], {}, {"./pg"}, id="the only folder"),
        pytest.param([PG, INIT], {}, {"./pg"}, id="the one where the image keeps its data"),
        pytest.param([NAMED, INIT], {}, {"named"}, id="a named volume comes first"),
        pytest.param([PG, INIT], {"volume": "./init"}, {"./init"}, id="the folder that the row names"),
    ],
)
def test_a_dump_fills_a_data_folder(mounts: list[dict[str, Any]], row: dict[str, str], covered: set[str]) -> None:
    given = model(database=mounts)
    folders = {key: path for key, path in backup_volumes.data_paths(given, "/opt/shop").items() if key != "./"}
    tables = databases.read_databases([{"name": "shop", "kind": "postgres", "service": "database", **row}])
    found = backup_volumes.volumes("shop", given, tables, [], folders)
    assert {one.key for one in found if one.covered} == covered
    assert {one.key: one.name for one in found if one.key.startswith("./")} == dict.fromkeys(folders, "")


@pytest.mark.parametrize(
    ("image", "dumped", "count"),
    [
        ("postgres:17", False, 1),
        ("registry.example/team/postgis@sha256:0", False, 1),
        ("postgres:17", True, 0),
        ("shop:1", False, 0),
    ],
)
def test_a_database_without_a_row_is_reported(image: str, dumped: bool, count: int) -> None:
    given = {"services": {"db": {"image": image, "volumes": [NAMED]}}}
    rows = [{"name": "shop", "kind": "postgres", "service": "db"}] if dumped else []
    found = backup_volumes.undumped(given, databases.read_databases(rows))
    assert len(found) == count
    assert not count or "Fix: add - {name: db, kind: postgres, service: db} to backup_databases" in found[0]


# --- SQLite ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database in WAL mode that its app has open: the rows are only in the -wal file."""
    (tmp_path / "data").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "data/app.db", isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA wal_autocheckpoint = 0")
        opened.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        opened.execute("CREATE TABLE notes (text)")
        opened.executemany("INSERT INTO orders VALUES (?)", [(number,) for number in range(100)])
        yield opened


def test_databases_are_found_by_their_header(tmp_path: Path, database: sqlite3.Connection) -> None:
    (tmp_path / "data/text.db").write_text("SQLite format 4", encoding="utf-8")
    (tmp_path / "data/link.db").symlink_to("app.db")
    (tmp_path / "data/empty").touch()
    os.mkfifo(tmp_path / "data/pipe")
    assert sqlite_files.find([str(tmp_path), str(tmp_path / "data"), "/nowhere"]) == [str(tmp_path / "data/app.db")]


def test_a_copy_includes_the_rows_of_the_wal_file(tmp_path: Path, database: sqlite3.Connection) -> None:
    path, copied, raw = (str(tmp_path / name) for name in ("data/app.db", "copy", "raw"))
    shutil.copyfile(path, raw)
    assert sqlite_files.copy(path, copied, lambda _seconds: None) == ""
    assert sqlite_files.check(copied) == sqlite_files.Content("", 2, 100)
    assert sqlite_files.check(raw) != sqlite_files.check(copied)
    database.execute("INSERT INTO orders VALUES (1000)")
    assert not [one for one in os.listdir(tmp_path) if one.startswith("copy-")]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_locked_database_is_retried_and_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_SECONDS", 0.01)
    waited: list[float] = []
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as held:
        held.execute(f"PRAGMA journal_mode = {mode}")
        held.execute("PRAGMA locking_mode = EXCLUSIVE")
        held.execute("CREATE TABLE t (x)")
        held.execute("BEGIN EXCLUSIVE")
        held.execute("INSERT INTO t VALUES (1)")
        assert "locked" in sqlite_files.copy(str(path), str(tmp_path / "copy"), waited.append)
        held.execute("COMMIT")
    assert waited == [2.0, 2.0]
    assert not (tmp_path / "copy").exists()


def test_a_damaged_database_is_reported_without_a_retry(tmp_path: Path, database: sqlite3.Connection) -> None:
    path = tmp_path / "broken"
    assert sqlite_files.copy(str(tmp_path / "data/app.db"), str(path), lambda _seconds: None) == ""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"x" * (len(content) - 4096))
    assert sqlite_files.check(str(path)).problem
    path.write_bytes(content[:16] + b"y" * 4096)
    waited: list[float] = []
    assert sqlite_files.copy(str(path), str(tmp_path / "copy"), waited.append)
    assert waited == []


def test_the_files_of_a_database_are_excluded_and_its_copy_is_restored(
    tmp_path: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a named volume, in a data folder and in the app's directory itself; with a restic that only keeps files."""
    paths = app_paths("shop", str(tmp_path), root=str(tmp_path / "root"))
    config: Any = SimpleNamespace(paths=paths, databases=[], volumes_left_out=[], repository=None)
    (tmp_path / "data").chmod(0o750)
    (tmp_path / "data/app.db").chmod(0o640)
    given = {"services": {"web": {"volumes": [bind(str(tmp_path / "data")), bind(str(tmp_path / "far"))]}}}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "far").symlink_to("elsewhere")
    monkeypatch.setattr(docker_project.Project, "config", lambda *_given, **_named: given)
    monkeypatch.setattr(docker_volumes, "volume_facts", lambda _names: {})
    belongs = backup_create._belongs(config)
    assert belongs.paths == {"./data": str(tmp_path / "data")}
    assert [one for one in belongs.missing if "far is a link to" in one] == belongs.missing != []
    copied, torn = backup_create._copy_sqlite(config, belongs, lambda _text: None, Clock())
    assert torn == []
    assert [(one["path"], one["owner"][2]) for one in copied] == [(str(tmp_path / "data/app.db"), 0o640)]

    scratch = Scratch.__new__(Scratch)
    scratch.directory, scratch.state = str(tmp_path / "staged"), str(tmp_path / "state")
    made = Path(backup_create._sqlite_folder(config))
    monkeypatch.setattr(restic, "put_files", lambda _r, _s, source, target: shutil.copytree(source, target))
    source: Any = SimpleNamespace(
        config=config,
        set=SimpleNamespace(parts={"sqlite": "1"}),
        manifest={
            "directory": str(tmp_path),
            "state": str(made.parent),
            "volumes": [{"key": "./data", "name": "", "path": str(tmp_path / "data")}],
            "sqlite": copied,
        },
    )
    folders = {"./data": scratch.data("./data")}
    stage._put_sqlite(source, scratch, backup_sets.What("env"), {}, lambda _text: None)
    assert not (tmp_path / "staged").exists()
    stage._put_sqlite(source, scratch, backup_sets.What("app"), folders, lambda _text: None)
    back = tmp_path / "staged/data/app.db"
    assert back.stat().st_mode & 0o7777 == 0o640
    (asked,) = backup_verify._check_sqlite(source, scratch, folders)
    assert asked == {"about": f"SQLite {tmp_path}/data/app.db: integrity_check, 2 tables, 100 rows", "problem": ""}
    back.write_bytes(back.read_bytes()[:5000])
    (asked,) = backup_verify._check_sqlite(source, scratch, folders)
    assert asked["problem"].startswith(f"SQLite {tmp_path}/data/app.db: ")


@pytest.mark.parametrize(("env", "good"), [("sha256:1", True), ("", False)])
def test_a_backup_without_an_env_replaces_no_env(env: str, good: bool) -> None:
    source = Source.__new__(Source)
    source.manifest = cast(backup_sets.Manifest, {"env": env})
    source.set = backup_sets.Set("20261125T120000Z", "shop", "web1", "hand", "", {})
    if good:
        assert source.chosen(backup_sets.What("env")) == []
        return
    with pytest.raises(databases.BackupError, match=r"has no env.*Nothing was touched"):
        source.chosen(backup_sets.What("env"))


def test_an_excluded_path_is_not_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def kept(_repository: Any, words: list[str], *_given: Any, **_named: Any) -> Any:
        given.extend(words)
        return SimpleNamespace(
            code=0, out='{"message_type":"summary","snapshot_id":"1","total_bytes_processed":1}', err=""
        )

    monkeypatch.setattr(restic, "_unlocked", kept)
    restic.keep_files(restic.Repository("/srv", "/password"), ["/opt"], [], "web1", ["/opt/a[1]*?\\b"])
    assert given[given.index("--exclude") + 1] == r"/opt/a\[1]\*\?\\b"
