# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GET /health, GET /records for what is recorded, POST /records/NUMBER to record a number once."""

import configparser
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2

RECEIPTS = Path("/receipts/receipts.txt")
TABLE = "CREATE TABLE IF NOT EXISTS records (number integer PRIMARY KEY)"
LOCK = threading.Lock()
connection: Any = None


def ask(statement: str, *values: int) -> list[Any]:
    """Run a statement in a transaction of its own; a connection that has ended is opened again."""
    global connection  # noqa: PLW0603 - one connection, under the lock
    with LOCK:
        try:
            if connection is None:
                password = os.environ["DB_PASSWORD"]
                connection = psycopg2.connect(host="db", user="ledger", password=password, connect_timeout=2)
                with connection, connection.cursor() as cursor:
                    cursor.execute(TABLE)
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            connection = None
            raise


class Handler(BaseHTTPRequestHandler):
    """The three requests that the module's docstring lists."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The numbers, and how many receipts there are; for /health, how many records."""
        try:
            if self.path == "/health":
                self.answer(200, {"records": ask("SELECT count(*) FROM records")[0][0]})
                return
            numbers = [row[0] for row in ask("SELECT number FROM records")]
            self.answer(200, {"numbers": numbers, "receipts": RECEIPTS.read_text(encoding="utf-8").count("\n")})
        except Exception as error:
            self.answer(503, {"error": type(error).__name__})

    def do_POST(self) -> None:
        """Record a number."""
        try:
            ask("INSERT INTO records VALUES (%s) ON CONFLICT DO NOTHING", int(self.path.rpartition("/")[2]))
            with RECEIPTS.open("a", encoding="utf-8") as receipts:
                receipts.write(f"{self.path}\n")
            self.answer(201, {})
        except Exception as error:
            self.answer(503, {"error": type(error).__name__})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Send one whole answer, as JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_words: Any) -> None:
        """Write no line for each of 50 requests a second."""


settings = configparser.ConfigParser()
settings.read("/etc/ledger.ini")
if settings["ledger"]["version"] != "1":
    sys.exit(f"version {settings['ledger']['version']} of the ledger is not known")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
# Python's own queue of 5 connections loses some of those that come at once.
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
