# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The secrets in the table of receivers of alerts."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import receivers

DOCUMENTATION = r"""
name: receiver_secrets
short_description: Secrets of a table of receivers, and their files
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads C(alerting_receivers) for the role alerting. The result holds secrets.
options:
  _input:
    description: C(alerting_receivers).
    type: list
    elements: dict
    required: true
  deadman_url:
    description: C(alerting_deadman_url).
    type: str
    required: true
  folder:
    description: Folder of the secrets on the host.
    type: str
    required: true
"""

EXAMPLES = r"""
files: "{{ (alerting_receivers | christmas.selfheal.receiver_secrets('', '/etc/prometheus/secrets')).files }}"
"""

RETURN = r"""
_value:
  description:
    - C(variables) and C(values), the secrets as M(christmas.selfheal.secrets_validate) takes them.
    - C(files), a file for each secret, as M(christmas.selfheal.host_files) takes them.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"receiver_secrets": receivers.secrets}
