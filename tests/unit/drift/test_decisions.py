# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Only what the policy allows is corrected."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import decisions as drift_decisions
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import policy as drift_policy
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Finding
from ansible_collections.christmas.selfheal.tests.unit.drift import factories
from ansible_collections.christmas.selfheal.tests.unit.drift.factories import finding

REPOSITORY = Path(__file__).resolve().parents[3]
TODAY = datetime.date(2026, 6, 1)
CORRECT = {"role": "*", "do": "correct"}


def decided(
    one: Finding, *policy: Any, corrected: int = 0, whole: bool = True, window: bool = True, **facts: Any
) -> tuple[str, str]:
    entries = drift_policy.read_policy(policy)
    hold = drift_decisions.held(factories.facts(**facts), whole, window)
    drift_decisions.decide([one], {"web1": entries}, {"web1": hold}, {"1": corrected}, TODAY, {})
    return one["decision"], one["because"]


DECISIONS: list[tuple[str, dict[str, Any], list[Any], dict[str, Any], str, str]] = [
    ("without a policy", {}, [], {}, "report", ""),
    ("another host", {}, [{**CORRECT, "host": "db*"}], {}, "report", ""),
    ("allowed", {}, [CORRECT], {}, "correct", ""),
    (
        "the first entry that matches",
        {},
        [{"role": "watcher", "do": "report", "because": "we look"}, CORRECT],
        {},
        "report",
        "we look",
    ),
    ("another severity", {}, [{"severity": "cosmetic", "do": "correct"}], {}, "report", ""),
    ("a change of the inventory", {"pending": True}, [CORRECT], {}, "pending", "Run site.yml"),
    ("during an incident", {}, [CORRECT], {"incident": "20260601T000000Z-crash"}, "waits", "crash is open"),
    ("during a deploy", {}, [CORRECT], {"busy": True}, "waits", "is running"),
    ("compared in part", {}, [CORRECT], {"whole": False}, "waits", "not all of the host"),
    ("outside the windows", {}, [CORRECT], {"window": False}, "waits", "windows"),
    ("the third time", {}, [CORRECT], {"corrected": 2}, "correct", ""),
    ("again after three corrections", {}, [CORRECT], {"corrected": 3}, "escalate", "find out who"),
    ("of no role", {"role": "host", "what": "cron"}, [CORRECT], {}, "report", "a person has to"),
    (
        "an unmanaged container",
        {"role": "compose_app", "what": "container"},
        [CORRECT],
        {},
        "report",
        "a person has to",
    ),
]


@pytest.mark.parametrize(
    ("about", "policy", "facts", "decision", "because"),
    [case[1:] for case in DECISIONS],
    ids=[case[0] for case in DECISIONS],
)
def test_decisions(
    about: dict[str, Any], policy: list[Any], facts: dict[str, Any], decision: str, because: str
) -> None:
    got, why = decided(finding(**about), *policy, **facts)
    assert got == decision
    assert because in why


def test_a_role_is_not_run_when_it_would_change_what_must_stay() -> None:
    kept, other = finding(id="2", object="/etc/kept"), finding()
    by_hand = finding(id="3", object="/opt/shop/fix.sh", role="compose_app", what="added")
    env, overlay = finding(id="4", role="app_env", object=".env KEY"), finding(id="5", role="compose_app")
    ignored = {"object": "*kept", "do": "ignore", "until": "2999-01-01", "because": "agreed"}
    found = [kept, other, by_hand, env, overlay]

    def decide(*policy: dict[str, str]) -> list[str]:
        entries = drift_policy.read_policy(policy)
        drift_decisions.decide(found, {"web1": entries}, {}, {}, TODAY, {})
        return [one["decision"] for one in found]

    assert decide(ignored, CORRECT) == ["ignored", "report", "report", "correct", "correct"]
    assert "would also change /etc/kept" in other["because"]
    assert decide({"role": "app_env", "do": "report"}, CORRECT) == ["correct", "correct", "report", "report", "report"]


def test_an_ignored_drift_is_reported_after_its_date() -> None:
    def until(day: str) -> str:
        return decided(finding(), {"object": "/etc/*", "do": "ignore", "until": day, "because": "agreed"})[0]

    assert [until("2026-06-01"), until("2026-05-31")] == ["ignored", "report"]


def test_every_role_of_site_yml_can_correct() -> None:
    plays = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text(encoding="utf-8"))
    tasks = [task for play in plays if "always" not in play.get("tags", ()) for task in play.get("tasks", ())]
    included = [task.get("ansible.builtin.include_role", task.get("ansible.builtin.import_role")) for task in tasks]
    roles = {one["name"].rpartition(".")[2] for one in included}
    assert [task["tags"] for task in tasks] == [one["name"].rpartition(".")[2] for one in included]
    assert set(drift_decisions.ROLES) == roles


def test_the_env_comes_last_and_hosts_are_in_order() -> None:
    found = [
        finding(role=role, host=host, decision=decision)
        for host, role, decision in (
            ("web2", "app_env", "correct"),
            ("web2", "load_balancer", "correct"),
            ("web1", "watcher", "correct"),
            ("web1", "app_env", "waits"),
        )
    ]
    planned = drift_decisions.roles_by_host(found)
    assert list(planned.items()) == [("web1", ["watcher"]), ("web2", ["load_balancer", "app_env"])]
    assert drift_decisions.split_runs(planned["web2"]) == [["load_balancer"], ["app_env"]]
