#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_deploy
short_description: Deploy the files in an app's directory, behind a gate
version_added: 0.1.0
description:
  - Makes what runs equal to C(compose.yaml), C(compose.hardened.yaml) and C(.env) in the app's directory.
  - The checks are the gate. A release that passes is recorded under C(releases/) and is the last good one.
  - A release that does not pass is taken back, and the module fails with the reason, and with the inventory line that
    loosens a hardened default which the app cannot live with, where its logs say so.
  - When nothing differs, nothing is built or started.
author: christmas.selfheal contributors
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
  gate_timeout:
    description: Seconds that the checks may take to pass once the containers run.
    type: float
    default: 120
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
differences:
  description: In what the release differs from the one before.
  returned: success
  type: list
  elements: str
checks:
  description: The result of the checks.
  returned: always
  type: dict
hints:
  description: Lines for the inventory that would loosen what the app cannot live with.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils import ansible_door, app_door, deployment


def main() -> None:
    """Deploy, exit."""
    module = AnsibleModule(
        argument_spec={
            **app_door.APP_SPEC,
            "build": {"type": "bool", "default": True},
            "gate_timeout": {"type": "float", "default": 120.0},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        app = app_door.app_of(given)
        result = deployment.deploy(app, given["build"], given["gate_timeout"], module.check_mode)
    except deployment.DeployError as error:
        message = "\n".join([str(error), *error.hints])
        module.fail_json(msg=message, hints=error.hints, checks=error.checks)
    except app_door.EXPECTED as error:
        ansible_door.fail(module, error)
    diff = {"before": "", "after": "".join(f"{line}\n" for line in result["differences"])}
    module.exit_json(**result, diff=diff)


if __name__ == "__main__":
    main()
