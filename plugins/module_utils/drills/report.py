# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of drills: for the screen, as Markdown and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from . import fault as drill_fault
from . import judge as drill_judge
from .fault import Fault
from .judge import Run

_MARKS = {True: "yes", False: "no", None: "-"}


class DrillSummary(TypedDict):
    """All rounds of one fault; times are seconds. `missed` says why the goal was not met; empty when it was."""

    fault: str
    title: str
    expect: str
    rounds: int
    goal: dict[str, float]
    median: float | None
    p95: float | None
    mttd: float | None
    failed: int
    causes: list[str]
    remedies: list[str]
    evidence: bool | None
    met: bool
    missed: list[str]


class About(TypedDict):
    """The subject of a report; `left_out` says why other faults were not injected."""

    id: str
    app: str
    host: str
    address: str
    url: str
    language: str
    left_out: list[str]


class Report(About):
    """The report. `met` of `total` goals were met; `troubles` is what could not be measured; `ok`: nothing is wrong."""

    drills: list[DrillSummary]
    runs: list[Run]
    met: int
    total: int
    verdict: str
    ok: bool
    troubles: list[str]


def summarize(fault: Fault, runs: Sequence[Run], language: str) -> DrillSummary:
    """Sum up all rounds of one fault."""
    times = [run["mttr"] for run in runs if run["mttr"] is not None]
    seen = [run["mttd"] for run in runs if run["mttd"] is not None]
    evidence = [run["evidence"] for run in runs if run["evidence"] is not None]
    timed = fault.expect == "recovered" and bool(times)
    middle, high = (round(drill_judge.median(times), 2), round(drill_judge.p95(times), 2)) if timed else (None, None)
    missed = list(dict.fromkeys(problem for run in runs for problem in run["problems"]))
    if middle is not None and high is not None:
        if middle > fault.goal["median"]:
            missed.append(f"{middle:.1f} s, goal {fault.goal['median']:g} s")
        elif high > fault.goal["p95"]:
            missed.append(f"p95 {high:.1f} s, goal {fault.goal['p95']:g} s")
    return {
        "fault": fault.name,
        "title": drill_fault.title(fault, language),
        "expect": fault.expect,
        "rounds": len(runs),
        "goal": dict(fault.goal),
        "median": middle,
        "p95": high,
        "mttd": round(drill_judge.median(seen), 2) if seen else None,
        "failed": round(drill_judge.median([run["failed"] for run in runs])),
        "causes": list(dict.fromkeys(run["cause"] for run in runs if run["cause"])),
        "remedies": list(dict.fromkeys(" → ".join(run["remedies"]) for run in runs if run["remedies"])),
        "evidence": all(evidence) if evidence else None,
        "met": not missed,
        "missed": missed,
    }


def build(about: About, faults: Sequence[Fault], runs: Sequence[Run], troubles: Sequence[str] = ()) -> Report:
    """Compose the report.

    :arg runs: in the order in which they were run.
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
    return {
        **about,
        "drills": drills,
        "runs": list(runs),
        "met": met,
        "total": len(drills),
        "verdict": verdict,
        "ok": not missed and not troubles,
        "troubles": list(troubles),
    }


_HEAD = ("fault", "n", "MTTD", "MTTR", "p95", "goal", "failed", "cause", "remedy", "evidence", "met")


def _row(drill: DrillSummary) -> tuple[str, ...]:
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


def screen(report: Report, where: str) -> str:
    """Return the text for the screen, with the verdict last; `where` is the path of the Markdown file."""
    rows = [_HEAD, *(_row(drill) for drill in report["drills"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"{drill['fault']}: {'; '.join(drill['missed'])}" for drill in report["drills"] if not drill["met"]]
    lines += _unasked(report)
    return "\n".join([*lines, *report["left_out"], f"Report: {where}", report["verdict"]])


def _unasked(report: Report) -> list[str]:
    """The faults that no check would have noticed, in a sentence."""
    names = list(dict.fromkeys(run["fault"] for run in report["runs"] if run["unasked"] and not run["failed"]))
    return [f"No check would have noticed, and the watcher did: {', '.join(names)}"] if names else []


def markdown(report: Report, picture: str) -> str:
    """Return the report as a page; `picture` is the file name of the timelines."""
    lines = [f"# Drills of {report['app']} on {report['host']}", "", f"D{report['verdict'][1:]}.", ""]
    lines += [f"{report['id'].split('-')[0]}, measured at {report['url']} ten times a second.", ""]
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
        reasons = [f"- {drill['fault']}, {drill['title']}: {'; '.join(drill['missed'])}" for drill in missed]
        lines += ["", "## Missed", "", *reasons]
    if _unasked(report):
        lines += ["", *(f"{sentence}." for sentence in _unasked(report))]
    if report["left_out"]:
        lines += ["", "## Left out", "", *[f"- {sentence}" for sentence in report["left_out"]]]
    return "\n".join(lines) + "\n"


_COLORS = {"good": "#55a868", "late": "#ddaa33", "failed": "#c44e52"}
_INK = "#333333"
_LEFT, _WIDTH, _BAR, _STEP = 190, 720, 14, 26


def svg(report: Report) -> str:
    """Draw a bar for each fault, of its slowest round: answers over time, when it was noticed, and the goal."""
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
        "Line: noticed by the host, triangle: goal. Seconds after the fault</text>",
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


def _slowest(runs: Sequence[Run], fault: str) -> Run:
    own = [run for run in runs if run["fault"] == fault]
    return max(own, key=lambda run: math.inf if run["mttr"] is None else run["mttr"])


def _escaped(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
