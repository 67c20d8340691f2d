# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection from its archive, in a project that knows nothing of this repository.

From a compose file and `.env` to a healthy app by init and site, and nothing is written by hand. Then every playbook
that one host can have runs, without settings of Ansible. The tests build on each other, in order.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from shared.installed import REPOSITORY, Project, install

ADDRESS = "172.30.57.81"
TOKEN, PASSWORD, BACKUP_PASSWORD = (secrets.token_hex(16) for _unused in range(3))
# Each playbook as a user runs it on a healthy app, and whether a second run has nothing to change.
PLAYBOOKS: dict[str, tuple[tuple[str, ...], bool]] = {
    "validate": ((), True),
    "status": ((), True),
    "deploy": ((), True),
    "recover": ((), True),
    "drift": ((), True),
    "backup": ((), False),
    "restore": (("--check",), False),
    "rebuild": (("--check",), False),
    "drill": (("--check", "-e", "drill_faults=crash", "-e", "drill_confirm=letters"), False),
}

# Tests of the host and tests without one would run in two groups, out of their order.
pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    install(folder)
    return folder


def new_project(folder: Path, collections: Path, token: str) -> Project:
    ssh = f"--ssh-common-args=-o UserKnownHostsFile={REPOSITORY}/.lab/host_keys/%h"
    connection = [f"--private-key={REPOSITORY}/.lab/id_ed25519", ssh]
    return Project(folder, collections, ADDRESS, connection, token=token, password=PASSWORD)


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(tmp_path_factory.mktemp("projects") / "letters", installed, TOKEN)


def test_two_commands_lead_to_a_healthy_app(project: Project) -> None:
    written = project.init()
    assert written.code == 0, written.said
    assert "To do first:" not in written.said, written.said
    site = project.play("site", "--diff")
    assert site.code == 0, site.said
    assert "letters on letters1 is healthy: 1 of 1 checks passed" in " ".join(site.said.split()), site.said
    assert [value for value in (TOKEN, PASSWORD) if value in written.said + site.said] == []
    assert written.of_a_clone + site.of_a_clone + written.deprecated + site.deprecated == []


def test_a_second_run_changes_nothing(project: Project, host: Any) -> None:
    containers = host.check_output("docker ps --quiet --no-trunc")
    for again in (project.init(), project.play("site")):
        assert again.code == 0, again.said
        assert "changed=0 " in again.said, again.said
    assert host.check_output("docker ps --quiet --no-trunc") == containers


def test_a_placeholder_stops_the_second_command_before_the_host_is_touched(
    tmp_path: Path, installed: Path, host: Any
) -> None:
    project = new_project(tmp_path / "notes", installed, "your-token-here")
    written = project.init()
    assert written.code == 0, written.said
    assert "MAIL_TOKEN (.env line 1): placeholder:" in written.said, written.said
    site = project.play("site")
    assert site.code != 0
    assert "MAIL_TOKEN" in site.said
    assert site.of_a_clone == []
    assert not host.file("/opt/notes").exists


def test_backups_are_added_by_a_few_lines(project: Project) -> None:
    (project.folder / "deploy/group_vars/all/backup.yml").write_text(
        f"backup_repository: /var/backups/letters\nbackup_password: {BACKUP_PASSWORD}\n",
        encoding="utf-8",
    )
    site = project.play("site", "--tags", "backup")
    assert site.code == 0, site.said
    assert site.of_a_clone == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_works_from_the_archive(project: Project, playbook: str) -> None:
    words, is_idempotent = PLAYBOOKS[playbook]
    ended = project.play(playbook, *words)
    assert ended.code == 0, ended.said
    assert ended.of_a_clone + ended.deprecated == []
    assert [value for value in (TOKEN, PASSWORD, BACKUP_PASSWORD) if value in ended.said] == []
    if is_idempotent:
        assert "changed=0 " in ended.said, ended.said
    # What a playbook writes on the controller must not become a part of the app.
    assert sorted(path.name for path in project.folder.iterdir() if path.name == "reports") == []


def test_what_cannot_run_here_says_so_in_terms_of_the_archive(project: Project) -> None:
    for playbook, reason in (
        ("rollback", "there is no release before the one that serves"),
        ("slo", "monitoring_enabled"),
        ("promote", "staging"),
    ):
        ended = project.play(playbook)
        assert ended.code != 0, ended.said
        assert reason in ended.said, ended.said
        assert ended.of_a_clone + ended.deprecated == []


def test_the_app_is_released_again(project: Project, host: Any) -> None:
    ended = project.play("remove", "-e", "remove_confirm=letters")
    assert ended.code == 0, ended.said
    assert ended.of_a_clone + ended.deprecated == []
    assert host.check_output("docker ps --quiet --filter name=letters-web")
