# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the status page is."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import status_page

DOCUMENTATION = r"""
name: page_message
short_description: Where the status page is
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns how a person opens the status page.
options:
  _input:
    description: C(public), C(url), C(user), C(tunnel) and C(port).
    type: dict
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ address | christmas.selfheal.page_message(inventory_hostname) }}"
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
        return {"page_message": status_page.page_message}
