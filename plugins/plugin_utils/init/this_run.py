# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How this run of Ansible was called, and where it found the collection."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import cast

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.report import Command

# The folder above `ansible_collections`, by the name under which this file was loaded.
_COLLECTIONS = os.path.abspath(__file__).partition("/ansible_collections/")[0]

# Options of which the new inventory needs the values: without them, its commands cannot connect.
_CONNECTION = (
    ("private_key_file", "ansible_ssh_private_key_file"),
    ("ssh_common_args", "ansible_ssh_common_args"),
    ("ssh_extra_args", "ansible_ssh_extra_args"),
)


def command(arguments: Mapping[str, object], name: str, here: str) -> Command:
    """How init would be called in the same way.

    :arg arguments: Ansible's `context.CLIARGS`.
    :arg name: the playbook that was called.
    :arg here: the folder of this run.
    """
    playbooks = cast(Iterable[str], arguments.get("args") or ())
    called = next((one for one in playbooks if one.endswith((name, f"{name}.yml"))), f"christmas.selfheal.{name}")
    end = ".yml" if called.endswith(".yml") else ""
    playbook = f"{called.removesuffix(end).removesuffix(name)}init{end}"
    files = cast(Iterable[str], arguments.get("vault_password_files") or ())
    options = [word for one in files for word in ("--vault-password-file", one)]
    identities = cast(Iterable[str], arguments.get("vault_ids") or ())
    options += [word for one in identities if "@" in one for word in ("--vault-id", one)]
    options += ["--ask-vault-pass"] if arguments.get("ask_vault_pass") else []
    return Command(playbook, options, _front(called, here))


def _front(called: str, here: str) -> str:
    """The path of `selfheal` next to the playbooks; "" in its own folder, where the clone's ansible.cfg is in force."""
    if not called.endswith(".yml"):
        return ""
    root = os.path.dirname(os.path.dirname(os.path.abspath(os.path.join(here, called))))
    script = os.path.join(root, "selfheal")
    if root == os.path.abspath(here) or not os.path.isfile(script):
        return ""
    if os.path.isabs(called):
        return script
    path = os.path.relpath(script, here)
    return path if os.sep in path else f"./{path}"


def connection(arguments: Mapping[str, object]) -> list[tuple[str, object]]:
    """What the options of this run say of the connection, as (variable of an inventory, value).

    :arg arguments: Ansible's `context.CLIARGS`.
    """
    return [(variable, str(arguments[name])) for name, variable in _CONNECTION if arguments.get(name)]


def collections() -> str:
    """The folder of the collections that this one was loaded from, "" for one that Ansible finds by itself."""
    return "" if _is_default(_COLLECTIONS) else _COLLECTIONS


def playbook(name: str) -> str:
    """The path of a playbook of this collection."""
    return os.path.join(_COLLECTIONS, "ansible_collections/christmas/selfheal/playbooks", f"{name}.yml")


def _is_default(folder: str) -> bool:
    """Whether Ansible looks there without a configuration."""
    known = ("~/.ansible/collections", "/usr/share/ansible/collections")
    return folder in map(os.path.expanduser, known) or f"{os.sep}site-packages" in folder
