# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From which compose files an app runs without us: its own, where they are, and what would be different then."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..compose import adopted_mounts
from ..core.app_paths import AppPaths
from ..core.files import readable
from ..deploy import adoption_record
from ..deploy.adoption_record import Origin
from ..docker import project_layout
from ..docker.containers import Document, label
from ..docker.engine import EngineError
from ..docker.model import Model, Services, Spec
from ..docker.project import Project
from . import same_project

_ANONYMOUS = re.compile("[0-9a-f]{64}")


class OwnFiles(NamedTuple):
    """The project without the overlay, and its merged model; {} where it is not needed.

    `why`: why it does not run from the folder that it was adopted from. `copy`: the folder of its copy, where it does,
    and `original`: the folder that this is a copy of. `mounted`: what was mounted from that copy, and is equal in the
    original, as absolute paths in the copy.
    """

    project: Project
    model: Model
    why: str = ""
    copy: str = ""
    original: str = ""
    mounted: Sequence[str] = ()


def origin(paths: AppPaths) -> Origin | None:
    """Return from where the app was started before it was adopted, None without a record."""
    record = adoption_record.read(paths)
    return record.origin if record else None


def adopted_from(paths: AppPaths, here: Project) -> Origin | None:
    """Return from where the app was adopted. Without a record, which an earlier removal took, its data's file tells."""
    before = origin(paths)
    if before is not None:
        return before
    for path in here.files:
        if os.path.basename(path) == adopted_mounts.FILE:
            folder = adopted_mounts.folder_of((readable(path) or b"").decode("utf-8", errors="replace"))
            return Origin(folder, [os.path.join(folder, os.path.basename(here.files[0]))], []) if folder else None
    return None


def is_other(before: Origin, paths: AppPaths) -> bool:
    """Whether an app was adopted from another folder than its directory, and from none within."""
    return same_project.within(os.path.realpath(paths.directory), os.path.realpath(before.folder)) is None


def find(paths: AppPaths, files: Sequence[str]) -> OwnFiles:
    """Return the project as it runs without us. Raises EngineError when its files are no project."""
    here = in_directory(paths, files)
    if not here.project.files:
        return here
    here = here._replace(model=here.project.config())
    before = origin(paths)
    return _adopted(before, here) if before and is_other(before, paths) else here


def in_directory(paths: AppPaths, files: Sequence[str]) -> OwnFiles:
    """Return the project in the app's directory, without its model.

    :arg files: the app's compose files by the inventory, for the day when the overlay, which names them, is gone.
    """
    layout = project_layout.recorded(paths.directory) or project_layout.recorded(
        project_layout.release_files(paths.directory, project_layout.LAST_GOOD)
    )
    names = list(layout.files if layout else files or project_layout.discover(paths.directory))
    there = [name for name in names if os.path.exists(os.path.join(paths.directory, name))]
    folder = os.path.normpath(os.path.join(paths.directory, os.path.dirname(there[0]) if there else ""))
    return OwnFiles(Project(paths.name, paths.directory, there, folder), {})


def _adopted(before: Origin, here: OwnFiles) -> OwnFiles:
    """The project in the folder that it was adopted from, while it is the same there."""
    project = Project(here.project.app, before.folder, before.files, before.folder, before.env_files)
    gone = [path for path in (*before.files, *before.env_files) if not os.path.isfile(path)]
    if gone:
        return here._replace(why=f"{', '.join(gone)} is gone")
    top, folder = tops(before, here.project)
    try:
        there, copy = same_project.Place(top, project.config()), same_project.Place(folder, here.model)
    except EngineError as error:
        return here._replace(why=str(error))
    differs = same_project.difference(there, copy)
    if differs:
        return here._replace(why=f"{before.folder} is not as it was: {differs}")
    mounted = [os.path.join(folder, name) for name in same_project.mounted_twice(there, copy)]
    return OwnFiles(project, there.model, copy=folder, original=top, mounted=mounted)


def tops(before: Origin, here: Project) -> tuple[str, str]:
    """The folder that was copied, and its copy: the app's directory, in which the first compose file has its old place.

    They are above the project's folders, where files of the project are. Else they are these folders.
    """
    name = os.path.relpath(here.files[0], here.directory)
    first = before.files[0] if before.files else ""
    if first.endswith(f"/{name}"):
        return first[: -len(name) - 1], here.directory
    return before.folder, here.folder


def is_ours(document: Document) -> bool:
    """Whether a container was created with the overlay."""
    return project_layout.is_hardened(label(document, "project.config_files"))


def moved(own: OwnFiles, documents: Sequence[Document]) -> list[str]:
    """Say which data would not be where it is now, a sentence each: the app would seem to have lost it."""
    services: Services = own.model.get("services") or {}
    names = {key: str((spec or {}).get("name") or key) for key, spec in (own.model.get("volumes") or {}).items()}
    found = []
    for document in documents:
        service = label(document, "service")
        if service not in services:
            continue
        wanted = _mounts(services[service], names)
        for mount in document.get("Mounts") or []:
            found += _moved(service, mount, wanted, own)
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


def _moved(service: str, mount: Mapping[str, str], wanted: Mapping[str, str], own: OwnFiles) -> list[str]:
    folder, kind = str(mount.get("Destination")), mount.get("Type")
    now = str(mount.get("Name") or "") if kind == "volume" else str(mount.get("Source") or "")
    if kind not in ("volume", "bind") or (kind == "volume" and _ANONYMOUS.fullmatch(now)):
        return []
    then = wanted.get(folder)
    if then == "" or (then is not None and os.path.normpath(then) in (os.path.normpath(now), _original(now, own))):
        return []
    instead = f"{then} would be there" if then else "the own files mount nothing there"
    return [f"{service}: {folder} is {now} now, and {instead}. Fix: mount {now} at {folder} in its compose file"]


def _original(path: str, own: OwnFiles) -> str:
    """Where the original of a path in the copy of an adopted project is; they were found to be equal."""
    name = same_project.within(own.copy, path) if own.copy else None
    return path if name is None else os.path.normpath(os.path.join(own.original, name))


def mounted(own: OwnFiles, documents: Sequence[Document]) -> frozenset[str]:
    """The files and folders of the host that the app mounts, by its own files and by its containers."""
    model = own.model
    if not model and own.project.files:
        with contextlib.suppress(EngineError):
            model = own.project.config()
    mounts = [mount for document in documents for mount in document.get("Mounts") or []]
    return same_project.mounted(model) | {str(one.get("Source")) for one in mounts if one.get("Type") == "bind"}


def unnamed(documents: Sequence[Document]) -> dict[str, tuple[str, str]]:
    """The volumes without a name that containers have: {volume: (its folder, what has it)}. Compose labels none."""
    found: dict[str, tuple[str, str]] = {}
    for document in documents:
        for mount in document.get("Mounts") or []:
            name = str(mount.get("Name") or "")
            if mount.get("Type") == "volume" and _ANONYMOUS.fullmatch(name):
                used = f"{label(document, 'service')} at {mount.get('Destination')}"
                found.setdefault(name, (str(mount.get("Source") or ""), used))
    return found


def runs_from(documents: Sequence[Document]) -> str:
    """Return the project directory that containers were created from, "" without containers."""
    return next((label(one, "project.working_dir") for one in documents), "")


def copy_of(paths: AppPaths) -> list[str]:
    """Return the files that were copied into an app's directory, and those that the roles have written there."""
    try:
        with open(paths.copied, encoding="utf-8") as stream:
            names = list(map(str, json.load(stream)))
    except (OSError, ValueError):
        names = []
    return [os.path.join(paths.directory, name) for name in (*sorted(names), ".env", ".env.example")]


def gone_services(own: Model, documents: Sequence[Document]) -> list[str]:
    """The services that the overlay alone brings, and that have containers: a cache, a connection pool."""
    services: Services = own.get("services") or {}
    return sorted({label(one, "service") for one in documents if is_ours(one)} - set(services))
