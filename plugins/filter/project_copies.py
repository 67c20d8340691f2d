# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The projects that a controller for drift checks needs copies of."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.project_copies import project_copies

DOCUMENTATION = r"""
name: project_copies
short_description: Projects of hosts, and where a controller has copies of them
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads C(compose_app_source), C(compose_app_exclude) and C(compose_app_promoted) of each host.
options:
  _input:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
  variables:
    description: C(hostvars).
    type: dict
    required: true
  directory:
    description: Folder on the controller, in which the copies are in C(projects).
    type: str
    required: true
"""

EXAMPLES = r"""
copies: "{{ ['web1', 'web2'] | christmas.selfheal.project_copies(hostvars, '/opt/selfheal-drift') }}"
"""

RETURN = r"""
_value:
  description:
    - C(projects), each once, with C(source), C(folder) and C(exclude).
    - C(by_host), the folder of the copy by host.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"project_copies": project_copies}
