# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Observers from outside: users that write, and the engine's events."""

from __future__ import annotations

import http.client
import itertools
import subprocess
import threading
import time

from ansible_collections.christmas.selfheal.bench.recovery.hosts import Host, Trouble
from ansible_collections.christmas.selfheal.bench.services.faults import APP, Back, Event, back, read_event
from ansible_collections.christmas.selfheal.bench.services.results import RATE
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous

PORT = 8000
REQUEST_SECONDS = 2.0
# The events that the watcher also gets; it checks the app after each.
KINDS = (
    *("create", "start", "restart", "die", "stop", "kill", "oom", "pause", "unpause", "destroy"),
    "health_status",
)


def request(address: str, method: str, path: str, body: str = "", port: int = PORT) -> str:
    """Send one request on a connection of its own; the answer's status as a text, or the name of the error."""
    connection = http.client.HTTPConnection(address, port, timeout=REQUEST_SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


class Writer:
    """Sends a numbered record fifty times a second inside the `with` block, without waiting for earlier answers."""

    def __init__(self, address: str, port: int = PORT, rate: float = RATE) -> None:
        self.address, self.port = address, port
        self.prober = continuous.Prober(self._send, rate)
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._acknowledged = set[int]()
        self._sent = 0

    def __enter__(self) -> Writer:
        self._begun = time.monotonic()
        self.prober.__enter__()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.prober.__exit__()
        self.seconds = time.monotonic() - self._begun

    def acknowledged(self) -> set[int]:
        """The numbers of the records that the app has answered with 201."""
        with self._lock:
            return set(self._acknowledged)

    @property
    def sent(self) -> int:
        """How many records were sent."""
        return self._sent

    def _send(self) -> str:
        with self._lock:
            number = next(self._numbers)
            self._sent = number
        said = request(self.address, "POST", "/letters", str(number), self.port)
        if said != str(http.HTTPStatus.CREATED.value):
            return f"status {said}" if said.isdigit() else said
        with self._lock:
            self._acknowledged.add(number)
        return ""


class Events:
    """The engine's events of the app's containers inside the `with` block, for `seconds` at most."""

    def __init__(self, host: Host, seconds: float = 900.0) -> None:
        self.host, self.seconds = host, seconds
        self._events, self._lock = list[Event](), threading.Lock()

    def __enter__(self) -> Events:
        kinds = " ".join(f"--filter event={kind}" for kind in KINDS)
        label = f"--filter label=com.docker.compose.project={APP}"
        # If the connection ends, the command on the host ends by itself.
        limit = f"timeout {self.seconds:.0f}"
        text = f"{limit} docker events --format '{{{{json .}}}}' --filter type=container {label} {kinds}"
        self._process = subprocess.Popen(
            self.host.command(text),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            event = read_event(line)
            if event:
                with self._lock:
                    self._events.append(event)

    def check(self) -> None:
        """Raise Trouble when the event stream has ended."""
        if self._process.poll() is not None:
            raise Trouble(f"{self.host.name}: docker events ended by itself, exit code {self._process.returncode}")

    def heard(self) -> list[Event]:
        """The events so far."""
        with self._lock:
            return list(self._events)

    def back(self, service: str, since: float) -> Back:
        """Whether a service runs again after a fault. Raises Trouble when the event stream has ended."""
        self.check()
        return back(self.heard(), service, since)

    def wait_healthy(self, service: str, since: float, seconds: float) -> float | None:
        """Wait until the service runs and is healthy; the moment (epoch s), None when it was not in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.back(service, since).healthy
            if found is not None or time.monotonic() >= deadline:
                return found
            time.sleep(0.1)
