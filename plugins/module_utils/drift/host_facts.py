# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The facts of a host for a drift check: its containers and their release, and what is compared with its baseline.

The baseline is what the host had when it was accepted, by names such as `package haproxy`, whose value is the version.
`unasked package` says that nothing is known of the entries that begin with this word.
No fact holds a secret: of values of an env there are fingerprints, of files mode and owner.
"""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict

from ..core.app_paths import AppPaths
from ..core.files import NoFile, read_small
from ..core.fingerprint import fingerprint
from ..core.locks import is_locked
from ..docker import containers as docker_containers
from ..docker import engine, project_layout
from ..docker import images as docker_images
from ..docker import project as docker_project
from ..docker.containers import Document
from ..docker.model import Model
from ..env import history as env_history
from ..host import command as commands
from ..host import logins
from ..host.logins import Login
from ..records import state
from ..recovery import config as agent_config
from ..releases import store as release_store
from ..releases.store import Release
from . import host_stamp
from .policy import PolicyEntry

SECONDS = 10.0
"""That one command may take. What cannot be read is a problem, and no drift."""

# Folders of files that the roles write, or that decide about permissions.
FOLDERS = (
    *(
        "/etc/docker",
        "/etc/haproxy",
        "/etc/logrotate.d",
        "/etc/selfheal",
        "/etc/systemd/system",
        "/etc/systemd/journald.conf.d",
    ),
    *("/etc/prometheus", "/etc/ssh", "/etc/sudoers.d", "/etc/sysctl.d", "/usr/local/bin", "/usr/local/sbin"),
    "/usr/local/lib/selfheal",
)
CRON = ("/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/crontabs/*", "/etc/anacrontab")
GROUPS = ("docker", "sudo", "adm")
SYSCTL = (
    *("kernel/randomize_va_space", "kernel/dmesg_restrict", "kernel/kptr_restrict", "kernel/unprivileged_userns_clone"),
    *("net/core/somaxconn", "net/ipv4/ip_forward", "net/ipv4/tcp_syncookies", "net/ipv4/ip_unprivileged_port_start"),
    *(
        "net/ipv4/tcp_fin_timeout",
        "net/ipv4/tcp_keepalive_time",
        "net/ipv4/ip_local_port_range",
        "net/ipv4/tcp_tw_reuse",
    ),
    *(
        "net/ipv4/icmp_echo_ignore_broadcasts",
        "net/ipv4/conf/all/accept_redirects",
        "net/ipv4/conf/all/accept_source_route",
    ),
    *("net/ipv4/conf/all/send_redirects", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"),
    *("net/ipv6/conf/all/accept_redirects", "net/ipv6/conf/all/disable_ipv6", "fs/protected_hardlinks"),
    *("fs/protected_symlinks", "fs/suid_dumpable", "vm/overcommit_memory", "vm/swappiness"),
)


class Settings(TypedDict):
    """How a container runs, and how its service says that it should. 0 means no limit; memory is in bytes."""

    cpus: float
    memory: int
    memory_reservation: int
    pids: int
    restart: str
    read_only: bool
    privileged: bool
    ports: list[str]


class DesiredService(TypedDict):
    """What the containers of a service should be; `env` holds fingerprints, `wanted`: it needs a container."""

    settings: Settings
    env: dict[str, str]
    wanted: bool


class ContainerFacts(TypedDict):
    """One container of the host; `ours` is whether it is of the app, `env` holds fingerprints.

    `folder`: the project directory of the `docker compose up` that created it.
    """

    name: str
    service: str
    ours: bool
    folder: str
    image: str
    digest: str
    state: str
    job_done: bool
    settings: Settings
    env: dict[str, str]


class TaggedImage(TypedDict):
    """The image that a tag names now, and the one of the release."""

    name: str
    id: str
    wanted: str


class FileFacts(TypedDict):
    """Owner and mode of a file, and when it was changed (epoch s)."""

    owner: str
    mode: str
    changed: float


class RunningRelease(TypedDict, total=False):
    """The last good release and its images by service; without keys when there is none, or Docker does not answer."""

    id: str
    images: dict[str, str]


class Activity(TypedDict):
    """What must not be disturbed: the id of the open incident, "" for none; whether a deploy or a recovery runs."""

    incident: str
    busy: bool


class HostFacts(Activity):
    """What a host says about itself.

    `source` and `exclude` are handed back to the controller. `desired` has services, `images` is by service.
    `project` names files relative to `directory`. `marks` is what is compared with the baseline. `folders` has when
    each last gained or lost a file. `now` is the host's time (epoch s). `stamp` is the same as long as nothing has
    changed that a role looks at, "" for unknown.
    """

    app: str
    directory: str
    source: str
    exclude: list[str]
    release: RunningRelease
    desired: dict[str, DesiredService]
    containers: list[ContainerFacts]
    images: dict[str, TaggedImage]
    project: list[str]
    marks: dict[str, str]
    files: dict[str, FileFacts]
    folders: dict[str, float]
    now: float
    logins: list[Login]
    problems: list[str]
    stamp: str


class ReportedFacts(HostFacts):
    """The facts with what the controller adds: the policy and the windows of the inventory, which `policy` reads.

    `desired_stamp` is the same as long as the desired state is, "" for unknown. `looks_at` names other hosts that the
    roles look at when they compare this one.
    """

    policy: list[PolicyEntry]
    windows: list[str]
    desired_stamp: str
    looks_at: list[str]


def read(paths: AppPaths, source: str = "", exclude: Sequence[str] = ()) -> HostFacts:
    """Return what `findings.compare` takes.

    :arg source: where the controller has the project, handed back for it.
    """
    problems: list[str] = []
    # systemd takes long to list the units: meanwhile, the rest is read.
    with ThreadPoolExecutor(1) as aside:
        return _read(paths, source, exclude, problems, aside.submit(_units, problems))


def _read(
    paths: AppPaths, source: str, exclude: Sequence[str], problems: list[str], units: Future[dict[str, str]]
) -> HostFacts:
    now = time.time()
    good = release_store.last_good(paths.directory)
    documents: list[Document] = []
    desired: dict[str, DesiredService] = {}
    try:
        documents = docker_containers.inspected("")
        if good:
            # The files in the app's directory may have drifted themselves.
            kept = release_store.files_of(paths.directory, good["id"])
            layout = project_layout.recorded(kept) or project_layout.Layout((docker_project.USER_FILE,))
            names = [os.path.join(kept, name) for name in (*layout.files, project_layout.HARDENED_FILE)]
            names = [name for name in names if os.path.exists(name)]
            folder = os.path.join(paths.directory, layout.folder).rstrip("/")
            model = docker_project.Project(paths.name, paths.directory, names or None, folder).config()
            desired = _desired(paths, good, model)
    except engine.EngineError as error:
        problems.append(str(error))
        good = None
    apps = {*agent_config.apps(paths.root), paths.name}
    found, problem = state.load(paths.state, paths.spare, repair=False)
    problems += [problem] if problem else []
    entries = {**dict(_entries(apps, documents, problems)), **units.result()}
    images = _images(good) if good else {}
    incident = str((found["incident"] or {}).get("id", ""))
    folders = (*FOLDERS, "/etc/cron.d")
    compared = {"release": good, "desired": desired, "images": images, "marks": entries, "incident": incident}
    return {
        "app": paths.name,
        "directory": paths.directory,
        "source": source,
        "exclude": list(exclude),
        "release": {"id": good["id"], "images": good["images"]} if good else {},
        "desired": desired,
        "containers": [_container(one, paths.name) for one in documents],
        "images": images,
        "project": sorted(_project(paths, documents)),
        "marks": entries,
        "files": dict(_files(paths)),
        "folders": dict(_folders(paths)),
        "now": now,
        "logins": logins.read(SECONDS),
        "incident": incident,
        "busy": is_locked(paths.lock),
        "problems": problems,
        "stamp": "" if problems else host_stamp.read(paths, folders, host_stamp.Known(documents, compared)),
    }


# --- containers ---


def _desired(paths: AppPaths, good: Release, model: Model) -> dict[str, DesiredService]:
    """By service, how its containers should be. The env is the release's, as long as its fingerprints are kept."""
    kept = [one for one in env_history.versions(paths.history) if one["fingerprint"] == good["env"]]
    fingerprints = kept[0]["variables"] if kept else {}
    found: dict[str, DesiredService] = {}
    for name, spec in (model.get("services") or {}).items():
        resources = (spec.get("deploy") or {}).get("resources") or {}
        limits, reserved = resources.get("limits") or {}, resources.get("reservations") or {}
        settings: Settings = {
            "cpus": float(limits.get("cpus") or spec.get("cpus") or 0),
            "memory": int(limits.get("memory") or spec.get("mem_limit") or 0),
            "memory_reservation": int(reserved.get("memory") or spec.get("mem_reservation") or 0),
            "pids": int(limits.get("pids") or spec.get("pids_limit") or 0),
            "restart": str(spec.get("restart") or "no"),
            "read_only": bool(spec.get("read_only")),
            "privileged": bool(spec.get("privileged")),
            "ports": sorted(_port(one) for one in spec.get("ports") or []),
        }
        env = {key: fingerprints[key] for key in spec.get("environment") or {} if key in fingerprints}
        found[name] = {
            "settings": settings,
            "env": env,
            "wanted": name in good["images"] and name not in good.get("jobs", ()),
        }
    return found


def _port(spec: Mapping[str, Any]) -> str:
    inside = f"{spec.get('target')}/{spec.get('protocol', 'tcp')}"
    return f"{spec.get('host_ip') or '*'}:{spec.get('published') or ''}->{inside}"


def _container(document: Document, app: str) -> ContainerFacts:
    one, given = docker_containers.instance(document, 0.0), document["HostConfig"]
    bound = given.get("PortBindings") or {}
    ports = [
        f"{binding.get('HostIp') or '*'}:{binding.get('HostPort') or ''}->{port}"
        for port, bindings in bound.items()
        for binding in bindings or []
    ]
    labels = document["Config"].get("Labels") or {}
    return {
        "name": one["name"],
        "service": one["service"],
        "ours": labels.get("com.docker.compose.project") == app,
        "folder": labels.get("com.docker.compose.project.working_dir", ""),
        "image": one["image"],
        "digest": one["digest"],
        "state": one["state"],
        "job_done": one["job_done"],
        "settings": {
            "cpus": one["limits"]["cpus"],
            "memory": one["limits"]["memory_bytes"],
            "memory_reservation": one["limits"]["memory_reservation_bytes"],
            "pids": one["limits"]["pids"],
            "restart": one["restart_policy"] or "no",
            "read_only": one["read_only"],
            "privileged": bool(given.get("Privileged")),
            "ports": sorted(ports),
        },
        "env": {key: fingerprint(value) for key, value in docker_containers.environment(document).items()},
    }


def _images(good: Release) -> dict[str, TaggedImage]:
    return {
        service: {"name": good["names"][service], "id": docker_images.image_id(good["names"][service]), "wanted": image}
        for service, image in good["images"].items()
        if "@" not in good["names"][service]
    }


def _project(paths: AppPaths, documents: Sequence[Document]) -> Iterator[str]:
    """The files in the app's directory, relative, without our own and those that containers write."""
    mounted = {str(mount.get("Source")) for one in documents for mount in one.get("Mounts") or [] if mount.get("RW")}
    layout = project_layout.read(paths.directory)
    # Files that no controller has, and the place where Compose looks for the env.
    ours = {*_OURS, *layout.local, os.path.join(layout.folder, ".env")}
    for folder, folders, names in os.walk(paths.directory):
        folders[:] = [one for one in folders if os.path.join(folder, one) not in mounted]
        relative = os.path.relpath(folder, paths.directory)
        if relative == ".":
            folders[:] = [one for one in folders if one != project_layout.RELEASES]
        for one in names:
            name = os.path.normpath(os.path.join(relative, one))
            if os.path.join(folder, one) not in mounted and name not in ours and not one.endswith(".replaced"):
                yield name


_OURS = (".env", ".env.example", project_layout.HARDENED_FILE)


# --- what is compared with the baseline ---


def _ask(problems: list[str], *argv: str, quiet: bool = False) -> list[str] | None:
    """The lines that a command prints; None when it fails, [] when it is not installed."""
    asked = commands.run(argv, SECONDS)
    if asked.code == 127:
        return []
    if asked.code and not quiet:
        problems.append(f"{argv[0]} failed: {asked.reason}")
    return None if asked.code else asked.out.splitlines()


def _entries(apps: set[str], documents: Sequence[Document], problems: list[str]) -> Iterator[tuple[str, str]]:
    yield from _packages(problems)
    yield from _groups()
    yield from _cron()
    yield from _sysctl()
    yield from _sshd(problems)
    yield from _unmanaged(apps, documents)
    yield from _listening(problems, _balanced(apps))
    yield from _firewall(problems)
    for path, about in _files(None):
        yield f"file {path}", f"{about['owner']} {about['mode']}"


def _packages(problems: list[str]) -> Iterator[tuple[str, str]]:
    listed = _ask(problems, "dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n")
    if listed is None:
        yield "unasked package", ""
    for line in listed or ():
        status, name, version = (*line.split(), "", "", "")[:3]
        if status == "installed":
            yield f"package {name}", version


def _groups() -> Iterator[tuple[str, str]]:
    for name in GROUPS:
        with contextlib.suppress(KeyError):
            yield f"group {name}", ", ".join(sorted(grp.getgrnam(name).gr_mem)) or "no member"


def _cron() -> Iterator[tuple[str, str]]:
    for pattern in CRON:
        for path in glob.glob(pattern):
            yield f"cron {path}", _content(path)


def _sysctl() -> Iterator[tuple[str, str]]:
    for name in SYSCTL:
        with contextlib.suppress(OSError), open(f"/proc/sys/{name}", encoding="ascii") as stream:
            yield f"sysctl {name.replace('/', '.')}", " ".join(stream.read().split())


def _sshd(problems: list[str]) -> Iterator[tuple[str, str]]:
    options = _ask(problems, "sshd", "-T", quiet=True)
    if options is None:
        yield "unasked sshd", ""
    for line in options or ():
        name, _unused, value = line.partition(" ")
        yield f"sshd {name}", value


def _unmanaged(apps: set[str], documents: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """The containers that belong to no app of this collection."""
    for one in documents:
        labels = one["Config"].get("Labels") or {}
        if labels.get("com.docker.compose.project") not in apps:
            yield f"container {one['Name'].lstrip('/')}", f"runs {one['Config'].get('Image', '')}"


def _firewall(problems: list[str]) -> Iterator[tuple[str, str]]:
    for chain in ("INPUT", "FORWARD", "DOCKER-USER"):
        rules = _ask(problems, "iptables", "-w", "5", "-S", chain, quiet=True)
        # The engine's own chain exists only where the engine runs.
        if rules is None and chain != "DOCKER-USER":
            yield "unasked firewall", ""
        for line in rules or ():
            # The engine writes the others itself, with addresses that change.
            if chain != "FORWARD" or line.startswith("-P"):
                yield f"firewall {line}", "set"


_STATES = ("enabled", "masked", "disabled")


def _units(problems: list[str]) -> dict[str, str]:
    """Which units start at boot, and which timers are active."""
    found: dict[str, str] = {}
    # With `--type` systemd would look at every unit, and the client leave some out: half as long again.
    kinds = ("*.service", "*.timer", "*.socket")
    states = f"--state={','.join(_STATES)}"
    listed = _ask(problems, "systemctl", "list-unit-files", "--no-legend", "--plain", states, *kinds)
    if listed is None:
        found["unasked unit"] = ""
    for line in listed or ():
        name, now = (*line.split(), "", "")[:2]
        if now in _STATES and "@" not in name:
            found[f"unit {name}"] = now
    active = _ask(problems, "systemctl", "list-units", "--no-legend", "--plain", "--type=timer", "--state=active")
    if active is None:
        found["unasked timer"] = ""
    for line in active or ():
        found[f"timer {line.split()[0]}"] = "active"
    return found


def _content(path: str) -> str:
    try:
        return fingerprint(read_small(path) or b"")
    except (NoFile, OSError):
        return "unreadable"


_BIND = re.compile(r"^\s*bind\s+\S*:(\d+)(?:\s|$)", re.MULTILINE)


def _balanced(apps: set[str]) -> set[str]:
    """The ports that the roles' own files for HAProxy open; the roles report a change of such a file."""
    found: set[str] = set()
    for name in (*sorted(apps), "_status-page"):
        with contextlib.suppress(NoFile, OSError):
            text = read_small(f"/etc/haproxy/selfheal/{name}.cfg") or b""
            found.update(_BIND.findall(text.decode("utf-8", "replace")))
    return found


def _listening(problems: list[str], balanced: set[str]) -> Iterator[tuple[str, str]]:
    """The process that listens for other machines, by port. The ports of containers are among their settings."""
    listed = _ask(problems, "ss", "-Hltnp")
    if listed is None:
        yield "unasked listens", ""
    for line in listed or ():
        words = line.split()
        address, _unused, port = words[3].rpartition(":")
        named = re.search(r'"([^"]+)"', line)
        who = named[1] if named else "unknown"
        expected = who == "docker-proxy" or (who == "haproxy" and port in balanced)
        if not address.startswith(("127.", "[::1]")) and not expected:
            yield f"listens {port}", who


def _files(paths: AppPaths | None) -> Iterator[tuple[str, FileFacts]]:
    """The files below FOLDERS, and those of the app, by path."""
    for top in FOLDERS if paths is None else (*FOLDERS, paths.directory, "/etc/cron.d", "/etc"):
        for folder, folders, names in os.walk(top):
            folders[:] = [] if top == "/etc" else _walked(folder, folders, paths)
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    yield path, _about(os.lstat(path))


def _walked(folder: str, folders: Sequence[str], paths: AppPaths | None) -> list[str]:
    """The subfolders to look into: not those of old releases and byte code."""
    skipped = {"__pycache__"} | (
        {project_layout.RELEASES} if paths is not None and folder == paths.directory else set()
    )
    return [one for one in folders if one not in skipped]


def _folders(paths: AppPaths) -> Iterator[tuple[str, float]]:
    """When each of those folders last gained or lost a file."""
    for top in (*FOLDERS, paths.directory, "/etc/cron.d"):
        for folder, folders, _unused in os.walk(top):
            folders[:] = _walked(folder, folders, paths)
            with contextlib.suppress(OSError):
                yield folder, os.lstat(folder).st_ctime


def _about(status: os.stat_result) -> FileFacts:
    with contextlib.suppress(KeyError):
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
        return {"owner": f"{owner}:{group}", "mode": f"{stat.S_IMODE(status.st_mode):04o}", "changed": status.st_ctime}
    numbers = f"{status.st_uid}:{status.st_gid}"
    return {"owner": numbers, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "changed": status.st_ctime}
