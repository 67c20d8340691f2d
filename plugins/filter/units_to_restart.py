# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units whose files were written."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: units_to_restart
short_description: Units whose files were written
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns each unit, once, of which a file or the secret was written.
options:
  _input:
    description: C(unit) and C(file) of each service.
    type: list
    elements: dict
    required: true
  exporters:
    description: Exporters, from P(christmas.selfheal.backing_exporters#filter).
    type: list
    elements: dict
    required: true
  written:
    description: Paths of the files that were written.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
units: "{{ services | christmas.selfheal.units_to_restart(exporters, written) }}"
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
        return {"units_to_restart": monitoring_hosts.units_to_restart}
