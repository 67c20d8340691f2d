# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which steps a run of adopt takes: by how far the take-over is, in check mode, and after a failure."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.action import app_adopt
from ansible_collections.christmas.selfheal.plugins.action.app_adopt import ActionModule
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import run as adoption
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import take_over
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt.run import Place, Prepared

FOUND: dict[str, Any] = {
    "app": "shop",
    "directory": "/opt/shop",
    "folder": "/root/shop",
    "stage": "",
    "instances": [{"service": "web", "name": "shop-web-1", "state": "running", "image_id": "sha256:1"}],
}
WHERE = Place("/srv/shop", "./shop", "10.0.0.5")


class Adopt(ActionModule):
    """The action, with the host, the inventory and the run of site.yml replaced; `steps` is what it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.said: list[str] = []
        self.code, self.is_known, self.to_do, self.lost = 0, True, list[str](), 0
        self._in_front = False
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        self._display = SimpleNamespace(display=self.said.append)
        monkeypatch.setattr(ActionModule, "_request", lambda _self: None)
        monkeypatch.setattr(adoption, "is_known", lambda *_: self.is_known)
        monkeypatch.setattr(adoption, "prepare", self._prepare)
        monkeypatch.setattr(take_over, "run", self._site)

    def _prepare(self, *given: Any) -> Prepared:
        self.steps.append("plan" if given[-2] else "write")
        return Prepared("the plan", self.to_do, True)

    def _site(self, *_unused: Any) -> int:
        self.steps.append("site")
        return self.code

    def _on_host(self, state: str) -> dict[str, Any]:
        self.steps.append(state)
        if state == "read" and self.lost:
            self.lost -= 1
            raise app_adopt._HostSaid({"msg": "unreachable"})
        return {"adoption": FOUND, "notice": "/root/shop/ADOPTED-BY-SELFHEAL.md"}

    def run_at(self, stage: str, check: bool = False) -> dict[str, Any]:
        found: Any = {**FOUND, "stage": stage}
        return self._adopt(found, WHERE, check)


@pytest.fixture
def adopt(monkeypatch: pytest.MonkeyPatch) -> Adopt:
    return Adopt(monkeypatch)


@pytest.mark.parametrize(
    ("stage", "check", "steps", "changed"),
    [
        ("", False, ["write", "begun", "site", "ended"], True),
        ("", True, ["plan"], True),
        ("begun", False, ["write", "begun", "site", "ended"], True),
        ("serves", False, ["begun", "site", "ended"], True),
        ("serves", True, [], True),
        ("done", False, [], False),
        ("elsewhere", False, [], False),
    ],
)
def test_the_steps_by_how_far_it_is(stage: str, check: bool, steps: list[str], changed: bool, adopt: Adopt) -> None:
    assert adopt.run_at(stage, check)["changed"] is changed
    assert adopt.steps == steps


def test_a_release_of_another_inventory_is_left_alone(adopt: Adopt) -> None:
    adopt.is_known = False
    assert adopt.run_at("serves")["changed"] is False
    assert adopt.steps == []
    assert "It was deployed with another inventory" in adopt.said[0]


@pytest.mark.parametrize("check", [False, True])
def test_what_is_to_be_done_first_stops_it(check: bool, adopt: Adopt) -> None:
    adopt.to_do = ["PASSWORD: placeholder"]
    done = adopt.run_at("", check)
    assert adopt.steps == ["plan" if check else "write"]
    assert "PASSWORD: placeholder" in done["msg"]
    assert done["failed"] is not check
    assert any("PASSWORD: placeholder" in one for one in adopt.said) is check


def test_a_failure_asks_the_host_what_runs_now_and_records_no_end(adopt: Adopt) -> None:
    adopt.code = 2
    done = adopt.run_at("")
    assert adopt.steps == ["write", "begun", "site", "read"]
    assert "Now 1 of 1 containers run, from /root/shop, with the images as before" in done["msg"]


@pytest.mark.parametrize(("lost", "said"), [(2, "Now 1 of 1 containers run"), (3, "the host could not be asked")])
def test_a_host_that_does_not_answer_is_asked_again(lost: int, said: str, adopt: Adopt) -> None:
    adopt.code, adopt.lost = 2, lost
    assert said in adopt.run_at("")["msg"]
    assert adopt.steps.count("read") == 3
