# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One server with several names in the inventory: who may be watched by whom, and what is the same for all names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MONITORING = REPOSITORY / "roles" / "monitoring"
HOSTS: dict[str, dict[str, Any]] = {
    "shop": {"ansible_host": "192.0.2.1", "selfheal_app": "shop"},
    "bakery": {"ansible_host": "192.0.2.1", "selfheal_app": "bakery"},
    "behind-the-same-address": {"ansible_host": "192.0.2.1", "ansible_port": 2222, "selfheal_app": "app"},
    "watched": {"ansible_host": "192.0.2.2", "selfheal_app": "shop", "monitoring_hub": "shop"},
    "not-measured": {"ansible_host": "192.0.2.2", "selfheal_app": "bakery", "monitoring_enabled": False},
    "twice": {"ansible_host": "192.0.2.3", "selfheal_app": "shop", "monitoring_hub": "shop"},
    "twice-too": {"ansible_host": "192.0.2.3", "selfheal_app": "bakery", "monitoring_hub": "bakery"},
    "once": {"ansible_host": "192.0.2.4", "selfheal_app": "shop", "monitoring_hub": "shop"},
    "once-too": {"ansible_host": "192.0.2.4", "selfheal_app": "bakery"},
    "itself": {"ansible_host": "192.0.2.5", "selfheal_app": "shop", "monitoring_hub": "its-other-name"},
    "its-other-name": {"ansible_host": "192.0.2.5", "selfheal_app": "bakery"},
}
# Nothing of the role is run: what its variables come to is printed.
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: ROLE, tasks_from: preflight}
      when: false
    - christmas.selfheal.role_options: {role: monitoring}
      register: validated
      ignore_errors: true
    - ansible.builtin.debug:
        msg: "shown: {{ __shown | to_json | b64encode }};"
      vars:
        __shown:
          - "{{ inventory_hostname }}"
          - "{{ validated.msg | default('') }}"
          - "{{ __monitoring_watches }}"
          - "{{ __monitoring_host_rules[0].content }}"
"""
ONE_SERVER = "{} and {} are one server, {}, and a monitoring host keeps one tunnel to a server, for one app. Leave"


class Shown(NamedTuple):
    """The errors of a host's variables, whom it watches, and its server's rules."""

    errors: str
    watches: list[str]
    rules: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """By host; Ansible connects to none of them."""
    folder = tmp_path_factory.mktemp("play")
    shared = {"monitoring_enabled": True, "monitoring_without_receivers": True}
    inventory = {"all": {"hosts": HOSTS, "vars": shared}}
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    (folder / "play.yml").write_text(PLAY.replace("ROLE", str(MONITORING)), encoding="utf-8")
    # A play finds the files of the role's variables in its own folder.
    (folder / "templates").symlink_to(MONITORING / "templates")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{folder}/hosts.json", f"{folder}/play.yml"],
        cwd=REPOSITORY,
        env={**kept, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found = [json.loads(b64decode(text)) for text in re.findall(r"shown: (\S+);", ended.stdout)]
    return {one[0]: Shown(*one[1:]) for one in found}


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("shop", ""),
        ("bakery", ""),
        ("behind-the-same-address", ""),
        ("watched", ""),
        ("twice", ONE_SERVER.format("twice", "twice-too", "192.0.2.3")),
        ("twice-too", ONE_SERVER.format("twice-too", "twice", "192.0.2.3")),
        # Either of them would undo what the other one does.
        ("once", ONE_SERVER.format("once", "once-too", "192.0.2.4")),
        ("once-too", ONE_SERVER.format("once-too", "once", "192.0.2.4")),
        ("itself", "its-other-name, the monitoring host of itself, is the same server"),
    ],
)
def test_a_server_with_several_apps_is_not_watched_twice(shown: dict[str, Shown], host: str, words: str) -> None:
    assert words in shown[host].errors
    assert bool(words) == bool(shown[host].errors)


def test_each_name_of_a_monitoring_host_knows_whom_the_others_watch(shown: dict[str, Shown]) -> None:
    """Else the run for one would end the tunnels of another."""
    assert shown["shop"].watches == shown["bakery"].watches
    assert {"watched", "twice", "twice-too", "once"} == set(shown["shop"].watches)
    assert shown["behind-the-same-address"].watches == []


def test_the_rules_of_a_server_are_the_same_by_each_name(shown: dict[str, Shown]) -> None:
    assert shown["shop"].rules == shown["bakery"].rules
    # The first app's, as the exporter takes it.
    assert 'scope: host, host: "bakery"}' in shown["shop"].rules
    assert 'scope: host, host: "watched"}' in shown["watched"].rules
