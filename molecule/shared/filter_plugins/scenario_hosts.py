# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab hosts of one molecule scenario, in lab/create.yml's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def scenario_hosts(known: Mapping[str, Mapping[str, Any]], scenario: str) -> list[dict[str, Any]]:
    """Return the host that is named after the scenario, and those whose `lab_scenario` it is.

    :arg known: the hosts of molecule/shared/inventory.yml.
    """
    return [
        {
            "name": name,
            "address": host["ansible_host"],
            "variant": host["lab_variant"],
            "backing": host.get("lab_backing", False),
            "official": host.get("lab_official", False),
            "acme": host.get("lab_acme", False),
        }
        for name, host in known.items()
        if name == f"molecule-{scenario}" or host.get("lab_scenario", "") == scenario
    ]


class FilterModule:
    """Ansible's entry point for filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"scenario_hosts": scenario_hosts}
