#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_facts
short_description: Read which Docker a host has, and how it is configured
version_added: 0.2.0
description:
  - Reads the engine, the Compose plugin, C(docker.service) and the engine's configuration in one run. Changes nothing.
  - Does not fail where there is no Docker. What cannot be read is empty.
author: christmas.selfheal contributors
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing anyway.
  diff_mode:
    support: none
options:
  path:
    description: The engine's configuration.
    type: path
    default: /etc/docker/daemon.json
"""

EXAMPLES = r"""
- name: Read which Docker there is
  christmas.selfheal.docker_facts:
  register: docker
"""

RETURN = r"""
version:
  description: Version of the engine that answers.
  returned: success
  type: str
compose_version:
  description: Version of the Compose plugin, its numbers alone.
  returned: success
  type: str
root:
  description: Folder of the engine's data.
  returned: success
  type: str
in_swarm:
  description: Whether the engine is part of a Swarm.
  returned: success
  type: bool
foreign:
  description: Who runs the engine when C(docker.service) does not, V(snap) or V(another); else empty.
  returned: success
  type: str
has_unit:
  description: Whether C(docker.service) exists. True without systemd.
  returned: success
  type: bool
runs_at_boot:
  description: Whether C(docker.service) is enabled, and runs.
  returned: success
  type: bool
configuration:
  description:
    - The engine's configuration, empty when there is no file; null when it is not a JSON object or cannot be read.
  returned: success
  type: dict
configuration_text:
  description: The text of the configuration.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.host import docker_packages


def main() -> None:
    """Read, exit."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": docker_packages.CONFIGURATION_FILE}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **docker_packages.read(module.params["path"])._asdict())


if __name__ == "__main__":
    main()
