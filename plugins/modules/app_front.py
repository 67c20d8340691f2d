#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_front
short_description: Put HAProxy in front of a container that holds the port which HAProxy is to have
version_added: 1.0.0
description:
  - A process of HAProxy gets the new connections to the public port, by rules of iptables, and forwards the requests to
    the container. A deploy then replaces the container without a failed request, and M(christmas.selfheal.app_deploy)
    ends the process when the load balancer has the port.
  - The rules are removed when the process ends, for whatever reason, when the container ends, and after 30 minutes. The
    container gets the connections again then.
  - Where that is not possible, it says why, and does not fail.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  balancer:
    description: The load balancer, with the keys C(service), C(instances), C(first_port) and C(ports).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put HAProxy in front of the container that has port 8000
  christmas.selfheal.app_front:
    app: shop
    balancer: {service: web, instances: 1, first_port: 18000, ports: [8000, 443]}
"""

RETURN = r"""
container:
  description: Name of the container. Empty when HAProxy is not in front of one.
  returned: success
  type: str
why:
  description: Why HAProxy cannot be put in front of the container that holds the port. Empty when none holds it.
  returned: success
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import read_balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import front

SPEC: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "balancer": {"type": "dict", "required": True},
}


def put(module: AnsibleModule) -> dict[str, Any]:
    """Put HAProxy in front; change nothing in check mode."""
    balancer = read_balancer(module.params["balancer"])
    if module.check_mode or balancer is None:
        return {"changed": False, "container": "", "why": ""}
    found = [containers.instance(one, time.time()) for one in containers.documents(module.params["app"])]
    mine = [one for one in found if one["service"] == balancer.service]
    done = front.put(app_paths(module.params["app"]), balancer, mine, Clock())
    return {"changed": done.is_new, "container": done.before.name if done.before else "", "why": done.why}


def main() -> None:
    """Put it in front, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, put, app_module.EXPECTED)


if __name__ == "__main__":
    main()
