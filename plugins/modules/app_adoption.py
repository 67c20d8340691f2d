#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_adoption
short_description: Read an app that was started by hand, and record that it is taken over
version_added: 1.0.0
description:
  - Reads a compose project that runs on this host and was started with C(docker compose up). That is its compose files,
    env files, build contexts and other files, containers, volumes, networks and ports. M(christmas.selfheal.app_adopt)
    calls it.
  - Refuses, by name, what cannot be taken over. Examples are a rootless engine, a compose file that is gone, and a
    volume of another project. Such an error changes nothing.
  - Its result holds the files of the project, which have secrets. Use it with C(no_log).
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
      - V(read) changes nothing.
      - V(begun) records from where the app was started, so that a run that is killed can be completed.
      - V(ended) records that a release of it serves, and leaves the notice C(ADOPTED-BY-SELFHEAL.md) in the folder that
        the app was started from.
    type: str
    choices: [read, begun, ended]
    default: read
  folder:
    description:
      - The folder that the app was started from, or one of its compose files. Without it and O(app), the host must have
        exactly one project that no release of this collection runs.
    type: path
    default: ""
  app:
    description: Name of the compose project, where several were started from the same folder.
    type: str
    default: ""
seealso:
  - module: christmas.selfheal.app_adopt
"""

EXAMPLES = r"""
- name: Read the app in /root/shop
  christmas.selfheal.app_adoption:
    folder: /root/shop
  no_log: true
  register: shop
"""

RETURN = r"""
adoption:
  description:
    - What runs, with V(read). C(stage) says how far a take-over is; C(archive) has the files (tar, gzip, base64).
  returned: when O(state=read)
  type: dict
notice:
  description: The path of the notice that was left, with V(ended). Empty when the folder is gone.
  returned: when O(state=ended)
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import adoption
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption_choice import AdoptError, Asked

SPEC: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["read", "begun", "ended"], "default": "read"},
    "folder": {"type": "path", "default": ""},
    "app": {"type": "str", "default": ""},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, or record."""
    given = module.params
    asked = Asked(given["folder"], given["app"])
    if given["state"] == "read":
        return {"changed": False, "adoption": adoption.read(asked)}
    if module.check_mode:
        return {"changed": True}
    if given["state"] == "begun":
        adoption.begin(asked)
        return {"changed": True}
    return {"changed": True, "notice": adoption.end(asked)}


def main() -> None:
    """Read or record, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, work, (*app_module.EXPECTED, AdoptError))


if __name__ == "__main__":
    main()
