# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load balancer that is put in front of an app before it is taken over: its part of the inventory."""

from __future__ import annotations

import os
import re

from ansible_collections.christmas.selfheal.plugins.module_utils.core.files import atomic_write
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_front import Front
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import stops
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import merge
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import APP, flow

FILE = "group_vars/all/load_balancer.yml"
_SERVICES = "compose_app_services"
_QUEUE = re.compile(r"^load_balancer_queue_seconds:\s*(\d+)", re.MULTILINE)


def is_written(inventory: str) -> bool:
    """Whether an inventory has the part."""
    return os.path.isfile(os.path.join(inventory, FILE))


def require(front: Front) -> None:
    """Raise InitError where none can be put in front."""
    if front["why_not"]:
        raise InitError(
            "adopt_load_balancer",
            f"no load balancer can be put in front: {front['why_not']}",
            f"leave adopt_load_balancer out, and remove {FILE} where it is: the take-over has a gap then",
        )


def queue_seconds(inventory: str, found: Adoption) -> int:
    """How long requests wait: as the inventory says where it has the part, else as this app needs it."""
    if not is_written(inventory):
        return stops.queue_seconds(found)
    with open(os.path.join(inventory, FILE), encoding="utf-8") as stream:
        said = _QUEUE.search(stream.read())
    return int(said[1]) if said else stops.QUEUE_SECONDS


def write(inventory: str, found: Adoption) -> None:
    """Write the part, and the row of the service where there is none. What is there stays.

    Raises OSError; InitError when the row does not fit in.
    """
    front = found["front"]
    path = os.path.join(inventory, FILE)
    if not os.path.lexists(path):
        atomic_write(path, render(front, stops.queue_seconds(found)).encode(), mode=0o644)
    app = os.path.join(inventory, APP)
    with open(app, encoding="utf-8") as stream:
        text = stream.read()
    service, port = front["service"], front["container_port"]
    if service in merge.names(text, _SERVICES):
        return
    merged = merge.append(text, _SERVICES, [f"  {flow({service: {'port': port}})[1:-1]}\n"])
    if merged.by_hand:
        raise InitError(app, f"{_SERVICES} has no row for {service}", f"add {service}: {{port: {port}}}")
    atomic_write(app, merged.text.encode(), mode=0o644)


def render(front: Front, queue: int) -> str:
    """The text of the part.

    :arg queue: seconds that a request may wait.
    """
    address = "" if front["address"] == "*" else f"load_balancer_address: {flow(front['address'])}\n"
    longer = (
        f"# For the take-over: its services stop and start. {stops.QUEUE_SECONDS} is enough later.\n"
        f"load_balancer_queue_seconds: {queue}\n"
    )
    return (
        "---\n# Written by adopt. HAProxy has the public port, and forwards to the instances of the service.\n"
        f"compose_app_service: {flow(front['service'])}\ncompose_app_instances: 1\n"
        f"load_balancer_port: {front['port']}\n{address}{longer if queue > stops.QUEUE_SECONDS else ''}"
    )
