# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load balancer in front of the app's instances: HAProxy, through its runtime socket and systemd.

The one file that knows it. What it says of an instance is read for a few hundred bytes over a unix socket: no container
is asked. Commands and columns: HAProxy 3.0, Management Guide, 9.1 and 9.3.

Its files are kept as they were when they last passed its own check, and restored when it does not start with others.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import re
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Callable, NamedTuple

from ..core.app import Balancer
from ..core.app_paths import AppPaths
from ..core.clock import Clock
from ..core.files import atomic_write, free_name, readable
from ..host import command as commands
from ..host import desired_files, procfs
from ..probe import health_request, web
from ..probe.health_request import HealthRequest
from ..probe.web import Answer, Request

SOCKET = "run/haproxy/admin.sock"
# Of the master process; its newest child is the one that takes requests, older ones only end theirs.
PID_FILE = "run/haproxy.pid"
UNIT = "haproxy.service"
CONFIG = "/etc/haproxy/selfheal/{app}.cfg"
# Of a domain whose certificate this host gets: the certificate with its key, and a map. Its line "challenge" has the
# thumbprint of the account, with which HAProxy answers the CA; a line with a name sends its plain HTTP to HTTPS.
DOMAIN_PEM = "/etc/haproxy/selfheal-certs/{app}.domain.pem"
DOMAIN_MAP = "/etc/haproxy/selfheal-certs/{app}.domain.map"
# What is global: the distribution's, and perhaps edited by the host's owner.
GLOBAL = "/etc/haproxy/haproxy.cfg"
_SECONDS = 2.0
# At most this many files are repaired in one go.
_REPAIRS = 5
# In such a file a secret may be, which is not to be at a second place. The app's own part holds none.
_SECRET = re.compile(rb"(?i)password|authorization|stats\s+auth")

# Not "drain": then a client that has a sticky cookie of the slot goes on coming (Management Guide, 9.3, set server).
READY, MAINT = "ready", "maint"
# HAProxy sees within 1.5 s whether an instance is healthy; a busy host may take longer.
AGREE_SECONDS = 5.0
# Its check passes, and is counted; or the answer came too late for it, as on a host whose processors are all taken.
LATE_SECONDS = 30.0
_SLOW = re.compile(r"\bL[467](?:OK|TOUT)\b")
_POLL_SECONDS = 0.05
_RELOAD_SECONDS = 10.0


class Slot(NamedTuple):
    """What HAProxy says of one slot. `up`: it gets requests; `sessions`: those in flight; `seen`: by the last check."""

    port: int
    up: bool
    sessions: int
    seen: str


class BalancerError(Exception):
    """HAProxy did not do what it was asked; the message says why, and what to try."""


class BalancerLate(BalancerError):
    """HAProxy takes connections, and has not answered in time."""


def backends(paths: AppPaths) -> tuple[str, str]:
    """The backends that hold the slots: the second is used while no slot passes its check."""
    return f"selfheal-{paths.name}", f"selfheal-{paths.name}-unchecked"


def say(paths: AppPaths, command: str, at: str = SOCKET) -> str:
    """Send a command to HAProxy's runtime socket; its answer. Raises BalancerError when it does not answer."""
    path = os.path.join(paths.root, at)
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
        # Before Python 3.10, a socket's timeout has a type of its own. A full queue of connections "would block".
        is_late = isinstance(error, (socket.timeout, BlockingIOError))
        raise (BalancerLate if is_late else BalancerError)(
            f"HAProxy does not answer at {path}: {error.strerror or error}. Try: systemctl status haproxy"
        ) from None


def slots(paths: AppPaths) -> list[Slot]:
    """What HAProxy says of each slot; [] when it does not know this app.

    Raises BalancerError when it does not answer.
    """
    backend = backends(paths)[0]
    # A backend's name may be its frontend's, too: all servers are asked for (4).
    table = say(paths, "show stat -1 4 -1").lstrip("# ")
    found = []
    for row in csv.DictReader(table.splitlines()):
        if row.get("pxname") != backend or not row["svname"].startswith("slot"):
            continue
        port = int(row["addr"].rpartition(":")[2] or 0)
        found.append(Slot(port, row["status"].startswith("UP"), int(row["scur"] or 0), _seen(row)))
    return sorted(found)


def _seen(row: Mapping[str, str]) -> str:
    """The state and the last check's result, for a person: "DOWN, L7STS 400 Bad Request"."""
    # While a check goes on, the result is that of the one before, with a star and without its code.
    result = (row.get("check_status") or "").lstrip("* ")
    code = row.get("check_code") or ""
    text = row.get("last_chk") or row.get("check_desc") or ""
    words = [result, code if code != "0" else "", text]
    return ", ".join(filter(None, [row["status"], " ".join(filter(None, words))]))


def serving(paths: AppPaths) -> int:
    """How many slots get requests. Raises BalancerError when HAProxy does not answer."""
    return sum(slot.up for slot in slots(paths))


def set_state(paths: AppPaths, balancer: Balancer, ports: Collection[int], state: str) -> None:
    """Say of the slots at `ports` that they are ready, or in maintenance: no new requests, those in flight go on.

    Raises BalancerError when HAProxy refuses.
    """
    servers = [f"{backend}/slot{port - balancer.first_port}" for backend in backends(paths) for port in ports]
    commands = [f"set server {server} state {state}" for server in servers]
    if commands:
        answer = say(paths, "; ".join(commands)).strip()
        if answer:
            raise BalancerError(f"HAProxy refuses `set server`: {answer.splitlines()[0]}")


def take_in(paths: AppPaths, balancer: Balancer, port: int) -> None:
    """Let HAProxy send requests to a slot as soon as its own checks find it healthy, whatever they found before."""
    set_state(paths, balancer, [port], READY)
    say(paths, f"set server {backends(paths)[0]}/slot{port - balancer.first_port} health down")


def is_slow(seen: str) -> bool:
    """Whether HAProxy does not find a slot unhealthy: its check has passed too few times yet, or was late."""
    return bool(_SLOW.search(seen))


def kept_out(
    paths: AppPaths, balancer: Balancer, ports: Collection[int], clock: Clock, seconds: float, late: float = 0.0
) -> str:
    """Wait until HAProxy sends requests to the slots at `ports`; say what it sees of those it keeps out, "" for none.

    :arg late: how long to wait in all for slots that HAProxy does not find unhealthy, but only slow (s).
    :raises BalancerError: HAProxy does not answer.
    """
    begun = clock.monotonic()
    while True:
        out = [slot for slot in slots(paths) if slot.port in ports and not slot.up]
        if not out:
            return ""
        longest = max(seconds, late) if all(is_slow(slot.seen) for slot in out) else seconds
        if clock.monotonic() - begun >= longest:
            return "; ".join(f"slot {slot.port - balancer.first_port} is {slot.seen}" for slot in out)
        clock.sleep(_POLL_SECONDS)


def is_stopped(paths: AppPaths) -> bool:
    """Whether the process that takes requests is stopped, as by SIGSTOP. Read from /proc, without waiting for it."""
    master = procfs.pid_in(os.path.join(paths.root, PID_FILE), "haproxy")
    return procfs.stopped(procfs.newest_child(master) or master)


def start_error() -> str:
    """HAProxy's own error where it does not start, as its journal has it; "" where it runs, or ended without one."""
    if is_running():
        return ""
    error = _journal_error()
    return f"HAProxy does not start: {error}" if error else ""


def _journal_error(since: float = 0.0) -> str:
    """The error of the last start, as long as that was after `since` (epoch s)."""
    after = [f"--since=@{since:.6f}"] if since else []
    # What it said last is in the journal a moment after it has ended.
    for pause in (0.0, 0.2):
        time.sleep(pause)
        asked = commands.run(["journalctl", "--unit", UNIT, "--lines", "60", "--output", "cat", *after], 5.0)
        error = first_error(asked.out.splitlines())
        if error:
            return error
    return ""


_ALERT = re.compile(r"\[ALERT\]\s+\((\d+)\)\s*:\s*(.+)")
# What it says of itself while it runs, or is ended.
_NO_ERROR = re.compile(r"has no server available|exited with code|exit-on-failure")


def first_error(journal: Sequence[str]) -> str:
    """The first error of the last start that failed; "" when the last one did not. What follows is only its summary.

    :arg journal: the lines of HAProxy's unit, oldest first.
    """
    errors: list[tuple[str, str]] = []
    for line in journal:
        found = _ALERT.search(line)
        if line.startswith(("Started ", "Reloaded ")):
            errors = []
        elif found and not _NO_ERROR.search(line):
            errors.append((found[1], found[2].strip()))
    return next((text for pid, text in errors if pid == errors[-1][0]), "")


def start(paths: AppPaths) -> None:
    """Start HAProxy, or have it read this app's part. Raises BalancerError with what its journal says."""
    if is_running() and slots(paths):
        return
    commands.run(["systemctl", "reset-failed", UNIT], 10.0)
    _reload_or_start()


def _reload_or_start() -> None:
    begun = time.time()
    started = commands.run(["systemctl", "reload-or-restart", UNIT], 30.0)
    status = _settled_status()
    # A reload that the new process does not survive counts as done for systemd.
    if started.code or "failed" in status.lower():
        raise BalancerError(f"HAProxy does not start: {_journal_error(begun) or started.reason}")


def _settled_status() -> str:
    """What HAProxy says of itself, when a reload that has just begun is over."""
    until = time.monotonic() + _RELOAD_SECONDS
    while True:
        status = commands.run(["systemctl", "show", "--property", "StatusText", "--value", UNIT], 10.0).out.strip()
        if "reloading" not in status.lower() or time.monotonic() >= until:
            return status
        time.sleep(_POLL_SECONDS)


def reload() -> None:
    """Have HAProxy read its files again, if it runs. Raises BalancerError, and the old process goes on."""
    if is_running():
        _reload_or_start()


def is_running() -> bool:
    """Whether systemd says that HAProxy runs."""
    return commands.run(["systemctl", "is-active", "--quiet", UNIT], 10.0).code == 0


def refusal(paths: AppPaths, candidates: Mapping[str, str]) -> str:
    """Why HAProxy does not take the app's part with other files in it; "" when it does, or has no part yet.

    :arg candidates: path that the part names → path of the file that is to take its place.
    """
    # A watcher, which never comes here, lives without its memory.
    import tempfile

    part, shared = _own(paths)
    text = readable(part.path)
    if text is None:
        return ""
    for path, candidate in candidates.items():
        text = text.replace(path.encode(), candidate.encode())
    with tempfile.TemporaryDirectory(prefix="selfheal-") as folder:
        copy = os.path.join(folder, "part.cfg")
        atomic_write(copy, text)
        return _check(shared.path, copy)


def _check(*files: str) -> str:
    """Why HAProxy's own check does not pass; "" when it does."""
    words = [word for file in files for word in ("-f", file)]
    checked = commands.run(["haproxy", "-c", *words], 10.0)
    return checked.reason if checked.code else ""


def leave(paths: AppPaths) -> None:
    """Give the app's public ports back: HAProxy goes on without its part, until the role writes it again.

    Raises OSError when the part cannot be removed.
    """
    path = os.path.join(paths.root, CONFIG.format(app=paths.name).lstrip("/"))
    is_there = os.path.lexists(path)
    if is_there:
        os.unlink(path)
    # Also when it is not there: a run that was killed may have removed it.
    desired_files.follow(CONFIG.format(app=paths.name), paths.root)
    if is_there:
        # Without a part of any app it would not start.
        others = any(name.endswith(".cfg") for name in os.listdir(os.path.dirname(path)))
        commands.run(["systemctl", "reload-or-restart" if others else "stop", UNIT], 30.0)


def restart(paths: AppPaths) -> list[str]:
    """Kill HAProxy, which may not answer any more, and start it; files that it does not start with are repaired.

    Whether it takes its files is seen by starting it, not by `haproxy -c`: below the watcher's MemoryDenyWriteExecute=
    that fails for each regular expression (PCRE2's JIT compiler gets no memory).

    :returns: what was done to files, a sentence each.
    :raises BalancerError: with HAProxy's own error, and what was done to files.
    """
    done: list[str] = []
    while True:
        commands.run(["systemctl", "kill", "--signal=SIGKILL", UNIT], 10.0)
        commands.run(["systemctl", "stop", UNIT], 20.0)
        why = _try_to_start(paths)
        if not why:
            return done
        repaired = _repair(paths, why) if len(done) < _REPAIRS else ""
        if not repaired:
            raise BalancerError("; ".join([*done, why]))
        done.append(repaired)


def _try_to_start(paths: AppPaths) -> str:
    """Start HAProxy; why it does not start, or does not know this app, "" when all is well."""
    try:
        start(paths)
        return "" if slots(paths) else f"HAProxy starts without {part(paths)}, the app's part of its configuration"
    except BalancerError as error:
        return str(error)


# --- the last good copies of its files -------------------------------------------------------------------------------


class _File(NamedTuple):
    """A file that HAProxy reads, and where its last good copy is kept."""

    path: str
    copy: str
    mode: int = 0o644


def part(paths: AppPaths) -> str:
    """The path of the app's part of the configuration."""
    return os.path.join(paths.root, CONFIG.format(app=paths.name).lstrip("/"))


def _own(paths: AppPaths) -> list[_File]:
    """The app's part, and what is global."""
    shared = os.path.join(paths.root, GLOBAL.lstrip("/"))
    return [
        _File(part(paths), os.path.join(paths.haproxy, "part.cfg")),
        _File(shared, os.path.join(paths.haproxy, "global.cfg")),
    ]


class DomainFiles(NamedTuple):
    """What HAProxy reads for a domain, and the copies that are put back: certificate with key, and map."""

    pem: str
    map: str
    kept_pem: str
    kept_map: str


def domain_files(paths: AppPaths) -> DomainFiles:
    """The paths of the domain's files."""
    pem, mapped = (os.path.join(paths.root, path.format(app=paths.name)[1:]) for path in (DOMAIN_PEM, DOMAIN_MAP))
    return DomainFiles(pem, mapped, os.path.join(paths.domain, "pem"), os.path.join(paths.domain, "map"))


def _of_domain(paths: AppPaths) -> list[_File]:
    """The files of the domain. The copies are in the folder of the account, which is for root alone."""
    files = domain_files(paths)
    return [_File(files.pem, files.kept_pem, 0o600), _File(files.map, files.kept_map)]


def _others(paths: AppPaths) -> list[_File]:
    """The other parts: of other apps of this host, of the status page, and what a person has put there."""
    folder = os.path.dirname(part(paths))
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [
        _File(os.path.join(folder, name), os.path.join(paths.root, "var/lib/selfheal", name[:-4], "haproxy/part.cfg"))
        for name in names
        if name.endswith(".cfg") and name != os.path.basename(part(paths))
    ]


def keep(paths: AppPaths) -> None:
    """Keep HAProxy's files for this app as they are, when they pass its own check. Raises OSError."""
    part, shared = _own(paths)
    wanted = {file.copy: readable(file.path) for file in (part, shared)}
    if _SECRET.search(wanted[shared.copy] or b""):
        del wanted[shared.copy]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(shared.copy)
    changed = {copy: content for copy, content in wanted.items() if content is not None and content != readable(copy)}
    if not changed or _check(shared.path, part.path):
        return
    os.makedirs(paths.haproxy, mode=0o700, exist_ok=True)
    for copy, content in changed.items():
        atomic_write(copy, content)


def _repair(paths: AppPaths, why: str) -> str:
    """Put one damaged file back, and say so; "" without one.

    What HAProxy's error names comes first. A file of others is touched only when it is named; when no copy of it is
    kept, it is set aside: without it HAProxy may start. A port that is taken does not make a file a bad one.
    """
    own, others = [*_own(paths), *_of_domain(paths)], _others(paths)
    is_bind = "cannot bind" in why
    named = [file for file in (*own, *others) if file.path in why]
    for file in named or ([] if is_bind else own):
        good = readable(file.copy)
        if good is not None and good != readable(file.path):
            aside = _set_aside(file.path)
            atomic_write(file.path, good, mode=file.mode)
            # The role may have written it since that copy passed.
            desired_files.follow(f"/{os.path.relpath(file.path, paths.root)}", paths.root)
            kept = f"the damaged one is kept as {aside}" if aside else "it was missing"
            return f"{file.path} is restored from the last good copy, {kept}"
        if good is None and file in others and not is_bind:
            aside = _set_aside(file.path)
            desired_files.follow(f"/{os.path.relpath(file.path, paths.root)}", paths.root)
            return f"{file.path}, which keeps HAProxy from starting, is set aside as {aside}"
    return ""


def _set_aside(path: str) -> str:
    """Give a file a name under which HAProxy does not read it, and return that; "" without a file."""
    aside = free_name(path, "damaged")
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return ""
    return aside


@functools.lru_cache(maxsize=64)
def _is_here(host: str) -> bool:
    """Whether a host name or address is this host's own: only what leads here may be asked of an instance instead."""
    try:
        for family, kind, protocol, _unused, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
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
            # With HAProxy's headers: an app may answer differently to requests that come through it.
            headers = health_request.through_balancer(where.scheme, where.host, where.port, request.headers)
            request = request._replace(url=f"http://127.0.0.1:{port}{where.target}", headers=headers)
        return web.fetch(request, now)

    return ask


def check_directives(asked: HealthRequest) -> tuple[str, str]:
    """What HAProxy's own check sends, and the statuses that it expects, as the words of its configuration.

    In `hdr`, a % begins a format (Configuration Manual, http-check send).
    """
    headers = " ".join(f"hdr {name} {_word(value.replace('%', '%%'))}" for name, value in asked.headers)
    send = f"meth {asked.method} uri {_word(asked.target)} ver HTTP/1.1 {headers}"
    return send, ",".join(map(str, asked.status))


def _word(text: str) -> str:
    """A text as one word of HAProxy's configuration: within '' nothing but ' means something."""
    return "'" + text.replace("'", "'\\''") + "'"
