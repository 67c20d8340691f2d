# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a project cannot be copied."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import project

DOCUMENTATION = r"""
name: source_problem
short_description: Why a project cannot be copied
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Says what is wrong with C(compose_app_source).
options:
  _input:
    description: C(compose_app_source).
    type: str
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
"""

EXAMPLES = r"""
text: "{{ compose_app_source | christmas.selfheal.source_problem(selfheal_app) }}"
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
        return {"source_problem": project.source_problem}
