# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app's containers are replaced by those of its own files, in order, or it is brought back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import bring_up
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import last_good
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.engine import EngineError
from ansible_collections.christmas.selfheal.plugins.module_utils.env import read as env_file
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.removal import switch

MODEL: Any = {
    "services": {
        "web": {"depends_on": {"db": {}}, "ports": [{"published": "8000"}, {"published": "9000-9001"}]},
        "db": {},
    }
}


def container(service: str, ours: bool) -> dict[str, Any]:
    files = "/opt/shop/compose.yaml" + (",/opt/shop/compose.hardened.yaml" if ours else "")
    labels = {"com.docker.compose.service": service, "com.docker.compose.project.config_files": files}
    return {"Id": f"{service}-{'ours' if ours else 'own'}", "Config": {"Labels": labels}}


class World:
    """An app of two services and an engine that does what it is asked for; `done` is what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = [container("web", True), container("db", True)]
        self.done: list[str] = []
        self.fails: str | None = None
        self.summary = ""
        self.tags = SimpleNamespace(code=0, reason="")
        check = SimpleNamespace(url="http://127.0.0.1:8000/health")
        paths = SimpleNamespace(directory="/opt/shop", env="/opt/shop/.env")
        self.app: Any = SimpleNamespace(name="shop", paths=paths, balancer=None, checks=[check], variables=(), shown=())
        self.project: Any = self
        monkeypatch.setattr(release_store, "last_good", lambda _: {"id": "1", "jobs": []})
        monkeypatch.setattr(bring_up, "create", self._create)
        monkeypatch.setattr(bring_up, "start", lambda *_: SimpleNamespace(failure=""))
        monkeypatch.setattr(bring_up, "watch", lambda *_: None)
        monkeypatch.setattr(bring_up, "described", lambda _: "")
        monkeypatch.setattr(env_file, "read", lambda *_: {"values": {}})
        monkeypatch.setattr(health_facts, "ask", lambda *_: {"ok": not self.summary, "summary": self.summary})
        monkeypatch.setattr(last_good, "bring_back", lambda *_: "It serves again.")

    def _create(self, _project: Any, _plan: Any, services: list[str], **_unused: Any) -> str:
        (service,) = services
        if service == self.fails:
            raise EngineError(f"{service} cannot be created")
        self.done.append(service)
        self.there = [one for one in self.there if not one["Id"].startswith(service)] + [container(service, False)]
        return ""

    def documents(self) -> list[dict[str, Any]]:
        return self.there

    def put_back_images(self, _good: Any) -> Any:
        return self.tags

    def remove(self, ids: list[str]) -> None:
        self.done += [f"remove {one}" for one in ids]

    def run(self) -> None:
        switch.to_own_files(self.app, self.project, MODEL, Clock(), lambda _: None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_is_needed_is_replaced_first(world: World) -> None:
    world.run()
    assert world.done == ["db", "web"]


def test_what_runs_from_its_own_file_already_is_left_and_what_the_overlay_brought_is_removed(world: World) -> None:
    world.there = [container("db", False), container("web", True), container("pool", True)]
    world.run()
    assert world.done == ["web", "remove pool-ours"]


@pytest.mark.parametrize("where", ["the engine", "the checks", "the images"])
def test_an_app_that_does_not_run_from_its_own_files_is_brought_back(world: World, where: str) -> None:
    if where == "the engine":
        world.fails = "web"
    elif where == "the checks":
        world.summary = "0 of 1 checks passed"
    else:
        world.tags = SimpleNamespace(code=1, reason="no such image")
    with pytest.raises(switch.SwitchError, match=r"does not run from its own files: .+ It serves again\. Nothing was"):
        world.run()


def test_a_check_of_another_port_says_nothing(world: World) -> None:
    world.app.checks = [SimpleNamespace(url="http://127.0.0.1:7000/"), SimpleNamespace(url="not an address")]
    world.summary = "0 of 1 checks passed"
    world.run()
    assert world.done == ["db", "web"]


def test_services_in_a_circle_are_all_ordered() -> None:
    model: Any = {"services": {"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}, "c": {}}}
    assert sorted(switch.order(model, ["a", "b", "c"])) == ["a", "b", "c"]


def test_the_gap_is_the_sum_of_what_was_not_answered() -> None:
    sent = [(0.0, True), (1.0, False), (2.0, False), (3.0, True), (4.0, False)]
    samples: list[Any] = [SimpleNamespace(sent=at, ended=at + 0.5, ok=ok) for at, ok in sent]
    assert switch.gap(samples) == 2.5
