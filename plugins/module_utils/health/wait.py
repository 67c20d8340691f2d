# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wait until an app is healthy, or until it is clear that it will not be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..core.app import App
from ..core.clock import Clock
from ..docker import engine
from ..docker import project as docker_project
from ..env import read as env_file
from ..probe.run import ProbeResult
from . import facts as health_facts

# The last answer is passed on this often while it is waited for.
SAY_SECONDS = 10.0


def _restarts(project: docker_project.Project) -> dict[str, int]:
    try:
        return {str(item["id"]): int(item["restarts"]) for item in project.containers()}
    except engine.EngineError:
        return {}


def wait_healthy(
    app: App,
    values: Mapping[str, str] | None,
    seconds: float,
    clock: Clock,
    say: Callable[[ProbeResult], None] = lambda _found: None,
) -> ProbeResult:
    """Wait until the probe passes, a container gives up, or the time is over; return the last probe's result.

    :arg say: called with the last result every SAY_SECONDS.
    """
    until = clock.monotonic() + seconds
    said = clock.monotonic()
    project = docker_project.Project(app.name, app.paths.directory)
    known = {**env_file.read(app.paths, app.variables, clock.now())["values"], **(values or {})}
    # Most remedies have worked before the engine could be asked how often it restarted what.
    asked = health_facts.ask(app.checks, known, min(0.5, seconds), clock, app.shown)
    before = {} if asked["ok"] else _restarts(project)
    services: Collection[str] | None = None
    while not asked["ok"] and clock.monotonic() < until:
        asked = health_facts.ask(app.checks, known, min(2.0, until - clock.monotonic()), clock, app.shown)
        if asked["ok"]:
            break
        if clock.monotonic() - said >= SAY_SECONDS:
            said = clock.monotonic()
            say(asked)
        try:
            instances = project.containers()
        except engine.EngineError:
            continue
        # Two restarts within the wait is a loop: more waiting would only hide it.
        loops = {item["service"] for item in instances if item["restarts"] >= before.get(item["id"], 0) + 2}
        over = {item["service"] for item in instances if item["state"] in ("exited", "dead") and not item["job_done"]}
        if loops or over:
            services = _services(project) if services is None else services
            if not services or (loops | over) & set(services):
                break
    return asked


def _services(project: docker_project.Project) -> Collection[str]:
    """The services of the app. What a person ran of another profile may have ended. () when unknown."""
    try:
        return set(project.config().get("services") or {})
    except engine.EngineError:
        return ()
