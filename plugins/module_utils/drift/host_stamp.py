# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stamp of a host: a SHA-256 over all that the roles look at in check mode.

It makes no finding. It only says that a host is as it was when the roles compared it last, so that they need not run
again. What changes by itself is not in it: times, sessions, uptimes, what services write as data.

Not covered, and so found by the next whole comparison only:

- what depends on the clock, such as a certificate that is due;
- volumes and networks of Docker, its data folder, Swarm, and an engine or a plugin that no package brought;
- files outside the folders of the roles, such as a program that a package brought, unless it is gone; and the content
  of a file whose size, times, owner and mode are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..core.app_paths import AppPaths
from ..core.clock import Clock
from ..docker import project_layout
from ..docker.containers import Document
from ..env.read import read as read_env
from ..host import command as commands
from ..host import desired_files, docker_packages
from ..probe import run as probe
from ..recovery import config as agent_config
from ..releases import store as release_store

SECONDS = 10.0
"""That one command may take."""
UNITS = (
    *("haproxy.service", "docker.service", "docker.socket", "containerd.service", "prometheus*"),
    *("selfheal*.service", "selfheal*.socket", "selfheal*.timer", "selfheal*.path"),
)
"""What the roles start. Of these, what runs once, or ends and begins again by itself, has no state to compare."""
_COME_AND_GO = ("selfheal@", "selfheal-page.service", "selfheal-drift.service")
_STAYS = ("Id", "ActiveState", "UnitFileState")


class Known(NamedTuple):
    """What was read of the host already: the documents of all containers, and facts, which JSON can hold."""

    documents: Sequence[Document]
    facts: Mapping[str, object]


def read(paths: AppPaths, folders: Iterable[str], known: Known) -> str:
    """Return the stamp, "" where a part of it cannot be read: then nothing is known.

    :arg folders: those whose files are compared, with all below them.
    """
    try:
        seen = {
            "files": sorted(set(_files(paths, folders))),
            "units": _units(),
            "listens": _listening(),
            "containers": sorted(json.dumps(_container(one), sort_keys=True) for one in known.documents),
            "facts": known.facts,
            "app": _app(paths),
            "missing": docker_packages.missing_packages(docker_packages.PACKAGES),
        }
    except (OSError, _Unread):
        return ""
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


class _Unread(Exception):
    """A part of the stamp cannot be read."""


def _asked(*argv: str) -> list[str]:
    """The lines that a command prints; none where it is not installed. Raises _Unread."""
    asked = commands.run(argv, SECONDS)
    if asked.code not in (0, 127):
        raise _Unread(argv[0])
    return asked.out.splitlines() if asked.code == 0 else []


# --- files ---


def _files(paths: AppPaths, folders: Iterable[str]) -> Iterator[str]:
    """A line for each file and folder, with all that changes when it does. Of a folder, its times do not count."""
    for folder in folders:
        yield from _below(folder)
    yield from _listed(os.path.join(paths.root, "etc"))
    yield from _recorded(paths.root)
    yield from _project(paths)
    for path in (paths.copied, paths.written, paths.rollout, paths.restoring, paths.certificate):
        yield _line(path)
    for folder in (paths.domain, paths.history):
        yield from _below(folder)
    for folder in (paths.state, paths.incidents, paths.incoming):
        yield _line(folder)


def _project(paths: AppPaths) -> Iterator[str]:
    """The app's directory and its last good release, without what services write, and the older releases."""
    directory, layout = paths.directory, project_layout.read(paths.directory)
    releases = release_store.folder(directory)
    data = {os.path.normpath(os.path.join(directory, name)) for name in layout.data}
    yield from _below(directory, data | {releases})
    # A role compares a file that is in a folder of data and in the project, too.
    for top, _unused, names in os.walk(paths.incoming):
        below = os.path.relpath(top, paths.incoming)
        yield from (_line(os.path.normpath(os.path.join(directory, below, name))) for name in names)
    for name in layout.named:
        yield _line(os.path.join(directory, name))
    link = os.path.join(releases, release_store.LAST_GOOD)
    yield _line(link)
    yield from _below(os.path.realpath(link))


def _recorded(root: str) -> Iterator[str]:
    """The files that roles have written, and what else is in their folders."""
    yield _line(desired_files.record_path(root))
    try:
        record = desired_files.read(root) or desired_files.Record()
    except desired_files.RecordError:
        raise _Unread(desired_files.record_path(root)) from None
    here = [os.path.join(root, path.lstrip("/")) for path in record.files]
    yield from map(_line, here)
    for folder in sorted({os.path.dirname(path) for path in here}):
        yield from _listed(folder)


def _below(top: str, left_out: Collection[str] = ()) -> Iterator[str]:
    """A folder, and all that is below it."""
    yield _line(top)
    for folder, folders, names in os.walk(top):
        folders[:] = [one for one in folders if one != "__pycache__" and os.path.join(folder, one) not in left_out]
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            if path not in left_out:
                yield _line(path)


def _listed(folder: str) -> Iterator[str]:
    """What is in a folder, without what is below that."""
    yield _line(folder)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            yield _line(os.path.join(folder, name))


def _line(path: str) -> str:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{path} -"
    owner = f"{found.st_uid}:{found.st_gid} {found.st_mode:o}"
    if stat.S_ISDIR(found.st_mode):
        return f"{path} {owner}"
    return f"{path} {owner} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


# --- what runs ---


def _units() -> list[list[str]]:
    """Whether the units of the roles are active, and start at boot."""
    lines = _asked("systemctl", "show", f"--property={','.join((*_STAYS, 'Type'))}", *UNITS)
    units: list[dict[str, str]] = [{}]
    for line in lines:
        name, _unused, value = line.partition("=")
        if not line:
            units.append({})
        units[-1].update({name: value} if line else {})
    return sorted([unit.get(key, "") for key in _STAYS] for unit in units if unit and _has_state(unit))


def _has_state(unit: Mapping[str, str]) -> bool:
    return unit.get("Type") != "oneshot" and not (
        unit.get("Id", "").startswith(_COME_AND_GO) and unit.get("Id", "").endswith(".service")
    )


def _listening() -> list[str]:
    """The addresses at which something listens: a port that is taken is one that a role cannot have."""
    return sorted({line.split()[3] for line in _asked("ss", "-Hltn") if len(line.split()) > 3})


def _container(document: Document) -> dict[str, object]:
    """All of a container that stays the same while it runs. The engine lists its mounts in any order."""
    now = document.get("State") or {}
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "id": document.get("Id"),
        "name": document.get("Name"),
        "image": document.get("Image"),
        "config": document.get("Config"),
        "host": document.get("HostConfig"),
        "mounts": sorted(json.dumps(one, sort_keys=True) for one in document.get("Mounts") or []),
        "networks": sorted(networks),
        "state": now.get("Status"),
        "exit": now.get("ExitCode"),
        "health": (now.get("Health") or {}).get("Status"),
    }


def _app(paths: AppPaths) -> object:
    """Whether the app's env passes its rules, and its checks pass, as its watcher asks; None without a watcher."""
    try:
        app = agent_config.of_app(paths.name, agent_config.path_of(paths.name, paths.root), paths.root).app
    except agent_config.ConfigError:
        return None
    clock = Clock()
    env = read_env(paths, app.variables, clock.now())
    asked = probe.run_checks(app.checks, env["values"], 0.0, clock.monotonic, clock.sleep, shown=app.shown)
    return [bool(env["findings"]), bool(asked["ok"])]
