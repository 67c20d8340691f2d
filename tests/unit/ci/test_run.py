# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""ci/run.py: what it asks Ansible to do, what it refuses, and that no secret outlives the run."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.ci import run
from ansible_collections.christmas.selfheal.tests.unit.ci.place import Place

GOOD = {"PLAYBOOK": "deploy", "INVENTORY": "/dev/null"}

JOBS: list[tuple[str, dict[str, str], list[str]]] = [
    ("a deploy", {}, ["ansible-playbook", "christmas.selfheal.deploy", "--inventory=/dev/null"]),
    (
        "one host, in check mode",
        {"PLAYBOOK": "site", "LIMIT": "shop1", "CHECK": "true"},
        ["ansible-playbook", "christmas.selfheal.site", "--inventory=/dev/null", "--limit=shop1", "--check", "--diff"],
    ),
    (
        "a promotion by somebody",
        {"PLAYBOOK": "promote", "SOAK_MINUTES": "30", "GITHUB_ACTOR": "ada"},
        [
            "ansible-playbook",
            "christmas.selfheal.promote",
            "--inventory=/dev/null",
            '--extra-vars={"compose_app_by": "ada", "promote_soak_minutes": 30}',
        ],
    ),
    (
        "minutes that only a promotion has",
        {"SOAK_MINUTES": "30"},
        ["ansible-playbook", "christmas.selfheal.deploy", "--inventory=/dev/null"],
    ),
    (
        "a name that a shell would run",
        {"GITLAB_USER_LOGIN": '"; reboot', "LIMIT": "-e x=1"},
        [
            "ansible-playbook",
            "christmas.selfheal.deploy",
            "--inventory=/dev/null",
            "--limit=-e x=1",
            '--extra-vars={"compose_app_by": "\\"; reboot"}',
        ],
    ),
]


@pytest.mark.parametrize(("given", "words"), [case[1:] for case in JOBS], ids=[case[0] for case in JOBS])
def test_the_command_of_a_job(given: dict[str, str], words: list[str]) -> None:
    job, problems = run.read_job({**GOOD, **given})
    assert problems == []
    assert run.command(job) == words


REFUSED = [
    ({"PLAYBOOK": "remove"}, "PLAYBOOK: invalid value 'remove'. Use one of backup, deploy, drift, promote, "),
    ({"PLAYBOOK": ""}, "PLAYBOOK: invalid value ''."),
    ({"INVENTORY": ""}, "INVENTORY: '' does not exist."),
    (
        {"INVENTORY": "nowhere/hosts.yml"},
        "INVENTORY: 'nowhere/hosts.yml' does not exist. Use a path in this repository",
    ),
    ({"CHECK": "yes"}, "CHECK: invalid value 'yes'. Use true or false"),
    ({"SOAK_MINUTES": "1h"}, "SOAK_MINUTES: invalid value '1h'. Use a number of minutes"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[message for _unused, message in REFUSED])
def test_what_is_refused(given: dict[str, str], message: str) -> None:
    (problem,) = run.read_job({**GOOD, **given})[1]
    assert problem.startswith(message)


def test_every_playbook_exists() -> None:
    root = Path(run.__file__).parents[1]
    assert [name for name in run.PLAYBOOKS if not (root / "playbooks" / f"{name}.yml").is_file()] == []


def test_secrets_are_taken_out_of_the_environment(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a key\n", encoding="utf-8")
    given = {"VAULT_PASSWORD": "a password", "SSH_KEY_FILE": str(key), "KNOWN_HOSTS": "lines\n", "PATH": "/bin"}
    secrets, problems = run.take_secrets(given)
    assert problems == []
    assert secrets == ("a password", "a key", "lines")
    assert given == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["VAULT_PASSWORD: has", "SSH_KEY: has", "KNOWN_HOSTS: has"]),
        ({"VAULT_PASSWORD": "x", "SSH_KEY": " ", "KNOWN_HOSTS": "x"}, ["SSH_KEY: has"]),
        (
            {"VAULT_PASSWORD_FILE": "/nowhere", "SSH_KEY": "x", "KNOWN_HOSTS": "x"},
            ["VAULT_PASSWORD_FILE: cannot be read."],
        ),
    ],
)
def test_missing_secrets_are_named(given: dict[str, str], missing: list[str]) -> None:
    problems = run.take_secrets(dict(given))[1]
    assert len(problems) == len(missing)
    assert [problem for problem, start in zip(problems, missing) if not problem.startswith(start)] == []


def test_settings_next_to_the_inventory_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy").mkdir()
    assert run.settings({}, "deploy/hosts.yml", None) == {}
    (tmp_path / "deploy/ansible.cfg").touch()
    assert run.settings({}, "deploy/hosts.yml", None) == {"ANSIBLE_CONFIG": "deploy/ansible.cfg"}
    assert run.settings({"ANSIBLE_CONFIG": "mine"}, "deploy/hosts.yml", None) == {}
    (tmp_path / "ansible.cfg").touch()
    assert run.settings({}, "deploy/hosts.yml", None) == {}


def test_the_collection_is_found_in_any_folder() -> None:
    own = run.own_collections(Path("/a/ansible_collections/christmas/selfheal/ci/run.py"))
    assert own == Path("/a")
    assert run.settings({"ANSIBLE_COLLECTIONS_PATH": "/b"}, "x", own) == {"ANSIBLE_COLLECTIONS_PATH": "/a:/b"}
    assert run.own_collections(Path("/a/clone/ci/run.py")) is None


def test_known_hosts_are_added_once(tmp_path: Path) -> None:
    file = tmp_path / ".ssh" / "known_hosts"
    run.add_known_hosts("a ssh-ed25519 A\nb ssh-ed25519 B\n", file)
    file.write_text(file.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    run.add_known_hosts("b ssh-ed25519 B\nc ssh-ed25519 C", file)
    assert file.read_text(encoding="utf-8") == "a ssh-ed25519 A\nb ssh-ed25519 B\nc ssh-ed25519 C\n"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_secrets_are_there_during_the_run_alone(place: Place) -> None:
    ended = place.run([sys.executable, run.__file__], place.secrets)
    assert ended.returncode == 0, ended.stdout
    (seen,) = place.seen("ansible-playbook")
    assert seen["vault_password"] == place.secrets["VAULT_PASSWORD"]
    assert seen["vault_mode"] == 0o600
    assert place.fingerprint in seen["keys"]
    assert place.exposed(ended.stdout) == []
    assert place.remaining() == []


@pytest.mark.parametrize("how", ["4", "250"])
def test_a_failed_playbook_fails_the_job(place: Place, how: str) -> None:
    ended = place.run([sys.executable, run.__file__], {**place.secrets, "FAKE_CODE": how})
    assert ended.returncode == int(how)
    assert place.remaining() == []


def test_a_bad_key_is_refused_before_anything_runs(place: Place) -> None:
    ended = place.run([sys.executable, run.__file__], {**place.secrets, "SSH_KEY": "no-key-at-all"})
    assert ended.returncode == run.INVALID
    assert ended.stdout == "ci: SSH_KEY: ssh-add refuses it. Use a whole private key without a passphrase\n"
    assert place.seen("ansible-playbook") == []
    assert place.remaining() == []


def test_everything_wrong_is_said_at_once(place: Place) -> None:
    ended = place.run([sys.executable, run.__file__], {"PLAYBOOK": "rm", "PATH": ""})
    assert ended.returncode == run.INVALID
    names = [line.split(":")[1].strip() for line in ended.stdout.splitlines()]
    assert names == ["PLAYBOOK", "INVENTORY", *run.SECRETS, *run.PROGRAMS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_job_that_is_ended_leaves_nothing(place: Place, number: int) -> None:
    environment = place.environment({**place.secrets, "FAKE_SECONDS": "60"})
    with subprocess.Popen([sys.executable, run.__file__], env=environment, cwd=place.repository) as process:
        deadline = time.monotonic() + 60
        while not place.seen("ansible-playbook") and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    assert json.loads((place.folder / "ended").read_text(encoding="utf-8")) == number
    assert place.remaining() == []
