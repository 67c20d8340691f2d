# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the apps' containers use, for Prometheus: read when it asks, for this host alone. And sockets of cache and pool."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from . import agent_config, backing, containers, engine, metrics, relay

# Prometheus waits for 9 s.
ENGINE_SECONDS = 5.0
LIFE_SECONDS = 3600.0

# What stands behind an app: its port, and the name of its socket in the app's folder. PostgreSQL's clients look for that one.
RELAYED = {backing.CACHE: (backing.CACHE_PORT, "cache"), backing.POOL: (backing.POOL_PORT, f".s.PGSQL.{backing.POOL_PORT}")}


def page(now: float) -> str:
    """Return the metrics of all apps' containers.

    :raises EngineError: the engine does not answer.
    """
    found = {}
    for app in agent_config.apps():
        documents = engine.inspected(app, ENGINE_SECONDS)
        found[app] = containers.read([engine.instance(one, now) for one in documents])
    return metrics.render_containers(found)


def place(app: str, service: str) -> tuple[str, int] | None:
    """Return where a service of an app is now; None when it is nowhere, or the engine does not answer."""
    with contextlib.suppress(engine.EngineError):
        for document in engine.inspected(app, ENGINE_SECONDS):
            one = engine.instance(document, 0.0)
            for address in filter(None, one["networks"].values()):
                if one["service"] == service:
                    return address, RELAYED[service][0]
    return None


def offer(folder: str, known: set[str]) -> None:
    """Offer the sockets of each app that is not `known` yet, so that exporters reach what has no published port."""
    for app in sorted(set(agent_config.apps()) - known):
        for service, (_, name) in RELAYED.items():
            relay.offer(os.path.join(folder, app, name), functools.partial(place, app, service))
        known.add(app)


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
    # systemd's RuntimeDirectory.
    folder, known = os.environ["RUNTIME_DIRECTORY"], set[str]()
    end = time.monotonic() + LIFE_SECONDS
    while time.monotonic() < end:
        offer(folder, known)
        server.handle_request()
    return 0
