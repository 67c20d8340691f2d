# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare what the inventory should say with what is there: which files are written, and how. Pure.

A file that init did not write stays as it is. To one that it wrote, new entries are added; nothing in it is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import merge, render
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    File,
    Flaw,
    Guessed,
    Plan,
    Project,
    Target,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import (
    APP,
    CHECKS,
    EXAMPLE,
    IGNORED,
    PASSWORD_FILE,
    VARIABLES,
    VAULT,
)

# The order of writing: a run that is killed in between is completed by the next one. Values come before their rows, and
# the list of services that were looked at comes last.
ORDER = (PASSWORD_FILE, IGNORED, VAULT, VARIABLES, CHECKS, EXAMPLE, render.HOSTS, render.CONFIGURATION, APP)
_SHARED = ("group_vars/all/", "group_vars/all.yml")
_HIDDEN = "(encrypted)"


class Cipher(Protocol):
    """Ansible Vault with the password of this inventory."""

    def encrypt(self, text: str) -> str:
        """The text, encrypted."""

    def decrypt(self, text: str) -> str:
        """The text of an encrypted file; raises InitError for another password."""

    def can_decrypt(self, text: str) -> bool:
        """Whether the password is that of an encrypted file."""


class Wanted(NamedTuple):
    """All that the inventory should say; `password` is a new one for the vault, "" when there is one."""

    project: Project
    guessed: Guessed
    target: Target
    password: str


class _Known(NamedTuple):
    """What is there: texts by path, the vault in plain text (None: unreadable), the table's names, new services."""

    texts: Mapping[str, str]
    vault: str | None
    table: Sequence[str]
    new_services: Sequence[str]


def plan(wanted: Wanted, texts: Mapping[str, str], cipher: Cipher) -> Plan:
    """What to write.

    :arg texts: every file of the inventory that is there, by its path.
    :raises InitError: the vault needs a new value and cannot be decrypted.
    """
    known = _known(wanted, texts, cipher)
    desired = render.files(wanted.project, wanted.guessed, wanted.target)
    desired[PASSWORD_FILE] = f"{wanted.password}\n" if wanted.password else ""
    files: list[File] = []
    kept: list[str] = []
    by_hand: list[str] = []
    for path in ORDER:
        text = texts.get(path)
        if path == PASSWORD_FILE:
            files += [_new(path, desired[path], cipher)] if desired[path] and text is None else []
        elif text is None:
            taken = _taken(path, desired[path], texts)
            by_hand += [f"{path} is not written: {taken}"] if taken else []
            files += [] if taken else [_new(path, desired[path], cipher)]
        elif not _is_ours(path, text, known):
            kept.append(path)
        else:
            _add(path, wanted, known, cipher, files, by_hand)
    if wanted.target.has_password_file and IGNORED in kept and PASSWORD_FILE not in texts[IGNORED]:
        by_hand.append(f"{IGNORED}: add the line /{PASSWORD_FILE}, or git may publish the vault's password")
    hosts = texts.get(render.HOSTS)
    address = wanted.target.address
    if hosts is not None and address and address not in hosts:
        by_hand.append(f"{render.HOSTS} stays as it is: write {address} there, as ansible_host")
    app = merge.scalar(texts.get(APP, ""), "selfheal_app")
    if app and app != wanted.project.app:
        by_hand.append(f"{APP} stays as it is: its selfheal_app is {app}, not {wanted.project.app}")
    has_example = render.EXAMPLE_ADDRESS in hosts if hosts is not None else not address
    return Plan(files, kept, by_hand, has_example)


def open_flaws(wanted: Wanted, texts: Mapping[str, str], cipher: Cipher) -> list[Flaw]:
    """The flaws without those whose variable has a value in the inventory, whatever `.env` still says."""
    known = _known(wanted, texts, cipher)
    in_vault = {one.name for one in wanted.guessed.variables if one.in_vault}
    with_default = {
        row["name"] for row in merge.rows(texts.get(VARIABLES, ""), "app_env_variables") if "default" in row
    }
    empty = set(_empty(known))
    found = []
    for flaw in wanted.guessed.flaws:
        is_old = flaw.is_unfilled and flaw.name in known.table
        has_value = flaw.name not in empty if flaw.name in in_vault else flaw.name in with_default
        if not (is_old and has_value):
            found.append(flaw)
    return found


def known_variables(texts: Mapping[str, str]) -> list[str]:
    """The names of the inventory's table."""
    return merge.names(texts.get(VARIABLES, ""), "app_env_variables")


def known_services(texts: Mapping[str, str], guessed: Guessed) -> list[str]:
    """The services that earlier runs looked at; all of them where a file of checks is not written by this run."""
    seen = _seen(texts.get(APP))
    if seen is None or (CHECKS in texts and not merge.is_ours(texts[CHECKS])):
        return list(guessed.checks)
    return [*seen, *merge.names(texts.get(CHECKS, ""), "selfheal_checks")]


def checks(plan: Plan, texts: Mapping[str, str], guessed: Guessed) -> int:
    """How many checks the inventory has, once the plan is carried out; a guess where they are in another file."""
    after = {**texts, **{file.path: file.after for file in plan.files}}
    if CHECKS in after:
        return len(merge.names(after[CHECKS], "selfheal_checks"))
    return len(guessed.checks)


def _known(wanted: Wanted, texts: Mapping[str, str], cipher: Cipher) -> _Known:
    vault = texts.get(VAULT)
    is_open = vault is not None and cipher.can_decrypt(vault)
    seen = _seen(texts.get(APP))
    new = [] if seen is None else [name for name in wanted.project.services if name not in seen]
    table = known_variables(texts)
    return _Known(texts, cipher.decrypt(vault) if vault is not None and is_open else None, table, new)


def _seen(text: str | None) -> list[str] | None:
    """The services of earlier runs; none of a file that is not there; None where the line was removed."""
    if text is None:
        return []
    for line in text.splitlines():
        if line.startswith(render.SEEN):
            return line.removeprefix(render.SEEN).split(", ")
    return None


def _empty(known: _Known) -> list[str]:
    return merge.empty_values(known.vault or "", "app_env_values")


def _is_ours(path: str, text: str, known: _Known) -> bool:
    if path != VAULT:
        return merge.is_ours(text)
    # One that cannot be read may be; it fails where a value has to be added.
    return known.vault is None or merge.is_ours(known.vault)


def _taken(path: str, text: str, texts: Mapping[str, str]) -> str:
    """Why a new file would override variables that another file has; "" when it would not."""
    if not path.startswith("group_vars/"):
        return ""
    own = set(merge.keys(text))
    for other, content in texts.items():
        both = own & set(merge.keys(content)) if other.startswith(_SHARED) and other != path else set()
        if both:
            return f"{other} sets {', '.join(sorted(both))}. Add to that file what is missing"
    return ""


def _new(path: str, text: str, cipher: Cipher) -> File:
    if path == PASSWORD_FILE:
        return File(path, "", text, "", "(a new password)\n", 0o600)
    if path == VAULT:
        return File(path, "", cipher.encrypt(text), "", hidden(text))
    return File(path, "", text, "", text)


def hidden(text: str) -> str:
    """The names of a vault's values."""
    return "".join(f"{name}: {_HIDDEN}\n" for name in merge.names(text, "app_env_values"))


# --- files that init wrote --------------------------------------------------------------------------------------------


def _add(path: str, wanted: Wanted, known: _Known, cipher: Cipher, files: list[File], by_hand: list[str]) -> None:
    """Add what is new to one file."""
    if path == VAULT:
        _add_values(wanted, known, cipher, files, by_hand)
        return
    text = known.texts[path]
    merged = _ADDED[path](wanted, known, text) if path in _ADDED else merge.Merged(text)
    if merged.by_hand:
        by_hand.append(
            f"{path}: new entries do not fit into its list as it is now. Add {_missing(path, wanted, known)}"
        )
    elif merged.text != text:
        files.append(File(path, text, merged.text, text, merged.text))


def _new_rows(wanted: Wanted, known: _Known) -> list[Entry]:
    return [one for one in wanted.guessed.variables if one.name not in known.table]


def _add_values(wanted: Wanted, known: _Known, cipher: Cipher, files: list[File], by_hand: list[str]) -> None:
    # A secret that was in another file of the project has a row already.
    moved = merge.rows(known.texts.get(VARIABLES, ""), "app_env_variables")
    unset = {row["name"] for row in moved if row.get("required") == "false" and "default" not in row}
    new = [
        one for one in wanted.guessed.variables if one.in_vault and (one.name in unset or one.name not in known.table)
    ]
    if not new:
        return
    before = known.texts[VAULT]
    text = known.vault if known.vault is not None else cipher.decrypt(before)
    there = merge.names(text, "app_env_values")
    part = render.values([one for one in new if one.name not in there])
    merged = merge.append(text, part.key, list(part.entries.values()))
    if merged.by_hand:
        by_hand.append(f"{VAULT}: new values do not fit in as it is now. Add {', '.join(part.entries)}")
    elif merged.text != text:
        files.append(File(VAULT, before, cipher.encrypt(merged.text), hidden(text), hidden(merged.text)))


def _add_variables(wanted: Wanted, known: _Known, text: str) -> merge.Merged:
    part = render.variables(_new_rows(wanted, known))
    return merge.append(text, part.key, list(part.entries.values()))


def _add_checks(wanted: Wanted, known: _Known, text: str) -> merge.Merged:
    there = merge.names(text, "selfheal_checks")
    new = {
        name: one._replace(row={key: value for key, value in one.row.items() if key != "proves" or not there})
        for name, one in wanted.guessed.checks.items()
        if name in known.new_services and name not in there
    }
    part = render.checks(new)
    return merge.append(text, part.key, list(part.entries.values()))


def _add_services(wanted: Wanted, known: _Known, text: str) -> merge.Merged:
    if not known.new_services:
        return merge.Merged(text)
    there = merge.names(text, "compose_app_services")
    new = {
        name: one for name, one in wanted.guessed.services.items() if name in known.new_services and name not in there
    }
    part = render.services(new)
    merged = merge.append(text, part.key, list(part.entries.values()))
    old = _seen(text) or []
    lines = [
        render.seen([*old, *known.new_services]) if line.startswith(render.SEEN) else line
        for line in merged.text.split("\n")
    ]
    return merged._replace(text="\n".join(lines))


def _add_example(wanted: Wanted, _known: _Known, text: str) -> merge.Merged:
    there = {line.partition("=")[0] for line in text.splitlines()}
    new = [one for one in wanted.guessed.variables if one.name not in there]
    return merge.Merged(text + render.example_of(new) if new else text)


_ADDED = {VARIABLES: _add_variables, CHECKS: _add_checks, APP: _add_services, EXAMPLE: _add_example}


def _missing(path: str, wanted: Wanted, known: _Known) -> str:
    names = [one.name for one in _new_rows(wanted, known)] if path == VARIABLES else list(known.new_services)
    return ", ".join(names)
