# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a program of the controller is."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import programs

DOCUMENTATION = r"""
name: program_path
short_description: Where a program of the controller is
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Looks in the folders of a search path.
options:
  _input:
    description: Name of the program.
    type: str
    required: true
  search_path:
    description: Folders with colons between them, as C(PATH).
    type: str
    required: true
"""

EXAMPLES = r"""
path: "{{ 'rsync' | christmas.selfheal.program_path(lookup('ansible.builtin.env', 'PATH')) }}"
"""

RETURN = r"""
_value:
  description: The path, empty when it is in none of them.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"program_path": programs.program_path}
