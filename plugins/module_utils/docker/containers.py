# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Containers: their documents from the engine, and one instance as a fact."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from ..host import command as commands
from . import engine
from .engine import EngineError
from .project_layout import is_hardened

# The engine's own name for a volume that was given none.
_ANONYMOUS = re.compile("[0-9a-f]{64}")


Document = Mapping[str, Any]
"""What `docker inspect` prints of one container: the engine's own format (Docker Engine API, ContainerInspect)."""


def inspected(app: str, timeout: float = 5.0, path: str = "") -> list[Document]:
    """Return the `docker inspect` documents of an app's containers, asked for without a docker process.

    :arg app: "" for all containers of this host.
    :raises EngineError: the engine does not answer, or not in time.
    """
    return _inspected([f"com.docker.compose.project={app}"] if app else [], timeout, path or engine.address())


def documents(app: str, timeout: float = 10.0) -> list[Document]:
    """Return what `docker inspect` says of an app's containers, by name. It holds the env's values: never log it."""
    # A container of `docker compose run` is not an instance.
    labels = [f"com.docker.compose.project={app}", "com.docker.compose.oneoff=False"]
    return sorted(_inspected(labels, timeout, engine.address()), key=lambda document: str(document["Name"]))


def _inspected(labels: Sequence[str], timeout: float, path: str) -> list[Document]:
    filters = urllib.parse.quote(json.dumps({"label": list(labels)} if labels else {}))
    found = []
    try:
        for one in engine.ask(f"/containers/json?all=true&filters={filters}", timeout, path) or []:
            # One that was removed since has no document.
            if document := engine.ask(f"/containers/{one['Id']}/json", timeout, path):
                found.append(document)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"the Docker engine does not answer at {path}: {error or type(error).__name__}") from None
    return found


def seconds_since(text: str, now: float) -> float | None:
    """Seconds from one of the engine's RFC 3339 times to `now` (epoch s); None for "never" (the year 1) or no time.

    A time in the future says that the clock was set back: then nothing is known, None. Times of health checks are in
    the host's own zone, as in 22:52:42.101978294+08:00; all others are in UTC.
    """
    parts = _TIME.fullmatch(text)
    try:
        found = datetime.strptime(f"{parts[1]}{parts[3] or 'Z'}", "%Y-%m-%dT%H:%M:%S%z") if parts else None
    except ValueError:
        found = None
    if parts is None or found is None or found.year <= 1970:
        return None
    begun = found.timestamp() + float(parts[2] or 0.0)
    return round(now - begun, 3) if begun <= now + 1.0 else None


_TIME = re.compile(r"(.{19})(\.\d+)?(Z|[+-]\d\d:\d\d)?")


class Target(TypedDict):
    """Where a published TCP port of a container is reached."""

    host_ip: str
    host_port: int
    container_port: int


class Limits(TypedDict):
    """Limits of a container in cores, bytes and a count; 0 for none."""

    cpus: float
    memory_bytes: int
    memory_reservation_bytes: int
    pids: int


class HealthRun(TypedDict):
    """One run of a container's health check; times as RFC 3339."""

    begun: str
    time: str
    exit_code: int | None
    output: str


class Container(TypedDict):
    """One container as facts, without any of its environment.

    Times are the engine's RFC 3339 strings. `started_seconds` and `finished_seconds` are how long ago it last started
    and ended; None for never. `start_period` is how long its health check gives it (s). `networks` are its addresses by
    network. `anonymous_volumes` are {folder in it: path on this host} of volumes without a name, which no other
    container ever gets.
    """

    id: str
    name: str
    service: str
    config_hash: str
    state: str
    exit_code: int
    oom_killed: bool
    error: str
    health: str
    health_log: list[HealthRun]
    restarts: int
    started: str
    finished: str
    started_seconds: float | None
    finished_seconds: float | None
    start_period: float
    networks: dict[str, str]
    targets: list[Target]
    anonymous_volumes: dict[str, str]
    network_mode: str
    pid: int
    image: str
    digest: str
    limits: Limits
    read_only: bool
    job_done: bool
    restart_policy: str
    ports: list[int]


def limits(document: Document) -> Limits:
    """The limits of a container."""
    host = document["HostConfig"]
    return {
        "cpus": (host.get("NanoCpus") or 0) / 1e9,
        "memory_bytes": host.get("Memory") or 0,
        "memory_reservation_bytes": host.get("MemoryReservation") or 0,
        "pids": host.get("PidsLimit") or 0,
    }


def settings(given: Limits, restart_policy: str) -> dict[str, str]:
    """What `docker update` changes of a container, as text that can be compared and shown."""
    return {
        "cpus": f"{given['cpus']:g}",
        "memory": _mebibytes(given["memory_bytes"]),
        "memory reservation": _mebibytes(given["memory_reservation_bytes"]),
        "pids": str(max(given["pids"], 0)),
        "restart": restart_policy or "no",
    }


def _mebibytes(count: int) -> str:
    return f"{count / 1048576:g} MiB"


def instance(document: Document, now: float) -> Container:
    """Turn a container's document into facts; what they say of ages counts back from `now` (epoch s)."""
    state_, config, host = document["State"], document["Config"], document["HostConfig"]
    bindings = _bindings(document)
    labels = config.get("Labels") or {}
    health = state_.get("Health") or {}
    restart_policy = (host.get("RestartPolicy") or {}).get("Name", "")
    return {
        "id": document["Id"],
        "name": document["Name"].lstrip("/"),
        "service": labels.get("com.docker.compose.service", ""),
        "config_hash": labels.get("com.docker.compose.config-hash", ""),
        "state": state_["Status"],
        "exit_code": state_.get("ExitCode", 0),
        "oom_killed": bool(state_.get("OOMKilled")),
        "error": state_.get("Error", ""),
        "health": health.get("Status", "none"),
        "health_log": [_health_entry(entry) for entry in (health.get("Log") or [])[-3:]],
        "restarts": document.get("RestartCount", 0),
        "started": state_.get("StartedAt", ""),
        "finished": state_.get("FinishedAt", ""),
        "started_seconds": seconds_since(state_.get("StartedAt", ""), now),
        "finished_seconds": seconds_since(state_.get("FinishedAt", ""), now),
        "start_period": ((config.get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9,
        "networks": {
            name: network.get("IPAddress", "")
            for name, network in ((document.get("NetworkSettings") or {}).get("Networks") or {}).items()
        },
        "targets": [_target(port, bound) for port, bound in bindings if port.endswith("/tcp")],
        "anonymous_volumes": _anonymous_volumes(document),
        "network_mode": host.get("NetworkMode", ""),
        "pid": state_.get("Pid", 0),
        "image": config.get("Image", ""),
        "digest": document.get("Image", ""),
        "limits": limits(document),
        "read_only": bool(host.get("ReadonlyRootfs")),
        "job_done": _is_done(state_, restart_policy),
        "restart_policy": restart_policy,
        "ports": sorted({int(bound["HostPort"]) for _port, bound in bindings}),
    }


def _health_entry(entry: Mapping[str, Any]) -> HealthRun:
    """One run of a health check."""
    return {
        "begun": entry.get("Start", ""),
        "time": entry.get("End", ""),
        "exit_code": entry.get("ExitCode"),
        "output": entry.get("Output", ""),
    }


def _bindings(document: Document) -> list[tuple[str, Mapping[str, Any]]]:
    """The ports of this host that a container has: [(its own port, as 80/tcp, and the binding)], by its own ports."""
    found = []
    for port, bindings in sorted(_published(document).items()):
        found += [(port, bound) for bound in bindings or [] if str(bound.get("HostPort", "")).isdigit()]
    return found


def _target(port: str, bound: Mapping[str, Any]) -> Target:
    """Where a TCP port of a container is reached."""
    return {
        "host_ip": bound.get("HostIp", ""),
        "host_port": int(bound["HostPort"]),
        "container_port": int(port.split("/")[0]),
    }


def _anonymous_volumes(document: Document) -> dict[str, str]:
    return {
        str(mount["Destination"]): str(mount.get("Source", ""))
        for mount in document.get("Mounts") or []
        if mount.get("Type") == "volume" and _ANONYMOUS.fullmatch(str(mount.get("Name", "")))
    }


def _is_done(state_: Mapping[str, Any], restart_policy: str) -> bool:
    """Whether this is a job that has done its work, which is not a service that stopped."""
    ended_well = state_["Status"] == "exited" and not state_.get("ExitCode")
    return ended_well and restart_policy in ("", "no", "on-failure")


def unnamed_data(item: Container) -> list[str]:
    """Return the folders of an instance that are on a volume without a name, with something in it."""
    return sorted(folder for folder, path in item["anonymous_volumes"].items() if _holds_something(path))


def _holds_something(path: str) -> bool:
    """Whether a folder is not empty. One that cannot be read may hold anything."""
    try:
        return bool(os.listdir(path))
    except OSError:
        return True


def _published(document: Document) -> Mapping[str, Any]:
    """The port bindings of a container; where it may have any of a range, the one that it got, as long as it runs."""
    asked: Mapping[str, Any] = document["HostConfig"].get("PortBindings") or {}
    if all(str(b.get("HostPort", "")).isdigit() for bindings in asked.values() for b in bindings or []):
        return asked
    return (document.get("NetworkSettings") or {}).get("Ports") or {}


def times(count: int) -> str:
    """How often something happened."""
    return "once" if count == 1 else f"{count} times"


def label(document: Document, key: str) -> str:
    """Return what Compose has labelled a container with: `service`, `project.working_dir` and so on; "" for nothing."""
    return str((document["Config"].get("Labels") or {}).get(f"com.docker.compose.{key}", ""))


def environment(document: Document) -> dict[str, str]:
    """Return the environment that a container runs with, from its `docker inspect` document. Never show it."""
    pairs = (entry.partition("=") for entry in document["Config"].get("Env") or [])
    return {name: value for name, _unused, value in pairs}


def started_by_hand(document: Document) -> str:
    """Return the folder of the `docker compose` that created a container without the overlay, "" for another one."""
    files = label(document, "project.config_files")
    if not files or is_hardened(files):
        return ""
    return label(document, "project.working_dir")


def remove_labelled(label: str, timeout: float = 30.0) -> None:
    """Kill and remove the containers with a label, and their volumes without a name."""
    listed = commands.run(["docker", "ps", "--all", "--quiet", "--filter", f"label={label}"], timeout)
    if listed.code:
        raise EngineError(f"docker ps failed: {listed.reason}", listed.code)
    if listed.out.split():
        # One that ends just now is removed by the engine itself.
        commands.run(["docker", "rm", "--force", "--volumes", *listed.out.split()], timeout)


def within(container: str, command: Sequence[str], names: Iterable[str] = (), stdin: bool = False) -> list[str]:
    """Return the command that runs another one in a container; of the variables only the names are in it."""
    given = [word for name in names for word in ("--env", name)]
    return ["docker", "exec", *(["--interactive"] if stdin else []), *given, container, *command]
