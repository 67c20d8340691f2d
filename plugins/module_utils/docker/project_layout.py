# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files make up an app's project: its compose files in order, and every other file that they name.

The list is the first line of the overlay, so the overlay of a release brings the list of that release back with it.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HARDENED_FILE = "compose.hardened.yaml"
RELEASES = "releases"
LAST_GOOD = "last-good"
# Compose's own names, in the order in which it looks for them (compose-go, cli.DefaultFileNames). An override file is
# used whatever the first file is called.
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
DEFAULT_OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_MARK = "# selfheal: "


class Layout(NamedTuple):
    """The files of a project, relative to the app's directory.

    `files` are merged in this order; `named` is {file of the release: mark}, those in `files` too; `data` are the
    folders and files that services write to; `local` are files of the release that the controller does not have;
    `renewed` is {service: epoch seconds} of those whose files were changed on the host and put right.
    """

    files: tuple[str, ...]
    named: Mapping[str, str] = {}
    data: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    renewed: Mapping[str, int] = {}

    @property
    def folder(self) -> str:
        """The project directory, relative to the app's: that of the first file, as Compose has it. "" for the same."""
        return os.path.dirname(self.files[0]) if self.files else ""


def first_line(layout: Layout) -> str:
    """Return the line that an overlay begins with."""
    parts: dict[str, object] = {
        "files": list(layout.files),
        "named": dict(layout.named),
        "data": list(layout.data),
        "local": list(layout.local),
        "renewed": dict(layout.renewed),
    }
    said = {key: part for key, part in parts.items() if part or key == "files"}
    return f"{_MARK}{json.dumps(said, sort_keys=True)}\n"


def parse(line: str) -> Layout | None:
    """Return what the first line of an overlay says; None when it says nothing that can be relied on."""
    if not line.startswith(_MARK):
        return None
    try:
        said = json.loads(line[len(_MARK) :])
        files, named, data = said["files"], said.get("named", {}), said.get("data", [])
        local, renewed = said.get("local", []), said.get("renewed", {})
        renewed = {str(service): int(when) for service, when in renewed.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    sound = isinstance(files, list) and isinstance(named, dict) and isinstance(data, list) and isinstance(local, list)
    if not sound or not files or not all(is_inside(name) for name in [*files, *named, *data, *local]):
        return None
    return Layout(tuple(files), {name: str(mark) for name, mark in named.items()}, tuple(data), tuple(local), renewed)


def is_inside(name: object) -> bool:
    """Whether this is a relative path that stays in its folder: what is put back must stay in the app's directory."""
    return isinstance(name, str) and bool(name) and not name.startswith(("/", "../")) and "/../" not in f"/{name}/"


def recorded(directory: str) -> Layout | None:
    """Return what the overlay in a folder says; None without an overlay, or with a damaged one."""
    try:
        with open(os.path.join(directory, HARDENED_FILE), encoding="utf-8") as stream:
            return parse(stream.readline())
    except (OSError, UnicodeDecodeError):
        return None


def read(directory: str) -> Layout:
    """Return the layout in an app's directory.

    Its overlay says it; where that is damaged, the overlay of the last good release; else what Compose would find.
    """
    return recorded(directory) or recorded(release_files(directory, LAST_GOOD)) or Layout(tuple(discover(directory)))


def is_hardened(files: str) -> bool:
    """Whether a container was created with the overlay, by Compose's label of its files, separated by commas."""
    return any(os.path.basename(name) == HARDENED_FILE for name in files.split(","))


def release_files(directory: str, release: str) -> str:
    """Return the folder that holds the files of a release."""
    return os.path.join(directory, RELEASES, release, "files")


def discover(folder: str) -> list[str]:
    """Return the files that `docker compose` uses in a folder by itself: at most a file and an override."""
    found = _first(folder, DEFAULT_FILES)
    return [*found, *_first(folder, DEFAULT_OVERRIDES)] if found else []


def _first(folder: str, names: Sequence[str]) -> list[str]:
    return next(([name] for name in names if os.path.isfile(os.path.join(folder, name))), [])


def is_left_out(name: str, exclude: Sequence[str]) -> bool:
    """Whether rsync's patterns leave a file out: a name anywhere, or a path from the top."""
    parts = name.split("/")
    for pattern in exclude:
        wanted = pattern.strip("/")
        if "/" in pattern.rstrip("/"):
            if any(fnmatch.fnmatchcase("/".join(parts[: end + 1]), wanted) for end in range(len(parts))):
                return True
        elif any(fnmatch.fnmatchcase(part, wanted) for part in parts):
            return True
    return False
