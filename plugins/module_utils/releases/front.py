# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy in front of a container that holds the public port itself, until the load balancer has that port.

It is a process of its own with the app's part of the configuration, at a port of its own. Rules of iptables send it the
new connections to the public port. Where the connections of clients are not closed by then, they stay at the container.

Both belong to one transient unit: however that ends, it removes the rules, and the container gets the connections.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from ..core.app import Balancer
from ..core.app_paths import AppPaths
from ..core.clock import Clock
from ..core.files import atomic_write, readable
from ..docker.containers import Container
from ..host import command as commands
from ..host import conntrack, firewall
from . import haproxy
from .haproxy import BalancerError

UNIT = "selfheal-front-{app}.service"
GUARD = "selfheal-front-guard-{app}.service"
# Without a deploy, which ends it, it gives the connections back after that.
LONGEST_SECONDS = 1800
_FINISH_SECONDS = 40
# A handshake of which two packets are lost takes 3 s (RFC 6298, 2.1 and 5.5).
_HANDSHAKE_SECONDS = 4
_READY_SECONDS = 5.0
_IN_FLIGHT_SECONDS = 3.0
_RULES_SECONDS = 10.0
_POLL_SECONDS = 0.02
_SERVER = "before"
# Commands of the runtime socket, with the place of a server's name (Management Guide, 9.3).
_HOLD, _SEND = "set server {} state maint", ("set server {} state ready", "set server {} health up")
_AT_ONCE = "set maxconn server {} {}"
# Requests at once, in turn, until the configuration's own count.
_RAMP, _RAMP_SECONDS = (4, 8, 16, 32, 64), 0.15
_ANYWHERE = ("", "0.0.0.0", "::")
_SECURE = re.compile(rb"^\s*bind\s.*\sssl\s", re.MULTILINE)


class Before(NamedTuple):
    """A container that holds the public port: its own address and port, the public port, and the host's addresses.

    `pid`: of its first process; `hosts`: () for all of them.
    """

    name: str
    pid: int
    address: str
    port: int
    public: int
    hosts: Sequence[str]


class Put(NamedTuple):
    """The container that HAProxy is in front of, None for none; why not, "" where nothing holds its port."""

    before: Before | None = None
    why: str = ""
    is_new: bool = False


def put(paths: AppPaths, balancer: Balancer, instances: Sequence[Container], clock: Clock) -> Put:
    """Put HAProxy in front of the container that holds its port, if one does."""
    blocking = [one for one in instances if one["state"] == "running" and set(one["ports"]) & set(balancer.ports)]
    if not blocking:
        return Put()
    found, why = _before(paths, balancer, blocking)
    if found is None or why:
        return Put(None, why)
    try:
        return Put(found, "", _start(paths, balancer, found, clock))
    except (BalancerError, OSError) as error:
        return Put(None, str(error))


def _before(paths: AppPaths, balancer: Balancer, blocking: Sequence[Container]) -> tuple[Before | None, str]:
    """The container that HAProxy can be put in front of; why not, "" when it can."""
    public = balancer.ports[0]
    part = readable(haproxy.part(paths))
    if part is None or b"SELFHEAL_FRONT" not in part:
        return None, "HAProxy's configuration of the app is not there"
    if _SECURE.search(part):
        return None, "the load balancer ends TLS, and the container does not"
    bound = [(item, target) for item in blocking for target in item["targets"]]
    ports = sorted({target["host_port"] for _item, target in bound})
    if ports != [public] or len(blocking) != 1:
        return None, f"the containers publish other ports than {public}, too: {', '.join(map(str, ports))}"
    item, target = bound[0]
    address = next(filter(None, item["networks"].values()), "")
    if not address:
        return None, f"{item['name']} has no address in a network of its own"
    hosts = sorted({one["host_ip"] for _item, one in bound})
    anywhere = any(one in _ANYWHERE for one in hosts)
    found = Before(item["name"], item["pid"], address, target["container_port"], public, () if anywhere else hosts)
    return found, _refused(public)


def _refused(public: int) -> str:
    """Why connections to a port of the host itself would not come through its firewall; "" when they do."""
    if not firewall.is_the_engines():
        return "the engine does not keep its rules in iptables"
    closed = firewall.closed(public)
    return f"the host's firewall does not let connections to HAProxy through: {closed}" if closed else ""


# --- the rules --------------------------------------------------------------------------------------------------------


def _rules(app: str, one: Before, spare: int) -> list[list[str]]:
    """The rules, each without its verb: [program, table, chain, words…]."""
    comment = ["-m", "comment", "--comment", f"selfheal-front-{app}"]
    found = []
    for program in ("iptables", *(["ip6tables"] if not one.hosts and _has_ip6() else [])):
        to_public = ["-p", "tcp", "--dport", str(one.public), "-m", "addrtype", "--dst-type", "LOCAL", *comment]
        redirect = ["-j", "REDIRECT", "--to-ports", str(spare)]
        come_through = ["-p", "tcp", "--dport", str(spare), "-m", "conntrack", "--ctstate", "DNAT", *comment]
        found.append([program, "filter", "INPUT", *come_through, "-j", "ACCEPT"])
        for host in one.hosts or [""]:
            at = ["-d", host] if host else []
            found += [[program, "nat", chain, *at, *to_public, *redirect] for chain in ("PREROUTING", "OUTPUT")]
    return found


def _has_ip6() -> bool:
    return os.path.exists("/proc/net/if_inet6") and not commands.run(["ip6tables", "-t", "nat", "-S"], 5.0).code


def _rule(verb: str, rule: Sequence[str]) -> list[str]:
    program, table, chain, *words = rule
    return [f"/usr/sbin/{program}", "-w", "5", "-t", table, verb, chain, *words]


# --- the process ------------------------------------------------------------------------------------------------------


def _start(paths: AppPaths, balancer: Balancer, one: Before, clock: Clock) -> bool:
    """Put HAProxy in front of a container, unless it is there already; return whether it was not.

    Raises BalancerError, OSError.
    """
    unit = UNIT.format(app=paths.name)
    if _is_at(paths, one):
        return False
    commands.run(["systemctl", "stop", unit], _FINISH_SECONDS + 10.0)
    spare = _free_port()
    rules = _rules(paths.name, one, spare)
    own = _config(paths)
    os.makedirs(os.path.dirname(own), exist_ok=True)
    atomic_write(own, _global(paths).encode(), mode=0o600)
    argv = ["/usr/sbin/haproxy", "-Ws", "-f", own, "-f", haproxy.part(paths)]
    addresses = f"*:{spare},:::{spare}" if os.path.exists("/proc/net/if_inet6") else f"*:{spare}"
    # Backwards: a connection that goes to the container again is not refused by the rule that was last.
    undo = [" ".join(_rule("-D", rule)) for rule in [_cut(paths.name, one), *reversed(rules)]]
    settings = [
        "Type=notify",
        "KillMode=mixed",
        "KillSignal=SIGUSR1",
        f"TimeoutStopSec={_FINISH_SECONDS}",
        f"RuntimeMaxSec={LONGEST_SECONDS}",
        "LimitNOFILE=65536",
        "OOMScoreAdjust=-500",
        *(f"{when}=-{line}" for when in ("ExecStop", "ExecStopPost") for line in undo),
        # Clients that a rule has sent here before it was removed may still be half-way through their handshake.
        f"ExecStop=-/usr/bin/sleep {_HANDSHAKE_SECONDS}",
    ]
    words = [f"--property={one}" for one in settings]
    words += [f"--setenv=SELFHEAL_FRONT={addresses}", f"--setenv=SELFHEAL_BEFORE={one.address}:{one.port}"]
    started = commands.run(["systemd-run", "--quiet", "--collect", f"--unit={unit}", *words, *argv], 20.0)
    if started.code:
        raise BalancerError(f"HAProxy does not start in front of {one.name}: {started.reason}")
    try:
        _say_each(paths, [_slot(balancer, port) for port in balancer.slots], _HOLD)
        _require_healthy(paths, one, clock)
        _guard(paths, "tail", f"--pid={one.pid}", "--follow", "/dev/null")
        for rule in rules:
            _insert(rule)
    except BaseException:
        commands.run(["systemctl", "stop", unit], _FINISH_SECONDS + 10.0)
        raise
    return True


def _insert(rule: Sequence[str]) -> None:
    words = _rule("-I", rule)
    done = commands.run(words, 10.0)
    if done.code:
        raise BalancerError(f"{' '.join(words)}: {done.reason}")


def _guard(paths: AppPaths, *until: str) -> None:
    """Have the unit ended when a command ends, by a unit of its own. Raises BalancerError."""
    guard = GUARD.format(app=paths.name)
    commands.run(["systemctl", "stop", guard], 10.0)
    settings = ["Type=oneshot", f"ExecStartPost=/usr/bin/systemctl stop {UNIT.format(app=paths.name)}"]
    words = ["--quiet", "--collect", "--no-block", f"--unit={guard}", *(f"--property={one}" for one in settings)]
    started = commands.run(["systemd-run", *words, *until], 10.0)
    if started.code:
        raise BalancerError(f"{guard} does not start: {started.reason}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _global(paths: AppPaths) -> str:
    return f"""global
    log /dev/log local0
    stats socket {os.path.join(paths.root, _socket(paths))} mode 600 level admin
    user haproxy
    group haproxy
"""


def _config(paths: AppPaths) -> str:
    return os.path.join(paths.root, "run/selfheal", f"{paths.name}.front.cfg")


def _socket(paths: AppPaths) -> str:
    return f"run/selfheal/{paths.name}.front.sock"


class _Server(NamedTuple):
    """What it says of the container: its address, the result of the last check, and the requests in flight."""

    address: str
    check: str
    sessions: int


def _rows(paths: AppPaths, name: str) -> list[dict[str, str]]:
    """What it says of a server in the backends that get requests, by their order.

    Raises BalancerError when it does not answer.
    """
    table = haproxy.say(paths, "show stat -1 4 -1", at=_socket(paths)).lstrip("# ")
    rows = {(row["pxname"], row["svname"]): row for row in csv.DictReader(table.splitlines())}
    return [rows[backend, name] for backend in haproxy.backends(paths) if (backend, name) in rows]


def _server(paths: AppPaths) -> _Server | None:
    """None when it does not know it. Raises BalancerError when it does not answer."""
    rows = _rows(paths, _SERVER)
    if not rows:
        return None
    in_flight = sum(int(row["scur"] or 0) for row in rows)
    return _Server(rows[0]["addr"], (rows[0]["check_status"] or "").lstrip("* "), in_flight)


def _is_at(paths: AppPaths, one: Before) -> bool:
    """Whether it is in front of that container."""
    if commands.run(["systemctl", "is-active", "--quiet", UNIT.format(app=paths.name)], 10.0).code:
        return False
    with contextlib.suppress(BalancerError):
        server = _server(paths)
        return server is not None and server.address == f"{one.address}:{one.port}"
    return False


def _require_healthy(paths: AppPaths, one: Before, clock: Clock) -> None:
    until = clock.monotonic() + _READY_SECONDS
    while True:
        server = _server(paths)
        seen = server.check if server else ""
        if seen == "L7OK":
            return
        if clock.monotonic() >= until:
            where = f"{one.name} at {one.address}:{one.port}"
            raise BalancerError(f"HAProxy's health check of {where}: {seen or 'no result'}")
        clock.sleep(_POLL_SECONDS)


def _say_each(paths: AppPaths, names: Sequence[str], *lines: str) -> None:
    """Send lines for each server, {} in them being its name, in both backends. Raises BalancerError."""
    servers = [f"{backend}/{name}" for backend in haproxy.backends(paths) for name in names]
    said = "; ".join(line.format(server) for server in servers for line in lines)
    answer = haproxy.say(paths, said, at=_socket(paths)).strip()
    if answer:
        raise BalancerError(f"HAProxy refuses `{lines[0]}`: {answer.splitlines()[0]}")


def _slot(balancer: Balancer, port: int) -> str:
    return f"slot{port - balancer.first_port}"


# --- what a deploy does with it ---------------------------------------------------------------------------------------


def hold(paths: AppPaths, one: Before, clock: Clock) -> None:
    """Hold new requests, and wait a moment for those in flight. The caller holds the app's lock.

    A request over a connection from before HAProxy was there is refused, so that it can be repeated.

    :raises BalancerError: nothing is held.
    """
    # The kernel frees the lock when the caller dies.
    _guard(paths, "flock", paths.lock, "true")
    _say_each(paths, [_SERVER], _HOLD)
    until = clock.monotonic() + _IN_FLIGHT_SECONDS
    server = _server(paths)
    while server is not None and server.sessions and clock.monotonic() < until:
        clock.sleep(_POLL_SECONDS)
        server = _server(paths)
    # Without it, such a request is answered with what the container says, while what it depends on is away.
    with contextlib.suppress(BalancerError):
        _insert(_cut(paths.name, one))


def _cut(app: str, one: Before) -> list[str]:
    """The rule that refuses what comes over a connection to the container itself; what goes back may end."""
    request = ["-p", "tcp", "-d", one.address, "--dport", str(one.port), "--tcp-flags", "PSH", "PSH"]
    published = ["-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", f"selfheal-front-{app}"]
    refuse = ["-j", "REJECT", "--reject-with", "tcp-reset"]
    return ["iptables", "filter", "DOCKER-USER", *request, *published, *refuse]


def take_in(paths: AppPaths, balancer: Balancer, port: int, clock: Clock) -> None:
    """Send the held requests, and new ones, to an instance that has passed its gate: at first a few at a time.

    A server whose queue for connections is short (Python's own: 5) would lose some of hundreds that come at once.

    Raises BalancerError.
    """
    name = _slot(balancer, port)
    most = _most(paths, name)
    _say_each(paths, [name], _AT_ONCE.format("{}", _RAMP[0]), *_SEND)
    for count in [one for one in _RAMP[1:] if one < most] + [most]:
        clock.sleep(_RAMP_SECONDS)
        _say_each(paths, [name], _AT_ONCE.format("{}", count))


def _most(paths: AppPaths, name: str) -> int:
    """How many requests at once a server gets by the configuration."""
    rows = _rows(paths, name)
    return int(rows[0]["slim"] or 0) if rows else 0


def forget_closed(one: Before) -> None:
    """Forget the closed connections to a container that is about to be removed.

    The engine would do it: it lists them all, which the kernel remembers for two minutes, and forgets one after the
    other by the client's port, seconds later perhaps. A client that uses the port again meanwhile loses its connection
    to HAProxy: the answer is no longer translated. The engine's check of the connection's number does not help, as the
    kernel gives the number of a connection to the next one at its place in memory.
    """
    # The engine, too, has to be given the kernel's table.
    with contextlib.suppress(OSError):
        conntrack.forget_closed(one.public, one.port)


def release(paths: AppPaths) -> None:
    """Send the held requests to the container again. Raises BalancerError."""
    _say_each(paths, [_SERVER], *_SEND)


def end(paths: AppPaths) -> None:
    """Let new connections go to what holds the public port. It ends itself when its requests are answered."""
    unit, guard = UNIT.format(app=paths.name), GUARD.format(app=paths.name)
    commands.run(["systemctl", "stop", guard], 10.0)
    # Its ExecStop= removes the rules, and waits for handshakes; then the process answers what it has.
    commands.run(["systemctl", "stop", "--no-block", unit], 10.0)
    until = time.monotonic() + _RULES_SECONDS
    while _state(unit) in ("running", "stop") and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)


def _state(unit: str) -> str:
    return commands.run(["systemctl", "show", "--property=SubState", "--value", unit], 10.0).out.strip()
