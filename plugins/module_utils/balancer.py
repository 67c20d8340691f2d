# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load balancer in front of the app's instances: HAProxy, through its runtime socket and systemd.

The one file that knows it. What it says of an instance is read for a few hundred bytes over a unix socket: no container
is asked. Commands and columns: HAProxy 3.0, Management Guide, 9.1 and 9.3.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import socket
from typing import Any, Callable

from . import commands, web
from .app import App, Balancer
from .web import Answer, Request

SOCKET = "run/haproxy/admin.sock"
UNIT = "haproxy.service"
CONFIG = "/etc/haproxy/selfheal/{app}.cfg"
_SECONDS = 2.0

READY, DRAIN, MAINT = "ready", "drain", "maint"


class BalancerError(Exception):
    """HAProxy did not do what it was asked; the message says why, and what to try."""


def _names(app: App) -> tuple[str, str]:
    """The backends that hold the slots: the second is used while no slot passes its check."""
    return f"selfheal-{app.name}", f"selfheal-{app.name}-unchecked"


def _say(app: App, command: str) -> str:
    path = os.path.join(app.root, SOCKET)
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(path)
            connection.sendall(command.encode() + b"\n")
            while True:
                part = connection.recv(65536)
                if not part:
                    return answer.decode("utf-8", "replace")
                answer += part
    except OSError as error:
        raise BalancerError(
            f"HAProxy does not answer at {path}: {error.strerror or error}. Try: systemctl status haproxy"
        ) from None


def slots(app: App) -> list[dict[str, Any]]:
    """What HAProxy says of each slot: [{port, up, sessions}]; [] when it does not know this app.

    `up`: it gets requests; `sessions`: those in flight there. Raises BalancerError when it does not answer.
    """
    backend = _names(app)[0]
    # By name it might be the frontend that is meant: they are all asked for (4: servers).
    told = _say(app, "show stat -1 4 -1").lstrip("# ")
    found = []
    for row in csv.DictReader(told.splitlines()):
        if row.get("pxname") != backend or not row["svname"].startswith("slot"):
            continue
        found.append(
            {
                "port": int(row["addr"].rpartition(":")[2] or 0),
                "up": row["status"].startswith("UP"),
                "sessions": int(row["scur"] or 0),
            }
        )
    return sorted(found, key=lambda one: int(one["port"]))


def serving(app: App) -> int:
    """How many slots get requests. Raises BalancerError when HAProxy does not answer."""
    return sum(bool(slot["up"]) for slot in slots(app))


def set_state(app: App, ports: Any, state: str) -> None:
    """Say of the slots at `ports` that they are ready, in drain (no new requests) or in maintenance.

    Raises BalancerError when HAProxy refuses.
    """
    first = app.balancer.first_port if app.balancer else 0
    commands = [f"set server {backend}/slot{port - first} state {state}" for backend in _names(app) for port in ports]
    if commands:
        answer = _say(app, "; ".join(commands)).strip()
        if answer:
            raise BalancerError(f"HAProxy refuses `set server`: {answer.splitlines()[0]}")


def take_in(app: App, port: int) -> None:
    """Send requests to a slot that has passed its gate, at once: HAProxy's own check need not find it first."""
    set_state(app, [port], READY)
    first = app.balancer.first_port if app.balancer else 0
    _say(app, f"set server {_names(app)[0]}/slot{port - first} health up")


def start(app: App) -> None:
    """Start HAProxy, or have it read this app's part. Raises BalancerError with what its journal says."""
    if commands.run(["systemctl", "is-active", "--quiet", UNIT], 10.0).code == 0 and slots(app):
        return
    commands.run(["systemctl", "reset-failed", UNIT], 10.0)
    started = commands.run(["systemctl", "reload-or-restart", UNIT], 30.0)
    status = commands.run(["systemctl", "show", "--property", "StatusText", "--value", UNIT], 10.0).out.strip()
    # A reload that the new process does not survive counts as done for systemd.
    if started.code or "failed" in status.lower():
        said = commands.run(["journalctl", "--unit", UNIT, "--lines", "20", "--output", "cat"], 5.0).out.splitlines()
        why = next((line for line in reversed(said) if "ALERT" in line), started.reason)
        raise BalancerError(f"HAProxy does not start: {why.strip()}")


def leave(app: App) -> None:
    """Give the app's public ports back: HAProxy goes on without its part, until the role writes it anew.

    Raises OSError when the part cannot be removed.
    """
    path = os.path.join(app.root, CONFIG.format(app=app.name).lstrip("/"))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        # With nobody to serve it would not start.
        others = any(name.endswith(".cfg") for name in os.listdir(os.path.dirname(path)))
        commands.run(["systemctl", "reload-or-restart" if others else "stop", UNIT], 30.0)


def restart(app: App) -> None:
    """Kill HAProxy, which may be beyond asking, and start it."""
    commands.run(["systemctl", "kill", "--signal=SIGKILL", UNIT], 10.0)
    commands.run(["systemctl", "stop", UNIT], 20.0)
    start(app)


@functools.lru_cache(maxsize=64)
def _is_here(host: str) -> bool:
    """Whether a host name or address is this host's own: only what leads here may be asked of an instance instead."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as one:
                one.bind(address)
                return True
    except OSError:
        return False
    return False


def aside(balancer: Balancer, port: int) -> Callable[[Request, Callable[[], float]], Answer]:
    """How to ask one instance alone: what would go to the balancer's ports goes to its own loopback port."""

    def ask(request: Request, now: Callable[[], float]) -> Answer:
        where = web.address(request.url)
        if where is not None and where.port in balancer.ports and _is_here(where.host):
            host = ("Host", str(where) if where.port not in (80, 443) else where.host)
            # As HAProxy says it: an app may answer otherwise to who comes through it.
            headers = (host, ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", where.scheme), *request.headers)
            request = request._replace(url=f"http://127.0.0.1:{port}{where.target}", headers=headers)
        return web.fetch(request, now)

    return ask
