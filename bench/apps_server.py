# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app of which `apps.py` deploys many. What /tmp/fault says is how it is sick: `slow` or `endless`."""

import contextlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers well, a byte each half second, or without an end."""

    def do_GET(self) -> None:
        """Answer."""
        fault = ""
        with contextlib.suppress(OSError), open("/tmp/fault", encoding="ascii") as stream:
            fault = stream.read().strip()
        self.send_response(200)
        self.end_headers()
        if fault == "slow":
            for _unused in range(600):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.5)
        while fault == "endless":
            self.wfile.write(b"." * 65536)
        self.wfile.write(b"ok\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
