# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that are replaced atomically, errors that are explained, and files that are too large to be read."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import files


def left_behind(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".")]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
@pytest.mark.parametrize("there", [False, True])
def test_it_writes_with_the_given_mode(tmp_path: Path, mode: int, there: bool) -> None:
    path = tmp_path / "env"
    if there:
        path.write_text("old")
        path.chmod(0o666)
    files.atomic_write(str(path), b"new\0\xff", mode)
    assert path.read_bytes() == b"new\0\xff"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert left_behind(tmp_path) == []


def test_the_umask_does_not_change_the_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.atomic_write(str(tmp_path / "example"), b"", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "example").stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner(tmp_path: Path) -> None:
    path = tmp_path / "env"
    files.atomic_write(str(path), b"1", uid=1234, gid=2345)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    files.atomic_write(str(path), b"2")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345), "kept without another owner"
    files.atomic_write(str(path), b"3", uid=0)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 2345)


def test_a_link_is_replaced_and_what_it_points_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "env").symlink_to("target")
    files.atomic_write(str(tmp_path / "env"), b"ours")
    assert not (tmp_path / "env").is_symlink()
    assert (tmp_path / "target").read_text() == "theirs"


@pytest.mark.parametrize("call", ["open", "fchmod", "fsync", "replace"])
def test_after_an_error_only_the_old_file_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "env"
    path.write_text("old")

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(os, call, fail)
        files.atomic_write(str(path), b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert left_behind(tmp_path) == []


def test_a_missing_directory_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/none/env")):
        files.atomic_write(f"{tmp_path}/none/env", b"")


def test_a_reader_never_sees_a_partial_file(tmp_path: Path) -> None:
    path, sizes = tmp_path / "env", (1, 200_000)
    script = (
        "import sys; from pathlib import Path\n"
        "seen = {len(Path(sys.argv[1]).read_bytes()) for _ in range(3000)}\n"
        "sys.exit(not seen <= {1, 200000})"
    )
    files.atomic_write(str(path), b"x")
    reader = subprocess.Popen([sys.executable, "-c", script, str(path)])
    while reader.poll() is None:
        for size in sizes:
            files.atomic_write(str(path), b"x" * size)
    assert reader.returncode == 0


def test_old_temporary_files_of_killed_writes_are_removed(tmp_path: Path) -> None:
    now = time.time()
    for name, age in ((".env.selfheal-0a1b", 700), (".env.selfheal-0a1c", 10), (".env", 700), ("env.selfheal-1", 700)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (now - age, now - age))
    assert files.sweep_temporaries(str(tmp_path), 600, now) == [".env.selfheal-0a1b"]
    assert sorted(os.listdir(tmp_path)) == [".env", ".env.selfheal-0a1c", "env.selfheal-1"]


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (errno.ENOSPC, "the disk is full; nothing was replaced"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "become: true"),
        (errno.ENOENT, "the directory is missing"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_are_explained(number: int, part: str) -> None:
    text = files.explain(OSError(number, os.strerror(number), "/opt/shop/.env"))
    assert text.startswith("/opt/shop/.env: ")
    assert part in text


@pytest.mark.parametrize(
    ("place", "flags", "reason"),
    [
        ("env", 0x80000, ""),
        ("env", 0x80010, "{env} is immutable: chattr -i {env}"),
        ("env", 0x20, "{env} is append-only: chattr -a {env}"),
        ("folder", 0x10, "{folder} is immutable: chattr -i {folder}"),
    ],
    ids=["another flag", "immutable", "append-only", "the folder"],
)
def test_flags_are_named_with_their_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, flags: int, reason: str
) -> None:
    paths = {"folder": str(tmp_path), "env": str(tmp_path / ".env")}
    reason = reason.format(**paths)
    monkeypatch.setattr(files, "_flags", lambda path: flags if path == paths[place] else 0)
    assert files.flagged(paths["env"]) == reason
    explained = files.explain(OSError(errno.EPERM, "Operation not permitted", paths["env"]))
    assert (reason or "become: true") in explained
    assert explained.startswith(paths["env"])


def test_the_flags_of_a_file_are_read_from_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("")
    assert files.flagged(str(tmp_path / "none")) == ""
    if subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True).returncode:
        pytest.skip("no flags here")
    try:
        assert files.flagged(str(path)) == f"{path} is immutable: chattr -i {path}"
        with pytest.raises(PermissionError) as refused:
            files.atomic_write(str(path), b"new")
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    assert refused.value.errno == errno.EPERM
    assert files.flagged(str(path)) == ""


def test_only_a_file_of_a_sensible_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert files.read_small(str(path)) is None
    path.write_bytes(b"A=1\n")
    assert files.read_small(str(path)) == b"A=1\n"
    os.truncate(path, 600 << 20)
    with pytest.raises(files.NoFile, match=r"600 MiB.*move it away"):
        files.read_small(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(files.NoFile, match="not a file"):
        files.read_small(str(path))
    with pytest.raises(files.NoFile, match="is a file; move it away"):
        files.read_small(f"{__file__}/.env")
