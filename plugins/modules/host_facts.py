#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Read what a host has before the roles install anything
version_added: 1.0.0
description:
  - Reads in one run the engine, the Compose plugin, C(docker.service), the engine's configuration, and which of the
    packages that the roles need are missing. Changes nothing.
  - Does not fail where there is no Docker. What cannot be read is empty.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing anyway.
  diff_mode:
    support: none
options: {}
"""

EXAMPLES = r"""
- name: Read the facts of the host
  christmas.selfheal.host_facts:
  when: ansible_facts['selfheal_host'] is not defined

- name: Install HAProxy
  ansible.builtin.apt:
    name: haproxy
  when: "'haproxy' in ansible_facts['selfheal_host'].missing_packages"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: success
  type: dict
  contains:
    selfheal_host:
      description: What the host has.
      type: dict
      contains:
        engine:
          description: Docker.
          type: dict
          contains:
            version:
              description: Version of the engine that answers.
              type: str
            compose_version:
              description: Version of the Compose plugin, its numbers alone.
              type: str
            root:
              description: Folder of the engine's data.
              type: str
            in_swarm:
              description: Whether the engine is part of a Swarm.
              type: bool
            foreign:
              description: Who runs the engine when C(docker.service) does not, V(snap) or V(another); else empty.
              type: str
            has_unit:
              description: Whether C(docker.service) exists. True without systemd.
              type: bool
            runs_at_boot:
              description: Whether C(docker.service) is enabled, and runs.
              type: bool
            configuration:
              description:
                - The engine's configuration, empty when there is no file.
                - Null when it is not a JSON object or cannot be read.
              type: dict
            configuration_text:
              description: The text of the configuration.
              type: str
        missing_packages:
          description: Debian packages that roles of this collection install, and whose program does not exist here.
          type: list
          elements: str
        has_command:
          description: Whether the command C(selfheal) of the role watcher is installed.
          type: bool
        copied_projects:
          description: Names of the apps whose project was copied to this host.
          type: list
          elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.host import docker_packages


def main() -> None:
    """Read, exit."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    facts = docker_packages.read_host()
    shown = {**facts._asdict(), "engine": facts.engine._asdict()}
    module.exit_json(changed=False, ansible_facts={"selfheal_host": shown})


if __name__ == "__main__":
    main()
