# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Compose that a distribution offers."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import docker_daemon

DOCUMENTATION = r"""
name: offered_compose
short_description: The Compose that a distribution offers
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads the output of C(apt-cache policy).
options:
  _input:
    description: The output, or empty.
    type: str
    required: true
  distribution:
    description: Name of the distribution.
    type: str
    required: true
  major_version:
    description: Number of its release.
    type: str
    required: true
"""

EXAMPLES = r"""
version: "{{ policy.stdout | christmas.selfheal.offered_compose('Debian', '13') }}"
"""

RETURN = r"""
_value:
  description: The version, empty when it is not known.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"offered_compose": docker_daemon.offered_compose}
