# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The record of the configuration files that roles have written on this host, by which a change by hand is noticed.

What writes such a file records it before, holding a lock: no run of a playbook, whole, with tags or killed, can make a
difference that is not a person's. Of a content there is a fingerprint.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.files import NoFile, atomic_write, read_small, readable
from ..core.fingerprint import fingerprint
from ..core.locks import LockHeld, hold_lock

ROOTS = ("/etc/", "/usr/local/", "/usr/share/bash-completion/", "/var/lib/selfheal-tunnel/")
"""Where roles write configuration files. A record with another path was not written by them."""

UNITS = "/etc/systemd/system/"
_RECORD, _LOCK = "var/lib/selfheal/desired_files.json", "var/lib/selfheal/desired_files.lock"
LOCK_SECONDS = 30.0
FIX = "run christmas.selfheal.site, which writes it again"
# The engine's units are its package's, so no unit file of a role says that their drop-ins belong to it.
_DROPINS = {"/etc/docker/daemon.json": tuple(f"{UNITS}{name}.d" for name in ("docker.service", "containerd.service"))}
_UNIT = re.compile(rf"{UNITS}[^/]+\.(?:service|socket|timer|path)")
_DROPIN = re.compile(rf"({UNITS}[^/]+\.d)/[^/]+")
_SHAPES = {"content": "(?:link )?sha256:[0-9a-f]{12}", "mode": "[0-7]{4}", "owner": "[0-9]+:[0-9]+"}


class DesiredFile(NamedTuple):
    """How a file has to be: the fingerprint of its content, its mode in octal, `uid:gid`."""

    content: str
    mode: str
    owner: str


class Record(NamedTuple):
    """The files by path, and the folders of drop-ins in which any other file was added by hand."""

    files: Mapping[str, DesiredFile] = {}
    folders: frozenset[str] = frozenset()


class Wanted(NamedTuple):
    """A file that a role is about to write; None for one that it removes."""

    path: str
    content: bytes | None
    mode: int = 0


class RecordError(Exception):
    """The record cannot be used; the message names it, what is wrong, and the fix."""


def record_path(root: str = "/") -> str:
    """The path of the record."""
    return os.path.join(root, _RECORD)


def lock_path(root: str = "/") -> str:
    """The lock that is held while such files are written."""
    return os.path.join(root, _LOCK)


def read(root: str = "/") -> Record | None:
    """The record, None without one. Raises RecordError for one that is damaged, or names what no role writes."""
    path = record_path(root)
    try:
        content = read_small(path)
        return None if content is None else _parsed(json.loads(content))
    except _Wrong as wrong:
        raise RecordError(f"{path}: {wrong}: {FIX}") from None
    except NoFile as problem:
        raise RecordError(f"{problem}; then {FIX}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path} cannot be read ({type(error).__name__}): {FIX}") from None


class _Wrong(Exception):
    """What is wrong in a record."""


def _parsed(found: Any) -> Record:
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise _Wrong("`files` is missing or of the wrong type")
    if not isinstance(found.get("folders"), list):
        raise _Wrong("`folders` is missing or of the wrong type")
    for path in found["folders"]:
        _check_path(path, (UNITS,))
    return Record({path: _file(path, one) for path, one in found["files"].items()}, frozenset(found["folders"]))


def _file(path: str, found: Any) -> DesiredFile:
    _check_path(path, ROOTS)
    for key, shape in _SHAPES.items():
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            raise _Wrong(f"`{key}` of {path!r} is not valid")
    return DesiredFile(found["content"], found["mode"], found["owner"])


def _check_path(path: object, roots: tuple[str, ...]) -> None:
    if not isinstance(path, str) or not path.startswith(roots) or os.path.normpath(path) != path:
        raise _Wrong(f"{path!r} is not a path that a role writes")


@contextlib.contextmanager
def writing(wanted: Iterable[Wanted], root: str = "/") -> Iterator[None]:
    """Record files, then let the ``with`` block write them. Raises LockHeld, OSError: then none was written."""
    ours = [one for one in wanted if _is_ours(one.path)]
    if not ours:
        yield
        return
    with hold_lock(lock_path(root), LOCK_SECONDS, "write configuration files"):
        _save(_with(_kept(root), ours, root), root)
        yield


def forget(paths: Iterable[str], root: str = "/") -> None:
    """Take files and folders, and all below them, out of the record. Raises LockHeld, OSError."""
    gone = tuple(paths)
    if not os.path.lexists(record_path(root)):
        return
    with hold_lock(lock_path(root), LOCK_SECONDS, "forget configuration files"):
        before = _kept(root)
        below = tuple(f"{path}/" for path in gone)
        files = {path: one for path, one in before.files.items() if path not in gone and not path.startswith(below)}
        used = {folder for path in files for folder in _dropins(path)}
        folders = frozenset(one for one in before.folders if one not in gone and one in used)
        _save(Record(files, folders), root)


def follow(path: str, root: str = "/") -> None:
    """A remedy has replaced a file, or removed it: where it is recorded, it is recorded as it is now, if possible."""
    if not os.path.lexists(record_path(root)):
        return
    with contextlib.suppress(OSError, LockHeld), hold_lock(lock_path(root), 1.0, "record a configuration file"):
        record = _kept(root)
        if path in record.files:
            found = _found(path, root)
            others = {name: one for name, one in record.files.items() if name != path}
            _save(record._replace(files={**others, path: found} if found else others), root)


def _kept(root: str) -> Record:
    """The record; an empty one in place of one that cannot be used."""
    with contextlib.suppress(RecordError):
        return read(root) or Record()
    return Record()


def _save(record: Record, root: str) -> None:
    files = {path: one._asdict() for path, one in record.files.items()}
    said = {"files": files, "folders": sorted(record.folders)}
    text = (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()
    path = record_path(root)
    if text != readable(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic_write(path, text)


def _is_ours(path: str) -> bool:
    return path.startswith(ROOTS) and os.path.normpath(path) == path


def _with(before: Record, wanted: Sequence[Wanted], root: str) -> Record:
    files, folders = dict(before.files), set(before.folders)
    for one in wanted:
        if one.content is None:
            files.pop(one.path, None)
            continue
        files[one.path] = DesiredFile(fingerprint(one.content), f"{one.mode:04o}", _owner(_below(root, one.path)))
        folders.update(_dropins(one.path))
    written = {one.path for one in wanted}
    # A role has run, so what else is there now was accepted, such as a proxy of the engine.
    for folder in {folder for path in written for folder in _dropins(path)}:
        there = {os.path.join(folder, name) for name in dropins(folder, root)}
        before_it = {path for path in files if os.path.dirname(path) == folder}
        for path in (there | before_it) - written:
            found = _found(path, root)
            files.pop(path, None)
            files.update({path: found} if found else {})
    return Record(files, frozenset(folders))


def _dropins(path: str) -> tuple[str, ...]:
    """The folders of drop-ins that belong to a file of a role."""
    if path in _DROPINS:
        return _DROPINS[path]
    if _UNIT.fullmatch(path):
        return (f"{path}.d",)
    found = _DROPIN.fullmatch(path)
    return (found[1],) if found else ()


def dropins(folder: str, root: str = "/") -> list[str]:
    """The names of the files in a folder that systemd reads."""
    try:
        return sorted(name for name in os.listdir(_below(root, folder)) if name.endswith(".conf"))
    except OSError:
        return []


def _found(path: str, root: str) -> DesiredFile | None:
    """A file or a link as it is now; None for none, and for one that cannot be read."""
    here = _below(root, path)
    try:
        status = os.lstat(here)
        is_link = stat.S_ISLNK(status.st_mode)
        content = None if is_link else read_small(here)
        mark = f"link {fingerprint(os.readlink(here))}" if is_link else fingerprint(content or b"")
    except (NoFile, OSError):
        return None
    return DesiredFile(mark, f"{stat.S_IMODE(status.st_mode):04o}", f"{status.st_uid}:{status.st_gid}")


def _owner(path: str) -> str:
    """The owner that a file has, or will have: one that is replaced keeps its own."""
    try:
        status = os.lstat(path)
    except OSError:
        # A folder may hand its group down.
        with contextlib.suppress(OSError):
            folder = os.stat(os.path.dirname(path))
            if folder.st_mode & stat.S_ISGID:
                return f"{os.geteuid()}:{folder.st_gid}"
        return f"{os.geteuid()}:{os.getegid()}"
    return f"{status.st_uid}:{status.st_gid}"


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
