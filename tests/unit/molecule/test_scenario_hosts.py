# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which lab hosts a molecule scenario has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from shared.filter_plugins.scenario_hosts import scenario_hosts

MOLECULE = Path(__file__).resolve().parents[3] / "molecule"
KNOWN: dict[str, dict[str, Any]] = yaml.safe_load((MOLECULE / "shared/inventory.yml").read_text(encoding="utf-8"))[
    "backends"
]["hosts"]


def test_every_scenario_has_a_host_and_every_host_one_scenario() -> None:
    scenarios = [path.parent.name for path in MOLECULE.glob("*/molecule.yml")]
    hosts = [host["name"] for scenario in scenarios for host in scenario_hosts(KNOWN, scenario)]
    assert sorted(hosts) == sorted(KNOWN)
    assert [scenario for scenario in scenarios if not scenario_hosts(KNOWN, scenario)] == []


def test_what_a_host_is_created_with() -> None:
    assert scenario_hosts(KNOWN, "default") == [
        {
            **{"name": "molecule-default", "address": "172.30.57.21", "variant": "bare"},
            **{"backing": False, "official": False, "acme": False},
        }
    ]
    known = {"a": {"ansible_host": "10.0.0.1", "lab_variant": "bare", "lab_scenario": "x", "lab_backing": True}}
    assert [(host["name"], host["backing"]) for host in scenario_hosts(known, "x")] == [("a", True)]
