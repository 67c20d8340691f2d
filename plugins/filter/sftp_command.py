# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ssh command of restic."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import restic_files

DOCUMENTATION = r"""
name: sftp_command
short_description: The ssh command of restic
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns what restic runs to reach a repository over ssh.
options:
  _input:
    description: The repository.
    type: str
    required: true
  key:
    description: The private key, or empty.
    type: str
    required: true
  key_file:
    description: File of the key.
    type: str
    required: true
  hosts_file:
    description: File of the known hosts.
    type: str
    required: true
"""

EXAMPLES = r"""
command: "{{ 'sftp:backup@store:/srv/shop' | christmas.selfheal.sftp_command(key, '/etc/key', '/etc/known_hosts') }}"
"""

RETURN = r"""
_value:
  description: The command, empty when restic needs none.
  type: str
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"sftp_command": restic_files.sftp_command}
