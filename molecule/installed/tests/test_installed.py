# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection from its archive, in projects that know nothing of this repository.

From a compose file and `.env` to a healthy app by init and site, and nothing is written by hand. Then every playbook
that one host can have runs, without settings of Ansible. Another app, started by hand, is taken over, and the host
becomes its own drift controller. The tests build on each other, in order.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared import wheels
from shared.installed import PLAYBOOKS, REPOSITORY, Ended, Project, install, run, write_letters

ADDRESS = "172.30.57.81"
TOKEN, PASSWORD, BACKUP_PASSWORD, SLIP_KEY = (secrets.token_hex(16) for _unused in range(4))
PRIVATE_KEY = REPOSITORY / ".lab/id_ed25519"
CONNECTION = [f"--private-key={PRIVATE_KEY}", f"--ssh-common-args=-o UserKnownHostsFile={REPOSITORY}/.lab/host_keys/%h"]
# An app that runs already, started in SLIPS.
SLIPS = "/root/slips"
SLIPS_COMPOSE = """services:
  web:
    image: nginx:1
    environment: {SLIP_KEY: "${SLIP_KEY}"}
    ports: ["8001:80"]
    volumes: ["./pages:/usr/share/nginx/html:ro"]
"""

# Tests of the host and tests without one would run in two groups, out of their order.
pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    install(folder)
    return folder


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("projects") / "letters"
    write_letters(folder, TOKEN, PASSWORD)
    ssh_key = PRIVATE_KEY.read_text(encoding="utf-8").splitlines()[1]
    return Project(folder, installed, CONNECTION, (TOKEN, PASSWORD, BACKUP_PASSWORD, ssh_key))


@pytest.fixture(scope="module")
def adopted(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project that adopt writes."""
    return Project(tmp_path_factory.mktemp("adopted") / "slips", installed, CONNECTION, (SLIP_KEY,))


def started_from(host: Any, app: str) -> str:
    """The folder from which the containers of an app were started."""
    label = "com.docker.compose.project.working_dir"
    shown = f"docker ps --filter label=com.docker.compose.project={app} --format '{{{{.Label \"{label}\"}}}}'"
    return str(host.check_output(f"{shown} | sort -u"))


def test_two_commands_lead_to_a_healthy_app(project: Project) -> None:
    written = project.init(ADDRESS)
    assert written.code == 0, written.said
    assert "To do first:" not in written.said, written.said
    site = project.play("site", "--diff")
    assert site.code == 0, site.said
    assert "letters on letters1 is healthy: 1 of 1 checks passed" in " ".join(site.said.split()), site.said


def test_a_second_run_changes_nothing(project: Project, host: Any) -> None:
    containers = host.check_output("docker ps --quiet --no-trunc")
    for again in (project.init(ADDRESS), project.play("site")):
        assert again.code == 0, again.said
        assert again.changed == 0, again.said
    assert host.check_output("docker ps --quiet --no-trunc") == containers


def test_a_placeholder_stops_the_second_command_before_the_host_is_touched(
    tmp_path: Path, installed: Path, host: Any
) -> None:
    write_letters(tmp_path / "notes", "your-token-here", PASSWORD)
    project = Project(tmp_path / "notes", installed, CONNECTION, (PASSWORD,))
    written = project.init(ADDRESS)
    assert written.code == 0, written.said
    assert "MAIL_TOKEN (.env line 1): placeholder:" in written.said, written.said
    site = project.play("site")
    assert site.code != 0
    assert "MAIL_TOKEN" in site.said
    assert not host.file("/opt/notes").exists


def test_backups_are_added_by_a_few_lines(project: Project) -> None:
    (project.folder / "deploy/group_vars/all/backup.yml").write_text(
        f"backup_repository: /var/backups/letters\nbackup_password: {BACKUP_PASSWORD}\n",
        encoding="utf-8",
    )
    site = project.play("site", "--tags", "backup")
    assert site.code == 0, site.said
    assert site.changed > 0, site.said


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_works_from_the_archive(project: Project, playbook: str) -> None:
    project.play_as_listed(playbook)
    # What a playbook writes on the controller must not become a part of the app.
    assert sorted(path.name for path in project.folder.iterdir() if path.name == "reports") == []


def test_an_app_that_was_started_by_hand_is_taken_over(adopted: Project, installed: Path, host: Any) -> None:
    host.check_output(f"mkdir -p {SLIPS}/pages && echo a slip > {SLIPS}/pages/index.html")
    host.check_output(f"cd {SLIPS} && echo %s > compose.yaml && echo %s > .env", SLIPS_COMPOSE, f"SLIP_KEY={SLIP_KEY}")
    host.check_output(f"cd {SLIPS} && docker compose up -d --quiet-pull")
    empty = Project(adopted.folder.parent, installed, CONNECTION, (SLIP_KEY,))
    ended, again = (empty.run("adopt", "-e", f"adopt={ADDRESS}:{SLIPS}") for _unused in range(2))
    assert ended.code == 0, ended.said
    assert "slips is adopted: it runs from /opt/slips" in ended.said, ended.said
    assert (again.code, again.changed) == (0, 0), again.said
    assert f"slips on {ADDRESS} is adopted already" in again.said, again.said
    assert started_from(host, "slips") == "/opt/slips"
    assert [path.name for path in empty.folder.iterdir()] == ["slips"]


def test_the_host_becomes_its_own_drift_controller(project: Project, host: Any) -> None:
    inventory = project.folder / "deploy"
    with (inventory / "hosts.yml").open("a", encoding="utf-8") as hosts:
        hosts.write("drift_controllers:\n  hosts:\n    letters1:\n")
    vault = inventory / "group_vars/drift_controllers/vault.yml"
    vault.parent.mkdir()
    settings = {
        "drift_control_vault_password": (inventory / ".vault-password").read_text(encoding="utf-8"),
        "drift_control_ssh_key": PRIVATE_KEY.read_text(encoding="utf-8"),
        "drift_control_known_hosts": (REPOSITORY / ".lab/host_keys" / ADDRESS).read_text(encoding="utf-8"),
        "drift_control_pip_options": wheels.PIP_OPTIONS,
        # The tests start the checks.
        "drift_control_schedule": "*-01-01 00:00:00",
    }
    vault.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["ansible-vault", "encrypt", "--vault-password-file=deploy/.vault-password"]
    encrypted = run([*command, str(vault)], project.folder, {})
    assert encrypted.code == 0, encrypted.said
    wheels.send(host)
    # That a second run changes nothing is a test of the scenario `drift`.
    made = project.play("drift_control")
    assert made.code == 0, made.said
    assert host.check_output("systemctl is-enabled selfheal-drift.timer") == "enabled"


def test_its_checks_find_drift_and_tell_the_hosts(project: Project, host: Any) -> None:
    # A service sees systemd's credentials only where mounts are shared, as on a real machine.
    host.check_output("mount --make-rshared /")
    host.check_output("chmod 0644 /opt/letters/.env")
    host.check_output("systemctl start selfheal-drift")
    kept = host.check_output("cat /var/lib/selfheal-drift/reports/*-drift.json")
    report = json.loads(kept)
    found = [(one["host"], one["object"], one["what"]) for one in report["findings"]]
    assert found == [("letters1", "/opt/letters/.env", "mode")], kept
    assert report["troubles"] == [], kept
    assert [note for note in report["notes"] if "metrics were not copied" in note] == [], kept
    assert host.check_output("grep -rl playbooks/drift_tell.yml /var/lib/selfheal-drift/artifacts")
    files = "/var/lib/selfheal-drift/reports /etc/selfheal-drift/config.json"
    project.check(Ended(0, host.check_output(f"journalctl -u selfheal-drift --output=cat; grep -rh '' {files}")))
    host.check_output("chmod 0600 /opt/letters/.env")


def test_the_apps_are_released_again(project: Project, adopted: Project, host: Any) -> None:
    ended, again = (adopted.play("remove", "-e", "remove_confirm=slips") for _unused in range(2))
    assert ended.code == 0, ended.said
    assert (again.code, again.changed) == (0, 0), again.said
    assert started_from(host, "slips") == SLIPS
    ended = project.play("remove", "-e", "remove_confirm=letters")
    assert ended.code == 0, ended.said
    assert host.check_output("docker ps --quiet --filter name=letters-web")
