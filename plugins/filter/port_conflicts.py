# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which ports of the load balancer are taken."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import ports

DOCUMENTATION = r"""
name: port_conflicts
short_description: Ports of the load balancer that are taken
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns a line for each port that another process, or another part of HAProxy's configuration, has.
options:
  _input:
    description: The processes, from P(christmas.selfheal.port_holders#filter).
    type: list
    elements: dict
    required: true
  files:
    description: Other parts of HAProxy's configuration that have one of the ports, from M(ansible.builtin.find).
    type: list
    elements: dict
    required: true
  options:
    description: The port of each option.
    type: dict
    required: true
  ports:
    description: All ports that the app needs in HAProxy.
    type: list
    elements: int
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ holders | christmas.selfheal.port_conflicts(found.files, {'load_balancer_port': 80}, [80], 'shop', 'web1') }}"
"""

RETURN = r"""
_value:
  description: The text, empty when no port is taken.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"port_conflicts": ports.port_conflicts}
