# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module that works on one app takes."""

from __future__ import annotations


class ModuleDocFragment:
    """Options `app`, `directory`, `variables`, `checks`, `balancer`."""

    DOCUMENTATION = r"""
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  directory:
    description: Where the app's compose files and C(.env) are; C(/opt/<app>) when not given.
    type: path
  variables:
    description: The table of the env's variables, as for M(christmas.selfheal.secrets_validate).
    type: list
    elements: dict
    default: []
  checks:
    description: The checks, as for M(christmas.selfheal.health_probe).
    type: list
    elements: dict
    required: true
  balancer:
    description:
      - The load balancer in front of the app's instances, as the role C(load_balancer) sets it up. Empty without one.
      - C(service) is the one that it spreads requests over, C(instances) how many of it there are, C(first_port) the
        first of their loopback ports, C(ports) those that the balancer itself holds.
    type: dict
    default: {}
"""
