# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Several files in one go: what differs is written, once, and only if their own tools take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import config_files, desired_files
from ansible_collections.christmas.selfheal.plugins.module_utils.host.config_files import HostFilesError, WantedFile


def file(path: Path, content: str | None = "a\n", **more: Any) -> WantedFile:
    plain = {"path": str(path), "content": content, "mode": "0644", "state": "present"}
    return cast(WantedFile, {**plain, **more})


def put(path: Path, content: str = "a\n", mode: int = 0o644) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


# id, what is there (content, mode) or None, what is wanted, whether it differs
CASES: list[tuple[str, tuple[str, int] | None, dict[str, Any], bool]] = [
    ("missing", None, {}, True),
    ("the same", ("a\n", 0o644), {}, False),
    ("other content", ("b\n", 0o644), {}, True),
    ("other line ends", ("a\r\n", 0o644), {}, True),
    ("other mode", ("a\n", 0o600), {}, True),
    ("there, wanted absent", ("a\n", 0o644), {"state": "absent"}, True),
    ("not there, wanted absent", None, {"state": "absent"}, False),
    ("empty", ("", 0o644), {"content": None}, False),
]


@pytest.mark.parametrize(("there", "wanted", "differs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_plan_and_apply(tmp_path: Path, there: tuple[str, int] | None, wanted: dict[str, Any], differs: bool) -> None:
    path = tmp_path / "etc" / "some.d" / "file"
    if there:
        path.parent.mkdir(parents=True)
        put(path, *there)
    item = file(path, **wanted)
    changes = config_files.plan([item])
    assert bool(changes) == differs
    config_files.apply(changes)
    assert config_files.plan([item]) == []
    assert path.exists() == (item["state"] == "present")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (file(Path("etc/x")), "etc/x: must be an absolute path"),
        (file(Path("/etc/x"), mode="rw"), "/etc/x: mode 'rw' is not an octal number, such as 0644"),
        (file(Path("/etc")), "/etc: is a directory"),
    ],
    ids=["relative", "mode", "directory"],
)
def test_plan_refuses(item: WantedFile, message: str) -> None:
    with pytest.raises(HostFilesError) as caught:
        config_files.plan([item])
    assert str(caught.value) == message


def test_every_file_is_validated_before_one_is_written(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    seen: list[str] = []

    def run(command: Sequence[str]) -> tuple[int, str]:
        seen.append(Path(command[2]).name)
        return (1, f"error in {command[2]}:\n line 1") if command[2].endswith("bad") else (0, "")

    changes = config_files.plan([file(good), file(bad)])
    command = ["check", "-f", "%s"]
    with pytest.raises(HostFilesError) as caught:
        config_files.validate(changes, {str(good): command, str(bad): command}, run)
    assert seen == ["good", "bad"]
    assert str(caught.value) == f"{bad}: check rejects it: error in {bad}: line 1"
    assert not good.exists()


def test_a_validator_that_is_missing_is_named(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> tuple[int, str]:
        raise FileNotFoundError(command[0])

    with pytest.raises(HostFilesError) as caught:
        config_files.validate(config_files.plan([file(tmp_path / "x")]), {str(tmp_path / "x"): ["check", "%s"]}, run)
    assert caught.value.missing == "check"


def test_what_does_not_change_is_not_validated(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> tuple[int, str]:
        raise AssertionError(command)

    path = put(tmp_path / "x")
    config_files.validate(config_files.plan([file(path)]), {str(path): ["check", "%s"]}, run)
    gone = config_files.plan([file(path, state="absent")])
    config_files.validate(gone, {str(path): ["check", "%s"]}, run)
    assert gone[0].diff()["before"] == "a\n"


def test_what_a_role_wants_is_recorded_for_the_watcher_whether_it_changes_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desired_files, "ROOTS", (f"{tmp_path}/etc/",))
    one, other, gone = (file(tmp_path / "etc" / name) for name in ("one", "other", "gone"))
    wanted = [one, other, gone]
    config_files.apply(config_files.plan(wanted), wanted, str(tmp_path / "root"))
    wanted[2] = {**gone, "state": "absent"}
    config_files.apply(config_files.plan(wanted), wanted, str(tmp_path / "root"))
    record = desired_files.read(str(tmp_path / "root"))
    assert record is not None
    assert sorted(record.files) == [one["path"], other["path"]]
    assert config_files.plan(wanted) == []
