# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SQLite databases among an app's files: found by their header, copied as of one moment, and checked.

A copy of the file alone is torn when the app writes meanwhile, or misses what is still in the `-wal` file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import Callable, NamedTuple

# https://www.sqlite.org/fileformat.html, "The Database Header".
_HEADER = b"SQLite format 3\0"
# Files that belong to a database; a copy of it includes their content.
_COMPANIONS = ("-wal", "-shm", "-journal")
# SQLITE_BUSY and SQLITE_LOCKED, https://www.sqlite.org/rescode.html; Python names them from 3.11 on.
_HELD = (5, 6)
# Another program may hold an exclusive lock.
TRIES, BUSY_SECONDS, PAUSE_SECONDS = 3, 5.0, 2.0


class Content(NamedTuple):
    """What a database holds; `problem` says why it is damaged, "" when it is not."""

    problem: str
    tables: int
    rows: int


def find(roots: Iterable[str]) -> list[str]:
    """The SQLite databases below folders, without following links."""
    found: set[str] = set()
    for root in roots:
        for folder, _unused, names in os.walk(root):
            found.update(path for path in (os.path.join(folder, name) for name in names) if _is_database(path))
    return sorted(found)


def files(path: str) -> list[str]:
    """All files of a database."""
    return [path, *(path + suffix for suffix in _COMPANIONS)]


def _is_database(path: str) -> bool:
    # A file may vanish meanwhile.
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as stream:
                return stream.read(len(_HEADER)) == _HEADER
    return False


def copy(path: str, target: str, sleep: Callable[[float], None]) -> str:
    """Copy a database as of one moment; why that failed, "" when it did not. A copy that failed is removed."""
    try:
        import sqlite3
    except ImportError:
        return "this host's Python has no module sqlite3"
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            sleep(PAUSE_SECONDS)
        try:
            _copy(path, target)
            return ""
        except (sqlite3.Error, OSError) as error:
            reason = str(error)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        if not any(word in reason for word in ("locked", "busy")):
            break
    return reason


def _copy(path: str, target: str) -> None:
    import sqlite3

    # Read-only: opening it must not write pending pages.
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(sqlite3.connect(_uri(path), uri=True, timeout=BUSY_SECONDS)))
        made = opened.enter_context(contextlib.closing(sqlite3.connect(target)))
        # In one step: in several, each write of the app would restart it.
        source.backup(made, progress=_end_when_held)


def _end_when_held(status: int, _remaining: int, _total: int) -> None:
    """Raise when another program holds the database: `Connection.backup` itself would try again for ever."""
    import sqlite3

    if status in _HELD:
        raise sqlite3.OperationalError("database is locked")


def _uri(path: str) -> str:
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?mode=ro"


def check(path: str) -> Content:
    """Have SQLite check a database that no other program uses, and count what it holds."""
    try:
        import sqlite3
    except ImportError:
        return Content("this host's Python has no module sqlite3", 0, 0)
    try:
        with contextlib.closing(sqlite3.connect(_uri(path) + "&immutable=1", uri=True)) as database:
            said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(1)")]
            if said != ["ok"]:
                return Content(f"integrity_check says: {said[0][:200]}", 0, 0)
            listed = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
            )
            names = [str(row[0]).replace('"', '""') for row in listed]
            counts = [int(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in names]
    except sqlite3.Error as error:
        return Content(str(error), 0, 0)
    return Content("", len(counts), sum(counts))
