# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse options of the command line that no playbook and no role knows: Ansible ignores them.

So a dry run with a typing error would be a real one. The names are read from the playbooks and the roles' own specs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
# Names of our filters, modules and roles are no variables.
_PLUGIN = re.compile(r"christmas\.selfheal\.\w+")
_WORD = re.compile(r"(?<![\w.'])[a-z][a-z0-9_]*")
# What a playbook reads, and not a key of its YAML.
_READ = re.compile(r"(?<![\w.'])[a-z][a-z0-9_]*(?![\w:])")


class Names(NamedTuple):
    """The names that each playbook reads, those of all playbooks and roles, and what these begin with."""

    by_playbook: Mapping[str, frozenset[str]]
    known: frozenset[str]
    families: frozenset[str]


def read(root: Path = ROOT) -> Names:
    """Read the names that playbooks and roles of this collection know."""
    by_playbook = {path.stem: _words(path, _READ) for path in root.glob("playbooks/*.yml")}
    folders = ("playbooks/**", "roles/*/defaults", "roles/*/tasks", "roles/*/vars")
    files = [path for folder in folders for path in root.glob(f"{folder}/*.yml")]
    known = set[str]().union(*(_words(path, _WORD) for path in files))
    for path in root.glob("roles/*/meta/argument_specs.yml"):
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)["argument_specs"]
        known.update(name for entry in entries.values() for name in entry.get("options") or {})
    begin = {*by_playbook, *(path.name for path in root.glob("roles/*")), "selfheal"}
    families = {name for name in begin if any(one.startswith(f"{name}_") for one in known)}
    return Names(by_playbook, frozenset(known), frozenset(families))


def _words(path: Path, form: re.Pattern[str]) -> frozenset[str]:
    text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    return frozenset(form.findall(_PLUGIN.sub("", text)))


def playbooks(arguments: Iterable[str]) -> list[str]:
    """The names of the playbooks of a run, as `ansible-playbook` was given them: paths, or names of the collection."""
    return [re.split(r"[/.]", one.removesuffix(".yml"))[-1] for one in arguments]


def problems(given: Iterable[str], running: Iterable[str], names: Names) -> list[str]:
    """A sentence for each option that nothing knows.

    :arg given: the names of the extra variables.
    :arg running: the playbooks that run.
    """
    run = [name for name in running if name in names.by_playbook]
    return [said for name in given if (said := _problem(name, run, names))]


def _problem(name: str, running: Iterable[str], names: Names) -> str:
    intended = _short(name, running, names)
    if name in names.known and not intended:
        return ""
    family = next((one for one in names.families if name.replace("-", "_").startswith(f"{one}_")), "")
    if not intended and not family:
        return ""
    alike = [one for one in names.known if one.startswith(f"{family}_")]
    intended = intended or next(iter(difflib.get_close_matches(name, sorted(alike), n=1)), "")
    guess = f" Did you mean {intended}?" if intended else ""
    return f"-e {name}: no playbook or role of this collection has this option, so it would be ignored.{guess}"


def _short(name: str, running: Iterable[str], names: Names) -> str:
    """The option of the playbook that was written without its first word, as in `dry` for `adopt_dry`."""
    own = [f"{one}_{name}" for one in running if name not in names.by_playbook[one]]
    return next((one for one in own if one in names.known), "")
