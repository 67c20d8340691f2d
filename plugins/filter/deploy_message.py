# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deployment did."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import deployment

DOCUMENTATION = r"""
name: deploy_message
short_description: What a deployment did
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns what differed, a line each, and which release serves.
options:
  _input:
    description: The result of M(christmas.selfheal.app_deploy).
    type: dict
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  check_mode:
    description: Whether the run is in check mode, C(ansible_check_mode).
    type: bool
    required: true
"""

EXAMPLES = r"""
text: "{{ result | christmas.selfheal.deploy_message(selfheal_app, inventory_hostname, ansible_check_mode) }}"
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
        return {"deploy_message": deployment.deploy_message}
