#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_restore
short_description: Restore an app, or a part of it, from a backup
version_added: 1.0.0
description:
  - Backs up what is going to be replaced, stages the backup next to the app and asks it the checks. Then it stops the
    app and swaps both. The app has to pass its gate with the restored data.
  - When it does not, or when anything else fails, the restore is rolled back, and the module fails with the reason.
    After a kill the unit C(selfheal-restore@APP) does that.
  - What was replaced stays on the host until the next restore, or for C(backup_kept_days). What could not be backed up
    stays until a person removes it, and no other restore begins before that.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  to:
    description: V(latest), the id of a backup, or a time, for the newest one before it.
    type: str
    default: latest
  what:
    description: V(app), V(env), V(volume:NAME) or V(database:NAME).
    type: str
    default: app
seealso:
  - module: christmas.selfheal.app_backup
"""

EXAMPLES = r"""
- name: Restore the database as it was before the accident
  christmas.selfheal.app_restore:
    app: shop
    to: "2026-11-25T02:00:00Z"
    what: database:shop
"""

RETURN = r"""
set:
  description: Id of the backup.
  returned: success
  type: str
what:
  description: What was restored.
  returned: success
  type: str
differences:
  description: What changes.
  returned: success
  type: list
  elements: str
safety:
  description: Id of the backup of what was replaced, empty when nothing was, or when it could not be made.
  returned: when restored
  type: str
unsaved:
  description: Whether what was replaced could not be backed up, and is kept next to the app.
  returned: when restored
  type: bool
checks:
  description: What was asked before it was put in place, each with C(about) and C(problem).
  returned: when restored
  type: list
  elements: dict
seconds:
  description: How long it took.
  returned: when restored
  type: float
gap:
  description: For how many seconds the app was stopped.
  returned: when restored
  type: float
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
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import restore
from ansible_collections.christmas.selfheal.plugins.module_utils.backup import sets as backup_sets
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config

SPEC = {
    "app": {"type": "str", "required": True},
    "to": {"type": "str", "default": "latest"},
    "what": {"type": "str", "default": "app"},
}
EXPECTED = (*app_module.EXPECTED, *restore.EXPECTED, agent_config.ConfigError)


def put_back(module: AnsibleModule) -> dict[str, Any]:
    """Restore the app, or a part of it."""
    given = module.params
    steps = app_module.Steps(given["app"], module.log)
    try:
        what = backup_sets.read_what(given["what"])
        config = backup_config.load(given["app"])
        result = restore.restore(config, given["to"], what, steps.say, Clock(), module.check_mode)
    except EXPECTED as error:
        raise ansible_no_log.Failed(error, steps=steps.done) from error
    diff = {"before": "", "after": "".join(f"{line}\n" for line in result["differences"])}
    return {**result, "diff": diff, "steps": steps.done}


def main() -> None:
    """Restore, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, put_back)


if __name__ == "__main__":
    main()
