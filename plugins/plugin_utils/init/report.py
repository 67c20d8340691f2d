# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run of init says at its end: what was written, what is missing, the next command. Pure."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Flaw, Guessed, Plan, Project, Target
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import (
    EXAMPLE_ADDRESS,
    HOSTS,
    PASSWORD_FILE,
    VAULT,
)

_WIDTH = 100


class Command(NamedTuple):
    """How init was called: its playbook, and the options that give the vault's password.

    `front`: the path of `selfheal`. Outside its folder, a clone's playbook finds its modules with that alone.
    """

    playbook: str
    vault_options: Sequence[str]
    front: str = ""

    def text(self, name: str, shown: str, has_password_file: bool) -> str:
        """The command of another playbook of this collection, for the inventory in the folder `shown`."""
        password = self._password(shown, has_password_file)
        if self.front:
            return shlex.join([self.front, name, f"{shown}/{HOSTS}", *password])
        playbook = f"{self.playbook.removesuffix('.yml').removesuffix('init')}{name}"
        playbook += ".yml" if self.playbook.endswith(".yml") else ""
        return shlex.join(["ansible-playbook", playbook, "-i", f"{shown}/{HOSTS}", *password])

    def edit(self, shown: str, has_password_file: bool) -> str:
        """The command that opens the vault."""
        password = self._password(shown, has_password_file)
        return shlex.join(["ansible-vault", "edit", *password, f"{shown}/{VAULT}"])

    def _password(self, shown: str, has_password_file: bool) -> list[str]:
        if self.vault_options or not has_password_file:
            return list(self.vault_options)
        return ["--vault-password-file", f"{shown}/{PASSWORD_FILE}"]


class Report(NamedTuple):
    """What was written and what it is; what was left out; what to know; what is to be done by hand first; all of it."""

    written: Sequence[str]
    left: Sequence[str]
    notes: Sequence[str]
    to_do: Sequence[str]
    text: str


def report(
    project: Project,
    guessed: Guessed,
    target: Target,
    plan: Plan,
    flaws: Sequence[Flaw],
    command: Command,
    check: bool,
    checks: int,
) -> Report:
    """The report, in lines that can be pasted.

    :arg checks: how many the inventory has then.
    """
    written = [*_written(plan, target, check), _content(project, guessed, checks)]
    to_do = _to_do(target, plan, flaws, command)
    lines = [*written, ""]
    if guessed.left:
        lines += ["Not in the inventory:", *(f"  - {line}" for line in guessed.left), ""]
    if guessed.notes:
        lines += ["To know:", *(f"  - {line}" for line in guessed.notes), ""]
    if to_do:
        lines += ["To do first:", *(f"  - {line}" for line in to_do), ""]
    if any(file.path == PASSWORD_FILE for file in plan.files):
        lines += [
            f"Keep a copy of {target.shown}/{PASSWORD_FILE} elsewhere: without it, no one can read the vault.",
            "",
        ]
    given = (target.shown, target.has_password_file)
    lines += ["Next, to validate all of it, and then to set up the server:"]
    lines += [f"  {command.text('validate', *given)}", f"  {command.text('site', *given)}"]
    return Report(written, guessed.left, guessed.notes, to_do, "\n".join(lines))


def _written(plan: Plan, target: Target, check: bool) -> list[str]:
    new = [file.path for file in plan.files if not file.before]
    added = [file.path for file in plan.files if file.before]
    would = "Would write" if check else "Written"
    lines = []
    if new:
        lines += _named(f"{would} to {target.shown}:", new)
    if added:
        lines += _named(
            f"{'Would add' if check else 'Added'} to files in {target.shown} (--diff shows the lines):", added
        )
    if plan.kept:
        lines += _named("Not touched, because init did not write it:", plan.kept)
    return lines or [f"Nothing is new: {target.shown} stays as it is."]


def _named(head: str, paths: Sequence[str]) -> list[str]:
    listed = textwrap.wrap(", ".join(paths), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [head, *(f"  {line}" for line in listed)]


def _content(project: Project, guessed: Guessed, checks: int) -> str:
    secret = sum(one.in_vault for one in guessed.variables)
    counts = [
        _count(len(project.services), "service"),
        f"{_count(len(guessed.variables), 'variable')} ({secret} in the vault)",
        _count(checks, "check"),
    ]
    return f"App {project.app}: {', '.join(counts)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _to_do(target: Target, plan: Plan, flaws: Sequence[Flaw], command: Command) -> list[str]:
    found = []
    if plan.has_example:
        found.append(f"{target.shown}/{HOSTS}: replace the example {EXAMPLE_ADDRESS} by your server's address")
    found += [f"{one.name} ({one.place}): {one.reason}. Fix: {one.fix}" for one in flaws]
    if any("vault.yml" in one.fix for one in flaws):
        found.append(f"The vault: {command.edit(target.shown, target.has_password_file)}")
    return [*found, *plan.by_hand]
