# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lines of `validate.yml`."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.validation_lines import validation_lines

DOCUMENTATION = r"""
name: validation_lines
short_description: A line for each thing that validate.yml validated
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reports secrets, host, engine, project, disks, ports and app. No line holds the value of a secret.
options:
  _input:
    description: What was found; the function says which keys there are.
    type: dict
    required: true
"""

EXAMPLES = r"""
lines: "{{ found | christmas.selfheal.validation_lines }}"
"""

RETURN = r"""
_value:
  description: C(what), C(ok) and C(detail) of each.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"validation_lines": validation_lines}
