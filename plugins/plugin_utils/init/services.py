# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge the services of compose files, as far as an inventory needs them, and refuse what Compose would refuse. Pure.

Compose itself does this better. But the controller need not have one, and its output has lost lines and variables.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.christmas.selfheal.plugins.module_utils.docker.image_names import repository
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError, Published, Row, Spec
from ansible_collections.christmas.selfheal.plugins.plugin_utils.project_source import Document, Override

# Compose Specification, top-level elements.
_TOP = ("name", "version", "services", "networks", "volumes", "configs", "secrets", "include", "models")
# Compose Specification, services.
# fmt: off
_KEYS = (
    "annotations", "attach", "blkio_config", "build", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "command",
    "configs", "container_name", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period",
    "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "credential_spec", "depends_on", "deploy", "develop",
    "device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname", "entrypoint", "env_file",
    "environment", "expose", "extends", "external_links", "extra_hosts", "gpus", "group_add", "healthcheck",
    "hostname", "image", "init", "ipc", "isolation", "label_file", "labels", "links", "logging", "mac_address",
    "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "network_mode", "networks",
    "oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "ports", "post_start", "pre_stop",
    "privileged", "profiles", "provider", "pull_policy", "pull_refresh_after", "read_only", "restart", "runtime",
    "scale", "secrets", "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt",
    "sysctls", "tmpfs", "tty", "ulimits", "use_api_socket", "user", "userns_mode", "uts", "volumes", "volumes_from",
    "working_dir",
)
# fmt: on
_TYPES: dict[str, tuple[type, ...]] = {
    "ports": (list,),
    "environment": (list, Mapping),
    "env_file": (list, str, Mapping),
    "healthcheck": (Mapping,),
    "build": (str, Mapping),
    "depends_on": (list, Mapping),
    "volumes": (list,),
    "networks": (list, Mapping),
    "configs": (list,),
    "secrets": (list,),
    "image": (str,),
}
# The Compose Specification's schema, services.
_SERVICE = re.compile(r"[a-zA-Z0-9._-]+")
_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535
_SHARED = ("volumes", "networks", "configs", "secrets")
# Of a path, the first sign is another one; a single letter is a drive of Windows.
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
# A `:` inside `${…}` does not separate.
_MOUNT = re.compile(r"(?P<source>(?:\$\{[^}]*\}|[^:])*):(?P<rest>.+)")
_LISTS = ("ports", "env_file", "expose", "volumes")
_PORT = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:]+\]|[0-9]+(?:[.][0-9]+){3}|\$\{[^}]*\}(?=:.*:)):)?(?:(?P<published>.*):)?(?P<target>[^:]+)"
)
_RANGE = re.compile(r"(\d+)-(\d+)")
# The addresses of a port that every machine can reach.
ANYWHERE = ("", "0.0.0.0", "[::]", "::")


def merge(documents: Sequence[Document], files: Sequence[str]) -> dict[str, Spec]:
    """The services after `include`, the files in their order, and `extends`; env files by their path in the project.

    :raises InitError: Compose would refuse the files.
    """
    for document in documents:
        _require_known(document)
    by_name = {document.name: document for document in documents}
    included = [one for one in documents if not one.extended and one.name not in files]
    merged: dict[str, dict[str, Any]] = {}
    for document in (*reversed(included), *(by_name[name] for name in files)):
        for service, spec in _services(document):
            merged[service] = _merged(merged.get(service, {}), _extended(document, service, spec, by_name, ()))
    _require_services(merged, files)
    if not any(_is_elsewhere(document) for document in documents):
        _require_declared(merged, documents)
    return dict(merged)


def ports(services: Mapping[str, Spec]) -> list[Published]:
    """Every port that a service publishes, ranges as they are."""
    return [one for service, spec in services.items() for one in _ports(service, spec)]


def require_ports(published: Sequence[Published], values: Mapping[str, str]) -> None:
    """Refuse ports that Compose refuses. A variable without a value is reported elsewhere.

    :raises InitError: naming the port.
    """
    for one in published:
        parts = [dotenv.resolved(part, values) for part in (one.published, one.target)]
        has_variable = "$" in f"{one.published}{one.target}"
        is_target = _is_port(parts[1]) or (has_variable and not parts[1])
        is_published = not parts[0] or _is_port(parts[0])
        if is_target and is_published and one.protocol in _PROTOCOLS:
            continue
        said = ":".join(part for part in (one.address, *parts) if part)
        raise InitError(
            f"services.{one.service}.ports",
            f"{said}/{one.protocol} is not a port",
            f"write HOST:CONTAINER, such as 8080:80, with numbers from 1 to {_HIGHEST}",
        )


def _is_port(text: str) -> bool:
    """Whether it is a port, or a range of ports."""
    numbers = text.split("-")
    is_number = all(re.fullmatch("[0-9]{1,5}", one) and int(one) <= _HIGHEST for one in numbers)
    return is_number and (len(numbers) == 1 or (len(numbers) == 2 and int(numbers[0]) <= int(numbers[1])))


def require_no_clash(services: Mapping[str, Spec], published: Sequence[Published], values: Mapping[str, str]) -> None:
    """Refuse two services that publish the same port.

    :raises InitError: naming both. Services with profiles need not run at the same time.
    """
    taken: dict[tuple[str, str], Published] = {}
    for one in published:
        if services[one.service].get("profiles"):
            continue
        for port in _numbers(dotenv.resolved(one.published, values)):
            other = taken.setdefault((port, one.protocol), one)
            apart = {one.address, other.address}.isdisjoint(ANYWHERE) and one.address != other.address
            if other.service != one.service and not apart:
                raise InitError(
                    f"services.{one.service}.ports",
                    f"port {port}/{one.protocol} is published by {other.service} too, and a host has it once",
                    f"publish another port for one of {other.service} and {one.service}",
                )


def environment(spec: Spec) -> dict[str, str | None]:
    """What is under `environment:`, as it is written; None for a name whose value is passed on."""
    given = spec.get("environment") or {}
    if isinstance(given, Mapping):
        return {str(name): None if value is None else _text(value) for name, value in given.items()}
    found: dict[str, str | None] = {}
    for item in given:
        name, sign, value = str(item).partition("=")
        found[name] = value if sign else None
    return found


def image(spec: Spec) -> str:
    """The image of a service without its tag; "" for one that is built here."""
    return "" if spec.get("build") else repository(str(spec.get("image") or ""))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _require_known(document: Document) -> None:
    for key in document.content:
        if key in _TOP or key.startswith("x-"):
            continue
        near = difflib.get_close_matches(key, _TOP, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(_TOP)}, or begin it with x-"
        raise InitError(f"{document.name}: {key}", "it is not a top-level element of a compose file", hint)
    services = document.content.get("services")
    if services is not None and not isinstance(services, Mapping):
        raise InitError(
            f"{document.name}: services", "it is not a mapping", "write `services:` and, below it, `web: …`"
        )
    for service, spec in (services or {}).items():
        if not _SERVICE.fullmatch(str(service)):
            fix = "use letters, digits, dots, - and _ only"
            raise InitError(f"{document.name}: services.{service}", "Compose takes no such name for a service", fix)
        if not isinstance(spec, Mapping):
            raise InitError(f"{document.name}: services.{service}", "it is not a mapping", "write `image: …` below it")
        _require_known_keys(document.name, str(service), spec)
        for key, kinds in _TYPES.items():
            if spec.get(key) is not None and not isinstance(spec[key], kinds):
                where = f"{document.name}: services.{service}.{key}"
                raise InitError(where, "it has another type than Compose takes", "see `docker compose config`")
    for key in _SHARED:
        if not isinstance(document.content.get(key) or {}, Mapping):
            raise InitError(f"{document.name}: {key}", "it is not a mapping", f"write `{key}:` and `NAME:` below it")


def _require_known_keys(file: str, service: str, spec: Spec) -> None:
    """Refuse a key that is like one of a service. One that is like none may be of a newer Compose."""
    for key in map(str, spec):
        near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8)
        if near and key not in _KEYS and not key.startswith("x-"):
            reason = "Compose knows no such key of a service"
            raise InitError(f"{file}: services.{service}.{key}", reason, f"did you mean {near[0]}?")


def _require_services(merged: Mapping[str, Spec], files: Sequence[str]) -> None:
    if not merged:
        raise InitError(
            ", ".join(files), "it has no services", "name the app's compose file: -e from=PATH/compose.yaml"
        )
    for service, spec in merged.items():
        if not spec.get("image") and not spec.get("build"):
            raise InitError(
                f"services.{service}", "it has neither an image nor a build section", "add `image: …` or `build: .`"
            )


def _is_elsewhere(document: Document) -> bool:
    """Whether it includes a file that only the host, or another machine, has."""
    return any(sign in str(document.content.get("include") or "") for sign in ("://", "git@", "$"))


def _require_declared(merged: Mapping[str, Spec], documents: Sequence[Document]) -> None:
    """Refuse names of services, volumes, networks, configs and secrets that no file declares."""
    declared: dict[str, set[str]] = {"depends_on": set(merged)}
    for key in _SHARED:
        declared[key] = {str(name) for document in documents for name in document.content.get(key) or {}}
    declared["networks"].add("default")
    for service, spec in merged.items():
        for key, name in _used(spec):
            if "$" not in name and name not in declared[key]:
                what = "service" if key == "depends_on" else f"`{key}:` of the file"
                raise InitError(
                    f"services.{service}.{key}", f"{name} is not declared: no {what} has this name", "correct the name"
                )


def _used(spec: Spec) -> Iterator[tuple[str, str]]:
    """What a service needs by its name: (the key of the service, the name)."""
    needed = spec.get("depends_on") or {}
    for name in needed:
        condition = needed[name] if isinstance(needed, Mapping) else None
        if not isinstance(condition, Mapping) or condition.get("required", True):
            yield "depends_on", str(name)
    for item in spec.get("volumes") or []:
        source = _volume(item)
        if source:
            yield "volumes", source
    for name in spec.get("networks") or []:
        yield "networks", str(name)
    for key in ("configs", "secrets"):
        for item in spec.get(key) or []:
            yield key, str(item.get("source") if isinstance(item, Mapping) else item)


def _volume(item: object) -> str:
    """The name of a volume; "" for a folder, and for a volume without a name."""
    if isinstance(item, Mapping):
        return str(item.get("source") or "") if item.get("type") == "volume" else ""
    source, rest = mount(str(item))
    return source if rest and _VOLUME.fullmatch(source) else ""


def _services(document: Document) -> Iterator[tuple[str, Spec]]:
    for service, spec in (document.content.get("services") or {}).items():
        yield str(service), _placed(document, spec)


def _placed(document: Document, spec: Spec) -> Spec:
    """The service with its relative paths as they are in the project; env files as [{path, required}]."""
    placed = dict(spec)
    if spec.get("env_file") is not None:
        given = spec["env_file"]
        placed["env_file"] = [_env_file(document, item) for item in (given if isinstance(given, list) else [given])]
    if spec.get("volumes"):
        placed["volumes"] = [_mount(document, item) for item in spec["volumes"]]
    return placed


def _env_file(document: Document, item: object) -> Row:
    path = item.get("path") if isinstance(item, Mapping) else item
    required = item.get("required", True) if isinstance(item, Mapping) else True
    place = str(path) if str(path).startswith(("/", "$")) else posixpath.join(document.base, str(path))
    return {"path": posixpath.normpath(place), "required": bool(required)}


def mount(text: str) -> tuple[str, str]:
    """(source, target and options) of the short form of a volume; "" for the second when there is only a target."""
    found = _MOUNT.fullmatch(text)
    return (found["source"], found["rest"] or "") if found else (text, "")


def _mount(document: Document, item: object) -> object:
    if isinstance(item, Mapping):
        source = str(item.get("source") or "")
        return {**item, "source": _below(document, source)} if item.get("type") == "bind" else item
    source, rest = mount(str(item))
    return f"{_below(document, source)}:{rest}" if rest else item


def _below(document: Document, path: str) -> str:
    """A path that begins with a dot, in the project; every other one is a volume's name, or the host's."""
    return f"./{posixpath.normpath(posixpath.join(document.base, path))}" if path.startswith(".") else path


def _extended(
    document: Document, service: str, spec: Spec, by_name: Mapping[str, Document], seen: tuple[tuple[str, str], ...]
) -> Spec:
    """The service with those that it extends below it."""
    given = spec.get("extends")
    if not given or (document.name, service) in seen:
        return spec
    name = str(given.get("service")) if isinstance(given, Mapping) else str(given)
    file = str(given.get("file") or "") if isinstance(given, Mapping) else ""
    other = by_name.get(posixpath.normpath(posixpath.join(document.base, file))) if file else document
    base = dict(_services(other)).get(name) if other else None
    if base is None or other is None:
        if other is None:
            return spec  # from elsewhere, which only the host knows
        raise InitError(
            f"{document.name}: services.{service}.extends", f"{other.name} has no service {name}", "correct the name"
        )
    below = _extended(other, name, base, by_name, (*seen, (document.name, service)))
    return _merged({key: value for key, value in below.items() if key not in ("extends", "profiles")}, spec)


def _merged(below: Mapping[str, Any], above: Spec) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if value is None:
            found.pop(key, None)  # `!reset`
        elif key in _LISTS and isinstance(old, list) and isinstance(value, list) and not isinstance(value, Override):
            found[key] = [*old, *(item for item in value if item not in old)]
        elif key == "environment":
            found[key] = {**environment({key: old}), **environment({key: value})}
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            found[key] = {**old, **value}
        else:
            found[key] = value
    return found


def _ports(service: str, spec: Spec) -> Iterator[Published]:
    for item in spec.get("ports") or []:
        if isinstance(item, Mapping):
            yield Published(
                service,
                str(item.get("host_ip") or ""),
                str(item.get("published") or ""),
                str(item.get("target") or ""),
                str(item.get("protocol") or "tcp"),
            )
            continue
        text, _unused, protocol = str(item).partition("/")
        address, published, target = _split(text)
        yield Published(service, address, published, target, protocol or "tcp")


def _split(text: str) -> tuple[str, str, str]:
    """(address, published, target) of the short form; a `:` inside `${…}` does not separate."""
    hidden = re.sub(r"\$\{[^}]*\}", lambda found: found.group().replace(":", "\0"), text)
    found = _PORT.fullmatch(hidden)
    if found is None:
        return "", "", text
    parts = (found["address"] or "", found["published"] or "", found["target"])
    return (parts[0].replace("\0", ":"), parts[1].replace("\0", ":"), parts[2].replace("\0", ":"))


def _numbers(published: str) -> Iterator[str]:
    found = _RANGE.fullmatch(published)
    if found:
        yield from map(str, range(int(found[1]), min(int(found[2]), 65535) + 1))
    elif published.isdigit():
        yield published
