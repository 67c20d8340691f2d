# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every alert has a section and a text in both languages. The scenario `monitoring` checks the rules with promtool."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils import alert_texts

REPOSITORY = Path(__file__).resolve().parents[3]


def alerts() -> list[str]:
    """The names of the role's alerts: those of the templates, and those of the error budget."""
    folder = REPOSITORY / "roles/monitoring/templates"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("rules_*.yml.j2"))]
    values = yaml.safe_load((REPOSITORY / "roles/monitoring/vars/main.yml").read_text(encoding="utf-8"))
    named = [name for text in texts for name in re.findall(r"^ +- alert: (\w+)$", text, re.MULTILINE)]
    return named + [burn["alert"] for burn in values["__monitoring_burns"]]


@pytest.mark.parametrize("page", ["alerts.md", "alerts.ko.md"])
def test_there_is_a_section_for_each_alert(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    assert len(alerts()) > 15
    assert sorted(re.findall(r"^## (.+)$", text, re.MULTILINE)) == sorted(alerts())


THRESHOLDS = """
    backup_hours certificate_days connections_percent cpu_percent disk_hours drift_hours error_percent
    evictions_per_second memory_percent query_seconds response_ms slo_percent verified_days watcher_seconds
"""
VALUES: dict[str, object] = dict.fromkeys(THRESHOLDS.split(), 80)
ABOUT = "{{ $labels.app }} @ {{ $labels.host }}"
VALUES |= {"app": "shop", "instances": 2, "monitoring_host": "hub"}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_there_is_a_text_for_each_alert(language: str) -> None:
    found = alert_texts.alert_annotations(VALUES, language, "https://example.org/alerts")
    assert sorted(found) == sorted(alerts())
    assert [name for name, one in found.items() if "<" in "".join(map(str, one.values()))] == []


def test_the_text_of_an_alert() -> None:
    english = alert_texts.alert_annotations(VALUES, "en", " https://example.org/alerts\n")
    assert english["ContainerMemory"] == {
        "summary": f"{ABOUT}: {{{{ $value | humanizePercentage }}}} of its memory limit in use",
        "description": (
            "Container {{ $labels.container }} is above 80 %. At 100 % the kernel ends it.\n"
            "→ https://example.org/alerts#containermemory"
        ),
        "over": f"{ABOUT}: over: {{{{ $value | humanizePercentage }}}} of its memory limit in use",
        "runbook_url": "https://example.org/alerts#containermemory",
    }
    korean = alert_texts.alert_annotations(VALUES, "ko", "https://example.org/alerts")
    assert korean["MeasuringStopped"]["summary"] == "hub: 더 이상 측정되지 않음"
    assert korean["MeasuringStopped"]["over"] == "hub: 해소: 더 이상 측정되지 않음"
