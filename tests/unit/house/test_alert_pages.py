# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every alert has its section, in both languages. What the rules do, promtool judges in the scenario `monitoring`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def alerts() -> list[str]:
    """The names of the role's alerts: those that stand there, and those of its loop."""
    folder = REPOSITORY / "roles/monitoring/templates"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("rules_*.yml.j2"))]
    looped = re.findall(r"^  \('(\w+)', [\d.]+, '\d", "\n".join(texts), re.MULTILINE)
    return [name for text in texts for name in re.findall(r"^ +- alert: (\w+)$", text, re.MULTILINE)] + looped


@pytest.mark.parametrize("page", ["alerts.md", "alerts.ko.md"])
def test_there_is_a_section_for_each_alert(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    assert len(alerts()) > 15
    assert sorted(re.findall(r"^## (.+)$", text, re.MULTILINE)) == sorted(alerts())
