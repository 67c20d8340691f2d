# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of services and the user's compose file → the overlay that hardens it. Pure.

For each setting the first that says something wins: the table, the user's compose file, the default. So what the user's
file says stays as it is, and the overlay holds only what it adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.app import Balancer
from ..docker.model import Model, Services, Spec
from ..probe.health_request import HealthRequest, container_command
from . import known_images
from .jobs import JOB_LABEL, copied_files, jobs
from .services import NONE, TABLE, OverlayError, Service, read_table, size

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
# A server may take minutes to initialize its data, or to recover them.
SERVER_HEALTH = {"interval": "10s", "timeout": "5s", "retries": 5, "start_period": "300s"}
GRACE = "10s"
LOG_MAX_SIZE, LOG_MAX_FILE = "10m", 3

# The keys that Compose had before `deploy`. It wants both to say the same where both are there.
LEGACY = {
    ("limits", "cpus"): "cpus",
    ("limits", "memory"): "mem_limit",
    ("limits", "pids"): "pids_limit",
    ("reservations", "cpus"): "",
    ("reservations", "memory"): "mem_reservation",
}

# The ports of a site: one redirects to the other.
_WEB = frozenset(("80", "443"))
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./=+-]*|\d+[A-Za-z]+")
_NO_TEXT = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_NUMBER = re.compile(r"\d+[eExXoObB]")


class Rendered(NamedTuple):
    """The overlay, and by service the settings that the user's file has said and that were left to it."""

    text: str
    kept: dict[str, list[str]]


def render(
    table: Mapping[str, Service],
    project: Services,
    engine: Sequence[int],
    balanced: Balancer | None = None,
    added: Mapping[str, Sequence[str]] | None = None,
    volumes: Sequence[str] = (),
    model: Model | None = None,
    written: Model | None = None,
    asked: HealthRequest | None = None,
) -> Rendered:
    """Write the overlay for every service of the project.

    :arg table: what `read_table` returned; a service that it does not name gets the defaults.
    :arg project: ``services`` of the user's file as `docker compose config --format json` has them, all profiles.
    :arg engine: the engine's version, e.g. (26, 1, 5).
    :arg balanced: the load balancer; its service gets that many instances, on loopback ports.
    :arg added: by service, the lines that its block begins with; they make up a service that is not in the user's
        file.
    :arg volumes: the named volumes that those lines use.
    :arg model: the user's whole file, whose configs and secrets tell how they get into a container.
    :arg written: the same before interpolation. There Compose keeps what equals its own default.
    :arg asked: the request of the health check, which the healthcheck of the service that answers it sends, too.
    :raises OverlayError: the table names a service that is not in the project, or contradicts the user's file.
    """
    for name in table:
        if name not in project:
            there = ", ".join(sorted(project)) or "none"
            raise OverlayError(
                f"{TABLE}.{name}", "is not a service of compose.yaml", f"use one of its services: {there}"
            )
    if balanced and balanced.service not in project:
        there = ", ".join(sorted(project)) or "none"
        reason = f"{balanced.service} is not a service of compose.yaml"
        raise OverlayError("compose_app_service", reason, f"use one of its services: {there}")
    blocks, kept = [], {}
    run_once = jobs({"services": project})
    for name in sorted(project):
        said = ((written or {}).get("services") or {}).get(name) or {}
        spec = {"read_only": False, **project[name]} if "read_only" in said else project[name]
        writer = _Writer(name, table.get(name, Service({}, {})), spec, engine)
        writer.job = name in run_once or bool(writer.said.get("job"))
        writer.copied = copied_files(project[name], model or {})
        writer.balanced = balanced if balanced and balanced.service == name else None
        writer.asked = asked
        writer.lines += (added or {}).get(name, ())
        blocks.append(writer.block())
        kept[name] = writer.kept
    named = "\nvolumes:\n" + "".join(f"  {scalar(name)}: {{}}\n" for name in volumes) if volumes else ""
    return Rendered(HEADER + "services:\n" + "\n".join(blocks) + named, kept)


def check_fit(table: Mapping[str, Service], project: Services, cores: int, memory: int) -> None:
    """Raise OverlayError when a limit is more than the host has: the engine would refuse it, or it would limit nothing.

    :arg cores: of the host.
    :arg memory: of the host, in bytes.
    """
    for name, spec in sorted(project.items()):
        service = table.get(name, Service({}, {}))
        least = needs_of(service, spec, ()).memory
        for key, default, has, shown in (
            ("cpus", CPUS, float(cores), f"{cores} core{'s' if cores != 1 else ''}"),
            ("memory", least, float(memory), f"{memory >> 20}M of memory"),
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


def weak_points(
    project: Services,
    balanced: Balancer | None = None,
    model: Model | None = None,
    asked: Collection[int] = (),
) -> list[str]:
    """What the user's own file opens, in one sentence each: the overlay leaves it, and cannot make up for it.

    :arg asked: the ports that the app's checks ask: its web entries, which are public by intent.
    """
    found = []
    for name, spec in sorted(project.items()):
        copied = copied_files(spec, model or {})
        if copied:
            found.append(
                f"{name} keeps a writable root file system, because Compose copies {', '.join(copied)} into it; "
                "with file: instead of content: or environment: it can be read-only"
            )
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
        ports = open_ports(_without_web_ports(spec, asked)) if not balanced or name != balanced.service else []
        if ports:
            found.append(
                f"{name} publishes port{'s' if len(ports) > 1 or '-' in ports[0] else ''} {', '.join(ports)} on every "
                'address of the host, past its firewall; put an address in front, e.g. "127.0.0.1:…"'
            )
    return found


def _without_web_ports(spec: Spec, asked: Collection[int]) -> Spec:
    """A service without the ports that a check asks, and without 80 and 443 next to such a port."""
    ports = spec.get("ports") or []
    published = [str(one.get("published") or one.get("target")) if isinstance(one, Mapping) else "" for one in ports]
    web = {str(port) for port in asked}
    if not web.intersection(published):
        return spec
    web |= _WEB
    return {**spec, "ports": [one for one, port in zip(ports, published) if port not in web]}


def open_ports(spec: Spec) -> list[str]:
    """The ports that a service publishes on every address, as ranges, e.g. ["80", "50000-50100/udp"]."""
    numbers: dict[str, set[int]] = {}
    others: list[str] = []
    for port in spec.get("ports") or []:
        if not isinstance(port, Mapping) or port.get("host_ip", "") not in ("", "0.0.0.0", "::"):
            continue
        kind = "/udp" if port.get("protocol") == "udp" else ""
        shown = str(port.get("published") or port.get("target"))
        if shown.isdigit():
            numbers.setdefault(kind, set()).add(int(shown))
        else:
            others.append(shown + kind)
    found = [one + kind for kind in sorted(numbers) for one in _ranges(sorted(numbers[kind]))]
    return list(dict.fromkeys([*found, *others]))


def _ranges(numbers: Sequence[int]) -> list[str]:
    """Numbers in order, those that follow each other as "first-last"."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found]


class _Writer:
    """Writes the lines of one service."""

    def __init__(self, name: str, service: Service, spec: Spec, engine: Sequence[int]) -> None:
        self.name, self.said, self.loosened, self.spec = name, service.said, service.loosened, spec
        self.engine = tuple(engine)
        self.needs = needs_of(service, spec, engine)
        self.start_interval = self.engine >= START_INTERVAL_ENGINE
        self.balanced: Balancer | None = None
        self.asked: HealthRequest | None = None
        self.job = False
        self.copied: list[str] = []
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

    def _add(self, key: str, value: object) -> None:
        self.lines.append(f"{key}: {flow(value)}")

    def _because(self, key: str) -> bool:
        """Write the reason why a default is loosened, when it is."""
        if key in self.loosened:
            self.lines.append(f"# {key} loosened: {self.loosened[key].because}")
        return key in self.loosened

    def _for_image(self, key: str) -> None:
        """Write that a default is another one because of the image."""
        self.lines.append(f"# {key}: what {self.needs.image} needs")

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
            if not self.needs.init:
                self._for_image("init")
            self._add("init", self.needs.init)

    def _root(self) -> None:
        loose = self._because("read_only")
        if not loose and self._own("read_only") is None:
            loose = self._needs_writable_root()
        if not loose and self._own("read_only") is False:
            self.kept.append("read_only")
            loose = True
        else:
            self._add("read_only", not loose)
        mounted = {_path(str(volume.get("target", ""))) for volume in self._own("volumes") or []}
        own = [str(entry) for entry in self._own("tmpfs") or []]
        if "tmpfs" in self.said:
            self._say_tmpfs(self.said["tmpfs"], mounted, own)
            return
        # A second mount at the same place would hide the user's, or be refused by the engine.
        taken = mounted.union(map(_path, own))
        entries = [path for path in (*TMPFS, *self.needs.tmpfs) if _path(path) not in taken]
        if entries and not loose:
            self._add("tmpfs", entries)

    def _needs_writable_root(self) -> bool:
        """Write the reason why the root file system stays writable, when it has to."""
        if self.copied:
            self.lines.append(f"# read_only: Compose copies {', '.join(self.copied)} into the container")
        elif not self.needs.read_only:
            self._for_image("read_only")
        return bool(self.copied) or not self.needs.read_only

    def _say_tmpfs(self, said: Sequence[str], mounted: set[str], own: Sequence[str]) -> None:
        """Write what the table says, in place of what the file has at the same paths."""
        for entry in said:
            if _path(entry) in mounted:
                where = f"{TABLE}.{self.name}.tmpfs"
                reason = f"names {entry.split(':')[0]}, where compose.yaml mounts a volume"
                raise OverlayError(where, reason, "remove this path from tmpfs: the volume there is writable")
        paths = {_path(entry) for entry in said}
        others = [entry for entry in own if _path(entry) not in paths]
        # Compose appends to a list, and refuses two mounts at one place (2.40).
        if len(others) < len(own):
            self.lines.append(f"tmpfs: !override {flow([*others, *said])}")
        elif said:
            self._add("tmpfs", list(said))

    def _privileges(self) -> None:
        if self._because("cap_drop"):
            if self.loosened["cap_drop"].to:
                self._add("cap_drop", self.loosened["cap_drop"].to)
        elif "ALL" not in (str(name).upper() for name in self._own("cap_drop") or []):
            self._add("cap_drop", ["ALL"])
        self._capabilities()
        own = [str(option).replace("=", ":") for option in self._own("security_opt") or []]
        said = [option for option in own if option.startswith("no-new-privileges")]
        # Compose refuses a list that holds an entry twice.
        if self._because("no_new_privileges") and "no-new-privileges:false" not in said:
            self._add("security_opt", ["no-new-privileges:false"])
        elif said:
            self.kept.append("security_opt")
        else:
            self._add("security_opt", ["no-new-privileges:true"])

    def _label(self, name: str, value: str) -> None:
        """Add a label. A service whose files are watched has one already, and YAML takes a key once."""
        if "labels:" not in self.lines:
            self.lines.append("labels:")
        self.lines.insert(self.lines.index("labels:") + 1, f'  {name}: "{value}"')

    def _capabilities(self) -> None:
        """Add what the table says; else what the image needs, unless the user's file gives a complete list."""
        own = {str(name).upper() for name in self._own("cap_add") or []}
        if self._because("cap_add"):
            self._add("cap_add", self.loosened["cap_add"].to)
            return
        complete = "ALL" in (str(name).upper() for name in self._own("cap_drop") or [])
        missing = [name for name in self.needs.capabilities if name not in own and f"CAP_{name}" not in own]
        if missing and not complete and "ALL" not in own and "cap_drop" not in self.loosened:
            self._for_image("cap_add")
            self._add("cap_add", missing)

    def _life(self) -> None:
        if self.job:
            self._label(JOB_LABEL, "true")
        if self._because("restart"):
            self._add("restart", self.loosened["restart"].to)
        elif self.said.get("job") and self._own("restart") in ("always", "unless-stopped"):
            self._add("restart", "no")
        elif (self._own("deploy") or {}).get("restart_policy"):
            self.kept.append("deploy.restart_policy")
        elif not self._keep("restart"):
            self._add("restart", "no" if self.job else "unless-stopped")
        if "stop_grace_period" in self.said:
            self._add("stop_grace_period", self.said["stop_grace_period"])
        elif not self._keep("stop_grace_period"):
            self._add("stop_grace_period", GRACE if self.job else self.needs.grace)

    # --- resources ----------------------------------------------------------------------------------------------------

    def _resources(self) -> None:
        limits: dict[str, object] = {}
        reservations: dict[str, object] = {}
        cpus = self._limit(limits, "cpus", CPUS)
        memory = self._limit(limits, "memory", self._least_memory())
        self._limit(limits, "pids", self.needs.pids)
        for key, default, limit in (("cpus", CPUS_RESERVATION, cpus), ("memory", MEMORY_RESERVATION, memory)):
            lower = limit is not None and measure(key, limit) < measure(key, default)
            self._reserve(reservations, key, limit if lower else default)
        self._swap(memory)
        self._complete("limits", limits)
        self._complete("reservations", reservations)
        if self.balanced:
            if self._own("scale") is not None:
                self._add("scale", self.balanced.instances)
            self.lines += ["deploy:", f"  replicas: {self.balanced.instances}"]
        if limits or reservations:
            self.lines += ["  resources:"] if self.balanced else ["deploy:", "  resources:"]
            self.lines += [f"    limits: {flow(limits)}"] if limits else []
            self.lines += [f"    reservations: {flow(reservations)}"] if reservations else []

    def _least_memory(self) -> object:
        """The default memory limit; more when the user's file reserves more, which the engine would refuse."""
        own = own_resource(self.spec, "reservations", "memory")
        least = self.needs.memory
        if own is None or "memory_reservation" in self.said:
            return least
        if "memory" in self.said and measure("memory", own[0]) > measure("memory", self.said["memory"]):
            reason = f"is less than the {own[0]} bytes that compose.yaml reserves ({own[1]})"
            raise OverlayError(
                f"{TABLE}.{self.name}.memory", reason, f"set memory to at least {own[0]}, or set memory_reservation too"
            )
        return own[0] if measure("memory", own[0]) > measure("memory", least) else least

    def _limit(self, limits: dict[str, object], key: str, default: object) -> object:
        """Add one limit to ``limits``, and return the one that is in force, None without one."""
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

    def _reserve(self, reservations: dict[str, object], key: str, default: object) -> None:
        """Add one reservation to ``reservations``."""
        own, where = own_resource(self.spec, "reservations", key) or (None, "")
        wanted = self.said.get(f"{key}_reservation", default if own is None else None)
        if wanted is None:
            self.kept += [where] if own is not None else []
            return
        reservations[key] = wanted
        self._repeat(LEGACY["reservations", key], wanted)

    def _complete(self, part: str, written: dict[str, object]) -> None:
        """Repeat the user's older keys in a block that is written: Compose reads a missing one as another value."""
        if not written:
            return
        older = {key: self._own(legacy) for (block, key), legacy in LEGACY.items() if block == part and legacy}
        for key, own in older.items():
            if own:
                written.setdefault(key, str(own) if key == "cpus" else own)

    def _repeat(self, legacy: str, value: object) -> None:
        """Compose refuses a project where the older key and the one under deploy differ."""
        if legacy and self._own(legacy):
            self._add(legacy, float(str(value)) if legacy == "cpus" else value)

    def _swap(self, memory: object) -> None:
        """Without swap, an app past its limit is killed and restarted at once; with it, it crawls for minutes."""
        own = self._own("memswap_limit")
        if self._because("memory_swap"):
            to = self.loosened["memory_swap"].to
            self._add("memswap_limit", -1 if to == NONE else to)
        elif own is not None and (
            memory is None or str(own) == "-1" or measure("memory", own) >= measure("memory", memory)
        ):
            self.kept.append("memswap_limit")
        elif memory is not None:
            self._add("memswap_limit", memory if isinstance(memory, str) and not memory.isdigit() else int(str(memory)))

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
        defaults = HEALTH
        if self.needs.health and not (path or test or own or self.job):
            self._for_image("healthcheck")
            test, defaults = ["CMD-SHELL", self.needs.health], SERVER_HEALTH
        fields: dict[str, object] = {}
        if path or test:
            fields = {key: value for key, value in defaults.items() if key not in own}
            if self.start_interval and "start_interval" not in own:
                fields["start_interval"] = START_INTERVAL
        elif own and not own.get("disable"):
            fields = self._earlier(own, said)
        fields.update(said)
        if own and not (path or test):
            self.kept.append("healthcheck.test" if fields else "healthcheck")
        if not fields:
            return
        self.lines.append("healthcheck:")
        if path:
            self.lines += ["  test:", "    - CMD-SHELL", "    - >-"]
            command = container_command(self.said["port"], path, self.asked if self._answers(path) else None)
            self.lines += [f"      {line}" for line in command]
        elif test:
            self.lines.append(f"  test: {flow(test)}")
        if own.get("disable") and (path or test):
            fields["disable"] = False
        self.lines += [f"  {key}: {flow(value)}" for key, value in fields.items()]

    def _earlier(self, own: Mapping[str, object], said: Mapping[str, object]) -> dict[str, object]:
        """Ask the user's own test each second until it passes: what depends on the service waits for that.

        It turns unhealthy as late as before: what fails within the first interval, when it was not asked, counts for
        nothing.
        """
        if not self.start_interval or "start_interval" in own:
            return {}
        first = own.get("start_period") or said.get("interval") or own.get("interval") or HEALTH["interval"]
        period = {} if own.get("start_period") else {"start_period": first}
        return {**period, "start_interval": START_INTERVAL}

    def _answers(self, path: str) -> bool:
        """Whether it is this service that the health check asks, by its path and its published port."""
        if self.asked is None or self.asked.target.split("?")[0] != path:
            return False
        if self.balanced is not None:
            return self.asked.port in self.balanced.ports
        published = {
            str(one.get("published")) for one in self._own("ports") or [] if one.get("target") == self.said["port"]
        }
        return str(self.asked.port) in published

    def _logging(self) -> None:
        if self._because("logging"):
            if self.loosened["logging"].to != NONE:
                self._add("logging", self.loosened["logging"].to)
        elif not ({"log_max_size", "log_max_file"} & set(self.said)) and self._own("logging"):
            self.kept.append("logging")
        else:
            options = {
                "max-size": self.said.get("log_max_size", LOG_MAX_SIZE),
                "max-file": str(self.said.get("log_max_file", LOG_MAX_FILE)),
            }
            self._add("logging", {"driver": "json-file", "options": options})


def needs_of(service: Service, spec: Spec, engine: Sequence[int]) -> known_images.Needs:
    """What a service needs because of its image; the defaults of every service where nothing is known."""
    user = str(service.said.get("user") or spec.get("user") or "")
    found = known_images.needs(spec, user, engine)
    if found is None:
        return known_images.Needs("", (), (), "", GRACE, MEMORY, PIDS, True, True)
    return found._replace(grace=found.grace or GRACE, memory=found.memory or MEMORY, pids=found.pids or PIDS)


def _path(entry: str) -> str:
    """The path of a mount, without its options."""
    return entry.split(":")[0].rstrip("/")


def own_resource(spec: Spec, part: str, key: str) -> tuple[object, str] | None:
    """What the user's file says of a resource, and where: under deploy, or by the older key. None when nowhere."""
    under = ((spec.get("deploy") or {}).get("resources") or {}).get(part) or {}
    if under.get(key) is not None:
        return under[key], f"deploy.resources.{part}.{key}"
    legacy = LEGACY[part, key]
    return (spec[legacy], legacy) if legacy and spec.get(legacy) else None


def measure(key: str, value: object) -> float:
    """An amount of a resource as a number: cores, bytes, or a count."""
    return float(size(value) or 0) if key == "memory" else float(str(value))


# --- YAML -------------------------------------------------------------------------------------------------------------


def flow(value: object) -> str:
    """A value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: object) -> str:
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
