#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: app_certificate
short_description: Get the certificate of an app's domain by ACME, and renew it
version_added: 1.0.0
description:
  - Reads the settings that the role C(load_balancer) wrote to C(/etc/selfheal/domain/<app>.json).
  - HAProxy answers the CA's challenges (HTTP-01). The client is Debian's C(acme-tiny).
  - A new certificate is used only when it is whole, is for the names, and passes HAProxy's own check. Until then, and
    when there is none, the one in use stays.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: Says whether files are missing, or a certificate is due. The CA is not asked.
  diff_mode:
    support: none
options:
  app:
    description: Name of the app; the compose project and everything on the host are keyed by it.
    type: str
    required: true
  state:
    description:
      - V(prepared) makes what HAProxy needs before there is a certificate, the key of the account and a self-signed
        certificate, and puts back what is missing or damaged.
      - V(renewed) does that, and gets a certificate when there is none, its names or its CA are to change, or a third
        of its time is left.
    type: str
    choices: [prepared, renewed]
    default: renewed
"""

EXAMPLES = r"""
- name: Get the certificate, or renew it when it is due
  christmas.selfheal.app_certificate:
    app: shop
"""

RETURN = r"""
why:
  description: Why files were made, or a certificate was due; empty when nothing was.
  returned: success
  type: str
names:
  description: Names of the certificate in use.
  returned: when it was renewed, or none was due
  type: list
  elements: str
ends:
  description: When it ends, in UTC.
  returned: when it was renewed, or none was due
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, app_module
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, iso
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import config as domain_config
from ansible_collections.christmas.selfheal.plugins.module_utils.domain import renewal
from ansible_collections.christmas.selfheal.plugins.module_utils.domain.certificate import CertificateError
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError

SPEC = {
    "app": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["prepared", "renewed"], "default": "renewed"},
}
EXPECTED = (*app_module.EXPECTED, ConfigError, CertificateError, renewal.DomainError)


def bring(module: AnsibleModule) -> dict[str, Any]:
    """Prepare or renew; in check mode, say whether that is needed."""
    name, state = module.params["app"], module.params["state"]
    try:
        domain = domain_config.load(name)
    except ConfigError:
        # In a first run in check mode, the role has not written the settings.
        if module.check_mode:
            return {"changed": True, "why": "there is no certificate yet"}
        raise
    if module.check_mode:
        return foresee(domain, state)
    if state == "prepared":
        written = renewal.prepare(domain)
        return {"changed": bool(written), "why": ", ".join(written)}
    done = renewal.renew(domain, Clock())
    held = done.certificate
    return {"changed": done.changed, "why": done.why, "names": list(held.names), "ends": iso(held.ends)}


def foresee(domain: domain_config.Domain, state: str) -> dict[str, Any]:
    """Say what a run would do."""
    if state == "prepared":
        missing = renewal.unprepared(domain)
        return {"changed": bool(missing), "why": ", ".join(missing)}
    used = renewal.in_use(domain)
    why = renewal.due(domain.names, domain.directory, used, time.time())
    held = used.certificate if used and not why else None
    shown = {"names": list(held.names), "ends": iso(held.ends)} if held else {}
    return {"changed": bool(why), "why": why, **shown}


def main() -> None:
    """Prepare or renew, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, bring, EXPECTED)


if __name__ == "__main__":
    main()
