# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Prometheus asks and its exporters read, as the role monitoring writes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.christmas.selfheal.plugins.plugin_utils.needed_packages import NeededPackage
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import whole_number

Hosts = Mapping[str, Mapping[str, object]]
"""Ansible's `hostvars`: the variables of each host."""

UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/multi-user.target.wants"
SSH_PORT = 22

# By kind: Debian's package. Its own unit is for one exporter on a host alone.
PACKAGES = {
    "cache": "prometheus-redis-exporter",
    "pool": "prometheus-pgbouncer-exporter",
    "database": "prometheus-postgres-exporter",
}
# The first with --exclude-latency-histogram-metrics, and with --no-collector.roles (exporter.service.j2). Debian 12 has
# another program of the pool's name: its version is higher, without an epoch.
_MINIMUMS = {"cache": "1.60", "pool": "1:0.10", "database": "0.16"}
_WITHOUT = {
    "cache": "set monitoring_cache to false",
    "pool": "set monitoring_pool to false",
    "database": "leave monitoring_database empty",
}
# The files of targets that every host has, and the parts of an app's rules.
JOBS = ("node", "containers", "balancer", "checks", "monitoring")
RULES = ("", ".backing", ".backup")
# A check with one of these is more than one request can do from outside.
_NOT_ASKED = {"json", "body", "headers", "status"}


class Exporter(TypedDict):
    """An exporter for a cache, a pool or a database, whether it is wanted or not."""

    kind: str
    package: str
    wanted: bool
    unit: str
    runtime: str
    file: str
    port: int
    secret: str


class Group(TypedDict):
    """A group of targets in a file that Prometheus reads."""

    targets: list[str]
    labels: dict[str, str]


class ManagedFile(TypedDict, total=False):
    """A file for the module host_files."""

    path: str
    mode: str
    state: str
    content: str


class Scraped(TypedDict):
    """What Prometheus asks of a host.

    `host`, `app` are labels; `at` is the address of the exporters, `ports` theirs by kind; `own` are the ports of
    Prometheus and Alertmanager where they are on the same host; `balancer` is the port of HAProxy's metrics or 0, `tls`
    an address with a certificate or "".
    """

    host: str
    app: str
    at: str
    ports: Mapping[str, object]
    own: Sequence[object]
    balancer: int
    tls: str


# --- the names of a server ---


def server_names(names: Iterable[str], variables: Hosts, host: str) -> list[str]:
    """Return the names that the inventory has for this host's server, in the order of their apps.

    A server has a name for each of its apps. Names of which nothing is measured are left out, except the host's own.
    """
    address = _address(variables[host], host)
    found = [
        (str(its.get("selfheal_app", "")), name)
        for name, its in ((name, variables[name]) for name in names)
        if name == host or (_is_measured(its) and _address(its, name) == address)
    ]
    return [name for _unused, name in sorted(found)]


def _is_measured(variables: Mapping[str, object]) -> bool:
    return bool(boolean(variables.get("monitoring_enabled", False), strict=False))


def _address(variables: Mapping[str, object], name: str) -> tuple[str, int]:
    return str(variables.get("ansible_host", name)), whole_number(variables.get("ansible_port", SSH_PORT))


# --- exporters ---


def exporters(wanted: Mapping[str, object], app: str, ports: Mapping[str, object], secrets: str) -> list[Exporter]:
    """Return the exporter of each kind.

    :arg wanted: whether an exporter is used, by kind.
    :arg secrets: folder of their passwords.
    """
    found = []
    for kind, package in PACKAGES.items():
        runtime = f"selfheal-{kind}-{app}"
        unit = f"{runtime}.service"
        found.append(
            Exporter(
                kind=kind,
                package=package,
                wanted=boolean(wanted[kind], strict=False),
                unit=unit,
                runtime=runtime,
                file=f"{UNITS}/{unit}",
                port=whole_number(ports[kind]),
                secret=f"{secrets}/{app}.{kind}",
            )
        )
    return found


def needed_packages(names: Iterable[str], used: Iterable[Exporter]) -> list[NeededPackage]:
    """Return what the role needs, for the module package_check.

    :arg names: the packages of the role.
    :arg used: the exporters among them.
    """
    kinds = {one["package"]: one["kind"] for one in used}
    return [_needed(name, kinds.get(name)) for name in names]


def _needed(name: str, kind: str | None) -> NeededPackage:
    if kind is None:
        without = "set monitoring_enabled to false"
        return NeededPackage(name=name, minimum="", option="monitoring_enabled", otherwise=without)
    return NeededPackage(name=name, minimum=_MINIMUMS[kind], option=f"monitoring_{kind}", otherwise=_WITHOUT[kind])


def secret_files(used: Iterable[Exporter], passwords: Mapping[str, object], sockets: str) -> list[ManagedFile]:
    """Return the password file of each exporter: Redis's by address, PostgreSQL's as pgpass.

    :arg sockets: folder of the sockets through which the exporters reach the containers.
    """
    found = []
    for one in used:
        password = str(passwords[one["kind"]])
        if one["kind"] == "cache":
            content = json.dumps({f"unix://{sockets}/cache": password})
        else:
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            content = f"*:*:*:*:{escaped}"
        found.append(ManagedFile(path=one["secret"], mode="0600", content=f"{content}\n"))
    return found


def unused_files(all_exporters: Iterable[Exporter], more: Sequence[str]) -> list[ManagedFile]:
    """Return the files that must not exist. The link that starts a unit goes before the unit."""
    unused = [one for one in all_exporters if not one["wanted"]]
    paths = [path for one in unused for path in (f"{WANTS}/{one['unit']}", one["file"], one["secret"])]
    return [ManagedFile(path=path, state="absent") for path in (*paths, *more)]


def watched_host_files(hosts: Iterable[str]) -> list[str]:
    """Return the names of a monitoring host's files for other hosts, whole: one may begin like another."""
    return [pattern for host in hosts for pattern in _patterns(host)]


def _patterns(host: str) -> list[str]:
    return [
        f"{host}.tunnel",
        f"{host}.known_hosts",
        *(f"{host}.{job}.json" for job in (*JOBS, *PACKAGES)),
        *(f"rules-*@{host}{part}.yml" for part in RULES),
    ]


# --- targets ---


def target_files(
    scraped: Scraped,
    checks: Iterable[Mapping[str, object]],
    values: Mapping[str, object],
    all_exporters: Iterable[Exporter],
    folder: str,
) -> list[ManagedFile]:
    """Return a file of targets for each job.

    :arg values: what the names in the checks' addresses are replaced with; none of them is a secret.
    """
    of_host, of_app = {"host": scraped["host"]}, {"app": scraped["app"], "host": scraped["host"]}
    jobs = {
        "node": [_group(scraped, [scraped["ports"]["node"]], of_host)],
        "containers": [_group(scraped, [scraped["ports"]["containers"]], of_host)],
        "monitoring": [_group(scraped, [*scraped["own"], scraped["ports"]["blackbox"]], of_host)],
        "checks": _checks(scraped, checks, values),
        "balancer": [_group(scraped, [scraped["balancer"]], of_app)] if scraped["balancer"] > 0 else [],
    }
    for one in all_exporters:
        jobs[one["kind"]] = [_group(scraped, [one["port"]], of_app)] if one["wanted"] else []
    return [
        ManagedFile(path=f"{folder}/{scraped['host']}.{job}.json", content=f"{_nice_json(groups)}\n")
        for job, groups in jobs.items()
    ]


def _group(scraped: Scraped, ports: Iterable[object], labels: dict[str, str]) -> Group:
    return Group(targets=[f"{scraped['at']}:{port}" for port in ports], labels=labels)


def _checks(scraped: Scraped, checks: Iterable[Mapping[str, object]], values: Mapping[str, object]) -> list[Group]:
    """Return the checks that one request from outside can make, without a secret of the env; and the certificate."""
    blackbox = f"{scraped['at']}:{scraped['ports']['blackbox']}"
    labels = {"app": scraped["app"], "host": scraped["host"], "via": blackbox}
    found = []
    for check in checks:
        url = _plain_url(check, values)
        if url:
            found.append(Group(targets=[url], labels={**labels, "check": str(check["name"]), "module": "http"}))
    if scraped["tls"]:
        found.append(Group(targets=[scraped["tls"]], labels={**labels, "check": "certificate", "module": "tls"}))
    return found


def _plain_url(check: Mapping[str, object], values: Mapping[str, object]) -> str:
    """Return the address with the values in it; "" for a check that is more than a GET of it."""
    if check.get("method", "GET") != "GET" or _NOT_ASKED.intersection(check):
        return ""
    url = str(check["url"])
    for name, value in values.items():
        url = url.replace(f"${{{name}}}", str(value))
    return "" if "${" in url else url


def _nice_json(groups: object) -> str:
    """Return what the filter to_nice_json makes of it."""
    return json.dumps(groups, indent=4, sort_keys=True, separators=(",", ": "))
