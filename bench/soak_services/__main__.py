# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Soak a healthy app for an hour: does the watcher leave the app and the Docker engine alone?

The app is the project of molecule/multi-service with three more services, eight in all. It runs on a lab host with the
watcher, first without and then behind the load balancer. No fault is injected. Every 15 minutes a deploy changes a
file, and the app takes 75 s to start. Every 5 minutes the proxy answers all requests with 429 for half a minute, the
watcher's as well. In 3 of 6 minutes both cores are busy. Every 2.5 minutes a job runs, and every other one fails.

The soak counts remedies, all of them needless, and the collection's calls to the engine while the app is healthy. The
event stream does not count. Calls just after a container's event, and calls of a deploy or an incident, are counted
separately. A job's own calls are recognized by the API version that they use.

Prints a table, and writes `results/soak-services.json` (a shorter run: in `.lab/soak-services`). The exit code is 1
after a needless remedy or a call, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.engine_calls import EngineCalls, Uncounted
from ansible_collections.christmas.selfheal.bench.recover import RESULTS
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.__main__ import now, rest, say
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Trouble
from ansible_collections.christmas.selfheal.bench.services.__main__ import INTERRUPTED, bring_project
from ansible_collections.christmas.selfheal.bench.services.faults import APP, Incident
from ansible_collections.christmas.selfheal.bench.services.multi_service_app import COMPOSE, HEALTHY, MultiServiceApp
from ansible_collections.christmas.selfheal.bench.services.observers import Events
from ansible_collections.christmas.selfheal.bench.services.results import OURS, VARIANTS
from ansible_collections.christmas.selfheal.bench.soak_services import judge, project, schedule
from ansible_collections.christmas.selfheal.bench.soak_services.happenings import (
    FOLDER,
    JOB_CONTAINER,
    PROJECT,
    VISITORS_RATE,
    Happenings,
    soaked,
    visitor,
)
from ansible_collections.christmas.selfheal.bench.soak_services.judge import NAME, Soaked
from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import watcher_note

BROUGHT = hosts.LAB / "multi-service"
"""Where molecule/multi-service/project.yml puts the project."""
# Until earlier calls are over, the watcher's own too.
QUIET = 15.0
# Until an incident of 429s is over, in which the app is asked once a minute, and a deploy.
LONGEST_END = 240.0
# The watcher leaves a note each 15 s.
LONGEST_SILENCE = 60.0
MOST_INCIDENTS = 1000
# The event stream runs for that much longer than the planned soak.
SPARE = 900.0


class Watched:
    """The observers of a soak, and their observations. A context manager; call `begin` inside its block."""

    def __init__(self, app: MultiServiceApp, minutes: float, calls: EngineCalls, mark: str) -> None:
        self.app, self.minutes, self.calls, self.mark = app, minutes, calls, mark
        self.events = Events(app.host, minutes * 60 + LONGEST_END + SPARE)
        self.visitors = continuous.Prober(visitor(app.host.address), VISITORS_RATE)
        self.happenings = Happenings(app, schedule.schedule(minutes), mark)
        self.known, self.killed, self.silences = set[str](), list[float](), list[float]()
        self.kills, self.begun = procfs.oom_kills(), 0.0

    def __enter__(self) -> Watched:
        self.events.__enter__()
        self.visitors.__enter__()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.happenings.stop()
        self.visitors.__exit__()
        self.events.__exit__()

    def begin(self) -> None:
        """Wait until users are served, and count from here. Raises Trouble."""
        name = self.app.host.name
        if self.visitors.wait_healthy(self.visitors.now(), HEALTHY, poll=0.2) is None:
            raise Trouble(f"{name}: the app does not answer well before the soak")
        self.known = {one["id"] for one in self.app.incidents(MOST_INCIDENTS)}
        time.sleep(QUIET)
        self.calls.mark()
        self.kills, self.begun = procfs.oom_kills(), time.time()

    def second(self) -> None:
        """The check of each second."""
        kills = procfs.oom_kills()
        if kills > self.kills:
            self.killed.append(time.time())
        self.kills = kills

    def look(self) -> None:
        """The check of each minute. Raises Trouble when the host does not answer."""
        path = watcher_note.note_path("/", APP)
        noted, at = self.app.host.ask(f"stat -c %Y {path}; date +%s").split()
        self.silences.append(float(at) - float(noted))

    def result(self, ended: float) -> Soaked:
        """The result of a soak that ends now, or has ended. Raises Trouble."""
        done = self.happenings.done()
        incidents = self._incidents()
        sick = [*judge.incident_windows(incidents, time.time()), *judge.deploy_windows(done)]
        happened = [one.at for one in self.events.heard()]
        within = [call for call in self.calls.calls() if self.begun <= call["at"] <= ended]
        calls = judge.counted(within, sick, happened, self.killed, self.mark)
        samples = [one for one in self._samples() if one.sent <= ended]
        return {
            "minutes": self.minutes,
            "begun": self.begun,
            "ended": ended,
            "services": len(self.app.expected),
            "incidents": [judge.brief(one, done) for one in incidents],
            "needless": [one._asdict() for one in judge.needless(incidents, done)],
            "calls": calls._asdict(),
            "requests": judge.requests(samples, done)._asdict(),
            "happened": [one._asdict() for one in done],
            "well": [],
            "troubles": [],
        }

    def measure_starts(self) -> None:
        """Add the time in which the app did not answer during each deploy."""
        samples = self._samples()
        for one in self.happenings.begun:
            if one.done and one.done.kind == schedule.DEPLOY and not one.done.trouble:
                begun, ended = one.done.begun, one.done.ended + judge.AFTER_DEPLOY
                own = [sample for sample in samples if begun <= sample.sent <= ended]
                one.done = one.done._replace(measured=judge.longest_gap(own))

    def troubles(self, soaked: Soaked) -> list[str]:
        """The reasons why the soak is not conclusive."""
        spans = schedule.schedule(self.minutes)
        wanted = {kind: sum(span.kind == kind for span in spans) for kind in schedule.TITLES}
        found = judge.void(self.happenings.done(), soaked["incidents"], wanted)
        silent = max(self.silences, default=0.0)
        if silent > LONGEST_SILENCE:
            found.append(f"the watcher left no note for {silent:.0f} s: it may not have watched")
        try:
            self.events.check()
        except Trouble as trouble:
            found.append(f"{trouble}; looks after events count as calls while healthy since then")
        return found

    def _incidents(self) -> list[Incident]:
        """The soak's incidents, oldest first."""
        found = [one for one in self.app.incidents(MOST_INCIDENTS) if one["id"] not in self.known]
        return found[::-1]

    def _samples(self) -> list[continuous.Sample]:
        return self.visitors.samples(self.begun)


def pass_time(watched: Watched, variant: str) -> float:
    """Follow the schedule until the time is over, and report each minute; the end (epoch s)."""
    clock, seconds, reported = time.monotonic(), watched.minutes * 60, 0
    while (passed := time.monotonic() - clock) < seconds:
        watched.happenings.begin_due(passed)
        watched.second()
        if passed >= (reported + 1) * 60:
            reported += 1
            report_minute(watched, variant, reported)
        time.sleep(1.0)
    # The soak waits for the end of an incident of 429s or of a long deploy, which then counts.
    watched.happenings.end(LONGEST_END)
    return time.time()


def report_minute(watched: Watched, variant: str, minute: int) -> None:
    """Print the state. If a busy host does not answer, the next minute's report has it."""
    left = watched.minutes - minute
    begin = f"{variant}: {minute} of {watched.minutes:g} min, {left:g} left"
    try:
        watched.look()
        soaked = watched.result(time.time())
    except Trouble as trouble:
        say(f"{begin}: {trouble}")
        return
    calls, asked = soaked["calls"], soaked["requests"]
    going = ", ".join(watched.happenings.going()) or "nothing"
    say(
        f"{begin}: {len(soaked['incidents'])} incidents, {len(soaked['needless'])} remedies, "
        f"{len(calls['unprompted'])} calls while healthy ({calls['after_event']} after events), "
        f"{asked['sent']} requests, {asked['limited']} x 429, {asked['failed']} failed; now: {going}"
    )


def marked(app: MultiServiceApp, calls: EngineCalls) -> str:
    """The jobs' version of the API. Raises Trouble or Uncounted when their calls cannot be recognized by it."""
    version = app.host.ask("docker version --format '{{.Client.APIVersion}}'")
    mark = judge.older(version)
    calls.mark()
    app.host.ask(f"DOCKER_API_VERSION={mark} {COMPOSE} ps")
    found = [call["what"] for call in calls.wait_for(f"/v{mark}/containers/json")]
    other = [what for what in found if "/v" in what and not judge.is_marked(what, mark)]
    if other:
        raise Trouble(f"{app.host.name}: docker compose does not ask with API {mark} alone: {other[0]}")
    return mark


def soak(app: MultiServiceApp, variant: str, minutes: float) -> Soaked:
    """Soak the app of one variant. Raises Trouble or Uncounted."""
    app.use(OURS)
    machine = app.host
    calls = EngineCalls(machine.name, lambda text, stdin: machine.ask(text, stdin=stdin))
    if not app.wait_whole(HEALTHY):
        raise Trouble(f"{machine.name} is not well before the soak: {'; '.join(app.why)}")
    with calls.counted():
        mark = marked(app, calls)
        with Watched(app, minutes, calls, mark) as watched:
            watched.begin()
            say(f"{variant}: {minutes:g} minutes begin; the jobs ask the engine with API {mark}")
            ended = pass_time(watched, variant)
            # An open incident gets one more minute to end. Until then nothing else may call the engine.
            wait_for_end(app)
            watched.measure_starts()
            soaked = watched.result(ended)
            soaked["troubles"] = watched.troubles(soaked)
    # `selfheal status` correctly names a job whose last run failed.
    machine.shell(f"docker rm -f {JOB_CONTAINER}")
    if not app.wait_whole(HEALTHY):
        soaked["well"] = app.why
    return soaked


def wait_for_end(app: MultiServiceApp, seconds: float = 90.0) -> None:
    """Wait until no incident is open, for some seconds at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(one.get("ended") for one in app.incidents()):
            return
        time.sleep(2.0)


def measure(app: MultiServiceApp, given: argparse.Namespace, book: dict[str, Any]) -> int:
    """Soak the app on its host; add the result to `book`."""
    book["versions"] = hosts.versions(app.host)
    rest()
    try:
        book["variants"][app.variant] = soak(app, app.variant, given.minutes)
    except Uncounted as reason:
        raise Trouble(str(reason)) from None
    return 0


def measure_variants(given: argparse.Namespace, book: dict[str, Any]) -> int:
    """Measure each variant on a host of its own, one after the other; the exit code, 0 when nothing ended it."""
    for variant in given.variants:
        app = soaked(variant)
        project.bring(BROUGHT, PROJECT)
        work = functools.partial(measure, app, given, book)
        code = hosts.measured(NAME, [app.host], work, given.keep)
        if code:
            return code
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options; a bad one ends the program with a sentence that names it."""
    parser = argparse.ArgumentParser(
        prog=NAME, description=" ".join((__doc__ or "").partition("\n\n")[0].split()), allow_abbrev=False
    )
    add, least, full = parser.add_argument, schedule.LEAST_MINUTES, schedule.FULL_MINUTES
    add("--minutes", type=float, default=full, metavar="N", help=f"of each variant (default: {full}; at least {least})")
    names: dict[str, Any] = {"type": lambda text: text.split(","), "metavar": "NAME,NAME"}
    add("--variants", **names, default=list(VARIANTS), help=f"(default: {','.join(VARIANTS)})")
    add("--keep", action="store_true", help="leave the lab hosts as they are at the end")
    given = parser.parse_args(words)
    if given.minutes < least:
        parser.error(f"--minutes: {given.minutes:g}: {least} or more is needed")
    for name in given.variants:
        if name not in VARIANTS:
            parser.error(f"--variants: {name!r} is not known here; use {', '.join(VARIANTS)}")
    return given


def is_whole(given: argparse.Namespace) -> bool:
    """Whether a run is a full one; a shorter run does not overwrite its figures."""
    return bool(given.minutes >= schedule.FULL_MINUTES and given.variants == list(VARIANTS))


def tell(given: argparse.Namespace, book: Mapping[str, Any], path: Path) -> int:
    """Print the tables, write the file; the exit code."""
    for variant, one in book["variants"].items():
        print(f"\n{VARIANTS[variant]}:\n\n{judge.shown(one)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(str(path), (json.dumps(book, indent=1) + "\n").encode(), mode=0o644)
    print(f"\n{path} is written")
    print(judge.verdict(book["variants"], given.variants))
    return judge.exit_code(book["variants"], given.variants)


def main() -> int:
    """Copy the project, soak, print the results."""
    given = arguments()
    # Its inventory must not overwrite another benchmark's.
    hosts.INVENTORY = FOLDER / "hosts.yml"
    settings = {"minutes": given.minutes, "variants": given.variants, "start_seconds": schedule.START_SECONDS}
    book: dict[str, Any] = {"begun": now(), "machine": hosts.machine(), "settings": settings, "variants": {}}
    path = (RESULTS if is_whole(given) else FOLDER) / f"{NAME}.json"
    try:
        bring_project()
    except Trouble as trouble:
        print(f"{NAME}: {trouble}", file=sys.stderr)
        return 2
    code = measure_variants(given, book)
    book["ended"] = now()
    if code == INTERRUPTED:
        return code
    return tell(given, book, path)


if __name__ == "__main__":
    sys.exit(main())
