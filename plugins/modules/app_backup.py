#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_backup
short_description: Back an app up, or verify its newest backup by restoring it
version_added: 1.0.0
description:
  - Reads the settings that the role C(backup) wrote to C(/etc/selfheal/backup/<app>.json).
  - A backup is complete, or it does not count. What a killed one has left is removed by the next.
  - A backup is verified by restoring it next to the app, into databases without a port, and asking it the checks. Then
    all of that is removed. The app is not touched.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Says whether the repository can be opened, and makes no backup.
  diff_mode:
    support: none
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  state:
    description: V(made) makes a backup, V(verified) verifies the newest one.
    type: str
    choices: [made, verified]
    default: made
seealso:
  - module: christmas.selfheal.app_restore
"""

EXAMPLES = r"""
- name: Back up
  christmas.selfheal.app_backup:
    app: shop

- name: Verify it
  christmas.selfheal.app_backup:
    app: shop
    state: verified
"""

RETURN = r"""
set:
  description: Id of the backup.
  returned: success
  type: str
seconds:
  description: How long it took.
  returned: success
  type: float
bytes:
  description: What it holds.
  returned: when made
  type: int
added:
  description: What it added to the repository.
  returned: when made
  type: int
forgotten:
  description: Ids of the backups that the policy does not keep any more.
  returned: when made
  type: list
  elements: str
not_in_it:
  description: What is in no backup.
  returned: when made
  type: list
  elements: str
checks:
  description: What was asked, each with C(about) and C(problem).
  returned: when verified
  type: list
  elements: dict
contents:
  description: What was verified, and how, a line for each thing.
  returned: when verified
  type: list
  elements: str
steps:
  description: What was done, with the seconds since the beginning.
  returned: always
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import config as backup_config
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import create as backup_create
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import restore
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import verify as backup_verify
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config

SPEC = {
    "app": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["made", "verified"], "default": "made"},
}
EXPECTED = (*app_module.EXPECTED, *restore.EXPECTED, agent_config.ConfigError)


def back_up(module: AnsibleModule) -> dict[str, Any]:
    """Back up or verify; in check mode, look for the newest backup."""
    name, state = module.params["app"], module.params["state"]
    steps = app_module.Steps(name, module.log)
    try:
        config = backup_config.load(name)
        if module.check_mode:
            found = [one.id for one in backup_create.list_sets(config)]
            return {"changed": state == "made", "set": (found or [""])[-1], "seconds": 0.0, "steps": []}
        if state == "verified":
            return {**backup_verify.verify(config, steps.say, Clock()), "steps": steps.done}
        return {**backup_create.back_up(config, "hand", steps.say, Clock()), "steps": steps.done}
    except EXPECTED as error:
        raise ansible_no_log.Failed(error, steps=steps.done) from error


def main() -> None:
    """Back up or verify, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, back_up)


if __name__ == "__main__":
    main()
