# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of the lookup that asks a vault."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import vault_options

DOCUMENTATION = r"""
name: vault_options
short_description: Options of the lookup that asks a vault
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Leaves empty options out, so that the lookup uses its own sources.
options:
  _input:
    description: All options.
    type: dict
    required: true
"""

EXAMPLES = r"""
options: "{{ all_options | christmas.selfheal.vault_options }}"
"""

RETURN = r"""
_value:
  description: The options that are not empty.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"vault_options": vault_options.vault_options}
