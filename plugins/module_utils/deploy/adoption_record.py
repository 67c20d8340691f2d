# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The record of a take-over: where the app was started by hand before, and whether it has ended.

It is written before the first change, so that a run that was killed can be completed, and a later one knows the app.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from ..core.app_paths import AppPaths
from ..core.files import atomic_write, readable

NOTICE = "ADOPTED-BY-SELFHEAL.md"
_FILE = "adopted.json"


class Origin(NamedTuple):
    """From where an app was started by hand: its folder, its compose files and env files, all of them absolute."""

    folder: str
    files: Sequence[str]
    env_files: Sequence[str]


class Record(NamedTuple):
    """The record of one app; `is_done`: the app was taken over."""

    app: str
    origin: Origin
    is_done: bool


def read(paths: AppPaths) -> Record | None:
    """Return the record of an app; None without one, or with a damaged one."""
    try:
        with open(os.path.join(paths.state, _FILE), encoding="utf-8") as stream:
            said = json.load(stream)
        origin = Origin(str(said["folder"]), list(map(str, said["files"])), list(map(str, said["env_files"])))
        return Record(paths.name, origin, bool(said["is_done"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(paths: AppPaths, origin: Origin, is_done: bool) -> None:
    """Write the record of an app. Raises OSError."""
    said = {**origin._asdict(), "files": list(origin.files), "env_files": list(origin.env_files), "is_done": is_done}
    os.makedirs(paths.state, mode=0o700, exist_ok=True)
    atomic_write(os.path.join(paths.state, _FILE), (json.dumps(said, indent=1) + "\n").encode())


def mark(paths: AppPaths, origin: Origin) -> str:
    """Leave a notice in the folder that the app was started from; its path, "" when that folder is gone."""
    if not os.path.isdir(origin.folder):
        return ""
    path = notice_of(origin)
    atomic_write(path, _notice(paths, origin.folder).encode(), mode=0o644)
    return path


def notice_of(origin: Origin) -> str:
    """Where the notice is that `mark` leaves."""
    return os.path.join(origin.folder, NOTICE)


def is_own_notice(paths: AppPaths, origin: Origin) -> bool:
    """Whether the notice is there, and is as it was left."""
    folder = origin.folder
    known = (_notice(paths, folder), *(_notice_after(paths, folder, stops) for stops in (False, True)))
    return readable(notice_of(origin)) in [text.encode() for text in known]


def mark_removed(paths: AppPaths, origin: Origin, is_stopped: bool) -> None:
    """Have the notice say that the app is not in our care any more. Raises OSError."""
    atomic_write(notice_of(origin), _notice_after(paths, origin.folder, is_stopped).encode(), mode=0o644)


def _notice_after(paths: AppPaths, folder: str, is_stopped: bool) -> str:
    how = "It was stopped. Its files are in" if is_stopped else "It runs from its own compose files in"
    return f"""# {paths.name} does not run from this folder

{how} `{paths.directory}`. Nothing hardens or watches it any more
(christmas.selfheal was removed).

- **Do not run `docker compose up` or `down` here.** It would replace or remove the containers of the same project.
- Data that was below `{folder}` is still used from here: do not delete this folder before
  `docker inspect` shows no mount of it.
"""


def _notice(paths: AppPaths, folder: str) -> str:
    return f"""# {paths.name} does not run from this folder any more

It runs from `{paths.directory}`, hardened and watched (christmas.selfheal).

- **Do not run `docker compose up` or `down` here.** It would replace or remove the containers that run.
- Change the project on the controller, and deploy it from there: `ansible-playbook ... site.yml`.
- To see how it is: `selfheal status --app {paths.name}`
- Data that was below `{folder}` is still used from here: do not delete this folder before
  `docker inspect` shows no mount of it.
"""
