# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A list with a prefix for each entry."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_options

DOCUMENTATION = r"""
name: prefixed
short_description: A list with a prefix for each entry
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Turns a list into options of a command.
options:
  _input:
    description: The entries.
    type: list
    elements: str
    required: true
  prefix:
    description: The prefix.
    type: str
    required: true
"""

EXAMPLES = r"""
options: "{{ ['.git'] | christmas.selfheal.prefixed('--exclude=') }}"
"""

RETURN = r"""
_value:
  description: The entries with the prefix.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"prefixed": command_options.prefixed}
