# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The password files of exporters."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: exporter_secrets
short_description: Password files of exporters
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns a file for each exporter, in the form that it reads. The result holds secrets.
options:
  _input:
    description: Exporters, from P(christmas.selfheal.backing_exporters#filter).
    type: list
    elements: dict
    required: true
  passwords:
    description: Passwords by kind.
    type: dict
    required: true
  sockets:
    description: Folder of the sockets through which the exporters reach the containers.
    type: str
    required: true
"""

EXAMPLES = r"""
files: "{{ exporters | christmas.selfheal.exporter_secrets({'cache': password}, '/run/sockets') }}"
"""

RETURN = r"""
_value:
  description: The files, as M(christmas.selfheal.host_files) takes them.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"exporter_secrets": scraping.secret_files}
