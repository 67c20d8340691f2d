# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a vault gave no values."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import vault

DOCUMENTATION = r"""
name: vault_failure
short_description: Why a vault gave no values, and what to do
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the settings that were used, the most likely cause, and what the vault or its client said.
options:
  _input:
    description: The message of the lookup that failed.
    type: str
    required: true
  settings:
    description: C(address), C(path), C(mount) and C(auth) of the vault.
    type: dict
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ failure.msg | christmas.selfheal.vault_failure(settings, inventory_hostname) }}"
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
        return {"vault_failure": vault.vault_failure}
