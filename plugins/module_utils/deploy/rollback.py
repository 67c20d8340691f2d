# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Go back to a release that passed its gate on this host."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..core.app import App
from ..core.clock import Clock
from ..core.locks import LOCK_SECONDS, hold_lock
from ..core.redact import redact
from ..docker import engine
from ..docker import images as docker_images
from ..env import history as env_history
from ..env import rules as secret_rules
from ..env.read import read as read_env
from ..releases import store as release_store
from ..releases.store import Release
from . import rolling as deploy_rolling
from .deploy import DeployError, DeployResult, How, deploy_locked, result


def roll_back(app: App, wanted: str, how: How, check: bool = False, clock: Clock | None = None) -> DeployResult:
    """Deploy a release that was recorded here: its compose files, its env, its images, through the same gate.

    A variable that is required today, and that the release did not have yet, keeps today's value: the release does not
    need it, and without it the env would be invalid. Every other value is that of the release.

    :arg wanted: its id; "" for the newest one before the serving one that was not rolled back from.
    :raises DeployError: the release is not recorded, or its env or an image is gone; then nothing was changed. Or it
        did not pass its gate; then the release before serves.
    """
    clock, paths = clock or Clock(), app.paths
    serving = release_store.last_good(paths.directory)
    known = release_store.known(paths.directory)
    to = next((one for one in known if one["id"] == wanted), None) if wanted else before(known, serving)
    if to is None:
        there = ", ".join(str(one["id"]) for one in known) or "none"
        raise DeployError(f"there is no release {wanted or 'before the one that serves'}. Recorded here: {there}")
    later = require_possible(app, to, clock.now())
    if check:
        return {**result(True, False, "", [f"release {to['id']} would serve"], None, 0.0), "to": to["id"]}
    with hold_lock(paths.lock, LOCK_SECONDS, f"roll back {app.name}", paths.restoring):
        how.say(f"putting the files of release {to['id']} back")
        try:
            deploy_rolling.restore_files(paths, app.variables, to, clock)
            if later:
                how.say(f"keeping today's value of {', '.join(later)}: release {to['id']} has none")
                values = {**env_history.values_of(paths.env, paths.history, to["env"]), **later}
                env_history.write_env(paths.env, paths.history, values, now=clock.now(), why="restore")
            done = deploy_locked(app, how._replace(build=False, pull=False), False, clock, to)
        except (DeployError, env_history.EnvError, engine.EngineError, OSError):
            if serving is not None:
                with contextlib.suppress(env_history.EnvError, engine.EngineError, OSError):
                    deploy_rolling.restore_files(paths, app.variables, serving, clock)
            raise
        if serving is not None and done["changed"]:
            release_store.leave(paths.directory, serving)
        return {**done, "to": to["id"]}


def require_possible(app: App, to: Release, now: float) -> dict[str, str]:
    """Return today's values of the variables that are required today and have none in the env of a release.

    :raises DeployError: nothing can go back to it: an image or its env is gone, or that env does not pass today.
    """
    missing = [
        image
        for service, image in to["images"].items()
        if not docker_images.has_image(image) and to["names"][service] not in to.get("pins", {})
    ]
    if missing:
        raise DeployError(f"an image of release {to['id']} is not on this host any more: {missing[0]}. Deploy it again")
    today = read_env(app.paths, app.variables, now)
    if not to["env"] or to["env"] == today["fingerprint"]:
        return {}
    try:
        values = env_history.values_of(app.paths.env, app.paths.history, to["env"])
    except env_history.EnvError:
        raise DeployError(f"the env of release {to['id']} is not kept on this host any more. Deploy it again") from None
    absent = {one["variable"] for one in secret_rules.validate(app.variables, values, now)} - set(values)
    later = {name: value for name, value in today["values"].items() if name in absent}
    findings = secret_rules.validate(app.variables, {**values, **later}, now)
    if findings:
        said = secret_rules.describe(findings)
        text = f"nothing was changed, the env that was kept of release {to['id']} does not pass today:\n{said}"
        raise DeployError(redact(text, secret_rules.secrets_of(app.variables, {**values, **later})))
    return later


def before(known: Sequence[Release], serving: Release | None) -> Release | None:
    """Where a rollback goes: the newest release before the serving one that differs and was not rolled back from."""

    def same(one: Release) -> bool:
        return serving is not None and all(one[key] == serving[key] for key in ("files", "env", "images"))

    older = [one for one in known if serving is None or one["id"] < serving["id"]]
    return next((one for one in reversed(older) if not same(one) and not one.get("left")), None)
