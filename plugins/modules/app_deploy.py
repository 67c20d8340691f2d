#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_deploy
short_description: Deploy the files in an app's directory, behind a gate
version_added: 1.0.0
description:
  - Deploys C(compose.yaml), C(compose.hardened.yaml) and C(.env) of the app's directory.
  - The checks are the gate. A release that passes is recorded under C(releases/) and is the last good one.
  - Services start in the order of C(depends_on). A job that fails or a service that keeps restarting fails the release.
  - A release that does not pass is rolled back, and the module fails with the reason. Where the logs say that the app
    cannot run with a hardened default, it names the inventory line that loosens it.
  - When nothing differs, nothing is built or started.
  - With O(balancer), the instances are replaced one by one, each new one next to the old until it passes the checks
    alone, and no request fails. Without it there is a gap while the containers are recreated.
  - When the play is interrupted, the release is rolled back; after a kill the next run, or the watcher, does so.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.app
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Says what differs; works on a host without an engine.
  diff_mode:
    support: full
options:
  build:
    description: Whether images are built where the compose file builds them.
    type: bool
    default: true
  pull:
    description:
      - Whether images that are not built here are pulled again. Without it, an image that is on the host is used, and
        one that is not is pulled by the digest that its name was resolved to before.
    type: bool
    default: false
  by:
    description: Who deploys, for the record of the release.
    type: str
    default: ""
  gate_timeout:
    description:
      - Seconds that a release may take from the creation of its containers until its services and jobs are ready and
        the checks pass; with a balancer, for each instance. The time that old containers take to end is not counted.
    type: float
    default: 120
  drain_timeout:
    description: Seconds that requests in flight may take to end before an instance is stopped. Behind a balancer.
    type: float
    default: 30
  watch_seconds:
    description:
      - How long the first new instance is watched while it serves, with the one that it replaces still at hand, in
        seconds. Behind a balancer.
    type: float
    default: 10
  release:
    description:
      - Deploy a release that was recorded here instead of the files in the directory, by its id, through the same gate;
        V(previous) for the newest one before the serving one that was not rolled back from.
    type: str
    default: ""
  images:
    description:
      - The images that the release has to run, service to image id; a release that runs others is rolled back. They
        have to be on the host already, and nothing is built.
    type: dict
    default: {}
  pins:
    description: The digests of O(images) in their registry, by name. An image that is lost is pulled by its digest.
    type: dict
    default: {}
  promoted_from:
    description: Where O(images) come from, C(host) and C(release), for the release's record.
    type: dict
    default: {}
seealso:
  - module: christmas.selfheal.compose_files
"""

EXAMPLES = r"""
- name: Deploy
  christmas.selfheal.app_deploy:
    app: shop
    variables: "{{ app_env_variables }}"
    checks: "{{ selfheal_checks }}"
"""

RETURN = r"""
healthy:
  description: Whether the checks pass.
  returned: success
  type: bool
release:
  description: Id of the release that serves.
  returned: success
  type: str
steps:
  description: What was done, with the seconds since the beginning. It is shown while it is done.
  returned: success
  type: list
  elements: dict
differences:
  description: In what the release differs from the one before.
  returned: success
  type: list
  elements: str
checks:
  description: The result of the checks.
  returned: success
  type: dict
msg:
  description:
    - Why the release was not deployed, what serves now, and the next step, such as lines for the inventory that loosen
      what the app cannot live with. The last lines of the log of what failed are shown before it.
  returned: failure
  type: str
"""

import select
import sys
from collections.abc import Mapping
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import rollback, rolling

PREVIOUS = "previous"
SPEC = {
    **app_module.APP_SPEC,
    "build": {"type": "bool", "default": True},
    "pull": {"type": "bool", "default": False},
    "by": {"type": "str", "default": ""},
    "gate_timeout": {"type": "float", "default": 120.0},
    "drain_timeout": {"type": "float", "default": 30.0},
    "watch_seconds": {"type": "float", "default": 10.0},
    "release": {"type": "str", "default": ""},
    "images": {"type": "dict", "default": {}},
    "pins": {"type": "dict", "default": {}},
    "promoted_from": {"type": "dict", "default": {}},
}


def alive() -> None:
    """Raise Interrupted when the output of this module is not read any more: the play was killed, or ssh is lost."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _descriptor, event in poll.poll(0)):
        raise rolling.Interrupted("the deploy was interrupted: the play was killed, or its connection was lost")


def how_of(given: Mapping[str, Any], say: Callable[[str], None]) -> deployment.How:
    """How to deploy, as the arguments say."""
    return deployment.How(
        build=given["build"] and not given["images"],
        pull=given["pull"] and not given["images"],
        by=given["by"],
        plan=rolling.Plan(given["gate_timeout"], given["drain_timeout"], given["watch_seconds"]),
        say=say,
        alive=alive,
        images=given["images"],
        pins=given["pins"],
        origin=given["promoted_from"] or None,
    )


def deploy(module: AnsibleModule) -> dict[str, Any]:
    """Deploy the files in the app's directory, or a release that was recorded."""
    given = module.params
    steps = app_module.Steps(given["app"], module.log)
    how = how_of(given, steps.say)
    app = app_module.app_of(given)
    try:
        if given["release"]:
            wanted = "" if given["release"] == PREVIOUS else given["release"]
            result = rollback.roll_back(app, wanted, how, module.check_mode)
        else:
            result = deployment.deploy(app, how, module.check_mode)
    except deployment.DeployError as error:
        found = {
            "hints": error.hints,
            "log": error.log,
            "variables": error.variables,
            "refused": error.refused,
            "checks": error.checks,
            "steps": steps.done,
        }
        raise ansible_no_log.Failed(error.message, **found) from error
    diff = {"before": "", "after": "".join(f"{line}\n" for line in result["differences"])}
    return {**result, "diff": diff, "steps": steps.done}


def main() -> None:
    """Deploy, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, deploy, app_module.EXPECTED)


if __name__ == "__main__":
    main()
