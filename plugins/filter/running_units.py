# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units that run and start at boot."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: running_units
short_description: Units that run and start at boot
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads the output of C(systemctl show --property=Id,ActiveState,UnitFileState).
options:
  _input:
    description: The output.
    type: str
    required: true
"""

EXAMPLES = r"""
units: "{{ shown.stdout | christmas.selfheal.running_units }}"
"""

RETURN = r"""
_value:
  description: Names of the units.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"running_units": monitoring_hosts.running_units}
