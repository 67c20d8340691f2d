# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a merged model says of the files in its project: which services read them, which write them. Pure.

A folder that a service mounts writable is data, unless the inventory calls it configuration. Where folders are within
each other, the deepest one decides.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..docker.model import Model, Services, Spec
from ..env import dotenv


class Mount(NamedTuple):
    """A bind mount of a service whose source is in the project; `name` is relative, "." for the whole of it."""

    service: str
    name: str
    target: str
    writable: bool


class EnvFile(NamedTuple):
    """A file that a service names under `env_file` or `label_file`."""

    service: str
    key: str
    name: str
    required: bool


class Parts(NamedTuple):
    """What the model names. `read` is {service: names of its configs and secrets}; `outside` are sentences.

    `contexts` are the folders that images are built from.
    """

    mounts: tuple[Mount, ...]
    env_files: tuple[EnvFile, ...]
    read: Mapping[str, Sequence[str]]
    dockerfiles: tuple[str, ...]
    outside: tuple[str, ...]
    contexts: tuple[str, ...] = ()

    def explicit(self) -> set[str]:
        """The files that are named one by one, and are not mounts."""
        read = {name for names in self.read.values() for name in names}
        return {*read, *self.dockerfiles, *(one.name for one in self.env_files)}

    def is_narrow(self, name: str) -> bool:
        """Whether a file's mode is the user's: it may hold a secret, and no image is built from it."""
        if name in self.dockerfiles:
            return False
        over = deepest(self.mounts, name)
        # What is mounted read-only with its folder, any user in the container may have to read.
        is_mounted = over is not None and over.name != "." and (over.writable or over.name == name)
        return is_mounted or name in self.explicit() or posixpath.basename(name) == ".env"

    def is_env(self, name: str) -> bool:
        """Whether only Compose reads a file, as root: it is an `env_file`, and no container and no image has it."""
        read = {one for names in self.read.values() for one in names}
        if name in read or name in self.dockerfiles or deepest(self.mounts, name):
            return False
        if any(covers(context, name) for context in self.contexts):
            return False
        return any(one.name == name and one.key == "env_file" for one in self.env_files)


def covers(folder: str, name: str) -> bool:
    """Whether a file is this one, or below this folder."""
    return folder in (".", name) or name.startswith(f"{folder}/")


def deepest(mounts: Iterable[Mount], name: str) -> Mount | None:
    """The mount that decides over a file: the deepest, and of two alike one that is writable."""
    found = [mount for mount in mounts if covers(mount.name, name)]
    return max(found, key=lambda mount: (mount.name != ".", len(mount.name), mount.writable), default=None)


def is_configuration(name: str, configuration: Sequence[str]) -> bool:
    """Whether the inventory calls a file, or a folder above it, configuration."""
    return any(covers(folder, name) for folder in configuration)


def find(model: Model, written: Model, top: str, env: Mapping[str, str]) -> Parts:
    """Find what a project's model names.

    :arg model: the merged model, all profiles.
    :arg written: the same before interpolation, which alone says of env files.
    :arg top: the folder that the project is in; above it only the host's own paths may be.
    :arg env: the values for what is not interpolated yet.
    """
    services: Services = model.get("services") or {}
    mounts, outside = [], []
    for service, spec in sorted(services.items()):
        for volume in spec.get("volumes") or []:
            if not isinstance(volume, Mapping) or volume.get("type") != "bind":
                continue
            source = str(volume.get("source", ""))
            name = relative(source, top)
            if name is not None:
                mounts.append(Mount(service, name, str(volume.get("target")), not volume.get("read_only")))
            elif _above(source, top):
                outside.append(f"services.{service}.volumes mounts {_shown(source, top)}")
    builds = [(f"services.{service}.{key}", path) for service, key, path in _builds(services)]
    for key, path in [*builds, *_files(model)]:
        if _above(path, top):
            outside.append(f"{key} names {_shown(path, top)}")
    env_files = []
    for one in _env_files(written.get("services") or {}, env):
        name = relative(one.name, top)
        if name is not None:
            env_files.append(one._replace(name=name))
        elif _above(one.name, top):
            outside.append(f"services.{one.service}.{one.key} names {_shown(one.name, top)}")
    names = {key: relative(path, top) for key, path in _files(model)}
    read = {
        service: [name for key in _used(spec) if (name := names.get(key))] for service, spec in sorted(services.items())
    }
    dockerfiles = [relative(path, top) for _unused, key, path in _builds(services) if key == "build.dockerfile"]
    contexts = [relative(path, top) for _unused, key, path in _builds(services) if key != "build.dockerfile"]
    return Parts(
        tuple(mounts),
        tuple(env_files),
        {service: found for service, found in read.items() if found},
        tuple(name for name in dockerfiles if name),
        tuple(dict.fromkeys(outside)),
        tuple(name for name in contexts if name),
    )


def relative(path: str, top: str) -> str | None:
    """Return a path relative to the project; None when it is not in it."""
    path = posixpath.normpath(path)
    if path == top:
        return "."
    return path[len(top) + 1 :] if path.startswith(f"{top}/") else None


def _above(path: str, top: str) -> bool:
    """Whether this can only come from `../`: no compose file names the folder that holds the staged copy."""
    above = posixpath.dirname(top)
    return relative(path, above) is not None and relative(path, top) is None


def _shown(path: str, top: str) -> str:
    return posixpath.relpath(path, top)


def _builds(services: Services) -> Iterator[tuple[str, str, str]]:
    for service, spec in sorted(services.items()):
        build = spec.get("build") or {}
        context = str(build.get("context") or "")
        if not context.startswith("/"):
            continue
        yield service, "build.context", context
        if not build.get("dockerfile_inline"):
            path = posixpath.join(context, str(build.get("dockerfile") or "Dockerfile"))
            yield service, "build.dockerfile", posixpath.normpath(path)
        for name, other in (build.get("additional_contexts") or {}).items():
            if str(other).startswith("/"):
                yield service, f"build.additional_contexts.{name}", str(other)


def _files(model: Model) -> Iterator[tuple[str, str]]:
    for kind in ("configs", "secrets"):
        for name, entry in sorted((model.get(kind) or {}).items()):
            path = (entry or {}).get("file")
            if path:
                yield f"{kind}.{name}", str(path)


def _used(spec: Spec) -> Iterator[str]:
    for kind in ("configs", "secrets"):
        for one in spec.get(kind) or []:
            source = one.get("source") if isinstance(one, Mapping) else one
            yield f"{kind}.{source}"


def _env_files(services: Services, env: Mapping[str, str]) -> Iterator[EnvFile]:
    for service, spec in sorted(services.items()):
        for key in ("env_file", "label_file"):
            given = spec.get(key) or []
            for one in [given] if isinstance(given, str) else given:
                path = str(one.get("path", "")) if isinstance(one, Mapping) else str(one)
                required = bool(one.get("required", True)) if isinstance(one, Mapping) else True
                yield EnvFile(service, key, posixpath.normpath(dotenv.resolved(path, env)), required)
