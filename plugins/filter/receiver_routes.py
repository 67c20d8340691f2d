# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is notified of what."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import receivers

DOCUMENTATION = r"""
name: receiver_routes
short_description: Routes and receivers of Alertmanager
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads C(alerting_receivers) for the configuration of Alertmanager. The result holds secrets.
options:
  _input:
    description: C(alerting_receivers).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
routes: "{{ alerting_receivers | christmas.selfheal.receiver_routes }}"
"""

RETURN = r"""
_value:
  description: C(name), C(kind), C(severity), C(critical), C(escalates), C(reports), C(receivers) and C(entry) of each.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"receiver_routes": receivers.routes}
