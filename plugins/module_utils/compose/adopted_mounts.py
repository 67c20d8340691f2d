# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bind mounts of a project that was started by hand: which are files of the project, which are data. Pure.

Files of the project are copied with it. Data stays where it is on the host: a compose file on top of the user's own
names its place by an absolute path, as a relative one starts from another folder after the app was taken over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..docker.model import Services
from .project_parts import covers, relative

FILE = "compose.adopted.yaml"
MARK = "# Written by adopt"
_LARGEST_FOLDER, _LARGEST_FILE = 20 << 20, 1 << 20


class Bind(NamedTuple):
    """A bind mount whose source is in the project; `name` is relative, `spec` is the mount in the merged model."""

    service: str
    name: str
    source: str
    writable: bool
    spec: Mapping[str, object]


class There(NamedTuple):
    """What is at the source of a bind mount: file, folder or other; bytes; its last change in epoch seconds.

    `is_text`: it is UTF-8 without a NUL byte; asked of a file only. `is_private`: a user that is not root owns it, or a
    file of it, and not all may read that: the app could not read a copy, which root owns.
    """

    kind: str
    size: int
    changed: float
    is_text: bool = False
    is_private: bool = False


class Held(NamedTuple):
    """A file of a config or a secret that stays where it is; `kind` is the key of the compose file."""

    kind: str
    name: str
    source: str


def binds(services: Services, top: str) -> list[Bind]:
    """Read the bind mounts of a merged model whose sources are in the project, by service."""
    found = []
    for service, spec in sorted(services.items()):
        for mount in spec.get("volumes") or []:
            if mount.get("type") != "bind":
                continue
            source = str(mount.get("source", ""))
            name = relative(source, top)
            if name is not None:
                found.append(Bind(service, name, source, not mount.get("read_only"), mount))
    return found


def data(found: Sequence[Bind], there: Mapping[str, There], created: Mapping[str, float]) -> list[Bind]:
    """Return the mounts that stay where they are.

    A place that any service writes is data for all. Not data: what is mounted read-only and is small, and a small text
    that has not changed since the containers that mount it were created, such as a configuration without `:ro`. What is
    private stays in any case.

    :arg there: what is at each name.
    :arg created: when the oldest container of each service was created, in epoch seconds.
    """
    written = {one.name for one in found if one.writable and not _is_configuration(one, there[one.name], created)}
    names = {one.name for one in found}
    kept = {name for name in names if _is_large(there[name]) or there[name].is_private} | written
    # A folder that holds data is seen whole by each service that mounts it.
    kept |= {name for name in names for other in written if covers(name, other) or covers(other, name)}
    return [one for one in found if one.name in kept]


def _is_configuration(bind: Bind, there: There, created: Mapping[str, float]) -> bool:
    is_old = there.changed < created.get(bind.service, 0.0)
    return there.kind == "file" and there.is_text and there.size <= _LARGEST_FILE and is_old


def _is_large(there: There) -> bool:
    return there.kind == "other" or there.size > _LARGEST_FOLDER


def render(app: str, folder: str, kept: Iterable[Bind], held: Sequence[Held] = ()) -> str:
    """The compose file that names the data by absolute paths; "" when there is none."""
    by_service: dict[str, list[Bind]] = {}
    for one in kept:
        by_service.setdefault(one.service, []).append(one)
    if not by_service and not held:
        return ""
    lines = [
        f"{MARK}: data of {app} that stays where it is on the server, below {folder}.",
        "# To move a place: stop the app, copy the folder below the app's directory, remove its line here, deploy.",
    ]
    lines += ["services:"] if by_service else []
    for service, places in by_service.items():
        lines += [f"  {json.dumps(service)}:", "    volumes:"]
        lines += [f"      - {_escaped(json.dumps(one.spec, ensure_ascii=False))}" for one in places]
    for kind in sorted({one.kind for one in held}):
        lines.append(f"{kind}:")
        lines += [
            f"  {json.dumps(one.name)}: {_escaped(json.dumps({'file': one.source}, ensure_ascii=False))}"
            for one in held
            if one.kind == kind
        ]
    return "\n".join(lines) + "\n"


def folder_of(text: str) -> str:
    """Return the folder whose data stays, as the first line of a file that `render` made says; "" for another file."""
    first = text.partition("\n")[0]
    return first.rpartition(", below ")[2].rstrip(".") if first.startswith(f"{MARK}: ") else ""


def _escaped(text: str) -> str:
    return text.replace("$", "$$")
