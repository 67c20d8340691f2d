# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is next to an app while it is restored, or a backup of it verified: folders, volumes, a scratch project."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable

from ..core.clock import Clock
from ..core.redact import redact
from ..docker import engine
from ..docker import project as docker_project
from ..docker import volumes as docker_volumes
from ..docker.containers import Container
from ..env import read as env_file
from ..env.rules import secrets_of
from ..host import command as commands
from . import restic
from .config import Backup
from .databases import BackupError

STOP_SECONDS = 60.0


class Scratch:
    """What is next to an app while it is restored or verified: folders, volumes, and a project that runs databases."""

    def __init__(self, config: Backup, name: str) -> None:
        paths = config.paths
        self.paths, self.variables, self.name = paths, config.watched.app.variables, name
        self.project = f"{paths.name}-{name}"
        # In the same file systems as what they are swapped with.
        self.directory = os.path.join(os.path.dirname(paths.directory), f".{os.path.basename(paths.directory)}.{name}")
        self.state = os.path.join(paths.state, name)
        self.compose = os.path.join(self.state, "compose.json")
        # Says that what was replaced is in no backup.
        self.only_copy = os.path.join(self.state, "only-copy")
        self.label = f"christmas.selfheal.{name}={paths.name}"

    def volume(self, key: str) -> str:
        """The name of the scratch volume for one of the app's."""
        return f"{self.project}_{key}"

    def remove(self) -> None:
        """Remove everything. Raises EngineError, OSError."""
        self.stop()
        docker_volumes.remove_volumes(docker_volumes.labelled_volumes(self.label))
        for path in (self.directory, self.state):
            shutil.rmtree(path, ignore_errors=True)

    def stop(self) -> None:
        """Stop the databases, give them time to write what they have, and remove containers and network."""
        remove_containers(docker_project.Project(self.project, "/"))
        filters = ["--filter", f"label=com.docker.compose.project={self.project}"]
        networks = commands.run(["docker", "network", "ls", "--quiet", *filters], 10.0).out.split()
        if networks:
            commands.run(["docker", "network", "rm", *networks], 30.0)
        # It holds the env's values, and shows that there may be something to stop.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.compose)

    def data(self, key: str) -> str:
        """The path of a data folder next to the app's."""
        return os.path.join(self.directory, key[2:])

    def make(self, keys: Iterable[str]) -> dict[str, str]:
        """Make empty volumes: {key: folder}."""
        names = {key: self.volume(key) for key in keys}
        for key, name in names.items():
            docker_volumes.make_volume(
                name, {"christmas.selfheal." + self.name: self.paths.name, "christmas.selfheal.volume": key}
            )
        facts = docker_volumes.volume_facts(list(names.values()))
        return {key: str(facts[name]["path"]) for key, name in names.items()}

    def compose_words(self, *words: str) -> list[str]:
        """`docker compose` for the scratch project."""
        base = ["docker", "compose", "--project-name", self.project, "--project-directory", self.directory]
        return [*base, "--file", self.compose, *words]

    def container(self, service: str) -> str:
        """The id of the container of a service."""
        return str(self._instance(service)["id"])

    def pid(self, service: str) -> int:
        """The first process of the container of a service. Raises BackupError, with its log, when it has ended."""
        found = self._instance(service)
        if found["state"] == "running":
            return int(found["pid"])
        said = restic.first_error(self.redacted(docker_project.Project(self.project, "/").logs(str(found["id"]))))
        raise BackupError(f"a scratch database did not start: {service} ended with code {found['exit_code']}: {said}")

    def env_values(self, clock: Clock) -> dict[str, str]:
        """The values of the backup's own env."""
        restored = self.paths._replace(directory=self.directory)
        return env_file.read(restored, self.variables, clock.now())["values"]

    def redacted(self, text: str) -> str:
        """A text without the secrets of the backup's own env."""
        return redact(text, secrets_of(self.variables, self.env_values(Clock())))

    def _instance(self, service: str) -> Container:
        for item in docker_project.Project(self.project, "/").containers():
            if item["service"] == service:
                return item
        raise BackupError(f"the scratch database {service} has no container")


def remove_containers(project: docker_project.Project) -> None:
    """Stop and remove the containers of a project. Raises EngineError when one is still there.

    It would go on writing into its open files, wherever a swap has moved them.
    """
    project.remove([item["id"] for item in project.containers()], STOP_SECONDS, 60.0)
    left = [str(item["name"]) for item in project.containers()]
    if left:
        raise engine.EngineError(f"containers cannot be removed: {', '.join(left)}. Try: docker rm --force, then again")
