# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documents: their links lead to files and headings, the commands in them exist, and the README fits one screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli
from ansible_collections.christmas.selfheal.docs import record

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "roles/*/README.md") for path in REPOSITORY.glob(pattern)
)
# CHANGELOG.md is written by antsibull-changelog.
PAGES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    broken = []
    for link in (first or second for first, second in links):
        if "://" in link:
            continue
        file, _unused, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_playbooks_exist(path: Path) -> None:
    named = re.findall(r"\bplaybooks/([a-z_]+\.yml)", path.read_text(encoding="utf-8"))
    there = {found.name for found in REPOSITORY.glob("playbooks/*.yml")}
    assert set(named) - there == set()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_of_the_host_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    known = set(re.findall(r"^    (\S+)", capsys.readouterr().out, re.MULTILINE))
    assert {"status", "backup"} <= known
    named = re.findall(r"(?:`|^)selfheal ([a-z][a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) - known == set()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_no_placeholder_of_a_figure_is_left(path: Path) -> None:
    assert re.findall(r"@@\w*", path.read_text(encoding="utf-8")) == []


def test_the_readme_fits_one_screen() -> None:
    assert (REPOSITORY / "README.md").stat().st_size <= 6000


def test_the_guide_of_the_first_ten_minutes_gets_the_output_of_its_commands() -> None:
    guide = (
        "```yaml\n# compose.yaml\nservices: {}\n```\n\n"
        "```console tail=1 readme\n$ one\nold\n$ two\n```\n\n"
        "```console\n$ three\n```\n"
    )
    said = {"one": "a\nb\n", "two": "", "three": "c  \nd\n"}
    new = record.recorded(guide, said.__getitem__)
    assert new == (
        "```yaml\n# compose.yaml\nservices: {}\n```\n\n"
        "```console tail=1 readme\n$ one\n…\nb\n$ two\n```\n\n"
        "```console\n$ three\nc\nd\n```\n"
    )
    assert record.recorded(new, said.__getitem__) == new
    assert record.files(guide) == {"compose.yaml": "services: {}\n"}
    readme = "a\n<!-- recording -->\nold\n<!-- end of recording -->\nb\n"
    shown = "```console\n$ one\n…\nb\n$ two\n```\n"
    assert record.renewed(readme, new) == f"a\n<!-- recording -->\n{shown}<!-- end of recording -->\nb\n"


def test_the_readme_shows_the_recording_of_the_guide() -> None:
    readme, guide = (path.read_text(encoding="utf-8") for path in (record.README, record.GUIDE))
    assert record.renewed(readme, guide) == readme
    assert "$ " in record.excerpt(guide)
