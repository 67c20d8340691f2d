# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Injects faults on a host, watches the app from the controller, and writes a report.

An action and not a module: what watches must be outside the host, and go on while the host is being broken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import stamp
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import HARDENED_FILE as OVERLAY
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import report as drill_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import DrillError, Fault
from ansible_collections.christmas.selfheal.plugins.module_utils.env import variables as variable_table
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous, web
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks

pass  # removed

SPEC: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "catalogue": {"type": "path", "required": True},
    "faults": {"type": "list", "elements": "str", "default": []},
    "rounds": {"type": "int", "default": 1},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "values": {"type": "dict", "default": {}},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "url": {"type": "str", "default": ""},
    "address": {"type": "str", "default": ""},
    "lab": {"type": "bool", "default": False},
    "confirm": {"type": "str", "default": ""},
    "fault_file": {"type": "str", "default": ""},
    "standin": {"type": "str", "default": ""},
    "language": {"type": "str", "choices": ["en", "ko"], "default": "en"},
    "reports": {"type": "path", "required": True},
}
SELFHEAL = "/usr/local/bin/selfheal"
KEEP = "/run/selfheal-drill"
# Seconds: for one command on the host, for the host to answer again, for the app and its incident to come to rest.
COMMAND, REACH, REST = 60, 60.0, 60.0
# Seconds after its end in which the host has to have told of a fault.
TOLD = 10.0
BEFORE = 2.0
"""Seconds before the fault that the picture shows."""


class NotInjected(DrillError):
    """A fault could not be injected; the others can."""


class Host:
    """Commands on the host, through Ansible's connection and with its privileges."""

    def __init__(self, action: ActionModule) -> None:
        self._action = action

    def outside(self, address: str) -> str:
        """The host's address, when it is another machine than this one; "" when Ansible knows it by a name only."""
        return address if self._action._connection.transport in ("ssh", "paramiko") else ""

    def shell(self, text: str, patient: bool = True) -> tuple[int, str, str]:
        """Run a shell text; (exit code, stdout, stderr). A host that is away is waited for, unless `patient` is False.

        Raises DrillError when it stays away.
        """
        deadline = time.monotonic() + (REACH if patient else 0.0)
        while True:
            try:
                # With something to read, if only a line, ssh takes no terminal, and stdout stays what it is.
                ended = self._action._low_level_execute_command(text, in_data=b"\n")
                return int(ended["rc"]), str(ended["stdout"]), str(ended["stderr"])
            except AnsibleConnectionFailure as error:
                if time.monotonic() >= deadline:
                    raise DrillError(f"the host does not answer over ssh: {error}") from None
                self._action._connection.reset()
                time.sleep(0.5)

    def run(self, argv: Sequence[str], seconds: int = COMMAND) -> tuple[int, str, str]:
        """Run one command, for so many seconds at most: an engine that hangs must not hang the drill."""
        return self.shell(_bounded(argv, seconds))

    def ask(self, argv: Sequence[str]) -> str:
        """Run one command that must succeed; its stdout. Raises DrillError with what it said."""
        code, out, err = self.run(argv)
        if code:
            raise DrillError(f"{shlex.join(argv)}: {(err or out).strip() or f'exit code {code}'}")
        return out


class Drills:
    """One run of drills against one host."""

    def __init__(self, host: Host, given: Mapping[str, Any], name: str, say: Any) -> None:
        self.host, self.given, self.app, self.name, self.say = host, given, given["app"], name, say
        self.keep, self.unit = f"{KEEP}/{self.app}", f"selfheal-drill-undo-{self.app}"
        self.ahead, self.balanced = 0.0, False

    @property
    def secret(self) -> str:
        """The first secret that the app cannot do without; "" when it has none."""
        variables = variable_table.parse_entries(self.given["variables"])
        return next((one.name for one in variables if one.required and one.secret), "")

    # --- what the host says ---

    def selfheal(self, *words: str) -> Any:
        """Ask the agent. Raises DrillError when it is not there."""
        code, out, err = self.host.run([SELFHEAL, *words, "--app", self.app])
        if code == 127:
            raise DrillError(f"{self.name}: the watcher is not installed here: run site.yml")
        with contextlib.suppress(ValueError):
            if "--json" in words:
                return json.loads(out)
            if code == 0:
                return out
        raise DrillError(f"{self.name}: selfheal {' '.join(words)}: {(err or out).strip()[:300]}")

    def able(self, ask: bool) -> set[str]:
        """The needs of faults that are met here; without `ask`, the host is not touched and given credit."""
        unit = ["systemctl", "is-active", "--quiet", "prometheus-alertmanager.service"]
        met = {name for name in ("lab", "fault_file", "standin") if self.given[name]}
        met |= {"env"} if self.given["variables"] else set()
        met |= {"secret"} if self.secret else set()
        met |= {"instances"} if not ask or self.instances()[1] >= 2 else set()
        return met | ({"alertmanager"} if not ask or self.host.run(unit)[0] == 0 else set())

    def instances(self) -> tuple[int, int]:
        """How many instances the load balancer sends requests to, and how many there should be; (0, 0) without one."""
        told = self.selfheal("status", "--json").get("instances") or {"serving": 0, "of": 0}
        return int(told["serving"]), int(told["of"])

    def measure_clock(self) -> None:
        """Measure how far the host's clock is ahead of ours; the shortest of a few round trips tells it best."""
        found = []
        for _ in range(3):
            sent = self.prober.now()
            there = float(self.host.ask(["date", "+%s.%N"]))
            back = self.prober.now()
            found.append((back - sent, there - (sent + back) / 2))
        self.ahead = min(found)[1]

    def containers(self) -> list[dict[str, Any]]:
        """The app's containers, as `docker inspect` shows them."""
        label = f"label=com.docker.compose.project={self.app}"
        ids = self.host.ask(["docker", "container", "ls", "--all", "--quiet", "--filter", label]).split()
        return json.loads(self.host.ask(["docker", "inspect", *ids])) if ids else []

    def faults_of_services(self) -> dict[str, Fault]:
        """What may happen to each service that is there to stay."""
        found: dict[str, int] = {}
        starts: dict[str, float] = {}
        for one in sorted(self.containers(), key=lambda one: str(one["Name"])):
            service = (one["Config"].get("Labels") or {}).get("com.docker.compose.service", "")
            # A job that has ended is nothing to break.
            if service and one["State"]["Running"]:
                found[service] = found.get(service, 0) + 1
                starts[service] = ((one["Config"].get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9
        if not found:
            raise DrillError(f"{self.app} has no container on {self.name}: run site.yml")
        return drill_fault.of_services(self.app, found, starts)

    def values(self, containers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the placeholders stand for. Raises DrillError when there is no container."""
        if not containers:
            raise DrillError(f"{self.app} has no container on {self.name}: run site.yml")
        by_name = sorted(containers, key=lambda one: one["Name"])
        publishing = [one for one in by_name if self.port in _published(one)]
        main = (publishing or by_name)[0]
        return {
            **self.known(),
            "compose": self.compose(main["Config"].get("Labels") or {}),
            "container": main["Name"].lstrip("/"),
            "image": main["Config"]["Image"],
            "image_id": main["Image"],
            "service": (main["Config"].get("Labels") or {}).get("com.docker.compose.service", ""),
            "pid": main["State"]["Pid"],
            "port": self.port,
        }

    def known(self) -> dict[str, Any]:
        """What the placeholders stand for that no container has to be asked for."""
        folder = self.given["directory"]
        return {
            "app": self.app,
            "host": self.name,
            "address": self.given["address"],
            "directory": folder,
            "keep": self.keep,
            "compose": self.compose({}),
            "standin": self.given["standin"],
            "fault_file": self.given["fault_file"],
            "secret": self.secret,
        }

    def compose(self, labels: Mapping[str, str]) -> list[str]:
        """Return `docker compose` with the files and the project directory that a container was made from."""
        folder = self.given["directory"]
        made_from = labels.get("com.docker.compose.project.config_files", "").split(",")
        files = made_from if made_from != [""] else [f"{folder}/{name}" for name in ("compose.yaml", OVERLAY)]
        top = labels.get("com.docker.compose.project.working_dir", folder)
        env = [f"--env-file={folder}/.env"] if top != folder else []
        options = [f"--project-name={self.app}", f"--project-directory={top}", *env]
        return ["docker", "compose", *options, *(f"--file={name}" for name in files)]

    # --- one drill ---

    def settle(self) -> set[str]:
        """Wait until the app is well and no incident is open, forget old attempts; return the ids of old incidents."""
        self.selfheal("resume")
        if self.prober.wait_healthy(self.prober.now(), REST) is None:
            last = next((sample.reason for sample in reversed(self.prober.samples()) if not sample.ok), "no answer")
            raise DrillError(f"{self.url}, asked from this machine before the drill: {last}. Fix: {self.instead()}")
        records = self.closed(set())
        if any(not record["healthy"] for record in records):
            raise DrillError(f"an incident is still open ({records[0]['id']}): see selfheal incidents on {self.name}")
        return {str(record["id"]) for record in records}

    def instead(self) -> str:
        """What to do about an app that cannot be asked from here: on its host it may well answer."""
        if self.host.run([SELFHEAL, "probe", "--app", self.app])[0]:
            return f"{self.app} is not healthy on {self.name} either: run recover.yml first"
        return (
            f"{self.app} is healthy on {self.name}, so this address cannot be reached from here. "
            f"Name the one that users ask: -e drill_url=https://…"
        )

    def closed(self, old: set[str], some: bool = False) -> list[dict[str, Any]]:
        """The incidents that are not old, newest first, once they are closed, or the time for that is over.

        With `some` there has to be one: of what the restart policy cured, the host tells a moment later.
        """
        begun = time.monotonic()
        while True:
            records = [record for record in self.selfheal("incidents", "--json") if record["id"] not in old]
            there = bool(records) or not some or time.monotonic() >= begun + TOLD
            if (there and all(record["healthy"] for record in records)) or time.monotonic() >= begun + REST:
                return records
            time.sleep(0.5)

    def drill(self, fault: Fault, number: int) -> dict[str, Any]:
        """Inject one fault once, see it through, and judge it."""
        old = self.settle()
        before = self.containers()
        values = self.values(before)
        self.prepare(fault, values)
        recovered, whole, held, restarted = None, None, {}, []
        with self.lifting(fault, values) as lift:
            begun, ended = self.inject(fault, values)
            if fault.expect == "recovered":
                recovered = self.recovery(fault, values, ended)
                since = self.since(fault, values) if recovered is not None else None
                if fault.instance and self.balanced:
                    whole = self.whole(ended, fault.timeout)
            else:
                held, since = self.watch(fault, old), None
                if fault.expect == "escalated":
                    restarted = _restarted(before, self.containers())
            lift(recovered is None)
        well = self.well(values)
        afterwards = self.afterwards(fault, values)
        records = self.closed(old, some=fault.incident)
        if fault.expect == "held":
            restarted = _restarted(before, self.containers())
        samples = self.prober.samples(begun - BEFORE)
        injected = drill_judge.injected_at(begun, ended, samples)
        seen = {
            "round": number,
            "injected": injected,
            "since": injected if since is None else max(injected, since),
            "recovered": recovered,
            "well": well,
            "ahead": self.ahead,
            "samples": samples,
            "incidents": records,
            "held": held,
            "files": self.evidence(records),
            "restarted": restarted,
            "afterwards": afterwards,
            "balanced": self.balanced,
            "whole": whole,
        }
        named = dataclasses.replace(fault, names=drill_fault.fill([fault.names], values)[0])
        return drill_judge.judge(named, seen)

    def prepare(self, fault: Fault, values: Mapping[str, Any]) -> None:
        """Keep copies of the app's files, and have the host undo the fault by itself should we not come to it."""
        env = [".env"] if self.given["variables"] else []
        kept = [f"{values['directory']}/{name}" for name in (*env, OVERLAY)]
        script = "".join(
            f"{_bounded(drill_fault.fill(command, values), COMMAND)}\n" for command in (*fault.undo, *fault.cleanup)
        )
        late = max(fault.timeout, fault.hold) + REST
        undo = ["systemd-run", "--quiet", "--collect", f"--unit={self.unit}", f"--on-active={late:.0f}s"]
        commands = [
            shlex.join(["mkdir", "-p", "-m", "0700", self.keep]),
            shlex.join(["cp", "-p", *kept, self.keep]),
            shlex.join(["printf", "%s", f"{script}rm -rf {self.keep}\n"]) + f" >{self.keep}/undo",
            shlex.join([*undo, "sh", f"{self.keep}/undo"]),
        ]
        code, out, err = self.host.shell(" && ".join(commands))
        if code:
            raise NotInjected(f"{fault.name} could not be prepared: {(err or out).strip()}")

    def leftover(self) -> None:
        """Undo the fault of a drill that was interrupted."""
        undo = f"{self.keep}/undo"
        if self.host.run(["test", "-e", undo])[0] == 0:
            self.say(f"{self.name}: an earlier drill was interrupted; its fault is undone first")
            self.host.run(["systemctl", "stop", f"{self.unit}.timer"])
            self.host.run(["sh", undo], seconds=300)

    @contextlib.contextmanager
    def lifting(self, fault: Fault, values: Mapping[str, Any]) -> Iterator[Any]:
        """Whatever happens, the fault does not stay: `lift(undo)` ends it, and so does leaving early."""
        lifted = []

        def lift(undo: bool) -> None:
            lifted.append(True)
            self.host.run(["systemctl", "stop", f"{self.unit}.timer"])
            for command in (*(fault.undo if undo else ()), *fault.cleanup):
                code, out, err = self.host.run(drill_fault.fill(command, values))
                if code:
                    self.say(
                        f"{fault.name}: {shlex.join(drill_fault.fill(command, values))}: {(err or out).strip()[:200]}"
                    )
            self.host.run(["rm", "-rf", self.keep])

        try:
            yield lift
        finally:
            if not lifted:
                lift(True)

    def inject(self, fault: Fault, values: Mapping[str, Any]) -> tuple[float, float]:
        """Inject it; when its last command began and had ended, by our clock."""
        commands = [drill_fault.fill(command, values) for command in fault.inject]
        if fault.where == "controller":
            begun = self.prober.now()
            for command in commands:
                ended = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND, check=False)
                if ended.returncode:
                    raise NotInjected(f"{fault.name} could not be injected: {ended.stderr.strip()}")
            return begun, self.prober.now()
        quiet = [f"{_bounded(command, COMMAND)} >/dev/null" for command in commands]
        text = " && ".join([*quiet[:-1], "date +%s.%N", quiet[-1], "date +%s.%N"])
        code, out, err = self.host.shell(text, patient=False)
        if code:
            raise NotInjected(f"{fault.name} could not be injected: {err.strip() or f'exit code {code}'}")
        first, last = (float(line) - self.ahead for line in out.split())
        return first, last

    def recovery(self, fault: Fault, values: Mapping[str, Any], ended: float) -> float | None:
        """When the app was well again, and what else the fault broke; None when that takes too long."""
        deadline = self.prober.now() + fault.timeout
        works = ended
        while fault.until:
            if self.host.run(drill_fault.fill(fault.until, values), seconds=5)[0] == 0:
                works = self.prober.now()
                break
            if self.prober.now() >= deadline:
                return None
            time.sleep(0.1)
        well = self.prober.wait_healthy(ended, max(deadline - self.prober.now(), 2.0))
        return None if well is None else max(well, works)

    def whole(self, ended: float, timeout: float) -> float | None:
        """When all instances served again, and no incident was open; None when that takes too long."""
        # Until then the load balancer may not have noticed.
        noticed = ended + drill_judge.EJECTED + 1.0
        while self.prober.now() < ended + timeout:
            serving, of = self.instances()
            if self.prober.now() >= noticed and serving >= of and not self.selfheal("status", "--json")["incident"]:
                return self.prober.now()
            time.sleep(0.2)
        return None

    def since(self, fault: Fault, values: Mapping[str, Any]) -> float | None:
        """From when the time counts, when the fault says so itself."""
        return float(self.host.ask(drill_fault.fill(fault.since, values))) - self.ahead if fault.since else None

    def watch(self, fault: Fault, old: set[str]) -> dict[str, Any]:
        """Let the fault go on for its time, and longer when the host has not said what it should say; the incident."""
        begun = time.monotonic()
        while True:
            found = [record for record in self.selfheal("incidents", "--json") if record["id"] not in old]
            record = found[0] if found else {}
            calls = fault.expect in ("escalated", "given_up")
            told = bool(record.get("escalated") if calls else record) or not fault.incident
            if time.monotonic() - begun >= (fault.hold if told else max(fault.hold, fault.timeout)):
                return record
            time.sleep(1.0)

    def well(self, values: Mapping[str, Any]) -> bool:
        """Whether the app answers after all that. When it does not, it is brought back, and that is told."""
        if self.prober.wait_healthy(self.prober.now(), REST) is not None:
            return True
        up = [*values["compose"], "up", "--detach", "--force-recreate"]
        self.say(f"{self.app} does not answer; last resort: {shlex.join(up)}")
        self.host.run(up, seconds=300)
        if self.prober.wait_healthy(self.prober.now(), REST) is None:
            raise DrillError(f"{self.app} could not be brought back: run recover.yml")
        return False

    def afterwards(self, fault: Fault, values: Mapping[str, Any]) -> str:
        """Why what must be so afterwards is not; "" when it is, or nothing must."""
        deadline = time.monotonic() + REST
        while fault.afterwards:
            code, out, err = self.host.run(drill_fault.fill(fault.afterwards, values))
            if code == 0:
                break
            if time.monotonic() >= deadline:
                return (err or out).strip()[:200] or f"exit code {code}"
            time.sleep(0.5)
        return ""

    def evidence(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """The names of the files with something in them that were kept besides the record itself."""
        if not records:
            return []
        folder = f"/var/lib/selfheal/{self.app}/incidents/{records[0]['id']}"
        _, out, _ = self.host.run(["find", folder, "-type", "f", "-size", "+0", "-printf", "%f\\n"])
        return sorted(set(out.split()) - {"incident.json", "incident.md"})

    # --- all of them ---

    def run(self, faults: Sequence[Fault]) -> tuple[list[dict[str, Any]], list[str]]:
        """Every fault, `rounds` times; what was judged, and what could not be measured, in sentences."""
        runs: list[dict[str, Any]] = []
        troubles: list[str] = []
        with self.prober:
            try:
                self.measure_clock()
                self.balanced = self.instances()[1] >= 2
                self.leftover()
                for fault in faults:
                    try:
                        for number in range(1, self.given["rounds"] + 1):
                            runs.append(self.drill(fault, number))
                            self.say(_line(fault, runs[-1], self.given["rounds"]))
                    except NotInjected as error:
                        troubles.append(str(error))
                        self.say(str(error))
            except DrillError as error:
                troubles.append(f"ended early: {error}")
        return runs, troubles

    def aim(self) -> None:
        """Choose what is asked from outside. Raises DrillError when there is nothing that can be."""
        url = self.given["url"]
        values = {name: str(value) for name, value in self.given["values"].items()}
        try:
            if url:
                ask, self.url = continuous.asker(parse_checks([{"name": "drill", "url": url}]), {})
            else:
                checks = parse_checks(self.given["checks"])
                ask, self.url = continuous.asker(checks, values, outside=self.host.outside(self.given["address"]))
        except (ValueError, web.Fault) as error:
            raise DrillError(str(error)) from None
        # A drill_url may be that of a proxy; the app's own port is in the checks.
        asked = self.url
        with contextlib.suppress(ValueError, web.Fault):
            asked = continuous.asker(parse_checks(self.given["checks"]), values)[1]
        self.port = str(getattr(web.address(asked), "port", ""))
        self.prober = continuous.Prober(ask)


def _bounded(argv: Sequence[str], seconds: int) -> str:
    return shlex.join(["timeout", "--kill-after=2", str(seconds), *argv])


def _published(container: Mapping[str, Any]) -> set[str]:
    bound = (container["HostConfig"].get("PortBindings") or {}).values()
    return {str(one["HostPort"]) for binding in bound for one in binding or []}


def _restarted(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the containers that were started, or made, meanwhile."""

    def lives(one: Mapping[str, Any]) -> tuple[Any, ...]:
        return one["Id"], one["State"]["StartedAt"], one["RestartCount"]

    known = {lives(one) for one in before}
    return sorted(one["Name"].lstrip("/") for one in after if lives(one) not in known)


def _line(fault: Fault, run: Mapping[str, Any], rounds: int) -> str:
    """A drill that has just been run, for who watches the screen."""
    often = f" {run['round']}/{rounds}" if rounds > 1 else ""
    noticed = "not noticed" if run["mttd"] is None else f"noticed after {run['mttd']:.1f} s"
    took = "not recovered" if fault.expect == "recovered" else fault.expect
    if run["mttr"] is not None:
        took = f"recovered after {run['mttr']:.1f} s"
    how = f"{run['cause'] or 'no incident'}: {', '.join(run['remedies']) or 'no remedy'}"
    whole = "" if run["whole"] is None else f", all instances serve after {run['whole']:.1f} s"
    wrong = f" PROBLEM: {'; '.join(run['problems'])}" if run["problems"] else ""
    return f"{fault.name}{often}: {noticed}, {took}{whole}, {run['failed']} failed requests ({how}){wrong}"


def _catalogue(folder: str) -> dict[str, Fault]:
    """Every fault of the folder, by name."""
    found = {}
    for path in sorted(Path(folder).glob("*.yml")):
        try:
            found[path.stem] = drill_fault.read_fault(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        except yaml.YAMLError as error:
            raise DrillError(f"faults/{path.name} is no YAML: {' '.join(str(error).split())}") from None
    if not found:
        raise DrillError(f"drill_catalogue: there is no fault in {folder}")
    return found


class ActionModule(ActionBase):
    """`christmas.selfheal.drill`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """List, plan or run."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False, "path": "", "report": {}}
        _, given = self.validate_argument_spec(argument_spec=SPEC)
        try:
            return {**result, **self._drill(given, str((task_vars or {})["inventory_hostname"]))}
        except DrillError as error:
            return {**result, "failed": True, "msg": str(error)}

    def _drill(self, given: Mapping[str, Any], name: str) -> dict[str, Any]:
        catalogue = _catalogue(given["catalogue"])
        language = given["language"]
        if not given["faults"]:
            shown = drill_fault.listing(catalogue, language)
            how = "Choose with -e drill_faults=NAME,NAME, fast or all; services breaks each service of the app in turn."
            return {"text": f"{shown}\n\n{how}", "ok": True}
        if given["rounds"] < 1:
            raise DrillError(f"drill_rounds: {given['rounds']} is no number of rounds: use 1 or more")
        drill_fault.check_names(catalogue, given["faults"])
        one = Drills(Host(self), given, name, self._display.display)
        one.aim()
        if drill_fault.SERVICES in given["faults"] or set(given["faults"]) - {*catalogue, "all", "fast"}:
            catalogue = {**catalogue, **one.faults_of_services()}
        faults, left_out = drill_fault.choose(catalogue, given["faults"], one.able(ask=False))
        planned = drill_fault.plan(faults, one.known(), language)
        if self._task.check_mode:
            return {"text": "\n".join([f"Would be injected on {name}:", planned, *left_out]), "ok": True}
        if not given["lab"] and given["confirm"] != given["app"]:
            raise DrillError(
                f"{name} ({given['address'] or 'no address'}) is no lab host, and {given['app']} would be broken there "
                f"on purpose ({', '.join(fault.name for fault in faults)}). When that is what you want, add "
                f"-e drill_confirm={given['app']}\n{planned}"
            )
        if not one.selfheal("status", "--json")["watcher"]["alive"]:
            raise DrillError(f"{name}: the watcher of {given['app']} is not running: see selfheal status, run site.yml")
        faults, left_out = drill_fault.choose(catalogue, given["faults"], one.able(ask=True))
        now = time.time()
        runs, troubles = one.run(faults)
        about = {
            "id": f"{stamp(now)}-drill-{name}",
            "app": given["app"],
            "host": name,
            "address": given["address"],
            "url": one.url,
            "language": language,
            "left_out": left_out,
        }
        report = drill_report.build(about, faults, runs, troubles)
        path = os.path.join(given["reports"], about["id"])
        os.makedirs(given["reports"], mode=0o750, exist_ok=True)
        for end, text in (
            ("json", json.dumps(report, indent=2) + "\n"),
            ("svg", drill_report.svg(report)),
            ("md", drill_report.markdown(report, f"{about['id']}.svg")),
        ):
            files.atomic_write(f"{path}.{end}", text.encode(), mode=0o640)
        shown = drill_report.screen(report, f"{path}.md")
        return {"changed": bool(runs), "report": report, "text": shown, "path": path, "ok": report["ok"]}
