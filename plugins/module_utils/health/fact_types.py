# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The facts about an app: `facts` reads them, `diagnosis` and recovery decide by them.

They are built, never rewritten: a stage that finds out more makes new facts from the old ones.
"""

from __future__ import annotations

from typing import TypedDict

from ..docker.containers import Container
from ..docker.engine import EngineState
from ..docker.images import MissingImage
from ..docker.network import Port
from ..env.read import EnvState
from ..host.oom_log import OomKill
from ..host.procfs import Disk, FrozenDisk, Holder
from ..probe.run import Down, ProbeResult


class Instance(Container):
    """A container of the app. `stopped`: one of its processes is stopped, as by SIGSTOP."""

    stopped: bool


class HeldPort(Port):
    """A port that the app publishes and does not hold now, with those that do."""

    holders: list[Holder]


class LogLine(TypedDict):
    """A container of a service, and what its log says."""

    service: str
    name: str
    line: str


class RefusedLogin(LogLine):
    """A container whose log says of late that a login was refused; see `login_log`.

    `kind` is that of the server, such as PostgreSQL; `user` and `server`, the server's service, are "" where they are
    not known. `times`: how many lines say so. `by_server`: the log is the server's own. Then `open` says whether others
    than the app can reach it, and `users_of` names the services whose environment has this user.
    """

    kind: str
    user: str
    server: str
    times: int
    by_server: bool
    open: bool
    users_of: list[str]


class SeenLoad(TypedDict, total=False):
    """What a watcher has measured of the load; see `Load`."""

    cpu_busy: float
    answered_seconds: float | None


class Load(TypedDict):
    """How busy the host is.

    `cpu_busy` is the share of the processors' time. A pressure is the percentage of the last ten seconds in which
    something waited (PSI). `answered_seconds`: how long ago the app answered at all; None when that is not known.
    `idle`: the app gives no answer, and does not work either.
    """

    cpu_busy: float
    answered_seconds: float | None
    idle: bool
    cpu_pressure: float
    memory_pressure: float
    io_pressure: float


class DiskFacts(TypedDict):
    """How full the file systems are that the app writes to, and which of them the kernel made read-only."""

    disk: list[Disk]
    frozen: list[FrozenDisk]


class ContainerFacts(DiskFacts):
    """The containers of the app; their environments, in the same order, hold secrets. `oom`: kills at a limit.

    `by_hand`: {service: the folder of the `docker compose` that replaced its containers of the release}.
    """

    instances: list[Instance]
    environments: list[dict[str, str]]
    oom: list[OomKill]
    by_hand: dict[str, str]


class ModelFacts(TypedDict):
    """What the compose files say. All are empty when they cannot be read.

    `services` have to run. `needs`: {service: the services that it needs}. `stateful` hold data, `proxies` pass
    requests on.
    """

    services: list[str]
    needs: dict[str, list[str]]
    stateful: list[str]
    proxies: list[str]


class BalancerFacts(TypedDict):
    """The load balancer, and the instances behind it.

    `balancer` says what is wrong with HAProxy; `balanced` is the service behind it. `one` is the only instance that the
    facts are about, while others serve; "" when they are about the app. `few` says how many instances are missing.
    `kept_out` is what HAProxy says of instances that pass their own check and that it sends nothing to.
    `slow_balancer` says what is wrong with a HAProxy that runs, while the processors are saturated.
    """

    balancer: str
    slow_balancer: str
    balanced: str
    one: str
    few: str
    kept_out: str


class FirewallFacts(TypedDict):
    """What the host's firewall does to the app.

    `flushed`: the engine's rules are gone. `dropped`: the rules that drop the app's packets. `unanswered`: upstreams
    that answer this host, and not the app.
    """

    flushed: str
    dropped: list[str]
    unanswered: list[Down]


class Facts(ContainerFacts, ModelFacts, BalancerFacts, FirewallFacts):
    """All that a diagnosis needs.

    `at` is when the engine was asked (epoch s): ages count back from it. `config_error` says why the compose files are
    not a project. `ports` are published, and not held by the app. `upstream`: dependencies that do not answer.
    `network` says why the way to a container is broken, `network_error` what the engine said of it when a remedy
    failed. `no_room`: services that ended for want of room. `recovering`: databases that take no connections yet.
    `refused`: logins that failed.
    `since`: for how many seconds the app has been sick. `passed`: how many seconds ago, at most, something began that
    is over already; None without such a thing.
    """

    engine: EngineState
    at: float
    load: Load
    env: EnvState
    probe: ProbeResult
    passed: float | None
    since: float
    config_error: str
    images_missing: list[MissingImage]
    ports: list[HeldPort]
    upstream: list[Down]
    network: list[str]
    network_error: str
    recovering: list[LogLine]
    refused: list[RefusedLogin]
    no_room: list[LogLine]
