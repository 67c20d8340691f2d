# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carries out the schedule on the lab host: deploys, 429s, busy cores, jobs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Trouble
from ansible_collections.christmas.selfheal.bench.services import observers
from ansible_collections.christmas.selfheal.bench.services.faults import APP
from ansible_collections.christmas.selfheal.bench.services.multi_service_app import COMPOSE, MultiServiceApp, host_of
from ansible_collections.christmas.selfheal.bench.services.results import ALONE, BALANCED
from ansible_collections.christmas.selfheal.bench.soak_services import project, schedule
from ansible_collections.christmas.selfheal.bench.soak_services.judge import NAME, TOO_MANY, Done, share
from ansible_collections.christmas.selfheal.bench.soak_services.schedule import BUSY, DEPLOY, JOB, LIMITED, Span
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous

FOLDER = hosts.LAB / NAME
PROJECT = FOLDER / "project"
NUMBERS = {ALONE: 58, BALANCED: 59}
"""The last part of the hosts' addresses."""
# Requests a second: of the users all the time, and of the flood that causes 429s.
VISITORS_RATE, FLOOD_RATE = 2.0, 60.0
JOB_CONTAINER = f"{APP}-{project.JOB_SERVICE}-1"
JOB_TIMEOUT = 120.0


def soaked(variant: str) -> MultiServiceApp:
    """The app of the soak, on a host of its own. The inventory does not describe its services."""
    base = host_of(variant, {})
    extra = {**base.extra, "compose_app_source": str(PROJECT)}
    return MultiServiceApp(variant, hosts.Host(f"{NAME}-{variant}", NUMBERS[variant], extra), project.MORE_SERVICES)


def visitor(address: str) -> continuous.Ask:
    """A user's request: "" for a good answer, else its status, or the name of the error."""

    def ask() -> str:
        said = observers.request(address, "GET", "/health")
        return "" if said == "200" else said

    return ask


class Seen(NamedTuple):
    """The outcome of a happening, as in `Done`."""

    measured: float | None = None
    trouble: str = ""


class Happening(threading.Thread):
    """One span of the schedule while it is carried out. `done` is set at its end."""

    def __init__(self, span: Span, work: Callable[[], Seen]) -> None:
        super().__init__(name=f"{span.kind} {span.number}", daemon=True)
        self.span, self.work, self.begun = span, work, time.time()
        self.done: Done | None = None

    def run(self) -> None:
        """Carry it out. An error is recorded as its trouble."""
        try:
            seen = self.work()
        except Trouble as trouble:
            seen = Seen(trouble=str(trouble))
        except Exception as error:
            seen = Seen(trouble=repr(error))
        self.done = Done(self.span.kind, self.span.number, self.begun, time.time(), *seen)

    def so_far(self) -> Done:
        """Its outcome, or its state so far."""
        return self.done or Done(self.span.kind, self.span.number, self.begun, time.time())


class Happenings:
    """Begins each span when it is due, in a thread of its own.

    :arg mark: the jobs' version of the engine's API, by which their calls are recognized.
    """

    def __init__(self, app: MultiServiceApp, spans: Sequence[Span], mark: str) -> None:
        self.app, self.mark = app, mark
        self.waiting, self.begun = list(spans), list[Happening]()
        self.stopping = threading.Event()
        self.kinds: dict[str, Callable[[Span], Seen]] = {
            DEPLOY: self._deploy,
            LIMITED: self._limited,
            BUSY: self._busy,
            JOB: self._job,
        }

    def begin_due(self, passed: float) -> None:
        """Begin the spans that are due `passed` seconds after the start."""
        for span in [one for one in self.waiting if one.at <= passed]:
            if schedule.waits_for_deploys(span.kind) and DEPLOY in self.going():
                continue
            self.waiting.remove(span)
            one = Happening(span, functools.partial(self.kinds[span.kind], span))
            self.begun.append(one)
            one.start()

    def going(self) -> list[str]:
        """The kinds of the running spans."""
        return [one.span.kind for one in self.begun if one.is_alive()]

    def done(self) -> list[Done]:
        """The ended and the running spans, in the order of their start."""
        return [one.so_far() for one in self.begun]

    def end(self, seconds: float) -> None:
        """Wait for the running spans, for some seconds in all; then end them."""
        deadline = time.monotonic() + seconds
        for one in self.begun:
            one.join(max(0.0, deadline - time.monotonic()))
        self.stop()

    def stop(self) -> None:
        """End the running spans now."""
        self.stopping.set()
        for one in self.begun:
            one.join(30.0)

    # --- the kinds of spans ---

    def _deploy(self, span: Span) -> Seen:
        project.next_release(PROJECT, span.number)
        limit = f"localhost,{self.app.host.name}"
        code, out = hosts.play("playbooks/deploy.yml", "-l", limit, stopping=self.stopping)
        return Seen(trouble=f"deploy.yml failed: {_reason(out)}" if code else "")

    def _limited(self, span: Span) -> Seen:
        with continuous.Prober(visitor(self.app.host.address), FLOOD_RATE) as flood:
            self.stopping.wait(span.seconds)
        return Seen(share(flood.samples(), TOO_MANY))

    def _busy(self, span: Span) -> Seen:
        # They end by themselves, even if this program is killed.
        loop = f"nice -n 10 timeout {span.seconds:.0f} sha256sum /dev/zero"
        begin = f"for one in $(seq $(nproc)); do {loop} </dev/null >/dev/null 2>&1 & echo $!; done"
        pids = self.app.host.ask(begin).split()
        # The lab's hosts share this machine's CPUs.
        before = procfs.cpu_time()
        self.stopping.wait(span.seconds - 1.0)
        busy = procfs.cpu_busy(before, procfs.cpu_time())
        self.app.host.shell(f"kill {' '.join(pids)}")
        return Seen(busy)

    def _job(self, span: Span) -> Seen:
        job = schedule.job(span.number)
        name = project.JOB_SERVICE
        # `docker wait` gives the exit code. `up` is needed because only it leaves the other services alone.
        words = f"up --detach --no-deps --no-build {name} && exit $(docker wait {JOB_CONTAINER})"
        if job.by_run:
            words = f"run --rm --no-deps -T {name}"
        text = f"export DOCKER_API_VERSION={self.mark} {project.JOB_EXIT}={job.code}; {COMPOSE} {words}"
        code, out, err = self.app.host.shell(text, JOB_TIMEOUT)
        if code != job.code:
            return Seen(trouble=f"exit code {code} instead of {job.code}: {(err or out).strip()[-300:]}")
        return Seen(float(code))


def _reason(out: str) -> str:
    """The line of a playbook's output that says why it failed, or its last one."""
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    failed = [line for line in lines if "fatal:" in line or "ERROR" in line]
    return (failed or lines or ["it said nothing"])[-1][:500]
