# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The catalogue of faults is read from a folder; an error names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import DrillError
from ansible_collections.christmas.selfheal.plugins.plugin_utils import fault_catalogue

FAULT = """
title: {en: It hangs}
why: It happens.
inject: [[kill, -STOP, "{pid}"]]
expect: recovered
causes: [hung]
goal: {median: 5, p95: 8}
"""


def test_faults_are_named_after_their_files(tmp_path: Path) -> None:
    (tmp_path / "hang.yml").write_text(FAULT, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a fault", encoding="utf-8")
    found = fault_catalogue.read(str(tmp_path))
    assert [(name, one.name) for name, one in found.items()] == [("hang", "hang")]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match=r"^drill_catalogue: there is no fault in /"):
        fault_catalogue.read(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("title: [", r"^faults/hang\.yml is not valid YAML: "),
        ("- a list", r"^faults/hang\.yml: the file is not a mapping"),
    ],
)
def test_an_invalid_file_is_named(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "hang.yml").write_text(text, encoding="utf-8")
    with pytest.raises(DrillError, match=error):
        fault_catalogue.read(str(tmp_path))
