# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The names of a monitoring host's files for other hosts."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: watched_host_files
short_description: Names of a monitoring host's files for other hosts
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the names of the files that a monitoring host has for hosts that it watches, as patterns of
    C(ansible.builtin.find).
options:
  _input:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
patterns: "{{ ['web1'] | christmas.selfheal.watched_host_files }}"
"""

RETURN = r"""
_value:
  description: The patterns.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"watched_host_files": scraping.watched_host_files}
