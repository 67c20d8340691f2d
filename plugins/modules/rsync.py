#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rsync
short_description: Copy a folder with rsync, as a sudo user with a password, too
version_added: 1.0.0
description:
  - Runs rsync on the controller over ssh, with the address, port, user, key and options of the host's own connection,
    a jump host and an IPv6 address among them. Keys of hosts are verified as for every task.
  - With C(become), rsync on the host runs under sudo. C(ansible.posix.synchronize) cannot give sudo a password;
    this can. The password is in no argument of a process, and in no file.
  - A file is different when its content is; times do not matter.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: rsync runs with C(--dry-run).
  diff_mode:
    support: full
    details: The list of rsync's C(--itemize-changes).
options:
  src:
    description:
      - The path of a folder, with a slash at its end, or of a file. A folder is mirrored, so what O(src) does not have
        is deleted from O(dest).
    type: str
    required: true
  dest:
    description: The path of the copy. The folder above it has to exist.
    type: str
    required: true
  pull:
    description: Copy from the host to the controller.
    type: bool
    default: false
  options:
    description: More options of rsync.
    type: list
    elements: str
    default: []
requirements:
  - rsync on both machines
  - sshpass on the controller, for a host with a password for ssh
"""

EXAMPLES = r"""
- name: Copy the project
  christmas.selfheal.rsync:
    src: ../shop/
    dest: /opt/shop/
    options: [--exclude=.git]
"""

RETURN = r"""
path:
  description: The path of the copy.
  returned: always
  type: str
cmd:
  description: The command that ran.
  returned: when rsync ran
  type: str
stdout_lines:
  description: What changed, as rsync's C(--itemize-changes) prints it.
  returned: when rsync ran
  type: list
  elements: str
rc:
  description: The exit code of rsync.
  returned: when it failed
  type: int
"""
