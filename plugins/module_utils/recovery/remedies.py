# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The remedies: each one action, idempotent, bounded in time, safe to kill. None deletes a volume or a good image."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Callable

from ..compose import bring_up, start_order
from ..core.app import App, Balancer
from ..core.app_paths import AppPaths
from ..core.fingerprint import fingerprint
from ..core.locks import LockHeld, hold_lock
from ..core.present import present
from ..core.variable import Variable
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import images as docker_images
from ..docker.containers import Container
from ..docker.project import Project
from ..env import history as env_history
from ..env import rules as secret_rules
from ..host import command as commands
from ..host import procfs
from ..host.command import Result
from ..releases import haproxy
from ..releases import store as release_store
from ..releases.store import Release
from . import ladder

# free_space stops when this much is free on each file system that was full.
ENOUGH_BYTES = 256 * 1024 * 1024
_WALK_SECONDS = 2.0
# An engine that was stopped answers what waits first.
_CONTINUED_SECONDS = 3.0
_YOUNG_SECONDS = 10.0
# How long another app's recovery may be at the engine, and for how long an engine that it has started is fresh.
_ENGINE_LOCK_SECONDS, _FRESH_SECONDS = 90.0, 30.0
# How long services may wait for each other where `docker compose up` does not do it, as long as that would.
JOBS_SECONDS = 120.0
# What logrotate leaves next to a log: app.log.1, app.log.2.gz, app.log-20250527.gz, app-20250527.log (logrotate(8)).
# The log itself must be there: mysql-bin.000001 and dump-20250527.sql are not old logs.
_ROTATED = re.compile(r"(.+?)(?:\.[1-9]\d{0,2}|-\d{8}(?:-\d{1,10})?)(\.log)?(?:\.(?:gz|xz|zst|bz2))?")


class RemedyError(Exception):
    """A remedy could not be applied; the message says why, in the words of what refused it."""


def _succeed(result: Result, what: str) -> None:
    if result.code:
        raise RemedyError(f"{what} {result.reason}")


def _remove(project: Project, containers: Sequence[str], grace: float | None) -> None:
    """Stop and remove containers. What docker said does not count when they are gone all the same."""
    removed = project.remove(containers, grace)
    if removed.code and any(item["id"] in containers for item in project.containers()):
        raise RemedyError(f"docker rm: {removed.reason}")


def _start(project: Project, build: bool, recreate: bool) -> str:
    """Create and start what is missing, or recreate everything, and say which images it was made of.

    The images that the app was last healthy with are used rather than a source that never passed a gate, and need no
    build. A build that fails (its registry may be down, too) must not stop a recovery.
    """
    good = release_store.last_good(project.directory)
    # What was not built here has no source here: one that is here is another release's.
    build = build and (good is None or bool(good["contexts"]))
    if good is not None and project.put_back_images(good).code == 0:
        _up(project, good, recreate)
        if not good["contexts"] or good["source"] == release_store.source_fingerprint(
            good["contexts"], project.directory
        ):
            return ""
        return f" from the images of release {good['id']}, as the source has changed since and passed no gate"
    started = project.up(build=build, recreate=recreate)
    if started.code == 0:
        return ""
    _succeed(project.up(recreate=recreate) if build else started, "docker compose up:")
    return f" from the images that are there, as the build failed: {started.reason}"


def _up(project: Project, good: Release, recreate: bool = False, scale: Mapping[str, int] | None = None) -> None:
    """Create and start what is missing, without the jobs of the last good release: they have ended."""
    ended = good.get("jobs")
    if not isinstance(ended, list) or not ended:
        _succeed(project.up(recreate=recreate, scale=scale), "docker compose up:")
        return
    _succeed(project.up(recreate=recreate, scale=scale, start=False), "docker compose up:")
    until = time.monotonic() + JOBS_SECONDS
    pace = bring_up.Pace(until, JOBS_SECONDS, time.monotonic, time.sleep, lambda: None, lambda _text: None)
    instances = project.containers()
    failed = {item["service"] for item in instances if item["state"] == "exited" and not item["job_done"]}
    settled = frozenset(map(str, ended)) - failed
    plan = start_order.whole(project.config())._replace(settled=settled)
    done = bring_up.start(project, plan, pace)
    # Compose has made another container for a job that is not to run: it would look like one that does not start.
    idle = [item["id"] for item in project.containers() if item["service"] in settled and item["state"] == "created"]
    project.remove(idle, 0.0)
    if done.failure:
        raise RemedyError(done.failure)


def up(paths: AppPaths, balancer: Balancer | None, build: bool) -> str:
    """Create and start what is missing or stopped, and what the engine's restart policy makes wait."""
    project = Project(paths.name, paths.directory)
    there = project.containers()
    paused = [item["id"] for item in there if item["state"] == "paused"]
    if paused:
        project.unpause(paused)
    if balancer and there:
        # What runs stays as it is: which release instances are made of is the deploy's to change.
        good, lost = _good_images(project)
        _up(project, good, scale={balancer.service: balancer.instances})
        done = f"started what was missing or stopped{lost}"
    else:
        done = f"started what was missing or stopped{_start(project, build, recreate=False)}"
    waiting = [item["id"] for item in project.containers() if item["state"] == "restarting"]
    if waiting:
        _succeed(project.restart(waiting), "docker restart:")
    return done


def _good_images(project: Project) -> tuple[Release, str]:
    """What is recreated is made of what has passed a gate: a build since may have moved the images' names.

    An image that is gone must not keep an instance down: then what has its name now has to do.

    :returns: the last good release, {} without one; and what to say of images that are gone, "" for none.
    """
    good = release_store.last_good(project.directory)
    if good is None:
        return {}, ""
    put = project.put_back_images(good)
    gone = docker_images.images_gone(good["images"]) if put.code else []
    if not gone:
        _succeed(put, "docker tag:")
        return good, ""
    return good, f" from the images that are there, as release {good['id']} has lost that of {', '.join(gone)}"


def renew_images(paths: AppPaths) -> str:
    """Give the last good release the images that run now in place of those that are gone; say which, "" for none.

    Its containers pass the checks. Else each remedy would ask for what no longer exists.
    """
    good = release_store.last_good(paths.directory)
    if good is None:
        return ""
    project = Project(paths.name, paths.directory)
    made = {(item["service"], item["digest"]) for item in project.containers()}
    doubtful = {service: image for service, image in good["images"].items() if (service, image) not in made}
    found = {}
    for service in docker_images.images_gone(doubtful):
        images = {image for name, image in made if name == service}
        image = images.pop() if len(images) == 1 else docker_images.image_id(good["names"][service])
        if image:
            found[service] = image
    if not found:
        return ""
    release_store.replace_images(paths.directory, good, found)
    project.keep_images(found)
    project.keep_images(found, str(good["id"]))
    return f"release {good['id']} had lost the images of {', '.join(found)}: those that run now are its own"


def restart_balancer(paths: AppPaths, balancer: Balancer) -> str:
    """Kill HAProxy and start it; requests in flight are lost, and those that come are served again.

    A damaged configuration is put back as it was good last.
    """
    done = haproxy.restart(paths)
    haproxy.set_state(paths, balancer, balancer.slots, haproxy.READY)
    return "; ".join([*done, "HAProxy killed and started"])


def restart_one(paths: AppPaths, identity: str) -> str:
    """Kill and start one container, and leave the others alone."""
    _succeed(Project(paths.name, paths.directory).restart([identity]), "docker restart:")
    return "restarted the unhealthy instance"


def recreate_one(paths: AppPaths, balancer: Balancer, identity: str) -> str:
    """Remove one container, and have another made in its place."""
    project = Project(paths.name, paths.directory)
    _good, lost = _good_images(project)
    # A missing one need not be removed, and another container with that name is not ours.
    _remove(project, [item["id"] for item in project.containers() if item["id"] == identity], 0.0)
    started = project.up(services=[balancer.service], scale={balancer.service: balancer.instances})
    _succeed(started, "docker compose up:")
    return f"recreated the unhealthy instance{lost}"


def restart(paths: AppPaths, services: Sequence[str], stateful: Collection[str] = ()) -> str:
    """Kill and start the containers of some services (all: those with a published port, else every one).

    :arg stateful: the services that hold data: they get the time to end that is their own.
    """
    project = Project(paths.name, paths.directory)
    running = [item for item in project.containers() if item["state"] in ("running", "paused", "restarting")]
    wanted = [item for item in running if item["service"] in services] if services else []
    if not services:
        wanted = [item for item in running if item["ports"]] or running
    if not wanted:
        raise RemedyError(f"no container of {' and '.join(services) or 'the app'} runs, so nothing can be restarted")
    return _restart(project, wanted, stateful)


def _dies_young(item: Container) -> bool:
    """Whether a container ends by itself again and again: a signal may come before anything in it handles one."""
    age = item["started_seconds"]
    young = item["restarts"] >= 2 and age is not None and age < _YOUNG_SECONDS
    return item["state"] == "restarting" or (young and item["health"] != "healthy")


def _restart(project: Project, wanted: Sequence[Container], stateful: Collection[str]) -> str:
    gently = [item for item in wanted if item["service"] in stateful and not _dies_young(item)]
    at_once = [item for item in wanted if item not in gently]
    done = []
    if at_once:
        _succeed(project.restart([item["id"] for item in at_once]), "docker restart:")
        done.append(f"killed and started {', '.join(item['name'] for item in at_once)}")
    if gently:
        _succeed(project.restart_gently([item["id"] for item in gently]), "docker restart:")
        done.append(f"stopped and started {', '.join(item['name'] for item in gently)}")
    return "; ".join(done)


def recreate(app: App, build: bool, services: Sequence[str] = (), stateful: Collection[str] = ()) -> str:
    """Recreate the containers; volumes, networks and images stay."""
    project = Project(app.name, app.paths.directory)
    if services:
        kept = _restart_with_data(project, services, stateful)
        if kept:
            return kept
        # Not `up --no-deps SERVICE`: it leaves out what the service depends on, so to the next deploy it is another.
        there = [item for item in project.containers() if item["service"] in services]
        for grace, gently in ((5.0, False), (None, True)):
            wanted = [item["id"] for item in there if (item["service"] in stateful and not _dies_young(item)) is gently]
            if wanted and gently:
                project.go_on(wanted)
            if wanted:
                _remove(project, wanted, grace)
        return f"{', '.join(services)} removed; {up(app.paths, app.balancer, build)}"
    made = _start(project, build, recreate=True)
    return f"containers recreated{made}"


def _restart_with_data(project: Project, services: Sequence[str], stateful: Collection[str]) -> str:
    """Restart services whose data is in a volume without a name, and say so: another container would get a new one."""
    there = [item for item in project.containers() if item["service"] in services]
    held = sorted({f"{item['name']} ({path})" for item in there for path in docker_containers.unnamed_data(item)})
    if not held:
        return ""
    _restart(project, there, stateful)
    return f"restarted, not recreated, since its data is in a volume without a name: {', '.join(held)}"


def rebuild_network(paths: AppPaths, build: bool) -> str:
    """Recreate containers and networks; volumes and images stay."""
    project = Project(paths.name, paths.directory)
    held = sorted({item["name"] for item in project.containers() if docker_containers.unnamed_data(item)})
    if held:
        raise RemedyError(f"{', '.join(held)}: taken down, it would lose its data, which is in a volume without a name")
    _succeed(project.down(), "docker compose down:")
    return f"containers and networks recreated{_start(project, build, recreate=False)}"


def proved_env(paths: AppPaths, variables: Sequence[Variable], values: Mapping[str, str], now: float) -> str:
    """Write the validated values from the vault, keeping the env that was there."""
    texts = secret_rules.texts(variables, values)
    return _write_env(
        paths, "env", lambda: env_history.write_env(paths.env, paths.history, texts, now=now, why="recover")
    )


def last_good_env(paths: AppPaths, variables: Sequence[Variable], now: float) -> str:
    """Put the newest env back that an app was healthy with."""

    def validate(values: Mapping[str, str]) -> Sequence[secret_rules.Finding]:
        return secret_rules.validate(variables, values, now)

    return _write_env(
        paths,
        "last good env",
        lambda: env_history.restore_env(paths.env, paths.history, now=now, validate=validate),
    )


def _write_env(paths: AppPaths, what: str, write: Callable[[], env_history.Change]) -> str:
    """Write the env. What is in its place and is not a file is moved aside, and back when nothing could be written."""
    aside = env_history.move_aside(paths.env)
    try:
        done = _describe(write(), what)
    except (env_history.EnvError, OSError):
        if aside:
            os.rename(aside, paths.env)
        raise
    return f"{done}, what was in its place is kept as {aside}" if aside else done


def _describe(change: env_history.Change, what: str) -> str:
    before = change["before"] or {}
    names = sorted(name for name, digest in change["after"].items() if before.get(name) != digest)
    kept = f", the env that was there is kept as {change['backup']}" if change["backup"] else ""
    return f"{what} written ({', '.join(names) or 'same values'}){kept}"


def last_good_compose(paths: AppPaths) -> str:
    """Put the files of the last good release back; those that were there are kept under other names."""
    good = release_store.last_good(paths.directory)
    if good is None:
        raise RemedyError("there is no last good release")
    kept = release_store.set_aside_files(paths.directory, good)
    release_store.put_back_files(paths.directory, str(good["id"]))
    return f"files of release {good['id']} put back, those that were there are kept as {', '.join(kept) or 'none'}"


def last_good_release(paths: AppPaths, variables: Sequence[Variable], now: float) -> str:
    """Put compose files, images and env of the last good release back."""
    good = release_store.last_good(paths.directory)
    if good is None:
        raise RemedyError("there is no last good release")
    # Put back already: setting aside once more would write the good files over what was kept.
    done = [last_good_compose(paths)] if release_store.changed(paths.directory, good) else []
    _succeed(Project(paths.name, paths.directory).put_back_images(good), "docker tag:")
    done.append("its images have their names again")
    with contextlib.suppress(env_history.EnvError):
        if env_history.last_good(paths.history) and not _env_is_good(paths):
            done.append(last_good_env(paths, variables, now))
    return "; ".join(done)


def _env_is_good(paths: AppPaths) -> bool:
    good = env_history.last_good(paths.history)
    try:
        with open(paths.env, "rb") as stream:
            return good is not None and fingerprint(stream.read()) == good["fingerprint"]
    except OSError:
        return False


def at_the_engine(paths: AppPaths, act: Callable[[], str]) -> str:
    """Start or restart the engine, unless another app's recovery has just done so: all apps of a host share it.

    :raises RemedyError: another one is at it, and does not end.
    """
    try:
        with hold_lock(paths.engine_lock, _ENGINE_LOCK_SECONDS, f"start the engine for {paths.name}"):
            process = procfs.engine_process()
            age = procfs.age(process["pid"]) if process["alive"] and not process["stopped"] else None
            if age is not None and age < _FRESH_SECONDS and engine.state(1.0)["answers"]:
                return f"the engine was started {age:.0f} s ago"
            return act()
    except LockHeld as held:
        raise RemedyError(str(held)) from None


def start_engine() -> str:
    """Start the engine."""
    commands.run(["systemctl", "reset-failed", "docker.service", "docker.socket"], 10.0)
    _succeed(commands.run(["systemctl", "start", "docker.service"], 60.0), "systemctl start docker:")
    return "engine started"


def restart_engine() -> str:
    """Restart the engine; containers outlive it (live-restore). A process that does not answer is killed."""
    process = procfs.engine_process()
    if process["stopped"]:
        with contextlib.suppress(OSError):
            os.kill(process["pid"], signal.SIGCONT)
    if engine.state(_CONTINUED_SECONDS if process["stopped"] else 1.0)["answers"]:
        if process["stopped"]:
            return "the engine's process was stopped, and goes on"
        _succeed(commands.run(["systemctl", "restart", "docker.service"], 60.0), "systemctl restart docker:")
        return "engine restarted"
    commands.run(["systemctl", "kill", "--signal=SIGKILL", "docker.service"], 10.0)
    until = time.monotonic() + 10.0
    while procfs.engine_process()["alive"] and time.monotonic() < until:
        time.sleep(0.1)
    return f"engine killed, {start_engine()}"


# --- space -----------------------------------------------------------------------------------------------------------


def free_space(paths: AppPaths) -> str:
    """Delete rotated logs, old journal, dangling images and build cache, where room lacks; never anything else."""
    places = [paths.directory, paths.state, engine.data_root(), f"/var/log/{paths.name}", "/var/log"]
    before = _free(places)
    done: list[str] = []
    for what, where, act in (
        ("rotated logs", "", _delete_rotated_logs),
        ("old journal", "/var/log", lambda: commands.run(["journalctl", "--vacuum-size=50M"], 30.0)),
        ("dangling images", engine.data_root(), lambda: commands.run(["docker", "image", "prune", "--force"], 60.0)),
        ("build cache", engine.data_root(), lambda: commands.run(["docker", "builder", "prune", "--force"], 60.0)),
    ):
        if where and not _is_short(where):
            continue
        act()
        done.append(what)
    freed = sum(max(0, after - before.get(path, 0)) for path, after in _free(places).items())
    if freed < 1 << 20:
        biggest = ", ".join(f"{path} {size >> 20} MiB" for path, size in _biggest(["/var", "/opt", "/home"]))
        raise RemedyError(f"nothing that may be deleted takes room; a person has to decide. The biggest: {biggest}")
    return f"{freed >> 20} MiB freed: {', '.join(done)}"


def _free(paths: Sequence[str]) -> dict[str, int]:
    return {item["path"]: item["free_bytes"] for item in procfs.disk(paths)}


def _is_short(path: str) -> bool:
    return any(free < ENOUGH_BYTES for free in _free([path]).values())


def _delete_rotated_logs(top: str = "/var/log") -> None:
    """Delete what logrotate left, on file systems that are short of room alone."""
    short: dict[int, bool] = {}
    for root, folders, names in os.walk(top):
        # The journal's files are its own to delete.
        folders[:] = [name for name in folders if name != "journal"]
        device = os.lstat(root).st_dev
        if device not in short:
            short[device] = _is_short(root)
        for name in names if short[device] else ():
            rotated = _ROTATED.fullmatch(name)
            live = rotated and (rotated[1] + (rotated[2] or ""))
            if live and live in names and live != name and not os.path.islink(os.path.join(root, name)):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(root, name))


def _biggest(roots: Sequence[str]) -> list[tuple[str, int]]:
    """The three biggest folders right below `roots`, as far as two seconds of looking tell."""
    until = time.monotonic() + _WALK_SECONDS
    sizes: dict[str, int] = {}
    for parent in roots:
        with contextlib.suppress(OSError):
            for entry in os.scandir(parent):
                if entry.is_dir(follow_symlinks=False):
                    sizes[entry.path] = 0
    for path in sizes:
        for root, _folders, names in os.walk(path):
            if time.monotonic() > until:
                break
            for name in names:
                with contextlib.suppress(OSError):
                    sizes[path] += os.lstat(os.path.join(root, name)).st_size
    return sorted(sizes.items(), key=lambda pair: -pair[1])[:3]


# --- which there are -------------------------------------------------------------------------------------------------


def table(
    app: App,
    build: bool,
    values: Mapping[str, str] | None,
    services: Sequence[str] = (),
    one: str = "",
    stateful: Collection[str] = (),
    now: Callable[[], float] = time.time,
) -> dict[str, Callable[[], str]]:
    """Return the remedies that would do something here, by name; each call acts and returns what it did.

    :arg services: those at fault; () for all.
    :arg stateful: those that hold data.
    :arg one: the id of the only instance at fault, while others serve; then nothing is there that would touch those.
    """
    paths, variables, balancer = app.paths, app.variables, app.balancer
    if one:
        in_front = present(balancer)
        return {
            ladder.RESTART: lambda: restart_one(paths, one),
            ladder.UP: lambda: up(paths, balancer, build),
            ladder.RECREATE: lambda: recreate_one(paths, in_front, one),
        }
    found: dict[str, Callable[[], str]] = {
        ladder.RESTART: lambda: restart(paths, services, stateful),
        ladder.UP: lambda: up(paths, balancer, build),
        ladder.RECREATE: lambda: recreate(app, build, services, stateful),
        ladder.REBUILD_NETWORK: lambda: rebuild_network(paths, build),
        ladder.START_ENGINE: lambda: at_the_engine(paths, start_engine),
        ladder.RESTART_ENGINE: lambda: at_the_engine(paths, restart_engine),
        ladder.FREE_SPACE: lambda: free_space(paths),
    }
    if balancer is not None:
        found[ladder.RESTART_BALANCER] = lambda: restart_balancer(paths, balancer)
    if values is not None:
        given = values
        found[ladder.PROVED_ENV] = lambda: proved_env(paths, variables, given, now())
    if env_history.last_good(paths.history) is not None and not _env_is_good(paths):
        found[ladder.LAST_GOOD_ENV] = lambda: last_good_env(paths, variables, now())
    good = release_store.last_good(paths.directory)
    if good is not None:
        found[ladder.LAST_GOOD_RELEASE] = lambda: last_good_release(paths, variables, now())
        if release_store.changed(paths.directory, good):
            found[ladder.LAST_GOOD_COMPOSE] = lambda: last_good_compose(paths)
    return found
