# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the engine's configuration becomes."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import docker_daemon

DOCUMENTATION = r"""
name: daemon_plan
short_description: What the engine's configuration becomes
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Merges what is there with defaults, bounds of logs and options, and says what it takes to put that in force.
options:
  _input:
    description: What the file holds now.
    type: dict
    required: true
  defaults:
    description: What counts where the file says nothing.
    type: dict
    required: true
  options:
    description: What counts above the file; null removes a key.
    type: dict
    required: true
  bounds:
    description: C(max-size) and C(max-file) of the logs.
    type: dict
    required: true
  in_swarm:
    description: Whether the engine is in a Swarm.
    type: bool
    required: true
"""

EXAMPLES = r"""
plan: "{{ found | christmas.selfheal.daemon_plan(defaults, {}, {'max-size': '10m', 'max-file': '3'}, false) }}"
"""

RETURN = r"""
_value:
  description: C(wanted), C(changed_keys) and C(needs_restart).
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"daemon_plan": docker_daemon.daemon_plan}
