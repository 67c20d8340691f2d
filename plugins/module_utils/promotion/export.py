# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Staging's side of a promotion: whether its release may go to production, and what goes there. Changes nothing.

It reads what this host knows: the agent's config, the recorded releases, the incidents. The env is not exported.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TypedDict

from ..core.app_paths import AppPaths
from ..core.clock import Clock, age, moment
from ..core.locks import is_locked
from ..docker import images as docker_images
from ..docker import project as docker_project
from ..docker import project_layout
from ..docker.containers import Document
from ..env import read as env_file
from ..health import facts as health_facts
from ..host import command as commands
from ..records import incidents, state
from ..recovery import config as agent_config
from ..recovery import watcher_note
from ..recovery.config import Config, ConfigError
from ..recovery.run import CONFIRM_SECONDS
from ..releases import store as release_store
from ..releases.store import Release
from . import rules as promotion_rules
from .image_archive import Image
from .rules import PastIncident, PauseSeen, StagingFacts

_UNIT_SECONDS = 5.0


class PromotionRefused(Exception):
    """The release must not go to production; `refusals` are the reasons."""

    def __init__(self, message: str, refusals: list[promotion_rules.Refusal]) -> None:
        super().__init__(message)
        self.refusals = refusals


class Offer(TypedDict):
    """A release that may go to production: its id, its host, and how long it has served, in words.

    `folder` holds its files on that host; `pins` are digests by image name.
    """

    host: str
    release: str
    serving: str
    folder: str
    images: list[Image]
    pins: dict[str, str]


def offer(name: str, soak: float, root: str = "/", clock: Clock | None = None) -> Offer:
    """Return the release of an app that may go to production.

    :arg soak: for how long it has to have run healthy, in seconds.
    :raises PromotionRefused: it has not, or it is not what runs.
    :raises ConfigError: the app is not watched here, or `soak` is not a time.
    """
    if not soak >= 0:
        raise ConfigError("promote_soak_minutes: expected a number of minutes, 0 or more. Fix: write 60, for example")
    clock = clock or Clock()
    config = _config(name, root)
    facts = read_facts(config, clock)
    found = promotion_rules.refusals(facts, soak)
    good = facts["release"]
    if found or good is None:
        what = f"release {good['id']} does not go to production" if good else "nothing can go to production"
        lines = [f"{name} on {config.app.host}: {what}:", *[f"- {one}" for one in found]]
        raise PromotionRefused("\n".join([*lines, "Nothing was changed, here or in production."]), found)
    sizes = docker_images.image_facts(good["images"].values())
    images: list[Image] = [
        {"service": service, "id": image, **sizes[image]} for service, image in sorted(good["images"].items())
    ]
    return {
        "host": config.app.host,
        "release": good["id"],
        "serving": promotion_rules.minutes(facts["serving"]),
        "folder": release_store.files_of(config.app.paths.directory, str(good["id"])),
        "images": images,
        "pins": good.get("pins", {}),
    }


def _config(name: str, root: str) -> Config:
    path, known = agent_config.path_of(name, root), agent_config.apps(root)
    if name not in known:
        there = f"watched are: {', '.join(known)}" if known else "none is"
        raise ConfigError(
            f"no app {name!r} is watched on this host ({path} does not exist; {there}). Its name, selfheal_app, has to "
            "be the same on staging and in production; christmas.selfheal.site sets the watcher up on staging"
        )
    return agent_config.load(path, root)


def read_facts(config: Config, clock: Clock) -> StagingFacts:
    """What `rules.refusals` decides by."""
    app, paths, now = config.app, config.app.paths, clock.now()
    good = release_store.last_good(paths.directory)
    env = env_file.read(paths, app.variables, now)
    said = health_facts.read_engine(app, env, now)
    answers = said.engine["answers"]
    images = good["images"] if good else {}
    there = docker_images.image_facts(images.values()) if answers else set(images.values())
    return {
        "app": paths.name,
        "engine": "" if answers else said.engine["reason"],
        "busy": f"a deploy or a recovery holds {paths.lock}" if is_locked(paths.lock) else "",
        "release": good,
        "serving": _serving(paths, now),
        "missing": [service for service, image in sorted(images.items()) if image not in there],
        "changed": release_store.changed(paths.directory, good) if good else [],
        "mounted": _mounted(paths, good) if answers else [],
        "incidents": _incidents(paths, now),
        "watcher": {"alive": watcher_note.read_note(config, clock)["alive"], "since": _watched(paths, clock)},
        "paused": _paused(paths, clock),
        "probe": health_facts.ask(app.checks, env["values"], CONFIRM_SECONDS, clock, app.shown),
        "env": env["findings"],
        "instances": [*said.containers["instances"]] if said.containers else [],
    }


def _serving(paths: AppPaths, now: float) -> float:
    """Seconds since the release became the last good one: by a deploy, or by a rollback to it."""
    try:
        return max(
            0.0,
            now - os.lstat(os.path.join(release_store.folder(paths.directory), release_store.LAST_GOOD)).st_mtime,
        )
    except OSError:
        return 0.0


def _incidents(paths: AppPaths, now: float) -> list[PastIncident]:
    """The incidents, newest first. One without an end is taken as over when it was last written."""
    memory, _problem = state.load(paths.state, paths.spare, repair=False)
    current = memory["incident"]
    known = [one for one in incidents.every(paths.incidents) if not current or one["id"] != current["id"]]
    found: list[PastIncident] = []
    if current:
        found.append({"id": current["id"], "cause": current["cause"], "open": True, "ago": 0.0})
    for one in known:
        over = _epoch(one.get("ended")) or _epoch(one.get("seen")) + float(one["seconds"])
        found.append({"id": one["id"], "cause": one["cause"], "open": False, "ago": max(0.0, now - over)})
    return found


def _epoch(text: object) -> float:
    """Epoch seconds of what `clock.iso` wrote; 0.0 for anything else."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _watched(paths: AppPaths, clock: Clock) -> float:
    """Seconds for which systemd has kept the watcher running, 0.0 when it does not."""
    asked = commands.run(
        ["systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", f"selfheal@{paths.name}.timer"],
        _UNIT_SECONDS,
    )
    since = asked.out.strip()
    return max(0.0, clock.monotonic() - int(since) / 1e6) if asked.code == 0 and since.isdigit() and int(since) else 0.0


def _paused(paths: AppPaths, clock: Clock) -> PauseSeen | None:
    """The pause in force, or how long ago one ended, or a person ran `selfheal resume`."""
    orders, now = state.read_orders(paths.state), moment(clock.now(), clock.monotonic())
    pause = orders["paused"]
    if pause:
        left, lasted = state.pause_left(orders, now), age(pause["since"], now)
        length = float(pause["until"]) - float(pause["since"]["wall"])
        return {"left": left, "reason": pause["reason"], "ago": max(0.0, lasted - length)}
    return {"left": 0.0, "reason": "", "ago": age(orders["resumed"], now)} if orders["resumed"] else None


def _mounted(paths: AppPaths, good: Release | None) -> list[str]:
    """The files of the project, not folders, that containers mount, and that do not go with the release."""
    mounts = [
        mount
        for document in docker_project.Project(paths.name, paths.directory).documents()
        for mount in _binds(document)
    ]
    inside = {path for path in mounts if path.startswith(paths.directory + os.sep) and os.path.isfile(path)}
    known = {*(good["files"] if good else ()), *project_layout.read(paths.directory).data}
    return sorted({os.path.relpath(path, paths.directory) for path in inside} - known)


def _binds(document: Document) -> list[str]:
    return [str(mount["Source"]) for mount in document.get("Mounts") or [] if mount.get("Type") == "bind"]
