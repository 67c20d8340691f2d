# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The alternatives with the same faults, each on a lab host of its own with the same app and the watcher off."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ansible_collections.christmas.selfheal.bench.recover import APP, REPOSITORY
from ansible_collections.christmas.selfheal.bench.recovery import results
from ansible_collections.christmas.selfheal.bench.recovery.hosts import COMMAND, DIRECTORY, Host, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils.core.check import health_check
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import Fault, Values
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks

HERE = Path(__file__).resolve().parent
COMPOSE = [
    *("docker", "compose", f"--project-name={APP}"),
    *(f"--file={DIRECTORY}/{name}" for name in ("compose.yaml", "compose.hardened.yaml")),
]
SWARM = ["python3", "/usr/local/sbin/swarm_stack.py", APP, DIRECTORY]
KEEP = "/run/bench-recovery"
SCRIPT_UNIT = "bench-auto-recovery"
# Seconds: the loop of the report, the shorter loop used here, and the pause after each of its restarts.
SCRIPT_EVERY, SCRIPT_SCALED, SCRIPT_PAUSE = 300, 30, 30
SCRIPT_LOOKS, SCRIPT_FINDS = "Looking", "Backend unhealthy"
CROWD = 300
HEALTHY = 60.0
QUIET = 3.0
"""Seconds of good answers before a fault."""


class Alternative(NamedTuple):
    """One of the alternatives, and when it looks.

    `cycle`: seconds between two looks, over which the faults are spread evenly. `pause`: seconds after a recovery
    until it is in that cycle again. `factor`: what the wait until it notices is multiplied by.
    """

    title: str
    number: int
    cycle: float
    pause: float = 0.0
    factor: float = 1.0
    extra: Mapping[str, Any] = {}


_OFF = {"watcher_enabled": False}
# A Swarm's engine refuses live-restore.
_SWARM = {**_OFF, "docker_engine_daemon_options": {"live-restore": False}}
ALTERNATIVES = {
    "docker": Alternative("Docker: restart policy, HEALTHCHECK", 34, 0.0, extra=_OFF),
    "swarm": Alternative("Docker Swarm, one node", 35, 30.0, extra=_SWARM),
    "monit": Alternative("Monit, Debian's 120 s", 36, 120.0, extra=_OFF),
    "monit-1s": Alternative("Monit, every 1 s", 37, 1.0, extra=_OFF),
    "script": Alternative(
        "The report's script, 300 s (scaled)", 38, SCRIPT_SCALED, SCRIPT_PAUSE, SCRIPT_EVERY / SCRIPT_SCALED, _OFF
    ),
}


def host_of(system: str) -> Host:
    """The lab host of an alternative."""
    return Host(f"bench-{system}", ALTERNATIVES[system].number, ALTERNATIVES[system].extra)


def possible(fault: Fault) -> bool:
    """Whether an alternative can get this fault: one host command injects it, and the app's answers show its end."""
    more = fault.until or fault.since or fault.afterwards
    return fault.expect == "recovered" and fault.where == "host" and not more


class Watched:
    """One alternative on its host."""

    def __init__(self, system: str, say: Any, stopping: threading.Event) -> None:
        self.system, self.about, self.say, self.stopping = system, ALTERNATIVES[system], say, stopping
        self.host = host_of(system)
        self.version = ""
        self.compose = SWARM if system == "swarm" else COMPOSE
        checks = yaml.safe_load((REPOSITORY / "inventory/lab/group_vars/all/checks.yml").read_text(encoding="utf-8"))
        health = health_check(parse_checks(checks["selfheal_checks"]))
        self.ask, self.url = continuous.asker(health, {"PUBLISH_ADDRESS": self.host.address, "PORT": "8000"})

    # --- its host ---

    def prepare(self) -> None:
        """Set the alternative up, on a host that has the app. Raises Trouble."""
        files = " ".join(f"{DIRECTORY}/{name}" for name in (".env", "compose.yaml", "compose.hardened.yaml"))
        self.host.ask(f"mkdir -p -m 0700 {KEEP} && cp -p {files} {KEEP}")
        {
            "docker": lambda: None,
            "swarm": self._swarm,
            "monit": lambda: self._monit(timeout=5),
            "monit-1s": lambda: self._monit(timeout=2, every=1),
            "script": self._script,
        }[self.system]()
        with continuous.Prober(self.ask) as outside:
            if outside.wait_healthy(outside.now(), HEALTHY) is None:
                raise Trouble(f"{self.host.name}: the app does not answer after it was set up")

    def _packages(self, *names: str) -> None:
        apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
        self.host.ask(
            f"{apt} update && {apt} install -y --no-install-recommends {' '.join(names)} >/dev/null", seconds=300
        )

    def _monit(self, timeout: int, every: int = 0) -> None:
        """Monit as Debian packages it, or with a cycle of `every` seconds."""
        self._packages("monit")
        text = (HERE / "monit.conf").read_text(encoding="utf-8")
        compose = f"/usr/bin/{shlex.join(COMPOSE)}"
        for name, value in (("ADDRESS", self.host.address), ("COMPOSE", compose), ("TIMEOUT", str(timeout))):
            text = text.replace(f"@{name}@", value)
        self.host.put(f"/etc/monit/conf-available/{APP}", text)
        self.host.ask(f"ln -sf ../conf-available/{APP} /etc/monit/conf-enabled/{APP}")
        if every:
            self.host.ask(f"sed -i -E 's/^( *set daemon +)120/\\1{every}/' /etc/monit/monitrc")
        shown = self.host.ask("grep -E '^ *set daemon' /etc/monit/monitrc && monit -t && systemctl restart monit")
        if f"daemon {every or 120}" not in " ".join(shown.split()):
            raise Trouble(f"{self.host.name}: monitrc says {shown.splitlines()[0]!r}")
        self.version = self.host.ask("monit --version").splitlines()[0]

    def _swarm(self) -> None:
        """The app as a stack instead of a compose project."""
        self.host.put(SWARM[1], (HERE / "swarm_stack.py").read_text(encoding="utf-8"))
        self.host.ask(
            f"{shlex.join(COMPOSE)} down --timeout=1 && docker swarm init --advertise-addr {self.host.address} && "
            f"{shlex.join(SWARM)}",
            seconds=120,
        )

    def _script(self) -> None:
        """The report's script, in the app's directory, as a unit, so that the journal has its lines with times."""
        self._packages("curl")
        path = "/usr/local/sbin/auto_recovery.sh"
        self.host.put(path, (HERE / "auto_recovery.sh").read_text(encoding="utf-8"), "0755")
        unit = f"systemd-run --quiet --unit={SCRIPT_UNIT} --working-directory={DIRECTORY}"
        self.host.ask(f"{unit} {path} http://{self.host.address}:8000/health {SCRIPT_SCALED}")

    def alive(self) -> None:
        """Raise Trouble when the alternative itself is not running: then nothing is measured."""
        unit = {"monit": "monit", "monit-1s": "monit", "script": SCRIPT_UNIT}.get(self.system, "docker")
        self.host.ask(f"systemctl is-active {unit}")

    # --- one round ---

    def container(self) -> Values:
        """What the placeholders of a fault stand for. Raises Trouble when there is not one container."""
        label = "com.docker.stack.namespace" if self.system == "swarm" else "com.docker.compose.project"
        found = json.loads(self.host.ask(f"docker inspect $(docker ps -q --filter label={label}={APP})"))
        if len(found) != 1:
            raise Trouble(f"{self.host.name}: one container was expected, there are {len(found)}")
        return {
            "app": APP,
            "host": self.host.name,
            "address": self.host.address,
            "directory": DIRECTORY,
            "keep": KEEP,
            "compose": self.compose,
            "container": found[0]["Name"].lstrip("/"),
            "image": found[0]["Config"]["Image"],
            "image_id": found[0]["Image"],
            "pid": found[0]["State"]["Pid"],
            "port": "8000",
            "fault_file": "/tmp/fault",
        }

    def round(self, fault: Fault, number: int, rounds: int, timeout: float) -> dict[str, Any]:
        """Inject a fault, observe the recovery, and leave a healthy app. Raises Trouble."""
        about = self.about
        wait = about.pause + results.phase(self.system, fault.name, number, rounds, about.cycle)
        if self.stopping.wait(wait):
            raise Trouble("ended")
        self.alive()
        with continuous.Prober(self.ask) as outside:
            if outside.wait_healthy(outside.now(), HEALTHY, poll=0.2) is None:
                raise Trouble(f"{self.host.name} is not healthy before {fault.name}")
            time.sleep(QUIET)
            values = self.container()
            begun, ended = self._inject(fault, values)
            if about.factor != 1:
                self._crowd()
            recovered = self._until(outside, ended, timeout)
            samples = outside.samples(begun - QUIET)
            injected = drill_judge.injected_at(begun, ended, samples)
            run = {
                "system": self.system,
                "fault": fault.name,
                "round": number,
                "host": self.host.name,
                "at": round(injected, 3),
                "seconds": None,
                "failed": len([one for one in samples if one.sent >= injected and not one.ok]),
            }
            if recovered is not None:
                looked = self._looked(injected) if about.factor != 1 else None
                seconds = results.scaled(injected, looked, recovered, about.factor)
                run["seconds"] = round(max(seconds, 0.0), 2)
                if about.factor != 1:
                    run["measured"] = round(recovered - injected, 2)
            self._mend(outside, fault, values, undo=recovered is None)
        return run

    def _inject(self, fault: Fault, values: Values) -> tuple[float, float]:
        """Inject it; the start and end of its last command. The lab's hosts have this machine's clock."""
        commands = [shlex.join(["timeout", str(COMMAND), *drill_fault.fill(one, values)]) for one in fault.inject]
        *before, last = [f"{command} >/dev/null" for command in commands]
        text = " && ".join([*before, "date +%s.%N", last, "date +%s.%N"])
        out = self.host.ask(text, seconds=2 * COMMAND)
        begun, ended = (float(line) for line in out.split())
        return begun, ended

    def _until(self, outside: continuous.Prober, ended: float, timeout: float) -> float | None:
        """When the app was healthy again; None when it was not in time."""
        deadline = outside.now() + timeout
        while outside.now() < deadline:
            found = outside.wait_healthy(ended, min(5.0, deadline - outside.now()), poll=0.2)
            if found is not None:
                return found
            if self.stopping.is_set():
                raise Trouble("ended")
        return None

    def _crowd(self) -> None:
        """Send the requests that clients would have sent in the time that scaling leaves out.

        What they leave behind is a full queue in front of an app that hangs: from then on a connection is not accepted
        any more, and ends after the kernel's two minutes, where the first ones wait for an answer for ever.
        """
        for _unused in range(CROWD):
            try:
                socket.create_connection((self.host.address, 8000), timeout=0.3).close()
            except OSError:
                return

    def _looked(self, injected: float) -> float | None:
        """When the script began the check that found the app unhealthy; None without one."""
        said = self.host.ask(f"journalctl --unit={SCRIPT_UNIT} --output=short-unix --no-pager")
        return results.found_by(said.splitlines(), injected, SCRIPT_LOOKS, SCRIPT_FINDS)

    def _mend(self, outside: continuous.Prober, fault: Fault, values: Values, undo: bool) -> None:
        """End the fault when the alternative did not, put the files back, and wait for a healthy app. Raises Trouble.

        The alternative goes on meanwhile, and may be in our way: so more than one attempt.
        """
        for command in (*(fault.undo if undo else ()), *fault.cleanup):
            with contextlib.suppress(Trouble):
                self.host.shell(shlex.join(["timeout", str(COMMAND), *drill_fault.fill(command, values)]), 2 * COMMAND)
        self.host.ask(f"cp -p {KEEP}/.env {KEEP}/compose.yaml {KEEP}/compose.hardened.yaml {DIRECTORY}")
        for _unused in range(3):
            if self._until(outside, outside.now(), HEALTHY / 2) is not None:
                return
            words = [*self.compose, "up", "--detach", "--force-recreate", "--no-build", "--timeout=1"]
            with contextlib.suppress(Trouble):
                self.host.shell(shlex.join(words), 2 * COMMAND)
        raise Trouble(f"{self.host.name}: the app could not be brought back after {fault.name}")


def measure(
    watched: Watched, faults: Mapping[str, Fault], rounds: int, timeout: float, runs: list[dict[str, Any]], record: Any
) -> str:
    """Measure one alternative with all faults; why it ended early, "" when it did not.

    :arg runs: everything measured so far; `record` adds to it.
    """
    say, name = watched.say, watched.host.name
    failures = 0
    while not watched.stopping.is_set():
        found = results.next_round(watched.system, list(faults), rounds, runs)
        if found is None:
            return ""
        fault, number = found
        try:
            run = watched.round(faults[fault], number, rounds, timeout)
        except Trouble as trouble:
            if watched.stopping.is_set():
                return ""
            failures += 1
            say(f"{name}: {fault}: {trouble}")
            if failures == 3:
                return f"{name}: {trouble}"
            continue
        failures = 0
        record([run])
        took = "not recovered" if run["seconds"] is None else f"{run['seconds']:.1f} s"
        if run.get("measured") not in (None, run["seconds"]):
            took += f" (measured {run['measured']:.1f} s)"
        say(f"{name}: {fault} {number}/{rounds}: {took}")
        if results.given_up(results.of(runs, watched.system, fault)):
            say(f"{name}: {fault}: never, in {results.GIVE_UP} of {results.GIVE_UP}")
    return ""
