# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a play has registered of its hosts is gathered as the events of a run are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.action import drift
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import findings
from ansible_collections.christmas.selfheal.tests.unit.drift import factories

REGISTERED: list[tuple[str, dict[str, Any], str]] = [
    ("facts", {"changed": False, "drift": factories.facts()}, ""),
    ("an unreachable host", {"unreachable": True, "msg": "no route"}, "cannot be reached: no route"),
    (
        "a failed module",
        {"failed": True, "msg": "drift_policy[0]"},
        "Read the facts that no role manages: drift_policy[0]",
    ),
    ("no facts", {"changed": False}, "Read the facts that no role manages: no reason given"),
    ("a task that did not run", {}, ""),
]


@pytest.mark.parametrize(("result", "trouble"), [case[1:] for case in REGISTERED], ids=[case[0] for case in REGISTERED])
def test_what_a_play_has_registered(result: dict[str, Any], trouble: str) -> None:
    variables = {"web1": {"__facts": result} if result else {}}
    known = {"hostvars": SimpleNamespace(raw_get=variables.get)}
    registered = drift._registered(["web1"], "__facts", known)
    seen = findings.gather(drift._event(host, one) for host, one in registered.items())
    assert list(seen.facts) == (["web1"] if "drift" in result else [])
    assert [(one["host"], one["what"]) for one in seen.troubles] == ([("web1", trouble)] if trouble else [])
