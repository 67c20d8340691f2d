# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ran before the first deploy: kept before the first change, and put back when that deploy fails.

Kept are the images, under a tag that no build moves; each file of the app's directory that is about to change, as a
release is; and the names of the compose files that the containers were created from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..compose import project_files
from ..core.app_paths import AppPaths
from ..core.files import atomic_write
from ..docker import project_layout
from ..docker.containers import Container, Document
from ..docker.engine import EngineError
from ..docker.project import Project
from ..env import history as env_history
from ..releases import store as release_store

TAG = "before-first"
_LABEL = "com.docker.compose.project"


class Note(TypedDict):
    """What ran before the first release.

    {service: image id}, {service: image name}, {service: what it did}; the project's folder, its compose files, and the
    env files that were named by `--env-file`; {file of the app's directory: whether it was there}.
    """

    images: dict[str, str]
    names: dict[str, str]
    states: dict[str, str]
    folder: str
    compose: list[str]
    env_files: list[str]
    files: dict[str, bool]


class PutBack(NamedTuple):
    """From which files it runs again, and why it does not, "" when it does."""

    compose: Sequence[str]
    failure: str


def _top(paths: AppPaths) -> str:
    return os.path.join(paths.state, TAG)


def read(paths: AppPaths) -> Note | None:
    """Return the note, None when nothing was kept."""
    try:
        with open(os.path.join(_top(paths), "note.json"), encoding="utf-8") as stream:
            found: Note = json.load(stream)
    except (OSError, ValueError):
        return None
    return found


def keep(paths: AppPaths, names: Iterable[str]) -> None:
    """Keep what runs, and the files of the app's directory that are about to change, unless they are kept already.

    Only a project that runs is kept: without containers there is nothing to bring back.

    :raises EngineError, OSError: nothing may be changed then.
    """
    if release_store.last_good(paths.directory) is not None:
        return
    note = read(paths)
    if note is None:
        project = Project(paths.name, paths.directory)
        documents = project.documents()
        # With an overlay in place it is a release of this collection whose deploy was killed.
        if not documents or project_layout.recorded(paths.directory) is not None:
            return
        note = _note(project, documents)
        project.keep_images(note["images"], TAG)
    for name in names:
        note["files"].setdefault(name, os.path.lexists(os.path.join(paths.directory, name)))
    release_store.remember_before(paths.directory, list(note["files"]))
    os.makedirs(_top(paths), mode=0o700, exist_ok=True)
    atomic_write(os.path.join(_top(paths), "note.json"), (json.dumps(note, indent=1) + "\n").encode())


def _note(project: Project, documents: Sequence[Document]) -> Note:
    instances = project.containers()
    labels: Mapping[str, str] = documents[0]["Config"].get("Labels") or {}
    return Note(
        images={item["service"]: item["digest"] for item in instances},
        names={item["service"]: item["image"] for item in instances},
        states={item["service"]: did(item) for item in instances},
        folder=labels.get(f"{_LABEL}.working_dir", ""),
        compose=_listed(labels.get(f"{_LABEL}.config_files", "")),
        env_files=_listed(labels.get(f"{_LABEL}.environment_file", "")),
        files={},
    )


def _listed(label: str) -> list[str]:
    return [name for name in label.split(",") if name]


def still_runs(paths: AppPaths, note: Note) -> bool:
    """Whether the containers from before are there, as they were: nothing was replaced yet."""
    project = Project(paths.name, paths.directory)
    folders = {(one["Config"].get("Labels") or {}).get(f"{_LABEL}.working_dir", "") for one in project.documents()}
    states = {item["service"]: did(item) for item in project.containers()}
    is_overlaid = project_layout.recorded(paths.directory) is not None and note["folder"] == paths.directory
    return folders == {note["folder"]} and states == note["states"] and not is_overlaid


def did(item: Container) -> str:
    """What a container does, in words that are the same before and after."""
    if item["state"] in ("exited", "dead"):
        return f"exited with {item['exit_code']}"
    return "keeps restarting" if item["state"] == "restarting" else str(item["state"])


def put_back(paths: AppPaths, note: Note) -> PutBack:
    """Put files, env and images back, and start the project from its original compose files."""
    compose = note["compose"]
    gone = _gone(paths, note, compose)
    if gone or not compose:
        return PutBack(compose, f"its compose file {', '.join(gone) or 'is not known, and'} is gone")
    gone = _gone(paths, note, note["env_files"])
    if gone:
        return PutBack(compose, f"its env file {', '.join(gone)} is gone")
    try:
        _files(paths, note)
        folder = note["folder"] or paths.directory
        project = Project(paths.name, folder, compose, folder, note["env_files"])
        named = project.put_back_images({"images": note["images"], "names": note["names"]})
        started = named if named.code else project.up()
    except (EngineError, OSError) as error:
        return PutBack(compose, str(error))
    if started.code:
        return PutBack(compose, started.reason)
    forget(paths)
    return PutBack(compose, "")


def _gone(paths: AppPaths, note: Note, names: Sequence[str]) -> list[str]:
    return [name for name in names if not os.path.exists(name) and not note["files"].get(_within(paths, name))]


def _within(paths: AppPaths, path: str) -> str:
    return os.path.relpath(path, paths.directory)


def _files(paths: AppPaths, note: Note) -> None:
    _end_restarts(paths)
    if any(note["files"].values()):
        release_store.put_back_files(paths.directory, release_store.BEFORE)
    for name, was_there in note["files"].items():
        if not was_there and os.path.lexists(os.path.join(paths.directory, name)):
            project_files.remove(paths.directory, name)
    found = [one for one in env_history.versions(paths.history) if one["why"] == "found"]
    if found:
        with open(os.path.join(paths.history, found[0]["file"]), "rb") as stream:
            atomic_write(paths.env, stream.read())


def _end_restarts(paths: AppPaths) -> None:
    """Stop what restarts again and again: at its next start, the engine makes a folder of each mount that is gone."""
    project = Project(paths.name, paths.directory)
    names = [item["name"] for item in project.containers() if item["state"] == "restarting" or item["restarts"]]
    if names:
        project.stop(names)


def said(note: Note, instances: Sequence[Container]) -> str:
    """Say which services do not run, and what they did before; "" when all do."""
    found = []
    for item in instances:
        now, before = did(item), note["states"].get(item["service"], "not there")
        if now == "running" or item["job_done"]:
            continue
        found.append(f"{item['service']} {now}, {'as before' if now == before else f'before: {before}'}")
    return "; ".join(found)


def forget(paths: AppPaths) -> None:
    """Forget what ran before: a release serves now. The images keep their tags."""
    shutil.rmtree(_top(paths), ignore_errors=True)
    shutil.rmtree(os.path.join(release_store.folder(paths.directory), release_store.BEFORE), ignore_errors=True)
