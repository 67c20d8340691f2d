# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What roles write is recorded before it is written, and a record that no role wrote is refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import LockHeld, hold_lock, is_locked
from ansible_collections.christmas.selfheal.plugins.module_utils.host import desired_files, logins
from ansible_collections.christmas.selfheal.plugins.module_utils.host.desired_files import DesiredFile, Wanted

OWNER = f"{os.geteuid()}:{os.getegid()}"
DAEMON, UNIT = "/etc/docker/daemon.json", "/etc/systemd/system/haproxy.service.d/selfheal.conf"
PROXY = "/etc/systemd/system/docker.service.d/proxy.conf"


def record(root: Path, *wanted: Wanted) -> None:
    with desired_files.writing(wanted, str(root)):
        pass


def recorded(root: Path) -> dict[str, DesiredFile]:
    found = desired_files.read(str(root))
    return dict(found.files) if found else {}


def put(root: Path, path: str, text: str = "x\n") -> Path:
    here = root / path.lstrip("/")
    here.parent.mkdir(parents=True, exist_ok=True)
    here.write_text(text, encoding="utf-8")
    here.chmod(0o644)
    return here


def test_a_file_is_recorded_before_it_is_written_under_a_lock(tmp_path: Path) -> None:
    root = str(tmp_path)
    with desired_files.writing([Wanted(DAEMON, b"{}\n", 0o644)], root):
        assert is_locked(desired_files.lock_path(root))
        assert recorded(tmp_path) == {DAEMON: DesiredFile(fingerprint("{}\n"), "0644", OWNER)}
    assert not is_locked(desired_files.lock_path(root))
    assert oct(os.stat(desired_files.record_path(root)).st_mode)[-3:] == "600"


def test_nothing_is_written_while_another_run_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desired_files, "LOCK_SECONDS", 0.0)
    with hold_lock(desired_files.lock_path(str(tmp_path)), 0.0, "write"), pytest.raises(LockHeld):
        record(tmp_path, Wanted(DAEMON, b"{}", 0o644))


def test_a_second_run_writes_no_record(tmp_path: Path) -> None:
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    before = os.stat(desired_files.record_path(str(tmp_path)))
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    assert os.stat(desired_files.record_path(str(tmp_path))).st_ino == before.st_ino


def test_files_of_other_places_are_not_recorded(tmp_path: Path) -> None:
    record(tmp_path, Wanted("/opt/shop/x", b"", 0o644), Wanted("/etc/../root/x", b"", 0o644))
    assert not os.path.exists(desired_files.record_path(str(tmp_path)))


def test_what_a_role_removes_is_no_longer_recorded(tmp_path: Path) -> None:
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644), Wanted("/etc/selfheal/slo/shop.json", b"{}", 0o644))
    record(tmp_path, Wanted("/etc/selfheal/slo/shop.json", None))
    assert set(recorded(tmp_path)) == {DAEMON}
    desired_files.forget(["/etc/docker"], str(tmp_path))
    found = desired_files.read(str(tmp_path))
    assert found is not None
    assert (found.files, found.folders) == ({}, frozenset())


def test_what_was_in_a_folder_of_drop_ins_when_its_role_ran_is_accepted(tmp_path: Path) -> None:
    """Such as the proxy of the engine, which many hosts have."""
    put(tmp_path, PROXY)
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644), Wanted(UNIT, b"[Service]\n", 0o644))
    assert set(recorded(tmp_path)) == {DAEMON, UNIT, PROXY}
    put(tmp_path, PROXY, "y\n")
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    assert recorded(tmp_path)[PROXY].content == fingerprint("y\n")
    (tmp_path / PROXY.lstrip("/")).unlink()
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    assert set(recorded(tmp_path)) == {DAEMON, UNIT}


def test_a_masked_drop_in_is_accepted_as_the_link_that_it_is(tmp_path: Path) -> None:
    path = tmp_path / PROXY.lstrip("/")
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    assert recorded(tmp_path)[PROXY].content == f"link {fingerprint('/dev/null')}"


def test_a_remedy_takes_the_record_along(tmp_path: Path) -> None:
    path = "/etc/haproxy/selfheal/shop.cfg"
    record(tmp_path, Wanted(path, b"new\n", 0o644))
    put(tmp_path, path, "old\n")
    desired_files.follow(path, str(tmp_path))
    assert recorded(tmp_path)[path].content == fingerprint("old\n")
    (tmp_path / path.lstrip("/")).unlink()
    desired_files.follow(path, str(tmp_path))
    desired_files.follow("/etc/haproxy/selfheal/theirs.cfg", str(tmp_path))
    assert recorded(tmp_path) == {}


GOOD = {"content": "sha256:0123456789ab", "mode": "0644", "owner": "0:0"}
DAMAGED: list[tuple[str, Any, str]] = [
    ("no JSON", "{", "cannot be read"),
    ("bytes", b"\xff\xfe", "cannot be read"),
    ("a list", [], "`files` is missing or of the wrong type"),
    ("files are a list", {"files": [], "folders": []}, "`files` is missing or of the wrong type"),
    ("no folders", {"files": {}}, "`folders` is missing or of the wrong type"),
    ("a relative path", {"files": {"etc/x": GOOD}, "folders": []}, "'etc/x' is not a path that a role writes"),
    ("a path outside", {"files": {"/root/x": GOOD}, "folders": []}, "'/root/x' is not a path that a role writes"),
    ("a path upwards", {"files": {"/etc/../x": GOOD}, "folders": []}, "'/etc/../x' is not a path"),
    ("a wrong type", {"files": {"/etc/x": 1}, "folders": []}, "`content` of '/etc/x' is not valid"),
    ("a wrong mode", {"files": {"/etc/x": {**GOOD, "mode": 420}}, "folders": []}, "`mode` of '/etc/x' is not valid"),
    ("a folder outside", {"files": {}, "folders": ["/home"]}, "'/home' is not a path"),
    ("a number", {"files": {}, "folders": [7]}, "7 is not a path"),
    ("nested too deep", "[" * 100000, "cannot be read"),
]


@pytest.mark.parametrize(("content", "why"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_a_damaged_record_is_named_and_the_next_run_writes_it_again(content: Any, why: str, tmp_path: Path) -> None:
    path = Path(desired_files.record_path(str(tmp_path)))
    path.parent.mkdir(parents=True)
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(desired_files.RecordError) as caught:
        desired_files.read(str(tmp_path))
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert "run christmas.selfheal.site" in str(caught.value)
    record(tmp_path, Wanted(DAEMON, b"{}", 0o644))
    assert set(recorded(tmp_path)) == {DAEMON}


def test_a_pipe_in_the_place_of_the_record_does_not_block(tmp_path: Path) -> None:
    path = Path(desired_files.record_path(str(tmp_path)))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(desired_files.RecordError, match="is not a file"):
        desired_files.read(str(tmp_path))


SESSIONS: list[logins.Login] = [
    {"user": "ada", "from": "192.0.2.7", "begun": 1000.0, "ended": 1060.0},
    {"user": "bob", "from": "192.0.2.8", "begun": 2000.0, "ended": 0.0},
]


@pytest.mark.parametrize(
    ("moment", "who"),
    [
        (0.0, []),
        (999.0, []),
        (1030.0, ["ada from 192.0.2.7"]),
        # A command over ssh ends with its session.
        (1060.9, ["ada from 192.0.2.7"]),
        (1500.0, []),
        (9000.0, ["bob from 192.0.2.8"]),
    ],
)
def test_who_was_logged_in_at_a_moment(moment: float, who: list[str]) -> None:
    assert logins.logged_in(SESSIONS, moment) == who
