# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of an app as facts, for a table or a report; changes nothing."""

from __future__ import annotations

import json
from typing import Any

from ..core.app import App
from ..core.clock import Clock
from ..core.redact import redact
from ..docker import engine
from ..health import evidence
from ..health import facts as health_facts
from ..health.diagnosis import HEALTHY, diagnose
from ..host import procfs
from ..records import incidents, state
from ..releases import store as release_store
from . import run as recovery


def inform(app: App, clock: Clock | None = None) -> dict[str, Any]:
    """Return the state of the app as facts, for a table or a report; changes nothing, never fails for a sick app."""
    clock = clock or Clock()
    facts = health_facts.read(app, None, recovery.CONFIRM_SECONDS, clock)
    found = diagnose(facts)
    hidden = evidence.secrets(app, facts, None)
    newest = incidents.latest(app.incidents)
    good = release_store.last_good(app.directory)
    return {
        "app": app.name,
        "healthy": found.healthy,
        "cause": "" if found.cause == HEALTHY else found.cause,
        "summary": redact("; ".join(found.evidence), hidden),
        "instances": json.loads(redact(json.dumps(facts["instances"]), hidden)),
        "ports": facts["ports"],
        "engine": {**facts["engine"], "compose": engine.compose_version() if facts["engine"]["answers"] else ""},
        "release": good["id"] if good else "",
        "releases": [
            {"id": one["id"], "time": one.get("time", ""), "by": one.get("by", ""), "images": one["images"]}
            for one in release_store.known(app.directory)
        ],
        "promoted_from": (good or {}).get("promoted_from", {}),
        "env_fingerprint": facts["env"]["fingerprint"],
        "env_findings": facts["env"]["findings"],
        "last_incident": {key: newest[key] for key in ("id", "cause", "healthy", "seconds")} if newest else None,
        "checks": facts["probe"],
        "backup": state.backups(app.backup, clock.now()),
        "disk": procfs.disk(["/", app.directory, engine.data_root()]),
        "memory": procfs.memory(),
    }
