# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Any later change of the event log is detected; an incomplete line of a killed write is not an entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import audit_log


def event(kind: str, what: str) -> audit_log.Event:
    return {"time": "2026-06-01T00:00:00Z", "by": "ada", "event": kind, "host": "web1", "what": what}


def written(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    audit_log.append(str(path), [event("found", f"number {number}") for number in range(3)])
    audit_log.append(str(path), [event("corrected", "라인 4")])
    return path


def test_appended_entries_are_intact(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = audit_log.verify(str(path))
    assert (found.lines, found.problem) == (4, "")
    assert found.head == audit_log.read(str(path))[-1]["hash"]
    assert [one["what"] for one in audit_log.read(str(path))][3] == "라인 4"
    assert path.stat().st_mode & 0o777 == 0o600
    assert audit_log.verify(str(tmp_path / "none")) == (0, audit_log.FIRST, "")


def rehashed(lines: list[str]) -> list[str]:
    """The second line changed, with a hash that matches."""
    entry = json.loads(lines[1])
    del entry["hash"]
    entry["what"] = "nothing"
    return [lines[0], json.dumps({**entry, "hash": audit_log._hash(entry)}), *lines[2:]]


FORGERIES: list[tuple[str, Callable[[list[str]], list[str]], int]] = [
    ("a word is changed", lambda lines: [lines[0], lines[1].replace("number", "Number"), *lines[2:]], 1),
    ("a line is removed", lambda lines: [lines[0], *lines[2:]], 1),
    ("two lines are swapped", lambda lines: [lines[1], lines[0], *lines[2:]], 0),
    ("a line is changed with its hash", rehashed, 2),
    ("the first is gone", lambda lines: lines[1:], 0),
    ("a line is not an entry", lambda lines: [*lines, "[]"], 4),
]


@pytest.mark.parametrize(("forge", "whole"), [case[1:] for case in FORGERIES], ids=[case[0] for case in FORGERIES])
def test_a_change_is_detected(tmp_path: Path, forge: Callable[[list[str]], list[str]], whole: int) -> None:
    path = written(tmp_path)
    path.write_text("\n".join(forge(path.read_text().splitlines())) + "\n")
    found = audit_log.verify(str(path))
    assert found.problem
    assert found.lines == whole


def test_a_cut_at_the_end_is_detected_now_and_after_the_next_check(tmp_path: Path) -> None:
    path = written(tmp_path)
    reported = audit_log.verify(str(path)).head
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert audit_log.verify(str(path), reported).problem
    for number in range(2):
        reported = audit_log.append(str(path), [event("checked", f"later, {number}")], reported)
    found = audit_log.verify(str(path), reported)
    assert (found.lines, "were removed" in found.problem) == (2, True)


def test_a_check_that_was_killed_before_its_report_is_not_a_cut(tmp_path: Path) -> None:
    path = written(tmp_path)
    reported = audit_log.verify(str(path)).head
    audit_log.append(str(path), [event("found", "and then it was killed")], reported)
    assert audit_log.verify(str(path), reported).problem == ""
    audit_log.append(str(path), [event("checked", "the next")], reported)
    assert audit_log.verify(str(path), reported).problem == ""


def test_an_incomplete_line_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:30])
    assert audit_log.verify(str(path)).problem
    audit_log.append(str(path), [event("checked", "after the kill")])
    assert audit_log.verify(str(path)).lines == 5
