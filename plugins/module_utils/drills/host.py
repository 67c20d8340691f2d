# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host that is drilled: commands on it, and what its agent and its containers say of the app."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypedDict, cast

from ..core.clock import Clock
from ..docker.containers import Document
from ..host.command import Result
from ..records.incidents import IncidentRecord
from . import fault as drill_fault
from .fault import DrillError, Fault

SELFHEAL = "/usr/local/bin/selfheal"
COMMAND = 60
"""Seconds that one command may take."""
REACH = 60.0
"""Seconds in which a host that is away has to answer again."""


class Away(Exception):
    """The host cannot be reached just now; the message says why."""


class Host(Protocol):
    """How commands reach the host, with the privileges that they need."""

    @property
    def is_remote(self) -> bool:
        """Whether it is another machine, reached over ssh."""

    def execute(self, text: str) -> Result:
        """Run a shell text. Raises Away."""

    def reconnect(self) -> None:
        """Forget the connection, so that the next command opens another one."""


class InstanceCounts(TypedDict):
    """How many instances the load balancer sends requests to, and how many there should be."""

    serving: int
    of: int


class _Watcher(TypedDict):
    alive: bool


class AgentStatus(TypedDict):
    """What a drill reads of `selfheal status --json`; `incident` is the open one."""

    watcher: _Watcher
    instances: InstanceCounts | None
    incident: IncidentRecord | None


class Instances(NamedTuple):
    """How many instances serve, and how many there should be; 0 of 0 without a load balancer."""

    serving: int
    wanted: int


def bounded(argv: Sequence[str], seconds: int = COMMAND) -> str:
    """A command as a shell text, ended after so many seconds: an engine that hangs must not hang the drill."""
    return shlex.join(["timeout", "--kill-after=2", str(seconds), *argv])


class AppHost:
    """One app on the host.

    :arg name: the host's name in the inventory.
    """

    def __init__(self, host: Host, app: str, name: str, clock: Clock) -> None:
        self._host, self._clock = host, clock
        self.app, self.name = app, name

    # --- commands ---

    def shell(self, text: str, patient: bool = True) -> Result:
        """Run a shell text; wait for a host that is away, unless `patient` is False. Raises DrillError."""
        deadline = self._clock.monotonic() + (REACH if patient else 0.0)
        while True:
            try:
                return self._host.execute(text)
            except Away as error:
                if self._clock.monotonic() >= deadline:
                    raise DrillError(f"the host does not answer over ssh: {error}") from None
                self._host.reconnect()
                self._clock.sleep(0.5)

    def run(self, argv: Sequence[str], seconds: int = COMMAND) -> Result:
        """Run one command, for so many seconds at most."""
        return self.shell(bounded(argv, seconds))

    def ask(self, argv: Sequence[str]) -> str:
        """Run one command that must succeed; its stdout. Raises DrillError with what it said."""
        answer = self.run(argv)
        if answer.code:
            raise DrillError(f"{shlex.join(argv)}: {message(answer)}")
        return answer.out

    # --- the agent ---

    def _agent(self, *words: str) -> Result:
        answer = self.run([SELFHEAL, *words, "--app", self.app])
        if answer.code == 127:
            raise DrillError(f"{self.name}: the watcher is not installed here: run site.yml")
        return answer

    def _agent_json(self, word: str) -> object:
        """What the agent prints as JSON, whatever its exit code. Raises DrillError."""
        answer = self._agent(word, "--json")
        with contextlib.suppress(ValueError):
            return cast("object", json.loads(answer.out))
        raise self._refused(f"{word} --json", answer)

    def _refused(self, words: str, answer: Result) -> DrillError:
        return DrillError(f"{self.name}: selfheal {words}: {(answer.err or answer.out).strip()[:300]}")

    def resume(self) -> None:
        """Have the watcher forget earlier attempts. Raises DrillError."""
        answer = self._agent("resume")
        if answer.code:
            raise self._refused("resume", answer)

    def status(self) -> AgentStatus:
        """What the watcher says of itself and the app. Raises DrillError."""
        return cast("AgentStatus", self._agent_json("status"))

    def incidents(self) -> list[IncidentRecord]:
        """The recorded incidents, newest first. Raises DrillError."""
        return cast("list[IncidentRecord]", self._agent_json("incidents"))

    def instances(self) -> Instances:
        """How many instances serve, of how many. Raises DrillError."""
        counts = self.status().get("instances")
        return Instances(int(counts["serving"] or 0), int(counts["of"])) if counts else Instances(0, 0)

    def is_healthy(self) -> bool:
        """Whether the app passes its checks, asked from the host itself."""
        return self.run([SELFHEAL, "probe", "--app", self.app]).code == 0

    def evidence(self, incident: IncidentRecord) -> list[str]:
        """The names of the evidence files with something in them."""
        folder = f"/var/lib/selfheal/{self.app}/incidents/{incident['id']}"
        listed = self.run(["find", folder, "-type", "f", "-size", "+0", "-printf", "%f\\n"])
        return sorted(set(listed.out.split()) - {"incident.json", "incident.md"})

    # --- the rest ---

    def has_alertmanager(self) -> bool:
        """Whether an Alertmanager runs on the host."""
        return self.run(["systemctl", "is-active", "--quiet", "prometheus-alertmanager.service"]).code == 0

    def containers(self) -> list[Document]:
        """The app's containers. Raises DrillError."""
        label = f"label=com.docker.compose.project={self.app}"
        ids = self.ask(["docker", "container", "ls", "--all", "--quiet", "--filter", label]).split()
        return cast("list[Document]", json.loads(self.ask(["docker", "inspect", *ids]))) if ids else []

    def no_container(self) -> DrillError:
        """The error for an app that is not there."""
        return DrillError(f"{self.app} has no container on {self.name}: run site.yml")

    def faults_of_services(self) -> dict[str, Fault]:
        """The faults of each service that is not a job. Raises DrillError when there is no container."""
        found: dict[str, int] = {}
        starts: dict[str, float] = {}
        for one in sorted(self.containers(), key=lambda one: str(one["Name"])):
            service = (one["Config"].get("Labels") or {}).get("com.docker.compose.service", "")
            # A job that has ended cannot be broken.
            if service and one["State"]["Running"]:
                found[service] = found.get(service, 0) + 1
                starts[service] = ((one["Config"].get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9
        if not found:
            raise self.no_container()
        return drill_fault.service_faults(self.app, found, starts)


def message(answer: Result) -> str:
    """What a command that failed has said; its exit code when it said nothing."""
    return (answer.err or answer.out).strip() or f"exit code {answer.code}"


def restarted(before: Sequence[Document], after: Sequence[Document]) -> list[str]:
    """Names of the containers that were started, or created, meanwhile."""

    def life(one: Document) -> tuple[object, ...]:
        return one["Id"], one["State"]["StartedAt"], one["RestartCount"]

    known = {life(one) for one in before}
    return sorted(one["Name"].lstrip("/") for one in after if life(one) not in known)
