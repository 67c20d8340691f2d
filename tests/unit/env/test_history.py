# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The env and its history: what is written and restored, and that no version is lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files
from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.env.rules import Finding

NOON = 1_780_000_000.0
OLD, NEW, OTHER = {"KEY": "old-old-old"}, {"KEY": "new-new-new"}, {"KEY": "other-other"}


class Host:
    """A directory with an app's env and history, and a clock that advances with each call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "app").mkdir(exist_ok=True)
        self.env = root / "app" / ".env"
        self.history = root / "state" / "shop" / "env"
        self.clock = itertools.count(NOON, 60.0)

    def write(self, values: dict[str, str], **more: Any) -> env_history.Change:
        return env_history.write_env(str(self.env), str(self.history), values, now=next(self.clock), **more)

    def restore(self, **more: Any) -> env_history.Change:
        return env_history.restore_env(str(self.env), str(self.history), now=next(self.clock), **more)

    def good(self, values: dict[str, str]) -> bool:
        return env_history.mark_good(str(self.history), fingerprint(dotenv.encode(values)))

    def versions(self) -> list[env_history.Version]:
        return env_history.versions(str(self.history))

    def values(self) -> dict[str, str]:
        return dotenv.parse(self.env.read_text())

    def kept(self) -> list[dict[str, str]]:
        """The contents of the history, oldest first, by its files."""
        return [dotenv.parse((self.history / version["file"]).read_text()) for version in self.versions()]

    def files(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self.root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def refuse(_values: Any) -> list[Finding]:
    return [Finding(variable="KEY", rule="expired", reason="it expired on 2024-06-01", fix="Make a new one.")]


def test_an_immutable_env_is_not_an_error_when_nothing_changes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may protect an env with chattr(1)."""
    host.write(OLD)
    monkeypatch.setattr(files, "_flags", lambda path: 0x10 if path == str(host.env) else 0)
    assert not host.write(OLD)["changed"]
    before = host.files()
    with pytest.raises(env_history.EnvError, match=r"is immutable: chattr -i .*\.env\. The env was left as it is"):
        host.write(NEW)
    assert host.files() == before


# --- writing --------------------------------------------------------------------------------------------------------


def test_the_first_write(host: Host) -> None:
    change = host.write(NEW)
    assert host.values() == NEW
    assert stat.S_IMODE(host.env.stat().st_mode) == 0o600
    assert change == {
        "changed": True,
        "version": f"20260528T202640Z-{fingerprint(dotenv.encode(NEW))[7:]}",
        "backup": None,
        "fingerprint": fingerprint(dotenv.encode(NEW)),
        "before": None,
        "after": {"KEY": fingerprint("new-new-new")},
        "why": ["content"],
    }
    (version,) = host.versions()
    assert version == {
        "id": change["version"],
        "time": "2026-05-28T20:26:40Z",
        "file": f"{change['version']}.env",
        "fingerprint": change["fingerprint"],
        "variables": {"KEY": fingerprint("new-new-new")},
        "good": False,
        "why": "site",
    }


def test_the_history_is_for_root_alone(host: Host) -> None:
    host.write(NEW)
    host.good(NEW)
    for directory in (host.history, host.history.parent, host.history.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {mode for mode, _content in host.files().values()} == {0o600}
    host.history.chmod(0o755)
    host.write(OLD)
    assert stat.S_IMODE(host.history.stat().st_mode) == 0o700


def test_the_same_values_again_write_nothing(host: Host) -> None:
    host.write(NEW)
    before, stamp = host.files(), host.env.stat().st_mtime_ns
    change = host.write(NEW)
    assert (change["changed"], change["why"], change["backup"]) == (False, [], None)
    assert (host.files(), host.env.stat().st_mtime_ns) == (before, stamp)


def test_the_previous_version_is_kept(host: Host) -> None:
    first = host.write(OLD)
    change = host.write(NEW)
    assert change["backup"] == first["version"]
    assert change["before"] == {"KEY": fingerprint("old-old-old")}
    assert host.kept() == [OLD, NEW]
    assert host.values() == NEW


def test_a_file_that_we_did_not_write_is_kept_as_found(host: Host) -> None:
    host.env.write_text("KEY=theirs # mine\n")
    change = host.write(NEW)
    found, ours = host.versions()
    assert (found["why"], ours["why"]) == ("found", "site")
    assert change["backup"] == found["id"]
    assert (host.history / found["file"]).read_text() == "KEY=theirs # mine\n"
    assert stat.S_IMODE((host.history / found["file"]).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"KEY='open\nhush-hush==\n", b"\0" * 100])
def test_a_damaged_file_is_kept_byte_for_byte(host: Host, content: bytes) -> None:
    host.env.write_bytes(content)
    change = host.write(NEW)
    assert change["before"] == {}
    assert (host.history / host.versions()[0]["file"]).read_bytes() == content
    assert host.values() == NEW


def test_a_piece_of_a_secret_that_looks_like_a_name_is_not_shown(host: Host) -> None:
    host.env.write_text("KEY=abc\nMIIEvQIBADANBg+=\nMIIEvQIBADANBg==\n".replace("+", ""))
    change = host.write(NEW)
    assert "MIIEvQ" not in json.dumps([change, host.versions()])


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("mode", "uid", "gid", "why"), [(0o644, -1, -1, ["mode"]), (0o600, 7, 8, ["owner", "group"]), (0o600, -1, -1, [])]
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes owners")
def test_mode_and_owner_are_corrected(host: Host, mode: int, uid: int, gid: int, why: list[str], dry_run: bool) -> None:
    host.write(NEW)
    host.env.chmod(mode)
    content, versions = host.env.read_bytes(), host.versions()
    change = host.write(NEW, uid=uid, gid=gid, dry_run=dry_run)
    assert (change["changed"], change["why"]) == (bool(why), why)
    status = host.env.stat()
    expected = (mode, 0, 0) if dry_run else (0o600, max(uid, 0), max(gid, 0))
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == expected
    assert (host.env.read_bytes(), host.versions()) == (content, versions)


def test_a_link_is_replaced_by_a_file(host: Host) -> None:
    (host.root / "elsewhere").write_text(dotenv.encode(NEW))
    host.env.symlink_to(host.root / "elsewhere")
    assert host.write(NEW)["why"] == ["content"]
    assert not host.env.is_symlink()
    assert host.values() == NEW


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run_touches_nothing(host: Host, there: bool) -> None:
    if there:
        host.env.write_text("KEY=theirs\n")
    before = host.files()
    change = host.write(NEW, dry_run=True)
    assert change["changed"]
    assert host.files() == before
    assert not host.history.exists()
    assert (change["backup"] is not None) == there


def test_invalid_values_are_not_written(host: Host) -> None:
    host.write(OLD)
    before = host.files()
    with pytest.raises(
        env_history.InvalidValues, match=r"^KEY: expired: it expired on 2024-06-01\. Fix: Make a new one\.$"
    ) as caught:
        host.write(NEW, validate=refuse)
    assert caught.value.findings == refuse({})
    assert host.files() == before


@pytest.mark.parametrize(
    ("obstacle", "part"),
    [
        ("directory", "is not a file"),
        ("no directory", "create it before"),
        ("large", "far too much for such a file"),
        ("file", "a file"),
    ],
)
def test_an_obstacle_is_named(host: Host, obstacle: str, part: str) -> None:
    if obstacle == "directory":
        host.env.mkdir()
    elif obstacle == "no directory":
        host.env.parent.rmdir()
    elif obstacle == "large":
        with open(host.env, "wb") as stream:
            stream.truncate(1 << 30)
    else:
        host.history.parent.parent.mkdir()
        host.history.parent.write_text("")
    with pytest.raises(env_history.EnvError, match=part):
        host.write(NEW)


def test_a_value_that_no_file_can_hold_is_refused(host: Host) -> None:
    with pytest.raises(env_history.EnvError, match="KEY: its value has a NUL byte"):
        host.write({"KEY": "hush\0"})
    assert host.files() == {}


# --- the history ----------------------------------------------------------------------------------------------------


def test_the_history_keeps_as_many_as_configured_and_the_last_good_ones(host: Host) -> None:
    for index in range(3):
        host.write({"KEY": f"good-{index}"})
        host.good({"KEY": f"good-{index}"})
    for index in range(9):
        host.write({"KEY": f"value-{index}"}, keep=4)
    kept = [values["KEY"] for values in host.kept()]
    assert kept == ["good-1", "good-2", "value-5", "value-6", "value-7", "value-8"]
    on_disk = {name for name in os.listdir(host.history) if name != "index.json"}
    versions = host.versions()
    assert on_disk == {version["file"] for version in versions} | {f"{v['id']}.good" for v in versions if v["good"]}


def test_a_value_that_changes_back_and_forth_does_not_displace_other_versions(host: Host) -> None:
    host.write(OTHER)
    for _round in range(20):
        host.write(OLD, keep=3)
        host.write(NEW, keep=3)
    assert host.kept() == [OTHER, OLD, NEW]


def test_a_version_is_marked_as_good(host: Host) -> None:
    assert env_history.last_good(str(host.history)) is None
    host.write(OLD)
    host.write(NEW)
    assert host.good(OLD)
    assert host.good(OLD)
    assert not host.good(OTHER)
    last = env_history.last_good(str(host.history))
    assert last is not None
    assert last["fingerprint"] == fingerprint(dotenv.encode(OLD))


def test_remember_keeps_the_current_env_once(host: Host) -> None:
    env, history = str(host.env), str(host.history)
    assert not env_history.remember(env, history, now=NOON)
    assert not host.history.exists()
    host.env.write_text("KEY=theirs\n")
    assert env_history.remember(env, history, now=NOON)
    assert not env_history.remember(env, history, now=NOON + 1)
    assert [version["why"] for version in host.versions()] == ["found"]
    host.write(NEW)
    assert not env_history.remember(env, history, now=NOON + 2)


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"versions": 3}',
        b'{"versions": [3]}',
        b'{"versions": [{"id": "../../x"}]}',
        b"\xff",
        b"[" * 100_000,
        None,
    ],
    ids=["empty", "cut", "a list", "null", "a number", "numbers", "a path", "no text", "deep", "gone"],
)
def test_a_damaged_index_loses_no_version(host: Host, index: bytes | None) -> None:
    host.write(OLD)
    host.good(OLD)
    host.write(NEW)
    before = [{**version, "why": ""} for version in host.versions()]
    path = host.history / "index.json"
    path.unlink() if index is None else path.write_bytes(index)
    (host.history / "notes.txt").write_text("a person's")
    (host.history / "20250101T000000Z-000000000000.env").write_text("KEY=damaged")
    assert [{**version, "why": ""} for version in host.versions()] == before
    assert host.restore()["changed"]
    assert host.values() == OLD
    assert (host.history / "notes.txt").exists()
    assert json.loads(path.read_bytes())["versions"]


def test_a_version_whose_file_is_missing_is_not_listed(host: Host) -> None:
    host.write(OLD)
    host.write(NEW)
    (host.history / host.versions()[0]["file"]).unlink()
    assert host.kept() == [NEW]


# --- restoring ------------------------------------------------------------------------------------------------------


def test_restore_takes_the_newest_good_one_that_differs(host: Host) -> None:
    for values in (OTHER, OLD, NEW):
        host.write(values)
        host.good(values)
    host.env.write_text("KEY=your_key_here\n")
    assert host.restore()["version"] == host.versions()[-1]["id"]
    assert host.values() == NEW
    assert [version["why"] for version in host.versions()][-2:] == ["found", "restore"]
    host.restore()
    assert host.values() == OLD, "a restore skips the good version in force"


def test_restore_is_byte_for_byte_and_sets_the_mode(host: Host) -> None:
    host.env.write_text("# by hand\nKEY=good # yes\n")
    env_history.remember(str(host.env), str(host.history), now=NOON)
    env_history.mark_good(str(host.history), fingerprint("# by hand\nKEY=good # yes\n"))
    host.env.unlink()
    change = host.restore()
    assert host.env.read_text() == "# by hand\nKEY=good # yes\n"
    assert stat.S_IMODE(host.env.stat().st_mode) == 0o600
    assert (change["before"], change["backup"]) == (None, None)


def test_restore_in_a_dry_run(host: Host) -> None:
    host.write(OLD)
    host.good(OLD)
    host.write(NEW)
    before = host.files()
    assert host.restore(dry_run=True)["changed"]
    assert host.files() == before


def test_a_good_version_that_is_invalid_today_is_skipped(host: Host) -> None:
    for values in (OTHER, OLD, NEW):
        host.write(values)
        host.good(values)
    host.restore(validate=lambda values: refuse(values) if values == OLD else [])
    assert host.values() == OTHER


NOTHING = [
    ("no history", lambda host: None, "holds no version"),
    ("nothing good", lambda host: host.write(NEW), "none of the 1 versions in .* was ever good"),
    (
        "only the current version",
        lambda host: (host.write(NEW), host.good(NEW)),
        "the only good version is the one in force",
    ),
    (
        "damaged",
        lambda host: (
            *(host.write(OLD), host.good(OLD), host.write(NEW)),
            (host.history / host.versions()[0]["file"]).write_text("KEY=x"),
        ),
        r"every good version is unusable: \S+ \(its file is damaged or gone\)",
    ),
]


@pytest.mark.parametrize(("prepare", "part"), [row[1:] for row in NOTHING], ids=[row[0] for row in NOTHING])
def test_nothing_to_restore_is_a_clear_error(host: Host, prepare: Any, part: str) -> None:
    prepare(host)
    before = host.files()
    with pytest.raises(env_history.EnvError, match=part) as caught:
        host.restore()
    assert "state: present" in str(caught.value)
    assert host.files() == before


# --- the example ----------------------------------------------------------------------------------------------------


def test_the_example(host: Host) -> None:
    path = host.root / "app" / ".env.example"
    assert env_history.write_example(str(path), "A=\n", dry_run=True)["changed"]
    assert not path.exists()
    assert env_history.write_example(str(path), "A=\n") == {
        "changed": True,
        "before": None,
        "after": "A=\n",
        "why": ["content"],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not env_history.write_example(str(path), "A=\n")["changed"]
    path.chmod(0o600)
    assert env_history.write_example(str(path), "A=\n")["why"] == ["mode"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert env_history.write_example(str(path), "B=\n")["before"] == "A=\n"


# --- killed, and out of space ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """Simulates SIGKILL: nothing may run after it."""


def killed_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let ``steps`` calls that change the disk pass, and none after them, not even to clean up."""
    left = iter(range(steps))

    def guard(call: Any) -> Any:
        def guarded(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return call(*arguments, **named)

        return guarded

    for name in ("open", "fchmod", "fchown", "fsync", "replace", "unlink", "makedirs", "chmod"):
        patch.setattr(os, name, guard(getattr(os, name)))


@pytest.mark.parametrize("act", ["write", "restore", "write over a file that we did not write"])
def test_a_kill_at_any_point_loses_nothing_and_the_next_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    for steps in itertools.count():
        root = tmp_path / str(steps)
        root.mkdir()
        host = Host(root)
        if act == "write over a file that we did not write":
            host.env.write_text("KEY=old-old-old\n")
        else:
            host.write(NEW)
            host.good(NEW)
            host.write(OLD)

        def run(host: Host = host) -> env_history.Change:
            return host.restore() if act == "restore" else host.write(NEW)

        in_force = host.env.read_bytes()
        done = False
        with monkeypatch.context() as patch:
            killed_after(patch, steps)
            try:
                run()
                done = True
            except Killed:
                pass
        assert host.env.read_bytes() in (in_force, dotenv.encode(NEW).encode())
        contents = [host.env.read_bytes(), *((host.history / v["file"]).read_bytes() for v in host.versions())]
        assert in_force in contents
        if act == "restore" and host.values() == NEW:
            host.write(OLD)  # a restore skips the version in force
        run()
        assert host.values() == NEW
        assert OLD in host.kept()
        assert not [name for name in host.files() if ".selfheal-" in name] or not done
        if done:
            assert steps > 10
            break


@contextlib.contextmanager
def too_large_a_file(path: Path) -> Iterator[Host]:
    """A host on which no file may exceed 64 bytes. The limit ends with the block, because pytest writes files, too."""
    host = Host(path)
    host.write(OLD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        yield host
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def full_file_system(path: Path) -> Iterator[Host]:
    """A host on a file system without a free block, for root only."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow a mount")
    try:
        host = Host(path)
        host.write(OLD)
        with open(path / "ballast", "wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"x" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        yield host
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("full", [too_large_a_file, full_file_system])
def test_a_full_disk_leaves_the_old_file(full: Callable[[Path], Any], tmp_path: Path) -> None:
    with full(tmp_path) as host:
        before = host.files()
        with pytest.raises(OSError) as caught:
            host.write({"KEY": "x" * 500})
        after, values = host.files(), host.values()
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert str(host.root) in str(caught.value.filename)
    assert after == before
    assert values == OLD


def test_what_a_person_wrote_is_a_runs_once_a_run_has_written_the_same(host: Host) -> None:
    host.write(OLD)
    host.env.write_text(dotenv.encode(NEW), encoding="utf-8")
    env_history.remember(str(host.env), str(host.history), now=next(host.clock))
    assert [one["why"] for one in host.versions()] == ["site", "found"]
    assert not host.write(NEW)["changed"]
    assert [one["why"] for one in host.versions()] == ["site", "site"]
