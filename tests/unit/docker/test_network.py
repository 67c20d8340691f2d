# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The network path to a container: a published port that does not lead to it is named."""

from __future__ import annotations

import socket
from typing import Any, cast

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import network as docker_network
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container


def at(port: int, published: int, **more: Any) -> Container:
    """A container that listens at the loopback address, as far as this host can tell."""
    target = {"host_ip": "0.0.0.0", "host_port": published, "container_port": port}
    plain = {"name": "shop-web-1", "state": "running", "network_mode": "bridge", "networks": {"a": "127.0.0.1"}}
    return cast(Container, {**plain, "targets": [target], **more})


def test_a_port_that_the_engine_no_longer_leads_to_its_container_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port, taken = server.getsockname()[1], other.getsockname()[1]
        free = socket.create_server(("127.0.0.1", 0))
        closed = free.getsockname()[1]
        free.close()
        [said] = docker_network.broken_network([at(port, closed)])
        assert f"takes connections at 127.0.0.1:{port}" in said
        assert f"127.0.0.1:{closed}" in said
        assert (
            docker_network.broken_network([at(port, taken), at(closed, closed), at(port, closed, state="exited")]) == []
        )
        assert docker_network.broken_network([at(port, closed, network_mode="host")]) == []
        assert "has no address" in docker_network.broken_network([at(port, closed, networks={})])[0]
