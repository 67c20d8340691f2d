# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An SQLite database, and its commands: `ledger.py dump|load|count`."""

from __future__ import annotations

import sqlite3
import sys

FILE = "/ledger/records.db"


def connect() -> sqlite3.Connection:
    """Open or create it; each statement is a transaction of its own."""
    connection = sqlite3.connect(FILE, timeout=5.0, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def dump(connection: sqlite3.Connection) -> None:
    """Print it as of one moment."""
    connection.execute("BEGIN")
    for line in connection.iterdump():
        print(line)
    print("-- complete")


def load(connection: sqlite3.Connection) -> None:
    """Read a dump. A truncated one is refused."""
    text = sys.stdin.read()
    if not text.endswith("-- complete\n"):
        sys.exit("the dump is not complete")
    connection.executescript(text)


def count(connection: sqlite3.Connection) -> None:
    """Print how many records there are."""
    print(connection.execute("SELECT count(*) FROM records").fetchone()[0])


if __name__ == "__main__":
    {"dump": dump, "load": load, "count": count}[sys.argv[1]](connect())
