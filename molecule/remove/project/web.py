# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GET / for the number of wishes in each place, POST / to make one. It logs its key, as a careless app does."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WISHES = Path("/data/wishes")


def cache(*words: str) -> int:
    """Have Redis carry out a command that answers with a number."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    with socket.create_connection(("cache", 6379), timeout=2) as channel:
        channel.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        return int(channel.recv(100).decode().removeprefix(":"))


class Handler(BaseHTTPRequestHandler):
    """Both requests, on any path."""

    def do_GET(self) -> None:
        """The counts; 503 when Redis does not answer."""
        lines = WISHES.read_text(encoding="utf-8").count("\n") if WISHES.exists() else 0
        try:
            self.answer(200, {"lines": lines, "cached": cache("LLEN", "wishes")})
        except (OSError, ValueError) as error:
            self.answer(503, {"error": repr(error)})

    def do_POST(self) -> None:
        """Put the wish in both places."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with WISHES.open("a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")
        cache("RPUSH", "wishes", text)
        print(f"{text}, with the key {os.environ['API_KEY']}", flush=True)
        self.answer(201, {})

    def answer(self, status: int, body: dict[str, object]) -> None:
        """Send one whole answer, as JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
