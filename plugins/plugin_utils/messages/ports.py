# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which ports of the load balancer are taken, and by whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ansible_collections.christmas.selfheal.plugins.plugin_utils.listening import Holder

# Of a public port, a container is no conflict: the deploy, which knows whose it is, frees the port.
CONTAINER = "docker-proxy"
METRICS = "load_balancer_metrics_port"


class ConfigFile(TypedDict):
    """A part of HAProxy's configuration, from the module find."""

    path: str


def port_conflicts(
    holders: Sequence[Holder],
    files: Sequence[ConfigFile],
    options: Mapping[str, int],
    ports: Sequence[int],
    app: str,
    host: str,
) -> str:
    """Return a line for each port that cannot be used; "" when all can.

    :arg files: other parts of HAProxy's configuration that have one of the ports.
    :arg options: the port of each option of the role.
    :arg ports: all ports that the app needs in HAProxy.
    """
    lines = []
    for holder in holders:
        option = next((name for name, port in options.items() if port == holder["port"]), "")
        if holder["who"] != CONTAINER or option == METRICS:
            lines.append(_held(holder, option, host))
    lines += [_configured(file["path"], ports, app, host) for file in files]
    return "\n".join(lines)


def _held(holder: Holder, option: str, host: str) -> str:
    port, pid = holder["port"], holder["pid"]
    return (
        f"{option}: port {port} of {host} is taken by {holder['who']} (pid {pid}, it listens on {holder['address']}). "
        f"Nothing was changed. Stop that process (`systemctl status {pid}` there names its unit), or choose "
        "another port."
    )


def _configured(path: str, ports: Sequence[int], app: str, host: str) -> str:
    return (
        f"load_balancer_port: {path} on {host} already has one of the ports {', '.join(map(str, ports))}. Nothing was "
        f"changed. Choose another load_balancer_port or load_balancer_first_port for {app}, or remove that file."
    )
