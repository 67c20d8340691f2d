#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/drift.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: Compare hosts with their desired state, and correct drift by a policy
version_added: 1.0.0
description:
  - Runs the roles of C(site.yml) in check mode, in a process of its own, with the inventory, the limit and the
    password files of the current play. Drift is what they would change. What no role manages is compared with the
    baseline of the host.
  - Writes a report as Markdown, JSON and a page with the history on the controller. It remembers there when each drift
    was first seen.
  - The roles do not run for a host that has not changed since they last found nothing there, see O(whole).
  - Fails when there is drift. When a host could not be compared, it ends as for an unreachable host. So
    C(ansible-playbook) ends with 0 for no drift, 2 for drift and 4 for unknown.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Nothing is corrected or accepted. Without check mode, hosts are changed with O(correct) only.
  diff_mode:
    support: none
options:
  hosts:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
  folder:
    description: Folder on the controller for the state, the event log and the events of the last runs.
    type: path
    required: true
  reports:
    description: Folder on the controller for the reports.
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
    description: Whether the hosts are accepted as they are now; this is their new baseline.
    type: bool
    default: false
  whole:
    description:
      - Whether the roles compare every host. Otherwise they do not run for a host on which they found nothing less than
        24 hours ago, when nothing has changed since, there or in the desired state. Its facts are always compared.
      - Use it after a change that the check cannot see, such as a value in HashiCorp Vault.
    type: bool
    default: false
  by:
    description: Name of the person or service that asked, for the event log.
    type: str
    default: ""
  registered:
    description:
      - Name of the variable in which a task of the play has registered M(christmas.selfheal.drift_facts) for each host.
        That saves a run of its own. The task has to ignore errors and unreachable hosts.
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
  description: Path of the report as Markdown. The same name with C(.json) is the report as JSON.
  returned: when hosts were compared
  type: str
"""
