# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The completion of `selfheal` on the host, in a real bash: it knows each command and option that people use."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli

SCRIPT = Path(__file__).resolve().parents[3] / "roles/watcher/files/completion.bash"
# What units and roles run.
INTERNAL = {"watch", "check-config", "check-backup-config"}


def commands() -> dict[str, argparse.ArgumentParser]:
    (chosen,) = (one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {name: one for name, one in chosen.choices.items() if name not in INTERNAL}


def words_of(command: argparse.ArgumentParser) -> set[str]:
    """The options and fixed words of a command."""
    found = {option for one in command._actions for option in one.option_strings if option not in ("-h", "--help")}
    for one in command._actions:
        if one.choices and not one.option_strings:
            found |= set(one.choices)
    return found


@pytest.fixture
def complete(tmp_path: Path) -> object:
    """Complete a command line on a host with two apps, shop and blog; blog has the services web and db."""
    for app in ("shop", "blog"):
        (tmp_path / f"{app}.json").touch()
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\ncase "$*" in *=blog*) echo web; echo web; echo db;; esac\n', encoding="utf-8")
    docker.chmod(0o755)
    script = SCRIPT.read_text(encoding="utf-8").replace("/etc/selfheal/", f"{tmp_path}/")

    def run(*words: str) -> set[str]:
        lines = [script, 'COMP_WORDS=("$@")', "COMP_CWORD=$(($# - 1))", "_selfheal", 'printf "%s\\n" "${COMPREPLY[@]}"']
        ran = subprocess.run(
            ["bash", "-c", "\n".join(lines), "bash", *words],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            text=True,
            capture_output=True,
            check=True,
        )
        assert ran.stderr == ""
        return set(ran.stdout.split())

    return run


def test_it_knows_every_command_and_option(complete: object) -> None:
    assert callable(complete)
    assert complete("selfheal", "") == set(commands())
    for name, command in commands().items():
        assert complete("selfheal", name, "-") == {word for word in words_of(command) if word.startswith("-")}
        assert complete("selfheal", name, "") >= words_of(command)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("selfheal", "st"), {"status"}),
        (("selfheal", "status", "--app", ""), {"shop", "blog"}),
        (("selfheal", "logs", "--app", "blog", "w"), {"web"}),
        (("selfheal", "logs", "--app", "shop", "w"), set()),
        (("selfheal", "logs", "--since", "1"), {"10m", "1h", "1d"}),
        (("selfheal", "incidents", "--last", ""), set()),
    ],
)
def test_what_is_begun_is_completed(complete: object, words: tuple[str, ...], expected: set[str]) -> None:
    assert callable(complete)
    assert complete(*words) == expected
