# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why the engine does not start."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import engine

DOCUMENTATION = r"""
name: engine_start_failure
short_description: Why the engine does not start
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the reason and what to do.
options:
  _input:
    description: The reason.
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
text: "{{ failure.msg | christmas.selfheal.engine_start_failure('debian', inventory_hostname) }}"
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
        return {"engine_start_failure": engine.engine_start_failure}
