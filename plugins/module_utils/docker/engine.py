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
import re
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..host import command as commands
from ..host.command import Result
from . import image_names, project_layout
from .project_layout import HARDENED_FILE

# Compose 2.24 is the first with `!reset`/`!override` and `env_file.required`: the overlay may rely on them.
MINIMUM_COMPOSE = (2, 24)
# How messages call the user's compose file, whatever its name.
USER_FILE = "compose.yaml"
# A compose file of 1 MB takes Compose 2 s of a processor, and a busy host has little of one.
CONFIG_SECONDS = 60.0
# The engine's own for a container that says nothing, and the longest that a deploy or a remedy waits (docs/runbook.md).
DEFAULT_GRACE, LONGEST_GRACE = 10.0, 120.0

# The engine's own name for a volume that was given none.
_ANONYMOUS = re.compile("[0-9a-f]{64}")
# Select Graphic Rendition of a terminal (ECMA-48).
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


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


def _address() -> str:
    address = os.environ.get("DOCKER_HOST", "")
    return address[7:] if address.startswith("unix://") else "/var/run/docker.sock"


def state(timeout: float = 5.0, path: str = "") -> dict[str, Any]:
    """Say whether the engine answers: {answers, kind, reason, version}; version "" when there is no answer.

    `kind` is "" when it answers, missing (docker is not installed), down (nobody listens) or hung: a socket that
    accepts proves nothing (a hung dockerd still accepts), so a question is asked and its answer awaited.
    """
    path = path or _address()
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
        return {"answers": False, "kind": "down", "reason": f"nobody listens at {path}", "version": ""}
    except (socket.timeout, TimeoutError):
        return {"answers": False, "kind": "hung", "reason": f"no answer within {timeout:.0f} s", "version": ""}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"answers": False, "kind": "down", "reason": f"{path}: {error}", "version": ""}
    finally:
        connection.close()


def unit_state() -> str:
    """Say the ActiveState of the engine's systemd unit (org.freedesktop.systemd1(5)), "" when systemd does not tell."""
    return commands.run(
        ["systemctl", "show", "--property", "ActiveState", "--value", "docker.service"], 10.0
    ).out.strip()


def inspected(app: str, timeout: float = 5.0, path: str = "") -> list[dict[str, Any]]:
    """Return the `docker inspect` documents of an app's containers, asked for without a docker process.

    :arg app: "" for all containers of this host.
    :raises EngineError: the engine does not answer, or not in time.
    """
    return _inspected([f"com.docker.compose.project={app}"] if app else [], timeout, path or _address())


def documents(app: str, timeout: float = 10.0) -> list[dict[str, Any]]:
    """Return what `docker inspect` says of an app's containers, by name. It holds the env's values: never log it."""
    # What `docker compose run` left behind is nobody's instance.
    labels = [f"com.docker.compose.project={app}", "com.docker.compose.oneoff=False"]
    return sorted(_inspected(labels, timeout, _address()), key=lambda document: str(document["Name"]))


class Events:
    """The engine's events of an app's containers, over one connection: `new` says whether there were any.

    Source: the engine's API, GET /events. A health check that runs is no event of these; a state that changes is.
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
    )

    def __init__(self, app: str, since: float = 0.0, timeout: float = 2.0, path: str = "") -> None:
        """Connect, and hear as well what has happened `since` (epoch s; 0 for nothing). Raises EngineError."""
        filters = {"type": ["container"], "event": self._NAMES, "label": [f"com.docker.compose.project={app}"]}
        path = path or _address()
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

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _inspected(labels: Sequence[str], timeout: float, path: str) -> list[dict[str, Any]]:
    filters = urllib.parse.quote(json.dumps({"label": list(labels)} if labels else {}))
    found = []
    try:
        for one in _ask(f"/containers/json?all=true&filters={filters}", timeout, path) or []:
            # One that was removed since is none.
            if document := _ask(f"/containers/{one['Id']}/json", timeout, path):
                found.append(document)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"the Docker engine does not answer at {path}: {error or type(error).__name__}") from None
    return found


def _ask(question: str, timeout: float, path: str) -> Any:
    """Ask the engine's API; None for what it does not know."""
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


# What changes containers. `up` without --detach goes on for as long as the app does, so an old one is no change.
_CHANGES = frozenset({"up", "down", "start", "stop", "restart", "rm", "kill", "run", "create", "build", "pull"})
_CHANGES_SECONDS = 300.0


def changed_by_hand(app: str, directory: str, proc: str = "/proc") -> str:
    """Name a `docker compose` that somebody runs on an app just now, "" when there is none.

    It is told by its working directory, or by what it is given: the project's name, or a file in its directory.
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
            mine = app in given or any(f"{place}/".startswith(f"{directory}/") for place in places)
            done = next((word for word in words if word in _CHANGES), "")
            if mine and done and age < _CHANGES_SECONDS:
                return f"`docker compose {done}` (pid {pid}) runs on the app"
    return ""


def compose_version(timeout: float = 5.0) -> str:
    """Return the version of the Compose plugin, "" when there is none."""
    asked = commands.run(["docker", "compose", "version", "--short"], timeout)
    return asked.out.strip().lstrip("v") if asked.code == 0 else ""


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.26.1-4" → (2, 26, 1); "" → ()."""
    numbers = []
    for part in text.split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def require_compose(found: str) -> None:
    """Raise EngineError unless the Compose plugin is new enough; the message names the version found and needed."""
    needed = ".".join(map(str, MINIMUM_COMPOSE))
    if version_tuple(found) < MINIMUM_COMPOSE:
        raise EngineError(
            f"the Docker Compose plugin is {found or 'not installed'}, {needed} or newer is needed: install a newer "
            "docker-compose-plugin (Docker's packages) or docker-compose (Debian 13)"
        )


class Project:
    """One compose project: the app's name, its directory, and the files that are merged, in order.

    :arg files: file names within the directory, or absolute paths; by default the user's files and the overlay.
    :arg folder: the project directory, from which relative paths start; by default that of the first of the user's
        files, as for plain `docker compose`.
    """

    def __init__(self, app: str, directory: str, files: Sequence[str] | None = None, folder: str | None = None) -> None:
        self.app = app
        self.directory = directory
        layout = project_layout.read(directory)
        self.folder = os.path.normpath(os.path.join(directory, layout.folder)) if folder is None else folder
        merged = list(layout.files)
        # Alone the overlay describes nothing that could run.
        if merged and os.path.exists(os.path.join(directory, HARDENED_FILE)):
            merged.append(HARDENED_FILE)
        self.files = [os.path.join(directory, name) for name in (merged if files is None else files)]

    def command(self, *words: str) -> list[str]:
        """Return `docker compose WORDS` for this project."""
        argv = ["docker", "compose", "--project-name", self.app, "--project-directory", self.folder]
        env = os.path.join(self.directory, ".env")
        # Compose looks for it in the project directory alone.
        if self.folder != self.directory and os.path.exists(env):
            argv += ["--env-file", env]
        for name in self.files:
            argv += ["--file", name]
        return [*argv, *words]

    def compose(self, *words: str, timeout: float, stdin: str | None = None) -> Result:
        """Run `docker compose WORDS` for this project."""
        return commands.run(self.command(*words), timeout, stdin=stdin, cwd=self.folder)

    def config(self, timeout: float = CONFIG_SECONDS, profiles: bool = False) -> dict[str, Any]:
        """Return the merged model (`docker compose config`). It holds the env's values: never log it.

        :arg profiles: with the services of every profile, and with their volumes, which Compose leaves out otherwise.
        """
        if not self.files:
            raise EngineError(f"{self.directory} holds no compose file, such as {USER_FILE}")
        words = ["--profile", "*"] if profiles else []
        asked = self.compose(*words, "config", "--format", "json", timeout=timeout)
        if asked.code:
            raise EngineError(f"the compose files in {self.directory} do not make a project: {asked.reason}")
        model: dict[str, Any] = json.loads(asked.out)
        return model

    def hashes(self, timeout: float = CONFIG_SECONDS) -> dict[str, str]:
        """Return {service: hash of its merged configuration}; equal for equal configurations."""
        asked = self.compose("config", "--hash", "*", timeout=timeout)
        if asked.code:
            raise EngineError(f"the compose files in {self.directory} do not make a project: {asked.reason}")
        pairs = (line.split() for line in asked.out.splitlines() if line.strip())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def documents(self, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return what `docker inspect` says of the project's containers. It holds the env's values: never log it."""
        return documents(self.app, timeout)

    def containers(self) -> list[dict[str, Any]]:
        """Return the project's containers (running or not) as `instance` facts, by name."""
        return [instance(document, time.time()) for document in self.documents()]

    def logs(self, container: str, lines: int = 50, timeout: float = 5.0) -> str:
        """Return the last lines of a container's log, output and errors in the order of their times (not redacted)."""
        asked = commands.run(["docker", "logs", "--timestamps", "--tail", str(lines), container], timeout)
        found = [line for part in (asked.out, asked.err) for line in part.splitlines()]
        return _COLOUR.sub("", "\n".join(sorted(found, key=lambda line: line.partition(" ")[0])))

    def script(self, container: str, paths: Sequence[str], timeout: float = 5.0) -> str:
        """Return the text of the first of these files of a container, "" when none is a script.

        The engine hands a file out as an archive: a header of 512 bytes, the text, and zeros.
        """
        for path in paths:
            asked = commands.run(["docker", "cp", "--follow-link", f"{container}:{path}", "-"], timeout)
            text = asked.out[512:].split("\0")[0]
            if asked.code == 0 and text.startswith("#!"):
                return text
        return ""

    def top(self, container: str, timeout: float = 5.0) -> str:
        """Return the processes of a container."""
        asked = commands.run(["docker", "top", container, "-eo", "pid,ppid,stat,etimes,rss,args"], timeout)
        if asked.code:
            raise EngineError(f"docker top failed: {asked.reason}")
        return asked.out

    def inspect(self, container: str, timeout: float = 5.0) -> str:
        """Return what `docker inspect` says of a container, without its environment."""
        asked = commands.run(["docker", "inspect", container], timeout)
        try:
            documents = json.loads(asked.out)
        except ValueError:
            raise EngineError(f"docker inspect failed: {asked.reason}") from None
        for document in documents:
            document["Config"].pop("Env", None)
        return json.dumps(documents, indent=1)

    def images_missing(self, model: Mapping[str, Any], timeout: float = 5.0) -> list[dict[str, str]]:
        """Return the services of a merged model whose image is not on this host: [{service, image}]."""
        found = []
        for service, spec in sorted((model.get("services") or {}).items()):
            name = spec.get("image") or f"{self.app}-{service}"
            if not has_image(name, timeout):
                found.append({"service": service, "image": name})
        return found

    def restart(self, containers: Sequence[str], timeout: float = 30.0) -> Result:
        """Kill containers and start them again, at once: who does not answer is not waited for.

        `-t` is understood by each docker CLI; its long name is `--timeout` from 28 on, and `--time` before.
        """
        paused = commands.run(["docker", "ps", "--quiet", "--no-trunc", "--filter", "status=paused"], 5.0).out.split()
        frozen = [name for name in containers if name in paused]
        if frozen:
            self.unpause(frozen)
        return commands.run(["docker", "restart", "-t", "0", *containers], timeout)

    def restart_gently(self, containers: Sequence[str], timeout: float = 30.0) -> Result:
        """Stop containers, each in the time that its own `stop_grace_period` gives it, and start them again."""
        self.go_on(containers)
        self.stop(containers, timeout=timeout)
        return self.start(containers, timeout)

    def go_on(self, containers: Sequence[str]) -> None:
        """Let processes that are stopped (SIGSTOP) go on: they could not end otherwise.

        `docker kill` reaches one of them only.
        """
        for name in containers:
            listed = commands.run(["docker", "top", name, "-eo", "pid"], 10.0).out.split()
            for pid in filter(str.isdigit, listed):
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGCONT)

    def keep_images(self, images: Mapping[str, str], name: str = "last-good") -> None:
        """Tag {service: image id} as those of a release, so that neither a build nor a clean-up takes them away."""
        for service, image in images.items():
            commands.run(["docker", "tag", image, f"selfheal/{self.app}-{service.lower()}:{name}"], 10.0)

    def let_go_images(self, services: Iterable[str], name: str) -> None:
        """Take the tag of a release that is forgotten away; an image that has no other goes with it."""
        for service in services:
            commands.run(["docker", "rmi", f"selfheal/{self.app}-{service.lower()}:{name}"], 30.0)

    def put_back_images(self, release: Mapping[str, Any], timeout: float = 120.0) -> Result:
        """Give the images of a release their names back: a build, or a pull, since may have moved them.

        One that is not on this host any more is pulled, where the release knows its digest in a registry. One that is
        gone keeps no other from its name; then the first failure is returned.
        """
        pins = release.get("pins") or {}
        failed = Result(0, "", "")
        for service, image in release["images"].items():
            name = release["names"][service]
            put = self._name_image(image, name)
            gone = _is_gone(put)
            # A registry that did not have the one before is not waited for again.
            if put.code and name in pins and not failed.code:
                put = self.pull({name: pins[name]}, timeout)
            if put.code and not gone:
                return put
            failed = failed if failed.code else put
        return failed

    def _name_image(self, image: str, name: str) -> Result:
        if "@" in name:
            return commands.run(["docker", "image", "inspect", "--format", "{{.Id}}", name], 10.0)
        return commands.run(["docker", "tag", image, name], 10.0)

    def pull(self, images: Mapping[str, str], timeout: float = 1800.0) -> Result:
        """Pull {name: what the name is to mean here, a digest in a registry or the name itself}."""
        for name, wanted in images.items():
            pulled = commands.run(["docker", "pull", "--quiet", wanted], timeout)
            if pulled.code == 0 and name != wanted:
                pulled = self._name_image(wanted, name)
            if pulled.code:
                return pulled
        return Result(0, "", "")

    def build(self, timeout: float = 1800.0) -> Result:
        """Build the images of the services that have a build section."""
        return self.compose("build", "--quiet", timeout=timeout)

    def up(
        self,
        build: bool = False,
        anew: bool = False,
        services: Sequence[str] = (),
        scale: Mapping[str, int] | None = None,
        timeout: float = 120.0,
        start: bool = True,
    ) -> Result:
        """Create and start what is missing or differs, or everything `anew`; with `build`, from images built now.

        What is replaced has the time to end that its `stop_grace_period` gives it; that comes on top of `timeout`.

        :arg services: only these, and not what they depend on; () for all, and nothing else: what the files do not name
            any more is removed.
        :arg scale: so many containers of each service that is named; then those that are there stay as they are.
        :arg timeout: seconds for Compose to do it, whatever it waits for included.
        :arg start: False to create alone, and leave it to the caller in which order what is started.
        """
        graces = self._graces()
        words = ["up", "--detach" if start else "--no-start", "--quiet-pull"]
        words += [] if services else ["--remove-orphans"]
        words += _bounded(graces)
        words += ["--force-recreate"] if anew else []
        for service, count in (scale or {}).items():
            words += ["--no-recreate", "--scale", f"{service}={count}"]
        words += ["--build" if build else "--no-build", *(["--no-deps", *services] if services else [])]
        return self.compose(*words, timeout=1800.0 if build else timeout + _longest(graces))

    def _graces(self) -> dict[str, float]:
        """{container id: seconds that it has to end by itself} of the project's containers that run."""
        return {one["Id"]: _grace(one) for one in self.documents() if one["State"]["Status"] == "running"}

    def start(self, containers: Sequence[str], timeout: float = 60.0) -> Result:
        """Start containers that are there, all at once."""
        results: list[Result] = []

        def one(container: str) -> None:
            results.append(commands.run(["docker", "start", container], timeout))

        threads = [threading.Thread(target=one, args=(container,)) for container in containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failed = [result for result in results if result.code]
        return failed[0] if failed else Result(0, "", "")

    def start_services(self, services: Sequence[str], timeout: float = 120.0) -> Result:
        """Have Compose start the containers of some services that are there, and nothing else."""
        return self.compose("up", "--detach", "--no-recreate", "--no-build", "--no-deps", *services, timeout=timeout)

    def unpause(self, containers: Sequence[str]) -> None:
        """Let containers that are paused go on."""
        commands.run(["docker", "unpause", *containers], 10.0)

    def remove_orphans(self) -> None:
        """Remove the containers of services that the files do not name any more, whatever their profile."""
        asked = self.compose("--profile", "*", "config", "--services", timeout=20.0)
        if asked.code == 0:
            named = asked.out.split()
            self.remove([item["id"] for item in self.containers() if item["service"] not in named])

    def stop(self, containers: Sequence[str], grace: float | None = None, timeout: float = 30.0) -> None:
        """Stop containers; `grace` as for `remove`."""
        if grace is not None:
            own = dict.fromkeys(containers, grace)
        else:
            own = {name: min(seconds, LONGEST_GRACE) for name, seconds in graces(containers).items()}
        for seconds in sorted(set(own.values())):
            names = [name for name in own if own[name] == seconds]
            commands.run(["docker", "stop", "-t", f"{seconds:.0f}", *names], seconds + timeout)

    def remove(self, containers: Sequence[str], grace: float | None = None, timeout: float = 30.0) -> Result:
        """Stop containers, giving each `grace` seconds to end by itself, and remove them. Their volumes stay.

        :arg grace: None for what each one's own `stop_grace_period` says, up to LONGEST_GRACE.
        """
        if not containers:
            return Result(0, "", "")
        self.stop(containers, grace, timeout)
        return commands.run(["docker", "rm", "--force", *containers], timeout)

    def down(self, timeout: float = 120.0) -> Result:
        """Stop and remove the project's containers and networks. Volumes and images stay, always."""
        graces = self._graces()
        words = ["down", "--remove-orphans", *_bounded(graces)]
        return self.compose(*words, timeout=timeout + _longest(graces))


def graces(containers: Sequence[str], timeout: float = 10.0) -> dict[str, float]:
    """Return {container: seconds that its `stop_grace_period` gives it to end by itself} of those that are there."""
    path = _address()
    try:
        documents = {name: _ask(f"/containers/{name}/json", timeout, path) for name in containers}
    except (OSError, ValueError, http.client.HTTPException):
        # `docker stop` says what is wrong with the engine.
        return dict.fromkeys(containers, DEFAULT_GRACE)
    return {name: _grace(document) for name, document in documents.items() if document}


def _grace(document: Mapping[str, Any]) -> float:
    seconds = document["Config"].get("StopTimeout")
    return DEFAULT_GRACE if seconds is None else float(seconds)


def _bounded(graces: Mapping[str, float]) -> list[str]:
    """The option that bounds how long Compose waits for a container to end; it holds for all, so only where needed."""
    return ["--timeout", f"{LONGEST_GRACE:.0f}"] if max(graces.values(), default=0.0) > LONGEST_GRACE else []


def _longest(graces: Mapping[str, float]) -> float:
    """Seconds that stopping may take: Compose stops one service after the other where one depends on the other."""
    return sum(min(seconds, LONGEST_GRACE) for seconds in graces.values())


def has_image(image: str, timeout: float = 5.0) -> bool:
    """Whether an image, by id or name, is on this host."""
    return bool(image_id(image, timeout))


def images_gone(images: Mapping[str, str], timeout: float = 5.0) -> list[str]:
    """Return those of {service: image id} whose image is not on this host; none that the engine says nothing of."""
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}}"]
    return [service for service, image in images.items() if _is_gone(commands.run([*inspect, image], timeout))]


def _is_gone(asked: Result) -> bool:
    """Whether it is for want of an image that a command failed."""
    return asked.code != 0 and "no such image" in asked.err.lower()


def image_id(image: str, timeout: float = 5.0) -> str:
    """Return the id of an image, by id or name; "" when it is not on this host."""
    return commands.run(["docker", "image", "inspect", "--format", "{{.Id}}", image], timeout).out.strip()


def pin(name: str, timeout: float = 5.0) -> str:
    """Return what an image that was pulled as `name` is for good in its registry, `repository@sha256:...`, else ""."""
    asked = commands.run(["docker", "image", "inspect", "--format", '{{join .RepoDigests " "}}', name], timeout)
    found = [one for one in asked.out.split() if image_names.repository(one) == image_names.repository(name)]
    return found[0] if asked.code == 0 and found else ""


def image_facts(images: Iterable[str], timeout: float = 10.0) -> dict[str, dict[str, Any]]:
    """Return {image: {bytes, platform}} of those of the named images that are on this host."""
    wanted = sorted(set(images))
    if not wanted:
        return {}
    asked = commands.run(["docker", "image", "inspect", *wanted], timeout)
    # For one that is not there inspect exits 1, yet it prints the others.
    try:
        documents = json.loads(asked.out)
    except ValueError:
        raise EngineError(f"docker image inspect failed: {asked.reason}") from None
    return {
        str(one["Id"]): {"bytes": int(one.get("Size") or 0), "platform": f"{one.get('Os')}/{one.get('Architecture')}"}
        for one in documents
    }


def platform(timeout: float = 10.0) -> str:
    """Return what the engine runs images of: "linux/amd64"."""
    asked = commands.run(["docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"], timeout)
    if asked.code:
        raise EngineError(f"the Docker engine does not answer: {asked.reason}. Try: systemctl status docker")
    return asked.out.strip()


def save_images(images: Sequence[str], path: str, timeout: float = 3600.0) -> None:
    """Write images, by id, into one archive."""
    saved = commands.run(["docker", "save", "--output", path, *images], timeout)
    if saved.code:
        raise EngineError(f"docker save failed: {saved.reason}")


def load_images(path: str, timeout: float = 3600.0) -> None:
    """Read the images of an archive. They have no name afterwards."""
    loaded = commands.run(["docker", "load", "--quiet", "--input", path], timeout)
    if loaded.code:
        raise EngineError(f"docker load failed: {loaded.reason}")


def seconds_since(text: str, now: float) -> float | None:
    """Seconds from one of the engine's RFC 3339 times to `now` (epoch s); None for "never" (the year 1) or no time.

    A time to come says that the clock was set back: then nothing is known, None. Health checks are told by the host's
    own zone, as in 22:52:42.101978294+08:00; all other times by UTC.
    """
    parts = _TIME.fullmatch(text)
    try:
        found = datetime.strptime(f"{parts[1]}{parts[3] or 'Z'}", "%Y-%m-%dT%H:%M:%S%z") if parts else None
    except ValueError:
        found = None
    if parts is None or found is None or found.year <= 1970:
        return None
    begun = found.timestamp() + float(parts[2] or 0.0)
    return round(now - begun, 3) if begun <= now + 1.0 else None


_TIME = re.compile(r"(.{19})(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def instance(document: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Turn one `docker inspect` document into facts about an instance, without any of its environment.

    Times are the engine's RFC 3339 strings; limits are cores, bytes and a count, 0 for "no limit". `started_seconds`
    and `finished_seconds` are how long before `now` (epoch s) it was started, and ended, last; None for never;
    `start_period` is how long its health check gives it, in seconds;
    `targets` are its published TCP ports: [{host_ip, host_port, container_port}]; `networks` its addresses by network;
    `anonymous_volumes` are {folder in it: its path on this host} of volumes without a name, which no other container
    ever gets.
    """
    state_, config, host = document["State"], document["Config"], document["HostConfig"]
    bindings = _bindings(document)
    labels = config.get("Labels") or {}
    health = state_.get("Health") or {}
    restart_policy = (host.get("RestartPolicy") or {}).get("Name", "")
    return {
        "id": document["Id"],
        "name": document["Name"].lstrip("/"),
        "service": labels.get("com.docker.compose.service", ""),
        "config_hash": labels.get("com.docker.compose.config-hash", ""),
        "state": state_["Status"],
        "exit_code": state_.get("ExitCode", 0),
        "oom_killed": bool(state_.get("OOMKilled")),
        "error": state_.get("Error", ""),
        "health": health.get("Status", "none"),
        "health_log": [_health_entry(entry) for entry in (health.get("Log") or [])[-3:]],
        "restarts": document.get("RestartCount", 0),
        "started": state_.get("StartedAt", ""),
        "finished": state_.get("FinishedAt", ""),
        "started_seconds": seconds_since(state_.get("StartedAt", ""), now),
        "finished_seconds": seconds_since(state_.get("FinishedAt", ""), now),
        "start_period": ((config.get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9,
        "networks": {
            name: network.get("IPAddress", "")
            for name, network in ((document.get("NetworkSettings") or {}).get("Networks") or {}).items()
        },
        "targets": [_target(port, bound) for port, bound in bindings if port.endswith("/tcp")],
        "anonymous_volumes": _anonymous_volumes(document),
        "network_mode": host.get("NetworkMode", ""),
        "pid": state_.get("Pid", 0),
        "image": config.get("Image", ""),
        "digest": document.get("Image", ""),
        "limits": {
            "cpus": (host.get("NanoCpus") or 0) / 1e9,
            "memory_bytes": host.get("Memory") or 0,
            "memory_reservation_bytes": host.get("MemoryReservation") or 0,
            "pids": host.get("PidsLimit") or 0,
        },
        "read_only": bool(host.get("ReadonlyRootfs")),
        "job_done": _is_done(state_, restart_policy),
        "restart_policy": restart_policy,
        "ports": sorted({int(bound["HostPort"]) for _port, bound in bindings}),
    }


def _health_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One run of a health check."""
    return {
        "begun": entry.get("Start", ""),
        "time": entry.get("End", ""),
        "exit_code": entry.get("ExitCode"),
        "output": entry.get("Output", ""),
    }


def _bindings(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The ports of this host that a container has: [(its own port, as 80/tcp, and the binding)], by its own ports."""
    found = []
    for port, bindings in sorted(_published(document).items()):
        found += [(port, bound) for bound in bindings or [] if str(bound.get("HostPort", "")).isdigit()]
    return found


def _target(port: str, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Where a TCP port of a container is reached."""
    return {
        "host_ip": bound.get("HostIp", ""),
        "host_port": int(bound["HostPort"]),
        "container_port": int(port.split("/")[0]),
    }


def _anonymous_volumes(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(mount["Destination"]): str(mount.get("Source", ""))
        for mount in document.get("Mounts") or []
        if mount.get("Type") == "volume" and _ANONYMOUS.fullmatch(str(mount.get("Name", "")))
    }


def _is_done(state_: Mapping[str, Any], restart_policy: str) -> bool:
    """Whether this is a job that has done its work, which is not a service that stopped."""
    ended_well = state_["Status"] == "exited" and not state_.get("ExitCode")
    return ended_well and restart_policy in ("", "no", "on-failure")


def unnamed_data(item: Mapping[str, Any]) -> list[str]:
    """Return the folders of an instance that are on a volume without a name, with something in it."""
    return sorted(folder for folder, path in item["anonymous_volumes"].items() if _holds_something(path))


def _holds_something(path: str) -> bool:
    """Whether a folder is not empty. One that cannot be read may hold anything."""
    try:
        return bool(os.listdir(path))
    except OSError:
        return True


def _published(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The port bindings of a container; where it may have any of a range, the one that it got, as long as it runs."""
    asked: Mapping[str, Any] = document["HostConfig"].get("PortBindings") or {}
    if all(str(b.get("HostPort", "")).isdigit() for bindings in asked.values() for b in bindings or []):
        return asked
    return (document.get("NetworkSettings") or {}).get("Ports") or {}


def environment(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment that a container runs with, from its `docker inspect` document. Never show it."""
    pairs = (entry.partition("=") for entry in document["Config"].get("Env") or [])
    return {name: value for name, _, value in pairs}


def broken_network(instances: Sequence[Mapping[str, Any]], seconds: float = 0.3) -> list[str]:
    """Say, in sentences, why the way from the host to a running container is broken; [] when it is not known to be.

    Proof is a container without an address, or one that takes a connection at its own address while its published port
    on the host does not.
    """
    found = []
    for item in instances:
        if item["state"] != "running" or item["network_mode"] in ("host", "none") or not item["targets"]:
            continue
        address = next(filter(None, item["networks"].values()), "")
        if not address:
            found.append(f"{item['name']} has no address in any network")
            continue
        for target in item["targets"]:
            at_host = "127.0.0.1" if target["host_ip"] in ("", "0.0.0.0", "::") else target["host_ip"]
            if _accepts(address, target["container_port"], seconds) and not _accepts(
                at_host, target["host_port"], seconds
            ):
                found.append(
                    f"{item['name']} takes connections at {address}:{target['container_port']}, and the port published "
                    f"for it, {at_host}:{target['host_port']}, does not"
                )
    return found


def _accepts(address: str, port: int, seconds: float) -> bool:
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False


def unheld_ports(model: Mapping[str, Any], instances: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ports that a merged model publishes and no living container of it holds: [{service, port}].

    A restarting container counts as living: the engine's own proxy may hold its port just then.
    """
    held = {
        port for item in instances if item["state"] in ("running", "restarting", "paused") for port in item["ports"]
    }
    found = []
    for service, spec in sorted((model.get("services") or {}).items()):
        for port in spec.get("ports") or []:
            published = str(port.get("published") or "")
            if published.isdigit() and port.get("protocol", "tcp") == "tcp" and int(published) not in held:
                found.append({"service": service, "port": int(published)})
    return found


# --- volumes, and commands within containers --------------------------------------------------------------------------


def volume_facts(names: Sequence[str], timeout: float = 10.0) -> dict[str, dict[str, Any]]:
    """Return {name: {path, plain}} of those of the named volumes that are on this host.

    `plain`: it is a folder of this host, and no mount of something else.
    """
    if not names:
        return {}
    asked = commands.run(["docker", "volume", "inspect", *names], timeout)
    # For one that is not there inspect exits 1, yet it prints the others.
    try:
        documents = json.loads(asked.out or "[]")
    except ValueError:
        documents = []
    if asked.code and not documents and "no such volume" not in asked.err.lower():
        raise EngineError(f"docker volume inspect failed: {asked.reason}")
    return {
        str(one["Name"]): {
            "path": str(one.get("Mountpoint", "")),
            "plain": one.get("Driver") == "local" and not one.get("Options"),
        }
        for one in documents
    }


def compose_volumes(timeout: float = 10.0) -> list[dict[str, Any]]:
    """Return the volumes that Compose has made, of every project: [{name, project, key, path}]."""
    filters = urllib.parse.quote(json.dumps({"label": ["com.docker.compose.project"]}))
    path = _address()
    try:
        found = (_ask(f"/volumes?filters={filters}", timeout, path) or {}).get("Volumes") or []
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"the Docker engine does not answer at {path}: {error or type(error).__name__}") from None
    return [
        {
            "name": str(one["Name"]),
            "project": str(one["Labels"]["com.docker.compose.project"]),
            "key": str(one["Labels"].get("com.docker.compose.volume", "")),
            "path": str(one.get("Mountpoint", "")),
        }
        for one in found
    ]


def make_volume(name: str, labels: Mapping[str, str], timeout: float = 10.0) -> None:
    """Make a volume, unless it is there."""
    given = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    made = commands.run(["docker", "volume", "create", *given, name], timeout)
    if made.code:
        raise EngineError(f"docker volume create failed: {made.reason}")


def labelled_volumes(label: str, timeout: float = 10.0) -> list[str]:
    """Return the names of the volumes with a label."""
    listed = commands.run(["docker", "volume", "ls", "--quiet", "--filter", f"label={label}"], timeout)
    if listed.code:
        raise EngineError(f"docker volume ls failed: {listed.reason}", listed.code)
    return listed.out.split()


def remove_volumes(names: Sequence[str], timeout: float = 120.0) -> None:
    """Remove volumes, with what is in them. One that is not there is removed already."""
    if names:
        removed = commands.run(["docker", "volume", "rm", "--force", *names], timeout)
        if removed.code:
            raise EngineError(f"docker volume rm failed: {removed.reason}")


def remove_labelled(label: str, timeout: float = 30.0) -> None:
    """Kill and remove the containers with a label, and their volumes without a name."""
    listed = commands.run(["docker", "ps", "--all", "--quiet", "--filter", f"label={label}"], timeout)
    if listed.code:
        raise EngineError(f"docker ps failed: {listed.reason}", listed.code)
    if listed.out.split():
        # One that ends just now is removed by the engine itself.
        commands.run(["docker", "rm", "--force", "--volumes", *listed.out.split()], timeout)


def within(container: str, command: Sequence[str], names: Iterable[str] = (), stdin: bool = False) -> list[str]:
    """Return the command that runs another one in a container; of the variables only the names are in it."""
    given = [word for name in names for word in ("--env", name)]
    return ["docker", "exec", *(["--interactive"] if stdin else []), *given, container, *command]
