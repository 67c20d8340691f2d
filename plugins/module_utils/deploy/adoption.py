# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read an app that runs on this host, started by hand with `docker compose up`, so that it can be taken over.

Nothing is changed. What cannot be honoured is refused here, by name, before anything is.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..compose import adopted_mounts, project_parts
from ..compose.adopted_mounts import Bind, Held
from ..core.app_paths import AppError, AppPaths, app_paths
from ..core.redact import redact
from ..docker import containers as docker_containers
from ..docker import network as docker_network
from ..docker import stop_signal
from ..docker import volumes as docker_volumes
from ..docker.containers import Document, label
from ..docker.engine import data_root, state
from ..docker.model import Model
from ..env import dotenv
from ..health.diagnosis import held_by
from ..health.facts import holders
from ..host import command as commands
from ..releases import store as release_store
from . import adoption_choice, adoption_files, adoption_front, adoption_owners, adoption_record, adoption_running
from .adoption_choice import AdoptError, Asked, Found, Known, NothingFits
from .adoption_front import Front
from .adoption_owners import Foreign
from .compose_files import disk_usage, read_host

_SECONDS = 30.0
_SIZE_SECONDS = 5.0
_FREE_BYTES = 1 << 30
_SHOWN = 300


class Instance(TypedDict):
    """A container of the app as it runs. `stop_seconds`: it does not handle the stop signal, so its stop takes that.

    `depends_on`: the services that its own one depends on, by its compose files.
    """

    service: str
    name: str
    state: str
    image: str
    image_id: str
    exit_code: int
    stop_seconds: float
    depends_on: list[str]


class Volume(TypedDict):
    """A volume of the app; bytes, None when they were not counted; `shared_with`: other containers that use it."""

    name: str
    size: int | None
    shared_with: list[str]


class Place(TypedDict):
    """Data of the app in a folder of the host, which stays there; bytes, None when they were not counted."""

    path: str
    services: list[str]
    size: int | None


class Adoption(TypedDict):
    """An app that runs by hand.

    `stage`: "" before a take-over, "begun" when one was, "serves" when a release of it serves and nothing ended the
    record, "done", or "elsewhere" when it was deployed without a take-over. From "serves" on the rest is empty. `top`
    is the folder that `files`, the compose files in order, and the archive are relative to; `notes`
    are what will differ. `front`: what a load balancer could be put in front of. `foreign`: data of other users on
    which services work as root.
    `archive`: tar, gzip, base64. It holds the values of env files: never show it.
    """

    app: str
    directory: str
    folder: str
    stage: str
    top: str
    files: list[str]
    instances: list[Instance]
    volumes: list[Volume]
    data: list[Place]
    networks: list[str]
    ports: list[str]
    notes: list[str]
    front: Front
    foreign: list[Foreign]
    archive: str


class _Project(NamedTuple):
    """What Compose reads: the merged model, the same before interpolation, the env's values, its text."""

    model: Model
    written: Model
    env: Mapping[str, str]
    env_text: bytes


def read(asked: Asked, root: str = "/") -> Adoption:
    """Read the app.

    :raises AdoptError: it cannot be taken over.
    :raises EngineError: there is no engine, or Compose is too old.
    """
    _require_engine(root)
    documents = docker_containers.inspected("", 15.0)
    found = find(asked, documents, root)
    paths = app_paths(found.app, root=root)
    stage = _stage(found)
    empty = _empty(found, paths, stage)
    if stage in ("serves", "done", "elsewhere"):
        return empty
    _require_files(found)
    project = _read_project(found)
    top = _top(found)
    now = time.time()
    mounts = adopted_mounts.binds(project.model.get("services") or {}, top)
    there = {one.name: adoption_files.look(one.source) for one in mounts}
    data = adopted_mounts.data(mounts, there, _created(found.documents, now))
    _require_same_data(found, project.model)
    adoption_running.require_same_values(found, project.model)
    adoption_running.require_same_scale(found, project.model)
    adoption_running.require_same_profiles(found, project.model, project.env)
    _require_ports(found, project.model)
    volumes = _volumes(found, documents)
    held = _held(project.model, top)
    archive, files, left = _archive(found, project, top, data, held)
    _require_disk(root)
    return {
        **empty,
        "top": top,
        "files": files,
        "instances": _in_order(empty["instances"], project.model),
        "volumes": volumes,
        "data": [*_places(data), *_held_places(project.model, held)],
        "networks": sorted(_networks(found.documents)),
        "ports": _ports(found.documents),
        "notes": [*adoption_running.notes(found, project.model), *_neighbours(found, documents), *left],
        "front": adoption_front.find(found.documents, project.model),
        "foreign": adoption_owners.find(found.documents, project.model),
        "archive": archive,
    }


def find(asked: Asked, documents: Sequence[Document], root: str = "/") -> Found:
    """Find the project that is asked for. Raises AdoptError."""
    states = os.path.join(root, "var/lib/selfheal")
    names = {label(one, "project") for one in documents}
    names |= set(os.listdir(states)) if os.path.isdir(states) else set()
    known = {}
    for name in names:
        try:
            known[name] = app_paths(name, root=root)
        except AppError:
            continue
    records = {name: record for name, paths in known.items() if (record := adoption_record.read(paths))}
    deployed = [name for name, paths in known.items() if release_store.last_good(paths.directory) is not None]
    folder = os.path.realpath(asked.folder) if asked.folder else ""
    directories = {name: paths.directory for name, paths in known.items()}
    try:
        known_ = Known(records, deployed)
        return adoption_choice.choose(asked._replace(folder=folder), documents, known_, directories, os.path.realpath)
    except NothingFits:
        if folder:
            _explain_folder(folder, asked)
            _explain_other_folder(folder, asked, documents, directories)
        raise


def _explain_folder(folder: str, asked: Asked) -> None:
    """Say why no project runs from a folder, when the folder itself tells."""
    if not os.path.exists(folder):
        raise AdoptError(asked.folder, "there is no such folder on the host", "correct -e adopt=HOST:/PATH") from None
    if not os.path.isdir(folder):
        if not folder.endswith((".yaml", ".yml")):
            raise AdoptError(asked.folder, "this is a file, and no compose file", "name the app's folder") from None
        return
    if not adoption_files.has_compose_file(folder):
        fix = "name the folder of the app's compose file"
        raise AdoptError(asked.folder, "this folder holds no compose file", fix) from None


def _explain_other_folder(
    folder: str, asked: Asked, documents: Sequence[Document], directories: Mapping[str, str]
) -> None:
    """Say from which folder the app runs that a folder is of; else that nothing runs from there."""
    if not os.path.isdir(folder):
        return
    names = [asked.app] if asked.app else adoption_files.project_names(folder)
    for name in names:
        there = sorted({label(one, "project.working_dir") for one in documents if label(one, "project") == name} - {""})
        if not there:
            continue
        reason = f"the containers of {name} run from {', '.join(there)}, and not from this folder"
        directory = directories.get(name, "")
        fix = f"name that folder: -e adopt=HOST:{there[0]}"
        if directory and f"{there[0]}/".startswith(f"{directory}/"):
            # Where a deploy writes its releases. No adoption starts there.
            fix = "do not start it here; to have it in care again, run site.yml with its inventory"
        raise AdoptError(asked.folder, reason, fix) from None
    if not asked.app:
        fix = "start the app: `docker compose up -d` there; to set up a new one: init.yml"
        raise AdoptError(asked.folder, "no container of its compose file is on the host", fix) from None


def _require_engine(root: str) -> None:
    if os.geteuid():
        user = pwd.getpwuid(os.geteuid()).pw_name
        fix = f"name the user: -e adopt={user}@HOST:/FOLDER, or use --become"
        raise AdoptError("host", f"this runs as {user}, and reading the engine needs root", fix)
    found = state()
    if not found["answers"]:
        sockets = glob.glob(os.path.join(glob.escape(root), "run/user/*/docker.sock"))
        if sockets:
            raise AdoptError(
                "docker",
                f"the engine is rootless ({sockets[0]}), and this collection runs apps as root",
                "start the app on an engine that root runs; its volumes have to be copied there",
            )
        if found["kind"] == "missing":
            raise AdoptError(
                "docker", "it is not installed on the host, so no app runs there", "set up a new app: init.yml"
            )
        raise AdoptError("docker", f"the engine does not answer: {found['reason']}", "start it: systemctl start docker")
    asked = commands.run(["docker", "info", "--format", "{{json .SecurityOptions}}"], _SECONDS)
    if "name=rootless" in asked.out:
        raise AdoptError(
            "docker",
            "the engine is rootless, and this collection runs apps as root",
            "start the app on an engine that root runs; its volumes have to be copied there",
        )
    read_host()


def _stage(found: Found) -> str:
    if not found.is_deployed:
        return "begun" if found.record else ""
    if found.record is None:
        return "elsewhere"
    return "done" if found.record.is_done else "serves"


def _empty(found: Found, paths: AppPaths, stage: str) -> Adoption:
    return {
        "app": found.app,
        "directory": paths.directory,
        "folder": paths.directory if found.is_deployed and not found.is_by_hand else found.origin.folder,
        "stage": stage,
        "top": "",
        "files": [],
        "instances": [_instance(one) for one in sorted(found.documents, key=lambda one: str(one["Name"]))],
        "volumes": [],
        "data": [],
        "networks": [],
        "ports": [],
        "notes": [],
        "front": Front(service="", port=0, container_port=0, address="", why_not=""),
        "foreign": [],
        "archive": "",
    }


# --- what Compose reads -----------------------------------------------------------------------------------------------


def _require_files(found: Found) -> None:
    origin = found.origin
    if not origin.files:
        raise AdoptError(
            f"compose project {found.app}",
            "its containers do not say from which compose file they were created",
            "start it once more with Compose v2: `docker compose up -d` in its folder",
        )
    for path in (*origin.files, *origin.env_files):
        if not os.path.exists(path) or os.path.isdir(path):
            kind = "compose file" if path in origin.files else "env file"
            raise AdoptError(path, f"{found.app} was started with this {kind}, and it is gone", "put it back there")


def _top(found: Found) -> str:
    files = [*found.origin.files, *found.origin.env_files]
    top = adoption_files.top_of(found.origin.folder, files)
    if top == "/":
        raise AdoptError(
            found.origin.folder,
            f"its files are in folders that have only / in common: {', '.join(files)}",
            "move them into one folder, and start the app from there",
        )
    return top


def _read_project(found: Found) -> _Project:
    origin = found.origin
    own = os.path.join(origin.folder, ".env")
    paths = list(origin.env_files) or ([own] if os.path.isfile(own) else [])
    texts = [_bytes(path) for path in paths]
    text = b"\n".join(one.rstrip(b"\n") for one in texts) + (b"\n" if texts else b"")
    env: dict[str, str] = {}
    for path, one in zip(paths, texts):
        try:
            said = one.decode()
            # Refuses what init refuses: a reference to a variable that is set nowhere.
            dotenv.entries(said, env)
            env.update(dotenv.parse(said))
        except UnicodeDecodeError:
            raise AdoptError(path, "it is not UTF-8 text", "save it as UTF-8") from None
        except dotenv.DotenvError as error:
            fix = "write NAME='value', in single quotes, with the intended value, and run `docker compose up -d` there"
            raise AdoptError(path, str(error), fix) from None
    _require_own_values(found, env)
    model = _config(found, env)
    return _Project(model, _config(found, env, "--no-interpolate"), env, text)


def _require_own_values(found: Found, env: Mapping[str, str]) -> None:
    """Refuse what Compose takes from the user who starts it: it is another folder after the take-over."""
    named = adoption_files.named_variables(found.origin.files)
    for name in ("PWD", "HOME"):
        if name in named and name not in env:
            raise AdoptError(
                named[name],
                f"it uses ${{{name}}}, which is another folder after the take-over",
                "write a path that begins with ./ or / in its place, and run `docker compose up -d` there",
            )


def _bytes(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _config(found: Found, env: Mapping[str, str], *options: str) -> Model:
    origin = found.origin
    argv = ["docker", "compose", "--project-name", found.app, "--project-directory", origin.folder, "--profile", "*"]
    for path in origin.env_files:
        argv += ["--env-file", path]
    for path in origin.files:
        argv += ["--file", path]
    asked = commands.run([*argv, "config", *options, "--format", "json"], _SECONDS, cwd=origin.folder)
    if asked.code:
        said = redact(asked.reason, env)[:_SHOWN]
        # What `${NAME:?}` requires, the shell may have given at the start.
        is_value = "required variable" in said
        fix = f"write it into {origin.folder}/.env, with the value that runs" if is_value else "correct the file"
        raise AdoptError(", ".join(origin.files), f"Compose refuses it: {said}", fix)
    model: Model = json.loads(asked.out)
    return model


def _archive(
    found: Found, project: _Project, top: str, data: Sequence[Bind], held: Sequence[Held]
) -> tuple[str, list[str], list[str]]:
    """The archive, the compose files in order as they are named in it, and what to know of it."""
    origin = found.origin
    parts = project_parts.find(project.model, project.written, top, project.env)
    if parts.outside:
        raise AdoptError(origin.files[0], f"{parts.outside[0]}, which is outside {top}", "move it into that folder")
    named = adoption_files.compose_files(origin.files)
    names = adoption_files.chosen(top, named, parts, project.model, {one.name for one in data})
    more: dict[str, bytes] = {}
    files = [os.path.relpath(path, top) for path in origin.files]
    own = os.path.join(os.path.dirname(files[0]), ".env")
    names = [name for name in names if name not in (own, *(os.path.relpath(one.source, top) for one in held))]
    if project.env_text:
        more[own] = project.env_text
    text = adopted_mounts.render(found.app, origin.folder, data, held)
    if text:
        name = adoption_files.overlay_name(origin.files, top)
        more[name] = text.encode()
        files = [*(one for one in files if one != name), name]
    archive, left = adoption_files.pack(top, names, more)
    notes = [f"{name} is not copied: it is a link out of {top}, or no regular file" for name in left]
    secrets = {
        project_parts.relative(str(one.get("file", "")), top) for one in (project.model.get("secrets") or {}).values()
    }
    notes += [
        f"{name} is a secret, and is copied as it is: keep it out of repositories" for name in names if name in secrets
    ]
    return archive, files, notes


def _held(model: Model, top: str) -> list[Held]:
    """The files of configs and secrets that stay where they are: their owner cannot read a copy, which root owns."""
    return [
        Held(kind, name, path)
        for kind in ("configs", "secrets")
        for name, entry in sorted((model.get(kind) or {}).items())
        if (path := str((entry or {}).get("file") or ""))
        and project_parts.relative(path, top) is not None
        and adoption_files.look(path).is_private
    ]


# --- what is refused --------------------------------------------------------------------------------------------------


def _require_same_data(found: Found, model: Model) -> None:
    """Refuse when the compose file has changed so that a service would start without the data that it has now."""
    services = model.get("services") or {}
    names = {key: str((one or {}).get("name") or key) for key, one in (model.get("volumes") or {}).items()}
    for document in found.documents:
        service = label(document, "service")
        if service not in services:
            continue
        wanted = {
            str(one.get("target")).rstrip("/"): names.get(str(one.get("source")), str(one.get("source", "")))
            for one in services[service].get("volumes") or []
        }
        for mount in document.get("Mounts") or []:
            target = str(mount.get("Destination")).rstrip("/")
            has = str(mount.get("Name") if mount.get("Type") == "volume" else mount.get("Source"))
            is_unnamed = mount.get("Type") == "volume" and len(has) == 64
            if not mount.get("RW") or is_unnamed or mount.get("Type") not in ("volume", "bind"):
                continue
            if wanted.get(target, "") and os.path.realpath(wanted[target]) == os.path.realpath(has):
                continue
            raise AdoptError(
                f"service {service}",
                f"it runs with {has} at {target}, and the compose file has {wanted.get(target) or 'nothing'} there: "
                "it would start without its data",
                f"correct {found.origin.files[0]}, or run `docker compose up -d` there first",
            )


def _require_ports(found: Found, model: Model) -> None:
    now = time.time()
    instances = [docker_containers.instance(one, now) for one in found.documents]
    for port in docker_network.unheld_ports(model, instances):
        for holder in holders(port["port"]):
            raise AdoptError(
                f"service {port['service']}",
                f"it publishes port {port['port']}, which is held by {held_by(holder)}",
                "stop that, or publish another port",
            )


def _require_disk(root: str) -> None:
    """Refuse when there is too little space for a release, or for images. Raises AdoptError."""
    for place in (root, data_root(os.path.join(root, "etc/docker/daemon.json"))):
        free = shutil.disk_usage(place if os.path.isdir(place) else root).free
        if free < _FREE_BYTES:
            raise AdoptError(
                "disk",
                f"{free >> 20} MiB are free at {place}, and the images that run now are kept next to the new ones "
                f"until those serve: at least {_FREE_BYTES >> 20} MiB are needed",
                "free some space: docker system df",
            )


def _volumes(found: Found, documents: Sequence[Document]) -> list[Volume]:
    """The volumes of the app.

    :raises AdoptError: one belongs to another project that is there.
    """
    mine = {str(one["Id"]) for one in found.documents}
    owners = {one["name"]: one["project"] for one in docker_volumes.compose_volumes()}
    projects = {label(one, "project") for one in documents if str(one["Id"]) not in mine}
    result = []
    for name, path in sorted(_mounted(found.documents).items()):
        owner = owners.get(name, found.app)
        users = [one for one in documents if str(one["Id"]) not in mine and name in _mounted([one])]
        if owner != found.app and owner in projects:
            raise AdoptError(
                f"volume {name}",
                f"it belongs to the compose project {owner}, which has containers on this host",
                f"take {owner} over instead, or remove its containers (volumes stay): docker compose -p {owner} down",
            )
        shared = [f"{str(one['Name']).lstrip('/')}{_of(one)}" for one in users]
        result.append(Volume(name=name, size=disk_usage(path, _SIZE_SECONDS), shared_with=shared))
    return result


def _mounted(documents: Sequence[Document]) -> dict[str, str]:
    return {
        str(mount["Name"]): str(mount.get("Source", ""))
        for document in documents
        for mount in document.get("Mounts") or []
        if mount.get("Type") == "volume"
    }


# --- what runs --------------------------------------------------------------------------------------------------------


def _of(document: Document) -> str:
    project = label(document, "project")
    return f" of project {project}" if project else ", started by docker run"


def _instance(document: Document) -> Instance:
    one = docker_containers.instance(document, 0.0)
    return {
        "service": one["service"],
        "name": one["name"],
        "state": one["state"],
        "image": one["image"],
        "image_id": one["digest"],
        "exit_code": one["exit_code"],
        "stop_seconds": stop_signal.stop_seconds(document),
        "depends_on": [],
    }


def _in_order(instances: Sequence[Instance], model: Model) -> list[Instance]:
    """The containers, with what their services depend on. Their label is empty after `docker compose up --no-deps`."""
    services = model.get("services") or {}
    found: list[Instance] = []
    for one in instances:
        spec = services.get(one["service"]) or {}
        found.append({**one, "depends_on": list(spec.get("depends_on") or {})})
    return found


def _created(documents: Sequence[Document], now: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for document in documents:
        age = docker_containers.seconds_since(str(document.get("Created", "")), now)
        moment = 0.0 if age is None else now - age
        service = label(document, "service")
        found[service] = min(found.get(service, moment), moment)
    return found


def _places(data: Sequence[Bind]) -> list[Place]:
    services: dict[str, list[str]] = {}
    for one in data:
        services.setdefault(one.source, []).append(one.service)
    return [
        Place(path=path, services=sorted(names), size=disk_usage(path, _SIZE_SECONDS))
        for path, names in sorted(services.items())
    ]


def _held_places(model: Model, held: Sequence[Held]) -> list[Place]:
    found = []
    for one in held:
        services = [
            service
            for service, spec in sorted((model.get("services") or {}).items())
            if one.name in [use.get("source") for use in spec.get(one.kind) or [] if isinstance(use, Mapping)]
        ]
        found.append(Place(path=one.source, services=services, size=os.path.getsize(one.source)))
    return found


def _networks(documents: Sequence[Document]) -> set[str]:
    return {
        name for document in documents for name in (document.get("NetworkSettings") or {}).get("Networks") or {}
    } - {"bridge", "host", "none"}


def _ports(documents: Sequence[Document]) -> list[str]:
    found = []
    for document in documents:
        one = docker_containers.instance(document, 0.0)
        found += [
            f"{target['host_ip'] or '0.0.0.0'}:{target['host_port']} -> {one['service']}:{target['container_port']}"
            for target in one["targets"]
        ]
    return sorted(set(found))


def _neighbours(found: Found, documents: Sequence[Document]) -> list[str]:
    """Say which other containers are in the app's networks."""
    mine = {str(one["Id"]) for one in found.documents}
    networks = _networks(found.documents)
    return [
        f"{str(one['Name']).lstrip('/')}{_of(one)} is in {', '.join(sorted(networks & _networks([one])))}, which stays"
        for one in documents
        if str(one["Id"]) not in mine and networks & _networks([one])
    ]


# --- the record -------------------------------------------------------------------------------------------------------


def begin(asked: Asked, root: str = "/") -> None:
    """Record that the app is about to be taken over. Raises AdoptError, EngineError, OSError."""
    found = find(asked, docker_containers.inspected("", 15.0), root)
    if not found.is_deployed:
        adoption_record.write(app_paths(found.app, root=root), found.origin, is_done=False)


def end(asked: Asked, root: str = "/") -> str:
    """Leave the notice in the old folder, and record that the take-over has ended; the notice's path.

    :raises AdoptError: no take-over was begun, or no release of the app serves.
    """
    found = find(asked, docker_containers.inspected("", 15.0), root)
    if found.record is None or not found.is_deployed:
        raise AdoptError(found.app, "no release of it serves", "run the take-over again")
    paths = app_paths(found.app, root=root)
    path = adoption_record.mark(paths, found.record.origin)
    adoption_record.write(paths, found.record.origin, is_done=True)
    return path
