# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Another run is given what it needs to connect to the same hosts."""

from __future__ import annotations

import pytest
from ansible.cli.playbook import PlaybookCLI

from ansible_collections.christmas.selfheal.plugins.plugin_utils import command_line

CASES: list[tuple[str, dict[str, object], list[str]]] = [
    ("nothing", {}, []),
    ("two inventories", {"inventory": ("/a", "/b")}, ["--inventory=/a", "--inventory=/b"]),
    ("a user and a number", {"remote_user": "ada", "forks": 5}, ["--user=ada", "--forks=5"]),
    ("variables", {"extra_vars": ("a=1", "@b.yml")}, ["--extra-vars=a=1", "--extra-vars=@b.yml"]),
    (
        "a value that begins with a dash",
        {"ssh_common_args": "-oUserKnownHostsFile=/x -C"},
        ["--ssh-common-args=-oUserKnownHostsFile=/x -C"],
    ),
    ("empty values", {"remote_user": "", "private_key_file": None, "vault_ids": []}, []),
    ("become", {"become": True, "become_user": "root"}, ["--become-user=root", "--become"]),
]


@pytest.mark.parametrize(("given", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_options_are_passed_on(given: dict[str, object], words: list[str]) -> None:
    assert command_line.passed_on(given) == words


@pytest.mark.parametrize(("option", "name"), command_line.ONE)
def test_ansible_reads_each_option_as_it_was_given(option: str, name: str) -> None:
    """The parser is that of ansible-playbook: of two words, it takes the second for an option of its own."""
    value: object = "/x/a b" if name.endswith("_file") else "-oA=b"
    value = 7 if name in ("timeout", "forks") else value
    parser = PlaybookCLI(["ansible-playbook"])
    parser.init_parser()
    read = parser.parser.parse_args([*command_line.passed_on({name: value}), "site.yml"])
    assert getattr(read, name) == value, option


@pytest.mark.parametrize(("name", "option"), command_line.ASKED)
def test_a_typed_password_is_refused(name: str, option: str) -> None:
    with pytest.raises(command_line.TypedPassword, match=f"use {option} FILE"):
        command_line.passed_on({name: True})
