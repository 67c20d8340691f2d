# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a promotion sends to a host."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages import promotion

DOCUMENTATION = r"""
name: images_message
short_description: What a promotion sends to a host
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns how many images are missing on a host, and their size.
options:
  _input:
    description: The result of M(christmas.selfheal.image_archive).
    type: dict
    required: true
  offered:
    description: All images of the release.
    type: list
    elements: dict
    required: true
  app:
    description: Name of the app.
    type: str
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  check_mode:
    description: Whether the run is in check mode, C(ansible_check_mode).
    type: bool
    required: true
"""

EXAMPLES = r"""
text: "{{ compared | christmas.selfheal.images_message(offer.images, selfheal_app, inventory_hostname, false) }}"
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
        return {"images_message": promotion.images_message}
