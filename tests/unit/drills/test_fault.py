# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The catalogue of faults, the faults of services, and which faults are chosen."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.tests.unit.drills.factories import CATALOGUE, FOLDER, GOOD, fault


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_valid(name: str) -> None:
    described = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    found = drill_fault.read_fault(name, described)
    assert found.title["ko"]
    assert found.undo, "the drill ends every fault that the host does not end"
    assert not found.names or found.incident, "only an incident has evidence"


def test_every_fault_that_has_a_goal_is_a_drill() -> None:
    """The goal "one of two instances down" covers every fault with `instance` on a host with two instances."""
    assert set(CATALOGUE) == {
        *("crash", "hang", "errors", "silent", "oom", "stopped", "port_taken", "disk_full", "overload"),
        *("crash_loop", "crash_loop_without_release"),
        *("env_placeholder", "env_deleted", "env_emptied", "env_truncated", "compose_damaged"),
        *("container_removed", "image_removed", "engine_stopped", "engine_hung", "reboot"),
        *("upstream_503", "upstream_hangs", "upstream_refuses", "watcher_killed", "alerting_down", "bad_release"),
        *("firewall_flushed", "packets_dropped", "packets_lost", "lock_held", "bridge_deleted"),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"inject": None}, "inject is missing", id="no command"),
        pytest.param({"injct": []}, "injct is an unknown key", id="typing error"),
        pytest.param({"title": "Hang"}, "title has no English text", id="title"),
        pytest.param({"expect": "fine"}, "expect is 'fine'", id="expect"),
        pytest.param({"where": "moon"}, "where is 'moon'", id="where"),
        pytest.param({"needs": ["luck"]}, "needs has 'luck'", id="needs"),
        pytest.param({"goal": {"median": 5}}, "goal misses a number", id="goal"),
        pytest.param({"timeout": "long"}, "timeout is not a number", id="timeout"),
        pytest.param({"inject": ["kill -9"]}, "is not a list of strings", id="a shell line"),
        pytest.param({"inject": [["kill", -9]]}, "is not a list of strings", id="a number"),
        pytest.param({"undo": [["kill", "{pdi}"]]}, "{pdi} is an unknown placeholder", id="placeholder"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=r"^faults/hang\.yml: ") as raised:
        fault(**change)
    assert said in str(raised.value)


def test_fill() -> None:
    values: drill_fault.Values = {"compose": ["docker", "compose"], "pid": 7, "app": "shop"}
    assert drill_fault.fill(["{compose}", "up", "{app}-{pid}", "{else}"], values) == [
        *("docker", "compose", "up", "shop-7", "{else}")
    ]


def test_choose() -> None:
    catalogue = {
        "a": fault(fast=True),
        "b": drill_fault.read_fault("b", {**GOOD, "needs": ["lab"], "fast": True}),
        "c": drill_fault.read_fault("c", GOOD),
    }
    chosen, left_out = drill_fault.choose(catalogue, ["all"], set())
    assert chosen == [catalogue["a"], catalogue["c"]]
    assert [sentence.split()[0] for sentence in left_out] == ["b"]
    assert drill_fault.choose(catalogue, ["fast"], {"lab"})[0] == [catalogue["a"], catalogue["b"]]
    with pytest.raises(drill_fault.DrillError, match="b cannot be injected here"):
        drill_fault.choose(catalogue, ["b"], set())
    with pytest.raises(drill_fault.DrillError, match="no fault 'd'; there are a, b, c, all, fast and services"):
        drill_fault.choose(catalogue, ["d"], set())


def test_every_service_is_broken_in_every_way() -> None:
    found = drill_fault.service_faults("shop", {"web": 2, "db": 1}, {"db": 20.0})
    assert len(found) == 10
    catalogue = {"a": fault(fast=True), **found}
    assert drill_fault.choose(catalogue, ["services"], set())[0] == list(found.values())
    assert drill_fault.choose(catalogue, ["all"], set())[0] == [catalogue["a"]]
    assert drill_fault.choose(catalogue, ["db.hung"], set())[0] == [found["db.hung"]]
    [[*_unused, stop]] = found["db.stopped"].inject
    assert stop.startswith("docker stop --time=1 $(docker ps ") and "service=db" in stop and "project=shop" in stop
    # With one of two containers removed the service is not healthy, whatever the other one's name is.
    assert "-ge 2 ]" in found["web.removed"].until[-1]
    assert (found["db.stopped"].goal["median"], found["web.stopped"].goal["median"]) == (26.0, 6.0)
    # A service may have the name of a part of the host.
    assert not set(drill_fault.service_faults("shop", {"engine": 1}, {})) & set(CATALOGUE)
    # The commands contain no placeholder.
    for one in found.values():
        for command in one.commands():
            assert drill_fault.fill(command, {"compose": ["{compose}"]}) == list(command)


def test_service_names_are_checked_on_the_host_only() -> None:
    drill_fault.check_names({}, ["all", "fast", "services", "db.stopped", "my.app.killed"])
