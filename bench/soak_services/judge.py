# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The results of a soak: needless remedies, calls to the engine, failed requests, tables. Pure: no clock, no I/O.

Times are epoch seconds: this machine, the lab's hosts and their engines have one clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.bench.engine_calls import Call
from ansible_collections.christmas.selfheal.bench.services.results import VARIANTS
from ansible_collections.christmas.selfheal.bench.soak_services.schedule import (
    BUSY,
    DEPLOY,
    JOB,
    LIMITED,
    START_SECONDS,
    TITLES,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample

NAME = "soak-services"
TOO_MANY = "429"
RATE_LIMITED = "rate_limited"
"""The cause of an incident in which the watcher met 429s."""

# The watcher handles an event in its next turn, which is late on busy cores.
EVENT_SECONDS = 5.0
# As in soak.py: the kernel counts killed processes of the whole machine, and the watcher looks for one of its app.
OOM_SECONDS = 10.0
# A turn reads the engine before the incident is open; the watcher's next process begins by reading state and files.
BEFORE_INCIDENT, AFTER_INCIDENT = 2.0, 5.0
# Until all containers that a deploy has started have passed their own health checks.
AFTER_DEPLOY = 15.0
# Requests that were refused just before the end of a flood are answered a little later.
AFTER_LIMITED = 3.0
# How long an ended span may still explain a remedy.
LATE_SECONDS = 90.0

LEAST_BUSY, LEAST_LIMITED, LEAST_START = 0.9, 0.5, 0.8 * START_SECONDS
"""Below these values (shares, and seconds of a start) the soak is not conclusive."""

_PATH = re.compile(r"[A-Z]+ (?:/v(\d+\.\d+))?(/[^?\s]*)?")


class Done(NamedTuple):
    """The outcome of a span of the schedule. `trouble`: why it did not go as planned, or "".

    `measured`: of busy cores the share that was work, of 429s their share, of a deploy the seconds in which the app did
    not answer, of a job its exit code.
    """

    kind: str
    number: int
    begun: float
    ended: float
    measured: float | None = None
    trouble: str = ""


class Remedy(NamedTuple):
    """A remedy that was applied, in which incident, and why it was needless."""

    name: str
    at: float
    cause: str
    services: tuple[str, ...]
    why: str


class Counted(NamedTuple):
    """The collection's calls to the engine while the app was healthy, by reason.

    `unprompted`: without a reason; `after_event`: just after an event of a container; `after_kill`: after the kernel
    had killed a process of this machine. `aside`: in a deploy or an incident, when the app was not healthy.
    """

    unprompted: list[Call]
    after_event: int
    after_kill: int
    aside: int


class Requests(NamedTuple):
    """Requests from outside: all, those that were refused with 429 on purpose, that failed in a deploy, or else."""

    sent: int
    limited: int
    in_deploys: int
    failed: int
    reasons: dict[str, int]


class Soaked(TypedDict):
    """The stored result of a variant. `incidents`: {id, cause, services, seen, seconds, remedies, hold}."""

    minutes: float
    begun: float
    ended: float
    services: int
    incidents: list[dict[str, Any]]
    needless: list[dict[str, Any]]
    calls: dict[str, Any]
    requests: dict[str, Any]
    happened: list[dict[str, Any]]
    well: list[str]
    troubles: list[str]


Window = tuple[float, float]
"""From when to when."""

# --- incidents and remedies ------------------------------------------------------------------------------------------


def incident_windows(incidents: Sequence[Mapping[str, Any]], now: float) -> list[Window]:
    """When the app was not healthy, by its incidents. An open one lasts until `now`."""
    found = []
    for one in incidents:
        begun = drill_judge.epoch(str(one.get("seen", ""))) or 0.0
        ended = drill_judge.epoch(str(one.get("ended", ""))) or now
        found.append((begun - BEFORE_INCIDENT, ended + AFTER_INCIDENT))
    return found


def deploy_windows(done: Sequence[Done]) -> list[Window]:
    """When a deploy was at work, until the containers that it started were healthy."""
    return [(one.begun, one.ended + AFTER_DEPLOY) for one in done if one.kind == DEPLOY]


def meanwhile(at: float, done: Sequence[Done]) -> str:
    """Name the spans at a moment, and those that had just ended."""
    going = [f"{TITLES[one.kind]} since {at - one.begun:.0f} s" for one in done if one.begun <= at <= one.ended]
    over = [
        f"{TITLES[one.kind]} until {at - one.ended:.0f} s before" for one in done if 0 < at - one.ended <= LATE_SECONDS
    ]
    return ", ".join([*going, *over]) or "nothing went on"


def needless(incidents: Sequence[Mapping[str, Any]], done: Sequence[Done]) -> list[Remedy]:
    """Each remedy that the watcher applied. No fault was injected, so all are needless."""
    found = []
    for one in incidents:
        for remedy in one.get("remedies") or []:
            at = _applied_at(one, str(remedy["name"]))
            services = tuple(remedy.get("services") or one.get("services") or ())
            why = f"nothing was broken; {meanwhile(at, done)}"
            found.append(Remedy(str(remedy["name"]), at, str(one.get("cause", "")), services, why))
    return sorted(found, key=lambda remedy: remedy.at)


def _applied_at(incident: Mapping[str, Any], name: str) -> float:
    """When a remedy was applied, by the incident's timeline; else when the incident was confirmed."""
    for entry in incident.get("timeline") or []:
        if str(entry.get("what", "")).startswith(f"{name}:"):
            return drill_judge.epoch(str(entry.get("time", ""))) or 0.0
    return drill_judge.epoch(str(incident.get("confirmed", ""))) or 0.0


def brief(incident: Mapping[str, Any], done: Sequence[Done]) -> dict[str, Any]:
    """The stored part of an incident."""
    keys = ("id", "cause", "services", "seen", "seconds", "healthy", "hold", "evidence")
    at = drill_judge.epoch(str(incident.get("confirmed", ""))) or 0.0
    names = [str(one["name"]) for one in incident.get("remedies") or []]
    return {**{key: incident.get(key) for key in keys}, "remedies": names, "meanwhile": meanwhile(at, done)}


# --- calls to the engine ---------------------------------------------------------------------------------------------


def older(version: str) -> str:
    """The version of the engine's API before this one, e.g. 1.44 for 1.45, by which calls are recognized."""
    major, _unused, minor = version.strip().partition(".")
    return f"{major}.{int(minor) - 1}"


def is_marked(what: str, mark: str) -> bool:
    """Whether a call was made with a version of the API."""
    found = _PATH.match(what)
    return found is not None and found[1] == mark


def is_quiet(what: str) -> bool:
    """Whether a call does not show its caller, and costs nothing: the event stream, and the ping of each CLI."""
    found = _PATH.match(what)
    return found is not None and found[2] in ("/events", "/_ping")


def counted(
    calls: Sequence[Call], sick: Sequence[Window], events: Sequence[float], kills: Sequence[float], mark: str
) -> Counted:
    """Sort the calls of a soak.

    :arg sick: when the app was not healthy, or a deploy had it.
    :arg events: when something happened to a container of the app.
    :arg kills: when the kernel's count of processes killed for lack of memory had grown.
    :arg mark: the version of the API with which the jobs ask.
    """
    unprompted, after_event, after_kill, aside = list[Call](), 0, 0, 0
    for call in calls:
        at = call["at"]
        if is_quiet(call["what"]) or is_marked(call["what"], mark):
            continue
        if any(begun <= at <= ended for begun, ended in sick):
            aside += 1
        elif any(0.0 <= at - one <= EVENT_SECONDS for one in events):
            after_event += 1
        elif any(0.0 <= at - one <= OOM_SECONDS for one in kills):
            after_kill += 1
        else:
            unprompted.append(call)
    return Counted(unprompted, after_event, after_kill, aside)


# --- requests from outside -------------------------------------------------------------------------------------------


def requests(samples: Sequence[Sample], done: Sequence[Done]) -> Requests:
    """Sort the requests of a soak. A 429 is on purpose while the soak's own flood causes it."""
    limits = [(one.begun, one.ended + AFTER_LIMITED) for one in done if one.kind == LIMITED]
    deploys = deploy_windows(done)
    limited = in_deploys = 0
    reasons = Counter[str]()
    for sample in samples:
        if sample.ok:
            continue
        if sample.reason == TOO_MANY and _inside(sample.sent, limits):
            limited += 1
        elif _inside(sample.sent, deploys):
            in_deploys += 1
        else:
            reasons[sample.reason] += 1
    return Requests(len(samples), limited, in_deploys, reasons.total(), dict(reasons))


def _inside(at: float, windows: Sequence[Window]) -> bool:
    return any(begun <= at <= ended for begun, ended in windows)


def longest_gap(samples: Sequence[Sample]) -> float:
    """The longest time in seconds without a good answer, between two good ones."""
    good = [sample.sent for sample in samples if sample.ok]
    return max((after - before for before, after in zip(good, good[1:])), default=0.0)


def share(samples: Sequence[Sample], reason: str) -> float:
    """The share of requests, 0 to 1, that failed for a reason."""
    return sum(sample.reason == reason for sample in samples) / max(1, len(samples))


# --- whether the soak is conclusive ----------------------------------------------------------------------------------


def void(done: Sequence[Done], incidents: Sequence[Mapping[str, Any]], wanted: Mapping[str, int]) -> list[str]:
    """Why a soak is not conclusive, in sentences; empty when the whole schedule went as planned.

    :arg wanted: how often each kind was planned.
    """
    found = [f"{one.kind} {one.number}: {one.trouble}" for one in done if one.trouble]
    least = {BUSY: LEAST_BUSY, LIMITED: LEAST_LIMITED, DEPLOY: LEAST_START}
    for kind, count in wanted.items():
        own = [one for one in done if one.kind == kind]
        if len(own) < count:
            found.append(f"{kind}: {len(own)} of {count} took place")
        for one in own:
            if one.measured is not None and one.measured < least.get(kind, 0.0):
                found.append(f"{kind} {one.number}: {_measured(one)}")
    limited = any(one.kind == LIMITED for one in done)
    if limited and not any(one.get("cause") == RATE_LIMITED for one in incidents):
        found.append("the watcher met no 429s: no incident has the cause rate_limited")
    return found


def _measured(one: Done) -> str:
    value = one.measured or 0.0
    if one.kind == BUSY:
        return f"the cores were busy for {value:.0%} only"
    if one.kind == LIMITED:
        return f"{value:.0%} of the load was refused with 429 only"
    return f"the app was without an answer for {value:.0f} s only, {START_SECONDS} s were planned"


# --- table and exit code ---------------------------------------------------------------------------------------------

Row = tuple[str, str, str, "bool | None"]
"""Name, measured value, goal, whether it is met (None: for information)."""


def rows(soaked: Soaked) -> list[Row]:
    """The table of one variant."""
    calls, asked = soaked["calls"], soaked["requests"]
    remedies = [f"{one['name']} ({one['cause']})" for one in soaked["needless"]]
    causes = Counter(str(one["cause"]) for one in soaked["incidents"])
    listed = ", ".join(f"{count} x {cause}" for cause, count in sorted(causes.items()))
    count = len(calls["unprompted"])
    reasons = ", ".join(f"{number} x {reason}" for reason, number in sorted(asked["reasons"].items()))
    return [
        ("minutes; services", f"{soaked['minutes']:g}; {soaked['services']}", "", None),
        ("needless remedies", ", ".join(remedies) or "0", "0", not remedies),
        ("Docker calls while healthy", str(count), "0", count == 0),
        ("well at the end", "; ".join(soaked["well"]) or "yes", "yes", not soaked["well"]),
        ("incidents", listed or "0", "", None),
        ("looks at containers after an event, calls", str(calls["after_event"]), "", None),
        ("calls after the kernel killed a process", str(calls["after_kill"]), "", None),
        ("calls in deploys and incidents", str(calls["aside"]), "", None),
        ("requests; 429 on purpose", f"{asked['sent']}; {asked['limited']}", "", None),
        ("failed requests in deploys", str(asked["in_deploys"]), "", None),
        ("other failed requests", reasons or "0", "", None),
        *(_happened(kind, soaked["happened"]) for kind in TITLES),
    ]


def _happened(kind: str, happened: Sequence[Mapping[str, Any]]) -> Row:
    values = [one["measured"] for one in happened if one["kind"] == kind and one["measured"] is not None]
    forms = {
        DEPLOY: lambda: f"the app started in {min(values):.0f} to {max(values):.0f} s",
        LIMITED: lambda: f"{min(values):.0%} to {max(values):.0%} of the load refused",
        BUSY: lambda: f"{min(values):.0%} to {max(values):.0%} of the cores' time was work",
        JOB: lambda: f"{sum(value > 0 for value in values)} failed",
    }
    text = f"{len(values)}; {forms[kind]()}" if values else "0"
    return TITLES[kind], text, "", None


def shown(soaked: Soaked) -> str:
    """The table of one variant as Markdown, and after it each incident and each needless remedy."""
    lines = ["| what | measured | goal | met |", "|---|---|---|---|"]
    for what, measured, goal, met in rows(soaked):
        mark = {True: "yes", False: "**no**", None: ""}[met]
        lines.append(f"| {what} | {measured} | {goal} | {mark} |")
    if soaked["incidents"]:
        lines.append("")
    for one in soaked["incidents"]:
        names = ", ".join(one["remedies"]) or "no remedy"
        services = f" of {', '.join(one['services'])}" if one["services"] else ""
        lines.append(f"- {one['id']}: {one['cause']}{services}, {one['seconds']:.0f} s, {names}; {one['meanwhile']}")
    for remedy in soaked["needless"]:
        lines.append(f"- needless: {remedy['name']} of {', '.join(remedy['services']) or 'all'}: {remedy['why']}")
    for what, number in Counter(call["what"].partition("?")[0] for call in soaked["calls"]["unprompted"]).items():
        lines.append(f"- a call while healthy: {what}, {number} times")
    return "\n".join(lines)


def missed(soaked: Soaked) -> list[str]:
    """The goals that one variant missed, in words."""
    return [f"{what}: {measured}" for what, measured, _unused, met in rows(soaked) if met is False]


def verdict(variants: Mapping[str, Soaked], asked: Sequence[str]) -> str:
    """The last line. `asked`: the variants that were to be measured."""
    parts = [_outcome(variant, soaked) for variant, soaked in variants.items()]
    for soaked in variants.values():
        parts += [f"not as planned: {one}" for one in soaked["troubles"]]
    parts += [f"{VARIANTS[one].lower()}: not measured" for one in asked if one not in variants]
    return f"{NAME}: " + "; ".join(parts)


def _outcome(variant: str, soaked: Soaked) -> str:
    where = f"{VARIANTS[variant].lower()}, {soaked['minutes']:g} minutes"
    wrong = missed(soaked)
    if wrong:
        return f"{where}: MISSED, {'; '.join(wrong)}"
    looks = soaked["calls"]["after_event"]
    return f"{where}: 0 needless remedies, 0 Docker calls while healthy (besides {looks} after events)"


def exit_code(variants: Mapping[str, Soaked], asked: Sequence[str]) -> int:
    """1 when a goal was missed, 2 when something could not be measured, else 0."""
    if any(missed(soaked) for soaked in variants.values()):
        return 1
    incomplete = bool(set(asked) - set(variants))
    return 2 if incomplete or any(soaked["troubles"] for soaked in variants.values()) else 0
