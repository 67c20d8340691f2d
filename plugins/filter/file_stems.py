# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of files without their suffix."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import monitoring_hosts

DOCUMENTATION = r"""
name: file_stems
short_description: Names of files without their suffix
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the names of the files that have the suffix.
options:
  _input:
    description: The files, from M(ansible.builtin.find).
    type: list
    elements: dict
    required: true
  suffix:
    description: The suffix, with its dot.
    type: str
    required: true
"""

EXAMPLES = r"""
apps: "{{ found.files | christmas.selfheal.file_stems('.json') }}"
"""

RETURN = r"""
_value:
  description: The names, sorted.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"file_stems": monitoring_hosts.file_stems}
