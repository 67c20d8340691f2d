# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values that Ansible would read as a template by accident are named; templates that are intended pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.env import unsafe_text

REPOSITORY = Path(__file__).resolve().parents[3]


class Unsafe(str):
    """A text with the tag `!unsafe`."""


def find(value: Any, **variables: Any) -> list[str]:
    known = {"app_env_values": {"KEY": value}, **variables}
    found = unsafe_text.find(["app_env_values", "missing"], known, lambda text: not isinstance(text, Unsafe))
    return [one.variable for one in found]


ACCIDENTS = {
    "a number": "Gr{{4}}YJ",
    "a letter": "Gr{{x}}YJ",
    "never closed": "Gr{{YJ",
    "a statement": "Gr{%YJ",
    "a comment": "Gr{#YJ",
    "a comment that ends": "Gr{# 4 #}YJ",
    "at its end": "GrYJ{{",
    "a text": "Gr{{'4'}}YJ",
}
ON_PURPOSE = {
    "a variable": "{{ vault_key }}",
    "with a default": "{{ not_there | default('') }}",
    "a wrong name, which Ansible names": "{{ vault_kee }}",
    "a text with a filter": "{{ 'of an example' | hash('sha256') }}",
    "a lookup": "{{ lookup('ansible.builtin.env', 'KEY') }}",
    "made of parts": "postgres://app:{{ vault_key | urlencode }}@db/app",
    "a filter": "{{ 'shop' | b64encode }}",
    "a condition": "{% if vault_key %}a{% else %}b{% endif %}",
    "braces": "a}}b{c}d%}",
    "not text": 8000,
}


@pytest.mark.parametrize("text", ACCIDENTS.values(), ids=ACCIDENTS)
def test_an_accident_is_named_where_it_is_written(text: str) -> None:
    assert find(text) == ["app_env_values.KEY"]
    assert find("{{ vault_key }}", vault_key=text) == ["vault_key"]
    assert find("{{ vault_key | default('') }}", vault_key="{{ deeper }}", deeper=text) == ["deeper"]
    assert find(Unsafe(text)) == []
    assert find("{{ vault_key }}", vault_key=Unsafe(text)) == []


@pytest.mark.parametrize("value", ON_PURPOSE.values(), ids=ON_PURPOSE)
def test_a_template_that_was_written_on_purpose_passes(value: Any) -> None:
    assert find(value, vault_key="q8Zr2kVw7TnXp4Ls") == []


def test_a_variable_that_refers_to_itself_passes() -> None:
    assert find("{{ vault_key }}", vault_key="{{ vault_key }}") == []


def test_the_message_has_the_line_to_write_and_no_part_of_the_value() -> None:
    text = unsafe_text.describe([unsafe_text.Unsafe("vault_key", "KEY"), unsafe_text.Unsafe("app_env_values.A", "A")])
    assert text.splitlines()[0].startswith("vault_key (for KEY): its value holds {{, {% or {#, which Ansible reads")
    assert "write `vault_key: !unsafe '…'`" in text
    assert "app_env_values.A: its value" in text
    assert "`A: !unsafe '…'`" in text


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Validate
      ansible.builtin.import_role: {name: christmas.selfheal.app_env, tasks_from: preflight}
    - name: Show the fingerprint of the value
      ansible.builtin.debug: {msg: "fingerprint {{ app_env_proof.fingerprints.KEY | default('none') }}"}
"""


@pytest.mark.parametrize(
    ("vault", "code", "output"),
    [
        ("vault_key: Gr{{4}}YJx8Zr2kVw7TnXp4Ls", 2, "vault_key (for KEY): its value holds"),
        ("vault_key: Gr{#4YJx8Zr2kVw7TnXp4Ls", 2, "vault_key (for KEY): its value holds"),
        ("vault_key: !unsafe Gr{{4}}YJx8Zr2kVw7TnXp4Ls", 0, "fingerprint sha256:"),
        ("vault_key: GrYJx8Zr2kVw7TnXp4Ls", 0, "fingerprint sha256:"),
    ],
)
def test_the_role_names_the_variable_before_anything_is_templated(
    tmp_path: Path, vault: str, code: int, output: str
) -> None:
    table = [{"name": "KEY", "kind": "token"}]
    extra = {"selfheal_app": "shop", "app_env_variables": table}
    (tmp_path / "group_vars").mkdir()
    values = 'app_env_values: {KEY: "{{ vault_key }}"}\n'
    (tmp_path / "group_vars/all.yml").write_text(f"{vault}\n{values}", encoding="utf-8")
    (tmp_path / "hosts").write_text("localhost ansible_connection=local\n", encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(tmp_path / "hosts"),
        "-e",
        json.dumps(extra),
    ]
    ended = subprocess.run(
        [*argv, str(tmp_path / "play.yml")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert output in " ".join(ended.stdout.split())
    assert "4YJ" not in ended.stdout + ended.stderr
