# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From which compose files an app runs without us: its own, where they are, and what would be different then."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..core.app_paths import AppPaths
from ..core.files import readable
from ..docker import project_layout
from ..docker.containers import Document
from ..docker.model import Model, Services, Spec
from ..docker.project import Project
from ..docker.project_layout import HARDENED_FILE
from ..env import dotenv

_LABEL = "com.docker.compose"
_ANONYMOUS = re.compile("[0-9a-f]{64}")


class Origin(NamedTuple):
    """From where an app was started before it was adopted: its folder, its compose files and env files, absolute."""

    folder: str
    files: Sequence[str]
    env_files: Sequence[str]


class OwnFiles(NamedTuple):
    """The project without the overlay; `why`: why it does not run from the folder that it was adopted from."""

    project: Project
    why: str = ""


def origin(paths: AppPaths) -> Origin | None:
    """Return what was recorded when the app was adopted from another folder, None without a record."""
    try:
        with open(os.path.join(paths.state, "adopted.json"), encoding="utf-8") as stream:
            said = json.load(stream)
        return Origin(str(said["folder"]), list(map(str, said["files"])), list(map(str, said.get("env_files") or [])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(paths: AppPaths, files: Sequence[str]) -> OwnFiles:
    """Return the project as it runs without us.

    :arg files: the app's compose files by the inventory, for the day when the overlay, which names them, is gone.
    """
    layout = project_layout.recorded(paths.directory) or project_layout.recorded(
        project_layout.release_files(paths.directory, project_layout.LAST_GOOD)
    )
    names = list(layout.files if layout else files or project_layout.discover(paths.directory))
    folder = os.path.normpath(os.path.join(paths.directory, os.path.dirname(names[0]) if names else ""))
    here = Project(paths.name, paths.directory, names, folder)
    before = origin(paths)
    if before is None or os.path.normpath(before.folder) == folder:
        return OwnFiles(here)
    why = changed(before, paths, here)
    if why:
        return OwnFiles(here, why)
    return OwnFiles(Project(paths.name, before.folder, before.files, before.folder))


def changed(before: Origin, paths: AppPaths, here: Project) -> str:
    """Say what is different in the folder that an app was adopted from; "" when it is as it was."""
    for path in before.files:
        if readable(path) is None:
            return f"{path} is gone"
    if [readable(path) for path in before.files] != [readable(path) for path in here.files]:
        return f"the compose files in {before.folder} are not those in {here.directory}"
    then: dict[str, str] = {}
    for path in before.env_files:
        then.update(_values(path))
    if before.env_files and then != _values(paths.env):
        return f"the values in {', '.join(before.env_files)} are not those in {paths.env}"
    return ""


def _values(path: str) -> dict[str, str]:
    try:
        return dotenv.parse((readable(path) or b"").decode("utf-8"))
    except (UnicodeDecodeError, dotenv.DotenvError):
        return {}


def is_ours(document: Document) -> bool:
    """Whether a container was created with the overlay."""
    files = str((document["Config"].get("Labels") or {}).get(f"{_LABEL}.project.config_files", ""))
    return any(os.path.basename(name) == HARDENED_FILE for name in files.split(","))


def service_of(document: Document) -> str:
    """Return the service of a container."""
    return str((document["Config"].get("Labels") or {}).get(f"{_LABEL}.service", ""))


def moved(model: Model, documents: Sequence[Document]) -> list[str]:
    """Say which data would not be where it is now, a sentence each: the app would seem to have lost it.

    :arg model: of the app's own files.
    """
    services: Services = model.get("services") or {}
    names = {key: str((spec or {}).get("name") or key) for key, spec in (model.get("volumes") or {}).items()}
    found = []
    for document in documents:
        service = service_of(document)
        if service not in services:
            continue
        wanted = _mounts(services[service], names)
        for mount in document.get("Mounts") or []:
            found += _moved(service, mount, wanted)
    return sorted(set(found))


def _mounts(spec: Spec, names: Mapping[str, str]) -> dict[str, str]:
    """{folder in the container: volume or path of the host}; "" for what is a configuration."""
    found = {}
    for volume in spec.get("volumes") or []:
        source = str(volume.get("source") or "")
        found[str(volume["target"])] = names.get(source, source) if volume.get("type") == "volume" else source
    for one in spec.get("configs") or []:
        found[str(one.get("target") or f"/{one['source']}")] = ""
    for one in spec.get("secrets") or []:
        target = str(one.get("target") or one["source"])
        found[target if target.startswith("/") else f"/run/secrets/{target}"] = ""
    return found


def _moved(service: str, mount: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    folder, kind = str(mount.get("Destination")), mount.get("Type")
    now = str(mount.get("Name") or "") if kind == "volume" else str(mount.get("Source") or "")
    if kind not in ("volume", "bind") or (kind == "volume" and _ANONYMOUS.fullmatch(now)):
        return []
    then = wanted.get(folder)
    if then == "" or (then is not None and os.path.normpath(then) == os.path.normpath(now)):
        return []
    instead = f"{then} would be there" if then else "the own files mount nothing there"
    return [f"{service}: {folder} is {now} now, and {instead}. Fix: mount {now} at {folder} in its compose file"]


def gone_services(own: Model, documents: Sequence[Document]) -> list[str]:
    """The services that the overlay alone brings, and that have containers: a cache, a connection pool."""
    services: Services = own.get("services") or {}
    return sorted({service_of(one) for one in documents if is_ours(one)} - set(services))
