# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of exporters that are not used."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: unused_files
short_description: Files that must not exist
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the files of each exporter that is not used, the link that starts a unit before the unit, and further files.
options:
  _input:
    description: Exporters, from P(christmas.selfheal.backing_exporters#filter).
    type: list
    elements: dict
    required: true
  more:
    description: Paths of further files.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
files: "{{ exporters | christmas.selfheal.unused_files(['/etc/old.conf']) }}"
"""

RETURN = r"""
_value:
  description: The files, as M(christmas.selfheal.host_files) takes them.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"unused_files": scraping.unused_files}
