# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The measured rounds, the missing rounds, and the table. Pure: no clock, no I/O.

A run is {system, fault, round, seconds}; `seconds` is None when the app did not recover, or was not expected to. Runs
of OURS have `problems`, sentences; those of a scaled system have `measured`, the seconds before scaling.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import Fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.judge import median, p95

OURS = "selfheal"
TWO = "selfheal-two"
"""The same with two instances behind the load balancer, of which the fault hits one."""
BEFORE = "selfheal-before"
"""An earlier revision of the collection, on a host of its own."""
PUT_TO_ALL = ("crash", "oom", "hang", "silent", "errors", "stopped", "container_removed", "env_placeholder")
"""The faults that the alternatives are put to. BEFORE is put to those of the engine, too."""
GIVE_UP = 3
"""After so many rounds in a row without recovery, the system counts as never recovering this fault."""

Run = Mapping[str, Any]


class Slice(NamedTuple):
    """Some rounds of one fault: what is measured in one go, and lost when it is interrupted."""

    fault: str
    rounds: int


def of(runs: Iterable[Run], system: str, fault: str) -> list[Run]:
    """The runs of one system and one fault."""
    return [run for run in runs if (run["system"], run["fault"]) == (system, fault)]


def put_to(system: str, faults: Mapping[str, Fault]) -> list[str]:
    """The names of the faults that are measured with OURS, TWO or BEFORE."""
    if system == BEFORE:
        return [name for name in faults if name in (*PUT_TO_ALL, "engine_hung", "engine_stopped")]
    if system == TWO:
        return [name for name, fault in faults.items() if fault.instance or "instances" in fault.needs]
    return [name for name, fault in faults.items() if "instances" not in fault.needs]


def slices(faults: Sequence[str], rounds: int, runs: Sequence[Run], size: int, system: str = OURS) -> list[Slice]:
    """The missing rounds of one of our own, at most `size` in a slice. The first slice of each fault comes first."""
    left = {fault: max(0, rounds - len(of(runs, system, fault))) for fault in faults}
    found = []
    while any(left.values()):
        for fault, count in left.items():
            if count:
                found.append(Slice(fault, min(size, count)))
                left[fault] = count - found[-1].rounds
    return found


def given_up(runs: Sequence[Run]) -> bool:
    """Whether the last GIVE_UP of these runs, of one system and one fault, all had no recovery."""
    return len(runs) >= GIVE_UP and all(run["seconds"] is None for run in runs[-GIVE_UP:])


def next_round(system: str, faults: Sequence[str], rounds: int, runs: Sequence[Run]) -> tuple[str, int] | None:
    """The next round of an alternative: (fault, number of the round); None when all have been measured.

    Fault by fault in turns, so that what is there at any time covers all of them.
    """
    open_ones = []
    for fault in faults:
        own = of(runs, system, fault)
        if len(own) < rounds and not given_up(own):
            open_ones.append((len(own) + 1, fault))
    if not open_ones:
        return None
    number, fault = min(open_ones, key=lambda one: one[0])
    return fault, number


def phase(system: str, fault: str, number: int, rounds: int, cycle: float) -> float:
    """The second of a polling cycle at which round `number` injects its fault: random, but evenly spread over rounds.

    The same for the same arguments. One fixed moment would measure what is left of the cycle then, `rounds` times.
    """
    chance = random.Random(f"{system} {fault}")
    order = list(range(rounds))
    chance.shuffle(order)
    within = random.Random(f"{system} {fault} {number}").random()
    return (order[(number - 1) % rounds] + within) / rounds * cycle


def scaled(injected: float, looked: float | None, recovered: float, factor: float) -> float:
    """Seconds from the fault to the recovery; the wait until the next check is multiplied by `factor`.

    :arg looked: when the look began that found the fault. None, or a time after the recovery, when something else
        recovered the app, and before the fault, when it came during the look: nothing is multiplied.
    """
    if looked is None or not injected <= looked <= recovered:
        return recovered - injected
    return (looked - injected) * factor + recovered - looked


def found_by(lines: Iterable[str], since: float, looks: str, finds: str) -> float | None:
    """When the first check after `since` that found a failure began; None without one.

    :arg lines: of a journal, each beginning with the time as epoch seconds; `looks` and `finds` are in those that tell.
    """
    looked = None
    for line in lines:
        stamp = line.partition(" ")[0]
        if looks in line:
            looked = float(stamp)
        elif finds in line and float(stamp) >= since:
            return looked
    return None


def summarize(runs: Sequence[Run]) -> dict[str, Any]:
    """Runs of one system and one fault: {n, recovered, median, p95}; None for seconds without a recovery.

    What was not recovered counts, as longer than anything.
    """
    times = [math.inf if run["seconds"] is None else run["seconds"] for run in runs]
    middle, high = (None if one == math.inf else round(one, 2) for one in (median(times), p95(times)))
    return {"n": len(runs), "recovered": len(runs) - times.count(math.inf), "median": middle, "p95": high}


def judge(fault: Fault, runs: Sequence[Run]) -> list[str]:
    """Why OURS missed its goal for this fault, in words; empty when it was met."""
    if not runs:
        return []
    summary = summarize(runs)
    problems = [problem for run in runs for problem in run["problems"]]
    missed = [f"{problem} ({problems.count(problem)} of {len(runs)})" for problem in dict.fromkeys(problems)]
    for key in ("median", "p95") if fault.expect == "recovered" else ():
        if summary[key] is None or summary[key] > fault.goal[key]:
            missed.append(f"{key} {_seconds(summary[key], ' s')}, goal {fault.goal[key]:g} s")
    return missed


def table(faults: Mapping[str, Fault], systems: Sequence[str], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each fault that was measured: {fault, expect, goal, systems: {system: summarize}, met, missed}.

    `met` is None, and `missed` empty, when OURS was not put to it.
    """
    rows = []
    for name, fault in faults.items():
        summaries = {system: summarize(of(runs, system, name)) for system in systems if of(runs, system, name)}
        if summaries:
            missed = judge(fault, of(runs, OURS, name))
            missed += [f"with two instances: {reason}" for reason in judge(fault, of(runs, TWO, name))]
            rows.append(
                {
                    "fault": name,
                    "expect": fault.expect,
                    "goal": dict(fault.goal),
                    "systems": summaries,
                    "met": not missed if OURS in summaries else None,
                    "missed": missed,
                }
            )
    return rows


def cell(summary: Mapping[str, Any] | None, expect: str = "recovered") -> str:
    """One system's result for one fault, as text."""
    if summary is None:
        return ""
    if expect != "recovered":
        return f"{expect.replace('_', ' ')} ({summary['n']})"
    if not summary["recovered"]:
        return f"never (0 of {summary['n']})"
    part = "" if summary["recovered"] == summary["n"] else f"{summary['recovered']} of "
    return f"{_seconds(summary['median'])} / {_seconds(summary['p95'])} ({part}{summary['n']})"


def _seconds(value: float | None, unit: str = "") -> str:
    return "never" if value is None else f"{value:.1f}{unit}"


def ratio(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """The median of OURS in relation to that of BEFORE, as text; "" where one of them has none."""
    now, before = (summaries.get(system, {}).get("median") for system in (OURS, BEFORE))
    return f"{now / before:.2f}" if now is not None and before else ""


def shown(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """The table as Markdown: median / p95 in seconds (n), for each fault and each system that was measured."""
    systems = [system for system in titles if any(system in row["systems"] for row in rows)]
    compared = BEFORE in systems
    heads = [*(titles[system] for system in systems), *(["now ÷ before"] if compared else []), "goal met"]
    lines = [f"| fault | goal | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for row in rows:
        goal = row["expect"].replace("_", " ")
        if row["goal"]:
            goal = f"≤ {row['goal']['median']:g} / {row['goal']['p95']:g}"
        cells = [cell(row["systems"].get(system), row["expect"]) for system in systems]
        cells += [ratio(row["systems"])] if compared else []
        met = {True: "yes", False: f"**no**: {'; '.join(row['missed'])}", None: ""}[row["met"]]
        lines.append(f"| {' | '.join([row['fault'], goal, *cells, met])} |")
    return "\n".join(lines)


def verdict(rows: Sequence[Mapping[str, Any]], troubles: Sequence[str], left: int = 0) -> str:
    """The last line."""
    judged = [row for row in rows if row["met"] is not None]
    missed = [row["fault"] for row in judged if not row["met"]]
    parts = [f"{len(judged) - len(missed)} of {len(judged)} goals met"] if judged else []
    parts += [f"missed: {', '.join(missed)}"] if missed else []
    parts += [f"{left} rounds are not measured yet (ARGS=--resume)"] if left else []
    return "bench-recovery: " + "; ".join([*parts, *troubles])
