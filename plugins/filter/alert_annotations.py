# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the alerts of monitoring say."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.plugin_utils import alert_texts

DOCUMENTATION = r"""
name: alert_annotations
short_description: Annotations of the alerts of monitoring
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Returns the texts of every alert of the role monitoring in one language.
options:
  _input:
    description: Thresholds and settings that the texts name.
    type: dict
    required: true
  language:
    description: C(en) or C(ko).
    type: str
    required: true
  runbook_url:
    description: Address of the page that has a section for each alert.
    type: str
    required: true
"""

EXAMPLES = r"""
annotations: "{{ thresholds | christmas.selfheal.alert_annotations('en', 'https://example.org/alerts') }}"
"""

RETURN = r"""
_value:
  description: C(summary), C(description), C(over) and C(runbook_url), by alert.
  type: dict
"""


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"alert_annotations": alert_texts.alert_annotations}
