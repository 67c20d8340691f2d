# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run that selects no host, or an example address, fails before it connects. These tests send no packet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils import inventory
from ansible_collections.christmas.selfheal.plugins.plugin_utils.inventory import Target

REPOSITORY = Path(__file__).resolve().parents[3]
# init.yml has no inventory yet, and connects to no host.
# These two write an inventory; adopt runs site.yml on it, which begins with the check.
PLAYBOOKS = [path for path in sorted(REPOSITORY.glob("playbooks/*.yml")) if path.stem not in ("adopt", "init")]
ACTION = "christmas.selfheal.inventory_check"
OWN = "10.0.0.5"

# --- the targets of a run ---

ADDRESSES: list[tuple[str, dict[str, Any], str]] = [
    ("one's own address", {"ansible_host": OWN}, ""),
    ("one's own name", {"ansible_host": "web1.acme.dev"}, ""),
    ("a label that is not a host name", {}, ""),
    ("RFC 5737, first", {"ansible_host": "192.0.2.10"}, "address for documentation"),
    ("RFC 5737, second", {"ansible_host": "198.51.100.7"}, "address for documentation"),
    ("RFC 5737, third", {"ansible_host": "203.0.113.99"}, "address for documentation"),
    ("the older name of the variable", {"ansible_ssh_host": "192.0.2.10"}, "address for documentation"),
    ("RFC 3849", {"ansible_host": "2001:db8::1"}, "address for documentation"),
    ("RFC 2606", {"ansible_host": "web.example.com"}, "address for documentation"),
    ("RFC 2606, in capitals", {"ansible_host": "WEB.Example.ORG."}, "address for documentation"),
    ("a name that only ends like one", {"ansible_host": "my-example.com"}, ""),
    ("next to the range", {"ansible_host": "192.0.3.10"}, ""),
    ("shipped and not edited", {"ansible_host": OWN, "selfheal_example_address": OWN}, "was shipped with"),
    ("shipped and edited", {"ansible_host": OWN, "selfheal_example_address": "10.0.0.6"}, ""),
    (
        "a container of this machine",
        {"ansible_host": "192.0.2.10", "ansible_connection": "community.docker.docker"},
        "",
    ),
    ("this machine", {"ansible_host": "192.0.2.10", "ansible_connection": "local"}, ""),
    (
        "ssh by its full name",
        {"ansible_host": "192.0.2.10", "ansible_connection": "ansible.builtin.ssh"},
        "documentation",
    ),
]


@pytest.mark.parametrize(("variables", "said"), [case[1:] for case in ADDRESSES], ids=[case[0] for case in ADDRESSES])
def test_addresses(variables: dict[str, Any], said: str) -> None:
    found = inventory.problems([inventory.target("web1", variables)])
    assert len(found) == bool(said)
    for problem in found:
        assert problem.startswith("web1: ")
        assert said in problem
        assert "Fix: put your server's address into hosts.yml" in problem


def test_a_host_without_an_address_is_addressed_by_its_name() -> None:
    assert inventory.target("192.0.2.10", {}) == Target("192.0.2.10", "192.0.2.10", "", "")
    assert inventory.problems([inventory.target("192.0.2.10", {})])


@pytest.mark.parametrize("name", ["production", "staging"])
def test_the_example_inventories_are_refused_until_they_are_edited(name: str) -> None:
    group = yaml.safe_load((REPOSITORY / f"inventory/{name}/hosts.yml").read_text(encoding="utf-8"))["backends"]
    targets = [inventory.target(host, {**group["vars"], **own}) for host, own in group["hosts"].items()]
    assert len(inventory.problems(targets)) == len(targets) > 0
    edited = [inventory.target(host, {**group["vars"], "ansible_host": OWN}) for host in group["hosts"]]
    assert inventory.problems(edited) == []


GROUPS = {"all": ["web1", "db1"], "ungrouped": [], "web": ["web1"], "databases": ["db1"], "empty": []}
SELECTIONS: list[tuple[str, tuple[str, str, list[str], dict[str, list[str]]], tuple[str, ...]]] = [
    (
        "a group by another name",
        ("backends", "selfheal_hosts", [], GROUPS),
        ("`backends`", "databases (db1); web (web1)", "-e selfheal_hosts=", "backends: {children: {"),
    ),
    ("a limit that leaves none", ("web", "selfheal_hosts", ["web1"], GROUPS), ("`web` is web1", "--limit")),
    ("an empty inventory", ("backends", "selfheal_hosts", [], {"all": []}), ("no group", "(-i FILE)")),
    ("a group of its own", ("drift_controllers", "", [], GROUPS), ("`drift_controllers`", "children")),
]


@pytest.mark.parametrize(("given", "said"), [case[1:] for case in SELECTIONS], ids=[case[0] for case in SELECTIONS])
def test_no_host_is_an_error_that_names_the_groups(given: Any, said: tuple[str, ...]) -> None:
    message = inventory.missing(*given)
    assert [words for words in (*said, "Fix: ") if words not in message] == [], message
    assert ("selfheal_hosts" in message) == (given[0] == "backends" and len(given[3]) > 1)


# --- every playbook ---


def plays(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_begins_with_the_check(path: Path) -> None:
    """With any tags, and before the first play that connects."""
    first = plays(path)[0]
    if "ansible.builtin.import_playbook" in first:
        # Another playbook of this list, with no tags of its own here.
        assert first["ansible.builtin.import_playbook"] in [each.name for each in PLAYBOOKS if each != path]
        assert "tags" not in first
        return
    assert first["hosts"] == "all:localhost"
    assert first["gather_facts"] is False
    assert ACTION in first["tasks"][0]
    assert first["tasks"][0]["run_once"] is True
    assert path.stem == "inventory_check" or "tags" not in str(plays(path)[1:])
    assert path.stem != "inventory_check" or first["tags"] == "always"


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_playbook_requires_the_group_backends(path: Path) -> None:
    patterns = [play["hosts"] for play in plays(path) if "hosts" in play]
    assert [pattern for pattern in patterns if pattern.startswith("backends")] == []


def check(folder: Path, hosts: dict[str, Any], *words: str, playbook: str = "inventory_check.yml") -> Any:
    """Run a playbook with a program for ssh that only records its calls."""
    called, ssh = folder / "called", folder / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{called}\nexit 255\n', encoding="utf-8")
    ssh.chmod(0o755)
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    ended = subprocess.run(
        ["ansible-playbook", f"playbooks/{playbook}", "-i", str(folder / "hosts.yml"), *words],
        cwd=REPOSITORY,
        env={**kept, "ANSIBLE_SSH_EXECUTABLE": str(ssh), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, " ".join((ended.stdout + ended.stderr).split()), called.exists()


WEB = {"web": {"hosts": {"web1": {"ansible_host": OWN}}}, "databases": {"hosts": {"db1": {"ansible_host": OWN}}}}
UNEDITED = {"backends": {"hosts": {"backend1": {"ansible_host": "192.0.2.1"}}}}
SET = {"web": {"hosts": {"web1": {}}, "vars": {"selfheal_hosts": "web"}}}
PART = {**WEB, "backends": {"children": {"web": {}}}}
RUNS: list[tuple[str, dict[str, Any], list[str], int, str]] = [
    ("the group has another name", WEB, [], 2, "databases (db1); web (web1)"),
    ("the group is named with -e", WEB, ["-e", "selfheal_hosts=web"], 0, ""),
    ("the group is part of backends", PART, [], 0, ""),
    ("--limit leaves no host", PART, ["--limit", "db1"], 2, "--limit leaves none of them"),
    ("the variable is set in the inventory", SET, [], 2, "it chooses the hosts of a play"),
    ("an address of an example", UNEDITED, ["--tags", "compose_app"], 2, "192.0.2.1 is an address for documentation"),
    ("an option with a typing error", PART, ["-e", "selfheal_host=web"], 2, "Did you mean selfheal_hosts?"),
    ("an address on the command line", UNEDITED, ["-e", json.dumps({"ansible_host": OWN})], 0, ""),
]


@pytest.mark.parametrize(("hosts", "words", "code", "said"), [run[1:] for run in RUNS], ids=[run[0] for run in RUNS])
def test_a_run(tmp_path: Path, hosts: dict[str, Any], words: list[str], code: int, said: str) -> None:
    ended, message, connected = check(tmp_path, hosts, *words)
    assert (ended, connected) == (code, False), message
    assert said in message


def test_a_vault_in_plain_text_is_a_warning(tmp_path: Path) -> None:
    vault = tmp_path / "group_vars/all/vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text("vault_key: m4Zr7Qw9Lx2V\n")
    ended, message, _unused = check(tmp_path, PART)
    assert ended == 0
    assert message.count("is not encrypted") == 1
    assert "m4Zr7Qw9Lx2V" not in message


@pytest.mark.parametrize(("playbook", "code"), [("site.yml", 2), ("drift.yml", 4)])
def test_a_refused_run_connects_to_no_host(tmp_path: Path, playbook: str, code: int) -> None:
    """Exit code 2 would report drift. The last run shows that an allowed host is contacted."""
    words = ["--skip-tags", "validate", "-e", f"drift_reports_directory={tmp_path}"]
    assert check(tmp_path, UNEDITED, *words, playbook=playbook)[::2] == (code, False)
    if playbook == "site.yml":
        assert check(tmp_path, PART, *words, "-e", "selfheal_app=shop", playbook=playbook)[::2] == (4, True)


TYPOS = [("adopt.yml", "adopt=web1:/srv/shop adopt_dryrun=true"), ("init.yml", "from=/x selfheal_ap=shop")]


@pytest.mark.parametrize(("playbook", "given"), TYPOS, ids=[row[0] for row in TYPOS])
def test_adopt_and_init_refuse_an_option_with_a_typing_error(tmp_path: Path, playbook: str, given: str) -> None:
    code, said, connected = check(tmp_path, PART, "-e", given, playbook=playbook)
    assert (code, connected) == (2, False), said
    assert "Did you mean" in said
