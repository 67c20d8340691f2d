# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long a rebuild took."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import backup

DOCUMENTATION = r"""
name: rebuild_message
short_description: How long a rebuild took
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns one sentence with the time that it took and the backup.
options:
  _input:
    description: The result of M(christmas.selfheal.app_restore).
    type: dict
    required: true
  seconds:
    description: How long the rebuild took.
    type: float
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
text: "{{ result | christmas.selfheal.rebuild_message(321.5, selfheal_app, inventory_hostname) }}"
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
        return {"rebuild_message": backup.rebuild_message}
