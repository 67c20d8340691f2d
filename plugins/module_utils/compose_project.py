# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put the user's compose file and its overlay into the app's directory: both, proved together, or neither."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import backing, commands, dotenv, engine, overlay, release
from .app import App
from .backing import Backing
from .engine import HARDENED_FILE, USER_FILE, EngineError
from .files import atomic_write, hold_lock
from .redact import redact
from .services_table import TABLE, OverlayError

LOCK_SECONDS = 60.0
_ENGINE_SECONDS = 15.0
_CONFIG_SECONDS = 30.0
_MESSAGE_SHOWN = 300
_UNSET = re.compile(r'The \\?"([^"\\]+)\\?" variable is not set')


class Host(NamedTuple):
    """What the engine says of itself and its host; `memory` in bytes."""

    version: str
    compose: str
    cores: int
    memory: int
    notes: list[str]


class Plan(NamedTuple):
    """The overlay, what the user's file was left to say (by service), and what people should know."""

    hardened: str
    kept: dict[str, list[str]]
    notes: list[str]
    host: Host


def install(app: App, compose: str | None, table: Any, check: bool, behind: Backing | None = None) -> dict[str, Any]:
    """Write compose.yaml (byte for byte ``compose``) and compose.hardened.yaml, when they pass together.

    :arg compose: None for that of the last good release: it stays, whatever a deploy that was killed has left.
    :arg table: `compose_app_services`, as it stands in the inventory.
    :arg check: say what would change, and change nothing. Then a host without an engine, or without the env that the
        compose file needs, is no error: the overlay is not known, and the notes say so.
    :arg behind: what stands behind the app.
    :returns: {changed, files (those that changed, or would), before, after (name → text, None for no file), services
        (service → what the user's file was left to say), notes, proved (whether Compose has read both), engine}.
    :raises OverlayError: table, compose file and host do not fit together.
    :raises EngineError: there is no engine, or Compose is too old.
    :raises LockHeld, OSError: nothing was written.
    """
    services = overlay.read_table(table)
    if compose is None:
        compose = _read(os.path.join(release.folder(app.directory), release.LAST_GOOD, USER_FILE))
    if compose is None:
        reason = f"of a release does not exist in {app.directory}, so nothing was promoted to this host yet"
        raise OverlayError(USER_FILE, reason, "run playbooks/promote.yml, then this again")
    if not compose.strip():
        raise OverlayError(USER_FILE, "is empty", "give the text of the app's compose file")
    plan, why_not = _try_plan(app, compose, services, behind, check)
    after: dict[str, str | None] = {USER_FILE: compose, HARDENED_FILE: plan.hardened if plan else None}
    what = f"write compose files of {app.name}"
    with contextlib.nullcontext() if check else hold_lock(app.lock, LOCK_SECONDS, what, app.restoring):
        before = {name: _read(os.path.join(app.directory, name)) for name in after}
        if plan is None:
            after[HARDENED_FILE] = before[HARDENED_FILE]
        changed = [name for name in after if after[name] != before[name]]
        if changed and not check:
            os.makedirs(app.directory, mode=0o755, exist_ok=True)
            replace_all({os.path.join(app.directory, name): _encoded(after[name] or "") for name in changed})
    return {
        "changed": bool(changed) or (plan is None and before[HARDENED_FILE] is None),
        "files": changed,
        "before": before,
        "after": after,
        "services": plan.kept if plan else {},
        "notes": plan.notes if plan else [why_not],
        "proved": plan is not None,
        "engine": {"version": plan.host.version, "compose": plan.host.compose} if plan else {},
    }


def _try_plan(
    app: App, compose: str, services: Mapping[str, Any], behind: Backing | None, check: bool
) -> tuple[Plan | None, str]:
    """The plan; in check mode, None and why there is none where that is no error yet."""
    try:
        host = read_host()
    except EngineError as error:
        if not check:
            raise
        return None, f"{HARDENED_FILE} is not known yet: {error}"
    if check and not os.path.exists(app.env):
        return None, f"{HARDENED_FILE} is not known yet: {app.env} does not exist, and the compose file may need it"
    return make_plan(app, compose, services, host, behind), ""


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


def make_plan(app: App, compose: str, services: Mapping[str, Any], host: Host, behind: Backing | None = None) -> Plan:
    """Read the user's file as Compose does, write the overlay for it, and have Compose read both.

    :raises OverlayError: the file does not parse, or table, file and host do not fit together.
    """
    secrets = _secrets(app.env)
    with _scratch() as scratch:
        _write(scratch, USER_FILE, compose)
        model, told = _config(app, scratch, [USER_FILE], secrets)
        project = model.get("services") or {}
        if not project:
            raise OverlayError(USER_FILE, "has no services", "give the text of the app's compose file")
        whole = backing.join(behind, services, project)
        version = engine.version_tuple(host.version)
        rendered = overlay.render(whole.table, whole.project, version, app.balancer, whole.lines, whole.volumes)
        overlay.check_fit(whole.table, whole.project, host.cores, host.memory)
        _write(scratch, HARDENED_FILE, rendered.text)
        _config(app, scratch, [USER_FILE, HARDENED_FILE], secrets)
    notes = [
        f"{USER_FILE} uses ${{{name}}}, which {app.env} does not set: it becomes blank"
        for name in dict.fromkeys(_UNSET.findall(told))
    ]
    return Plan(rendered.text, rendered.kept, [*notes, *overlay.weak_points(project, app.balancer), *host.notes], host)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A directory of our own: the app's may not exist yet, and may be full."""
    directory = tempfile.mkdtemp(prefix="selfheal-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, name), "wb") as stream:
        stream.write(_encoded(text))


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
        raise OverlayError(path, "is not UTF-8 text", "write it anew from the vault") from None
    except dotenv.DotenvError as error:
        raise OverlayError(path, str(error), "write it anew from the vault") from None


def _config(app: App, scratch: str, names: list[str], secrets: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The merged model of files in ``scratch``, as if they lay in the app's directory, and what Compose said besides.

    :raises OverlayError: Compose does not take them; its message is quoted without the env's values.
    """
    argv = ["docker", "compose", "--project-name", app.name, "--project-directory", app.directory, "--profile", "*"]
    for name in names:
        argv += ["--file", os.path.join(scratch, name)]
    asked = commands.run([*argv, "config", "--format", "json"], _CONFIG_SECONDS, cwd=scratch)
    if asked.code == 0:
        model: dict[str, Any] = json.loads(asked.out)
        return model, asked.err
    said = redact(asked.reason.replace(scratch + os.sep, ""), secrets)[:_MESSAGE_SHOWN]
    if "env file" in said or "is missing a value" in said:
        raise OverlayError(USER_FILE, f"needs a value that {app.env} does not give: {said}", "write the env first")
    if names == [USER_FILE]:
        raise OverlayError(USER_FILE, f"Compose does not take it: {said}", "try: docker compose config")
    reason = f"{USER_FILE} and {HARDENED_FILE} do not go together: {said}"
    raise OverlayError(TABLE, reason, "change what it says of this service, or compose.yaml")


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def replace_all(files: Mapping[str, bytes]) -> None:
    """Replace several files; when one cannot be written, those before it are put back.

    What is put back was kept as a second name of the same file, so it takes no space: the reason for the failure may be
    a full disk. A file keeps its mode, a new one gets 0644.

    :raises OSError: one could not be written, and none has changed.
    """
    spares: dict[str, str | None] = {}
    written: list[str] = []
    try:
        for path in files:
            spares[path] = _spare(path)
        for path, data in files.items():
            atomic_write(path, data, mode=_mode(path))
            written.append(path)
    except BaseException:
        for path in written:
            spare = spares[path]
            if spare is None:
                os.unlink(path)
            else:
                os.replace(spare, path)
                spares[path] = None
        raise
    finally:
        for spare in spares.values():
            if spare is not None:
                os.unlink(spare)


def _spare(path: str) -> str | None:
    """A second name for the file at ``path``, None when there is no file."""
    # The name is one of those that files.sweep_temporaries knows.
    spare = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.selfheal-before")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(spare)
    try:
        os.link(path, spare)
    except FileNotFoundError:
        return None
    return spare


def _mode(path: str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return 0o644
