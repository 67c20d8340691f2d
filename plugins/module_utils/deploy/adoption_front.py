# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which published port of an app that runs by hand the load balancer can have. Asks the ports; changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple, TypedDict

from ..docker import containers as docker_containers
from ..docker.containers import Document
from ..docker.model import Model
from ..host import firewall

_SECONDS, _ENOUGH = 2.0, 2048
# Ports inside a container that have another protocol; a request there would only be noise in a log.
_OTHERS = frozenset({22, 25, 1433, 1521, 1883, 3306, 5432, 5671, 5672, 6379, 9042, 11211, 27017})
_ANYWHERE = ("", "0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")


class Front(TypedDict):
    """The service that the load balancer can be put in front of, its public port, and its own one.

    `address`: of the host, "*" for all. `why_not`: why it cannot, "" when it can.
    """

    service: str
    port: int
    container_port: int
    address: str
    why_not: str


class _Bound(NamedTuple):
    """A port of the host that a container of a service publishes: as 8000/tcp inside, and at which address."""

    service: str
    inside: str
    host_ip: str
    port: int


def answers_http(address: str, port: int) -> bool:
    """Whether a port answers an HTTP request without TLS."""
    answer = b""
    try:
        with socket.create_connection((address, port), _SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while len(answer) < _ENOUGH and (part := connection.recv(_ENOUGH)):
                answer += part
    except OSError:
        # What has answered may keep the connection open.
        pass
    is_for_tls = answer[9:12] == b"400" and (b"HTTPS" in answer or b"SSL" in answer)
    return answer.startswith(b"HTTP/1.") and not is_for_tls


def find(
    documents: Sequence[Document],
    model: Model,
    answers: Callable[[str, int], bool] = answers_http,
    closed: Callable[[int], str] = firewall.closed,
) -> Front:
    """Find the port.

    :arg model: the app's merged compose file.
    :arg answers: asks an address and a port for HTTP.
    :arg closed: says what keeps connections to a port of the host itself out.
    """
    bound = [one for document in documents for one in _bound(document)]
    asked = sorted({(one.service, one.inside, one.port, _at(one.host_ip)) for one in bound if _may_be_web(one)})
    web = [one for one in asked if answers(one[3], one[2])]
    if len({one[:3] for one in web}) != 1:
        return _refused(_which(documents, web))
    service, inside, port, _unused = web[0]
    container_port = int(inside.partition("/")[0])
    mine = [one for one in bound if one.service == service]
    hosts = sorted({one.host_ip for one in mine})
    address = "*" if set(hosts) & set(_ANYWHERE) else hosts[0]
    why_not = _why_not(service, mine, (inside, port), hosts, model)
    if not why_not and address not in _LOOPBACK:
        rule = closed(port)
        why_not = (
            f"the host's firewall would not let connections to it through ({rule}): allow port {port}" if rule else ""
        )
    return Front(service=service, port=port, container_port=container_port, address=address, why_not=why_not)


def _refused(why_not: str) -> Front:
    return Front(service="", port=0, container_port=0, address="", why_not=why_not)


def _bound(document: Document) -> list[_Bound]:
    one = docker_containers.instance(document, 0.0)
    if one["state"] != "running":
        return []
    published: Mapping[str, Sequence[Mapping[str, str]]] = document["HostConfig"].get("PortBindings") or {}
    return [
        _Bound(one["service"], inside, str(binding.get("HostIp", "")), int(binding["HostPort"]))
        for inside, bindings in published.items()
        for binding in bindings or []
        if str(binding.get("HostPort", "")).isdigit()
    ]


def _may_be_web(one: _Bound) -> bool:
    port, _unused, protocol = one.inside.partition("/")
    return protocol == "tcp" and int(port) not in _OTHERS


def _at(host_ip: str) -> str:
    return "127.0.0.1" if host_ip in _ANYWHERE else host_ip


def _which(documents: Sequence[Document], web: Sequence[tuple[str, str, int, str]]) -> str:
    """Why there is not exactly one port."""
    if web:
        listed = ", ".join(f"{port} ({service})" for service, _unused, port, _unused in web)
        return f"several ports answer HTTP, and it is for one: {listed}"
    networks = {str(one["HostConfig"].get("NetworkMode", "")) for one in documents}
    more = ". A service uses the host's network, where it holds its ports itself" if "host" in networks else ""
    return f"no published port answers HTTP without TLS{more}"


def _why_not(service: str, mine: Sequence[_Bound], chosen: tuple[str, int], hosts: Sequence[str], model: Model) -> str:
    others = sorted({f"{one.port}/{one.inside.partition('/')[2]}" for one in mine if (one.inside, one.port) != chosen})
    if others:
        return f"{service} publishes {', '.join(others)}, too, which two instances cannot both hold"
    if len(hosts) > 1 and not set(hosts) & set(_ANYWHERE):
        return f"{service} publishes its port at several addresses: {', '.join(hosts)}"
    networks = ((model.get("services") or {}).get(service) or {}).get("networks") or {}
    fixed = [
        name for name, one in networks.items() if (one or {}).get("ipv4_address") or (one or {}).get("ipv6_address")
    ]
    if fixed:
        return f"{service} has a fixed address in the network {fixed[0]}, which two instances cannot both have"
    return ""
