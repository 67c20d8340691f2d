#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/role_options.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: role_options
short_description: Validate the options of a role, before any host is touched
version_added: 1.0.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Validates what an argument specification cannot, such as ports that are used twice, ranges, and options that need
    each other. The roles of this collection run it in their preflight.
  - Runs on the controller, and starts nothing on the host. It reads the role's variables itself, so that no secret is
    an argument. No error holds the value of a password.
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing anyway.
  diff_mode:
    support: none
options:
  role:
    description: The role whose options are validated. The task belongs to that role, which has the variables.
    type: str
    choices: [alerting, backup, compose_app, load_balancer, monitoring, slo, status_page]
    required: true
seealso:
  - module: christmas.selfheal.secrets_validate
"""

EXAMPLES = r"""
# In the tasks of the role.
- name: Validate the receivers
  christmas.selfheal.role_options:
    role: alerting
"""

RETURN = r"""
msg:
  description: The errors, a line each. A line names the option, what is wrong with it, and the fix.
  returned: failure
  type: str
"""
