# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A merged compose model → which services need which others, which hold data, which are proxies. Pure.

A service needs what its `depends_on`, `links`, `volumes_from` and a shared network name; what a value of its
environment or of its command names as a host (`db:5432`, `redis://cache`, `DB_HOST=db`); and what a configuration file
that is mounted read-only names so, as a proxy's upstreams.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ..docker.model import Model, Services, Spec
from . import known_images

# How a value, a command or a file names a host: in a URL or a DSN, or with its port. Any other word may be anything.
_HOST = r"(?:(?<=//)|(?<=@)|(?<![\w.-])(?=[\w.-]+:\d)){}(?=$|[\s:/,;?\"'\])])"
# Variables whose whole value is a host's name.
_HOST_VARIABLE = re.compile("HOST|SERVER|ADDR|ENDPOINT|UPSTREAM|BROKER", re.IGNORECASE)
_PROXIES = frozenset({"nginx", "caddy", "traefik", "httpd", "haproxy", "envoyproxy/envoy"})
# Images whose data is what the app is about; one whose own files are in a named volume counts, too.
_DATA = frozenset(
    {"postgres", "mysql", "mariadb", "mongo", "redis", "valkey/valkey", "rabbitmq", "elasticsearch", "minio/minio"}
)


class AppModel(NamedTuple):
    """`needs`: {service: the services that it needs directly}; `stateful`: those that are restarted gently, and last.

    `proxies`: those that hand requests on, and so fail when what they need fails.
    """

    needs: Mapping[str, frozenset[str]] = {}
    stateful: frozenset[str] = frozenset()
    proxies: frozenset[str] = frozenset()

    def reach(self, services: Iterable[str]) -> frozenset[str]:
        """The services and all that they need, directly or through others. A cycle ends."""
        found = set(services)
        while True:
            more = {needed for name in found for needed in self.needs.get(name, ())}
            if more <= found:
                return frozenset(found)
            found |= more

    def roots(self, sick: Collection[str]) -> frozenset[str]:
        """Those of the sick services that need no other sick one; all of them where each needs another."""
        return frozenset(
            name for name in sick if all(name in self.reach([other]) for other in self.reach([name]) & set(sick))
        )


def read(model: Model, texts: Mapping[str, str]) -> AppModel:
    """Return the model of an app.

    :arg model: what `docker compose config` says.
    :arg texts: {service: what its mounted configuration files say}.
    """
    services: Services = model.get("services") or {}
    names = _names(services)
    declared = AppModel({name: _declared(spec) & set(services) - {name} for name, spec in services.items()})
    needs = {}
    for service, spec in services.items():
        named = _named(names, spec, texts.get(service, "")) - {service}
        # What a service is needed by, it does not need: its own database may have its name.
        needs[service] = declared.needs[service] | {one for one in named if service not in declared.reach([one])}
    images = {name: known_images.repository(str(spec.get("image") or "")) for name, spec in services.items()}
    proxies = frozenset(name for name, image in images.items() if image in _PROXIES and needs[name])
    stateful = frozenset(name for name, spec in services.items() if images[name] in _DATA or _has_volume(spec))
    return AppModel(needs, stateful - proxies, proxies)


def _names(services: Services) -> dict[str, str]:
    """{a name by which containers reach a service: the service}."""
    found = {}
    for service, spec in services.items():
        networks = spec.get("networks") or {}
        aliases = [
            alias
            for network in (networks.values() if isinstance(networks, Mapping) else ())
            for alias in (network or {}).get("aliases") or ()
        ]
        for name in (*aliases, spec.get("container_name"), spec.get("hostname"), service):
            if name:
                found[str(name)] = service
    return found


def _declared(spec: Spec) -> frozenset[str]:
    mode = str(spec.get("network_mode") or "")
    others = [str(one).partition(":")[0] for key in ("links", "volumes_from") for one in spec.get(key) or ()]
    shared = [mode.partition(":")[2]] if mode.startswith("service:") else []
    return frozenset([*(spec.get("depends_on") or {}), *others, *shared])


def _named(names: Mapping[str, str], spec: Spec, text: str) -> frozenset[str]:
    """The services that a service's environment, commands and configuration files name as hosts."""
    environment = {key: str(value) for key, value in (spec.get("environment") or {}).items() if value is not None}
    words = [spec.get(key) or () for key in ("command", "entrypoint")]
    texts = [
        *environment.values(),
        *(word if isinstance(word, str) else " ".join(map(str, word)) for word in words),
        text,
    ]
    whole = {value for key, value in environment.items() if _HOST_VARIABLE.search(key)}
    return frozenset(
        service
        for name, service in names.items()
        if name in whole or any(name in one and re.search(_HOST.format(re.escape(name)), one) for one in texts)
    )


def _has_volume(spec: Spec) -> bool:
    return any(
        mount.get("type") == "volume" and mount.get("source") and not mount.get("read_only")
        for mount in spec.get("volumes") or ()
    )
