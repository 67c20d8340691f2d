# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read a compose project on this machine: its compose files, `.env`, and every env file that they name.

Nothing is written, and no error holds a value.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import adopted_mounts
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppError, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import NoFile, read_small
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_source
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import mounts, places
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    InitError,
    Place,
    Project,
    Setting,
    Spec,
    Use,
)

# How far above the compose file the folders that it names may be.
_HIGHEST = 3
# Compose reads these for itself; the inventory has its own place for what they say.
OF_COMPOSE = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR")
ENV = ".env"
# Messages of `project_source` are about a deploy.
_END_OF_REASON = re.compile(r"\.? (?:Nothing was changed|Fix: )")
_FOLDER_SIGNS = re.compile(r"[^a-z0-9_-]")


class _Location(NamedTuple):
    """The folder that holds the project, its compose files relative to it, and whether Compose finds just these."""

    folder: str
    files: list[str]
    is_found: bool


def read(given: Sequence[str], app: str = "", here: str = "") -> Project:
    """Read the project.

    :arg given: compose files, or one folder.
    :arg app: the name of the app, "" for the one that Compose gives it.
    :arg here: the folder that relative paths start from.
    :raises InitError: something is missing, damaged, or refused by Compose.
    """
    location = _locate([os.path.join(here or os.getcwd(), os.path.expanduser(path)) for path in given])
    source, location = _read_source(location)
    try:
        return _project(location, source, app)
    except InitError as error:
        raise _placed(error, location.folder, source) from None


def _project(location: _Location, source: project_source.Project, app: str) -> Project:
    merged = compose.merge(source.documents, source.files)
    project = posixpath.dirname(source.files[0])
    own = _own_env(location.folder, posixpath.normpath(posixpath.join(project, ENV)))
    env = _settings(location.folder, own, {}) if own else {}
    values = {name: one.value for name, one in env.items()}
    merged = {service: _resolved(spec, values, own) for service, spec in merged.items()}
    readers = _readers(merged)
    env_files = _env_files(location.folder, readers, source.env, values, bool(own))
    published = compose.ports(merged)
    compose.require_ports(published, values)
    compose.require_no_clash(merged, published, values)
    return Project(
        folder=location.folder,
        files=source.files,
        is_found=location.is_found,
        app=_app(app, source, values, os.path.join(location.folder, project)),
        services=merged,
        ports=published,
        uses=list(_uses(location.folder, source)),
        env={name: one for name, one in env.items() if name not in OF_COMPOSE},
        env_files=env_files,
        readers={path: sorted(named) for path, (named, _required) in readers.items()},
        literal=_literal(location.folder, source),
        mounted=mounts.find(location.folder, _with_adopted(location.folder, source, merged), values),
    )


def _with_adopted(folder: str, source: project_source.Project, merged: Mapping[str, Spec]) -> Mapping[str, Spec]:
    """The services with the mounts of what adopt has left where it is on the server: Compose alone does not find it."""
    name = posixpath.join(posixpath.dirname(source.files[0]), adopted_mounts.FILE)
    if name in source.files or not _is_adopted(os.path.join(folder, name)):
        return merged
    both = project_source.read(folder, [*source.files, name])
    return compose.merge(both.documents, both.files)


def _is_adopted(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readline().startswith(adopted_mounts.MARK)
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _placed(error: InitError, folder: str, source: project_source.Project) -> InitError:
    """The error with the file and line of the key that it names, where it names one."""
    named, _unused, key = error.where.rpartition(": ")
    deepest, place = 0, ""
    for document in source.documents:
        found = places.find("\n".join(_lines(folder, document.name)), key)
        # Of two files, the later one wins.
        if named in ("", document.name) and found.depth and found.depth >= deepest:
            deepest, place = found.depth, str(Place(document.name, found.line))
    return InitError(f"{place}: {key}", error.reason, error.fix) if place else error


# --- the compose files ------------------------------------------------------------------------------------------------


def _locate(paths: Sequence[str]) -> _Location:
    if not paths:
        raise InitError("from", "it names no compose file", "add -e from=PATH/compose.yaml, or the folder with it")
    first = os.path.abspath(paths[0])
    if os.path.isdir(first):
        found = project_layout.discover(first)
        if not found or len(paths) > 1:
            names = ", ".join(project_layout.DEFAULT_FILES)
            below = [os.path.join(given, name) for given in _folders(first) for name in project_layout.discover(given)]
            fix = f"name the file: -e from={below[0] if below else 'PATH'}"
            raise InitError(first, f"this folder holds no compose file ({names})", fix)
        return _Location(first, found, True)
    for path in paths:
        if not os.path.isfile(path):
            raise InitError(path, "there is no such file", "correct -e from=PATH")
    folder = os.path.dirname(first)
    named = [os.path.relpath(path, folder) for path in map(os.path.abspath, paths)]
    found = project_layout.discover(folder)
    if named in (found[:1], found):
        return _Location(folder, found, True)
    return _Location(folder, named, False)


def _folders(path: str) -> list[str]:
    return sorted(entry.path for entry in os.scandir(path) if entry.is_dir())


def _read_source(location: _Location) -> tuple[project_source.Project, _Location]:
    """Read the compose files; the folder is a higher one where they name paths above theirs."""
    folder, files, last = location.folder, location.files, ""
    for _unused in range(_HIGHEST):
        try:
            is_below = not any(name.startswith("..") for name in files)
            if is_below:
                found = project_source.read(folder, files)
                return found, _Location(folder, files, location.is_found and folder == location.folder)
        except project_source.OutsideError as error:
            last = str(error)
        except project_source.ProjectError as error:
            if error.line:
                raise InitError(f"{error.file} line {error.line}", error.reason, _fix_of(error)) from None
            reason = _END_OF_REASON.split(str(error))[0]
            raise InitError("from", reason, _fix_of(error)) from None
        except OSError as error:
            place = str(error.filename or folder)
            raise InitError(place, f"it cannot be read: {error.strerror}", "make it readable") from None
        name = os.path.basename(folder)
        folder, files = os.path.dirname(folder), [os.path.normpath(os.path.join(name, file)) for file in files]
    raise InitError(location.folder, last.partition(". ")[0], "move the compose file next to the folders that it names")


def _fix_of(error: project_source.ProjectError) -> str:
    """The fix in a message that speaks of the inventory's variables, in terms of init."""
    text = str(error)
    if "is not a compose file" in text or "is empty" in text:
        return "correct the file; `docker compose config` shows the place"
    if "a folder of this machine" in text:
        return "write a path relative to the compose file"
    return "correct the name, or add the file"


def _app(given: str, source: project_source.Project, values: Mapping[str, str], folder: str) -> str:
    """The project's name, in the order that Compose has: its variable, `name:`, the folder."""
    named = [str(one.content["name"]) for one in source.documents if one.content.get("name") and not one.extended]
    base = _FOLDER_SIGNS.sub("", os.path.basename(os.path.normpath(folder)).lower()).lstrip("_-")
    said = dotenv.resolved(named[-1], values) if named else ""
    name = given or values.get("COMPOSE_PROJECT_NAME", "") or said or base
    try:
        app_paths(name)
    except AppError as error:
        raise InitError("app", str(error).partition(": ")[2], "name the app: -e app=NAME") from None
    return name


# --- env files --------------------------------------------------------------------------------------------------------


def _own_env(folder: str, name: str) -> str:
    """The project's `.env`: next to the first compose file, else in the folder above; "" without one."""
    there = [path for path in dict.fromkeys((name, ENV)) if os.path.lexists(os.path.join(folder, path))]
    return there[0] if there else ""


def _settings(folder: str, name: str, known: Mapping[str, str]) -> dict[str, Setting]:
    path = os.path.join(folder, name)
    try:
        content = read_small(path)
        if content is None:
            raise InitError(name, "there is no such file", f"add {path}, or remove its name from the compose file")
        entries = dotenv.entries(content.decode("utf-8"), known)
    except NoFile as problem:
        raise InitError(name, str(problem), "put a file of NAME=value lines there") from None
    except OSError as error:
        raise InitError(name, f"it cannot be read: {error.strerror}", f"make {path} readable") from None
    except UnicodeDecodeError as error:
        line = (content or b"")[: error.start].count(b"\n") + 1
        raise InitError(f"{name} line {line}", "it is not UTF-8 text", f"save {path} as UTF-8") from None
    except dotenv.DotenvError as error:
        where = f"{name} line {error.line}" if error.line else name
        fix = "write NAME=value, with single quotes around a value that holds spaces, quotes, # or $"
        raise InitError(where, error.reason, fix) from None
    return {
        entry.name: Setting(entry.name, entry.value, Place(name, entry.line))
        for entry in entries
        if entry.value is not None
    }


def _resolved(spec: Spec, values: Mapping[str, str], own: str) -> Spec:
    """The service with the paths of its env files as they are; the project's own is `.env`, wherever it is."""
    paths = [posixpath.normpath(dotenv.resolved(str(item["path"]), values)) for item in spec.get("env_file") or []]
    given = [{**item, "path": ENV if path == own else path} for item, path in zip(spec.get("env_file") or [], paths)]
    return {**spec, "env_file": given} if given else spec


def _readers(services: Mapping[str, Spec]) -> dict[str, tuple[list[str], bool]]:
    """{env file: the services that read it, whether it must exist}; paths that only the host knows are left out."""
    found: dict[str, tuple[list[str], bool]] = {}
    for service, spec in services.items():
        for item in spec.get("env_file") or []:
            path = str(item["path"])
            if path.startswith(("/", "..")):
                continue
            named, required = found.get(path, ([], False))
            found[path] = ([*named, service], required or bool(item["required"]))
    return found


def _env_files(
    folder: str,
    readers: Mapping[str, tuple[list[str], bool]],
    included: Sequence[str],
    values: Mapping[str, str],
    has_own: bool,
) -> dict[str, dict[str, Setting]]:
    found = {}
    for path in dict.fromkeys((*readers, *included)):
        named, required = readers.get(path, ([], True))
        if path == ENV:
            if required and not has_own:
                raise InitError(path, f"service {named[0]} reads it, and there is no such file", "add it")
            continue
        if not required and not os.path.lexists(os.path.join(folder, path)):
            continue
        found[path] = _settings(folder, path, values)
    return found


# --- variables --------------------------------------------------------------------------------------------------------


def _uses(folder: str, source: project_source.Project) -> Iterator[Use]:
    """Every variable that the compose files name, with its line."""
    for document in source.documents:
        lines = _lines(folder, document.name)
        places: dict[str, Place] = {}
        for where, text in _texts(document.content, "", set()):
            try:
                references = dotenv.references(text)
            except dotenv.DotenvError as error:
                raise InitError(f"{document.name}: {where}", error.reason, "write $$ for a literal dollar") from None
            for one in references:
                if one.name not in places:
                    line = _line(lines, rf"\$\{{?{re.escape(one.name)}\b")
                    places[one.name] = Place(document.name, line)
                yield Use(one.name, places[one.name], one.operator, one.other)
        for name in _passed(document.content):
            line = _line(lines, rf"(?:^|[\s\"'\-{{,]){re.escape(name)}\b")
            yield Use(name, Place(document.name, line), "", "", is_passed=True)


def _lines(folder: str, name: str) -> list[str]:
    with open(os.path.join(folder, name), encoding="utf-8") as stream:
        return stream.read().splitlines()


def _literal(folder: str, source: project_source.Project) -> dict[str, Place]:
    """Where the compose files set variables of containers."""
    found: dict[str, Place] = {}
    for document in source.documents:
        lines = _lines(folder, document.name)
        for spec in (document.content.get("services") or {}).values():
            for name in set(compose.environment(spec)) - set(found):
                pattern = rf"(?:^|[\s\"'\-{{,\[]){re.escape(name)}\b\"?'?\s*[:=]"
                found[name] = Place(document.name, _line(lines, pattern))
    return found


def _texts(value: object, where: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Each text of a compose file, with the keys that lead to it; what an alias repeats, once.

    :arg seen: the lists and mappings so far: with aliases, a short file can be an endless one.
    """
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, (Mapping, list)) and id(value) not in seen:
        seen.add(id(value))
        items = value.items() if isinstance(value, Mapping) else [("", item) for item in value]
        for key, item in items:
            yield from _texts(item, f"{where}.{key}".strip("."), seen)


def _passed(document: Spec) -> Iterator[str]:
    """Names whose value Compose takes from its environment without `${}`."""
    for spec in (document.get("services") or {}).values():
        for name, value in compose.environment(spec).items():
            if value is None:
                yield name
    for kind in ("configs", "secrets"):
        for entry in (document.get(kind) or {}).values():
            if isinstance(entry, Mapping) and entry.get("environment"):
                yield str(entry["environment"])


def _line(lines: Sequence[str], pattern: str) -> int:
    found = re.compile(pattern)
    return next((number for number, line in enumerate(lines, 1) if found.search(line)), 0)
