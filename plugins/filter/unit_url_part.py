# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A part of a URL in a unit of systemd."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import unit_text

DOCUMENTATION = r"""
name: unit_url_part
short_description: A part of a URL in a unit of systemd
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Escapes a user or a name for a URL, and the result for systemd.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
user: "{{ 'a/b' | christmas.selfheal.unit_url_part }}"
"""

RETURN = r"""
_value:
  description: The escaped text.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"unit_url_part": unit_text.unit_url_part}
