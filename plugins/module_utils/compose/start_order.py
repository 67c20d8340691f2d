# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A merged model and what runs → which containers may start now, and what the others wait for. Pure.

The conditions of `depends_on` are those of the Compose specification. A job that ended with 0 is not started again: its
container stays as it is until its configuration or its image changes, and Compose makes another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..docker.containers import Container, times
from ..docker.model import Model, Services, Spec
from .jobs import COMPLETED, copied_files, jobs

__all__ = ["Failure", "Plan", "Turn", "Wait", "dependents", "expected", "jobs", "started_by_compose", "turn", "whole"]

HEALTHY = "service_healthy"
# A container that was just started is watched for so long, where no check asks it; one that restarts, for longer.
SETTLED_SECONDS = 3.0
# So many restarts while it is watched are a loop.
_AGAIN = 3
# The engine restarts a container after 0.1 s, 0.2 s, 0.4 s …: five times within a few seconds is a loop.
LOOPS = 5
_UP = ("running", "restarting", "paused")
_OVER = ("exited", "dead")


class Plan(NamedTuple):
    """What is to be started.

    `services`: those of `model` that this is about; `settled`: jobs that need not run again, whether their containers
    are still there or not.
    """

    model: Model
    services: frozenset[str]
    settled: frozenset[str] = frozenset()


class Wait(NamedTuple):
    """`service` waits for `needed`, which does not fulfil its condition yet: `doing` says what it does instead."""

    service: str
    needed: str
    doing: str


class Failure(NamedTuple):
    """A container that did not do what another service, or the deploy, waits for."""

    identity: str
    service: str
    reason: str


class Turn(NamedTuple):
    """What can be said now: the containers to start, who waits for what, and what failed."""

    start: list[str]
    waits: list[Wait]
    failures: list[Failure]


def whole(model: Model) -> Plan:
    """The plan for every service of a model."""
    return Plan(model, frozenset(model.get("services") or {}))


def expected(model: Model) -> frozenset[str]:
    """The services that have to run: no jobs, and none that is scaled to zero."""
    services: Services = model.get("services") or {}
    return frozenset(name for name, spec in services.items() if scale(spec) > 0) - jobs(model)


def scale(spec: Spec) -> int:
    """How many containers a service has."""
    if spec.get("scale") is not None:
        return int(spec["scale"])
    replicas = (spec.get("deploy") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def dependents(model: Model, service: str) -> frozenset[str]:
    """The services that depend on one, directly or through others."""
    services: Services = model.get("services") or {}
    found: set[str] = set()
    while True:
        more = {name for name, spec in services.items() if {service, *found} & set(spec.get("depends_on") or {})}
        if more <= found:
            return frozenset(found - {service})
        found |= more


def restarted_with(model: Model, replaced: Collection[str]) -> frozenset[str]:
    """The services that `restart: true` makes start again, since one that they depend on was replaced."""
    services: Services = model.get("services") or {}
    found = {
        name
        for name, spec in services.items()
        if name not in replaced
        and any(on.get("restart") and needed in replaced for needed, on in (spec.get("depends_on") or {}).items())
    }
    return frozenset(found) if not found else frozenset(found) | restarted_with(model, {*replaced, *found})


def turn(plan: Plan, instances: Sequence[Container], begun: Collection[str]) -> Turn:
    """Say what can be started now.

    :arg instances: of the whole project.
    :arg begun: the ids of the containers that were started for this plan already.
    """
    services: Services = plan.model.get("services") or {}
    run_once = jobs(plan.model)
    found = Turn([], [], [])
    for name in sorted(plan.services & set(services)):
        if name in plan.settled:
            continue
        idle = [item for item in _of(instances, name) if _may_start(item, name in run_once, begun)]
        if not idle:
            continue
        waits, failures = _hindered(plan, name, instances, begun)
        found.failures.extend(failures)
        found.waits.extend(waits)
        if not waits and not failures:
            found.start.extend(item["id"] for item in idle)
    return Turn(found.start, found.waits, list(dict.fromkeys(found.failures)))


def unfinished(plan: Plan, instances: Sequence[Container], begun: Collection[str]) -> Turn:
    """Say which jobs still run, as waits of the release, and which have failed."""
    found = Turn([], [], [])
    for name in sorted((jobs(plan.model) & plan.services) - plan.settled):
        for item in _of(instances, name):
            failure = _failed_job(item, begun)
            if failure:
                found.failures.append(failure)
            elif not _ended_well(item):
                found.waits.append(Wait("the release", name, _doing(item)))
    return found


def unsettled(plan: Plan, instances: Sequence[Container], asked: Collection[int], before: Mapping[str, int]) -> Turn:
    """Say which services do not run as they should, and which are too young to tell. Jobs are another matter.

    :arg asked: the ports that the checks asked: what answers there is known to run.
    :arg before: {container id: how often it had restarted} when the watch began.
    """
    found = Turn([], [], [])
    for name in sorted(plan.services - jobs(plan.model)):
        for item in _of(instances, name):
            reason = _unwell(item, before)
            if reason:
                found.failures.append(Failure(item["id"], name, reason))
            elif _may_still_end(item, asked):
                found.waits.append(Wait("the release", name, _doing(item)))
    return found


def troubles(instances: Sequence[Container]) -> list[Failure]:
    """Say which services do not run as they should, without waiting."""
    found: list[Failure] = []
    for item in instances:
        loops = item["state"] == "restarting" or (_young(item) and item["restarts"] >= _AGAIN)
        reason = _unwell(item, {}) or (_loop(item) if loops else "")
        if reason:
            found.append(Failure(item["id"], item["service"], reason))
    return found


def unsteady(instances: Sequence[Container], turn_: Turn) -> list[Failure]:
    """Those that the watch has ended for while they still restarted; one that is only young is well."""
    waited = {one.needed for one in turn_.waits}
    return [
        Failure(item["id"], item["service"], _loop(item))
        for item in instances
        if item["service"] in waited and (item["state"] == "restarting" or _young(item)) and item["restarts"]
    ]


def _unwell(item: Container, before: Mapping[str, int]) -> str:
    if item["state"] in _OVER and not item["job_done"]:
        return _ended(item)
    if item["state"] == "running" and item["health"] == "unhealthy":
        return "is unhealthy"
    # Of one that runs again just now, the engine does not say what it ended with.
    if item["state"] == "restarting" and item["restarts"] - before.get(item["id"], 0) >= _AGAIN:
        return _loop(item)
    return ""


def _loop(item: Container) -> str:
    return _ended(item) if item["exit_code"] or item["state"] == "running" else repeats(item)


def _young(item: Container) -> bool:
    age = item["started_seconds"]
    return bool(item["state"] == "running" and age is not None and age < SETTLED_SECONDS)


def _may_still_end(item: Container, asked: Collection[int]) -> bool:
    if item["state"] == "restarting":
        return True
    known = item["health"] == "healthy" or bool(set(item["ports"]) & set(asked))
    return _young(item) and (not known or item["restarts"] > 0)


def needs(plan: Plan, service: str, instances: Sequence[Container], begun: Collection[str]) -> Turn:
    """Say what a service still waits for, whether a container of it is there or not."""
    waits, failures = _hindered(plan, service, instances, begun)
    return Turn([], waits, failures)


def _of(instances: Sequence[Container], service: str) -> list[Container]:
    return [item for item in instances if item["service"] == service]


def _may_start(item: Container, job: bool, begun: Collection[str]) -> bool:
    if item["id"] in begun or item["state"] in ("running", "restarting", "removing"):
        return False
    # Without a restart policy and a port, what ended with 0 was a job, too, though no file says so.
    return not (_ended_well(item) and (job or (item["job_done"] and not item["ports"])))


def _ended_well(item: Container) -> bool:
    return bool(item["state"] == "exited" and item["exit_code"] == 0)


def _hindered(
    plan: Plan, service: str, instances: Sequence[Container], begun: Collection[str]
) -> tuple[list[Wait], list[Failure]]:
    """What a service still waits for, and what will never be as it needs it."""
    services: Services = plan.model.get("services") or {}
    waits: list[Wait] = []
    failures: list[Failure] = []
    for needed, on in sorted((services[service].get("depends_on") or {}).items()):
        required = on.get("required", True)
        if needed not in services or scale(services[needed]) == 0 or needed in plan.settled:
            continue
        mine = _of(instances, needed)
        condition = str(on.get("condition") or "")
        failed = [one for one in (_never(item, condition, begun) for item in mine) if one]
        if failed:
            failures.extend(failed if required else [])
            continue
        missing = [item for item in mine if not _fulfils(item, condition)]
        if missing or not mine:
            waits.append(Wait(service, needed, _doing(missing[0]) if missing else "it has no container"))
    return waits, failures


def _fulfils(item: Container, condition: str) -> bool:
    if condition == COMPLETED:
        return _ended_well(item)
    if condition == HEALTHY:
        return bool(item["state"] == "running" and item["health"] == "healthy")
    return item["state"] in _UP or _ended_well(item)


def _never(item: Container, condition: str, begun: Collection[str]) -> Failure | None:
    """Why a container will not fulfil a condition any more; None while it still may."""
    if condition == COMPLETED:
        return _failed_job(item, begun)
    if condition == HEALTHY and item["state"] == "running" and item["health"] == "none":
        reason = "has no health check, and another service waits until it is healthy. Fix: add its healthcheck"
        return Failure(item["id"], item["service"], reason)
    if item["id"] not in begun:
        return None
    if condition == HEALTHY and item["health"] == "unhealthy":
        return Failure(item["id"], item["service"], "is unhealthy")
    over = item["state"] in _OVER and not (condition != HEALTHY and _ended_well(item))
    if over or item["restarts"] >= LOOPS:
        return Failure(item["id"], item["service"], _ended(item))
    return None


def _failed_job(item: Container, begun: Collection[str]) -> Failure | None:
    loops = item["restarts"] >= LOOPS
    if item["id"] not in begun or not (loops or item["state"] in _OVER) or _ended_well(item):
        return None
    if item["exit_code"] == 0 and item["restart_policy"] not in ("", "no"):
        return Failure(item["id"], item["service"], repeats(item))
    return Failure(item["id"], item["service"], _ended(item))


def repeats(item: Container) -> str:
    """What is said of a job that its restart policy runs again and again."""
    return (
        f"ends with exit code 0 and is run again by its restart policy ({item['restart_policy']}): it is a job. "
        f"In the inventory, under compose_app_services.{item['service']}: job: true"
    )


def _ended(item: Container) -> str:
    detail = f" ({item['error']})" if item["error"] else ""
    if item["state"] in _OVER:
        return f"exited with {item['exit_code']}{detail}"
    return f"keeps restarting, restarted {times(item['restarts'])}, last exit code {item['exit_code']}{detail}"


def _doing(item: Container) -> str:
    if item["state"] == "running" and item["health"] in ("starting", "unhealthy"):
        return f"it is {item['health']}"
    if item["state"] == "restarting":
        return f"it is restarting, last exit code {item['exit_code']}"
    return "it is still running" if item["state"] == "running" else f"it is {item['state']}"


def started_by_compose(model: Model) -> frozenset[str]:
    """The services that only `docker compose up` starts completely.

    It runs their `post_start` commands. Compose 2.40 copies inline configs and secrets when it starts a service, 2.26
    once it has created the container.
    """
    services: Services = model.get("services") or {}
    return frozenset(name for name, spec in services.items() if spec.get("post_start") or copied_files(spec, model))
