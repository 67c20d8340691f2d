# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host has before anything is installed: Docker and its configuration, the roles' packages, copied projects."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import command as commands

CONFIGURATION_FILE = "/etc/docker/daemon.json"
UNIT, SNAP_UNIT = "docker.service", "snap.docker.dockerd.service"
_SNAP_DATA = "/var/snap/"
# A host under load takes seconds; an engine that hangs never answers.
_ENGINE_SECONDS, _SYSTEMD_SECONDS = 20.0, 20.0
_VERSION = re.compile(r"[0-9]+([.][0-9]+)+")
_NO_UNIT = "not-found"
COMMAND = "/usr/local/bin/selfheal"
# Debian packages that roles install, each with a program or a file that shows that it is installed. A program that was
# installed in another way counts, too.
PACKAGES = {
    "acme-tiny": "acme-tiny",
    "haproxy": "haproxy",
    "libjs-dygraphs": "/usr/share/javascript/dygraphs/dygraph.min.js",
    "logrotate": "logrotate",
    "openssh-client": "ssh",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "amtool",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-pgbouncer-exporter": "prometheus-pgbouncer-exporter",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
    "promtool": "promtool",
    "restic": "restic",
    "rsync": "rsync",
}
_COPIED_PROJECTS = "/var/lib/selfheal/*/incoming/project"


Options = dict[str, Any]
"""The options in /etc/docker/daemon.json: the engine's own format (dockerd reference, "daemon configuration file")."""


class Engine(NamedTuple):
    """What `docker info` says; empty where there is no answer."""

    version: str = ""
    compose_version: str = ""
    root: str = ""
    in_swarm: bool = False


class Unit(NamedTuple):
    """What systemd says of a unit; empty where there is no systemd."""

    load: str = ""
    active: str = ""
    file: str = ""


class Configuration(NamedTuple):
    """The engine's configuration: its text, and what that says; None when it is not a JSON object or cannot be read."""

    text: str
    options: Options | None


class DockerFacts(NamedTuple):
    """The engine, its service and its configuration.

    `foreign` is "snap" or "another" when an engine other than docker.service's is there, else "". `has_unit` says
    whether docker.service exists, `runs_at_boot` whether it is enabled and runs.
    """

    version: str
    compose_version: str
    root: str
    in_swarm: bool
    foreign: str
    has_unit: bool
    runs_at_boot: bool
    configuration: Options | None
    configuration_text: str


class HostFacts(NamedTuple):
    """What roles have to know before they install anything.

    `missing_packages` are names of PACKAGES, `has_command` says whether `selfheal` is installed, `copied_projects`
    names the apps whose project was copied here.
    """

    engine: DockerFacts
    missing_packages: list[str]
    has_command: bool
    copied_projects: list[str]


def read_host(path: str = CONFIGURATION_FILE) -> HostFacts:
    """Read what the roles have to know of this host."""
    return HostFacts(read(path), missing_packages(PACKAGES), is_there(COMMAND), copied_projects(_COPIED_PROJECTS))


def missing_packages(evidence: Mapping[str, str]) -> list[str]:
    """Return the packages whose program, or absolute path, does not exist."""
    return sorted(package for package, place in evidence.items() if not is_there(place))


def is_there(place: str) -> bool:
    """Whether a program, or the file of an absolute path, exists."""
    if os.path.isabs(place):
        return os.path.isfile(place)
    return shutil.which(place, path=commands.environment()["PATH"]) is not None


def copied_projects(pattern: str) -> list[str]:
    """Return the names of the apps with a copy of their project, by its folder .../APP/incoming/project."""
    return sorted(folder.split("/")[-3] for folder in glob.glob(pattern))


def read(path: str = CONFIGURATION_FILE) -> DockerFacts:
    """Read them. What cannot be read is empty: whether that is an error depends on what is to be installed."""
    engine = parse_info(commands.run(["docker", "info", "--format", "{{json .}}"], _ENGINE_SECONDS).out)
    return combine(engine, _unit(UNIT), _unit(SNAP_UNIT), read_configuration(path))


def combine(engine: Engine, unit: Unit, snap: Unit, configuration: Configuration) -> DockerFacts:
    """Put together what was read."""
    return DockerFacts(
        version=engine.version,
        compose_version=engine.compose_version,
        root=engine.root,
        in_swarm=engine.in_swarm,
        foreign=foreign(engine, unit, snap),
        has_unit=unit.load != _NO_UNIT,
        runs_at_boot=(unit.file, unit.active) == ("enabled", "active"),
        configuration=configuration.options,
        configuration_text=configuration.text,
    )


def foreign(engine: Engine, unit: Unit, snap: Unit) -> str:
    """Return who runs the engine when docker.service does not: "snap", "another", or ""."""
    only_snap_has_a_unit = (unit.load, snap.load) == (_NO_UNIT, "loaded")
    if engine.root.startswith(_SNAP_DATA) or only_snap_has_a_unit:
        return "snap"
    return "another" if engine.version and unit.load == _NO_UNIT else ""


def parse_info(text: str) -> Engine:
    """Read what `docker info` printed. It also prints the client's part when the engine does not answer."""
    try:
        found = json.loads(text)
    except ValueError:
        return Engine()
    plugins = (found.get("ClientInfo") or {}).get("Plugins") or []
    compose = next((str(one.get("Version", "")) for one in plugins if one.get("Name") == "compose"), "")
    number = _VERSION.search(compose)
    return Engine(
        version=found.get("ServerVersion") or "",
        compose_version=number.group() if number else "",
        root=found.get("DockerRootDir") or "",
        in_swarm=(found.get("Swarm") or {}).get("LocalNodeState") == "active",
    )


def _unit(name: str) -> Unit:
    argv = ["systemctl", "show", "--property", "LoadState,ActiveState,UnitFileState", name]
    return parse_unit(commands.run(argv, _SYSTEMD_SECONDS).out)


def parse_unit(text: str) -> Unit:
    """Read what `systemctl show` printed, a line Property=value for each."""
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return Unit(found.get("LoadState", ""), found.get("ActiveState", ""), found.get("UnitFileState", ""))


def read_configuration(path: str) -> Configuration:
    """Read the engine's configuration; a file that does not exist configures nothing."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            text = stream.read()
    except FileNotFoundError:
        return Configuration("{}", {})
    except (OSError, UnicodeDecodeError):
        return Configuration("", None)
    try:
        options = json.loads(text)
    except ValueError:
        return Configuration(text, None)
    return Configuration(text, options if isinstance(options, dict) else None)
