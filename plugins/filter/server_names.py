# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The names that the inventory has for one server."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: server_names
short_description: Names of a server in the inventory
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - An inventory has a name for each app of a server. Returns those with the same address and port of which something is
    measured, and the host's own, in the order of their apps.
options:
  _input:
    description: Names of all hosts.
    type: list
    elements: str
    required: true
  variables:
    description: C(hostvars).
    type: dict
    required: true
  host:
    description: Name of a host of the server.
    type: str
    required: true
"""

EXAMPLES = r"""
names: "{{ groups['all'] | christmas.selfheal.server_names(hostvars, inventory_hostname) }}"
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
        return {"server_names": scraping.server_names}
