# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Prometheus asks of a host, a file for each job."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

DOCUMENTATION = r"""
name: scrape_targets
short_description: Files of Prometheus's targets
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - A check is made from outside as far as one request can, without a secret of the env.
options:
  _input:
    description: >-
      C(host) and C(app), the labels; C(at), the address of the exporters; C(ports), theirs by kind; C(own), the ports
      of Prometheus and Alertmanager where they are on the same host; C(balancer), the port of HAProxy's metrics or 0;
      C(tls), an address with a certificate, or empty.
    type: dict
    required: true
  checks:
    description: C(selfheal_checks).
    type: list
    elements: dict
    required: true
  values:
    description: What the names in the checks' addresses are replaced with.
    type: dict
    required: true
  exporters:
    description: From P(christmas.selfheal.backing_exporters#filter).
    type: list
    elements: dict
    required: true
  folder:
    description: Folder of the files on the host.
    type: str
    required: true
"""

EXAMPLES = r"""
files: "{{ scraped | christmas.selfheal.scrape_targets(selfheal_checks, {}, exporters, '/etc/prometheus/selfheal') }}"
"""

RETURN = r"""
_value:
  description: The files, as M(christmas.selfheal.host_files) takes them.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"scrape_targets": scraping.target_files}
