# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The whole watcher, during failures of an app with several services: it restarts the right ones, within the policy.

Only the engine, the app's answers and the clock are simulated. Files, state, diagnosis and ladder are real.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.check import Check
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, iso, moment
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import network as docker_network
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import logins, oom_log, procfs, timers
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.records import incidents as records_incidents
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder, remedies, watcher
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release

DAY = 86400.0
POLICY = ladder.Policy()
DONE = commands.Result(0, "", "")


class Service:
    """One service and its container. It answers `takes` seconds after its start; a killed database, after `replays`."""

    def __init__(self, name: str, needs: Sequence[str] = (), image: str = "shop", takes: float = 1.0) -> None:
        self.name, self.needs, self.image, self.takes = name, list(needs), image, takes
        self.state, self.hangs, self.replays = "running", False, 0.0
        # The fixed result of its health check: "healthy", "unhealthy", or "" for a service without a health check.
        self.health = ""
        # Whether it exits at once after each start, and its restart policy starts it again.
        self.loops = False
        self.started, self.started_wall = -1e6, 0.0
        self.starts = self.restarts = 0

    def health_now(self, now: float) -> str:
        """The health that the engine reports: `unhealthy` only after three failures, which take a few seconds."""
        is_new = now - self.started < 6.0
        return "starting" if self.health == "unhealthy" and is_new else self.health


class World:
    """An app, its engine and its clock. `at` schedules an event, which may happen during a remedy."""

    def __init__(self, root: Path, services: Iterable[Service], front: str, answers_at: str = "published") -> None:
        self.root, self.now, self.ahead = str(root), 1_750_000_000.0, 0.0
        self.services = {one.name: one for one in services}
        self.front, self.published = front, answers_at == "published"
        # The content of the compose file that Compose cannot read.
        self.damaged = ""
        self.events: list[tuple[float, Callable[[], None]]] = []
        self.touched: list[tuple[float, str, tuple[str, ...]]] = []
        for folder in ("opt/shop", "run/selfheal"):
            (root / folder).mkdir(parents=True)
        self.compose = root / "opt/shop/compose.yaml"
        self.compose.write_text("services: {}\n", encoding="utf-8")
        checks = [{"name": "health", "url": "http://127.0.0.1:80/", "proves": "health"}]
        path = Path(agent_config.path_of("shop", self.root))
        path.parent.mkdir(parents=True)
        path.write_text(f'{{"app": "shop", "variables": [], "checks": {checks}}}'.replace("'", '"'), encoding="utf-8")
        self.config = agent_config.load(str(path), self.root)
        self.it = watcher.Watcher(self.config, self.clock, lambda _: None)

    # --- time ---

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now + self.ahead, monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.events and self.events[0][0] <= until:
            self.now, act = max(self.now, self.events[0][0]), self.events.pop(0)[1]
            act()
        self.now = until

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self.events = sorted([*self.events, (self.now + seconds, act)], key=lambda event: event[0])

    def each(self, seconds: float, act: Callable[[], None], until: float) -> None:
        for number in range(1, int(until / seconds)):
            self.at(number * seconds, act)

    def run(self, seconds: float) -> None:
        """Run the watcher for so long. When it ends, start another, as systemd does."""
        until = self.now + seconds
        while self.now < until:
            try:
                self.it.turn()
            except watcher.Ended:
                self.it = watcher.Watcher(self.config, self.clock, lambda _: None)
            self.sleep(1.0)

    # --- what the app answers, and what the engine reports ---

    def answer(self) -> tuple[str, int | None]:
        """The answer of the front, which depends on the services that it needs: (kind of failure or "", status)."""
        reach = [self.front]
        for name in reach:
            reach += [needed for needed in self.services[name].needs if needed not in reach]
        kinds = {name: self.alone(self.services[name]) for name in reach}
        kind = kinds.pop(self.front)
        if kind:
            return kind, 500 if kind == "status" else None
        if "timeout" in kinds.values():
            return "timeout", None
        is_proxy = self.services[self.front].image == "nginx"
        return ("status", 502 if is_proxy else 500) if any(kinds.values()) else ("", 200)

    def alone(self, one: Service) -> str:
        """The kind of failure of a service while all others are healthy, "" for none."""
        if one.hangs or one.state == "paused":
            return "timeout"
        if one.state != "running" or self.now - one.started < one.takes:
            return "refused"
        return "status" if self.now - one.started < one.replays else ""

    def run_checks(self, checks: list[Check], _values: Any, seconds: float, *_unused: Any, **__: Any) -> dict[str, Any]:
        until = self.now + seconds
        while True:
            kind, status = self.answer()
            if kind == "timeout":
                self.sleep(checks[0].timeout)
            if not kind or self.now >= until:
                break
            self.sleep(0.25)
        base = {"name": "health", "ok": not kind, "kind": kind or None, "proves": "health", "reason": kind or "good"}
        result = {**base, "status": status, "seconds": 0.01, "port": 80}
        return {"ok": not kind, "seconds": 0.01, "results": [result], "summary": kind or "1 of 1 checks passed"}

    def documents(self) -> list[docker_containers.Document]:
        return [self.document(one) for one in self.services.values() if one.state != "gone"]

    def document(self, one: Service) -> docker_containers.Document:
        is_front = self.published and one.name == self.front
        health = one.health_now(self.now)
        return {
            "Id": one.name,
            "Name": f"/shop-{one.name}-1",
            "Image": "sha256:1",
            "RestartCount": 9 if one.loops else one.restarts,
            "State": {
                "Pid": 1 + list(self.services).index(one.name),
                "Status": "restarting" if one.loops else one.state,
                "ExitCode": 0 if one.state == "running" else 137,
                "StartedAt": _rfc(one.started_wall or self.clock.now() - 1e6),
                **({"FinishedAt": _rfc((one.started_wall or self.clock.now() - 1e6) + 1.0)} if one.loops else {}),
                **({"FinishedAt": _rfc(one.started_wall - 0.1)} if one.restarts else {}),
                **({"Health": {"Status": health}} if health else {}),
            },
            "Config": {"Labels": {"com.docker.compose.service": one.name}, "Image": one.image},
            "HostConfig": {
                "RestartPolicy": {"Name": "unless-stopped"},
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]} if is_front else {},
            },
        }

    def config_model(self) -> dict[str, Any]:
        if self.damaged and self.compose.read_text(encoding="utf-8") == self.damaged:
            raise engine.EngineError("the compose files do not make a project: yaml: line 3")
        named = {one.name: {f"HOST_{number}": name for number, name in enumerate(one.needs)} for one in self.all()}
        return {"services": {one.name: {"image": one.image, "environment": named[one.name]} for one in self.all()}}

    def all(self) -> Iterator[Service]:
        yield from self.services.values()

    # --- what happens to the services, and what was recorded ---

    def start(self, how: str, names: Sequence[str], seconds: float = 1.0) -> commands.Result:
        """Start services. It takes `seconds`, and scheduled events happen meanwhile."""
        self.touched.append((self.now, how, tuple(names)))
        self.sleep(seconds)
        for name in names:
            one = self.services[name]
            one.state, one.hangs, one.started, one.started_wall = "running", False, self.now, self.clock.now()
            one.starts += 1
        return DONE

    def stop(self, name: str, becomes: str = "exited") -> None:
        self.services[name].state = becomes

    def dies(self, name: str) -> None:
        """The process of a service is killed, and its restart policy starts it at once."""
        one = self.services[name]
        one.started, one.started_wall, one.restarts = self.now, self.clock.now(), one.restarts + 1
        one.starts += 1

    def restarted(self) -> list[str]:
        """The services that were started again, in order: one entry for each command."""
        return [" ".join(names) for _at, _how, names in self.touched]

    def incidents(self) -> list[records_incidents.IncidentRecord]:
        """Oldest first."""
        return list(records_incidents.every(self.config.app.paths.incidents))[::-1]

    def most_in_a_window(self) -> int:
        """The largest number of commands to containers within one window of the policy."""
        begun = [at for at, _how, _names in self.touched]
        return max((sum(at <= one < at + POLICY.window for one in begun) for at in begun), default=0)

    def alerts(self) -> list[str]:
        """The names of the alerts in the outbox, in order."""
        return [one["alert"]["labels"]["alertname"] for one in state.load(self.config.app.paths.state)[0]["outbox"]]

    def well(self) -> bool:
        return not self.answer()[0]


def _rfc(wall: float) -> str:
    return str(iso(wall)).replace("Z", "000000Z")


class Events:
    """The engine's events: `new` says whether a service has changed since the last call."""

    world: World

    def __init__(self, _app: str, _since: float = 0.0) -> None:
        self.known: list[Any] = []

    def new(self) -> bool:
        before = self.known
        self.known = [
            (one.name, one.state, one.loops, one.health_now(self.world.now), one.starts) for one in self.world.all()
        ]
        return before != self.known

    def close(self) -> None:
        pass


class Project(docker_project.Project):
    """The engine of a world."""

    world: World

    def go_on(self, _containers: Sequence[str]) -> None:
        """Do nothing: no container has a stopped process."""

    def documents(self, timeout: float = 10.0) -> list[docker_containers.Document]:
        return self.world.documents()

    def containers(self) -> list[docker_containers.Container]:
        return [docker_containers.instance(one, self.world.clock.now()) for one in self.world.documents()]

    def config(self, timeout: float = 20.0, profiles: bool = False) -> dict[str, Any]:
        return self.world.config_model()

    def logs(self, container: str, lines: int = 50, timeout: float = 5.0) -> str:
        one = self.world.services[container]
        is_back = self.world.now - one.started >= one.replays
        return "redo in progress" if one.replays and not is_back else "ready to accept connections"

    def images_missing(self, model: Any, timeout: float = 5.0) -> list[docker_images.MissingImage]:
        return []

    def top(self, container: str, timeout: float = 5.0) -> str:
        return "1 python3"

    def inspect(self, container: str, timeout: float = 5.0) -> str:
        return "[]"

    def restart(self, containers: Sequence[str], timeout: float = 30.0) -> commands.Result:
        return self.world.start("restart", containers)

    def restart_gently(self, containers: Sequence[str], timeout: float = 30.0) -> commands.Result:
        return self.world.start("gently", containers)

    def remove(self, containers: Sequence[str], grace: float | None = None, timeout: float = 30.0) -> commands.Result:
        for name in containers:
            self.world.stop(name, "gone")
        return DONE

    def unpause(self, containers: Sequence[str]) -> None:
        self.world.start("unpause", containers)

    def up(self, build: bool = False, recreate: bool = False, *_unused: Any, **__: Any) -> commands.Result:
        down = [one.name for one in self.world.all() if recreate or one.state != "running"]
        return self.world.start("up", down, 2.0)

    def put_back_images(self, release: Any, timeout: float = 120.0) -> commands.Result:
        return DONE


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def build(*services: Service, front: str = "web", **how: Any) -> World:
        world = World(tmp_path, services, front, **how)
        _simulate(monkeypatch, world)
        return world

    return build


def _simulate(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    good = {"answers": True, "kind": "", "reason": "", "version": "26"}
    for one in (Project, Events):
        monkeypatch.setattr(one, "world", world, raising=False)
    for module in (docker_project, remedies):
        monkeypatch.setattr(module, "Project", Project)
    answers: tuple[tuple[Any, str, Any], ...] = (
        (engine, "state", lambda *_: good),
        (docker_containers, "documents", lambda *_: world.documents()),
        (engine, "Events", Events),
        (engine, "compose_version", lambda: "2.26.1"),
        (engine, "changed_by_hand", lambda *_: ""),
        (docker_network, "broken_network", lambda *_: []),
        (docker_images, "images_gone", lambda *_: []),
    )
    for owner, name, said in answers:
        monkeypatch.setattr(owner, name, said)
    monkeypatch.setattr(health_facts, "engine_by_its_process", lambda: dict(good))
    monkeypatch.setattr(health_facts, "holders", lambda _: [])
    monkeypatch.setattr(health_facts, "_read_firewall", lambda *_: {})
    monkeypatch.setattr(oom_log, "read", lambda: "")
    monkeypatch.setattr(procfs, "pressure", lambda: dict.fromkeys(("cpu", "memory", "io"), 0.0))
    monkeypatch.setattr(procfs, "disk", lambda _: [])
    monkeypatch.setattr(procfs, "stopped", lambda *_, **__: False)
    monkeypatch.setattr(procfs, "age", lambda pid: world.now - list(world.all())[pid - 1].started)
    monkeypatch.setattr(procfs, "cpu_time", lambda: procfs.CpuTime(0, 0, 0, 0.0))
    monkeypatch.setattr(procfs, "oom_kills", lambda: 0)
    monkeypatch.setattr(timers, "read", lambda _: {})
    monkeypatch.setattr(logins, "read", lambda _: [])
    monkeypatch.setattr(probe, "run_checks", world.run_checks)
    monkeypatch.setattr(watcher, "Overdue", lambda *_: _Never())
    monkeypatch.setattr(commands, "run", lambda *words, **_: pytest.fail(f"a command was run: {words}"))


class _Never:
    """A timer that never fires."""

    def start(self) -> None:
        pass

    def cancel(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


def shop(**takes: float) -> list[Service]:
    """A proxy, the app behind it, a cache and a database, and a worker that no check covers."""
    return [
        Service("web", ["app"], "nginx"),
        Service("app", ["cache", "db"], takes=takes.get("app", 1.0)),
        Service("cache", image="redis"),
        Service("db", image="postgres"),
        Service("worker", ["db"]),
    ]


def hang(world: World, name: str) -> Callable[[], None]:
    def act() -> None:
        world.services[name].hangs = True

    return act


def step(world: World, seconds: float) -> Callable[[], None]:
    """Set the clock forward or back."""

    def act() -> None:
        world.ahead += seconds

    return act


def learn(world: World, **seconds: float) -> None:
    """Record the last good release, with the time that its services took to start."""
    directory = world.config.app.paths.directory
    names = dict.fromkeys(world.services, "shop")
    files = release_store.files(directory)
    nothing: Release = {"files": files, "services": {}, "contexts": {}, "env": "", "source": ""}
    images = dict.fromkeys(world.services, "sha256:1")
    release_store.record(
        directory, {**nothing, "id": "1", "images": images, "names": names, "jobs": [], "starts": seconds}
    )
    release_store.mark_last_good(directory, "1")


Make = Callable[..., World]


def test_a_healthy_app_is_not_touched_for_an_hour(make: Make) -> None:
    world = make(*shop())
    world.run(3600)
    assert (world.touched, world.incidents()) == ([], [])


# --- two faults at once, and one during a remedy ---------------------------------------------------------------------


def test_two_faults_at_once_are_one_incident(make: Make) -> None:
    """Users notice the fault of the app, but not the fault of the worker."""
    world = make(*shop())
    world.run(5)
    hang(world, "app")()
    world.stop("worker")
    world.run(60)
    assert world.well()
    assert sorted(world.restarted()) == ["app", "worker"]
    assert [one["healthy"] for one in world.incidents()] == [True]


@pytest.mark.parametrize(
    ("when", "then", "services"),
    [
        pytest.param(7.0, "stop", ["app", "db"], id="the database ends while the app is restarted"),
        pytest.param(7.0, "hang", ["app", "web", "cache", "db"], id="the database hangs while the app is restarted"),
    ],
)
def test_a_fault_during_a_remedy_belongs_to_the_same_incident(
    make: Make, when: float, then: str, services: list[str]
) -> None:
    world = make(*shop())
    world.run(5)
    hang(world, "app")()
    world.at(when, hang(world, "db") if then == "hang" else lambda: world.stop("db"))
    world.run(120)
    [record] = world.incidents()
    assert world.restarted() == services
    assert record["services"] == services[-1:]
    assert record["healthy"]


def test_evidence_of_each_suspected_service_is_kept_before_its_restart(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(*shop())
    # Only the collection of evidence lists the processes of a container.
    kept: dict[str, int] = {}

    def top(_unused: Any, container: str, *__: Any) -> str:
        kept.setdefault(container, world.services[container].starts)
        return "1 python3"

    monkeypatch.setattr(docker_project.Project, "top", top)
    world.run(5)
    hang(world, "app")()
    world.at(7.0, hang(world, "db"))
    world.run(120)
    assert world.restarted() == ["app", "web", "cache", "db"]
    assert kept == dict.fromkeys(world.services, 0)


# --- which services are restarted, and in which order ----------------------------------------------------------------


def test_in_a_cycle_of_dependencies_the_database_is_not_restarted(make: Make) -> None:
    """The app and its worker depend on each other."""
    web, app = Service("web", ["app"], "nginx"), Service("app", ["worker", "db"])
    world = make(web, app, Service("worker", ["app"]), Service("db", image="postgres"))
    world.run(5)
    hang(world, "worker")()
    world.run(120)
    assert world.well()
    assert set(world.restarted()) == {"app", "web", "worker"}
    world.touched.clear()
    world.stop("worker")
    world.run(60)
    assert (world.restarted(), world.well()) == (["worker"], True)


def test_thirty_services_that_all_exit_are_started_by_one_command(make: Make) -> None:
    apps = [Service(f"s{at}", [f"s{after}" for after in range(at + 1, min(at + 4, 27))] + ["d27"]) for at in range(27)]
    world = make(*apps, *(Service(f"d{at}", image="postgres") for at in range(27, 30)), front="s0")
    world.run(600)
    assert world.touched == []
    for one in world.all():
        world.stop(one.name)
    world.run(60)
    assert [how for _at, how, _names in world.touched] == ["up"]
    assert [one["healthy"] for one in world.incidents()] == [True]


def test_only_the_failed_service_in_a_chain_of_thirty_is_restarted(make: Make) -> None:
    chain = [Service(f"s{at}", [f"s{at + 1}"]) for at in range(29)]
    world = make(*chain, Service("s29", image="postgres"), front="s0")
    world.run(5)
    world.stop("s29")
    world.run(60)
    assert (world.restarted(), [one["services"] for one in world.incidents()]) == (["s29"], [["s29"]])


def test_without_published_ports_services_with_data_are_restarted_last(make: Make) -> None:
    """The app uses the host's network, so no container publishes the port of the check."""
    world = make(*shop(), answers_at="host")
    world.run(5)
    hang(world, "app")()
    world.run(60)
    assert (world.restarted(), world.well()) == (["app"], True)
    world.touched.clear()
    # No evidence names the service: all are restarted in turn, those with data last, one at a time.
    hang(world, "db")()
    world.run(120)
    assert world.restarted() == ["app", "web worker", "cache", "db"]


def test_an_incident_names_the_service_whose_restart_helped(make: Make) -> None:
    """The proxy hangs. At first that looks like a hang of the app behind it."""
    world = make(*shop())
    world.run(5)
    hang(world, "web")()
    world.run(60)
    [record] = world.incidents()
    assert (world.restarted(), record["cause"], record["services"]) == (["app", "web"], "hung", ["web"])
    guesses = [entry["what"] for entry in record["timeline"] if entry["what"].startswith("cause: ")]
    assert guesses == ["cause: hung of app: `health`: timeout", "cause: hung of web: `health`: timeout"]


# --- slow starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0.0, DAY, -DAY], ids=["no clock step", "a day forward", "a day back"])
def test_a_slow_service_is_restarted_once_and_no_other_service_is(make: Make, ahead: float) -> None:
    """While the app starts, the proxy answers with errors."""
    world = make(*shop(app=75.0))
    learn(world, app=75.0)
    world.run(5)
    hang(world, "app")()
    world.at(30.0, step(world, ahead))
    world.run(200)
    assert (world.restarted(), world.well()) == (["app"], True)
    assert [(one["cause"], one["healthy"]) for one in world.incidents()] == [("hung", True)]


def test_a_service_that_never_starts_is_escalated_within_the_policy(make: Make) -> None:
    world = make(*shop(app=1e9))
    learn(world, app=20.0)
    world.run(5)
    hang(world, "app")()
    world.run(40)
    assert world.restarted() == ["app"]
    world.run(1800)
    assert world.most_in_a_window() <= POLICY.attempts
    assert [one["escalated"] for one in world.incidents()] == [True]


def test_a_database_that_replays_its_log_for_five_minutes_is_started_once(make: Make) -> None:
    world = make(*shop())
    world.run(5)
    world.services["db"].replays = 300.0
    world.stop("db")
    world.run(250)
    [record] = world.incidents()
    assert (record["healthy"], "start over" in record["hold"]) == (False, True)
    world.run(120)
    [record] = world.incidents()
    assert (world.restarted(), record["healthy"], record["escalated"]) == (["db"], True, False)
    assert 300.0 <= record["seconds"] <= 320.0


@pytest.mark.parametrize(
    ("takes", "cause"),
    [
        pytest.param(4.0, "crashed", id="users wait for seconds"),
        pytest.param(0.45, "crashed", id="it is over before the failure is confirmed"),
    ],
)
@pytest.mark.parametrize("front", ["web", "app"])
def test_a_database_that_its_restart_policy_starts_again_is_waited_for(
    make: Make, front: str, takes: float, cause: str
) -> None:
    world = make(*shop(), front=front)
    world.services["db"].takes = takes
    world.at(5.9, lambda: world.dies("db"))
    world.run(60)
    [record] = world.incidents()
    assert (world.touched, world.well()) == ([], True)
    assert (record["cause"], record["services"], record["healthy"]) == (cause, ["db"], True)
    assert record["seconds"] < takes + 4.0


def test_an_app_that_stays_broken_after_its_database_came_back_is_restarted(make: Make) -> None:
    world = make(*shop(), front="app")
    world.services["db"].takes = 2.0
    world.at(5.9, lambda: world.dies("db"))
    world.at(7.0, hang(world, "app"))
    world.run(60)
    assert (world.restarted(), world.well()) == (["app"], True)
    assert all(at - world.services["db"].started >= 10.0 for at, *_unused in world.touched)


@pytest.mark.parametrize("front", ["web", "app"])
def test_an_error_of_the_app_restarts_no_healthy_database_or_cache(
    make: Make, monkeypatch: pytest.MonkeyPatch, front: str
) -> None:
    """As for a column that does not exist: the app answers 500 whatever is done."""
    world = make(*shop(), front=front)
    world.services["db"].health = world.services["cache"].health = "healthy"
    learn(world)
    world.run(5)
    monkeypatch.setattr(world, "answer", lambda: ("status", 500))
    world.run(900)
    assert len(world.touched) >= 3
    assert {name for _at, _how, names in world.touched for name in names} <= {"web", "app"}
    assert [one["cause"] for one in world.incidents()] == ["erroring"]


# --- health checks that are wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web", "app", "cache", "worker"])
def test_a_health_check_that_always_passes_hides_no_fault(make: Make, name: str) -> None:
    world = make(*shop())
    world.services[name].health = "healthy"
    world.run(5)
    hang(world, "app")()
    world.run(60)
    assert (world.restarted(), world.well()) == (["app"], True)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("web", ["web", "web"], ["app"]),
        ("app", ["app", "app"], ["app"]),
        ("worker", ["worker", "worker"], ["app"]),
        # While users are served, a failing health check restarts no service that holds data.
        ("cache", [], ["cache", "cache", "app"]),
    ],
)
def test_a_health_check_that_never_passes_prevents_no_other_recovery(
    make: Make, name: str, before: list[str], after: list[str]
) -> None:
    """A person is notified of the health check once. Then another service hangs."""
    world = make(*shop())
    world.services[name].health = "unhealthy"
    world.run(300)
    assert world.restarted() == before
    assert world.alerts().count("SelfhealEscalated") == 1
    world.touched.clear()
    hang(world, "app")()
    world.run(120)
    assert (world.restarted(), world.well()) == (after, True)
    world.touched.clear()
    world.run(1800)
    assert world.touched == []


def test_a_worker_in_a_crash_loop_prevents_no_other_recovery(make: Make) -> None:
    world = make(*shop())
    world.run(5)
    world.services["worker"].loops = True
    world.run(300)
    assert world.alerts().count("SelfhealEscalated") == 1
    world.touched.clear()
    hang(world, "app")()
    world.run(60)
    assert (world.restarted(), world.well()) == (["app"], True)


# --- a service that fails again and again ----------------------------------------------------------------------------


def _ends(one: Service) -> None:
    one.state = "exited"


def _hangs(one: Service) -> None:
    one.hangs = True


def _returns(one: Service) -> None:
    one.state, one.hangs = "running", False


@pytest.mark.parametrize("breaks", [_ends, _hangs], ids=["ends", "hangs"])
@pytest.mark.parametrize("returns", [True, False], ids=["returns by itself", "stays down"])
def test_a_service_that_fails_every_20_seconds_is_restarted_within_the_policy(
    make: Make, breaks: Callable[[Service], None], returns: bool
) -> None:
    world = make(*shop())
    app = world.services["app"]
    world.each(20.0, lambda: breaks(app), 1200.0)
    if returns:
        world.at(8.0, lambda: world.each(20.0, lambda: _returns(app), 1192.0))
    world.run(1200)
    assert 1 <= world.most_in_a_window() <= POLICY.attempts
    assert set(world.restarted()) == {"app"}
    assert world.alerts().count("SelfhealEscalated") <= 1
    # Reported: the first three incidents, then one every ten minutes, and each incident that lasts.
    reported = world.alerts().count("SelfhealIncident")
    assert reported == sum(one["told"] for one in world.incidents())
    assert reported <= 6
    assert all(one["told"] or one["seconds"] < 30.0 for one in world.incidents())


def test_attempts_on_a_worker_do_not_count_for_a_service_that_users_need(make: Make) -> None:
    world = make(*shop())
    worker = world.services["worker"]
    world.each(20.0, lambda: _ends(worker), 900.0)
    world.run(900)
    assert len(world.touched) == POLICY.attempts
    hang(world, "app")()
    world.run(60)
    assert world.restarted()[-1] == "app"
    assert world.well()


# --- changes by hand, and clock steps --------------------------------------------------------------------------------


def test_a_compose_file_that_is_damaged_during_a_recovery_is_replaced(make: Make) -> None:
    """The file of the last good release is put back. The damaged file is kept under another name."""
    world = make(*shop())
    learn(world)
    good = world.compose.read_text(encoding="utf-8")
    world.run(5)
    world.damaged = "services: {web: {image: nginx}, app: ["

    def edit() -> None:
        world.compose.write_text(world.damaged, encoding="utf-8")
        hang(world, "app")()

    hang(world, "app")()
    world.at(8.0, edit)
    world.run(120)
    assert world.well()
    assert world.compose.read_text(encoding="utf-8") == good
    assert Path(f"{world.compose}.replaced").read_text(encoding="utf-8") == world.damaged
    assert {"cache", "db"}.isdisjoint(world.restarted())
    [record] = world.incidents()
    assert (record["cause"], record["healthy"]) == ("config_damaged", True)


def test_a_valid_change_of_the_compose_file_during_a_recovery_stays(make: Make) -> None:
    world = make(*shop())
    learn(world)
    world.run(5)
    changed = "services: {}\n# changed\n"

    def edit() -> None:
        world.compose.write_text(changed, encoding="utf-8")

    world.at(7.0, edit)
    hang(world, "app")()
    world.run(60)
    assert (world.restarted(), world.well()) == (["app"], True)
    assert world.compose.read_text(encoding="utf-8") == changed


@pytest.mark.parametrize("ahead", [DAY, -DAY])
def test_a_clock_step_of_a_day_neither_opens_nor_closes_the_breaker(make: Make, ahead: float) -> None:
    world = make(*shop())
    world.each(120.0, hang(world, "app"), 1700.0)
    world.at(500.0, step(world, ahead))
    world.run(1700)
    assert world.most_in_a_window() == POLICY.attempts
    assert all(0.0 < one["seconds"] < 1200.0 for one in world.incidents())
    assert [one["healthy"] for one in world.incidents()][:-1] == [True] * 5


@pytest.mark.parametrize("ahead", [DAY, -DAY])
def test_a_clock_step_does_not_end_a_pause(make: Make, ahead: float) -> None:
    world = make(*shop())
    since = moment(world.clock.now(), world.now)
    paused: state.Pause = {"until": world.clock.now() + 300.0, "reason": "a new disk", "since": since}
    state.write_orders(world.config.app.paths.state, {"paused": paused, "resumed": None})
    world.at(100.0, step(world, ahead))
    hang(world, "app")()
    world.run(290)
    assert world.touched == []
    world.run(40)
    assert world.restarted() == ["app"]


@pytest.mark.parametrize("ahead", [DAY, -DAY])
def test_a_watcher_that_starts_after_a_clock_step_knows_when_the_app_answered_last(make: Make, ahead: float) -> None:
    world = make(*shop())
    world.run(20)
    step(world, ahead)()
    world.it = watcher.Watcher(world.config, world.clock, lambda _: None)
    assert world.it.answered == pytest.approx(world.now, abs=20.0)
    assert world.it.good == pytest.approx(world.clock.now(), abs=20.0)
