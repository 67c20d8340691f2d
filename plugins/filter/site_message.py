# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How an app is at the end of site.yml."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import deployment

DOCUMENTATION = r"""
name: site_message
short_description: How an app is at the end of site.yml
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns one sentence, whether the app is healthy, would be deployed, or waits for a restore.
options:
  _input:
    description: The result of M(christmas.selfheal.app_deploy), which may have failed.
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
"""

EXAMPLES = r"""
text: "{{ result | christmas.selfheal.site_message(selfheal_app, inventory_hostname) }}"
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
        return {"site_message": deployment.site_message}
