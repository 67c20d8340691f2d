# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""After a failed deploy: bring back what served before, and say what runs now."""

from __future__ import annotations

import contextlib

from ..compose import bring_up
from ..core.app import App
from ..core.clock import Clock
from ..docker import engine
from ..docker import project as docker_project
from ..env import history as env_history
from ..health.wait import wait_healthy
from ..releases import haproxy
from ..releases.store import Release
from . import before_first
from . import rolling as deploy_rolling


def bring_back(app: App, good: Release | None, ran: bool, gate: float, clock: Clock) -> str:
    """Bring back what served before, and say what runs now.

    :arg ran: whether the app had containers before this deploy.
    :arg gate: seconds that a release may take to pass its gate.
    """
    # As long as a release may take: the one before may start as slowly.
    seconds = max(deploy_rolling.PUT_BACK_SECONDS, gate)
    if app.balancer and good:
        return _roll_back_instances(app, good, seconds, clock)
    said = _put_back(app, good, ran, seconds, clock)
    if good is None:
        # There is nothing to go back to.
        deploy_rolling.finish(app.paths)
    return said


def _roll_back_instances(app: App, good: Release, seconds: float, clock: Clock) -> str:
    """Let the last good release serve alone again, and say what runs now."""
    try:
        deploy_rolling.go_back(app, good, clock, lambda _text: None)
    except (env_history.EnvError, engine.EngineError, haproxy.BalancerError, OSError) as error:
        return f"The last good release {good['id']} could not be put back: {error}"
    checks = wait_healthy(app, None, seconds, clock)
    said = "serves" if checks["ok"] else "does not pass either"
    return f"The last good release {good['id']} {said}: {checks['summary']}."


def _put_back(app: App, good: Release | None, ran: bool, seconds: float, clock: Clock) -> str:
    """Bring back what served before, and say what runs now."""
    if good is not None:
        try:
            deploy_rolling.restore_files(app.paths, app.variables, good, clock)
        except (env_history.EnvError, engine.EngineError, OSError) as error:
            return f"The last good release {good['id']} could not be put back: {error}"
        project = docker_project.Project(app.name, app.paths.directory)
        try:
            failure = bring_up.again(project, (), good.get("jobs", ()), clock.monotonic, clock.sleep)
        except engine.EngineError as error:
            failure = str(error)
        if failure:
            return f"The last good release {good['id']} could not be started: {failure}"
        checks = wait_healthy(app, None, seconds, clock)
        said = "serves" if checks["ok"] else f"does not pass either, so the cause is elsewhere: {checks['summary']}"
        return f"The last good release {good['id']} is put back and {said}."
    if ran:
        return _put_first_back(app, seconds, clock)
    docker_project.Project(app.name, app.paths.directory).down()
    return "There is no last good release: the containers were taken down, volumes are kept."


def _put_first_back(app: App, seconds: float, clock: Clock) -> str:
    """Bring back what ran before the app was ever deployed from here, and say what it does."""
    note = before_first.read(app.paths)
    if note is None:
        return (
            "The version that ran before this deploy is not recorded, so it cannot be started again from here. Start "
            "it from its own compose file."
        )
    if app.balancer:
        # HAProxy may hold the port that the app publishes itself.
        with contextlib.suppress(OSError):
            haproxy.leave(app.paths)
    done = before_first.put_back(app.paths, note)
    if done.failure:
        return f"What ran before could not be put back: {done.failure}"
    project = docker_project.Project(app.name, app.paths.directory)
    checks = wait_healthy(app, None, seconds, clock)
    serves = "serves" if checks["ok"] else "does not pass either"
    ended = before_first.said(note, project.containers())
    what = f"What ran before is put back, from its own {', '.join(done.compose)}, not hardened"
    return f"{what}. It {serves}: {'; '.join(filter(None, (checks['summary'], ended)))}."
