# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a container said before it died → the inventory row that loosens the defaults which it cannot live with. Pure.

The wordings are those of coreutils, busybox, dash, glibc, Go, Python, Node, Java, nginx, s6, tini and sudo. A hint is
only given where the default in question was in force. It is complete: it holds what is in force already, all that the
log tells, and all that the way an entrypoint goes about it will need next.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

from ..docker.containers import Document
from . import known_images
from .services import TABLE

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
_CHANGES_DIRECTORY = re.compile(r"chmod|chown|changing (permissions|ownership)", re.IGNORECASE)
# What a script does as root: becomes another user, gives files away, sets modes.
_SCRIPT_BECOMES = re.compile(r"\b(gosu|su-exec|setpriv|runuser|userspec)\b|\bsu -|\bsu \w", re.ASCII)
_SCRIPT_GIVES = re.compile(r"\bchown\b")
_SCRIPT_MODES = re.compile(r"\bchmod\b")
# Where a program that is named without its folder is looked for.
_PROGRAMS = ("/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin", "")
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
        (r"\bkill\b|forwarding signal", ("KILL",), "signals processes of other users"),
    )
)
# What the kernel refuses with EACCES for want of a capability; anything else is the mode of a file.
_DENIED_FOR = frozenset(("NET_BIND_SERVICE", "NET_RAW", "SYS_NICE", "SYS_RESOURCE"))
# A shell entrypoint that gives files to a user, sets their modes, and becomes that user: one fails after the other.
_STEPS_DOWN = re.compile(
    r"^(\S+: )?(chown|chmod|find|install|gosu|su-exec|setpriv|runuser|su|s6-\S+)\b.*:|failed switching", re.IGNORECASE
)
_STEPS_DOWN_BECAUSE = "its entrypoint gives files to a user and becomes that user"
# A nginx master does the same without a shell.
_NGINX_PROGRAM = re.compile(r"^nginx: \[|\bnginx/\d|\[(emerg|alert|crit)\] \d+#\d+:", re.MULTILINE)
_NGINX = re.compile(r"\[(emerg|alert|crit)\]")
# What official images set, and what is built from them inherits: the name of a variable → the image.
_BASES = {
    "PG_MAJOR": "postgres",
    "MYSQL_MAJOR": "mysql",
    "MARIADB_VERSION": "mariadb",
    "REDIS_VERSION": "redis",
    "VALKEY_VERSION": "valkey",
    "MONGO_VERSION": "mongo",
    "RABBITMQ_VERSION": "rabbitmq",
    "NGINX_VERSION": "nginx",
    "CADDY_VERSION": "caddy",
    "HTTPD_VERSION": "httpd",
    "APACHE_CONFDIR": "php:apache",
}
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
    added: frozenset[str]
    no_new_privileges: bool
    init: bool
    user: str
    tmpfs: tuple[str, ...]
    mounts: tuple[str, ...]
    base: str
    script: str


Value = Union[str, list[str], None]
"""What a key of a row takes: a scalar as YAML has it, or a list."""


class _Finding(NamedTuple):
    """One thing that a container cannot live with: in words, and the key of its row with the value that it takes.

    :arg key: "" where no line helps.
    :arg because: the reason; with one, the key goes under `loosen`.
    """

    why: str
    key: str = ""
    value: Value = None
    because: str = ""


def hints(log_text: str, container: Document, script: str = "") -> list[str]:
    """Say which row of the inventory would let a container live; [] when neither log nor state says so.

    :arg log_text: the last lines of its log, redacted: a path or message of them is repeated in the hint.
    :arg container: one document of `docker inspect`; {} when it is gone, then the defaults are taken to have applied.
    :arg script: the text of its entrypoint, "" when that is not a script: it shows what would fail next.
    """
    facts = _read(container)._replace(script=script)
    text = "\n".join(_TIME.sub("", line) for line in [*log_text.splitlines(), facts.error])
    if not facts.base and _NGINX_PROGRAM.search(text):
        facts = facts._replace(base="nginx")
    found = list(dict.fromkeys(finding.why for rule in _RULES for finding in rule(text, facts) if not finding.key))
    helped = [finding for rule in _RULES for finding in rule(text, facts) if finding.key]
    return found + ([_row(facts, helped)] if helped else [])


def entrypoint_paths(container: Document) -> list[str]:
    """Where the entrypoint of a container may be, in the order to look; [] when it is a shell or nothing."""
    entrypoint = (container.get("Config") or {}).get("Entrypoint") or []
    words = [str(word) for word in entrypoint]
    name = next((word for word in words if word.endswith(".sh") or "entrypoint" in word), "")
    if not name or " " in name:
        return []
    return [name] if name.startswith("/") else [f"{folder}/{name}" for folder in _PROGRAMS]


def _row(facts: _Facts, findings: list[_Finding]) -> str:
    """All that was found of a service as one row that can be pasted."""
    said: dict[str, Value] = {}
    loosened: dict[str, tuple[Value, list[str]]] = {}
    for finding in findings:
        if not finding.because:
            said[finding.key] = _joined(said.get(finding.key), finding.value)
            continue
        value, reasons = loosened.get(finding.key, (None, list[str]()))
        loosened[finding.key] = (_joined(value, finding.value), list(dict.fromkeys([*reasons, finding.because])))
    if "read_only" in loosened:
        # A writable root needs no other place.
        said.pop("tmpfs", None)
    pairs = [f"{key}: {_flow(value)}" for key, value in said.items()]
    if loosened:
        entries = (
            f'{key}: {{to: {_flow(value)}, because: "{", ".join(reasons)}"}}'
            for key, (value, reasons) in loosened.items()
        )
        pairs.append(f"loosen: {{{', '.join(entries)}}}")
    row = pairs[0] if len(pairs) == 1 else f"{{{', '.join(pairs)}}}"
    why = "; ".join(dict.fromkeys(finding.why for finding in findings))
    return f"{why}. In the inventory, under {TABLE}.{facts.service}: {row}"


def _joined(old: Value, new: Value) -> Value:
    """Two values of one key: lists are united, by path where they are mounts; else the first stays."""
    if not isinstance(old, list) or not isinstance(new, list):
        return new if old is None else old
    if not any(entry.startswith("/") for entry in [*old, *new]):
        return sorted({*old, *new})
    plain = [entry for entry in old if entry.split(":")[0] not in {other.split(":")[0] for other in new}]
    return [*plain, *new]


def _flow(value: Value) -> str:
    """A value as YAML in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    return str(value)


def _read(container: Document) -> _Facts:
    host: Document = container.get("HostConfig") or _HARDENED
    config, state = container.get("Config") or {}, container.get("State") or {}
    security = [str(option).replace("=", ":") for option in host.get("SecurityOpt") or []]
    health = (state.get("Health") or {}).get("Log") or []
    names = {str(entry).partition("=")[0] for entry in config.get("Env") or []}
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
        added=frozenset(re.sub(r"^CAP_", "", str(name).upper()) for name in host.get("CapAdd") or []),
        no_new_privileges=bool({"no-new-privileges", "no-new-privileges:true"}.intersection(security)),
        init=bool(host.get("Init")),
        user=_user(config.get("User")),
        tmpfs=tuple(f"{path}:{options}" if options else path for path, options in (host.get("Tmpfs") or {}).items()),
        mounts=tuple(str(mount.get("Destination")) for mount in container.get("Mounts") or []),
        base=next((image for name, image in _BASES.items() if name in names), ""),
        script="",
    )


def _user(user: object) -> str:
    """The user that the container runs as, without the group: "0" for root, else a number or a name."""
    name = str(user or "0").partition(":")[0]
    return "0" if name == "root" else name


def _base(facts: _Facts) -> known_images.Known:
    """What the image needs that this one is built from; nothing where that is unknown."""
    return known_images.known(facts.base) or known_images.Known("")


# --- rules: each yields what it recognises ----------------------------------------------------------------------------


def _memory(text: str, facts: _Facts) -> Iterator[_Finding]:
    limit = facts.memory or _DEFAULT_MEMORY
    wanted = f"{2 * limit // _MIB}M"
    if facts.oom_killed:
        yield _Finding(f"{facts.service} was killed at its memory limit of {limit // _MIB}M", "memory", wanted)
    elif _HEAP.search(text):
        yield _Finding(f"{facts.service} ran out of memory within its limit of {limit // _MIB}M", "memory", wanted)
    elif facts.exit_code == _KILLED:
        # Some kernels and engines do not say that it was the memory (cgroup v1, or a child of the first process).
        why = (
            f"{facts.service} was killed (exit code 137), as it is when it passes its memory limit of {limit // _MIB}M"
        )
        yield _Finding(why, "memory", wanted)


def _read_only(text: str, facts: _Facts) -> Iterator[_Finding]:
    """Directories of the app's own become tmpfs; over the image's a tmpfs would hide files, so there the root opens."""
    if not facts.read_only or not _READ_ONLY.search(text):
        return
    own, system, unnamed = _refused_places(text, facts)
    known = [place for place in _base(facts).tmpfs if not any(_within(place, mount) for mount in facts.mounts)]
    if own or known:
        wanted = _outermost([*own, *known])
        places = [place + _owner(facts.user) for place in wanted]
        # What is in force stays as it is, with its options.
        kept = [entry for entry in facts.tmpfs if not any(_within(_path(entry), place) for place in wanted)]
        why = (
            f"{facts.service} writes to {', '.join(wanted)}, and its root file system is read-only "
            "(what is to outlive the container needs a volume in compose.yaml)"
        )
        yield _Finding(why, "tmpfs", [*kept, *places])
    if system or (unnamed and not own and not known):
        where = f"writes to {', '.join(_outermost(system))}" if system else "writes to its root file system"
        yield _Finding(f"{facts.service} {where}, which is read-only", "read_only", "false", where)


def _owner(user: str) -> str:
    """The option that lets a user write to a tmpfs, which has the owner and the mode of the image's folder."""
    if user == "0":
        return ""
    return f":uid={user}" if user.isdigit() else ":mode=1777"


def _path(entry: str) -> str:
    """The path of a mount, without its options."""
    return entry.split(":")[0].rstrip("/")


def _refused_places(text: str, facts: _Facts) -> tuple[list[str], list[str], bool]:
    """The folders of the app's own, and of the image's, that could not be written to; whether one has no name."""
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
        if any(_within(path, place) for place in _base(facts).tmpfs):
            continue  # proposed as a whole
        creates = any(_CREATES_DIRECTORY.search(near) for near in _context(lines, number))
        changes = _CHANGES_DIRECTORY.search(line) and "." not in posixpath.basename(path)
        place = path if creates or changes else posixpath.dirname(path)
        # nginx makes the folders of its buffers one after the other.
        place = posixpath.dirname(place) if facts.base == "nginx" and creates else place
        (system if place in _SHARED or any(_within(place, root) for root in _SYSTEM) else own).append(place)
    return own, system, unnamed


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
    """A tmpfs entry as YAML has it."""
    return f'"{entry}"' if ":" in entry else entry


def _capability(text: str, facts: _Facts) -> Iterator[_Finding]:
    if not facts.dropped:
        return
    lines = text.splitlines()
    names: dict[str, str] = {}
    said = ""
    for number, line in enumerate(lines):
        if _MAPPED.search(line) or _NO_NEW_PRIVILEGES.search(line):
            continue
        wanted, because = _wanted(lines, number, facts)
        # What is in force already cannot be what is missing.
        if facts.added.issuperset(wanted):
            continue
        said = said or _short(line)
        names.update(dict.fromkeys(wanted, because))
    next_asked = {*_base_capabilities(facts), *_script_capabilities(facts)}
    if names:
        reasons = ", ".join(dict.fromkeys(names.values()))
        why = f'{facts.service} is missing a capability ("{said}")'
        yield _Finding(why, "cap_add", sorted({*names, *facts.added, *next_asked}), reasons)
    elif facts.read_only and _READ_ONLY.search(text) and not facts.added.issuperset(next_asked):
        # The entrypoint did not come that far.
        why = f"the entrypoint of {facts.service} goes on as root"
        yield _Finding(why, "cap_add", sorted({*facts.added, *next_asked}), _STEPS_DOWN_BECAUSE)


def _script_capabilities(facts: _Facts) -> tuple[str, ...]:
    """What an entrypoint script asks for as root, on this start and, of what it has given away, on the next."""
    if facts.user != "0":
        return ()
    modes = ("FOWNER",) if _SCRIPT_MODES.search(facts.script) else ()
    signals = known_images.SIGNALS if facts.init else ()
    if _SCRIPT_BECOMES.search(facts.script):
        return (*known_images.BECOMES_USER, *modes, *signals)
    return ("CHOWN", "DAC_OVERRIDE", *modes) if _SCRIPT_GIVES.search(facts.script) else ()


def _base_capabilities(facts: _Facts) -> tuple[str, ...]:
    """What the entrypoint of the image needs that this one is built from."""
    base = _base(facts)
    return (*base.capabilities, *base.always) if facts.user == "0" else base.always


def _wanted(lines: list[str], number: int, facts: _Facts) -> tuple[tuple[str, ...], str]:
    """The capabilities that would let what line ``number`` complains of succeed, and what for."""
    line = lines[number]
    not_permitted = _NOT_PERMITTED.search(line)
    if not not_permitted and not _NOT_ALLOWED.search(line):
        return (), ""
    for near in _context(lines, number):
        names, because = _of_call(near)
        if names and (not_permitted or _DENIED_FOR.issuperset(names)):
            return _whole_pattern(line, names, because, facts)
        if names:
            break
    program = _FILE_CAPABILITY.search(line)
    if program and not _PYTHON_ERROR.search(line):
        # The program's file carries capabilities of its own; nearly always the one to listen below port 1024.
        return ("NET_BIND_SERVICE",), "its program is marked to listen below port 1024"
    return _of_file(line, facts)


def _of_call(line: str) -> tuple[tuple[str, ...], str]:
    """The capabilities for the call that a line names, and what for."""
    for pattern, names, because in _CAPABILITIES:
        if pattern.search(line):
            ports = [int(left or right) for left, right in _PORT.findall(line)]
            high = names == ("NET_BIND_SERVICE",) and ports and min(ports) >= 1024
            return ((), "") if high else (names, because)
    return (), ""


def _whole_pattern(line: str, names: tuple[str, ...], because: str, facts: _Facts) -> tuple[tuple[str, ...], str]:
    """All that an entrypoint will ask for, when the call is one step of a known pattern; else what the call needs."""
    steps = {"CHOWN", "FOWNER", "SETGID", "SETUID"}
    if facts.user != "0" or not steps.intersection(names):
        return names, because
    if _NGINX.search(line):
        return ("CHOWN", "SETGID", "SETUID"), _STEPS_DOWN_BECAUSE
    if not _STEPS_DOWN.search(line):
        return names, because
    signals = known_images.SIGNALS if facts.init else ()
    return (*known_images.BECOMES_USER, "FOWNER", *signals), _STEPS_DOWN_BECAUSE


def _of_file(line: str, facts: _Facts) -> tuple[tuple[str, ...], str]:
    """What lets root work on a file whose mode is for another user."""
    denied = _FILE_DENIED.search(line)
    if facts.user != "0" or (denied and _in_tmpfs(denied, facts)):
        return (), ""
    if _STEPS_DOWN.search(line):
        return _whole_pattern(line, ("CHOWN",), "", facts)
    return (("DAC_OVERRIDE",), "root works on files of other users") if denied else ((), "")


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
    """A log line, fit for a place between double quotes."""
    text = "".join(letter if letter.isprintable() else " " for letter in line.strip()).replace('"', "'")
    return text if len(text) <= 120 else "…" + text[-119:]


def _privileges(text: str, facts: _Facts) -> Iterator[_Finding]:
    if facts.no_new_privileges and _NO_NEW_PRIVILEGES.search(text):
        why = f"{facts.service} runs a program that gains privileges, such as sudo"
        yield _Finding(why, "no_new_privileges", "false", "runs sudo")


def _first_process(text: str, facts: _Facts) -> Iterator[_Finding]:
    if facts.init and _PROCESS_1.search(text):
        why = f"{facts.service} brings an init of its own, which must be process 1"
        yield _Finding(why, "init", "false", "brings its own init")


def _processes(text: str, facts: _Facts) -> Iterator[_Finding]:
    if _FORK.search(text):
        limit = facts.pids if facts.pids > 0 else _DEFAULT_PIDS
        why = f"{facts.service} wants more than its limit of {limit} processes and threads"
        yield _Finding(why, "pids", str(2 * limit))


def _noexec(text: str, facts: _Facts) -> Iterator[_Finding]:
    """Programs and libraries that are unpacked into a tmpfs, which the engine mounts noexec."""
    for line in text.splitlines():
        found = _MAPPED.search(line) or (_FILE_DENIED.search(line) if facts.user == "0" else None)
        place = _in_tmpfs(found, facts) if found else ""
        if place:
            mounts = {entry.partition(":")[0]: entry for entry in facts.tmpfs}
            there = mounts.pop(place)
            why = f"{facts.service} runs program code from {place}, which is mounted noexec"
            yield _Finding(why, "tmpfs", [*mounts.values(), f"{there}{',' if ':' in there else ':'}exec"])


def _format(text: str, facts: _Facts) -> Iterator[_Finding]:
    if _FORMAT.search(text):
        yield _Finding(
            f"{facts.service} cannot be executed: its image is for another processor, or its script has no #! line. No "
            "default is to blame: build the image on this host, or for its platform"
        )


def _health_client(_text: str, facts: _Facts) -> Iterator[_Finding]:
    if _NO_CLIENT.search(facts.health_log):
        why = f"the healthcheck of {facts.service} uses a program that is missing in its image"
        yield _Finding(why, "healthcheck", '{test: ["CMD", "a program of the image", "its argument"]}')


_RULES = (
    *(_memory, _read_only, _capability, _privileges, _first_process, _processes, _noexec, _format, _health_client),
)
