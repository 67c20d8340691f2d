# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The catalogue, a fault, and what is seen of a drill, for tests of drills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.options import Options
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.tests.unit.probe.samples import answers

FOLDER = Path(__file__).resolve().parents[3] / "roles/drill/faults"
CATALOGUE = sorted(path.stem for path in FOLDER.glob("*.yml"))
GOOD: dict[str, Any] = {
    "title": {"en": "It hangs", "ko": "멈춤"},
    "why": "It happens.",
    "inject": [["kill", "-STOP", "{pid}"]],
    "expect": "recovered",
    "causes": ["hung"],
    "goal": {"median": 5, "p95": 8},
}


def fault(**change: Any) -> drill_fault.Fault:
    return drill_fault.read_fault("hang", {**GOOD, **change})


RECORD: IncidentRecord = {
    "id": "20251123T000000Z-hung",
    "cause": "hung",
    "confirmed": "1970-01-01T00:01:43.000Z",
    "healthy": True,
    "evidence": ["no answer within 2 s"],
    "remedies": [{"name": "restart", "done": True, "result": "", "seconds": 0.5}],
}
SEEN = drill_judge.Seen(
    round=1,
    injected=100.0,
    since=100.0,
    recovered=104.0,
    well=True,
    ahead=1.0,
    samples=answers("." + "x" * 39 + "." * 20),
    incidents=[RECORD],
    held={},
    files=["log-shop-1.txt"],
    restarted=[],
    afterwards="",
    balanced=False,
    whole=None,
)
CONTAINER: dict[str, Any] = {
    "Id": "c1",
    "Name": "/shop-web-1",
    "Image": "sha256:1",
    "RestartCount": 0,
    "Config": {"Image": "shop:1", "Labels": {"com.docker.compose.service": "web"}},
    "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8000"}]}},
    "State": {"Pid": 7, "Running": True, "StartedAt": "2026-06-01T00:00:00Z"},
}
OPTIONS = Options(
    "web1", "shop", "/opt/shop", ("hang",), url="http://192.0.2.1:8000/health", address="192.0.2.1", lab=True
)
