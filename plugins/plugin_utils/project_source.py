# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The project on the controller: its compose files, the files that those include, and paths that leave the project.

The merged model does not have included and extended files, nor paths as they were written. So the files are read as
they are, before Compose reads them on the host.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project_layout
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv

ComposeFile = Mapping[str, Any]
"""A compose file, or a service of it, as it is written: the format of the Compose Specification."""

# libyaml reads a megabyte in a second, Python in twenty.
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ProjectError(Exception):
    """The project cannot be deployed. The message names the file, the key and the fix.

    `line`: where a file stops being a compose file; 0 when that is not known.
    """

    def __init__(self, message: str, file: str = "", line: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.reason = file, line, reason


class OutsideError(ProjectError):
    """A compose file names a path above the project's folder."""


class Document(NamedTuple):
    """One compose file as it is written. Its relative paths start from `base`; `extended`: only `extends` names it."""

    name: str
    base: str
    content: ComposeFile
    extended: bool


class Project(NamedTuple):
    """The compose files, in the order in which they are merged, and the files that those include or extend.

    `documents` are all of them, read; `env` are the env files in `more`, which only values of included files use.
    """

    files: list[str]
    more: list[str]
    documents: Sequence[Document] = ()
    env: Sequence[str] = ()


class _Found(NamedTuple):
    """What was found so far: named files, documents by name and base, env files of `include`."""

    more: dict[str, None]
    documents: dict[tuple[str, str], Document]
    env: dict[str, None]


class _Loader(_BASE):  # type: ignore[misc]  # PyYAML carries no types
    """YAML with Compose's own tags."""


class Override(list):  # type: ignore[type-arg]  # Python 3.11 takes arguments, YAML has any
    """A list under `!override`: it replaces the list of an earlier file."""


def _untagged(loader: Any, suffix: str, node: yaml.Node) -> Any:
    """The value under `!override`, None for `!reset`."""
    if suffix == "reset":
        return None
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return Override(loader.construct_sequence(node, deep=True))
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _untagged)
# Compose reads YAML 1.2, where `yes` and `2222:22` are texts.
_OLDER = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_Loader.yaml_implicit_resolvers = {
    first: [one for one in known if one[0] not in _OLDER] for first, known in _BASE.yaml_implicit_resolvers.items()
}
for _kind, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0b[01_]+|0[0-7_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_form})$"), list(_first))


class _Named(NamedTuple):
    """A path that a compose file names: where it says so, and the path as it is written."""

    key: str
    path: str


def read(source: str, files: Sequence[str] = ()) -> Project:
    """Read the project in a folder.

    :arg files: the compose files, relative to it; those that Compose would find when there are none.
    :raises ProjectError: a file is missing or damaged, or leaves the project.
    """
    chosen = [posixpath.normpath(name) for name in files] or project_layout.discover(source)
    if not chosen:
        names = ", ".join(project_layout.DEFAULT_FILES)
        raise ProjectError(
            f"{source} on this machine holds no compose file ({names}). Fix: correct compose_app_source, or name the "
            "file in compose_app_files"
        )
    base = posixpath.dirname(chosen[0])
    found = _Found({}, {}, {})
    for name in chosen:
        if _leaves(name):
            raise ProjectError(
                f"compose_app_files: {name} is outside {source}. Fix: name files below compose_app_source"
            )
        _follow(source, name, base, found, "compose_app_files")
    more = [name for name in found.more if name not in chosen]
    return Project(chosen, more, list(found.documents.values()), list(found.env))


def _leaves(path: str) -> bool:
    return path.startswith(("/", "../")) or path == ".."


def _follow(source: str, name: str, base: str, found: _Found, by: str) -> None:
    """Read one compose file, and those that it includes or extends.

    :arg base: the folder that its relative paths start from.
    :arg by: where it is named.
    """
    if (name, base) in found.documents:
        return
    document = _load(source, name, by)
    found.documents[name, base] = Document(name, base, document, by.endswith(".extends"))
    for named in _paths(document):
        _require_inside(source, name, named, base)
    for item in document.get("include") or []:
        paths, folder, env_files = _included(item)
        known = [_inside(source, name, _Named("include", path), base) for path in paths]
        included = [path for path in known if path]
        if not included:
            continue
        below = _inside(source, name, _Named("include", folder), base) if folder else posixpath.dirname(included[0])
        env_files = [_inside(source, name, _Named("include", path), base) for path in env_files]
        env_files = env_files or [posixpath.normpath(posixpath.join(below, ".env"))]
        for path in env_files:
            # The app's own is not part of the project.
            if path and path != ".env" and os.path.isfile(os.path.join(source, path)):
                found.more[path] = found.env[path] = None
        for path in included:
            found.more[path] = None
            _follow(source, path, below, found, f"{name}: include")
    for service, spec in services_of(document):
        extended = spec.get("extends")
        path = str(extended.get("file") or "") if isinstance(extended, Mapping) else ""
        key = f"services.{service}.extends"
        inside = _inside(source, name, _Named(key, path), base) if path else ""
        if inside:
            found.more[inside] = None
            _follow(source, inside, posixpath.dirname(inside), found, f"{name}: {key}")


def _load(source: str, name: str, by: str) -> ComposeFile:
    path = os.path.join(source, name)
    if not os.path.isfile(path):
        raise ProjectError(
            f"{by} names the file {name}, and {source} on the controller has no such file. Fix: correct the name, or "
            "add the file"
        )
    try:
        with open(path, encoding="utf-8") as stream:
            # One document: Compose merges several, and such a file is rare.
            documents = list(_documents(stream))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        mark = getattr(error, "problem_mark", None)
        raise ProjectError(
            f"{path} on this machine is not a compose file: {reason}. Nothing was changed. Correct it; "
            f"`docker compose -f {path} config` shows the place",
            name,
            mark.line + 1 if mark else 0,
            str(getattr(error, "problem", "") or reason),
        ) from None
    merged: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document, Mapping):
            raise ProjectError(
                f"{path} on this machine is not a compose file: it has no services. Nothing was changed. Fix: give the "
                "app's compose file"
            )
        for key, value in document.items():
            old = merged.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[str(key)] = {**old, **value} if both and isinstance(old, Mapping) else value
    if not documents:
        raise ProjectError(f"{path} on this machine is empty. Nothing was changed. Fix: give the app's compose file")
    if not isinstance(merged.get("include") or [], list):
        raise ProjectError(f"{path}: `include` is not a list. Nothing was changed. Fix: write `- FILE` below it")
    return merged


def _documents(stream: TextIO) -> Iterator[Any]:
    """The documents of a YAML file.

    :raises yaml.YAMLError: the text is not YAML, or a key is there twice, which Compose refuses.
    """
    loader = _Loader(stream)
    try:
        while loader.check_node():
            node = loader.get_node()
            _require_unique(node, set())
            yield loader.construct_document(node)
    finally:
        loader.dispose()


def _require_unique(node: yaml.Node, seen: set[int]) -> None:
    """:arg seen: the nodes so far, which aliases repeat."""
    if isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _require_unique(item, seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines and name != "<<":
            problem = f"the key {name} is in line {lines[name]} already"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        lines[name] = line
        _require_unique(value, seen)


def services_of(document: ComposeFile) -> Iterator[tuple[str, ComposeFile]]:
    """The services of a compose file, by name."""
    services = document.get("services")
    for service, spec in services.items() if isinstance(services, Mapping) else ():
        if isinstance(spec, Mapping):
            yield str(service), spec


def _included(item: Any) -> tuple[list[str], str, list[str]]:
    """An entry of `include`: its paths, its project directory, its env files."""
    if not isinstance(item, Mapping):
        return [str(item)], "", []
    return _strings(item.get("path")), str(item.get("project_directory") or ""), _strings(item.get("env_file"))


def _strings(given: Any) -> list[str]:
    if given is None:
        return []
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]


def _inside(source: str, file: str, named: _Named, base: str) -> str:
    """A path relative to the project; "" for one that only the host knows: from elsewhere, or with a variable in it.

    :raises ProjectError: it leaves the project.
    """
    path = dotenv.resolved(named.path, {})
    if "://" in path or path.startswith(("oci:", "git@", "/", "~")) or (path != named.path and not path):
        return ""
    _require_inside(source, file, named, base)
    return posixpath.normpath(posixpath.join(base, path))


def _require_inside(source: str, file: str, named: _Named, base: str) -> None:
    if named.path.startswith("/"):
        _require_on_host(source, file, named)
        return
    path = dotenv.resolved(named.path, {})
    if _leaves(posixpath.normpath(posixpath.join(base, path))):
        raise OutsideError(
            f"{file}: {named.key} names {named.path}, which is outside {source}. Nothing was changed. Fix: set "
            "compose_app_source to a folder that holds both, and compose_app_files to the compose file in it"
        )


def _require_on_host(source: str, file: str, named: _Named) -> None:
    """Refuse an absolute path of this machine, where the host's own are not known."""
    is_built = named.key.endswith(("build", "build.context"))
    homes = (os.path.expanduser("~"), os.path.abspath(source))
    is_here = any(os.path.abspath(named.path).startswith(f"{home}{os.sep}") for home in homes if home != os.sep)
    if is_built and is_here and os.path.isdir(named.path):
        raise ProjectError(
            f"{file}: {named.key} names {named.path}, a folder of this machine. Nothing was changed. Fix: write a path "
            "relative to the compose file"
        )


def _paths(document: ComposeFile) -> Iterator[_Named]:
    """The paths of a compose file that start from its folder, and the folders that images are built from."""
    for service, spec in services_of(document):
        where = f"services.{service}"
        build = spec.get("build")
        context = build.get("context") if isinstance(build, Mapping) else build
        if isinstance(context, str) and not ("://" in context or context.startswith("git@")):
            yield _Named(f"{where}.build", context)
        for key in ("env_file", "label_file"):
            given = spec.get(key)
            for one in given if isinstance(given, list) else [given]:
                path = one.get("path") if isinstance(one, Mapping) else one
                if isinstance(path, str):
                    yield _Named(f"{where}.{key}", path)
        volumes = spec.get("volumes")
        for one in volumes if isinstance(volumes, list) else ():
            path = one.get("source") if isinstance(one, Mapping) else str(one).partition(":")[0]
            if isinstance(path, str) and path.startswith("."):
                yield _Named(f"{where}.volumes", path)
    for kind in ("configs", "secrets"):
        entries = document.get(kind)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            path = entry.get("file") if isinstance(entry, Mapping) else None
            if isinstance(path, str):
                yield _Named(f"{kind}.{name}.file", path)
