# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup did."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import backup

DOCUMENTATION = r"""
name: backup_message
short_description: What a backup did
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns which backup was created, what is not in it, and whether it is verified.
options:
  _input:
    description: The result of M(christmas.selfheal.app_backup) that created a backup.
    type: dict
    required: true
  verification:
    description: The result of M(christmas.selfheal.app_backup) that verified it, or of that task when it was skipped.
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
text: "{{ made | christmas.selfheal.backup_message(verified, selfheal_app, inventory_hostname, ansible_check_mode) }}"
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
        return {"backup_message": backup.backup_message}
