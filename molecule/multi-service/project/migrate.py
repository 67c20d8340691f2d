# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits for the database, then applies the new files of migrations/, each in a transaction."""

import time
from pathlib import Path
from typing import Any

import psycopg2
import store


def connected(deadline: float) -> Any:
    """A connection, tried each 0.5 s until time.monotonic() passes the deadline; then psycopg2.OperationalError."""
    while True:
        try:
            return store.database()
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


database = connected(time.monotonic() + 60)
for path in sorted(Path("migrations").glob("*.sql")):
    with database, database.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, at timestamptz DEFAULT now())")
        cursor.execute("INSERT INTO migrations (name) VALUES (%s) ON CONFLICT DO NOTHING", (path.name,))
        if cursor.rowcount:
            print(f"applying {path.name}", flush=True)
            cursor.execute(path.read_text(encoding="utf-8"))
