# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commands: their results, and the messages when one cannot run or does not end."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands


@pytest.mark.parametrize(
    ("argv", "stdin", "expected"),
    [
        (["sh", "-c", "cat; echo bad >&2; exit 3"], "given", commands.Result(3, "given", "bad\n")),
        (["sh", "-c", "cat"], None, commands.Result(0, "", "")),
        (["selfheal-no-such-command"], None, commands.Result(127, "", "selfheal-no-such-command is not installed")),
        (["/"], None, commands.Result(126, "", "/ cannot be run: Permission denied")),
    ],
    ids=["its code, output and errors", "no input", "not installed", "no program"],
)
def test_what_a_command_did(argv: list[str], stdin: str | None, expected: commands.Result) -> None:
    assert commands.run(argv, 10.0, stdin) == expected


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert commands.run(["true"], 10.0, cwd=gone) == commands.Result(126, "", f"{gone} is not a directory")


def test_a_command_that_does_not_end_is_killed_with_its_children() -> None:
    """Its output until then is kept. Its child would hold the pipe open for a minute."""
    done = commands.run(["sh", "-c", "echo begun; sleep 60; echo over"], 0.5)
    assert (done.code, done.out) == (124, "begun\n")
    assert done.err == "sh -c echo begun; sleep 60; echo over … did not end within 0 s"


def test_a_child_outside_its_process_group_is_not_waited_for() -> None:
    done = commands.run(["sh", "-c", "setsid sleep 3 & sleep 60"], 0.2)
    assert (done.code, done.out) == (124, "")


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (commands.Result(1, "", "pulling\nError: no such image\nsee --help\n"), "Error: no such image"),
        (commands.Result(1, "", "first\nlast\n"), "last"),
        (commands.Result(1, "said here\n", ""), "said here"),
        (commands.Result(9, "", " \n"), "exit code 9 and no message"),
    ],
)
def test_the_line_with_the_reason(done: commands.Result, reason: str) -> None:
    assert done.reason == reason


def test_its_environment_is_the_same_for_every_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere.yaml")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    given = commands.environment("/opt/shop")
    assert "COMPOSE_FILE" not in given
    assert (given["DOCKER_HOST"], given["PWD"], given["LC_ALL"]) == ("unix:///run/other.sock", "/opt/shop", "C.UTF-8")


def test_a_user_without_a_name_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_user: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert commands.environment()["HOME"] == "/"
