# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What changes the stamp of a host, and what does not: a change that it misses is found a day later."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy import deploy as deployment
from ansible_collections.christmas.selfheal.plugins.module_utils.drift import host_facts, host_stamp
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.host_stamp import Known
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import desired_files
from ansible_collections.christmas.selfheal.plugins.module_utils.host.desired_files import Wanted
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.tests.unit.world import World, simulated

UNITS = """\
Type=notify
Id=haproxy.service
ActiveState=active
UnitFileState=enabled

Id=selfheal@shop.timer
ActiveState=active
UnitFileState=enabled

Type=notify
Id=selfheal@shop.service
ActiveState=inactive
UnitFileState=static

Type=oneshot
Id=selfheal-backup@shop.service
ActiveState=inactive
UnitFileState=static
"""
HOST = {
    "systemctl show": UNITS,
    "systemctl list-unit-files": "docker.service enabled\n",
    "ss -Hltn": "LISTEN 0 4096 127.0.0.1:8001 0.0.0.0:*\nLISTEN 0 4096 0.0.0.0:80 0.0.0.0:*\n",
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A deployed app, with a file of a role outside the folders that are read whole."""
    with tempfile.TemporaryDirectory() as root, simulated(Path(root), monkeypatch) as it:
        monkeypatch.setattr(host_facts, "FOLDERS", (f"{root}/etc/selfheal",))
        monkeypatch.setattr(desired_files, "ROOTS", ("/etc/", "/usr/local/"))
        deployment.deploy(it.app, clock=it.clock)
        it.docker.host = dict(HOST)
        for name in ("etc/default", "etc/selfheal/sub"):
            (it.root / name).mkdir(parents=True, exist_ok=True)
        with desired_files.writing([Wanted("/etc/default/exporter", b"x\n", 0o644)], root):
            (it.root / "etc/default/exporter").write_text("x\n", encoding="utf-8")
        yield it


def stamp(world: World) -> str:
    return host_facts.read(world.app.paths)["stamp"]


def app(world: World, name: str) -> Path:
    return Path(world.app.paths.directory) / name


def replaced(path: Path) -> None:
    """Another content of the same length; the time tells."""
    content = path.read_bytes()
    path.write_bytes(bytes(reversed(content)))


def set_unit(world: World, old: str, new: str) -> None:
    world.docker.host = {**HOST, "systemctl show": UNITS.replace(old, new)}


def document(world: World) -> Callable[[str, object], None]:
    """Change an attribute of the running container of `web`."""

    def change(name: str, value: object) -> None:
        for one in world.docker.containers.values():
            setattr(one, name, value)

    return change


CHANGES: dict[str, Callable[[World], object]] = {
    "a file of a role": lambda world: replaced(world.root / "etc/selfheal/shop.json"),
    "its mode": lambda world: (world.root / "etc/selfheal/shop.json").chmod(0o600),
    "a new file in such a folder": lambda world: (world.root / "etc/selfheal/sub/x").write_text("x"),
    "the mode of a folder": lambda world: (world.root / "etc/selfheal/sub").chmod(0o700),
    "a recorded file elsewhere": lambda world: replaced(world.root / "etc/default/exporter"),
    "a recorded file is gone": lambda world: (world.root / "etc/default/exporter").unlink(),
    "a new file next to a recorded one": lambda world: (world.root / "etc/default/other").write_text("x"),
    "a file in /etc": lambda world: (world.root / "etc/passwd").write_text("x"),
    "a file of the project": lambda world: replaced(app(world, "src/app.py")),
    "a file next to the project's": lambda world: app(world, "fix.sh").write_text("x"),
    "the env": lambda world: app(world, ".env").write_bytes(app(world, ".env").read_bytes() + b"# mine\n"),
    "the mode of the env": lambda world: app(world, ".env").chmod(0o644),
    "the overlay": lambda world: app(world, "compose.hardened.yaml").write_text("services: {}\n"),
    "the last good release": lambda world: replaced(app(world, "releases/last-good/release.json")),
    "the project's record": lambda world: Path(world.app.paths.written).write_text("{}"),
    "a deploy that was killed": lambda world: Path(world.app.paths.rollout).write_text("{}"),
    "a unit is stopped": lambda world: set_unit(world, "Id=haproxy.service\nActiveState=active", "Id=haproxy.service"),
    "a unit does not start at boot": lambda world: set_unit(world, "UnitFileState=enabled\n\nId=self", "\nId=self"),
    "a unit is gone": lambda world: set_unit(world, "Id=selfheal@shop.timer", ""),
    "a port is taken, for this machine alone": lambda world: world.docker.host.update(
        {"ss -Hltn": HOST["ss -Hltn"] + "LISTEN 0 9 127.0.0.1:9 *:*\n"}
    ),
    "what is compared with the baseline": lambda world: world.docker.host.update(
        {"systemctl list-unit-files": "docker.service masked\n"}
    ),
    "a container stops": lambda world: document(world)("state", "exited"),
    "the checks fail": lambda world: world.__dict__.update(fails=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_changes_the_stamp(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Callable[[World], object]
) -> None:
    failing = world.run_checks

    def run_checks(*given: object, **more: object) -> object:
        found = failing(*given, **more)  # type: ignore[arg-type]
        return {**found, "ok": False} if world.__dict__.get("fails") else found

    monkeypatch.setattr(probe, "run_checks", run_checks)
    before = stamp(world)
    assert len(before) == 64
    assert stamp(world) == before
    change(world)
    assert stamp(world) not in (before, "")


def log(world: World, state: str) -> None:
    Path(world.app.paths.state, "state.json.new").write_text(state, encoding="utf-8")


BY_ITSELF: dict[str, Callable[[World], object]] = {
    "the watcher's service comes and goes": lambda world: set_unit(
        world, "Id=selfheal@shop.service\nActiveState=inactive", "Id=selfheal@shop.service\nActiveState=active"
    ),
    "a backup runs": lambda world: set_unit(
        world, "shop.service\nActiveState=inactive\nUnitFileState=static\n", "shop.service\nActiveState=activating\n"
    ),
    "the watcher writes its state": lambda world: log(world, "x"),
    "byte code": lambda world: (world.root / "etc/selfheal/__pycache__").mkdir(),
    "an older release": lambda world: app(world, "releases/20200101T000000Z").mkdir(),
    "a folder was touched": lambda world: os.utime(world.root / "etc/selfheal"),
    "another order of the ports": lambda world: world.docker.host.update(
        {"ss -Hltn": "\n".join(reversed(HOST["ss -Hltn"].splitlines()))}
    ),
}


@pytest.mark.parametrize("change", BY_ITSELF.values(), ids=BY_ITSELF)
def test_what_changes_by_itself_does_not(world: World, change: Callable[[World], object]) -> None:
    before = stamp(world)
    change(world)
    assert stamp(world) == before != ""


def container(**about: object) -> dict[str, object]:
    return {
        "Id": "1",
        "Name": "/shop-web-1",
        "Image": "sha256:a",
        "Config": {"Env": ["A=1"], "Labels": {}},
        "HostConfig": {"Memory": 1},
        "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
        "NetworkSettings": {"Networks": {"one": {"IPAddress": "10.0.0.1"}}},
        "State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy", "Log": []}, "StartedAt": "1"},
        **about,
    }


STATE = {"Status": "running", "ExitCode": 0, "StartedAt": "2"}
CONTAINERS: list[tuple[str, dict[str, object], bool]] = [
    ("the same", {}, True),
    ("mounts in another order", {"Mounts": [{"Source": "/b"}, {"Source": "/a"}]}, True),
    ("another address", {"NetworkSettings": {"Networks": {"one": {"IPAddress": "10.0.0.2"}}}}, True),
    ("its health check has run", {"State": {**STATE, "Health": {"Status": "healthy", "Log": [1]}}}, True),
    ("unhealthy", {"State": {**STATE, "Health": {"Status": "unhealthy", "Log": []}}}, False),
    ("docker update", {"HostConfig": {"Memory": 2}}, False),
    ("another value in its environment", {"Config": {"Env": ["A=2"], "Labels": {}}}, False),
    ("another image", {"Image": "sha256:b"}, False),
    ("another network", {"NetworkSettings": {"Networks": {"two": {}}}}, False),
    ("a new container", {"Id": "2"}, False),
]


@pytest.mark.parametrize(("about", "same"), [case[1:] for case in CONTAINERS], ids=[case[0] for case in CONTAINERS])
def test_a_container_counts_with_all_that_stays_while_it_runs(
    world: World, about: dict[str, object], same: bool
) -> None:
    stamps = [host_stamp.read(world.app.paths, [], Known([one], {})) for one in (container(), container(**about))]
    assert (stamps[0] == stamps[1], "" in stamps) == (same, False)


@pytest.mark.parametrize("broken", ["systemctl show", "ss -Hltn"])
def test_what_cannot_be_read_has_no_stamp(world: World, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    asked = commands.run

    def run(argv: list[str], timeout: float) -> commands.Result:
        return commands.Result(1, "", "it hangs") if " ".join(argv).startswith(broken) else asked(argv, timeout)

    monkeypatch.setattr(commands, "run", run)
    assert host_stamp.read(world.app.paths, [], Known([], {})) == ""


def test_a_damaged_record_has_no_stamp(world: World) -> None:
    Path(desired_files.record_path(str(world.root))).write_text("{", encoding="utf-8")
    assert stamp(world) == ""


def test_what_services_write_does_not_count_but_for_files_of_the_project(world: World) -> None:
    said = json.dumps({"files": ["compose.yaml"], "data": ["data"]})
    app(world, "compose.hardened.yaml").write_text(f"# selfheal: {said}\nservices: {{}}\n", encoding="utf-8")
    app(world, "data").mkdir()
    incoming = Path(world.app.paths.incoming, "data")
    incoming.mkdir(parents=True)
    (incoming / "seed.sql").write_text("x", encoding="utf-8")
    app(world, "data/seed.sql").write_text("x", encoding="utf-8")
    before = stamp(world)
    app(world, "data/rows").write_text("x", encoding="utf-8")
    assert stamp(world) == before
    app(world, "data/seed.sql").write_text("xy", encoding="utf-8")
    assert stamp(world) != before
