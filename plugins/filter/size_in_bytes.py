# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A size of HAProxy's configuration in bytes."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import sizes

DOCUMENTATION = r"""
name: size_in_bytes
short_description: Bytes of a size such as 512k
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads a number of bytes, or one with C(k) or C(m).
options:
  _input:
    description: The size.
    type: str
    required: true
"""

EXAMPLES = r"""
bytes: "{{ '10m' | christmas.selfheal.size_in_bytes }}"
"""

RETURN = r"""
_value:
  description: The bytes.
  type: int
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"size_in_bytes": sizes.size_in_bytes}
