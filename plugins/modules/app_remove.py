#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_remove
short_description: Take an app out of the care of this collection
version_added: 1.0.0
description:
  - Has the app run from its own compose files, without the overlay, or stops it. Then removes what the roles put on the
    host for it; what all apps share goes with the last one. Volumes always stay.
  - When the app does not run from its own files, it is brought back as it was, and nothing is removed.
  - An app that was adopted runs from its old folder again, and its copy is removed, while both are the same project.
  - It fails for an app that is not healthy, which would stay so without its watcher.
  - A run that was killed leaves the app running; the next one goes on. It waits up to 60 s for a deploy or a recovery.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.app
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Needs no O(confirm).
  diff_mode:
    support: full
options:
  host:
    description: The host's name in the inventory.
    type: str
    required: true
  files:
    description: The app's compose files, relative to O(directory). Used where the overlay, which names them, is gone.
    type: list
    elements: str
    default: []
  confirm:
    description: The name of the app, by the person who asks for it. Another name, or none, fails the module.
    type: str
    default: ""
  stop:
    description: Stop the app. Its containers and networks are removed, its volumes stay.
    type: bool
    default: false
seealso:
  - module: christmas.selfheal.app_info
"""

EXAMPLES = r"""
- name: Let the app run on without this collection
  christmas.selfheal.app_remove:
    app: shop
    host: "{{ inventory_hostname }}"
    checks: "{{ selfheal_checks }}"
    confirm: "{{ remove_confirm }}"
"""

RETURN = r"""
text:
  description: What was removed, from which files the app runs, and what remains on the host, for a person.
  returned: success
  type: str
replaced:
  description: Whether containers were replaced, or stopped.
  returned: success
  type: bool
gap:
  description: For how many seconds, altogether, a check was not answered meanwhile; null when none could be asked.
  returned: success
  type: float
runs_from:
  description: The command that starts the app from now on; empty when it is stopped.
  returned: success
  type: str
notes:
  description: What is different from now on.
  returned: success
  type: list
  elements: str
units:
  description: Units of systemd that were stopped and disabled.
  returned: success
  type: list
  elements: str
files:
  description: Paths that were removed.
  returned: success
  type: list
  elements: str
images:
  description: Names of images that were removed. An image that has another name stays.
  returned: success
  type: list
  elements: str
remains:
  description: What stays on the host; C(what) and C(detail).
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.removal import report, run, switch

SPEC = {
    **app_module.APP_SPEC,
    "host": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "str", "default": []},
    "confirm": {"type": "str", "default": ""},
    "stop": {"type": "bool", "default": False},
}


def remove(module: AnsibleModule) -> dict[str, Any]:
    """Remove the app."""
    given = module.params
    options = run.Options(app_module.app_of(given), given["host"], given["files"], given["confirm"], given["stop"])
    steps = app_module.Steps(options.app.name, module.log)
    try:
        done = run.remove(options, module.check_mode, Clock(), steps.say)
    except (run.RemovalError, switch.SwitchError) as error:
        raise ansible_no_log.Failed(error) from error
    diff = {"before": report.present(done), "after": ""}
    text = report.text(options.app.name, done, module.check_mode, module._diff)
    return {**done, "text": text, "diff": diff}


def main() -> None:
    """Remove, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, remove, app_module.EXPECTED)


if __name__ == "__main__":
    main()
