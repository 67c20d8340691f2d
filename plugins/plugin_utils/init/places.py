# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the line of a compose file that a key is in. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml


class Found(NamedTuple):
    """How many of the keys were there, and the line of the last of them."""

    depth: int
    line: int


def find(text: str, where: str) -> Found:
    """Find a key, or the deepest one above it that is there.

    :arg where: the keys that lead to it, with dots between them: `services.web.ports`. Names may hold dots, too.
    """
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return Found(0, 0)
    depth, line, rest = 0, 0, where
    while rest and isinstance(node, yaml.MappingNode):
        pairs = {str(key.value): (key, value) for key, value in node.value}
        name = next((one for one in pairs if rest == one or rest.startswith(f"{one}.")), None)
        if name is None:
            break
        key, node = pairs[name]
        depth, line, rest = depth + 1, key.start_mark.line + 1, rest[len(name) + 1 :]
    return Found(depth, line)
