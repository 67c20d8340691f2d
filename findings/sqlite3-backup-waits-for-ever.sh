#!/usr/bin/env bash
# Python's sqlite3: Connection.backup() never gives up on a database that another connection holds. `timeout` of connect() says how long
# one step waits for a lock; one would expect OperationalError "database is locked" after it, as from every other call. But backup() tries
# SQLITE_BUSY and SQLITE_LOCKED again for ever, each time after `sleep` (0.25 s). Only an exception from `progress` ends it.
# Seen with Python 3.11.7 and SQLite 3.40.1: five steps in 2 s, each with status 5 (SQLITE_BUSY), no exception of its own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 30 python3 - <<'END'
import sqlite3
import sys

held = sqlite3.connect("app.db", isolation_level=None)
held.execute("CREATE TABLE t (x)")
held.execute("BEGIN EXCLUSIVE")

reader = sqlite3.connect("app.db", timeout=0.1)
try:
    reader.execute("SELECT * FROM t")
    sys.exit("a read did not fail while the database was held")
except sqlite3.OperationalError as error:
    assert "locked" in str(error), error

seen = []


def progress(status, _remaining, _total):
    seen.append(status)
    if len(seen) == 5:
        raise TimeoutError


try:
    reader.backup(sqlite3.connect("copy.db"), progress=progress)
    sys.exit("the backup ended")
except TimeoutError:
    pass
except sqlite3.OperationalError as error:
    sys.exit(f"the backup gave up by itself: {error}")
print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}: {len(seen)} steps, each with status {set(seen)}")
assert set(seen) == {5}, seen
END
