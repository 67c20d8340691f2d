#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_recover
short_description: Recover an app, once, now
version_added: 1.0.0
description:
  - Reads the state, names the cause, and applies the remedies for that cause, mildest first, until the checks pass.
  - Keeps the evidence before the first remedy, and writes an incident under C(/var/lib/selfheal/<app>/incidents).
  - A healthy app is left alone. One that is not under care on the host, as after M(christmas.selfheal.app_remove), is
    refused.
  - When nothing helps, the env that was there is put back (unless containers run with the new one) and the
    module fails, saying what is left to a person.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.app
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Says which remedies would be applied.
  diff_mode:
    support: none
options:
  values:
    description:
      - Values of the env from the vault. They are validated first.
      - A bad one fails the module before anything is touched.
      - Without them, only the last good env of the host can be put back.
    type: dict
  build:
    description: Whether images are built again where the compose file builds them.
    type: bool
    default: true
  deadline:
    description:
      - Seconds to wait for the checks after remedies, altogether.
      - Each remedy gets an eighth of them, or as long as a start takes by the service's health check and last deploy.
    type: float
    default: 240
seealso:
  - module: christmas.selfheal.app_info
"""

EXAMPLES = r"""
- name: End the incident
  christmas.selfheal.app_recover:
    app: shop
    variables: "{{ app_env_variables }}"
    values: "{{ app_env_values }}"
    checks: "{{ selfheal_checks }}"
  register: recovery
"""

RETURN = r"""
healthy:
  description: Whether the checks pass now.
  returned: always
  type: bool
cause:
  description: What was wrong at first; C(healthy) when nothing was.
  returned: always
  type: str
meaning:
  description: The cause in words.
  returned: always
  type: str
evidence:
  description: The facts that show the cause.
  returned: always
  type: list
  elements: str
remedies:
  description: What was done, with result and seconds.
  returned: always
  type: list
  elements: dict
checklist:
  description: The steps env_backup, variables, containers, health, api, frontend; each with done, seconds, detail;
    the step variables also with the names of those that were wrong or were written.
  returned: always
  type: list
  elements: dict
next_step:
  description: What is left to a person; empty when the app is healthy.
  returned: always
  type: str
incident:
  description: Id and path of the incident on the host; null for a healthy app.
  returned: always
  type: dict
seconds:
  description: How long it took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import run as recovery

SPEC = {
    **app_module.APP_SPEC,
    "values": {"type": "dict", "no_log": True},
    "build": {"type": "bool", "default": True},
    "deadline": {"type": "float", "default": recovery.DEADLINE},
}


def recover(module: AnsibleModule) -> recovery.Outcome:
    """Recover the app."""
    given = module.params
    app = app_module.app_of(given)
    ansible_no_log.unmask(module, given["variables"], given["values"] or {})
    app_module.require_cared_for(app.paths)
    values = app_module.validated(app.variables, given["values"])
    steps = app_module.Steps(app.name, module.log)
    outcome = recovery.recover(app, values, given["build"], given["deadline"], module.check_mode, say=steps.say)
    if outcome["healthy"] or module.check_mode:
        return outcome
    raise ansible_no_log.Failed(
        f"{app.name} is not healthy: {outcome['cause_left']}. Next: {outcome['next_step']}", **outcome
    )


def main() -> None:
    """Recover, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, recover, app_module.EXPECTED)


if __name__ == "__main__":
    main()
