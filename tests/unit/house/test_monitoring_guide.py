# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The monitoring guide explains exactly the metrics that the rules use, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDES = REPOSITORY / "docs/guides"
TEMPLATES = REPOSITORY / "roles/monitoring/templates"
METRIC = re.compile(
    r"\b(?:up(?=[{)]| ==)|(?:probe|haproxy|node|selfheal|redis|pgbouncer|pg)_\w+|(?:app|container|host):\w+:\w+)"
)
# Variables of the templates, not metrics.
NO_METRICS = {"selfheal_app", "selfheal_language"}


def used() -> set[str]:
    """The metrics in the rules; a recording rule in a loop counts once for each window."""
    found: set[str] = set()
    for path in TEMPLATES.glob("rules_*.yml.j2"):
        text = re.sub(r"^ *#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        windows = [window for row in re.findall(r"for window in \[(.+?)\]", text) for window in re.findall(r"\w+", row)]
        assert windows or "[[ window ]]" not in text
        for name in re.findall(r"record: ([\w:]+)\[\[ window \]\]", text):
            found |= {name + window for window in windows}
        found |= set(METRIC.findall(re.sub(r"[\w:]+\[\[ [\w.]+ \]\]", "", text)))
    return found - NO_METRICS


def explained(page: str) -> list[str]:
    """The metrics in the first column of the guide's tables."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([\w:]+)`", row)]


@pytest.mark.parametrize("page", ["monitoring.md", "monitoring.ko.md"])
def test_every_metric_of_a_rule_is_explained(page: str) -> None:
    assert len(used()) > 50
    assert sorted(explained(page)) == sorted(used())


def test_both_languages_have_the_same_order() -> None:
    assert explained("monitoring.md") == explained("monitoring.ko.md")


@pytest.mark.parametrize("page", ["monitoring.md", "monitoring.ko.md"])
def test_its_links_lead_to_sections(page: str) -> None:
    text = (GUIDES / page).read_text(encoding="utf-8")
    links = re.findall(r"\(\.\./(alerts(?:\.ko)?\.md)#([a-z]+)\)", text)
    assert len(links) > 20
    for target, anchor in links:
        headings = re.findall(r"^## (\w+)$", (REPOSITORY / "docs" / target).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in [heading.lower() for heading in headings]
        assert target.endswith(".ko.md") == page.endswith(".ko.md")
