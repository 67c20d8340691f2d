# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""init.yml writes an inventory for the app, site.yml deploys it, and the second run of each changes nothing.

These tests come first: what they deploy, the other tests of this scenario take over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
LAB = REPOSITORY / ".lab"
INVENTORY = LAB / "multi-service-init"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run() -> Run:
    """Run a playbook with the inventory that init wrote, and the lab's key."""
    shutil.rmtree(INVENTORY, ignore_errors=True)
    ssh = f"-o UserKnownHostsFile={LAB}/host_keys/%h"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}

    def call(playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["ansible-playbook", f"playbooks/{playbook}", *words]
        if playbook != "init.yml":
            argv += ["-i", str(INVENTORY / "hosts.yml"), f"--vault-password-file={INVENTORY}/.vault-password"]
            argv += [f"--private-key={LAB}/id_ed25519", f"--ssh-common-args={ssh}"]
        return subprocess.run(
            argv,
            cwd=REPOSITORY,
            env=kept,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )

    return call


def init(run: Run, host: Any) -> subprocess.CompletedProcess[str]:
    address = host.backend.host.name
    return run("init.yml", "-e", "from=.lab/multi-service", "-e", f"host={address}", "-e", f"to={INVENTORY}")


def test_the_inventory_is_complete(run: Run, host: Any) -> None:
    ended = init(run, host)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "To do first" not in ended.stdout
    assert "app.env stays as it is" in ended.stdout


def test_the_second_command_deploys_the_app(run: Run) -> None:
    ended = run("site.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]
    status = run("status.yml")
    assert (status.returncode, "healthy" in status.stdout) == (0, True), status.stdout[-4000:]


def test_second_runs_change_nothing(run: Run, host: Any) -> None:
    for ended in (init(run, host), run("site.yml")):
        assert ended.returncode == 0, ended.stdout[-4000:]
        assert "changed=0" in ended.stdout, ended.stdout[-4000:]


def test_an_inventory_written_by_hand_takes_over(play: Callable[..., Any]) -> None:
    """That of the other tests. It has a better check, and no variable that only .env has."""
    ended = play("site.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]
