# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GET /health, GET /letters for the number of letters in each place, POST /letters to send one."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import store


def counted() -> dict[str, Any]:
    """{rows: letters in the database, lines: letters in the folder}."""
    with store.database() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM letters")
        rows = cursor.fetchone()[0]
    lines = store.PAPER.read_text(encoding="utf-8").count("\n") if store.PAPER.exists() else 0
    return {"rows": rows, "lines": lines}


class Handler(BaseHTTPRequestHandler):
    """The three requests that the module's docstring lists, on any path."""

    def do_GET(self) -> None:
        """The counts; 503 when the database or the cache does not answer."""
        try:
            found = counted()
            store.cache().ping()
        except Exception as error:
            self.answer(503, {"status": "error", "error": type(error).__name__})
            return
        self.answer(200, {"status": "ok", "greeting": os.environ["GREETING"], **found})

    def do_POST(self) -> None:
        """Put the letter in all three places."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with store.database() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO letters (text) VALUES (%s)", (text,))
        with store.PAPER.open("a", encoding="utf-8") as paper:
            paper.write(f"{text}\n")
        store.cache().rpush("to read", text)
        self.answer(201, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Send one whole answer, as JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
