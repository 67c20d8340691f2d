#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: env_file
short_description: Write an app's env from validated values, and keep the one before
version_added: 1.0.0
description:
  - Validates the values as M(christmas.selfheal.secrets_validate) does, keeps the file that is in force, and replaces
    it atomically with mode 0600. When a value does not pass, or the disk is full, the old file stays as it was.
  - Any value survives, whatever its characters, as long as Compose reads the file.
  - Older versions, and the one in force, are kept in C(/var/lib/selfheal/<app>/env), with their fingerprints and times,
    in a directory that only root can read. A file that somebody else put there is kept, too.
  - A file that is byte-identical is not written again; a mode or owner that differs is corrected.
  - Neither its result nor its diff holds a value, only names and short SHA-256 fingerprints.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: Validates everything and says what would be written.
  diff_mode:
    support: full
    details: Names and fingerprints for an env, the text for an example.
options:
  path:
    description: The file.
    type: path
    required: true
  app:
    description:
      - Name of the app; it says where the history is, and whose lock is held.
    type: str
    required: true
  state:
    description:
      - V(present) writes O(values), and the defaults of the table.
      - V(restored) puts the newest version back, byte for byte, that an app was healthy with and that differs from the
        file in force. When O(variables) is given, versions that would not pass today are passed over.
    type: str
    choices: [present, restored]
    default: present
  example:
    description:
      - Where to write an example, such as C(/opt/shop/.env.example), with mode 0644 - every name of
        O(variables) without its value, and a line on what it is and where it comes from.
      - Written after the env, and only with O(state=present).
    type: path
  variables:
    description: The table of variables, as for M(christmas.selfheal.secrets_validate).
    type: list
    elements: dict
    default: []
  values:
    description: The values by name. Names that the table does not list are not written.
    type: dict
  owner:
    description: User that owns the file, by name or number. Not given, it stays as it is, or is who runs this.
    type: str
  group:
    description: Group of the file, by name or number.
    type: str
  directory_mode:
    description:
      - Permissions of the directory that O(path) is in, as an octal number in quotes. When given, the directory is made
        when it is not there, and corrected when its mode, owner or group differs.
      - Not given, or with O(state=restored), the directory has to be there.
    type: str
  keep:
    description: How many versions are kept, besides the last good ones.
    type: int
    default: 10
  online:
    description: Whether to ask Supabase, too, whether it accepts the keys, before anything is written.
    type: bool
    default: false
  timeout:
    description: Seconds that one such question may take.
    type: float
    default: 5
seealso:
  - module: christmas.selfheal.secrets_validate
"""

EXAMPLES = r"""
- name: Write the env
  christmas.selfheal.env_file:
    path: /opt/shop/.env
    app: shop
    variables: "{{ app_env_variables }}"
    values: "{{ app_env_values }}"
    owner: root
    group: root
    directory_mode: "0755"
    example: /opt/shop/.env.example

- name: Put the last good env back
  christmas.selfheal.env_file:
    path: /opt/shop/.env
    app: shop
    state: restored
"""

RETURN = r"""
version:
  description: Id of the version that is in force now.
  returned: success
  type: str
  sample: 20250527T020000Z-1a2b3c4d5e6f
backup:
  description: Id of the version that holds what was in force before; null when the content did not change.
  returned: success
  type: str
fingerprint:
  description: Short SHA-256 of the file.
  returned: success
  type: str
  sample: "sha256:1a2b3c4d5e6f"
fingerprints:
  description: Name and short SHA-256 of each value.
  returned: success
  type: dict
why:
  description:
    - What of the env differed - C(content), C(mode), C(owner), C(group).
    - Of its directory, C(directory state) when it was not there, C(directory mode), C(directory owner),
      C(directory group).
  returned: success
  type: list
  elements: str
findings:
  description: What is wrong with the values; as M(christmas.selfheal.secrets_validate) returns it.
  returned: when a value does not pass
  type: list
  elements: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, env_module
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history

SPEC = {
    "path": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
    "example": {"type": "path"},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "values": {"type": "dict", "no_log": True},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "directory_mode": {"type": "str"},
    "keep": {"type": "int", "default": 10},
    "online": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 5.0},
}


def put(module: AnsibleModule) -> env_module.Written:
    """Put the file in place."""
    given = module.params
    ansible_no_log.unmask(module, given["variables"], given["values"] or {})
    try:
        return env_module.put(given, module.check_mode, time.time)
    except env_history.InvalidValues as error:
        raise ansible_no_log.Failed(error, findings=error.findings) from error


def main() -> None:
    """Put the file in place, exit."""
    required_if = [("state", "present", ("variables", "values"))]
    ansible_no_log.run(AnsibleModule, SPEC, put, env_module.EXPECTED, required_if=required_if)


if __name__ == "__main__":
    main()
