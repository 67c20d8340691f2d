#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: slo_report
short_description: Measure a month against its goals
version_added: 1.0.0
description:
  - Asks the Prometheus of the host and the app's incident files how a month was, and compares that with the goals.
    Changes nothing.
  - A goal that was missed is an answer, not a failure. What is not known is said, and never guessed.
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
    description: Name of the app. The host has to have it already.
    type: str
    required: true
  month:
    description: The month, as V(2025-05); UTC's. Empty is the last one that is over.
    type: str
    default: ""
  goals:
    description:
      - Numbers by the names C(uptime_percent), C(response_ms), C(recovery_seconds), C(unattended_percent) and
        C(incidents). A name that is left out has its default.
    type: dict
    default: {}
  language:
    description: Language of the report; the app's when it is left out.
    type: str
    choices: [en, ko]
  prometheus:
    description: Port of Prometheus on the host's loopback address.
    type: int
    default: 9090
seealso:
  - module: christmas.selfheal.app_info
"""

EXAMPLES = r"""
- name: Measure May
  christmas.selfheal.slo_report:
    app: shop
    month: 2025-05
    goals: {response_ms: 300}
  register: month
"""

RETURN = r"""
report:
  description: The report, as in the JSON file.
  returned: success
  type: dict
markdown:
  description: The report as a page.
  returned: success
  type: str
text:
  description: The report for the screen.
  returned: success
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log
from ansible_collections.christmas.selfheal.plugins.module_utils.monitoring import monthly_report
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.prometheus_client import PrometheusError
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery.config import ConfigError
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import slo_report
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting.slo_queries import SloError

SPEC = {
    "app": {"type": "str", "required": True},
    "month": {"type": "str", "default": ""},
    "goals": {"type": "dict", "default": {}},
    "language": {"type": "str", "choices": ["en", "ko"]},
    "prometheus": {"type": "int", "default": 9090},
}


def measure(module: AnsibleModule) -> dict[str, Any]:
    """Measure the month, and write the report."""
    given = module.params
    by = monthly_report.settings({"goals": given["goals"], "prometheus": given["prometheus"]}, "slo_report")
    report = monthly_report.measure(
        monthly_report.config(given["app"]), by, given["month"], time.time(), given["language"] or ""
    )
    return {
        "changed": False,
        "report": report,
        "markdown": slo_report.markdown(report),
        "text": slo_report.text(report),
    }


def main() -> None:
    """Measure, exit."""
    ansible_no_log.run(AnsibleModule, SPEC, measure, (SloError, ConfigError, PrometheusError, OSError))


if __name__ == "__main__":
    main()
