# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one app is: its paths, its table of variables, its checks, and its load balancer."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from .app_paths import AppError, AppPaths
from .check import Check, health_check
from .variable import Variable


class BalancerSettings(TypedDict, total=False):
    """What the inventory says of the load balancer. Empty: the app has none."""

    service: str
    instances: int
    first_port: int
    ports: list[int]


class Balancer(NamedTuple):
    """HAProxy before the app: its servers are `instances` containers of `service`, at loopback ports from `first_port`.

    There is one slot more than instances: a deploy starts the new one next to the old. `ports` are those that HAProxy
    itself holds for the public.
    """

    service: str
    instances: int
    first_port: int
    ports: tuple[int, ...]

    @property
    def slots(self) -> range:
        """The loopback ports of all slots."""
        return range(self.first_port, self.first_port + self.instances + 1)


def read_balancer(given: BalancerSettings | None) -> Balancer | None:
    """Read the settings of the load balancer; None without any. Raises AppError."""
    if not given:
        return None
    try:
        found = Balancer(
            str(given["service"]), int(given["instances"]), int(given["first_port"]), tuple(map(int, given["ports"]))
        )
    except (KeyError, TypeError, ValueError):
        raise AppError(
            "balancer: is incomplete. Fix: write {service: backend, instances: 2, first_port: 18000, ports: [80]}"
        ) from None
    if not found.service:
        raise AppError(
            "compose_app_service: the load balancer needs a service. Fix: write compose_app_service: web, and the row "
            "web: {port: 8000} in compose_app_services"
        )
    if not found.ports or found.instances < 1:
        raise AppError("balancer: needs a port and at least one instance (compose_app_instances)")
    if not 1 <= found.slots.start < found.slots.stop <= 65536 or any(port in found.slots for port in found.ports):
        raise AppError(
            f"balancer: its slots {found.slots.start} to {found.slots.stop - 1} are not a free range of ports. Fix: "
            "write another compose_app_first_port"
        )
    return found


class App:
    """One compose project on this host.

    `upstreams` are checks of what the app depends on; `host` and `language` (en, ko) are for what people read.
    """

    def __init__(
        self,
        paths: AppPaths,
        variables: Sequence[Variable] = (),
        checks: Sequence[Check] = (),
        upstreams: Sequence[Check] = (),
        host: str = "",
        language: str = "en",
        balancer: Balancer | None = None,
    ) -> None:
        self.paths, self.variables, self.checks, self.upstreams = paths, variables, checks, upstreams
        self.host, self.language, self.balancer = host or socket.gethostname(), language, balancer

    @property
    def name(self) -> str:
        """The app's name: everything of it is keyed by this."""
        return self.paths.name

    @property
    def shown(self) -> frozenset[str]:
        """The variables whose values may be shown: those that the table lists, and does not call secret."""
        return frozenset(variable.name for variable in self.variables if not variable.secret)

    @property
    def quick(self) -> list[Check]:
        """The check that is sent often: the first with `proves: health`, else the first of all."""
        return health_check(self.checks)
