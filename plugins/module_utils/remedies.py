# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The remedies: each one action, idempotent, bounded in time. None deletes a volume or an image."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Callable

from . import env_store, release, secret_rules
from .app import App
from .engine import Project, Result
from .ladder import LAST_GOOD_ENV, PROVED_ENV, RECREATE, UP


class RemedyError(Exception):
    """A remedy could not be applied; the message says why, in the words of what refused it."""


def _succeed(result: Result, what: str) -> None:
    if result.code:
        raise RemedyError(f"{what} {result.reason}")


def _start(project: Project, build: bool, anew: bool) -> str:
    """Create and start what is missing, or everything `anew`, and say which images it was made of.

    What the app was last healthy with is not left behind for a source that never passed a gate, and needs no build; and
    a build that fails (its registry is down, too) must not stop a recovery.
    """
    good = release.last_good(project.directory)
    if good is not None and project.put_back_images(good["images"], good["names"]).code == 0:
        _succeed(project.up(anew=anew), "docker compose up:")
        if good["source"] == release.source_fingerprint(good["contexts"]):
            return ""
        return f" from the images of release {good['id']}, as the source has changed since and passed no gate"
    started = project.up(build=build, anew=anew)
    if started.code == 0:
        return ""
    _succeed(project.up(anew=anew) if build else started, "docker compose up:")
    return f" from the images that are there, as the build failed: {started.reason}"


def up(app: App, build: bool) -> str:
    """Create and start what is missing or stopped."""
    return f"started what was missing or stopped{_start(Project(app.name, app.directory), build, anew=False)}"


def recreate(app: App, build: bool) -> str:
    """Stop the containers and make them anew; volumes, networks and images stay."""
    return f"containers stopped and made anew{_start(Project(app.name, app.directory), build, anew=True)}"


def proved_env(app: App, values: Mapping[str, str], now: float) -> str:
    """Put the proved values in place, keeping the env that was there."""
    change = env_store.write_env(
        app.env, app.history, secret_rules.texts(app.variables, values), now=now, why="recover"
    )
    return _told(change, "env")


def last_good_env(app: App, now: float) -> str:
    """Put the newest env back that an app was healthy with."""
    change = env_store.restore_env(
        app.env, app.history, now=now, prove=lambda values: secret_rules.prove(app.variables, values, now)
    )
    return _told(change, "last good env")


def _told(change: env_store.Change, what: str) -> str:
    before = change["before"] or {}
    names = sorted(name for name, mark in change["after"].items() if before.get(name) != mark)
    kept = f", the env that was there is kept as {change['backup']}" if change["backup"] else ""
    return f"{what} written ({', '.join(names) or 'same values'}){kept}"


def table(
    app: App, build: bool, values: Mapping[str, str] | None, now: Callable[[], float] = time.time
) -> dict[str, Callable[[], str]]:
    """Return the remedies that can be applied here, by name; each call acts and returns what it did."""
    found: dict[str, Callable[[], str]] = {UP: lambda: up(app, build), RECREATE: lambda: recreate(app, build)}
    if values is not None:
        given = values
        found[PROVED_ENV] = lambda: proved_env(app, given, now())
    if env_store.last_good(app.history) is not None:
        found[LAST_GOOD_ENV] = lambda: last_good_env(app, now())
    return found
