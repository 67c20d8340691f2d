# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Create what the compose files describe, and start it in their order: jobs once, dependencies first.

Not `docker compose up`: each `up` runs the jobs again that have ended, and it says of what it waited for only that it
took too long.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Callable, NamedTuple

from ..docker.containers import Container
from ..docker.project import Project
from . import start_order
from .start_order import Failure, Plan, Turn

_POLL_SECONDS = 0.1
_WATCH_SECONDS = 15.0
_AGAIN_SECONDS = 120.0


class Pace(NamedTuple):
    """Until when to wait (monotonic seconds), how long that is in all, and who is asked and notified meanwhile."""

    until: float
    seconds: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    alive: Callable[[], None]
    say: Callable[[str], None]


class Outcome(NamedTuple):
    """Why it did not work, "" when it did; `begun`: the ids of the containers that were started."""

    failure: str
    begun: frozenset[str] = frozenset()


def create(
    project: Project,
    plan: Plan,
    services: Sequence[str] = (),
    timeout: float = 120.0,
) -> str:
    """Create what is missing or differs, and start nothing; return why it did not work, "" when it did.

    :arg services: only these, and not what they depend on; () for all.
    """
    before = {item["id"]: item["service"] for item in project.containers()}
    made = project.up(services=services, timeout=timeout, start=False)
    if made.code:
        return f"docker compose up failed: {made.reason}"
    after = project.containers()
    replaced = {item["service"] for item in after if item["id"] not in before} & set(before.values())
    again = start_order.restarted_with(plan.model, replaced)
    if again:
        project.stop([item["id"] for item in after if item["service"] in again and item["state"] == "running"])
    return ""


def start(project: Project, plan: Plan, pace: Pace) -> Outcome:
    """Start the containers that are there, each when what it depends on is as it needs it."""
    by_compose = start_order.started_by_compose(plan.model)
    begun: set[str] = set()
    said: set[str] = set()
    while True:
        pace.alive()
        instances = project.containers()
        found = start_order.turn(plan, instances, begun)
        if found.failures:
            return Outcome(described(found.failures), frozenset(begun))
        if found.start:
            begun.update(found.start)
            failure = _start(project, found.start, instances, by_compose)
            if failure:
                return Outcome(failure, frozenset(begun))
            continue
        if not found.waits:
            return Outcome("", frozenset(begun))
        late = _wait(found, pace, said)
        if late:
            return Outcome(late, frozenset(begun))


def again(
    project: Project,
    services: Sequence[str],
    ended_jobs: Sequence[str],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> str:
    """Bring a release back that was good before; return why it did not work, "" when it did.

    A job of it that fails now, since a newer one has gone further, must not leave the app down.

    :arg services: only these; () for all.
    :arg ended_jobs: the jobs that the release knows to have ended well.
    """
    plan = start_order.whole(project.config())
    if services:
        plan = plan._replace(services=frozenset(services))
    failure = create(project, plan, services)
    if failure:
        return failure

    def pace() -> Pace:
        return Pace(monotonic() + _AGAIN_SECONDS, _AGAIN_SECONDS, monotonic, sleep, lambda: None, lambda _text: None)

    failure = start(project, plan, pace()).failure
    if failure and ended_jobs:
        failure = start(project, plan._replace(settled=frozenset(ended_jobs)), pace()).failure
    return failure


def await_jobs(project: Project, plan: Plan, begun: Collection[str], pace: Pace) -> str:
    """Wait until the jobs that were started have ended; say which one failed, or did not end in time."""
    if not start_order.jobs(plan.model):
        return ""
    return _await(lambda: start_order.unfinished(plan, project.containers(), begun), pace)


def await_needs(project: Project, plan: Plan, service: str, begun: Collection[str], pace: Pace) -> str:
    """Wait until what a service depends on is as it needs it; say what is not in time, or never will be."""
    return _await(lambda: start_order.needs(plan, service, project.containers(), begun), pace)


def watch(project: Project, plan: Plan, asked: Collection[int], pace: Pace) -> list[Failure]:
    """Watch what was just started and no check asks, for a few seconds; longer while something restarts.

    :arg asked: the ports that the checks asked.
    """
    instances = project.containers()
    before = {str(item["id"]): int(item["restarts"]) for item in instances}
    until = pace.monotonic() + _WATCH_SECONDS
    while True:
        pace.alive()
        found = start_order.unsettled(plan, instances, asked, before)
        if found.failures or not found.waits:
            return found.failures
        if pace.monotonic() >= until:
            return start_order.unsteady(instances, found)
        pace.sleep(_POLL_SECONDS)
        instances = project.containers()


def described(failures: Sequence[Failure]) -> str:
    """What failed, in one line."""
    return "; ".join(f"service {one.service} {one.reason}" for one in failures)


def _await(look: Callable[[], Turn], pace: Pace) -> str:
    """Look until nothing is waited for; say what failed, or did not come in time."""
    said: set[str] = set()
    while True:
        pace.alive()
        found = look()
        if found.failures:
            return described(found.failures)
        if not found.waits:
            return ""
        late = _wait(found, pace, said)
        if late:
            return late


def _wait(found: Turn, pace: Pace, said: set[str]) -> str:
    """Wait a moment; say what was waited for in vain, "" while there is time."""
    for one in found.waits:
        if one.needed not in said:
            said.add(one.needed)
            pace.say(f"{one.service} waits for {one.needed}: {one.doing}")
    if pace.monotonic() < pace.until:
        pace.sleep(_POLL_SECONDS)
        return ""
    late = "; ".join(dict.fromkeys(f"{one.service} waits for {one.needed}: {one.doing}" for one in found.waits))
    return f"not ready within {pace.seconds:.0f} s (compose_app_gate_timeout): {late}"


def _start(
    project: Project, identities: Sequence[str], instances: Sequence[Container], by_compose: Collection[str]
) -> str:
    service_of = {item["id"]: str(item["service"]) for item in instances}
    paused = [item["id"] for item in instances if item["id"] in identities and item["state"] == "paused"]
    whole = sorted({service_of[one] for one in identities} & set(by_compose))
    if paused:
        project.unpause(paused)
    plain = [one for one in identities if one not in paused and service_of[one] not in whole]
    done = project.start(plain)
    if not done.code and whole:
        done = project.start_services(whole)
    if done.code:
        names = ", ".join(sorted({service_of[one] for one in identities}))
        return f"{names} cannot be started: {done.reason}"
    return ""
