# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table that status.yml shows."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import status

DOCUMENTATION = r"""
name: status_message
short_description: The state of an app as a table
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns a line for each thing that is known of an app, and a table of its instances.
options:
  _input:
    description: C(app_info), from M(christmas.selfheal.app_info).
    type: dict
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  address:
    description: Address of the host.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ state.app_info | christmas.selfheal.status_message(inventory_hostname, ansible_host) }}"
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
        return {"status_message": status.status_message}
