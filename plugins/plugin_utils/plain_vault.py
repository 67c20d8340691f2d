# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets of an inventory that were never encrypted, or not again: Ansible reads such a file as any other.

The files are read as they are: the values that Ansible has made of them do not say where they come from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from ansible.parsing.vault import is_encrypted

from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import is_secret
from ansible_collections.christmas.selfheal.plugins.plugin_utils.shown_path import shown_path

# Where Ansible looks for variables, next to an inventory, and in which files.
_FOLDERS = ("group_vars", "host_vars")
_ENDINGS = ("", ".yml", ".yaml", ".json")
_VAULT = "vault"
_TEMPLATE = "{{"
_TABLE, _VALUES = "app_env_variables", ("app_env_values", "app_env_plain")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # PyYAML carries no types
    """YAML with Ansible's own tags."""


def _tagged(loader: Any, suffix: str, node: yaml.Node) -> Any:
    """The text under `!unsafe`, not a template; None for an encrypted value."""
    if suffix == "unsafe" and isinstance(node, yaml.ScalarNode):
        return str(loader.construct_scalar(node)).replace(_TEMPLATE, "")
    return None


_Loader.add_multi_constructor("!", _tagged)


class _File(NamedTuple):
    """A file of variables: whether it is named as a vault, and its variables."""

    path: str
    is_vault: bool
    content: Mapping[str, object]


def warnings(folders: Iterable[str], here: str) -> list[str]:
    """Return a warning for each file that holds a secret in plain text; no warning has a value.

    :arg folders: those of the inventories.
    :arg here: the folder that paths are shown from.
    """
    return [text for folder in sorted(set(folders)) for text in _warnings(folder, here)]


def _warnings(folder: str, here: str) -> Iterator[str]:
    files = list(_files(folder))
    secret = {name for one in files for name in _secret_names(one.content.get(_TABLE))}
    for one in files:
        shown = shown_path(one.path, here)
        if one.is_vault:
            if _holds_value(one.content):
                yield (
                    f"{shown} is not encrypted: everybody who reads it has the app's secrets. Fix: "
                    f"ansible-vault encrypt {shown}"
                )
            continue
        names = sorted(set(_plain_names(one.content)) & secret)
        if names:
            vault = _vault_for(shown)
            yield (
                f"{shown} holds secrets that are not encrypted: {', '.join(names)}. Everybody who reads it has them. "
                f"Fix: move them into app_env_values of {vault}, then: ansible-vault encrypt {vault}"
            )


def _vault_for(path: str) -> str:
    """A vault that Ansible reads for the same hosts as a file of variables."""
    folder, name = os.path.split(path)
    if os.path.basename(folder) in _FOLDERS:
        folder = os.path.join(folder, os.path.splitext(name)[0])
    return os.path.join(folder, "vault.yml")


def _files(folder: str) -> Iterator[_File]:
    """The files that Ansible reads, but for those that are encrypted and those that are not YAML."""
    for top in _FOLDERS:
        for place, _unused, names in sorted(os.walk(os.path.join(folder, top))):
            in_vault = os.path.basename(place).startswith(_VAULT)
            for name in sorted(names):
                if os.path.splitext(name)[1] in _ENDINGS and not name.startswith("."):
                    path = os.path.join(place, name)
                    yield _File(path, in_vault or name.startswith(_VAULT), _content(path))


def _content(path: str) -> Mapping[str, object]:
    try:
        with open(path, "rb") as stream:
            content = stream.read()
        found = {} if is_encrypted(content) else yaml.load(content, _Loader)
    except (OSError, ValueError, yaml.YAMLError):
        # Ansible itself reports it.
        return {}
    return found if isinstance(found, Mapping) else {}


def _secret_names(table: object) -> Iterator[str]:
    """The names of the secret rows of the table of variables."""
    for row in table if isinstance(table, list) else ():
        if isinstance(row, Mapping) and is_secret(row):  # type: ignore[arg-type]  # another role validates the row
            yield str(row.get("name"))


def _plain_names(content: Mapping[str, object]) -> Iterator[str]:
    """The variables of the app whose values are written there."""
    for key in _VALUES:
        values = content.get(key)
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if _holds_value(value):
                yield str(name)


def _holds_value(value: object) -> bool:
    """Whether a text or a number is written there: neither nothing, nor what a template reads elsewhere."""
    if isinstance(value, Mapping):
        return any(map(_holds_value, value.values()))
    if isinstance(value, list):
        return any(map(_holds_value, value))
    if isinstance(value, str):
        return bool(value.strip()) and _TEMPLATE not in value
    return value is not None and not isinstance(value, bool)
