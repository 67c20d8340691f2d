#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_facts
short_description: Read the facts of a host that no role manages
version_added: 1.0.0
description:
  - Reads the containers of the host and the release that should run, members of groups, cron, sysctl, sshd, units,
    packages, listening ports, owners and modes of files, and sessions. Changes nothing.
  - Values of an env are returned as fingerprints.
  - Returns two stamps, which stay the same as long as nothing has changed that the roles look at, on the host, and in
    the desired state on the controller. Each is a digest.
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
    description: Name of the app.
    type: str
    required: true
  directory:
    description: Directory of the app on the host. By default C(/opt/APP).
    type: path
  source:
    description: Folder of the project on the controller, returned as it is; empty when it comes from elsewhere.
    type: str
    default: ""
  exclude:
    description: What of O(source) is not copied, as patterns of rsync; returned as it is.
    type: list
    elements: str
    default: []
  policy:
    description:
      - What is done about which drift; the first entry that matches counts. Validated, and returned with its defaults.
      - Each entry has C(do) (V(report), V(correct) or V(ignore)), and C(role), C(object), C(host) or C(severity),
        patterns with C(*). V(ignore) needs C(until), a date, and C(because).
    type: list
    elements: dict
    default: []
  windows:
    description: Times for corrections by the controller's clock, such as V(Sat,Sun 02:00-05:00); always when empty.
    type: list
    elements: str
    default: []
seealso:
  - module: christmas.selfheal.drift
"""

EXAMPLES = r"""
- name: Read the facts
  christmas.selfheal.drift_facts:
    app: shop
    policy:
      - {role: log_rotation, do: correct}
      - {object: "container debug-*", do: ignore, until: "2027-01-31", because: "the load test of January"}
"""

RETURN = r"""
drift:
  description: The facts, for M(christmas.selfheal.drift).
  returned: success
  type: dict
began:
  description: When the task began, by the clock of the controller (epoch seconds).
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppError, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import host_facts as drift_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import policy as drift_policy

SPEC = {
    "app": {"type": "str", "required": True},
    "directory": {"type": "path"},
    "source": {"type": "str", "default": ""},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "policy": {"type": "list", "elements": "dict", "default": []},
    "windows": {"type": "list", "elements": "str", "default": []},
}


def read(module: AnsibleModule) -> dict[str, Any]:
    """Validate the policy and the windows, and read the facts of the host."""
    given = module.params
    policy = drift_policy.read_policy(given["policy"])
    drift_policy.read_windows(given["windows"])
    paths = app_paths(given["app"], (given["directory"] or "").rstrip("/"))
    found = drift_facts.read(paths, given["source"], given["exclude"])
    # The action, on the controller, sets the last two.
    reported: drift_facts.ReportedFacts = {
        **found,
        "policy": policy,
        "windows": given["windows"],
        "desired_stamp": "",
        "looks_at": [],
    }
    return {"changed": False, "drift": reported}


def main() -> None:
    """Read, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, read, (AppError, drift_policy.PolicyError, OSError))


if __name__ == "__main__":
    main()
