# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults: what a fault file may contain, the faults of an app's services, and which are chosen."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

EXPECTATIONS = {
    "recovered": "the host recovers the app by itself",
    "held": "the host leaves the app alone, since no restart could help, and reports why",
    "escalated": "the host leaves the app alone and notifies a person",
    "given_up": "the host tries as often as the breaker allows, and notifies a person once",
}
NEEDS = {
    "lab": "a lab host, a container on this machine",
    "fault_file": "an app that reads its faults from /tmp/fault, as the lab's does (drill_fault_file)",
    "standin": "the lab's stand-in for the app's dependencies (drill_standin)",
    "alertmanager": "an Alertmanager on the host",
    "env": "an app with variables (app_env_variables)",
    "secret": "an app with a secret among its variables (app_env_variables)",
    "instances": "two instances behind the load balancer (compose_app_instances)",
}
PLACEHOLDERS = (
    *("app", "host", "address", "directory", "keep", "compose", "container", "port", "image", "image_id", "pid"),
    *("standin", "fault_file", "service", "secret"),
)
"""The `{...}` of a command. `{compose}`, alone as an element, becomes docker compose with the app's files."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Values(TypedDict, total=False):
    """The values of PLACEHOLDERS; those of a container are missing until it is inspected."""

    app: str
    host: str
    address: str
    directory: str
    keep: str
    compose: list[str]
    container: str
    port: str
    image: str
    image_id: str
    pid: int
    standin: str
    fault_file: str
    service: str
    secret: str


class DrillError(ValueError):
    """A fault file is invalid, or a drill cannot be run here; the message names the file or fault, and the fix."""


@dataclass(frozen=True)
class Fault:
    """One file of the catalogue. Times are seconds; commands are lists of arguments with PLACEHOLDERS in them.

    `inject`: the last command is the fault, those before it prepare it. `undo`: ends the fault when the host has not.
    `cleanup`: always run. `until`: must succeed, besides the app's answers, before the fault counts as recovered.
    `since`: prints the epoch second on the host from which the time counts. `afterwards`: must succeed in the end.
    `hold`: how long a fault without a recovery lasts. `incident`: whether there must be one. `names`: a regular
    expression that the incident's evidence must match; it may contain `{secret}`. `instance`: it hits one instance, so
    behind the load balancer no request may fail once that is ejected. `served`: no request may fail at all.
    `service`: the incident must name it, when it names any. `warm`: the app has run for a while before.
    """

    name: str
    title: Mapping[str, str]
    why: str
    inject: Sequence[Sequence[str]]
    expect: str
    causes: Sequence[str]
    goal: Mapping[str, float] = field(default_factory=dict)
    needs: Sequence[str] = ()
    where: str = "host"
    undo: Sequence[Sequence[str]] = ()
    cleanup: Sequence[Sequence[str]] = ()
    until: Sequence[str] = ()
    since: Sequence[str] = ()
    afterwards: Sequence[str] = ()
    hold: float = 20.0
    timeout: float = 60.0
    incident: bool = True
    names: str = ""
    fast: bool = False
    instance: bool = False
    served: bool = False
    service: str = ""
    warm: bool = False

    def commands(self) -> Iterable[Sequence[str]]:
        """Every command of the fault."""
        yield from (*self.inject, *self.undo, *self.cleanup)
        yield from (command for command in (self.until, self.since, self.afterwards) if command)


def read_fault(name: str, described: Any) -> Fault:
    """Read one file of the catalogue.

    :arg name: the file's name without `.yml`.
    :arg described: its content.
    :raises DrillError: for the first error.
    """
    _check_keys(name, described)
    _check_choices(name, described)
    _check_times(name, described)
    fault = Fault(name=name, **described)
    for command in fault.commands():
        _check_command(name, command)
    return fault


def _wrong(name: str, key: str, reason: str, fix: str) -> DrillError:
    return DrillError(f"faults/{name}.yml: {key} {reason}: {fix}")


def _check_keys(name: str, described: Any) -> None:
    """Refuse a file with an invalid name, an unknown key or a missing one."""
    if not _NAME.fullmatch(name):
        raise _wrong(name, "the name", "is not a-z, 0-9 and _ only", "name the file after the fault, e.g. hang.yml")
    if not isinstance(described, Mapping):
        raise _wrong(name, "the file", "is not a mapping", "write title, why, inject, expect, causes")
    known = [key for key in Fault.__annotations__ if key != "name"]
    for key in described:
        if key not in known:
            raise _wrong(name, str(key), "is an unknown key", f"use one of {', '.join(known)}")
    for key in ("title", "why", "inject", "expect", "causes"):
        if not described.get(key):
            raise _wrong(name, key, "is missing", "give it a value")


def _check_choices(name: str, described: Mapping[str, Any]) -> None:
    """Refuse a title without English, and a value that is not one of its choices."""
    title = described["title"]
    if not isinstance(title, Mapping) or "en" not in title:
        raise _wrong(name, "title", "has no English text", "write title: {en: …}")
    if described["expect"] not in EXPECTATIONS:
        raise _wrong(name, "expect", f"is {described['expect']!r}", f"use one of {', '.join(EXPECTATIONS)}")
    if described.get("where", "host") not in ("host", "controller"):
        raise _wrong(name, "where", f"is {described['where']!r}", "use host or controller")
    for need in described.get("needs") or ():
        if need not in NEEDS:
            raise _wrong(name, "needs", f"has {need!r}", f"use one of {', '.join(NEEDS)}")


def _check_times(name: str, described: Mapping[str, Any]) -> None:
    """Refuse seconds that are not a number, and a recovery without a goal."""
    goal = described.get("goal") or {}
    if described["expect"] == "recovered" and not all(_is_number(goal.get(key)) for key in ("median", "p95")):
        raise _wrong(name, "goal", "misses a number", "write goal: {median: SECONDS, p95: SECONDS}")
    for key in ("hold", "timeout"):
        if not _is_number(described.get(key, 1.0)):
            raise _wrong(name, key, "is not a number of seconds", "write e.g. 30")


def _check_command(name: str, command: Sequence[str]) -> None:
    if isinstance(command, str) or not all(isinstance(part, str) for part in command):
        fix = "write [program, argument, …], numbers quoted"
        raise _wrong(name, f"the command {command!r}", "is not a list of strings", fix)
    for found in _PLACEHOLDER.findall(" ".join(command)):
        if found not in PLACEHOLDERS:
            raise _wrong(name, f"{{{found}}}", "is an unknown placeholder", f"use one of {', '.join(PLACEHOLDERS)}")


# The faults of any service: (part of the name, title by language, the command, the one that ends it, causes). `{one}`
# is one of its containers, `{those}` the filters with which `docker ps` lists all of them.
_HAPPENS: tuple[tuple[str, Mapping[str, str], str, str, tuple[str, ...]], ...] = (
    (
        "killed",
        {"en": "{0} is killed", "ko": "{0} 강제 종료"},
        "kill -9 $(docker inspect --format '{{.State.Pid}}' {one})",
        "docker ps --all --quiet {those} | xargs --no-run-if-empty docker start",
        ("crashed", "crash_loop", "not_listening", "erroring", "unhealthy"),
    ),
    (
        "stopped",
        {"en": "{0} is stopped", "ko": "{0} 중지"},
        "docker stop --time=1 {one}",
        "docker ps --all --quiet {those} | xargs --no-run-if-empty docker start",
        ("crashed",),
    ),
    (
        "removed",
        {"en": "{0} is removed", "ko": "{0} 컨테이너 삭제"},
        "docker rm --force {one}",
        "",
        ("container_missing",),
    ),
    (
        "hung",
        {"en": "{0} hangs", "ko": "{0} 멈춤"},
        "docker top {one} -eo pid | tail -n +2 | xargs kill -STOP",
        "for one in $(docker ps --quiet {those}); do docker top $one -eo pid | tail -n +2 | xargs kill -CONT; done",
        ("hung",),
    ),
    (
        "paused",
        {"en": "{0} is paused", "ko": "{0} 일시 정지"},
        "docker pause {one}",
        "docker ps --quiet {those} --filter status=paused | xargs --no-run-if-empty docker unpause",
        ("crashed",),
    ),
)
_WELL = "'{{.State.Status}}{{if .State.Health}} {{.State.Health.Status}}{{end}}'"
SERVICES = "services"
"""Instead of a fault's name: every fault of every service of the app."""


def service_faults(app: str, containers: Mapping[str, int], healthy: Mapping[str, float]) -> dict[str, Fault]:
    """Return the faults of an app's services by name, such as `db.stopped`; each hits one container.

    Each command looks its container up: a remedy may have created another one, with another name.

    :arg containers: {service: how many containers it has}, without jobs.
    :arg healthy: {service: seconds that its start may take}, for its goal.
    """
    found = {}
    for service, count in containers.items():
        takes = 6.0 + healthy.get(service, 0.0)
        labels = [f"label=com.docker.compose.project={app}", f"label=com.docker.compose.service={service}"]
        those = " ".join(f"--filter {shlex.quote(label)}" for label in labels)
        running = f"$(docker ps --quiet {those})"
        works = (
            f"[ $(docker ps --quiet {those} | wc --lines) -ge {count} ]"
            f" && ! docker inspect --format {_WELL} {running} | grep -qvxE 'running( healthy)?'"
            f" && ! for one in {running}; do docker top $one -eo stat; done | grep -q '^T'"
        )
        for what, words, inject, undo, causes in _HAPPENS:
            one = f"$(docker ps --quiet {those} | tail --lines=1)"
            undone = [["sh", "-c", undo.replace("{those}", those)]] if undo else []
            found[f"{service}.{what}"] = Fault(
                name=f"{service}.{what}",
                title={language: text.format(service) for language, text in words.items()},
                why="",
                inject=[["sh", "-c", inject.replace("{one}", one)]],
                undo=[*undone, ["{compose}", "up", "--detach"]],
                until=["sh", "-c", works],
                expect="recovered",
                causes=causes,
                goal={"median": takes, "p95": takes + 4.0},
                # The restart policy may be faster than the watcher.
                incident=what != "killed",
                timeout=60.0 + takes,
                service=service,
            )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def fill(command: Sequence[str], values: Values) -> list[str]:
    """Put the values in place of the placeholders; `{compose}` alone becomes several arguments."""
    filled: list[str] = []
    for part in command:
        if part == "{compose}":
            filled += values["compose"]
        else:
            filled.append(_PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), part))
    return filled


def check_names(catalogue: Mapping[str, Fault], wanted: Sequence[str]) -> None:
    """Refuse a name that is not a fault of any host. Only the host knows the services of names like SERVICE.stopped.

    :raises DrillError: with the names that exist.
    """
    kinds = [kind for kind, *_unused in _HAPPENS]
    for name in wanted:
        service, _unused, kind = name.rpartition(".")
        if name not in (*catalogue, "all", "fast", SERVICES) and not (service and kind in kinds):
            own = ", ".join(f"SERVICE.{one}" for one in kinds)
            raise DrillError(
                f"drill_faults: there is no fault {name!r}; there are {', '.join(catalogue)}, all, fast, {SERVICES}, "
                f"and of a service of the app {own}"
            )


def choose(
    catalogue: Mapping[str, Fault], wanted: Sequence[str], able: Collection[str]
) -> tuple[list[Fault], list[str]]:
    """Choose the faults to inject: (faults, sentences about those that were left out).

    :arg wanted: names; `all` is everything that can be injected on this host, `fast` the quick ones of it.
    :arg able: the needs that are met here.
    :raises DrillError: for an unknown name, or a named fault that cannot be injected here.
    """
    chosen: dict[str, Fault] = {}
    left_out: dict[str, str] = {}
    for name in wanted:
        if name in ("all", "fast"):
            able_here, unable = _of_host(catalogue, able)
            chosen.update({fault.name: fault for fault in able_here if name == "all" or fault.fast})
            left_out.update(unable)
        elif name == SERVICES:
            chosen.update({fault.name: fault for fault in catalogue.values() if fault.service})
        else:
            chosen[name] = _by_name(catalogue, name, able)
    return list(chosen.values()), list(left_out.values())


def _of_host(catalogue: Mapping[str, Fault], able: Collection[str]) -> tuple[list[Fault], dict[str, str]]:
    """The faults of the host: (those that can be injected here, a sentence about each other one)."""
    can: list[Fault] = []
    cannot: dict[str, str] = {}
    for fault in catalogue.values():
        if fault.service:
            continue
        need = _unmet(fault, able)
        if need:
            cannot[fault.name] = f"{fault.name} is left out: it needs {NEEDS[need]}"
        else:
            can.append(fault)
    return can, cannot


def _by_name(catalogue: Mapping[str, Fault], name: str, able: Collection[str]) -> Fault:
    """The fault of that name. Raises DrillError when it does not exist, or cannot be injected here."""
    if name not in catalogue:
        raise DrillError(
            f"drill_faults: there is no fault {name!r}; there are {', '.join(catalogue)}, all, fast and {SERVICES}"
        )
    need = _unmet(catalogue[name], able)
    if need:
        raise DrillError(f"drill_faults: {name} cannot be injected here: it needs {NEEDS[need]}")
    return catalogue[name]


def _unmet(fault: Fault, able: Collection[str]) -> str:
    """The first need of a fault that is not met here; "" when all are."""
    return next((need for need in fault.needs if need not in able), "")


def title(fault: Fault, language: str) -> str:
    """The fault's name for a reader."""
    return fault.title.get(language) or fault.title["en"]


def listing(catalogue: Mapping[str, Fault], language: str) -> str:
    """The catalogue, a line for each fault."""
    width = max(map(len, catalogue), default=0)
    return "\n".join(f"{name:{width}}  {title(fault, language)}" for name, fault in catalogue.items())


def plan(faults: Sequence[Fault], values: Values, language: str) -> str:
    """The plan of a dry run: each fault with its commands. Placeholders that need a container stay."""
    lines: list[str] = []
    for fault in faults:
        lines.append(f"{fault.name}: {title(fault, language)} ({EXPECTATIONS[fault.expect]})")
        lines += [f"  {' '.join(_shown(part) for part in fill(command, values))}" for command in fault.inject]
    return "\n".join(lines)


def _shown(part: str) -> str:
    text = " ".join(part.split())
    return text if len(text) <= 60 else f"{text[:59]}…"
