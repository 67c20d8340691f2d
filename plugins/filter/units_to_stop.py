# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of exporters that are not used any more."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: units_to_stop
short_description: Units of exporters that are not used any more
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the units whose file was removed just now.
options:
  _input:
    description: Exporters, from P(christmas.selfheal.backing_exporters#filter).
    type: list
    elements: dict
    required: true
  written:
    description: Paths of the files that were written or removed.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
units: "{{ exporters | christmas.selfheal.units_to_stop(written) }}"
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
        return {"units_to_stop": monitoring_hosts.units_to_stop}
