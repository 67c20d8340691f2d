# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host with a Docker engine and a repository of backups in memory, for tests of whole deploys, backups and restores.

The library's files are real, below a temporary root; so are compose files and what is in volumes. The docker CLI, the
engine's API on its socket, restic, the app's answers and the time are simulated. An unknown command is "not installed".
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.backup import config as backup_config
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import databases, restic
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, iso
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import cgroup, engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import network as docker_network
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy

DONE = Result(0, "", "")
LABEL = "com.docker.compose"
TOKEN, OTHER_TOKEN = "Vq3mZk8TtPw2Lr9xHs5B", "Nw7cYd4JfGb6Ke1uQo0R"
VARIABLES = [{"name": "TOKEN", "kind": "token", "source": "made once"}]
CHECK = {"name": "health", "url": "http://127.0.0.1:8000/health", "proves": "health"}
ROW = {"name": "shop", "kind": "postgres", "service": "database"}
REMOTE = {"name": "far", "kind": "postgres", "dsn_variable": "DATABASE_URL", "image": "postgres:17"}
KINDS = databases.read_databases([ROW, REMOTE])
# What a file of a snapshot is: its content and mode, where a link leads, or None for a folder.
Kept = tuple[bytes, int] | str | None


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class Killed(BaseException):
    """The process is gone: nothing that would have cleaned up runs."""


class Container:
    """One container of a compose project."""

    def __init__(self, identity: str, project: str, service: str, spec: Mapping[str, Any], image: str) -> None:
        self.id, self.project, self.service, self.spec, self.image = identity, project, service, spec, image
        self.name = f"{project}-{service}-{identity[1:]}"
        self.hash = digest(json.dumps(spec, sort_keys=True))[7:19]
        self.state, self.code, self.restarts, self.started = "created", 0, 0, 0.0
        self.port = 0
        self.volumes: dict[str, str] = {}
        self.labels: dict[str, str] = {}


class Docker:
    """Images, containers and volumes; `acts` is what was done to them, in turn."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, time.time()
        self.images: dict[str, str] = {}
        self.there: set[str] = set()
        # What can be pulled, {name: image id}.
        self.registry: dict[str, str] = {}
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.made = 0
        self.acts: list[str] = []
        # How a container behaves, by its image or its service: "exits 3", "restarts",
        # "refuses", "unhealthy", "starting"; it runs otherwise.
        self.behaves: dict[str, str] = {}
        # {part of a command: what it says when it fails}.
        self.fails: dict[str, str] = {}
        # What other commands of the host print, by the words that they begin with.
        self.host: dict[str, str] = {}
        self.log, self.compose_version = "started", "2.40.3"
        # The folder and the compose files of the command that goes on, as Compose labels its containers.
        self.made_from = ("", "")
        self.before: Callable[[str], None] = lambda _line: None
        self.programs: list[Callable[[Container, Sequence[str], str], Result | None]] = []
        self.lock = threading.RLock()

    # --- the CLI -----------------------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], timeout: float, stdin: str | None = None, cwd: str | None = None) -> Result:
        with self.lock:
            line = " ".join(argv)
            self.before(line)
            for part, said in self.fails.items():
                if part in line:
                    return Result(1, "", said)
            if list(argv[:2]) == ["docker", "compose"]:
                return self._compose(list(argv[2:]))
            for words, printed in self.host.items():
                if line.startswith(words):
                    return Result(0, printed, "")
            act = getattr(self, f"_{argv[1]}", None) if argv[0] == "docker" else None
            if act is None:
                return Result(127, "", f"{argv[0]} is not installed")
            return act(list(argv[2:]), stdin or "")  # type: ignore[no-any-return]

    def _version(self, *_unused: Any) -> Result:
        return Result(0, "linux/amd64\n", "")

    def _image(self, words: list[str], _unused: str) -> Result:
        if words[1] == "--format":
            image = self._find(words[3])
            if not image:
                return Result(1, "", f"Error response from daemon: No such image: {words[3]}")
            pins = " ".join(f"{name.split(':')[0]}@{one}" for name, one in self.registry.items() if one == image)
            return Result(0, pins if "RepoDigests" in words[2] else image, "")
        found = [image for image in map(self._find, words[1:]) if image]
        return Result(
            0, json.dumps([{"Id": one, "Size": 5, "Os": "linux", "Architecture": "amd64"} for one in found]), ""
        )

    def _find(self, name: str) -> str:
        if "@" in name:
            name = name.partition("@")[2]
        return name if name in self.there else self.images.get(name, "")

    def _tag(self, words: list[str], _unused: str) -> Result:
        image = self._find(words[0])
        if not image:
            return Result(1, "", f"Error response from daemon: No such image: {words[0]}")
        self.images[words[1]] = image
        return DONE

    def _rmi(self, words: list[str], _unused: str) -> Result:
        gone = self.images.pop(words[0], "")
        if gone not in self.images.values():
            self.there.discard(gone)
        return DONE

    def _pull(self, words: list[str], _unused: str) -> Result:
        name = words[-1]
        image = self.registry.get(name) or next((one for one in self.registry.values() if name.endswith(f"@{one}")), "")
        if not image:
            return Result(1, "", f"Error response from daemon: manifest for {name} not found")
        self.acts.append(f"pull {name}")
        self.there.add(image)
        if "@" not in name:
            self.images[name] = image
        return DONE

    def _load(self, _words: list[str], given: str) -> Result:
        self.there.update(json.loads(given))
        return DONE

    def _save(self, words: list[str], _unused: str) -> Result:
        return Result(0, json.dumps(words), "")

    def _logs(self, words: list[str], _unused: str) -> Result:
        return Result(0, f"2026-04-15T14:52:42.000000000Z {self.containers[words[-1]].service}: {self.log}\n", "")

    def _top(self, *_unused: Any) -> Result:
        return Result(0, "PID\n", "")

    def _cp(self, *_unused: Any) -> Result:
        return Result(1, "", "no such file")

    def _ps(self, words: list[str], _unused: str) -> Result:
        label = words[-1].partition("label=")[2]
        return Result(0, "\n".join(one.id for one in self.containers.values() if label and label in one.labels), "")

    def _start(self, words: list[str], _unused: str) -> Result:
        one = self.containers[words[0]]
        self.acts.append(f"start {one.service}")
        how = self.behaves.get(one.image) or self.behaves.get(one.service) or "runs"
        if how == "refuses":
            return Result(1, "", f"Error response from daemon: {one.service}: permission denied")
        one.state, one.code, one.restarts, one.started = "running", 0, 0, self.now
        if how.startswith("exits"):
            one.state, one.code = "exited", int(how.split()[1])
        if how == "restarts":
            one.state, one.code, one.restarts = "restarting", 1, 9
        return DONE

    def _restart(self, words: list[str], _unused: str) -> Result:
        return self._start(words, "")

    def _unpause(self, words: list[str], _unused: str) -> Result:
        for name in words:
            self.acts.append(f"unpause {self.containers[name].service}")
            self.containers[name].state = "running"
        return DONE

    def _stop(self, words: list[str], _unused: str) -> Result:
        for name in words[2:]:
            one = self.containers[name]
            if one.state != "exited":
                self.acts.append(f"stop {one.service}")
                one.state, one.code = "exited", 143
        return DONE

    def _rm(self, words: list[str], _unused: str) -> Result:
        for name in [word for word in words if not word.startswith("--")]:
            gone = self.containers.pop(name, None)
            if gone:
                self.acts.append(f"remove {gone.service}")
        return DONE

    def _exec(self, words: list[str], given: str) -> Result:
        while words[0].startswith("--"):
            words = words[2:] if words[0] == "--env" else words[1:]
        for program in self.programs:
            if (ended := program(self.containers[words[0]], words[1:], given)) is not None:
                return ended
        return Result(126, "", f"{words[1]}: not found")

    def _run(self, words: list[str], _unused: str) -> Result:
        """A container that ends by itself: of another server's database, say."""
        return Result(0, f"dump by {words[words.index('--entrypoint') + 1]}", "")

    def _network(self, words: list[str], _unused: str) -> Result:
        return Result(0, "n1\n" if words[0] == "ls" else "", "")

    def _volume(self, words: list[str], _unused: str) -> Result:
        if words[0] == "create":
            labels = dict(word.split("=", 1) for before, word in zip(words, words[1:]) if before == "--label")
            self.make_volume(words[-1], labels)
            return DONE
        if words[0] == "ls":
            key, _unused, value = words[-1].partition("label=")[2].partition("=")
            return Result(0, "\n".join(n for n, one in self.volumes.items() if one["labels"].get(key) == value), "")
        if words[0] == "rm":
            for name in words[2:]:
                if self.volumes.pop(name, None) is not None:
                    shutil.rmtree(self.root / "volumes" / name)
            return DONE
        there = [name for name in words[1:] if name in self.volumes]
        documents = [
            {
                "Name": name,
                "Driver": self.volumes[name]["driver"],
                "Options": None,
                "Mountpoint": str(self.folder(name)),
                "Labels": self.volumes[name]["labels"],
            }
            for name in there
        ]
        missing = [name for name in words[1:] if name not in self.volumes]
        return Result(int(bool(missing)), json.dumps(documents), f"no such volume: {missing}" if missing else "")

    def folder(self, volume: str) -> Path:
        return self.root / "volumes" / volume / "_data"

    def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        if name not in self.volumes:
            self.volumes[name] = {"labels": dict(labels), "driver": "local"}
            self.folder(name).mkdir(parents=True)

    # --- Compose -----------------------------------------------------------------------------------------------------

    def _compose(self, words: list[str]) -> Result:
        given: dict[str, list[str]] = {}
        while words[0].startswith("--"):
            given.setdefault(words[0], []).append(words[1])
            words = words[2:]
        if words[0] == "version":
            return Result(0, f"{self.compose_version}\n", "")
        project, files = given["--project-name"][0], given.get("--file", [])
        self.made_from = (given["--project-directory"][0], ",".join(files))
        try:
            model = self._model(project, files, given["--project-directory"][0], "--profile" in given)
        except (OSError, yaml.YAMLError) as error:
            return Result(1, "", f"error: {error}")
        if words[0] == "config":
            return self._config(model, words)
        if words[0] == "build":
            return self._build(model)
        if words[0] == "up":
            return self._up(project, model, words[1:])
        if words[0] == "down":
            return self._rm([one.id for one in self.of(project)], "")
        return Result(1, "", f"unknown command {words[0]}")

    def _config(self, model: Mapping[str, Any], words: Sequence[str]) -> Result:
        if "--hash" in words:
            specs = model["services"].items()
            lines = [f"{name} {Container('c', '', name, spec, '').hash}" for name, spec in specs]
            return Result(0, "\n".join(lines), "")
        return Result(0, "\n".join(model["services"]) if "--services" in words else json.dumps(model), "")

    def _model(self, project: str, files: Sequence[str], folder: str, profiles: bool) -> dict[str, Any]:
        env = Path(folder, ".env")
        values = dotenv.parse(env.read_text(encoding="utf-8")) if env.is_file() else {}
        services: dict[str, Any] = {}
        volumes: dict[str, Any] = {}
        for name in files:
            text = Path(name).read_text(encoding="utf-8")
            for key, value in values.items():
                text = text.replace(f"${{{key}}}", value)
            found = yaml.safe_load(text.replace("$$", "$"))
            services.update(found.get("services") or {})
            volumes.update(found.get("volumes") or {})
        services = {name: spec for name, spec in services.items() if profiles or not spec.get("profiles")}
        named = {key: {"name": f"{project}_{key}", **(spec or {})} for key, spec in volumes.items()}
        return {"name": project, "services": services, "volumes": named}

    def _build(self, model: Mapping[str, Any]) -> Result:
        for name, spec in model["services"].items():
            if "build" in spec:
                context = Path(spec["build"]["context"])
                text = "".join(path.read_text(encoding="utf-8") for path in sorted(context.rglob("*.py")))
                image = digest(text)
                self.acts.append(f"build {name}")
                self.images[spec["image"]] = image
                self.there.add(image)
        return DONE

    def _up(self, project: str, model: Mapping[str, Any], words: list[str]) -> Result:
        values = {before: word for before, word in zip(words, words[1:]) if before in ("--timeout", "--scale")}
        valued = {"--timeout", "--scale", "--wait-timeout"}
        chosen = [word for before, word in zip(["", *words], words) if word[:2] != "--" and before not in valued]
        scaled, _unused, count = values.get("--scale", "").partition("=")
        if "--remove-orphans" in words:
            self._rm([one.id for one in self.of(project) if one.service not in model["services"]], "")
        for name, spec in model["services"].items():
            if chosen and name not in chosen:
                continue
            image = self._find(spec["image"]) or self._pulled(spec["image"])
            if not image:
                return Result(1, "", f"Error response from daemon: No such image: {spec['image']}")
            mine = [one for one in self.of(project) if one.service == name]
            fresh = Container("c", project, name, spec, image)
            if "--no-recreate" not in words:
                self._rm([one.id for one in mine if (one.hash, one.image) != (fresh.hash, image)], "")
            while len([one for one in self.of(project) if one.service == name]) < (int(count) if name == scaled else 1):
                self._create(project, model, name, image)
        if "--no-start" not in words:
            for one in self.of(project):
                if one.state != "running" and (not chosen or one.service in chosen):
                    self._start([one.id], "")
        return DONE

    def _pulled(self, name: str) -> str:
        self._pull([name], "")
        return self._find(name)

    def _create(self, project: str, model: Mapping[str, Any], service: str, image: str) -> None:
        self.made += 1
        spec = model["services"][service]
        one = Container(f"c{self.made}", project, service, spec, image)
        one.labels = dict(zip((f"{LABEL}.project.working_dir", f"{LABEL}.project.config_files"), self.made_from))
        for mount in spec.get("volumes") or []:
            if mount["type"] == "volume":
                name = model["volumes"][mount["source"]]["name"]
                self.make_volume(name, {f"{LABEL}.project": project, f"{LABEL}.volume": mount["source"]})
                one.volumes[name] = mount["target"]
        for port in spec.get("ports") or []:
            first, _unused, last = str(port["published"]).partition("-")
            taken = {other.port for other in self.containers.values()}
            one.port = next(free for free in range(int(first), int(last or first) + 1) if free not in taken)
        self.containers[one.id] = one
        self.acts.append(f"create {service}")

    def of(self, project: str) -> list[Container]:
        return [one for one in self.containers.values() if one.project == project]

    # --- the API -----------------------------------------------------------------------------------------------------

    def ask(self, question: str) -> Any:
        """What the engine's API answers; None for what it does not know."""
        with self.lock:
            path, _unused, query = question.partition("?")
            if path == "/version":
                return {"Version": "28.0"}
            if path == "/containers/json":
                labels = json.loads(urllib.parse.parse_qs(query)["filters"][0]).get("label", [f"{LABEL}.project="])
                project = labels[0].partition("=")[2]
                return [{"Id": one.id} for one in self.containers.values() if not project or one.project == project]
            if path.startswith("/images/"):
                image = self._find(urllib.parse.unquote(path[len("/images/") : -len("/json")]))
                return {"Id": image} if image else None
            name = path.split("/")[2]
            if path.endswith("/top"):
                return {"Titles": ["PID"], "Processes": []}
            return self.document(self.containers[name]) if name in self.containers else None

    def act(self, request: str, _timeout: float) -> Result:
        """What the engine's API does, in the thread of who asks for it: a test may end that one here."""
        path, _unused, query = request.partition("?")
        _unused, _kind, name, act = path.split("/")
        given = {key: one[0] for key, one in urllib.parse.parse_qs(query).items()}
        words = [f"{given['repo']}:{given['tag']}"] if act == "tag" else []
        return self.run(["docker", act, urllib.parse.unquote(name), *words], 0.0)

    def document(self, one: Container) -> dict[str, Any]:
        wanted = self.behaves.get(one.image) or self.behaves.get(one.service)
        health = {"Health": {"Status": wanted if wanted in ("unhealthy", "starting") else "healthy"}}
        ports = {f"{port['target']}/tcp": [{"HostPort": str(one.port)}] for port in one.spec.get("ports") or []}
        began = iso(time.time() - (self.now - one.started)) if one.started else "0001-01-01T00:00:00Z"
        labels = {f"{LABEL}.project": one.project, f"{LABEL}.service": one.service, f"{LABEL}.config-hash": one.hash}
        return {
            "Id": one.id,
            "Name": f"/{one.name}",
            "Image": one.image,
            "RestartCount": one.restarts,
            "State": {
                "Status": one.state,
                "ExitCode": one.code,
                "Pid": 1,
                "StartedAt": began,
                **(health if "healthcheck" in one.spec and one.state == "running" else {}),
            },
            "Config": {
                "Image": one.spec["image"],
                "Labels": {**labels, **one.labels},
                "Env": [f"{key}={value}" for key, value in (one.spec.get("environment") or {}).items()],
            },
            "HostConfig": {"RestartPolicy": {"Name": one.spec.get("restart", "no")}, "PortBindings": ports},
            "Mounts": [
                {"Type": "volume", "Name": name, "Destination": target, "Source": str(self.folder(name)), "RW": True}
                for name, target in one.volumes.items()
            ],
        }


class Restic:
    """A repository in memory: what `restic` and its JSON would say."""

    def __init__(self, docker: Docker) -> None:
        self.docker, self.exists, self.made = docker, False, 0
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, Kept]] = {}
        # What was asked, in turn, and {part of a command: (code, what it says)}.
        self.asked: list[str] = []
        self.fails: dict[str, tuple[int, str]] = {}

    def run(self, argv: Sequence[str], _environment: Any, _timeout: float, stdin: str | None) -> Result:
        if "restic" not in argv:
            return self.docker.run(argv, 0.0, stdin)
        words = list(argv[argv.index("restic") + 1 :])
        while words[0].startswith("-"):
            words = words[2:]
        line = " ".join(words)
        self.asked.append(line)
        self.docker.before(f"restic {line}")
        for part, (code, said) in self.fails.items():
            if part in line:
                return Result(code, "", said)
        return getattr(self, f"_{words[0]}")(words[1:], stdin or "")  # type: ignore[no-any-return]

    def _cat(self, *_unused: Any) -> Result:
        return Result(0 if self.exists else restic.NOT_THERE, "", "")

    def _init(self, *_unused: Any) -> Result:
        self.exists = True
        return DONE

    def _unlock(self, *_unused: Any) -> Result:
        return DONE

    _prune = _check = _unlock

    def _snapshots(self, words: list[str], _unused: str) -> Result:
        tags = set(words[words.index("--tag") + 1].split(",")) if "--tag" in words else set()
        found = [one for one in self.snapshots.values() if tags <= set(one["tags"])]
        return Result(0, json.dumps(found), "")

    def _backup(self, words: list[str], given: str) -> Result:
        options, rest = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
        tags = [word for before, word in zip(options, options[1:]) if before == "--tag"]
        out = [word.replace("\\", "") for before, word in zip(options, options[1:]) if before == "--exclude"]
        files: dict[str, Kept] = {}
        if "--stdin-from-command" in options:
            ended = self.docker.run(rest, 0.0)
            if ended.code:
                return Result(1, "", f"subprocess docker: {ended.err}\nFatal: command failed: exit status 1")
            given = ended.out
        if "--stdin-filename" in options:
            files[options[options.index("--stdin-filename") + 1]] = (given.encode(), 0o600)
        else:
            for path in rest:
                files.update(dict(_read(path, out)))
        return self._keep(tags, files)

    def _keep(self, tags: list[str], files: dict[str, Kept]) -> Result:
        self.made += 1
        name = f"s{self.made}"
        self.snapshots[name] = {"id": name, "time": f"{self.made:06}", "tags": tags}
        self.files[name] = files
        size = sum(len(one[0]) for one in files.values() if isinstance(one, tuple))
        summary = {"message_type": "summary", "snapshot_id": name, "total_bytes_processed": size, "data_added": size}
        return Result(0, json.dumps(summary), "")

    def text(self, snapshot: str, name: str) -> str:
        found = self.files[snapshot][name]
        assert isinstance(found, tuple)
        return found[0].decode()

    def _dump(self, words: list[str], _unused: str) -> Result:
        return Result(0, self.text(words[-2], words[-1]), "")

    def _restore(self, words: list[str], _unused: str) -> Result:
        snapshot, _unused, source = words[2].partition(":")
        target = Path(words[words.index("--target") + 1])
        found = {p: one for p, one in self.files[snapshot].items() if p == source or p.startswith(source + "/")}
        if not found:
            return Result(1, "", f"Fatal: path {source}: not found")
        for path, one in found.items():
            place = target / path[len(source) :].lstrip("/")
            (place if one is None else place.parent).mkdir(parents=True, exist_ok=True)
            if isinstance(one, str):
                place.symlink_to(one)
            elif one is not None:
                place.write_bytes(one[0])
                place.chmod(one[1])
        return DONE

    def _forget(self, words: list[str], _unused: str) -> Result:
        for name in words:
            del self.snapshots[name]
        return DONE

    def pour(
        self,
        _repository: Any,
        snapshot: str,
        name: str,
        command: Sequence[str],
        _extra: Any = None,
        _seconds: float = 0,
    ) -> str:
        ended = self.docker.run(command, 0.0, self.text(snapshot, name))
        if ended.code:
            raise restic.RepositoryError(f"cannot load {name}: {ended.err}")
        return ended.out

    def parts(self) -> list[dict[str, str]]:
        """The tags of the snapshots, oldest first."""
        return [dict(tag.split("=", 1) for tag in one["tags"]) for one in self.snapshots.values()]


def _read(path: str, out: Sequence[str]) -> Iterator[tuple[str, Kept]]:
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in out]
        yield folder, None
        for one in (Path(folder, name) for name in [*folders, *names]):
            if one.is_symlink():
                yield str(one), os.readlink(one)
            elif one.is_file() and str(one) not in out:
                yield str(one), (one.read_bytes(), one.stat().st_mode & 0o7777)


class World:
    """One app, `shop`: a service `web` that is built here, and a `database` with a volume."""

    def __init__(self, root: Path, balanced: bool = False, more: Mapping[str, str] | None = None) -> None:
        self.root, self.docker = root, Docker(root)
        self.repository = Restic(self.docker)
        self.docker.registry["postgres:17"] = digest("postgres 17")
        self.docker.programs.append(self.database)
        # Images whose app answers badly, and the tokens that it accepts.
        self.bad: set[str] = set()
        self.accepts = {TOKEN, OTHER_TOKEN}
        self.said: list[str] = []
        # Variables of the env besides TOKEN.
        self.more = dict(more or {})
        self.states: dict[int, str] = dict.fromkeys(range(18000, 18003), haproxy.READY)
        self.balanced = balanced
        shared = {"service": "web", "instances": 2, "first_port": 18000, "ports": [8000]} if balanced else {}
        variables = [*VARIABLES, *({"name": name, "kind": "text", "source": "a person"} for name in self.more)]
        config = {"app": "shop", "variables": variables, "checks": [CHECK], "balancer": shared}
        config["metrics_directory"] = str(root / "metrics")
        (root / "metrics").mkdir()
        self._write("etc/selfheal/shop.json", json.dumps(config))
        self.config = agent_config.load(agent_config.path_of("shop", str(root)), str(root))
        self.app = self.config.app
        self.source("version 1")
        self.compose()
        self.env(TOKEN)

    # --- what a person writes ----------------------------------------------------------------------------------------

    def _write(self, path: str, text: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        return place

    def source(self, text: str) -> str:
        """What the image of `web` is built from; the id of that image."""
        self._write("opt/shop/src/app.py", text)
        return digest(text)

    def env(self, token: str) -> None:
        paths, texts = self.app.paths, {"TOKEN": token, **self.more}
        env_history.write_env(paths.env, paths.history, texts, now=self.docker.now)

    def compose(self, **services: dict[str, Any]) -> None:
        """Write the compose file: what is given replaces, or comes on top of, what the services have."""
        plain: dict[str, Any] = {
            "web": {
                "image": "shop:1",
                "build": {"context": str(self.root / "opt/shop/src")},
                "restart": "unless-stopped",
                "environment": {"TOKEN": "${TOKEN}"},
                "depends_on": {"database": {"condition": "service_healthy"}},
                "ports": [{"target": 8000, "published": "18000-18002" if self.balanced else "8000"}],
            },
            "database": {
                "image": "postgres:17",
                "restart": "unless-stopped",
                "healthcheck": {"test": ["CMD", "pg_isready"]},
                "volumes": [{"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}],
            },
        }
        for name, spec in services.items():
            plain[name] = {**plain.get(name, {}), **spec}
        sources = {
            mount["source"]
            for spec in plain.values()
            for mount in spec.get("volumes") or []
            if "/" not in mount["source"]
        }
        text = yaml.safe_dump({"services": plain, "volumes": dict.fromkeys(sorted(sources))})
        self._write("opt/shop/compose.yaml", text)

    def backup(self, **more: Any) -> backup_config.Backup:
        """The config of the app's backup."""
        config = {"app": "shop", "repository": "/srv/backup", "host": "web1", "databases": [ROW], **more}
        self._write("etc/selfheal/backup/shop.json", json.dumps(config))
        return backup_config.load("shop", str(self.root))

    # --- time, and what is said --------------------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        return Clock(now=self.tick, monotonic=self.tick, sleep=lambda seconds: void(self.tick(seconds)))

    def tick(self, seconds: float = 0.01) -> float:
        self.docker.now += seconds
        return self.docker.now

    def say(self, text: str) -> None:
        self.said.append(text)

    def files(self) -> dict[str, str]:
        """The files in the app's directory, without what we keep there."""
        top = Path(self.app.paths.directory)
        there = [path for path in top.rglob("*") if path.is_file() and "releases" not in path.parts]
        return {str(path.relative_to(top)): path.read_text(encoding="utf-8") for path in there}

    def running(self, project: str = "shop") -> dict[str, str]:
        """{service: image} of what runs."""
        return {one.service: one.image for one in self.docker.of(project) if one.state == "running"}

    # --- the app -----------------------------------------------------------------------------------------------------

    def rows(self, volume: str = "shop_data") -> Path:
        """The file that holds what the database holds."""
        return self.docker.folder(volume) / "rows"

    def database(self, one: Container, command: Sequence[str], given: str) -> Result | None:
        """Run one of the commands of a PostgreSQL: each row is a line of a file in its volume."""
        acts = ("dump", "load", "ask", "who", "ready", "tables", "rows")
        known = {name: [list(getattr(kind, name)[:3]) for kind in KINDS] for name in acts}
        act = next((name for name in acts if list(command[:3]) in known[name]), "")
        if not act or not one.volumes:
            return None
        path = self.rows(next(iter(one.volumes)))
        if act == "load":
            path.write_text(given, encoding="utf-8")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        answers = {"dump": text, "who": "postgres\nshop\n", "tables": "1\n", "rows": f"{len(text.splitlines())}\n"}
        return Result(0, answers.get(act, f"{len(text.splitlines())}\n" if act == "ask" else ""), "")

    def serves(self, one: Container) -> bool:
        token = (one.spec.get("environment") or {}).get("TOKEN")
        return one.service == "web" and one.state == "running" and one.image not in self.bad and token in self.accepts

    def run_checks(
        self, checks: Sequence[Any], values: Any, deadline: float = 0.0, *_unused: Any, ask: Any = None, **__: Any
    ) -> dict[str, Any]:
        mine = [one for one in self.docker.of("shop") if not isinstance(ask, int) or one.port == ask]
        ready = [one for one in mine if not self.balanced or self.states.get(one.port) == haproxy.READY or ask]
        is_up = any(one.service == "database" and one.state == "running" for one in self.docker.of("shop"))
        good = is_up and any(self.serves(one) for one in ready)
        self.tick(0.01 if good else max(deadline, 0.01))
        reason = "" if good else "HTTP 500 instead of 200"
        result = {
            "name": "health",
            "ok": good,
            "proves": "health",
            "kind": None if good else "status",
            "reason": reason,
        }
        result.update(status=200 if good else 500, seconds=0.01, port=8000, down=[], attempts=1, retry_after=None)
        summary = "1 of 1 checks passed" if good else f"health: {reason}"
        return {"ok": good, "summary": summary, "seconds": 0.01, "results": [result]}

    def slots(self, _paths: Any) -> list[haproxy.Slot]:
        held = {one.port: one for one in self.docker.of("shop") if one.port}
        up = {
            port: port in held and state == haproxy.READY and self.serves(held[port])
            for port, state in self.states.items()
        }
        return [haproxy.Slot(port, is_up, 0, "UP" if is_up else "DOWN") for port, is_up in sorted(up.items())]


def void(_unused: Any) -> None:
    pass


def die(world: World, when: Callable[[str], bool]) -> None:
    """Have the process end at a command, and do none of those that would have cleaned up."""
    dead: list[str] = []

    def before(line: str) -> None:
        if dead or when(line):
            dead.append(line)
            raise Killed

    world.docker.before = before


def live(world: World) -> None:
    """There is a new process."""
    world.docker.before = lambda _line: None


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    docker: Docker


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        docker = self.server.docker
        if "/logs?" in self.path:
            ended = docker.run(["docker", "logs", self.path.split("/")[2]], 0.0)
            line = ended.out.encode()
            self._answer(200, b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line)
            return
        answer = docker.ask(self.path)
        self._answer(200 if answer is not None else 404, json.dumps(answer).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_unused: Any) -> None:
        pass


@contextlib.contextmanager
def simulated(
    root: Path, monkeypatch: pytest.MonkeyPatch, balanced: bool = False, more: Mapping[str, str] | None = None
) -> Iterator[World]:
    """A world in a folder; its path has to be short, for the engine's socket."""
    world = World(root, balanced, more)
    docker = world.docker
    server = _Server(str(root / "docker.sock"), _Handler)
    server.docker = docker
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{root}/docker.sock")
    well = {"answers": True, "kind": "", "reason": ""}

    def installed(*_unused: Any) -> Result:
        return Result(0, "restic 0.18.0 compiled with go1.24", "")

    for owner, name, what in (
        (commands, "run", docker.run),
        (engine, "act", docker.act),
        (restic, "run", installed),
        (restic, "_run", world.repository.run),
        (restic, "pour", world.repository.pour),
        (probe, "run_checks", world.run_checks),
        (health_facts, "engine_by_its_process", lambda: dict(well)),
        (docker_network, "broken_network", lambda *_: []),
        (procfs, "pressure", lambda: dict.fromkeys(("cpu", "memory", "io"), 0.0)),
        (procfs, "listeners", lambda _port: []),
        (procfs, "unanswered", lambda _pid: []),
        (procfs, "age", lambda _pid: None),
        (procfs, "stopped", lambda *_, **__: False),
        (cgroup, "accepts", lambda _pid: True),
        (os, "sync", lambda: None),
        (
            haproxy,
            "set_state",
            lambda _paths, _balancer, ports, state: world.states.update(dict.fromkeys(ports, state)),
        ),
        (haproxy, "take_in", lambda _paths, _balancer, port: world.states.update({port: haproxy.READY})),
        (haproxy, "slots", world.slots),
        (haproxy, "start", lambda _paths: docker.acts.append("HAProxy starts")),
        (haproxy, "leave", lambda _paths: docker.acts.append("HAProxy leaves")),
        (haproxy, "keep", lambda _paths: None),
        (haproxy, "is_stopped", lambda _paths: False),
        (haproxy, "aside", lambda _balancer, port: port),
    ):
        monkeypatch.setattr(owner, name, what)
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
