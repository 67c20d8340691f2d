# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of empty options."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import empty_values

DOCUMENTATION = r"""
name: empty_names
short_description: Names of empty options
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the names of the options that are empty.
options:
  _input:
    description: The options.
    type: dict
    required: true
"""

EXAMPLES = r"""
names: "{{ needed | christmas.selfheal.empty_names }}"
"""

RETURN = r"""
_value:
  description: The names.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"empty_names": empty_values.empty_names}
