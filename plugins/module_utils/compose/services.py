# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read `compose_app_services`: what the inventory says about each service → the same, checked.

The keys are described in the documentation of the module `compose_files`. What is not said stays out: defaults are put
in by `overlay.py`, which also knows what the user's compose file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict, cast

TABLE = "compose_app_services"

# Docker refuses less (daemon: "Minimum memory limit allowed is 6MB").
SMALLEST_MEMORY = 6 << 20
NONE = "none"

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h))+")
_LOG_SIZE = re.compile(r"[1-9]\d*[kmg]", re.IGNORECASE)
_TMPFS = re.compile(r"(/[^\s:,$'\"\\]*)(?::[A-Za-z0-9_=,.%-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_HEALTH_PATH = re.compile(r"/[^\s'\"$\\`\x00-\x1f\x7f]*")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::\d+)?")
_SCALE = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_LONGEST_REASON = 300

# capabilities(7); the kernel's names without CAP_.
_CAPABILITIES = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
    FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
    NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = frozenset((*_CAPABILITIES.split(), "ALL"))


class OverlayError(ValueError):
    """The table, the user's compose file and the host do not fit together: where, why, and what to write."""

    def __init__(self, where: str, reason: str, fix: str) -> None:
        super().__init__(f"{where}: {reason}. Fix: {fix}")
        self.where, self.reason, self.fix = where, reason, fix


class Healthcheck(TypedDict, total=False):
    """A healthcheck as it goes into YAML; `test` is a command line or a list, as compose files have it."""

    test: str | list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str
    start_interval: str


class Settings(TypedDict, total=False):
    """What the table says about one service: only keys that it says. Values are as they go into YAML."""

    port: int
    health_path: str
    healthcheck: Healthcheck
    cpus: str
    memory: str
    cpus_reservation: str
    memory_reservation: str
    pids: int
    tmpfs: list[str]
    user: str
    job: bool
    stop_grace_period: str
    log_max_size: str
    log_max_file: int


class Loosened(NamedTuple):
    """A default that a service cannot live with: what it is instead, as it goes into YAML, and why (one line)."""

    to: object
    because: str


class Service(NamedTuple):
    """One row of the table, checked."""

    said: Settings
    loosened: dict[str, Loosened]


def size(value: object) -> int | None:
    """A size as Compose writes it ("512M", "1.5gb", 1048576) in bytes, None when it is not a size."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    found = _SIZE.fullmatch(str(value).strip())
    return int(float(found.group(1)) * (1 << _SCALE[found.group(2).lower()])) if found else None


def read_table(table: object) -> dict[str, Service]:
    """Check the table, and return it by service.

    :raises OverlayError: for the first thing that is wrong, naming the service, its key and the fix.
    """
    if table is None:
        return {}
    if not isinstance(table, Mapping):
        raise OverlayError(TABLE, "is not a mapping of services", "write {backend: {port: 8000, health_path: /health}}")
    found = {}
    for name, row in table.items():
        where = f"{TABLE}.{name}"
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise OverlayError(where, "is not the name of a service", "use the name that compose.yaml has")
        if row is not None and not isinstance(row, Mapping):
            raise OverlayError(
                where, "is not a mapping", "write {port: 8000, health_path: /health}, or {} for defaults"
            )
        found[name] = _read_service(where, dict(row or {}))
    return found


def _read_service(where: str, row: dict[str, object]) -> Service:
    loosen = row.pop("loosen", None) or {}
    found: dict[str, object] = {}
    for key, value in row.items():
        if key in LOOSENED and key not in SAID:
            fix = f'write it as loosen: {{{key}: {{to: …, because: "the reason"}}}}'
            raise OverlayError(f"{where}.{key}", "loosens a default, which needs a reason", fix)
        if key not in SAID:
            keys = ", ".join([*SAID, "loosen"])
            raise OverlayError(f"{where}.{key}", "is not a key of a service", f"use one of {keys}")
        if value is not None:
            found[key] = _checked(f"{where}.{key}", SAID[key], value)
    said = cast(Settings, found)
    _cross_check(where, said)
    if not isinstance(loosen, Mapping):
        raise OverlayError(f"{where}.loosen", "is not a mapping", 'write {read_only: {to: false, because: "why"}}')
    loosened = {key: _read_loosened(f"{where}.loosen.{key}", key, entry) for key, entry in loosen.items()}
    for key in said:
        if key in loosened:
            raise OverlayError(f"{where}.{key}", "is given twice, here and under loosen", "keep one of the two")
    return Service(said, loosened)


def _cross_check(where: str, said: Settings) -> None:
    """What spans several keys of one service."""
    if "health_path" in said:
        if "test" in said.get("healthcheck", {}):
            raise OverlayError(
                f"{where}.health_path", "is given in addition to healthcheck.test", "keep one of the two"
            )
        if "port" not in said:
            raise OverlayError(f"{where}.health_path", "needs the port", "add port, the one inside the container")
    limit, reserved = size(said.get("memory")), size(said.get("memory_reservation"))
    if limit and reserved and reserved > limit:
        fix = f"write at most {said['memory']}"
        raise OverlayError(f"{where}.memory_reservation", f"is more than the limit {said['memory']}", fix)
    if "cpus" in said and float(said.get("cpus_reservation", 0)) > float(said["cpus"]):
        fix = f"write at most {said['cpus']}"
        raise OverlayError(f"{where}.cpus_reservation", f"is more than the limit {said['cpus']}", fix)


def _read_loosened(where: str, key: str, entry: object) -> Loosened:
    if key not in LOOSENED:
        raise OverlayError(where, "is not a default that can be loosened", f"use one of {', '.join(LOOSENED)}")
    example = f'write {{to: {LOOSENED[key][1]}, because: "the reason"}}'
    if not isinstance(entry, Mapping) or not set(entry) <= {"to", "because"} or "to" not in entry:
        raise OverlayError(where, "does not say to what, and because of what", example)
    reason = one_line(entry.get("because"))
    if not reason:
        raise OverlayError(where, "has no reason", example)
    if len(reason) > _LONGEST_REASON:
        raise OverlayError(f"{where}.because", f"is longer than {_LONGEST_REASON} characters", "say it in one line")
    return Loosened(_checked(f"{where}.to", LOOSENED[key], entry["to"]), reason)


def one_line(text: object) -> str:
    """A text in one line without control characters, so that it cannot end a YAML comment; "" when it is not a text."""
    if not isinstance(text, str):
        return ""
    # str.isprintable() is false for every line end that YAML 1.1 or 1.2 knows, U+0085, U+2028 and U+2029 among them.
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


# --- values -----------------------------------------------------------------------------------------------------------

# Each reader returns the value as it goes into YAML, or None when it is not what it should be.
Reader = Callable[[Any], object]


def _checked(where: str, rule: tuple[Reader, str], value: object) -> object:
    read, example = rule
    found = read(value)
    if found is None:
        booleans = " (YAML reads yes, no, on and off as booleans)" if isinstance(value, bool) else ""
        raise OverlayError(where, f"is not what it should be{booleans}", f"write e.g. {example}")
    return found


def _matching(pattern: re.Pattern[str]) -> Reader:
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


def _number(value: object) -> str | None:
    """CPU cores: a number above 0, as a text, because YAML's 1.10 would lose its 0."""
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?", str(value)):
        return None
    return str(value) if float(str(value)) >= 0.01 else None


def _memory(value: object) -> str | None:
    found = size(value)
    return str(value).replace(" ", "") if found is not None and found >= SMALLEST_MEMORY else None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,6}", str(value)):
        return None
    return int(value)


def _port(value: object) -> int | None:
    found = _count(value)
    return found if found is not None and found <= 65535 else None


def _user(value: object) -> str | None:
    text = str(value)
    return text if isinstance(value, (str, int)) and not isinstance(value, bool) and _USER.fullmatch(text) else None


def _tmpfs(value: object) -> list[str] | None:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
        return None
    paths = [entry.split(":")[0] for entry in entries]
    if any(not _TMPFS.fullmatch(entry) or entry.split(":")[0] == "/" for entry in entries):
        return None
    return list(entries) if len(set(paths)) == len(paths) else None


def _test(value: object) -> str | list[str] | None:
    """A healthcheck's test, as compose files have it."""
    if isinstance(value, str):
        return value if value.strip() and value.isprintable() else None
    if not isinstance(value, (list, tuple)) or len(value) < 2 or value[0] not in ("CMD", "CMD-SHELL"):
        return None
    good = all(isinstance(word, str) and "\0" not in word for word in value)
    return list(value) if good and (value[0] == "CMD" or len(value) == 2) else None


_HEALTHCHECK: dict[str, tuple[Reader, str]] = {
    "test": (_test, '["CMD", "python3", "/app/health.py"]'),
    "interval": (_matching(_DURATION), "30s"),
    "timeout": (_matching(_DURATION), "10s"),
    "retries": (_count, "3"),
    "start_period": (_matching(_DURATION), "40s"),
    "start_interval": (_matching(_DURATION), "1s"),
}


def _healthcheck(value: object) -> dict[str, object] | None:
    if not isinstance(value, Mapping) or not value or not set(value) <= set(_HEALTHCHECK):
        return None
    found = {key: _HEALTHCHECK[key][0](item) for key, item in value.items() if item is not None}
    return None if None in found.values() else found


def _capabilities(value: object) -> list[str] | None:
    if not isinstance(value, (list, tuple)):
        return None
    names = [re.sub(r"^CAP_", "", str(name).upper()) for name in value]
    return sorted(set(names)) if CAPABILITIES.issuperset(names) else None


def _nothing_or(read: Reader) -> Reader:
    """A value, or "none"; YAML reads `no` as false."""
    return lambda value: NONE if value is None or value is False or value == NONE else read(value)


def _true(value: object) -> bool | None:
    return True if value is True else None


def _false(value: object) -> str | None:
    return "false" if value is False else None


def _logging(value: object) -> dict[str, object] | None:
    if not isinstance(value, Mapping) or not set(value) <= {"driver", "options"}:
        return None
    driver, options = value.get("driver"), value.get("options") or {}
    if not isinstance(driver, str) or not re.fullmatch(r"[a-z0-9][a-z0-9./_-]*", driver):
        return None
    if not isinstance(options, Mapping):
        return None
    return {"driver": driver, "options": {str(name): str(item) for name, item in options.items()}}


SAID: dict[str, tuple[Reader, str]] = {
    "port": (_port, "8000, the port inside the container"),
    "health_path": (_matching(_HEALTH_PATH), "/health"),
    "healthcheck": (_healthcheck, "{test: [CMD, python3, /app/health.py], interval: 30s, timeout: 10s, retries: 3}"),
    "cpus": (_number, '"1.0"'),
    "memory": (_memory, "512M (at least 6M)"),
    "cpus_reservation": (_number, '"0.5"'),
    "memory_reservation": (_memory, "256M (at least 6M)"),
    "pids": (_count, "256"),
    "tmpfs": (_tmpfs, "[/tmp, '/run:size=16m'], each path once"),
    "user": (_user, '"1000:1000"'),
    "job": (_true, "true"),
    "stop_grace_period": (_matching(_DURATION), "10s"),
    "log_max_size": (_matching(_LOG_SIZE), "10m"),
    "log_max_file": (_count, "3"),
}

LOOSENED: dict[str, tuple[Reader, str]] = {
    "read_only": (_false, "false"),
    "cap_drop": (_capabilities, "[NET_RAW]"),
    "cap_add": (_capabilities, "[CHOWN, SETGID, SETUID]"),
    "no_new_privileges": (_false, "false"),
    "init": (_false, "false"),
    "restart": (lambda value: "no" if value is False else _matching(_RESTART)(value), "on-failure:3"),
    "cpus": (_nothing_or(_number), NONE),
    "memory": (_nothing_or(_memory), NONE),
    "memory_swap": (_nothing_or(_memory), "1G"),
    "pids": (_nothing_or(_count), NONE),
    "healthcheck": (_nothing_or(lambda _value: None), NONE),
    "logging": (_nothing_or(_logging), "{driver: journald}"),
}
