# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An incident and a pause for tests of alerts: a test gives only the values that it needs."""

from __future__ import annotations

from typing import Any, cast

from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import iso, moment
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.records.state import Pause

NOW = 1748311203.0


def record(cause: str = "hung", number: int = 0, at: float = NOW, **more: Any) -> IncidentRecord:
    found = {
        "id": f"20250527T020003Z-{cause}-{number}",
        "app": "shop",
        "host": "web1",
        "cause": cause,
        "meaning": "what it means",
        "evidence": ["`health`: no answer within 2 s"],
        "seen": iso(at),
        "ended": iso(at + 4.2),
        "seconds": 4.2,
        "remedies": [],
        "hold": "",
        "next_step": "Read the evidence.",
        **more,
    }
    return cast(IncidentRecord, found)


PAUSE: Pause = {"until": NOW, "reason": "migration", "since": moment(NOW - 60.0)}
