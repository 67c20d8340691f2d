#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/recovery_report.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_report
short_description: Write the report of a recovery on the controller
version_added: 1.0.0
description:
  - Puts the incident report's seven-line checklist together, with the time that each step took, and writes it as
    Markdown and as JSON on the controller.
  - Runs on the controller and needs no connection, so that a host that cannot be reached has a report too.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Builds the report and writes no file.
  diff_mode:
    support: none
options:
  app:
    description: Name of the app.
    type: str
    required: true
  address:
    description: Address of the host, for the reader.
    type: str
    default: ""
  language:
    description: Language of the checklist.
    type: str
    choices: [en, ko]
    default: en
  directory:
    description: Folder on the controller for the files; it is made when it is missing.
    type: path
    required: true
  clock:
    description: Seconds since the epoch when the run V(started), V(reached) the host and had V(proved) the secrets.
    type: dict
    required: true
  ssh:
    description: V(problem) is why the host was not reached, V(detail) what was seen, V(next_step) what to do about it.
    type: dict
    required: true
  findings:
    description: What is wrong with the values from the vault, as M(christmas.selfheal.secrets_validate) returns it.
    type: list
    elements: dict
    default: []
  recovery:
    description: What M(christmas.selfheal.app_recover) returned.
    type: dict
    default: {}
  problem:
    description: Why there is no outcome.
    type: str
    default: ""
seealso:
  - module: christmas.selfheal.app_recover
"""

EXAMPLES = r"""
- name: Write the report
  christmas.selfheal.recovery_report:
    app: shop
    directory: reports
    clock: {started: 1748311200.0, reached: 1748311200.2, proved: 1748311200.7}
    ssh: {problem: "", detail: Python 3.13.5, next_step: ""}
    recovery: "{{ compose_app_recovery }}"
  register: written
"""

RETURN = r"""
report:
  description: The report, as in the JSON file.
  returned: success
  type: dict
text:
  description: The checklist for the screen.
  returned: success
  type: str
path:
  description: Path of the files without C(.md) and C(.json); empty in check mode.
  returned: success
  type: str
"""
