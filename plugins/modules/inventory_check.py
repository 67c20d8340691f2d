#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/inventory_check.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Refuse a run that selects no host, or a host whose address is not one's own
version_added: 1.0.0
description:
  - Judges the hosts of a run before it connects to any. Every playbook of this collection begins with it.
  - Without it a play that matches no host ends with 0, as if all was well. The message names the groups that exist.
  - Refuses extra variables of the command line that begin like options of this collection and are not known. Ansible
    ignores them, so a typing error would turn a dry run into a real one.
  - Refuses addresses and names for documentation (RFC 5737, RFC 3849, RFC 2606), which an inventory holds that was not
    edited. Refuses the address that the variable C(selfheal_example_address) of a host names, too.
  - Warns of files of the inventory that hold secrets and are not encrypted, without any value.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  pattern:
    description: The hosts, as C(hosts) of a play takes them. Of these, C(--limit) leaves those of the run.
    type: str
    required: true
  variable:
    description: Name of the variable that sets the pattern on the command line, for the message.
    type: str
    default: ""
  unreachable:
    description:
      - Whether a refusal counts as a host that cannot be reached. C(ansible-playbook) ends with 4 then, and not with 2.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check which hosts this run is for
  hosts: all:localhost
  gather_facts: false
  tasks:
    - name: Refuse an empty selection and addresses of examples
      christmas.selfheal.inventory_check:
        pattern: web
      run_once: true
"""

RETURN = r"""
hosts:
  description: The hosts of this run that match the pattern.
  returned: success
  type: list
  elements: str
"""
