# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The watcher: asks the app every second whether it works, and has it recovered when it does not.

Crash-only: it may be killed at any point, and the timer starts it again. While the app is healthy it reads a few files,
sends one request a second, and hears from the engine, over one connection, when something happens to a container.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Callable, NamedTuple

from ..core.check import Check
from ..core.clock import Clock, Moment, age, iso, moment
from ..core.files import atomic_write
from ..core.locks import LockHeld, hold_lock, is_locked
from ..core.overdue import Overdue
from ..deploy import rolling
from ..env import read as env_file
from ..health import facts as health_facts
from ..health import service_watch
from ..health.diagnosis import BUSY_PRESSURE, BUSY_SHARE, DISK_FULL_BYTES
from ..health.fact_types import SeenLoad
from ..health.facts import Seen
from ..health.patience import Patience
from ..health.service_watch import ServiceWatch
from ..health.standstill import Standstill
from ..host import bridges, desired_files, lock_holder, logins, procfs, timers
from ..probe import run as probe
from ..probe import web
from ..probe.run import CheckResult, ProbeResult
from ..records import state
from ..records.incidents import BEGUN, IncidentRecord
from ..releases import haproxy
from ..reporting import alert_messages, alert_outbox, metrics
from . import config as agent_config
from . import watcher_note
from .config import Config
from .hand_changes import CLEAR_SECONDS, HandChanges
from .hand_changes import to_json as changes_as_json
from .ladder import HOLD_SECONDS
from .run import IncidentFolder, Watch, recover
from .watched_files import Difference, WatchedFiles
from .watcher_note import Note, NotedChecks

# It ends by itself after a quarter of an hour, so that whatever a long life gathers is gone with it: some 100 kB in ten
# minutes. A beginning costs a third of a second of a core.
LIFE_SECONDS = 900.0
# After a kill in the middle of a remedy: whether it has helped is answered at once, or the remedy is begun again.
RESUME_SECONDS = 0.5
# An app that was fast for an hour, takes connections, does nothing and does not answer for so long hangs. Meanwhile it
# has to sleep for so long at least, and the last time it is asked, it has so long to answer.
SILENT_SECONDS, SLEEP_SECONDS, BRIEF_SECONDS = 1.0, 0.3, 0.2
# So long after a death the first answer is missed, at the latest.
DEATH_SECONDS = 2.0
# What ran out of memory on this machine is looked up this often: it may be another app that loops.
OTHERS_SECONDS = 5.0
# One bad answer does not count. With 1 % of them at random, three in a row come once in eleven days of asking each
# second.
CONFIRM_ANSWERS, CONFIRM_PAUSE = 3, 0.25
# A file that is being written is not judged: it has to look the same, and wrong, twice.
FILE_SECONDS = 1.0
# What changes slowly is read less often: the file systems, whether the engine's process lives.
HOST_SECONDS = 2.0
# An instance that the load balancer misses for so long is looked at: with a crash the restart policy is faster.
LACKS_SECONDS = 0.9
# An engine that does not answer for so long is not busy with a start.
UNHEARD_SECONDS = 30.0
# How often what may die young again and again is looked at: its waits of less than a second are to be caught.
LOOK_SECONDS = 0.2
VALIDATE_SECONDS = 600.0
# Whether the timers run is asked for this often, and soon again where one does not: it may be being restarted.
TIMERS_SECONDS, TIMERS_AGAIN = 120.0, 10.0
# An app that limits its checks may say in Retry-After when they may ask again.
RATE_LIMITED_SECONDS, RATE_LIMITED_LONGEST = 60.0, 600.0
ALERT_RETRY_SECONDS, ALERT_TIMEOUT = 5.0, 2.0
# How often files and containers are compared with what they should be, and how long the journal may take to say who was
# logged in.
CHANGED_SECONDS, LOGINS_SECONDS = 3.0, 2.0
# A holder of the lock that does nothing for so long is stuck: a deploy touches it every five seconds. One that works on
# a sick app for longer than a deploy waits for its gate is reported.
STUCK_SECONDS, WORKS_SECONDS = 30.0, 180.0
# A recovery may take this long without a sign of life: it may build an image.
RECOVERY_SECONDS = 2000.0
Notify = Callable[[str], None]
Changed = Callable[[], "tuple[bool, str]"]


class Ended(Exception):
    """The watcher has ended for a good reason; the text says which."""


class Held(NamedTuple):
    """Another process holds the lock `since` (monotonic s): a measure of its `progress`, and when that `moved` last."""

    since: float
    progress: tuple[int, int]
    moved: float


class Watcher:
    """One app's watcher. `turn` is one turn of its loop."""

    def __init__(self, config: Config, clock: Clock, notify: Notify) -> None:
        self.config, self.app, self.clock, self.notify = config, config.app, clock, notify
        self.env = env_file.read(self.app.paths, self.app.variables, clock.now())
        self.stamp: tuple[int, ...] | None = health_facts.env_stamp(self.app.paths)
        self.validated = clock.monotonic()
        self.odd: tuple[str, float] | None = None
        self.failed: Moment | None = None
        # The wall clock is this far ahead of the monotonic one.
        self.ahead = clock.now() - clock.monotonic()
        self.good: float | None = watcher_note.last_good(
            self.app.paths.root, self.app.name, moment(clock.now(), clock.monotonic())
        )
        self.answered: float | None = None
        if self.good is not None:
            self.answered = clock.monotonic() - max(0.0, clock.now() - self.good)
        self.busy, self.cpu = 0.0, procfs.cpu_time()
        self.kills, self.killed, self.passed = procfs.oom_kills(), list[float](), False
        self.next_host = self.next_metrics = self.next_recovery = self.next_alerts = self.next_look = 0.0
        # An app that limits how often it is asked is left alone until then.
        self.next_ask = 0.0
        self.next_checks = self.validated + config.journey_seconds
        self.host_says = ""
        # Those that could not be changed: it would fail again.
        self.slow_bridges = set[bridges.Bridge]()
        self.next_timers = self.validated + TIMERS_SECONDS
        self.stopped: dict[str, timers.Timer] = {}
        # The alerts about timers; None until they were looked at: then earlier alerts stay.
        self.timer_alerts: list[alert_messages.Alert] | None = None
        # The same, about services that were replaced by hand.
        self.origin_alerts: list[alert_messages.Alert] | None = None
        self.lacks: float | None = None
        self.held: Held | None = None
        self.freed = ""
        # What was said of the lock's holder, and since when (epoch s).
        self.waits: tuple[str, float] | None = None
        # Every instance passed by itself when it was looked at: HAProxy gets time to see that, too.
        self.pass_alone = False
        self.problems: dict[str, str] = {}
        # Whether the note says something else than what is so now.
        self.is_stale = False
        self.hold = ""
        self.cause = ""
        # How the checks went that were asked last, and whether they passed when that was noted.
        self.checks: NotedChecks | None = None
        self.noted: bool | None = None
        # Since this watcher began.
        self.probes = self.failed_probes = 0
        self.probe_seconds = 0.0
        memory, damage = state.load(self.app.paths.state, self.app.paths.spare)
        self.trouble("state", damage)
        if alert_outbox.holds(memory["outbox"], alert_messages.TIMER):
            # It may be over.
            self.next_timers = self.validated
        record = memory["incident"]
        self.incident: IncidentRecord | IncidentFolder | None = record
        # A watcher was killed in the middle of a remedy.
        self.resumes = record is not None and any(one["result"] == BEGUN for one in record["remedies"][-1:])
        self.quick = self.app.quick
        before = watcher_note.last(self.app.paths.root, self.app.name)
        known = service_watch.from_json(before.get("services") if before else None)
        self.services = ServiceWatch(self.app, clock.now, known)
        self.patience = Patience(before.get("slowest") if before else None)
        self.hand = HandChanges(lambda: logins.read(LOGINS_SECONDS), before.get("changed") if before else None)
        self.files = WatchedFiles(self.app.paths, self._is_first, self.hand.things)
        self.next_changed = 0.0
        # The alerts about changes by hand; None until the files were looked at long enough: then earlier alerts stay.
        self.changed_alerts: list[alert_messages.Alert] | None = None
        self.changed_from = self.validated + CLEAR_SECONDS
        self.wrong: dict[str, str] = {}
        # The services that were down when the app answered well last.
        self.down = frozenset[str]()
        # The checks that fail for users. An instance that is healed while others serve does not count.
        self.failing: set[str] = set()
        self.published: bool | None = None

    # --- one turn ----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Ask, and do what the answer calls for."""
        now = self.clock.monotonic()
        self._follow_clock(now)
        rested = now >= self.next_recovery
        orders = state.read_orders(self.app.paths.state)
        self.trouble("orders", orders["problem"])
        paused = state.pause_left(orders, moment(self.clock.now(), now)) > 0
        self._measure()
        if now < self.next_ask and not self.services.wrong(now):
            self._rest_of(now)
            return
        found = self._suspect(now, paused)
        if found is None:
            self._when_well(now, paused, rested)
        elif paused:
            self._report("paused", "")
        elif rested or (self.incident is None and not self.problems.get("turn")):
            self._when_suspect(now, found)
        if found is not None and found["ok"]:
            # Users are served, whatever else is wrong.
            self.failed = None
        if self.passed and rested:
            self.passed, self.killed = False, []
        if rested:
            self.trouble("turn", "")
        self._rest_of(now)

    def wait(self, seconds: float) -> None:
        """Wait for the next turn, or until something has happened to a container, or its processes are stopped.

        Or until one is caught that dies young again and again.
        """
        if self.incident is not None:
            self.clock.sleep(seconds)
            return
        if not self.services.may_loop(self.clock.monotonic()):
            # Many events at once are looked at once.
            self.clock.sleep(min(seconds, LOOK_SECONDS))
            for _unused in range(round(seconds / LOOK_SECONDS) - 1):
                if self.services.happens(LOOK_SECONDS, self.clock.sleep):
                    return
            return
        for _unused in range(int(seconds / LOOK_SECONDS)):
            self.clock.sleep(LOOK_SECONDS)
            if service_watch.LOOPS in self.services.wrong(self.clock.monotonic()).values():
                return

    def _when_well(self, now: float, paused: bool, rested: bool) -> None:
        """What a turn does when all is well: end an incident, or look for what began and is over already."""
        if self.incident is None:
            self._report("", "")
            if self.passed and not paused and rested:
                self._look_back(now)
        elif rested:
            self._recover(None)
        self.failed = self.held = self.waits = None

    def _when_suspect(self, now: float, found: ProbeResult) -> None:
        """What a turn does when something may be wrong: confirm it, then recover."""
        confirmed = self._confirm(found)
        if confirmed is not None:
            # Meanwhile it may be over: then that is reported.
            self._recover(confirmed, self._ago(now) if self.passed else None)
            return
        # An error that is over already may have come from a service that its restart policy has started again.
        self.services.wrong(self.clock.monotonic())
        self.passed = self.passed or self.services.may_loop(self.clock.monotonic())
        if self.incident is None and self.passed:
            self._look_back(now)
        self.failed = None

    def _follow_clock(self, now: float) -> None:
        """A clock that is set takes along what is remembered by it."""
        before, self.ahead = self.ahead, self.clock.now() - now
        if self.good is not None:
            self.good += self.ahead - before

    def _rest_of(self, now: float) -> None:
        """What each turn ends with."""
        self._look_at_timers(now)
        self._look_at_origin()
        self._look_at_changes(now)
        self._deliver(now)
        if now >= self.next_metrics or self._serves != self.published:
            self.next_metrics = now + watcher_note.METRICS_SECONDS
            self._publish()
        if self.is_stale or (self.checks and self.checks["ok"] is not self.noted):
            self._leave_note()
        elif self.checks and self.checks["at"]["monotonic"] >= now:
            watcher_note.touch(self.app.paths.root, self.app.name, self.checks["at"])
        self.notify("WATCHDOG=1")

    def _suspect(self, now: float, paused: bool) -> ProbeResult | None:
        """A probe result that gives reason to look closer, None when all is well."""
        self.wrong = self.services.wrong(now)
        odd = self._odd_files(now) or self._odd_host(now) or self._odd_instances(now) or bool(self.wrong)
        balancer_stopped = self.app.balancer is not None and haproxy.is_stopped(self.app.paths)
        # Where nothing is done about it now, a slow answer is a good one.
        is_new = self.incident is None and not paused
        service_stopped = is_new and service_watch.STOPPED in self.wrong.values()
        # HAProxy would try one after the other, for seconds.
        none_runs = is_new and service_watch.NONE_RUNS in self.wrong.values()
        if self.resumes or balancer_stopped or service_stopped or none_runs:
            result = self._ask_briefly(self.quick, by_service=service_stopped)
        else:
            result = self._ask(self.quick)
        # All checks only after the first one: of an app that hangs, each further check would cost its timeout.
        if result["ok"] and now >= self.next_checks and self.incident is None:
            result = self._ask(list(self.app.checks))
        self._keep(result)
        if result["ok"]:
            self.good = self.clock.now()
            self.down = self.services.down()
            self._note_checks(result["results"])
            if now >= self.next_checks:
                self.next_checks = now + self.config.journey_seconds
            return result if odd else None
        if self._no_instance_serves():
            # HAProxy has found the same by itself, at each instance and more than once.
            result = {**result, "confirmed": True}
        if self.failed is None:
            self.failed = moment(self.clock.now(), now)
            # Should this watcher be killed now, the next one knows that the app was well until now.
            self._leave_note()
        # A port that is closed for a moment is how a process looks that died and was started again.
        self.passed = self.passed or any(item["kind"] in ("refused", "reset") for item in result["results"])
        return result

    def _keep(self, result: ProbeResult) -> None:
        """Keep how the checks went, for `selfheal status`: no more of an answer than whether it passed."""
        passed = [one["ok"] for one in result["results"]]
        at = moment(self.clock.now(), self.clock.monotonic())
        self.checks = {"ok": bool(result["ok"]), "passed": sum(passed), "total": len(passed), "at": at}

    def _ask_briefly(self, checks: Iterable[Check], by_service: bool = False) -> ProbeResult:
        """Ask once, with little time: what is wrong was confirmed already, by something else than an answer.

        :arg by_service: because a service is stopped, which may be one that the check has nothing to do with.
        """
        self.resumes = False
        timeout = RESUME_SECONDS / 2 if by_service else RESUME_SECONDS
        found = self._run([check._replace(timeout=timeout) for check in checks])
        return {**found, "confirmed": True, "brief": by_service}

    def _ask(self, checks: list[Check]) -> ProbeResult:
        """Ask once, first with the patience that was learnt; what is late then gets all the time that its check has."""
        found = self._ask_impatiently() if checks == self.quick else None
        if found is None:
            found = self._ask_patiently(checks)
        self.probes += 1
        self.failed_probes += not found["ok"]
        self.probe_seconds = found["seconds"]
        if any(item["status"] is not None for item in found["results"]):
            self.answered = self.clock.monotonic()
        if found["ok"] and checks == self.quick and not self.services.warms_up():
            self.patience.answered(found["seconds"], self.clock.monotonic())
        return found

    def _ask_impatiently(self) -> ProbeResult | None:
        """Ask the quick check with the patience that was learnt, and a second time in parallel when that is half over.

        :returns: the answer; no answer of an app that does nothing; None when it is late, and may be at work.
        """
        now = self.clock.monotonic()
        longest = min((check.timeout for check in self.quick), default=0.0)
        patience = self.patience.seconds(longest, now)
        if patience >= longest or self.services.warms_up():
            return None
        if self.busy >= BUSY_SHARE or procfs.pressure()["cpu"] >= BUSY_PRESSURE:
            # What waits for a processor is late, and a moment's look does not tell it from what hangs.
            return None
        impatient = [check._replace(timeout=patience) for check in self.quick]
        second, seen = list[ProbeResult](), list[Standstill]()

        def look() -> None:
            seen.append(Standstill(self.services.pids()))
            second.append(self._run([check._replace(timeout=patience / 2) for check in self.quick]))

        late = Overdue(patience / 2, look)
        late.start()
        try:
            first = self._run(impatient)
        finally:
            late.cancel()
        if first["ok"] or not _is_late(first):
            return first
        if late.is_alive():
            late.join(patience)
        if not second or not _is_late(second[0]):
            return None
        if not seen[0].lasts(self.clock.monotonic() - now, self.clock.sleep):
            return None
        if not seen[0].takes_connections():
            return {**first, "confirmed": True}
        return self._ask_once_more(first, seen[0], now)

    def _ask_once_more(self, late: ProbeResult, app: Standstill, asked: float) -> ProbeResult | None:
        """Of an app that takes connections and is silent since `asked` (monotonic s): wait a little, and ask again."""
        left = asked + SILENT_SECONDS - BRIEF_SECONDS - self.clock.monotonic()
        if not app.sleeps(max(SLEEP_SECONDS, left), self.clock.sleep):
            return None
        last = self._run([check._replace(timeout=BRIEF_SECONDS) for check in self.quick])
        if not _is_late(last):
            return {**last, "seconds": self.clock.monotonic() - asked}
        lasts = app.lasts(self.clock.monotonic() - asked, self.clock.sleep)
        return {**late, "confirmed": True} if lasts else None

    def _ask_patiently(self, checks: list[Check]) -> ProbeResult:
        """Ask once; when the answer is late, ask a second time in parallel: both have to stay without one."""
        box: list[ProbeResult] = []
        later = self.config.response_seconds / 8

        def ask_again() -> None:
            # Both end at the same moment.
            box.append(
                self._run([one._replace(timeout=max(one.timeout / 2, one.timeout - later)) for one in self.quick])
            )

        second = Overdue(later, ask_again)
        second.start()
        try:
            first = self._run(checks)
        finally:
            second.cancel()
        late = _is_late(first)
        if late and second.is_alive():
            second.join(self.config.response_seconds * 2)
        if late and box:
            if not box[0]["ok"]:
                return {**first, "confirmed": True}
            self.answered = self.clock.monotonic()
            failed = {item["name"] for item in first["results"] if not item["ok"] and item["kind"] != "skipped"}
            # The second time only the quick check is asked: that says nothing of a later one that is late.
            if failed <= {check.name for check in self.quick}:
                return box[0]
        return first

    def _run(self, checks: list[Check]) -> ProbeResult:
        self.notify("WATCHDOG=1")
        clock, shown = self.clock, self.app.shown
        return probe.run_checks(checks, self.env["values"], 0.0, clock.monotonic, clock.sleep, shown=shown)

    def _confirm(self, found: ProbeResult) -> ProbeResult | None:
        """Ask again before anything is touched; None when it was a single bad answer."""
        if found["ok"] or found.get("confirmed"):
            return found
        failing = {item["name"] for item in found["results"] if not item["ok"]}
        again = list(self.app.checks) if failing - {check.name for check in self.quick} else self.quick
        for _unused in range(CONFIRM_ANSWERS - 1):
            self.clock.sleep(CONFIRM_PAUSE)
            # To a container that is gone or starts again and again, a connection may take seconds to fail.
            found = self._ask_briefly(again) if self._is_explained() else self._ask(again)
            self._keep(found)
            if found["ok"]:
                return None
            if found.get("confirmed") or self._is_explained():
                break
        return found

    def _is_explained(self) -> bool:
        """Whether the engine says that a service went down, or the env has become invalid and stays so."""
        now = self.clock.monotonic()
        # It hears the engine, which takes a moment to notice a death.
        self.services.wrong(now)
        self._odd_files(now)
        invalid = self.odd is not None and now - self.odd[1] >= CONFIRM_PAUSE
        return invalid or bool(self.services.down() - self.down)

    # --- what can be wrong while the app answers ---------------------------------------------------------------------

    def _odd_files(self, now: float) -> bool:
        """Whether the env was damaged, or has become invalid (a key expires); reported after it looked so twice."""
        stamp = health_facts.env_stamp(self.app.paths)
        if stamp != self.stamp or now - self.validated >= VALIDATE_SECONDS or self.odd is not None:
            self.stamp, self.validated = stamp, now
            self.env = env_file.read(self.app.paths, self.app.variables, self.clock.now())
            if not self.env["findings"]:
                self.odd = None
            elif self.odd is None or self.odd[0] != self.env["fingerprint"]:
                self.odd = (self.env["fingerprint"], now)
        elif self.env["findings"] and self.odd is None:
            self.odd = (self.env["fingerprint"], now)
        return self.odd is not None and now - self.odd[1] >= FILE_SECONDS

    def _odd_host(self, now: float) -> bool:
        """Whether a file system is full or was made read-only, or the engine is gone or does not answer."""
        if now >= self.next_host:
            self.next_host = now + HOST_SECONDS
            self.host_says = ""
            with contextlib.suppress(OSError):
                places = health_facts.places(self.app.paths)
                full = [
                    item["path"]
                    for item in procfs.disk(places)
                    if item["free_bytes"] < DISK_FULL_BYTES or item["inodes_percent"] >= 100.0
                ]
                self.host_says = f"{full[0]} is full" if full else ""
                if not full and procfs.frozen(places):
                    self.host_says = "a file system has become read-only"
            self._hasten_bridges()
            if not self.host_says and not health_facts.engine_by_its_process()["answers"]:
                self.host_says = "the engine's process is gone"
            if not self.host_says and self.services.unheard(now) >= UNHEARD_SECONDS:
                self.host_says = "the engine does not answer"
        return bool(self.host_says)

    def _hasten_bridges(self) -> None:
        """Let connections find a container that has just started; of a bridge that is new, for instance at a boot."""
        # With many apps there are many bridges, and the kernel takes a while to tell of each.
        for one in bridges.slow(self.app.paths.root) if self._is_first() else ():
            problem = "" if one in self.slow_bridges else bridges.hasten(one)
            if problem:
                self.slow_bridges.add(one)
                print(f"selfheal: {self.app.name}: {one.name}: starts may be a second slower: {problem}", flush=True)

    def _odd_instances(self, now: float) -> bool:
        """Whether an instance is missing behind the load balancer, or a deploy was killed, for more than a moment."""
        if self.app.balancer is None:
            return False
        lacks = rolling.under_way(self.app)
        if not lacks:
            try:
                # One that is stopped would let the question wait for its whole time.
                paths, wanted = self.app.paths, self.app.balancer.instances
                lacks = haproxy.is_stopped(paths) or haproxy.serving(paths) < wanted
            except haproxy.BalancerError:
                lacks = True
        if not lacks:
            self.lacks, self.pass_alone = None, False
            return False
        if self.lacks is None:
            self.lacks = now
        return now - self.lacks >= (health_facts.DISAGREES_SECONDS if self.pass_alone else LACKS_SECONDS)

    def _no_instance_serves(self) -> bool:
        """Whether HAProxy runs and finds no instance healthy."""
        if self.app.balancer is None or haproxy.is_stopped(self.app.paths):
            return False
        with contextlib.suppress(haproxy.BalancerError):
            return haproxy.serving(self.app.paths) == 0
        return False

    def _look_at_origin(self) -> None:
        """Say when somebody has run `docker compose up` in another folder, as in the one before the app was adopted."""
        found = self.services.by_hand()
        folders = ", ".join(sorted(set(found.values())))
        self.trouble(
            "origin",
            f"{', '.join(sorted(found))} were started by `docker compose up` in {folders}, without the hardened overlay"
            ". Run site.yml with the app's inventory"
            if found
            else "",
        )
        if self.services.known():
            about = (self.app.name, self.app.host, found, self.app.language)
            self.origin_alerts = [alert_messages.replaced_by_hand(*about)] if found else []

    def _look_at_changes(self, now: float) -> None:
        """Whether files or containers were changed by hand; reported after it looked so twice."""
        if now < self.next_changed:
            return
        self.next_changed = now + CHANGED_SECONDS
        wall = self.clock.now()
        found = self.files.look(now, wall)
        found.update({f"container {name}": Difference(what, wall) for name, what in self.services.updated().items()})
        if (found or self.hand.things) and self._others_work():
            self.hand.postpone()
            return
        # Without the engine, nothing is known of its containers.
        unknown = [name for name in self.hand.things if name.startswith("container ")]
        unread = self.files.unread.union(() if self.services.known() else unknown)
        self.hand.update(found, now, wall, unread)
        self.trouble("changed", self.hand.text())
        self.trouble("record", self.files.problem)
        if self.hand.changes or now >= self.changed_from:
            about = (self.app.name, self.app.host)
            changes = changes_as_json(self.hand.changes)
            self.changed_alerts = [alert_messages.changed_by_hand(*about, one, self.app.language) for one in changes]

    def _others_work(self) -> bool:
        """Whether a deploy, a restore or a run that writes configuration files goes on, or was killed."""
        paths = self.app.paths
        locks = (paths.lock, desired_files.lock_path(paths.root))
        return any(map(is_locked, locks)) or any(map(os.path.lexists, (paths.rollout, paths.restoring)))

    def _is_first(self) -> bool:
        """Whether this watcher reports the files of the host: the first of those that live."""
        root = self.app.paths.root
        return all(name >= self.app.name or not is_locked(lock_path(root, name)) for name in agent_config.apps(root))

    def _look_at_timers(self, now: float) -> None:
        """Whether a timer was stopped that starts a watcher of this host; reported after it looked so twice."""
        if now < self.next_timers:
            return
        self.next_timers = now + TIMERS_SECONDS
        hosts = agent_config.to_be_watched(self.app.paths.root)
        found = timers.read(hosts)
        if not found:
            return
        stopped = {name: timer for name, timer in found.items() if timer.is_stopped}
        lasting = {name: timer for name, timer in stopped.items() if self.stopped.get(name) == timer}
        if lasting != stopped:
            self.next_timers = now + TIMERS_AGAIN
        self.stopped = stopped
        alive = [name for name in hosts if is_locked(lock_path(self.app.paths.root, name))]
        mine = to_report(self.app.name, lasting, alive)
        self.trouble("timers", "; ".join(timers.problem(name, lasting[name]) for name in mine))
        language = self.app.language
        self.timer_alerts = [
            alert_messages.stopped_timer(name, hosts[name], lasting[name].since, language) for name in mine
        ]

    def _measure(self) -> None:
        """How busy the processors were since the last turn, and whether the kernel killed a process meanwhile."""
        cpu, kills = procfs.cpu_time(), procfs.oom_kills()
        # Over less than that it is the watcher's own beginning that is measured.
        if cpu.every - self.cpu.every >= procfs.SHORTEST_TICKS:
            self.busy, self.cpu = procfs.cpu_busy(self.cpu, cpu), cpu
        # The kernel counts for the whole machine: where it was not about this app, it is not asked again for a while.
        now = self.clock.monotonic()
        self.killed += [now] if kills > self.kills else []
        self.passed = self.passed or (bool(self.killed) and now >= self.next_look)
        self.kills = kills

    def _look_back(self, now: float) -> None:
        """A process died, and the app answers: the engine's restart policy was faster. That is reported, too."""
        result = self._ask(self.quick)
        self._keep(result)
        if result["ok"]:
            self.next_look = now + OTHERS_SECONDS
            self._recover(result, self._ago(now))

    def _ago(self, now: float) -> float:
        """How many seconds ago, at most, what is over may have begun."""
        begun = min([now, *self.killed, *([float(self.failed["monotonic"])] if self.failed else [])])
        # A kill comes a little before the first answer that was missed, and the kernel's count was read a turn ago.
        return self.clock.monotonic() - begun + DEATH_SECONDS + self.config.interval

    # --- what is done about it ---------------------------------------------------------------------------------------

    def _recover(self, found: ProbeResult | None, passed: float | None = None) -> None:
        """One turn of a recovery: `selfheal recover`, with what was seen here.

        :arg passed: how many seconds ago, at most, something began that is over already.
        """
        now = self.clock.monotonic()
        self._follow_clock(now)
        load: SeenLoad = {
            "cpu_busy": round(self.busy, 3),
            "answered_seconds": None if self.answered is None else round(now - self.answered, 1),
        }
        lacks = 0.0 if self.lacks is None else now - self.lacks
        watch = Watch(
            self.config.policy,
            Seen(found, load, self.good, passed, lacks, services=bool(self.wrong) or self.incident is not None),
            self.failed or moment(self.clock.now(), now),
            self.config.settle_seconds,
            self.config.keep_days,
            freed=self.freed,
        )
        if found is not None:
            self._note_checks(found["results"])
        if self._serves != self.published:
            # A recovery may take minutes, and users wait from now on.
            self._publish()
        self.notify(f"WATCHDOG_USEC={RECOVERY_SECONDS * 1e6:.0f}")
        try:
            outcome = recover(self.app, clock=self.clock, watch=watch)
            self.held, self.freed, self.waits = None, "", None
        except LockHeld as held:
            # A deploy or a person's recovery goes on, and knows better, unless it is stuck.
            self._report(f"waiting: {self._who_works(str(held))}", self.cause)
            self.next_recovery = now + self.config.interval
            self._wait_for_holder(watch, str(held), found is not None and not found["ok"])
            return
        finally:
            self.notify(f"WATCHDOG_USEC={self.config.silence * 1e6:.0f}")
            self._forget_views()
        decision = outcome["decision"]
        self.trouble("recovery", "; ".join(sorted(outcome["problems"])))
        self.incident = None if outcome["healthy"] else outcome["incident"]
        self.next_metrics = 0.0
        if outcome["healthy"]:
            self.failed, self.next_recovery = None, 0.0
            self.failing.clear()
            self.pass_alone = self.lacks is not None
            # The next watcher has to know that what was just started has answered.
            self.good = self.clock.now()
            # Also what it waited for, another run's lock, is over.
            self._report("", "")
            self._keep(outcome["checks"])
            self._leave_note()
            if outcome["incident"] is not None:
                self._publish()
                raise Ended(f"{outcome['incident']['id']} is over after {outcome['incident']['seconds']:.1f} s")
            self.services.excuse(self.wrong, now)
            return
        quick = {check.name for check in self.quick}
        # What was asked first may have been asked of one instance, past the load balancer.
        self._note_checks([one for one in outcome["checks"]["results"] if one["name"] not in quick])
        if outcome["cause_left"] == "rate_limited":
            asked = [one.get("retry_after") or 0.0 for one in outcome["checks"]["results"] if not one["ok"]]
            wait = min(max(RATE_LIMITED_SECONDS, *asked, 0.0), RATE_LIMITED_LONGEST)
            self.next_recovery = self.next_ask = self.clock.monotonic() + wait
            self._report(f"hold: {decision['why']}", outcome["cause_left"])
            return
        wait = min(decision["seconds"] or HOLD_SECONDS, HOLD_SECONDS) if decision["kind"] == "wait" else HOLD_SECONDS
        self.next_recovery = self.clock.monotonic() + wait
        self._report(f"{decision['kind']}: {decision['why']}", outcome["cause_left"])

    def _who_works(self, held: str) -> str:
        """Who holds the app's lock, and since when this watcher knows."""
        if self.waits is None or self.waits[0] != held:
            self.waits = (held, self.clock.now())
        who = held.partition(";")[0].partition(" is held by ")[2]
        return f"{who} works on the app since {iso(self.waits[1])[11:19]} UTC" if who else held

    def _wait_for_holder(self, watch: Watch, who: str, down: bool) -> None:
        """Of an app that is down: take the lock from a process that is stuck, and report one that takes long."""
        now, progress = self.clock.monotonic(), lock_holder.progress(self.app.paths.lock) if down else None
        before = self.held
        if before is None or progress is None:
            self.held = Held(now, progress, now) if progress else None
            return
        self.held = Held(before.since, progress, before.moved if progress == before.progress else now)
        if now - self.held.moved >= STUCK_SECONDS:
            self.held = None
            done = lock_holder.free(self.app.paths.lock)
            self.freed = f"{who.partition(';')[0]} and was stuck for {STUCK_SECONDS:.0f} s: {done}"
            print(f"selfheal: {self.app.name}: {self.freed}", flush=True)
        elif now - self.held.since >= WORKS_SECONDS and self.incident is None and " (recover " not in who:
            outcome = recover(self.app, clock=self.clock, watch=watch._replace(held=who))
            self.incident = None if outcome["healthy"] else outcome["incident"]

    def _forget_views(self) -> None:
        """After a recovery everything is looked at again."""
        self.next_host = 0.0
        self.stamp, self.odd = None, None

    def _report(self, hold: str, cause: str) -> None:
        """Say why nothing is done, in the journal and to systemd, once."""
        if hold != self.hold:
            print(f"selfheal: {self.app.name}: {cause + ': ' if cause else ''}{hold or 'watching'}", flush=True)
            self.notify(f"STATUS={hold or 'watching'}")
            self.is_stale = True
        self.hold, self.cause = hold, cause

    def trouble(self, what: str, problem: str) -> None:
        """Note what keeps the watcher from its work, by subject ("" when it is over), and print it once."""
        if problem and problem != self.problems.get(what):
            print(f"selfheal: {self.app.name}: {problem}", flush=True)
        self.is_stale = self.is_stale or problem != self.problems.get(what, "")
        self.problems[what] = problem

    def _troubles(self) -> list[str]:
        return [problem for problem in self.problems.values() if problem]

    def stumbled(self, error: Exception) -> None:
        """Note what went wrong in a turn, and go on: an app without a watcher is worse."""
        at = error.__traceback__
        while at and at.tb_next:
            at = at.tb_next
        where = f"{os.path.basename(at.tb_frame.f_code.co_filename)}, line {at.tb_lineno}" if at else "the watcher"
        self.trouble("turn", f"a turn failed ({type(error).__name__} in {where}); it is tried again")
        self.next_recovery = self.clock.monotonic() + HOLD_SECONDS
        self._leave_note()
        self.notify("WATCHDOG=1")

    # --- alerts and metrics ------------------------------------------------------------------------------------------

    def _deliver(self, now: float) -> None:
        """Post what Alertmanager has not taken yet, and what it has to hear again."""
        if not self.config.alertmanager or now < self.next_alerts:
            return
        self.next_alerts = now + self.config.interval
        with contextlib.suppress(LockHeld), hold_lock(self.app.paths.lock, 0.0, f"post alerts of {self.app.name}"):
            memory, problem = state.load(self.app.paths.state, self.app.paths.spare)
            self.trouble("state", problem or self.problems["state"])
            wall = self.clock.now()
            outbox = self._standing(memory["outbox"], wall)
            sent = alert_outbox.due(outbox, wall)
            if not sent:
                return
            if self._post(sent):
                outbox = alert_outbox.posted(outbox, sent, wall)
            else:
                self.next_alerts = now + ALERT_RETRY_SECONDS
            if outbox != memory["outbox"]:
                state.save(self.app.paths.state, {**memory, "outbox": outbox}, self.app.paths.spare)

    def _standing(self, outbox: Sequence[Any], wall: float) -> alert_outbox.Outbox:
        """The outbox with what fires without an incident: the dead-man's signal, a pause that lasts, bad backups."""
        waiting = alert_outbox.add(outbox, alert_messages.watchdog(self.app.name, self.app.host), wall)
        orders, now = state.read_orders(self.app.paths.state), moment(wall, self.clock.monotonic())
        paused = orders["paused"] if state.pause_left(orders, now) > 0 else None
        lasting = alert_messages.lasting_pause(self.app.name, self.app.host, orders["paused"], self.app.language)
        due = paused is not None and age(paused["since"], now) >= self.config.pause_alert_seconds
        if not due or all(one["alert"]["labels"] != lasting["labels"] for one in waiting):
            waiting = alert_outbox.end(waiting, lasting, wall)
        waiting = alert_outbox.add(waiting, lasting, wall) if due else waiting
        problems = state.read_backup(self.app.paths.backup)["problems"]
        for what in alert_messages.BACKUP:
            problem = problems.get(what)
            alert = alert_messages.bad_backup(self.app.name, self.app.host, what, problem, self.app.language)
            if not problem or all(one["alert"]["labels"] != alert["labels"] for one in waiting):
                waiting = alert_outbox.end(waiting, alert, wall)
            waiting = alert_outbox.add(waiting, alert, wall) if problem else waiting
        waiting = alert_outbox.only(waiting, alert_messages.CERTIFICATE, self._bad_certificates(wall), wall)
        for name, alerts in (
            (alert_messages.TIMER, self.timer_alerts),
            (alert_messages.BY_HAND, self.origin_alerts),
            (alert_messages.CHANGED, self.changed_alerts),
        ):
            waiting = waiting if alerts is None else alert_outbox.only(waiting, name, alerts, wall)
        return waiting

    def _bad_certificates(self, wall: float) -> list[alert_messages.Alert]:
        """The alert of a certificate that ends although it should have been renewed; [] when all is well."""
        record = state.read_certificate(self.app.paths.certificate)
        if record is None or not state.is_urgent(record, wall):
            return []
        return [alert_messages.bad_certificate(self.app.name, self.app.host, record, self.app.language)]

    def _post(self, sent: Sequence[alert_messages.Alert]) -> bool:
        request = web.Request(
            f"{self.config.alertmanager}/api/v2/alerts",
            method="POST",
            headers=(("Content-Type", "application/json"),),
            body=json.dumps(sent).encode(),
            timeout=ALERT_TIMEOUT,
        )
        problem = ""
        try:
            answer = web.fetch(request)
            if answer.status != 200:
                problem = f"Alertmanager answers {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}"
        except web.Fault as fault:
            problem = f"Alertmanager cannot be reached: {fault}"
        self.trouble("alerts", problem)
        return not problem

    def _publish(self) -> None:
        """Write the metrics, and a note for `selfheal status`."""
        memory, problem = state.load(self.app.paths.state, self.app.paths.spare)
        self.trouble("state", problem or self.problems["state"])
        # A person's recovery may have left one open, or a turn that failed.
        self.incident = self.incident or memory["incident"]
        known = watcher_note.status_facts(self.config, memory, self.clock)
        facts: metrics.WatcherFacts = {
            "incident": known["incident"],
            "breaker_open": known["breaker_open"],
            "paused": known["paused"],
            "alerts_waiting": known["alerts_waiting"],
            "counts": known["counts"],
            "now": known["now"],
            "healthy": self.incident is None and self.failed is None,
            "served": self._serves,
            "probe_seconds": self.probe_seconds,
            "problems": len(self._troubles()),
            "probes": self.probes,
            "failed_probes": self.failed_probes,
            "certificate": state.read_certificate(self.app.paths.certificate),
        }
        self.published = self._serves
        if self.config.metrics_directory:
            problem = ""
            try:
                path = os.path.join(self.config.metrics_directory, f"selfheal-{self.app.name}.prom")
                atomic_write(path, metrics.render(self.app.name, facts).encode(), mode=0o644)
            except OSError as error:
                problem = f"the metrics cannot be written: {error}"
            self.trouble("metrics", problem)
        self._leave_note()

    def _note_checks(self, results: Iterable[CheckResult]) -> None:
        """Remember which checks fail."""
        for one in results:
            change = self.failing.discard if one["ok"] else self.failing.add
            change(one["name"])

    @property
    def _serves(self) -> bool:
        """Whether users are served, as far as the checks say: an incident may be open of what no check asks.

        An app that limits the checks says nothing about its users. Where no check asks, the services tell.
        """
        if self.cause == "rate_limited":
            return True
        if not self.app.checks:
            return self.incident is None
        return self.failed is None and not self.failing

    def _leave_note(self) -> None:
        """Say for `selfheal status`, and for the next watcher, how it is."""
        note: Note = {
            "at": moment(self.clock.now(), self.clock.monotonic()),
            "pid": os.getpid(),
            "healthy": self.incident is None and self.failed is None,
            "hold": self.hold,
            "cause": self.cause,
            "problems": self._troubles(),
            "good": self.good,
            "checks": self.checks,
            "services": service_watch.to_json(self.services.known()),
            "slowest": self.patience.to_json(),
            "changed": changes_as_json(self.hand.changes),
        }
        self.noted = self.checks["ok"] if self.checks else None
        self.is_stale = False
        with contextlib.suppress(OSError):
            path = watcher_note.note_path(self.app.paths.root, self.app.name)
            atomic_write(path, (json.dumps(note) + "\n").encode(), mode=0o644)
        if self.checks:
            watcher_note.touch(self.app.paths.root, self.app.name, self.checks["at"])


def _is_late(found: ProbeResult) -> bool:
    return not found["ok"] and any(item["kind"] == "timeout" for item in found["results"])


def to_report(own: str, stopped: Collection[str], alive: Collection[str]) -> list[str]:
    """The apps whose stopped timers the watcher of `own` reports: each once, by its own watcher if that lives.

    :arg alive: the apps whose watchers live. The first of them reports those without a watcher.
    """
    first = min({own, *alive}) == own
    return sorted(name for name in stopped if name == own or (first and name not in alive))


def lock_path(root: str, name: str) -> str:
    """The lock that the watcher of an app holds as long as it watches."""
    return os.path.join(root, "run/selfheal", f"{name}.watcher.lock")


@contextlib.contextmanager
def only_one(config: Config) -> Iterator[None]:
    """Hold the watchers' own lock: two of them would both recover. Raises LockHeld."""
    with hold_lock(lock_path(config.app.paths.root, config.app.name), 0.0, f"watch {config.app.name}"):
        yield


def watch(config: Config, clock: Clock, notify: Notify, changed: Changed, life: float = LIFE_SECONDS) -> str:
    """Watch until the life is over (""), the config changes, or an incident is over; say which.

    A new config that is not valid changes nothing: `changed` says (False, why), and the old one stays in force. After
    an incident it ends, too: a watcher that waits need not keep in memory what a recovery had to load.
    """
    watcher = Watcher(config, clock, notify)
    begun = clock.monotonic()
    notify(f"READY=1\nSTATUS=watching\nWATCHDOG_USEC={config.silence * 1e6:.0f}")
    next_turn = begun
    while clock.monotonic() - begun < life:
        ends, problem = changed()
        if ends:
            return "the config has changed"
        watcher.trouble("config", problem)
        try:
            watcher.turn()
        except Ended as ended:
            return str(ended)
        except Exception as error:
            watcher.stumbled(error)
        next_turn = max(next_turn + config.interval, clock.monotonic() + 0.05)
        watcher.wait(max(0.0, next_turn - clock.monotonic()))
        # A wait that was cut short does not make the next one longer.
        next_turn = min(next_turn, clock.monotonic())
    return ""
