# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether every service of an app is as it should be, also one that no check asks.

The engine says over one connection when something has happened to a container; only then the containers are looked at.
Processes that are stopped are no event, so `/proc` is read for those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, TypedDict

from ..core.app import App
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker.containers import Document
from ..host import procfs
from ..releases import store as release_store
from ..releases.store import Release

# The engine's restart policy starts a container again after 0.1 s, 0.2 s, 0.4 s ...
DOWN_SECONDS = 0.9
STOPPED = "has stopped processes"
LOOPS = "dies young again and again"
# In these states no restart policy starts a container.
_DOWN = frozenset({"exited", "dead", "removing"})
# Said of the service behind the load balancer, whose single instances HAProxy counts.
NONE_RUNS = "has no instance that runs"
# What is so only after a while has been so for a while.
_STAYS = ("is unhealthy", STOPPED, LOOPS)
# From the third restart on, the engine waits for 0.8 s and longer; before that the container runs most of the time.
_RESTARTS, _SHORT_LIFE_SECONDS = 3, 10.0
# It runs again a moment later, and dies again: that a look found it running says nothing.
_COMES_AND_GOES = ("is restarting", LOOPS)
# How often a connection that has ended is tried again, and processes are looked at.
AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 2.0, 10.0
# A look that found nothing wrong excuses what seemed wrong for so long.
EXCUSED_SECONDS = 60.0
# For so long after a start the answers of an app say nothing of its usual ones.
_WARMS_UP_SECONDS = 10.0
# An older note of the watcher before is not relied on.
NOTE_SECONDS = 60.0


class Container(NamedTuple):
    """One container, as the engine said when it was looked at last.

    `job`: whether nothing runs it again; `done`: whether it was one, and has ended with 0. `loops`: whether it waits to
    be started again, for the third time or more, after a short life. `restarts`: by its restart policy. `by_hand`: the
    folder of a `docker compose up` that did not use the overlay, "" for one that did. `image`: the id of its image;
    `settings`: what `docker update` changes.
    """

    service: str
    state: str
    health: str
    pid: int
    job: bool
    done: bool = False
    loops: bool = False
    restarts: int = 0
    by_hand: str = ""
    name: str = ""
    image: str = ""
    settings: Mapping[str, str] = {}


class Known(NamedTuple):
    """What was known at a moment (epoch s), for the watcher that comes next."""

    at: float
    containers: tuple[Container, ...]
    expected: frozenset[str]


class ServiceWatch:
    """The services of one app. `wrong` never waits, but for the engine's answer to a look.

    :arg known: what the watcher before knew: then the engine need only say what has happened since.
    """

    def __init__(self, app: App, wall: Callable[[], float], known: Known | None = None) -> None:
        self.app, self._wall, self._before = app, wall, known
        self._synced = 0.0
        self._events: engine.Events | None = None
        self._containers: list[Container] = []
        self._expected: frozenset[str] = frozenset()
        self._since: dict[str, float] = {}
        self._stopped: frozenset[str] = frozenset()
        self._next_try = self._next_stopped = float("-inf")
        self._excused: dict[str, tuple[str, float]] = {}
        self._restarted = float("-inf")
        self._unheard: float | None = None
        self._stamp = 0
        self._good: Release | None = None

    def wrong(self, now: float) -> dict[str, str]:
        """Return {service: what is wrong with it}, of what will not pass in a moment. `now`: monotonic seconds."""
        self._follow(now)
        running = [one for one in self._containers if one.state == "running"]
        if now >= self._next_stopped:
            self._next_stopped = now + AGAIN_SECONDS
            self._stopped = frozenset(one.service for one in running if procfs.stopped(one.pid))
        else:
            self._stopped |= self._stopped_now()
        found = wrong(self._expected, self._containers, self._stopped)
        if self.app.balancer and self._expected and not self._runs(self.app.balancer.service):
            found[self.app.balancer.service] = NONE_RUNS
        self._since = {name: self._since.get(name, now) for name in found}
        self._excused = {name: one for name, one in self._excused.items() if now < one[1]}
        lasts = {
            name: what for name, what in found.items() if what in _STAYS or now - self._since[name] >= DOWN_SECONDS
        }
        return {name: what for name, what in lasts.items() if self._excused.get(name, ("",))[0] != what}

    def down(self) -> frozenset[str]:
        """The services that stayed down without help at the last look: none of their containers ran, or soon would."""
        up = {one.service for one in self._containers if one.done or one.state not in _DOWN}
        return self._expected - up

    def _runs(self, service: str) -> bool:
        return any(one.service == service and one.state in ("running", "restarting") for one in self._containers)

    def pids(self) -> list[int]:
        """The first processes of the containers that run; [] when nothing is known."""
        return [one.pid for one in self._containers if one.state == "running" and one.pid > 0]

    def warms_up(self) -> bool:
        """Whether a container was started a moment ago, but for jobs; also when nothing is known."""
        mine = [one.pid for one in self._containers if one.state == "running" and not one.job]
        ages = [procfs.age(pid) for pid in mine]
        return not ages or any(age is None or age < _WARMS_UP_SECONDS for age in ages)

    def may_loop(self, now: float) -> bool:
        """Whether a container was just restarted by its policy. If it dies again, it waits only for a moment."""
        return now - self._restarted < _SHORT_LIFE_SECONDS

    def happens(self, seconds: float, sleep: Callable[[float], None]) -> bool:
        """Wait for so long at most, and say whether something has happened to a container, or its processes stopped."""
        if self._events is None:
            sleep(seconds)
            return False
        return self._events.wait(seconds) or bool(self._stopped_now() - self._stopped)

    def _stopped_now(self) -> frozenset[str]:
        """The services with a container whose first processes are stopped: to look at all would cost more."""
        running = (one for one in self._containers if one.state == "running")
        return frozenset(one.service for one in running if procfs.stopped(one.pid, near=True))

    def unheard(self, now: float) -> float:
        """For how many seconds the engine could not be heard, 0 while it can."""
        return 0.0 if self._unheard is None else now - self._unheard

    def by_hand(self) -> dict[str, str]:
        """{service: folder} of those that serve and were started without the overlay; {} before the first release."""
        if not self._stamp:
            return {}
        return {one.service: one.by_hand for one in self._containers if one.by_hand}

    def updated(self) -> dict[str, str]:
        """{container: what is different} of those that run, and not with the image and the limits of the release."""
        if self._good is None:
            return {}
        running = [one for one in self._containers if one.state == "running" and not one.by_hand]
        found = {one.name: _updated(one, self._good) for one in running}
        return {name: what for name, what in found.items() if what}

    def excuse(self, wrong: Mapping[str, str], now: float) -> None:
        """What seemed wrong was looked at closely, and is well: it is asked for again in a while."""
        self._unheard = None if self._unheard is None else now
        lasts = {name: what for name, what in wrong.items() if what not in _COMES_AND_GOES}
        self._excused.update({name: (what, now + EXCUSED_SECONDS) for name, what in lasts.items()})

    def known(self) -> Known | None:
        """What is known, None before the engine was heard."""
        return Known(self._synced, tuple(self._containers), self._expected) if self._synced else None

    def close(self) -> None:
        """End the connection to the engine."""
        if self._events:
            self._events.close()
        self._events = None

    def _follow(self, now: float) -> None:
        """Look at the containers when something has happened to one. Without the engine, nothing is known."""
        try:
            if self._events is None:
                if now < self._next_try:
                    return
                # One that hangs lets each try wait.
                self._next_try = now + max(AGAIN_SECONDS, min(self.unheard(now) / 4, LONGEST_AGAIN_SECONDS))
                before, self._before = self._before, None
                # The engine keeps few events, and none over a restart of its own.
                if before and not 0.0 <= self._wall() - before.at < NOTE_SECONDS:
                    before = None
                # A second earlier: the engine takes whole ones.
                self._events = engine.Events(self.app.name, before.at - 1.0 if before else 0.0)
                self._unheard = None
                if before:
                    self._synced, self._containers, self._expected = before.at, list(before.containers), before.expected
                    self._expected = self._who_is_expected()
                    return
            elif not self._events.new():
                self._synced = self._wall()
                if self._good_stamp() != self._stamp:
                    self._expected = self._who_is_expected()
                return
            self._synced = self._wall()
            known, self._containers = self._containers, containers(docker_containers.documents(self.app.name, 2.0))
            if known and _restarts(self._containers) - _restarts(known):
                self._restarted = now
            self._expected = self._who_is_expected()
        except engine.EngineError:
            self.close()
            self._unheard = now if self._unheard is None else self._unheard
            self._containers, self._since, self._synced = [], {}, 0.0
            self._expected = frozenset()

    def _good_stamp(self) -> int:
        """Another number when another release is the last good one, or its record was written again."""
        link = os.path.join(release_store.folder(self.app.paths.directory), release_store.LAST_GOOD)
        try:
            return os.lstat(link).st_mtime_ns + os.stat(os.path.join(link, "release.json")).st_mtime_ns
        except OSError:
            return 0

    def _who_is_expected(self) -> frozenset[str]:
        """What the last good release ran, but for its jobs; without one, what was seen running."""
        self._stamp = self._good_stamp()
        good = self._good = release_store.last_good(self.app.paths.directory)
        mine = {self.app.balancer.service} if self.app.balancer else set()
        if good is None:
            seen = {one.service for one in self._containers if one.state == "running"}
            return (self._expected | seen) - mine
        jobs = good.get("jobs")
        if not isinstance(jobs, list):
            jobs = [one.service for one in self._containers if one.job]
        return frozenset(good["images"]) - set(map(str, jobs)) - mine


class KnownJson(TypedDict):
    """`Known` as JSON has it; a container is a list of its fields."""

    at: float
    containers: list[list[object]]
    expected: list[str]


def to_json(known: Known | None) -> KnownJson | None:
    """What is known, as JSON has it."""
    if known is None:
        return None
    return {"at": known.at, "containers": [list(one) for one in known.containers], "expected": sorted(known.expected)}


def from_json(found: Any) -> Known | None:
    """The reverse; None for nothing, and for what is damaged."""
    try:
        there = tuple(
            Container(
                service=str(service),
                state=str(state),
                health=str(health),
                pid=int(pid),
                job=bool(job),
                done=bool(done),
                loops=bool(loops),
                restarts=int(restarts),
                by_hand=str(by_hand),
                name=str(name),
                image=str(image),
                settings={str(key): str(value) for key, value in settings.items()},
            )
            for (service, state, health, pid, job, done, loops, restarts, by_hand, name, image, settings) in found[
                "containers"
            ]
        )
        return Known(float(found["at"]), there, frozenset(map(str, found["expected"])))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def containers(documents: Iterable[Document]) -> list[Container]:
    """Read `docker inspect` documents."""
    found = []
    for document in documents:
        state = document["State"]
        policy = (document["HostConfig"].get("RestartPolicy") or {}).get("Name", "")
        found.append(
            Container(
                docker_containers.label(document, "service"),
                str(state["Status"]),
                str((state.get("Health") or {}).get("Status", "")),
                int(state.get("Pid") or 0),
                policy in ("", "no"),
                state["Status"] == "exited" and not state.get("ExitCode") and policy in ("", "no", "on-failure"),
                _loops(document),
                int(document.get("RestartCount") or 0),
                docker_containers.started_by_hand(document),
                str(document["Name"]).lstrip("/"),
                str(document.get("Image", "")),
                docker_containers.settings(docker_containers.limits(document), policy),
            )
        )
    return found


def _updated(one: Container, good: Release) -> str:
    """What is different about a container from its release; "" for nothing."""
    recorded = good.get("settings")
    # A record from before has none.
    found = recorded.get(one.service) if isinstance(recorded, dict) else None
    wanted = dict(found) if isinstance(found, dict) else {}
    image = good["images"].get(one.service)
    if image:
        wanted["image"] = image
    is_ = {**one.settings, "image": one.image}
    differs = [key for key, should in wanted.items() if is_.get(key, should) != should]
    return ", ".join(f"{key} {_shown(is_[key])} instead of {_shown(wanted[key])}" for key in differs)


def _shown(value: str) -> str:
    """A digest in short."""
    return value[:19] if value.startswith("sha256:") else value


def _restarts(found: Iterable[Container]) -> set[tuple[str, int]]:
    """Who was restarted, and how often."""
    return {(one.service, one.restarts) for one in found if one.restarts}


def _loops(document: Document) -> bool:
    state = document["State"]
    if state["Status"] != "restarting" or int(document.get("RestartCount") or 0) < _RESTARTS:
        return False
    started, ended = (
        docker_containers.seconds_since(state.get(name, ""), time.time()) for name in ("StartedAt", "FinishedAt")
    )
    return started is not None and ended is not None and started - ended < _SHORT_LIFE_SECONDS


def wrong(
    expected: Iterable[str], found: Iterable[Container], stopped: Iterable[str], starting: bool = False
) -> dict[str, str]:
    """Return {service: what is wrong with it} of those that are expected.

    :arg starting: whether a health check that has not passed yet counts, too.
    """
    reasons = dict.fromkeys(expected, "has no container")
    there = [one for one in found if one.service in reasons]
    for one in there:
        reasons[one.service] = ""
    for one in there:
        if one.done:
            continue
        if one.loops:
            reasons[one.service] = LOOPS
        elif one.state != "running":
            reasons[one.service] = f"is {one.state}"
        elif one.health == "unhealthy" or (starting and one.health == "starting"):
            reasons[one.service] = f"is {one.health}"
        elif one.service in set(stopped):
            reasons[one.service] = STOPPED
    return {name: reason for name, reason in reasons.items() if reason}
