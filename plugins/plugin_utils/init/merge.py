# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Add entries to the end of a list or mapping in a YAML text, and leave every other byte as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import BY_INIT


class Merged(NamedTuple):
    """The text with the new entries; `by_hand`: they could not be added, and the text is as it was."""

    text: str
    by_hand: bool = False


def is_ours(text: str) -> bool:
    """Whether init wrote a file: its head says so."""
    return any(line.startswith(BY_INIT) for line in text.splitlines()[:2])


def names(text: str, key: str) -> list[str]:
    """The names of the entries under a key: of a mapping its keys, of a list each `name`. Of no YAML: none."""
    node = _value(text, key)
    if isinstance(node, yaml.MappingNode):
        return [str(name.value) for name, _unused in node.value]
    return [row["name"] for row in rows(text, key) if "name" in row]


def rows(text: str, key: str) -> list[dict[str, str]]:
    """The rows under a list's key, of each the keys whose value is one text."""
    node = _value(text, key)
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return [
        {str(name.value): str(value.value) for name, value in row.value if isinstance(value, yaml.ScalarNode)}
        for row in items
        if isinstance(row, yaml.MappingNode)
    ]


def empty_values(text: str, key: str) -> list[str]:
    """The names under a mapping's key whose value is empty."""
    node = _value(text, key)
    if not isinstance(node, yaml.MappingNode):
        return []
    return [str(name.value) for name, value in node.value if isinstance(value, yaml.ScalarNode) and not value.value]


def keys(text: str) -> list[str]:
    """The keys of a YAML mapping; of any other text, there are none."""
    root = _root(text)
    return [str(name.value) for name, _unused in root.value] if isinstance(root, yaml.MappingNode) else []


def scalar(text: str, key: str) -> str:
    """The text under a key; "" without one."""
    node = _value(text, key)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def append(text: str, key: str, entries: Sequence[str]) -> Merged:
    """Add entries, which are indented by two spaces, behind the last one."""
    if not entries:
        return Merged(text)
    node = _value(text, key)
    if node is None:
        is_mapping = isinstance(_root(text), yaml.MappingNode)
        return Merged(f"{text.rstrip()}\n\n{key}:\n{''.join(entries)}") if is_mapping else Merged(text, True)
    if not isinstance(node, (yaml.SequenceNode, yaml.MappingNode)):
        return Merged(text, True)
    if not node.value:
        return _checked(
            text, f"{text[: node.start_mark.index].rstrip(' ')}\n{''.join(entries)}{_rest(text, node)}", key
        )
    if node.flow_style:
        return Merged(text, True)
    end = _end(text, node)
    column = node.start_mark.column
    added = "".join(_indented(entry, column) for entry in entries)
    before = text[:end] if text[:end].endswith("\n") else f"{text[:end]}\n"
    return _checked(text, f"{before}{added}{text[end:]}", key)


def _root(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None


def _value(text: str, key: str) -> Any:
    root = _root(text)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _rest(text: str, node: Any) -> str:
    """What follows an empty list or mapping, from its next line."""
    return text[node.end_mark.index :].partition("\n")[2]


def _end(text: str, node: Any) -> int:
    """The index behind the line that the last entry ends in."""
    while isinstance(node, (yaml.SequenceNode, yaml.MappingNode)) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    mark = node.end_mark
    if mark.column == 0 and mark.index > node.start_mark.index:
        return int(mark.index)
    found = text.find("\n", mark.index)
    return len(text) if found == -1 else found + 1


def _indented(entry: str, column: int) -> str:
    """An entry at the column of the others."""
    return re.sub(r"^  ", " " * column, entry, flags=re.MULTILINE)


def _checked(before: str, after: str, key: str) -> Merged:
    """The new text when it holds what it held, and more under the key; else the old one."""
    kept = set(names(before, key))
    same = keys(before) == keys(after)
    return Merged(after) if same and kept < set(names(after, key)) else Merged(before, True)
