# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What rsync leaves out of a project."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_options

DOCUMENTATION = r"""
name: project_excludes
short_description: What rsync leaves out of a project
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Leaves out what comes from the vault or from a deploy, and what the user excludes.
options:
  _input:
    description: The compose files, relative to the project.
    type: raw
    required: true
  exclude:
    description: What the user excludes.
    type: raw
    required: true
"""

EXAMPLES = r"""
options: "{{ compose_app_files | christmas.selfheal.project_excludes(compose_app_exclude) }}"
"""

RETURN = r"""
_value:
  description: Options of rsync.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"project_excludes": command_options.project_excludes}
