#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: package_check
short_description: Check that the host has the packages that a role needs, or can get them
version_added: 1.0.0
description:
  - Fails with a line for each package that is too old, or that the distribution does not have. Changes nothing.
  - A program that is on the host counts, however it was installed. Where it is missing, the version counts that
    C(apt-get install) would install. When the package lists are empty, the known versions of the release count; a
    release of which none are known passes.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing anyway.
  diff_mode:
    support: none
options:
  packages:
    description: What is needed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the package.
        type: str
        required: true
      minimum:
        description: The oldest version that suffices. Empty means any.
        type: str
        default: ""
      option:
        description: The variable that asks for the package, and what of it.
        type: str
        required: true
      otherwise:
        description: How to do without the package.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Check that restic is new enough, or can be installed
  christmas.selfheal.package_check:
    packages:
      - name: restic
        minimum: "0.17"
        option: backup_repository
        otherwise: leave backup_repository empty
"""

RETURN = r"""
not_offered:
  description: Names of the packages that are not installed, and that the distribution has as a part of another one.
  returned: success
  type: list
  elements: str
msg:
  description: A line for each package that is missing or too old, with the fix.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.host import packages

PACKAGE = {
    "name": {"type": "str", "required": True},
    "minimum": {"type": "str", "default": ""},
    "option": {"type": "str", "required": True},
    "otherwise": {"type": "str", "required": True},
}
SPEC = {"packages": {"type": "list", "elements": "dict", "required": True, "options": PACKAGE}}


def main() -> None:
    """Read, compare, exit."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    checked = packages.check(packages.Need(**one) for one in module.params["packages"])
    if checked.problems:
        module.fail_json(msg="\n".join(checked.problems))
    module.exit_json(changed=False, not_offered=checked.not_offered)


if __name__ == "__main__":
    main()
