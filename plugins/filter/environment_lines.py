# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file of NAME=VALUE lines."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import restic_files

DOCUMENTATION = r"""
name: environment_lines
short_description: A file of NAME=VALUE lines
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns a line for each variable, by name. The result may hold secrets.
options:
  _input:
    description: The variables.
    type: dict
    required: true
"""

EXAMPLES = r"""
content: "{{ {'A': '1'} | christmas.selfheal.environment_lines }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"environment_lines": restic_files.environment_lines}
