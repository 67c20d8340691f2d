# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How containers are run: Docker Compose, through the docker CLI's JSON.

The one file that knows it. Everything here reads or runs one command; what to run, and when, is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import urllib.parse
from collections.abc import Collection
from typing import Any, TypedDict

from ..core.versions import version_tuple
from ..host import command as commands
from ..host.command import Result

# Compose 2.24 is the first with `!reset`/`!override` and `env_file.required`: the overlay may rely on them.
MINIMUM_COMPOSE = (2, 24)
# The engine's own for a container that says nothing, and the longest that a deploy or a remedy waits (docs/runbook.md).
DEFAULT_GRACE, LONGEST_GRACE = 10.0, 120.0


class EngineError(Exception):
    """The engine, or Compose, did not do what it was asked. The message says what failed and what to try.

    `kind` as in `state`: missing when the command is not there, else hung.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.kind = "missing" if code in (126, 127) else "hung"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def address() -> str:
    """The path of the engine's socket."""
    configured = os.environ.get("DOCKER_HOST", "")
    return configured[7:] if configured.startswith("unix://") else "/var/run/docker.sock"


class EngineState(TypedDict):
    """Whether the engine answers; `kind` is "" when it does, else missing (not installed), down or hung."""

    answers: bool
    kind: str
    reason: str
    version: str


def state(timeout: float = 5.0, path: str = "") -> EngineState:
    """Ask the engine for its version: a socket that accepts says little, as a hung dockerd still accepts."""
    path = path or address()
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return {"answers": True, "kind": "", "reason": "", "version": str(found.get("Version", ""))}
    except (FileNotFoundError, ConnectionRefusedError):
        import shutil  # not needed by a watcher, whose memory it would take

        if shutil.which("docker") is None:
            return {"answers": False, "kind": "missing", "reason": "docker is not installed", "version": ""}
        return {"answers": False, "kind": "down", "reason": f"nothing listens at {path}", "version": ""}
    except (socket.timeout, TimeoutError):
        return {"answers": False, "kind": "hung", "reason": f"no answer within {timeout:.0f} s", "version": ""}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"answers": False, "kind": "down", "reason": f"{path}: {error}", "version": ""}
    finally:
        connection.close()


def unit_state() -> str:
    """Say the ActiveState of the engine's systemd unit (org.freedesktop.systemd1(5)), "" when systemd does not say."""
    return commands.run(
        ["systemctl", "show", "--property", "ActiveState", "--value", "docker.service"], 10.0
    ).out.strip()


class Events:
    """The engine's events of an app's containers, over one connection: `new` says whether there were any.

    Source: the engine's API, GET /events. A health check that runs is not among these events; a state that changes is.
    """

    _NAMES = (
        "create",
        "start",
        "restart",
        "die",
        "stop",
        "kill",
        "oom",
        "pause",
        "unpause",
        "destroy",
        "health_status",
        "update",
    )

    def __init__(self, app: str, since: float = 0.0, timeout: float = 2.0, path: str = "") -> None:
        """Connect, and hear as well what has happened `since` (epoch s; 0 for nothing). Raises EngineError."""
        filters = {"type": ["container"], "event": self._NAMES, "label": [f"com.docker.compose.project={app}"]}
        path = path or address()
        past = f"&since={since:.0f}" if since else ""
        question = f"/events?filters={urllib.parse.quote(json.dumps(filters))}{past}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            self._socket.sendall(f"GET {question} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
            # Not http.client, which would read the first events into a buffer of its own.
            head = b""
            while b"\r\n\r\n" not in head:
                data = self._socket.recv(65536)
                if not data:
                    raise ValueError("no answer")
                head += data
            status = head.split(maxsplit=2)[1]
            if status != b"200":
                raise ValueError(f"{status.decode()} for /events")
            self._heard = bool(head.partition(b"\r\n\r\n")[2])
            self._socket.setblocking(False)
        except (OSError, ValueError, IndexError) as error:
            self._socket.close()
            raise EngineError(f"the Docker engine does not answer at {path}: {error or type(error).__name__}") from None

    def new(self) -> bool:
        """Whether something has happened since this was asked. Never waits. Raises EngineError without the engine."""
        happened, self._heard = self._heard, False
        try:
            while data := self._socket.recv(65536):
                happened = bool(data)
        except BlockingIOError:
            return happened
        except OSError as error:
            raise EngineError(f"the Docker engine's events have ended: {error}") from None
        raise EngineError("the Docker engine's events have ended")

    def wait(self, seconds: float) -> bool:
        """Wait until something happens, for so long at most; whether it did."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def ask(question: str, timeout: float, path: str) -> Any:
    """Ask the engine's API; return its JSON, whose shape depends on the question, or None for what it does not know."""
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("GET", question)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in (200, 404):
            raise ValueError(f"{answer.status} for {question.partition('?')[0]}")
        return json.loads(body) if answer.status == 200 else None
    finally:
        connection.close()


def act(request: str, timeout: float) -> Result:
    """Have the engine do something by its API (POST), without a docker process.

    :returns: as of the CLI, with code 1 and the engine's words when it did not.
    """
    connection = _UnixConnection(address(), timeout)
    try:
        connection.request("POST", request)
        answer = connection.getresponse()
        body = answer.read()
        # 304: it is so already.
        if answer.status < 400:
            return Result(0, "", "")
        return Result(1, "", f"Error response from daemon: {json.loads(body)['message']}")
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        return Result(
            1, "", f"the Docker engine did not end {request.partition('?')[0]}: {error or type(error).__name__}"
        )
    finally:
        connection.close()


def data_root(config: str = "/etc/docker/daemon.json") -> str:
    """Return where the engine keeps its data, without asking it: `data-root` of its configuration, or the default."""
    try:
        with open(config, encoding="utf-8") as stream:
            found = json.load(stream).get("data-root")
    except (OSError, ValueError, AttributeError):
        found = None
    return found if isinstance(found, str) and found.startswith("/") else "/var/lib/docker"


def live_restore(config: str = "/etc/docker/daemon.json") -> bool:
    """Whether containers outlive the engine's process: `live-restore` of its configuration."""
    try:
        with open(config, encoding="utf-8") as stream:
            return json.load(stream).get("live-restore") is True
    except (OSError, ValueError, AttributeError):
        return False


# What changes containers. `up` without --detach goes on for as long as the app does, so an old one is not a change.
_CHANGES = frozenset({"up", "down", "start", "stop", "restart", "rm", "kill", "run", "create", "build", "pull"})
_CHANGES_SECONDS = 300.0


def changed_by_hand(app: str, folders: Collection[str], proc: str = "/proc") -> str:
    """Name a `docker compose` that a person runs on an app just now, "" without one.

    Its working directory identifies it, or what it is given: the project's name, or a file in one of these folders.
    """
    with open(f"{proc}/uptime", encoding="ascii") as stream:
        uptime = float(stream.read().split()[0])
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                if stream.read().strip() != "docker-compose":
                    continue
            with open(f"{proc}/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
                words = stream.read().rstrip("\0").split("\0")
            with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                age = uptime - int(stream.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
            given = {part for word in words for part in (word, word.partition("=")[2])}
            places = [os.readlink(f"{proc}/{pid}/cwd"), *given]
            inside = any(f"{place}/".startswith(f"{folder}/") for place in places for folder in folders)
            mine = app in given or inside
            done = next((word for word in words if word in _CHANGES), "")
            if mine and done and age < _CHANGES_SECONDS:
                return f"`docker compose {done}` (pid {pid}) runs on the app"
    return ""


# Where the docker CLI looks for its plugins as well, in its order (cli-plugins/manager of docker/cli).
PLUGIN_FOLDERS = (
    "/root/.docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def compose_program() -> list[str]:
    """Return the words that run Compose: its plugin by itself, without the 60 ms of the docker CLI.

    A person's settings may name other folders of plugins: then the CLI is asked.
    """
    config = os.path.join(os.environ.get("DOCKER_CONFIG", "/root/.docker"), "config.json")
    with contextlib.suppress(OSError), open(config, encoding="utf-8", errors="replace") as stream:
        if "cliPluginsExtraDirs" in stream.read():
            return ["docker", "compose"]
    for folder in PLUGIN_FOLDERS:
        plugin = os.path.join(folder, "docker-compose")
        if os.access(plugin, os.X_OK):
            return [plugin]
    return ["docker", "compose"]


def compose_version(timeout: float = 5.0) -> str:
    """Return the version of the Compose plugin, "" without one."""
    asked = commands.run([*compose_program(), "version", "--short"], timeout)
    return asked.out.strip().lstrip("v") if asked.code == 0 else ""


def require_compose(found: str) -> None:
    """Raise EngineError unless the Compose plugin is new enough; the message names the version found and needed."""
    needed = ".".join(map(str, MINIMUM_COMPOSE))
    if version_tuple(found) < MINIMUM_COMPOSE:
        raise EngineError(
            f"the Docker Compose plugin is {found or 'not installed'}, {needed} or newer is needed: install a newer "
            "docker-compose-plugin (Docker's packages) or docker-compose (Debian 13)"
        )


def platform(timeout: float = 10.0) -> str:
    """Return what the engine runs images of: "linux/amd64"."""
    asked = commands.run(["docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"], timeout)
    if asked.code:
        raise EngineError(f"the Docker engine does not answer: {asked.reason}. Try: systemctl status docker")
    return asked.out.strip()
