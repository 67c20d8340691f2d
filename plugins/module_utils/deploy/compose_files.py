# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put the user's project and its overlay into the app's directory: all of it, read by Compose together, or nothing."""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..compose import backing_services, merged_values, neighbours, overlay, project_files, project_parts
from ..compose.backing_services import Backing
from ..compose.services import TABLE, OverlayError, Service
from ..core.app import App
from ..core.app_paths import AppPaths
from ..core.files import NoFile, atomic_write, read_small, readable
from ..core.fingerprint import fingerprint
from ..core.locks import hold_lock
from ..core.redact import redact
from ..core.versions import version_tuple
from ..docker import containers as docker_containers
from ..docker import engine, project_layout
from ..docker import volumes as docker_volumes
from ..docker.containers import Document
from ..docker.engine import EngineError
from ..docker.model import Model, Services
from ..docker.project import USER_FILE
from ..docker.project_layout import HARDENED_FILE, LAST_GOOD
from ..env import dotenv
from ..host import command as commands
from ..probe import run as probe
from ..probe.check_spec import CheckError
from ..probe.health_request import HealthRequest
from ..releases import store as release_store
from . import before_first, data_owners, staged_project

LOCK_SECONDS = 60.0
_ENGINE_SECONDS = 15.0
_CONFIG_SECONDS = 30.0
_MESSAGE_SHOWN = 300
_NAME = re.compile(r"^name:[ \t]*[\"']?([a-z0-9][a-z0-9_-]*)", re.MULTILINE)
# `${NAME:?message}` and `${NAME?message}`; `$$` is a `$` in a compose file.
_REQUIRED = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)(:?)\?([^}\n]*)\}")
_UNSET = re.compile(r'The \\?"([^"\\]+)\\?" variable is not set')


class Host(NamedTuple):
    """What the engine says of itself and its host; `memory` in bytes."""

    version: str
    compose: str
    cores: int
    memory: int
    notes: list[str]


class Source(NamedTuple):
    """What is staged in `AppPaths.incoming`.

    `files` are the compose files in order, () for those of the release that is staged there; `more` are the files that
    those include or extend. `configuration` are folders that are configuration although services may write there;
    `exclude` are the patterns of what was not copied. `promoted`: it is a release that staging sent.
    `apart`: compose projects on the host that are other apps. `owners`: whom the project's data belongs to.
    """

    files: Sequence[str] = ()
    more: Sequence[str] = ()
    configuration: Sequence[str] = ()
    exclude: Sequence[str] = ()
    promoted: bool = False
    apart: Sequence[str] = ()
    owners: data_owners.Owners | None = None


class Plan(NamedTuple):
    """The overlay, what the user's file was left to say (by service), what people should know, what is to be done."""

    hardened: str
    kept: dict[str, list[str]]
    notes: list[str]
    host: Host
    verdict: staged_project.Verdict
    model: Model


class Staged(NamedTuple):
    """The staged project, as Compose is given it: the compose files, and whether each mode is that of a release."""

    app: App
    source: Source
    content: staged_project.Content
    exact: bool

    @property
    def top(self) -> str:
        """The folder that it is in."""
        return self.app.paths.incoming

    @property
    def subfolder(self) -> str:
        """The project directory, relative to that."""
        return os.path.dirname(self.source.files[0])


class FileDiff(TypedDict):
    """A file before and after, as Ansible shows a diff."""

    before: str
    after: str
    before_header: str
    after_header: str


class EngineVersions(TypedDict, total=False):
    """The versions of the engine and of Compose; {} when they are not known."""

    version: str
    compose: str


class Installed(TypedDict):
    """What changed, or would. `services` are the settings that the user's file was left to say, by service.

    `proved`: Compose has read the user's files and the overlay together.
    """

    changed: bool
    files: list[str]
    diff: list[FileDiff]
    services: dict[str, list[str]]
    notes: list[str]
    proved: bool
    engine: EngineVersions


def install(app: App, source: Source, table: object, check: bool, behind: Backing | None = None) -> Installed:
    """Put the staged project in the app's directory, and compose.hardened.yaml, when they pass together.

    :arg table: `compose_app_services`, as the inventory has it.
    :arg check: say what would change, and change nothing. Then a host without an engine, without a copy of the project,
        or without the env that the compose file needs, is not an error: the overlay is not known, and the notes say so.
    :arg behind: the app's cache and connection pool.
    :raises OverlayError: table, project and host do not fit together.
    :raises EngineError: there is no engine, or Compose is too old.
    :raises LockHeld, Moved, OSError: nothing was written.
    """
    paths, services = app.paths, overlay.read_table(table)
    plan, why_not = _try_plan(app, source, services, behind, check)
    if plan is None:
        return {
            "changed": True,
            "files": [],
            "diff": [],
            "services": {},
            "notes": [why_not],
            "proved": False,
            "engine": {},
        }
    _require_name(paths, source, plan)
    _require_files(source, plan.verdict)
    verdict, notes = plan.verdict, list(plan.notes)
    what = f"write compose files of {app.name}"
    with contextlib.nullcontext() if check else hold_lock(paths.lock, LOCK_SECONDS, what, paths.restoring):
        hardened = _encoded(plan.hardened)
        texts = {} if _bytes(os.path.join(paths.directory, HARDENED_FILE)) == hardened else {HARDENED_FILE: hardened}
        diff = _diff(paths, verdict, texts)
        files = [change.target for change in verdict.changes] + verdict.removed + list(texts)
        changed = files + [one.name for one in verdict.folders]
        if not check:
            if changed:
                before_first.keep(paths, files)
            staged_project.record_copied(paths.copied, paths.directory, verdict)
            notes += staged_project.replace(paths.directory, verdict.changes, texts, verdict.removed, verdict.folders)
            kept = staged_project.link_env(paths.directory, verdict.layout.folder)
            # Also when nothing changes: the run before may have been killed before it noted what it wrote.
            _note_written(paths)
            notes += (
                [f"{kept} is what {verdict.layout.folder}/.env was: the app's env is {paths.env} alone"] if kept else []
            )
    return {
        "changed": bool(changed),
        "files": changed,
        "diff": diff,
        "services": plan.kept,
        "notes": notes,
        "proved": True,
        "engine": {"version": plan.host.version, "compose": plan.host.compose},
    }


def _note_written(paths: AppPaths) -> None:
    """Note what the files are now, for the watcher: until a deploy has put them in force, they are of no release."""
    os.makedirs(paths.state, mode=0o700, exist_ok=True)
    text = json.dumps(release_store.files(paths.directory), sort_keys=True).encode()
    if text != readable(paths.written):
        atomic_write(paths.written, text)


def _diff(paths: AppPaths, verdict: staged_project.Verdict, texts: Mapping[str, bytes]) -> list[FileDiff]:
    """Each difference as Ansible shows it. Of other than compose files only fingerprints: they may hold secrets."""
    found = []
    for change in verdict.changes:
        path = os.path.join(paths.directory, change.target)
        if change.target in verdict.layout.files:
            found.append(_shown(change.target, _bytes(path), _bytes(change.source)))
        else:
            found.append(_shown(path, project_files.mark(path).encode(), change.mark.encode()))
    for name in verdict.removed:
        path = os.path.join(paths.directory, name)
        found.append(_shown(path, project_files.mark(path).encode(), None))
    for name, text in texts.items():
        found.append(_shown(name, _bytes(os.path.join(paths.directory, name)), text))
    return found


def _shown(name: str, before: bytes | None, after: bytes | None) -> FileDiff:
    old, new = ((text or b"").decode("utf-8", "surrogateescape") for text in (before, after))
    return {"before": old, "after": new, "before_header": name, "after_header": name}


def _require_name(paths: AppPaths, source: Source, plan: Plan) -> None:
    """Before the first deploy: refuse a name that would leave the app's own data behind.

    :raises OverlayError: the app seems to run on this host as another compose project.
    """
    if release_store.last_good(paths.directory) is not None:
        return
    found = docker_volumes.compose_volumes()
    volumes = [neighbours.Volume(one["name"], one["project"], one["key"]) for one in found]
    texts = [(_bytes(os.path.join(paths.incoming, name)) or b"").decode("utf-8", "replace") for name in source.files]
    names = [match[1] for match in map(_NAME.search, texts) if match]
    layout = plan.verdict.layout
    wanted = neighbours.Wanted(
        paths.name,
        frozenset({paths.directory, os.path.normpath(os.path.join(paths.directory, layout.folder))}),
        names[-1] if names else "",
        frozenset(plan.model.get("services") or {}),
        frozenset(plan.model.get("volumes") or {}),
    )
    states = os.path.dirname(paths.state)
    managed = os.listdir(states) if os.path.isdir(states) else []
    documents = docker_containers.inspected("")
    _require_data(paths, layout, documents)
    there = neighbours.neighbours(documents)
    same = neighbours.same_app(wanted, there, volumes, {*managed, *source.apart})
    if same is None:
        return
    other, why = same
    sizes = {one["name"]: disk_usage(one["path"]) for one in found if one["project"] == other.name}
    volumes = [one._replace(size=sizes.get(one.name)) for one in volumes]
    fix = (
        f"write `selfheal_app: {other.name}` to take that project over, or, when it is another app, "
        f"`compose_app_separate_from: [{other.name}]`"
    )
    raise OverlayError(f"selfheal_app: {paths.name}", neighbours.refusal(wanted, other, why, volumes), fix)


def _require_data(paths: AppPaths, layout: project_layout.Layout, documents: Sequence[Document]) -> None:
    """Refuse to start without the app's data while that is in the folder that it was started from by hand.

    :raises OverlayError: naming each place, and the command that copies it.
    """
    folder = os.path.normpath(os.path.join(paths.directory, layout.folder))
    found = neighbours.left_data(documents, paths.name, paths.directory, folder)
    left = [one for one in found if _is_left(paths, layout, one)]
    if not left:
        return
    services = " ".join(sorted({one.service for one in left}))
    places = sorted({(one.source, one.target) for one in left})
    copies = " && ".join(f"mkdir -p {os.path.dirname(target)} && cp -a {source} {target}" for source, target in places)
    raise OverlayError(
        f"selfheal_app: {paths.name}",
        f"its data is in {', '.join(source for source, _target in places)}, and it would start without. "
        "Nothing was changed",
        f"on the host, run `docker compose -p {paths.name} stop {services} && {copies}`, then this again. "
        "Configuration needs no copy once the compose file mounts it `:ro`",
    )


def _is_left(paths: AppPaths, layout: project_layout.Layout, one: neighbours.Left) -> bool:
    """Whether there is data at the old place and none at the new one."""
    name = os.path.relpath(one.target, paths.directory)
    if name not in layout.data or _has_content(one.target) or not _has_content(one.source):
        return False
    brought = os.path.join(paths.incoming, name)
    return not (os.path.isfile(brought) and filecmp.cmp(one.source, brought, shallow=False))


def _has_content(path: str) -> bool:
    if os.path.isdir(path):
        return bool(os.listdir(path))
    return os.path.isfile(path) and os.path.getsize(path) > 0


def disk_usage(folder: str, seconds: float = 2.0) -> int | None:
    """Bytes below a folder; None when they cannot be counted, or not in time."""
    until = time.monotonic() + seconds
    total = 0
    if not os.path.isdir(folder):
        return None
    for root, _folders, names in os.walk(folder):
        if time.monotonic() > until:
            return None
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def _try_plan(
    app: App, source: Source, services: Mapping[str, Service], behind: Backing | None, check: bool
) -> tuple[Plan | None, str]:
    """The plan; in check mode, None and why there is none where that is not an error yet."""
    paths = app.paths
    try:
        host = read_host()
    except EngineError as error:
        if not check:
            raise
        return None, f"{HARDENED_FILE} is not known yet: {error}"
    if not source.files and not source.promoted:
        stage_last_good(paths)
    elif check and not os.path.isdir(paths.incoming):
        why = "a run in check mode does not copy the project to a host that has none of it yet"
        if shutil.which("rsync") is None:
            why = "rsync is not on this host, so the project was not copied"
        return None, f"{HARDENED_FILE} is not known yet: {why}"
    staged = stage(app, source)
    if check and app.variables and not os.path.exists(paths.env):
        return None, f"{HARDENED_FILE} is not known yet: {paths.env} does not exist, and the compose file may need it"
    return make_plan(staged, services, host, behind), ""


def stage(app: App, source: Source) -> Staged:
    """Make the copy of the project ready for Compose.

    :raises OverlayError: a compose file is missing or empty.
    """
    paths, exact = app.paths, not source.files
    if exact:
        # Promoted: what staging sent, or what was promoted before, not what a killed deploy has left.
        layout = project_layout.recorded(paths.incoming) or project_layout.Layout((USER_FILE,))
        left_out = set(layout.local)
        source = source._replace(files=layout.files, more=tuple(name for name in layout.named if name not in left_out))
    subfolder = os.path.dirname(source.files[0])
    for folder in sorted({"", subfolder}):
        link = os.path.join(paths.incoming, folder, ".env")
        if os.path.isdir(os.path.dirname(link)) and not os.path.lexists(link):
            os.symlink(paths.env, link)
    for name in source.files:
        text = _bytes(os.path.join(paths.incoming, name))
        if not (text or b"").strip():
            raise OverlayError(
                name, "is empty" if text is not None else "was not copied", "give the app's compose file"
            )
    return Staged(app, source, staged_project.Content({}, {}), exact)


def stage_last_good(paths: AppPaths) -> None:
    """Make the copy of the project that of the last good release."""
    kept = release_store.files_of(paths.directory, LAST_GOOD)
    if not os.path.isdir(kept):
        reason = f"of a release does not exist in {paths.directory}, so nothing was promoted to this host yet"
        raise OverlayError(USER_FILE, reason, "run christmas.selfheal.promote, then this again")
    shutil.rmtree(paths.incoming, ignore_errors=True)
    os.makedirs(paths.incoming, mode=0o700, exist_ok=True)
    for name in project_files.below(kept, frozenset({"release.json"})):
        project_files.put(os.path.join(kept, name), os.path.join(paths.incoming, name))


def read_host() -> Host:
    """Ask the engine for its version and its host's size, and Compose for its version.

    :raises EngineError: there is no engine, it does not answer, or Compose is too old.
    """
    asked = commands.run(["docker", "info", "--format", "{{json .}}"], _ENGINE_SECONDS)
    if asked.code == 127:
        raise EngineError("docker is not installed on this host")
    try:
        info = json.loads(asked.out or "{}")
    except ValueError:
        info = {}
    if asked.code or not info.get("ServerVersion"):
        errors = info.get("ServerErrors") or [asked.reason]
        raise EngineError(f"the Docker engine does not answer: {errors[0]}. Try: systemctl status docker")
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    compose = next((str(plugin.get("Version", "")) for plugin in plugins if plugin.get("Name") == "compose"), "")
    engine.require_compose(compose.lstrip("v"))
    notes = [
        f"the kernel of this host does not enforce {what} limits ({key} in docker info)"
        for key, what in (("MemoryLimit", "memory"), ("CpuCfsQuota", "CPU"), ("PidsLimit", "process"))
        if info.get(key) is False
    ]
    return Host(str(info["ServerVersion"]), compose.lstrip("v"), int(info["NCPU"]), int(info["MemTotal"]), notes)


def make_plan(staged: Staged, services: Mapping[str, Service], host: Host, behind: Backing | None = None) -> Plan:
    """Read the user's files as Compose does, write the overlay for them, and have Compose read both.

    :raises OverlayError: the files do not parse; table, files and host do not fit together; or data would be lost.
    """
    app, paths, source = staged.app, staged.app.paths, staged.source
    secrets = _secrets(paths.env)
    written = _written(staged, secrets)
    named = project_parts.find({}, written, staged.top, secrets)
    local = _bring_local(staged, named)
    model, warnings = _config(staged, [], secrets)
    project: Services = model.get("services") or {}
    if not project:
        raise OverlayError(source.files[0], "has no services", "give the text of the app's compose file")
    of_values = merged_values.require(_judge_values(staged, model, written, secrets))
    parts = project_parts.find(model, written, staged.top, secrets)
    if parts.outside:
        reason = f"{parts.outside[0]}, which is outside the project"
        raise OverlayError(source.files[0], reason, "move it into compose_app_source, or point that at a folder above")
    content = staged_project.read(staged.top, staged.subfolder, parts, staged.exact)
    content = staged_project.Content({n: m for n, m in content.marks.items() if n not in local}, content.modes)
    verdict = staged_project.judge(
        staged.top,
        paths.directory,
        content,
        parts,
        source.files,
        source.more,
        source.configuration,
        project_layout.recorded(paths.directory),
        lambda name: project_layout.is_left_out(name, source.exclude),
        int(time.time()),
        # A release of staging has no sources.
        {} if staged.exact else staged_project.read_copied(paths.copied),
        staged_project.Writers(source.owners, data_owners.users(project, services)),
    )
    _require_no_conflict(source, verdict)
    whole = backing_services.join(behind, services, project)
    for service, names in verdict.readers.items():
        whole.lines.setdefault(service, []).extend(_label(verdict.layout, service, names))
    version = version_tuple(host.version)
    asked, of_health = _health_request(app, secrets)
    rendered = overlay.render(
        whole.table, whole.project, version, app.balancer, whole.lines, whole.volumes, model, written, asked
    )
    overlay.check_fit(whole.table, whole.project, host.cores, host.memory)
    hardened = project_layout.first_line(verdict.layout) + rendered.text
    with _scratch() as scratch:
        path = os.path.join(scratch, HARDENED_FILE)
        with open(path, "wb") as stream:
            stream.write(_encoded(hardened))
        _config(staged, [path], secrets)
    notes = [
        f"{USER_FILE} uses ${{{name}}}, which {paths.env} does not set: it becomes blank"
        for name in dict.fromkeys(_UNSET.findall(warnings))
    ]
    if "COMPOSE_FILE" in secrets:
        notes.append(f"{paths.env} sets COMPOSE_FILE, which is not used: name the files in compose_app_files")
    if not written:
        notes.append(f"{USER_FILE} is read by Compose only with the env's values, so its env files are in no release")
    web = probe.asked_ports(app.checks, secrets)
    notes += [*of_values, *of_health, *overlay.weak_points(project, app.balancer, model, web)]
    notes += [*verdict.notes, *_old_folders(paths), *host.notes]
    return Plan(hardened, rendered.kept, notes, host, verdict, model)


def _health_request(app: App, env: Mapping[str, str]) -> tuple[HealthRequest | None, list[str]]:
    """What the health check asks, for a healthcheck that asks the same; or what it cannot, as a note.

    The overlay holds it, so it is made without the env's secrets.
    """
    plain = {one.name: env.get(one.name) for one in app.variables if not one.secret}
    known = {name: value for name, value in plain.items() if value is not None}
    for check in app.quick:
        try:
            return probe.health_request(check, known, app.balancer is not None), []
        except CheckError as error:
            return None, [f"the healthchecks ask for a path alone: {error}"]
    return None, []


def _label(layout: project_layout.Layout, service: str, names: Sequence[str]) -> list[str]:
    """The label that has Compose recreate a service when a file that it mounts changes.

    A container keeps the file that it was started with. So each deploy, rollback and recovery needs a difference that
    Compose sees.
    """
    if not names:
        return []
    marks = "\n".join([*(f"{name} {layout.named[name]}" for name in names), str(layout.renewed.get(service, ""))])
    return ["labels:", f"  christmas.selfheal.files: {fingerprint(marks)}"]


def _require_no_conflict(source: Source, verdict: staged_project.Verdict) -> None:
    for one in verdict.conflicts:
        shown = ", ".join(one.names[: staged_project.SHOWN])
        more = len(one.names) - staged_project.SHOWN
        what = "a file that it has written since" if one.names == [one.folder] else "data"
        reason = (
            f"mounts {one.folder} writable, so it is {what}, and the project on the controller has other files there "
            f"than this host: {shown}{f' and {more} more' if more > 0 else ''}. Nothing was changed"
        )
        exclude = ", ".join([*source.exclude, f"/{one.folder}"])
        fix = (
            f"keep the host's with `compose_app_exclude: [{exclude}]`. For configuration add `:ro` in the compose "
            f"file, or write `compose_app_configuration: [{one.folder}]`"
        )
        raise OverlayError(f"{source.files[0]}: services.{one.service}.volumes", reason, fix)


def _require_files(source: Source, verdict: staged_project.Verdict) -> None:
    if verdict.absent:
        first = verdict.absent[0]
        absent = ", ".join(f"{one.name} ({one.service})" for one in verdict.absent)
        reason = (
            f"mounts a file that is neither in the project nor on this host: {absent}. Docker would create an empty "
            "folder of that name, and the service would not start. Nothing was changed"
        )
        fix = "add the file to the project, or correct its name in the compose file"
        raise OverlayError(f"{source.files[0]}: services.{first.service}.volumes", reason, fix)


def _old_folders(paths: AppPaths) -> list[str]:
    """Say where `docker compose up` would replace the hardened containers: the folder that they were started from."""
    label = "com.docker.compose.project"
    shown = '{{.Label "com.docker.compose.project.working_dir"}}'
    argv = ["docker", "ps", "--all", "--filter", f"label={label}={paths.name}", "--format", shown]
    folders = {line.strip() for line in commands.run(argv, _ENGINE_SECONDS).out.splitlines() if line.strip()}
    return [
        f"containers of {paths.name} were started from {folder}: do not run `docker compose up` there any more, it "
        "would replace the hardened ones"
        for folder in sorted(folders)
        if project_parts.relative(folder, paths.directory) is None
    ]


def _written(staged: Staged, secrets: Mapping[str, str]) -> Model:
    """The model before interpolation: it alone names the env files. {} for a model that Compose reads only after it."""
    try:
        return _config(staged, [], secrets, "--no-interpolate")[0]
    except OverlayError:
        return {}


def _bring_local(staged: Staged, parts: project_parts.Parts) -> set[str]:
    """Let Compose find the files that the app's directory alone has, by links; their names.

    :raises OverlayError: an env file is nowhere.
    """
    paths, linked = staged.app.paths, set()
    for one in parts.env_files:
        path, there = os.path.join(staged.top, one.name), os.path.join(paths.directory, one.name)
        if os.path.islink(path) and os.readlink(path) == there:
            os.unlink(path)
        if os.path.lexists(path):
            continue
        if os.path.exists(there):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.symlink(there, path)
            linked.add(one.name)
        elif one.required and os.path.basename(one.name) != ".env":
            where = f"{staged.source.files[0]}: services.{one.service}.{one.key}"
            reason = f"names {one.name}, which is neither in the project on the controller nor in {paths.directory}"
            raise OverlayError(where, reason, "add the file to the project, or remove that line")
    return linked


def _judge_values(staged: Staged, merged: Model, written: Model, env: Mapping[str, str]) -> merged_values.Verdict:
    """Compare what each service gets with what was validated; the model before interpolation says where it is from."""
    services: Services = written.get("services") or {}
    files = merged_values.Files(_env_files(staged, services), _secret_texts(merged))
    return merged_values.judge(staged.app.variables, env, merged.get("services") or {}, services, files, time.time())


def _env_files(staged: Staged, written: Services) -> dict[str, merged_values.EnvFile]:
    """The env files that services name. One that only Compose can read is left to Compose."""
    found = {}
    for path in merged_values.env_file_paths(written):
        if os.path.islink(path) and os.readlink(path) == staged.app.paths.env:
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError, dotenv.DotenvError, NoFile):
            content = read_small(path)
            values = dotenv.parse(content.decode("utf-8")) if content else {}
            found[path] = merged_values.EnvFile(os.path.relpath(path, staged.top), values)
    return found


def _secret_texts(model: Model) -> dict[str, str]:
    """The texts under `secrets:`. A file that is not text is a key store, not a value."""
    found = {}
    for name, entry in (model.get("secrets") or {}).items():
        with contextlib.suppress(OSError, UnicodeDecodeError, NoFile):
            content = read_small(str((entry or {}).get("file") or ""))
            found[name] = content.decode("utf-8") if content else ""
    return found


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A temporary directory: the app's may not exist yet, and may be full."""
    directory = tempfile.mkdtemp(prefix="selfheal-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _encoded(text: str) -> bytes:
    """The bytes of a text, also of one that was no UTF-8: the user's file goes through byte for byte."""
    return text.encode("utf-8", "surrogateescape")


def _secrets(path: str) -> dict[str, str]:
    """The values of the env: Compose repeats what it cannot use in its messages.

    :raises OverlayError: the file is damaged. Compose's own message about that would show a part of it.
    """
    try:
        with open(path, "rb") as stream:
            return dotenv.parse(stream.read().decode())
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise OverlayError(path, "is not UTF-8 text", "write it again from the vault") from None
    except dotenv.DotenvError as error:
        raise OverlayError(path, str(error), "write it again from the vault") from None


def _config(staged: Staged, more: list[str], secrets: Mapping[str, str], *options: str) -> tuple[Model, str]:
    """The merged model of the staged files, and what Compose said besides.

    :arg more: paths of the files that are merged on top of them.
    :raises OverlayError: Compose rejects them; its message is quoted without the env's values.
    """
    paths, folder = staged.app.paths, os.path.join(staged.top, staged.subfolder).rstrip("/")
    argv = [*engine.compose_program(), "--project-name", paths.name, "--project-directory", folder]
    if staged.subfolder and os.path.exists(paths.env):
        argv += ["--env-file", paths.env]
    argv += ["--profile", "*"]
    for name in staged.source.files:
        argv += ["--file", os.path.join(staged.top, name)]
    for path in more:
        argv += ["--file", path]
    asked = commands.run([*argv, "config", *options, "--format", "json"], _CONFIG_SECONDS, cwd=folder)
    if asked.code == 0:
        model: Model = json.loads(asked.out)
        return model, asked.err
    reason = asked.reason.replace(staged.top + os.sep, "")
    for path in more:
        reason = reason.replace(os.path.dirname(path) + os.sep, "")
    said = redact(reason, secrets)[:_MESSAGE_SHOWN]
    first = staged.source.files[0]
    if "is missing a value" in said:
        texts = [_bytes(os.path.join(staged.top, name)) for name in (*staged.source.files, *staged.source.more)]
        values = {**os.environ, **secrets}
        unset = unset_required([(text or b"").decode("utf-8", "replace") for text in texts], values)
        if unset:
            needed = "; ".join(redact(one, secrets) for one in unset)
            raise OverlayError(first, f"needs values that {paths.env} does not give: {needed}", "write the env first")
    if "env file" in said or "is missing a value" in said:
        raise OverlayError(first, f"needs a value that {paths.env} does not give: {said}", "write the env first")
    if not more:
        raise OverlayError(first, f"Compose rejects it: {said}", "try: docker compose config")
    reason = f"{first} and {HARDENED_FILE} do not go together: {said}"
    raise OverlayError(TABLE, reason, "change what it says of this service, or compose.yaml")


def unset_required(texts: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return every variable that compose files require and nothing sets, with its message: Compose names the first."""
    found: dict[str, str] = {}
    for text in texts:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        for escaped, name, colon, message in _REQUIRED.findall("\n".join(lines)):
            if escaped or (values.get(name) if colon else name in values):
                continue
            found.setdefault(name, f"{name} ({message.strip()})" if message.strip() else name)
    return list(found.values())


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
