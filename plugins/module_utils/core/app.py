# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one app is: its name, its table of variables, its checks, and where its files are on the host."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from .check import Check, health_check
from .variable import Variable

# Compose's own rule for project names (compose-spec, "name").
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def progress_path(name: str, root: str = "/") -> str:
    """Where a deploy writes its steps, a JSON line each. Every user of the host may read them."""
    return os.path.join(root, "run/selfheal", f"{name}.progress")


class AppError(Exception):
    """The app is described wrongly; the message names the key and the fix."""


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
    """One compose project on this host. Everything is keyed by `name`.

    `upstreams` are checks of what the app depends on; `host` and `language` (en, ko) are for what people read.
    """

    def __init__(
        self,
        name: str,
        directory: str = "",
        variables: Sequence[Variable] = (),
        checks: Sequence[Check] = (),
        upstreams: Sequence[Check] = (),
        host: str = "",
        language: str = "en",
        root: str = "/",
        balancer: Balancer | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise AppError(
                f"selfheal_app: {name!r} cannot name a compose project: use lower-case letters, digits, - and _, "
                "beginning with a letter or a digit"
            )
        self.name, self.directory = name, directory or os.path.join(root, "opt", name)
        self.variables, self.checks, self.upstreams = variables, checks, upstreams
        self.host, self.language, self.root = host or socket.gethostname(), language, root
        self.balancer = balancer

    @property
    def quick(self) -> list[Check]:
        """The check that is sent often: the first with `proves: health`, else the first of all."""
        return health_check(self.checks)

    @property
    def env(self) -> str:
        """The app's `.env`."""
        return os.path.join(self.directory, ".env")

    @property
    def state(self) -> str:
        """Where history, incidents and state are kept."""
        return os.path.join(self.root, "var/lib/selfheal", self.name)

    @property
    def history(self) -> str:
        """Where older versions of the env are kept."""
        return os.path.join(self.state, "env")

    @property
    def incidents(self) -> str:
        """Where incidents and their evidence are kept."""
        return os.path.join(self.state, "incidents")

    @property
    def reports(self) -> str:
        """Where the reports of the months are kept."""
        return os.path.join(self.state, "reports")

    @property
    def incoming(self) -> str:
        """Where a copy of the project waits until it is judged. A folder deep in our own: `../` of it is ours, too."""
        return os.path.join(self.state, "incoming", "project")

    @property
    def copied(self) -> str:
        """Says which files of the project were copied to the app's directory, and what each was."""
        return os.path.join(self.state, "copied.json")

    @property
    def haproxy(self) -> str:
        """Where HAProxy's files are kept as they were when they passed its own check."""
        return os.path.join(self.state, "haproxy")

    @property
    def spare(self) -> str:
        """Where the state is kept while its own place cannot be written: in memory, until the next boot."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.state.json")

    @property
    def rollout(self) -> str:
        """Says that a deploy goes on, or was killed: what came before it."""
        return os.path.join(self.state, "rollout.json")

    @property
    def restoring(self) -> str:
        """Says that a restore is swapping its result in, or was killed while it did: what to roll back."""
        return os.path.join(self.state, "restore.json")

    @property
    def backup(self) -> str:
        """When the last backup was made, when one was verified, and what is wrong with them."""
        return os.path.join(self.state, "backup.json")

    @property
    def writes_paused(self) -> str:
        """Says that a backup has paused the app's writes, or was killed while they were."""
        return os.path.join(self.state, "writes-paused")

    @property
    def backup_lock(self) -> str:
        """The lock that backup, verification and restore share. A recovery need not wait for it."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.backup.lock")

    @property
    def lock(self) -> str:
        """The lock that deploy, recovery and the last step of a restore share."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.lock")
