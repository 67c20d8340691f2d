# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stamp of the desired state on the controller: a SHA-256 over all that the roles read there.

These are the variables of all hosts, as they are written in the inventory and on the command line, since roles look at
those of other hosts, too; the collection's own files; the project of the host, and other files that options name. Of
files the size, the mode and the time count. Not covered: what a lookup reads, such as a value in HashiCorp Vault.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.parsing.vault import VaultHelper

from ansible_collections.christmas.selfheal.plugins.module_utils.docker.project_layout import is_left_out

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = ("playbooks", "plugins", "roles")
"""The folders of the collection that decide what a role writes."""
NAMED_FILES = ("load_balancer_certificate", "load_balancer_acme_ca")
"""Options that name a file on the controller."""
_OF_THE_RUN = frozenset(
    {
        *("ansible_check_mode", "ansible_config_file", "ansible_diff_mode", "ansible_facts", "ansible_forks"),
        *("ansible_limit", "ansible_local", "ansible_playbook_python", "ansible_run_tags", "ansible_skip_tags"),
        *("ansible_verbosity", "omit", "playbook_dir"),
    }
)
# Options of a check itself, and what it registers; no role of site.yml reads them.
_OF_THE_CHECK = ("drift_", "__drift_")


Variables = Mapping[str, Any]
"""The variables of a host as Ansible has them before it templates them; their names are the users' own."""


class Project(NamedTuple):
    """The folder of the project, "" when it is not on this machine, and what of it is not copied."""

    source: str
    exclude: Sequence[str]


def read(variables: Mapping[str, Variables], project: Project, files: Iterable[str]) -> str:
    """Return the stamp; only this digest leaves the function, and no value.

    :arg variables: those of each host, raw: not templated.
    :arg files: paths of other files that the roles read.
    :raises OSError: a folder cannot be read.
    """
    ours = [line for part in PARTS for line in _below(os.path.join(ROOT, part))]
    theirs = _below(os.path.realpath(project.source), project.exclude) if project.source else []
    seen = {
        "variables": [[host, _of_the_inventory(its)] for host, its in sorted(variables.items())],
        "files": [*ours, *theirs, *map(_line, sorted(files))],
    }
    text = json.dumps(seen, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _of_the_inventory(variables: Variables) -> dict[str, Any]:
    """The variables without those of this run alone, and without facts, which a cache may hold."""
    facts = variables.get("ansible_facts")
    injected = {f"ansible_{name.removeprefix('ansible_')}" for name in facts} if isinstance(facts, Mapping) else set()
    left_out = _OF_THE_RUN | injected
    kept = {str(name): value for name, value in variables.items() if name not in left_out}
    return {name: kept[name] for name in sorted(kept) if not name.startswith(_OF_THE_CHECK)}


def _plain(value: object) -> object:
    """What JSON cannot hold, such as a vaulted text: its ciphertext changes when the value does."""
    ciphertext = VaultHelper.get_ciphertext(value, with_tags=False)
    if ciphertext is not None:
        return str(ciphertext)
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _below(top: str, exclude: Sequence[str] = ()) -> list[str]:
    """A line for each file and folder below a folder. Byte code is written by a run itself."""

    def broken(error: OSError) -> None:
        raise error

    found = []
    for folder, folders, names in os.walk(top, onerror=broken):
        here = os.path.relpath(folder, top)
        kept = [
            one for one in (*folders, *names) if not is_left_out(os.path.normpath(os.path.join(here, one)), exclude)
        ]
        folders[:] = sorted(one for one in folders if one != "__pycache__" and one in kept)
        found += [_line(os.path.join(folder, one)) for one in sorted(kept) if one != "__pycache__"]
    return found


def _line(path: str) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return f"{path} -"
    if stat.S_ISDIR(found.st_mode):
        return f"{path} {found.st_mode:o}"
    return f"{path} {found.st_mode:o} {found.st_size} {found.st_mtime_ns}"
