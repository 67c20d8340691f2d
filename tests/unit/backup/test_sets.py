# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup contains, which ones are kept, whether one is complete. The scenario `backup` tests restic itself."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import (
    atomic_swap,
    databases,
    questions,
    remote_postgres,
    restic,
    restore,
    retention,
    scratch_model,
    stage,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import config as backup_config
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import create as backup_create
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import sets as backup_sets
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import verify as backup_verify
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import volumes as backup_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.scratch import Scratch, remove_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.backup.source import Source
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files, locks
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.variable import Variable
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import metrics

NOW = backup_sets.Set("20261125T120000Z", "shop", "web1", "hand", "", {}).time
DAY = 86400.0
ROW = {"name": "shop", "kind": "postgres", "service": "database"}
DATABASES = databases.read_databases([ROW])


def made(
    days: float, why: str = "schedule", app: str = "shop", host: str = "web1", whole: bool = True
) -> backup_sets.Set:
    """A set that is this many days old."""
    parts = {"app": "a", **({"manifest": "m"} if whole else {})}
    return backup_sets.Set(backup_sets.set_id(NOW - days * DAY), app, host, why, "", parts)


def kept(sets: list[backup_sets.Set]) -> list[int]:
    """The ages of the sets that are kept, in days, the youngest first."""
    sets = sorted(sets, key=lambda one: one.id)
    gone = retention.to_forget(sets, "shop", "web1", retention.Keep(), NOW)
    return [round((NOW - one.time) / DAY) for one in reversed(sets) if one not in gone]


def test_the_policy_keeps_days_weeks_and_months() -> None:
    left = kept([made(days) for days in range(400)])
    assert left[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert len(left) < 7 + 4 + 6
    months = [left[index] for index in range(len(left)) if left[index] > 30]
    assert 4 <= len(months) <= 6


@pytest.mark.parametrize(
    ("sets", "ages"),
    [
        pytest.param([made(900)], [900], id="the only set is kept at any age"),
        pytest.param([made(0.1), made(0.2), made(0.9)], [0, 0, 1], id="sets of the last day are kept"),
        pytest.param([made(3, whole=False), made(0)], [0], id="a set without a manifest is removed"),
        pytest.param([made(3, "safety"), made(1)], [1, 3], id="a set made before a restore is kept for a week"),
        pytest.param([made(30, "safety"), made(1)], [1], id="and then removed"),
        pytest.param([made(-900), made(1), made(2)], [-900, 1, 2], id="a set from the future removes no other"),
        pytest.param([made(900, "safety"), made(800)], [800], id="a set made before a restore is not the newest"),
    ],
)
def test_which_sets_are_kept(sets: list[backup_sets.Set], ages: list[int]) -> None:
    assert kept(sets) == ages


def test_sets_dated_by_a_wrong_clock_remove_no_others() -> None:
    ahead, right = [made(-days) for days in range(900, 1200)], [made(days) for days in range(400)]
    assert [age for age in kept(ahead + right) if age >= 0] == kept(right)


def test_the_last_verified_set_is_kept_until_another_is_verified() -> None:
    sets = [made(days) for days in range(400, -1, -1)]
    gone = retention.to_forget(sets, "shop", "web1", retention.Keep(1, 0, 0), NOW, verified=made(300).id)
    assert [one for one in sets if one not in gone] == [made(300), made(0)]


def test_sets_of_other_apps_and_hosts_are_kept() -> None:
    others = [
        made(999, host="web2"),
        made(999, whole=False),
        backup_sets.Set("20200101T000000Z", "other", "web1", "hand", "", {}),
    ]
    gone = retention.to_forget([*others, made(1)], "shop", "web1", retention.Keep(), NOW)
    assert others[0] not in gone
    assert others[2] not in gone


def test_images_are_kept_as_long_as_a_set_needs_them() -> None:
    old, new = made(400)._replace(images="one"), made(0)._replace(images="two")
    images = {"one": "s1", "two": "s2", "three": "s3"}
    assert retention.unused_images([old, new], images, [old], "two") == ["s1", "s3"]
    assert retention.unused_images([old, new], images, [], "three") == []


SETS = [made(9), made(2), made(1, "safety"), made(0.5, whole=False), made(3, app="other")]


@pytest.mark.parametrize(
    ("to", "age"),
    [
        ("latest", 2),
        (made(9).id, 9),
        (made(1).id, 1),
        ("2026-11-23T12:00:00Z", 2),
        ("2026-11-23 11:59:59", 9),
        ("2026-11-23T13:00:00+02:00", 9),
    ],
)
def test_which_set_is_chosen(to: str, age: int) -> None:
    assert backup_sets.choose(SETS, "shop", "web1", to, NOW) == made(age, "safety" if age == 1 else "schedule")


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (made(0.5).id, "no backup"),
        (made(3).id, "was made of other on web1, and this run restores shop on web1. Nothing was changed"),
        ("2020-01-01T00:00:00Z", "The newest: 20261116T120000Z, 20261123T120000Z, 20261124T120000Z. The repository"),
        ("yesterday", "is neither a backup nor a time. Fix: write latest"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_chosen_is_an_error(to: str, says: str) -> None:
    with pytest.raises(databases.BackupError, match=says):
        backup_sets.choose(SETS, "shop", "web1", to, NOW)


def test_a_wrong_clock_cannot_choose_the_latest_set() -> None:
    with pytest.raises(
        databases.BackupError, match=r"later than now.*before now: 20261123T120000Z\. Fix: set this host"
    ):
        backup_sets.choose([*SETS, made(-5)], "shop", "web1", "latest", NOW)
    assert backup_sets.choose([*SETS, made(-0.01)], "shop", "web1", "latest", NOW) == made(-0.01)
    assert backup_sets.choose([*SETS, made(-5)], "shop", "web1", made(-5).id, NOW) == made(-5)


def test_the_newer_of_two_copies_of_a_part_counts() -> None:
    tags = backup_sets.tags("shop", "web1", "20261125T120000Z", "hand", "app")
    found = backup_sets.read_sets([{"id": "b", "time": "2", "tags": tags}, {"id": "a", "time": "1", "tags": tags}])
    assert [one.parts for one in found] == [{"app": "b"}]
    assert not found[0].complete
    assert (
        backup_sets.read_sets([{"id": "x", "time": "1", "tags": ["of", "somebody", "else"]}, {"id": "y", "time": "2"}])
        == []
    )


def test_a_volume_that_the_compose_file_does_not_name_is_reported() -> None:
    mounts_ = [
        {"Type": "volume", "Name": "shop_data", "Destination": "/var/lib/postgresql"},
        {"Type": "volume", "Name": "0" * 64, "Destination": "/var/lib/postgresql/data"},
        {"Type": "bind", "Source": "/srv", "Destination": "/srv"},
    ]
    document = {"Config": {"Labels": {"com.docker.compose.service": "database"}}, "Mounts": mounts_}
    assert backup_volumes.unnamed([document], ["shop_data"]) == ["/var/lib/postgresql/data of service database"]


def test_a_volume_of_a_profile_need_not_exist() -> None:
    tools = {"profiles": ["tools"], "volumes": [{"type": "volume", "source": "dumps"}]}
    model = {**MODEL, "services": {**MODEL["services"], "tools": tools}}
    assert backup_volumes.always_there(model) == {"data", "files"}


MODEL: dict[str, Any] = {
    "services": {
        "backend": {
            "image": "shop:1",
            "ports": [{"published": "80"}],
            "volumes": [
                {"type": "volume", "source": "files", "target": "/files"},
                {"type": "bind", "source": "/srv/elsewhere", "target": "/x"},
                {"type": "bind", "source": "/opt/shop/conf", "target": "/y"},
            ],
        },
        "database": {
            "image": "postgres:17",
            "build": {"context": "."},
            "restart": "unless-stopped",
            "ports": [{"published": "5432"}],
            "networks": {"front": None},
            "depends_on": {"backend": {}},
            "container_name": "db",
            "environment": {"POSTGRES_PASSWORD": "secret"},
            "volumes": [
                {"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"},
                {"type": "volume", "source": "files", "target": "/files"},
            ],
        },
    },
    "volumes": {"data": {"name": "shop_data"}, "files": None, "cache": {}},
}


def test_which_volumes_belong_to_a_backup() -> None:
    found = backup_volumes.volumes("shop", MODEL, DATABASES, ["cache"])
    # `files` is copied: a service without a dump writes to it, too.
    assert [tuple(one) for one in found] == [("data", "shop_data", "database"), ("files", "shop_files", "")]
    assert backup_volumes.mounts_outside(MODEL, "/opt/shop") == ["/srv/elsewhere"]
    with pytest.raises(databases.BackupError, match="no volume 'nope'; it has cache, data, files"):
        backup_volumes.volumes("shop", MODEL, DATABASES, ["nope"])
    assert backup_volumes.volumes("shop", MODEL, [DATABASES[0]._replace(volume="files")], []) == [
        ("cache", "shop_cache", ""),
        ("data", "shop_data", ""),
        ("files", "shop_files", "database"),
    ]
    with pytest.raises(databases.BackupError, match="no service 'gone'"):
        backup_volumes.volumes("shop", MODEL, [DATABASES[0]._replace(service="gone")], [])


def mounts(*given: dict[str, Any], **others: list[dict[str, Any]]) -> dict[str, Any]:
    """A model whose service `database` has these mounts, and other services theirs."""
    services = {name: {"volumes": list(found)} for name, found in {"database": list(given), **others}.items()}
    return {"services": services, "volumes": {"data": {}, "more": {}}}


DATA, MORE = ({"type": "volume", "source": key} for key in ("data", "more"))


@pytest.mark.parametrize(
    ("model", "row", "left_out", "says"),
    [
        (mounts(DATA, MORE), {}, [], "several volumes of its own, data, more.*Fix: write `volume: NAME`"),
        (mounts({"type": "bind", "source": "/opt/shop/data"}), {}, [], r"no named volume.*Fix: give it a named volume"),
        (mounts(DATA, backend=[DATA]), {}, [], "no named volume of its own.*Fix: write `volume: NAME`"),
        (mounts(DATA), {}, ["data"], "no named volume of its own"),
        (mounts(DATA, backend=[MORE]), {"volume": "more"}, [], "does not write to a volume 'more'.*writes to data"),
    ],
)
def test_a_dump_without_a_volume_to_restore_into_is_refused(
    model: dict[str, Any], row: dict[str, str], left_out: list[str], says: str
) -> None:
    with pytest.raises(databases.BackupError, match=says):
        backup_volumes.volumes("shop", model, databases.read_databases([{**ROW, **row}]), left_out)


@pytest.mark.parametrize(
    ("model", "row"),
    [
        (mounts(DATA, MORE), {"volume": "data"}),
        (mounts(DATA, {**MORE, "read_only": True}), {}),
        (mounts(DATA, exporter=[{**DATA, "read_only": True}]), {}),
        (mounts(DATA, exporter=[DATA]), {"volume": "data"}),
    ],
)
def test_which_volume_a_dump_fills(model: dict[str, Any], row: dict[str, str]) -> None:
    found = backup_volumes.volumes("shop", model, databases.read_databases([{**ROW, **row}]), [])
    assert [(one.key, one.covered) for one in found] == [("data", "database"), ("more", "")]


def test_a_scratch_database_has_no_access_to_a_network() -> None:
    scratch = scratch_model.scratch_model(MODEL, ["database"], {"database": "sha256:1"}, {"data": "shop-verify_data"})
    assert list(scratch["services"]) == ["database"]
    assert scratch["services"]["database"] == {
        "image": "sha256:1",
        "restart": "no",
        "environment": {"POSTGRES_PASSWORD": "secret"},
        "volumes": [{"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}],
    }
    assert scratch["networks"] == {"default": {"internal": True}}
    assert scratch["volumes"] == {"data": {"name": "shop-verify_data", "external": True}}


def test_a_scratch_database_may_take_twice_the_memory() -> None:
    limits: dict[str, dict[str, Any]] = {"limits": {"memory": "1024", "cpus": 1}, "reservations": {"memory": "512"}}
    spec = {"mem_limit": "1024", "memswap_limit": -1, "deploy": {"replicas": 1, "resources": limits}}
    made_ = scratch_model.scratch_model({"services": {"cache": spec}}, ["cache"], {}, {})["services"]["cache"]
    assert (made_["mem_limit"], made_["memswap_limit"]) == ("2048", -1)
    assert made_["deploy"] == {"resources": {**limits, "limits": {"memory": "2048", "cpus": 1}}}
    assert spec["mem_limit"] == limits["limits"]["memory"] == "1024"


def test_the_missing_parts_of_a_set() -> None:
    manifest: Any = {
        "parts": {"app": 1, "volumes": 2, "database:shop": 3},
        "databases": [{"name": "shop", "service": "database"}],
        "volumes": [{"key": "data", "covered": "database"}, {"key": "other", "covered": "cache"}],
    }
    assert backup_sets.missing_parts(manifest, ["manifest", "app", "database:shop"]) == [
        "part volumes is missing",
        "volume other has neither files nor a dump",
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("shop", "expected a list"),
        (["shop"], "row 1: expected a mapping"),
        ([{**ROW, "name": "a b"}], "row 1: `name` is 'a b'"),
        ([ROW, ROW], "row 2: `name` is 'shop'"),
        (
            [{**ROW, "kind": "oracle"}],
            r"\(shop\): `kind` is 'oracle'. Fix: write one of postgres, mysql, mariadb, mongodb",
        ),
        ([{"name": "shop", "kind": "redis"}], "`service` is missing"),
        ([{**ROW, "pasword": "X"}], "unknown key `pasword`"),
        ([{**ROW, "kind": "command", "dump": ["x"]}], "`load`: expected a list of words"),
        ([{**ROW, "kind": "command", "dump": "x | y", "load": ["y"]}], "`dump`: expected a list of words"),
    ],
)
def test_a_bad_table_of_databases(rows: Any, says: str) -> None:
    with pytest.raises(databases.BackupError, match=says):
        databases.read_databases(rows)


REMOTE = {"name": "shop", "kind": "postgres", "dsn_variable": "DATABASE_URL", "image": "postgres:17"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"service": "database"}, "both `service` and `dsn_variable`. Fix: keep `service` when it runs in the compose"),
        ({"kind": "redis"}, "`dsn_variable` is for kind postgres only"),
        ({"image": ""}, "`image` is ''. Fix: name an image of PostgreSQL, of the server's major version or a newer"),
        ({"image": "--privileged"}, "`image` is '--privileged'"),
        ({"dsn_variable": ""}, "`dsn_variable` is not the name of a variable"),
        ({"dsn_variable": "postgresql://shop:hunter2@db.example/shop"}, "Fix: write the name.*and the DSN only there"),
        ({"schemas": "public"}, r"`schemas`: expected a list of names. Fix: write \[public\]"),
        ({"volume": "data"}, "unknown key `volume` of a database on another server"),
    ],
)
def test_a_bad_row_of_a_database_on_another_server(row: dict[str, Any], says: str) -> None:
    with pytest.raises(databases.BackupError, match=rf"row 1 \(shop\): .*{says}") as raised:
        databases.read_databases([{**REMOTE, **row}])
    assert "hunter2" not in str(raised.value)


def test_the_variable_of_a_dsn_must_be_in_the_apps_table(tmp_path: Path) -> None:
    variable = {"name": "OTHER", "kind": "token", "source": "made once"}
    check = {"name": "health", "url": "http://127.0.0.1:8000/health", "proves": "health"}
    watched = {"app": "shop", "directory": str(tmp_path), "variables": [variable], "checks": [check]}
    path = Path(agent_config.path_of("shop", str(tmp_path)))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(watched), encoding="utf-8")
    mine = tmp_path / "shop.json"
    mine.write_text(json.dumps({"app": "shop", "repository": "/srv", "databases": [REMOTE]}), encoding="utf-8")
    says = (
        r"backup_databases \(shop\): `dsn_variable` is DATABASE_URL, which the app's table does not have; it has OTHER"
    )
    with pytest.raises(agent_config.ConfigError, match=says):
        backup_config.load("shop", str(tmp_path), str(mine))


def test_a_dsn_is_passed_in_the_environment_only() -> None:
    (database,) = databases.read_databases([{**REMOTE, "schemas": ["public", "shop"]}])
    dsn = "postgresql+asyncpg://shop.ref:p%40ss%2Fword@[2001:db8::1]:6543/sh%20op?sslmode=require&pgbouncer=true"
    given = remote_postgres.environment("DATABASE_URL", dsn)
    assert given == {
        "PGHOST": "2001:db8::1",
        "PGPORT": "6543",
        "PGUSER": "shop.ref",
        "PGPASSWORD": "p@ss/word",
        "PGDATABASE": "sh op",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "30",
    }
    command = remote_postgres.dump_command("shop", database, given)
    assert not [word for word in command if word in given.values()]
    assert [command[at + 1] for at, word in enumerate(command) if word == "--env"] == list(given)
    words = ["--entrypoint", "pg_dump", "postgres:17", "--format=custom", "--compress=0", "--strict-names"]
    assert command[-8:] == [*words, "--schema=public", "--schema=shop"]


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "host=db user=shop password=hunter2",
        "mysql://shop:hunter2@db/shop",
        "postgresql://shop:hunter2@db",
        "postgresql://:hunter2@db/shop",
        "postgresql://shop:hunter2@db:port/shop",
        "postgresql://shop:hunter2@one,two/shop",
        "postgresql://shop:hunter2#x@db/shop",
        "postgresql://shop:hunter2[@db/shop",
    ],
)
def test_an_invalid_dsn_is_reported_and_not_shown(dsn: str) -> None:
    with pytest.raises(
        databases.BackupError, match=r"DATABASE_URL of the app's env is not a DSN.*Fix: write it as"
    ) as raised:
        remote_postgres.environment("DATABASE_URL", dsn)
    assert "hunter2" not in str(raised.value)


def test_a_database_on_another_server_fills_no_volume_and_is_not_restored() -> None:
    rows = [{**ROW, "name": "own"}, REMOTE]
    tables = databases.read_databases(rows)
    volumes = backup_volumes.volumes("shop", MODEL, tables, ["cache"])
    assert [(one.key, one.covered) for one in volumes] == [("data", "database"), ("files", "")]
    manifest: dict[str, Any] = {
        "databases": rows,
        "volumes": [one._asdict() for one in volumes],
        "parts": {"app": 1, "volumes": 1, "database:own": 1, "database:shop": 1},
    }
    known = cast(backup_sets.Manifest, manifest)
    assert backup_sets.missing_parts(known, known["parts"]) == []
    source = Source.__new__(Source)
    config: Any = SimpleNamespace(repository=restic.Repository("/srv", "/password"))
    source.config = config
    source.set = backup_sets.Set("20261125T120000Z", "shop", "web1", "hand", "", {"database:shop": "abc"})
    source.manifest, source.databases = known, tables
    assert [one.name for one in source.dumps(source.chosen(backup_sets.What("app")))] == ["own"]
    says = (
        "(?s)^nothing was touched: database shop is on another server.* as DATABASE_URL has them"
        r".*\nrestic --repo /srv --password-file /password dump --no-lock abc shop.dump \| docker run"
        r'.* --dbname "\$PGDATABASE"$'
    )
    with pytest.raises(databases.BackupError, match=says):
        source.chosen(backup_sets.What("database", "shop"))


def test_an_unreachable_database_server_is_not_reported_as_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "subprocess docker: pg_dump: error: connection to server at 192.0.2.1 failed: Connection refused\n"
        '{"message_type":"exit_error","code":1,"message":"Fatal: command failed: exit status 1"}\n'
    )
    monkeypatch.setattr(restic, "_run", lambda *_given: commands.Result(1, "", said))
    says = "^shop.dump cannot be made: pg_dump: error: connection to server at 192.0.2.1 failed: Connection refused$"
    with pytest.raises(restic.RepositoryError, match=says):
        restic.keep_output(restic.Repository("/srv", "/password"), ["docker", "run"], "shop.dump", [], "web1")


AGAIN = "Stat(<config/>) returned error, retrying after 1.4s: Stat:"


@pytest.mark.parametrize(
    ("said", "code", "says"),
    [
        (f"{AGAIN} The specified bucket does not exist.", restic.NOT_THERE, "there is no repository at /srv"),
        (
            f"{AGAIN} The request signature we calculated does not match the signature you provided.",
            *(restic.REFUSED, "refuses access: restic check says: .* Fix: the keys in backup_secrets"),
        ),
        (
            f"{AGAIN} The difference between the request time and the current time is too large.",
            *(restic.REFUSED, "its clock and this host's have to agree"),
        ),
        ("Save: write /srv/data: no space left on device", restic.FULL, "the disk is full"),
    ],
)
def test_an_error_that_restic_would_retry_in_vain_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, said: str, code: int, says: str
) -> None:
    monkeypatch.setattr(restic, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(restic, "words", lambda *_given: ["sh", "-c", f"echo '{said}' >&2; exec sleep 60"])
    with pytest.raises(restic.RepositoryError, match=says) as caught:
        restic.check(restic.Repository("/srv", "/password"), 5)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "said",
    [
        "subprocess docker: mysqldump: Access denied; you need the PROCESS privilege",
        '{"message_type":"error","error":{"message":"lstat /srv/Access Denied.html: no such file or directory"}}',
        "unable to refresh lock: Access Denied.",
    ],
)
def test_an_error_that_restic_survives_does_not_end_the_command(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(restic, "LOOK_SECONDS", 0.05)
    summary = '{"message_type":"summary","snapshot_id":"abc","total_bytes_processed":7,"data_added":7}'
    script = f"echo '{said}' >&2; sleep 0.3; echo '{summary}'"
    monkeypatch.setattr(restic, "words", lambda *_given: ["sh", "-c", script])
    kept = restic.keep_output(restic.Repository("/srv", "/password"), ["mysqldump"], "shop.dump", [], "web1")
    assert kept == {"snapshot": "abc", "bytes": 7, "added": 7}


def test_a_server_for_verification_has_no_network() -> None:
    made_ = remote_postgres.server("postgres:17", "remote.shop")
    assert (made_["network_mode"], made_["restart"], "ports" in made_) == ("none", "no", False)
    assert "$PATH" not in made_["entrypoint"][-1].replace("$$", "")


def test_no_secret_is_in_a_command() -> None:
    (cache,) = databases.read_databases(
        [{"name": "c", "kind": "redis", "service": "c", "password": "PASSWORD_OF_CACHE"}]
    )
    assert cache.secrets == {"REDISCLI_AUTH": "PASSWORD_OF_CACHE"}
    assert "PASSWORD_OF_CACHE" not in " ".join(itertools.chain(cache.dump, cache.load, cache.ask))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"ask": "SELECT 1", "minimum": 1}, "names a database or a volume"),
        ({"database": "shop", "volume": "files", "ask": "x", "minimum": 1}, "names a database or a volume"),
        ({"database": "nope", "ask": "SELECT 1", "minimum": 1}, r"`database`, a name from backup_databases \(shop\)"),
        ({"database": "shop", "ask": "SELECT 1"}, "needs `minimum`, a number, or `equals`"),
        ({"database": "shop", "ask": "SELECT 1", "minimum": "many"}, "`minimum` is 'many'"),
        ({"volume": "files", "minimum": 1}, "needs `path`, or `sums`"),
        ({"volume": "files", "path": "x", "minimun": 1}, "unknown keys"),
    ],
)
def test_a_bad_check(row: dict[str, Any], says: str) -> None:
    with pytest.raises(databases.BackupError, match=says):
        questions.read_checks([row], DATABASES)


@pytest.mark.parametrize(
    ("check", "answer", "says"),
    [
        ({"minimum": 5}, "5\n", ""),
        ({"minimum": 5}, "4\n", "gives 4, and at least 5 is expected"),
        ({"minimum": 1}, "", "gives '', which is not a number"),
        ({"equals": "a"}, "a\n", ""),
        ({"equals": "a"}, "b", "gives 'b', not 'a'"),
    ],
)
def test_an_answer_is_judged(check: questions.DataCheck, answer: str, says: str) -> None:
    judged = questions.judge({**check, "database": "shop", "ask": "SELECT 1"}, answer)
    assert (judged == "") == (says == "")
    assert says in judged


@pytest.mark.parametrize(
    ("text", "good"), [("app", 1), ("env", 1), ("volume:x", 1), ("app:x", 0), ("volume", 0), ("x", 0)]
)
def test_what_may_be_restored(text: str, good: int) -> None:
    if good:
        assert str(backup_sets.read_what(text)) == text
    else:
        with pytest.raises(databases.BackupError, match="Fix: use app, env"):
            backup_sets.read_what(text)


@pytest.mark.parametrize(
    ("sums", "says"),
    [
        ("SUM  file\nSUM *file\n", ""),
        ("SUM  file\nSUM file\n", "is not a line of sha256sum"),
        ("SUM  gone\n", "gone: the directory is missing"),
        (f"{'0' * 64}  file\n", "the checksum of file differs"),
        ("", "lists no file"),
    ],
)
def test_sums_are_compared(tmp_path: Path, sums: str, says: str) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    path = tmp_path / "SHA256SUMS"
    path.write_text(sums.replace("SUM", hashlib.sha256(b"text").hexdigest()), encoding="utf-8")
    found = backup_verify._compare_sums(str(path), "volume files: SHA256SUMS")
    assert bool(found) == bool(says)
    assert says in found


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "backup_repository is empty"),
        ("backups/shop", "is relative to the folder it is read from. Fix: write a path that begins with /"),
        ("rest:https://shop:hunter2@store/", "backup_repository holds a password"),
    ],
)
def test_a_bad_repository(tmp_path: Path, url: str, says: str) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps({"app": "shop", "repository": url}), encoding="utf-8")
    with pytest.raises(agent_config.ConfigError, match=says):
        backup_config.load("shop", str(tmp_path), str(path))


def test_a_locked_repository_is_retried_after_stale_locks_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    said, codes = [], iter([restic.LOCKED, 0, restic.LOCKED, 0, 0])

    def run(argv: list[str], *_given: Any) -> commands.Result:
        said.append(argv[-1])
        return commands.Result(next(codes), "", "")

    monkeypatch.setattr(restic, "_run", run)
    restic.prune(restic.Repository("/srv", "/password"))
    assert said == ["10%", "unlock", "10%", "unlock", "10%"]


def test_another_app_with_the_name_of_a_scratch_project_is_refused(tmp_path: Path) -> None:
    for name in ("shop", "shop-verify"):
        path = Path(agent_config.path_of(name, str(tmp_path)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    path = tmp_path / "shop.json"
    path.write_text(json.dumps({"app": "shop", "repository": "/srv"}), encoding="utf-8")
    with pytest.raises(agent_config.ConfigError, match="the app shop-verify has the name of a scratch project"):
        backup_config.load("shop", str(tmp_path), str(path))


# --- paused writes, and messages about failures ----------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """The configuration of a backup that pauses the writes of two services."""
    variables = [Variable("TOKEN", "token", secret=True)]
    paths = app_paths("shop", str(tmp_path), root=str(tmp_path))
    Path(paths.env).write_text("TOKEN=a-secret-that-must-not-show\n", encoding="utf-8")
    watched = SimpleNamespace(app=App(paths, variables))
    hooks = [backup_config.Hook(name, ["go-on"]) for name in ("backend", "worker")]
    return SimpleNamespace(paths=paths, watched=watched, before=[], after=hooks)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The containers in which hooks ran. The hook in b1 fails, and its error shows a secret."""
    found: list[str] = []
    there = [{"id": name, "service": service, "state": "running"} for name, service in INSTANCES.items()]

    def run(argv: list[str], *_given: Any) -> commands.Result:
        found.append(argv[-2])
        bad = argv[-2] == "b1"
        return commands.Result(int(bad), "", "error: a-secret-that-must-not-show is an unknown flag" if bad else "")

    monkeypatch.setattr(docker_project.Project, "containers", lambda _project: there)
    monkeypatch.setattr(commands, "run", run)
    return found


INSTANCES = {"b1": "backend", "w1": "worker", "w2": "worker"}


def test_writes_are_resumed_everywhere_after_a_failure(
    config: Any, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(databases.BackupError, match="the dump fails"),
        backup_create._paused(config, lambda _text: None),
    ):
        assert Path(config.paths.writes_paused).exists()
        raise databases.BackupError("the dump fails")
    assert ran == ["b1", "w1", "w2"]
    problem = backup_create.end_pause(config)
    assert problem.startswith("writes may still be paused: the hook `go-on` in backend failed: error: <TOKEN")
    assert "must-not-show" not in problem
    monkeypatch.setattr(commands, "run", lambda *_given: commands.Result(0, "", ""))
    assert backup_create.end_pause(config) == ""
    ran.clear()
    assert backup_create.end_pause(config) == ""
    assert ran == []


def test_a_secret_in_an_error_of_compose_is_redacted(config: Any) -> None:
    def work(_config: Any) -> None:
        raise engine.EngineError("invalid port: a-secret-that-must-not-show")

    with pytest.raises(databases.BackupError, match="invalid port: <TOKEN sha256:"):
        backup_create.redacted(work)(config)


@pytest.mark.parametrize(
    ("result", "killed"), [("", 0), ("success", 0), ("exit-code", 0), ("signal", 1), ("timeout", 1), ("oom-kill", 1)]
)
def test_a_killed_backup_is_reported(result: str, killed: int) -> None:
    assert bool(backup_create.killed(result)) == bool(killed)


def test_a_mount_inside_the_app_cannot_be_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uploads").mkdir()
    stage._require_no_mounts(str(tmp_path))
    stage._require_no_mounts(str(tmp_path / "gone"))
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("uploads"))
    with pytest.raises(databases.BackupError, match=r"uploads is a mount.*Nothing was touched"):
        stage._require_no_mounts(str(tmp_path))


def test_a_restored_database_needs_the_space_that_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_bytes(b"x" * 100_000)
    assert 100_000 <= backup_create.used_bytes(str(tmp_path)) < 200_000
    monkeypatch.setattr(procfs, "disk", lambda _paths: [{"free_bytes": 300 << 20}])
    data = backup_volumes.Volume("data", "shop_data", "database")

    def ask(used: int) -> None:
        volumes = [{"key": "data", "used": used << 20}, {"key": "other", "used": 1 << 40}]
        manifest = {"parts": {"app": 1, "database:shop": 50 << 20, "database:far": 9 << 20}, "volumes": volumes}
        config = SimpleNamespace(paths=app_paths("shop"))
        source: Any = SimpleNamespace(config=config, manifest=manifest, dumps=lambda _volumes: DATABASES)
        far = databases.read_databases([{**REMOTE, "name": "far"}])
        stage._require_room(source, backup_sets.What("app"), [data], far)

    ask(100)
    with pytest.raises(databases.BackupError, match="300 MiB are free, and the backup needs 277 MiB"):
        ask(200)


def test_the_fingerprint_of_an_env_that_is_missing_or_not_a_file(tmp_path: Path) -> None:
    assert backup_create.env_mark(str(tmp_path / ".env")) == ""
    assert backup_create.env_mark(str(tmp_path)) == "unreadable"


# --- atomic swaps ----------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }


def folders(tmp_path: Path) -> tuple[Path, Path]:
    here, staged = tmp_path / "here", tmp_path / "staged"
    for folder, text in ((here, "old"), (staged, "new")):
        (folder / "sub").mkdir(parents=True)
        for name in ("both", "sub/both", f"only-{text}"):
            (folder / name).write_text(text, encoding="utf-8")
    return here, staged


@pytest.mark.parametrize("done", range(5))
def test_interrupted_moves_are_finished_or_rolled_back(tmp_path: Path, done: int) -> None:
    here, staged = folders(tmp_path)
    before = (tree(here), tree(staged))
    moves = atomic_swap.plan_entries(str(here), str(staged))
    assert len(moves) == 4
    atomic_swap.do(moves[:done])
    atomic_swap.undo(moves)
    assert (tree(here), tree(staged)) == before
    atomic_swap.do(moves[:done])
    atomic_swap.do(moves)
    assert (tree(here), tree(staged)) == (before[1], before[0])
    atomic_swap.undo(moves)
    atomic_swap.undo(moves)
    assert (tree(here), tree(staged)) == before


def test_a_rollback_replaces_files_written_after_the_swap(tmp_path: Path) -> None:
    here, staged = folders(tmp_path)
    moves = atomic_swap.plan_entries(str(here), str(staged))
    atomic_swap.do(moves)
    for name in ("both", "only-new"):
        files.atomic_write(str(here / name), b"of a gate that was not passed")
    atomic_swap.undo(moves)
    assert tree(here) == {"both": "old", "sub/both": "old", "only-old": "old"}


class Stubborn:
    """A project with a container that cannot be removed."""

    def containers(self) -> list[dict[str, Any]]:
        return [{"id": "1", "name": "shop-database-1"}]

    def remove(self, *_given: Any) -> None:
        pass


def test_a_container_that_cannot_be_removed_prevents_the_swap() -> None:
    project: Any = Stubborn()
    with pytest.raises(engine.EngineError, match=r"shop-database-1\. Try: docker rm --force"):
        remove_containers(project)


class Killed(BaseException):
    """Raised in place of `kill -9`: no later step runs."""


class Engine:
    """An engine that counts the steps of a restore and kills it at the step with the number `fatal`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, fatal: int) -> None:
        self.left, self.up = fatal, True
        for owner, name in (
            (restore, "atomic_write"),
            (atomic_swap, "_swap"),
            (env_history, "remember"),
            (rolling, "finish"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))
        there = {"id": "1", "name": "shop-backend-1", "service": "backend", "state": "running"}
        monkeypatch.setattr(
            docker_project.Project, "containers", lambda one: [there] if self.up and one.app == "shop" else []
        )
        monkeypatch.setattr(docker_project.Project, "remove", self.counted(self.remove))
        monkeypatch.setattr(deployment, "serve_restored", self.counted(self.serve))
        monkeypatch.setattr(release_store, "last_good", lambda _folder: None)
        monkeypatch.setattr(
            docker_volumes, "volume_facts", lambda names: {names[0]: {"path": str(folder / "volume/_data")}}
        )
        monkeypatch.setattr(docker_volumes, "labelled_volumes", lambda _label: [])
        monkeypatch.setattr(commands, "run", lambda *_given: commands.Result(0, "", ""))

    def counted(self, work: Any) -> Any:
        def step(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return work(*given, **named)

        return step

    def serve(self, *_given: Any) -> None:
        self.up = True

    def remove(self, _project: Any, containers: list[str], *_given: Any) -> None:
        self.up = self.up and not containers


@pytest.mark.parametrize("fatal", range(1, 14))
def test_a_restore_that_is_killed_at_any_step_is_rolled_back_or_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    paths = app_paths("shop", str(tmp_path / "opt/shop"), root=str(tmp_path))
    config: Any = SimpleNamespace(paths=paths, watched=SimpleNamespace(app=App(paths)))
    scratch = Scratch(config, "restore")
    staged = tmp_path / "staged/_data"
    old, new = {"x": "old", "y": "old"}, {"x": "new", "y": "new"}
    for folder, text in ((paths.directory, old), (tmp_path / "volume/_data", old), (scratch.directory, new)):
        Path(folder).mkdir(parents=True)
        for name in text:
            (Path(folder) / name).write_text(text[name], encoding="utf-8")
    Path(scratch.state).mkdir(parents=True)
    staged.mkdir(parents=True)
    for name in new:
        (staged / name).write_text("new", encoding="utf-8")
    source: Any = SimpleNamespace(
        config=config,
        set=made(1),
        manifest={"state_folders": []},
        chosen=lambda _what: [backup_volumes.Volume("data", "shop_data", "")],
    )
    engine_ = Engine(monkeypatch, tmp_path, fatal)
    given = (
        source,
        scratch,
        backup_sets.What("app"),
        {"data": str(staged)},
        True,
        lambda _text: None,
        Clock(),
    )
    try:
        restore._switch(*given)
        done = True
    except Killed:
        done = False
    marked = Path(paths.restoring).exists()
    engine_.left = 0
    assert restore.settle(config, lambda _text: None, Clock()) == marked
    wanted = new if done else old
    assert (tree(Path(paths.directory)), tree(tmp_path / "volume/_data")) == (wanted, wanted)
    assert not Path(paths.restoring).exists()
    assert engine_.up
    assert Path(scratch.only_copy).exists() == done
    assert done == (fatal > 9)


def test_a_file_system_that_supports_atomic_swaps(tmp_path: Path) -> None:
    atomic_swap.require(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- the recorded state, and work that waits for a restore -----------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"last_success": 3}', '{"problems": {"backup": 3}}', '{"problems": [1]}']
)
def test_a_damaged_state_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "backup.json"
    path.write_text(text, encoding="utf-8")
    assert state.read_backup(str(path))["last_success"] is None
    assert state.read_backup(str(path))["problems"] == {}


def test_a_backup_that_never_succeeded_has_the_timestamp_0() -> None:
    text = metrics.render_backup("shop", state.read_backup("/nowhere"))
    assert 'selfheal_backup_last_success_timestamp_seconds{app="shop"} 0' in text
    assert 'selfheal_backup_last_verified_timestamp_seconds{app="shop"} 0' in text
    assert "size_bytes" not in text


def test_the_app_is_locked_after_a_killed_restore(tmp_path: Path) -> None:
    lock, marker = tmp_path / "lock", tmp_path / "restore.json"
    with locks.hold_lock(str(lock), 0.0, "deploy shop", str(marker)):
        pass
    marker.write_text("{}", encoding="utf-8")
    held = locks.hold_lock(str(lock), 0.0, "deploy shop", str(marker))
    with pytest.raises(locks.LockHeld, match="selfheal backup settle"), held:
        pass
    with locks.hold_lock(str(lock), 0.0, "settle shop"):
        pass


def test_the_list_has_sizes_where_restic_says_them_and_the_verified_one() -> None:
    def snapshot(identity: str, part: str, size: int | None) -> backup_sets.Snapshot:
        made: backup_sets.Snapshot = {
            "id": part,
            "time": "1",
            "tags": backup_sets.tags("a", "h", identity, "hand", part),
        }
        if size is not None:
            made["summary"] = {"total_bytes_processed": size}
        return made

    old, new = "20261125T020000Z", "20261126T020000Z"
    rows = [snapshot(new, "app", 3 << 20), snapshot(new, backup_sets.MANIFEST, 1 << 19)]
    rows += [snapshot(old, "app", 5), snapshot(old, backup_sets.MANIFEST, None)]
    found = backup_sets.read_sets(rows)
    assert [one.bytes for one in found] == [None, (3 << 20) + (1 << 19)]
    assert backup_sets.listed(found, old) == [
        f"{old}  hand                    verified (the last one that was)",
        f"{new}  hand           3.5 MiB",
    ]
