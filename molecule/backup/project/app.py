# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps numbered records. A record is acknowledged when the database, the cache, the ledger and the disk have it.

While `/tmp/paused` exists, records are refused.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import ledger
import psycopg2
import redis

FILES = "/files/records"
PAUSED = "/tmp/paused"
here = threading.local()


def database() -> Any:
    """A connection for each thread, opened again after the database was down."""
    if getattr(here, "database", None) is None or here.database.closed:
        here.database = psycopg2.connect(
            host=os.environ["DATABASE_HOST"],
            dbname="records",
            user="records",
            password=os.environ["DATABASE_PASSWORD"],
            connect_timeout=2,
        )
        here.database.autocommit = True
    return here.database


def written() -> sqlite3.Connection:
    """The ledger, for each thread."""
    if getattr(here, "ledger", None) is None:
        here.ledger = ledger.connect()
    connection: sqlite3.Connection = here.ledger
    return connection


cache = redis.Redis(host=os.environ["CACHE_HOST"], password=os.environ["REDIS_PASSWORD"], socket_timeout=2)


class Handler(BaseHTTPRequestHandler):
    """GET /health, GET /records (all of them), PUT /records/NUMBER with its text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what is asked."""
        try:
            if self.path == "/health":
                with database().cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM records")
                    count = cursor.fetchone()[0]
                self.answer(200, {"status": "ok", "records": count, "cache": cache.ping()})
            else:
                self.answer(200, self.everything())
        except (psycopg2.Error, redis.RedisError, sqlite3.Error, OSError) as error:
            self.lost(error)

    def do_PUT(self) -> None:
        """Keep a record."""
        number = int(self.path.rpartition("/")[2])
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if os.path.exists(PAUSED):
            self.answer(503, {"status": "paused"})
            return
        try:
            with database().cursor() as cursor:
                cursor.execute(
                    "INSERT INTO records VALUES (%s, %s) ON CONFLICT (number) DO UPDATE SET text = excluded.text",
                    (number, text),
                )
            cache.set(f"record:{number}", text)
            written().execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (number, text))
            path = f"{FILES}/{number}"
            with open(f"{path}.new", "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(f"{path}.new", path)
            self.answer(200, {"number": number})
        except (psycopg2.Error, redis.RedisError, sqlite3.Error, OSError) as error:
            self.lost(error)

    def everything(self) -> dict[str, dict[str, str]]:
        """{where: {number: text}}."""
        with database().cursor() as cursor:
            cursor.execute("SELECT number, text FROM records")
            rows = {str(number): text for number, text in cursor.fetchall()}
        keys = [key.decode() for key in cache.keys("record:*")]
        values = cache.mget(keys) if keys else []
        files = {}
        for name in os.listdir(FILES):
            if name.isdigit():
                with open(f"{FILES}/{name}", encoding="utf-8") as stream:
                    files[name] = stream.read()
        cached = {key.partition(":")[2]: value.decode() for key, value in zip(keys, values)}
        noted = {str(number): text for number, text in written().execute("SELECT number, text FROM records")}
        return {"database": rows, "cache": cached, "files": files, "ledger": noted}

    def lost(self, error: Exception) -> None:
        """Answer that a database or the cache does not answer."""
        here.database = None
        self.answer(503, {"status": "error", "error": type(error).__name__})

    def answer(self, status: int, body: Any) -> None:
        """Send a body."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_unused: Any) -> None:
        """Log no requests."""


if __name__ == "__main__":
    os.makedirs(FILES, exist_ok=True)
    with database().cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS records (number integer PRIMARY KEY, text text NOT NULL)")
    written().execute("CREATE TABLE IF NOT EXISTS records (number integer PRIMARY KEY, text text NOT NULL)")
    ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
