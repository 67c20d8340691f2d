# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands of each kind of database, run by a real shell with clients that record; and when a server stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import create as backup_create
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import databases, restic, scratch_model, stage
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.scratch import Scratch
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import cgroup
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands

SECRET = "s3cret-of-the-database"


class Container:
    """Programs that record how they were called, and print what a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text(SECRET + "\n", encoding="utf-8")

    def has(self, name: str, answer: str) -> None:
        """Add a program; `answer` is what its shell runs."""
        path = self.folder / name
        recorded = f"{self.folder}/called"
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >>{recorded}\n'
            f'echo "${{PGPASSWORD:-}}${{MYSQL_PWD:-}}${{REDISCLI_AUTH:-}}" >>{self.folder}/password\n{answer}\n',
            encoding="utf-8",
        )
        path.chmod(0o755)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.run(
            command, env={"PATH": path, **environment}, text=True, capture_output=True, check=False, timeout=20
        )

    @property
    def called(self) -> str:
        return (self.folder / "called").read_text(encoding="utf-8")

    @property
    def passwords(self) -> set[str]:
        return set((self.folder / "password").read_text(encoding="utf-8").split())


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def read(kind: str, **row: str) -> databases.Database:
    (found,) = databases.read_databases([{"name": "shop", "kind": kind, "service": "database", **row}])
    return found


# --- who, from the container's own environment -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "environment", "wanted"),
    [
        pytest.param({}, {}, ("postgres", "shop"), id="the image's defaults, and the name of the row"),
        pytest.param({}, {"POSTGRES_USER": "app"}, ("app", "shop"), id="POSTGRES_USER"),
        pytest.param({}, {"POSTGRES_DB": "other"}, ("postgres", "shop"), id="the name of the row, where there is one"),
        pytest.param({"name": "main"}, {"POSTGRES_DB": "other"}, ("postgres", "other"), id="else POSTGRES_DB"),
        pytest.param(
            {"name": "main"}, {"POSTGRES_USER": "app"}, ("app", "app"), id="else the user's, as the image has"
        ),
        pytest.param(
            {"user": "admin", "database": "other"}, {"POSTGRES_USER": "app"}, ("admin", "other"), id="the row"
        ),
        pytest.param({}, {"POSTGRES_USER_FILE": "SECRET"}, (SECRET, "shop"), id="a file"),
    ],
)
def test_user_and_database_of_postgres_come_from_the_container(
    container: Container, row: dict[str, str], environment: dict[str, str], wanted: tuple[str, str]
) -> None:
    container.has("psql", r"printf 'app\nother\nshop\n'")
    files = {name: str(container.secret) if value == "SECRET" else value for name, value in environment.items()}
    asked = container.run(read("postgres", **row).who, files)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert tuple(asked.stdout.splitlines()) == wanted
    assert f"-U {wanted[0]}" in container.called


@pytest.mark.parametrize(
    ("row", "environment", "wanted"),
    [
        pytest.param({}, {}, ("root", "shop"), id="root, and the name of the row"),
        pytest.param({"name": "main"}, {"MYSQL_DATABASE": "other"}, ("root", "other"), id="else MYSQL_DATABASE"),
        pytest.param({}, {"MYSQL_USER": "app", "MYSQL_PASSWORD": SECRET}, ("app", "shop"), id="no password of root"),
        pytest.param({}, {"MARIADB_USER": "app", "MARIADB_ROOT_PASSWORD": SECRET}, ("root", "shop"), id="MariaDB's"),
        pytest.param({}, {"MYSQL_ROOT_PASSWORD_FILE": "SECRET"}, ("root", "shop"), id="a file"),
        pytest.param(
            {"user": "app"}, {"MYSQL_USER": "app", "MYSQL_PASSWORD_FILE": "SECRET"}, ("app", "shop"), id="row"
        ),
    ],
)
@pytest.mark.parametrize("programs", [("mysql", "mysqldump"), ("mariadb", "mariadb-dump")])
def test_user_and_database_of_mysql_come_from_the_container(
    container: Container,
    programs: tuple[str, str],
    row: dict[str, str],
    environment: dict[str, str],
    wanted: tuple[str, str],
) -> None:
    client, dumper = programs
    container.has(client, r"printf 'other\nshop\n'")
    container.has(dumper, "echo dumped")
    files = {name: str(container.secret) if value == "SECRET" else value for name, value in environment.items()}
    asked = container.run(read("mysql", **row).who, files)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert tuple(asked.stdout.splitlines()) == wanted
    made = container.run(read("mysql", user=wanted[0], database=wanted[1]).dump, files)
    assert made.stdout.splitlines()[-1] == f"SELECT '{databases.WHOLE}';"
    assert f"{dumper} --user={wanted[0]}" in container.called
    for word in ("--single-transaction", "--routines", "--triggers", "--events", f"--databases {wanted[1]}"):
        assert word in container.called
    assert SECRET not in container.called
    assert container.passwords == (
        {SECRET} if SECRET in files.values() or str(container.secret) in files.values() else set()
    )


@pytest.mark.parametrize("last", ["", "SELECT 'something else'"])
def test_a_dump_of_mysql_that_is_cut_off_is_not_taken(container: Container, last: str) -> None:
    container.has("mysql", f"echo '{last}'")
    assert container.run(read("mysql").load, {}).returncode != 0
    container.has("mysql", f"echo '{databases.WHOLE}'")
    assert container.run(read("mysql").load, {}).returncode == 0


def test_a_dump_of_mysql_that_fails_is_not_a_dump(container: Container) -> None:
    container.has("mysql", "echo shop")
    container.has("mysqldump", 'case "$*" in --help) exit 0 ;; esac; echo "Error 2013: lost connection" >&2; exit 3')
    made = container.run(read("mysql").dump, {})
    assert (made.returncode, databases.WHOLE in made.stdout) == (3, False)


MONGO = {"MONGO_INITDB_ROOT_USERNAME": "admin", "MONGO_INITDB_ROOT_PASSWORD": f"it's {SECRET}"}


@pytest.mark.parametrize(
    ("command", "row", "says"),
    [
        (
            "dump",
            {},
            "mongodump --config=/dev/fd/3 --username=admin --authenticationDatabase=admin --quiet --archive\n",
        ),
        ("dump", {"database": "shop"}, "--quiet --archive --db=shop\n"),
        (
            "load",
            {},
            "mongorestore --config=/dev/fd/3 --username=admin --authenticationDatabase=admin --quiet --archive",
        ),
    ],
)
def test_mongodb_reads_its_password_from_a_pipe(
    container: Container, command: str, row: dict[str, str], says: str
) -> None:
    for name in ("mongodump", "mongorestore"):
        container.has(name, "cat <&3")
    ended = container.run(getattr(read("mongodb", **row), command), MONGO)
    assert (ended.returncode, ended.stdout) == (0, f"password: 'it''s {SECRET}'\n")
    assert says in container.called
    assert SECRET not in container.called


@pytest.mark.parametrize("client", ["mongosh", "mongo"])
def test_mongodb_is_asked_by_the_shell_that_its_image_has(container: Container, client: str) -> None:
    container.has(client, "echo shop")
    asked = container.run(read("mongodb").who, MONGO)
    assert (asked.returncode, asked.stdout) == (0, "admin\n\n")
    assert f"{client} --quiet --norc --eval" in container.called
    assert SECRET not in container.called
    asked = container.run(read("mongodb", database="nope").who, MONGO)
    assert asked.stderr == "error: the server has no database 'nope'; it has shop\n"


def test_mongodb_without_a_password_is_asked_without_one(container: Container) -> None:
    container.has("mongodump", "true")
    assert container.run(read("mongodb").dump, {}).returncode == 0
    assert container.called == "mongodump --quiet --archive\n"


@pytest.mark.parametrize(
    ("tables", "dumped", "says"),
    [
        (3, [3, 3], ""),
        (3, [2, 4], ""),
        (3, [], ""),
        (2, [3, 3], "database shop: 2 tables were loaded, and its server had 3 when it was dumped"),
        (4, [3, 3], "4 tables were loaded"),
    ],
)
def test_a_dump_makes_as_many_tables_as_there_were(tables: int, dumped: list[int], says: str) -> None:
    found = databases.differs(read("postgres"), tables, dumped)
    assert says in found
    assert bool(says) == bool(found)


@pytest.mark.parametrize(
    ("kind", "counts", "says"),
    [
        ("postgres", [1, 0, 5], "3 tables, 6 rows"),
        ("mongodb", [2], "1 collections, 2 documents"),
        ("redis", [7], "1 databases, 7 keys"),
        ("mysql", [], "0 tables, 0 rows"),
    ],
)
def test_verified_says_what_was_counted(kind: str, counts: list[int], says: str) -> None:
    assert databases.held(kind, counts) == says


@pytest.mark.parametrize("command", ["who", "ready", "dump", "ask"])
@pytest.mark.parametrize("variable", ["POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"])
def test_a_password_of_postgres_is_in_no_argument(container: Container, command: str, variable: str) -> None:
    for name in ("psql", "pg_dump", "pg_dumpall"):
        container.has(name, "echo shop")
    value = str(container.secret) if variable.endswith("FILE") else SECRET
    asked = container.run([*getattr(read("postgres"), command), "SELECT 1"], {variable: value})
    assert asked.returncode == 0
    assert SECRET not in container.called
    assert container.passwords == {SECRET}


def test_a_database_that_is_not_there_is_named(container: Container) -> None:
    container.has("psql", r"printf 'postgres\napp\n'")
    asked = container.run(read("postgres", database="nope").who, {})
    assert asked.returncode == 1
    assert asked.stderr == "error: the server has no database 'nope'; it has postgres app\n"


@pytest.mark.parametrize(
    ("kind", "said", "fix"),
    [
        ("postgres", 'FATAL: role "postgres" does not exist', "Fix: write `user: NAME`, a superuser"),
        ("redis", "NOAUTH Authentication required.", "Fix: write `password: VARIABLE` into its row"),
    ],
)
def test_a_server_that_lets_nothing_in_names_the_line_to_add(
    monkeypatch: pytest.MonkeyPatch, kind: str, said: str, fix: str
) -> None:
    database = read(kind)
    config: Any = SimpleNamespace(paths=app_paths("shop", "/"))
    monkeypatch.setattr(backup_create, "_running", lambda *_given: ["1"])
    monkeypatch.setattr(restic, "run_with", lambda *_given: commands.Result(2, "", f"psql: error: {said}\n"))
    with pytest.raises(databases.BackupError) as raised:
        backup_create._names(config, database, Clock())
    assert str(raised.value).startswith(f"backup_databases (shop): service database: psql: error: {said}")
    assert fix in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "answers", "code"),
    [
        ({}, "echo PONG", 0),
        ({"REDIS_PASSWORD": SECRET}, "echo PONG", 0),
        ({"REDIS_PASSWORD_FILE": "SECRET"}, "echo PONG", 0),
        ({}, "echo NOAUTH Authentication required.", 1),
    ],
)
def test_a_password_of_redis_comes_from_the_container(
    container: Container, environment: dict[str, str], answers: str, code: int
) -> None:
    container.has("redis-cli", answers)
    files = {name: str(container.secret) if value == "SECRET" else value for name, value in environment.items()}
    asked = container.run(read("redis").who, files)
    assert asked.returncode == code
    assert container.passwords == ({SECRET} if environment else set())
    assert SECRET not in container.called


def test_the_manifest_says_what_the_container_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"name": "main", "kind": "postgres", "service": "database"},
        {"name": "far", "kind": "postgres", "dsn_variable": "DSN", "image": "postgres:17"},
    ]

    class Config(SimpleNamespace):
        def _replace(self, **changed: Any) -> SimpleNamespace:
            return type(self)(**{**vars(self), **changed})

    config: Any = Config(paths=app_paths("shop", "/"), databases=databases.read_databases(rows), rows=rows)
    monkeypatch.setattr(backup_create, "_running", lambda *_given: ["1"])
    monkeypatch.setattr(restic, "run_with", lambda *_given: commands.Result(0, "app\nshop\n", ""))
    found = backup_create._with_names(config, "hand", Clock())
    assert found.rows == [{**rows[0], "user": "app", "database": "shop"}, rows[1]]
    assert found.databases[0].dump[-2:] == ["app", "shop"]


# --- the server that stays -------------------------------------------------------------------------------------------

TCP = "  sl  local_address rem_address   st\n"


@pytest.mark.parametrize(
    ("tcp", "tcp6", "accepts"),
    [
        pytest.param(["00000000:1538 00000000:0000 0A"], [], True, id="every address"),
        pytest.param(["020011AC:1538 00000000:0000 0A"], [], True, id="the container's own"),
        pytest.param(["0100007F:1538 00000000:0000 0A"], [], False, id="loopback, as mongo's first server"),
        pytest.param(["0B00007F:8F51 00000000:0000 0A"], [], False, id="Docker's own resolver"),
        pytest.param(["020011AC:1538 030011AC:9999 01"], [], False, id="a connection"),
        pytest.param([], ["0" * 32 + ":1538 " + "0" * 32 + ":0000 0A"], True, id="every address of IPv6"),
        pytest.param([], ["0" * 24 + "01000000:1538 " + "0" * 32 + ":0000 0A"], False, id="loopback of IPv6"),
        pytest.param([], [], False, id="a socket only, as the first server of PostgreSQL"),
        pytest.param(None, None, False, id="no process"),
    ],
)
def test_a_server_accepts_connections_from_elsewhere(
    tmp_path: Path, tcp: list[str] | None, tcp6: list[str], accepts: bool
) -> None:
    folder = tmp_path / "7/net"
    folder.mkdir(parents=True)
    for name, rows in (("tcp", tcp), ("tcp6", tcp6)):
        if rows is not None:
            text = TCP + "".join(f"   {number}: {row}\n" for number, row in enumerate(rows))
            (folder / name).write_text(text, encoding="ascii")
    assert cgroup.accepts(7, str(tmp_path)) == accepts


@pytest.mark.parametrize(
    ("looks", "waited", "says"),
    [
        pytest.param([(1, 1), (1, 1)], 1, None, id="the server that stays"),
        pytest.param([(0, 0), (1, 0), (1, 0), (0, 0), (0, 1), (1, 1), (1, 1)], 6, None, id="after the temporary one"),
        pytest.param([(1, 1), (0, 0), (1, 1), (1, 1)], 3, None, id="one that was restarted meanwhile"),
        pytest.param([(1, 0)] * 300, 300, "loaded through its socket", id="one without a network"),
        pytest.param([(0, 1)] * 300, 300, "does not answer for 300 s: FATAL: no", id="one that never answers"),
    ],
)
def test_a_dump_waits_for_the_server_that_stays(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[int, int]], waited: int, says: str | None
) -> None:
    at = [0]
    said: list[str] = []

    def ask(*_given: Any) -> commands.Result:
        return commands.Result(0 if looks[at[0]][0] else 2, "", "FATAL: no")

    def sleep(_seconds: float) -> None:
        at[0] += 1

    monkeypatch.setattr(restic, "run_with", ask)
    monkeypatch.setattr(cgroup, "accepts", lambda _pid: bool(looks[at[0]][1]))
    scratch: Any = SimpleNamespace(pid=lambda _service: 7, container=lambda _service: "1")
    clock = Clock(monotonic=lambda: float(at[0]), sleep=sleep)
    try:
        stage._await_server(scratch, read("postgres"), {}, said.append, clock)
    except databases.BackupError as error:
        said.append(str(error))
    assert at[0] == waited
    assert len(said) == (says is not None)
    assert (says or "") in "".join(said)


def test_a_server_that_ended_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"id": "1", "service": "database", "state": "exited", "exit_code": 3, "pid": 0}
    monkeypatch.setattr(docker_project.Project, "containers", lambda _project: [gone])
    monkeypatch.setattr(docker_project.Project, "logs", lambda *_given: "starting\nERROR: no space\nbye")
    monkeypatch.setattr(Scratch, "redacted", lambda _scratch, text: text)
    scratch = Scratch.__new__(Scratch)
    scratch.project = "shop-verify"
    with pytest.raises(databases.BackupError, match=r"database ended with code 3: ERROR: no space / bye"):
        scratch.pid("database")


@pytest.mark.parametrize(
    ("spec", "key", "value"),
    [
        ({"deploy": {"replicas": 0}}, "deploy", None),
        ({"scale": 0}, "scale", None),
        ({"network_mode": "host"}, "network_mode", None),
        (
            {"healthcheck": {"test": ["CMD", "psql", "shop"]}},
            "healthcheck",
            {"test": ["CMD", "true"], "interval": "1s"},
        ),
    ],
)
def test_a_scratch_database_runs_once_and_alone(spec: dict[str, Any], key: str, value: Any) -> None:
    made = scratch_model.scratch_model({"services": {"database": spec}}, ["database"], {}, {}, waited=["database"])
    assert made["services"]["database"].get(key) == value


# --- what is said of a failure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "SET\nFATAL:  terminating connection due to administrator command\nserver closed it\nERROR:  later\n",
            "FATAL:  terminating connection due to administrator command / server closed it",
        ),
        ("ERROR 1045 (28000): Access denied for user\n", "ERROR 1045 (28000): Access denied for user"),
        ("one\ntwo\n\nthree\nfour\n", "two / three / four"),
        ("", ""),
    ],
)
def test_the_first_error_is_reported(text: str, wanted: str) -> None:
    assert restic.first_error(text) == wanted


def test_a_role_that_is_there_already_hides_no_error(container: Container) -> None:
    said = r"""printf 'ERROR:  role "postgres" already exists\nERROR:  relation "t" does not exist\n' >&2; exit 3"""
    container.has("psql", said)
    loaded = container.run(read("postgres").load, {})
    assert loaded.returncode != 0
    assert loaded.stderr.splitlines() == ['ERROR:  relation "t" does not exist', "psql ended with code 3"]


def test_roles_that_are_there_already_are_no_failure(container: Container) -> None:
    container.has("psql", f"""echo 'ERROR:  role "postgres" already exists' >&2; echo '{databases.WHOLE}'""")
    loaded = container.run(read("postgres").load, {})
    assert (loaded.returncode, loaded.stderr) == (0, "")
