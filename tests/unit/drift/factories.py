# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Complete findings and facts for tests of drift: a test gives only the values that it needs."""

from __future__ import annotations

from typing import Any, cast

from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Finding
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.host_facts import ReportedFacts

_FINDING: Finding = {
    "id": "1",
    "host": "web1",
    "role": "watcher",
    "app": "shop",
    "object": "/etc/x",
    "what": "content",
    "is": "a | b",
    "should": "<script>",
    "severity": "security",
    "changed_at": 60.0,
    "changed_by": ["intern from 192.0.2.7"],
    "untouched_since": 0.0,
    "as_meant_at": 0.0,
    "pending": False,
    "first_seen": 3600.0,
    "returns": 0,
    "decision": "report",
    "because": "",
}
_FACTS: ReportedFacts = {
    "app": "shop",
    "directory": "/opt/shop",
    "source": "",
    "exclude": [],
    "release": {},
    "desired": {},
    "containers": [],
    "images": {},
    "project": [],
    "marks": {},
    "files": {},
    "folders": {},
    "now": 1000.0,
    "logins": [],
    "incident": "",
    "busy": False,
    "problems": [],
    "stamp": "",
    "policy": [],
    "windows": [],
    "desired_stamp": "",
    "looks_at": [],
}


def finding(**about: Any) -> Finding:
    """A finding that is reported."""
    return cast("Finding", {**_FINDING, **about})


def facts(**about: Any) -> ReportedFacts:
    """The facts of an empty host."""
    return cast("ReportedFacts", {**_FACTS, **about})
