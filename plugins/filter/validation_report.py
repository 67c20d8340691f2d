# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of validate.yml."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import validation

DOCUMENTATION = r"""
name: validation_report
short_description: The report of validate.yml
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reports secrets, host, engine, project, disks, ports and app. No line holds the value of a secret.
options:
  _input:
    description: What was found; the class C(Found) says which keys there are.
    type: dict
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
report: "{{ found | christmas.selfheal.validation_report(selfheal_app, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: C(text), a line for each thing; C(failure), what failed and what to do next, empty when nothing did.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"validation_report": validation.validation_report}
