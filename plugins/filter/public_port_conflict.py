# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why the status page cannot have its public port."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import ports

DOCUMENTATION = r"""
name: public_port_conflict
short_description: Why the status page cannot have its public port
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads the output of C(ss) and other parts of HAProxy's configuration.
options:
  _input:
    description: Lines of C(ss --no-header --listening --numeric --tcp --processes).
    type: list
    elements: str
    required: true
  files:
    description: Other parts of HAProxy's configuration that have the port, from M(ansible.builtin.find).
    type: list
    elements: dict
    required: true
  port:
    description: The port.
    type: int
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ listening.stdout_lines | christmas.selfheal.public_port_conflict([], 8443, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The text, empty when the port is free.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"public_port_conflict": ports.public_port_conflict}
