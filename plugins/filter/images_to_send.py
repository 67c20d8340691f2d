# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images that are missing in production."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import image_transfer

DOCUMENTATION = r"""
name: images_to_send
short_description: Images that are missing in production
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns each image that is missing on one of the hosts, once.
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
  source:
    description: Variable with the result of M(christmas.selfheal.image_archive).
    type: str
    required: true
"""

EXAMPLES = r"""
images: "{{ groups['backends'] | christmas.selfheal.images_to_send(hostvars, 'compared') }}"
"""

RETURN = r"""
_value:
  description: The images.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"images_to_send": image_transfer.images_to_send}
