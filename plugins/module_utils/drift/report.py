# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a drift check: a table for the screen, Markdown, and a page with the history. Pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

from ..core.clock import iso
from . import shortened
from .findings import Finding, Trouble
from .store import CheckedHost, PastCheck

NONE, DRIFT, UNKNOWN = 0, 2, 4
"""Exit codes: no drift, drift, unknown. Ansible ends with 4 for a host that it cannot reach."""
DONE = ("corrected", "ignored")
LONGEST = 60


class Correction(TypedDict):
    """The correction of a host by its roles, and its result in words."""

    host: str
    roles: list[str]
    ok: bool
    what: str


class _Report(TypedDict):
    id: str
    time: float
    seconds: float
    hosts: list[str]
    compared: list[str]
    unchanged: list[str]
    checked: dict[str, CheckedHost]
    findings: list[Finding]
    troubles: list[Trouble]
    gone: list[str]
    corrections: list[Correction]
    accepted: list[str]
    notes: list[str]
    head: str
    exit: int


class Report(_Report, total=False):
    """A drift check: when it began (epoch s), how long it took, and what was found.

    `compared` are the hosts that were compared completely, `unchanged` those of them whose facts alone were compared,
    since nothing has changed there. `gone` are former findings in words. `accepted` are hosts. `head` is that of the
    event log. `path` is the Markdown file, once it is written.
    """

    path: str


def exit_code(findings: Iterable[Finding], troubles: Sequence[Trouble]) -> int:
    """The exit code. What could not be compared is never "no drift"; ignored and corrected findings do not count."""
    if troubles:
        return UNKNOWN
    return DRIFT if any(one["decision"] not in DONE for one in findings) else NONE


def headline(report: Report) -> str:
    """The report in a sentence."""
    hosts = f"{len(report['hosts'])} host{'s' * (len(report['hosts']) != 1)}"
    counts = _counts(report["findings"])
    found = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items())) or "no drift"
    drifts = (
        f"{len(report['findings'])} drift{'s' * (len(report['findings']) != 1)} ({found})" if counts else "no drift"
    )
    troubles = f"{len(report['troubles'])} could not be compared" if report["troubles"] else ""
    # Without a comparison, it is unknown whether there is drift.
    parts = [drifts, troubles] if counts or not troubles else ["it could not tell", troubles]
    return f"{hosts} checked in {report['seconds']:.1f} s: {', '.join(one for one in parts if one)}"


def extent(hosts: int, unchanged: int) -> str:
    """How many hosts the roles have compared, and how many not, in a sentence; "" when they have compared all."""
    if not unchanged:
        return ""
    which = "1 host has" if unchanged == 1 else f"{unchanged} hosts have"
    others = f"; {hosts - unchanged} compared whole" if hosts > unchanged else ""
    return f"{which} not changed since the last whole comparison: compared by facts alone{others}"


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in findings:
        counts[one["decision"]] = counts.get(one["decision"], 0) + 1
    return counts


_COLUMNS = ("HOST", "SEVERITY", "ROLE", "OBJECT", "IS", "SHOULD BE", "SINCE", "DECISION")


def _row(one: Finding) -> tuple[str, ...]:
    name = f"{one['object']} ({one['what']})"
    since = iso(one["first_seen"])[:16].replace("T", " ")
    return one["host"], one["severity"], one["role"], name, one["is"], one["should"], since, one["decision"]


def _short_row(one: Finding) -> tuple[str, ...]:
    host, severity, role, name, is_, should, since, decision = (" ".join(cell.split()) for cell in _row(one))
    start = [shortened.cut(cell, LONGEST) for cell in (host, severity, role, name)]
    return (*start, *shortened.pair(is_, should, LONGEST), since, decision)


def screen(report: Report, where: str = "") -> str:
    """Return what a person reads on the screen; `where` is the path of the Markdown file."""
    rows = [_COLUMNS, *(_short_row(one) for one in report["findings"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [headline(report)]
    if report["findings"]:
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"COULD NOT TELL  {_about(one)}" for one in report["troubles"]]
    lines += [
        f"{'corrected' if one['ok'] else 'NOT CORRECTED'}: {one['host']}: {one['what']}"
        for one in report["corrections"]
    ]
    lines += [f"went away: {one}" for one in report["gone"]]
    lines += report["notes"]
    return "\n".join([*lines, *([f"Report: {where}"] if where else [])])


def _about(one: Trouble) -> str:
    return ": ".join(part for part in (one["host"], one["role"], one["what"]) if part)


def as_json(report: Report) -> str:
    """Return the report for programs."""
    return json.dumps(report, indent=2, sort_keys=True) + "\n"


def _cell(text: object) -> str:
    """A cell's text: the name of a file must not become another cell, HTML or a link."""
    return re.sub(r"[\\|<`\[]", r"\\\g<0>", " ".join(str(text).split()))


def markdown(report: Report) -> str:
    """Return the report as a page."""
    lines = [f"# Drift: {headline(report)}", "", f"{iso(report['time'])}, hosts: {', '.join(report['hosts'])}", ""]
    if report["findings"]:
        columns = ("host", "severity", "role", "object", "is", "should be", "since", "decision", "why", "changed", "by")
        lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for one in report["findings"]:
            changed = iso(one["changed_at"])[:19] if one["changed_at"] else ""
            more = (one["because"], changed, ", ".join(one["changed_by"]))
            lines.append(f"| {' | '.join(_cell(cell) for cell in (*_row(one), *more))} |")
        lines.append("")
    for title, found in (
        ("Could not be compared", [_about(one) for one in report["troubles"]]),
        ("Corrections", [f"{one['host']}: {one['what']}" for one in report["corrections"]]),
        ("Went away", report["gone"]),
        ("Notes", report["notes"]),
    ):
        lines += [f"## {title}", "", *[f"- {_cell(one)}" for one in found], ""] if found else []
    return "\n".join([*lines, f"Head of the event log: `{report['head']}`", ""])


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ddd; overflow-wrap:
anywhere; } .security { color: #b00020; font-weight: 600; } .availability { color: #a05a00; } .cosmetic { color: #666;
} .bar { display: inline-block; height: .8rem; background: #b00020; } .good { background: #2e7d32; } .accepted {
background: #999; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #ddd; } th, td { border-color: #444; } }
"""


def page(report: Report, history: Sequence[PastCheck]) -> str:
    """Return a self-contained HTML page: the findings, and the past checks."""
    return "\n".join(["<!doctype html>", '<html lang="en">', *_page(report, history), "</html>", ""])


def _page(report: Report, history: Sequence[PastCheck]) -> Iterator[str]:
    yield f'<head><meta charset="utf-8"><title>Drift</title><style>{_STYLE}</style></head><body>'
    yield f"<h1>Drift</h1><p>{iso(report['time'])}: {html.escape(headline(report))}</p>"
    for one in report["troubles"]:
        yield f'<p class="security">Could not be compared: {html.escape(_about(one))}</p>'
    if report["findings"]:
        yield "<table><tr>" + "".join(f"<th>{html.escape(name.lower())}" for name in _COLUMNS) + "<th>who</tr>"
        for one in report["findings"]:
            cells = [*_row(one), ", ".join(one["changed_by"])]
            shown = "".join(f"<td>{html.escape(str(cell))}" for cell in cells)
            yield f'<tr class="{one["severity"]}" title="{html.escape(one["because"], quote=True)}">{shown}</tr>'
        yield "</table>"
    yield "<h2>History</h2><table><tr><th>check<th>found<th>corrected<th>accepted<th>could not tell<th></tr>"
    for entry in reversed(history):
        counts = ((entry["found"], ""), (entry["corrected"], "good"), (entry["accepted"], "accepted"))
        bars = "".join(
            f'<span class="bar {kind}" style="width:{min(count, 40) * 6}px"></span>' for count, kind in counts
        )
        numbers = "".join(f"<td>{count}" for count in (*(count for count, _unused in counts), entry["troubles"]))
        yield f"<tr><td>{iso(entry['time'])[:19]}{numbers}<td>{bars}</tr>"
    yield f"</table><p>Head of the event log: <code>{report['head']}</code></p></body>"


def entry(report: Report) -> PastCheck:
    """What the history keeps of this check."""
    counts = _counts(report["findings"])
    return {
        "id": report["id"],
        "time": report["time"],
        "seconds": report["seconds"],
        "hosts": len(report["hosts"]),
        "found": len(report["findings"]) - counts.get("ignored", 0),
        "corrected": counts.get("corrected", 0),
        "accepted": counts.get("ignored", 0),
        "troubles": len(report["troubles"]),
        "exit": report["exit"],
    }
