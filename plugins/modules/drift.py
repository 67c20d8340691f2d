#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/drift.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: Compare hosts with what the playbooks say, and correct what the policy wants corrected
version_added: 0.1.0
description:
  - Runs the roles of C(site.yml) in check mode, in a process of its own and with the inventory, the limit and the
    passwords of the play that it stands in. What they would change, and what no role speaks of, is the drift.
  - Writes a report as Markdown, JSON and a page with the history on the controller, and remembers there since when
    each drift is there.
  - Fails when there is drift. When it could not tell, it ends as for a host that cannot be reached, so
    C(ansible-playbook) ends with 0 for no drift, 2 for drift and 4 when it could not tell.
author: christmas.selfheal contributors
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Nothing is corrected or accepted. Without it, too, hosts are only changed with O(correct).
  diff_mode:
    support: none
options:
  hosts:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
  folder:
    description: Where the state, the event log and the events of the last runs are kept on the controller.
    type: path
    required: true
  reports:
    description: Where the reports are written on the controller.
    type: path
    required: true
  playbooks:
    description: Folder of the collection's playbooks.
    type: path
    required: true
  correct:
    description: Whether drift is corrected where the policy says so.
    type: bool
    default: false
  accept:
    description: Whether the hosts, as they are now, are what the next check compares with, in what no role speaks of.
    type: bool
    default: false
  by:
    description: Who asks, for the event log.
    type: str
    default: ""
seealso:
  - module: christmas.selfheal.drift_facts
"""

EXAMPLES = r"""
- name: Compare
  christmas.selfheal.drift:
    hosts: "{{ ansible_play_hosts_all }}"
    folder: "{{ playbook_dir }}/../reports/drift"
    reports: "{{ playbook_dir }}/../reports"
    playbooks: "{{ playbook_dir }}"
  run_once: true
"""

RETURN = r"""
path:
  description: The report as Markdown; beside it lies the same as JSON.
  returned: when it was checked
  type: str
"""
