# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The loopback address of a watched host."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: loopback_address
short_description: The loopback address of a watched host
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns an address in 127.64.0.0/10 that depends on the name alone.
options:
  _input:
    description: Name of the host.
    type: str
    required: true
"""

EXAMPLES = r"""
address: "{{ inventory_hostname | christmas.selfheal.loopback_address }}"
"""

RETURN = r"""
_value:
  description: The address.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"loopback_address": monitoring_hosts.loopback_address}
