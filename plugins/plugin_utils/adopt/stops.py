# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the stop of the old containers takes, where services do not handle SIGTERM. Pure.

Compose replaces a service after those that it depends on, and services that do not depend on each other at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption, Instance
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import stop_signal

QUEUE_SECONDS, START_SECONDS, LONGEST_QUEUE_SECONDS = 10, 20, 30
"""How long requests wait: the default of load_balancer_queue_seconds, what the start of the new containers may take
on a busy host, and the most that adopt sets."""


def while_held(found: Adoption) -> list[Instance]:
    """The instances that are replaced while requests are held: the balanced service and its dependents are later."""
    late = {found["front"]["service"]}
    needs = _needs(found["instances"])
    while True:
        more = {service for service, needed in needs.items() if late & set(needed)} - late
        if not more:
            return [one for one in found["instances"] if one["service"] not in late]
        late |= more


def seconds(instances: Sequence[Instance]) -> float:
    """The longest chain of stops."""
    takes: dict[str, float] = {}
    for one in instances:
        takes[one["service"]] = max(takes.get(one["service"], 0.0), one["stop_seconds"])
    needs = _needs(instances)
    return max((_chain(service, takes, needs, ()) for service in takes), default=0.0)


def _chain(service: str, takes: Mapping[str, float], needs: Mapping[str, Sequence[str]], on: Collection[str]) -> float:
    """The seconds until a service is stopped, with those before it; `on` are the services of the chain so far."""
    before = [name for name in needs.get(service, ()) if name in takes and name not in on and name != service]
    return takes[service] + max((_chain(name, takes, needs, (*on, service)) for name in before), default=0.0)


def _needs(instances: Sequence[Instance]) -> dict[str, list[str]]:
    return {one["service"]: one["depends_on"] for one in instances}


def queue_seconds(found: Adoption) -> int:
    """How long requests have to be able to wait: the stops, and the start."""
    return min(LONGEST_QUEUE_SECONDS, START_SECONDS + math.ceil(seconds(while_held(found))))


def said(instances: Sequence[Instance]) -> str:
    """Which services do not handle SIGTERM, and what their stop takes; "" when all do."""
    deaf = {(one["service"], one["stop_seconds"]) for one in instances if one["stop_seconds"]}
    how = ": one after the other where one depends on the other, else at once" if len(deaf) > 1 else ""
    return f"{stop_signal.said(deaf)}{how}"
