#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write several small configuration files in one go
version_added: 1.0.0
description:
  - Writes configuration files, and the directories they are in, in one module run. With M(ansible.builtin.file) and
    M(ansible.builtin.template) each file takes three.
  - All files that change are validated before the first one is written. Each is replaced atomically.
  - Records the files, as fingerprints, in C(/var/lib/selfheal/desired_files.json). The watcher reports one that is
    changed by hand.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: A validator that is not installed yet is skipped.
  diff_mode:
    support: full
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The text of the file.
        type: str
      mode:
        description: Permissions, as an octal number in quotes.
        type: str
        default: "0644"
      state:
        description: V(absent) deletes the file.
        type: str
        choices: [present, absent]
        default: present
      validate:
        description: Command that validates the file, as a list of words; C(%s) is the path of a copy of it.
        type: list
        elements: str
seealso:
  - module: ansible.builtin.template
"""

EXAMPLES = r"""
- name: Limit the journal, rotate logs
  christmas.selfheal.host_files:
    files:
      - path: /etc/systemd/journald.conf.d/limits.conf
        content: |
          [Journal]
          SystemMaxUse=500M
      - path: /etc/logrotate.d/shop
        content: "{{ lookup('ansible.builtin.template', 'logrotate.j2') }}"
        validate: [logrotate, --debug, "%s"]
"""

RETURN = r"""
files:
  description: Paths of the files that changed.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import config_files

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "validate": {"type": "list", "elements": "str"},
}
SPEC = {"files": {"type": "list", "elements": "dict", "required": True, "options": FILE}}
VALIDATOR_SECONDS = 30.0


def run(command: Sequence[str]) -> tuple[int, str]:
    """Run a validator."""
    result = commands.run(command, VALIDATOR_SECONDS)
    if result.code == 127:
        raise FileNotFoundError(command[0])
    return result.code, result.err or result.out


def bring(module: AnsibleModule) -> dict[str, Any]:
    """Compare, validate, write."""
    wanted = module.params["files"]
    validators = {item["path"]: item["validate"] for item in wanted if item["validate"]}
    try:
        changes = config_files.plan(wanted)
        validate(changes, validators, module.check_mode)
        if not module.check_mode:
            config_files.apply(changes, wanted)
    except config_files.HostFilesError as error:
        raise ansible_no_log.Failed(error) from error
    # What a file held before may be a secret, and a task that says so has no diff.
    shown = {"diff": [change.diff() for change in changes]} if module._diff else {}
    return {"changed": bool(changes), "files": [change.path for change in changes], **shown}


def validate(changes: list[config_files.Change], validators: dict[str, list[str]], check: bool) -> None:
    """Validate what would be written; in check mode, a validator need not be installed yet."""
    try:
        config_files.validate(changes, validators, run)
    except config_files.HostFilesError as error:
        if not (error.missing and check):
            raise


def main() -> None:
    """Compare, validate, write, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, bring, (OSError, LockHeld))


if __name__ == "__main__":
    main()
