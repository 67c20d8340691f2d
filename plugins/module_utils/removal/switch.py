# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have an app run from its own compose files: service after service, in the order in which they need each other.

Before the first change the app is as it was, and its watcher still takes care of it: a run that is killed in between is
an incident like any other. The lock is held meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from ..compose import bring_up, start_order
from ..core.app import App
from ..core.clock import Clock
from ..core.files import atomic_write, readable
from ..deploy import last_good
from ..docker.containers import label
from ..docker.engine import EngineError
from ..docker.model import Model, Services
from ..docker.project import Project
from ..env import read as env_file
from ..health import facts as health_facts
from ..probe import web
from ..probe.continuous import Sample
from ..releases import haproxy
from ..releases import store as release_store
from . import own_files

_GATE_SECONDS = 120.0
Say = Callable[[str], None]


class SwitchError(Exception):
    """The app does not run from its own files; the message says why, and what runs now."""


def order(model: Model, services: Sequence[str]) -> list[str]:
    """Return services so that each comes after those that it depends on."""
    left, found = sorted(services), list[str]()
    specs: Services = model.get("services") or {}
    while left:
        ready = [name for name in left if not set(specs[name].get("depends_on") or {}) & set(left)] or left[:1]
        found += ready
        left = [name for name in left if name not in ready]
    return found


def published(model: Model) -> frozenset[int]:
    """Return the TCP ports of the host that the files publish."""
    services: Services = model.get("services") or {}
    ports = [port for spec in services.values() for port in spec.get("ports") or []]
    return frozenset(int(str(one["published"])) for one in ports if str(one.get("published") or "").isdigit())


def to_own_files(app: App, project: Project, model: Model, clock: Clock, say: Say) -> None:
    """Replace each container that was created with the overlay.

    :raises SwitchError: the app does not run without it; it was brought back.
    """
    good = release_store.last_good(app.paths.directory)
    part = readable(haproxy.CONFIG.format(app=app.name)) if app.balancer else None
    try:
        failure = _replace(app, project, model, clock, say)
    except (EngineError, haproxy.BalancerError, OSError) as error:
        failure = str(error)
    if not failure:
        return
    if part is not None:
        atomic_write(haproxy.CONFIG.format(app=app.name), part, mode=0o644)
    said = last_good.bring_back(app, good, True, _GATE_SECONDS, clock)
    raise SwitchError(f"{app.name} does not run from its own files: {failure}. {said} Nothing was removed")


def _replace(app: App, project: Project, model: Model, clock: Clock, say: Say) -> str:
    """Replace the containers; say why it did not work, "" when it did."""
    good = release_store.last_good(app.paths.directory)
    if good:
        named = project.put_back_images(good)
        if named.code:
            return named.reason
    jobs = start_order.jobs(model) | frozenset((good or {}).get("jobs") or ())
    plan = start_order.whole(model)._replace(settled=jobs)
    for service in order(model, sorted(start_order.expected(model) - jobs)):
        mine = [one for one in project.documents() if label(one, "service") == service]
        failure = ""
        if not mine or any(map(own_files.is_ours, mine)):
            say(f"{service}: from its own file")
            if app.balancer and service == app.balancer.service:
                haproxy.leave(app.paths)
            failure = bring_up.create(project, plan, [service], timeout=_GATE_SECONDS)
        # A run that was killed may have created it without starting it.
        failure = failure or bring_up.start(project, plan._replace(services=frozenset([service])), _pace(clock)).failure
        if failure:
            return failure
    ended = [str(one["Id"]) for one in project.documents() if own_files.is_ours(one)]
    failure = _fails(app, project, plan, model, clock)
    if not failure and ended:
        # Jobs, which have ended, and what the overlay alone brought.
        project.remove(ended)
    return failure


def _pace(clock: Clock) -> bring_up.Pace:
    until = clock.monotonic() + _GATE_SECONDS
    return bring_up.Pace(until, _GATE_SECONDS, clock.monotonic, clock.sleep, lambda: None, lambda _text: None)


def _fails(app: App, project: Project, plan: start_order.Plan, model: Model, clock: Clock) -> str:
    """Say what is wrong with the app now: its containers, and the checks of what it publishes itself."""
    ports = published(model)
    asked = {port for check in app.checks if (port := _port(check.url))}
    # They build on each other, and one that is asked elsewhere says nothing here.
    checks = app.checks if asked and asked <= ports else ()
    if checks:
        values = env_file.read(app.paths, app.variables, clock.now())["values"]
        found = health_facts.ask(checks, values, _GATE_SECONDS, clock, app.shown)
        if not found["ok"]:
            return str(found["summary"])
    return bring_up.described(bring_up.watch(project, plan, asked if checks else set(), _pace(clock)))


def _port(url: str) -> int:
    found = web.address(url)
    return found.port if found else 0


def gap(samples: Sequence[Sample]) -> float:
    """Return for how many seconds, altogether, requests were not answered."""
    seconds, failed_since = 0.0, None
    for sample in samples:
        if not sample.ok:
            failed_since = sample.sent if failed_since is None else failed_since
        elif failed_since is not None:
            seconds, failed_since = seconds + sample.sent - failed_since, None
    if failed_since is not None:
        seconds += samples[-1].ended - failed_since
    return seconds
