# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One Compose project: what its containers are, and every command that changes them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..host import command as commands
from ..host.command import Result
from . import containers as docker_containers
from . import engine, project_layout, proxies
from . import images as docker_images
from . import logs as docker_logs
from .engine import EngineError
from .model import Model
from .project_layout import HARDENED_FILE

# How messages call the user's compose file, whatever its name.
USER_FILE = "compose.yaml"
# A compose file of 1 MB takes Compose 2 s of a processor, and a busy host has little of one.
CONFIG_SECONDS = 60.0
# Select Graphic Rendition of a terminal (ECMA-48).
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Project:
    """One compose project: the app's name, its directory, and the files that are merged, in order.

    :arg files: file names within the directory, or absolute paths; by default the user's files and the overlay.
    :arg folder: the project directory, from which relative paths start; by default that of the first of the user's
        files, as for plain `docker compose`.
    :arg env_files: absolute paths, instead of the `.env` of the directory.
    """

    def __init__(
        self,
        app: str,
        directory: str,
        files: Sequence[str] | None = None,
        folder: str | None = None,
        env_files: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.directory = directory
        layout = project_layout.read(directory)
        self.folder = os.path.normpath(os.path.join(directory, layout.folder)) if folder is None else folder
        merged = list(layout.files)
        # Alone the overlay describes nothing that could run.
        if merged and os.path.exists(os.path.join(directory, HARDENED_FILE)):
            merged.append(HARDENED_FILE)
        self.files = [os.path.join(directory, name) for name in (merged if files is None else files)]
        self.env_files = env_files

    def command(self, *words: str) -> list[str]:
        """Return `docker compose WORDS` for this project, as a person runs it."""
        return ["docker", "compose", *self._options(), *words]

    def _options(self) -> list[str]:
        words = ["--project-name", self.app, "--project-directory", self.folder]
        for name in self.env_files or self._own_env():
            words += ["--env-file", name]
        for name in self.files:
            words += ["--file", name]
        return words

    def _own_env(self) -> list[str]:
        env = os.path.join(self.directory, ".env")
        # Compose looks for it in the project directory alone.
        return [env] if self.folder != self.directory and os.path.exists(env) else []

    def compose(self, *words: str, timeout: float, stdin: str | None = None) -> Result:
        """Run `docker compose WORDS` for this project."""
        argv = [*engine.compose_program(), *self._options(), *words]
        return commands.run(argv, timeout, stdin=stdin, cwd=self.folder)

    def config(self, timeout: float = CONFIG_SECONDS, profiles: bool = False) -> Model:
        """Return the merged model (`docker compose config`). It holds the env's values: never log it.

        :arg profiles: with the services of every profile, and with their volumes, which Compose leaves out otherwise.
        """
        if not self.files:
            raise EngineError(f"{self.directory} holds no compose file, such as {USER_FILE}")
        words = ["--profile", "*"] if profiles else []
        asked = self.compose(*words, "config", "--format", "json", timeout=timeout)
        if asked.code:
            raise EngineError(f"the compose files in {self.directory} do not make a project: {asked.reason}")
        model: Model = json.loads(asked.out)
        return model

    def hashes(self, timeout: float = CONFIG_SECONDS) -> dict[str, str]:
        """Return {service: hash of its merged configuration}; equal for equal configurations."""
        asked = self.compose("config", "--hash", "*", timeout=timeout)
        if asked.code:
            raise EngineError(f"the compose files in {self.directory} do not make a project: {asked.reason}")
        pairs = (line.split() for line in asked.out.splitlines() if line.strip())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def documents(self, timeout: float = 10.0) -> list[docker_containers.Document]:
        """Return what `docker inspect` says of the project's containers. It holds the env's values: never log it."""
        return docker_containers.documents(self.app, timeout)

    def containers(self) -> list[docker_containers.Container]:
        """Return the project's containers (running or not) as `instance` facts, by name."""
        return [docker_containers.instance(document, time.time()) for document in self.documents()]

    def logs(self, container: str, lines: int = 50, timeout: float = 5.0) -> str:
        """Return the last lines of a container's log, in the order of their times (not redacted).

        Where the engine does not hand out the log, the line says why, as for a logging driver that keeps none.
        """
        try:
            tty = bool((self._document(container, timeout) or {"Config": {}})["Config"].get("Tty"))
            log = docker_logs.ContainerLog(container, tty, follow=False, tail=lines, timeout=timeout)
        except EngineError as error:
            return str(error)
        messages: list[docker_logs.Message] = []
        with contextlib.suppress(EngineError), contextlib.closing(log):
            while not log.ended:
                messages += log.read()
        found = sorted(docker_logs.lines(messages), key=lambda line: line[0])
        return _COLOUR.sub("", "\n".join(f"{at} {text}" for at, text in found))

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
        """Return the processes of a container, as `ps` lists them."""
        columns = urllib.parse.quote("-eo pid,ppid,stat,etimes,rss,args")
        found = self._ask(f"/containers/{container}/top?ps_args={columns}", timeout) or {}
        # The engine says null of a container that has just ended.
        rows = [found.get("Titles") or [], *(found.get("Processes") or [])]
        return "\n".join(" ".join(words) for words in rows) + "\n"

    def inspect(self, container: str, timeout: float = 5.0) -> str:
        """Return what `docker inspect` says of a container, without its environment."""
        document = self._document(container, timeout)
        if document is None:
            return ""
        shown = {**document, "Config": {name: one for name, one in document["Config"].items() if name != "Env"}}
        return json.dumps([shown], indent=1)

    def _document(self, container: str, timeout: float) -> docker_containers.Document | None:
        found: docker_containers.Document | None = self._ask(f"/containers/{container}/json", timeout)
        return found

    def _ask(self, question: str, timeout: float) -> Any:
        """What the engine's API says, None for what it does not know. Raises EngineError."""
        try:
            return engine.ask(question, timeout, engine.address())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EngineError(f"the Docker engine does not say {question.partition('?')[0]}: {error}") from None

    def images_missing(self, model: Model, timeout: float = 5.0) -> list[docker_images.MissingImage]:
        """Return the services of a merged model whose image is not on this host."""
        found: list[docker_images.MissingImage] = []
        for service, spec in sorted((model.get("services") or {}).items()):
            name = spec.get("image") or f"{self.app}-{service}"
            if not docker_images.has_image(name, timeout):
                found.append({"service": service, "image": name})
        return found

    def restart(self, containers: Sequence[str], timeout: float = 30.0) -> Result:
        """Kill containers and start them again, all at once, without waiting for one that does not answer."""
        frozen = [item["id"] for item in self.containers() if item["state"] == "paused" and item["id"] in containers]
        if frozen:
            self.unpause(frozen)
        with self._proxies_reloaded():
            return _each(containers, "restart?t=0", timeout)

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
            docker_images.tag(image, f"selfheal/{self.app}-{service.lower()}:{name}")

    def let_go_images(self, services: Iterable[str], name: str) -> None:
        """Take the tag of a release that is forgotten away; an image that has no other goes with it."""
        for service in services:
            commands.run(["docker", "rmi", f"selfheal/{self.app}-{service.lower()}:{name}"], 30.0)

    def put_back_images(self, release: docker_images.ReleaseImages, timeout: float = 120.0) -> Result:
        """Give the images of a release their names back: a build, or a pull, since may have moved them.

        One that is not on this host any more is pulled, where the release knows its digest in a registry. One that is
        gone keeps no other from its name; then the first failure is returned.
        """
        pins = release.get("pins") or {}
        failed = Result(0, "", "")
        for service, image in release["images"].items():
            name = release["names"][service]
            put = self._name_image(image, name)
            gone = docker_images.is_gone(put)
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
        return docker_images.tag(image, name)

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
        recreate: bool = False,
        services: Sequence[str] = (),
        scale: Mapping[str, int] | None = None,
        timeout: float = 120.0,
        start: bool = True,
    ) -> Result:
        """Create and start what is missing or differs, or recreate everything; with `build`, from images built now.

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
        words += ["--force-recreate"] if recreate else []
        for service, count in (scale or {}).items():
            words += ["--no-recreate", "--scale", f"{service}={count}"]
        words += ["--build" if build else "--no-build", *(["--no-deps", *services] if services else [])]
        with self._proxies_reloaded() if start else contextlib.nullcontext():
            return self.compose(*words, timeout=1800.0 if build else timeout + _longest(graces))

    @contextlib.contextmanager
    def _proxies_reloaded(self) -> Iterator[None]:
        """After the block, which starts containers, reload each nginx of the project that ran before."""
        begun = time.monotonic()
        yield
        found = proxies.masters()
        if found:
            # A reload that is not possible leaves things as they were.
            with contextlib.suppress(OSError, EngineError):
                ids = {item["id"] for item in self.containers()}
                proxies.reload(found, ids, time.monotonic() - begun)

    def _graces(self) -> dict[str, float]:
        """{container id: seconds that it has to end by itself} of the project's containers that run."""
        return {one["Id"]: _grace(one) for one in self.documents() if one["State"]["Status"] == "running"}

    def start(self, containers: Sequence[str], timeout: float = 60.0) -> Result:
        """Start containers that are there, all at once."""
        with self._proxies_reloaded():
            return _each(containers, "start", timeout)

    def start_services(self, services: Sequence[str], timeout: float = 120.0) -> Result:
        """Have Compose start the containers of some services that are there, and nothing else."""
        with self._proxies_reloaded():
            words = ["up", "--detach", "--no-recreate", "--no-build", "--no-deps", *services]
            return self.compose(*words, timeout=timeout)

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
            own = {name: min(seconds, engine.LONGEST_GRACE) for name, seconds in graces(containers).items()}
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


def _each(containers: Sequence[str], act: str, timeout: float) -> Result:
    """Have the engine act on each of these containers, all at once; the first failure, if there is one."""
    results: list[Result] = []

    def one(container: str) -> None:
        results.append(engine.act(f"/containers/{container}/{act}", timeout))

    threads = [threading.Thread(target=one, args=(container,)) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [result for result in results if result.code]
    return failed[0] if failed else Result(0, "", "")


def graces(containers: Sequence[str], timeout: float = 10.0) -> dict[str, float]:
    """Return {container: seconds that its `stop_grace_period` gives it to end by itself} of those that are there."""
    path = engine.address()
    try:
        documents = {name: engine.ask(f"/containers/{name}/json", timeout, path) for name in containers}
    except (OSError, ValueError, http.client.HTTPException):
        # `docker stop` says what is wrong with the engine.
        return dict.fromkeys(containers, engine.DEFAULT_GRACE)
    return {name: _grace(document) for name, document in documents.items() if document}


def _grace(document: docker_containers.Document) -> float:
    seconds = document["Config"].get("StopTimeout")
    return engine.DEFAULT_GRACE if seconds is None else float(seconds)


def _bounded(graces: Mapping[str, float]) -> list[str]:
    """The option that bounds how long Compose waits for a container to end; it holds for all, so only where needed."""
    return (
        ["--timeout", f"{engine.LONGEST_GRACE:.0f}"] if max(graces.values(), default=0.0) > engine.LONGEST_GRACE else []
    )


def _longest(graces: Mapping[str, float]) -> float:
    """Seconds that stopping may take: Compose stops one service after the other where one depends on the other."""
    return sum(min(seconds, engine.LONGEST_GRACE) for seconds in graces.values())
