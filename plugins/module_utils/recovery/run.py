# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read → diagnose → decide → act → record: one recovery, now. The only file that knows all the layers.

A playbook calls it for a person, the watcher by itself; only then policy, pauses and the breaker count. It may be
killed at any point: a remedy is in the state before it is begun, and the next call goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Callable, NamedTuple, TypedDict, TypeVar

from ..core import clock as core_clock
from ..core.app import App
from ..core.clock import Clock, Moment, age, iso
from ..core.files import atomic_write, explain, flagged, readable
from ..core.locks import LOCK_SECONDS, LockHeld, hold_lock
from ..core.present import present
from ..core.redact import redact
from ..deploy import adoption_record, rolling
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker.containers import Container
from ..env import history as env_history
from ..env import read as env_file
from ..health import diagnosis, evidence, service_watch
from ..health import facts as health_facts
from ..health.diagnosis import HEALTHY, LOST_NETWORK, MEANING, Diagnosis, diagnose, is_busy
from ..health.fact_types import Facts, Instance, SeenLoad
from ..health.facts import Seen
from ..health.wait import wait_healthy
from ..host import procfs
from ..probe.run import ProbeResult
from ..records import incidents, state
from ..records.incidents import BEGUN, IncidentRecord, RemedyRecord, TimelineEntry
from ..releases import haproxy
from ..releases import store as release_store
from ..reporting import alert_messages, alert_outbox
from . import ladder, remedies
from .ladder import Attempt, Decision, Policy, Situation, decide

STEPS = ("env_backup", "variables", "containers", "health", "api", "frontend")
# A single bad answer is not an incident: a second one within this time is asked for before anything is touched.
CONFIRM_SECONDS = 1.0
# How many remedies, and lines of the timeline, an incident's record holds.
LONGEST = 400
_LINE = 160
_ENV_REMEDIES = (ladder.PROVED_ENV, ladder.LAST_GOOD_ENV)
_WRITES_ENV = (*_ENV_REMEDIES, ladder.LAST_GOOD_RELEASE)
# A restart runs a container on with the env that it was made with.
_MAKES_CONTAINERS = (ladder.UP, ladder.RECREATE, ladder.REBUILD_NETWORK)
# What these do to a container wipes its evidence away.
_REPLACES = (*ladder.OF_SERVICES, ladder.REBUILD_NETWORK)
_NUMBER = re.compile(r"\d+")
# Causes that say what it looks like; what is found later may say why.
VAGUE = frozenset({"not_listening", "hung", "erroring", "unknown", "unhealthy", "overloaded"})
# Of these, what gives way to another one: neither says what an app does that is not well.
_GIVES_WAY = frozenset({"unknown", "overloaded"})
# What a remedy that fails finds out, or a log that comes later, and what it looked like before.
_EXPLAINS = frozenset({"port_taken", "network_broken", "credentials_refused", "replaced_by_hand"})
_EXPLAINED = frozenset({"container_missing", "crash_loop", "crashed"})
# After so many incidents of one cause within the time after which all is forgotten, a service flaps. Then people hear
# of one now and then, and of each that lasts for so long.
_FLAPS, _LASTS_SECONDS = 3, 30.0
# A remedy that is refused at once has changed nothing, and says nothing of what the next one would do.
_REFUSED_SECONDS = 2.0
# What a container that was just recreated may take in any case, whatever its image says of a start period.
_SHORTEST_START = 3.0
# For so long after a remedy a health check is waited for that runs now and then.
_LONGEST_CHECK = 60.0
# On a host that is busy a start that goes on may take so many times as long, and so many seconds more at most.
_SLOW_START, _LONGEST_MORE = 10.0, 120.0
# A person's run waits at most so long for the checks, altogether. Each remedy gets one of so many shares to show, or
# what its containers may take to start; with less than the shortest left, none is begun that could not be judged.
DEADLINE, _SHARES, _SHORTEST_SHARE = 240.0, 8, 5.0


class Watch(NamedTuple):
    """What the watcher gives to a recovery: `settle` is how long a remedy may take to show, in seconds.

    `held`: who holds the app's lock, for too long: then the incident is opened, and nothing else is done.
    `freed`: what was done about a process that was stuck with it.
    """

    policy: Policy
    seen: Seen
    failed: Moment
    settle: float = 20.0
    keep_days: float = 100.0
    held: str = ""
    freed: str = ""


class _Names(TypedDict, total=False):
    names: list[str]


class ChecklistLine(_Names):
    """One step of the report's checklist. `done` is None when it does not apply to this app.

    `names`, of the step `variables`: those of the variables that were wrong, or that were written.
    """

    step: str
    done: bool | None
    detail: str
    seconds: float


class IncidentFolder(TypedDict):
    """An incident: its id, its folder on the host, and how long it took so far (s)."""

    id: str
    path: str
    seconds: float


class DecisionRecord(TypedDict):
    """The last decision; see `ladder.Decision`."""

    kind: str
    remedy: str
    seconds: float
    why: str


class Outcome(TypedDict):
    """How a recovery went; no value of a secret is in it.

    `cause` is what was wrong at first, `cause_left` what is wrong now; `healthy` for nothing. `checks` are those that
    were run last. `next_step` is what is left to a person; "" for nothing. `problems` kept it from its work.
    """

    changed: bool
    healthy: bool
    cause: str
    cause_left: str
    meaning: str
    evidence: list[str]
    remedies: list[RemedyRecord]
    checklist: list[ChecklistLine]
    timeline: list[TimelineEntry]
    checks: ProbeResult
    next_step: str
    incident: IncidentFolder | None
    decision: DecisionRecord
    problems: list[str]
    seconds: float


def recover(
    app: App,
    values: Mapping[str, str] | None = None,
    build: bool = True,
    deadline: float = DEADLINE,
    check: bool = False,
    clock: Clock | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Bring the app back, once: read the state, and climb the ladder of its cause until the probe passes.

    :arg values: validated values from the vault; without them only the last good env can be put back.
    :arg deadline: seconds to wait for the probe after remedies, altogether. Each gets an eighth, or what its containers
        may take to start.
    :arg check: say what would be done, and do nothing.
    :arg watch: given by the watcher; without it a person asked, and neither pause nor breaker hold anything back.
    :arg say: shows a step as it is taken, in one line without secrets.
    :raises LockHeld: another deploy or recovery of this app goes on.
    """
    clock = clock or Clock()
    if check:
        return _plan(app, values, clock)
    run = _Recovery(app, values, build, deadline, clock, watch, say)
    if watch and watch.held:
        return run.report_held()
    if watch is None:
        share = deadline / _SHARES
        say(f"reading the state; then waits of {deadline:.0f} s at most in all, about {share:.0f} s for each remedy")
    with _locked(app, LOCK_SECONDS if watch is None else 0.0, say):
        return run.run()


@contextlib.contextmanager
def _locked(app: App, seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the app's lock; while another holds it, say who, and wait up to `seconds`. Raises LockHeld."""
    lock, what = app.paths.lock, f"recover {app.name}"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_lock(lock, 0.0, what, app.paths.restoring))
        except LockHeld as error:
            if not seconds:
                raise
            say(f"waiting up to {seconds:.0f} s: {str(error).partition(';')[0]}")
            held.enter_context(hold_lock(lock, seconds, what, app.paths.restoring))
        yield


class _Recovery:
    """One call of `recover`, and what it has done so far."""

    def __init__(
        self,
        app: App,
        values: Mapping[str, str] | None,
        build: bool,
        deadline: float,
        clock: Clock,
        watch: Watch | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.app, self.values, self.build, self.deadline = app, values, build, deadline
        self.clock, self.watch, self.say = clock, watch, say
        self.memory: state.State = state.empty()
        self.facts: Facts
        self.hidden: dict[str, str] = {}
        self.remedies: list[RemedyRecord] = []
        self.timeline: list[TimelineEntry] = []
        self.problems: list[str] = []
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self.begun, self.waited = clock.monotonic(), 0.0
        good = watch.seen.good if watch else None
        # When the app answered well last, by the monotonic clock.
        self.good = None if good is None else self.begun - (clock.now() - good)
        self.cpu = procfs.cpu_time()
        self.decision = Decision("wait")
        self.remembers = True
        self.rolled_back = False
        self.network_error = ""
        self.before: bytes | None = None
        # Whether something that is not an env is in its place: a remedy moves it aside.
        self.odd = False
        self.ended: IncidentRecord | None = None
        # The containers whose evidence this call has asked for, by name.
        self.asked: set[str] = set()

    @property
    def _record(self) -> IncidentRecord:
        """The record of the open incident."""
        return present(self.memory["incident"])

    # --- the story ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Read, diagnose, decide, act, record."""
        self.memory, problem = state.load(self.app.paths.state, self.app.paths.spare)
        self._trouble(problem)
        self._finish_rollout()
        seen = self._since_last_incident(self.watch.seen) if self.watch else None
        self.facts = health_facts.read(self.app, self.values, CONFIRM_SECONDS, self.clock, seen)
        first = found = self._diagnose()
        self.hidden = evidence.secrets(self.app.variables, self.facts, self.values)
        self.before = readable(self.app.paths.env)
        self.odd = self.before is None and self.facts["env"]["exists"]
        kept = self._remember_env() or self.rolled_back
        if found.healthy:
            self._close_incident()
            return self.outcome(first, found, changed=kept, next_step="")
        self._open_incident(found)
        if self.watch and self.watch.freed:
            self._note(self.watch.freed)
        if found.passed:
            self._close_incident()
            return self.outcome(first, Diagnosis(HEALTHY), changed=True, next_step="")
        if self.watch and self._record.get("held") and found.cause not in ladder.HOLD:
            # An upstream that has just come back finds requests that still wait for it, and a probe that did.
            why = f"what held it is over, and the checks fail with another cause ({found.cause}): looking again in 2 s"
            self.decision = Decision("wait", seconds=ladder.LOOK_SECONDS, why=why)
            return self._end(first, found)
        record = self._record
        if record.get("unasked") and not self.facts["probe"]["ok"]:
            # Now users are not served: what was given up of a service that no check asks does not count.
            record["unasked"] = record["escalated"] = False
        while not found.healthy:
            waits = self._waits(found)
            if waits:
                self.decision = Decision("wait", seconds=ladder.LOOK_SECONDS, why=waits)
                break
            available = self._available(found)
            self.decision = decide(found.cause, self._situation(found), list(available), self._policy)
            if self.decision.kind != "act":
                break
            if self.watch is None and self.waited and self._left < _SHORTEST_SHARE:
                rest = f"the {self.deadline:.0f} s of this run are over; {self.decision.remedy} was not tried"
                self.decision = Decision("escalate", why=rest)
                break
            name = self.decision.remedy
            if name in _REPLACES:
                self._keep_of(() if name == ladder.REBUILD_NETWORK else found.services)
            done = self._apply(name, available[name], found.services)
            found = self._read_again(name, done, found.services)
        return self._end(first, found)

    def report_held(self) -> Outcome:
        """Open the incident while another holds the lock, and do nothing. Only a recovery writes the state as well."""
        watch = present(self.watch)
        self.memory, problem = state.load(self.app.paths.state, self.app.paths.spare)
        self._trouble(problem)
        self.facts = health_facts.read(self.app, self.values, CONFIRM_SECONDS, self.clock, watch.seen)
        found = self._diagnose()
        self.hidden = evidence.secrets(self.app.variables, self.facts, self.values)
        if found.healthy or found.passed:
            return self.outcome(found, Diagnosis(HEALTHY), changed=False, next_step="")
        self._open_incident(found)
        self.decision = Decision("hold", why=watch.held)
        return self._end(found, found)

    def _end(self, first: Diagnosis, found: Diagnosis) -> Outcome:
        step = ""
        if found.healthy:
            # Only containers made with the file say something about it.
            if self._env_in_force:
                self._mark_good()
            self._renew_images()
            self._close_incident()
        else:
            flags = self._flags()
            step = self._next_step(found, flags)
            if flags and self.decision.kind == "escalate":
                self.decision = self.decision._replace(why=flags)
            if self.watch is None:
                self._put_back()
            self._leave_open(found, step)
        # No remedy has touched the others, so theirs could wait for the users.
        self._keep_of(())
        return self.outcome(first, found, changed=True, next_step=step)

    def _next_step(self, found: Diagnosis, flags: str) -> str:
        """What is left to a person; while the watcher still works on it, what it does next."""
        about = redact(found.about, self.hidden)
        left = self.watch is None or self.decision.kind == "escalate" or self._record["escalated"]
        folder = os.path.join(self.app.paths.incidents, self._record["id"])
        if flags or left or not self.remembers:
            return ladder.next_step(found.cause, about, flags, folder, by_person=self.watch is None)
        return ladder.next_of_watcher(found.cause, self.decision, about, folder, self.clock.now())

    def _finish_rollout(self) -> None:
        """After a deploy that was killed, let the last good release serve alone."""
        try:
            if rolling.clean_up(
                self.app, self.clock, lambda text: print(f"selfheal: {self.app.name}: {text}", flush=True)
            ):
                self._count("rollouts taken back")
                self.rolled_back = True
        except (haproxy.BalancerError, engine.EngineError, env_history.EnvError, OSError) as error:
            self._trouble(f"a deploy was killed, and could not be rolled back: {error}")

    def _since_last_incident(self, seen: Seen) -> Seen:
        """What died before the last incident was over belongs to that one."""
        if seen.passed is None or self.memory["clean"] is None:
            return seen
        return seen._replace(passed=min(seen.passed, age(self.memory["clean"], self._moment())))

    @property
    def _policy(self) -> Policy | None:
        return self.watch.policy if self.watch else None

    # --- read and decide ---------------------------------------------------------------------------------------------

    def _read_again(self, name: str, done: bool, services: Sequence[str]) -> Diagnosis:
        """Wait for what a remedy brings about, and say what is wrong now."""
        probe = None
        if done and name in ladder.TOUCHING and name != ladder.FREE_SPACE:
            begun = self.clock.monotonic()
            left = self.watch.settle if self.watch else min(self._left, self._share(services))
            self.say(f"waiting for the app, at most {left:.0f} s")
            if self.facts["one"] or self.facts["balancer"]:
                self._wait_for_instances(left)
            elif self.facts["probe"]["ok"]:
                self._wait_for_services(services, left)
            else:
                probe = wait_healthy(self.app, self.values, left, self.clock, self._say_answer)
            spent = self.clock.monotonic() - begun
            self.waited += spent
            self.seconds["health"] += round(spent, 3)
        elif name in ladder.FILES and not self.facts["probe"]["ok"]:
            # Files alone change no answer.
            probe = self.facts["probe"]
        if name == ladder.LAST_GOOD_ENV:
            # From here on the last good env counts, though the vault says something else.
            self.values = None
        if done and name in _ENV_REMEDIES and self.facts["services"] and not self.facts["probe"]["ok"]:
            # Nothing but the file has changed: asking the engine again would only take time.
            self.facts = {**self.facts, "env": env_file.read(self.app.paths, self.app.variables, self.clock.now())}
        else:
            load: SeenLoad = self._load() if self.watch else {}
            before = None if name in ladder.FILES else self.facts
            # HAProxy has had its time: what it keeps out for longer is looked at by itself.
            lacks = 0.0 if self.watch else None
            seen = Seen(probe, load, lacks=lacks, before=before)
            self.facts = health_facts.read(self.app, self.values, 0.0, self.clock, seen)
        self.facts = {**self.facts, "network_error": self.network_error}
        self._hide_more()
        found = self._diagnose()
        self._note(f"healthy: {self.facts['probe']['summary']}" if found.healthy else self._guess(found))
        self._rename(found)
        return found

    @property
    def _left(self) -> float:
        """For how many seconds a person's run may still wait."""
        return max(0.0, self.deadline - self.waited)

    def _share(self, services: Sequence[str]) -> float:
        """How long a remedy may take to show in a person's run (s)."""
        mine = [item for item in self.facts["instances"] if not services or item["service"] in services]
        starts = [max(float(item["start_period"]), 2.0 * self._learned(item["service"])) for item in mine]
        return max([_SHORTEST_SHARE, self.deadline / _SHARES, *starts])

    def _learned(self, service: str) -> float:
        """How long a service took to start when it was deployed (s); 0.0 when that is not known."""
        starts = (release_store.last_good(self.app.paths.directory) or {}).get("starts") or {}
        return float(starts.get(service) or 0.0)

    def _say_answer(self, found: ProbeResult) -> None:
        failed = [f"`{one['name']}`: {one['reason']}" for one in found["results"] if not one["ok"]]
        self.say(_clipped(redact(f"still waiting: {'; '.join(failed[:1]) or found['summary']}", self.hidden)))

    def _hide_more(self) -> None:
        """Hide the secrets of an env that a remedy has put back, and those of before: both may be in what is kept."""
        known = set(self.hidden.values())
        for name, value in evidence.secrets(self.app.variables, self.facts, self.values).items():
            if value not in known:
                self.hidden[f"{name}, put back ({len(self.hidden)})"] = value

    def _load(self) -> SeenLoad:
        """What the watcher saw of the host's load, with how busy the processors were since this recovery began."""
        seen, cpu = present(self.watch).seen, procfs.cpu_time()
        if cpu.every - self.cpu.every < procfs.SHORTEST_TICKS:
            return seen.load
        return {**seen.load, "cpu_busy": round(procfs.cpu_busy(self.cpu, cpu), 3)}

    def _wait_for_instances(self, seconds: float) -> None:
        """Wait until HAProxy sends requests to as many instances as there should be, or the time is over."""
        wanted = present(self.app.balancer).instances
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            with contextlib.suppress(haproxy.BalancerError):
                if haproxy.serving(self.app.paths) >= wanted:
                    return
            self.clock.sleep(0.1)

    def _wait_for_services(self, services: Sequence[str], seconds: float) -> None:
        """Wait until services that no check asks run and pass their own health check, or the time is over."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            with contextlib.suppress(engine.EngineError):
                found = service_watch.containers(docker_containers.documents(self.app.name))
                if not service_watch.wrong(services, found, (), starting=True):
                    return
            self.clock.sleep(0.2)

    def _tried(self) -> Sequence[RemedyRecord]:
        """The remedies of this incident so far. What was begun and not ended was killed: it may be begun once more."""
        record = self.memory["incident"]
        if self.watch is None or record is None:
            return self.remedies
        return [one for one in record["remedies"] if one["result"] != BEGUN]

    def _tried_for_this(self) -> list[RemedyRecord]:
        """The remedies so far that were for what is wrong now: not those while users were served, once they are not."""
        is_served = self.facts["probe"]["ok"]
        return [one for one in self._tried() if is_served or not one.get("unasked")]

    def _available(self, found: Diagnosis) -> dict[str, Callable[[], str]]:
        """The remedies that would do something here, by name, and that may be applied."""
        available = remedies.table(
            self.app, self.build, self.values, found.services, self.facts["one"], self.facts["stateful"]
        )
        if self.facts["engine"]["kind"] == "missing":
            available = {}
        if found.cause in ("disk_full", "disk_read_only") and self.facts["probe"]["ok"]:
            # Without room, what needs little is tried all the same; an app that serves needs nothing.
            available.pop(ladder.UP)
        if found.cause == "unhealthy" and self.facts["probe"]["ok"]:
            sick = set(found.services) & set(self.facts["stateful"])
            # Users are served by what holds their data: whether its health check is right is for a person to say.
            available = {} if sick else available
        if found.cause == "network_broken" and self.facts["flushed"]:
            # The engine writes its rules when it starts; no container is at fault.
            available = {name: act for name, act in available.items() if name == ladder.RESTART_ENGINE}
        elif found.cause == "network_broken" and self.facts["dropped"]:
            available = {}
        elif found.cause == "network_broken" and LOST_NETWORK.search(" ".join(found.evidence)):
            # Another container cannot be connected either.
            available.pop(ladder.RECREATE, None)
        if found.cause == "credentials_refused":
            available = self._that_change_the_login(found, available)
        if self.facts["probe"]["ok"] and not (engine.live_restore() or procfs.engine_process()["stopped"]):
            # It would stop an app that serves.
            available.pop(ladder.RESTART_ENGINE, None)
        if self._flags():
            # Until a person takes them away, each attempt would end alike.
            available = {name: act for name, act in available.items() if name not in _ENV_REMEDIES}
        return available

    def _that_change_the_login(
        self, found: Diagnosis, available: Mapping[str, Callable[[], str]]
    ) -> dict[str, Callable[[], str]]:
        """Of the remedies, those after which a service that is refused logs in with something else, or at all again."""
        mine = self._instances_of(found.services)
        helps = {ladder.LAST_GOOD_ENV}
        if any(item["state"] in ("created", "exited", "dead") and not item["job_done"] for item in mine):
            helps.add(ladder.UP)
        stale = evidence.stale(self.app.variables, self.facts)
        newest = [one["name"] for one in self._tried_for_this()][-1:]
        if any(item["name"] in stale for item in mine) or ladder.FILES & set(newest):
            helps.add(ladder.RECREATE)
        return {name: act for name, act in available.items() if name in helps}

    def _flags(self) -> str:
        """The flags that keep the env from being written, once that was tried in this incident; "" for none."""
        tried = any(one["name"] in _WRITES_ENV for one in self._tried())
        return flagged(self.app.paths.env) if tried else ""

    def _may_be_written_now(self, remedy: RemedyRecord) -> bool:
        """Whether a remedy failed for a flag of the env that is gone: then it is as if it had not been tried."""
        return not remedy["done"] and "chattr -" in str(remedy["result"]) and not flagged(self.app.paths.env)

    def _diagnose(self) -> Diagnosis:
        self.facts = {**self.facts, "since": self._elapsed()}
        found = diagnose(self.facts, self._restarted_in_vain(), self._touched(), self._healed_in_vain())
        if found.healthy and self.watch:
            touched = self._touched()
            mine = [item for item in self.facts["instances"] if item["service"] in touched]
            pending = [item for item in mine if item["state"] == "running" and item["health"] == "starting"]
            if pending:
                why = [f"{item['name']} was started again, and has not passed its health check yet" for item in pending]
                return Diagnosis("unhealthy", why, tuple(sorted({item["service"] for item in pending})))
        return found

    def _touched(self) -> frozenset[str]:
        """The services that remedies of this incident were about."""
        return frozenset(name for one in self._tried() for name in one.get("services") or [])

    def _restarted_in_vain(self) -> frozenset[str]:
        """The services that were restarted in this incident, with the files that are there now.

        One that may still start has not had its chance.
        """
        done = self._tried_for_this()
        newest = max((at for at, one in enumerate(done, 1) if one["done"] and one["name"] in ladder.FILES), default=0)
        restarts = [one for one in done[newest:] if one["name"] == ladder.RESTART]
        restarted = {name for one in restarts for name in one.get("services") or []}
        if self.watch is None:
            return frozenset(restarted)
        mine = [item for item in self.facts["instances"] if item["service"] in restarted]
        return frozenset(restarted - {item["service"] for item in mine if self._seconds_to_start(item) > 0})

    def _healed_in_vain(self) -> frozenset[str]:
        """The services for which all was tried that helps one whose health check fails."""
        rungs = set(ladder.LADDERS["unhealthy"])
        return frozenset(name for name in self._touched() if rungs <= set(ladder.tried(self._tried(), [name])))

    def _waits(self, found: Diagnosis) -> str:
        """Why nothing may be done about what was just started, or about a service that no check asks, or ""."""
        if self.watch is not None and found.again:
            return f"{', '.join(found.services)} was started again a moment ago; the app gets time to find it"
        mine = [item for item in self.facts["instances"] if item["service"] in found.services]
        if self.watch is None or found.cause != "unhealthy" or not self.facts["probe"]["ok"]:
            return ""
        # A healthy instance says nothing about the one that was started again.
        mine = [item for item in mine if item["health"] != "healthy"] or mine
        if all(item["health"] == "starting" for item in mine):
            return "its health check has not passed yet"
        return "its health check has not run since" if all(self._was_before_remedy(item) for item in mine) else ""

    def _was_before_remedy(self, item: Container) -> bool:
        """Whether a health check that fails began before the last remedy had ended, as while a container was paused."""
        record = self._record
        mine = [one for one in self.memory["attempts"] if one["incident"] == record["id"]]
        begun = [one["at"] for one in mine if one["remedy"] in ladder.TOUCHING]
        # How long one took that was killed is not known: 0.0.
        took = [float(one["seconds"]) for one in record["remedies"] if one["name"] in ladder.TOUCHING]
        if not begun or not took or not item["health_log"]:
            return False
        ended = age(begun[-1], self._moment()) - took[-1]
        began = docker_containers.seconds_since(item["health_log"][-1]["begun"], self.clock.now())
        return ended < _LONGEST_CHECK and began is not None and began > ended

    def _situation(self, found: Diagnosis) -> Situation:
        record = self._record
        now = self._moment()
        orders: state.Ordered = {"paused": None, "resumed": None}
        if self.watch:
            orders = state.read_orders(self.app.paths.state)
        forgiven = age(orders["resumed"], now) if orders["resumed"] else float("inf")
        paused = orders["paused"] if state.pause_left(orders, now) > 0 else None
        attempts = [
            Attempt(
                one["remedy"],
                age(one["at"], now),
                one["incident"],
                bool(one.get("refused")),
                bool(one.get("unasked")),
            )
            for one in self.memory["attempts"]
            if age(one["at"], now) < forgiven
        ]
        return Situation(
            incident=record["id"],
            tried=ladder.tried(
                [one for one in self._tried_for_this() if not self._may_be_written_now(one)], found.services
            ),
            attempts=attempts,
            paused=paused["reason"] if paused else "",
            busy="" if self.remembers else "nothing can be written here, so what is tried could not be counted",
            by_hand=self._by_hand(),
            escalated=record["escalated"],
            starting=self._starting(found),
            unasked=self.facts["probe"]["ok"],
        )

    def _by_hand(self) -> str:
        """What a person does to the app with `docker compose` just now, or "": two would undo each other's work."""
        if self.watch is None:
            return ""
        adopted = adoption_record.read(self.app.paths)
        folders = [self.app.paths.directory, *([adopted.origin.folder] if adopted else [])]
        return engine.changed_by_hand(self.app.name, folders)

    def _starting(self, found: Diagnosis) -> float:
        """Seconds that a container which was just started may still take, as far as it never answered before."""
        tried = [str(one["name"]) for one in self._tried()]
        if tried and tried[-1] in ladder.FILES:
            # It was started with the files before: the next remedy recreates it.
            return 0.0
        mine = [item for item in self.facts["instances"] if not found.services or item["service"] in found.services]
        return max((self._seconds_to_start(item) for item in mine), default=0.0)

    def _seconds_to_start(self, item: Container) -> float:
        """What is left to a container of the time that its start may take.

        That is twice what it took at the deploy, and what its health check gives it, until that passes; on a busy host
        several times that, for one that works at it. Nothing is left to one that does not run, or has answered since.
        """
        since = item["started_seconds"]
        if item["state"] != "running" or since is None:
            return 0.0
        answered = None if self.good is None else self.clock.now() - (self.clock.monotonic() - self.good)
        # Asking with patience took seconds since the engine was asked.
        if answered is not None and answered >= self.facts["at"] - since:
            return 0.0
        took = self._learned(item["service"])
        given = 0.0 if item["health"] == "healthy" else float(item["start_period"])
        grace = max(given, 2.0 * took, _SHORTEST_START)
        longer = min(_SLOW_START * grace, grace + _LONGEST_MORE)
        slow = grace < since < longer and is_busy(self.facts["load"])
        if slow and not procfs.idle([item["pid"]], self.clock.sleep):
            grace = longer
        return max(0.0, grace - float(since))

    # --- act ---------------------------------------------------------------------------------------------------------

    def _apply(self, name: str, act: Callable[[], str], services: Sequence[str]) -> bool:
        """Apply one remedy, timed and noted; say whether it could be applied."""
        entry: RemedyRecord = {
            "name": name,
            "done": False,
            "result": BEGUN,
            "seconds": 0.0,
            "services": list(services) if name in ladder.OF_SERVICES else [],
        }
        self.remedies.append(entry)
        record = self._record
        _bounded(record["remedies"]).append(entry)
        if self.watch is None:
            record["by_hand"] = True
        attempt: state.Attempt = {"remedy": name, "incident": record["id"], "at": self._moment()}
        if self.facts["probe"]["ok"]:
            attempt["unasked"] = entry["unasked"] = True
        self.memory["attempts"].append(attempt)
        self._save()
        of = f" of {', '.join(entry['services'])}" if entry["services"] else ""
        self.say(f"trying {name}{of}")
        if self.watch and not self.remembers:
            # What cannot be counted is not begun: it would be begun with each turn, for ever.
            entry["result"] = "not begun: it could not be written down first"
            return False
        begun = self.clock.monotonic()
        try:
            result, done = act(), True
        except (
            remedies.RemedyError,
            engine.EngineError,
            haproxy.BalancerError,
            env_history.EnvError,
            OSError,
        ) as error:
            result, done = explain(error) if isinstance(error, OSError) else str(error), False
        except Exception as error:
            # The record of a release may be damaged, say: a remedy that fails must not end the recovery.
            result, done = f"it could not be applied ({type(error).__name__}: {error})", False
        seconds = round(self.clock.monotonic() - begun, 3)
        self.seconds["variables" if name in _ENV_REMEDIES else "containers"] += seconds
        if not done and seconds < _REFUSED_SECONDS:
            attempt["refused"] = True
        self.network_error = redact(result, self.hidden) if not done and LOST_NETWORK.search(result) else ""
        entry["done"], entry["result"], entry["seconds"] = done, redact(result, self.hidden), seconds
        self._count(f"remedy {name} {'done' if done else 'failed'}")
        self._note(f"{name}: {result}")
        self._save()
        return done

    def _remember_env(self) -> bool:
        begun = self.clock.monotonic()
        kept = False
        try:
            kept = env_history.remember(self.app.paths.env, self.app.paths.history, now=self.clock.now())
        except (env_history.EnvError, OSError) as error:
            # A full disk is a cause to deal with: the recovery goes on, and names it.
            self._trouble(f"the env could not be kept: {error}")
        self.seconds["env_backup"] = round(self.clock.monotonic() - begun, 3)
        return kept

    @property
    def _env_in_force(self) -> bool:
        """Whether containers were made since the env was last written."""
        names = [str(one["name"]) for one in self.remedies if one["done"]]
        written = max((at for at, name in enumerate(names) if name in _WRITES_ENV), default=-1)
        return any(name in _MAKES_CONTAINERS for name in names[written + 1 :])

    def _mark_good(self) -> None:
        # The app is healthy: a full disk must not turn this into a failure.
        with contextlib.suppress(OSError):
            env_history.mark_good(self.app.paths.history, self.facts["env"]["fingerprint"])

    def _renew_images(self) -> None:
        """After containers were made, and pass: a release whose images are gone gets theirs."""
        if not any(one["done"] and one["name"] in _MAKES_CONTAINERS for one in self.remedies):
            return
        try:
            renewed = remedies.renew_images(self.app.paths)
        except (engine.EngineError, OSError) as error:
            self._trouble(f"the images of the last good release were not looked at: {error}")
            return
        if renewed:
            self._note(renewed)

    def _put_back(self) -> None:
        """After a failure, put the env back that was there, unless containers run with the new one already."""
        before = self.before
        if readable(self.app.paths.env) == before:
            return
        if self._env_in_force:
            self._note("the new env stays: the containers were made with it")
            return
        if self.odd:
            self._note("the new env stays: what was there is not an env")
            return
        if before is None:
            os.unlink(self.app.paths.env)
        else:
            atomic_write(self.app.paths.env, before)
        self._note("the env that was there is put back")

    # --- record ------------------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return core_clock.moment(self.clock.now(), self.clock.monotonic())

    def _elapsed(self) -> float:
        """Seconds since the fault was first seen, which may have been in another process; 0.0 without one."""
        seen = self.memory["seen"]
        return round(age(seen, self._moment()), 3) if seen else 0.0

    def _note(self, what: str) -> None:
        entry: TimelineEntry = {
            "time": iso(self.clock.now()),
            "seconds": self._elapsed(),
            "what": redact(what, self.hidden),
        }
        self.timeline.append(entry)
        self.say(_clipped(entry["what"]))
        _bounded(self._record["timeline"]).append(entry)

    def _trouble(self, problem: str) -> None:
        if problem and problem not in self.problems:
            self.problems.append(problem)

    def _count(self, what: str) -> None:
        self.memory["counts"][what] = self.memory["counts"].get(what, 0) + 1

    def _notify(self, alert: alert_messages.Alert) -> None:
        before = self.memory["outbox"]
        self.memory["outbox"] = alert_outbox.add(before, alert, self.clock.now())
        for _unused in range(alert_outbox.dropped(before, self.memory["outbox"])):
            self._count("alerts dropped")

    def _save(self) -> None:
        self.remembers, problem = state.save(self.app.paths.state, self.memory, self.app.paths.spare)
        self._trouble(problem)

    def _open_incident(self, found: Diagnosis) -> None:
        """Open an incident, or go on with the one that is open; keep the evidence before anything is touched."""
        record = self.memory["incident"]
        if record is None:
            often = self._was_notified_lately(found.cause, 1 if found.passed else _FLAPS)
            self._begin(found)
            record = self._record
            record["told"] = not often
            self._note(self._guess(found))
            if not often:
                self._notify(alert_messages.opened(record, self.app.language))
            self._save()
        elif record["cause"] != found.cause:
            self._note(self._guess(found))
            self._rename(found)
        else:
            self.say(_clipped(redact(self._guess(found), self.hidden)))
        if not record["files"] and not record["remedies"]:
            begun = self.clock.monotonic()
            attachments = evidence.gather(
                self.app.paths, self.app.variables, self.facts, self.hidden, self.clock, found.services
            )
            self.asked.update(item["name"] for item in self._instances_of(found.services))
            record["files"] = sorted(attachments)
            self._note(f"evidence kept in {self.clock.monotonic() - begun:.2f} s")
            self._write(attachments)

    def _keep_of(self, services: Collection[str]) -> None:
        """Keep the evidence of those containers of some services (all: ()) of which nothing is kept yet."""
        record = self.ended or self._record
        rest = [item for item in self._instances_of(services) if item["name"] not in self.asked]
        # What was kept before a remedy is not written over by what is so after it.
        rest = [item for item in rest if not set(evidence.names_of(item)) & set(record["files"])]
        if not rest or not record["files"]:
            return
        self.asked.update(item["name"] for item in rest)
        attachments = evidence.of_containers(self.app.paths, rest, self.hidden, self.clock)
        # The list of what was missing before a remedy stays.
        attachments.pop("evidence.txt", None)
        record["files"] = sorted({*record["files"], *attachments})
        with contextlib.suppress(OSError):
            incidents.write(self.app.paths.incidents, record, attachments)
        if not self.ended:
            self._save()

    def _instances_of(self, services: Collection[str]) -> list[Instance]:
        """The containers of some services; () for all."""
        return [item for item in self.facts["instances"] if not services or item["service"] in services]

    def _rename(self, found: Diagnosis) -> None:
        """Give the incident the cause that it turned out to have; the guesses before it are in the timeline."""
        record = self._record
        if found.cause in _EXPLAINS and record["cause"] in _EXPLAINED:
            record.setdefault("opened_as", record["cause"])
            record.update(self._named(found))
        if record["cause"] not in VAGUE or found.healthy or found.cause in ladder.HOLD:
            return
        named = self._named(found)
        # Of a service that no check asks, what users see says nothing.
        is_suspect = found.cause != "unhealthy" and not self.facts["probe"]["ok"]
        is_another = is_suspect and bool(named["services"]) and named["services"] != record.get("services")
        gives_way = record["cause"] in _GIVES_WAY or (record["cause"] == "unhealthy" and is_another)
        if found.cause not in VAGUE or (gives_way and found.cause != record["cause"]):
            record.setdefault("opened_as", record["cause"])
            record.update(named)
        elif is_another:
            # Who was suspected before was restarted in vain.
            record["services"] = named["services"]

    def _guess(self, found: Diagnosis) -> str:
        """A cause, the services, and the evidence, for the timeline."""
        services = self._named(found)["services"]
        whose = f" of {', '.join(services)}" if services else ""
        return f"cause: {found.cause}{whose}: {'; '.join(found.evidence)}"

    def _named(self, found: Diagnosis) -> IncidentRecord:
        """The keys of a record that say what is wrong."""
        return {
            "cause": found.cause,
            "meaning": MEANING[found.cause],
            # Where an app is one service, its name says nothing.
            "services": list(found.services) if len(self.facts["services"]) > 1 else [],
            "evidence": [redact(item, self.hidden) for item in found.evidence],
            "about": redact(found.about, self.hidden),
        }

    def _was_notified_lately(self, cause: str, least: int = 1) -> bool:
        """Whether people were notified of this cause not long ago, and it came at least so often since then.

        Of what passes by itself, and of what comes again and again, people are notified now and then.
        """
        if self.watch is None:
            return False
        now, often, notified = self.clock.now(), 0, False
        resumed = state.read_orders(self.app.paths.state)["resumed"]
        # The person who ordered it to go on has dealt with what was before.
        forgiven = age(resumed, self._moment()) if resumed else self.watch.policy.clean
        since, until = iso(now - min(forgiven, self.watch.policy.clean)), iso(now)
        for one in incidents.every(self.app.paths.incidents):
            # What ended at a time to come, as by a clock that was set back since, was not lately either.
            if not since <= str(one.get("ended", "")) <= until:
                return False
            if cause in (one["cause"], one.get("opened_as")):
                often, notified = often + 1, notified or bool(one.get("told"))
            if notified and often >= least:
                return True
        return False

    def _begin(self, found: Diagnosis) -> None:
        now, moment = self.clock.now(), self._moment()
        first = self.watch.failed if self.watch else moment
        self.memory["seen"] = {**first}
        clean = self.memory["clean"]
        if self.watch and clean is not None and age(clean, moment) >= self.watch.policy.clean:
            self.memory["attempts"] = []
        self.memory["clean"] = None
        longest = 2 * self.watch.policy.window if self.watch else 86400.0
        self.memory["attempts"] = [one for one in self.memory["attempts"] if age(one["at"], moment) < longest]
        seen = now - age(first, moment)
        self.memory["incident"] = {
            "id": incidents.new_id(self.app.paths.incidents, seen, found.cause),
            "number": incidents.next_number(self.app.paths.incidents),
            "app": self.app.name,
            "host": self.app.host,
            **self._named(found),
            "unasked": self.facts["probe"]["ok"],
            "seen": iso(seen),
            "confirmed": iso(now),
            "ended": "",
            "healthy": False,
            "escalated": False,
            "by_hand": False,
            "seconds": 0.0,
            "remedies": [],
            "timeline": [],
            "hold": "",
            "next_step": "",
            "files": [],
        }
        self._count(f"incident {found.cause}")

    def _write(self, attachments: Mapping[str, str]) -> None:
        # A disk that is full must not stop the recovery: the incident is then written at its end, if that works.
        try:
            incidents.write(self.app.paths.incidents, self._record, attachments)
        except OSError as error:
            self._trouble(f"the incident could not be written: {error.strerror or error}")

    def _close_incident(self) -> None:
        record = self.memory["incident"]
        if record is None:
            return
        if not self.remedies:
            self._note(f"healthy: {self.facts['probe']['summary']}")
        self._explain_by_hand(record)
        record.update({"healthy": True, "ended": iso(self.clock.now()), "seconds": self._elapsed()})
        record.update({"hold": "", "next_step": ""})
        self._notify_late(record)
        self._write({})
        self.memory["incident"] = self.memory["seen"] = None
        self.memory["clean"] = self._moment()
        self._notify(alert_messages.resolved(record, self.app.language))
        self._count("recovered")
        self.memory["counts"]["last recovery ms"] = round(record["seconds"] * 1000)
        if self.watch:
            incidents.forget(self.app.paths.incidents, self.watch.keep_days * 86400.0, self.clock.now())
        self._save()
        self.ended = record

    def _explain_by_hand(self, record: IncidentRecord) -> None:
        """Give an incident its cause that was over before a container of that `docker compose` was seen to be sick."""
        since = self._elapsed() + 10.0
        young = {item["service"] for item in self.facts["instances"] if (item["started_seconds"] or since) < since}
        services = young & set(self.facts["by_hand"])
        if services and not record["remedies"] and record["cause"] in _EXPLAINED | VAGUE:
            record.setdefault("opened_as", record["cause"])
            record.update(self._named(diagnosis.replaced(self.facts, services)))

    def _leave_open(self, found: Diagnosis, step: str) -> None:
        """Say in the record why nothing more is done, and notify people when a person is needed."""
        record = self._record
        why = redact(self.decision.why, self.hidden)
        # How long it still waits is another number each time; the timeline gets one line.
        if _NUMBER.sub("", record["hold"]) != _NUMBER.sub("", why):
            self._note(f"{self.decision.kind}: {why}")
        held = self.decision.kind == "hold" and found.cause in ladder.HOLD
        record.update({"seconds": self._elapsed(), "hold": why, "next_step": step, "held": held})
        is_late = self._notify_late(record)
        is_new = self.decision.kind == "escalate" and not record["escalated"]
        if is_new:
            record["escalated"] = True
            self._count("escalated")
        if record["escalated"] and (is_new or is_late) and record.get("told", True):
            self._notify(alert_messages.escalated(record, self.app.language))
        self._write({})
        self._save()

    def _notify_late(self, record: IncidentRecord) -> bool:
        """Notify people of an incident that was not reported at once, when it lasts; say whether that was now."""
        if record.get("told", True) or record["seconds"] < _LASTS_SECONDS:
            return False
        record["told"] = True
        self._notify(alert_messages.opened(record, self.app.language))
        return True

    # --- what comes back ---------------------------------------------------------------------------------------------

    def outcome(self, first: Diagnosis, last: Diagnosis, changed: bool, next_step: str) -> Outcome:
        """What `recover` returns."""
        record = self.ended or self.memory["incident"]
        incident: IncidentFolder | None = None
        if record:
            path = os.path.join(self.app.paths.incidents, record["id"])
            incident = {"id": record["id"], "path": path, "seconds": record["seconds"]}
        decision = self.decision
        return {
            "changed": changed,
            "healthy": last.healthy,
            "cause": first.cause,
            "cause_left": last.cause,
            "meaning": MEANING.get(first.cause, ""),
            "evidence": [redact(item, self.hidden) for item in first.evidence],
            "remedies": self.remedies,
            "checklist": self._checklist(last),
            "timeline": self.timeline,
            "checks": self.facts["probe"],
            "next_step": next_step,
            "incident": incident,
            "decision": {
                "kind": decision.kind,
                "remedy": decision.remedy,
                "seconds": decision.seconds,
                "why": decision.why,
            },
            "problems": self.problems,
            "seconds": round(self.clock.monotonic() - self.begun, 3),
        }

    def _checklist(self, last: Diagnosis) -> list[ChecklistLine]:
        """The report's checklist, in its order."""
        lines = [self._env_backup_line(), self._variables_line(), self._containers_line(last.healthy)]
        return lines + [self._checks_line(proves) for proves in ("health", "api", "frontend")]

    def _line(self, step: str, done: bool | None, detail: str) -> ChecklistLine:
        return {"step": step, "done": done, "detail": detail, "seconds": round(self.seconds[step], 3)}

    def _variables_line(self) -> ChecklistLine:
        found = self.facts["env"]["findings"]
        findings = [f"{item['variable']}: {item['rule']}" for item in found]
        written = [item["result"] for item in self.remedies if item["name"] in _ENV_REMEDIES]
        names = [item["variable"] for item in found]
        done = not findings if self.app.variables or findings else None
        line = self._line("variables", done, "; ".join(findings or written or [self._nothing_to_write]))
        return {**line, "names": names or env_history.differing(self.before, readable(self.app.paths.env))}

    def _containers_line(self, healthy: bool) -> ChecklistLine:
        instances = self.facts["instances"]
        restarted = "; ".join(item["result"] for item in self.remedies if item["name"] in ladder.TOUCHING)
        down = [item["name"] for item in instances if item["state"] != "running" and not item["job_done"]]
        done: bool | None = healthy or (bool(instances) and not down)
        if restarted:
            detail = restarted
        elif down:
            detail = ", ".join(down) + " not running"
        elif healthy:
            detail = "running, not restarted"
        elif instances:
            helps = self.decision.kind != "escalate" and self.decision.why
            done, detail = None, f"not restarted: {helps or 'no restart helps'}"
        else:
            detail = "not running"
        replaced = diagnosis.replaced(self.facts, self.facts["by_hand"]).evidence
        left = ["site.yml starts the release again"] if replaced else []
        return self._line("containers", done, "; ".join([detail, *replaced, *left]))

    def _checks_line(self, proves: str) -> ChecklistLine:
        mine = [item for item in self.facts["probe"]["results"] if item["proves"] == proves]
        failed = [f"`{item['name']}`: {item['reason']}" for item in mine if not item["ok"]]
        self.seconds[proves] += round(sum(item["seconds"] for item in mine), 3)
        if failed:
            detail = "; ".join(failed)
        elif mine:
            detail = f"{len(mine)} of {len(mine)} checks passed"
        else:
            detail = "not checked: selfheal_checks has no check for this"
        return self._line(proves, not failed if mine else None, redact(detail, self.hidden))

    def _env_backup_line(self) -> ChecklistLine:
        kept = env_history.versions(self.app.paths.history)
        if kept:
            return self._line("env_backup", True, f"{len(kept)} versions kept, newest {kept[-1]['id']}")
        if not self.app.variables:
            return self._line("env_backup", None, "no variables, so no env to keep")
        return self._line("env_backup", False, "no env to keep")

    @property
    def _nothing_to_write(self) -> str:
        if not self.app.variables:
            return "no variables"
        return "the values in force are validated, nothing to write"


def _plan(app: App, values: Mapping[str, str] | None, clock: Clock) -> Outcome:
    run = _Recovery(app, values, True, 0.0, clock)
    run.facts = health_facts.read(app, values, CONFIRM_SECONDS, clock)
    found = diagnose(run.facts)
    run.hidden = evidence.secrets(app.variables, run.facts, values)
    planned: list[str] = []
    if not found.healthy:
        available = list(run._available(found))
        run.decision = decide(found.cause, Situation("", [], []), available, None)
        planned = [run.decision.remedy] if run.decision.kind == "act" else []
    # Files alone bring nothing back: the containers are recreated with them.
    if planned and planned[0] not in ladder.TOUCHING and not run.facts["probe"]["ok"]:
        planned.append(ladder.RECREATE)
    run.remedies = [{"name": name, "done": False, "result": "would be applied", "seconds": 0.0} for name in planned]
    return run.outcome(found, found, changed=bool(planned), next_step="")


_Entry = TypeVar("_Entry")


def _clipped(text: str) -> str:
    """A line for a screen: evidence has lines of logs in it."""
    line = " ".join(text.split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


def _bounded(entries: list[_Entry]) -> list[_Entry]:
    """An incident may last for days: of what it has gathered, the oldest half of LONGEST and the newest are kept."""
    del entries[LONGEST // 2 : len(entries) - LONGEST // 2 + 1]
    return entries
