# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of a drift check."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_copies

DOCUMENTATION = r"""
name: check_options
short_description: Options of a drift check
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns what a controller runs ansible-playbook with.
options:
  _input:
    description: Folder of the project's copy, by host.
    type: dict
    required: true
  check:
    description: C(collection), C(settings), C(inventories), C(limit) and C(group).
    type: dict
    required: true
"""

EXAMPLES = r"""
options: "{{ copies.by_host | christmas.selfheal.check_options(check) }}"
"""

RETURN = r"""
_value:
  description: The options.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"check_options": project_copies.check_options}
