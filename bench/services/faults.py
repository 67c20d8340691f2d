# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The faults of single services of the multi-service app, and the verdict on a round. Pure: no clock, no I/O.

The app is the project of molecule/multi-service: a proxy (web), the app behind it, a database (db), a cache, a worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypedDict

APP = "letters"
DISK = "/srv/bench-disk"
"""The small file system that holds the database's data, and the app's logs."""
SICK = "/tmp/sick"
"""While the worker's container has this file, its health check fails."""

ANSWERS, WRITES, WORKER = "answers", "writes", "worker"
"""The signs that a fault is over: ten good answers, ten acknowledged writes, a worker that runs and is healthy."""

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_NANOSECONDS = 1e9


class Fault(NamedTuple):
    """One fault of one service. The commands are shell texts for the host, with the placeholders of `Target`.

    `inject`: the fault itself; `prepare`: comes before it, and before its time counts. `causes`: those that are right.
    `heals`: ANSWERS, WRITES or WORKER. `undo`: ends it when no system did; `cleanup`: always comes after it.
    `names`: what the incident's evidence says where no service is named, a regular expression.
    `quick`: the restart policy may end it before a second look, so it may be without an incident.
    `runs_on`: the container goes on running, so a health check may notice.
    """

    title: str
    service: str
    inject: str
    causes: tuple[str, ...]
    heals: str = ANSWERS
    prepare: str = ""
    undo: str = ""
    cleanup: str = ""
    names: str = ""
    quick: bool = False
    runs_on: bool = False


class Target(NamedTuple):
    """The target of a fault: the names of all containers of its service, the first name, and that container's pid."""

    names: str
    name: str
    pid: str


# Processes that end in between do not count as a failure. The last command fails when the main process is not stopped.
_HANG = (
    "for one in {names}; do docker top $one -eo pid | tail -n +2 | xargs kill -STOP 2>/dev/null || true; done; "
    # The process stops a moment after the signal.
    "for one in $(seq 20); do grep -q '^State:.T' /proc/{pid}/status && break; sleep 0.05; done; "
    "grep -q '^State:.T' /proc/{pid}/status"
)
# Without room for the next segment of its log, PostgreSQL exits, and does not start again.
_NEXT_SEGMENT = "SELECT pg_logical_emit_message(true, 'bench', 'full'), pg_switch_wal()"
_FULL = (
    f"cat /dev/zero >{DISK}/uploads 2>/dev/null || true; "
    f'for one in $(seq 20); do docker exec {{name}} psql -U {APP} -qAt -c "{_NEXT_SEGMENT}" || break; done 2>/dev/null'
)
# Rotated logs may be deleted; they fill a part of the disk.
_ROTATED = (
    f"touch {DISK}/logs/app.log; for one in app.log.1 app.log.2.gz; do head -c 24M /dev/zero >{DISK}/logs/$one; done"
)
# In the container's own layer, which survives a restart, like a stale lock file. A new container does not have it.
_BREAKS = (
    "layer=$(docker inspect --format '{{.GraphDriver.Data.MergedDir}}' {name}); "
    "echo 'raise SystemExit(\"broken\")' >$layer/app/redis.py; kill -9 {pid}"
)

FAULTS: dict[str, Fault] = {
    "app-hung": Fault("the app hangs behind its proxy", "app", _HANG, ("hung",), runs_on=True),
    "db-killed": Fault("the database is killed", "db", "kill -9 {pid}", ("crashed",), quick=True),
    "db-stopped": Fault("the database is stopped", "db", "docker stop {names}", ("crashed",)),
    # Under load the watcher may see it stopped before it is removed.
    "db-removed": Fault("the database is removed", "db", "docker rm -f {names}", ("container_missing", "crashed")),
    "db-hung": Fault("the database hangs", "db", _HANG, ("hung",), runs_on=True),
    "db-disk": Fault(
        "the database's disk is full",
        "db",
        _FULL,
        ("disk_full",),
        heals=WRITES,
        prepare=_ROTATED,
        undo="docker restart -t 1 {name}",
        cleanup=f"rm -f {DISK}/uploads {DISK}/logs/app.log.*",
        names=rf"\b{APP}_db\b",
    ),
    "cache-hung": Fault("the cache hangs", "cache", _HANG, ("hung",), runs_on=True),
    "worker-stopped": Fault("the worker is stopped", "worker", "docker stop -t 1 {names}", ("crashed",), heals=WORKER),
    "worker-loops": Fault(
        "the worker crashes at each start",
        "worker",
        _BREAKS,
        ("crash_loop", "crashed"),
        heals=WORKER,
        undo="docker rm -f {name}",
    ),
    "worker-unhealthy": Fault(
        "the worker is unhealthy",
        "worker",
        f"docker exec {{name}} touch {SICK}",
        ("unhealthy",),
        heals=WORKER,
        undo="docker rm -f {name}",
        runs_on=True,
    ),
    "proxy-down": Fault("the proxy is down", "web", "docker stop -t 1 {names}", ("crashed",)),
}


def fill(text: str, target: Target) -> str:
    """Put the target in place of the placeholders. Raises KeyError for another one."""
    values = target._asdict()
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)


# --- containers and events -------------------------------------------------------------------------------------------


class Container(NamedTuple):
    """One container. `age`: seconds since its start; `slowest`: until its health check says unhealthy, or 0."""

    service: str
    name: str
    pid: int
    state: str
    health: str
    age: float
    slowest: float


def read_containers(documents: Iterable[Mapping[str, Any]], now: float) -> list[Container]:
    """Read `docker inspect` documents. `now`: epoch seconds."""
    found = []
    for document in documents:
        state, config = document["State"], document["Config"]
        found.append(
            Container(
                str((config.get("Labels") or {}).get("com.docker.compose.service", "")),
                str(document["Name"]).lstrip("/"),
                int(state.get("Pid") or 0),
                str(state["Status"]),
                str((state.get("Health") or {}).get("Status", "")),
                now - _epoch(state["StartedAt"]),
                _slowest(config.get("Healthcheck") or {}),
            )
        )
    return sorted(found)


def _epoch(stamp: str) -> float:
    """The engine's time, to the second. That of a container that never ran is long ago."""
    return datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp()


def _slowest(check: Mapping[str, Any]) -> float:
    each = int(check.get("Interval") or 0) + int(check.get("Timeout") or 0)
    return float(each * int(check.get("Retries") or 0) / _NANOSECONDS)


def unwell(containers: Sequence[Container], expected: Mapping[str, int]) -> list[str]:
    """The faults of an app's containers, in sentences. `expected`: the number of containers of each service."""
    found = []
    for service, count in expected.items():
        own = [one for one in containers if one.service == service]
        running = [one for one in own if one.state == "running"]
        if len(running) != count or len(own) != count:
            found.append(f"service {service} has {len(running)} of {count} containers running")
        found += [f"{one.name} is {one.health}" for one in running if one.health not in ("", "healthy")]
    return found


class Event(NamedTuple):
    """One event of a container; `at`: epoch seconds, by the engine's clock."""

    at: float
    service: str
    action: str


def read_event(line: str) -> Event | None:
    """Read a line of `docker events --format json`; None for a truncated one, or another object than a container."""
    try:
        found = json.loads(line)
        attributes = found["Actor"]["Attributes"]
        return Event(found["timeNano"] / _NANOSECONDS, attributes["com.docker.compose.service"], found["Action"])
    except (ValueError, KeyError, TypeError):
        return None


class Back(NamedTuple):
    """When a service's container was started last, and was healthy after that; None for what did not come."""

    started: float | None = None
    healthy: float | None = None


def back(events: Iterable[Event], service: str, since: float) -> Back:
    """Whether a service runs again after a fault at `since`: started, healthy, and not ended since."""
    found = Back()
    for event in events:
        if event.service != service or event.at < since:
            continue
        if event.action == "start":
            found = Back(event.at)
        elif event.action in ("die", "destroy", "health_status: unhealthy"):
            found = Back()
        elif event.action == "health_status: healthy" and found.started and found.healthy is None:
            found = found._replace(healthy=event.at)
    return found


# --- one round -------------------------------------------------------------------------------------------------------


class Incident(TypedDict, total=False):
    """The parts of an incident's record that count here."""

    id: str
    cause: str
    services: list[str]
    evidence: list[str]
    remedies: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    seen: str
    confirmed: str
    ended: str
    seconds: float
    hold: str
    healthy: bool


class Seen(NamedTuple):
    """The observations of one round. Seconds are counted from the fault; None for an event that did not happen.

    `seconds`: until what `heals` says; `written`: until the first of ten acknowledged writes in a row; `whole`: until
    every service was well and the incident was over. `lost`: acknowledged rows that the database does not have.
    """

    seconds: float | None
    written: float | None
    whole: float | None
    lost: int
    incidents: Sequence[Incident]


def names_service(fault: Fault, incident: Incident) -> bool:
    """Whether an incident names the fault's service and no other, or at least the container in its evidence.

    Where one instance of several is at fault, or a file system, the record has no list of services.
    """
    services = incident.get("services") or []
    if services:
        return services == [fault.service]
    pattern = fault.names or rf"\b{APP}-{fault.service}-\d"
    return re.search(pattern, " ".join(incident.get("evidence") or [])) is not None


def problems(fault: Fault, seen: Seen) -> list[str]:
    """The problems of a round with the watcher, a few words each."""
    found = []
    if seen.seconds is None:
        found.append("not recovered")
    elif seen.written is None:
        found.append("no writes since")
    elif seen.whole is None:
        found.append("not whole again")
    if seen.lost:
        found.append("acknowledged rows lost")
    return found + _wrong_reports(fault, seen.incidents)


def _wrong_reports(fault: Fault, incidents: Sequence[Incident]) -> list[str]:
    if not incidents:
        return [] if fault.quick else ["no incident"]
    if len(incidents) > 1:
        return [f"{len(incidents)} incidents instead of one"]
    found, [incident] = [], incidents
    cause = incident.get("cause", "")
    if cause not in fault.causes:
        found.append(f"cause {cause}, expected {' or '.join(fault.causes)}")
    if not names_service(fault, incident):
        services = ", ".join(incident.get("services") or []) or "none"
        found.append(f"service {services}, expected {fault.service}")
    if not incident.get("healthy"):
        found.append("the incident was not closed")
    return found


def lost(acknowledged: Iterable[int], stored: Iterable[str]) -> int:
    """The number of acknowledged records that the database does not have."""
    there = set(stored)
    return sum(str(number) not in there for number in set(acknowledged))
