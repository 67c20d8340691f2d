# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options without the empty ones."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import empty_values

DOCUMENTATION = r"""
name: without_empty
short_description: Options without the empty ones
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Leaves empty options out, so that what reads them uses its own sources.
options:
  _input:
    description: All options.
    type: dict
    required: true
"""

EXAMPLES = r"""
options: "{{ all_options | christmas.selfheal.without_empty }}"
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
        return {"without_empty": empty_values.without_empty}
