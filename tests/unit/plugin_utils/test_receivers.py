# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of receivers: refused entries, validated secrets and their files, Alertmanager's configuration.

Alertmanager's configuration is rendered by Ansible in one run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils import receivers
from ansible_collections.christmas.selfheal.plugins.plugin_utils.receivers import Receiver
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options import alerting

REPOSITORY = Path(__file__).resolve().parents[3]
ROLE = REPOSITORY / "roles" / "alerting"
TOKEN, BOT, HOOK = (
    "1001:" + "k3" * 18,
    "xoxb-" + "17-" * 8 + "q9",
    "https://hooks.slack.com/services/T0/B0/k3q9k3q9k3q9",
)
FOLDER = "/etc/prometheus/alertmanager-secrets"

TELEGRAM: Receiver = {"kind": "telegram", "chat_id": -1001, "token": TOKEN}
SLACK: Receiver = {"kind": "slack", "token": BOT, "channel": "#alerts"}

# The entry; its error; the secret that is validated; keys of the first receiver in Alertmanager's configuration.
CASES: dict[str, tuple[Receiver, str, str, dict[str, Any]]] = {
    "a group of Telegram": (TELEGRAM, "", TOKEN, {"chat_id": -1001, "message_thread_id": None}),
    "a topic": ({**TELEGRAM, "message_thread_id": 77}, "", TOKEN, {"message_thread_id": 77}),
    "a topic, as a text": ({**TELEGRAM, "message_thread_id": "77"}, "", TOKEN, {"message_thread_id": 77}),
    "no topic": ({**TELEGRAM, "message_thread_id": 0}, "message_thread_id is not the number of a topic", TOKEN, {}),
    "a topic of Slack": (
        {**SLACK, "message_thread_id": 7},
        "message_thread_id is not an option of kind slack",
        BOT,
        {},
    ),
    "a webhook": (
        {"kind": "slack", "url": HOOK},
        "",
        HOOK,
        {"api_url_file": f"{FOLDER}/slack-1", "api_url": None, "http_config": None, "channel": None},
    ),
    "a bot of Slack": (
        SLACK,
        "",
        BOT,
        {
            "api_url": "https://slack.com/api/chat.postMessage",
            "http_config": {"authorization": {"credentials_file": f"{FOLDER}/slack-1"}},
            "channel": "#alerts",
            "api_url_file": None,
        },
    ),
    "a bot at another address": ({**SLACK, "api_url": "http://10.0.0.1/x"}, "", BOT, {"api_url": "http://10.0.0.1/x"}),
    "a bot without a channel": ({"kind": "slack", "token": BOT}, "channel is missing", BOT, {}),
    "both ways": ({**SLACK, "url": HOOK}, "url is not an option of kind slack", BOT, {}),
    "neither way": ({"kind": "slack", "channel": "#alerts"}, "url is missing", "", {}),
    "a method for a webhook": (
        {"kind": "slack", "url": "https://slack.com/api/chat.postMessage", "channel": "#alerts"},
        "url is a method of Slack's API, which takes a token, and not a webhook. Replace it with `token: …`",
        "https://slack.com/api/chat.postMessage",
        {},
    ),
}


@pytest.fixture(scope="module")
def rendered(
    tmp_path_factory: pytest.TempPathFactory, run_tasks: Callable[[Path, list[dict[str, Any]]], None]
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("alerting")
    tasks: list[dict[str, Any]] = [{"ansible.builtin.include_vars": str(ROLE / "vars" / "main.yml")}]
    template = ROLE / "templates" / "alertmanager.yml.j2"
    for case, (entry, *_unused) in CASES.items():
        shown = "{{ lookup('ansible.builtin.template', '" + str(template) + "') }}"
        put = "{{ rendered | default({}) | combine({case: text}) }}"
        given = {"alerting_receivers": [entry], "alerting_deadman_url": "", "case": case, "text": shown}
        tasks.append({"ansible.builtin.set_fact": {"rendered": put}, "vars": given})
    written = {"content": "{{ rendered | to_json }}", "dest": str(folder / "rendered.json"), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": written})
    run_tasks(folder, tasks)
    found: dict[str, str] = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("case", CASES)
def test_errors_of_an_entry(case: str) -> None:
    entry, expected, *_unused = CASES[case]
    found = list(alerting.table_errors([entry]))
    assert len(found) == bool(expected), found
    assert expected in "".join(found)


@pytest.mark.parametrize("case", CASES)
def test_its_secret_is_validated_and_written_to_a_file_of_its_own(case: str) -> None:
    entry, _expected, secret, _sent = CASES[case]
    found = receivers.secrets([entry], "", FOLDER)
    assert list(found["values"].values()) == ([secret] if secret else [])
    assert [one["name"] for one in found["variables"]] == list(found["values"])
    written = {"path": f"{FOLDER}/{entry['kind']}-1", "mode": "0640", "content": secret}
    assert found["files"] == ([written] if secret else [])


def test_a_token_is_validated_once_and_written_for_each_receiver() -> None:
    address = "https://deadman.internal/k3q9"
    found = receivers.secrets(
        [TELEGRAM, {**TELEGRAM, "chat_id": 2}, {"kind": "email", "to": "a@b.dev"}], address, FOLDER
    )
    assert found["values"] == {"alerting_receivers_1_token": TOKEN, "alerting_deadman_url": address}
    assert found["variables"] == [
        {
            "name": "alerting_receivers_1_token",
            "secret": True,
            "source": "BotFather, /token",
            "kind": "pattern",
            "pattern": "[0-9]+:[A-Za-z0-9_-]{30,}",
        },
        {
            "name": "alerting_deadman_url",
            "secret": True,
            "source": "the dead-man's switch, the address of the check",
            "kind": "url",
        },
    ]
    assert [one["path"] for one in found["files"]] == [
        f"{FOLDER}/{name}" for name in ("telegram-1", "telegram-2", "deadman")
    ]


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case[1]])
def test_alertmanagers_configuration(rendered: dict[str, str], case: str) -> None:
    entry, _unused, secret, expected = CASES[case]
    shown = rendered[case]
    assert secret not in shown
    named = {one["name"]: one for one in yaml.safe_load(shown)["receivers"]}
    given = named[f"{entry['kind']}-1"][f"{entry['kind']}_configs"][0]
    assert {key: given.get(key) for key in expected} == expected


# What the entry adds, and its route: severities, whether critical, the receivers with whether each reports an end.
ROUTES: list[tuple[dict[str, Any], tuple[str, bool, list[tuple[str, bool]]]]] = [
    ({}, ("warning|critical", True, [("slack-2", True), ("slack-2-escalated", False)])),
    ({"severities": "critical"}, ("critical", True, [("slack-2", True)])),
    ({"severities": ["warning"]}, ("warning", False, [("slack-2", True)])),
    (
        {"kind": "email", "severities": "critical, warning"},
        (
            "critical|warning",
            True,
            [("email-2", True), ("email-2-escalated", False), ("email-2-report", False)],
        ),
    ),
    (
        {"kind": "email", "severities": ["warning"]},
        ("warning", False, [("email-2", True), ("email-2-report", False)]),
    ),
]


@pytest.mark.parametrize(("entry", "expected"), ROUTES)
def test_who_is_notified_of_what(entry: receivers.Receiver, expected: tuple[str, bool, list[tuple[str, bool]]]) -> None:
    first, second = receivers.routes([TELEGRAM, cast("receivers.Receiver", {**SLACK, **entry})])
    assert first["name"] == "telegram-1"
    notified = [(one["name"], one["resolved"]) for one in second["receivers"]]
    assert (second["severity"], second["critical"], notified) == expected
    assert second["escalates"] == any(name.endswith("-escalated") for name, _resolved in notified)
    assert second["reports"] == (second["kind"] == "email")


@pytest.mark.parametrize(
    ("table", "deadman", "expected"),
    [
        ([{"kind": "email"}, SLACK], "", {"alerting_receivers": "0.25"}),
        ([TELEGRAM], "", {"alerting_receivers": "0.25", "alerting_receivers, kind telegram": "0.26"}),
        (
            [SLACK, {**TELEGRAM, "message_thread_id": 7}],
            "",
            {
                "alerting_receivers": "0.25",
                "alerting_receivers, kind telegram": "0.26",
                "alerting_receivers, message_thread_id": "0.28",
            },
        ),
        ([SLACK], "https://hc.example.org/x", {"alerting_receivers": "0.25", "alerting_deadman_url": "0.26"}),
    ],
)
def test_the_alertmanager_that_receivers_need(table: list[Receiver], deadman: str, expected: dict[str, str]) -> None:
    needed = receivers.packages(table, deadman)
    assert {one["option"]: one["minimum"] for one in needed} == expected
    assert {one["name"] for one in needed} == {"prometheus-alertmanager"}
