# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the remedies touch, and above all what they leave alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils import commands, engine, release, remedies
from ansible_collections.christmas.selfheal.plugins.module_utils.app import App, Balancer

MIB = 1 << 20


class Host:
    """A host with one file system. `free` is what is left of it; a command that frees space says how much."""

    def __init__(self, root: Path) -> None:
        self.app = App("shop", root=str(root))
        self.log = root / "var/log"
        self.log.mkdir(parents=True)
        self.free = 0
        self.gives: dict[str, int] = {}
        self.ran: list[str] = []
        self.delete = os.unlink

    def run(self, argv: list[str], _timeout: float, **_: Any) -> commands.Result:
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
        # Never the real one: the remedy deletes what it finds there.
        return walk(it.log if top == "/var/log" else tmp_path / "nowhere")

    monkeypatch.setattr(remedies.os, "walk", here)
    monkeypatch.setattr(remedies.os, "unlink", it.unlink)
    monkeypatch.setattr(remedies.host, "disk", it.disk)
    monkeypatch.setattr(commands, "run", it.run)
    return it


def test_only_rotated_logs_are_deleted(host: Host) -> None:
    logs = {"shop/app.log", "syslog", "journal/m/system.journal", "shop/orders.db", "shop/report.txt"}
    rotated = {"shop/app.log.1", "shop/app.log.2.gz", "syslog.1", "syslog-20250527", "syslog-20250526.gz"}
    host.write(*logs, *rotated, "journal/m/system@1.journal.1")
    (host.log / "link.log").write_text("x", encoding="utf-8")
    (host.log / "link.log.1").symlink_to(host.app.root)
    remedies.free_space(host.app)
    assert host.left() == {*logs, "journal/m/system@1.journal.1", "link.log", "link.log.1"}


def test_what_is_dear_is_deleted_last_and_only_when_needed(host: Host) -> None:
    host.gives = {"journalctl": 300 * MIB}
    assert remedies.free_space(host.app) == "300 MiB freed: rotated logs, old journal"
    assert host.ran == ["journalctl --vacuum-size=50M"]


def test_nothing_is_asked_of_docker_that_could_cost_a_volume_or_a_named_image(host: Host) -> None:
    host.gives = {"builder": 5 * MIB}
    remedies.free_space(host.app)
    assert host.ran[1:] == ["docker image prune --force", "docker builder prune --force"]


def test_when_nothing_may_be_deleted_a_person_is_told(host: Host) -> None:
    with pytest.raises(remedies.RemedyError, match="a person has to decide"):
        remedies.free_space(host.app)


def instance(service: str, state: str = "running", ports: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"id": service, "name": f"shop-{service}-1", "service": service, "state": state, "ports": list(ports)}


@pytest.mark.parametrize(
    ("instances", "services", "restarted"),
    [
        pytest.param([instance("web", ports=(80,)), instance("db")], ("web",), "web", id="the one at fault"),
        pytest.param([instance("web", ports=(80,)), instance("db")], (), "web", id="nobody named: who is published"),
        pytest.param([instance("web"), instance("db")], (), "web db", id="none is published: all"),
        pytest.param([instance("web", "paused")], ("web",), "web", id="one that is paused"),
    ],
)
def test_who_is_restarted(
    monkeypatch: pytest.MonkeyPatch, instances: list[Any], services: tuple[str, ...], restarted: str
) -> None:
    done: list[str] = []

    def restart(_: Any, containers: list[str]) -> commands.Result:
        done.extend(containers)
        return commands.Result(0, "", "")

    monkeypatch.setattr(engine.Project, "containers", lambda _: instances)
    monkeypatch.setattr(engine.Project, "restart", restart)
    remedies.restart(App("shop"), services)
    assert done == restarted.split()


@pytest.mark.parametrize(("at_fault", "removed"), [("one", ["one"]), ("web", [])], ids=["a sick one", "one is missing"])
def test_only_the_instance_at_fault_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_fault: str, removed: list[str]
) -> None:
    """Where one is missing there is only the service's name, which may be that of somebody else's container."""
    done: list[Any] = []
    monkeypatch.setattr(
        engine.Project, "containers", lambda _: [{**instance("web"), "id": one} for one in ("one", "two")]
    )
    monkeypatch.setattr(
        engine.Project,
        "remove",
        lambda _, containers, _grace: done.extend(containers) or commands.Result(0, "", ""),
    )
    monkeypatch.setattr(engine.Project, "up", lambda _, **how: done.append(how["scale"]) or commands.Result(0, "", ""))
    app = App("shop", root=str(tmp_path), balancer=Balancer("web", 2, 18000, (80,)))
    remedies.recreate_one(app, at_fault)
    assert done == [*removed, {"web": 2}]


def test_nothing_to_restart_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.Project, "containers", lambda _: [instance("web", "exited")])
    with pytest.raises(remedies.RemedyError, match="no container"):
        remedies.restart(App("shop"), ())


def test_the_users_compose_file_is_kept_however_often_the_release_is_put_back(tmp_path: Path) -> None:
    app = App("shop", root=str(tmp_path))
    directory = Path(app.directory)
    directory.mkdir(parents=True)
    (directory / "compose.yaml").write_text("good", encoding="utf-8")
    known = {"id": "r1", "images": {}, "names": {}, "services": {}, "contexts": {}, "env": "", "source": ""}
    release.record(app.directory, {**known, "files": release.files(app.directory)})
    release.mark_last_good(app.directory, "r1")
    (directory / "compose.yaml").write_text("mine, edited at 01:00", encoding="utf-8")
    remedies.last_good_compose(app)
    remedies.last_good_release(app, 0.0)
    assert (directory / "compose.yaml").read_text(encoding="utf-8") == "good"
    assert (directory / "compose.yaml.replaced").read_text(encoding="utf-8") == "mine, edited at 01:00"


TWO = [instance("web"), instance("cache")]


@pytest.mark.parametrize(
    ("balancer", "given"),
    [(None, {"build": False, "anew": False}), (Balancer("web", 2, 18000, (80,)), {"scale": {"web": 2}})],
    ids=["alone", "behind HAProxy, whose instances stay"],
)
def test_one_service_is_made_anew_as_a_deploy_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, balancer: Balancer | None, given: dict[str, Any]
) -> None:
    """`up --no-deps web` leaves what it depends on out of its configuration: a deploy would make it once more."""
    done: list[tuple[str, Any]] = []

    def up(_: Any, **given: Any) -> commands.Result:
        done.append(("up", given))
        return commands.Result(0, "", "")

    def remove(_: Any, ids: list[str], _grace: float) -> commands.Result:
        done.append(("remove", ids))
        return commands.Result(0, "", "")

    monkeypatch.setattr(release, "last_good", lambda _: None)
    monkeypatch.setattr(engine.Project, "containers", lambda _: TWO)
    monkeypatch.setattr(engine.Project, "remove", remove)
    monkeypatch.setattr(engine.Project, "up", up)
    remedies.recreate(App("shop", root=str(tmp_path), balancer=balancer), build=False, services=["cache"])
    assert done == [("remove", ["cache"]), ("up", given)]


def test_what_cannot_be_removed_is_not_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is started beside it, and the next remedy is tried. When it went all the same, all is well."""
    app = App("shop", root=str(tmp_path), balancer=Balancer("web", 2, 18000, (80,)))
    there, up = list(TWO), []
    stuck = commands.Result(1, "", "could not kill: tried to kill container, but did not receive an exit event")
    monkeypatch.setattr(engine.Project, "containers", lambda _: there)
    monkeypatch.setattr(commands, "run", lambda *_, **__: stuck)
    monkeypatch.setattr(engine.Project, "up", lambda *_, **__: up.append("up") or commands.Result(0, "", ""))
    for attempt in (lambda: remedies.recreate(app, False, ["cache"]), lambda: remedies.recreate_one(app, "web")):
        with pytest.raises(remedies.RemedyError, match="docker rm: could not kill"):
            attempt()
    assert up == []

    def late(*_: Any, **__: Any) -> commands.Result:
        there.clear()
        return stuck

    monkeypatch.setattr(commands, "run", late)
    remedies.recreate_one(app, "web")
    assert up == ["up"]


@pytest.mark.parametrize(("contexts", "built"), [({}, [False]), ({"web": "/opt/shop"}, [True])], ids=["no", "yes"])
def test_only_what_was_built_here_is_built_in_a_recovery(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contexts: dict[str, str], built: list[bool]
) -> None:
    """A host that lives from promotions may still hold the source of another release."""
    done: list[bool] = []

    def up(_: Any, build: bool = False, **__: Any) -> commands.Result:
        done.append(build)
        return commands.Result(0, "", "")

    good = {"id": "r1", "images": {"web": "gone"}, "names": {"web": "shop"}, "contexts": contexts, "source": ""}
    monkeypatch.setattr(release, "last_good", lambda _: good)
    monkeypatch.setattr(commands, "run", lambda *_, **__: commands.Result(1, "", "no such image"))
    monkeypatch.setattr(engine.Project, "up", up)
    remedies.recreate(App("shop", root=str(tmp_path)), build=True)
    assert done == built
