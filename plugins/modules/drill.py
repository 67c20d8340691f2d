#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/drill.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: drill
short_description: Inject faults on a host and measure the recovery from outside
version_added: 1.0.0
description:
  - Injects faults of a catalogue one after the other, sends a request to the app ten times a second from the
    controller, and judges how the host's watcher recovered it.
  - Writes a report as Markdown, as JSON and as a picture of timelines on the controller.
  - Before each fault it waits for a healthy app, and the watcher forgets earlier attempts. Afterwards a fault that the
    host has not ended is undone, and its remains are cleaned up. When the run is interrupted, the host does that by
    itself a few minutes later, or the next run does it first.
  - The app's own answers are measured. A request without an answer within two seconds has failed. Requests overlap, so
    a hanging app gets as many as any other.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    description: Shows which faults would be injected, and with which commands.
  diff_mode:
    support: none
options:
  app:
    description: Name of the app.
    type: str
    required: true
  directory:
    description: Directory of the app on the host.
    type: path
    required: true
  catalogue:
    description:
      - Folder on the controller with a file C(NAME.yml) for each fault.
      - C(title) by language, C(why) it is worth a drill, C(expect) (V(recovered), V(held), V(escalated) or
        V(given_up)), C(causes) that are a right diagnosis, C(goal) with C(median) and C(p95) in seconds.
      - C(inject), C(undo) and C(cleanup) are lists of commands, each a list of arguments. The last one of C(inject)
        is the fault, those before it prepare it. C(undo) is run when the host has not ended the fault,
        C(cleanup) always.
      - C(until) is a command that must succeed before the fault counts as recovered, C(since) one that prints the
        second from which the time counts, C(afterwards) one that must succeed at the end.
      - C(hold) is how many seconds a fault without a recovery lasts, C(timeout) how long a recovery may take, C(needs)
        what the host must have, C(where) V(host) or V(controller), C(names) what the evidence must name, C(incident)
        whether there must be one, C(fast) whether it is one of the quick ones.
      - In a command, C({app}), C({host}), C({address}), C({directory}), C({keep}) (a folder with copies of the
        app's files), C({container}), C({port}), C({image}), C({image_id}), C({pid}), C({fault_file}) and
        C({standin}) are filled in; C({compose}) alone is C(docker compose) with the app's files.
    type: path
    required: true
  faults:
    description:
      - Names of the faults; V(all) is every fault that can be injected here, V(fast) the quick ones among them.
      - V(services) is every fault of each service of the app, such as C(db.stopped) or C(worker.hung).
      - When empty, the catalogue is listed, and nothing is injected.
    type: list
    elements: str
    default: []
  rounds:
    description: How often each fault is injected.
    type: int
    default: 1
  checks:
    description: >-
      The checks, as for M(christmas.selfheal.health_probe). The first one with C(proves: health) is repeated.
    type: list
    elements: dict
    default: []
  values:
    description: Values of C(${NAME}) in that check.
    type: dict
    default: {}
  variables:
    description:
      - The table of variables, as for M(christmas.selfheal.secrets_validate). A fault of the env takes the first secret
        that the app cannot do without.
    type: list
    elements: dict
    default: []
  url:
    description: Send the requests to this URL instead.
    type: str
    default: ""
  address:
    description: Address of the host, for the report and for faults that need it.
    type: str
    default: ""
  lab:
    description: Whether this is a lab host, which needs no O(confirm).
    type: bool
    default: false
  confirm:
    description: The name of the app; needed when O(lab=false).
    type: str
    default: ""
  fault_file:
    description: File in the container from which the app reads its faults; empty when it has none.
    type: str
    default: ""
  standin:
    description: Address of the lab's stand-in for the app's dependencies; empty when there is none.
    type: str
    default: ""
  language:
    description: Language of the faults' titles.
    type: str
    choices: [en, ko]
    default: en
  reports:
    description: Folder on the controller for the report; created when it is missing.
    type: path
    required: true
seealso:
  - module: christmas.selfheal.health_probe
"""

EXAMPLES = r"""
- name: Drill a hang and the incident of 2025-05-27
  christmas.selfheal.drill:
    app: shop
    directory: /opt/shop
    catalogue: roles/drill/faults
    faults: [hang, env_placeholder]
    rounds: 5
    url: http://192.0.2.10:8000/health
    confirm: shop
    reports: reports
  register: drill_result
"""

RETURN = r"""
text:
  description: The text for the screen; the last line is the verdict.
  returned: success
  type: str
ok:
  description: Whether every goal was met, and every fault ended as expected.
  returned: success
  type: bool
report:
  description: The report, as in the JSON file; empty when nothing was injected.
  returned: success
  type: dict
path:
  description: Path of the files without C(.md), C(.json) and C(.svg); empty when nothing was injected.
  returned: success
  type: str
"""
