# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role slo."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import Ranges, error, out_of_range
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables

GOALS: Ranges = {
    "uptime_percent": (50, 100),
    "response_ms": (1, 60000),
    "recovery_seconds": (1, 86400),
    "unattended_percent": (0, 100),
    "incidents": (0, 1000),
}


def errors(variables: Variables) -> Iterator[str]:
    """Report goals out of range, and a report that no one would receive."""
    yield from out_of_range("slo_goals", variables.table("slo_goals"), GOALS)
    if variables.flag("slo_send") and "email" not in variables.value("__slo_receiver_kinds"):
        problem = f"it is true for {variables.host}, and alerting_receivers has no entry of kind email"
        yield error("slo_send", problem, "Add one, or remove slo_send")
