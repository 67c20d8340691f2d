# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which release a rollback goes to, and that it is that one that is deployed; what a promotion is made of.

The rest is molecule's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import differences, last_good, rollback, rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine, image_names
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Identity, Release


def recorded(name: str, source: str) -> dict[str, Any]:
    return {
        "id": name,
        "files": {},
        "env": "kept",
        "source": source,
        "images": {"web": f"image of {name}"},
        "names": {"web": "shop:1"},
    }


OLDEST, BEFORE, SERVING = recorded("1", "source 1"), recorded("2", "source 2"), recorded("3", "source 3")


class Deployed(Exception):
    """The files are in place, and are about to be compared with what runs."""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    class Project:
        def __init__(self, *_unused: Any) -> None:
            self.files = ["compose.yaml"]

        def config(self) -> dict[str, Any]:
            return {"services": {"web": {}}}

        def hashes(self) -> dict[str, str]:
            return {}

        def containers(self) -> list[Any]:
            return []

    def describe(_directory: str, _env: str, _hashes: Any, source: str) -> Any:
        raise Deployed(source)

    monkeypatch.setattr(docker_project, "Project", Project)
    monkeypatch.setattr(engine, "state", lambda: {"answers": True, "reason": ""})
    monkeypatch.setattr(engine, "compose_version", lambda: "2.40.0")
    monkeypatch.setattr(docker_images, "has_image", lambda image: image != "image of 1")
    monkeypatch.setattr(
        release_store, "known", lambda _: [{**OLDEST, "id": "0", "env": "gone", "images": {}}, OLDEST, BEFORE, SERVING]
    )
    monkeypatch.setattr(release_store, "last_good", lambda _: SERVING)
    monkeypatch.setattr(release_store, "describe", describe)
    monkeypatch.setattr(rolling, "restore_files", lambda *_: None)
    for module in (deployment, rollback):
        monkeypatch.setattr(module, "read_env", lambda *_: {"findings": [], "values": {}, "fingerprint": "kept"})
    return App(app_paths("shop", root=str(tmp_path)))


@pytest.mark.parametrize("wanted", ["", "2"])
def test_a_rollback_deploys_the_source_of_its_release(app: App, wanted: str) -> None:
    """Not what is in the build context now: that is the source of the serving release."""
    with pytest.raises(Deployed, match="source 2"):
        rollback.roll_back(app, wanted, deployment.AS_IT_IS)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("4", "there is no release 4. Recorded here: 0, 1, 2, 3"),
        ("1", "an image of release 1 is not on this host"),
        ("0", "the env of release 0 is not kept"),
    ],
)
def test_what_cannot_be_gone_back_to_touches_nothing(
    app: App, wanted: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rolling, "restore_files", lambda *_: pytest.fail("files were touched"))
    with pytest.raises(deployment.DeployError, match=said):
        rollback.roll_back(app, wanted, deployment.AS_IT_IS)


def test_twice_goes_further_back_and_never_to_what_was_left(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_images, "has_image", lambda _: True)
    monkeypatch.setattr(release_store, "last_good", lambda _: BEFORE)
    assert rollback.roll_back(app, "", deployment.AS_IT_IS, check=True)["to"] == "1"
    monkeypatch.setattr(release_store, "last_good", lambda _: SERVING)
    monkeypatch.setattr(release_store, "known", lambda _: [OLDEST, {**BEFORE, "left": True}, SERVING])
    assert rollback.roll_back(app, "", deployment.AS_IT_IS, check=True)["to"] == "1"


def test_a_dry_run_of_a_rollback_says_where_it_would_go(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "restore_files", lambda *_: pytest.fail("files were touched"))
    result = rollback.roll_back(app, "", deployment.AS_IT_IS, check=True)
    assert (result["changed"], result["to"]) == (True, "2")


@pytest.mark.parametrize(("build", "counts"), [(True, True), (False, False)], ids=["built here", "not built here"])
def test_what_is_not_built_here_has_no_source_here(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: bool, counts: bool
) -> None:
    (tmp_path / "app.py").write_text("another release", encoding="utf-8")
    model = {"services": {"web": {"build": {"context": str(tmp_path)}}}}
    monkeypatch.setattr(docker_project.Project, "config", lambda _: model)
    with pytest.raises(Deployed) as found:
        deployment.deploy(app, deployment.How(build=build))
    assert (str(found.value) != release_store.source_fingerprint({}, "")) == counts


def test_a_promotion_that_runs_other_images_than_staging_takes_itself_back(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"service": "web", "digest": "image of 3", "state": "running", "name": "web", "config_hash": ""}
    wanted = {"files": {}, "env": "kept", "source": "source 3", "services": {}, "fingerprint": "x"}
    monkeypatch.setattr(release_store, "describe", lambda *_: wanted)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [{**running, "job_done": False}])
    monkeypatch.setattr(release_store, "last_good", lambda _: {**SERVING, "services": {}, "names": {}})
    monkeypatch.setattr(deployment, "_require_ports", lambda *_: None)
    monkeypatch.setattr(deployment, "_switch", lambda *_: ("", {"ok": True, "summary": ""}))
    monkeypatch.setattr(deployment, "_keep_logs", lambda *_: ("", None))
    monkeypatch.setattr(deployment, "_record", lambda *_: pytest.fail("it was recorded"))
    monkeypatch.setattr(deployment, "_hints", lambda *_: [])
    monkeypatch.setattr(last_good, "_put_back", lambda _app, _good, _ran, seconds, _clock: f"within {seconds:g} s")
    how = deployment.How(build=False, images={"web": "image of staging"}, plan=rolling.Plan(gate=200.0))
    with pytest.raises(deployment.DeployError, match=r"(?s)other images run .*: web.*within 200 s"):
        deployment.deploy(app, how)


SERVICES: dict[str, Any] = {
    "services": {"web": {"image": "shop:1", "build": "."}, "db": {"image": "ghcr.io/acme/db:2"}}
}
GOOD: Release = {
    "id": "1",
    "images": {"web": "1", "db": "2"},
    "names": {"web": "shop:1", "db": "ghcr.io/acme/db:2"},
}


@pytest.mark.parametrize(
    ("there", "build", "services"),
    [
        ({"shop:1": "1", "ghcr.io/acme/db:2": "2"}, True, []),
        ({"shop:1": "1", "ghcr.io/acme/db:2": "3"}, True, ["db"]),
        ({"shop:1": "3", "ghcr.io/acme/db:2": "2"}, True, []),
        ({"shop:1": "3", "ghcr.io/acme/db:2": "2"}, False, ["web"]),
        ({}, False, []),
    ],
)
def test_another_image_under_the_same_name_is_a_difference_unless_it_is_built_here(
    there: dict[str, str], build: bool, services: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_images, "image_id", lambda name: there.get(name, ""))
    found = differences.moved_images(SERVICES, GOOD, build)
    assert [line.split()[1].rstrip(":") for line in found] == services


def test_jobs_and_what_is_scaled_to_zero_are_no_difference() -> None:
    services = dict.fromkeys(("web", "migrate", "batch"), "hash")
    wanted: Identity = {"files": {}, "env": "e", "source": "s", "services": services, "fingerprint": "f"}
    good: Release = {"id": "1", "files": {}, "env": "e", "source": "s", "services": services}
    found = differences.describe(wanted, good, [], None, {"web"})
    assert found == ["service web has no container"]


@pytest.mark.parametrize(
    ("active", "removed"), [({"web"}, ["tool"]), ({"web", "tool"}, [])], ids=["dropped", "still active"]
)
def test_a_service_whose_profile_is_dropped_is_removed_and_said(
    active: set[str], removed: list[str], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a person has started by hand, of a profile that no release had, stays."""
    there = [{"id": name, "service": name} for name in ("web", "tool", "by-hand")]
    done: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: there)
    monkeypatch.setattr(docker_project.Project, "remove", lambda _, ids: done.extend(ids), raising=False)
    model: dict[str, Any] = {"services": {name: {} for name in active}}
    good: Release = {"services": {"web": "", "tool": ""}}
    deployment._remove_dropped(docker_project.Project("shop", ""), model, good, deployment.How(say=said.append))
    assert done == removed
    assert ["COMPOSE_PROFILES" in text for text in said] == [True] * len(removed)


def record(
    app: App, monkeypatch: pytest.MonkeyPatch, ages: Mapping[str, float | None], good: Any, seconds: float
) -> list[Mapping[str, Any]]:
    """Record the release of `web` after a deploy of so many seconds; `ages` are those of the containers that run."""
    limits = {"cpus": 0.5, "memory_bytes": 256 << 20, "memory_reservation_bytes": 0, "pids": 100}
    one = {"digest": "1", "config_hash": "h", "volumes": [], "mounts": [], "limits": limits, "restart_policy": "always"}
    there = [
        {**one, "service": name, "name": name, "image": f"{name}:1", "started_seconds": age}
        for name, age in ages.items()
    ]
    recorded: list[Mapping[str, Any]] = []
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: there)
    for name in ("keep_images", "let_go_images"):
        monkeypatch.setattr(docker_project.Project, name, lambda *_: None, raising=False)
    monkeypatch.setattr(docker_containers, "unnamed_data", lambda _: [])
    monkeypatch.setattr(deployment, "_pins", lambda *_: {})
    monkeypatch.setattr(release_store, "last_good", lambda _: good)
    monkeypatch.setattr(release_store, "record", lambda _, document: recorded.append(document))
    monkeypatch.setattr(release_store, "mark_last_good", lambda *_: [])
    monkeypatch.setattr(env_history, "mark_good", lambda *_: None)
    wanted: Release = {"services": {"web": "h"}, "fingerprint": "x" * 8, "env": "e"}
    deployment._record(
        app.paths, docker_project.Project("shop", ""), wanted, Clock(), deployment.How(), seconds=seconds
    )
    return recorded


def test_what_was_run_by_hand_of_another_profile_is_not_part_of_a_release(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container would be missed once it is gone, and its image be kept."""
    recorded = record(app, monkeypatch, {"web": 1.0, "report": 1.0}, None, 0.0)
    assert [one["images"] for one in recorded] == [{"web": "1"}]


@pytest.mark.parametrize(
    ("age", "took"),
    [(12.0, 12.0), (3600.0, 7.0), (None, 7.0)],
    ids=["the deploy started it", "it ran before", "its age is not known"],
)
def test_a_release_records_how_long_a_service_took_to_start(
    age: float | None, took: float, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recovery gives a start twice that time. What was not started now keeps what it took before."""
    recorded = record(app, monkeypatch, {"web": age}, {"starts": {"web": 7.0}}, 30.0)
    assert [one["starts"] for one in recorded] == [{"web": took}]


def test_a_release_records_what_docker_update_could_change(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    (recorded,) = record(app, monkeypatch, {"web": 1.0}, None, 0.0)
    assert recorded["settings"] == {
        "web": {"cpus": "0.5", "memory": "256 MiB", "memory reservation": "0 MiB", "pids": "100", "restart": "always"}
    }


PINNED: Release = {**GOOD, "pins": {"ghcr.io/acme/db:2": "ghcr.io/acme/db@sha256:2"}}


@pytest.mark.parametrize(
    ("digest", "given", "pin"),
    [
        ("2", "", "ghcr.io/acme/db@sha256:2"),
        ("3", "ghcr.io/acme/db@sha256:3", "ghcr.io/acme/db@sha256:3"),
        ("3", "", ""),
    ],
    ids=["kept", "given by staging", "another image"],
)
def test_what_came_in_an_archive_is_known_by_its_digest(
    digest: str, given: str, pin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_images, "pin", lambda _: "")
    running = [cast(Container, {"service": "db", "image": "ghcr.io/acme/db:2", "digest": digest})]
    found = deployment._pins(running, PINNED, {"ghcr.io/acme/db:2": given} if given else {})
    assert found.get("ghcr.io/acme/db:2", "") == pin


def test_what_one_service_builds_is_not_pulled_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"services": {**SERVICES["services"], "worker": {"image": "shop:1"}}}
    monkeypatch.setattr(docker_images, "image_id", lambda _: "moved since")
    good: Release = {
        **GOOD,
        "images": {**GOOD["images"], "worker": "1"},
        "names": {**GOOD["names"], "worker": "shop:1"},
    }
    assert [line.split()[1] for line in differences.moved_images(model, good, build=True)] == ["db:"]


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("shop", "shop"),
        ("shop:1", "shop"),
        ("docker.io/library/redis:8", "redis"),
        ("docker.io/acme/shop@sha256:0", "acme/shop"),
        ("127.0.0.1:5000/shop:1", "127.0.0.1:5000/shop"),
        ("127.0.0.1:5000/shop", "127.0.0.1:5000/shop"),
        ("ghcr.io/acme/shop:1@sha256:0", "ghcr.io/acme/shop"),
    ],
)
def test_the_repository_of_an_image(name: str, repository: str) -> None:
    assert image_names.repository(name) == repository


def test_who_holds_a_port_is_named_with_project_and_folder(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    label = "com.docker.compose.project"
    labels = {label: "old", f"{label}.working_dir": "/srv/old"}
    ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    document = {"Name": "/old-web-1", "Config": {"Labels": labels}, "NetworkSettings": {"Ports": ports}}
    monkeypatch.setattr(docker_containers, "inspected", lambda _: [document])
    monkeypatch.setattr(procfs, "listeners", lambda _: [{"process": "docker-proxy", "pid": 7}])
    model = {"services": {"web": {"ports": [{"published": "8080", "target": 80}]}}}
    said = "held by the container old-web-1 of the compose project old in /srv/old"
    with pytest.raises(deployment.DeployError, match=said):
        deployment._require_ports(app.paths, model, [])
