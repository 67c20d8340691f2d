# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restore an app from a backup.

The backup is staged next to the app, and asked the same questions as in a verification. Then the app is stopped, the
staged files and volumes are swapped in, and the app has to pass its gate. What was replaced stays next to the app until
the policy removes it.

It may be killed at any point. Until the first swap nothing of the app is touched. From then on `restore.json` says what
to roll back, and until that is done neither a deploy nor a recovery touches the app.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Callable, TypedDict

from ..core.app_paths import AppPaths
from ..core.clock import Clock, iso
from ..core.files import atomic_write
from ..core.locks import hold_lock
from ..deploy import deploy as deployment
from ..deploy import rolling
from ..docker import engine
from ..docker import project as docker_project
from ..docker import volumes as docker_volumes
from ..env import history as env_history
from ..releases import haproxy
from ..releases import store as release_store
from . import atomic_swap, restic
from . import create as backup_create
from . import sets as backup_sets
from .atomic_swap import Move
from .config import Backup
from .databases import BackupError
from .questions import Answer
from .scratch import Scratch, remove_containers
from .sets import What
from .source import Source, parts_of
from .stage import stage
from .verify import ask_restored

Say = Callable[[str], None]

EXPECTED = (*backup_create.EXPECTED, deployment.DeployError, env_history.EnvError, haproxy.BalancerError)
LOCK_SECONDS = 120.0


class _Done(TypedDict, total=False):
    safety: str
    unsaved: bool
    checks: list[Answer]
    seconds: float
    gap: float


class RestoreResult(_Done):
    """What a restore did, or would: the set's id, what was restored, and the differences, in words.

    `safety` is the id of the backup of what was replaced, "" without one; `unsaved`: what was replaced is in no backup.
    `gap` is how long the app was stopped (s).
    """

    set: str
    what: str
    changed: bool
    differences: list[str]


class Note(TypedDict):
    """`restore.json`: what goes on, when it began (ISO 8601), what to undo, and whether the app ran."""

    set: str
    what: str
    at: str
    moves: list[Move]
    ran: bool


def differences(config: Backup, source: Source, what: What) -> list[str]:
    """Say what a restore would change."""
    manifest, last = source.manifest, release_store.last_good(config.paths.directory)
    age = f"backup {source.set.id}, made {manifest['time']} ({source.set.why})"
    found = [f"{what} would be that of {age}"]
    if what.kind == "app":
        here = last["id"] if last else "none"
        same = "the same" if here == manifest["release"] else f"here it is {here}"
        found.append(f"release {manifest['release'] or 'none'} ({same})")
    if what.kind in ("app", "env"):
        mark = backup_create.env_mark(config.paths.env)
        same = "the same" if mark == manifest["env"] else f"here it is {mark or 'none'}"
        found.append(f"env {manifest['env']} ({same})")
    chosen = source.chosen(what)
    for volume in chosen:
        filled = ", ".join(one.name for one in source.dumps([volume]))
        found.append(f"volume {volume.key}: " + (f"from the dumps of {filled}" if filled else "its files"))
    found += [source.by_hand(one) for one in source.remote if what.kind == "app"]
    size = sum(int(manifest["parts"].get(part, 0)) for part in parts_of(source, what, chosen))
    found.append(f"{size / 1e6:.1f} MB would be read, and the app would be stopped while they are swapped in")
    return found


@backup_create.redacted
def restore(config: Backup, to: str, what: What, say: Say, clock: Clock, check: bool = False) -> RestoreResult:
    """Restore from a backup.

    :raises LockHeld: another backup or restore of this app goes on.
    :raises BackupError, RepositoryError, EngineError, DeployError, OSError: the app is as it was.
    """
    begun = clock.monotonic()
    if check:
        source = Source(config, to, clock.now())
        return {
            "set": source.set.id,
            "what": str(what),
            "changed": True,
            "differences": differences(config, source, what),
        }
    scratch = Scratch(config, "restore")
    with backup_create.alone(config, "restore"):
        settle(config, say, clock)
        if os.path.lexists(scratch.only_copy):
            raise BackupError(
                "what the last restore replaced could not be backed up, and this one would remove the only copy: "
                f"{scratch.directory}, and the volumes of `docker volume ls --filter label={scratch.label}`. "
                f"Fix: copy from there what you need, then: rm {scratch.only_copy}"
            )
        restic.make_ready(config.repository, may_make=False)
        source = Source(config, to, clock.now())
        changes = differences(config, source, what)
        say(f"restoring {what} from backup {source.set.id}")
        replaces = _replaces(source)
        safety = _safety(config, say, clock) if replaces else ""
        unsaved = replaces and not safety
        try:
            folders = stage(source, scratch, what, say, clock)
            checks = ask_restored(source, scratch, folders, clock)
            wrong = [one["problem"] for one in checks if one["problem"]]
            if wrong:
                raise BackupError(
                    f"backup {source.set.id} does not pass its checks: {'; '.join(wrong)}. The app was not touched"
                )
            scratch.stop()
            gap = _switch(source, scratch, what, folders, unsaved, say, clock)
        except BaseException:
            # What may have to be rolled back is not removed.
            if not os.path.lexists(config.paths.restoring):
                with contextlib.suppress(engine.EngineError, OSError):
                    scratch.remove()
            raise
        seconds = round(clock.monotonic() - begun, 1)
    for database in source.remote if what.kind == "app" else ():
        say(source.by_hand(database))
    say(f"{what} is that of backup {source.set.id}; the app was stopped for {gap:.1f} s")
    return {
        "set": source.set.id,
        "what": str(what),
        "changed": True,
        "differences": changes,
        "safety": safety,
        "unsaved": unsaved,
        "checks": checks,
        "seconds": seconds,
        "gap": round(gap, 1),
    }


def _replaces(source: Source) -> bool:
    """Whether the app is on this host: a new host may have its env alone."""
    paths = source.config.paths
    return bool(
        docker_project.Project(paths.name, paths.directory).files
        or docker_volumes.volume_facts([one.name for one in source.volumes if one.name])
    )


def _safety(config: Backup, say: Say, clock: Clock) -> str:
    """Back up what is going to be replaced; its id, "" when that fails: a broken app is restored, too."""
    try:
        say("backing up what is going to be replaced")
        return str(backup_create.make(config, backup_sets.SAFETY, say, clock)["set"])
    except backup_create.EXPECTED as error:
        say(f"it cannot be backed up ({error}); it stays next to the app until you remove it")
        return ""


def _switch(
    source: Source, scratch: Scratch, what: What, folders: Mapping[str, str], unsaved: bool, say: Say, clock: Clock
) -> float:
    """Stop the app, swap everything in, and have it pass its gate; return for how long it was stopped.

    :arg unsaved: whether what is replaced is in no backup.
    """
    config, paths = source.config, source.config.paths
    with hold_lock(paths.lock, LOCK_SECONDS, f"restore {paths.name}", paths.restoring):
        moves: list[Move] = []
        ran = bool(docker_project.Project(paths.name, paths.directory).containers())
        note: Note = {"set": source.set.id, "what": str(what), "at": iso(clock.now()), "moves": moves, "ran": ran}
        # What is staged has to be on the disk before anything relies on it.
        os.sync()
        atomic_write(paths.restoring, json.dumps(note).encode())
        stopped = clock.monotonic()
        try:
            say("stopping the app")
            _down(paths)
            # Not before: until then the app may have replaced files of its own.
            moves += _moves(source, scratch, what, folders)
            atomic_write(paths.restoring, json.dumps(note).encode())
            if unsaved:
                atomic_write(scratch.only_copy, b"")
            atomic_swap.do(moves)
            say("starting the app with what was restored")
            # Another env makes another release of the same files and images.
            last = release_store.last_good(paths.directory)
            how = deployment.How(build=bool(last is None or last["contexts"]), say=say)
            deployment.serve_restored(config.watched.app, how, last if what.kind != "env" else None, clock)
            if what.kind in ("app", "env"):
                env_history.remember(paths.env, paths.history, now=clock.now())
        except EXPECTED as error:
            say(f"rolling back: {str(error).splitlines()[0]}")
            _roll_back(config, moves, ran, say, clock)
            raise BackupError(f"{error}\nWhat was there before is back in its place.") from error
        gap = clock.monotonic() - stopped
        os.unlink(paths.restoring)
    return gap


def _moves(source: Source, scratch: Scratch, what: What, folders: Mapping[str, str]) -> list[Move]:
    """What is swapped."""
    paths = source.config.paths
    moves: list[Move] = []
    for volume in source.chosen(what):
        if not volume.name:
            # Those of the whole app are swapped with its directory.
            if what.kind != "app":
                here = os.path.join(paths.directory, volume.key[2:])
                os.makedirs(os.path.dirname(here), exist_ok=True)
                moves.append(atomic_swap.plan(here, folders[volume.key]))
            continue
        labels = {"com.docker.compose.project": paths.name, "com.docker.compose.volume": volume.key}
        if volume.name not in docker_volumes.volume_facts([volume.name]):
            docker_volumes.make_volume(volume.name, labels)
        here = str(docker_volumes.volume_facts([volume.name])[volume.name]["path"])
        moves.append(atomic_swap.plan(here, folders[volume.key]))
    if what.kind == "env":
        moves.append(atomic_swap.plan(paths.env, os.path.join(scratch.directory, ".env")))
    if what.kind == "app":
        os.makedirs(paths.directory, exist_ok=True)
        moves += atomic_swap.plan_entries(paths.directory, scratch.directory)
        moves += [
            atomic_swap.plan(os.path.join(paths.state, name), os.path.join(scratch.state, name))
            for name in source.manifest["state_folders"]
        ]
    return moves


def _down(paths: AppPaths) -> None:
    """Stop and remove the app's containers, each after the time that it is given to end by itself."""
    remove_containers(docker_project.Project(paths.name, paths.directory))


def _roll_back(config: Backup, moves: list[Move], ran: bool, say: Say, clock: Clock) -> None:
    """Put what was there before in its place again, start it, and forget the restore."""
    paths = config.paths
    _down(paths)
    atomic_swap.undo(moves)
    # Containers that a killed run had started may have run until now, with the other volumes.
    _down(paths)
    last = release_store.last_good(paths.directory)
    if ran:
        try:
            deployment.serve_restored(config.watched.app, deployment.How(say=say), last, clock)
        except EXPECTED as error:
            # The app was unhealthy before: recovery heals it once the restore is forgotten.
            say(f"what was there before does not pass its gate either: {str(error).splitlines()[0]}")
    rolling.finish(paths)
    os.unlink(paths.restoring)


@backup_create.redacted
def settle(config: Backup, say: Say, clock: Clock) -> bool:
    """Clean up after a killed verification, and roll back a killed restore, whether it had begun to swap or not.

    The caller holds the backup's lock. Returns whether a restore had begun to swap.
    """
    paths = config.paths
    verifying, restoring = Scratch(config, "verify"), Scratch(config, "restore")
    backup_create.end_dumps(config)
    # What a restore has replaced stays in its folder.
    for scratch, trace in ((verifying, verifying.state), (restoring, restoring.compose)):
        if os.path.lexists(trace):
            say(f"a run was killed: removing its scratch project {scratch.project}")
            scratch.remove()
    try:
        with open(paths.restoring, encoding="utf-8") as stream:
            found = json.load(stream)
        moves, ran = list(found["moves"]), bool(found["ran"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{paths.restoring} is damaged: look at {restoring.directory}, then remove it") from None
    with hold_lock(paths.lock, LOCK_SECONDS, f"roll back a restore of {paths.name}"):
        say(f"a restore of {found.get('what')} was killed half-way: rolling it back")
        _roll_back(config, moves, ran, say, clock)
        restoring.remove()
    return True


def remove_kept(config: Backup, clock: Clock) -> bool:
    """Remove what the last restore replaced, when it is old enough; whether there was something to remove.

    The caller holds the backup's lock.
    """
    scratch = Scratch(config, "restore")
    if os.path.lexists(config.paths.restoring) or not os.path.isdir(scratch.state):
        return False
    if os.path.lexists(scratch.only_copy):
        return False
    if clock.now() - os.stat(scratch.state).st_mtime < 86400.0 * config.kept_days:
        return False
    scratch.remove()
    return True
