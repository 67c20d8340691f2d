# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files of an app and of its host are not as they were put there: looked at often, for little.

The desired state is what is recorded anyway: the last good release, the history of the env, what the last run of
`compose_files` wrote, and the record of the roles' configuration files. A file whose status is the same is not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.app_paths import AppPaths
from ..core.fingerprint import FINGERPRINT_HEX, fingerprint
from ..docker import project_layout
from ..env import history as env_history
from ..host import desired_files
from ..host.desired_files import DesiredFile, Record
from ..releases import store as release_store

MOST_FILES = 500
"""More than these are not watched; that is said."""
FILES_A_LOOK, BYTES_A_LOOK = 250, 1 << 20
"""How much one look reads at most. A larger file is read in parts, and only after its status has changed."""
SETTLE_SECONDS = 30.0
"""A large file that changes each time before it was read through is reported after so long."""

_Stamp = tuple[int, ...]
_ABSENT = DesiredFile("", "", "")
_CHANGING = "keeps changing"


class Difference(NamedTuple):
    """What is different about a file, and when that was done (epoch s)."""

    what: str
    at: float


class _Part(NamedTuple):
    """A large file that is being read: its status then, how far, and the digest so far."""

    stamp: _Stamp
    offset: int
    digest: Any


class WatchedFiles:
    """The files of one app and, for one watcher of the host, of the host: with many apps these are many.

    :arg reports_host: whether this watcher is the one that looks at the files of the host; asked at each look.
    :arg suspects: the files that the watcher before has reported: a large one among them is read again.
    """

    def __init__(self, paths: AppPaths, reports_host: Callable[[], bool], suspects: Iterable[str] = ()) -> None:
        self.paths, self._reports_host, self._suspects = paths, reports_host, frozenset(suspects)
        self.problem = ""
        release = os.path.join(release_store.folder(paths.directory), release_store.LAST_GOOD)
        self._record_path = desired_files.record_path(paths.root)
        self._sources = (
            self._record_path,
            os.path.join(release, "release.json"),
            paths.written,
            os.path.join(paths.history, "index.json"),
        )
        self._link = release
        self._source_stamps: tuple[_Stamp | None, ...] | None = None
        self._looks_at_host = self._had_record = False
        self._wanted: dict[str, tuple[DesiredFile, ...]] = {}
        self._folders: dict[str, tuple[_Stamp | None, tuple[str, ...]]] = {}
        self._stamps: dict[str, _Stamp | None] = {}
        self._contents: dict[str, str] = {}
        self._differs: dict[str, str] = {}
        # What has to be read, and since when (monotonic s).
        self._queue: dict[str, float] = {}
        self._parts: dict[str, _Part] = {}

    @property
    def unread(self) -> frozenset[str]:
        """The files that were not read yet since they changed."""
        return frozenset(self._queue)

    def look(self, now: float, wall: float) -> dict[str, Difference]:
        """Return what differs, by path. A file that could not be read yet is as it was."""
        # Only what may be different since the last look is compared: there may be hundreds.
        again = set(self._wanted) if self._renew() else set()
        for path in self._wanted:
            stamp = _stamp(path)
            if path not in self._stamps or stamp != self._stamps[path]:
                self._see(path, stamp, now)
                again.add(path)
        again.update(self._queue)
        self._read_queue(now)
        for path in again:
            self._differs[path] = self._compared(path, self._wanted[path])
        differs = {path: what for path, what in self._differs.items() if what}
        found = {path: Difference(what, _changed_at(path, self._stamps[path], wall)) for path, what in differs.items()}
        found.update({path: Difference("is new", _changed_at(path, _stamp(path), wall)) for path in self._added()})
        return found

    # --- what is desired ---------------------------------------------------------------------------------------------

    def _renew(self) -> bool:
        """Read again what is desired, when a source was written or another watcher took over; whether it was read."""
        of_host = self._reports_host()
        stamps = (_stamp(self._link), *(_stamp(path, follow=True) for path in self._sources))
        if (of_host, stamps) == (self._looks_at_host, self._source_stamps):
            return False
        self._looks_at_host, self._source_stamps = of_host, stamps
        record, problem = self._read_record() if of_host else (Record(), "")
        count = self._want({**self._of_release(), **self._of_env()}, record)
        too_many = f"of {count} files, {MOST_FILES} are watched for changes by hand; drift.yml compares all"
        self.problem = "; ".join(filter(None, (problem, too_many if count > MOST_FILES else "")))
        return True

    def _read_record(self) -> tuple[Record, str]:
        """The record of the host's files, and what is wrong with it."""
        record, problem = Record(), ""
        try:
            found = desired_files.read(self.paths.root)
            if found is not None:
                record, self._had_record = found, True
            elif self._had_record:
                problem = f"{self._record_path} was removed: {desired_files.FIX}"
        except desired_files.RecordError as error:
            problem = str(error)
        if problem:
            problem += ". Until then, changes by hand of the host's files are not noticed"
        return record, problem

    def _want(self, of_app: Mapping[str, tuple[DesiredFile, ...]], record: Record) -> int:
        """Watch these files, and no others; return how many there are, of which the last are left out."""
        of_host = {self._here(path): (one,) for path, one in record.files.items()}
        every = {**of_app, **{path: one for path, one in of_host.items() if path not in of_app}}
        self._wanted = dict(list(every.items())[:MOST_FILES])
        self._recorded = frozenset(of_host)
        self._folders = {self._here(folder): (None, ()) for folder in record.folders}
        # All are compared again.
        self._differs = {}
        self._stamps = {path: one for path, one in self._stamps.items() if path in self._wanted}
        self._contents = {path: one for path, one in self._contents.items() if path in self._wanted}
        self._queue = {path: one for path, one in self._queue.items() if path in self._wanted}
        self._parts = {path: one for path, one in self._parts.items() if path in self._wanted}
        return len(every)

    def _here(self, path: str) -> str:
        return os.path.join(self.paths.root, path.lstrip("/"))

    def _of_release(self) -> dict[str, tuple[DesiredFile, ...]]:
        """The files of the project: as the last good release has them, or as a deploy that comes next will."""
        directory = self.paths.directory
        good = release_store.last_good(directory)
        if good is None:
            return {}
        kept = release_store.files_of(directory, str(good["id"]))
        layout = project_layout.recorded(kept) or project_layout.Layout(())
        written = _read_marks(self.paths.written)
        found = {}
        for name, mark in good["files"].items():
            if not project_layout.is_inside(name) or name in layout.local or _is_data(name, layout.data):
                continue
            # What the newer project no longer names was removed with it.
            marks = dict.fromkeys((str(mark), written.get(name, "") if written else str(mark)))
            found[os.path.join(directory, name)] = tuple(map(_desired, marks))
        return found

    def _of_env(self) -> dict[str, tuple[DesiredFile, ...]]:
        """The env: the newest that a run or a remedy has written, or the one that the release serves with."""
        good = release_store.last_good(self.paths.directory)
        if good is None:
            return {}
        written = [one["fingerprint"] for one in env_history.versions(self.paths.history) if one["why"] != "found"]
        marks = [mark for mark in (*written[-1:], str(good["env"])) if mark.startswith("sha256:")]
        # Without a history, another program writes it.
        mode = f"{env_history.MODE:04o}" if written else ""
        wanted = tuple(DesiredFile(mark, mode, "") for mark in dict.fromkeys(marks))
        return {self.paths.env: wanted} if wanted else {}

    # --- what is there -----------------------------------------------------------------------------------------------

    def _added(self) -> list[str]:
        """The drop-ins that no role has written, and that were not there when one ran last."""
        added = []
        for folder, (before, names) in self._folders.items():
            stamp = _stamp(folder, follow=True)
            if stamp != before:
                names = tuple(desired_files.dropins(folder))
                self._folders[folder] = (stamp, names)
            added += [path for name in names if (path := os.path.join(folder, name)) not in self._recorded]
        return added

    def _see(self, path: str, stamp: _Stamp | None, now: float) -> None:
        is_first = path not in self._stamps
        self._stamps[path] = stamp
        if stamp is None:
            self._contents[path] = ""
            self._queue.pop(path, None)
        elif is_first and stamp[_SIZE] > BYTES_A_LOOK and path not in self._suspects:
            # Each watcher would read it, four times an hour; `drift.yml` compares it.
            return
        else:
            self._queue.setdefault(path, now)

    def _read_queue(self, now: float) -> None:
        """Read what has changed: small files up to the limit of a look, and a part of a large one."""
        left = BYTES_A_LOOK
        small = [path for path in self._queue if self._size_of(path) <= BYTES_A_LOOK][:FILES_A_LOOK]
        large = [path for path in self._queue if self._size_of(path) > BYTES_A_LOOK][:1]
        for path in (*small, *large):
            if path in large or self._size_of(path) <= left:
                left -= self._read(path, now)

    def _size_of(self, path: str) -> int:
        stamp = self._stamps[path]
        return stamp[_SIZE] if stamp else 0

    def _read(self, path: str, now: float) -> int:
        """Read a file, or the next part of a large one; how many bytes that were."""
        stamp = self._stamps[path]
        if stamp is None:
            return 0
        try:
            if stat.S_ISREG(stamp[_MODE]):
                return self._read_part(path, stamp, now)
            is_link = stat.S_ISLNK(stamp[_MODE])
            self._contents[path] = f"link {fingerprint(os.readlink(path))}" if is_link else "not a file"
        except OSError:
            self._contents[path] = "unreadable"
        del self._queue[path]
        return 0

    def _read_part(self, path: str, stamp: _Stamp, now: float) -> int:
        part = self._parts.pop(path, None)
        if part and part.stamp != stamp:
            if now - self._queue[path] >= SETTLE_SECONDS:
                self._contents[path] = _CHANGING
            part = None
        part = part or _Part(stamp, 0, hashlib.sha256())
        # There may be a pipe in its place by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            content = os.pread(descriptor, BYTES_A_LOOK, part.offset)
        finally:
            os.close(descriptor)
        part.digest.update(content)
        if len(content) == BYTES_A_LOOK:
            self._parts[path] = part._replace(offset=part.offset + len(content))
        else:
            self._contents[path] = f"sha256:{part.digest.hexdigest()[:FINGERPRINT_HEX]}"
            del self._queue[path]
        return len(content)

    def _compared(self, path: str, wanted: Sequence[DesiredFile]) -> str:
        stamp, content = self._stamps[path], self._contents.get(path)
        if stamp is None:
            return difference(_ABSENT, wanted)
        # What was not read yet is not judged, but for what its status says.
        if path in self._queue and content != _CHANGING:
            content = None
        mode, owner = f"{stat.S_IMODE(stamp[_MODE]):04o}", f"{stamp[_MODE + 1]}:{stamp[_MODE + 2]}"
        return difference(DesiredFile(wanted[0].content if content is None else content, mode, owner), wanted)


def difference(found: DesiredFile, wanted: Sequence[DesiredFile]) -> str:
    """Say what is different about a file from each of what it may be, by the nearest of them; "" for nothing."""
    if any(_differing(found, one) == [] for one in wanted):
        return ""
    nearest = next((one for one in wanted if one.content == found.content), wanted[0])
    if not found.content:
        return "is gone"
    if not nearest.content:
        return "is new"
    if found.content == _CHANGING:
        return _CHANGING
    return ", ".join(_differing(found, nearest))


def _differing(found: DesiredFile, wanted: DesiredFile) -> list[str]:
    said = ["other content"] if found.content != wanted.content else []
    pairs = (("mode", found.mode, wanted.mode), ("owner", found.owner, wanted.owner))
    return said + [f"{name} {is_} instead of {should}" for name, is_, should in pairs if should and is_ != should]


def _desired(mark: str) -> DesiredFile:
    """What a release's mark of a file says; see `project_files.mark`."""
    content, _unused, mode = mark.rpartition(" ")
    return DesiredFile(content, mode, "") if content.startswith("sha256:") else DesiredFile(mark, "", "")


def _is_data(name: str, data: Iterable[str]) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in data)


def _read_marks(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): str(mark) for name, mark in found.items()} if isinstance(found, dict) else {}


# In a stamp: size, mode, and after it the owner and the group.
_SIZE, _MODE = 3, 4


def _stamp(path: str, follow: bool = False) -> _Stamp | None:
    """What the kernel says of a path; None for nothing there."""
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except OSError:
        return None
    return (
        *(found.st_mtime_ns, found.st_ctime_ns, found.st_ino),
        *(found.st_size, found.st_mode, found.st_uid, found.st_gid),
    )


def _changed_at(path: str, stamp: _Stamp | None, wall: float) -> float:
    """When a file was changed; of one that is gone, when its folder was."""
    if stamp is not None:
        return stamp[1] / 1e9
    with contextlib.suppress(OSError):
        return os.stat(os.path.dirname(path)).st_ctime
    return wall
