# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of receivers: what is refused, which secret is validated and written where, and what Alertmanager is given.

The templates of the role are rendered by Ansible in one run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options import alerting

REPOSITORY = Path(__file__).resolve().parents[2]
ROLE = REPOSITORY / "roles" / "alerting"
TEMPLATES = ("provable.j2", "secrets.j2", "alertmanager.yml.j2")
TOKEN, BOT, HOOK = (
    "1001:" + "k3" * 18,
    "xoxb-" + "17-" * 8 + "q9",
    "https://hooks.slack.com/services/T0/B0/k3q9k3q9k3q9",
)
FOLDER = "/etc/prometheus/alertmanager-secrets"

TELEGRAM = {"kind": "telegram", "chat_id": -1001, "token": TOKEN}
SLACK = {"kind": "slack", "token": BOT, "channel": "#alerts"}

# The entry; what is said of it; the secret that is validated; keys of the first receiver that Alertmanager is given.
CASES: dict[str, tuple[dict[str, Any], str, str, dict[str, Any]]] = {
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
    for case, (entry, *_) in CASES.items():
        for template in TEMPLATES:
            name = f"{list(CASES).index(case)}-{template}"
            shown = (
                "{{ lookup('ansible.builtin.template', '"
                + str(ROLE / "templates" / template)
                + "') | default('', true) }}"
            )
            put = "{{ rendered | default({}) | combine({name: text}) }}"
            given = {"alerting_receivers": [entry], "alerting_deadman_url": "", "name": name, "text": shown}
            tasks.append({"ansible.builtin.set_fact": {"rendered": put}, "vars": given})
    written = {"content": "{{ rendered | to_json }}", "dest": str(folder / "rendered.json"), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": written})
    # What looks a template up by its name finds it next to the play.
    (folder / "templates").symlink_to(ROLE / "templates")
    run_tasks(folder, tasks)
    found: dict[str, str] = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return found


def text(rendered: dict[str, str], case: str, template: str) -> str:
    return rendered[f"{list(CASES).index(case)}-{template}"]


@pytest.mark.parametrize("case", CASES)
def test_errors_of_an_entry(case: str) -> None:
    entry, expected, *_ = CASES[case]
    found = list(alerting.table_errors([entry]))
    assert len(found) == bool(expected), found
    assert expected in "".join(found)


@pytest.mark.parametrize("case", CASES)
def test_its_secret_is_validated_and_written_to_a_file_of_its_own(rendered: dict[str, str], case: str) -> None:
    entry, _, secret, _ = CASES[case]
    found = json.loads(text(rendered, case, "provable.j2"))
    assert list(found["values"].values()) == ([secret] if secret else [])
    files = json.loads(text(rendered, case, "secrets.j2"))
    written = {"path": f"{FOLDER}/{entry['kind']}-1", "mode": "0640", "content": secret}
    assert files == ([written] if secret else [])


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case[1]])
def test_what_alertmanager_is_given(rendered: dict[str, str], case: str) -> None:
    entry, _, secret, expected = CASES[case]
    shown = text(rendered, case, "alertmanager.yml.j2")
    assert secret not in shown
    receivers = {one["name"]: one for one in yaml.safe_load(shown)["receivers"]}
    given = receivers[f"{entry['kind']}-1"][f"{entry['kind']}_configs"][0]
    assert {key: given.get(key) for key in expected} == expected
