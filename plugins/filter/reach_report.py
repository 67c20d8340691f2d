# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host was reached over ssh."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import reach

DOCUMENTATION = r"""
name: reach_report
short_description: Whether a host was reached, and what to do next
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads the result of the first task on a host, and names the most likely reason when the host was not reached.
options:
  _input:
    description: The result of a task with C(ignore_unreachable) that asks Python for its version.
    type: dict
    required: true
  user:
    description: User of the login, or empty.
    type: str
    required: true
  address:
    description: Address of the host.
    type: str
    required: true
  port:
    description: Port of its ssh server.
    type: int
    required: true
  python:
    description: The command that was run.
    type: str
    required: true
"""

EXAMPLES = r"""
reach: "{{ result | christmas.selfheal.reach_report('root', '192.0.2.7', 22, 'python3') }}"
"""

RETURN = r"""
_value:
  description: C(text), what the host said; C(problem) and C(next_step), empty when it was reached.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"reach_report": reach.reach_report}
