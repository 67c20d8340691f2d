# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the apps' containers use, for Prometheus: read when it asks, for this host alone.

Also the way to caches and pools for other exporters, and an alert when Prometheus has stopped asking.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from ..compose import backing_services
from ..docker import cgroup, engine
from ..docker import containers as docker_containers
from ..probe import web
from ..recovery import config as agent_config
from ..reporting import alert_messages, alert_outbox, metrics
from . import socket_proxy

# Prometheus waits for 9 s.
ENGINE_SECONDS = 5.0
LIFE_SECONDS = 3600.0
# Prometheus asks every ten seconds. When it has stopped for so long, it cannot report that itself.
SILENT_SECONDS = 90.0
TICK_SECONDS = 10.0

# What is behind an app: its port, and the name of its socket in the app's folder. PostgreSQL's clients look for it.
RELAYED = {
    backing_services.CACHE: (backing_services.CACHE_PORT, "cache"),
    backing_services.POOL: (backing_services.POOL_PORT, f".s.PGSQL.{backing_services.POOL_PORT}"),
}


def page(now: float) -> str:
    """Return the metrics of all apps' containers.

    :raises EngineError: the engine does not answer.
    """
    found = {}
    for app in agent_config.apps():
        documents = docker_containers.inspected(app, ENGINE_SECONDS)
        found[app] = cgroup.read([docker_containers.instance(one, now) for one in documents])
    return metrics.render_containers(found)


def place(app: str, service: str) -> tuple[str, int] | None:
    """Return where a service of an app is now; None when it does not run, or the engine does not answer."""
    with contextlib.suppress(engine.EngineError):
        for document in docker_containers.inspected(app, ENGINE_SECONDS):
            one = docker_containers.instance(document, 0.0)
            for address in filter(None, one["networks"].values()):
                if one["service"] == service:
                    return address, RELAYED[service][0]
    return None


def offer(folder: str, known: set[str]) -> None:
    """Offer the sockets of each app that is not `known` yet, so that exporters reach what has no published port."""
    for app in sorted(set(agent_config.apps()) - known):
        for service, (_unused, name) in RELAYED.items():
            socket_proxy.offer(os.path.join(folder, app, name), functools.partial(place, app, service))
        known.add(app)


def tell(now: float, root: str = "/") -> bool:
    """Notify Alertmanager that Prometheus has stopped asking; false without one, or when it cannot be reached now."""
    for app in agent_config.apps(root):
        with contextlib.suppress(agent_config.ConfigError, web.Fault):
            config = agent_config.load(agent_config.path_of(app, root), root)
            if config.alertmanager:
                alert = alert_messages.unmeasured(config.app.host, config.app.language, now)
                headers = (("Content-Type", "application/json"),)
                url = f"{config.alertmanager}/api/v2/alerts"
                answer = web.fetch(web.Request(url, "POST", headers, json.dumps([alert]).encode()))
                return answer.status == 200
    return False


class _Handler(BaseHTTPRequestHandler):
    # Of a connection on which nothing comes.
    timeout = 5
    asked = 0.0

    def do_GET(self) -> None:
        """Answer /metrics; without an engine that is 503, so that Prometheus knows that it knows nothing."""
        status, text = 404, "try /metrics\n"
        if self.path == "/metrics":
            _Handler.asked = time.monotonic()
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
    # systemd's RuntimeDirectory.
    folder, known = os.environ["RUNTIME_DIRECTORY"], set[str]()
    begun = notified = _Handler.asked = time.monotonic()
    with HTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler) as server:
        server.timeout = TICK_SECONDS
        while (now := time.monotonic()) < begun + LIFE_SECONDS:
            offer(folder, known)
            server.handle_request()
            if now > max(_Handler.asked + SILENT_SECONDS, notified + alert_outbox.REPEAT_SECONDS):
                notified = now
                tell(time.time())
    return 0
