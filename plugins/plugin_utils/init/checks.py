# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guess the checks of an app from its healthchecks and published ports, and the services that need a row. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import known_images
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    Project,
    Published,
    Spec,
)

# Known images that answer HTTP; the other known ones have protocols of their own.
_WEB_IMAGES = frozenset({"nginx", "caddy", "traefik", "httpd", "haproxy", "wordpress", "php", "node", "minio/minio"})
_TLS_PORTS = frozenset({443, 8443, 9443})
# Ports that are HTTP by custom: of web servers, frameworks and well-known apps.
_WEB_PORTS = frozenset(
    {80, 81, 443, 591, 1337, 2283, 2368, 4242, 5173, 5601, 5678, 7860, 8443, 8501, 8888, 9090, 9443, 10000}
)
_WEB_RANGES = (range(3000, 3100), range(4000, 4100), range(5000, 5051), range(8000, 8200), range(9000, 9011))
# A registry's port in these ranges that has another protocol (IANA).
_OTHER_PROTOCOLS = frozenset({5004, 5005, 5038, 5044, 8009, 8125, 9004})
_URL = re.compile(
    r"(?P<scheme>https?)://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]|(?P<host>[\w.-]+))(?::(?P<port>\d+))?"
    r"(?P<path>/[^\s\"'|;)&$]*)?"
)
# `curl localhost:9200/status`
_BARE_URL = re.compile(r"(?:curl|wget)\b.*?(?:localhost|127\.0\.0\.1):(?P<port>\d+)(?P<path>/[^\s\"'|;)&$]*)?")
_REFERENCE = re.compile(r"\$\{?(\w+)(?::?-[^}]*)?\}?")
# An app may answer its first page by a redirect, a login, or not at all; an error of the server does not count.
_ANY_ANSWER = [200, 204, 301, 302, 303, 307, 308, 401, 403, 404]
_NO_ERROR = [200, 204, 301, 302, 303, 307, 308]


class Guesses(NamedTuple):
    """The checks and rows by service; `known` are services that need neither, with the reason."""

    checks: dict[str, Entry]
    rows: dict[str, Entry]
    known: dict[str, str]


class _Probe(NamedTuple):
    """What a service's own healthcheck asks."""

    scheme: str
    port: int
    path: str


def guess(project: Project, values: Mapping[str, str]) -> Guesses:
    """Guess for each service.

    :arg values: the values of the table, for ports that are variables. A variable without a value is not in it.
    """
    found = Guesses({}, {}, {})
    for service, spec in project.services.items():
        published = [one for one in project.ports if one.service == service and one.protocol == "tcp"]
        check = None if spec.get("profiles") else _check(service, spec, published, values, first=not found.checks)
        if check is not None:
            found.checks[service] = check
        known = known_images.known(compose.image(spec))
        if known is not None:
            found.known[service] = f"{compose.image(spec)} is an image that the overlay knows"
        elif check is not None:
            target = _target(service, spec, published, values)
            found.rows[service] = Entry({"port": target}, f"its port inside the container, which {service} publishes")
        else:
            found.known[service] = "publishes no port that answers HTTP; the hardened defaults apply"
    return found


def _check(
    service: str, spec: Spec, published: Sequence[Published], values: Mapping[str, str], first: bool
) -> Entry | None:
    probe = _probe(service, spec, values)
    port = _chosen(spec, published, values, probe)
    address = _address(port, values) if port else ""
    if port is None or not address:
        return None
    number = _number(port.target, values)
    scheme = probe.scheme if probe else "https" if number in _TLS_PORTS else "http"
    path = probe.path if probe else "/"
    row: dict[str, object] = {"name": service, "url": f"{scheme}://{address}{path}"}
    if first or (probe and path != "/"):
        row["proves"] = "health"
    if path == "/":
        row["status"] = _NO_ERROR if probe else _ANY_ANSWER
    if scheme == "https":
        row["verify_tls"] = False
    if probe:
        return Entry(row, f"the healthcheck of {service} asks {path}, and its port {number} is published", service)
    return Entry(
        row,
        f"a guess: {service} publishes {number}. Any answer counts that is not an error of the server; better is a "
        "path that only a healthy app answers with 200",
        service,
    )


def _target(service: str, spec: Spec, published: Sequence[Published], values: Mapping[str, str]) -> int:
    port = _chosen(spec, published, values, _probe(service, spec, values))
    return _number(port.target, values) if port else 0


def _chosen(
    spec: Spec, published: Sequence[Published], values: Mapping[str, str], probe: _Probe | None
) -> Published | None:
    """The port to ask: the one that the healthcheck asks, else the first that answers HTTP, rather than HTTPS."""
    fixed = [one for one in published if _number(one.published, values)]
    if probe:
        return next((one for one in fixed if _number(one.target, values) == probe.port), None)
    image = known_images.repository(compose.image(spec))
    if known_images.known(image) is not None and known_images.ALIASES.get(image, image) not in _WEB_IMAGES:
        return None
    if "fpm" in str(spec.get("image")):
        return None
    web = [one for one in fixed if _is_web(_number(one.target, values))]
    if not web and spec.get("build") and len(fixed) == 1:
        web = fixed if _number(fixed[0].target, values) >= 1024 else []
    plain = [one for one in web if _number(one.target, values) not in _TLS_PORTS]
    return next(iter([*plain, *web]), None)


def _is_web(port: int) -> bool:
    return port not in _OTHER_PROTOCOLS and (port in _WEB_PORTS or any(port in ports for ports in _WEB_RANGES))


def _number(text: str, values: Mapping[str, str]) -> int:
    found = dotenv.resolved(text, values)
    return int(found) if found.isdigit() else 0


def _address(port: Published, values: Mapping[str, str]) -> str:
    """Host and port as a check has them; a variable that has a value stays one."""
    host = dotenv.resolved(port.address, values).strip("[]")
    shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    variable = _REFERENCE.fullmatch(port.published)
    if variable and values.get(variable[1]):
        return f"{shown}:${{{variable[1]}}}"
    return f"{shown}:{_number(port.published, values)}"


def _probe(service: str, spec: Spec, values: Mapping[str, str]) -> _Probe | None:
    given = spec.get("healthcheck") or {}
    test = given.get("test") or ""
    text = dotenv.resolved(test if isinstance(test, str) else " ".join(map(str, test)), values)
    if given.get("disable"):
        return None
    found, bare = _URL.search(text), _BARE_URL.search(text)
    if found is None:
        return _Probe("http", int(bare["port"]), bare["path"] or "/") if bare else None
    if found["host"] not in (None, service):
        return None
    default = 443 if found["scheme"] == "https" else 80
    return _Probe(found["scheme"], int(found["port"] or default), found["path"] or "/")
