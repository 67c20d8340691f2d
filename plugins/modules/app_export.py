#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_export
short_description: Say what of an app may go from staging to production
version_added: 1.0.0
description:
  - Runs on the staging host, and reads what that host knows of the app, in C(/etc/selfheal/<app>.json) and in its
    records. Changes nothing.
  - Fails, with every reason and what to do about it, when the last good release has not run healthy for
    O(soak_minutes), or is not what runs now.
  - Returns nothing of the env.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  soak_minutes:
    description:
      - Minutes for which the release has to have served, watched, without a pause and without an incident.
    type: float
    default: 60
seealso:
  - module: christmas.selfheal.image_archive
  - module: christmas.selfheal.app_deploy
"""

EXAMPLES = r"""
- name: What may go to production
  christmas.selfheal.app_export:
    app: shop
    soak_minutes: 60
  register: offer
"""

RETURN = r"""
host:
  description: Name of the staging host.
  returned: success
  type: str
release:
  description: Id of the release there.
  returned: success
  type: str
serving:
  description: For how long it has served.
  returned: success
  type: str
folder:
  description: Where its files are on the staging host.
  returned: success
  type: str
images:
  description: What it is made of, each with C(service), C(id), C(bytes), C(platform).
  returned: success
  type: list
  elements: dict
pins:
  description: Their digests in their registry by name, where they come from one.
  returned: success
  type: dict
refusals:
  description: Why it must not go to production, each with C(reason) and C(fix).
  returned: failure
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.promotion import export as promotion_export
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config

SPEC = {"app": {"type": "str", "required": True}, "soak_minutes": {"type": "float", "default": 60.0}}


def offer(module: AnsibleModule) -> dict[str, Any]:
    """Say what may go on."""
    given = module.params
    try:
        return {"changed": False, **promotion_export.offer(given["app"], 60.0 * given["soak_minutes"])}
    except promotion_export.PromotionRefused as error:
        raise ansible_no_log.Failed(error, refusals=[one._asdict() for one in error.refusals]) from error


def main() -> None:
    """Judge, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, offer, (*app_module.EXPECTED, agent_config.ConfigError))


if __name__ == "__main__":
    main()
