#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Show a text line by line
version_added: 1.0.0
description:
  - Prints a text as it is, under every stdout callback. M(ansible.builtin.debug) leaves that to the callback, and most
    print a table as one line of JSON.
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
  text:
    description: The text.
    type: str
    required: true
seealso:
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Show the state of the app
  christmas.selfheal.show:
    text: "{{ state | christmas.selfheal.status_message(inventory_hostname, ansible_host) }}"
"""

RETURN = r"""
msg:
  description: The lines of the text.
  returned: always
  type: list
  elements: str
"""
