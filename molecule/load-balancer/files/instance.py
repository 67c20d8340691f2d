# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An instance of an app, on the port that is its argument. /run/instance-PORT has the status of its answers."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    """All paths answer at once, /slow after a second. /headers returns the request's headers, /stream pauses 9 s."""

    # An answer is sent in one piece: HAProxy cannot retry a request whose answer has begun.
    wbufsize = -1

    def answer(self) -> None:
        """Answer with the status in the file, else with 200."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/stream":
            self.stream()
            return
        if self.path.startswith("/slow"):
            time.sleep(1.0)
        status_file = Path(f"/run/instance-{PORT}")
        status = int(status_file.read_text(encoding="utf-8")) if status_file.exists() else 200
        body = f"{PORT} {self.headers.get('X-Forwarded-For')} says {status}".encode()
        if self.path == "/headers":
            body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        """An event stream that is silent for longer than the load balancer's timeout for an answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.wfile.flush()
        time.sleep(9.0)
        self.wfile.write(b"data: last\n\n")

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server with a longer queue of connections than the default of five."""

    request_queue_size = 128


Server(("127.0.0.1", PORT), Handler).serve_forever()
