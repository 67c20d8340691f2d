# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One round: inject a fault into a healthy app, and observe the recovery."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.bench.recovery import results as shared
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Trouble
from ansible_collections.christmas.selfheal.bench.services import results
from ansible_collections.christmas.selfheal.bench.services.faults import (
    FAULTS,
    WORKER,
    WRITES,
    Fault,
    Incident,
    Seen,
    Target,
    lost,
    problems,
)
from ansible_collections.christmas.selfheal.bench.services.multi_service_app import (
    HEALTHY,
    LOOP_SECONDS,
    MultiServiceApp,
)
from ansible_collections.christmas.selfheal.bench.services.observers import Events, Writer
from ansible_collections.christmas.selfheal.bench.services.results import LOOP, OURS, POLICY, Run
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous

QUIET = 3.0
"""Seconds of good answers before a fault."""
LATE_INCIDENT = 3.0
"""Seconds after which no more incident is expected."""


class Asked(NamedTuple):
    """A requested round: a fault, and the number of the round."""

    name: str
    number: int
    rounds: int
    timeout: float

    @property
    def fault(self) -> Fault:
        """The fault of that name."""
        return FAULTS[self.name]


class Watching(NamedTuple):
    """The observers of a round."""

    outside: continuous.Prober
    writer: Writer
    events: Events

    def begin(self, name: str) -> None:
        """Wait until the app answers and takes records, and for a while more. Raises Trouble."""
        for one in (self.outside, self.writer.prober):
            if one.wait_healthy(one.now(), HEALTHY, poll=0.2) is None:
                raise Trouble(f"{name}: the app does not answer well before a fault")
        time.sleep(QUIET)

    def injected(self, fault: Fault, begun: float, ended: float) -> float:
        """The earliest moment at which a fault took effect."""
        if fault.heals == WORKER:
            return begun
        return drill_judge.injected_at(begun, ended, self._asks(fault).samples(begun))

    def healed(self, fault: Fault, begun: float, ended: float, seconds: float) -> float | None:
        """Wait for the recovery that the fault's `heals` names; the moment (epoch s)."""
        if fault.heals == WORKER:
            return self.events.wait_healthy(fault.service, begun, seconds)
        return self._asks(fault).wait_healthy(ended, seconds, poll=0.2)

    def _asks(self, fault: Fault) -> continuous.Prober:
        return self.writer.prober if fault.heals == WRITES else self.outside


class Observed(NamedTuple):
    """The observations from outside. Moments in epoch seconds; None for an event that did not happen."""

    injected: float
    healed: float | None
    written: float | None
    whole: float | None
    started: float | None
    failed: int
    sent: int
    rate: float
    acknowledged: frozenset[int]

    def after(self, moment: float | None) -> float | None:
        """The seconds from the fault to a moment."""
        return None if moment is None else round(max(moment - self.injected, 0.0), 2)


def one_round(app: MultiServiceApp, asked: Asked) -> Run:
    """Inject a fault, observe the recovery, and leave a healthy app. Raises Trouble."""
    fault = asked.fault
    app.settle(fault.service)
    app.alive()
    known = {one["id"] for one in app.incidents()}
    target, slowest = app.target(fault.service)
    waits = results.allowed(asked.timeout, slowest, app.system, fault)
    observed = _observe(app, asked, target, waits)
    app.clean_up(fault, target)
    incidents = _new_incidents(app, known) if app.system == OURS else []
    if observed.whole is None:
        app.mend(fault, target)
    return _run(app, asked, observed, incidents, waits)


def _observe(app: MultiServiceApp, asked: Asked, target: Target, waits: float) -> Observed:
    """Inject the fault, and observe until the app is healthy or the time is over."""
    fault = asked.fault
    with (
        Events(app.host) as events,
        Writer(app.host.address) as writer,
        continuous.Prober(app.ask) as outside,
    ):
        watching = Watching(outside, writer, events)
        watching.begin(app.host.name)
        time.sleep(_phase(app, asked))
        begun, ended = app.inject(fault, target)
        healed = watching.healed(fault, begun, ended, waits)
        injected = watching.injected(fault, begun, ended)
        written = None if healed is None else writer.prober.wait_healthy(ended, HEALTHY, poll=0.2)
        whole = time.time() if healed is not None and app.wait_whole(HEALTHY) else None
        started = events.back(fault.service, begun).started
        failed = sum(not one.ok for one in outside.samples(injected))
    rate = round(writer.sent / writer.seconds, 1)
    return Observed(
        injected, healed, written, whole, started, failed, writer.sent, rate, frozenset(writer.acknowledged())
    )


def _run(app: MultiServiceApp, asked: Asked, observed: Observed, incidents: Sequence[Incident], waits: float) -> Run:
    """The record of a round."""
    after, acknowledged = observed.after, observed.acknowledged
    gone = lost(acknowledged, app.stored())
    seen = Seen(after(observed.healed), after(observed.written), after(observed.whole), gone, incidents)
    first: Incident = incidents[0] if incidents else {}
    return {
        "system": results.key(app.system, app.variant),
        "fault": asked.name,
        "round": asked.number,
        "at": round(observed.injected, 3),
        "seconds": seen.seconds,
        "detected": after(drill_judge.epoch(first.get("confirmed", ""))),
        "started": after(observed.started),
        "written": seen.written,
        "whole": seen.whole,
        "waited": waits,
        "failed": observed.failed,
        "sent": observed.sent,
        "acknowledged": len(acknowledged),
        "lost": gone,
        "rate": observed.rate,
        "incidents": len(incidents),
        "cause": first.get("cause", ""),
        "services": list(first.get("services") or []),
        "remedies": [str(one["name"]) for one in first.get("remedies") or []],
        "problems": problems(asked.fault, seen) if app.system == OURS else [],
        "load": round(os.getloadavg()[0], 1),
    }


def _phase(app: MultiServiceApp, asked: Asked) -> float:
    """The second of the system's cycle at which the fault is injected: the rounds are spread evenly over the cycle."""
    cycle = {OURS: 1.0, LOOP: LOOP_SECONDS, POLICY: 0.0}[app.system]
    system = results.key(app.system, app.variant)
    return shared.phase(system, asked.name, asked.number, asked.rounds, cycle)


def _new_incidents(app: MultiServiceApp, known: set[str]) -> list[Incident]:
    """The incidents that were not known before, after a short wait for a late one."""
    for pause in (0.0, LATE_INCIDENT):
        time.sleep(pause)
        found = [one for one in app.incidents() if one["id"] not in known]
        if found:
            break
    return found
