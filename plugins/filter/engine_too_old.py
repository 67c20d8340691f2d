# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""That the engine or Compose is too old."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import engine

DOCUMENTATION = r"""
name: engine_too_old
short_description: That the engine or Compose is too old
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the version found, the one needed, and what to do.
options:
  _input:
    description: What is too old.
    type: str
    required: true
  found:
    description: The version, or empty.
    type: str
    required: true
  needed:
    description: The oldest version that is accepted.
    type: str
    required: true
  packages:
    description: C(docker_engine_packages).
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ 'Docker Compose' | christmas.selfheal.engine_too_old('2.1', '2.24', 'debian', inventory_hostname) }}"
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
        return {"engine_too_old": engine.engine_too_old}
