# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The picture: every run as a dot, median and p95, goals, and at the right edge the runs without recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.christmas.selfheal.bench.recovery.results import OURS, TWO, of

COLOURS = ("#0072b2", "#8c8c8c", "#009e73", "#e69f00", "#cc79a7", "#d55e00")
FIRST, LAST, NEVER = 0.3, 900.0, 1300.0
# The kinds of goals, and the width of their lines.
GOALS = {"median": 1.6, "p95": 0.8}


def draw(
    rows: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    path: Path,
    note: str,
) -> None:
    """Draw the faults that are to be recovered: above those with alternatives, below those of OURS alone."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    matplotlib.rcParams["svg.hashsalt"] = "bench-recovery"
    # With two instances users notice nothing, so there is no time to draw.
    titles = {system: title for system, title in titles.items() if system != TWO}
    rows = [row for row in rows if row["expect"] == "recovered" and set(row["systems"]) - {TWO}]
    systems = [system for system in titles if any(system in row["systems"] for row in rows)]
    colours = dict(zip(titles, COLOURS))
    rows = sorted(rows, key=lambda row: set(row["systems"]) <= {OURS, TWO})
    # From the top: a line for each system, a gap after each fault.
    lines, at = [], 0.0
    for row in rows:
        own = [system for system in systems if system in row["systems"]]
        lines.append((row, own, at))
        at += len(own) + 0.8
    figure, axes = pyplot.subplots(figsize=(9.5, 1.7 + 0.17 * at))
    for number, (row, own, top) in enumerate(lines):
        if number % 2 == 0:
            axes.axhspan(top - 0.9, top + len(own) - 0.1, color="#f4f4f4", zorder=0, linewidth=0)
        for offset, system in enumerate(own):
            _line(axes, row["systems"][system], of(runs, system, row["fault"]), top + offset, colours[system])
        if OURS in own:
            place = top + own.index(OURS)
            for key, size in GOALS.items():
                if key in row["goal"]:
                    at_goal = [row["goal"][key]] * 2
                    axes.plot(at_goal, [place - 0.45, place + 0.45], color="black", linewidth=size, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(FIRST, NEVER * 1.5)
    ticks = [0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600]
    axes.set_xticks([*ticks, NEVER], [*(f"{tick:g}" for tick in ticks), "never"])
    axes.minorticks_off()
    axes.axvline(LAST, color="#999999", linewidth=0.8)
    axes.grid(axis="x", color="#e0e0e0", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.set_yticks(
        [top + (len(own) - 1) / 2 for _unused, own, top in lines],
        [row["fault"].replace("_", " ") for row, _own, _top in lines],
    )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(at - 0.3, -1.0)
    axes.set_xlabel(f"seconds from the fault until the app answers well again, seen from outside\n{note}")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [
        Line2D([], [], color=colours[system], marker="o", markersize=6, linewidth=1.5, label=titles[system])
        for system in systems
    ]
    goals = ", ".join(key for key in GOALS if any(key in row["goal"] for row in rows))
    handles.append(Line2D([], [], color="black", marker="|", markersize=9, linewidth=0, label=f"goal: {goals}"))
    figure.legend(handles=handles, loc="upper center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.65 / figure.get_figheight()))
    figure.savefig(path, metadata={"Date": None})


def _line(axes: Any, summary: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], at: float, colour: str) -> None:
    """One system and one fault: dots, the median, a line to the p95; a cross for what was not recovered."""
    times = [run["seconds"] for run in runs if run["seconds"] is not None]
    shown = [max(seconds, FIRST * 1.1) for seconds in times]
    axes.plot(shown, [at] * len(shown), ".", color=colour, alpha=0.35, markersize=4, markeredgewidth=0, zorder=3)
    if summary["median"] is not None:
        end = NEVER if summary["p95"] is None else summary["p95"]
        axes.plot([summary["median"], end], [at, at], color=colour, linewidth=1.5, zorder=4)
        axes.plot(summary["median"], at, "o", color=colour, markersize=5.5, zorder=5)
        if summary["p95"] is not None:
            axes.plot(summary["p95"], at, "|", color=colour, markersize=7, markeredgewidth=1.5, zorder=5)
    lost = len(runs) - len(times)
    if lost:
        axes.plot(NEVER, at, "x", color=colour, markersize=5.5, markeredgewidth=1.6, zorder=5)
        axes.text(NEVER * 1.1, at, f"{lost} of {len(runs)}" if times else "", va="center", fontsize=7, color=colour)
