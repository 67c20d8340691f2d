# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks and published ports: which instances cannot be reached, and which ports are not held."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TypedDict

from .containers import Container
from .model import Model


def broken_network(instances: Sequence[Container], seconds: float = 0.3) -> list[str]:
    """Say, in sentences, why the way from the host to a running container is broken; [] when it is not known to be.

    The sign is a container without an address, or one that accepts a connection at its own address while its published
    port on the host does not.
    """
    found = []
    for item in instances:
        if item["state"] != "running" or item["network_mode"] in ("host", "none") or not item["targets"]:
            continue
        address = next(filter(None, item["networks"].values()), "")
        if not address:
            found.append(f"{item['name']} has no address in any network")
            continue
        for target in item["targets"]:
            at_host = "127.0.0.1" if target["host_ip"] in ("", "0.0.0.0", "::") else target["host_ip"]
            if _accepts(address, target["container_port"], seconds) and not _accepts(
                at_host, target["host_port"], seconds
            ):
                found.append(
                    f"{item['name']} takes connections at {address}:{target['container_port']}, and the port published "
                    f"for it, {at_host}:{target['host_port']}, does not"
                )
    return found


def _accepts(address: str, port: int, seconds: float) -> bool:
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False


class Port(TypedDict):
    """A port of this host that a service publishes."""

    service: str
    port: int


def unheld_ports(model: Model, instances: Sequence[Container]) -> list[Port]:
    """Return the ports that a merged model publishes and no living container of it holds."""
    found: list[Port] = []
    for service, spec in sorted((model.get("services") or {}).items()):
        for port in spec.get("ports") or []:
            published = str(port.get("published") or "")
            if published.isdigit() and port.get("protocol", "tcp") == "tcp":
                found.append({"service": service, "port": int(published)})
    return unheld(found, instances)


def unheld(ports: Sequence[Port], instances: Sequence[Container]) -> list[Port]:
    """Return those of the ports that no living container of the app holds.

    A restarting container counts as living: the engine's own proxy may hold its port just then.
    """
    held = {
        port for item in instances if item["state"] in ("running", "restarting", "paused") for port in item["ports"]
    }
    return [port for port in ports if port["port"] not in held]
