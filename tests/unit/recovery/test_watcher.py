# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When the watcher acts, and when not: with a simulated clock and prepared answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, Callable, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import clock as core_clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.check import Check
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, iso
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld, hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.health import service_watch
from ansible_collections.christmas.selfheal.plugins.module_utils.health.service_watch import ServiceWatch
from ansible_collections.christmas.selfheal.plugins.module_utils.host import (
    bridges,
    desired_files,
    lock_holder,
    logins,
    procfs,
    timers,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.records import state
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import watcher, watcher_note
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.watcher import Watcher
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import alert_messages, alert_outbox

KEY = "KEY=Vq3mZk8TtPw2Lr9xHs5B\n"
# The real function. The fixture replaces it: the engine is healthy, whatever runs on this machine.
BY_ITS_PROCESS = health_facts.engine_by_its_process
HEALTH = {"name": "health", "url": "http://127.0.0.1:1/", "proves": "health"}
DATA = {"name": "data", "url": "http://127.0.0.1:1/data"}


HEALTH_ALONE, BOTH = parse_checks([HEALTH]), parse_checks([HEALTH, DATA])


def answer(kind: str, checks: list[Check]) -> dict[str, Any]:
    """The result of a probe. `kind` is "" for a good answer, and `data` where only the second check fails."""
    failing = "data" if kind == "data" else "health" if kind else ""
    results = [
        {"name": check.name, "ok": check.name != failing, "kind": kind or None, "status": None if kind else 200}
        for check in checks
    ]
    return {"ok": all(one["ok"] for one in results), "seconds": 0.01, "results": results, "summary": kind or "good"}


class World:
    """An app that gives `answers` in order, and then `always`. Recoveries are only recorded."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = str(root), 1_750_000_000.0
        self.answers: list[str] = []
        self.always = ""
        self.asked: list[list[Check]] = []
        self.recoveries: list[Any] = []
        self.outcome: dict[str, Any] | Exception = self.healthy()
        self.notified: list[str] = []
        self.oom_kills = 0
        self.wrong: dict[str, str] = {}
        self.served_at_recovery: list[str] = []
        for folder in ("opt/shop", "run/selfheal"):
            (root / folder).mkdir(parents=True)
        self.env = root / "opt/shop/.env"
        self.env.write_text(KEY, encoding="utf-8")

    @staticmethod
    def healthy() -> dict[str, Any]:
        done = {"problems": [], "cause_left": "healthy", "decision": {}, "checks": answer("", HEALTH_ALONE)}
        return {"healthy": True, "incident": None, **done}

    @staticmethod
    def left(kind: str, seconds: float = 0.0) -> dict[str, Any]:
        decision = {"kind": kind, "seconds": seconds, "why": "so", "remedy": ""}
        open_one = {"id": "i1", "seconds": 1.0}
        more = {"incident": open_one, "decision": decision, "checks": answer("", [])}
        return {"healthy": False, "problems": [], "cause_left": "hung", **more}

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def config(self, **more: Any) -> agent_config.Config:
        content = {"app": "shop", "variables": [{"name": "KEY", "kind": "token"}], "checks": [HEALTH, DATA], **more}
        path = Path(agent_config.path_of("shop", self.root))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return agent_config.load(str(path), self.root)

    def watcher(self, **more: Any) -> Watcher:
        return Watcher(self.config(**more), self.clock, self.notified.append)

    def turns(self, it: Watcher, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            it.turn()
            self.now += 1.0

    def served(self) -> str:
        """Whether users are served, from the metrics: "1", "0", or "" before they are written."""
        path = Path(self.root, "selfheal-shop.prom")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return text.partition('selfheal_users_served{app="shop"} ')[2][:1]

    def run_checks(self, checks: list[Check], *_unused: Any, **__: Any) -> dict[str, Any]:
        self.asked.append(checks)
        return answer(self.answers.pop(0) if self.answers else self.always, checks)

    def recover(self, _app: Any, *, clock: Any, watch: Any) -> dict[str, Any]:
        self.recoveries.append((clock.monotonic(), watch))
        self.served_at_recovery.append(self.served())
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    it = World(tmp_path)
    monkeypatch.setattr(probe, "run_checks", it.run_checks)
    monkeypatch.setattr(watcher, "recover", it.recover)
    monkeypatch.setattr(ServiceWatch, "wrong", lambda _self, _now: it.wrong)
    monkeypatch.setattr(procfs, "oom_kills", lambda: it.oom_kills)
    monkeypatch.setattr(procfs, "disk", lambda _paths: [])
    monkeypatch.setattr(health_facts, "engine_by_its_process", lambda: {"answers": True, "kind": "", "reason": ""})
    monkeypatch.setattr(commands, "run", lambda *_, **__: pytest.fail("a command was run"))
    return it


def test_a_healthy_app_is_only_checked(world: World) -> None:
    world.turns(world.watcher(), 60)
    assert world.recoveries == []
    assert sum([check.name for check in checks] == ["health"] for checks in world.asked) >= 60
    # All checks, every 15 s.
    assert sum(len(checks) == 2 for checks in world.asked) == 3
    # At least one watchdog signal for each turn.
    assert world.notified.count("WATCHDOG=1") >= 60


@pytest.mark.parametrize(
    ("answers", "acts"),
    [
        pytest.param(["status"], 0, id="one bad answer"),
        pytest.param(["status", "status"], 0, id="two bad answers"),
        pytest.param(["status", "status", "status"], 1, id="three in a row"),
        pytest.param(["status", "", "status", "", "status"], 0, id="every other answer"),
        pytest.param(["timeout", "timeout", ""], 0, id="two late answers"),
        pytest.param(["refused", "refused", "refused"], 1, id="three refused connections"),
    ],
)
def test_how_many_bad_answers_start_a_recovery(world: World, answers: list[str], acts: int) -> None:
    world.answers = answers
    world.turns(world.watcher(), 5)
    confirmed = [watch for _at, watch in world.recoveries if not watch.seen.probe["ok"]]
    assert len(confirmed) == acts


class AtOnce:
    """A timer that fires before the first request is answered."""

    def __init__(self, _seconds: float, act: Callable[[], None]) -> None:
        self.act = act

    @staticmethod
    def begun() -> None:
        """Run before the timer acts."""

    def start(self) -> None:
        self.begun()
        self.act()

    def cancel(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


@pytest.mark.parametrize(("second", "acts"), [("timeout", 1), ("", 0)], ids=["both are late", "the second is answered"])
def test_a_late_answer_gets_a_second_request_in_parallel(
    world: World, monkeypatch: pytest.MonkeyPatch, second: str, acts: int
) -> None:
    it = world.watcher()
    monkeypatch.setattr(AtOnce, "begun", staticmethod(lambda: world.answers.insert(0, second)))
    monkeypatch.setattr(watcher, "Overdue", AtOnce)
    world.always = "timeout"
    it.turn()
    assert len(world.recoveries) == acts


class Idle:
    """What an app looks like that owes an answer: whether it does nothing."""

    lasting, taking, sleeping = True, False, True

    def __init__(self, _pids: list[int]) -> None:
        pass

    def lasts(self, _waited: float, _sleep: Callable[[float], None]) -> bool:
        return self.lasting

    def takes_connections(self) -> bool:
        return self.taking

    def sleeps(self, seconds: float, sleep: Callable[[float], None]) -> bool:
        sleep(seconds)
        return self.sleeping


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> type[Idle]:
    monkeypatch.setattr(watcher, "Overdue", AtOnce)
    monkeypatch.setattr(watcher, "Standstill", Idle)
    monkeypatch.setattr(ServiceWatch, "warms_up", lambda _: False)
    monkeypatch.setattr(procfs, "pressure", lambda: dict.fromkeys(("cpu", "memory", "io"), 0.0))
    monkeypatch.setattr(timers, "read", lambda _: {})
    monkeypatch.setattr(procfs, "cpu_time", procfs.CpuTime)
    monkeypatch.setattr(Idle, "lasting", True)
    return Idle


def timeouts(world: World) -> list[float]:
    return [checks[0].timeout for checks in world.asked if len(checks) == 1]


def test_an_app_that_was_fast_for_long_and_does_nothing_is_not_waited_for(world: World, idle: type[Idle]) -> None:
    it = world.watcher()
    world.turns(it, 400)
    world.asked, world.always = [], "timeout"
    it.turn()
    assert len(world.recoveries) == 1
    assert world.recoveries[0][1].seen.probe["confirmed"]
    assert max(timeouts(world)) == 0.5


def test_a_fast_app_that_takes_connections_is_given_a_second(
    world: World, idle: type[Idle], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = world.watcher()
    world.turns(it, 400)
    monkeypatch.setattr(idle, "taking", True)
    world.asked, world.always = [], "timeout"
    it.turn()
    assert len(world.recoveries) == 1
    assert world.recoveries[0][1].seen.probe["confirmed"]
    assert sorted(timeouts(world)) == [watcher.BRIEF_SECONDS, 0.25, 0.5]


@pytest.mark.parametrize(
    ("sleeping", "longest"),
    [(False, 2.0), (True, 0.5)],
    ids=["it tries again now and then", "it answers after a while"],
)
def test_an_app_that_takes_connections_and_may_answer_is_left_alone(
    world: World, idle: type[Idle], monkeypatch: pytest.MonkeyPatch, sleeping: bool, longest: float
) -> None:
    it = world.watcher()
    world.turns(it, 400)
    monkeypatch.setattr(idle, "taking", True)
    monkeypatch.setattr(idle, "sleeping", sleeping)
    monkeypatch.setattr(AtOnce, "begun", staticmethod(lambda: world.answers.insert(0, "timeout")))
    world.asked, world.answers = [], ["timeout", "", ""]
    it.turn()
    assert world.recoveries == []
    assert max(timeouts(world)) == longest


@pytest.mark.parametrize(("second", "lasting"), [("timeout", False), ("", True)], ids=["it works", "it answers"])
def test_an_app_that_is_slow_at_once_gets_all_the_time_of_its_check(
    world: World, idle: type[Idle], monkeypatch: pytest.MonkeyPatch, second: str, lasting: bool
) -> None:
    it = world.watcher()
    world.turns(it, 400)
    monkeypatch.setattr(idle, "lasting", lasting)
    monkeypatch.setattr(AtOnce, "begun", staticmethod(lambda: world.answers.insert(0, second)))
    world.asked, world.answers = [], ["timeout", ""]
    it.turn()
    assert world.recoveries == []
    assert max(timeouts(world)) == it.app.quick[0].timeout


@pytest.mark.parametrize(("busy", "pressure"), [(0.95, 0.0), (0.5, 80.0)], ids=["no free processor", "pressure"])
def test_a_busy_host_leaves_a_fast_app_all_its_time(
    world: World, idle: type[Idle], monkeypatch: pytest.MonkeyPatch, busy: float, pressure: float
) -> None:
    it = world.watcher()
    world.turns(it, 400)
    it.busy = busy
    monkeypatch.setattr(procfs, "pressure", lambda: {"cpu": pressure, "memory": 0.0, "io": 0.0})
    world.asked, world.always = [], "timeout"
    it.turn()
    assert (0.5 in timeouts(world), max(timeouts(world))) == (False, it.app.quick[0].timeout)


def test_the_first_answers_after_a_start_teach_nothing_and_are_waited_for(
    world: World, idle: type[Idle], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = world.watcher()
    world.turns(it, 400)
    known = it.patience.to_json()
    monkeypatch.setattr(ServiceWatch, "warms_up", lambda _: True)
    world.turns(it, 60)
    assert it.patience.to_json() == known
    world.asked, world.always = [], "timeout"
    it.turn()
    assert (0.5 in timeouts(world), max(timeouts(world))) == (False, it.app.quick[0].timeout)


def test_the_patience_outlives_the_watcher_that_learnt_it(world: World, idle: type[Idle]) -> None:
    world.turns(world.watcher(), 400)
    it = world.watcher()
    world.asked, world.always = [], "timeout"
    it.turn()
    assert max(timeouts(world)) == 0.5


def test_a_later_check_that_hangs_is_not_excused_by_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health route answers at once, the data route never. The parallel request asks only the health route."""
    monkeypatch.setattr(watcher, "Overdue", AtOnce)
    late = {"name": "data", "ok": False, "kind": "timeout", "status": None, "reason": "late", "seconds": 2.0}

    def run_checks(checks: list[Check], *_unused: Any, **__: Any) -> dict[str, Any]:
        good = answer("", checks)
        if len(checks) == 1:
            return good
        return {**good, "ok": False, "results": [*good["results"][:1], {**good["results"][1], **late}]}

    monkeypatch.setattr(probe, "run_checks", run_checks)
    world.turns(world.watcher(), 20)
    assert len(world.recoveries) >= 1


def test_all_checks_are_repeated_before_the_failure_of_a_later_one_counts(world: World) -> None:
    it = world.watcher()
    world.turns(it, 14)
    world.asked.clear()
    world.always = "data"
    world.turns(it, 4)
    assert len(world.recoveries) >= 1
    assert [len(checks) for checks in world.asked[-3:]] == [2, 2, 2]


def test_a_paused_watcher_checks_the_app_and_starts_no_recovery(world: World) -> None:
    it = world.watcher()
    since = core_clock.moment(world.now, world.now)
    state.write_orders(
        it.app.paths.state, {"paused": {"until": world.now + 30, "reason": "w", "since": since}, "resumed": None}
    )
    world.always = "refused"
    world.turns(it, 29)
    assert world.recoveries == []
    world.turns(it, 5)
    assert len(world.recoveries) >= 1


def test_an_env_is_recovered_only_when_it_stays_invalid(world: World) -> None:
    it = world.watcher()
    it.turn()
    world.env.write_text("KEY=", encoding="utf-8")  # half-written
    it.turn()
    world.env.write_text(KEY, encoding="utf-8")
    world.turns(it, 5)
    assert world.recoveries == []
    world.env.unlink()
    world.turns(it, 3)
    # The app answers: only the file is wrong.
    assert world.recoveries[0][1].seen.probe["ok"]


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        pytest.param(World.left("wait", 4.0), 4, id="as long as the decision says"),
        pytest.param(World.left("wait", 1500.0), 10, id="never longer than ten seconds"),
        pytest.param(World.left("hold"), 10, id="on hold: the cause may change"),
        pytest.param(World.left("escalate"), 10, id="a person was notified: the checks continue"),
    ],
)
def test_when_nothing_can_be_done_the_watcher_tries_again_later(
    world: World, left: dict[str, Any], seconds: float
) -> None:
    it = world.watcher()
    world.always, world.outcome = "refused", left
    world.turns(it, 60)
    pauses = [after[0] - before[0] for before, after in zip(world.recoveries, world.recoveries[1:])]
    assert len(pauses) >= 3
    assert all(seconds <= pause <= seconds + 3 for pause in pauses)


def test_the_incident_of_an_app_that_recovers_by_itself_is_closed(world: World) -> None:
    it = world.watcher()
    world.always, world.outcome = "refused", World.left("hold")
    world.turns(it, 3)
    world.always, world.outcome = "", {**World.healthy(), "incident": {"id": "i1", "seconds": 12.0}}
    with pytest.raises(watcher.Ended, match=r"i1 is over after 12\.0 s"):
        world.turns(it, 15)
    assert world.recoveries[-1][1].seen.probe is None


def test_the_watcher_waits_for_a_running_deploy(world: World) -> None:
    it = world.watcher()
    world.always, world.outcome = "refused", LockHeld("the lock is held by pid 7 (deploy)")
    world.turns(it, 5)
    assert len(world.recoveries) >= 3
    [said] = [text for text in world.notified if text.startswith("STATUS=waiting: ")]
    assert re.fullmatch(r"STATUS=waiting: pid 7 \(deploy\) works on the app since \d\d:\d\d:\d\d UTC", said)
    # After a recovery, the timeout of systemd's watchdog is short again.
    timeouts = [text for text in world.notified if text.startswith("WATCHDOG_USEC=")]
    assert timeouts[:2] == [f"WATCHDOG_USEC={seconds * 1e6:.0f}" for seconds in (2000.0, it.config.silence)]


def test_a_stuck_process_loses_the_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the app is down, the watcher does not wait for a process that does nothing."""
    freed: list[float] = []
    monkeypatch.setattr(lock_holder, "progress", lambda _path: (1, 1))
    monkeypatch.setattr(lock_holder, "free", lambda _path: freed.append(world.now) or "pid 7 (x) was killed")
    it = world.watcher()
    begun = world.now
    world.always, world.outcome = "refused", LockHeld("the lock is held by pid 7 (deploy); waited 0 s")
    world.turns(it, watcher.STUCK_SECONDS - 5)
    assert freed == []
    world.turns(it, 10)
    assert [at - begun for at in freed] == [pytest.approx(watcher.STUCK_SECONDS, abs=3.0)]
    world.outcome = World.left("wait")
    world.turns(it, 2)
    reason = world.recoveries[-1][1].freed
    assert reason == "the lock is held by pid 7 (deploy) and was stuck for 30 s: pid 7 (x) was killed"


def test_a_process_that_holds_the_lock_for_long_in_an_outage_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_holder, "progress", lambda _path: (int(world.now), 1))
    monkeypatch.setattr(lock_holder, "free", lambda _path: pytest.fail("the process is not stuck"))
    it = world.watcher()
    it.next_timers = float("inf")

    def recover(_app: Any, *, clock: Any, watch: Any) -> dict[str, Any]:
        if not watch.held:
            raise LockHeld("the lock is held by pid 7 (deploy shop)")
        world.recoveries.append((clock.monotonic(), watch))
        return World.left("hold")

    monkeypatch.setattr(watcher, "recover", recover)
    world.always = "refused"
    world.turns(it, watcher.WORKS_SECONDS * 2)
    assert [watch.held for _unused, watch in world.recoveries] == ["the lock is held by pid 7 (deploy shop)"]


def test_the_time_that_a_process_holds_the_lock_is_counted_for_each_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of an earlier outage does not count."""
    monkeypatch.setattr(lock_holder, "progress", lambda _path: (int(world.now), 1))
    world.outcome = LockHeld("the lock is held by pid 7 (deploy shop)")
    it = world.watcher()
    it.next_timers = float("inf")
    for world.always in ("refused", "", "refused"):
        world.turns(it, watcher.WORKS_SECONDS * 0.7)
    assert {watch.held for _unused, watch in world.recoveries} == {""}


BALANCED = {"service": "web", "instances": 2, "first_port": 18000, "ports": [80]}


def test_the_reason_for_a_wait_is_cleared_when_a_recovery_finds_no_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance is missing in HAProxy, so recoveries are tried. `selfheal status` shows the reason for the wait."""
    monkeypatch.setattr(haproxy, "serving", lambda _paths: 1)
    it = world.watcher(balancer=BALANCED)
    world.outcome = LockHeld("the lock is held by pid 7 (deploy)")
    world.turns(it, 5)
    assert "pid 7 (deploy) works on the app" in it.hold
    world.outcome = world.healthy()
    world.turns(it, 3)
    assert it.hold == ""


def test_a_stopped_haproxy_starts_a_recovery_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket and its port accept requests and never answer, so the watcher waits for neither."""
    monkeypatch.setattr(haproxy, "is_stopped", lambda _paths: True)
    monkeypatch.setattr(haproxy, "serving", lambda _paths: pytest.fail("HAProxy was asked"))
    world.always = "timeout"
    world.watcher(balancer=BALANCED).turn()
    assert len(world.recoveries) == 1
    assert [check.timeout for checks in world.asked for check in checks] == [watcher.RESUME_SECONDS]


@pytest.mark.parametrize(("serving", "asks"), [(0, 1), (1, watcher.CONFIRM_ANSWERS)])
def test_a_failure_that_haproxy_found_at_each_instance_is_not_confirmed_again(
    serving: int, asks: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy takes a second for each of these answers."""
    monkeypatch.setattr(haproxy, "is_stopped", lambda _paths: False)
    monkeypatch.setattr(haproxy, "serving", lambda _paths: serving)
    world.always = "status"
    world.watcher(balancer=BALANCED).turn()
    assert (len(world.asked), len(world.recoveries)) == (asks, 1)


@pytest.mark.parametrize(
    ("before", "now", "asks"),
    [
        (set(), {"web"}, 2),
        ({"web"}, {"web"}, watcher.CONFIRM_ANSWERS),
        ({"report"}, {"report", "web"}, 2),
        ({"web"}, set(), watcher.CONFIRM_ANSWERS),
    ],
    ids=["it is down", "it was down while the app answered", "another one is down", "it runs again"],
)
def test_a_failure_that_the_engine_explains_is_confirmed_sooner(
    before: set[str], now: set[str], asks: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServiceWatch, "down", lambda _self: frozenset(before))
    it = world.watcher()
    it.turn()
    asked = len(world.asked)
    monkeypatch.setattr(ServiceWatch, "down", lambda _self: frozenset(now))
    world.always = "refused"
    it.turn()
    assert (len(world.asked) - asked, len(world.recoveries)) == (asks, 1)


def test_a_failing_check_is_asked_briefly_once_the_engine_has_explained_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same checks as before: the first one alone would pass, and seem to say that all is well."""
    it = world.watcher()
    world.turns(it, 15)
    monkeypatch.setattr(ServiceWatch, "down", lambda _self: frozenset({"db"}))
    world.always = "data"
    it.turn()
    assert [(check.name, check.timeout) for check in world.asked[-1]] == [
        ("health", watcher.RESUME_SECONDS),
        ("data", watcher.RESUME_SECONDS),
    ]
    assert len(world.recoveries) == 1


@pytest.mark.parametrize(("rewritten", "asks"), [(False, 2), (True, watcher.CONFIRM_ANSWERS)])
def test_a_failure_that_an_invalid_env_explains_is_confirmed_sooner(
    rewritten: bool, asks: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is being written is not judged."""
    it = world.watcher()
    it.turn()
    asked = len(world.asked)
    world.env.write_text("KEY=changeme\n", encoding="utf-8")
    world.always = "refused"
    if rewritten:
        run_checks = world.run_checks

        def write(checks: list[Check], *_unused: Any, **__: Any) -> dict[str, Any]:
            world.env.write_text(f"KEY=changeme{len(world.asked)}\n", encoding="utf-8")
            return run_checks(checks)

        monkeypatch.setattr(probe, "run_checks", write)
    it.turn()
    assert (len(world.asked) - asked, len(world.recoveries)) == (asks, 1)


def test_when_no_instance_runs_the_watcher_does_not_wait_for_haproxy(world: World) -> None:
    it = world.watcher()
    world.turns(it, 5)
    world.answers, world.wrong = ["timeout"], {"web": service_watch.NONE_RUNS}
    world.turns(it, 1)
    assert world.asked[-1][0].timeout == watcher.RESUME_SECONDS
    assert len(world.recoveries) == 1


def test_a_stopped_engine_is_noticed_while_the_app_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its process shows it: the engine would accept a request and never answer."""
    process = {"known": True, "alive": True, "stopped": True, "pid": 1}
    monkeypatch.setattr(health_facts, "engine_by_its_process", BY_ITS_PROCESS)
    monkeypatch.setattr(procfs, "engine_process", lambda: process)
    it = world.watcher()

    def recover(_app: Any, **more: Any) -> dict[str, Any]:
        process["stopped"] = False
        return world.recover(_app, **more)

    monkeypatch.setattr(watcher, "recover", recover)
    world.turns(it, 4)
    assert [watch.seen.probe["ok"] for _unused, watch in world.recoveries] == [True]


def test_when_a_service_is_stopped_the_watcher_does_not_wait_for_the_app(world: World) -> None:
    """The recovery finds out whether the app's checks depend on that service."""
    world.wrong, world.always = {"app": service_watch.STOPPED}, "timeout"
    world.watcher().turn()
    assert [check.timeout for checks in world.asked for check in checks] == [watcher.RESUME_SECONDS / 2]
    assert [watch.seen.probe["brief"] for _unused, watch in world.recoveries] == [True]


@pytest.mark.parametrize("why", ["paused", "an incident is open"])
def test_while_a_service_stays_stopped_the_watcher_waits_for_a_slow_app(
    why: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer after 0.6 s serves users, whatever has happened to another service."""
    brief = watcher.RESUME_SECONDS

    def slow(checks: list[Check], *_unused: Any, **__: Any) -> dict[str, Any]:
        return answer("timeout" if checks[0].timeout == brief else "", checks)

    monkeypatch.setattr(probe, "run_checks", slow)
    world.wrong = {"worker": service_watch.STOPPED}
    it = world.watcher()
    if why == "paused":
        since = core_clock.moment(world.now, world.now)
        pause: state.Pause = {"until": world.now + 600.0, "reason": "work", "since": since}
        state.write_orders(it.app.paths.state, {"paused": pause, "resumed": None})
    else:
        world.outcome = world.left("escalate")
    world.turns(it, 5)
    assert it._serves


def test_users_are_served_again_although_a_service_stays_down(world: World) -> None:
    world.wrong, world.outcome = {"worker": "is exited"}, world.left("escalate")
    world.answers = ["status"] * watcher.CONFIRM_ANSWERS
    it = world.watcher()
    it.turn()
    assert not it._serves
    world.turns(it, 15)
    assert it._serves


def test_healthy_instances_without_traffic_start_two_recoveries_in_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy sends them no requests. The second recovery knows how long that has lasted, and notifies a person."""
    monkeypatch.setattr(haproxy, "serving", lambda _paths: 0)
    world.turns(world.watcher(balancer=BALANCED), 61)
    assert len(world.recoveries) == 2
    assert [watch.seen.lacks for _unused, watch in world.recoveries] == [1.0, health_facts.DISAGREES_SECONDS]


def test_a_new_watcher_knows_when_the_app_answered_last(world: World) -> None:
    """Otherwise it would take an overloaded app for a hung one, and restart it."""
    world.watcher().turn()
    world.now += 2
    it = world.watcher()
    world.always = "timeout"
    world.turns(it, 3)
    assert world.recoveries[0][1].seen.load["answered_seconds"] <= 10


def open_incident() -> IncidentRecord:
    """The record of an incident whose first remedy was interrupted."""
    texts = ("app", "host", "meaning", "confirmed", "ended", "hold", "next_step")
    begun = {"name": "restart", "done": False, "result": "begun", "seconds": 0.0}
    known = {
        **dict.fromkeys(texts, ""),
        **{"id": "20250615T150640Z-hung", "cause": "hung", "seen": "2025-06-15T15:06:40Z", "seconds": 0.0},
        **{"healthy": False, "escalated": False, "remedies": [begun], "evidence": [], "timeline": [], "files": []},
    }
    return cast(IncidentRecord, known)


def test_an_incident_with_an_interrupted_remedy_is_continued_at_once(world: World) -> None:
    folder = world.watcher().app.paths.state
    moment = core_clock.moment(world.now, world.now)
    state.save(folder, {**state.empty(), "seen": moment, "incident": open_incident()})
    it = world.watcher()
    assert it.incident is not None
    world.asked.clear()
    world.always = "refused"
    it.turn()
    assert len(world.recoveries) == 1
    assert [check.timeout for checks in world.asked for check in checks] == [watcher.RESUME_SECONDS]


def test_a_kill_is_reported_although_the_engine_restarted_the_container(world: World) -> None:
    it = world.watcher()
    it.turn()
    world.oom_kills = 1
    it.turn()
    (_at, watch) = world.recoveries[0]
    assert watch.seen.probe["ok"]
    assert watch.seen.passed is not None


def test_a_kill_is_reported_when_a_missing_instance_started_the_recovery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the recovery begins, the restart policy has started the instance again."""
    it = world.watcher()
    monkeypatch.setattr(it, "_odd_instances", lambda _now: True)
    world.oom_kills = 1
    it.turn()
    assert [watch.seen.passed is not None for _at, watch in world.recoveries] == [True]


def test_further_kills_are_reported_together_a_little_later(world: World) -> None:
    """The kernel counts the kills of all apps on the host. A request to the engine after each one would be too many."""
    it = world.watcher()
    for _unused in range(4):
        world.oom_kills += 1
        world.turns(it, 1)
    assert len(world.recoveries) == 1
    world.turns(it, watcher.OTHERS_SECONDS)
    (_unused, (at, watch)) = world.recoveries
    # The second recovery covers all kills since the first recovery.
    assert watch.seen.passed >= at - world.recoveries[0][0] - 1
    world.turns(it, 60)
    assert len(world.recoveries) == 2


def test_an_error_that_a_restarted_service_explains_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restart policy was faster than the confirmation."""
    it = world.watcher()
    monkeypatch.setattr(it.services, "may_loop", lambda _now: True)
    world.turns(it, 5)
    assert world.recoveries == []
    world.answers = ["status", "status"]
    it.turn()
    [(_at, watch)] = world.recoveries
    assert watch.seen.probe["ok"]
    assert watch.seen.passed is not None


def test_what_changes_is_noted_with_the_same_turn(world: World) -> None:
    it = world.watcher()
    it.turn()
    world.now += 1.0
    it.trouble("origin", "replaced by hand")
    it.turn()
    assert watcher_note.read_note(world.config(), world.clock)["problems"] == []
    it.problems["origin"] = ""
    it.services.by_hand = lambda: {"web": "/srv"}  # type: ignore[method-assign]
    it.turn()
    assert "web were started" in watcher_note.read_note(world.config(), world.clock)["problems"][0]


def test_metrics_and_a_note_are_written(world: World, tmp_path: Path) -> None:
    it = world.watcher(metrics_directory=str(tmp_path))
    it.turn()
    assert 'selfheal_healthy{app="shop"} 1' in (tmp_path / "selfheal-shop.prom").read_text(encoding="utf-8")
    note = json.loads(Path(watcher_note.note_path(world.root, "shop")).read_text(encoding="utf-8"))
    assert note["healthy"]
    assert note["good"] == pytest.approx(world.now, abs=1)


def noted(world: World) -> Any:
    return watcher_note.read_note(world.config(), world.clock)["checks"]


def test_check_results_are_noted_with_the_first_answer_that_differs(world: World) -> None:
    """`selfheal status` reads the note, and sends the app no request."""
    it = world.watcher()
    it.turn()
    world.now += 7.0
    assert noted(world) == {"ok": True, "passed": 1, "total": 1, "age": 7.0}
    it.turn()
    world.now += 2.0
    # No new note is written for the same results; the file's time says when they were seen last.
    assert noted(world) == {"ok": True, "passed": 1, "total": 1, "age": 2.0}
    world.outcome = world.left("hold")
    world.always = "refused"
    it.turn()
    assert noted(world)["ok"] is False
    world.now += 1.0
    world.always = ""
    it.turn()
    assert noted(world)["ok"] is True


def test_the_check_results_of_a_recovery_are_noted_before_the_watcher_ends(world: World) -> None:
    it = world.watcher()
    world.always, world.outcome = "refused", {**world.healthy(), "incident": {"id": "i1", "seconds": 1.0}}
    with pytest.raises(watcher.Ended):
        it.turn()
    assert noted(world)["ok"] is True


def test_old_check_results_are_not_reported(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Each failed turn writes a note, but has no new check results."""
    it = world.watcher()
    it.turn()
    for _unused in range(9):
        world.now += 9.0
        it.stumbled(ValueError())
    assert watcher_note.read_note(world.config(), world.clock)["alive"]
    assert noted(world) is None
    assert capsys.readouterr().out


def test_an_outage_that_only_a_later_check_detects_is_measured_until_its_end(world: World, tmp_path: Path) -> None:
    """The first check passes all the while."""
    it = world.watcher(metrics_directory=str(tmp_path))
    world.turns(it, 14)
    assert world.served() == "1"
    failing = answer("data", BOTH)
    world.answers, world.outcome = ["", *4 * ["data"]], {**World.left("wait", 10.0), "checks": failing}
    world.turns(it, 3)
    assert world.served_at_recovery == ["0"]
    world.turns(it, 60)
    assert len(world.recoveries) > 3
    assert world.served() == "0"
    world.outcome = {**World.healthy(), "incident": {"id": "i1", "seconds": 12.0}}
    with pytest.raises(watcher.Ended):
        world.turns(it, 15)
    assert world.served() == "1"


@pytest.mark.parametrize(
    ("outcome", "checks", "served"),
    [
        pytest.param({}, [HEALTH, DATA], "1", id="a service that no check covers"),
        pytest.param(
            {"checks": answer("health", HEALTH_ALONE)}, [HEALTH, DATA], "1", id="an instance while others serve"
        ),
        pytest.param({"checks": answer("data", BOTH)}, [HEALTH, DATA], "0", id="a later check"),
        pytest.param({}, [], "0", id="an app without checks"),
    ],
)
def test_whether_users_are_served_during_an_incident(
    world: World, tmp_path: Path, outcome: dict[str, Any], checks: list[Any], served: str
) -> None:
    it = world.watcher(metrics_directory=str(tmp_path), checks=checks)
    world.turns(it, 5)
    world.wrong, world.outcome = {"worker": "is exited"}, {**World.left("wait", 10.0), **outcome}
    world.turns(it, 5)
    assert (len(world.recoveries), world.served()) == (1, served)


def test_a_rate_limit_does_not_count_as_an_outage(world: World, tmp_path: Path) -> None:
    world.always, world.outcome = "status", {**world.left("hold"), "cause_left": "rate_limited"}
    world.turns(world.watcher(metrics_directory=str(tmp_path)), 10)
    assert world.served() == "1"


def test_a_missing_metrics_folder_is_only_reported(world: World) -> None:
    it = world.watcher(metrics_directory="/nowhere/at/all")
    world.turns(it, 3)
    assert "the metrics cannot be written" in it.problems["metrics"]


@pytest.mark.parametrize(
    ("ages", "resumed", "count", "opened"),
    [
        pytest.param([], None, 0, False, id="nothing happened"),
        pytest.param([10, 20, 30, 40, 50], None, 5, True, id="five in half an hour"),
        pytest.param([10, 20, 30, 40, 1801], None, 4, False, id="the fifth is long ago"),
        pytest.param([10, 20, 30, 40, 50], 25, 2, False, id="a person ran `selfheal resume` since"),
    ],
)
def test_when_the_status_shows_an_open_breaker(
    world: World, ages: list[float], resumed: float | None, count: int, opened: bool
) -> None:
    def ago(seconds: float) -> core_clock.Moment:
        return core_clock.moment(world.now - seconds, world.now - seconds)

    config = world.config()
    if resumed is not None:
        state.write_orders(config.app.paths.state, {"paused": None, "resumed": ago(resumed)})
    attempts: list[state.Attempt] = [{"remedy": "restart", "incident": "i", "at": ago(age)} for age in ages]
    facts = watcher_note.status_facts(config, {**state.empty(), "attempts": attempts}, world.clock)
    assert (facts["attempts"], facts["breaker_open"]) == (count, opened)


def test_a_watcher_ends_after_its_lifetime_or_when_the_config_changes(world: World) -> None:
    config = world.config()

    def watch(*changed: Any) -> str:
        return watcher.watch(config, world.clock, world.notified.append, lambda: changed, life=5.0)

    assert watch(True, "") == "the config has changed"
    assert watch(False, "") == ""
    assert world.notified[0].startswith("READY=1\nSTATUS=watching")


@pytest.mark.parametrize("is_open", [False, True])
def test_the_interval_stays_the_same_after_a_long_crash_loop(
    is_open: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher does not sleep longer to balance earlier, faster turns: systemd would end a silent watcher."""
    begun, turns = world.now, list[float]()
    monkeypatch.setattr(ServiceWatch, "may_loop", lambda *_: world.now - begun < 20.0)
    monkeypatch.setattr(
        ServiceWatch, "wrong", lambda *_: {"worker": service_watch.LOOPS} if world.now - begun < 20.0 else {}
    )

    def turn(it: Watcher) -> None:
        turns.append(world.now - begun)
        it.incident = open_incident() if is_open else None

    monkeypatch.setattr(Watcher, "turn", turn)
    watcher.watch(world.config(), world.clock, world.notified.append, lambda: (False, ""), life=300.0)
    gaps = [later - earlier for earlier, later in zip(turns, turns[1:])]
    assert max(gaps) <= 1.0 + 1e-6
    assert not is_open or min(gaps) >= 1.0 - 1e-6


def test_an_invalid_new_config_is_reported_and_the_watcher_continues(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher.watch(world.config(), world.clock, world.notified.append, lambda: (False, "it is not JSON"), life=5.0)
    assert capsys.readouterr().out.count("it is not JSON") == 1
    assert len(world.asked) >= 5


def test_an_unexpected_error_does_not_end_the_watcher(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.always, world.outcome = "refused", KeyError("the value of a secret, say")
    assert watcher.watch(world.config(), world.clock, world.notified.append, lambda: (False, ""), life=40.0) == ""
    output = capsys.readouterr().out
    assert output.count("a turn failed (KeyError in test_watcher.py") == 1
    assert "secret" not in output
    # The recovery is tried again.
    assert len(world.recoveries) >= 3


def test_a_damaged_state_is_reported(world: World) -> None:
    folder = Path(world.config().app.paths.state)
    folder.mkdir(parents=True)
    (folder / state.STATE).write_text('{"inc', encoding="utf-8")
    it = world.watcher()
    it.turn()
    assert "moved aside" in it.problems["state"]
    assert world.recoveries == []


def test_a_service_that_no_check_covers_is_recovered(world: World) -> None:
    it = world.watcher()
    world.turns(it, 5)
    world.wrong = {"worker": "is exited"}
    world.turns(it, 1)
    [(_unused, watch)] = world.recoveries
    assert watch.seen.services
    assert watch.seen.probe["ok"]


@pytest.mark.parametrize(("may", "caught_after", "seconds"), [(True, 0.4, 0.4), (True, 5.0, 1.0), (False, 0.4, 1.0)])
def test_a_crash_loop_ends_the_wait_for_the_next_turn(
    may: bool, caught_after: float, seconds: float, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, begun = world.watcher(), world.now
    monkeypatch.setattr(it.services, "may_loop", lambda _now: may)

    def wrong(now: float) -> dict[str, str]:
        return {"worker": service_watch.LOOPS} if now - begun >= caught_after - 0.01 else {}

    monkeypatch.setattr(it.services, "wrong", wrong)
    it.wait(1.0)
    assert world.now - begun == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("happens_after", "incident", "seconds"),
    [(1, False, 0.4), (3, False, 0.8), (9, False, 1.0), (1, True, 1.0)],
    ids=["soon", "later", "not before the next turn", "an open incident"],
)
def test_what_happens_to_a_container_ends_the_wait_for_the_next_turn(
    happens_after: int, incident: bool, seconds: float, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, begun = world.watcher(), world.now
    it.incident = {"id": "i1", "path": "", "seconds": 1.0} if incident else None
    waits: list[float] = []

    def happens(wait: float, sleep: Callable[[float], None]) -> bool:
        waits.append(wait)
        sleep(wait)
        return len(waits) == happens_after

    monkeypatch.setattr(it.services, "happens", happens)
    it.wait(1.0)
    assert world.now - begun == pytest.approx(seconds)


@pytest.mark.parametrize(("asks_for", "seconds"), [(None, 60), (5.0, 60), (120.0, 120), (86400.0, 600)])
def test_a_rate_limit_is_waited_out(asks_for: float | None, seconds: int, world: World) -> None:
    checks = answer("status", HEALTH_ALONE)
    checks["results"][0]["retry_after"] = asks_for
    world.always, world.outcome = "status", {**world.left("hold"), "cause_left": "rate_limited", "checks": checks}
    it = world.watcher()
    it.next_timers = float("inf")
    world.turns(it, 3)
    asked = len(world.asked)
    world.turns(it, seconds - 4)
    assert (len(world.recoveries), len(world.asked)) == (1, asked)
    world.turns(it, 5)
    assert len(world.recoveries) == 2


def test_a_long_silence_of_the_engine_starts_a_recovery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may hang while the app still answers."""
    begun, it = world.now, world.watcher()
    monkeypatch.setattr(it.services, "unheard", lambda now: now - begun)
    world.turns(it, 28)
    assert world.recoveries == []
    world.turns(it, 6)
    assert world.recoveries[0][1].seen.probe["ok"]


# --- the timers that start watchers ----------------------------------------------------------------------------------

RUNS, STOPPED = timers.Timer("active", "0"), timers.Timer("inactive", "812")


@pytest.mark.parametrize(
    ("own", "alive", "reported"),
    [
        ("shop", ["blog", "shop"], ["shop"]),
        ("blog", ["blog", "shop"], ["blog"]),
        ("blog", ["blog", "zoo"], ["blog", "shop"]),
        ("zoo", ["blog", "zoo"], []),
        ("zoo", ["zoo"], ["blog", "shop"]),
        ("zoo", [], ["blog", "shop"]),
    ],
    ids=[
        "its own timer",
        "its own timer, not the other app's",
        "as the first watcher, also that of an unwatched app",
        "as the second watcher, none",
        "as the only watcher, all",
        "without a known watcher, all",
    ],
)
def test_each_stopped_timer_is_reported_by_one_watcher(own: str, alive: list[str], reported: list[str]) -> None:
    assert watcher.to_report(own, ["shop", "blog"], alive) == reported


def _timers(world: World, monkeypatch: pytest.MonkeyPatch, found: dict[str, timers.Timer]) -> list[float]:
    """Let systemd report these timers, and record when it is asked."""
    asked: list[float] = []

    def read(_names: Any) -> dict[str, timers.Timer]:
        asked.append(world.now)
        return dict(found)

    monkeypatch.setattr(timers, "read", read)
    return asked


def test_a_watcher_reports_its_own_stopped_timer_once(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"shop": STOPPED}
    asked = _timers(world, monkeypatch, found)
    sent: list[Any] = []
    it = world.watcher(alertmanager="http://127.0.0.1:9093", host="web1")
    monkeypatch.setattr(it, "_post", lambda posts: sent.extend(posts) or True)
    world.turns(it, 300)
    assert len(asked) == 3, "every few minutes, and once more to confirm"
    assert capsys.readouterr().out.count("systemctl enable --now selfheal@shop.timer") == 1
    fired = [one for one in sent if one["labels"]["alertname"] == "SelfhealTimerStopped"]
    assert {json.dumps(one["labels"], sort_keys=True) for one in fired} == {
        json.dumps(alert_messages.stopped_timer("shop", "web1", "812", "en")["labels"], sort_keys=True)
    }
    note = json.loads(Path(watcher_note.note_path(world.root, "shop")).read_text(encoding="utf-8"))
    assert "selfheal@shop.timer is inactive" in note["problems"][0]
    sent.clear()
    found["shop"] = RUNS
    world.turns(it, 130)
    (over,) = [
        one for one in sent if one["labels"]["alertname"] == alert_messages.TIMER and one["endsAt"] <= iso(world.now)
    ]
    assert "runs again" in over["annotations"]["over"]
    assert it.problems["timers"] == ""


def test_a_certificate_that_is_not_renewed_is_reported_until_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _timers(world, monkeypatch, {"shop": RUNS})
    sent: list[Any] = []
    it = world.watcher(alertmanager="http://127.0.0.1:9093", host="web1")
    monkeypatch.setattr(it, "_post", lambda posts: sent.extend(posts) or True)

    def remember(days_left: float, problem: object) -> None:
        ends = world.now + days_left * 86400
        record = {"wanted": ["shop.example"], "names": ["shop.example"], "directory": "", "problem": problem}
        text = json.dumps({**record, "begins": ends - 90 * 86400, "ends": ends})
        Path(it.app.paths.state).mkdir(parents=True, exist_ok=True)
        Path(it.app.paths.certificate).write_text(text, encoding="utf-8")

    def fired() -> list[str]:
        world.turns(it, 70)
        found = [one for one in sent if one["labels"]["alertname"] == alert_messages.CERTIFICATE]
        sent.clear()
        return ["over" if one["endsAt"] <= iso(world.now) else one["annotations"]["summary"] for one in found]

    failed = {"text": "the CA says: no", "since": world.now, "tried": world.now}
    remember(20, failed)
    assert fired() == [], "there is time"
    remember(14, failed)
    assert "shop.example is not renewed" in fired()[0]
    remember(90, None)
    assert fired()[-1] == "over"


def test_a_timer_that_is_being_restarted_is_not_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"shop": STOPPED}
    _timers(world, monkeypatch, found)
    it = world.watcher()
    world.turns(it, 125)
    assert it.stopped == {"shop": STOPPED}
    found["shop"] = RUNS
    world.turns(it, 20)
    assert (it.problems["timers"], it.timer_alerts) == ("", [])


def test_another_app_without_a_watcher_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world.watcher()
    folder = Path(agent_config.path_of("blog", world.root)).parent
    (folder / "blog.json").write_text('{"app": "blog", "host": "web1-blog"}', encoding="utf-8")
    (folder / "old.json").write_text('{"app": "old", "enabled": false}', encoding="utf-8")
    assert agent_config.to_be_watched(world.root).keys() == {"blog", "shop"}
    _timers(world, monkeypatch, {"shop": RUNS, "blog": STOPPED})
    world.turns(it, 140)
    assert it.timer_alerts == [alert_messages.stopped_timer("blog", "web1-blog", "812", "en")]
    with hold_lock(watcher.lock_path(world.root, "blog"), 0.0, "watch blog"):
        world.turns(it, 130)
    assert it.timer_alerts == [], "its own watcher runs, and reports it"


def test_the_alert_for_a_timer_stays_until_the_timer_was_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _timers(world, monkeypatch, {})
    it = world.watcher(alertmanager="http://127.0.0.1:9093")
    before = alert_outbox.add([], alert_messages.stopped_timer("shop", it.app.host, "812", "en"), world.now)
    state.save(it.app.paths.state, {**state.empty(), "outbox": before}, it.app.paths.spare)
    it = world.watcher(alertmanager="http://127.0.0.1:9093")
    monkeypatch.setattr(it, "_post", lambda _: True)
    it.turn()
    assert len(asked) == 1, "at once: the timer may run again"
    memory, _unused = state.load(it.app.paths.state, it.app.paths.spare)
    assert [one["end"] for one in memory["outbox"] if one["alert"]["labels"]["alertname"] == alert_messages.TIMER] == [
        None
    ]


def test_services_that_were_replaced_by_hand_are_reported_once_until_the_release_runs(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, known = {"app": "/root/shop"}, [None]
    monkeypatch.setattr(ServiceWatch, "by_hand", lambda _: found if known[0] else {})
    monkeypatch.setattr(ServiceWatch, "known", lambda _: known[0])
    it = world.watcher(alertmanager="http://127.0.0.1:9093")
    before = alert_outbox.add([], alert_messages.replaced_by_hand("shop", it.app.host, found, "en"), world.now)
    state.save(it.app.paths.state, {**state.empty(), "outbox": before}, it.app.paths.spare)
    monkeypatch.setattr(it, "_post", lambda _: True)

    def ends() -> list[bool]:
        memory, _unused = state.load(it.app.paths.state, it.app.paths.spare)
        ours = [one for one in memory["outbox"] if one["alert"]["labels"]["alertname"] == alert_messages.BY_HAND]
        return [one["end"] is not None for one in ours]

    it.turn()
    assert ends() == [False], "nothing is known yet, so the alert of the watcher before stays"
    known[0] = cast(Any, service_watch.Known(world.now, (), frozenset()))
    world.turns(it, 5)
    assert ends() == [False]
    assert capsys.readouterr().out.count("docker compose up` in /root/shop") == 1
    found.clear()
    world.turns(it, 5)
    assert ends() in ([True], [])


@pytest.fixture
def changed(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of a role; ada is logged in, and Alertmanager takes everything."""
    path = Path(world.root, "etc/docker/daemon.json")
    with desired_files.writing([desired_files.Wanted("/etc/docker/daemon.json", b"{}\n", 0o644)], world.root):
        path.parent.mkdir(parents=True)
        path.write_text("{}\n", encoding="utf-8")
        path.chmod(0o644)
    ada: logins.Login = {"user": "ada", "from": "192.0.2.7", "begun": 0.0, "ended": 0.0}
    monkeypatch.setattr(timers, "read", lambda _: {})
    monkeypatch.setattr(logins, "read", lambda _seconds: [ada])
    monkeypatch.setattr(Watcher, "_post", lambda *_: True)
    return path


def change_alerts(it: Watcher) -> dict[str, bool]:
    """Whether each alert about a change by hand has ended, by its number."""
    memory, _unused = state.load(it.app.paths.state, it.app.paths.spare)
    ours = [one for one in memory["outbox"] if one["alert"]["labels"]["alertname"] == alert_messages.CHANGED]
    return {one["alert"]["labels"]["incident"]: one["end"] is not None for one in ours}


ALERTMANAGER = "http://127.0.0.1:9093"


def test_a_change_by_hand_is_an_alert_within_seconds_and_over_when_it_is_undone(
    world: World, changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = world.watcher(alertmanager=ALERTMANAGER)
    world.turns(it, 20)
    assert change_alerts(it) == {}
    changed.write_text('{"debug": true}\n', encoding="utf-8")
    world.turns(it, 8)
    assert list(change_alerts(it).values()) == [False]
    assert "logged in: ada from 192.0.2.7" in it.problems["changed"]
    world.turns(it, 120)
    assert capsys.readouterr().out.count("changed by hand") == 1
    changed.write_text("{}\n", encoding="utf-8")
    world.turns(it, 18)
    assert (it.problems["changed"], set(change_alerts(it).values()) - {True}) == ("", set())


def test_without_a_change_no_one_is_asked(world: World, changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "read", lambda _: pytest.fail("asked who was logged in"))
    it = world.watcher(alertmanager=ALERTMANAGER)
    world.turns(it, 600)
    assert changed.exists()
    assert (it._troubles(), change_alerts(it)) == ([], {})


@pytest.mark.parametrize("at_work", ["a deploy", "a role", "a killed deploy", "a killed restore"])
def test_nothing_is_reported_while_a_run_works(at_work: str, world: World, changed: Path) -> None:
    it = world.watcher(alertmanager=ALERTMANAGER)
    paths = it.app.paths
    notes = {"a killed deploy": paths.rollout, "a killed restore": paths.restoring}
    locks = {"a deploy": paths.lock, "a role": desired_files.lock_path(world.root)}
    Path(paths.state).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if at_work in locks:
            stack.enter_context(hold_lock(locks[at_work], 0.0, at_work))
        else:
            Path(notes[at_work]).write_text("{}", encoding="utf-8")
        changed.write_text("by hand\n", encoding="utf-8")
        world.turns(it, 60)
        assert it.problems.get("changed", "") == ""
    if at_work in notes:
        os.unlink(notes[at_work])
    world.turns(it, 8)
    assert "other content" in it.problems["changed"]


def test_a_killed_watcher_is_followed_by_one_that_raises_no_second_alert(world: World, changed: Path) -> None:
    it = world.watcher(alertmanager=ALERTMANAGER)
    changed.write_text("by hand\n", encoding="utf-8")
    world.turns(it, 10)
    first = it.changed_alerts
    following = world.watcher(alertmanager=ALERTMANAGER)
    following.turn()
    assert following.changed_alerts == first
    world.turns(following, 60)
    assert list(change_alerts(following).values()) == [False]
    changed.write_text("{}\n", encoding="utf-8")
    following = world.watcher(alertmanager=ALERTMANAGER)
    world.turns(following, 20)
    assert (following.changed_alerts, set(change_alerts(following).values()) - {True}) == ([], set())


def test_after_a_boot_the_alert_stays_until_the_files_were_looked_at(world: World, changed: Path) -> None:
    it = world.watcher(alertmanager=ALERTMANAGER)
    changed.write_text("by hand\n", encoding="utf-8")
    world.turns(it, 10)
    os.unlink(watcher_note.note_path(world.root, "shop"))
    following = world.watcher(alertmanager=ALERTMANAGER)
    following.turn()
    assert list(change_alerts(following).values()) == [False]
    world.turns(following, 20)
    assert list(change_alerts(following).values()).count(False) == 1


@pytest.mark.parametrize("jump", [86400.0, -86400.0, 3e9])
def test_a_clock_that_is_set_raises_no_alert_about_files(jump: float, world: World, changed: Path) -> None:
    ahead = [0.0]
    clock = Clock(now=lambda: world.now + ahead[0], monotonic=lambda: world.now, sleep=world.sleep)
    it = Watcher(world.config(alertmanager=ALERTMANAGER), clock, world.notified.append)
    world.turns(it, 20)
    ahead[0] = jump
    world.turns(it, 20)
    assert (it.changed_alerts, it.problems["changed"]) == ([], "")
    changed.write_text("by hand\n", encoding="utf-8")
    world.turns(it, 8)
    assert len(it.changed_alerts or []) == 1


def test_a_container_that_was_changed_stays_reported_while_the_engine_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = service_watch.Known(world.now, (), frozenset())
    monkeypatch.setattr(logins, "read", lambda _seconds: [])
    monkeypatch.setattr(ServiceWatch, "updated", lambda _: {"shop-web-1": "memory 128 MiB instead of 256 MiB"})
    monkeypatch.setattr(ServiceWatch, "known", lambda _: known)
    it = world.watcher()
    world.turns(it, 8)
    assert [one.things for one in it.hand.changes] == [{"container shop-web-1": "memory 128 MiB instead of 256 MiB"}]
    assert "no one was logged in over ssh" in it.problems["changed"]
    monkeypatch.setattr(ServiceWatch, "updated", lambda _: {})
    monkeypatch.setattr(ServiceWatch, "known", lambda _: None)
    world.turns(it, 60)
    assert len(it.hand.changes) == 1
    monkeypatch.setattr(ServiceWatch, "known", lambda _: known)
    world.turns(it, 18)
    assert it.hand.changes == []


def test_a_damaged_record_is_a_problem_that_status_names(world: World, changed: Path) -> None:
    it = world.watcher()
    Path(desired_files.record_path(world.root)).write_text("{", encoding="utf-8")
    changed.write_text("by hand\n", encoding="utf-8")
    world.turns(it, 10)
    note = watcher_note.last(world.root, "shop")
    assert note is not None
    (problem,) = note["problems"]
    assert "desired_files.json cannot be read" in problem
    assert world.recoveries == []


def test_the_first_watcher_that_lives_reports_the_files_of_the_host(world: World, changed: Path) -> None:
    it = world.watcher()
    Path(agent_config.path_of("blog", world.root)).write_text('{"app": "blog"}', encoding="utf-8")
    changed.write_text("by hand\n", encoding="utf-8")
    with hold_lock(watcher.lock_path(world.root, "blog"), 0.0, "watch blog"):
        world.turns(it, 20)
        assert it.hand.changes == []
    world.turns(it, 8)
    assert len(it.hand.changes) == 1


def test_only_one_watcher_of_an_app_runs(world: World) -> None:
    config = world.config()
    path = str(Path(world.root, "run/selfheal/shop.watcher.lock"))
    with hold_lock(path, 0.0, "watch shop"), pytest.raises(LockHeld), watcher.only_one(config):
        pytest.fail("a second watcher started")
    with watcher.only_one(config):
        pass


@pytest.mark.parametrize(
    ("first", "problem", "tried"),
    [(True, "", 3), (True, "not permitted", 1), (False, "", 0)],
    ids=["first", "refused", "not first"],
)
def test_one_watcher_has_the_kernel_ask_more_often_on_bridges(
    first: bool,
    problem: str,
    tried: int,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bridge may be made again, so it is looked at now and then; one that is refused is not tried again."""
    hastened: list[bridges.Bridge] = []

    def hasten(bridge: bridges.Bridge) -> str:
        hastened.append(bridge)
        return problem

    monkeypatch.setattr(bridges, "slow", lambda _root: [bridges.Bridge("arp_cache", "br-0123456789ab")])
    monkeypatch.setattr(bridges, "hasten", hasten)
    it = world.watcher()
    monkeypatch.setattr(it, "_is_first", lambda: first)
    world.turns(it, 6)
    assert len(hastened) == tried
    assert capsys.readouterr().out.count("br-0123456789ab: starts may be a second slower") == bool(problem)
