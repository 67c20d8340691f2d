# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts that a monitoring host watches."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: watched_hosts
short_description: Hosts that a monitoring host watches
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads C(monitoring_hub) and C(monitoring_enabled) of each host.
options:
  _input:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
  variables:
    description: C(hostvars).
    type: dict
    required: true
  hub:
    description: Names of the monitoring host.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
hosts: "{{ groups['all'] | christmas.selfheal.watched_hosts(hostvars, ['hub']) }}"
"""

RETURN = r"""
_value:
  description: Names of the hosts.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"watched_hosts": monitoring_hosts.watched_hosts}
