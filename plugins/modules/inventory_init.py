#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# The documentation of an action: what runs is plugins/action/inventory_init.py, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_init
short_description: Write an inventory for a compose project
version_added: 1.0.0
description:
  - Reads the compose files of a project, the files that they include or extend, C(.env) and other env files. Writes
    an inventory for it - host, app, services, checks, variables with their kinds, secrets in a vault.
  - A kind is guessed from the name and the value of a variable, and is taken only when the rules of that kind accept
    the value. Each row has a comment with the reason.
  - Secrets are encrypted in memory. The password is that of the run's vault identity, else a new one in the file
    C(.vault-password) of the inventory.
  - A placeholder is named, and the vault gets an empty value instead. So is a variable that has no value, and a value
    that a deploy would refuse.
  - A file that exists is left as it is. To files of an earlier run, new variables, services and checks are added;
    nothing in them is changed. A folder that is new appears whole, or not at all.
  - Runs on the controller, and connects to no host. Docker is not needed. A Compose on the controller validates the
    files.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the vault it shows the names, and never a value.
options:
  source:
    description:
      - A compose file, the compose files in the order in which they are merged, or the folder with the compose file.
      - Relative paths start from the folder in which C(ansible-playbook) was started.
    type: list
    elements: str
    required: true
  to:
    description: Folder of the inventory. The default is V(deploy) next to the first compose file.
    type: str
    default: ""
  host:
    description:
      - Address of the server, or C(USER@ADDRESS). Another user than root becomes root with sudo.
      - Without it, the inventory gets an example address, which every playbook refuses.
    type: str
    default: ""
  app:
    description:
      - Name of the app. The default is the name that Compose gives the project, so that an app that runs already keeps
        its volumes.
    type: str
    default: ""
  ask:
    description:
      - Ask on the terminal for the host, for values that are missing or placeholders, and for each check.
      - Secrets are not shown while they are typed. Without a terminal, the defaults are taken.
    type: bool
    default: false
seealso:
  - module: christmas.selfheal.secrets_validate
  - module: christmas.selfheal.inventory_check
"""

EXAMPLES = r"""
- name: Write the inventory next to the compose file
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Write the inventory
      christmas.selfheal.inventory_init:
        source: [/srv/shop/compose.yaml]
        host: deploy@10.0.0.5
"""

RETURN = r"""
folder:
  description: Folder of the inventory.
  returned: success
  type: str
  sample: /srv/shop/deploy
files:
  description: The files that were written or, in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [hosts.yml, group_vars/all/variables.yml]
missing:
  description: Names of variables whose value is missing, is a placeholder, or would be refused by a deploy.
  returned: success
  type: list
  elements: str
  sample: [STRIPE_KEY]
text:
  description: The report, which the run shows, too. It has no value of a secret.
  returned: success
  type: str
"""
