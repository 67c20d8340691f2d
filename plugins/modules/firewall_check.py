#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_check
short_description: Warn of a firewall that keeps clients from a port
version_added: 1.0.0
description:
  - Reads the rules of iptables and nftables on the host, and warns of each port that they refuse, as ufw does.
    Clients reach a port that a container publishes past these rules, but not one on which a program of the host
    listens.
  - Rules that accept some addresses only look like a refusal, so this does not fail. Rules of a provider outside the
    host are not seen. Changes nothing.
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
  ports:
    description: TCP ports.
    type: list
    elements: int
    required: true
"""

EXAMPLES = r"""
- name: Check that clients reach HAProxy
  christmas.selfheal.firewall_check:
    ports: [80, 443]
"""

RETURN = r"""
closed:
  description: The ports that are refused.
  returned: success
  type: list
  elements: int
"""

import shutil

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.host import firewall


def warning(port: int, rule: str) -> str:
    """The warning of a port that is closed, with the way to open it."""
    fix = f"ufw allow {port}/tcp" if "ufw" in rule or shutil.which("ufw") else f"allow TCP port {port} there"
    return (
        f"the firewall of this host may keep clients from port {port} ({rule}). A port that a container "
        f"publishes passes this firewall, HAProxy's does not. If clients do not reach HAProxy: {fix}"
    )


def main() -> None:
    """Read, warn, exit."""
    spec = {"ports": {"type": "list", "elements": "int", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    rules = {port: firewall.closed(port) for port in module.params["ports"]}
    for port, rule in rules.items():
        if rule:
            module.warn(warning(port, rule))
    module.exit_json(changed=False, closed=[port for port, rule in rules.items() if rule])


if __name__ == "__main__":
    main()
