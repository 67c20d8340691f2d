# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection from its archive, in a project that knows nothing of this repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
LETTERS = REPOSITORY / "molecule/multi-service/project"
CONTROLLER = REPOSITORY / os.environ.get("SELFHEAL_CONTROLLER", ".venv") / "bin"
# What only a clone has. A line of Ansible's that names the file of a task is not ours.
OF_A_CLONE = re.compile(
    r"playbooks/\w+\.yml|\bmake (?:setup|lab|demo|test|clean|docs)\b|inventory/(?:lab|production|staging)|"
    r"requirements/|" + re.escape(str(REPOSITORY))
)
OF_ANSIBLE = re.compile(r"^(?:included: |Origin: |\[ERROR\]: .* Origin: )")


class Use(NamedTuple):
    """How a user runs a playbook on a healthy app.

    `acts`: each run changes something, or shows in check mode what it would change. `refused`: what a run says that
    ends because this app has nothing for it, "" for one that works.
    """

    words: tuple[str, ...] = ()
    acts: bool = False
    refused: str = ""


# In this order: `deploy` releases nothing new, so there is nothing to roll back to.
PLAYBOOKS = {
    "validate": Use(),
    "status": Use(),
    "deploy": Use(),
    "recover": Use(),
    "drift": Use(),
    "backup": Use(acts=True),
    "restore": Use(("--check",), acts=True),
    "rebuild": Use(("--check",), acts=True),
    "drill": Use(("--check", "-e", "drill_faults=crash", "-e", "drill_confirm=letters"), acts=True),
    "rollback": Use(refused="there is no release before the one that serves"),
    "slo": Use(refused="monitoring_enabled"),
    "promote": Use(refused="staging"),
}
# They need an app or a host in another state, so each has a test of its own in the scenario `installed`.
WITH_OWN_TEST = ("adopt", "drift_control", "init", "remove", "site")
# Other playbooks and the drift check run them; no user does.
INTERNAL = ("drift_check", "drift_facts", "drift_tell", "inventory_check")


class Ended(NamedTuple):
    """A playbook that ended."""

    code: int
    said: str

    @property
    def of_a_clone(self) -> list[str]:
        """The lines that name what an installed collection does not have."""
        return [line for line in self.said.splitlines() if OF_A_CLONE.search(line) and not OF_ANSIBLE.search(line)]

    @property
    def deprecated(self) -> list[str]:
        """The lines that name what a later ansible-core will refuse."""
        return [line for line in self.said.splitlines() if line.startswith("[DEPRECATION WARNING]")]

    @property
    def changed(self) -> int:
        """How much the run has changed, on all hosts."""
        return sum(int(number) for number in re.findall(r" changed=(\d+) ", self.said))


def run(words: list[str], folder: Path, settings: dict[str, str]) -> Ended:
    """Run a command as a user does: Molecule's own settings for Ansible would override theirs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    ended = subprocess.run(
        words,
        cwd=folder,
        env={**kept, "PATH": f"{CONTROLLER}:{kept['PATH']}", **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout)


def install(folder: Path) -> None:
    """Make a folder of collections that has this one, from its archive, and no other."""
    build = run(["ansible-galaxy", "collection", "build", "--output-path", str(folder)], REPOSITORY, {})
    assert build.code == 0, build.said
    (archive,) = folder.glob("*.tar.gz")
    command = ["ansible-galaxy", "collection", "install", "--no-deps", "--collections-path", str(folder), str(archive)]
    made = run(command, folder, {"ANSIBLE_COLLECTIONS_PATH": str(folder)})
    assert made.code == 0, made.said


def write_letters(folder: Path, token: str, password: str) -> None:
    """Write a project as its developer has it, with secrets, and with a file that only the developer may read."""
    shutil.copytree(LETTERS, folder)
    (folder / "db_password.txt").write_text(password, encoding="utf-8")
    (folder / ".env").write_text(f"MAIL_TOKEN={token}\nPAGE_SIZE=20\n", encoding="utf-8")
    (folder / "app.env").chmod(0o600)


class Project:
    """A project on the controller, and the playbooks as its user runs them.

    :arg folder: where the user runs them.
    :arg connection: options of ansible-playbook that reach the host.
    :arg secrets: what no output may have.
    """

    def __init__(self, folder: Path, collections: Path, connection: Sequence[str], secrets: Sequence[str]) -> None:
        self.folder, self.collections = folder, collections
        self.connection, self.secrets = connection, secrets

    def init(self, host: str) -> Ended:
        """Write the inventory. The host is ADDRESS or USER@ADDRESS."""
        return self.run("init", "-e", "from=./compose.yaml", "-e", f"host={host}")

    def play(self, playbook: str, *words: str) -> Ended:
        """Run a playbook with that inventory."""
        given = ["--inventory=deploy/hosts.yml", "--vault-password-file=deploy/.vault-password"]
        return self.run(playbook, *given, *words)

    def play_as_listed(self, playbook: str) -> None:
        """Run a playbook as PLAYBOOKS has it, and assert that it ends so."""
        use = PLAYBOOKS[playbook]
        ended = self.play(playbook, *use.words)
        assert (ended.code != 0) == bool(use.refused), ended.said
        assert use.refused in ended.said, ended.said
        assert use.acts or ended.changed == 0, ended.said

    def run(self, playbook: str, *words: str) -> Ended:
        """Run a playbook without an inventory. No run shows a secret, or what an installed collection does not have."""
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections)}
        command = ["ansible-playbook", f"christmas.selfheal.{playbook}", *words, *self.connection]
        ended = run(command, self.folder, settings)
        self.check(ended)
        return ended

    def check(self, ended: Ended) -> None:
        """Assert that an output has no secret, nothing that only a clone has, and no warning of a deprecation."""
        assert [value for value in self.secrets if value in ended.said] == []
        assert ended.of_a_clone + ended.deprecated == [], ended.said
