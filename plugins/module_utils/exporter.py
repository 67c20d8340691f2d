# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the apps' containers use, for Prometheus: read when it asks, for this host alone."""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from . import agent_config, containers, engine, metrics

# Prometheus waits for 9 s.
ENGINE_SECONDS = 5.0
LIFE_SECONDS = 3600.0


def page(now: float) -> str:
    """Return the metrics of all apps' containers.

    :raises EngineError: the engine does not answer.
    """
    found = {}
    for app in agent_config.apps():
        documents = engine.inspected(app, ENGINE_SECONDS)
        found[app] = containers.read([engine.instance(one, now) for one in documents])
    return metrics.render_containers(found)


class _Handler(BaseHTTPRequestHandler):
    # Of a connection on which nothing comes.
    timeout = 5

    def do_GET(self) -> None:
        """Answer /metrics; without an engine that is 503, so that Prometheus knows that it knows nothing."""
        status, text = 404, "try /metrics\n"
        if self.path == "/metrics":
            try:
                status, text = 200, page(time.time())
            except engine.EngineError as error:
                status, text = 503, f"{error}\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: one line a scrape says nothing."""


def main() -> int:
    """Serve on the port that is the one argument, for an hour; then it is started again, with the library as it is."""
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)
    end = time.monotonic() + LIFE_SECONDS
    while time.monotonic() < end:
        server.handle_request()
    return 0
