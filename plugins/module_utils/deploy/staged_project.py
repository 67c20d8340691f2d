# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put the staged copy of a project into the app's directory: all of it, or nothing.

What the app's services write is data: it is copied where the host has none of it, and never again.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Callable, NamedTuple

from ..compose import project_files
from ..compose.project_files import mark
from ..compose.project_parts import Mount, Parts, covers, deepest, is_configuration
from ..core.files import atomic_write, own
from ..docker.project_layout import HARDENED_FILE, RELEASES, Layout, is_inside
from . import data_owners
from .data_owners import Owner, Owners, User

# What is the collection's or the env's own in a project.
OURS = frozenset({".env", ".env.example", HARDENED_FILE, RELEASES})
# They keep an empty folder in a repository.
_KEEPERS = frozenset({".gitkeep", ".keep", ".gitignore"})
SHOWN = 3
# A name with one of these endings is a file's.
_FILE = re.compile(
    r"\.(?:acl|cfg|cnf|conf|crt|csv|css|db|env|hcl|html|ini|js|json|key|lua|php|pem|properties|py|rb|sh|sql|sqlite3?|toml"
    r"|ts|txt|vcl|xml|ya?ml)$"
)
_SYNC_ONE_BY_ONE = 20
_SCRATCH = ".selfheal-"


class Conflict(NamedTuple):
    """Files on the controller where a service writes, and the host has other ones."""

    service: str
    folder: str
    names: list[str]


class Change(NamedTuple):
    """A file to be written: its target, where its content is, its mode, and its mark (a fingerprint of it).

    `owner` is None for one that gets the owner of the file that it replaces; data has one of its own.
    """

    target: str
    source: str
    mode: int
    mark: str
    owner: Owner | None = None


class Folder(NamedTuple):
    """A folder of data, which gets this owner and mode; relative."""

    name: str
    owner: Owner


class Writers(NamedTuple):
    """Whom data belongs to on the controller, None when that was not read; and as whom services run."""

    owners: Owners | None = None
    users: Mapping[str, User] = MappingProxyType({})


_UNKNOWN = Writers()


class Verdict(NamedTuple):
    """What is to be done in the app's directory, relative names; `layout` is what the overlay says of it.

    `copied` is {name: mark} of all that the app's directory has of the project then, without data; `absent` are mounts
    of files that are nowhere: Docker would make folders of these names, and no service starts with those.
    """

    layout: Layout
    changes: list[Change]
    removed: list[str]
    conflicts: list[Conflict]
    notes: list[str]
    readers: Mapping[str, Sequence[str]]
    copied: Mapping[str, str]
    absent: Sequence[Mount] = ()
    folders: Sequence[Folder] = ()


class Content(NamedTuple):
    """The staged files: {name: mark that it gets in the app's directory}, and {name: mode}."""

    marks: Mapping[str, str]
    modes: Mapping[str, int]


def read(top: str, subfolder: str, parts: Parts, exact: bool) -> Content:
    """Read what is staged.

    :arg parts: whose modes stay. Env files are for root alone. Every other file is made readable for all: an image is
    built from it.
    :arg exact: every mode stays: it is that of a release.
    """
    leave = OURS | {os.path.normpath(os.path.join(subfolder, ".env"))}
    marks, modes = {}, {}
    for name in project_files.below(top, leave):
        path = os.path.join(top, name)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            # Sockets and pipes are left out; a link has no mode.
            if stat.S_ISLNK(found.st_mode):
                marks[name] = mark(path)
            continue
        mode = stat.S_IMODE(found.st_mode)
        modes[name] = mode if exact else _mode(mode, name, parts)
        marks[name] = f"{mark(path).split()[0]} {modes[name]:04o}"
    return Content(marks, modes)


def _mode(mode: int, name: str, parts: Parts) -> int:
    """Git keeps nothing of a mode but whether a file can be run, and an umask of 077 would make an image unreadable."""
    if parts.is_env(name):
        # The folder on the host is open to all, and that of the source may not have been.
        return mode & 0o700
    if parts.is_narrow(name):
        return mode & 0o755
    return 0o755 if mode & 0o111 else 0o644


def judge(
    top: str,
    directory: str,
    content: Content,
    parts: Parts,
    files: Sequence[str],
    more: Iterable[str],
    configuration: Sequence[str],
    before: Layout | None,
    is_left_out: Callable[[str], bool],
    now: int,
    copied: Mapping[str, str],
    writers: Writers = _UNKNOWN,
) -> Verdict:
    """Decide what of a staged project goes into the app's directory.

    :arg files: the compose files, in order; `more`: the files that those include or extend.
    :arg before: what the overlay in force says; None when there is none.
    :arg is_left_out: whether the inventory keeps a file from being copied.
    :arg now: in epoch seconds.
    :arg copied: {name: mark} of what was copied before, by a release that was rolled back, too.
    """
    first_data = _FirstData(top, directory, parts, writers)
    explicit = {*files, *more, *parts.explicit()}
    data, single = _data(top, directory, parts, explicit, configuration)
    named: dict[str, str] = {}
    changes: list[Change] = []
    theirs: dict[str, list[str]] = {}
    first: set[str] = set()
    for name, wanted in content.marks.items():
        there = mark(os.path.join(directory, name))
        over = deepest(parts.mounts, name)
        is_named = name in explicit or is_configuration(name, configuration)
        folder = next((one for one in data if covers(one, name)), None) if not is_named and over else None
        if folder is not None and over is not None and over.writable and name not in single:
            if _is_new(directory, folder, before):
                first.add(folder)
            else:
                if not _is_same(top, name, there, wanted):
                    theirs.setdefault(over.name, []).append(name)
                continue
        elif is_named or over is not None:
            named[name] = wanted
        if there == wanted:
            continue
        if name in single and not _is_ours(name, there, wanted, before):
            theirs.setdefault(name, []).append(name)
            continue
        change = Change(name, os.path.join(top, name), content.modes.get(name, 0), wanted)
        is_data = (name in single and not there) or folder in first
        changes.append(first_data.owned(change, folder or name) if is_data else change)
    named.update(_targets(top, named, content))
    local = {}
    for name in sorted(explicit - set(content.marks) - set(parts.dockerfiles)):
        there = mark(os.path.join(directory, name))
        if there and name not in OURS and os.path.basename(name) != ".env":
            local[name] = there
    layout = Layout(tuple(files), {**named, **local}, tuple(sorted({*data, *single})), tuple(local))
    readers = _readers(parts, layout)
    right = {change.target for change in changes if before and before.named.get(change.target) == change.mark}
    # A container may have started with what a person wrote there, and keeps it.
    again = {service: now for service, names in readers.items() if right.intersection(names)}
    known = {service: when for service, when in (before.renewed if before else {}).items() if service in readers}
    layout = layout._replace(renewed={**known, **again})
    removed, kept = _removed(directory, content, layout, before, copied, is_left_out)
    new = [one for one in data if one != "." and _is_new(directory, one, before)]
    folders = [one for top_folder in sorted(new) for one in first_data.folders(top_folder, before)]
    notes = first_data.notes(sorted(first), folders)
    notes += [f"{name} is no longer in the project; it was changed on this host, so it stays" for name in kept]
    places = (top, directory)
    gone = [one for one in parts.mounts if not any(os.path.lexists(os.path.join(at, one.name)) for at in places)]
    absent = [mount for mount in gone if _FILE.search(mount.name) or _FILE.search(mount.target)]
    missing = {mount.name: mount.service for mount in gone if mount not in absent}
    notes += [first_data.missing(name, service) for name, service in missing.items()]
    conflicts = [
        Conflict(next(one.service for one in parts.mounts if one.name == folder and one.writable), folder, names)
        for folder, names in sorted(theirs.items())
    ]
    ours = {name: wanted for name, wanted in content.marks.items() if not any(covers(one, name) for one in layout.data)}
    return Verdict(layout, changes, removed, conflicts, notes, readers, ours, absent, folders)


class _FirstData:
    """Data that the host does not have yet: whose it will be."""

    def __init__(self, top: str, directory: str, parts: Parts, writers: Writers) -> None:
        self._top, self._directory, self._parts = top, directory, parts
        self._owners, self._users = writers

    def _writer(self, folder: str) -> tuple[str, User | None]:
        services = [one.service for one in self._parts.mounts if one.name == folder and one.writable]
        return data_owners.first_user(services, self._users)

    def _owner(self, name: str, folder: str) -> Owner | None:
        found = self._owners.of(name) if self._owners else None
        if found is None or self._owners is None:
            return None
        return data_owners.given_to(found, self._owners, self._writer(folder)[1])

    def owned(self, change: Change, folder: str) -> Change:
        """The change with the owner that the file has on the controller, and in a folder of data with its mode, too."""
        change = change._replace(owner=self._owner(change.target, folder))
        # A single file is compared with its narrow mode on each deploy.
        if change.owner is None or change.target == folder or os.path.islink(change.source):
            return change
        mode = stat.S_IMODE(os.lstat(change.source).st_mode)
        return change._replace(mode=mode, mark=f"{change.mark.split()[0]} {mode:04o}")

    def folders(self, folder: str, before: Layout | None) -> list[Folder]:
        """A data folder and those below, as they are to be made; [] where the controller has none."""
        found = []
        for path, below, _names in os.walk(os.path.join(self._top, folder)):
            below[:] = sorted(name for name in below if not os.path.islink(os.path.join(path, name)))
            name = os.path.relpath(path, self._top)
            over, owner = deepest(self._parts.mounts, name), self._owner(name, folder)
            if over and over.writable and owner and not self._is_theirs(name, owner, before):
                found.append(Folder(name, owner))
        return found

    def _is_theirs(self, name: str, owner: Owner, before: Layout | None) -> bool:
        """Whether the host has the folder as it should be, or as somebody made it: an earlier deploy, or a person."""
        try:
            there = os.lstat(os.path.join(self._directory, name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        is_known = before is not None and name in before.data
        has = Owner(there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode))
        return is_known or has == owner or not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid()

    def missing(self, name: str, service: str) -> str:
        """What is said of a folder that is nowhere."""
        made = "Docker creates an empty folder there, owned by root"
        said = f"service {service} mounts {name}, which does not exist: {made}"
        user = self._users.get(service)
        if user is None or user.uid == 0:
            return said
        path = os.path.join(self._directory, name)
        command = f"mkdir -p {path} && chown {user.ids} {path}"
        return f"{said}. {service} runs as {user.ids} and cannot write there. Fix, on the host: {command}"

    def notes(self, copied: Sequence[str], folders: Sequence[Folder]) -> list[str]:
        """What is said of each data folder: those that are copied, and those that are empty."""
        owners = {one.name: one.owner for one in folders}
        tops = {one.name for one in self._parts.mounts}
        said = []
        for name in sorted({*copied, *(one for one in owners if one in tops)}):
            owner = owners.get(name)
            whose = f", for {owner.ids} with mode {owner.mode:04o}" if owner else ""
            first = f"{name} is data: it is copied now{whose}, as this host has none, and not again"
            if name not in copied:
                first = f"{name} is data, and empty: an empty folder is made now{whose}"
            path = os.path.join(self._directory, name)
            why = data_owners.problem(owner, *self._writer(name), path) if owner else ""
            said.append(f"{first}. {why}" if why else first)
        return said


def _targets(top: str, named: Iterable[str], content: Content) -> dict[str, str]:
    """The files of the project that symbolic links of the release lead to."""
    real = os.path.realpath(top)
    found = {}
    for name in named:
        path = os.path.join(top, name)
        target = os.path.relpath(os.path.realpath(path), real) if os.path.islink(path) else ""
        if target in content.marks:
            found[target] = content.marks[target]
    return found


def _readers(parts: Parts, layout: Layout) -> dict[str, list[str]]:
    """The files of the release that each service mounts."""
    found = {}
    for service in sorted({*parts.read, *(one.service for one in parts.mounts)}):
        mounted = [one.name for one in parts.mounts if one.service == service]
        names = {name for name in layout.named if any(covers(one, name) for one in mounted)}
        found[service] = sorted({*names, *(name for name in parts.read.get(service, ()) if name in layout.named)})
    return found


def _data(
    top: str, directory: str, parts: Parts, explicit: set[str], configuration: Sequence[str]
) -> tuple[list[str], set[str]]:
    """The folders that services write, the deepest first, and the single files."""
    folders, single = set(), set()
    for mount in parts.mounts:
        if not mount.writable or is_configuration(mount.name, configuration):
            continue
        is_file = os.path.isfile(os.path.join(top, mount.name)) or os.path.isfile(os.path.join(directory, mount.name))
        if is_file:
            single.add(mount.name)
        elif mount.name not in explicit:
            folders.add(mount.name)
    return sorted(folders, key=len, reverse=True), single


def _is_new(directory: str, folder: str, before: Layout | None) -> bool:
    """Whether the host has nothing of a data folder yet."""
    if folder == ".":
        return before is None
    try:
        return not os.listdir(os.path.join(directory, folder))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _is_same(top: str, name: str, there: str, wanted: str) -> bool:
    """Whether the controller's file does not conflict with the host's."""
    path = os.path.join(top, name)
    is_empty = os.path.isfile(path) and os.path.getsize(path) == 0
    return is_empty or os.path.basename(name) in _KEEPERS or (bool(there) and there.split()[0] == wanted.split()[0])


def _is_ours(name: str, there: str, wanted: str, before: Layout | None) -> bool:
    """Whether no service has written to a single file since it was copied."""
    recorded = before.named.get(name) if before else None
    return not there or there == recorded or there.split()[0] == wanted.split()[0]


def _removed(
    directory: str,
    content: Content,
    layout: Layout,
    before: Layout | None,
    copied: Mapping[str, str],
    is_left_out: Callable[[str], bool],
) -> tuple[list[str], list[str]]:
    """Files that were copied and that the project has no more: those to remove, and those that were changed since.

    One that stayed would be built into the next image.
    """
    gone = []
    known = {**copied, **(before.named if before else {})}
    for name in known:
        is_kept = name in content.marks or name in layout.named or is_left_out(name)
        is_data = any(covers(one, name) for one in layout.data)
        is_local = before is not None and name in before.local
        if not is_local and not is_kept and not is_data:
            gone.append(name)
    marks = {name: mark(os.path.join(directory, name)) for name in gone}
    same = [name for name in gone if marks[name] and marks[name] == known[name]]
    return same, [name for name in gone if marks[name] and name not in same]


def read_copied(path: str) -> dict[str, str]:
    """Return {name: mark} of what was copied before; {} without a record, or with a damaged one."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    sound = isinstance(found, dict) and all(isinstance(value, str) and is_inside(name) for name, value in found.items())
    return found if sound else {}


def record_copied(path: str, directory: str, verdict: Verdict) -> None:
    """Record what is copied, before it is: a later run removes what a killed one has left."""
    known = read_copied(path)
    there = {name: value for name, value in known.items() if os.path.lexists(os.path.join(directory, name))}
    after = {**there, **verdict.copied}
    if after == known:
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    atomic_write(path, json.dumps(after, sort_keys=True).encode())


# --- putting it in place ---------------------------------------------------------------------------------------------


class Moved(Exception):
    """A file changed after it was judged. The message names it."""


def replace(
    directory: str,
    changes: Sequence[Change],
    texts: Mapping[str, bytes],
    removed: Sequence[str],
    folders: Sequence[Folder] = (),
) -> list[str]:
    """Write files below ``directory``, and remove others: all of it, or nothing.

    Every content is on the disk before the first file is replaced: a full disk changes nothing.

    :arg texts: {name: content} of what is not staged; mode 0644, or that of the file there.
    :returns: a note for each folder of data that this file system does not give to its owner.
    :raises OSError, Moved: nothing has changed.
    """
    if not (changes or texts or removed or folders):
        return []
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for stale in glob.glob(os.path.join(glob.escape(directory), f"{_SCRATCH}*")):
        # Of a run that was killed: a run that goes on holds the lock of the app.
        shutil.rmtree(stale, ignore_errors=True)
    scratch = os.path.join(directory, f"{_SCRATCH}{secrets.token_hex(6)}")
    os.mkdir(scratch, 0o700)
    undo: list[Callable[[], None]] = []
    notes = []
    try:
        # First: its files are never in a folder that all may read.
        for folder in folders:
            notes += _make_folder(os.path.join(directory, folder.name), folder.owner, undo)
        ready = []
        for number, change in enumerate(changes):
            ready.append((_prepared(scratch, number, change, directory), change.target))
        for name, text in texts.items():
            ready.append((_written(scratch, len(ready), text, os.path.join(directory, name)), name))
        _sync([path for path, _name in ready])
        for path, name in ready:
            _exchange(path, os.path.join(directory, name), scratch, undo)
        for name in removed:
            _take_away(os.path.join(directory, name), scratch, undo)
    except BaseException:
        for back in reversed(undo):
            with contextlib.suppress(OSError):
                back()
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name in removed:
        project_files.remove(directory, name)
    return notes


def _make_folder(path: str, owner: Owner, undo: list[Callable[[], None]]) -> list[str]:
    """Make a folder with its owner and mode; [the note, when the file system knows no owners]."""
    for there, kept in project_files.make_room(os.path.join(path, "file")) if not os.path.isdir(path) else []:
        undo.append(functools.partial(os.rename, kept, there))
    before = os.stat(path)
    undo.append(functools.partial(os.chmod, path, stat.S_IMODE(before.st_mode)))
    refused = _give(path, owner)
    if not refused:
        undo.append(functools.partial(os.chown, path, before.st_uid, before.st_gid))
    os.chmod(path, owner.mode)
    return [f"{path} could not be given to {owner.ids}. Fix, on the host: chown -R {owner.ids} {path}"] * refused


def _give(path: str | int, owner: Owner) -> bool:
    """Whether the file system refuses an owner: some that come over a network keep their own."""
    try:
        os.chown(path, owner.uid, owner.gid)
    except PermissionError:
        return True
    return False


def _sync(paths: Sequence[str]) -> None:
    """Write files to the disk: one by one, or everything at once where that is less to wait for."""
    if len(paths) > _SYNC_ONE_BY_ONE:
        os.sync()
        return
    for path in paths:
        if not os.path.islink(path):
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())


def _prepared(scratch: str, number: int, change: Change, directory: str) -> str:
    path = os.path.join(scratch, str(number))
    if os.path.islink(change.source):
        os.symlink(os.readlink(change.source), path)
    else:
        with open(change.source, "rb") as given, open(path, "xb", opener=_narrow) as stream:
            own(stream.fileno(), os.path.join(directory, change.target))
            shutil.copyfileobj(given, stream, 1 << 20)
            if change.owner:
                _give(stream.fileno(), change.owner)
            os.fchmod(stream.fileno(), change.mode)
    if mark(path) != change.mark:
        raise Moved(
            f"{change.target} changed while it was read: another run copies the project. Nothing was changed. Fix: run "
            "it again when that has ended"
        )
    return path


def _narrow(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _written(scratch: str, number: int, text: bytes, target: str) -> str:
    path = os.path.join(scratch, str(number))
    with open(path, "xb", opener=_narrow) as stream:
        own(stream.fileno(), target)
        stream.write(text)
        try:
            mode = stat.S_IMODE(os.stat(target).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            mode = 0o644
        os.fchmod(stream.fileno(), mode)
    return path


def _exchange(path: str, target: str, scratch: str, undo: list[Callable[[], None]]) -> None:
    """Put a file in place; the one before is kept in ``scratch`` until all is done."""
    for there, kept in project_files.make_room(target):
        undo.append(functools.partial(os.rename, kept, there))
    if os.path.lexists(target):
        spare = f"{path}.before"
        # A second name: at no moment is there no file.
        os.link(target, spare, follow_symlinks=False)
        undo.append(lambda: os.replace(spare, target))
    else:
        undo.append(lambda: os.unlink(target))
    os.replace(path, target)


def _take_away(target: str, scratch: str, undo: list[Callable[[], None]]) -> None:
    spare = os.path.join(scratch, f"removed-{len(undo)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(target, spare)
        undo.append(lambda: os.rename(spare, target))


def link_env(directory: str, subfolder: str) -> str:
    """Make `<subfolder>/.env` lead to the app's: Compose, and `env_file: .env`, look in the project directory.

    :returns: what it replaced is kept under this name; "" when it replaced nothing.
    """
    path = os.path.join(directory, subfolder, ".env")
    wanted = os.path.relpath(os.path.join(directory, ".env"), os.path.dirname(path))
    if not subfolder or (os.path.islink(path) and os.readlink(path) == wanted):
        return ""
    kept = ""
    if os.path.lexists(path):
        kept = project_files.free_name(f"{path}.replaced")
        os.rename(path, kept)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    os.symlink(wanted, path)
    return kept
