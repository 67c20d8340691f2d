# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`./selfheal COMMAND INVENTORY` on the controller → the command that runs the playbook."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils import front_door
from ansible_collections.christmas.selfheal.plugins.plugin_utils.front_door import Place

REPOSITORY = Path(__file__).resolve().parents[3]
INTERNAL = {"inventory_check", "drift_check", "drift_facts", "drift_tell"}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    root = tmp_path / "ansible_collections/christmas/selfheal"
    (root / "playbooks").mkdir(parents=True)
    text = "---\n# Recover the app:\n#   ansible-playbook playbooks/recover.yml -i inventory/production\n- name: x\n"
    (root / "playbooks/recover.yml").write_text(text, encoding="utf-8")
    (root / "playbooks/inner.yml").write_text("---\n# What recover.yml runs.\n- name: x\n", encoding="utf-8")
    return root


def test_every_playbook_for_people_is_a_command() -> None:
    found = front_door.commands(REPOSITORY)
    assert set(found) == {path.stem for path in REPOSITORY.glob("playbooks/*.yml")} - INTERNAL
    assert all(found.values())
    assert found["recover"] == "Recover the app: it is 02:00, and it is down."


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["recover", "production"], ["playbooks/recover.yml", "--inventory", "inventory/production"]),
        (["status", "--limit", "web1"], ["playbooks/status.yml", "--limit", "web1"]),
        (
            ["site", "lab", "--check", "-e", "a=b c"],
            ["playbooks/site.yml", "--inventory", "inventory/lab", "--check", "-e", "a=b c"],
        ),
        (
            ["adopt", "172.30.57.91:/root/apiary", "--check"],
            ["playbooks/adopt.yml", "--extra-vars", "adopt=172.30.57.91:/root/apiary", "--check"],
        ),
        (["adopt", "ada@web1"], ["playbooks/adopt.yml", "--extra-vars", "adopt=ada@web1"]),
        (
            ["adopt", "production", "-e", "adopt=web1"],
            ["playbooks/adopt.yml", "--inventory", "inventory/production", "-e", "adopt=web1"],
        ),
        (["site", "inventory/lab/hosts.yml"], ["playbooks/site.yml", "--inventory", "inventory/lab/hosts.yml"]),
    ],
)
def test_in_a_clone(words: list[str], expected: list[str]) -> None:
    assert front_door.command_line(words, Place(REPOSITORY, REPOSITORY)) == ["ansible-playbook", *expected]


def test_from_another_folder_the_clones_settings_are_named(tmp_path: Path) -> None:
    place = Place(REPOSITORY, tmp_path)
    assert front_door.command_line(["site", "lab"], place)[1:] == [
        str(REPOSITORY / "playbooks/site.yml"),
        "--inventory",
        str(REPOSITORY / "inventory/lab"),
    ]
    password = REPOSITORY / "inventory/lab/vault-password.txt"
    settings = {
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_VAULT_IDENTITY_LIST": f"lab@{password}",
    }
    assert front_door.environment(place, {}) == settings
    assert password.is_file()
    assert front_door.environment(place, {"ANSIBLE_CONFIG": "x"}) == {}
    assert front_door.environment(Place(REPOSITORY, REPOSITORY), {}) == {}


def test_installed_as_a_collection(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "inventory/production").mkdir(parents=True)
    place = Place(installed, tmp_path)
    argv = front_door.command_line(["recover", "production"], place)
    assert argv == ["ansible-playbook", "christmas.selfheal.recover", "--inventory", "inventory/production"]
    assert front_door.environment(place, {}) == {}
    assert list(front_door.commands(installed)) == ["recover"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recove", "production"], "no command 'recove'. Did you mean 'recover'? There are: adopt, backup, "),
        (["adopt", "web1"], "or give the path of one. To adopt an app: selfheal adopt web1:/FOLDER"),
        (["recover", "web1:/root/x"], "no inventory 'web1:/root/x'. There are: lab, production, staging; or give"),
        (["inventory_check"], "no command 'inventory_check'. There are: "),
        (
            ["recover", "prodution"],
            "no inventory 'prodution'. Did you mean 'production'? There are: lab, production, staging",
        ),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(words: list[str], said: str) -> None:
    with pytest.raises(front_door.Refused, match=re.escape(said)):
        front_door.command_line(words, Place(REPOSITORY, REPOSITORY))


def test_the_exit_code_is_the_playbooks_and_the_command_is_printed(tmp_path: Path) -> None:
    program = tmp_path / "ansible-playbook"
    program.write_text('#!/bin/sh\necho "ran $*"\nexit 7\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [str(REPOSITORY / "selfheal"), "recover", "production", "-e", "x=a b"]
    done = subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr == "ansible-playbook playbooks/recover.yml --inventory inventory/production -e 'x=a b'\n"
    assert done.stdout == "ran playbooks/recover.yml --inventory inventory/production -e x=a b\n"


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        ("shop", {"deploy/hosts.yml", "lab", "production", "staging"}),
        ("shop/deploy", {"hosts.yml", "lab", "production", "staging"}),
        ("own", {"servers.ini", "lab", "production", "staging"}),
    ],
)
def test_bash_completes_the_inventory_of_a_project_of_its_own(tmp_path: Path, here: str, expected: set[str]) -> None:
    for name in ("shop/deploy/hosts.yml", "shop/deploy/ansible.cfg", "own/ansible.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[defaults]\ninventory = servers.ini\n" if "own" in name else "", encoding="utf-8")
    script = front_door.completion(Place(REPOSITORY, tmp_path))
    ask = 'COMP_WORDS=(./selfheal recover ""); COMP_CWORD=2; _selfheal_playbooks; echo ${COMPREPLY[@]}'
    argv = ["bash", "-c", f"{script}\n{ask}"]
    done = subprocess.run(argv, cwd=tmp_path / here, capture_output=True, text=True, check=True)
    assert {word for word in done.stdout.split() if not word.startswith("--")} == expected
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["adopt", "init"])
def test_bash_completes_no_inventory_for_what_has_none_yet(command: str) -> None:
    script = front_door.completion(Place(REPOSITORY, REPOSITORY))
    ask = f'COMP_WORDS=(./selfheal {command} ""); COMP_CWORD=2; _selfheal_playbooks; echo ${{COMPREPLY[@]}}'
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()
    assert all(word.startswith("--") for word in done.stdout.split())


def test_the_settings_next_to_an_inventory_are_used(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    own = tmp_path / "deploy/ansible.cfg"
    own.touch()
    for root in (installed, REPOSITORY):
        place = Place(root, tmp_path)
        assert front_door.environment(place, {}, "deploy/hosts.yml") == {"ANSIBLE_CONFIG": str(own)}
        assert front_door.environment(place, {"ANSIBLE_CONFIG": "x"}, "deploy/hosts.yml") == {}


def test_bash_completes_commands_and_inventories() -> None:
    script = front_door.completion(Place(REPOSITORY, REPOSITORY))
    ask = "COMP_WORDS=(./selfheal rec pro); COMP_CWORD=%d; _selfheal_playbooks; echo ${COMPREPLY[@]}"
    asked = f"{script}\n{ask % 1}\n{ask % 2}"
    done = subprocess.run(["bash", "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["recover", "production"]
