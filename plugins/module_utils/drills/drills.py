# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drills: what a fault of the catalogue is, whether its recovery was as it should be, and the report.

Pure: no clock, no I/O. Times are seconds since the epoch on the controller's clock, unless a key says otherwise.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

EXPECTATIONS = {
    "recovered": "the host recovers the app by itself",
    "held": "the host leaves the app alone, since no restart could help, and says why",
    "escalated": "the host leaves the app alone and calls a person",
    "given_up": "the host tries what it may, not more often than the breaker allows, and calls a person once",
}
NEEDS = {
    "lab": "a lab host, a container on this machine",
    "fault_file": "an app that does what its /tmp/fault says, as the lab's does (drill_fault_file)",
    "standin": "the lab's stand-in for what the app depends on (drill_standin)",
    "alertmanager": "an Alertmanager on the host",
    "env": "an app with variables (app_env_variables)",
    "secret": "an app with a secret among its variables (app_env_variables)",
    "instances": "two instances behind the load balancer (compose_app_instances)",
}
PLACEHOLDERS = (
    *("app", "host", "address", "directory", "keep", "compose", "container", "port", "image", "image_id", "pid"),
    *("standin", "fault_file", "service", "secret"),
)
"""What `{...}` may stand for in a command. `{compose}`, alone as an element, is docker compose with the app's files."""

BREAKER = 5
"""How many attempts the default policy allows in half an hour: longer than any drill lasts."""

# Seconds. Behind the load balancer, a request that is sent later than this after a fault of one instance must not fail.
EJECTED = 2.0
# Seconds. A request that was sent during an outage may be answered after it: no failure, but not well either.
LATE = 0.5

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_MARKS = {True: "yes", False: "no", None: "-"}


class DrillError(ValueError):
    """A fault is described wrongly, or cannot be injected here; names the file or the fault, the key, and the fix."""


@dataclass(frozen=True)
class Fault:
    """One file of the catalogue. Seconds throughout; commands are lists of arguments with PLACEHOLDERS in them.

    `inject`: the last command is the fault, those before it prepare it. `undo`: ends the fault when the host did not.
    `cleanup`: always run. `until`: must succeed, besides the app's answers, before the fault counts as recovered.
    `since`: prints the epoch second on the host from which the time counts. `afterwards`: must succeed after all that.
    `hold`: how long a fault that is to be held, or escalated, goes on. `incident`: whether there must be one.
    `names`: what the incident's evidence must name, a regular expression, in which `{secret}` may stand.
    `instance`: it hits one instance alone, so behind the load balancer users must not notice once that is ejected.
    `served`: no request may fail at any time. `service`: the incident has to name it, where it names any.
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

    def commands(self) -> Iterable[Sequence[str]]:
        """Every command of the fault."""
        yield from (*self.inject, *self.undo, *self.cleanup)
        yield from (command for command in (self.until, self.since, self.afterwards) if command)


def read_fault(name: str, described: Any) -> Fault:
    """Read one file of the catalogue.

    :arg name: the file's name without `.yml`.
    :arg described: what the file holds.
    :raises DrillError: for the first thing that is wrong.
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
    """Refuse a file that is named wrongly, has a key that is not known, or misses one."""
    if not _NAME.fullmatch(name):
        raise _wrong(name, "the name", "is not made of a-z, 0-9 and _", "name the file after the fault, e.g. hang.yml")
    if not isinstance(described, Mapping):
        raise _wrong(name, "the file", "holds no mapping", "write title, why, inject, expect, causes")
    known = [key for key in Fault.__annotations__ if key != "name"]
    for key in described:
        if key not in known:
            raise _wrong(name, str(key), "is not known", f"use one of {', '.join(known)}")
    for key in ("title", "why", "inject", "expect", "causes"):
        if not described.get(key):
            raise _wrong(name, key, "is missing", "give it a value")


def _check_choices(name: str, described: Mapping[str, Any]) -> None:
    """Refuse a title without English, and a word that is not of the list that it has to be of."""
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
    """Refuse seconds that are no number; what is to recover has a goal."""
    goal = described.get("goal") or {}
    if described["expect"] == "recovered" and not all(_is_number(goal.get(key)) for key in ("median", "p95")):
        raise _wrong(name, "goal", "lacks a number", "write goal: {median: SECONDS, p95: SECONDS}")
    for key in ("hold", "timeout"):
        if not _is_number(described.get(key, 1.0)):
            raise _wrong(name, key, "is no number of seconds", "write e.g. 30")


def _check_command(name: str, command: Sequence[str]) -> None:
    if isinstance(command, str) or not all(isinstance(part, str) for part in command):
        fix = "write [program, argument, …], numbers quoted"
        raise _wrong(name, f"the command {command!r}", "is no list of texts", fix)
    for found in _PLACEHOLDER.findall(" ".join(command)):
        if found not in PLACEHOLDERS:
            raise _wrong(name, f"{{{found}}}", "stands for nothing", f"use one of {', '.join(PLACEHOLDERS)}")


# What may happen to any service: (in a name, in a title by language, the command, one that ends it, causes). `{one}` is
# one of its containers, `{those}` what `docker ps` lists all of them with.
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
"""In place of a fault's name: every service of the app, in every way that a service breaks."""


def of_services(app: str, containers: Mapping[str, int], healthy: Mapping[str, float]) -> dict[str, Fault]:
    """Return the faults of an app's services by name, as `db.stopped`; of several containers of one, one is hit.

    Each command looks its container up: a remedy may have made another one, under another name.

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
                # The restart policy may be faster than the watcher looks.
                incident=what != "killed",
                timeout=60.0 + takes,
                service=service,
            )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def fill(command: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Put the values in place of the placeholders; `{compose}` alone becomes several arguments."""
    filled: list[str] = []
    for part in command:
        if part == "{compose}":
            filled += values["compose"]
        else:
            filled.append(_PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), part))
    return filled


def check_names(catalogue: Mapping[str, Fault], wanted: Sequence[str]) -> None:
    """Refuse a name that is no fault on any host. Which services there are, as in SERVICE.stopped, only the host knows.

    :raises DrillError: naming those that there are.
    """
    kinds = [kind for kind, *_ in _HAPPENS]
    for name in wanted:
        service, _, kind = name.rpartition(".")
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

    :arg wanted: names; `all` is everything this host can do, `fast` the quick ones of it.
    :arg able: the needs that are met here.
    :raises DrillError: an unknown name, or a fault asked for by name that cannot be injected here.
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
    """The faults that are of no service: (those that can be injected here, a sentence about each other one)."""
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
    """The fault of that name. Raises DrillError for one that is not there, or cannot be injected here."""
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
    """The catalogue, a line each: what to see before choosing."""
    width = max(map(len, catalogue), default=0)
    return "\n".join(f"{name:{width}}  {title(fault, language)}" for name, fault in catalogue.items())


def plan(faults: Sequence[Fault], values: Mapping[str, Any], language: str) -> str:
    """What would be done, for a dry run: each fault with its commands; what only the host knows stays as {…}."""
    lines: list[str] = []
    for fault in faults:
        lines.append(f"{fault.name}: {title(fault, language)} ({EXPECTATIONS[fault.expect]})")
        lines += [f"  {' '.join(_shown(part) for part in fill(command, values))}" for command in fault.inject]
    return "\n".join(lines)


def _shown(part: str) -> str:
    text = " ".join(part.split())
    return text if len(text) <= 60 else f"{text[:59]}…"


# --- one drill -------------------------------------------------------------------------------------------------------


def injected_at(begun: float, ended: float, samples: Sequence[tuple[float, float, bool, str]]) -> float:
    """When the fault took effect, at the earliest: when the last request that was answered before it was sent.

    :arg begun: when the command that is the fault was started; `ended`: when it had ended.
    """
    last_good = begun
    for sent, answered, ok, _reason in samples:
        if sent >= begun:
            if not ok or answered > ended:
                break
            last_good = sent
    return last_good


def segments(samples: Sequence[tuple[float, float, bool, str]], zero: float) -> list[tuple[float, float, str]]:
    """Merge requests into stretches of time: [(from, to, "good" | "late" | "failed")], in seconds after `zero`."""
    merged: list[tuple[float, float, str]] = []
    for sent, answered, ok, _reason in samples:
        at, state = round(sent - zero, 3), "failed" if not ok else "late" if answered - sent > LATE else "good"
        if merged:
            merged[-1] = (merged[-1][0], at, merged[-1][2])
        if not merged or merged[-1][2] != state:
            merged.append((at, at, state))
    return merged


def epoch(time: str) -> float | None:
    """ISO 8601 in UTC as in an incident's record → seconds since the epoch; None for no time."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def judge(fault: Fault, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Judge one drill.

    :arg seen: {round, injected, since: from when the recovery counts, recovered: time or None, well: whether the app
        answers at the end, ahead: seconds that the host's clock is ahead, samples, incidents: records of the host that
        began with this drill, newest first, held: the newest as it was while the fault lasted ({} without), files:
        names of the evidence kept, restarted: names of containers started meanwhile, afterwards: why what must be so
        afterwards is not, "" when it is, balanced: whether other instances serve, whole: when all served again}.
    :returns: {fault, round, injected, mttd, mttr, noticed, failed, requests, incident, cause, remedies, evidence,
        services, unasked, files, restarted, segments, problems}; `problems` are sentences, none when all was as it
        should be; `unasked`: all checks passed meanwhile. Seconds, None when there are none: `noticed` from the fault,
        `mttd` from the first failed request (without one: from the fault), `mttr` from `since`.
    """
    injected, samples = seen["injected"], seen["samples"]
    failed = [sample for sample in samples if sample[0] >= injected and not sample[2]]
    record = (seen["incidents"] or [{}])[0]
    held = seen["held"] or record
    noticed = epoch(record.get("confirmed") or "")
    if noticed is not None:
        noticed -= seen["ahead"]
    mttd = None if noticed is None else max(noticed - (failed[0][0] if failed else injected), 0.0)
    mttr = None if seen["recovered"] is None else max(seen["recovered"] - seen["since"], 0.0)
    run = {
        "fault": fault.name,
        "round": seen["round"],
        "injected": injected,
        "mttd": None if mttd is None else round(mttd, 2),
        "mttr": None if mttr is None else round(mttr, 2),
        "noticed": None if noticed is None else round(noticed - injected, 2),
        "failed": len(failed),
        "requests": len([sample for sample in samples if sample[0] >= injected]),
        "incident": record.get("id", ""),
        "cause": record.get("cause", ""),
        "remedies": [item["name"] for item in record.get("remedies", [])],
        "evidence": bool(seen["files"]) if record else None,
        "services": list(record.get("services", [])),
        "unasked": bool(record.get("unasked")),
        "files": list(seen["files"]),
        "restarted": list(seen["restarted"]),
        "segments": segments(samples, injected),
        "balanced": seen["balanced"],
        "whole": None if seen["whole"] is None else round(seen["whole"] - injected, 2),
    }
    return {**run, "problems": list(_problems(fault, seen, run, held))}


def _problems(fault: Fault, seen: Mapping[str, Any], run: Mapping[str, Any], held: Mapping[str, Any]) -> Iterable[str]:
    """What was not as it should be, a sentence each."""
    yield from _of_users(fault, seen, run)
    if run["incident"]:
        yield from _of_incident(fault, seen, run, held)
    elif fault.incident:
        yield "the host opened no incident"
    yield from _of_restraint(fault, seen, held)
    if seen["afterwards"]:
        yield f"afterwards: {seen['afterwards']}"


def _of_users(fault: Fault, seen: Mapping[str, Any], run: Mapping[str, Any]) -> Iterable[str]:
    """What users had to notice, and should not have had to."""
    one_of_several = fault.instance and seen["balanced"]
    if fault.expect == "recovered" and run["mttr"] is None:
        yield f"not recovered within {fault.timeout:g} s"
    if fault.served or one_of_several:
        since = seen["injected"] + (0.0 if fault.served else EJECTED)
        late = [sample for sample in seen["samples"] if sample[0] > since and not sample[2]]
        if late:
            yield f"{len(late)} requests failed, the last one {late[-1][0] - seen['injected']:.1f} s after the fault"
    if one_of_several and run["whole"] is None:
        yield "not all instances serve again"
    if not seen["well"]:
        yield "the app does not answer since"


def _of_incident(
    fault: Fault, seen: Mapping[str, Any], run: Mapping[str, Any], held: Mapping[str, Any]
) -> Iterable[str]:
    """What is wrong with the record of the incident."""
    if run["cause"] not in fault.causes:
        yield f"cause {run['cause']}, expected {' or '.join(fault.causes)}"
    if fault.service and run["services"] and fault.service not in run["services"]:
        yield f"the incident names {', '.join(run['services'])}"
    if not run["evidence"]:
        yield "no evidence was kept"
    if len(seen["incidents"]) > 1:
        yield f"{len(seen['incidents'])} incidents instead of one"
    if fault.names and not re.search(fault.names, " ".join(map(str, held.get("evidence", [])))):
        yield f"the evidence does not name {fault.names}"
    if not seen["incidents"][0].get("healthy"):
        yield "the incident was not closed"


def _of_restraint(fault: Fault, seen: Mapping[str, Any], held: Mapping[str, Any]) -> Iterable[str]:
    """What was done too often, or at all, and whether a person was called."""
    remedies = [item["name"] for item in held.get("remedies", [])]
    if fault.expect == "given_up" and len(remedies) > BREAKER:
        yield f"{len(remedies)} remedies, more than the breaker allows"
    if fault.expect in ("held", "escalated") and (remedies or seen["restarted"]):
        started = [f"{name} started" for name in seen["restarted"]]
        yield f"touched the app ({', '.join([*remedies, *started])})"
    if fault.expect in ("escalated", "given_up") and held and not held.get("escalated"):
        yield "no person was called"


# --- the report ------------------------------------------------------------------------------------------------------


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: a value that was really measured."""
    return sorted(seconds)[max(math.ceil(0.95 * len(seconds)) - 1, 0)]


def median(seconds: Sequence[float]) -> float:
    """The median; of an even number the mean of the middle two."""
    ordered, half = sorted(seconds), len(seconds) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def summarize(fault: Fault, runs: Sequence[Mapping[str, Any]], language: str) -> dict[str, Any]:
    """All rounds of one fault.

    {fault, title, expect, rounds, goal, median, p95, mttd, failed, causes, remedies, evidence, met, missed}; times are
    seconds. `missed` lists in a few words each why the goal was not met, and is empty when it was.
    """
    times = [run["mttr"] for run in runs if run["mttr"] is not None]
    seen = [run["mttd"] for run in runs if run["mttd"] is not None]
    evidence = [run["evidence"] for run in runs if run["evidence"] is not None]
    timed = fault.expect == "recovered" and bool(times)
    middle, high = (round(median(times), 2), round(p95(times), 2)) if timed else (None, None)
    missed = list(dict.fromkeys(problem for run in runs for problem in run["problems"]))
    if middle is not None and high is not None:
        if middle > fault.goal["median"]:
            missed.append(f"{middle:.1f} s, goal {fault.goal['median']:g} s")
        elif high > fault.goal["p95"]:
            missed.append(f"p95 {high:.1f} s, goal {fault.goal['p95']:g} s")
    return {
        "fault": fault.name,
        "title": title(fault, language),
        "expect": fault.expect,
        "rounds": len(runs),
        "goal": dict(fault.goal),
        "median": middle,
        "p95": high,
        "mttd": round(median(seen), 2) if seen else None,
        "failed": round(median([run["failed"] for run in runs])),
        "causes": list(dict.fromkeys(run["cause"] for run in runs if run["cause"])),
        "remedies": list(dict.fromkeys(" → ".join(run["remedies"]) for run in runs if run["remedies"])),
        "evidence": all(evidence) if evidence else None,
        "met": not missed,
        "missed": missed,
    }


def build(
    about: Mapping[str, Any], faults: Sequence[Fault], runs: Sequence[Mapping[str, Any]], troubles: Sequence[str] = ()
) -> dict[str, Any]:
    """Put the report together.

    :arg about: {id, app, host, address, url, language, left_out: [sentences]}.
    :arg runs: what `judge` returned, in the order in which they were run.
    :arg troubles: what could not be measured, and why; sentences.
    :returns: about + {drills: one `summarize` a fault, runs, met, total, verdict, ok, troubles}.
    """
    language = str(about.get("language") or "en")
    drills = []
    for fault in faults:
        own = [run for run in runs if run["fault"] == fault.name]
        if own:
            drills.append(summarize(fault, own, language))
    missed = [f"{drill['fault']} missed: {drill['missed'][0]}" for drill in drills if not drill["met"]]
    met = len(drills) - len(missed)
    verdict = f"drills: {'; '.join([f'{met} of {len(drills)} goals met', *missed, *troubles])}"
    more = {"met": met, "total": len(drills), "verdict": verdict, "ok": not missed and not troubles}
    return {**about, "drills": drills, "runs": list(runs), **more, "troubles": list(troubles)}


_HEAD = ("fault", "n", "MTTD", "MTTR", "p95", "goal", "failed", "cause", "remedy", "evidence", "met")


def _row(drill: Mapping[str, Any]) -> tuple[str, ...]:
    goal = " / ".join(f"{drill['goal'][key]:g}" for key in ("median", "p95") if key in drill["goal"])
    return (
        drill["fault"],
        str(drill["rounds"]),
        _seconds(drill["mttd"]),
        _seconds(drill["median"]),
        _seconds(drill["p95"]),
        f"≤ {goal} s" if goal else drill["expect"],
        str(drill["failed"]),
        ", ".join(drill["causes"]) or "-",
        ", ".join(drill["remedies"]) or "none",
        _MARKS[drill["evidence"]],
        "yes" if drill["met"] else "NO",
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def screen(report: Mapping[str, Any], where: str) -> str:
    """Return what a person reads on the screen; `where` is the path of the Markdown file. The verdict comes last."""
    rows = [_HEAD, *(_row(drill) for drill in report["drills"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"{drill['fault']}: {'; '.join(drill['missed'])}" for drill in report["drills"] if not drill["met"]]
    lines += _unasked(report)
    return "\n".join([*lines, *report["left_out"], f"Report: {where}", report["verdict"]])


def _unasked(report: Mapping[str, Any]) -> list[str]:
    """What no check would have noticed, in a sentence."""
    names = list(dict.fromkeys(run["fault"] for run in report["runs"] if run["unasked"] and not run["failed"]))
    return [f"No check would have noticed, and the watcher did: {', '.join(names)}"] if names else []


def markdown(report: Mapping[str, Any], picture: str) -> str:
    """Return the report as a page; `picture` is the file name of the timelines."""
    lines = [f"# Drills of {report['app']} on {report['host']}", "", f"D{report['verdict'][1:]}.", ""]
    lines += [f"{report['id'].split('-')[0]}, asked at {report['url']} ten times a second.", ""]
    lines += [f"![Timelines]({picture})", ""]
    lines += [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    lines += [f"| {' | '.join(_row(drill))} |" for drill in report["drills"]]
    lines += [
        "",
        "MTTD: from the first failed request until the host has opened its incident. MTTR: from the fault to the first",
        "of ten good answers in a row, the median of n rounds; p95 by nearest rank. Failed: requests, the median.",
    ]
    missed = [drill for drill in report["drills"] if not drill["met"]]
    if missed:
        told = [f"- {drill['fault']}, {drill['title']}: {'; '.join(drill['missed'])}" for drill in missed]
        lines += ["", "## Missed", "", *told]
    if _unasked(report):
        lines += ["", *(f"{sentence}." for sentence in _unasked(report))]
    if report["left_out"]:
        lines += ["", "## Left out", "", *[f"- {sentence}" for sentence in report["left_out"]]]
    return "\n".join(lines) + "\n"


_COLORS = {"good": "#55a868", "late": "#ddaa33", "failed": "#c44e52"}
_INK = "#333333"
_LEFT, _WIDTH, _BAR, _STEP = 190, 720, 14, 26


def svg(report: Mapping[str, Any]) -> str:
    """Draw a bar a fault, of its slowest round: answers over time, the fault at 0, when it was noticed, the goal."""
    chosen = [_slowest(report["runs"], drill["fault"]) for drill in report["drills"]]
    longest: float = max([run["segments"][-1][1] for run in chosen if run["segments"]] + [1.0])
    first: float = min([run["segments"][0][0] for run in chosen if run["segments"]] + [0.0])
    tick = next((step for step in (1, 2, 5, 10, 20, 30, 60) if longest / step <= 12), 120)

    def x(seconds: float) -> float:
        return round(_LEFT + (seconds - first) / (longest - first) * _WIDTH, 1)

    height = 40 + _STEP * len(chosen) + 30
    colors = ", ".join(f'<tspan fill="{color}">{state}</tspan>' for state, color in _COLORS.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 30}" height="{height}"'
        f' font-family="sans-serif" font-size="12" fill="{_INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18">Requests to {_escaped(report["app"])}, by when they were sent: {colors}. '
        "Stroke: noticed by the host, triangle: goal. Seconds after the fault</text>",
    ]
    for second in range(0, int(longest) + 1, tick):
        parts.append(f'<line x1="{x(second)}" y1="28" x2="{x(second)}" y2="{height - 24}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x(second)}" y="{height - 8}" text-anchor="middle">{second}</text>')
    for row, (drill, run) in enumerate(zip(report["drills"], chosen)):
        top = 36 + _STEP * row
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 11}" text-anchor="end">{_escaped(drill["fault"])}</text>')
        for start, end, state in run["segments"]:
            width = max(round(x(end) - x(start), 1), 1.0)
            parts.append(f'<rect x="{x(start)}" y="{top}" width="{width}" height="{_BAR}" fill="{_COLORS[state]}"/>')
        if run["noticed"] is not None:
            at = x(run["noticed"])
            parts.append(
                f'<line x1="{at}" y1="{top - 3}" x2="{at}" y2="{top + _BAR + 3}" stroke="{_INK}" stroke-width="2"/>'
            )
        goal = drill["goal"].get("median")
        if goal and goal <= longest:
            at, base = x(goal), top + _BAR
            parts.append(f'<path d="M{at} {base} l-4 7 h8 z"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _slowest(runs: Sequence[Mapping[str, Any]], fault: str) -> Mapping[str, Any]:
    own = [run for run in runs if run["fault"] == fault]
    return max(own, key=lambda run: math.inf if run["mttr"] is None else run["mttr"])


def _escaped(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
