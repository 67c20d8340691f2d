# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a container said before it died → the inventory line that loosens the default which it cannot live with. Pure.

The wordings are those of coreutils, busybox, dash, glibc, Go, Python, Node, Java, nginx, s6 and sudo. A hint is only
given where the default in question was in force.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .services_table import TABLE

_MIB = 1 << 20
_DEFAULT_MEMORY = 512 * _MIB
_DEFAULT_PIDS = 256
_KILLED = 137  # 128 + SIGKILL, which is how the kernel ends what passes its memory limit

_TIME = re.compile(r"^\d{4}-\d\d-\d\d[T ]\S+\s+")  # `docker logs --timestamps`

_READ_ONLY = re.compile(r"read-only file ?system|\bEROFS\b|\[Errno 30\]", re.IGNORECASE)
_NOT_PERMITTED = re.compile(r"operation not permitted|\bEPERM\b|\[Errno 1\]", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"permission denied|\bEACCES\b|\[Errno 13\]|AccessDenied", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w:/.])(/[^\s'\"`:,;()\[\]<>]+)")
# A tmpfs at, or within, the first, or right at the others, would hide what the image has there.
_SYSTEM = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/root", "/opt")
_SHARED = ("/", "/var", "/var/lib", "/home", "/app")
_CREATES_DIRECTORY = re.compile(r"mkdir|makedirs|create director", re.IGNORECASE)
# A file that may not be opened; a plain "permission denied" may be the app's own answer to a request.
_FILE_DENIED = re.compile(
    r"(/[^\s'\"`:,;()<>]+)['\"`]?(?:: | failed \(13: )permission denied"
    r"|(?:permission denied|AccessDeniedException)[:,]?(?: \w+)? ['\"]?(/[^\s'\"`:,;()<>]+)",
    re.IGNORECASE,
)
_MAPPED = re.compile(r"(/[^\s:'\"]+): failed to map segment from shared object")

# What is said → the capabilities that the kernel asks for (capabilities(7)), and the reason to write; first match wins.
_CAPABILITIES = tuple(
    (re.compile(pattern, re.IGNORECASE), names, because)
    for pattern, names, because in (
        (r"\b[lf]?chown(at)?\b|changing ownership|(set|change) owner", ("CHOWN",), "changes owners of files at start"),
        (
            r"set(res|re|e|fs)?[ug]id|set_?groups|set groups|initgroups|su-exec|gosu|setpriv|runuser|\bsu:"
            r"|failed switching|(switch(ing)?|change|drop|set) (to |the |privileges to )?(user|group|[ug]id)",
            ("SETGID", "SETUID"),
            "becomes another user at start",
        ),
        (r"\bchmod\b|changing permissions|\butimes?\b|setting times", ("FOWNER",), "changes modes of others' files"),
        (r"\bbind\b|\bbind\(|\blisten", ("NET_BIND_SERVICE",), "listens below port 1024"),
        (r"\bchroot\b", ("SYS_CHROOT",), "locks its workers into a directory"),
        (r"\bmknod\b", ("MKNOD",), "makes device files"),
        (r"SOCK_RAW|raw socket|\bping\b|icmp", ("NET_RAW",), "sends pings"),
        (r"\bmlock(all)?\b|lock memory", ("IPC_LOCK",), "keeps secrets out of swap"),
        (r"setpriority|set priority|sched_set|\bnice\b", ("SYS_NICE",), "sets its own priority"),
        (r"rlimit", ("SYS_RESOURCE",), "raises its own limits"),
        (r"iptables|nftables|netlink|\btun\b|ip route", ("NET_ADMIN",), "configures its network"),
        (r"\bkill\b", ("KILL",), "ends processes of other users"),
    )
)
_FILE_CAPABILITY = re.compile(r"exec\b.{0,40}?(/[^\s\"'`:]+)[\"'`]?:? .*operation not permitted|"
                              r"(/[^\s\"'`:]+): operation not permitted$", re.IGNORECASE)  # fmt: skip
_PORT = re.compile(r":(\d{1,5})\b|\bport (\d{1,5})\b", re.IGNORECASE)
_PYTHON_ERROR = re.compile(r"\b(Permission|OS)Error: ")
_TRACEBACK = "Traceback (most recent call last)"
_LONGEST_TRACEBACK = 30
_NO_NEW_PRIVILEGES = re.compile(r"no new privileges|effective uid is not 0|must be setuid root", re.IGNORECASE)
_PROCESS_1 = re.compile(r"only run as pid 1|must be (run as )?pid 1|not running as pid 1", re.IGNORECASE)
_FORK = re.compile(
    r"cannot fork|can't fork|can't start new thread|unable to create (new )?native thread|pthread_create failed"
    r"|failed to create new OS thread|BlockingIOError: \[Errno 11\]"
    r"|(fork|clone|thread|spawn).*(resource temporarily unavailable|\bEAGAIN\b)",
    re.IGNORECASE,
)
_HEAP = re.compile(
    r"JavaScript heap out of memory|perhaps out of memory|\bMemoryError\b|Java heap space", re.IGNORECASE
)
_FORMAT = re.compile(r"exec format error", re.IGNORECASE)
_NO_CLIENT = re.compile(r"no curl, wget, python3 or node in this image|executable file not found|: not found\b", re.I)


_HARDENED = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true"],
    "Init": True,
    "Tmpfs": {"/tmp": ""},
}


class _Facts(NamedTuple):
    """What is needed of a container."""

    service: str
    oom_killed: bool
    exit_code: int
    error: str
    health_log: str
    memory: int
    pids: int
    read_only: bool
    dropped: bool
    no_new_privileges: bool
    init: bool
    user: str
    tmpfs: tuple[str, ...]
    mounts: tuple[str, ...]


def hints(log_text: str, container: Mapping[str, Any]) -> list[str]:
    """Say which lines of the inventory would let a container live; [] when neither log nor state says so.

    :arg log_text: the last lines of its log, redacted: a path or message of them is repeated in the hint.
    :arg container: one document of `docker inspect`; {} when it is gone, then the defaults are taken to have applied.
    """
    facts = _read(container)
    text = "\n".join(_TIME.sub("", line) for line in [*log_text.splitlines(), facts.error])
    return list(dict.fromkeys(hint for rule in _RULES for hint in rule(text, facts)))


def _read(container: Mapping[str, Any]) -> _Facts:
    host: Mapping[str, Any] = container.get("HostConfig") or _HARDENED
    config, state = container.get("Config") or {}, container.get("State") or {}
    security = [str(option).replace("=", ":") for option in host.get("SecurityOpt") or []]
    health = (state.get("Health") or {}).get("Log") or []
    return _Facts(
        service=(config.get("Labels") or {}).get("com.docker.compose.service") or "<service>",
        oom_killed=bool(state.get("OOMKilled")),
        exit_code=state.get("ExitCode") or 0,
        error=state.get("Error") or "",
        health_log="\n".join(str(entry.get("Output")) for entry in health),
        memory=host.get("Memory") or 0,
        pids=host.get("PidsLimit") or 0,
        read_only=bool(host.get("ReadonlyRootfs")),
        dropped="ALL" in (host.get("CapDrop") or []),
        no_new_privileges=bool({"no-new-privileges", "no-new-privileges:true"}.intersection(security)),
        init=bool(host.get("Init")),
        user=_user(config.get("User")),
        tmpfs=tuple(host.get("Tmpfs") or ()),
        mounts=tuple(str(mount.get("Destination")) for mount in container.get("Mounts") or []),
    )


def _user(user: Any) -> str:
    """The user that the container runs as, without the group: "0" for root, else a number or a name."""
    name = str(user or "0").split(":")[0]
    return "0" if name == "root" else name


def _line(facts: _Facts, why: str, line: str) -> str:
    return f"{why}. In the inventory, under {TABLE}.{facts.service}: {line}"


def _loosen(facts: _Facts, why: str, key: str, to: str, because: str) -> str:
    return _line(facts, why, f'loosen: {{{key}: {{to: {to}, because: "{because}"}}}}')


# --- rules: each yields what it recognises ----------------------------------------------------------------------------


def _memory(text: str, facts: _Facts) -> Iterator[str]:
    limit = facts.memory or _DEFAULT_MEMORY
    line = f"memory: {2 * limit // _MIB}M"
    if facts.oom_killed:
        yield _line(facts, f"{facts.service} was killed at its memory limit of {limit // _MIB}M", line)
    elif _HEAP.search(text):
        yield _line(facts, f"{facts.service} ran out of memory within its limit of {limit // _MIB}M", line)
    elif facts.exit_code == _KILLED:
        # Some kernels and engines do not say that it was the memory (cgroup v1, or a child of the first process).
        why = (
            f"{facts.service} was killed (exit code 137), as it is when it passes its memory limit of {limit // _MIB}M"
        )
        yield _line(facts, why, line)


def _read_only(text: str, facts: _Facts) -> Iterator[str]:
    """Directories of the app's own become tmpfs; over the image's a tmpfs would hide files, so there the root opens."""
    if not facts.read_only:
        return
    own: list[str] = []
    system: list[str] = []
    unnamed = False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        phrase = _READ_ONLY.search(line)
        path = _path_of(line, phrase) if phrase else None
        if phrase and path is None:
            unnamed = True
        if path is None or any(_within(path, mount) for mount in facts.mounts):
            continue  # a read-only volume of the user's is not ours to loosen
        creates = any(_CREATES_DIRECTORY.search(told) for told in _context(lines, number))
        place = path if creates else posixpath.dirname(path)
        (system if place in _SHARED or any(_within(place, root) for root in _SYSTEM) else own).append(place)
    if not facts.user.isdigit():
        # A tmpfs belongs to root, and to give it to somebody else takes a number, which a name does not tell.
        own, system = [], [*own, *system]
    if own:
        places = _outermost(own)
        owner = "" if facts.user == "0" else f":uid={facts.user}"
        entries = [place for place in facts.tmpfs if not any(_within(place.split(":")[0], new) for new in places)]
        entries += [place + owner for place in places]
        why = f"{facts.service} writes to {', '.join(places)}, and its root file system is read-only"
        line = f"tmpfs: [{', '.join(map(_quoted, entries))}]"
        yield _line(facts, why, f"{line} (what is to outlive the container needs a volume in compose.yaml)")
    if system or (unnamed and not own):
        where = f"writes to {', '.join(_outermost(system))}" if system else "writes to its root file system"
        yield _loosen(facts, f"{facts.service} {where}, which is read-only", "read_only", "false", where)


def _path_of(line: str, phrase: re.Match[str]) -> str | None:
    """The path that an error is about: the first after the phrase, else the last before it."""
    after = _PATH.search(line, phrase.end())
    found = [after.group(1)] if after else _PATH.findall(line[: phrase.start()])
    return posixpath.normpath(found[-1]) if found else None


def _within(path: str, place: str) -> bool:
    place = place.split(":")[0].rstrip("/")
    return bool(place) and (path == place or path.startswith(place + "/"))


def _outermost(places: Iterable[str]) -> list[str]:
    """Each place once, without those within another."""
    unique = list(dict.fromkeys(places))
    return [place for place in unique if not any(other != place and _within(place, other) for other in unique)]


def _quoted(entry: str) -> str:
    """A tmpfs entry as it stands in YAML."""
    return f'"{entry}"' if ":" in entry else entry


def _capability(text: str, facts: _Facts) -> Iterator[str]:
    if not facts.dropped:
        return
    lines = text.splitlines()
    names: dict[str, str] = {}
    said = ""
    for number, line in enumerate(lines):
        if _MAPPED.search(line) or _NO_NEW_PRIVILEGES.search(line):
            continue
        wanted, because = _wanted(lines, number, facts)
        if wanted:
            said = said or _short(line)
            names.update(dict.fromkeys(wanted, because))
    if names:
        reasons = ", ".join(dict.fromkeys(names.values()))
        why = f'{facts.service} lacks a capability ("{said}")'
        yield _loosen(facts, why, "cap_add", f"[{', '.join(sorted(names))}]", reasons)


def _wanted(lines: list[str], number: int, facts: _Facts) -> tuple[tuple[str, ...], str]:
    """The capabilities that would let what line ``number`` complains of succeed, and what for."""
    line = lines[number]
    not_permitted = _NOT_PERMITTED.search(line)
    if not not_permitted and not _NOT_ALLOWED.search(line):
        return (), ""
    for told in _context(lines, number):
        for pattern, names, because in _CAPABILITIES:
            if pattern.search(told):
                ports = [int(left or right) for left, right in _PORT.findall(told)]
                high = names == ("NET_BIND_SERVICE",) and ports and min(ports) >= 1024
                return ((), "") if high else (names, because)
    program = _FILE_CAPABILITY.search(line)
    if program and not _PYTHON_ERROR.search(line):
        # The program's file carries capabilities of its own; nearly always the one to listen below port 1024.
        return ("NET_BIND_SERVICE",), "its program is marked to listen below port 1024"
    denied = _FILE_DENIED.search(line)
    if facts.user == "0" and denied and not _in_tmpfs(denied, facts):
        return ("DAC_OVERRIDE",), "root works on files of other users"
    return (), ""


def _in_tmpfs(found: re.Match[str], facts: _Facts) -> str:
    """The tmpfs that holds the path which was found, "" when none does."""
    path = next(group for group in found.groups() if group)
    return next((place.split(":")[0] for place in facts.tmpfs if _within(path, place)), "")


def _context(lines: list[str], number: int) -> Iterator[str]:
    """A line, and for the last one of a Python traceback those above it: they name the call that failed."""
    yield lines[number]
    if _PYTHON_ERROR.search(lines[number]):
        for line in reversed(lines[max(number - _LONGEST_TRACEBACK, 0) : number]):
            if _TRACEBACK in line:
                return
            if 'File "' not in line:
                yield line


def _short(line: str) -> str:
    """A log line, fit to stand between double quotes."""
    text = "".join(letter if letter.isprintable() else " " for letter in line.strip()).replace('"', "'")
    return text if len(text) <= 120 else "…" + text[-119:]


def _privileges(text: str, facts: _Facts) -> Iterator[str]:
    if facts.no_new_privileges and _NO_NEW_PRIVILEGES.search(text):
        why = f"{facts.service} runs a program that gains privileges, such as sudo"
        yield _loosen(facts, why, "no_new_privileges", "false", "runs sudo")


def _first_process(text: str, facts: _Facts) -> Iterator[str]:
    if facts.init and _PROCESS_1.search(text):
        why = f"{facts.service} brings an init of its own, which must be process 1"
        yield _loosen(facts, why, "init", "false", "brings its own init")


def _processes(text: str, facts: _Facts) -> Iterator[str]:
    if _FORK.search(text):
        limit = facts.pids if facts.pids > 0 else _DEFAULT_PIDS
        why = f"{facts.service} wants more than its limit of {limit} processes and threads"
        yield _line(facts, why, f"pids: {2 * limit}")


def _noexec(text: str, facts: _Facts) -> Iterator[str]:
    """Programs and libraries that are unpacked into a tmpfs, which the engine mounts noexec."""
    for line in text.splitlines():
        found = _MAPPED.search(line) or (_FILE_DENIED.search(line) if facts.user == "0" else None)
        place = _in_tmpfs(found, facts) if found else ""
        if place:
            rest = [entry for entry in facts.tmpfs if entry.split(":")[0] != place]
            why = f"{facts.service} runs program code from {place}, which is mounted noexec"
            yield _line(facts, why, f"tmpfs: [{', '.join(_quoted(entry) for entry in [*rest, place + ':exec'])}]")


def _format(text: str, facts: _Facts) -> Iterator[str]:
    if _FORMAT.search(text):
        yield (
            f"{facts.service} cannot be executed: its image is for another processor, or its script has no #! line. No "
            "default is to blame: build the image on this host, or for its platform"
        )


def _health_client(_text: str, facts: _Facts) -> Iterator[str]:
    if _NO_CLIENT.search(facts.health_log):
        why = f"the healthcheck of {facts.service} uses a program that its image lacks"
        yield _line(facts, why, 'healthcheck: {test: ["CMD", "a program of the image", "its argument"]}')


_RULES = (
    *(_memory, _read_only, _capability, _privileges, _first_process, _processes, _noexec, _format, _health_client),
)
