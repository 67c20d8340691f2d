# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which ports of the load balancer are taken, and by whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ansible_collections.christmas.selfheal.plugins.plugin_utils.listening import Holder, Wanted, holders

# Of a public port, a container does not count: the deploy, which knows whose it is, frees the port.
CONTAINER = "docker-proxy"
METRICS = "load_balancer_metrics_port"


class ConfigFile(TypedDict):
    """A part of HAProxy's configuration, from the module find."""

    path: str


def port_conflicts(
    found: Sequence[Holder],
    files: Sequence[ConfigFile],
    options: Mapping[str, int],
    ports: Sequence[int],
    app: str,
    host: str,
) -> str:
    """Return a line for each port that cannot be used; "" when all can.

    :arg found: the processes that have one of the ports.
    :arg files: other parts of HAProxy's configuration that have one of the ports.
    :arg options: the port of each option of the role.
    :arg ports: all ports that the app needs in HAProxy.
    """
    lines = []
    for holder in found:
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


def public_port_conflict(lines: Sequence[str], files: Sequence[ConfigFile], port: int, host: str) -> str:
    """Return why the status page cannot have its public port; "" when it can.

    :arg lines: what `ss` shows of the port.
    :arg files: other parts of HAProxy's configuration that have it.
    """
    found = holders(lines, Wanted("*", [port], 0))
    if found:
        holder = f"{found[0]['who']} (pid {found[0]['pid']})"
    elif files:
        holder = files[0]["path"]
    else:
        return ""
    return (
        f"status_page_public_port: port {port} of {host} is taken by {holder}. The page is not served outside. Choose "
        "another port, or free that one."
    )
