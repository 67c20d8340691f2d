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


class Project:
    """A project on the controller, and the playbooks as its user runs them.

    :arg host: what init is given, ADDRESS or USER@ADDRESS.
    :arg connection: options of ansible-playbook that reach it.
    """

    def __init__(
        self, folder: Path, collections: Path, host: str, connection: Sequence[str], *, token: str, password: str
    ) -> None:
        self.folder, self.collections, self.host, self.connection = folder, collections, host, connection
        shutil.copytree(LETTERS, folder)
        (folder / "db_password.txt").write_text(password, encoding="utf-8")
        (folder / ".env").write_text(f"MAIL_TOKEN={token}\nPAGE_SIZE=20\n", encoding="utf-8")

    def init(self) -> Ended:
        """Write the inventory."""
        return self._play("init", "-e", "from=./compose.yaml", "-e", f"host={self.host}")

    def play(self, playbook: str, *words: str) -> Ended:
        """Run a playbook with that inventory."""
        given = ["--inventory=deploy/hosts.yml", "--vault-password-file=deploy/.vault-password"]
        return self._play(playbook, *given, *words)

    def _play(self, playbook: str, *words: str) -> Ended:
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections)}
        command = ["ansible-playbook", f"christmas.selfheal.{playbook}", *words, *self.connection]
        return run(command, self.folder, settings)
