# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of services and the user's compose file → the overlay that hardens it. Pure.

For each setting the first that says something wins: the table, the user's compose file, the default. So what the user's
file says stays as it is, and the overlay holds only what it adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .app import Balancer
from .services_table import NONE, TABLE, OverlayError, Service, read_table, size

__all__ = ["OverlayError", "Rendered", "check_fit", "read_table", "render", "weak_points"]

HEADER = f"""\
# Written by christmas.selfheal from the inventory variable {TABLE}.
# A change made here is overwritten: make it there. Compose merges this file on top of compose.yaml.
"""

# The numbers of the incident's report, and what the CIS Docker benchmark asks of a container (5.4 to 5.29).
CPUS, CPUS_RESERVATION = "1.0", "0.5"
MEMORY, MEMORY_RESERVATION = "512M", "256M"
PIDS = 256
TMPFS = ("/tmp",)
HEALTH = {"interval": "30s", "timeout": "10s", "retries": 3, "start_period": "40s"}
# Without it an app that starts in a second counts as starting for 30 s, the first interval. Engine 25 brought it.
START_INTERVAL, START_INTERVAL_ENGINE = "1s", (25,)
LOG_MAX_SIZE, LOG_MAX_FILE = "10m", 3

# The keys that Compose had before `deploy`. It wants both to say the same where both are there.
LEGACY = {
    ("limits", "cpus"): "cpus",
    ("limits", "memory"): "mem_limit",
    ("limits", "pids"): "pids_limit",
    ("reservations", "cpus"): "",
    ("reservations", "memory"): "mem_reservation",
}

# No image has a client for certain, so the first of these that it has is used. The proxies that an app is given for the
# outside must not be asked for its own port. `$$` is a `$` in a compose file.
_HEALTH_SHELL = (
    "unset http_proxy HTTP_PROXY all_proxy ALL_PROXY; u='http://127.0.0.1:{port}{path}';",
    'if command -v curl >/dev/null; then exec curl -fsS -o /dev/null "$$u";',
    'elif command -v wget >/dev/null; then exec wget -q -O /dev/null "$$u";',
    "elif command -v python3 >/dev/null; then exec python3 -I -c"
    " 'import sys, urllib.request as r; sys.tracebacklimit = 0; r.urlopen(sys.argv[1])' \"$$u\";",
    "elif command -v node >/dev/null; then exec node -e"
    ' \'require("http").get(process.argv[1], r => process.exit(r.statusCode < 400 ? 0 : 1))\' "$$u";',
    "else echo 'no curl, wget, python3 or node in this image: set healthcheck.test in " + TABLE + "'; exit 1; fi",
)

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./=+-]*|\d+[A-Za-z]+")
_NO_TEXT = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_NUMBER = re.compile(r"\d+[eExXoObB]")


class Rendered(NamedTuple):
    """The overlay, and by service the settings that the user's file has said and that were left to it."""

    text: str
    kept: dict[str, list[str]]


def render(
    table: Mapping[str, Service],
    project: Mapping[str, Mapping[str, Any]],
    engine: Sequence[int],
    balanced: Balancer | None = None,
    added: Mapping[str, Sequence[str]] | None = None,
    volumes: Sequence[str] = (),
) -> Rendered:
    """Write the overlay for every service of the project.

    :arg table: what `read_table` returned; a service that it does not name gets the defaults.
    :arg project: ``services`` of the user's file as `docker compose config --format json` has them, all profiles.
    :arg engine: the engine's version, e.g. (26, 1, 5).
    :arg balanced: the load balancer; its service gets that many instances, on loopback ports.
    :arg added: by service, the lines that its block begins with: what makes up a service that the user's file lacks.
    :arg volumes: the named volumes that those lines use.
    :raises OverlayError: the table names a service that the project lacks, or contradicts the user's file.
    """
    for name in table:
        if name not in project:
            there = ", ".join(sorted(project)) or "none"
            raise OverlayError(f"{TABLE}.{name}", "is no service of compose.yaml", f"use one of its services: {there}")
    if balanced and balanced.service not in project:
        there = ", ".join(sorted(project)) or "none"
        reason = f"{balanced.service} is no service of compose.yaml"
        raise OverlayError("compose_app_service", reason, f"use one of its services: {there}")
    blocks, kept = [], {}
    for name in sorted(project):
        writer = _Writer(name, table.get(name, Service({}, {})), project[name], engine)
        writer.balanced = balanced if balanced and balanced.service == name else None
        writer.lines += (added or {}).get(name, ())
        blocks.append(writer.block())
        kept[name] = writer.kept
    named = "\nvolumes:\n" + "".join(f"  {scalar(name)}: {{}}\n" for name in volumes) if volumes else ""
    return Rendered(HEADER + "services:\n" + "\n".join(blocks) + named, kept)


def check_fit(table: Mapping[str, Service], project: Mapping[str, Mapping[str, Any]], cores: int, memory: int) -> None:
    """Raise OverlayError when a limit is more than the host has: the engine would refuse it, or it would limit nothing.

    :arg cores: of the host.
    :arg memory: of the host, in bytes.
    """
    for name, spec in sorted(project.items()):
        service = table.get(name, Service({}, {}))
        for key, default, has, shown in (
            ("cpus", CPUS, float(cores), f"{cores} core{'s' if cores != 1 else ''}"),
            ("memory", MEMORY, float(memory), f"{memory >> 20}M of memory"),
        ):
            where, own = f"{TABLE}.{name}.{key}", own_resource(spec, "limits", key)
            loosened = service.loosened.get(key)
            if key in service.said or (loosened and loosened.to != NONE):
                value, whose = service.said.get(key, loosened.to if loosened else None), ""
            elif own:
                value, whose, where = own[0], "", f"compose.yaml: services.{name}.{own[1]}"
            elif loosened:
                continue
            else:
                value, whose = default, " (the default)"
            if measure(key, value) > has:
                raise OverlayError(where, f"{value}{whose} is more than the {shown} that this host has", "write less")


def weak_points(project: Mapping[str, Mapping[str, Any]], balanced: Balancer | None = None) -> list[str]:
    """What the user's own file opens, in one sentence each: the overlay leaves it, and cannot make up for it."""
    found = []
    for name, spec in sorted(project.items()):
        if spec.get("privileged"):
            found.append(f"{name} is privileged, which gives back every capability and the host's devices")
        for key in ("network_mode", "pid", "ipc"):
            if spec.get(key) == "host":
                found.append(f"{name} shares the host's {key.replace('_mode', '')} namespace ({key}: host)")
        for volume in spec.get("volumes") or []:
            if isinstance(volume, Mapping) and str(volume.get("source", "")).endswith("docker.sock"):
                found.append(f"{name} mounts the engine's socket, which makes it root on the host")
        if any(str(option).replace("=", ":") == "no-new-privileges:false" for option in spec.get("security_opt") or []):
            found.append(f"{name} allows new privileges (security_opt in compose.yaml)")
        for port in (spec.get("ports") or []) if not balanced or name != balanced.service else []:
            if isinstance(port, Mapping) and port.get("host_ip", "") in ("", "0.0.0.0", "::"):
                shown = port.get("published") or port.get("target")
                found.append(
                    f"{name} publishes port {shown} on every address of the host, past its firewall; put an address in "
                    'front of it, e.g. "127.0.0.1:…"'
                )
    return found


class _Writer:
    """Writes the lines of one service."""

    def __init__(self, name: str, service: Service, spec: Mapping[str, Any], engine: Sequence[int]) -> None:
        self.name, self.said, self.loosened, self.spec = name, service.said, service.loosened, spec
        self.engine = tuple(engine)
        self.start_interval = self.engine >= START_INTERVAL_ENGINE
        self.balanced: Balancer | None = None
        self.lines: list[str] = []
        self.kept: list[str] = []

    def block(self) -> str:
        """All lines, from the service's name on."""
        self._ports()
        self._process()
        self._root()
        self._privileges()
        self._life()
        self._resources()
        self._health()
        self._logging()
        head = [f"  {scalar(self.name)}:"]
        if self.kept:
            head.append(f"    # as compose.yaml has it: {', '.join(self.kept)}")
        return "\n".join([*head, *(f"    {line}" for line in self.lines)]) + "\n"

    def _add(self, key: str, value: Any) -> None:
        self.lines.append(f"{key}: {flow(value)}")

    def _because(self, key: str) -> bool:
        """Write the reason why a default is loosened, when it is."""
        if key in self.loosened:
            self.lines.append(f"# {key} loosened: {self.loosened[key].because}")
        return key in self.loosened

    def _own(self, key: str) -> Any:
        """What the user's file says, None when it says nothing."""
        return self.spec.get(key)

    def _keep(self, key: str) -> bool:
        """Note that the user's own setting stays, when there is one."""
        if self._own(key) is None:
            return False
        self.kept.append(key)
        return True

    def _ports(self) -> None:
        """Behind the load balancer: a loopback port for each instance, and one for the next of them during a deploy."""
        if self.balanced is None:
            return
        where = f"{TABLE}.{self.name}.port"
        port = self.said.get("port")
        if port is None:
            raise OverlayError(
                where, "is not given, and the load balancer needs it", "add port, the one inside the container"
            )
        others = [str(one.get("target")) for one in self._own("ports") or [] if one.get("target") != port]
        if others:
            reason = (
                f"the service publishes port {', '.join(others)} besides {port}, which two instances cannot both hold"
            )
            raise OverlayError(
                f"compose.yaml: services.{self.name}.ports", reason, "publish it from a service of its own"
            )
        slots = self.balanced.slots
        self.lines.append(f'ports: !override ["127.0.0.1:{slots.start}-{slots.stop - 1}:{port}"]')
        if self._own("container_name"):
            self.lines.append("container_name: !reset null")

    def _process(self) -> None:
        if "user" in self.said:
            self._add("user", self.said["user"])
        if self._because("init"):
            self._add("init", False)
        elif not self._keep("init"):
            self._add("init", True)

    def _root(self) -> None:
        loose = self._because("read_only")
        self._add("read_only", not loose)
        mounted = {str(volume.get("target", "")).rstrip("/") for volume in self._own("volumes") or []}
        own = {str(entry).split(":")[0].rstrip("/") for entry in self._own("tmpfs") or []}
        if "tmpfs" in self.said:
            for entry in self.said["tmpfs"]:
                if entry.split(":")[0].rstrip("/") in mounted:
                    where = f"{TABLE}.{self.name}.tmpfs"
                    reason = f"names {entry.split(':')[0]}, where compose.yaml mounts a volume"
                    raise OverlayError(where, reason, "leave it out: a volume is writable already")
            entries = list(self.said["tmpfs"])
        else:
            # A second mount at the same place would hide the user's, or be refused by the engine.
            entries = [] if loose else [path for path in TMPFS if path not in mounted | own]
        if entries:
            self._add("tmpfs", entries)

    def _privileges(self) -> None:
        if self._because("cap_drop"):
            if self.loosened["cap_drop"].to:
                self._add("cap_drop", self.loosened["cap_drop"].to)
        elif "ALL" not in (str(name).upper() for name in self._own("cap_drop") or []):
            self._add("cap_drop", ["ALL"])
        if self._because("cap_add"):
            self._add("cap_add", self.loosened["cap_add"].to)
        own = [str(option).replace("=", ":") for option in self._own("security_opt") or []]
        if self._because("no_new_privileges"):
            self._add("security_opt", ["no-new-privileges:false"])
        elif any(option.startswith("no-new-privileges") for option in own):
            self.kept.append("security_opt")
        else:
            self._add("security_opt", ["no-new-privileges:true"])

    def _life(self) -> None:
        if self._because("restart"):
            self._add("restart", self.loosened["restart"].to)
        elif (self._own("deploy") or {}).get("restart_policy"):
            self.kept.append("deploy.restart_policy")
        elif not self._keep("restart"):
            self._add("restart", "unless-stopped")
        if "stop_grace_period" in self.said:
            self._add("stop_grace_period", self.said["stop_grace_period"])
        elif not self._keep("stop_grace_period"):
            self._add("stop_grace_period", "10s")

    # --- resources ----------------------------------------------------------------------------------------------------

    def _resources(self) -> None:
        limits: dict[str, Any] = {}
        reservations: dict[str, Any] = {}
        cpus = self._limit(limits, "cpus", CPUS)
        memory = self._limit(limits, "memory", self._least_memory())
        self._limit(limits, "pids", PIDS)
        for key, default, limit in (("cpus", CPUS_RESERVATION, cpus), ("memory", MEMORY_RESERVATION, memory)):
            lower = limit is not None and measure(key, limit) < measure(key, default)
            self._reserve(reservations, key, limit if lower else default)
        self._swap(memory)
        if self.balanced:
            self.lines += ["deploy:", f"  replicas: {self.balanced.instances}"]
        if limits or reservations:
            self.lines += ["  resources:"] if self.balanced else ["deploy:", "  resources:"]
            self.lines += [f"    limits: {flow(limits)}"] if limits else []
            self.lines += [f"    reservations: {flow(reservations)}"] if reservations else []

    def _least_memory(self) -> Any:
        """The default memory limit; more when the user's file reserves more, which the engine would refuse."""
        own = own_resource(self.spec, "reservations", "memory")
        if own is None or "memory_reservation" in self.said:
            return MEMORY
        if "memory" in self.said and measure("memory", own[0]) > measure("memory", self.said["memory"]):
            reason = f"is less than the {own[0]} bytes that compose.yaml reserves ({own[1]})"
            raise OverlayError(f"{TABLE}.{self.name}.memory", reason, "add memory_reservation, or write more")
        return own[0] if measure("memory", own[0]) > measure("memory", MEMORY) else MEMORY

    def _limit(self, limits: dict[str, Any], key: str, default: Any) -> Any:
        """Add one limit to ``limits``, and return the one that is in force (None: there is none)."""
        own, where = own_resource(self.spec, "limits", key) or (None, "")
        if self._because(key):
            wanted = self.loosened[key].to
            wanted = None if wanted == NONE else wanted
        else:
            wanted = self.said.get(key, default if own is None else None)
        if wanted is None:
            if own is not None:
                self.kept.append(where)
            return own
        limits[key] = wanted
        self._repeat(LEGACY["limits", key], wanted)
        return wanted

    def _reserve(self, reservations: dict[str, Any], key: str, default: Any) -> None:
        """Add one reservation to ``reservations``."""
        own, where = own_resource(self.spec, "reservations", key) or (None, "")
        wanted = self.said.get(f"{key}_reservation", default if own is None else None)
        if wanted is None:
            self.kept += [where] if own is not None else []
            return
        reservations[key] = wanted
        self._repeat(LEGACY["reservations", key], wanted)

    def _repeat(self, legacy: str, value: Any) -> None:
        """Compose refuses a project where the older key and the one under deploy differ."""
        if legacy and self._own(legacy):
            self._add(legacy, float(value) if legacy == "cpus" else value)

    def _swap(self, memory: Any) -> None:
        """Without swap, an app past its limit is killed and started anew at once; with it, it crawls for minutes."""
        own = self._own("memswap_limit")
        if self._because("memory_swap"):
            to = self.loosened["memory_swap"].to
            self._add("memswap_limit", -1 if to == NONE else to)
        elif own is not None and (
            memory is None or str(own) == "-1" or measure("memory", own) >= measure("memory", memory)
        ):
            self.kept.append("memswap_limit")
        elif memory is not None:
            self._add("memswap_limit", memory if isinstance(memory, str) and not memory.isdigit() else int(memory))

    # --- health and logs ----------------------------------------------------------------------------------------------

    def _health(self) -> None:
        own = self._own("healthcheck") or {}
        said = dict(self.said.get("healthcheck", {}))
        if self._because("healthcheck"):
            self._add("healthcheck", {"disable": True})
            return
        if "start_interval" in said and not self.start_interval:
            where = f"{TABLE}.{self.name}.healthcheck.start_interval"
            reason = (
                f"needs Docker Engine {START_INTERVAL_ENGINE[0]}, and this host has {'.'.join(map(str, self.engine))}"
            )
            raise OverlayError(where, reason, "leave it out, or upgrade the engine")
        path, test = self.said.get("health_path"), said.pop("test", None)
        fields: dict[str, Any] = {}
        if path or test:
            fields = {key: value for key, value in HEALTH.items() if key not in own}
            if self.start_interval and "start_interval" not in own:
                fields["start_interval"] = START_INTERVAL
        fields.update(said)
        if own and not (path or test):
            self.kept.append("healthcheck.test" if fields else "healthcheck")
        if not fields:
            return
        self.lines.append("healthcheck:")
        if path:
            self.lines += ["  test:", "    - CMD-SHELL", "    - >-"]
            self.lines += [
                f"      {line.replace('{port}', str(self.said['port'])).replace('{path}', path)}"
                for line in _HEALTH_SHELL
            ]
        elif test:
            self.lines.append(f"  test: {flow(test)}")
        if own.get("disable") and (path or test):
            fields["disable"] = False
        self.lines += [f"  {key}: {flow(value)}" for key, value in fields.items()]

    def _logging(self) -> None:
        if self._because("logging"):
            if self.loosened["logging"].to != NONE:
                self._add("logging", self.loosened["logging"].to)
        elif not ({"log_max_size", "log_max_file"} & set(self.said)) and self._keep("logging"):
            return
        else:
            options = {
                "max-size": self.said.get("log_max_size", LOG_MAX_SIZE),
                "max-file": str(self.said.get("log_max_file", LOG_MAX_FILE)),
            }
            self._add("logging", {"driver": "json-file", "options": options})


def own_resource(spec: Mapping[str, Any], part: str, key: str) -> tuple[Any, str] | None:
    """What the user's file says of a resource, and where: under deploy, or by the older key. None when nowhere."""
    under = ((spec.get("deploy") or {}).get("resources") or {}).get(part) or {}
    if under.get(key) is not None:
        return under[key], f"deploy.resources.{part}.{key}"
    legacy = LEGACY[part, key]
    return (spec[legacy], legacy) if legacy and spec.get(legacy) else None


def measure(key: str, value: Any) -> float:
    """An amount of a resource as a number: cores, bytes, or a count."""
    return float(size(value) or 0) if key == "memory" else float(value)


# --- YAML -------------------------------------------------------------------------------------------------------------


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A scalar as YAML: a text is quoted unless no YAML parser can take it for something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT and not _NUMBER.match(value):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    return f"\\U{ord(letter):08X}"
