#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_archive
short_description: Transfer images from one host to another, without a registry
version_added: 1.0.0
description:
  - Says which images a host does not have, writes those into one archive on another, and loads them from it.
  - Images are named by their ids, so what arrives is what was sent, or the module fails.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  state:
    description:
      - V(compared) says which of the images this host does not have, and fails when it could not take them.
      - V(room) fails when there is no room for their archive on this host.
      - V(saved) writes them into the archive.
      - V(loaded) reads them from the archive.
    type: str
    choices: [compared, room, saved, loaded]
    required: true
  images:
    description: The images, as M(christmas.selfheal.app_export) returns them.
    type: list
    elements: dict
    required: true
    suboptions:
      service:
        description: The service that is made of it.
        type: str
        required: true
      id:
        description: Its id.
        type: str
        required: true
      bytes:
        description: Its size.
        type: int
        required: true
      platform:
        description: What it runs on, such as V(linux/amd64).
        type: str
        required: true
  path:
    description: Where the archive is. The folder that holds it is made for it.
    type: path
    required: true
seealso:
  - module: christmas.selfheal.app_export
"""

EXAMPLES = r"""
- name: List the missing images
  christmas.selfheal.image_archive:
    state: compared
    images: "{{ offer.images }}"
    path: /var/lib/selfheal/shop/promotion/images.tar
  register: compared
"""

RETURN = r"""
missing:
  description: The images that this host does not have.
  returned: when O(state=compared)
  type: list
  elements: dict
bytes:
  description: Size of the missing images, or of the archive.
  returned: when O(state) is not V(room)
  type: int
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.promotion import image_archive

IMAGE = {
    "service": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "bytes": {"type": "int", "required": True},
    "platform": {"type": "str", "required": True},
}
SPEC = {
    "state": {"type": "str", "choices": ["compared", "room", "saved", "loaded"], "required": True},
    "images": {"type": "list", "elements": "dict", "options": IMAGE, "required": True},
    "path": {"type": "path", "required": True},
}


def act(module: AnsibleModule) -> dict[str, Any]:
    """Do what the state asks for; what the module returns."""
    given = module.params
    state, images, path = given["state"], given["images"], given["path"]
    if state == "compared":
        return {"changed": False, **image_archive.compare(images, path)}
    if state == "room" or module.check_mode:
        image_archive.require_room([(path, sum(one["bytes"] for one in images))])
        return {"changed": state != "room"}
    return {"changed": True, **(image_archive.save if state == "saved" else image_archive.load)(images, path)}


def main() -> None:
    """Compare, save or load, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, act, (*app_module.EXPECTED, image_archive.ArchiveError))


if __name__ == "__main__":
    main()
