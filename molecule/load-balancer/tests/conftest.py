# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients of the load balancer, and its two instances, which the tests can break."""

from __future__ import annotations

import csv
import http.client
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

APP = "selfheal-christmas-backend"
ADDRESS = "172.30.57.27"
PORTS = (18000, 18001)


@dataclass(frozen=True)
class Answer:
    """An answer; status 0 is a broken connection."""

    status: int
    text: str
    seconds: float


Ask = Callable[..., Answer]


def ask(
    method: str = "GET", path: str = "/", body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(ADDRESS, 80, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        status, text = response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        status, text = 0, repr(error)
    finally:
        connection.close()
    return Answer(status, text, time.monotonic() - begun)


@dataclass
class Load:
    """Clients that send fifty requests a second, independent of earlier answers."""

    method: str = "GET"
    path: str = "/"
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Load:
        self.over = threading.Event()
        self.clients: list[threading.Thread] = []
        self.clock = threading.Thread(target=self.tick)
        self.clock.start()
        return self

    def tick(self) -> None:
        while not self.over.wait(0.02):
            self.clients.append(threading.Thread(target=lambda: self.answers.append(ask(self.method, self.path))))
            self.clients[-1].start()

    def __exit__(self, *_unused: object) -> None:
        self.over.set()
        self.clock.join()
        for client in self.clients:
            client.join()

    @property
    def bad(self) -> list[Answer]:
        return [one for one in self.answers if one.status != 200]


@dataclass
class Instances:
    """The instances behind the load balancer, by port."""

    host: Any

    def command(self, line: str) -> str:
        """Send HAProxy a command; its answer."""
        code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock')"
        code += f"; s.sendall(b'{line}\\n'); print(s.makefile().read())"
        return str(self.host.check_output(f'python3 -c "{code}"'))

    def set(self, state: str, slot: int = 0) -> None:
        """Set a slot's state in both backends, as a deploy does."""
        self.command(";".join(f"set server {APP}{backend}/slot{slot} state {state}" for backend in ("", "-unchecked")))

    def show(self, slot: int, column: str, backend: str = "") -> str:
        lines = self.command("show stat").removeprefix("# ").splitlines()
        rows = csv.DictReader(lines)
        return next(row[column] for row in rows if (row["pxname"], row["svname"]) == (APP + backend, f"slot{slot}"))

    def state(self, slot: int = 0, backend: str = "") -> str:
        return self.show(slot, "status", backend)

    def wait(self, state: str, slot: int = 0, backend: str = "", seconds: float = 10.0) -> float:
        begun = time.monotonic()
        while self.state(slot, backend) != state:
            assert time.monotonic() < begun + seconds, f"slot{slot} is {self.state(slot, backend)} and not {state}"
            time.sleep(0.05)
        return time.monotonic() - begun

    def signal(self, name: str, *ports: int) -> None:
        self.host.check_output(f"systemctl kill --signal={name} " + self.units(*ports))

    def say(self, status: int, *ports: int) -> None:
        for port in ports:
            self.host.check_output(f"echo {status} >/run/instance-{port}")

    def stop(self, *ports: int) -> None:
        self.host.check_output("systemctl stop " + self.units(*ports))

    def start(self, *ports: int) -> None:
        self.host.check_output("systemctl reset-failed; systemctl start " + self.units(*ports))

    def start_later(self, port: int) -> None:
        """Start it after 1.5 s, by the host's own clock, so that the caller can continue meanwhile."""
        later = "systemd-run --quiet --on-active=1.5s --timer-property=AccuracySec=10ms"
        self.host.check_output(f"systemctl reset-failed; {later} systemctl start {self.units(port)}")

    def restart(self, *ports: int) -> None:
        self.host.check_output("systemctl restart " + self.units(*ports))

    def heal(self) -> None:
        self.host.run("rm -f /run/instance-*; systemctl kill --signal=CONT " + self.units(*PORTS))
        self.start(*PORTS)
        for slot in range(len(PORTS)):
            self.set("ready", slot)
        for slot in range(len(PORTS)):
            self.wait("UP", slot)
            self.wait("UP", slot, "-unchecked")

    @staticmethod
    def units(*ports: int) -> str:
        return " ".join(f"instance@{port}.service" for port in ports)


@pytest.fixture(name="ask")
def fixture_ask() -> Ask:
    return ask


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture
def instances(host: Any) -> Iterator[Instances]:
    found = Instances(host)
    found.heal()
    yield found
    found.heal()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add HAProxy's journal to a failing test."""
    outcome = yield
    report = outcome.get_result()
    host = getattr(item, "funcargs", {}).get("host")
    if report.when == "call" and report.failed and host is not None:
        command = "journalctl --no-pager --output=short-precise --lines=40 --identifier=haproxy"
        report.sections.append((command, host.run(command).stdout))
