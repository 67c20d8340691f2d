# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run drills: inject each fault on a host, watch the app from outside, and report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..core import files
from ..core.clock import Clock, stamp
from ..docker.containers import Document, seconds_since
from ..docker.project_layout import HARDENED_FILE
from ..probe import continuous, web
from ..probe.check_spec import parse_checks
from ..records.incidents import IncidentRecord
from . import fault as drill_fault
from . import host as drill_host
from . import judge as drill_judge
from . import placeholders
from . import report as drill_report
from .fault import DrillError, Fault, Values
from .host import COMMAND, AppHost, Host
from .judge import Run
from .options import Options

WARM = 15.0
"""Seconds after its start at which an app is warm."""
REST = 60.0
"""Seconds after which the app has to be healthy, and its incident closed."""
RECORDED = 10.0
"""Seconds after a fault's end in which the host has to have recorded it."""
BEFORE = 2.0
"""Seconds before the fault that the picture shows."""

Say = Callable[[str], object]
"""Shows a line to the person at the screen."""


class NotInjected(DrillError):
    """A fault could not be injected; the others can."""


class Target(NamedTuple):
    """What is measured from outside: its URL, the app's port on its host, and the prober."""

    url: str
    port: str
    prober: continuous.Prober


class _Done(TypedDict, total=False):
    changed: bool
    report: drill_report.Report
    path: str


class Outcome(_Done):
    """The text for the screen, and whether all goals were met; after drills the report, and its path without suffix."""

    text: str
    ok: bool


def drill(
    options: Options, catalogue: Mapping[str, Fault], host: Host, check_mode: bool, say: Say, clock: Clock | None = None
) -> Outcome:
    """List the faults, show a plan, or run the drills and write their report. Raises DrillError."""
    clock = clock or Clock()
    if not options.faults:
        shown = drill_fault.listing(catalogue, options.language)
        how = "Choose with -e drill_faults=NAME,NAME, fast or all; services breaks each service of the app in turn."
        return {"text": f"{shown}\n\n{how}", "ok": True}
    if options.rounds < 1:
        raise DrillError(f"drill_rounds: invalid value {options.rounds}: use 1 or more")
    drill_fault.check_names(catalogue, options.faults)
    app = AppHost(host, options.app, options.host, clock)
    target = choose_target(options, host)
    if drill_fault.SERVICES in options.faults or set(options.faults) - {*catalogue, "all", "fast"}:
        catalogue = {**catalogue, **app.faults_of_services()}
    faults, left_out = drill_fault.choose(catalogue, options.faults, _able(options))
    planned = drill_fault.plan(faults, placeholders.known(options), options.language)
    if check_mode:
        return {"text": "\n".join([f"Would be injected on {options.host}:", planned, *left_out]), "ok": True}
    _require_consent(options, faults, planned)
    if not app.status()["watcher"]["alive"]:
        raise DrillError(
            f"{options.host}: the watcher of {options.app} is not running: see selfheal status, run site.yml"
        )
    faults, left_out = drill_fault.choose(catalogue, options.faults, _able(options, app))
    now = clock.now()
    runs, troubles = Drills(app, options, target, say, clock).run(faults)
    about: drill_report.About = {
        "id": f"{stamp(now)}-drill-{options.host}",
        "app": options.app,
        "host": options.host,
        "address": options.address,
        "url": target.url,
        "language": options.language,
        "left_out": left_out,
    }
    report = drill_report.build(about, faults, runs, troubles)
    path = _write(report, options.reports)
    shown = drill_report.screen(report, f"{path}.md")
    return {"changed": bool(runs), "report": report, "text": shown, "path": path, "ok": report["ok"]}


def _require_consent(options: Options, faults: Sequence[Fault], planned: str) -> None:
    """Raise DrillError for a host that is not a lab host, unless the person has named the app."""
    if options.lab or options.confirm == options.app:
        return
    names = ", ".join(fault.name for fault in faults)
    raise DrillError(
        f"{options.host} ({options.address or 'no address'}) is not a lab host, and {options.app} would be broken "
        f"there on purpose ({names}). To do that, add -e drill_confirm={options.app}\n{planned}"
    )


def _write(report: drill_report.Report, folder: str) -> str:
    """Write the report as JSON, picture and Markdown; their path without suffix."""
    path = os.path.join(folder, report["id"])
    os.makedirs(folder, mode=0o750, exist_ok=True)
    for suffix, text in (
        ("json", json.dumps(report, indent=2) + "\n"),
        ("svg", drill_report.svg(report)),
        ("md", drill_report.markdown(report, f"{report['id']}.svg")),
    ):
        files.atomic_write(f"{path}.{suffix}", text.encode(), mode=0o640)
    return path


def choose_target(options: Options, host: Host) -> Target:
    """Choose what is measured from outside. Raises DrillError when nothing can be."""
    checks = options.checks
    values = {name: str(value) for name, value in options.values.items()}
    try:
        if options.url:
            ask, url = continuous.asker(parse_checks([{"name": "drill", "url": options.url}]), {})
        else:
            ask, url = continuous.asker(checks, values, outside=options.address if host.is_remote else "")
    except (ValueError, web.Fault) as error:
        raise DrillError(str(error)) from None
    # A drill_url may be that of a proxy; the app's own port is in the checks.
    asked = url
    with contextlib.suppress(ValueError, web.Fault):
        asked = continuous.asker(checks, values)[1]
    return Target(url, str(getattr(web.address(asked), "port", "")), continuous.Prober(ask))


def _able(options: Options, app: AppHost | None = None) -> set[str]:
    """The needs of faults that are met here; without `app`, those that only the host knows are assumed."""
    met = {
        "lab": options.lab,
        "fault_file": bool(options.fault_file),
        "standin": bool(options.standin),
        "env": bool(options.variables),
        "secret": bool(options.secret),
        "instances": app is None or app.instances().wanted >= 2,
        "alertmanager": app is None or app.has_alertmanager(),
    }
    return {need for need, is_met in met.items() if is_met}


class Drills:
    """One run of drills against one app. Each method that asks the host raises DrillError when it does not answer."""

    def __init__(self, app: AppHost, options: Options, target: Target, say: Say, clock: Clock) -> None:
        self._app, self._options, self._target = app, options, target
        self._prober, self._say, self._clock = target.prober, say, clock
        self._keep, self._unit = placeholders.keep(app.app), f"selfheal-drill-undo-{app.app}"
        self._ahead, self._balanced = 0.0, False

    def run(self, faults: Sequence[Fault]) -> tuple[list[Run], list[str]]:
        """Drill every fault, `rounds` times: the runs, and sentences about what could not be measured."""
        runs: list[Run] = []
        troubles: list[str] = []
        with self._prober:
            try:
                self._ahead = self._clock_ahead()
                self._balanced = self._app.instances().wanted >= 2
                self._undo_interrupted()
                for fault in faults:
                    try:
                        for number in range(1, self._options.rounds + 1):
                            runs.append(self.drill(fault, number))
                            self._say(_line(fault, runs[-1], self._options.rounds))
                    except NotInjected as error:
                        troubles.append(str(error))
                        self._say(str(error))
            except DrillError as error:
                troubles.append(f"ended early: {error}")
        return runs, troubles

    def drill(self, fault: Fault, number: int) -> Run:
        """Inject one fault once, wait for its end, and judge it."""
        old = self._wait_for_rest()
        before = self._app.containers()
        if not before:
            raise self._app.no_container()
        if fault.warm:
            self._wait_until_warm(before)
        values = placeholders.of_containers(self._options, before, self._target.port)
        self._prepare(fault, values)
        recovered, since, whole = None, None, None
        held = IncidentRecord()
        restarted: list[str] = []
        with self._lifting(fault, values) as lift:
            begun, ended = self._inject(fault, values)
            if fault.expect == "recovered":
                recovered = self._recovery(fault, values, ended)
                since = self._since(fault, values) if recovered is not None else None
                if fault.instance and self._balanced:
                    whole = self._whole(ended, fault.timeout)
            else:
                held = self._watch(fault, old)
                if fault.expect == "escalated":
                    restarted = drill_host.restarted(before, self._app.containers())
            lift(recovered is None)
        well = self._is_well(values)
        afterwards = self._afterwards(fault, values)
        records = self._closed(old, some=fault.incident)
        if fault.expect == "held":
            restarted = drill_host.restarted(before, self._app.containers())
        samples = self._prober.samples(begun - BEFORE)
        injected = drill_judge.injected_at(begun, ended, samples)
        seen = drill_judge.Seen(
            round=number,
            injected=injected,
            since=injected if since is None else max(injected, since),
            recovered=recovered,
            well=well,
            ahead=self._ahead,
            samples=samples,
            incidents=records,
            held=held,
            files=self._app.evidence(records[0]) if records else [],
            restarted=restarted,
            afterwards=afterwards,
            balanced=self._balanced,
            whole=whole,
        )
        named = dataclasses.replace(fault, names=drill_fault.fill([fault.names], values)[0])
        return drill_judge.judge(named, seen)

    # --- before ---

    def _clock_ahead(self) -> float:
        """How far the host's clock is ahead of ours, by the shortest of a few round trips."""
        found = []
        for _unused in range(3):
            sent = self._prober.now()
            there = float(self._app.ask(["date", "+%s.%N"]))
            back = self._prober.now()
            found.append((back - sent, there - (sent + back) / 2))
        return min(found)[1]

    def _undo_interrupted(self) -> None:
        """Undo the fault of a drill that was interrupted."""
        undo = f"{self._keep}/undo"
        if self._app.run(["test", "-e", undo]).code == 0:
            self._say(f"{self._app.name}: an earlier drill was interrupted; its fault is undone first")
            self._app.run(["systemctl", "stop", f"{self._unit}.timer"])
            self._app.run(["sh", undo], seconds=300)

    def _wait_for_rest(self) -> set[str]:
        """Wait until the app is healthy and no incident is open; the ids of the incidents so far."""
        self._app.resume()
        if self._prober.wait_healthy(self._prober.now(), REST) is None:
            last = next((sample.reason for sample in reversed(self._prober.samples()) if not sample.ok), "no answer")
            raise DrillError(
                f"{self._target.url}, asked from this machine before the drill: {last}. Fix: {self._fix_unreachable()}"
            )
        records = self._closed(set())
        if any(not record["healthy"] for record in records):
            raise DrillError(
                f"an incident is still open ({records[0]['id']}): see selfheal incidents on {self._app.name}"
            )
        return {str(record["id"]) for record in records}

    def _wait_until_warm(self, containers: Sequence[Document]) -> None:
        """Wait until every container has run for a while."""
        now = self._prober.now() + self._ahead
        ages = (seconds_since(str(one["State"]["StartedAt"]), now) for one in containers)
        self._clock.sleep(max(0.0, WARM - min((age for age in ages if age is not None), default=WARM)))

    def _fix_unreachable(self) -> str:
        """The fix for an app that does not answer from here; on its host it may be healthy."""
        app, name = self._app.app, self._app.name
        if not self._app.is_healthy():
            return f"{app} is not healthy on {name} either: run recover.yml first"
        return (
            f"{app} is healthy on {name}, so this address cannot be reached from here. "
            f"Give the one that users use: -e drill_url=https://…"
        )

    def _prepare(self, fault: Fault, values: Values) -> None:
        """Copy the app's files, and have the host undo the fault by itself in case this run is killed."""
        env = [".env"] if self._options.variables else []
        kept = [f"{values['directory']}/{name}" for name in (*env, HARDENED_FILE)]
        script = "".join(
            f"{drill_host.bounded(drill_fault.fill(command, values))}\n" for command in (*fault.undo, *fault.cleanup)
        )
        late = max(fault.timeout, fault.hold) + REST
        undo = ["systemd-run", "--quiet", "--collect", f"--unit={self._unit}", f"--on-active={late:.0f}s"]
        commands = [
            shlex.join(["mkdir", "-p", "-m", "0700", self._keep]),
            shlex.join(["cp", "-p", *kept, self._keep]),
            shlex.join(["printf", "%s", f"{script}rm -rf {self._keep}\n"]) + f" >{self._keep}/undo",
            shlex.join([*undo, "sh", f"{self._keep}/undo"]),
        ]
        answer = self._app.shell(" && ".join(commands))
        if answer.code:
            raise NotInjected(f"{fault.name} could not be prepared: {(answer.err or answer.out).strip()}")

    # --- the fault ---

    @contextlib.contextmanager
    def _lifting(self, fault: Fault, values: Values) -> Iterator[Callable[[bool], None]]:
        """End the fault in any case: by `lift(undo)`, or when the block is left without it."""
        lifted = []

        def lift(undo: bool) -> None:
            lifted.append(True)
            self._app.run(["systemctl", "stop", f"{self._unit}.timer"])
            for command in (*(fault.undo if undo else ()), *fault.cleanup):
                filled = drill_fault.fill(command, values)
                answer = self._app.run(filled)
                if answer.code:
                    self._say(f"{fault.name}: {shlex.join(filled)}: {(answer.err or answer.out).strip()[:200]}")
            self._app.run(["rm", "-rf", self._keep])

        try:
            yield lift
        finally:
            if not lifted:
                lift(True)

    def _inject(self, fault: Fault, values: Values) -> tuple[float, float]:
        """Inject the fault; when its last command began and ended, by our clock."""
        commands = [drill_fault.fill(command, values) for command in fault.inject]
        if fault.where == "controller":
            return self._inject_from_here(fault, commands)
        quiet = [f"{drill_host.bounded(command)} >/dev/null" for command in commands]
        text = " && ".join([*quiet[:-1], "date +%s.%N", quiet[-1], "date +%s.%N"])
        answer = self._app.shell(text, patient=False)
        if answer.code:
            why = answer.err.strip() or f"exit code {answer.code}"
            raise NotInjected(f"{fault.name} could not be injected: {why}")
        begun, ended = (float(line) - self._ahead for line in answer.out.split())
        return begun, ended

    def _inject_from_here(self, fault: Fault, commands: Sequence[Sequence[str]]) -> tuple[float, float]:
        begun = self._prober.now()
        for command in commands:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND, check=False)
            if ended.returncode:
                raise NotInjected(f"{fault.name} could not be injected: {ended.stderr.strip()}")
        return begun, self._prober.now()

    def _recovery(self, fault: Fault, values: Values, ended: float) -> float | None:
        """When the app, and what `until` checks, worked again; None when that takes too long."""
        deadline = self._prober.now() + fault.timeout
        works = ended
        while fault.until:
            if self._app.run(drill_fault.fill(fault.until, values), seconds=5).code == 0:
                works = self._prober.now()
                break
            if self._prober.now() >= deadline:
                return None
            self._clock.sleep(0.1)
        well = self._prober.wait_healthy(ended, max(deadline - self._prober.now(), 2.0))
        return None if well is None else max(well, works)

    def _since(self, fault: Fault, values: Values) -> float | None:
        """From when the time counts, when the fault has a command for it."""
        if not fault.since:
            return None
        return float(self._app.ask(drill_fault.fill(fault.since, values))) - self._ahead

    def _whole(self, ended: float, timeout: float) -> float | None:
        """When all instances served again, and no incident was open; None when that takes too long."""
        # Before that, the load balancer may not have noticed the fault.
        noticed = ended + drill_judge.EJECTED + 1.0
        while self._prober.now() < ended + timeout:
            serving, wanted = self._app.instances()
            if self._prober.now() >= noticed and serving >= wanted and not self._app.status()["incident"]:
                return self._prober.now()
            self._clock.sleep(0.2)
        return None

    def _watch(self, fault: Fault, old: set[str]) -> IncidentRecord:
        """Let the fault last for its time, or longer until the host has recorded it; the incident."""
        begun = self._clock.monotonic()
        while True:
            record = next((one for one in self._app.incidents() if one["id"] not in old), IncidentRecord())
            notifies = fault.expect in ("escalated", "given_up")
            recorded = bool(record.get("escalated") if notifies else record) or not fault.incident
            if self._clock.monotonic() - begun >= (fault.hold if recorded else max(fault.hold, fault.timeout)):
                return record
            self._clock.sleep(1.0)

    # --- after ---

    def _closed(self, old: set[str], some: bool = False) -> list[IncidentRecord]:
        """The incidents that are not old, newest first, once they are closed or REST is over.

        With `some`, one is waited for: what the restart policy cured is recorded a moment later.
        """
        begun = self._clock.monotonic()
        while True:
            records = [record for record in self._app.incidents() if record["id"] not in old]
            passed = self._clock.monotonic() - begun
            there = bool(records) or not some or passed >= RECORDED
            if (there and all(record["healthy"] for record in records)) or passed >= REST:
                return records
            self._clock.sleep(0.5)

    def _is_well(self, values: Values) -> bool:
        """Whether the app answers now. When it does not, its containers are recreated."""
        if self._prober.wait_healthy(self._prober.now(), REST) is not None:
            return True
        up = [*values["compose"], "up", "--detach", "--force-recreate"]
        self._say(f"{self._app.app} does not answer; last resort: {shlex.join(up)}")
        self._app.run(up, seconds=300)
        if self._prober.wait_healthy(self._prober.now(), REST) is None:
            raise DrillError(f"{self._app.app} could not be brought back: run recover.yml")
        return False

    def _afterwards(self, fault: Fault, values: Values) -> str:
        """Why the command `afterwards` failed until REST was over; "" when it passed, or there is none."""
        deadline = self._clock.monotonic() + REST
        while fault.afterwards:
            answer = self._app.run(drill_fault.fill(fault.afterwards, values))
            if answer.code == 0:
                break
            if self._clock.monotonic() >= deadline:
                return drill_host.message(answer)[:200]
            self._clock.sleep(0.5)
        return ""


def _line(fault: Fault, run: Run, rounds: int) -> str:
    """A drill that has just been run, for the person at the screen."""
    often = f" {run['round']}/{rounds}" if rounds > 1 else ""
    noticed = "not noticed" if run["mttd"] is None else f"noticed after {run['mttd']:.1f} s"
    took = "not recovered" if fault.expect == "recovered" else fault.expect
    if run["mttr"] is not None:
        took = f"recovered after {run['mttr']:.1f} s"
    how = f"{run['cause'] or 'no incident'}: {', '.join(run['remedies']) or 'no remedy'}"
    whole = "" if run["whole"] is None else f", all instances serve after {run['whole']:.1f} s"
    wrong = f" PROBLEM: {'; '.join(run['problems'])}" if run["problems"] else ""
    return f"{fault.name}{often}: {noticed}, {took}{whole}, {run['failed']} failed requests ({how}){wrong}"
