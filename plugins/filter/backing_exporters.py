# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The exporters for the cache, the pool and the database of an app."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: backing_exporters
short_description: Exporters for cache, pool and database
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the exporter of each kind, whether it is used or not, so that the files of one that is not can be removed.
options:
  _input:
    description: Whether an exporter is used, by kind (C(cache), C(pool), C(database)).
    type: dict
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
  ports:
    description: Ports by kind.
    type: dict
    required: true
  secrets:
    description: Folder of the passwords on the host.
    type: str
    required: true
"""

EXAMPLES = r"""
exporters: "{{ used | christmas.selfheal.backing_exporters('shop', ports, '/etc/prometheus/secrets') }}"
"""

RETURN = r"""
_value:
  description: C(kind), C(package), C(wanted), C(unit), C(runtime), C(file), C(port) and C(secret) of each.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"backing_exporters": scraping.exporters}
