# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why an app without checks is refused."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import project

DOCUMENTATION = r"""
name: checks_problem
short_description: Why an app without checks is refused
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Says what to write into C(selfheal_checks).
options:
  _input:
    description: Whether C(selfheal_checks) is defined.
    type: bool
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ true | christmas.selfheal.checks_problem(selfheal_app, inventory_hostname) }}"
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
        return {"checks_problem": project.checks_problem}
