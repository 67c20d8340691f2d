# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One recovery in a simulated world: the env file and its history are real, containers run with the file's values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, iso, moment
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld, hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.variable import Variable
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption_record, rolling
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.health import wait
from ansible_collections.christmas.selfheal.plugins.module_utils.health.diagnosis import HEALTHY, Diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import Facts, Instance
from ansible_collections.christmas.selfheal.plugins.module_utils.health.wait import wait_healthy
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import oom_log, procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import ProbeResult
from ansible_collections.christmas.selfheal.plugins.module_utils.records import incidents, state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder, remedies
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import run as recovery
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.ladder import Decision, Policy
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release

VARIABLES = [Variable("KEY", "token", secret=True)]
CHECKS = parse_checks([{"name": "health", "url": "http://127.0.0.1:1/", "proves": "health"}])
# The real function. The fixture replaces it: the engine is healthy, whatever runs on this machine.
BY_ITS_PROCESS = health_facts.engine_by_its_process
GOOD, OTHER, LEAKED = "Vq3mZk8TtPw2Lr9xHs5B", "Nw7cYd4JfGb6Ke1uQo0R", "Xa2sDf5gHj8kLz4xCv7B"


class World:
    """The app and its engine. The app runs only with the key `accepts`."""

    def __init__(self, root: Path) -> None:
        self.app = App(app_paths("shop", root=str(root)), variables=VARIABLES, checks=CHECKS)
        Path(self.app.paths.directory).mkdir(parents=True)
        self.accepts = GOOD
        self.container: dict[str, str] | None = None
        self.acts: list[str] = []
        self.broken_build = self.broken_up = self.page_down = False
        self.failing_lists, self.compose = 0, "2.26.1"
        self.hangs = False
        self.now = 1_750_000_000.0

    @property
    def clock(self) -> Clock:
        return Clock(now=self.tick, monotonic=self.tick, sleep=lambda _: None)

    def tick(self) -> float:
        self.now += 0.01
        return self.now

    def write(self, text: str) -> None:
        Path(self.app.paths.env).write_text(text, encoding="utf-8")

    def read(self) -> str:
        return Path(self.app.paths.env).read_text(encoding="utf-8")

    def deploy(self, key: str) -> None:
        """Record that the app was healthy with this key."""
        env_history.write_env(self.app.paths.env, self.app.paths.history, {"KEY": key}, now=self.tick())
        env_history.mark_good(self.app.paths.history, env_history.versions(self.app.paths.history)[-1]["fingerprint"])
        self.container = {"KEY": key}

    @property
    def alive(self) -> bool:
        return self.container is not None and self.container["KEY"] == self.accepts

    def probe(self, *_unused: Any, **__: Any) -> dict[str, Any]:
        kind = ("timeout" if self.hangs else None) if self.alive else "refused"
        rows = [("health", "health", kind), ("page", "frontend", "refused" if self.page_down else None)]
        results = [
            {"name": name, "ok": not bad, "proves": area, "kind": bad, "reason": str(bad), "seconds": 0.01, "port": 1}
            for name, area, bad in rows
        ]
        return {
            "ok": self.alive and not self.page_down and not self.hangs,
            "summary": "simulated",
            "results": results,
        }


class Project(docker_project.Project):
    """The engine of a world."""

    world: World

    def documents(self, timeout: float = 10.0) -> list[docker_containers.Document]:
        if self.world.failing_lists:
            self.world.failing_lists -= 1
            raise engine.EngineError("docker ps failed")
        if self.world.container is None:
            return []
        state = {"Status": "running" if self.world.alive else "restarting", "ExitCode": 0 if self.world.alive else 1}
        return [
            {
                "Id": str(len(self.world.acts)),
                "Name": "/shop-web-1",
                "Image": "sha256:1",
                "State": state,
                "Config": {
                    "Labels": {"com.docker.compose.service": "web"},
                    "Env": [f"{name}={value}" for name, value in self.world.container.items()],
                },
                "HostConfig": {},
            }
        ]

    def config(self, timeout: float = 20.0, profiles: bool = False) -> dict[str, Any]:
        if not Path(self.world.app.paths.env).is_file():
            raise engine.EngineError("env file not found")
        try:
            dotenv.parse(self.world.read())
        except dotenv.DotenvError as error:
            raise engine.EngineError(f"failed to read .env: {self.world.read()}") from error
        return {"services": {"web": {}}}

    def logs(self, container: str, lines: int = 50, timeout: float = 5.0) -> str:
        return f"refusing {(self.world.container or {}).get('KEY')}"

    def images_missing(self, model: Any, timeout: float = 5.0) -> list[docker_images.MissingImage]:
        return []

    def top(self, container: str, timeout: float = 5.0) -> str:
        return "1 python3"

    def inspect(self, container: str, timeout: float = 5.0) -> str:
        return "[]"

    def restart(self, containers: Any, timeout: float = 30.0) -> commands.Result:
        self.world.acts.append("restart")
        self.world.hangs = False
        return commands.Result(0, "", "")

    def remove(self, containers: Any, grace: float | None = None, timeout: float = 30.0) -> commands.Result:
        self.world.acts.append("remove")
        self.world.container = None
        return commands.Result(0, "", "")

    def up(self, build: bool = False, *_unused: Any, **__: Any) -> commands.Result:
        self.world.acts.append("build" if build else "up")
        if self.world.broken_up or (build and self.world.broken_build):
            return commands.Result(1, "", "cannot start")
        self.world.container = dotenv.parse(self.world.read())
        return commands.Result(0, "", "")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    it = World(tmp_path)
    monkeypatch.setattr(Project, "world", it, raising=False)
    monkeypatch.setattr(docker_project, "Project", Project)
    monkeypatch.setattr(remedies, "Project", Project)
    monkeypatch.setattr(engine, "state", lambda: {"answers": True, "kind": "", "reason": "", "version": "26"})
    monkeypatch.setattr(engine, "unit_state", lambda: "active")
    monkeypatch.setattr(health_facts, "engine_by_its_process", lambda: {"answers": True, "kind": "", "reason": ""})
    monkeypatch.setattr(engine, "compose_version", lambda: it.compose)
    monkeypatch.setattr(oom_log, "read", lambda: "")
    # The tests must not depend on the load of the machine that runs them.
    monkeypatch.setattr(procfs, "pressure", lambda: dict.fromkeys(("cpu", "memory", "io"), 0.0))
    monkeypatch.setattr(probe, "run_checks", it.probe)
    return it


def recover(world: World, values: dict[str, str] | None = None, **more: Any) -> recovery.Outcome:
    return recovery.recover(world.app, values, clock=world.clock, **more)


def names(outcome: recovery.Outcome) -> list[str]:
    return [item["name"] for item in outcome["remedies"]]


def incident(outcome: recovery.Outcome) -> recovery.IncidentFolder:
    assert outcome["incident"] is not None
    return outcome["incident"]


def good_keys(world: World) -> list[str]:
    found = [version for version in env_history.versions(world.app.paths.history) if version["good"]]
    return [dotenv.parse(Path(world.app.paths.history, version["file"]).read_text())["KEY"] for version in found]


BROKEN = [
    ("a placeholder", "KEY=your-key-here\n"),
    ("empty", ""),
    ("truncated within quotes", f'KEY="{LEAKED}'),
]


@pytest.mark.parametrize("text", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
@pytest.mark.parametrize(("values", "first"), [({"KEY": GOOD}, "proved_env"), (None, "last_good_env")])
def test_a_broken_env_is_replaced_and_the_containers_are_recreated(
    world: World, text: str, values: dict[str, str] | None, first: str
) -> None:
    world.deploy(GOOD)
    world.write(text)
    world.container = {"KEY": "your-key-here"}
    outcome = recover(world, values)
    assert (outcome["healthy"], outcome["cause"], names(outcome)[0]) == (True, "env_invalid", first)
    assert world.alive
    assert outcome["checklist"][1]["names"] == ["KEY"]
    assert good_keys(world) == [GOOD]
    kept = "".join(path.read_text() for path in Path(world.app.paths.incidents).rglob("*") if path.is_file())
    assert "env_invalid" in kept
    assert LEAKED not in kept


def test_each_step_is_said_before_it_is_taken(world: World) -> None:
    world.deploy(GOOD)
    world.write(f"KEY=your-key-here\nOTHER={LEAKED}\n")
    world.container = {"KEY": "your-key-here"}
    said: list[str] = []
    outcome = recover(world, {"KEY": GOOD}, say=said.append)
    assert outcome["healthy"]
    assert said[0] == "reading the state; then waits of 240 s at most in all, about 30 s for each remedy"
    assert said[1].startswith("cause: env_invalid")
    tried = [text for text in said if text.startswith("trying ")]
    assert [text.split()[1] for text in tried] == names(outcome)
    (recreated,) = (at for at, text in enumerate(said) if text.startswith("trying recreate"))
    assert said[recreated + 2] == "waiting for the app, at most 30 s", said
    assert said[-1].startswith("healthy: ")
    assert LEAKED not in str(said)
    assert max(map(len, said)) <= 160


GOOD_RELEASE: dict[str, Any] = {"id": "1", "images": {}, "files": {}, "env": "", "services": {}, "names": {}}


def waits(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let each wait for the app take its whole time, in vain; return how long each one was given."""
    given: list[float] = []

    def wait_in_vain(_app: App, _values: Any, seconds: float, _clock: Clock, _say: Any) -> dict[str, Any]:
        given.append(round(seconds, 1))
        world.now += seconds
        return world.probe()

    monkeypatch.setattr(recovery, "wait_healthy", wait_in_vain)
    return given


@pytest.mark.parametrize(
    ("deadline", "starts", "given"),
    [
        pytest.param(240.0, 5.0, [30.0] * 3, id="a share for each"),
        pytest.param(240.0, 50.0, [100.0, 100.0, 40.0], id="what the app takes to start"),
        pytest.param(110.0, 50.0, [100.0, 10.0], id="the time of the run is over"),
        pytest.param(3.0, 5.0, [3.0], id="a short run"),
    ],
)
def test_each_remedy_gets_time_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch, deadline: float, starts: float, given: list[float]
) -> None:
    world.deploy(GOOD)
    world.page_down = True
    monkeypatch.setattr(release_store, "last_good", lambda _: GOOD_RELEASE | {"starts": {"web": starts}})
    monkeypatch.setattr(recovery, "diagnose", lambda *_: Diagnosis("unknown", ["it fails"], ("web",)))
    monkeypatch.setattr(remedies, "table", lambda *_: dict.fromkeys(("restart", "recreate", "up"), lambda: "done"))
    monkeypatch.setitem(ladder.LADDERS, "unknown", ("restart", "recreate", "up"))
    waited, said = waits(world, monkeypatch), list[str]()
    outcome = recover(world, {"KEY": GOOD}, deadline=deadline, say=said.append)
    assert not outcome["healthy"]
    assert [round(seconds) for seconds in waited] == [round(seconds) for seconds in given]
    assert f"{deadline:.0f} s at most" in said[0]
    if len(given) < 3:
        assert f"the {deadline:.0f} s of this run are over" in outcome["decision"]["why"]


def test_an_app_that_runs_and_that_no_restart_helps_was_not_restarted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(GOOD)
    world.page_down = True
    monkeypatch.setattr(recovery, "diagnose", lambda *_: Diagnosis("credentials_refused", ["refused"], ("web",)))
    outcome = recover(world, {"KEY": GOOD})
    line = outcome["checklist"][2]
    assert (outcome["remedies"], line["done"], line["detail"]) == ([], None, "not restarted: no restart helps")


def test_a_person_hears_the_cause_of_an_incident_that_is_open_already(world: World) -> None:
    world.deploy(GOOD)
    world.accepts = LEAKED
    watch(world)
    said: list[str] = []
    recover(world, {"KEY": GOOD}, say=said.append)
    assert said[1].startswith("cause: ")


def test_a_person_hears_who_holds_the_lock(world: World) -> None:
    world.deploy(GOOD)
    world.container = {"KEY": GOOD}
    said: list[str] = []

    with hold_lock(world.app.paths.lock, 0.0, "watch shop"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "LOCK_SECONDS", 0.1)
        with pytest.raises(LockHeld):
            recover(world, say=said.append)
    assert said[0].startswith("reading the state")
    assert "is held by pid " in said[1]
    assert "(watch shop)" in said[1]


def test_the_last_answer_is_said_while_a_remedy_is_waited_for(world: World) -> None:
    world.page_down = True
    world.container = {"KEY": GOOD}
    heard: list[ProbeResult] = []
    clock = Clock(now=world.tick, monotonic=lambda: world.tick() + 100 * (world.now - 1_750_000_000.0))
    wait_healthy(world.app, None, 60.0, clock, heard.append)
    assert 1 <= len(heard) <= 6
    assert {found["summary"] for found in heard} == {"simulated"}


def test_an_app_without_variables_has_no_env_to_keep(world: World) -> None:
    world.app.variables = ()
    world.container = {"KEY": GOOD}
    outcome = recover(world)
    assert outcome["healthy"]
    lines = {line["step"]: (line["done"], line["detail"]) for line in outcome["checklist"][:2]}
    assert lines == {"env_backup": (None, "no variables, so no env to keep"), "variables": (None, "no variables")}
    assert not Path(world.app.paths.env).exists()


def test_a_missing_env_is_put_back(world: World) -> None:
    world.deploy(GOOD)
    Path(world.app.paths.env).unlink()
    world.container = None
    assert recover(world)["healthy"]
    assert dotenv.parse(world.read()) == {"KEY": GOOD}


@pytest.mark.parametrize("values", [{"KEY": GOOD}, None], ids=["by a person", "by the watcher"])
def test_an_immutable_env_is_tried_once_and_the_next_step_names_the_command(
    world: World, monkeypatch: pytest.MonkeyPatch, values: dict[str, str] | None
) -> None:
    world.deploy(GOOD)
    world.write("KEY=your-key-here\n")
    world.container = {"KEY": "your-key-here"}
    clock = world.clock
    flags = 0x10
    monkeypatch.setattr(files, "_flags", lambda path: flags if path == world.app.paths.env else 0)

    def look() -> recovery.Outcome:
        world.now += 400.0
        failed = moment(clock.now(), clock.monotonic())
        watch = None if values else recovery.Watch(Policy(), health_facts.Seen(), failed)
        return recovery.recover(world.app, values, clock=clock, watch=watch)

    outcome = look()
    command = f"{world.app.paths.env} is immutable: chattr -i {world.app.paths.env}"
    [remedy] = outcome["remedies"]
    assert (remedy["done"], command in remedy["result"]) == (False, True)
    after = "Then run christmas.selfheal.recover again." if values else "The watcher does the rest."
    assert outcome["next_step"] == f"{command}. {after}"
    record = incidents.latest(world.app.paths.incidents)
    assert record is not None
    assert (record["next_step"], record["hold"]) == (outcome["next_step"], command)
    assert world.read() == "KEY=your-key-here\n"
    if values is None:
        assert [look()["remedies"] for _unused in range(3)] == [[], [], []]
    flags = 0
    assert look()["healthy"]
    assert dotenv.parse(world.read()) == {"KEY": GOOD}


def test_an_env_that_is_no_longer_immutable_is_written_also_while_users_are_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(GOOD)
    world.write("KEY=your-key-here\n")
    flags = 0x10
    monkeypatch.setattr(files, "_flags", lambda path: flags if path == world.app.paths.env else 0)

    def look() -> recovery.Outcome:
        world.now += 20.0
        return recover(world, watch=recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now)))

    assert [look()["healthy"] for _unused in range(3)] == [False, False, False]
    flags = 0
    assert look()["healthy"]


@pytest.mark.parametrize("values", [{"KEY": GOOD}, None], ids=["the vault's env", "the last good env"])
def test_a_folder_in_place_of_the_env_is_moved_aside(world: World, values: dict[str, str] | None) -> None:
    """Docker creates a folder when a compose file mounts an env that is missing."""
    world.deploy(GOOD)
    env = Path(world.app.paths.env)
    env.unlink()
    env.mkdir()
    (env / "theirs").write_text("x", encoding="utf-8")
    Path(f"{env}.replaced").mkdir()
    world.container = None
    outcome = recover(world, values)
    assert outcome["healthy"]
    assert f"kept as {env}.2.replaced" in outcome["remedies"][0]["result"]
    assert Path(f"{env}.2.replaced/theirs").read_text(encoding="utf-8") == "x"
    assert dotenv.parse(world.read()) == {"KEY": GOOD}


def test_an_env_that_replaced_a_folder_stays_after_a_failure(world: World) -> None:
    world.deploy(GOOD)
    Path(world.app.paths.env).unlink()
    Path(world.app.paths.env).mkdir()
    world.container, world.broken_up = None, True
    assert not recover(world, {"KEY": GOOD})["healthy"]
    assert dotenv.parse(world.read()) == {"KEY": GOOD}


def watch(world: World) -> recovery.Outcome:
    """One look of the watcher, when all pauses are over."""
    world.now += 400.0
    failed = moment(world.clock.now(), world.clock.monotonic())
    return recover(world, watch=recovery.Watch(Policy(), health_facts.Seen(), failed))


@pytest.mark.parametrize(
    ("env", "runs_with", "state", "remedies_done"),
    [
        pytest.param(GOOD, GOOD, "restarting", [], id="the server's password was changed"),
        pytest.param(OTHER, OTHER, "restarting", ["last_good_env", "recreate"], id="the env was changed"),
        pytest.param(GOOD, OTHER, "restarting", ["recreate"], id="the env is good, and it runs with another"),
        pytest.param(GOOD, GOOD, "exited", ["up"], id="it does not run"),
    ],
)
@pytest.mark.parametrize("accepted", [True, False], ids=["the good one is accepted", "nothing is accepted"])
def test_a_refused_login_is_no_reason_to_restart_what_would_log_in_alike(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    env: str,
    runs_with: str,
    state: str,
    remedies_done: list[str],
    accepted: bool,
) -> None:
    def documents(project: Project, timeout: float = 10.0) -> list[docker_containers.Document]:
        found: Any = list_them(project, timeout)
        for one in found:
            now = iso(world.now)
            one["State"] = {**one["State"], "StartedAt": now, "FinishedAt": now}
            if not world.alive:
                one["State"]["Status"] = state
        return cast("list[docker_containers.Document]", found)

    list_them, said = Project.documents, 'error: password authentication failed for user "shop"'
    monkeypatch.setattr(Project, "documents", documents)
    monkeypatch.setattr(Project, "logs", lambda *_: f"{iso(world.now)} {said} {(world.container or {}).get('KEY')}")
    world.deploy(GOOD)
    if env != GOOD:
        world.write(f"KEY={env}\n")
    world.container = {"KEY": runs_with}
    world.accepts = GOOD if accepted and runs_with != GOOD else LEAKED
    first = watch(world)
    assert first["cause"] == "credentials_refused"
    assert names(first) == remedies_done
    if first["healthy"]:
        assert world.accepts == GOOD
        return
    assert "The login of shop@PostgreSQL is refused" in first["next_step"]
    assert first["decision"]["kind"] == "escalate"
    record = incidents.latest(world.app.paths.incidents)
    assert record is not None
    assert (record["about"], record["escalated"]) == ("shop@PostgreSQL", True)
    assert runs_with not in json.dumps(record)
    # What does not run is started now and then: the password may be right by now. Nothing else is touched.
    assert [names(watch(world)) for _unused in range(2)] == [["up"] if state == "exited" else []] * 2
    world.accepts = world.container["KEY"]
    assert watch(world)["healthy"]


def test_a_person_is_advised_once_the_incident_is_left_to_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy(GOOD)
    world.accepts = OTHER
    wait = Decision("wait", seconds=40.0, why="too fresh")
    decisions = iter([wait, Decision("escalate", why="all was tried"), wait])
    monkeypatch.setattr(recovery, "decide", lambda *_: next(decisions))
    said = []
    for _unused in range(3):
        outcome = watch(world)
        record = incidents.latest(world.app.paths.incidents)
        assert record is not None
        assert record["next_step"] == outcome["next_step"]
        said.append(outcome["next_step"])
    assert "nothing to do for you yet" in said[0]
    assert all("correct the app" in step for step in said[1:])


def replace_by_hand(world: World, monkeypatch: pytest.MonkeyPatch, age: float) -> None:
    """Let the container look as if it had been created by `docker compose` in another folder, so many seconds ago."""

    def documents(project: Project, timeout: float = 10.0) -> list[docker_containers.Document]:
        found: Any = list_them(project, timeout)
        for one in found:
            one["Config"]["Labels"].update(labels)
            one["State"]["StartedAt"] = iso(world.now - age)
        return cast("list[docker_containers.Document]", found)

    compose = "com.docker.compose.project."
    labels = {f"{compose}config_files": "/root/shop/compose.yaml", f"{compose}working_dir": "/root/shop"}
    list_them = Project.documents
    monkeypatch.setattr(Project, "documents", documents)
    good: dict[str, Any] = {
        "images": {"web": "sha256:1"},
        "contexts": [],
        "files": {},
        "names": {},
        "id": "r1",
        "env": "",
    }
    monkeypatch.setattr(release_store, "last_good", lambda _: good)
    monkeypatch.setattr(release_store, "changed", lambda *_: False)
    monkeypatch.setattr(Project, "put_back_images", lambda *_: commands.Result(1, "", "none"))


@pytest.mark.parametrize(
    ("age", "cause"), [(2.0, "replaced_by_hand"), (86400.0, "container_missing")], ids=["lately", "long ago"]
)
def test_an_outage_that_began_when_it_was_replaced_by_hand_is_called_so(
    world: World, monkeypatch: pytest.MonkeyPatch, age: float, cause: str
) -> None:
    """While `docker compose` works, the containers are gone; no remedy is applied."""
    seen: list[Any] = []
    adoption_record.write(world.app.paths, adoption_record.Origin("/root/shop", ["compose.yaml"], []), is_done=True)
    monkeypatch.setattr(
        engine, "changed_by_hand", lambda _, folders: seen.extend(folders) or "`docker compose up` runs on the app"
    )
    world.deploy(GOOD)
    container, world.container = world.container, None
    replace_by_hand(world, monkeypatch, age)

    def look() -> recovery.Outcome:
        world.now += 1.0
        failed = moment(world.clock.now(), world.clock.monotonic())
        return recover(world, watch=recovery.Watch(Policy(), health_facts.Seen(), failed))

    outcome = look()
    assert (outcome["healthy"], names(outcome), outcome["decision"]["kind"]) == (False, [], "wait")
    assert seen == [world.app.paths.directory, "/root/shop"]
    world.container = container
    assert look()["healthy"]
    record = incidents.latest(world.app.paths.incidents)
    assert record is not None
    assert (record["cause"], record["remedies"]) == (cause, [])


def test_a_sick_app_that_was_replaced_by_hand_gets_its_release_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(GOOD)
    world.container = {"KEY": OTHER}
    replace_by_hand(world, monkeypatch, 600.0)
    monkeypatch.setattr(engine, "changed_by_hand", lambda *_: "")
    outcome = watch(world)
    assert (outcome["healthy"], outcome["cause"], names(outcome)) == (True, "replaced_by_hand", ["up"])


def test_a_person_hears_that_a_healthy_app_was_replaced_by_hand(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy(GOOD)
    replace_by_hand(world, monkeypatch, 600.0)
    outcome = recover(world, {"KEY": GOOD})
    assert (outcome["healthy"], world.acts) == (True, [])
    said = next(line["detail"] for line in outcome["checklist"] if line["step"] == "containers")
    assert said == (
        "running, not restarted; service web was started by `docker compose` in /root/shop; "
        "site.yml starts the release again"
    )


@pytest.mark.parametrize("by_hand", [True, False])
def test_an_incident_says_whether_a_person_applied_a_remedy(world: World, by_hand: bool) -> None:
    world.deploy(GOOD)
    world.container = None
    failed = moment(world.clock.now(), world.clock.monotonic())
    watch = None if by_hand else recovery.Watch(Policy(), health_facts.Seen(), failed)
    assert recovery.recover(world.app, clock=world.clock, watch=watch)["healthy"]
    [record] = incidents.every(world.app.paths.incidents)
    assert record["by_hand"] is by_hand


def test_the_last_good_env_is_tried_when_the_vaults_does_not_help(world: World) -> None:
    """The vault holds a well-formed key that the app does not accept."""
    world.deploy(GOOD)
    world.write(f"KEY={OTHER}\n")
    world.container = {"KEY": OTHER}
    outcome = recover(world, {"KEY": OTHER})
    assert outcome["healthy"], names(outcome)
    assert names(outcome)[-2:] == ["last_good_env", "recreate"]


def test_a_healthy_app_is_not_touched_and_its_env_is_not_marked_good(world: World) -> None:
    """The containers run with another env than the file's, so their health says nothing about the file."""
    world.deploy(GOOD)
    world.write(f"KEY={OTHER}\n")
    outcome = recover(world, {"KEY": GOOD})
    assert (outcome["healthy"], outcome["remedies"], world.acts) == (True, [], [])
    assert OTHER not in good_keys(world)


def test_a_missing_compose_plugin_is_named(world: World) -> None:
    world.deploy(GOOD)
    world.container, world.compose = None, ""
    Path(world.app.paths.env).unlink()
    outcome = recover(world)
    assert (outcome["healthy"], outcome["cause"], world.acts) == (False, "engine_incomplete", [])
    assert "install docker-compose" in outcome["evidence"][0]
    assert outcome["next_step"].startswith("Install the package that is named")


def test_a_front_end_that_is_down_restarts_nothing(world: World) -> None:
    world.deploy(GOOD)
    world.page_down = True
    before = world.read()
    outcome = recover(world, {"KEY": OTHER})
    assert (outcome["healthy"], outcome["cause"], outcome["remedies"]) == (False, "upstream_down", [])
    assert (world.read(), world.acts) == (before, [])
    assert outcome["next_step"]


def test_once_an_upstream_is_back_the_watcher_waits_before_a_remedy(world: World) -> None:
    """Requests may have waited for the upstream until just now, so the app may only look hung."""
    world.deploy(GOOD)
    clock = world.clock

    def look() -> recovery.Outcome:
        failed = moment(clock.now(), clock.monotonic())
        watch = recovery.Watch(Policy(), health_facts.Seen(), failed)
        return recovery.recover(world.app, clock=clock, watch=watch)

    world.page_down = True
    assert look()["decision"]["kind"] == "hold"
    world.page_down, world.container = False, None
    assert (look()["decision"]["kind"], world.acts) == ("wait", [])
    assert (look()["healthy"], world.acts != []) == (True, True)


def test_a_kill_before_the_end_of_an_incident_opens_no_second_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed first request makes the next watcher look for earlier kills, but only since the last incident."""
    world.deploy(GOOD)
    clock = world.clock
    died = clock.now()

    def look(answer: ProbeResult | None) -> recovery.Outcome:
        passed = None if answer is None else 3.0
        failed = moment(clock.now(), clock.monotonic())
        watch = recovery.Watch(Policy(), health_facts.Seen(answer, passed=passed), failed)
        return recovery.recover(world.app, clock=clock, watch=watch)

    def killed(*_unused: Any) -> list[dict[str, Any]]:
        kill = {"container": "shop-web-1", "limit_bytes": 1, "peak_bytes": 1, "line": ""}
        return [{**kill, "seconds": clock.now() - died}]

    monkeypatch.setattr(oom_log, "oom_kills", killed)
    world.container = None
    assert look(None)["healthy"]
    world.now += 0.5
    answer = WELL
    assert look(answer)["incident"] is None
    world.now += 60.0
    died = clock.now() - 1.0
    assert look(answer)["cause"] == "out_of_memory"


def test_an_incident_with_an_end_in_the_future_was_not_reported_lately(world: World) -> None:
    """The clock was a few years ahead for a while, and then set back."""
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock, watch)
    run.facts = known(probe=WELL, services=[])
    lately = []
    for ended in (world.now - 60.0, world.now + 1e8):
        run._begin(Diagnosis("crashed", ["so"], passed=True))
        run._record.update({"told": True, "ended": iso(ended)})
        run._write({})
        lately.append(run._was_notified_lately("crashed"))
    assert lately == [True, False]
    assert [one["number"] for one in incidents.every(world.app.paths.incidents)] == [2, 1]


def test_an_incident_gets_the_cause_that_is_found_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its alerts keep the labels of the first cause: with other labels they would never end."""
    world.deploy(GOOD)
    world.hangs = True

    def gone(*_unused: Any) -> str:
        world.container, world.hangs = None, False
        raise remedies.RemedyError("the container is gone")

    with monkeypatch.context() as patch:
        patch.setattr(remedies, "restart", gone)
        outcome = recover(world)
    record = incidents.latest(world.app.paths.incidents)
    assert record is not None
    assert (outcome["healthy"], outcome["cause"], record["cause"]) == (True, "hung", "container_missing")
    assert [one["what"].split(": ")[1] for one in record["timeline"] if one["what"].startswith("cause: ")] == [
        "hung",
        "container_missing",
    ]
    memory, _unused = state.load(world.app.paths.state, world.app.paths.spare)
    assert {one["alert"]["labels"]["cause"] for one in memory["outbox"]} == {"hung"}


@pytest.mark.parametrize(
    ("first", "then", "cause"),
    [
        ("crashed", "port_taken", "port_taken"),
        ("container_missing", "network_broken", "network_broken"),
        ("crashed", "crash_loop", "crashed"),
        ("env_invalid", "port_taken", "env_invalid"),
        ("crashed", HEALTHY, "crashed"),
    ],
)
def test_an_incident_is_named_after_what_keeps_a_container_down(
    first: str, then: str, cause: str, world: World
) -> None:
    """On a slow host the container may exit before the other process takes its port."""
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock)
    run.facts = known(probe={"ok": False}, services=[])
    run._begin(Diagnosis(first, ["so"]))
    run._rename(Diagnosis(then, ["since"]))
    assert run._record["cause"] == cause


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("overloaded", "env_invalid"),
        ("hung", "out_of_memory"),
        ("not_listening", "crashed"),
        ("not_listening", "crash_loop"),
    ],
)
def test_an_incident_that_was_named_after_a_symptom_gets_the_real_cause(first: str, then: str, world: World) -> None:
    """On a slow host a replaced env first looks like an overload, and an out-of-memory kill like a hang."""
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock)
    run.facts = known(probe={"ok": False}, services=[])
    run._begin(Diagnosis(first, ["so"]))
    run._rename(Diagnosis(then, ["since"]))
    record = run._record
    assert (record["cause"], record["evidence"], record["opened_as"]) == (then, ["since"], first)


def test_an_outage_is_reported_while_another_process_holds_the_lock(world: World) -> None:
    """The incident begins without a remedy. Once the lock is free, the recovery continues the same incident."""
    world.deploy(GOOD)
    world.container = None
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now), held="held by pid 7 (deploy)")
    with hold_lock(world.app.paths.lock, 0.0, "deploy shop"):
        held = recover(world, watch=watch)
    assert (held["decision"]["kind"], held["decision"]["why"], world.acts) == ("hold", "held by pid 7 (deploy)", [])
    waiting = state.load(world.app.paths.state)[0]
    assert [one["alert"]["labels"]["cause"] for one in waiting["outbox"]] == ["container_missing"]
    ended = recover(world, watch=watch._replace(held="", freed="pid 7 was killed"))
    assert (ended["healthy"], incident(ended)["id"]) == (True, incident(held)["id"])
    assert "pid 7 was killed" in [entry["what"] for entry in ended["timeline"]]


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        pytest.param({"flushed": "Docker's rules are gone"}, "restart_engine", id="missing rules: the engine restarts"),
        pytest.param({"dropped": ["-t raw -A PREROUTING -j DROP"]}, "", id="a rule that drops packets: no remedy"),
    ],
)
def test_no_container_is_restarted_for_a_fault_of_the_firewall(
    world: World, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], remedy: str
) -> None:
    world.deploy(GOOD)
    world.hangs = True
    monkeypatch.setattr(health_facts, "_read_firewall", lambda *_: facts)

    def restart_engine() -> str:
        world.hangs = False
        return "engine restarted"

    monkeypatch.setattr(remedies, "restart_engine", restart_engine)
    outcome = recover(world)
    assert (outcome["cause"], names(outcome), world.acts) == ("network_broken", [remedy] if remedy else [], [])
    assert outcome["healthy"] is bool(remedy)


@pytest.mark.parametrize(
    ("took", "refused"), [(0.5, True), (3.0, False)], ids=["refused at once", "refused after a while"]
)
def test_a_missing_bridge_is_recreated_by_the_second_remedy(
    took: float, refused: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's error says that no container can be connected, so creating containers cannot help."""
    world.deploy(GOOD)
    world.container = None

    def up(*_unused: Any) -> str:
        world.now += took
        raise remedies.RemedyError("docker compose up: could not find bridge br-1")

    def rebuild_network(*_unused: Any) -> str:
        world.container = {"KEY": GOOD}
        return "the network was rebuilt"

    monkeypatch.setattr(remedies, "up", up)
    monkeypatch.setattr(remedies, "rebuild_network", rebuild_network)
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    outcome = recover(world, watch=watch)
    assert (names(outcome), outcome["healthy"]) == (["up", "rebuild_network"], True)
    record = incidents.latest(world.app.paths.incidents)
    assert record is not None
    assert record["cause"] == "network_broken"
    attempts = state.load(world.app.paths.state)[0]["attempts"]
    assert [bool(one.get("refused")) for one in attempts] == [refused, False]


def test_without_free_inodes_only_an_app_that_is_down_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be deleted, but a start needs no new file."""
    full = {"path": "/", "free_bytes": 1 << 40, "total_bytes": 1 << 41, "used_percent": 1.0, "inodes_percent": 100.0}
    monkeypatch.setattr(procfs, "disk", lambda _: [full])

    def free_space(_paths: Any) -> str:
        raise remedies.RemedyError("nothing that may be deleted takes room")

    monkeypatch.setattr(remedies, "free_space", free_space)
    world.deploy(GOOD)
    outcome = recover(world)
    assert (outcome["cause"], names(outcome), world.acts) == ("disk_full", ["free_space"], [])
    world.container = None
    outcome = recover(world)
    assert (outcome["cause"], names(outcome), world.alive) == ("disk_full", ["free_space", "up"], True)


@pytest.mark.parametrize("fails", [False, True], ids=["the rollback succeeds", "the rollback fails"])
def test_a_deploy_that_was_killed_is_rolled_back_before_the_first_remedy(
    fails: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its remains would disturb each remedy. If the rollback fails, the app is recovered anyway."""
    world.deploy(GOOD)
    world.container = None
    marker = Path(world.app.paths.rollout)
    marker.write_text('{"before": ["1"]}', encoding="utf-8")

    def clean_up(app: App, *_unused: Any) -> bool:
        world.acts.append(f"rolled back {Path(app.paths.rollout).name}")
        if fails:
            raise engine.EngineError("no answer")
        marker.unlink()
        return True

    monkeypatch.setattr(rolling, "clean_up", clean_up)
    outcome = recover(world)
    assert (outcome["healthy"], world.acts) == (True, ["rolled back rollout.json", "build"])
    assert [problem.endswith(": no answer") for problem in outcome["problems"]] == [True] * fails


def test_a_stopped_engine_process_is_continued_while_the_app_serves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This stops no container, with or without `live-restore`."""
    world.deploy(GOOD)
    process = {"known": True, "alive": True, "stopped": True, "pid": 1}
    monkeypatch.setattr(health_facts, "engine_by_its_process", BY_ITS_PROCESS)
    monkeypatch.setattr(procfs, "engine_process", lambda: process)
    monkeypatch.setattr(engine, "live_restore", lambda: False)

    def restart_engine() -> str:
        process["stopped"] = False
        return "continued dockerd"

    monkeypatch.setattr(remedies, "restart_engine", restart_engine)
    seen = health_facts.Seen(WELL, services=False)
    outcome = recover(world, watch=recovery.Watch(Policy(), seen, moment(world.now, world.now)))
    assert (outcome["cause"], names(outcome), outcome["healthy"]) == ("engine_hung", ["restart_engine"], True)
    first = state.load(world.app.paths.state)[0]["outbox"][0]["alert"]["labels"]
    assert (first["cause"], first["severity"]) == ("engine_hung", "warning")


@pytest.mark.parametrize(("restores", "remedy"), [(True, ["restart_engine"]), (False, [])])
def test_while_the_app_serves_a_hung_engine_is_restarted_only_with_live_restore(
    world: World, monkeypatch: pytest.MonkeyPatch, restores: bool, remedy: list[str]
) -> None:
    world.deploy(GOOD)
    states = [{"answers": False, "kind": "hung", "reason": "no answer", "version": ""}]
    good = {"answers": True, "kind": "", "reason": "", "version": "26"}
    monkeypatch.setattr(engine, "state", lambda: states[0] if states else good)
    monkeypatch.setattr(engine, "live_restore", lambda: restores)
    monkeypatch.setattr(remedies, "restart_engine", lambda: f"{states.pop()['kind']} no more")
    outcome = recover(world)
    assert (outcome["cause"], names(outcome), outcome["healthy"]) == ("engine_hung", remedy, restores)


@pytest.mark.parametrize(
    ("learned", "health", "left"),
    [
        (None, "starting", 10.0),
        (40.0, "starting", 50.0),
        (1.0, "starting", 10.0),
        (None, "healthy", 0.0),
        (40.0, "healthy", 50.0),
    ],
)
def test_a_start_may_take_twice_as_long_as_in_the_deploy(
    world: World, learned: float | None, health: str, left: float
) -> None:
    nothing: Release = {"files": {}, "services": {}, "images": {}, "names": {}, "contexts": {}}
    starts = {} if learned is None else {"web": learned}
    release_store.record(world.app.paths.directory, {**nothing, "id": "1", "env": "", "source": "", "starts": starts})
    release_store.mark_last_good(world.app.paths.directory, "1")
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock, watch)
    item = {**WEB, "started_seconds": 30.0, "health": health}
    run.memory["incident"] = {"remedies": []}
    run.facts = known(instances=[item], at=world.now, load={"cpu_busy": 0.1, "cpu_pressure": 0.0})
    assert run._starting(Diagnosis("hung", ["late"], ("web",))) == left


@pytest.mark.parametrize(
    ("tried", "left"),
    [
        (["restart"], 39.0),
        (["restart", "last_good_env"], 0.0),
        (["restart", "last_good_env", "recreate"], 39.0),
    ],
    ids=["restarted", "a file was put back since", "recreated with the file"],
)
def test_a_start_is_not_waited_for_when_a_file_was_put_back_since(tried: list[str], left: float, world: World) -> None:
    """The next remedy recreates the container with the good file. A wait would only prolong the outage."""
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock, watch)
    item = {**WEB, "started_seconds": 1.0}
    run.memory["incident"] = {"remedies": [{"name": name, "result": "done"} for name in tried]}
    run.facts = known(instances=[item], at=world.now, load={"cpu_busy": 0.1, "cpu_pressure": 0.0})
    assert run._starting(Diagnosis("erroring", ["x"], ("web",))) == left


@pytest.mark.parametrize(
    ("began", "remedy", "waits"),
    [(5.0, 2.0, True), (1.0, 2.0, False), (90.0, 80.0, False), (5.0, None, False)],
    ids=["before the remedy", "after the remedy", "before a remedy long ago", "without a remedy"],
)
def test_a_health_check_that_began_before_a_remedy_does_not_count(
    began: float, remedy: float | None, waits: bool, world: World
) -> None:
    """A container that was paused stays unhealthy until its check runs again. It needs no restart."""
    now = world.now
    clock = Clock(now=lambda: now, monotonic=lambda: now)
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(now, now))
    run = recovery._Recovery(world.app, None, True, 1.0, clock, watch)
    at = None if remedy is None else moment(now - remedy - 0.5, now - remedy - 0.5)
    run.memory["incident"] = {"id": "1", "remedies": [{"name": "up", "result": "done", "seconds": 0.5}]}
    run.memory["attempts"] = [{"incident": "1", "remedy": "up", "at": at}] if at else []
    log = [{"begun": iso(now - began), "output": ""}]
    item = {"service": "web", "health": "unhealthy", "health_log": log}
    run.facts = known(instances=[item], probe={"ok": True})
    assert bool(run._waits(Diagnosis("unhealthy", ["late"], ("web",)))) == waits


@pytest.mark.parametrize(
    "remedies",
    [
        [{"name": "up", "result": incidents.BEGUN, "seconds": 0.0}],
        [
            {"name": "up", "result": "done", "seconds": 0.5},
            {"name": "last_good_compose", "result": "done", "seconds": 9.0},
        ],
    ],
    ids=["the watcher was killed during the remedy", "files were put back since"],
)
def test_a_health_check_is_compared_with_the_last_remedy_that_touched_a_container(
    remedies: list[incidents.RemedyRecord], world: World
) -> None:
    now = world.now
    clock = Clock(now=lambda: now, monotonic=lambda: now)
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(now, now))
    run = recovery._Recovery(world.app, None, True, 1.0, clock, watch)
    run.memory["incident"] = {"id": "1", "remedies": remedies}
    run.memory["attempts"] = [
        {"incident": "1", "remedy": one["name"], "at": moment(now - 2.5, now - 2.5)} for one in remedies
    ]
    before, after = ({"health_log": [{"begun": iso(now - ago)}]} for ago in (5.0, 1.5))
    assert run._was_before_remedy(cast(Container, before))
    assert not run._was_before_remedy(cast(Container, after))


@pytest.mark.parametrize(
    ("busy", "idle", "since", "left"),
    [
        (0.99, False, 41.0, 119.0),
        (0.99, False, 161.0, -121.0),
        (0.99, True, 41.0, -1.0),
        (0.2, False, 41.0, -1.0),
        (0.99, True, 39.0, 1.0),
    ],
    ids=["busy container", "busy for too long", "idle container", "idle host", "start period not over"],
)
def test_a_start_on_a_busy_host_may_take_longer(
    busy: float, idle: bool, since: float, left: float, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that is killed while it starts would start from the beginning, again and again."""
    monkeypatch.setattr(procfs, "idle", lambda *_: idle)
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock)
    item = {**WEB, "started_seconds": since, "pid": 1}
    run.watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    run.memory["incident"] = {"remedies": []}
    run.facts = known(instances=[item], at=world.now, load={"cpu_busy": busy, "cpu_pressure": 0.0})
    assert run._starting(Diagnosis("hung", ["late"], ("web",))) == pytest.approx(max(left, 0.0))


def test_an_incident_stays_open_until_the_restarted_service_passes_its_health_check(world: World) -> None:
    """Otherwise a service that never passes would be restarted each minute, by a new incident."""
    world.deploy(GOOD)
    watch = recovery.Watch(Policy(), health_facts.Seen(), moment(world.now, world.now))
    run = recovery._Recovery(world.app, None, True, 1.0, world.clock, watch)
    done: incidents.RemedyRecord = {
        "name": "restart",
        "services": ["web"],
        "result": "killed and started web",
        "done": True,
        "seconds": 0.1,
    }
    run.memory["incident"] = {"remedies": [done]}
    run.facts = health_facts.read(world.app, None, 0.0, world.clock, health_facts.Seen(WELL, services=False))
    web = {"service": "web", "name": "shop-web-1", "state": "running", "health": "starting", "job_done": False}
    ages = {"restarts": 0, "started_seconds": 9.0, "finished_seconds": None, "start_period": 0.0}
    rest = {"stopped": False, "ports": [], "exit_code": 0, "error": "", "oom_killed": False}
    instance = cast(Instance, {**web, **ages, **rest})
    run.facts = {**run.facts, "instances": [instance], "services": ["web"]}
    found = run._diagnose()
    assert (found.cause, found.services) == ("unhealthy", ("web",))
    assert "has not passed yet" in run._waits(found)
    healthy = cast(Instance, {**instance, "name": "shop-web-2", "health": "healthy"})
    run.facts["instances"].append(healthy)
    assert "has not passed yet" in run._waits(found), "a healthy instance next to it changes nothing"
    run.facts["instances"][0]["health"] = "healthy"
    assert run._diagnose().healthy


@pytest.mark.parametrize(("hangs", "asked"), [(False, True), (True, False)], ids=["recreated", "restarted"])
def test_a_release_gets_the_images_of_new_containers_that_pass(
    world: World, monkeypatch: pytest.MonkeyPatch, hangs: bool, asked: bool
) -> None:
    world.deploy(GOOD)
    world.hangs, world.container = hangs, {"KEY": GOOD} if hangs else None
    monkeypatch.setattr(remedies, "renew_images", lambda _paths: "the release has other images now")
    outcome = recover(world)
    assert outcome["healthy"]
    steps = [one["what"] for one in outcome["timeline"]]
    assert ("the release has other images now" in steps) is asked


def test_an_incident_ends_although_the_engine_reports_no_images(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_paths: Any) -> str:
        raise engine.EngineError("no answer")

    world.deploy(GOOD)
    world.container = None
    monkeypatch.setattr(remedies, "renew_images", silent)
    outcome = recover(world)
    assert outcome["healthy"]
    assert outcome["problems"] == ["the images of the last good release were not looked at: no answer"]


WELL = cast(ProbeResult, {"ok": True, "summary": "", "results": []})
# A starting container. Its health check has a start period of 40 s.
WEB: dict[str, Any] = {"service": "web", "state": "running", "start_period": 40.0, "health": "starting"}


def known(**facts: Any) -> Facts:
    return cast(Facts, facts)


def test_an_env_that_no_container_runs_with_is_not_marked_good(world: World) -> None:
    """The file was changed after the container was created. A restart keeps the container's old env."""
    world.deploy(GOOD)
    world.write(f"KEY={OTHER}\n")
    world.hangs = True
    outcome = recover(world)
    assert (outcome["healthy"], names(outcome), world.acts) == (True, ["restart"], ["restart"])
    assert OTHER not in good_keys(world)


def test_errors_of_the_engine_during_the_wait_do_not_fail_a_recovery(world: World) -> None:
    world.deploy(GOOD)
    world.container = None
    original = wait_healthy

    def stumbling(*words: Any) -> None:
        world.failing_lists = 2
        original(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait, "wait_healthy", stumbling)
        assert recover(world)["healthy"]


def test_a_failed_recovery_restores_the_env(world: World) -> None:
    world.deploy(GOOD)
    world.write("KEY=your-key-here\n")
    world.container = {"KEY": "your-key-here"}
    world.broken_up = True
    outcome = recover(world, {"KEY": GOOD})
    assert not outcome["healthy"]
    assert world.read() == "KEY=your-key-here\n"
    assert outcome["next_step"]
    assert incident(outcome)["id"]


def test_a_build_that_fails_does_not_stop_the_recovery(world: World) -> None:
    world.deploy(GOOD)
    world.container, world.broken_build = None, True
    outcome = recover(world)
    assert outcome["healthy"]
    assert "as the build failed: cannot start" in outcome["remedies"][-1]["result"]


def test_a_source_that_passed_no_gate_is_not_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy(GOOD)
    world.container = None
    good = {"id": "r1", "images": {}, "names": {}, "files": {}, "env": "", "source": "what passed"}
    good["contexts"] = {"backend": "/opt/shop"}
    monkeypatch.setattr(release_store, "last_good", lambda _: good)
    outcome = recover(world)
    assert outcome["healthy"]
    assert "build" not in world.acts
    assert "passed no gate" in outcome["remedies"][-1]["result"]


def test_evidence_hides_the_key_that_a_container_still_runs_with(world: World) -> None:
    """The key was rotated: the old one is in no file any more, but may still be valid."""
    world.deploy(GOOD)
    world.container = {"KEY": LEAKED}
    assert recover(world)["healthy"]
    kept = [path.read_text() for path in Path(world.app.paths.incidents).rglob("*") if path.is_file()]
    assert any("refusing" in text for text in kept)
    assert not any(LEAKED in text for text in kept)


def test_evidence_hides_the_key_that_a_remedy_has_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence of a container that was created meanwhile is collected at the end."""
    world.deploy(GOOD)
    world.write(f"KEY={OTHER}\n")
    world.container = {"KEY": OTHER}
    real = health_facts.read

    def read(*words: Any) -> Facts:
        found = real(*words)
        if not found["probe"]["ok"]:
            return found
        more: list[Instance] = [{**one, "name": "shop-db-1", "service": "db"} for one in found["instances"]]
        return {**found, "instances": [*found["instances"], *more], "environments": 2 * found["environments"]}

    monkeypatch.setattr(health_facts, "read", read)
    outcome = recover(world)
    kept = {path.name: path.read_text() for path in Path(incident(outcome)["path"]).iterdir()}
    assert (outcome["healthy"], "last_good_env" in names(outcome)) == (True, True)
    assert "refusing <KEY" in kept["log-shop-db-1.txt"]
    assert not any(key in text for text in kept.values() for key in (GOOD, OTHER))


def test_evidence_of_other_containers_is_collected_once_users_are_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(GOOD)
    world.hangs = True
    real = health_facts.read

    def read(*words: Any) -> Facts:
        found = real(*words)
        if not found["probe"]["ok"]:
            return found
        web = found["instances"][0]
        other: Instance = {**web, "id": "db", "name": "shop-db-1", "service": "db", "state": "running"}
        return {**found, "instances": [web, {**other, "job_done": False}]}

    monkeypatch.setattr(health_facts, "read", read)
    outcome = recover(world)
    record = json.loads(Path(incident(outcome)["path"], "incident.json").read_text(encoding="utf-8"))
    assert outcome["healthy"]
    assert {"log-shop-db-1.txt", "inspect-shop-web-1.json"} <= set(record["files"])
    assert Path(incident(outcome)["path"], "log-shop-db-1.txt").exists()


def test_evidence_from_before_a_remedy_is_not_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine was too slow to describe the container. The log from before the remedy is still kept."""
    world.deploy(GOOD)
    world.hangs = True

    def inspect(*_unused: Any) -> str:
        if not world.acts:
            raise engine.EngineError("no answer in time")
        return "[]"

    monkeypatch.setattr(docker_project.Project, "logs", lambda *_: f"after {len(world.acts)} remedies")
    monkeypatch.setattr(docker_project.Project, "inspect", inspect)
    outcome = recover(world)
    folder = Path(incident(outcome)["path"])
    assert (outcome["healthy"], world.acts) == (True, ["restart"])
    assert (folder / "log-shop-web-1.txt").read_text(encoding="utf-8") == "after 0 remedies\n"
    assert not (folder / "inspect-shop-web-1.json").exists()


def test_a_dry_run_writes_nothing_at_all(world: World, tmp_path: Path) -> None:
    world.deploy(GOOD)
    world.write("KEY=your-key-here\n")
    world.container = {"KEY": "your-key-here"}

    def tree() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = tree()
    outcome = recover(world, {"KEY": GOOD}, check=True)
    assert names(outcome) == ["proved_env", "recreate"]
    assert outcome["changed"]
    assert (tree(), world.acts) == (before, [])


def test_the_checklist_ticks_nothing_without_a_check(world: World) -> None:
    world.deploy(GOOD)
    done = {line["step"]: line["done"] for line in recover(world)["checklist"]}
    assert done == {
        "env_backup": True,
        "variables": True,
        "containers": True,
        "health": True,
        "api": None,
        "frontend": True,
    }


@pytest.mark.parametrize(
    ("service", "asks"), [("web", 2), ("report", 6)], ids=["a service of the app", "a service of an inactive profile"]
)
def test_only_a_container_of_the_app_ends_the_wait(
    service: str, asks: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed job that a person ran must not roll back the deploy of an app that starts slowly."""
    asked: list[float] = []

    def ask(*_unused: Any) -> dict[str, Any]:
        asked.append(world.now)
        world.now += 2.0
        return {"ok": len(asked) == 6}

    world.deploy(GOOD)
    over = {"id": "1", "service": service, "state": "exited", "job_done": False, "restarts": 0}
    monkeypatch.setattr(health_facts, "ask", ask)
    monkeypatch.setattr(docker_project.Project, "containers", lambda _: [over])
    clock = Clock(now=lambda: world.now, monotonic=lambda: world.now, sleep=lambda _: None)
    assert wait_healthy(world.app, None, 60.0, clock)["ok"] is (asks == 6)
    assert len(asked) == asks
