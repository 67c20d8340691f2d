# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""rsync copies over a connection whose sudo may ask for a password: a real rsync, with stand-ins for ssh and sudo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.action.rsync import ActionModule
from ansible_collections.christmas.selfheal.plugins.plugin_utils.rsync import (
    SUDO_PASSWORD,
    Connection,
    rsync_command,
    ssh_words,
)

PASSWORD = 'it\'s $HOME "100%"'

# As ssh: options, the host, and words that the host's shell reads. It logs how it was called.
SSH = """#!/bin/sh
printf '%s\\n' "$@" >>"$0.log"
while [ "$1" != host ]; do shift; done
shift
exec sh -c "$*"
"""
# As sudo: it asks for the password on its standard input, one byte at a time, unless it asks for none.
SUDO = """#!/bin/sh
printf '%s\\n' "$@" >>"$0.log"
while :; do case "$1" in
    -kn|-n) [ -n "$NO_PASSWORD" ] || exit 1 ;;
    -kS) IFS= read -r given; [ "$given" = "$EXPECTED" ] || { echo "sudo: no password was provided" >&2; exit 1; } ;;
    -p|-u) shift ;;
    *) break ;;
esac; shift; done
exec "$@"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def copied(
    programs: Path, source: str, target: str, *, sudo: str = "root", given: str = "", no_password: str = "", **more: Any
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    ssh = ssh_words(str(programs / "ssh"), port=2222, key="", options=["-o 'Name=a b'"], checks_keys=True, seconds=9)
    wanted: dict[str, Any] = {"pull": False, "options": (), "dry": False, **more}
    command = rsync_command(Connection(ssh, "host", "", sudo, bool(given)), source, target, **wanted)
    variables = {"EXPECTED": PASSWORD, "NO_PASSWORD": no_password, SUDO_PASSWORD: given}
    path = f"{programs}:{os.environ['PATH']}"
    ended = subprocess.run(
        command, env={**os.environ, **variables, "PATH": path}, text=True, capture_output=True, check=False, timeout=30
    )
    return command, ended


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "app.py").write_text("1", encoding="utf-8")
    (folder / "sub" / "large").write_bytes(os.urandom(300_000))
    return folder


@pytest.mark.parametrize(
    ("sudo", "given", "no_password"),
    [("", "", ""), ("root", "", "yes"), ("root", PASSWORD, ""), ("root", PASSWORD, "yes")],
    ids=["root", "sudo without a password", "sudo with a password", "sudo that asks for none, though one is given"],
)
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_folder_is_mirrored(
    programs: Path, project: Path, tmp_path: Path, sudo: str, given: str, no_password: str, pull: bool
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    ways: dict[str, Any] = {"sudo": sudo, "given": given, "no_password": no_password, "pull": pull}
    command, ended = copied(programs, f"{project}/", f"{target}/", **ways)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (target / "sub/large").read_bytes() == (project / "sub/large").read_bytes()
    assert not (target / "old").exists()
    assert f"{'>' if pull else '<'}f+++++++++ app.py" in ended.stdout.splitlines()
    # A second copy finds nothing to do, though the times differ.
    os.utime(project / "app.py", (1, 1))
    assert "app.py" not in copied(programs, f"{project}/", f"{target}/", **ways)[1].stdout
    logs = "".join(path.read_text(encoding="utf-8") for path in programs.glob("*.log"))
    assert PASSWORD not in "".join([logs, *command])
    assert "Name=a b\n" in logs
    assert "Port=2222\n" in logs


def test_a_dry_run_says_what_would_be_copied(programs: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    _unused, ended = copied(programs, f"{project}/", f"{tmp_path}/target/", given=PASSWORD, dry=True)
    assert "<f+++++++++ app.py" in ended.stdout
    assert list((tmp_path / "target").iterdir()) == []


def test_a_wrong_password_is_an_error_and_ends(programs: Path, project: Path, tmp_path: Path) -> None:
    _unused, ended = copied(programs, f"{project}/", f"{tmp_path}/target/", given="wrong")
    assert ended.returncode != 0
    assert "sudo: no password was provided" in ended.stderr
    assert "wrong" not in ended.stderr


@pytest.mark.parametrize(
    ("user", "address", "place"),
    [("", "10.0.0.5", "10.0.0.5"), ("joe", "10.0.0.5", "joe@10.0.0.5"), ("joe", "fd57::5", "[joe@fd57::5]")],
)
def test_the_place_on_the_host(user: str, address: str, place: str) -> None:
    command = rsync_command(Connection(("ssh",), address, user), "/a/", "/b/", pull=False, options=(), dry=False)
    assert command[-2:] == ["/a/", f"{place}:/b/"]


class _Becoming:
    name = "ansible.builtin.su"


class _Over:
    def __init__(self, transport: str, become: object) -> None:
        self.transport, self.become = transport, become


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        (_Over("local", None), "over ssh only, and this connection is local"),
        (_Over("ssh", _Becoming()), "with sudo only, not with ansible.builtin.su"),
    ],
)
def test_what_cannot_be_used_is_refused(connection: _Over, said: str) -> None:
    action = object.__new__(ActionModule)
    action._connection = connection
    assert said in action._problem()
