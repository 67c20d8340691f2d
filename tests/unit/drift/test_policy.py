# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The policy is judged before it is used, and what is not plainly allowed is not corrected."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import policy as drift_policy
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.policy import PolicyError

REPOSITORY = Path(__file__).resolve().parents[3]
TODAY = datetime.date(2026, 6, 1)
CORRECT = {"role": "*", "do": "correct"}

WRONG: list[tuple[str, Any, str]] = [
    ("no table", "correct", "drift_policy[0]: is no table"),
    ("a key with a typing error", {"rolle": "watcher", "do": "correct"}, "drift_policy[0].rolle: is not known"),
    ("no action", {"role": "watcher"}, "drift_policy[0].do: 'nothing' is no way"),
    ("an unknown action", {"role": "watcher", "do": "fix"}, "drift_policy[0].do: 'fix' is no way"),
    ("about nothing", {"do": "correct"}, "drift_policy[0]: says not what it is about"),
    ("ignored for ever", {"role": "watcher", "do": "ignore", "because": "x"}, "drift_policy[0].until: is missing"),
    (
        "ignored for no reason",
        {"role": "x", "do": "ignore", "until": "2027-01-01"},
        "drift_policy[0].because: is missing",
    ),
    (
        "no date",
        {"role": "x", "do": "ignore", "until": "soon", "because": "y"},
        "drift_policy[0].until: 'soon' is no date",
    ),
    (
        "a date in another way",
        {"role": "x", "do": "ignore", "until": "20270131", "because": "y"},
        "drift_policy[0].until: '20270131' is no date",
    ),
    ("an end of nothing", {"role": "x", "do": "correct", "until": "2027-01-01"}, "drift_policy[0].until: belongs to"),
]


@pytest.mark.parametrize(("entry", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_makes_no_sense_is_refused(entry: Any, message: str) -> None:
    with pytest.raises(PolicyError) as refused:
        drift_policy.read_policy([entry])
    assert message in str(refused.value)
    assert "Fix: " in str(refused.value)


@pytest.mark.parametrize("text", ["25:00-26:00", "2-5", "Sunday 02:00-03:00", "02:00", "02:60-03:00", "02:00-02:00"])
def test_a_window_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"drift_windows\[0\]: .* Fix: "):
        drift_policy.read_windows([text])


@pytest.mark.parametrize(
    ("text", "weekday", "minute", "expected"),
    [
        ("02:00-05:00", 0, 120, True),
        ("02:00-05:00", 0, 300, False),
        ("Sat,Sun 02:00-05:00", 5, 121, True),
        ("Sat,Sun 02:00-05:00", 4, 121, False),
        ("Sat 23:00-01:00", 5, 1400, True),
        ("Sat 23:00-01:00", 6, 30, True),
        ("Sat 23:00-01:00", 5, 30, False),
    ],
)
def test_windows(text: str, weekday: int, minute: int, expected: bool) -> None:
    assert drift_policy.is_open(drift_policy.read_windows([text]), weekday, minute) is expected


def finding(**about: Any) -> dict[str, Any]:
    return {
        **{"id": "1", "host": "web1", "role": "watcher", "object": "/etc/x", "what": "content", "severity": "security"},
        "pending": False,
        **about,
    }


def decided(
    one: dict[str, Any], *policy: Any, corrected: int = 0, whole: bool = True, window: bool = True, **facts: Any
) -> tuple[str, str]:
    entries = drift_policy.read_policy(policy)
    hold = drift_policy.held({"incident": "", "busy": False, **facts}, whole, window)
    drift_policy.decide([one], {"web1": entries}, {"web1": hold}, {"1": corrected}, TODAY, {})
    return one["decision"], one["because"]


DECISIONS: list[tuple[str, dict[str, Any], list[Any], dict[str, Any], str, str]] = [
    ("without a policy", {}, [], {}, "report", ""),
    ("another host", {}, [{**CORRECT, "host": "db*"}], {}, "report", ""),
    ("wanted", {}, [CORRECT], {}, "correct", ""),
    (
        "the first that fits",
        {},
        [{"role": "watcher", "do": "report", "because": "we look"}, CORRECT],
        {},
        "report",
        "we look",
    ),
    ("by its severity", {}, [{"severity": "cosmetic", "do": "correct"}], {}, "report", ""),
    ("what the inventory has changed", {"pending": True}, [CORRECT], {}, "pending", "Run site.yml"),
    ("during an incident", {}, [CORRECT], {"incident": "20260601T000000Z-crash"}, "waits", "crash is open"),
    ("during a deploy", {}, [CORRECT], {"busy": True}, "waits", "goes on"),
    ("compared in part", {}, [CORRECT], {"whole": False}, "waits", "not all of the host"),
    ("outside the windows", {}, [CORRECT], {"window": False}, "waits", "windows"),
    ("the third time", {}, [CORRECT], {"corrected": 2}, "correct", ""),
    ("there again after three", {}, [CORRECT], {"corrected": 3}, "escalate", "find out who"),
    ("no role's", {"role": "host", "what": "cron"}, [CORRECT], {}, "report", "for a person"),
    ("a container nobody knows", {"role": "compose_app", "what": "container"}, [CORRECT], {}, "report", "for a person"),
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


def test_a_role_is_not_run_when_it_would_undo_what_is_to_stay() -> None:
    kept, other = finding(id="2", object="/etc/kept"), finding()
    by_hand = finding(id="3", object="/opt/shop/fix.sh", role="compose_app", what="added")
    env, overlay = finding(id="4", role="app_env", object=".env KEY"), finding(id="5", role="compose_app")
    ignored = {"object": "*kept", "do": "ignore", "until": "2999-01-01", "because": "agreed"}
    found = [kept, other, by_hand, env, overlay]

    def decide(*policy: dict[str, str]) -> list[str]:
        entries = drift_policy.read_policy(policy)
        drift_policy.decide(found, {"web1": entries}, {}, {}, TODAY, {})
        return [one["decision"] for one in found]

    assert decide(ignored, CORRECT) == ["ignored", "report", "report", "correct", "correct"]
    assert "would also change /etc/kept" in other["because"]
    assert decide({"role": "app_env", "do": "report"}, CORRECT) == ["correct", "correct", "report", "report", "report"]


def test_what_is_ignored_comes_back_when_its_time_is_over() -> None:
    def until(day: str) -> str:
        return decided(finding(), {"object": "/etc/*", "do": "ignore", "until": day, "because": "agreed"})[0]

    assert [until("2026-06-01"), until("2026-05-31")] == ["ignored", "report"]


def test_every_role_of_site_yml_can_correct() -> None:
    plays = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text(encoding="utf-8"))
    tasks = [task for play in plays if "always" not in play.get("tags", ()) for task in play.get("tasks", ())]
    included = [task.get("ansible.builtin.include_role", task.get("ansible.builtin.import_role")) for task in tasks]
    roles = {one["name"].rpartition(".")[2] for one in included}
    assert [task["tags"] for task in tasks] == [one["name"].rpartition(".")[2] for one in included]
    assert set(drift_policy.ROLES) == roles


def test_the_env_comes_last_and_one_host_after_the_other() -> None:
    found = [
        {**finding(role=role, host=host), "decision": decision}
        for host, role, decision in (
            ("web2", "app_env", "correct"),
            ("web2", "load_balancer", "correct"),
            ("web1", "watcher", "correct"),
            ("web1", "app_env", "waits"),
        )
    ]
    planned = drift_policy.plan(found)
    assert list(planned.items()) == [("web1", ["watcher"]), ("web2", ["load_balancer", "app_env"])]
    assert drift_policy.runs(planned["web2"]) == [["load_balancer"], ["app_env"]]
