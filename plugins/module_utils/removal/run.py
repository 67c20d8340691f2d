# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take an app out of our care: it runs on from its own compose files, and what is ours of it is removed.

The order: have it run from its own files, then end its watcher, then remove. Killed at any moment, the app runs, as it
did or from its own files, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..compose import start_order
from ..core.app import App
from ..core.app_paths import AppPaths
from ..core.clock import Clock
from ..core.files import readable
from ..core.locks import LOCK_SECONDS, hold_lock
from ..deploy import adoption_record
from ..docker import containers as docker_containers
from ..docker import stop_signal
from ..docker import volumes as docker_volumes
from ..docker.containers import Document
from ..docker.model import Model, Services
from ..docker.project import Project
from ..env import read as env_file
from ..health import facts as health_facts
from ..host import command as commands
from ..host import desired_files
from ..probe import continuous
from ..probe.web import Fault
from ..recovery import config as agent_config
from ..releases import haproxy
from ..releases import store as release_store
from . import belongings, own_files, same_project, switch
from .belongings import APP, FILES, LAST, STAYS, UNITS
from .report import Remains, Removed

_MARK = b"christmas.selfheal"
_FRONTEND = re.compile(rb"^\s*(?:frontend|listen)\s", re.MULTILINE)
_KEPT = "DO NOT DELETE IT: the app still has its data there"
# A shell's star leaves out names that begin with a dot. The second one of a name ends with -2.
_ASIDE = ("*.replaced", ".*.replaced", "*.replaced-[0-9]*", ".*.replaced-[0-9]*")
_SECONDS = 30.0
# One check that fails may be by chance.
_ASKED_SECONDS = 5.0


class RemovalError(Exception):
    """The app stays in our care; the message says why, and what to do."""


class Options(NamedTuple):
    """What is asked for.

    `host`: its name in the inventory; `files`: the app's compose files by the inventory; `confirm`: the app's name, by
    the person who asks; `stop`: stop the app instead of letting it run on.
    """

    app: App
    host: str
    files: Sequence[str]
    confirm: str
    stop: bool


class _Plan(NamedTuple):
    """What there is to do. `folder` is that of the project that the app runs from afterwards.

    `before`: from where it was adopted, and `kept`: the data that it has there and does not bring with it. `copy`: the
    project's folder in the app's directory. `unnamed`: the volumes of its containers without a name.
    """

    project: Project
    folder: str
    model: Model
    replaces: bool
    notes: list[str]
    units: list[str]
    files: list[str]
    images: list[str]
    is_last: bool
    before: adoption_record.Origin | None
    kept: list[str]
    copy: str
    unnamed: dict[str, tuple[str, str]]


def remove(options: Options, check: bool, clock: Clock, say: switch.Say) -> Removed:
    """Remove an app; with `check`, say what would be removed.

    :raises RemovalError: nothing was removed.
    :raises LockHeld: a deploy, a recovery, a backup or a restore goes on.
    """
    paths = options.app.paths
    if not check and options.confirm != paths.name:
        raise RemovalError(
            f"{paths.name} would be taken out of the care of this collection on {options.host}. To do that, add "
            f"-e remove_confirm={paths.name}; --check shows what would be removed"
        )
    if check:
        return _result(options, _plan(options, clock), None)
    what = f"remove {paths.name}"
    with hold_lock(paths.backup_lock, 0.0, what), hold_lock(paths.lock, LOCK_SECONDS, what, unless=paths.restoring):
        plan = _plan(options, clock)
        reported = _result(options, plan, None)
        reported["gap"] = _switch(options, plan, clock, say) if plan.replaces else None
        say("its watcher and timers are stopped")
        _end_units(plan.units)
        say("files and images of the collection are removed")
        _remove_files(options, plan)
    _sweep(options)
    return reported


# --- plan ------------------------------------------------------------------------------------------------------------


def _plan(options: Options, clock: Clock) -> _Plan:
    """Say what there is to do. Raises RemovalError where the app, or its data, would not be there afterwards."""
    paths = options.app.paths
    for path, what in ((paths.restoring, "a restore"), (paths.writes_paused, "a backup"), (paths.rollout, "a deploy")):
        if os.path.lexists(path):
            raise RemovalError(
                f"{what} of {paths.name} goes on, or was killed ({path}). Fix: wait for it; after a kill, run "
                f"`selfheal recover --app {paths.name}` or `selfheal backup settle --app {paths.name}` on the host"
            )
    documents = docker_containers.documents(paths.name)
    replaces = bool(documents) if options.stop else any(map(own_files.is_ours, documents))
    # Where nothing is to be replaced, a killed run may have removed a part of a copy already.
    own = own_files.find(paths, options.files) if replaces else own_files.in_directory(paths, options.files)
    if replaces and not own.project.files:
        raise RemovalError(f"{paths.directory} holds no compose file that {paths.name} could run from")
    notes = [f"It does not run from the folder that it was adopted from: {own.why}"] if own.why else []
    if not options.stop:
        _check_data(own, documents)
        if documents and all(map(own_files.is_ours, documents)):
            # Where some run from their own files already, a run was killed, and this one goes on.
            _check_health(options.app, documents, clock)
        notes += _about_restarts(own.model)
        notes += [*_about_jobs(options.app, own.model, documents), *_about_stops(documents)] if replaces else []
    row, is_last = _row(options), _is_last(paths.name, "watcher", paths.root)
    folder = own.project.folder if replaces else own_files.runs_from(documents) or own.project.folder
    here = own_files.in_directory(paths, options.files).project
    before = own_files.adopted_from(paths, here)
    kept = _kept(paths, before, here, own_files.mounted(own, documents)) if before and folder != before.folder else []
    # The state says what an adoption has brought. It is the last to go.
    files = [*_adopted(paths, folder, own.mounted), *_files(row, paths.root)]
    return _Plan(
        own.project,
        folder,
        own.model,
        replaces,
        notes,
        _units(row, is_last, paths.root),
        files,
        _images(paths.name, paths.root),
        is_last,
        before,
        kept,
        here.folder,
        own_files.unnamed(documents),
    )


def _kept(paths: AppPaths, before: adoption_record.Origin, here: Project, mounted: frozenset[str]) -> list[str]:
    """What of the folder that an app was adopted from, or of what lay above it, is mounted from there."""
    top = own_files.tops(before, here)[0] if here.files else before.folder
    there = (path for path in mounted if same_project.within(top, path) is not None)
    return sorted(path for path in there if same_project.within(paths.directory, path) is None)


def _row(options: Options) -> belongings.App:
    return belongings.App(options.app.name, options.app.paths.directory, options.host)


def _check_data(own: own_files.OwnFiles, documents: Sequence[Document]) -> None:
    ours = [one for one in documents if own_files.is_ours(one)]
    extra = own_files.gone_services(own.model, ours)
    if extra:
        raise RemovalError(
            f"{', '.join(extra)}: only the overlay has these services (compose_app_cache_enabled, "
            "compose_app_pool_enabled), and the app would lose them. Fix: add them to its own compose file, deploy, "
            "and run this again; or stop the app with -e remove_stop=true"
        )
    moved = own_files.moved(own, ours)
    if moved:
        raise RemovalError("The app would not find its data any more. " + "; ".join(moved))


def _check_health(app: App, documents: Sequence[Document], clock: Clock) -> None:
    """Raise RemovalError for an app that is not healthy: without its watcher, it would stay so."""
    values = env_file.read(app.paths, app.variables, clock.now())["values"]
    found = health_facts.ask(app.checks, values, _ASKED_SECONDS, clock, app.shown)
    instances = [docker_containers.instance(one, clock.now()) for one in documents]
    wrong = [] if found["ok"] else [found["summary"]]
    wrong += [f"{one.service} {one.reason}" for one in start_order.troubles(instances)]
    if wrong:
        raise RemovalError(
            f"{app.name} is not healthy, and without its watcher it would stay so: {'; '.join(wrong)}. Nothing was "
            f"changed. Fix: run `selfheal recover --app {app.name}` on the host, then this again; or stop the app with "
            "-e remove_stop=true"
        )


def _about_restarts(model: Model) -> list[str]:
    services: Services = model.get("services") or {}
    kept = sorted(set(services) - start_order.jobs(model))
    names = [name for name in kept if not services[name].get("restart") and not services[name].get("deploy")]
    if not names:
        return []
    return [f"Without a restart policy in their own file: {', '.join(names)}. After a reboot, they do not run"]


def _about_stops(documents: Sequence[Document]) -> list[str]:
    """Say which services take long to stop: for so long, nothing answers in their place."""
    ours = filter(own_files.is_ours, documents)
    said = stop_signal.said((docker_containers.label(one, "service"), stop_signal.stop_seconds(one)) for one in ours)
    return [f"{said}. That adds to the time without an answer"] if said else []


def _about_jobs(app: App, model: Model, documents: Sequence[Document]) -> list[str]:
    good = release_store.last_good(app.paths.directory) or {}
    jobs = start_order.jobs(model) | frozenset(good.get("jobs") or ())
    ours = {docker_containers.label(one, "service") for one in documents if own_files.is_ours(one)}
    names = ", ".join(sorted(jobs & ours))
    if not names:
        return []
    return [f"One-shot services: the ended containers of {names} are removed. The next `up` runs them again"]


def _is_last(app: str, role: str, root: str) -> bool:
    """Whether no other app of this host uses a role."""
    pattern = _below(root, belongings.users(role).format(app="*"))
    names = {os.path.splitext(os.path.basename(path))[0] for path in glob.glob(pattern)}
    return not {name for name in names if not name.startswith("_")} - {app}


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _placed(name: str, directory: str, root: str) -> str:
    """Where a path of the table is: the app's directory is given whole."""
    return name if name.startswith(f"{directory}/") else _below(root, name)


def _due(row: belongings.App, rows: Sequence[belongings.Belonging], root: str) -> Iterator[str]:
    """The names that are to be removed, whether they are there or not, in their order."""
    last = {role: _is_last(row.app, role, root) for role in belongings.roles()}
    for one in rows:
        if one.when == APP or (one.when == LAST and last[one.role]):
            yield from row.names([one], one.when)


def _files(row: belongings.App, root: str) -> Iterator[str]:
    """The paths that are there and are to be removed. What is in memory until the next boot is not counted."""
    for name in _due(row, FILES, root):
        path = _placed(name, row.directory, root)
        if name.startswith("/run/"):
            continue
        yield from sorted(glob.glob(path)) if "*" in name else [path] * os.path.lexists(path)


def _adopted(paths: AppPaths, folder: str, mounted: Sequence[str]) -> Iterator[str]:
    """What an adoption has left, where the app runs from its old folder again: a notice, and the project's copy.

    Elsewhere the notice stays, as the app may use data there, and says what is true then.
    """
    before = own_files.origin(paths)
    if before is None or folder != before.folder:
        return
    found = [adoption_record.notice_of(before)] if adoption_record.is_own_notice(paths, before) else []
    if own_files.is_other(before, paths):
        found += sorted({*own_files.copy_of(paths), *mounted})
    yield from (path for path in found if os.path.lexists(path))


def _old_folder(paths: AppPaths, plan: _Plan) -> Iterator[Remains]:
    """The folder that the app was adopted from, where it does not run from there again, and the notice in it."""
    before = plan.before
    if before is None:
        return
    notice = adoption_record.notice_of(before)
    if os.path.lexists(notice) and not adoption_record.is_own_notice(paths, before):
        yield {"what": notice, "detail": "it was changed since it was left there; the app is not watched any more"}
    if plan.folder == before.folder:
        return
    inside = [path for path in plan.kept if same_project.within(before.folder, path) is not None]
    detail = "it was adopted from there, and does not run from there any more"
    if inside:
        detail = f"{_KEPT}: {', '.join(inside)}"
    if os.path.isdir(before.folder):
        yield {"what": before.folder, "detail": detail}
    for path in plan.kept:
        if path not in inside:
            yield {"what": path, "detail": _KEPT}


def _units(row: belongings.App, is_last: bool, root: str) -> list[str]:
    """The units that run, or start at boot, and are to be ended."""
    names = [name for name in _due(row, UNITS, root) if not name.startswith("prometheus") or _is_set_up(name, root)]
    asked = commands.run(["systemctl", "show", "--property=Id,ActiveState,UnitFileState", *names], _SECONDS)
    found = []
    for block in asked.out.strip().split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines())
        runs = said.get("ActiveState", "") in ("active", "activating", "reloading", "failed")
        if said.get("Id") and (runs or said.get("UnitFileState") == "enabled"):
            found.append(said["Id"])
    return [name for name in names if name in found]


def _is_set_up(unit: str, root: str) -> bool:
    """Whether a unit of a Debian package runs with our options."""
    return _MARK in (readable(_below(root, f"/etc/default/{unit.rpartition('.')[0]}")) or b"")


def _images(app: str, root: str) -> list[str]:
    """The names by which releases keep their images, without those of an app whose name begins with this one's."""
    listed = commands.run(
        ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference=selfheal/{app}-*"],
        _SECONDS,
    )
    others = tuple(f"selfheal/{name}-" for name in agent_config.apps(root) if name.startswith(f"{app}-"))
    return sorted(name for name in set(listed.out.split()) if not name.startswith(others))


# --- what is reported -------------------------------------------------------------------------------------------------


def _result(options: Options, plan: _Plan, gap: float | None) -> Removed:
    return {
        "changed": bool(plan.replaces or plan.units or plan.files or plan.images),
        "replaced": plan.replaces,
        "gap": gap,
        "runs_from": "" if options.stop else " ".join(plan.project.command("up", "--detach")),
        "notes": plan.notes,
        "units": plan.units,
        "files": plan.files,
        "images": plan.images,
        "remains": list(_remains(options, plan)),
    }


def _remains(options: Options, plan: _Plan) -> Iterator[Remains]:
    """What stays on the host."""
    paths, row = options.app.paths, _row(options)
    yield from _folders(paths, plan)
    yield from _old_folder(paths, plan)
    sizes = {one["name"]: one["path"] for one in docker_volumes.compose_volumes() if one["project"] == paths.name}
    for name, path in sorted(sizes.items()):
        yield {"what": f"volume {name}", "detail": _size(path)}
    for name, (path, used) in sorted(plan.unnamed.items()):
        if name not in sizes:
            yield {"what": f"volume {name}", "detail": f"{_size(path)}, without a name: of {used}"}
    repository = _repository(paths.name, paths.root)
    if repository:
        yield {"what": f"backups in {repository}", "detail": "their password is in your vault (backup_password)"}
    for one in FILES:
        stays = row.names([one], STAYS)
        path = _placed(stays[0], paths.directory, paths.root) if stays else ""
        if path and path not in plan.files and os.path.lexists(path):
            detail = _about_daemon(path) if stays[0] == belongings.DAEMON else one.why
            yield {"what": stays[0], "detail": detail}
    for name in _set_aside(paths, plan):
        yield {"what": name, "detail": "a file that was changed by hand, and set aside"}
    if plan.is_last:
        asked = commands.run(
            ["dpkg-query", "--show", "--showformat", "${Package} ${Status}\n", *belongings.PACKAGES], _SECONDS
        )
        there = [line.split()[0] for line in asked.out.splitlines() if line.endswith("ok installed")]
        detail = f"{', '.join(there) or 'none'}; with their users and data. Those that ran for us are disabled"
        yield {"what": "packages besides Docker Engine", "detail": detail}
    else:
        yield {"what": "what the other apps of this host use", "detail": "the command selfheal, its units, packages"}


def _set_aside(paths: AppPaths, plan: _Plan) -> list[str]:
    """The files that were set aside: in the app's directory, and in the project's folder in it."""
    folders = {paths.directory, plan.copy}
    found = (glob.glob(os.path.join(glob.escape(folder), pattern)) for folder in folders for pattern in _ASIDE)
    return sorted({name for names in found for name in names})


def _folders(paths: AppPaths, plan: _Plan) -> Iterator[Remains]:
    """The folder that the app runs from, and what is left in its directory where that is another one."""
    if _is_elsewhere(paths, plan):
        yield {"what": plan.folder, "detail": "the app's folder"}
        if _left(paths.directory, plan.files):
            yield {"what": paths.directory, "detail": "what is left of the copy: the app runs from the other folder"}
    elif plan.folder == paths.directory:
        yield {"what": paths.directory, "detail": "the app's folder"}
    else:
        # Its env is above the project's folder, and so is what it mounts by `../`.
        yield {"what": paths.directory, "detail": f"the app's folder; its project is in {plan.folder}"}


def _is_elsewhere(paths: AppPaths, plan: _Plan) -> bool:
    """Whether the app does not run from its directory, nor from a folder in it."""
    return same_project.within(paths.directory, plan.folder) is None


def _about_daemon(path: str) -> str:
    """Which of the engine's settings are ours, as far as the file tells, and how to undo them."""
    try:
        found = json.loads(readable(path) or b"{}")
    except ValueError:
        found = {}
    ours = [key for key in belongings.DAEMON_KEYS if key in found] if isinstance(found, dict) else []
    if not ours:
        return "the engine's settings; none of them is from here"
    return (
        f"the engine's settings. {', '.join(ours)} {'is' if len(ours) == 1 else 'are'} from here, unless they were set "
        "before, and so are your docker_engine_daemon_options. To undo them, remove these keys, and restart the engine "
        "(systemctl restart docker), which may restart every container"
    )


def _left(directory: str, removed: Sequence[str]) -> bool:
    """Whether something stays in a folder, besides what is removed."""
    gone = tuple(f"{path}/" for path in removed)
    return any(
        not f"{path}/".startswith(gone)
        for at, _unused, names in os.walk(directory)
        for path in (os.path.join(at, name) for name in names)
    )


def _size(path: str) -> str:
    asked = commands.run(["du", "--summarize", "--block-size=1", path], _SECONDS)
    amount = asked.out.split()[:1]
    return f"{int(amount[0]) / 1e6:.1f} MB" if asked.code == 0 and amount else "size unknown"


def _repository(app: str, root: str) -> str:
    """Where the app's backups are, without a password that may be in its address."""
    with contextlib.suppress(agent_config.ConfigError):
        found = agent_config.read(_below(root, f"/etc/selfheal/backup/{app}.json"))
        if isinstance(found, dict):
            return re.sub(r"//[^/@]*@", "//", str(found.get("repository") or ""))
    return ""


# --- act --------------------------------------------------------------------------------------------------------------


def _switch(options: Options, plan: _Plan, clock: Clock, say: switch.Say) -> float | None:
    """Have the app run from its own files, or stop it; how long a check was not answered, None when none was asked."""
    app = options.app
    if options.stop:
        say("the containers are stopped and removed, the volumes are kept")
        stopped = plan.project.down()
        if stopped.code:
            raise RemovalError(f"docker compose down failed: {stopped.reason}. Nothing was removed")
        return None
    values = env_file.read(app.paths, app.variables, clock.now())["values"]
    try:
        ask = continuous.asker(app.checks, values)[0]
    except (ValueError, Fault):
        switch.to_own_files(app, plan.project, plan.model, clock, say)
        return None
    with continuous.Prober(ask) as prober:
        switch.to_own_files(app, plan.project, plan.model, clock, say)
    return round(switch.gap(prober.samples()), 1)


def _end_units(units: Sequence[str]) -> None:
    for unit in units:
        ended = commands.run(["systemctl", "disable", "--now", unit], _SECONDS)
        if ended.code and "does not exist" not in ended.err:
            raise RemovalError(f"{unit} cannot be stopped: {ended.reason}. Fix that, and run this again")
        commands.run(["systemctl", "reset-failed", unit], _SECONDS)


def _remove_files(options: Options, plan: _Plan) -> None:
    """Remove the files, and have the programs that read them read again."""
    paths = options.app.paths
    before = plan.before
    if before and plan.folder != before.folder and adoption_record.is_own_notice(paths, before):
        adoption_record.mark_removed(paths, before, options.stop)
    # Its part of the configuration, with a reload.
    haproxy.leave(paths)
    # First: the watcher of another app would report them.
    desired_files.forget([f"/{os.path.relpath(path, paths.root)}" for path in plan.files], paths.root)
    for path in plan.files:
        _remove(path)
        if _is_elsewhere(paths, plan) and path.startswith(f"{paths.directory}/"):
            _drop_empty(os.path.dirname(path), paths.directory)
    if plan.images:
        # One that has no other name, and no container, goes with its name.
        commands.run(["docker", "rmi", *plan.images], 120.0)
    _have_read(plan.files, paths.root)


def _drop_empty(folder: str, top: str) -> None:
    """Remove a folder, and those above it up to `top`, as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder == top or folder.startswith(f"{top}/"):
            os.rmdir(folder)
            folder = os.path.dirname(folder)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _have_read(files: Sequence[str], root: str) -> None:
    """Have each program read its configuration again of which a file is gone."""

    def gone(folder: str) -> bool:
        return any(path.startswith(_below(root, folder)) for path in files)

    if gone("/etc/systemd/system"):
        commands.run(["systemctl", "daemon-reload"], _SECONDS)
    for folder, unit, verb in (
        ("/etc/systemd/journald.conf.d/", "systemd-journald.service", "try-restart"),
        ("/etc/systemd/system/logrotate.timer.d/", "logrotate.timer", "try-restart"),
        ("/etc/prometheus/selfheal", "prometheus.service", "try-reload-or-restart"),
        ("/etc/selfheal-page/", "selfheal-page.service", "try-restart"),
        ("/etc/ssh/sshd_config.d/", "ssh.service", "try-reload-or-restart"),
    ):
        if gone(folder):
            commands.run(["systemctl", verb, unit], _SECONDS)
    if gone("/etc/systemd/system/haproxy.service.d/") or gone("/etc/haproxy/selfheal/_"):
        _settle_haproxy(root)


def _settle_haproxy(root: str) -> None:
    """Without any part of ours, HAProxy runs for what its owner has configured, or not at all: it would not start."""
    if glob.glob(_below(root, "/etc/haproxy/selfheal/*.cfg")):
        commands.run(["systemctl", "try-reload-or-restart", haproxy.UNIT], _SECONDS)
    elif _FRONTEND.search(readable(_below(root, haproxy.GLOBAL)) or b""):
        commands.run(["systemctl", "restart", haproxy.UNIT], _SECONDS)
    else:
        commands.run(["systemctl", "disable", "--now", haproxy.UNIT], _SECONDS)


def _sweep(options: Options) -> None:
    """Remove what is in memory, and the folders that are empty now."""
    paths, row = options.app.paths, _row(options)
    for name in row.names(FILES, APP):
        if name.startswith("/run/"):
            for path in glob.glob(_below(paths.root, name)):
                _remove(path)
    dropins = [os.path.dirname(name) for name in (*row.names(FILES, APP), *row.names(FILES, LAST))]
    for folder in (*(one for one in dropins if one.endswith(".d")), *belongings.FOLDERS):
        with contextlib.suppress(OSError):
            os.rmdir(_below(paths.root, folder))
