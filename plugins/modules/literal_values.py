#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: literal_values
short_description: Refuse values that Ansible would read as a template
version_added: 1.0.0
description:
  - A secret may hold C({{), C({%) or C({#) by chance. Ansible then reads it as a template, so that the app gets another
    value than the vault holds, or the run ends with an error that shows a part of it.
  - Looks at the values as they are written, on the controller, before anything is templated, and names each variable
    that needs C(!unsafe). A template that names another variable, a lookup or a default is one on purpose.
  - Its result holds no value.
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
  names:
    description: Names of variables that are mappings of values, such as V(app_env_values).
    type: list
    elements: str
    required: true
seealso:
  - module: christmas.selfheal.secrets_validate
"""

EXAMPLES = r"""
- name: Refuse values that Ansible would read as a template
  christmas.selfheal.literal_values:
    names: [app_env_values, app_env_plain]
"""

RETURN = r"""
msg:
  description: One line for each variable that needs C(!unsafe).
  returned: failure
  type: str
"""
