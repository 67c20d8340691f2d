# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the remedies change, and above all what they leave unchanged."""

from __future__ import annotations

import os
import signal
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App, Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld, hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs as host_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import remedies
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release

MIB = 1 << 20
BALANCER = Balancer("web", 2, 18000, (80,))


class Host:
    """A host with one file system that has `free` bytes left. `gives`: how many bytes a command frees."""

    def __init__(self, root: Path) -> None:
        self.paths = app_paths("shop", root=str(root))
        self.log = root / "var/log"
        self.log.mkdir(parents=True)
        self.free = 0
        self.gives: dict[str, int] = {}
        self.ran: list[str] = []
        self.delete = os.unlink

    def run(self, argv: list[str], _timeout: float, **_unused: Any) -> commands.Result:
        self.ran.append(" ".join(argv))
        self.free += next((size for words, size in self.gives.items() if words in self.ran[-1]), 0)
        return commands.Result(0, "", "")

    def disk(self, _paths: Any) -> list[dict[str, Any]]:
        return [{"path": "/", "free_bytes": self.free, "total_bytes": 1000 * MIB}]

    def unlink(self, path: Any) -> None:
        self.free += os.lstat(path).st_size * MIB
        self.delete(path)

    def write(self, *names: str) -> None:
        for name in names:
            path = self.log / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x", encoding="utf-8")

    def left(self) -> set[str]:
        return {str(path.relative_to(self.log)) for path in self.log.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    it = Host(tmp_path)
    walk = os.walk

    def here(top: str) -> Iterator[Any]:
        # Never the real folder: the remedy deletes files that it finds there.
        return walk(it.log if top == "/var/log" else tmp_path / "nowhere")

    monkeypatch.setattr(os, "walk", here)
    monkeypatch.setattr(os, "unlink", it.unlink)
    monkeypatch.setattr(host_facts, "disk", it.disk)
    monkeypatch.setattr(commands, "run", it.run)
    return it


def test_only_rotated_logs_are_deleted(host: Host) -> None:
    logs = {"shop/app.log", "syslog", "journal/m/system.journal", "shop/orders.db", "shop/report.txt"}
    rotated = {"shop/app.log.1", "shop/app.log.2.gz", "syslog.1", "syslog-20250527", "syslog-20250526.gz"}
    host.write(*logs, *rotated, "journal/m/system@1.journal.1")
    (host.log / "link.log").write_text("x", encoding="utf-8")
    (host.log / "link.log.1").symlink_to(host.paths.root)
    remedies.free_space(host.paths)
    assert host.left() == {*logs, "journal/m/system@1.journal.1", "link.log", "link.log.1"}


def test_nothing_more_is_deleted_once_enough_space_is_free(host: Host) -> None:
    host.gives = {"journalctl": 300 * MIB}
    assert remedies.free_space(host.paths) == "300 MiB freed: rotated logs, old journal"
    assert host.ran == ["journalctl --vacuum-size=50M"]


def test_docker_deletes_only_dangling_images_and_build_cache(host: Host) -> None:
    host.gives = {"builder": 5 * MIB}
    remedies.free_space(host.paths)
    assert host.ran[1:] == ["docker image prune --force", "docker builder prune --force"]


def test_when_nothing_may_be_deleted_a_person_has_to_decide(host: Host) -> None:
    with pytest.raises(remedies.RemedyError, match="a person has to decide"):
        remedies.free_space(host.paths)


def instance(service: str, state: str = "running", ports: tuple[int, ...] = ()) -> dict[str, Any]:
    found = {"id": service, "name": f"shop-{service}-1", "service": service, "state": state, "ports": list(ports)}
    return {**found, "anonymous_volumes": {}}


@pytest.mark.parametrize(
    ("instances", "services", "restarted"),
    [
        pytest.param([instance("web", ports=(80,)), instance("db")], ("web",), "web", id="the service at fault"),
        pytest.param([instance("web", ports=(80,)), instance("db")], (), "web", id="none named: the published one"),
        pytest.param([instance("web"), instance("db")], (), "web db", id="no port published: all services"),
        pytest.param([instance("web", "paused")], ("web",), "web", id="a paused service"),
    ],
)
def test_which_services_are_restarted(
    monkeypatch: pytest.MonkeyPatch, instances: list[Any], services: tuple[str, ...], restarted: str
) -> None:
    done: list[str] = []

    def restart(_unused: Any, containers: list[str]) -> commands.Result:
        done.extend(containers)
        return commands.Result(0, "", "")

    monkeypatch.setattr(docker_project.Project, "containers", lambda _: instances)
    monkeypatch.setattr(docker_project.Project, "restart", restart)
    remedies.restart(app_paths("shop"), services)
    assert done == restarted.split()


@pytest.mark.parametrize(("at_fault", "removed"), [("one", ["one"]), ("web", [])], ids=["a sick one", "a missing one"])
def test_only_the_instance_at_fault_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_fault: str, removed: list[str]
) -> None:
    """A missing instance has no id, only the name of its service. A container of another app may have that name."""
    done: list[Any] = []
    monkeypatch.setattr(
        docker_project.Project, "containers", lambda _: [{**instance("web"), "id": one} for one in ("one", "two")]
    )
    monkeypatch.setattr(
        docker_project.Project,
        "remove",
        lambda _, containers, _grace: done.extend(containers) or commands.Result(0, "", ""),
    )
    monkeypatch.setattr(
        docker_project.Project, "up", lambda _, **how: done.append(how["scale"]) or commands.Result(0, "", "")
    )
    remedies.recreate_one(app_paths("shop", root=str(tmp_path)), BALANCER, at_fault)
    assert done == [*removed, {"web": 2}]


def test_a_restart_of_haproxy_reports_which_files_were_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Any] = []
    monkeypatch.setattr(haproxy, "restart", lambda _: ["shop.cfg is put back"])
    monkeypatch.setattr(
        haproxy, "set_state", lambda _paths, _balancer, ports, state: states.append((list(ports), state))
    )
    result = remedies.restart_balancer(app_paths("shop"), BALANCER)
    assert result == "shop.cfg is put back; HAProxy killed and started"
    assert states == [([18000, 18001, 18002], haproxy.READY)]


def test_a_restart_without_a_running_container_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [instance("web", "exited")])
    with pytest.raises(remedies.RemedyError, match="no container"):
        remedies.restart(app_paths("shop"), ())


def test_the_users_compose_file_is_kept_when_the_release_is_put_back_twice(tmp_path: Path) -> None:
    paths = app_paths("shop", root=str(tmp_path))
    directory = Path(paths.directory)
    directory.mkdir(parents=True)
    (directory / "compose.yaml").write_text("good", encoding="utf-8")
    known: Release = {"id": "r1", "images": {}, "names": {}, "services": {}, "contexts": {}, "env": "", "source": ""}
    release_store.record(paths.directory, {**known, "files": release_store.files(paths.directory)})
    release_store.mark_last_good(paths.directory, "r1")
    (directory / "compose.yaml").write_text("mine, edited at 01:00", encoding="utf-8")
    remedies.last_good_compose(paths)
    remedies.last_good_release(paths, (), 0.0)
    assert (directory / "compose.yaml").read_text(encoding="utf-8") == "good"
    assert (directory / "compose.yaml.replaced").read_text(encoding="utf-8") == "mine, edited at 01:00"


def test_a_folder_in_place_of_the_env_stays_without_an_env_to_put_back(tmp_path: Path) -> None:
    paths = app_paths("shop", root=str(tmp_path))
    env = Path(paths.env)
    env.mkdir(parents=True)
    with pytest.raises(env_history.EnvError, match="nothing to put back"):
        remedies.last_good_env(paths, (), 0.0)
    assert (env.is_dir(), os.listdir(paths.directory)) == (True, [".env"])


TWO = [instance("web"), instance("cache")]


@pytest.mark.parametrize(
    ("balancer", "given"),
    [
        (None, {"build": False, "recreate": False}),
        (BALANCER, {"recreate": False, "scale": {"web": 2}}),
    ],
    ids=["without HAProxy", "with HAProxy, whose instances stay"],
)
def test_a_service_is_recreated_with_the_command_of_a_deploy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, balancer: Balancer | None, given: dict[str, Any]
) -> None:
    """`up --no-deps web` omits the dependencies from its configuration, so the next deploy would recreate it again."""
    done: list[tuple[str, Any]] = []

    def up(_unused: Any, **given: Any) -> commands.Result:
        done.append(("up", given))
        return commands.Result(0, "", "")

    def remove(_unused: Any, ids: list[str], _grace: float) -> commands.Result:
        done.append(("remove", ids))
        return commands.Result(0, "", "")

    monkeypatch.setattr(release_store, "last_good", lambda _: None)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: TWO)
    monkeypatch.setattr(docker_project.Project, "remove", remove)
    monkeypatch.setattr(docker_project.Project, "up", up)
    remedies.recreate(App(app_paths("shop", root=str(tmp_path)), balancer=balancer), build=False, services=["cache"])
    assert done == [("remove", ["cache"]), ("up", given)]


@pytest.mark.parametrize(
    ("changes", "grace"),
    [
        ({}, None),
        ({"state": "restarting"}, 5.0),
        ({"restarts": 3, "started_seconds": 2.0}, 5.0),
        ({"restarts": 3, "started_seconds": 2.0, "health": "healthy"}, None),
    ],
    ids=["running", "waiting for its next start", "just started again", "healthy again"],
)
def test_a_database_in_a_crash_loop_gets_a_short_stop_timeout(
    changes: dict[str, Any], grace: float | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It does not handle the stop signal yet, so the engine would wait for the whole stop_grace_period."""
    graces: list[float | None] = []
    gone_on: list[str] = []

    def remove(_unused: Any, _ids: list[str], given: float | None) -> commands.Result:
        graces.append(given)
        return commands.Result(0, "", "")

    db = {**instance("db"), "health": "", "restarts": 0, "started_seconds": 600.0, **changes}
    monkeypatch.setattr(release_store, "last_good", lambda _: None)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [db])
    monkeypatch.setattr(docker_project.Project, "remove", remove)
    for name in ("up", "restart"):
        monkeypatch.setattr(docker_project.Project, name, lambda *_, **__: commands.Result(0, "", ""))
    monkeypatch.setattr(docker_project.Project, "go_on", lambda _, ids: gone_on.extend(ids))
    remedies.recreate(App(app_paths("shop", root=str(tmp_path))), build=False, services=["db"], stateful=["db"])
    assert (graces, bool(gone_on)) == ([grace], grace is None)


@pytest.mark.parametrize("rows", [["42"], []], ids=["with data", "empty"])
def test_no_remedy_detaches_data_in_an_anonymous_volume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[str]
) -> None:
    """A new container would get a new volume, and the app would find an empty database."""
    for row in rows:
        (tmp_path / row).touch()
    done: list[str] = []

    def noted(name: str) -> Any:
        return lambda *_, **__: done.append(name) or commands.Result(0, "", "")

    db = {**instance("db"), "anonymous_volumes": {"/var/lib/postgresql/data": str(tmp_path)}}
    monkeypatch.setattr(release_store, "last_good", lambda _: None)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [db])
    for name in ("restart", "remove", "up", "down"):
        monkeypatch.setattr(docker_project.Project, name, noted(name))
    app = App(app_paths("shop", root=str(tmp_path)))
    said = remedies.recreate(app, build=False, services=["db"])
    assert ("/var/lib/postgresql/data" in said, done) == ((True, ["restart"]) if rows else (False, ["remove", "up"]))
    done.clear()
    if rows:
        with pytest.raises(remedies.RemedyError, match="volume without a name"):
            remedies.rebuild_network(app.paths, build=False)
    else:
        remedies.rebuild_network(app.paths, build=False)
    assert ("down" in done) != bool(rows)


def test_a_container_that_cannot_be_removed_is_not_recreated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The remedy fails, and starts no second container. If the container is gone despite the error, it is recreated."""
    app = App(app_paths("shop", root=str(tmp_path)), balancer=BALANCER)
    there = list(TWO)
    up: list[str] = []
    stuck = commands.Result(1, "", "could not kill: tried to kill container, but did not receive an exit event")
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: there)
    monkeypatch.setattr(commands, "run", lambda *_, **__: stuck)
    monkeypatch.setattr(docker_project.Project, "up", lambda *_, **__: up.append("up") or commands.Result(0, "", ""))
    attempts: list[Callable[[], object]] = [
        lambda: remedies.recreate(app, False, ["cache"]),
        lambda: remedies.recreate_one(app.paths, BALANCER, "web"),
    ]
    for attempt in attempts:
        with pytest.raises(remedies.RemedyError, match="docker rm: could not kill"):
            attempt()
    assert up == []

    def late(*_unused: Any, **__: Any) -> commands.Result:
        there.clear()
        return stuck

    monkeypatch.setattr(commands, "run", late)
    remedies.recreate_one(app.paths, BALANCER, "web")
    assert up == ["up"]


@pytest.mark.parametrize(
    ("contexts", "built"), [({}, [False]), ({"web": "/opt/shop"}, [True])], ids=["built elsewhere", "built here"]
)
def test_a_recovery_builds_only_images_that_were_built_on_this_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contexts: dict[str, str], built: list[bool]
) -> None:
    """A host that gets promoted images may still have the source of another release."""
    done: list[bool] = []

    def up(_unused: Any, build: bool = False, **__: Any) -> commands.Result:
        done.append(build)
        return commands.Result(0, "", "")

    good = {"id": "r1", "images": {"web": "gone"}, "names": {"web": "shop"}, "contexts": contexts, "source": ""}
    monkeypatch.setattr(release_store, "last_good", lambda _: good)
    monkeypatch.setattr(commands, "run", lambda *_, **__: commands.Result(1, "", "no such image"))
    monkeypatch.setattr(docker_project.Project, "up", up)
    remedies.recreate(App(app_paths("shop", root=str(tmp_path))), build=True)
    assert done == built


OLD, NEW, CACHE = "sha256:01d", "sha256:4e3", "sha256:cac"


class Images:
    """An engine without the image of the last good release. An image that was built later has its name.

    HAProxy has two instances; the second is missing.
    """

    def __init__(self, paths: AppPaths) -> None:
        self.paths, self.ids = paths, {NEW, CACHE}
        self.names = {"shop-web": NEW, "redis": NEW}
        self.tag_fails = ""
        self.pulled: list[str] = []
        self.items = [{**instance("web"), "digest": NEW}, {**instance("cache"), "digest": CACHE}]
        images, names = {"web": OLD, "cache": CACHE}, {"web": "shop-web", "cache": "redis"}
        good: Release = {"id": "r1", "images": images, "names": names}
        rest: Release = {
            "services": {},
            "contexts": {},
            "files": {},
            "env": "",
            "source": "",
            "pins": {"shop-web": "shop@sha256:0"},
        }
        os.makedirs(paths.directory)
        release_store.record(paths.directory, {**good, **rest})
        release_store.mark_last_good(paths.directory, "r1")

    def run(self, argv: list[str], _timeout: float, **_unused: Any) -> commands.Result:
        if argv[1] == "pull":
            self.pulled.append(argv[-1])
            return commands.Result(1, "", "the registry does not answer")
        assert argv[1:3] == ["image", "inspect"]
        found = self.find(argv[-1])
        return commands.Result(0, f"{found}\n", "") if found else self.absent(argv[-1])

    def tag(self, image: str, name: str) -> commands.Result:
        if self.tag_fails:
            return commands.Result(1, "", self.tag_fails)
        if image not in self.ids:
            return self.absent(image)
        self.names[name] = image
        return commands.Result(0, "", "")

    def find(self, image: str) -> str:
        return image if image in self.ids else self.names.get(image, "")

    @staticmethod
    def absent(image: str) -> commands.Result:
        return commands.Result(1, "", f"Error response from daemon: No such image: {image}")

    def ask(self, question: str, *_unused: Any) -> Any:
        """The engine's GET /images/{name}/json."""
        found = self.find(urllib.parse.unquote(question[len("/images/") : -len("/json")]))
        return {"Id": found} if found else None

    def up(self, **_unused: Any) -> commands.Result:
        self.items.append({**instance("web"), "id": "web-2", "digest": self.names["shop-web"]})
        return commands.Result(0, "", "")

    def good(self) -> release_store.Release:
        found = release_store.last_good(self.paths.directory)
        assert found is not None
        return found


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Images:
    it = Images(app_paths("shop", root=str(tmp_path)))
    monkeypatch.setattr(commands, "run", it.run)
    monkeypatch.setattr(docker_images, "tag", it.tag)
    monkeypatch.setattr(engine, "ask", it.ask)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: it.items)
    monkeypatch.setattr(docker_project.Project, "up", lambda _, **how: it.up(**how))
    return it


@pytest.mark.parametrize(
    "act",
    [
        lambda paths: remedies.up(paths, BALANCER, build=True),
        lambda paths: remedies.recreate_one(paths, BALANCER, "web-2"),
    ],
    ids=["up", "recreate"],
)
def test_an_instance_is_created_although_the_image_of_its_release_is_gone(images: Images, act: Any) -> None:
    result = act(images.paths)
    assert result.endswith(" from the images that are there, as release r1 has lost that of web")
    assert images.items[-1]["digest"] == NEW
    # An image that still exists has its name again. For the missing one, the registry was asked first.
    assert (images.names["redis"], images.pulled) == (CACHE, ["shop@sha256:0"])


def test_a_release_whose_image_is_gone_gets_the_running_image(images: Images) -> None:
    remedies.up(images.paths, BALANCER, build=True)
    assert "r1 had lost the images of web" in remedies.renew_images(images.paths)
    good = images.good()
    assert (good["images"], good["pins"]) == ({"web": NEW, "cache": CACHE}, {})
    assert {name for name, image in images.names.items() if image == NEW} == {
        "shop-web",
        "selfheal/shop-web:last-good",
        "selfheal/shop-web:r1",
    }
    # From now on no image is missing.
    assert remedies.renew_images(images.paths) == ""
    assert remedies.up(images.paths, BALANCER, build=True) == "started what was missing or stopped"


@pytest.mark.parametrize(
    ("ids", "digests"),
    [
        pytest.param({OLD, NEW, CACHE}, [NEW], id="the image still exists"),
        pytest.param({NEW, CACHE}, [OLD, NEW], id="a container still uses it"),
    ],
)
def test_a_release_keeps_images_that_still_exist(images: Images, ids: set[str], digests: list[str]) -> None:
    images.ids = ids
    images.items = [{**instance("web"), "digest": digest} for digest in digests]
    before = images.good()
    assert remedies.renew_images(images.paths) == ""
    assert images.good() == before


def test_without_a_container_a_release_gets_the_image_that_has_its_name(images: Images) -> None:
    images.items = []
    remedies.renew_images(images.paths)
    assert images.good()["images"]["web"] == NEW


def test_when_docker_tag_fails_no_instance_is_created_from_another_image(images: Images) -> None:
    images.tag_fails = "the Docker engine did not end it within 10 s"
    images.ids.add(OLD)
    with pytest.raises(remedies.RemedyError, match=r"docker tag: .* within 10 s"):
        remedies.up(images.paths, BALANCER, build=True)
    assert len(images.items) == 2


class WithJob:
    """A project whose job succeeded in the last good release."""

    def __init__(self, job: list[dict[str, Any]]) -> None:
        self.items, self.started, self.removed = [*job, container("web", "exited")], list[str](), list[str]()

    def put_back_images(self, _unused: Any) -> commands.Result:
        return commands.Result(0, "", "")

    def config(self) -> dict[str, Any]:
        condition = {"condition": "service_completed_successfully"}
        return {"services": {"web": {"depends_on": {"migrate": condition}}, "migrate": {}}}

    def up(self, start: bool = True, **_unused: Any) -> commands.Result:
        assert not start, "Compose would run the job again"
        if not any(item["service"] == "migrate" for item in self.items):
            self.items.append(container("migrate", "created"))
        return commands.Result(0, "", "")

    def containers(self) -> list[dict[str, Any]]:
        return self.items

    def start(self, identities: list[str]) -> commands.Result:
        self.started += identities
        for item in self.items:
            if item["id"] in identities:
                item.update(state="running" if item["service"] == "web" else "exited", exit_code=0, job_done=True)
        return commands.Result(0, "", "")

    def remove(self, identities: list[str], _grace: float) -> None:
        self.removed += identities


def container(service: str, state: str, exit_code: int = 0) -> dict[str, Any]:
    done = state == "exited" and not exit_code and service == "migrate"
    known = {"health": "none", "restarts": 0, "error": "", "restart_policy": "no", "exit_code": exit_code}
    return {**instance(service, state), **known, "job_done": done}


@pytest.mark.parametrize(
    ("job", "started", "removed"),
    [
        pytest.param([container("migrate", "exited")], ["web"], [], id="it succeeded"),
        pytest.param([], ["web"], ["migrate"], id="its container was pruned"),
        pytest.param([container("migrate", "exited", 1)], ["migrate", "web"], [], id="it failed"),
    ],
)
def test_a_remedy_does_not_run_a_successful_job_again(
    job: list[Any], started: list[str], removed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = WithJob([dict(one) for one in job])
    good = {"id": "r1", "images": {}, "names": {}, "contexts": {}, "source": "", "jobs": ["migrate"]}
    monkeypatch.setattr(release_store, "last_good", lambda _: good)
    monkeypatch.setattr(remedies, "Project", lambda *_: project)
    monkeypatch.setattr(WithJob, "directory", str(tmp_path), raising=False)
    remedies.up(app_paths("shop", root=str(tmp_path)), None, build=False)
    assert (project.started, project.removed) == (started, removed)


@pytest.mark.parametrize(
    ("alive", "stopped", "age", "answers", "acts"),
    [
        (True, False, 5.0, True, 0),
        (True, False, 5.0, False, 1),
        (True, False, 3600.0, True, 1),
        (True, True, 5.0, True, 1),
        (False, False, 5.0, False, 1),
    ],
    ids=["just started, it answers", "just started, and silent", "an old one", "stopped", "gone"],
)
def test_an_engine_that_another_app_has_just_restarted_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool, stopped: bool, age: float, answers: bool, acts: int
) -> None:
    process = {"known": True, "alive": alive, "stopped": stopped, "pid": 4711}
    monkeypatch.setattr(host_facts, "engine_process", lambda: process)
    monkeypatch.setattr(host_facts, "age", lambda _pid: age)
    monkeypatch.setattr(engine, "state", lambda _timeout: {"answers": answers})
    acted: list[str] = []

    def act() -> str:
        acted.append("restarted")
        with pytest.raises(LockHeld), hold_lock(app_paths("blog", root=str(tmp_path)).engine_lock, 0.0, "the same"):
            pass
        return "engine restarted"

    said = remedies.at_the_engine(app_paths("engine", root=str(tmp_path)), act)
    assert (len(acted), said) == (acts, "engine restarted" if acts else "the engine was started 5 s ago")


@pytest.mark.parametrize(
    ("stopped", "answers", "done", "ran"),
    [
        pytest.param(True, True, "goes on", [], id="its process is stopped"),
        pytest.param(False, True, "engine restarted", ["systemctl restart docker.service"], id="it answers"),
        pytest.param(False, False, "engine killed", ["systemctl kill --signal=SIGKILL docker.service"], id="it hangs"),
    ],
)
def test_an_engine_is_killed_only_when_it_hangs(
    host: Host, monkeypatch: pytest.MonkeyPatch, stopped: bool, answers: bool, done: str, ran: list[str]
) -> None:
    """An engine that is killed may leave its work half done."""
    sent: list[tuple[int, int]] = []
    process = {"known": True, "alive": bool(stopped), "stopped": stopped, "pid": 4711}
    monkeypatch.setattr(host_facts, "engine_process", lambda: process)
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    monkeypatch.setattr(engine, "state", lambda _timeout: {"answers": answers})
    assert done in remedies.restart_engine()
    assert sent == ([(4711, signal.SIGCONT)] if stopped else [])
    assert host.ran[: len(ran)] == ran
