# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""init.yml as a user runs it, and the inventory that it writes, in validate.yml. These tests send no packet."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import merge
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import SIGN, STACKS

REPOSITORY = Path(__file__).resolve().parents[3]


def play(here: Path, *words: str, **more: str) -> tuple[int, str]:
    """Run ansible-playbook in a folder without a configuration, as with the collection from Galaxy.

    There is no Compose, and the program for ssh only fails.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".venv/collections"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_SSH_EXECUTABLE": "/bin/false",
        "PATH": path,
    }
    ended = subprocess.run(
        ["ansible-playbook", *words],
        cwd=here,
        env={**kept, **settings, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder for a project; what is next to it does not count."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def put(top: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(text.encode())


INIT = "christmas.selfheal.init"
# The others differ in what the library's own tests cover; a run of Ansible takes two seconds.
PLAYED = (
    "an app with postgres, redis and nginx, official images",
    "env files of its own, and no .env",
    "a backend on Supabase, with Windows line ends and a BOM",
    "values of all signs, and a compose file in a folder",
)


@pytest.mark.parametrize("name", PLAYED)
def test_the_inventory_is_valid(here: Path, name: str) -> None:
    """With no line by hand, validate.yml finds only that the host does not answer. Its command is the one shown."""
    stack = STACKS[name]
    put(here, stack.files)
    given = ["-e", f"from={stack.given[0]}", "-e", "host=10.0.0.5", "-e", "to=deploy"]
    code, said = play(here, INIT, *given, "--diff", "-vvv")
    assert code == 0, said
    assert SIGN not in said
    assert [value for value in stack.secrets.values() if value and value in said] == []
    shown = re.findall(r"^  (ansible-playbook .*)$", said, re.MULTILINE)
    assert [command.split()[1] for command in shown] == ["christmas.selfheal.validate", "christmas.selfheal.site"]
    _code, said = play(here, *shown[0].split()[1:])
    table = (here / "deploy/group_vars/all/variables.yml").read_text(encoding="utf-8")
    count = len(merge.names(table, "app_env_variables"))
    wanted = f"{count} of {count} variables are validated" if count else "no variables: the app has no env"
    assert f"[x] secrets   {wanted}" in said
    assert "validations failed (host)" in said
    assert SIGN not in said


def test_a_second_run_changes_nothing_and_check_mode_writes_nothing(here: Path) -> None:
    put(
        here,
        {"compose.yaml": "name: shop\nservices: {web: {image: 'nginx:1', ports: ['80:80']}}\n", ".env": f"A={SIGN}\n"},
    )
    code, said = play(here, INIT, "-e", "from=.", "--check", "--diff")
    assert (code, (here / "deploy").exists()) == (0, False)
    assert "Would write to deploy" in said
    assert "changed=1" in said
    assert "+selfheal_app: shop" in said
    assert "changed=1" in play(here, INIT, "-e", "from=.")[1]
    code, said = play(here, INIT, "-e", "from=.", "--diff")
    assert "changed=0" in said
    assert "Nothing is new: deploy stays as it is." in said


# id, the folder that the user is in, the command before its options, what the next commands begin with
WAYS: list[tuple[str, str, list[str], str]] = [
    ("in the clone", "clone", ["ansible-playbook", "playbooks/init.yml"], "ansible-playbook playbooks/"),
    ("the front door in the clone", "clone", ["./selfheal", "init"], "ansible-playbook playbooks/"),
    ("the front door in the project", "project", [f"{REPOSITORY}/selfheal", "init"], f"{REPOSITORY}/selfheal "),
    ("installed", "project", ["ansible-playbook", "christmas.selfheal.init"], "ansible-playbook christmas.selfheal."),
]


@pytest.mark.parametrize(("place", "words", "begin"), [row[1:] for row in WAYS], ids=[row[0] for row in WAYS])
def test_the_next_commands_run_where_they_are_shown(here: Path, place: str, words: list[str], begin: str) -> None:
    """As they are pasted: in the same folder, with nothing in the environment but an installed collection."""
    put(here, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n", ".env": f"A_TOKEN={SIGN}9xT\n"})
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    kept["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    if words[-1] == INIT:
        kept["ANSIBLE_COLLECTIONS_PATH"] = str(REPOSITORY / ".venv/collections")
    folder = REPOSITORY if place == "clone" else here

    def run(*argv: str) -> str:
        ended = subprocess.run(argv, cwd=folder, env=kept, text=True, capture_output=True, check=False)
        assert ended.returncode == 0, (argv, ended.stdout + ended.stderr)
        return ended.stdout

    said = run(*words, "-e", f"from={here}", "-e", "host=10.0.0.5")
    shown = said.partition("Next, ")[2].splitlines()[1:3]
    assert [line.startswith(f"  {begin}{name}") for line, name in zip(shown, ("validate", "site"), strict=True)] == [
        True,
        True,
    ]
    for line in shown:
        assert "playbook: " in run(*shlex.split(line), "--syntax-check")


def test_from_a_clone(here: Path) -> None:
    """Its configuration has the lab's password, which is published and must not encrypt the vault."""
    put(here, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n", ".env": f"A_TOKEN={SIGN}9xT\n"})
    words = ("playbooks/init.yml", "-e", f"from={here}", "-e", "host=10.0.0.5")
    code, said = play(REPOSITORY, *words, ANSIBLE_CONFIG="ansible.cfg")
    assert code == 0, said
    shown = re.findall(r"^  (ansible-playbook .*)$", said, re.MULTILINE)
    assert shown[1].startswith(f"ansible-playbook playbooks/site.yml -i {here}/deploy/hosts.yml ")
    _code, said = play(REPOSITORY, *shown[0].split()[1:], ANSIBLE_CONFIG="ansible.cfg")
    assert "1 of 1 variables are validated" in said


def test_in_the_folder_of_the_inventory(here: Path) -> None:
    """Its own configuration names the inventory, the password and the collection."""
    put(here, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n", ".env": f"A_TOKEN={SIGN}9xT\n"})
    assert play(here, INIT, "-e", "from=.", "-e", "host=10.0.0.5")[0] == 0
    _code, said = play(here / "deploy", "christmas.selfheal.validate")
    assert "1 of 1 variables are validated" in said


def test_several_files(here: Path) -> None:
    put(here, dict.fromkeys(("a.yaml", "b.yaml"), "services: {web: {image: 'nginx:1'}}\n"))
    code, said = play(here, INIT, "-e", '{"from": ["a.yaml", "b.yaml"]}', "-e", "app=two", "--check", "--diff")
    assert code == 0, said
    assert "+compose_app_files: [a.yaml, b.yaml]" in said
    assert "+selfheal_app: two" in said


def test_the_users_own_password(here: Path) -> None:
    put(here, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n", ".env": f"A_TOKEN={SIGN}9xT\n"})
    (here.parent / "password").write_text("of the user\n", encoding="utf-8")
    own = {"ANSIBLE_VAULT_PASSWORD_FILE": str(here.parent / "password")}
    code, said = play(here, INIT, "-e", "from=compose.yaml", "-e", "host=10.0.0.5", **own)
    assert code == 0, said
    assert not (here / "deploy/.vault-password").exists()
    assert "--vault-password-file" not in said
    shown = re.findall(r"^  (ansible-playbook .*)$", said, re.MULTILINE)
    assert "1 of 1 variables are validated" in play(here, *shown[0].split()[1:], **own)[1]


BAD = [
    ("nothing", {}, [], "from: it names no compose file. Nothing was written. Fix: add -e from="),
    ("no such file", {}, ["-e", "from=compose.yaml"], "compose.yaml: there is no such file"),
    (
        "an .env that is broken",
        {"compose.yaml": "services: {a: {image: x}}\n", ".env": f"A='{SIGN}\n"},
        ["-e", "from=."],
        ".env line 1: a quote is opened here and never closed",
    ),
]


@pytest.mark.parametrize(("files", "words", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_ends_with_a_code(here: Path, files: dict[str, str], words: list[str], message: str) -> None:
    put(here, files)
    code, said = play(here, INIT, *words)
    assert code == 2
    assert message in " ".join(said.split())
    assert SIGN not in said
    assert not (here / "deploy").exists()


def test_an_unedited_address_is_refused(here: Path) -> None:
    put(here, {"compose.yaml": "services: {web: {image: 'nginx:1'}}\n"})
    _code, said = play(here, INIT, "-e", "from=.")
    assert "deploy/hosts.yml: replace the example 192.0.2.10" in said
    shown = re.findall(r"^  (ansible-playbook .*)$", said, re.MULTILINE)
    code, said = play(here, *shown[1].split()[1:])
    assert code == 2
    assert "192.0.2.10 is an address for documentation" in " ".join(said.split())
