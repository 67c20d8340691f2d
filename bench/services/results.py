# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The results of the faults of single services: rows, tables, goals. Pure: no clock, no I/O.

A run is one round of one fault. Its `system` is the key of a system and a variant, `selfheal-balanced` for instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.bench.recovery import results
from ansible_collections.christmas.selfheal.bench.services.faults import Fault

OURS, POLICY, LOOP = "selfheal", "restart-policy", "unhealthy-loop"
SYSTEMS = {
    OURS: "christmas.selfheal",
    POLICY: "Docker's restart policy",
    LOOP: "restart what is unhealthy, every 5 s",
}
ALONE, BALANCED = "alone", "balanced"
VARIANTS = {ALONE: "Without a load balancer", BALANCED: "Behind the load balancer"}
GOAL = {"median": 6.0}
"""Seconds."""
RATE, LEAST_RATE = 50.0, 45.0
"""Records a second that the writer sends, and with how few a round still says something."""


class Run(TypedDict):
    """One round, as it is kept. Seconds are those after the fault; None for what did not come.

    `seconds`: until what the fault's `heals` says; `detected`: until the incident was confirmed; `started`: until the
    service's container was started again; `written`, `whole`: see Seen. `failed`: requests of the prober. `rate`:
    records a second. `waited`: seconds after which it would have been given up. `load`: of this machine.
    """

    system: str
    fault: str
    round: int
    at: float
    seconds: float | None
    detected: float | None
    started: float | None
    written: float | None
    whole: float | None
    waited: float
    failed: int
    sent: int
    acknowledged: int
    lost: int
    rate: float
    incidents: int
    cause: str
    services: list[str]
    remedies: list[str]
    problems: list[str]
    load: float


class WatcherSummary(NamedTuple):
    """The watcher's results for one fault: medians of `detected` and `remedies`; `right`: rounds without a problem."""

    n: int
    right: int
    incidents: int
    detected: float | None
    remedies: float


class Row(TypedDict):
    """A fault, for tables and picture. By key: `systems` has summaries, `watcher` those of OURS, `lost` lost rows."""

    fault: str
    title: str
    expect: str
    goal: dict[str, float]
    systems: dict[str, dict[str, Any]]
    watcher: dict[str, dict[str, Any]]
    lost: dict[str, int]
    met: bool | None
    missed: list[str]


def key(system: str, variant: str) -> str:
    """The key of a system in a run."""
    return system if variant == ALONE else f"{system}-{variant}"


def titles(variants: Iterable[str] = VARIANTS) -> dict[str, str]:
    """Short names of the keys, for the picture."""
    short = {OURS: SYSTEMS[OURS], POLICY: "restart policy", LOOP: "unhealthy loop"}
    words = {ALONE: "", BALANCED: ", load balancer"}
    return {key(system, variant): title + words[variant] for variant in variants for system, title in short.items()}


def is_ours(run_key: str) -> bool:
    """Whether a key is that of the watcher."""
    return run_key in {key(OURS, variant) for variant in VARIANTS}


def allowed(timeout: float, slowest: float, system: str, fault: Fault) -> float:
    """Seconds that a round may take before it is given up.

    :arg slowest: seconds until the health check of the fault's service says unhealthy, 0 without one. A system that
        relies on the health check gets that time in addition.
    """
    return timeout + (slowest if system == LOOP and fault.runs_on else 0.0)


# --- the table -------------------------------------------------------------------------------------------------------


def summarize_watcher(runs: Sequence[Mapping[str, Any]]) -> WatcherSummary:
    """Sum up the incidents of some rounds with the watcher."""
    detected = [run["detected"] for run in runs if run["detected"] is not None]
    return WatcherSummary(
        len(runs),
        sum(not run["problems"] for run in runs),
        sum(run["incidents"] > 0 for run in runs),
        round(median(detected), 2) if detected else None,
        float(median(len(run["remedies"]) for run in runs)),
    )


def judge(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why the watcher missed the goals of one fault, in words; empty when it met them."""
    if not runs:
        return []
    every = [problem for run in runs for problem in run["problems"]]
    found = [f"{problem} ({every.count(problem)} of {len(runs)})" for problem in dict.fromkeys(every)]
    middle = results.summarize(runs)["median"]
    if middle is None or middle > GOAL["median"]:
        found.append(f"median {_seconds(middle)}, goal {GOAL['median']:g} s")
    return found


def table(faults: Mapping[str, Fault], runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each fault that was measured."""
    rows = [_row(name, fault, runs) for name, fault in faults.items()]
    return [row for row in rows if row["systems"]]


def _row(name: str, fault: Fault, runs: Sequence[Mapping[str, Any]]) -> Row:
    by_key = {one: results.of(runs, one, name) for one in titles()}
    by_key = {one: own for one, own in by_key.items() if own}
    ours = {one: own for one, own in by_key.items() if is_ours(one)}
    missed = []
    for one, own in ours.items():
        where = "" if one == OURS else "behind the load balancer: "
        missed += [f"{where}{reason}" for reason in judge(own)]
    return {
        "fault": name,
        "title": fault.title,
        "expect": "recovered",
        "goal": dict(GOAL),
        "systems": {one: results.summarize(own) for one, own in by_key.items()},
        "watcher": {one: summarize_watcher(own)._asdict() for one, own in ours.items()},
        "lost": {one: sum(run["lost"] for run in own) for one, own in by_key.items()},
        "met": not missed if ours else None,
        "missed": missed,
    }


def shown(rows: Sequence[Row], variant: str) -> str:
    """The table of one variant as Markdown; "" when nothing of it was measured."""
    keys = [key(system, variant) for system in SYSTEMS]
    measured = [row for row in rows if set(keys) & set(row["systems"])]
    if not measured:
        return ""
    heads = ["fault", *SYSTEMS.values(), "as expected", "detected", "remedies", "rows lost"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(_cells(row, keys))} |" for row in measured]
    return "\n".join(lines)


def _cells(row: Row, keys: Sequence[str]) -> list[str]:
    cells = [row["title"], *(results.cell(row["systems"].get(one)) for one in keys)]
    ours = row["watcher"].get(keys[0])
    if ours is None:
        cells += ["", "", ""]
    else:
        detected = "" if ours["detected"] is None else _seconds(ours["detected"])
        # A crash may be over before there is an incident.
        count = "" if ours["incidents"] == ours["n"] else f", {ours['incidents']} with an incident"
        cells += [f"{ours['right']} of {ours['n']}{count}", detected, f"{ours['remedies']:g}"]
    counts = [str(row["lost"][one]) if one in row["lost"] else "-" for one in keys]
    return [*cells, " / ".join(counts)]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


# --- what is missing, and the end ------------------------------------------------------------------------------------


def unmeasured(systems: Sequence[str], faults: Sequence[str], rounds: int, runs: Sequence[Mapping[str, Any]]) -> int:
    """How many rounds of some systems, by their keys, are missing; those that are given up are not."""
    left = 0
    for system in systems:
        for fault in faults:
            own = results.of(runs, system, fault)
            left += 0 if results.given_up(own) else max(0, rounds - len(own))
    return left


def slow_writer(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence when the writer did not send as often as it should: then lost rows say little."""
    if not runs:
        return []
    rate = median(run["rate"] for run in runs)
    return [] if rate >= LEAST_RATE else [f"the writer sent {rate:.0f} records a second, not {RATE:.0f}"]


def verdict(rows: Sequence[Row], troubles: Sequence[str], left: int) -> str:
    """The last line."""
    judged = [row for row in rows if row["met"] is not None]
    missed = [f"{row['fault']} missed: {'; '.join(row['missed'])}" for row in judged if not row["met"]]
    parts = [f"{len(judged) - len(missed)} of {len(judged)} goals met", *missed] if judged else []
    parts += [f"{left} rounds are not measured yet (ARGS=--resume)"] if left else []
    return "bench-services: " + "; ".join([*parts, *troubles])
