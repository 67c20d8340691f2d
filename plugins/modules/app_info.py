#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_info
short_description: Read the state of an app
version_added: 1.0.0
description:
  - Reads what is needed to judge an app, and runs its checks once. Changes nothing.
  - A sick app, or a host without Docker, is an answer, not a failure.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.app
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  published:
    description:
      - Ports that the next deploy publishes, each with C(service) and C(port). They are among C(ports) of the result,
        unless a container of the app holds them.
    type: list
    elements: dict
    default: []
seealso:
  - module: christmas.selfheal.app_recover
"""

EXAMPLES = r"""
- name: Read the state of the app
  christmas.selfheal.app_info:
    app: shop
    variables: "{{ app_env_variables }}"
    checks: "{{ selfheal_checks }}"
  register: state
"""

RETURN = r"""
app_info:
  description: The state of the app.
  returned: success
  type: dict
  contains:
    app:
      description: Name of the app.
      type: str
    not_cared_for:
      description: Why no one takes care of the app on this host (it was never deployed there, or removed); else empty.
      type: str
    healthy:
      description: Whether every check passes and the env is sound.
      type: bool
    cause:
      description: What diagnosis says is wrong; empty when nothing is.
      type: str
    summary:
      description: The facts that show it, or what the checks said.
      type: str
    instances:
      description:
        - The containers with state, health, restarts, image, digest.
        - Also the limits in force (cores, bytes, count).
      type: list
      elements: dict
    ports:
      description: The ports that the app publishes and does not hold now, each with those that do.
      type: list
      elements: dict
    release:
      description: Id of the last good release; empty without one.
      type: str
    releases:
      description: The releases that are recorded, oldest first, each with C(id), C(time) and C(images).
      type: list
      elements: dict
    care:
      description: Lines on the watcher, its circuit breaker, a pause, and problems; empty for an app without one.
      type: list
      elements: str
    rolls_back_to:
      description: Id of the release that christmas.selfheal.rollback would deploy; empty without one.
      type: str
    promoted_from:
      description: Where the last good release was promoted from, C(host) and C(release); empty when it was not.
      type: dict
    env_fingerprint:
      description: Short SHA-256 of the C(.env) in force.
      type: str
    env_findings:
      description: What is wrong with the env in force, without any value.
      type: list
      elements: dict
    last_incident:
      description: Id, cause, outcome and seconds of the newest incident.
      type: dict
    checks:
      description: The result of the checks.
      type: dict
    backup:
      description:
        - Seconds since the last backup was C(made), and since one was verified by restoring it (C(proved)).
        - C(problems) says what is wrong.
        - Empty for an app that is not backed up.
      type: dict
    disk:
      description: How full the file systems that matter are.
      type: list
      elements: dict
    memory:
      description: Total and available memory of the host in bytes.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module, status
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.network import Port
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import status as app_status

SPEC = {**app_module.APP_SPEC, "published": {"type": "list", "elements": "dict", "default": []}}


def inform(module: AnsibleModule) -> dict[str, object]:
    """Read the state."""
    app = app_module.app_of(module.params)
    published: list[Port] = module.params["published"]
    found = {
        **app_status.inform(app, published=published),
        "not_cared_for": app_module.not_cared_for(app.paths),
        "care": status.care(app.name, app.paths.root, Clock()),
    }
    return {"changed": False, "app_info": found}


def main() -> None:
    """Read the state, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, inform, app_module.EXPECTED)


if __name__ == "__main__":
    main()
