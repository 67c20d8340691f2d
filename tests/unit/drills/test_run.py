# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole drills, on a host that answers from a table, with a clock that only advances by sleeping."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import run as drill_run
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import DrillError, Fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.host import AppHost, Away
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.options import Options
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import parse_entries
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample
from ansible_collections.christmas.selfheal.plugins.plugin_utils import fault_catalogue
from ansible_collections.christmas.selfheal.tests.unit.drills.factories import CATALOGUE, CONTAINER, FOLDER, OPTIONS

START = 1000.0
RECORD: dict[str, Any] = {
    "id": "20260601T000000Z-hung",
    "cause": "hung",
    "confirmed": "1970-01-01T00:16:42.000Z",
    "healthy": True,
    "escalated": True,
    "evidence": ["no answer"],
    "remedies": [{"name": "restart"}],
}


def fault(**change: Any) -> Fault:
    plain: dict[str, Any] = {
        "title": {"en": "It hangs"},
        "why": "It happens.",
        "inject": [["docker", "pause", "{container}"]],
        "undo": [["docker", "unpause", "{container}"]],
        "expect": "recovered",
        "causes": ["hung"],
        "goal": {"median": 5, "p95": 8},
    }
    return drill_fault.read_fault("hang", {**plain, **change})


class World:
    """The host, the clock and the prober."""

    def __init__(self) -> None:
        self.time = START
        self.ran: list[str] = []
        self.said: list[str] = []
        self.away = 0
        self.reconnected = 0
        self.containers: list[dict[str, Any]] = [CONTAINER]
        # The incidents that are listed, by how many faults were injected.
        self.incidents: list[list[dict[str, Any]]] = [[], [RECORD]]
        self.injected = 0
        self.status: dict[str, Any] = {"watcher": {"alive": True}, "instances": None, "incident": None}
        # No drill was interrupted.
        self.fails: dict[str, int] = {"test -e /run/": 1}
        self.sick = False
        self.heals: Callable[[], bool] = lambda: True
        self.clock = Clock(lambda: self.time, lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    # --- the host ---

    is_remote = True

    def reconnect(self) -> None:
        self.reconnected += 1

    def execute(self, text: str) -> Result:
        if self.away:
            self.away -= 1
            raise Away("no route to host")
        self.ran.append(text)
        self.time += 0.01
        code = next((code for part, code in self.fails.items() if part in text), 0)
        if code:
            return Result(code, "", "it failed")
        return Result(0, self.answer(text), "")

    def answer(self, text: str) -> str:
        if "date +%s.%N &&" in text:
            self.injected += 1
            self.sick = True
            return f"{self.time}\n{self.time + 0.5}\n"
        if "date +%s.%N" in text:
            return str(self.time)
        if "container ls" in text:
            return " ".join(one["Id"] for one in self.containers)
        if "docker inspect" in text:
            return json.dumps(self.containers)
        if "status --json" in text:
            return json.dumps(self.status)
        if "incidents --json" in text:
            return json.dumps(self.incidents[min(self.injected, len(self.incidents) - 1)])
        if " find " in text:
            return "incident.json log-web.txt"
        return "1003.5" if "epoch" in text else ""

    # --- the prober ---

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_unused: object) -> None:
        pass

    def now(self) -> float:
        return self.time

    def samples(self, since: float = 0.0) -> list[Sample]:
        del since
        return [Sample(START + 0.2, START + 0.3, False, "refused")]

    def wait_healthy(self, since: float, seconds: float, poll: float = 0.05) -> float | None:
        del since, poll
        if self.sick and not self.heals():
            self.time += seconds
            return None
        self.sick = False
        self.time += 0.5
        return self.time

    # --- a run ---

    def drills(self, options: Options = OPTIONS) -> drill_run.Drills:
        target = drill_run.Target("http://192.0.2.1:8000/health", "8000", cast("continuous.Prober", self))
        app = AppHost(self, options.app, options.host, self.clock)
        return drill_run.Drills(app, options, target, self.said.append, self.clock)

    def run(self, one: Fault, options: Options = OPTIONS) -> tuple[list[Any], list[str]]:
        runs, troubles = self.drills(options).run([one])
        return cast("list[Any]", runs), troubles


@pytest.fixture
def world() -> World:
    return World()


def test_a_drill_from_the_fault_to_the_verdict(world: World) -> None:
    (run,), troubles = world.run(fault())
    assert troubles == []
    assert run["problems"] == []
    assert (run["cause"], run["remedies"], run["files"]) == ("hung", ["restart"], ["log-web.txt"])
    assert run["mttr"] is not None
    (line,) = world.said
    assert line.startswith(f"hang: noticed after {run['mttd']:.1f} s, recovered after {run['mttr']:.1f} s, ")
    assert line.endswith("0 failed requests (hung: restart)")
    ran = " ; ".join(world.ran)
    assert "undo.timer" not in ran.partition("date +%s.%N &&")[0], "no drill was interrupted"
    assert "cp -p /opt/shop/compose.hardened.yaml /run/selfheal-drill/shop" in ran, "no env without variables"
    assert "timeout --kill-after=2 60 docker pause shop-web-1 >/dev/null" in ran
    assert "docker unpause" not in ran.split("date +%s.%N &&")[1], "the host has ended it"
    assert "find /var/lib/selfheal/shop/incidents/20260601T000000Z-hung " in world.ran[-1]


def test_rounds_are_counted(world: World) -> None:
    world.incidents = [[], [RECORD], [{**RECORD, "id": "b"}, RECORD]]
    runs, _unused = world.run(fault(), OPTIONS._replace(rounds=2))
    assert [one["round"] for one in runs] == [1, 2]
    assert world.said[1].startswith("hang 2/2: ")


def test_what_does_not_recover_is_undone_and_brought_back(world: World) -> None:
    answers = iter([False, False, True])
    world.heals = lambda: next(answers)
    (run,), _unused = world.run(fault())
    assert "not recovered within 60 s" in run["problems"]
    assert "the app has not answered since" in run["problems"]
    assert any(text.endswith("docker unpause shop-web-1") for text in world.ran)
    assert "last resort: docker compose" in world.said[0]
    assert any("--force-recreate" in text and " 300 " in text for text in world.ran)


def test_an_app_that_stays_away_ends_the_run(world: World) -> None:
    world.heals = lambda: False
    assert world.run(fault())[1] == ["ended early: shop could not be brought back: run recover.yml"]


@pytest.mark.parametrize("expect", ["escalated", "held", "given_up"])
def test_a_fault_without_a_recovery_lasts_for_its_time(world: World, expect: str) -> None:
    world.incidents = [[], [{**RECORD, "remedies": []}]]
    begun = world.time
    (run,), _unused = world.run(fault(expect=expect, hold=30, goal={}))
    assert run["problems"] == []
    assert world.time - begun > 30
    assert any(text.endswith("docker unpause shop-web-1") for text in world.ran), "nothing else ends it"


def test_a_restart_of_what_has_to_be_left_alone_is_seen(world: World) -> None:
    world.incidents = [[], [{**RECORD, "remedies": []}]]
    drills = world.drills()
    before = world.containers
    answer = world.answer

    def later(text: str) -> str:
        world.containers = [{**CONTAINER, "RestartCount": 1}] if world.injected else before
        return answer(text)

    world.answer = later  # type: ignore[method-assign]
    assert drills.drill(fault(expect="escalated", goal={}), 1)["restarted"] == ["shop-web-1"]


def test_the_record_of_the_host_is_waited_for(world: World) -> None:
    world.incidents = [[], []]
    begun = world.time
    (run,), _unused = world.run(fault(expect="held", hold=5, timeout=40, goal={}))
    assert run["problems"] == ["the host opened no incident"]
    assert world.time - begun > 40 + drill_run.RECORDED


def test_until_since_and_afterwards(world: World) -> None:
    world.fails = {"docker version": 1}
    one = fault(until=["docker", "version"], since=["epoch"], afterwards=["test", "-e", "/x"])
    sleep = world.sleep

    def slept(seconds: float) -> None:
        world.fails = {"test -e /x": 1}
        sleep(seconds)

    world.clock = Clock(lambda: world.time, lambda: world.time, slept)
    (run,), _unused = world.run(one)
    assert run["problems"] == ["afterwards: it failed"]
    world.fails = {"docker version": 1}
    world.clock = Clock(lambda: world.time, lambda: world.time, sleep)
    assert "not recovered within 60 s" in world.run(one)[0][0]["problems"]


@pytest.mark.parametrize(("serving", "whole"), [(2, True), (1, False)])
def test_all_instances_have_to_serve_again(world: World, serving: int, whole: bool) -> None:
    world.status["instances"] = {"serving": serving, "of": 2}
    (run,), _unused = world.run(fault(instance=True))
    assert (run["balanced"], run["whole"] is not None) == (True, whole)
    assert ("not all instances serve again" in run["problems"]) is not whole


NOT_INJECTED = [
    ("mkdir", "hang could not be prepared: it failed"),
    ("docker pause", "hang could not be injected: it failed"),
]


@pytest.mark.parametrize(("part", "said"), NOT_INJECTED)
def test_what_cannot_be_injected_does_not_end_the_others(world: World, part: str, said: str) -> None:
    world.fails = {part: 1}
    runs, troubles = world.drills().run([fault(), fault(inject=[["true"]], undo=[])])
    assert troubles[0] == said
    assert len(runs) == (0 if part == "mkdir" else 1)


def test_a_fault_from_the_controller(world: World) -> None:
    (run,), _unused = world.run(fault(where="controller", inject=[["true"]], incident=False))
    assert run["problems"] == []
    assert world.run(fault(where="controller", inject=[["false"]]))[1] == ["hang could not be injected: "]


def test_the_fault_of_a_drill_that_was_interrupted_is_undone_first(world: World) -> None:
    world.fails = {}
    world.run(fault())
    assert world.ran[4].endswith("test -e /run/selfheal-drill/shop/undo")
    assert world.ran[6].endswith(" 300 sh /run/selfheal-drill/shop/undo")
    assert world.said[0] == "web1: an earlier drill was interrupted; its fault is undone first"


ENDS: list[tuple[str, Callable[[World], None], str]] = [
    ("no agent", lambda world: world.fails.update({"resume": 127}), "the watcher is not installed here: run site.yml"),
    ("an agent that fails", lambda world: world.fails.update({"resume": 1}), "web1: selfheal resume: it failed"),
    (
        "no JSON",
        lambda world: world.fails.update({"incidents --json": 1}),
        "web1: selfheal incidents --json: it failed",
    ),
    ("no container", lambda world: world.containers.clear(), "shop has no container on web1: run site.yml"),
    ("a command that fails", lambda world: world.fails.update({"container ls": 1}), "--filter label"),
    (
        "an open incident",
        lambda world: world.incidents.__setitem__(0, [{**RECORD, "healthy": False}]),
        "an incident is still open (20260601T000000Z-hung): see selfheal incidents on web1",
    ),
]


@pytest.mark.parametrize(("prepare", "said"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_what_ends_a_run_early(world: World, prepare: Callable[[World], None], said: str) -> None:
    prepare(world)
    runs, (trouble,) = world.run(fault())
    assert runs == []
    assert trouble.startswith("ended early: ")
    assert said in trouble
    assert world.injected == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(
            0, "healthy on web1, so this address cannot be reached from here. Give the one", id="only outside"
        ),
        pytest.param(1, "not healthy on web1 either: run recover.yml first", id="on the host, too"),
    ],
)
def test_an_app_that_does_not_answer_is_asked_on_its_host(world: World, code: int, said: str) -> None:
    """A check asks the host's own 127.0.0.1, and may be right there alone."""
    world.sick, world.heals, world.fails = True, lambda: False, {"selfheal probe": code}
    _unused, (trouble,) = world.run(fault())
    assert trouble.startswith(
        "ended early: http://192.0.2.1:8000/health, asked from this machine before the drill: refused. Fix: shop is "
    )
    assert said in trouble
    assert world.ran[-1].endswith("selfheal probe --app shop")


def test_an_unreachable_host_is_waited_for_except_by_the_fault(world: World) -> None:
    app = AppHost(world, "shop", "web1", world.clock)
    world.away = 3
    assert app.shell("true").code == 0
    assert (world.reconnected, world.time) == (3, START + 1.5 + 0.01)
    world.away = 1
    with pytest.raises(DrillError, match="the host does not answer over ssh: no route to host"):
        app.shell("true", patient=False)
    world.away = 1000
    with pytest.raises(DrillError):
        app.shell("true")
    assert world.time == pytest.approx(START + 61.5, abs=0.1)


def test_services_that_are_there_to_stay_can_be_broken(world: World) -> None:
    job = {**CONTAINER, "Name": "/shop-migrate-1", "Config": {"Labels": {"com.docker.compose.service": "migrate"}}}
    job["State"] = {"Running": False}
    slow = {**CONTAINER, "Name": "/shop-db-1"}
    slow["Config"] = {"Labels": {"com.docker.compose.service": "db"}, "Healthcheck": {"StartPeriod": 30 * 10**9}}
    world.containers = [job, slow, CONTAINER]
    found = AppHost(world, "shop", "web1", world.clock).faults_of_services()
    assert {one.service for one in found.values()} == {"db", "web"}
    assert found["db.stopped"].goal["median"] == 36.0
    world.containers = [job]
    with pytest.raises(DrillError, match="shop has no container on web1"):
        AppHost(world, "shop", "web1", world.clock).faults_of_services()


# --- the whole call --------------------------------------------------------------------------------------------------


def values(given: object) -> Iterator[object]:
    """The values in plain mappings and lists; anything else is one itself."""
    if type(given) is dict:
        given = list(given.values())
    if type(given) in (list, tuple):
        for one in cast("list[object]", given):
            yield from values(one)
    else:
        yield given


def test_the_report_is_written(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous, "Prober", lambda _ask: world)
    options = OPTIONS._replace(reports=str(tmp_path / "reports"))
    done = drill_run.drill(options, {"hang": fault()}, world, False, world.said.append, world.clock)
    assert (done["ok"], done["changed"]) == (True, True)
    path = Path(done["path"])
    assert path.name == "19700101T001640Z-drill-web1"
    assert {one.suffix for one in path.parent.iterdir()} == {".json", ".svg", ".md"}
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["verdict"] == "drills: 1 of 1 goals met"
    assert {type(one) for one in values(done)} <= {str, int, float, bool, type(None)}, "what Ansible can store"
    assert done["text"].endswith(f"Report: {path}.md\ndrills: 1 of 1 goals met")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("rounds", {"rounds": 0}, "drill_rounds: "),
    ("nothing to ask", {"url": ""}, "selfheal_checks"),
    ("a URL that cannot be asked", {"url": "ftp://x"}, r"is not an http\(s\) URL"),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(world: World, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DrillError, match=said):
        drill_run.drill(OPTIONS._replace(**change), {"hang": fault()}, world, False, print, world.clock)
    assert world.ran == []


def test_without_a_watcher_nothing_is_injected(world: World) -> None:
    world.status["watcher"]["alive"] = False
    with pytest.raises(DrillError, match="the watcher of shop is not running"):
        drill_run.drill(OPTIONS, {"hang": fault()}, world, False, print, world.clock)
    assert world.injected == 0


@pytest.mark.parametrize(("remote", "url"), [(True, "http://192.0.2.1:8000/"), (False, "http://127.0.0.1:8000/")])
def test_the_app_is_asked_where_this_machine_reaches_it(world: World, remote: bool, url: str) -> None:
    world.is_remote = remote
    checks = parse_checks([{"name": "health", "url": "http://127.0.0.1:8000/"}])
    target = drill_run.choose_target(OPTIONS._replace(url="", checks=checks), world)
    assert (target.url, target.port) == (url, "8000")


def test_what_only_the_host_knows_is_asked_of_it(world: World) -> None:
    world.fails = {"prometheus-alertmanager": 3}
    with pytest.raises(DrillError, match="it needs an Alertmanager on the host"):
        drill_run.drill(OPTIONS, {"hang": fault(needs=["alertmanager"])}, world, False, print, world.clock)
    with pytest.raises(DrillError, match="it needs two instances"):
        drill_run.drill(OPTIONS, {"hang": fault(needs=["instances"])}, world, False, print, world.clock)


# --- what a drill does not do ----------------------------------------------------------------------------------------


class Untouched:
    """A host that must not be touched."""

    is_remote = True

    def execute(self, text: str) -> Result:
        pytest.fail(f"the host was touched: {text}")

    def reconnect(self) -> None:
        pytest.fail("the host was touched")


VARIABLES = parse_entries(
    [
        {"name": "PORT", "kind": "port"},
        {"name": "BOT_TOKEN", "kind": "token", "required": False},
        {"name": "STRIPE_KEY", "kind": "stripe_key"},
        {"name": "JWT_SECRET", "kind": "jwt_secret"},
    ]
)


def drill(check_mode: bool = False, **given: Any) -> drill_run.Outcome:
    """Ask for drills on a host that must not be touched."""
    plain = Options("web1", "shop", "/opt/shop", variables=VARIABLES, url="http://192.0.2.1/health")
    options = plain._replace(address="192.0.2.1", reports="/nonexistent", **given)
    return drill_run.drill(options, fault_catalogue.read(str(FOLDER)), Untouched(), check_mode, print)


def test_without_a_name_the_catalogue_is_listed() -> None:
    shown = drill()
    assert shown["ok"]
    assert all(name in shown["text"] for name in CATALOGUE)


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("names", [["hagn"], ["hang", "db"], ["services", "db.exploded"], [".killed"], ["hang hang"]])
def test_an_unknown_name_is_refused_before_anything_is_asked(names: list[str], check_mode: bool) -> None:
    with pytest.raises(
        drill_fault.DrillError, match=r"there is no fault .+; there are alerting_down, .+services.+\.hung"
    ):
        drill(check_mode=check_mode, faults=names, confirm="shop")


def test_a_dry_run_shows_what_would_be_done() -> None:
    shown = drill(check_mode=True, faults=["hang", "env_deleted"])
    assert "rm -f /opt/shop/.env" in shown["text"]
    assert "xargs kill" in shown["text"]


def test_the_placeholder_replaces_a_secret_of_the_app() -> None:
    shown = drill(check_mode=True, faults=["env_placeholder"])
    assert "s/^STRIPE_KEY=.*/STRIPE_KEY=your-secret-key-here/" in shown["text"]
    with pytest.raises(
        drill_fault.DrillError, match="env_placeholder cannot be injected here: it needs an app with a secret"
    ):
        drill(check_mode=True, faults=["env_placeholder"], variables=VARIABLES[:2])
    with pytest.raises(
        drill_fault.DrillError, match="env_deleted cannot be injected here: it needs an app with variables"
    ):
        drill(check_mode=True, faults=["env_deleted"], variables=[])


@pytest.mark.parametrize("confirm", ["", "another"])
def test_outside_the_lab_it_needs_the_name_of_the_app(confirm: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=r"web1 \(192\.0\.2\.1\) is not a lab host.*drill_confirm=shop"):
        drill(faults=["hang"], confirm=confirm)


@pytest.mark.parametrize("name", ["reboot", "disk_full", "overload"])
def test_a_fault_that_breaks_more_than_the_app_is_for_lab_hosts_only(name: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=f"{name} cannot be injected here: it needs a lab host"):
        drill(faults=[name], confirm="shop")


# --- the action ------------------------------------------------------------------------------------------------------


def test_the_action_reads_its_options_and_reports_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Not before it is needed: what Ansible loads for a controller changes how modules of this process tell warnings.
    drill_action = importlib.import_module("ansible_collections.christmas.selfheal.plugins.action.drill")
    folder = Path(__file__).resolve().parents[3] / "roles/drill/faults"
    given = {"app": "shop", "directory": "/opt/shop", "catalogue": str(folder), "reports": str(tmp_path), "rounds": "0"}
    task = SimpleNamespace(args=given, check_mode=True, async_val=0, diff=False, action="drill", collections=[])
    connection = SimpleNamespace(transport="ssh", _shell=SimpleNamespace(tmpdir="/nonexistent"))
    action = drill_action.ActionModule(task, connection, None, None, None, None)
    listed = action.run(task_vars={"inventory_hostname": "web1"})
    assert (listed["ok"], listed["changed"], listed["path"], listed["report"]) == (True, False, "", {})
    task.args = {**given, "faults": ["hang"]}
    refused = action.run(task_vars={"inventory_hostname": "web1"})
    assert refused["failed"]
    assert refused["msg"].startswith("drill_rounds: invalid value 0")


def test_the_connection_of_the_action() -> None:
    drill_action = importlib.import_module("ansible_collections.christmas.selfheal.plugins.action.drill")
    errors = importlib.import_module("ansible.errors")
    done: list[Any] = []

    def execute(text: str, in_data: bytes) -> dict[str, Any]:
        if text == "away":
            raise errors.AnsibleConnectionFailure("no route")
        return {"rc": 0, "stdout": text, "stderr": in_data.decode()}

    connection = SimpleNamespace(transport="local", reset=lambda: done.append("reset"))
    action = SimpleNamespace(_low_level_execute_command=execute, _connection=connection)
    host = drill_action.Connection(action)
    assert host.execute("true") == Result(0, "true", "\n")
    assert not host.is_remote
    with pytest.raises(Away, match="no route"):
        host.execute("away")
    host.reconnect()
    assert done == ["reset"]
