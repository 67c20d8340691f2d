#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/app_adopt.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: app_adopt
short_description: Take over an app that was started by hand
version_added: 1.0.0
description:
  - Takes over an app that runs on a host and was started there with C(docker compose up), under the same project name.
    Its volumes, networks and data folders stay.
  - Reads the app with M(christmas.selfheal.app_adoption), copies the project's files to the controller, writes their
    inventory as M(christmas.selfheal.inventory_init) does, shows the plan, and runs C(site.yml) for that inventory. The
    lines of that run are shown as they come.
  - A value that a deploy would refuse, such as a placeholder, stops it before the app is touched. The same command goes
    on once that is corrected. It goes on after a kill at any moment, too.
  - A release that does not pass its checks is rolled back to what ran before.
  - A file that exists on the controller stays as it is. Data that the app writes below its old folder stays there; the
    file C(compose.adopted.yaml) names its place.
  - Of an app that was adopted already, nothing is changed.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  folder:
    description:
      - The folder on the host that the app was started from, or one of its compose files. Without it, the host must
        have exactly one app that was started by hand.
    type: str
    default: ""
  app:
    description: Name of the compose project, where several were started from the same folder.
    type: str
    default: ""
  to:
    description:
      - Folder on the controller for the project; its inventory is in V(deploy) below it. The default is a folder of the
        app's name.
    type: str
    default: ""
  host:
    description: Address of the host for the new inventory, or C(USER@ADDRESS).
    type: str
    required: true
  dry:
    description: Show the plan and change nothing, as check mode does.
    type: bool
    default: false
  load_balancer:
    description:
      - Put a load balancer in front first, so that no request fails. It needs exactly one published port that answers
        HTTP. Where it cannot be put in front, the module says why, and changes nothing.
    type: bool
    default: false
seealso:
  - module: christmas.selfheal.app_adoption
  - module: christmas.selfheal.inventory_init
"""

EXAMPLES = r"""
- name: Take over the app in /root/shop
  christmas.selfheal.app_adopt:
    folder: /root/shop
    host: "{{ ansible_host }}"
"""

RETURN = r"""
app:
  description: Name of the app.
  returned: when the app was found
  type: str
folder:
  description: Folder of the project on the controller.
  returned: when the app was found
  type: str
notice:
  description: The notice in the old folder on the host.
  returned: when the app was taken over
  type: str
"""
