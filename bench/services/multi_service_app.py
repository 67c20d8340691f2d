# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The multi-service app on a lab host of its own: its state, and its faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY
from ansible_collections.christmas.selfheal.bench.recovery import hosts
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.bench.services.faults import (
    APP,
    DISK,
    FAULTS,
    SICK,
    Container,
    Fault,
    Incident,
    Target,
    fill,
    read_containers,
    unwell,
)
from ansible_collections.christmas.selfheal.bench.services.observers import PORT
from ansible_collections.christmas.selfheal.bench.services.results import ALONE, BALANCED, LOOP, OURS, POLICY
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks

NAME = "bench-services"
HERE = Path(__file__).resolve().parent
SCENARIO = REPOSITORY / "molecule/shared/host_vars/molecule-multi-service.yml"
DIRECTORY = f"/opt/{APP}"
NUMBERS = {ALONE: 56, BALANCED: 57}
"""The last part of the hosts' addresses."""
INSTANCES = 2
# The app's check is like a user's. The worker's has a short interval, since its time is part of the measurement.
SERVICES: dict[str, Any] = {
    "app": {"port": 8000, "health_path": "/health"},
    "worker": {
        "healthcheck": {
            "test": ["CMD-SHELL", f"test ! -e {SICK}"],
            "interval": "1s",
            "timeout": "5s",
            "retries": 2,
        }
    },
}
LOOP_UNIT, LOOP_PATH, LOOP_SECONDS = "bench-unhealthy-loop", "/usr/local/sbin/unhealthy_loop.sh", 5.0
WATCHER = f"selfheal@{APP}"
COMPOSE = (
    f"docker compose --project-name {APP} --project-directory {DIRECTORY}"
    f" --file {DIRECTORY}/compose.yaml --file {DIRECTORY}/compose.hardened.yaml"
)
# The disk holds some 40 MB of data, at most 80 MB of write-ahead log that is kept, and 48 MB of old logs.
DISK_SIZE = "256m"
HEALTHY, INJECT = 60.0, 120.0
LIVED = 11.0
"""The restart policy waits longer for a container that has run for less than 10 s."""


def host_of(variant: str, services: Mapping[str, Any] = SERVICES) -> Host:
    """The lab host of a variant, with the scenario's variables, and the services' rows."""
    extra = {**yaml.safe_load(SCENARIO.read_text(encoding="utf-8")), "lab_official": True}
    extra["compose_app_services"] = dict(services)
    if variant == BALANCED:
        extra |= {
            "compose_app_services": {**services, "web": {"port": 80}},
            "compose_app_service": "web",
            "compose_app_instances": INSTANCES,
            "load_balancer_address": "{{ ansible_host }}",
            "load_balancer_port": PORT,
            # All the load comes from one address.
            "load_balancer_trusted": ["127.0.0.0/8", f"{hosts.PREFIX}.0/24"],
        }
    return Host(f"{NAME}-{variant}", NUMBERS[variant], extra)


class MultiServiceApp:
    """The multi-service app on its lab host.

    :arg host: another host than the benchmark's.
    :arg more: further services that the app has there, with one container each.
    """

    def __init__(self, variant: str, host: Host | None = None, more: Iterable[str] = ()) -> None:
        self.variant, self.host, self.system = variant, host or host_of(variant), ""
        self.expected = {"db": 1, "cache": 1, "app": 1, "worker": 1, "web": INSTANCES if variant == BALANCED else 1}
        self.expected.update(dict.fromkeys(more, 1))
        text = SCENARIO.read_text(encoding="utf-8").replace("{{ ansible_host }}", self.host.address)
        self.ask, _unused = continuous.asker(parse_checks(yaml.safe_load(text)["selfheal_checks"]), {})
        self.why: list[str] = []

    # --- how it is ---

    def containers(self) -> list[Container]:
        """The app's containers. One that is removed meanwhile is left out."""
        query = f"docker ps -aq --filter label=com.docker.compose.project={APP}"
        _code, out, _error = self.host.shell(f"docker inspect $({query})")
        return read_containers(json.loads(out or "[]"), time.time())

    def troubles(self) -> list[str]:
        """The app's problems, in sentences; empty when it is healthy."""
        found = unwell(self.containers(), self.expected)
        status = json.loads(self.host.ask(f"selfheal status --app {APP} --json || true"))
        if not status["healthy"]:
            found.append(f"selfheal status says {status.get('checks') or status['problems']}")
        instances = status.get("instances")
        if instances and instances["serving"] < instances["of"]:
            found.append(f"{instances['serving']} of {instances['of']} instances serve")
        if self.system == OURS and not status["watcher"]["alive"]:
            found.append("the watcher is not alive")
        return found

    def wait_whole(self, seconds: float) -> bool:
        """Wait until the app has no problem; after the time `why` has the problems."""
        deadline = time.monotonic() + seconds
        while True:
            self.why = self.troubles()
            if not self.why or time.monotonic() >= deadline:
                return not self.why
            time.sleep(0.5)

    def incidents(self, last: int = 20) -> list[Incident]:
        """The last incidents, newest first."""
        found: list[Incident] = json.loads(self.host.ask(f"selfheal incidents --app {APP} --json --last {last}"))
        return found

    def stored(self) -> list[str]:
        """The records that the database has."""
        return self._sql("SELECT text FROM letters").split()

    def _sql(self, statement: str) -> str:
        return self.host.ask(f"docker exec {APP}-db-1 psql -U {APP} -d {APP} -qAt -c '{statement}'")

    # --- faults and systems ---

    def small_disk(self) -> None:
        """Put the database's data, and the app's logs, on a small file system. No watcher may run.

        A tmpfs does for its size. The overlay above it makes it one of those that count as a disk: a lab host has no
        loop devices.
        """
        self.host.ask(
            "set -eu; "
            f"data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' {APP}_db); docker stop {APP}-db-1; "
            f"mkdir -p {DISK} /var/log/{APP}; mount -t tmpfs -o size={DISK_SIZE},mode=755 {NAME} {DISK}; "
            f"mkdir {DISK}/lower {DISK}/work {DISK}/logs; cp -a $data {DISK}/upper; "
            f"mount --bind {DISK}/logs /var/log/{APP}; "
            f"mount -t overlay overlay -o lowerdir={DISK}/lower,upperdir={DISK}/upper,workdir={DISK}/work $data; "
            f"docker start {APP}-db-1",
            INJECT,
        )

    def prepare(self, faults: Sequence[str]) -> None:
        """Set up the host for these faults, and for the systems."""
        self.host.put(LOOP_PATH, (HERE / "unhealthy_loop.sh").read_text(encoding="utf-8"), "0755")
        if any(DISK in FAULTS[name].inject for name in faults):
            self.use(POLICY)
            self.small_disk()

    def use(self, system: str) -> None:
        """Switch one system on, and all others off."""
        self.system = system
        self.host.shell(f"systemctl stop {LOOP_UNIT}; systemctl reset-failed {LOOP_UNIT}")
        if system == OURS:
            self.host.ask(f"selfheal resume --app {APP} && systemctl start {WATCHER}.timer")
        else:
            self.host.ask(f"systemctl stop {WATCHER}.timer {WATCHER}.service")
        if system == LOOP:
            self.host.ask(f"systemd-run --quiet --unit={LOOP_UNIT} {LOOP_PATH} {LOOP_SECONDS:g}")

    def alive(self) -> None:
        """Raise Trouble when the system itself does not run, or when the watcher runs but should not."""
        unit = {OURS: f"{WATCHER}.timer", LOOP: LOOP_UNIT, POLICY: "docker"}[self.system]
        self.host.ask(f"systemctl is-active {unit}")
        if self.system != OURS and self.host.shell(f"systemctl is-active {WATCHER}.service")[0] == 0:
            raise Trouble(f"{self.host.name}: the watcher runs, and {self.system} is measured")

    def settle(self, service: str) -> None:
        """Begin a round with a healthy app, without the attempts and records of earlier rounds. Raises Trouble."""
        if self.system == OURS:
            self.host.ask(f"selfheal resume --app {APP}")
        if not self.wait_whole(HEALTHY):
            raise Trouble(f"{self.host.name} is not well before a fault: {'; '.join(self.why)}")
        self._sql("TRUNCATE letters")
        self.host.ask(f": >{DIRECTORY}/data/letters.txt")
        youngest = min(one.age for one in self.containers() if one.service == service)
        time.sleep(max(0.0, LIVED - youngest))

    def target(self, service: str) -> tuple[Target, float]:
        """The target of a service's fault, and the seconds until its health check says unhealthy."""
        own = [one for one in self.containers() if one.service == service]
        if not own:
            raise Trouble(f"{self.host.name}: service {service} has no container")
        names = " ".join(one.name for one in own)
        return Target(names, own[0].name, str(own[0].pid)), own[0].slowest

    def inject(self, fault: Fault, target: Target) -> tuple[float, float]:
        """Inject a fault; the start and end of its command. The lab's hosts have this machine's clock."""
        text = f"set -eu; {{ {fill(fault.prepare or ':', target)}; }} >/dev/null; date +%s.%N; "
        text += f"{{ {fill(fault.inject, target)}; }} >/dev/null; date +%s.%N"
        begun, ended = (float(line) for line in self.host.ask(text, INJECT).split())
        return begun, ended

    def clean_up(self, fault: Fault, target: Target) -> None:
        """Run the fault's clean-up, which follows every round."""
        if fault.cleanup:
            self.host.ask(fill(fault.cleanup, target))

    def mend(self, fault: Fault, target: Target) -> None:
        """End a fault that no system has ended. Raises Trouble when the app stays unhealthy.

        The system still runs, and may interfere, so there is more than one attempt.
        """
        going_on = (
            f"for one in $(docker ps -q --filter label=com.docker.compose.project={APP}); do "
            "docker top $one -eo pid | tail -n +2 | xargs kill -CONT; done"
        )
        self.host.shell(going_on)
        self.host.shell(fill(f"{fault.cleanup or ':'}; {fault.undo or ':'}", target), INJECT)
        for extra in ("", "", " --force-recreate"):
            self.host.shell(f"{COMPOSE} up --detach --no-build --timeout=1{extra}", INJECT)
            if self.wait_whole(HEALTHY):
                return
        raise Trouble(f"{self.host.name}: the app could not be repaired: {'; '.join(self.why)}")
