# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a compose file and `.env` to a healthy app: init.yml and site.yml, and nothing is written by hand."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ADDRESS = "172.30.57.81"
LETTERS = REPOSITORY / "molecule/multi-service/project"
TOKEN, PASSWORD = secrets.token_hex(16), secrets.token_hex(16)


class Ended(NamedTuple):
    """A playbook that ended."""

    code: int
    said: str


class Project:
    """A project on the controller, and the playbooks as its user runs them."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        shutil.copytree(LETTERS, folder)
        (folder / "db_password.txt").write_text(PASSWORD, encoding="utf-8")
        (folder / ".env").write_text(f"MAIL_TOKEN={token}\nPAGE_SIZE=20\n", encoding="utf-8")

    def init(self) -> Ended:
        return self._play("init", "-e", f"from={self.folder}/compose.yaml", "-e", f"host={ADDRESS}")

    def play(self, playbook: str, *words: str) -> Ended:
        deploy = self.folder / "deploy"
        given = [f"--inventory={deploy}/hosts.yml", f"--vault-password-file={deploy}/.vault-password"]
        return self._play(playbook, *given, *words)

    def _play(self, playbook: str, *words: str) -> Ended:
        ssh = f"-o UserKnownHostsFile={REPOSITORY}/.lab/host_keys/%h"
        lab = [f"--private-key={REPOSITORY}/.lab/id_ed25519", f"--ssh-common-args={ssh}"]
        # Molecule's own settings for ansible would override those that a user has.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
        ended = subprocess.run(
            ["ansible-playbook", f"playbooks/{playbook}.yml", *words, *lab],
            cwd=REPOSITORY,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("projects") / "letters", TOKEN)


def test_two_commands_lead_to_a_healthy_app(project: Project) -> None:
    written = project.init()
    assert written.code == 0, written.said
    assert "To do first:" not in written.said, written.said
    site = project.play("site", "--diff")
    assert site.code == 0, site.said
    assert "letters on letters1 is healthy: 1 of 1 checks passed" in " ".join(site.said.split()), site.said
    assert [value for value in (TOKEN, PASSWORD) if value in written.said + site.said] == []


def test_a_second_run_changes_nothing(project: Project, host: Any) -> None:
    containers = host.check_output("docker ps --quiet --no-trunc")
    for again in (project.init(), project.play("site")):
        assert again.code == 0, again.said
        assert "changed=0 " in again.said, again.said
    assert host.check_output("docker ps --quiet --no-trunc") == containers


def test_a_placeholder_stops_the_second_command_before_the_host_is_touched(tmp_path: Path, host: Any) -> None:
    project = Project(tmp_path / "notes", "your-token-here")
    written = project.init()
    assert written.code == 0, written.said
    assert "MAIL_TOKEN (.env line 1): placeholder:" in written.said, written.said
    site = project.play("site")
    assert site.code != 0
    assert "MAIL_TOKEN" in site.said
    assert not host.file("/opt/notes").exists
