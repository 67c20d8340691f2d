# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which order services start, what they wait for, and which of them are no good although the checks pass."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import bring_up, start_order
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.start_order import Failure, Plan, Wait, whole
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands

COMPLETED, HEALTHY, STARTED = "service_completed_successfully", "service_healthy", "service_started"


def item(service: str, state: str = "created", **facts: Any) -> Container:
    known = {"exit_code": 0, "health": "none", "restarts": 0, "error": "", "restart_policy": "no", "ports": []}
    ended = state == "exited" and not facts.get("exit_code")
    given = {"job_done": ended and facts.get("restart_policy", "no") == "no", "started_seconds": 60.0}
    whose = {"id": service, "name": f"shop-{service}-1", "service": service, "state": state}
    return cast(Container, {**known, **given, **whose, **facts})


def model(condition: str, **more: Any) -> dict[str, Any]:
    return {"services": {"web": {"depends_on": {"needed": {"condition": condition, **more}}}, "needed": {}}}


@pytest.mark.parametrize(
    ("condition", "needed", "begun", "starts", "doing", "failure"),
    [
        pytest.param(COMPLETED, item("needed"), False, "needed", "it is created", "", id="the job first"),
        pytest.param(COMPLETED, item("needed", "running"), True, "", "it is still running", "", id="while it runs"),
        pytest.param(COMPLETED, item("needed", "exited"), True, "web", "", "", id="when it has ended with 0"),
        pytest.param(COMPLETED, item("needed", "exited"), False, "web", "", "", id="it ended earlier: not run again"),
        pytest.param(
            COMPLETED, item("needed", "exited", exit_code=3), False, "needed", "it is exited", "", id="failed earlier"
        ),
        pytest.param(COMPLETED, item("needed", "exited", exit_code=3), True, "", "", "exited with 3", id="fails now"),
        pytest.param(
            COMPLETED,
            item("needed", "restarting", restarts=5, restart_policy="always"),
            True,
            "",
            "",
            "compose_app_services.needed: job: true",
            id="a job with a restart policy",
        ),
        pytest.param(HEALTHY, item("needed", "running", health="starting"), True, "", "it is starting", "", id="ill"),
        pytest.param(HEALTHY, item("needed", "running", health="healthy"), True, "web", "", "", id="healthy"),
        pytest.param(
            HEALTHY, item("needed", "running", health="unhealthy"), True, "", "", "is unhealthy", id="never healthy"
        ),
        pytest.param(
            HEALTHY, item("needed", "running", health="unhealthy"), False, "", "it is unhealthy", "", id="may recover"
        ),
        pytest.param(HEALTHY, item("needed", "running"), True, "", "", "has no health check", id="no health check"),
        pytest.param(
            HEALTHY, item("needed", "restarting", restarts=5, exit_code=1), True, "", "", "exit code 1", id="loops"
        ),
        pytest.param(STARTED, item("needed"), False, "needed", "it is created", "", id="a service first"),
        pytest.param(STARTED, item("needed", "running"), True, "web", "", "", id="it runs"),
        pytest.param(STARTED, item("needed", "exited", exit_code=1), True, "", "", "exited with 1", id="it ended"),
    ],
)
def test_a_service_starts_when_what_it_depends_on_is_as_it_needs_it(
    condition: str, needed: Container, begun: bool, starts: str, doing: str, failure: str
) -> None:
    found = start_order.turn(whole(model(condition)), [item("web"), needed], {"needed"} if begun else ())
    assert found.start == starts.split()
    assert [one.doing for one in found.waits] == ([doing] if doing else [])
    assert len(found.failures) == bool(failure)
    assert all(failure in one.reason for one in found.failures)


@pytest.mark.parametrize(
    ("plan", "there"),
    [
        pytest.param(whole({"services": {"web": model(COMPLETED)["services"]["web"]}}), [], id="a profile has it"),
        pytest.param(
            whole(model(COMPLETED, required=False)), [item("needed", "exited", exit_code=1)], id="not required"
        ),
        pytest.param(
            whole({"services": {**model(HEALTHY)["services"], "needed": {"deploy": {"replicas": 0}}}}), [], id="scaled"
        ),
        pytest.param(
            Plan(model(COMPLETED), frozenset({"web"}), frozenset({"needed"})), [], id="a job that ended, and was pruned"
        ),
    ],
)
def test_what_is_not_needed_is_not_waited_for(plan: Plan, there: list[Any]) -> None:
    assert start_order.turn(plan, [item("web"), *there], {"needed"}).start == ["web"]


def test_what_runs_is_left_alone_and_what_has_no_container_is_waited_for() -> None:
    assert start_order.turn(whole(model(HEALTHY)), [item("web", "running")], ()) == ([], [], [])
    assert start_order.turn(whole(model(HEALTHY)), [item("web")], ()).waits == [
        Wait("web", "needed", "it has no container")
    ]


def test_jobs_and_what_is_scaled_to_zero_need_not_run() -> None:
    services = {**model(COMPLETED)["services"], "batch": {"deploy": {"replicas": 0}}, "old": {"scale": 0}, "db": {}}
    assert start_order.expected({"services": services}) == {"web", "db"}


def test_restart_true_reaches_through_others() -> None:
    again = {"depends_on": {"config": {"condition": STARTED, "restart": True}}}
    through = {"depends_on": {"app": {"condition": STARTED, "restart": True}}}
    services = {"config": {}, "app": again, "web": through, "other": {"depends_on": {"config": {"condition": STARTED}}}}
    assert start_order.restarted_with({"services": services}, {"config"}) == {"app", "web"}
    assert start_order.dependents({"services": services}, "config") == {"app", "web", "other"}


@pytest.mark.parametrize(
    ("job", "waits", "failure"),
    [
        pytest.param(item("job", "running"), True, "", id="runs"),
        pytest.param(item("job", "exited"), False, "", id="ended"),
        pytest.param(item("job", "exited", exit_code=2), False, "exited with 2", id="failed"),
    ],
)
def test_a_job_that_no_service_waits_for_is_awaited_too(job: Container, waits: bool, failure: str) -> None:
    plan = whole({"services": {"job": {"deploy": {"mode": "replicated-job"}}, "web": {}}})
    found = start_order.unfinished(plan, [job, item("web", "running")], {"job"})
    assert bool(found.waits) == waits
    assert [one.reason for one in found.failures] == ([failure] if failure else [])


def worker(state: str = "running", **facts: Any) -> Container:
    return item("worker", state, **{"restart_policy": "unless-stopped", **facts})


@pytest.mark.parametrize(
    ("container", "waits", "failure"),
    [
        pytest.param(worker(), False, "", id="runs"),
        pytest.param(worker(started_seconds=0.5), True, "", id="young"),
        pytest.param(worker(started_seconds=0.5, ports=[80]), False, "", id="young, and a check has asked it"),
        pytest.param(worker(started_seconds=0.5, health="healthy"), False, "", id="young and healthy"),
        pytest.param(worker("restarting", restarts=2, exit_code=1), True, "", id="restarts: its database may come"),
        pytest.param(
            worker("restarting", restarts=4, exit_code=1), False, "restarted 4 times, last exit code 1", id="loops"
        ),
        pytest.param(worker("restarting", restarts=4), False, "compose_app_services.worker: job: true", id="a job"),
        pytest.param(worker("exited", exit_code=1), False, "exited with 1", id="ended"),
        pytest.param(worker("exited", restart_policy="no"), False, "", id="ended well"),
        pytest.param(worker(health="unhealthy"), False, "is unhealthy", id="unhealthy"),
    ],
)
def test_a_service_that_no_check_asks_has_to_run_too(container: Container, waits: bool, failure: str) -> None:
    found = start_order.unsettled(whole({"services": {"worker": {}}}), [container], {80}, {"worker": 0})
    assert bool(found.waits) == waits
    assert len(found.failures) == bool(failure)
    assert all(failure in one.reason for one in found.failures)


class Project:
    """Containers that live: a start makes a job run for so many seconds, and others run on."""

    def __init__(self, *items: Container, lasts: float = 1.0) -> None:
        self.items, self.lasts, self.now = list(items), lasts, 0.0
        self.started: list[str] = []
        self.ends: dict[str, float] = {}

    def containers(self) -> list[Container]:
        for one in self.items:
            if one["service"] == "needed" and one["state"] == "running" and self.now >= self.ends[one["id"]]:
                one["state"] = "exited"
        return self.items

    def start(self, identities: list[str]) -> commands.Result:
        for one in self.items:
            if one["id"] in identities:
                one["state"], self.ends[one["id"]] = "running", self.now + self.lasts
        self.started += identities
        return commands.Result(0, "", "")

    def pace(self, seconds: float) -> bring_up.Pace:
        said: list[str] = []

        def sleep(pause: float) -> None:
            self.now += pause

        return bring_up.Pace(self.now + seconds, seconds, lambda: self.now, sleep, lambda: None, said.append)


@pytest.mark.parametrize("seconds", [130.0, 300.0])
def test_a_slow_job_has_the_users_time_and_no_other(seconds: float) -> None:
    project: Any = Project(item("web"), item("needed"), lasts=200.0)
    found = bring_up.start(project, whole(model(COMPLETED)), project.pace(seconds))
    if seconds < 200.0:
        assert found.failure == (
            "not ready within 130 s (compose_app_gate_timeout): web waits for needed: it is still running"
        )
    else:
        assert (found.failure, project.started) == ("", ["needed", "web"])


def test_a_worker_that_still_restarts_at_the_end_of_the_watch_is_no_good() -> None:
    project: Any = Project(worker("restarting", restarts=1, exit_code=1))
    found = bring_up.watch(project, whole({"services": {"worker": {}}}), (), project.pace(100.0))
    reason = "keeps restarting, restarted once, last exit code 1"
    assert found == [Failure("worker", "worker", reason)]
    assert 10.0 < project.now < 20.0


def test_one_that_settles_is_well() -> None:
    class Late(Project):
        def containers(self) -> list[Container]:
            return [worker(restarts=2, started_seconds=self.now - 2.0)]

    project: Any = Late()
    assert bring_up.watch(project, whole({"services": {"worker": {}}}), (), project.pace(100.0)) == []
    assert project.now == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize(
    ("container", "said"),
    [
        pytest.param(worker(), [], id="runs"),
        pytest.param(worker(restarts=9), [], id="it runs since long"),
        pytest.param(
            worker("restarting", restarts=9, exit_code=1),
            ["keeps restarting, restarted 9 times, last exit code 1"],
            id="restarts",
        ),
        pytest.param(worker(restarts=9, started_seconds=0.5), ["keeps restarting"], id="just again"),
        pytest.param(worker("exited", exit_code=2), ["exited with 2"], id="ended"),
        pytest.param(worker("exited", restart_policy="no"), [], id="a job that ended"),
        pytest.param(worker(health="unhealthy"), ["is unhealthy"], id="unhealthy"),
    ],
)
def test_a_service_that_does_not_run_is_named(container: Container, said: list[str]) -> None:
    found = start_order.troubles([container])
    assert [one.service for one in found] == ["worker"] * len(said)
    assert all(one.reason.startswith(text) for one, text in zip(found, said))


@pytest.mark.parametrize(
    ("service", "rest", "expected"),
    [
        ({}, {}, False),
        ({"post_start": [{"command": ["warm-up"]}]}, {}, True),
        ({"configs": [{"source": "c"}]}, {"configs": {"c": {"content": "hello"}}}, True),
        ({"configs": [{"source": "c"}]}, {"configs": {"c": {"file": "./c"}}}, False),
        ({"secrets": [{"source": "s"}]}, {"secrets": {"s": {"environment": "S"}}}, True),
    ],
)
def test_what_only_compose_starts_completely(service: dict[str, Any], rest: dict[str, Any], expected: bool) -> None:
    found = start_order.started_by_compose({"services": {"app": service}, **rest})
    assert found == (frozenset({"app"}) if expected else frozenset())
