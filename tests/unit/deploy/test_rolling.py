# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollout against a simulated engine and load balancer: which instances serve, and the state after a kill."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import (
    App,
    Balancer,
    BalancerSettings,
    read_balancer,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppError, AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import rolling as deploy_rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import front, haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release

BALANCER = Balancer("web", 2, 18000, (80,))


GOOD: Release = {"images": {"web": "old"}}
SEEN = "DOWN, L7STS 400 Bad Request"


class Killed(BaseException):
    """The process was killed: no cleanup runs."""


class World:
    """Containers and slots. `fewest` is the smallest number of instances that served after any step."""

    def __init__(self, root: Path) -> None:
        checks = parse_checks([{"name": "health", "url": "http://shop/"}])
        self.app = App(app_paths("shop", root=str(root)), balancer=BALANCER, checks=checks)
        Path(self.app.paths.state).mkdir(parents=True)
        self.containers: dict[str, dict[str, Any]] = {}
        self.states = dict.fromkeys(BALANCER.slots, haproxy.READY)
        self.release, self.made, self.steps, self.die_at = "old", 0, 0, 0
        self.bad: set[str] = set()
        # Healthy for the gate, unhealthy for HAProxy.
        self.kept_out: set[str] = set()
        self.seen = SEEN
        self.turns_bad: dict[str, float] = {}
        self.now, self.fewest = 0.0, 2
        self.balanced, self.left = True, False

    def step(self) -> None:
        """Count a step on the host; the process may be killed right after it."""
        self.steps += 1
        served = [one for one in self.containers.values() if self.serves(one)]
        self.fewest = min(self.fewest, len(served))
        if self.steps == self.die_at:
            raise Killed

    def serves(self, one: dict[str, Any]) -> bool:
        well = one["release"] not in self.bad | self.kept_out
        return self.states.get(one["port"], haproxy.READY) == haproxy.READY and well

    def start(self) -> None:
        self.made += 1
        port = next(p for p in BALANCER.slots if p not in [one["port"] for one in self.containers.values()])
        self.containers[f"c{self.made}"] = {"port": port, "release": self.release}
        self.step()

    def tick(self, seconds: float = 0.01) -> float:
        self.now += seconds
        for name, at in self.turns_bad.items():
            if self.now >= at:
                self.bad.add(name)
        return self.now

    def releases(self) -> list[str]:
        return sorted(one["release"] for one in self.containers.values())

    def replace(self, keep: tuple[str, ...] = ()) -> str:
        """A deploy, from its start until its release is recorded."""
        rolling = self.rollout()
        rolling.begin(GOOD)
        failure = rolling.replace(keep)
        if not failure:
            deploy_rolling.finish(self.app.paths)
        return failure

    def rollout(self) -> deploy_rolling.Rollout:
        clock = Clock(self.tick, self.tick, lambda seconds: void(self.tick(seconds)))
        plan = deploy_rolling.Plan(gate=3.0, drain=1.0, watch=5.0)
        return deploy_rolling.Rollout(self.app, plan, clock, lambda _: None, lambda: None)

    def set_state(self, _paths: AppPaths, _balancer: Balancer, ports: Any, state: str) -> None:
        self.states.update(dict.fromkeys(ports, state))
        self.step()

    def slots(self, _paths: AppPaths) -> list[haproxy.Slot]:
        held = {one["port"]: one for one in self.containers.values()}
        up = {port: port in held and self.serves(held[port]) for port in sorted(self.states)}
        return [haproxy.Slot(port, up[port], 0, "UP" if up[port] else self.seen) for port in up]

    def run_checks(self, *_unused: Any, ask: int, **__: Any) -> dict[str, Any]:
        release = next(one["release"] for one in self.containers.values() if one["port"] == ask)
        self.tick(0.1)
        return {"ok": release not in self.bad, "summary": f"{release} was asked"}


def void(_unused: Any) -> None:
    pass


class Project:
    """The engine of a world."""

    world: World

    def __init__(self, *_unused: Any) -> None:
        pass

    def containers(self) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "name": name,
                "service": "web",
                "state": "running",
                "restarts": 0,
                "exit_code": 0,
                "ports": [one["port"]],
                "digest": one["release"],
                "config_hash": "",
                "targets": [{"host_port": one["port"]}],
            }
            for name, one in sorted(self.world.containers.items())
        ]

    def config(self) -> dict[str, Any]:
        published = "18000-18002" if self.world.balanced else "80"
        return {"services": {"web": {"ports": [{"target": 80, "published": published}]}}}

    def up(self, services: Any = (), scale: dict[str, int] | None = None, **_unused: Any) -> commands.Result:
        if not self.world.balanced:
            assert self.world.left, "HAProxy has the port"
            self.world.containers["plain"] = {"port": 80, "release": self.world.release}
        while self.world.balanced and scale and len(self.world.containers) < scale["web"]:
            self.world.start()
        return commands.Result(0, "", "")

    def remove(self, containers: list[str], grace: float | None) -> None:
        for name in containers:
            del self.world.containers[name]
        if containers:
            self.world.step()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    it = World(tmp_path)
    monkeypatch.setattr(Project, "world", it, raising=False)
    monkeypatch.setattr(docker_project, "Project", Project)
    monkeypatch.setattr(haproxy, "set_state", it.set_state)
    monkeypatch.setattr(
        haproxy, "take_in", lambda paths, balancer, port: it.set_state(paths, balancer, [port], haproxy.READY)
    )
    monkeypatch.setattr(haproxy, "slots", it.slots)
    monkeypatch.setattr(haproxy, "start", lambda _paths: None)
    monkeypatch.setattr(haproxy, "leave", lambda _paths: setattr(it, "left", True))
    monkeypatch.setattr(haproxy, "aside", lambda _balancer, port: port)
    monkeypatch.setattr(probe, "run_checks", it.run_checks)
    monkeypatch.setattr(health_facts, "ask", lambda *_: {"ok": True, "summary": "all well"})
    for _unused in range(BALANCER.instances):
        it.start()
    it.steps, it.fewest, it.release = 0, 2, "new"
    yield it


def at_rest(world: World) -> bool:
    return set(world.states.values()) == {haproxy.READY} and not Path(world.app.paths.rollout).exists()


def test_instances_are_replaced_one_by_one(world: World) -> None:
    assert world.replace() == ""
    assert (world.releases(), world.fewest, at_rest(world)) == (["new", "new"], 2, True)


def test_instances_to_keep_are_not_replaced(world: World) -> None:
    del world.containers["c2"]
    assert world.replace(("c1",)) == ""
    assert world.releases() == ["new", "old"]


@pytest.mark.parametrize("bad_at", [0.0, 3.0], ids=["it never passes", "it turns bad while it is watched"])
def test_a_bad_release_is_rolled_back(world: World, bad_at: float) -> None:
    world.turns_bad["new"] = bad_at
    assert world.replace() != ""
    world.release = "old"
    world.rollout().roll_back(GOOD)
    assert (world.releases(), at_rest(world)) == (["old", "old"], True)
    # Until the bad instance is noticed, the load balancer sends requests to the other old instance.
    assert world.fewest >= 1


def test_a_release_that_haproxy_finds_unhealthy_fails_with_haproxys_reason(world: World) -> None:
    """The old instances serve throughout: none is removed before HAProxy uses a new one."""
    world.kept_out.add("new")
    failure = world.replace()
    assert "HAProxy disagrees with the gate" in failure
    assert f"slot 2 is {SEEN}" in failure
    assert world.now < 20.0
    world.release = "old"
    world.rollout().roll_back(GOOD)
    assert (world.releases(), world.fewest, at_rest(world)) == (["old", "old"], 2, True)


def test_a_release_whose_checks_come_late_gets_more_time_and_another_fix(world: World) -> None:
    world.kept_out.add("new")
    world.seen = "DOWN 1/2, L7OK Layer7 check passed"
    failure = world.replace()
    assert f"HAProxy has sent no requests for 30 s: slot 2 is {world.seen}." in failure
    assert "load_balancer_health_path" not in failure
    assert world.now > 30.0


def test_unchanged_instances_that_haproxy_finds_unhealthy_are_an_error(world: World) -> None:
    world.kept_out.add("old")
    failure = world.replace(("c1", "c2"))
    assert f"slot 0 is {SEEN}; slot 1 is {SEEN}" in failure


@pytest.mark.parametrize("killed", range(1, 26))
@pytest.mark.parametrize("then", ["rolled back", "deployed again"])
def test_after_any_kill_an_instance_serves_and_the_next_run_cleans_up(world: World, killed: int, then: str) -> None:
    world.die_at = killed
    with contextlib.suppress(Killed):
        assert world.replace() == ""
    world.die_at = 0
    if then == "rolled back":
        if not deploy_rolling.under_way(world.app):
            return
        world.release = "old"
        world.rollout().roll_back(GOOD)
        assert world.releases() == ["old", "old"]
    else:
        assert world.replace() == ""
        assert world.releases() == ["new", "new"]
    assert world.fewest >= 1, "no instance served"
    assert at_rest(world)


def test_a_rollback_to_a_release_without_a_load_balancer_returns_its_port(world: World) -> None:
    """The old container was removed before the app as a whole failed its gate."""
    world.rollout().begin(None)
    world.containers = {"c9": {"port": 18000, "release": "new"}}
    world.release, world.balanced = "old", False
    world.rollout().roll_back(GOOD)
    assert world.containers == {"plain": {"port": 80, "release": "old"}}
    assert not Path(world.app.paths.rollout).exists()


@pytest.fixture
def acts(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One container holds the public port; what is done with HAProxy in front of it, in turn."""
    done: list[str] = []
    world.containers = {"plain": {"port": 80, "release": "old"}}
    before = front.Before("plain", 7, "172.18.0.3", 80, 80, ())
    monkeypatch.setattr(front, "put", lambda *_: done.append("put") or front.Put(before))
    monkeypatch.setattr(front, "hold", lambda *_: done.append("hold"))
    monkeypatch.setattr(front, "take_in", lambda _paths, _balancer, port, _clock: done.append(f"take in {port}"))
    monkeypatch.setattr(front, "forget_closed", lambda one: done.append(f"forget {one.name}, {world.releases()}"))
    monkeypatch.setattr(front, "release", lambda _paths: done.append("release"))
    monkeypatch.setattr(front, "end", lambda _paths: done.append(f"end, {world.releases()}"))
    return done


def test_requests_are_held_until_the_new_instances_have_them(world: World, acts: list[str]) -> None:
    rolling = world.rollout()
    with rolling.in_front():
        acts.append("what it depends on")
        assert rolling.replace() == ""
    taken = ["take in 18000", "take in 18001"]
    # While the old container is there: the engine forgets with it.
    forgotten = "forget plain, ['new', 'new', 'old']"
    assert acts == ["put", "hold", "what it depends on", *taken, forgotten, "end, ['new', 'new']"]


@pytest.mark.parametrize("bad", ["bad", "kept_out"], ids=["it fails its gate", "HAProxy finds it unhealthy"])
def test_after_a_failure_held_requests_go_back_and_haproxy_ends(world: World, acts: list[str], bad: str) -> None:
    getattr(world, bad).add("new")
    rolling = world.rollout()
    with rolling.in_front():
        assert rolling.replace() != ""
    assert acts[-2] == "release"
    assert acts[-1].startswith("end")


def test_an_interrupted_rollout_ends_what_is_in_front(world: World, acts: list[str]) -> None:
    with pytest.raises(deploy_rolling.Interrupted), world.rollout().in_front():
        raise deploy_rolling.Interrupted
    assert acts == ["put", "hold", "release", "end, ['old']"]


def test_where_haproxy_cannot_be_put_in_front_the_reason_is_said(
    world: World, acts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(front, "put", lambda *_: front.Put(None, "the firewall is closed"))
    rolling = world.rollout()
    rolling.say = said.append
    with rolling.in_front():
        assert rolling.replace() == ""
    assert said[0] == "requests fail until the new instances serve: the firewall is closed"
    assert acts == []


def test_a_surplus_instance_is_removed(world: World) -> None:
    """A recovery may leave one. Without a free slot no deploy could succeed."""
    world.start()
    assert world.replace() == ""
    assert (world.releases(), at_rest(world)) == (["new", "new"], True)


def test_a_new_instance_that_is_recorded_as_old_is_replaced(world: World) -> None:
    """An instance of the new release started before the deploy recorded the old instances."""
    world.start()
    del world.containers["c1"]
    world.die_at = 2
    with pytest.raises(Killed):
        world.replace()
    world.die_at, world.release = 0, "old"
    world.rollout().roll_back(GOOD)
    assert (world.releases(), at_rest(world)) == (["old", "old"], True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"before": 3}'])
def test_a_damaged_marker_names_no_instances(world: World, text: str) -> None:
    Path(world.app.paths.rollout).write_text(text, encoding="utf-8")
    assert deploy_rolling.under_way(world.app)
    assert deploy_rolling.read_marker(world.app.paths) == []


def test_the_marker_is_written_before_anything_is_started(world: World) -> None:
    world.die_at = 1
    with pytest.raises(Killed):
        world.replace()
    assert json.loads(Path(world.app.paths.rollout).read_text(encoding="utf-8"))["before"] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"service": "web"}, "is incomplete"),
        ({"service": "web", "instances": "two", "first_port": 1, "ports": [80]}, "is incomplete"),
        ({"service": "web", "instances": 0, "first_port": 18000, "ports": [80]}, "at least one instance"),
        (
            {"service": "", "instances": 1, "first_port": 18000, "ports": [80]},
            "needs a service. Fix: write compose_app_service",
        ),
        ({"service": "web", "instances": 2, "first_port": 65534, "ports": [80]}, "not a free range"),
        ({"service": "web", "instances": 2, "first_port": 79, "ports": [80]}, "not a free range"),
    ],
)
def test_invalid_settings_are_refused(given: BalancerSettings, said: str) -> None:
    with pytest.raises(AppError, match=said):
        read_balancer(given)


def test_one_slot_more_than_instances() -> None:
    assert read_balancer({}) is None
    assert read_balancer({"service": "web", "instances": 2, "first_port": 18000, "ports": [80]}) == BALANCER
    assert list(BALANCER.slots) == [18000, 18001, 18002]


@pytest.mark.parametrize(("services", "removes"), [((), True), (("web",), False)], ids=["all", "one of them"])
def test_services_of_the_old_instances_are_kept_until_those_are_removed(
    services: tuple[str, ...], removes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that only the old release uses is not an orphan while the old instances run."""
    ran: list[list[str]] = []
    monkeypatch.setattr(commands, "run", lambda argv, *_, **__: ran.append(argv) or commands.Result(0, "", ""))
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [])
    docker_project.Project("shop", str(tmp_path)).up(services=services)
    assert ("--remove-orphans" in ran[-1]) is removes
