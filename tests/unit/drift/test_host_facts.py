# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The facts of a host, also when one of its commands fails."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import host_facts as drift_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.releases.store import Release
from ansible_collections.christmas.selfheal.tests.unit.world import TOKEN, Container, World, digest, simulated

PRINTED = {
    "dpkg-query": "installed haproxy 3.0.1-1\nconfig-files nginx 1.2-3\n",
    "sshd": "port 22\n",
    "ss": 'LISTEN 0 4096 0.0.0.0:80 0.0.0.0:* users:(("haproxy",pid=9,fd=4))\n',
}


def entries(monkeypatch: pytest.MonkeyPatch, broken: str, code: int) -> tuple[dict[str, str], list[str]]:
    def run(argv: Sequence[str], _timeout: float) -> commands.Result:
        if argv[0] == broken:
            return commands.Result(code, "", "it hangs")
        return commands.Result(0, PRINTED.get(argv[0], ""), "")

    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(drift_facts, "FOLDERS", ())
    problems: list[str] = []
    return dict(drift_facts._entries(set(), [], problems)), problems


@pytest.mark.parametrize(
    ("broken", "entry", "unasked", "problem_count"),
    [
        ("dpkg-query", "package haproxy", "unasked package", 1),
        ("ss", "listens 80", "unasked listens", 1),
        # On some hosts sshd never answers.
        ("sshd", "sshd port", "unasked sshd", 0),
    ],
)
def test_what_cannot_be_read_does_not_count_as_missing(
    monkeypatch: pytest.MonkeyPatch, broken: str, entry: str, unasked: str, problem_count: int
) -> None:
    found, problems = entries(monkeypatch, "nothing", 1)
    assert entry in found
    assert (unasked in found, problems) == (False, [])
    found, problems = entries(monkeypatch, broken, 1)
    assert entry not in found
    assert (unasked in found, len(problems)) == (True, problem_count)


def test_a_port_that_a_role_opens_is_not_in_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"/etc/haproxy/selfheal/shop.cfg": b"frontend shop\n    bind *:80\n    bind :::443 v4v6 ssl crt x\n"}
    monkeypatch.setattr(drift_facts, "read_small", kept.get)
    assert drift_facts._balanced({"shop"}) == {"80", "443"}
    monkeypatch.setattr(
        commands,
        "run",
        lambda *_: commands.Result(0, PRINTED["ss"] + 'LISTEN 0 9 *:81 *:* users:(("haproxy",pid=9,fd=5))', ""),
    )
    assert dict(drift_facts._listening([], {"80", "443"})) == {"listens 81": "haproxy"}


def test_a_command_that_is_not_installed_is_not_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    found, problems = entries(monkeypatch, "dpkg-query", 127)
    assert "unasked package" not in found
    assert problems == []


def test_a_job_is_not_expected_to_have_a_container() -> None:
    good: Release = {"env": "", "images": {"web": "1", "migrate": "2"}, "jobs": ["migrate"]}
    found = drift_facts._desired(app_paths("shop"), good, {"services": {"web": {}, "migrate": {}}})
    assert {name: one["wanted"] for name, one in found.items()} == {"web": True, "migrate": False}


# --- the whole host --------------------------------------------------------------------------------------------------


def journal(message: str, at: int) -> str:
    return json.dumps({"MESSAGE": message, "_PID": "7", "__REALTIME_TIMESTAMP": str(at * 1_000_000)})


HOST = {
    "systemctl list-unit-files": "docker.service enabled\nselfheal@.timer enabled\ngetty.service static\n",
    "systemctl list-units": "selfheal@shop.timer loaded active waiting\n",
    "iptables -w 5 -S INPUT": "-P INPUT DROP\n-A INPUT -p tcp --dport 80 -j ACCEPT\n",
    "iptables -w 5 -S FORWARD": "-P FORWARD DROP\n-A FORWARD -j DOCKER\n",
    "journalctl": "\n".join(
        [
            journal("Accepted publickey for ada from 192.0.2.7 port 50022 ssh2", 1000),
            "no JSON",
            journal("pam_unix(sshd:session): session closed for user ada", 1060),
            journal("Accepted password for bob from 192.0.2.8 port 50023 ssh2", 2000),
        ]
    ),
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A host with a deployed app, where a person has started a container by hand."""
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch) as it:
        monkeypatch.setattr(drift_facts, "FOLDERS", (f"{root}/etc",))
        deployment.deploy(it.app, clock=it.clock)
        it.docker.host = HOST
        byhand = Container("c99", "blog", "web", {"image": "blog:1"}, "sha256:b")
        byhand.state = "running"
        it.docker.containers["c99"] = byhand
        yield it


def test_containers_of_the_app_have_their_settings_and_others_are_in_the_baseline(world: World) -> None:
    found = drift_facts.read(world.app.paths, "/src/shop")
    ours = {one["service"]: one for one in found["containers"] if one["ours"]}
    assert {name: one["settings"] for name, one in ours.items()} == {
        name: one["settings"] for name, one in found["desired"].items()
    }
    assert ours["web"]["settings"]["ports"] == ["*:8000->8000/tcp"]
    assert ours["web"]["env"] == found["desired"]["web"]["env"] != {}
    assert found["images"]["web"] == {"name": "shop:1", "id": digest("version 1"), "wanted": digest("version 1")}
    assert found["marks"]["container blog-web-99"] == "runs blog:1"
    assert "container shop-web-2" not in found["marks"]
    assert (found["source"], found["problems"], found["busy"]) == ("/src/shop", [], False)
    assert TOKEN not in json.dumps(found)


def test_the_baseline_has_what_the_hosts_programs_print(world: World) -> None:
    entries_ = drift_facts.read(world.app.paths)["marks"]
    assert {name: text for name, text in entries_.items() if name.startswith(("unit", "timer", "firewall"))} == {
        "unit docker.service": "enabled",
        "timer selfheal@shop.timer": "active",
        "firewall -P INPUT DROP": "set",
        "firewall -A INPUT -p tcp --dport 80 -j ACCEPT": "set",
        "firewall -P FORWARD DROP": "set",
    }
    assert f"file {world.root}/etc/selfheal/shop.json" in entries_


def test_a_session_has_a_user_an_address_and_an_end(world: World) -> None:
    assert drift_facts.read(world.app.paths)["logins"] == [
        {"user": "ada", "from": "192.0.2.7", "begun": 1000.0, "ended": 1060.0},
        {"user": "bob", "from": "192.0.2.8", "begun": 2000.0, "ended": 0.0},
    ]


def test_files_of_the_project_are_distinguished_from_our_own(world: World) -> None:
    (world.root / "opt/shop/notes.txt").write_text("x", encoding="utf-8")
    (world.root / "opt/shop/old.yaml.replaced").write_text("x", encoding="utf-8")
    found = drift_facts.read(world.app.paths)
    assert found["project"] == ["compose.yaml", "notes.txt", "src/app.py"]
    assert found["files"][f"{world.app.paths.directory}/notes.txt"]["mode"][0] == "0"
    assert f"{world.app.paths.directory}/src" in found["folders"]


def test_an_engine_that_does_not_answer_is_a_problem_and_not_a_drift(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspected(*_unused: Any) -> list[Any]:
        raise engine.EngineError("the Docker engine does not answer")

    monkeypatch.setattr(docker_containers, "inspected", inspected)
    found = drift_facts.read(world.app.paths)
    assert found["problems"] == ["the Docker engine does not answer"]
    assert (found["release"], found["desired"], found["containers"], found["images"]) == ({}, {}, [], {})
