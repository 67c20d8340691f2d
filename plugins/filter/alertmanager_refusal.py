# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why Alertmanager refuses its configuration."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import alertmanager

DOCUMENTATION = r"""
name: alertmanager_refusal
short_description: Why Alertmanager refuses its configuration
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the reason, or that Alertmanager is too old, with the version found and the one needed.
options:
  _input:
    description: The message of M(christmas.selfheal.host_files).
    type: str
    required: true
  version_output:
    description: The output of C(amtool --version), or empty.
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ failure.msg | christmas.selfheal.alertmanager_refusal(version.stdout, inventory_hostname) }}"
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
        return {"alertmanager_refusal": alertmanager.alertmanager_refusal}
