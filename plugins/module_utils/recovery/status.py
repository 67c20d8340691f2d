# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of an app as facts, for a table or a report. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypedDict, cast

from ..core.app import App
from ..core.clock import Clock
from ..core.redact import redact
from ..deploy import rollback
from ..deploy.deploy import DeployError
from ..docker import engine
from ..docker import network as docker_network
from ..docker.engine import EngineState
from ..docker.network import Port
from ..env.rules import Finding
from ..health import evidence
from ..health import facts as health_facts
from ..health.diagnosis import HEALTHY, diagnose
from ..health.fact_types import Facts, HeldPort, Instance
from ..host import procfs
from ..host.procfs import Disk, Memory
from ..probe.run import ProbeResult
from ..records import incidents, state
from ..records.incidents import IncidentSummary
from ..records.state import BackupAges
from ..releases import store as release_store
from ..releases.store import PromotedFrom
from . import run as recovery


class EngineVersions(EngineState):
    """The engine, with the version of Compose; "" when it is not known."""

    compose: str


class ReleaseSummary(TypedDict):
    """A recorded release: when and by whom it was deployed, and its images' ids by service."""

    id: str
    time: str
    by: str
    images: dict[str, str]


class AppStatus(TypedDict):
    """The state of an app, as the module `app_info` returns it.

    `cause` is "" when nothing is wrong; `promoted_from` is {} for a release that was not promoted;
    `rolls_back_to` is the id of the release that a rollback would deploy, "" without one.
    """

    app: str
    healthy: bool
    cause: str
    summary: str
    instances: list[Instance]
    ports: list[HeldPort]
    engine: EngineVersions
    release: str
    releases: list[ReleaseSummary]
    rolls_back_to: str
    promoted_from: PromotedFrom
    env_fingerprint: str
    env_findings: list[Finding]
    last_incident: IncidentSummary | None
    checks: ProbeResult
    backup: BackupAges | None
    disk: list[Disk]
    memory: Memory


_NOT_PROMOTED = cast(PromotedFrom, {})


def inform(app: App, clock: Clock | None = None, published: Sequence[Port] = ()) -> AppStatus:
    """Return the state of the app as facts. Changes nothing, and does not fail for a sick app.

    :arg published: ports that the next deploy publishes, at the app's services or at its load balancer.
    """
    clock = clock or Clock()
    facts = health_facts.read(app, None, recovery.CONFIRM_SECONDS, clock)
    found = diagnose(facts)
    hidden = evidence.secrets(app.variables, facts, None)
    newest = incidents.latest(app.paths.incidents)
    good, known = release_store.last_good(app.paths.directory), release_store.known(app.paths.directory)
    back = rollback.before(known, good) if good else None
    if back:
        # It is named only when it would not be refused.
        try:
            rollback.require_possible(app, back, clock.now())
        except (DeployError, OSError):
            back = None
    return {
        "app": app.name,
        "healthy": found.healthy,
        "cause": "" if found.cause == HEALTHY else found.cause,
        "summary": redact("; ".join(found.evidence), hidden),
        "instances": cast("list[Instance]", json.loads(redact(json.dumps(facts["instances"]), hidden))),
        "ports": [*facts["ports"], *_needed(app, facts, published)],
        "engine": {**facts["engine"], "compose": engine.compose_version() if facts["engine"]["answers"] else ""},
        "release": good["id"] if good else "",
        "releases": [
            {"id": one["id"], "time": one.get("time", ""), "by": one.get("by", ""), "images": one["images"]}
            for one in known
        ],
        "rolls_back_to": back["id"] if back else "",
        "promoted_from": good.get("promoted_from", _NOT_PROMOTED) if good else _NOT_PROMOTED,
        "env_fingerprint": facts["env"]["fingerprint"],
        "env_findings": facts["env"]["findings"],
        "last_incident": incidents.summary_of(newest) if newest else None,
        "checks": facts["probe"],
        "backup": state.backups(app.paths.backup, clock.now()),
        "disk": procfs.disk(["/", app.paths.directory, engine.data_root()]),
        "memory": procfs.memory(),
    }


def _needed(app: App, facts: Facts, published: Sequence[Port]) -> list[HeldPort]:
    """The ports that the app is going to need, and who holds them now."""
    known = {one["port"] for one in facts["ports"]}
    behind = app.balancer.ports if app.balancer else ()
    found: list[HeldPort] = []
    for port in docker_network.unheld(published, facts["instances"]):
        holders = health_facts.holders(port["port"], (app.name, port["service"]))
        if port["port"] in behind:
            # Which processes are in HAProxy's way, the role load_balancer says: it knows the address.
            holders = [one for one in holders if "container" in one]
        if port["port"] not in known and (holders or port["port"] not in behind):
            found.append({**port, "holders": holders})
    return found
