# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that only a sudo user with a password reaches, over IPv6, on another port, through a jump host.

Every playbook that one host can have runs there as on any other. The tests build on each other, in order.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from shared.acting import incidents, until
from shared.installed import PLAYBOOKS, REPOSITORY, Project, install, write_letters

ADDRESS, JUMP, PORT = "fd57:5e1f::86", "172.30.57.87", 2222
USER_AND_HOST = f"deploy@{ADDRESS}"
SUDO_PASSWORD = 'pass word"of $sudo'
TOKEN, PASSWORD, BACKUP_PASSWORD = (secrets.token_hex(16) for _unused in range(3))
# As in ~/.ssh/config.
SSH_CONFIG = f"""Host hop
    HostName {JUMP}
    User hop
Host {ADDRESS}
    ProxyJump hop
    StrictHostKeyChecking accept-new
Host *
    IdentityFile {{repository}}/.lab/id_ed25519
    UserKnownHostsFile {{folder}}/known_hosts {{repository}}/.lab/host_keys/{JUMP}
"""

# Tests of the host and tests without one would run in two groups, out of their order.
pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("connections")
    install(folder)
    config, password = folder / "ssh_config", folder / "sudo-password"
    config.write_text(SSH_CONFIG.format(repository=REPOSITORY, folder=folder), encoding="utf-8")
    password.write_text(f"{SUDO_PASSWORD}\n", encoding="utf-8")
    password.chmod(0o600)
    connection = [f"--ssh-common-args=-F {config}", f"--become-password-file={password}", "-e", f"ansible_port={PORT}"]
    write_letters(folder / "letters", TOKEN, PASSWORD)
    return Project(folder / "letters", folder, connection, (TOKEN, PASSWORD, BACKUP_PASSWORD, SUDO_PASSWORD))


def test_only_that_way_leads_to_the_host(host: Any) -> None:
    # The host removes its address when the play that prepares it is over.
    until(lambda: "inet " not in host.check_output("ip address show dev eth0"))
    until(lambda: host.socket("tcp://:::2222").is_listening)
    assert not host.socket("tcp://:::22").is_listening
    assert host.run("runuser -u deploy -- sudo -n true").rc != 0


def test_two_commands_lead_to_a_healthy_app(project: Project) -> None:
    written = project.init(USER_AND_HOST)
    assert written.code == 0, written.said
    (project.folder / "deploy/group_vars/all/backup.yml").write_text(
        f"backup_repository: /var/backups/letters\nbackup_password: {BACKUP_PASSWORD}\n",
        encoding="utf-8",
    )
    site = project.play("site", "--diff")
    assert site.code == 0, site.said
    assert "letters on letters1 is healthy: 1 of 1 checks passed" in " ".join(site.said.split()), site.said


def test_a_second_run_changes_nothing(project: Project) -> None:
    for again in (project.init(USER_AND_HOST), project.play("site")):
        assert again.code == 0, again.said
        assert again.changed == 0, again.said


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_works(project: Project, playbook: str) -> None:
    project.play_as_listed(playbook)


def test_the_host_heals_itself(project: Project, host: Any) -> None:
    before = len(incidents(host))
    host.check_output("docker rm --force letters-web-1")
    until(lambda: len(incidents(host)) > before, 60)
    status = project.play("status")
    assert status.code == 0, status.said


def test_the_app_is_released_again(project: Project, host: Any) -> None:
    ended, again = (project.play("remove", "-e", "remove_confirm=letters") for _unused in range(2))
    assert ended.code == 0, ended.said
    assert (again.code, again.changed) == (0, 0), again.said
    assert host.check_output("docker ps --quiet --filter name=letters-web")
