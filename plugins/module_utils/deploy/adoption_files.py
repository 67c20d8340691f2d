# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a project on the host: which of them belong to it, and an archive of these for the controller."""

from __future__ import annotations

import base64
import io
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..compose import adopted_mounts
from ..compose.adopted_mounts import There
from ..compose.project_parts import Parts, covers, relative
from ..docker import project_layout
from ..docker.model import Model
from .adoption_choice import AdoptError
from .adoption_record import NOTICE

LARGEST_BYTES = 100 << 20
_EXCLUDED = (".git", "__pycache__", "node_modules", NOTICE)
_NAMED = re.compile(r"[\w./@-]*[\w@-]\.(?:ya?ml|env)\b|[\w./@-]*/?\.env[\w.]*")
_ABOVE = re.compile(r"(?:\.\./)+[\w.@-]*")
_VARIABLE = re.compile(r"(?<!\$)(?:\$\$)*\$\{?([A-Za-z_]\w*)")
_NOTICE_NAME = re.compile(r"^# (\S+) does not run from this folder")
_PROJECT_NAME = re.compile(r"^name: *['\"]?([a-z0-9][a-z0-9_-]*)", re.MULTILINE)
_SMALL = 1 << 20


def compose_files(files: Sequence[str]) -> list[str]:
    """Return the compose files and those that they include or extend, with their env files; absolute paths.

    Compose names included files nowhere, and their formats are for a YAML reader, which a host may not have. So a file
    counts that is there and that a compose file names; one too many does no harm.
    """
    found: dict[str, None] = {}
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        if path.endswith((".yml", ".yaml")):
            folder = os.path.dirname(path)
            names = [*_NAMED.findall(_text(path)), ".env"] if path not in files else _NAMED.findall(_text(path))
            named = [os.path.normpath(os.path.join(folder, name)) for name in names if not name.startswith("/")]
            waiting += [name for name in named if os.path.isfile(name)]
    return list(found)


def named_variables(files: Sequence[str]) -> dict[str, str]:
    """Return the variables that compose files name, and those that they include: {name: the file}."""
    found: dict[str, str] = {}
    for path in compose_files(files):
        if path.endswith((".yml", ".yaml")):
            found.update(dict.fromkeys(_VARIABLE.findall(_text(path)), path))
    return found


def top_of(folder: str, files: Sequence[str]) -> str:
    """Return the folder that holds the project's folder, its compose files, and what those name by `../`."""
    places = [folder, *map(os.path.dirname, files)]
    for path in files:
        above = [os.path.normpath(os.path.join(folder, name)) for name in _ABOVE.findall(_text(path))]
        places += [place if os.path.isdir(place) else os.path.dirname(place) for place in above if _is_there(place)]
    return os.path.commonpath(places)


def _is_there(path: str) -> bool:
    return os.path.exists(path) or os.path.isdir(os.path.dirname(path))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [line for line in stream.read(_SMALL).splitlines() if not line.lstrip().startswith("#")]
    except OSError:
        return ""
    return "\n".join(lines)


def look(path: str) -> There:
    """Look at the source of a bind mount. A folder is measured until it is large."""
    try:
        found = os.stat(path)
    except OSError:
        return There("other", 0, 0.0)
    if stat.S_ISREG(found.st_mode):
        changed = max(found.st_mtime, found.st_ctime)
        return There("file", found.st_size, changed, _is_text(path), _is_private(found))
    if not stat.S_ISDIR(found.st_mode):
        return There("other", 0, 0.0)
    size, is_private = 0, False
    for name in _below(path, ()):
        if os.path.lexists(name):
            one = os.lstat(name)
            size += one.st_size
            is_private = is_private or _is_private(one)
        if size > LARGEST_BYTES:
            break
    return There("folder", size, found.st_mtime, is_private=is_private)


def _is_private(found: os.stat_result) -> bool:
    return bool(found.st_uid or found.st_gid) and not found.st_mode & stat.S_IROTH and not stat.S_ISLNK(found.st_mode)


def _is_text(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            content = stream.read(_SMALL)
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return b"\0" not in content


def chosen(top: str, named: Iterable[str], parts: Parts, model: Model, data: Collection[str]) -> list[str]:
    """Return the project's files, relative to `top`: what Compose reads, builds from, or mounts, without data.

    :arg named: compose files and env files, absolute.
    :arg data: the mounts that stay on the host.
    """
    kept_out = [name for name in data if name != "."]
    found: dict[str, None] = {}
    for path in named:
        name = relative(path, top)
        if name is not None:
            found[name] = None
    for name in sorted(parts.explicit()):
        if os.path.isfile(os.path.join(top, name)):
            found[name] = None
    places = [one.name for one in parts.mounts if one.name not in data]
    for folder, exclude in [*((name, ()) for name in places), *_contexts(top, model)]:
        for path in _below(os.path.join(top, folder), exclude):
            name = os.path.relpath(path, top)
            if not any(covers(one, name) for one in kept_out) and os.path.basename(name) != ".env":
                found[name] = None
    return sorted(found)


def _contexts(top: str, model: Model) -> Iterator[tuple[str, Sequence[str]]]:
    """The folders that images are built from, and what their .dockerignore leaves out."""
    for spec in (model.get("services") or {}).values():
        build = spec.get("build") or {}
        for path in (build.get("context"), *(build.get("additional_contexts") or {}).values()):
            name = relative(str(path or ""), top)
            if name is not None:
                yield name, _ignored(os.path.join(top, name))


def _ignored(context: str) -> list[str]:
    """The plain patterns of a .dockerignore. One with an exception (`!`) is not used."""
    lines = [line.strip() for line in _text(os.path.join(context, ".dockerignore")).splitlines()]
    if any(line.startswith("!") for line in lines):
        return []
    return [f"/{line.strip('/')}" for line in lines if line and "**" not in line]


def _below(path: str, exclude: Sequence[str]) -> Iterator[str]:
    """The files below a folder, or the file itself; links are not followed."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path):

        def is_left_out(name: str, folder: str = folder) -> bool:
            inside = os.path.relpath(os.path.join(folder, name), path)
            return project_layout.is_left_out(inside, (*_EXCLUDED, *exclude))

        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in links and not is_left_out(name)]
        for name in (*names, *links):
            if not is_left_out(name) or name in ("Dockerfile", ".dockerignore"):
                yield os.path.join(folder, name)


def pack(top: str, names: Sequence[str], more: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """Return an archive (tar, gzip, base64) of files, and the names that were left out: sockets, links that lead out.

    :arg more: files that are not on the disk, {name: content}; they get the mode 0600.
    :raises AdoptError: the files are too large.
    """
    sizes = {name: os.lstat(os.path.join(top, name)).st_size for name in names}
    if sum(sizes.values()) > LARGEST_BYTES:
        raise _too_large(top, sizes)
    stream, left = io.BytesIO(), []
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
        for name in names:
            path = os.path.join(top, name)
            mode = os.lstat(path).st_mode
            leads_out = stat.S_ISLNK(mode) and not _stays_inside(name, os.readlink(path))
            if leads_out or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                left.append(name)
            elif name not in more:
                archive.add(path, arcname=name, recursive=False)
        for name, content in more.items():
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(content), 0o600
            archive.addfile(item, io.BytesIO(content))
    return base64.b64encode(stream.getvalue()).decode("ascii"), left


def _stays_inside(name: str, target: str) -> bool:
    return project_layout.is_inside(posixpath.normpath(posixpath.join(posixpath.dirname(name), target)))


def _too_large(top: str, sizes: Mapping[str, int]) -> AdoptError:
    by_folder: dict[str, int] = {}
    for name, size in sizes.items():
        first = name.split("/")[0]
        by_folder[first] = by_folder.get(first, 0) + size
    largest = max(by_folder, key=lambda name: by_folder[name])
    return AdoptError(
        top,
        f"the project's files are {sum(sizes.values()) >> 20} MiB, {by_folder[largest] >> 20} MiB of them in {largest}"
        f", and at most {LARGEST_BYTES >> 20} MiB are copied",
        f"leave out of the image what it does not need: write {largest} into .dockerignore",
    )


def has_compose_file(folder: str) -> bool:
    """Whether Compose would find a compose file in a folder."""
    return bool(project_layout.discover(folder))


def overlay_name(files: Sequence[str], top: str) -> str:
    """Where the compose file of the data goes, relative to `top`: next to the first of the user's."""
    folder = os.path.dirname(os.path.relpath(files[0], top))
    return posixpath.normpath(posixpath.join(folder, adopted_mounts.FILE))


def project_names(folder: str) -> list[str]:
    """Return by which names a project of a folder may run: that in the notice of an adoption, its `name:`, its own."""
    found = _NOTICE_NAME.findall(_first_line(os.path.join(folder, NOTICE)))
    for name in project_layout.discover(folder):
        found += _PROJECT_NAME.findall(_text(os.path.join(folder, name)))
    # As Compose makes it from the folder's name (compose-go, loader.NormalizeProjectName).
    found.append(re.sub(r"[^a-z0-9_-]", "", os.path.basename(folder).lower()).lstrip("_-"))
    return [name for name in dict.fromkeys(found) if name]


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline()
    except OSError:
        return ""
