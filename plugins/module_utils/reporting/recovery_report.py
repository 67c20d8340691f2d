# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of one recovery, from the controller: the seven-line checklist as facts, on the screen, as Markdown.

Pure: no clock, no I/O. Everything it is given is redacted already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from ..env.rules import Finding, describe
from ..probe.run import NotAsked, ProbeResult
from ..records.incidents import RemedyRecord, TimelineEntry

STEPS = ("ssh", "env_backup", "variables", "containers", "health", "api", "frontend")
"""The seven lines of the incident report's checklist, in its order."""

TITLES: dict[str, dict[str, str]] = {
    "en": {
        "ssh": "SSH connection established",
        "env_backup": "Env file backed up",
        "variables": "Variables validated",
        "containers": "Docker containers restarted",
        "health": "Health check passed",
        "api": "API endpoints answer",
        "frontend": "Front-end login succeeds",
    },
    # The words of the incident report itself.
    "ko": {
        "ssh": "SSH 접속 성공",
        "env_backup": "환경변수 파일 백업",
        "variables": "환경변수 검증",
        "containers": "Docker 컨테이너 재시작",
        "health": "Health Check 통과",
        "api": "API 엔드포인트 정상 응답",
        "frontend": "프론트엔드 로그인 성공",
    },
}

NAMES: dict[str, dict[str, str]] = {
    "en": {
        "ssh": "SSH connection",
        "env_backup": "Env file backup",
        "variables": "Validation of the variables",
        "containers": "Restart of the containers",
        "health": "Health check",
        "api": "API endpoints",
        "frontend": "Front-end login",
    },
    "ko": {
        "ssh": "SSH 접속",
        "env_backup": "환경변수 파일 백업",
        "variables": "환경변수 검증",
        "containers": "Docker 컨테이너 재시작",
        "health": "Health Check",
        "api": "API 엔드포인트",
        "frontend": "프론트엔드 로그인",
    },
}
"""The same steps, as they are named where one has failed."""

# The line of the variables names those that were wrong, or were written.
_UPDATED = {"en": "{} updated", "ko": "{} 업데이트"}
_NAMES_SHOWN = 3

NOT_REACHED = "not reached"
_AGAIN = "run christmas.selfheal.recover again"
_LAST_GOOD = (
    "To bring the app back at once with the last good env that the host keeps, add: -e recover_use_last_good=true"
)


# Done, not done, and not checked, for want of a check.
MARKS = {True: "x", False: " ", None: "-"}


class About(TypedDict):
    """Which recovery it is, and of what; `language` is en or ko."""

    id: str
    app: str
    host: str
    address: str
    check_mode: bool
    language: str


class _Reached(TypedDict, total=False):
    reached: float
    proved: float


class Times(_Reached):
    """Seconds of one clock; one that is missing was not reached. `proved`: the values were validated."""

    started: float
    ended: float


class Ssh(TypedDict):
    """How the host was reached; `problem` is "" when it was."""

    problem: str
    detail: str
    next_step: str


class _Names(TypedDict, total=False):
    names: Sequence[str]


class StepOutcome(_Names):
    """What a recovery says of one step; `done` is None for one that was not checked.

    `names` are the variables that were wrong, or were written.
    """

    step: str
    done: bool | None
    seconds: float
    detail: str


class KeptIncident(TypedDict, total=False):
    """The incident of a recovery: its folder on the host, and its seconds so far."""

    id: str
    path: str
    seconds: float


class Outcome(TypedDict, total=False):
    """What a recovery returned; empty when it was not run, or had no outcome."""

    healthy: bool
    changed: bool
    cause: str
    meaning: str
    evidence: list[str]
    remedies: list[RemedyRecord]
    checklist: list[StepOutcome]
    timeline: list[TimelineEntry]
    checks: ProbeResult
    next_step: str
    incident: KeptIncident | None


class Line(TypedDict):
    """A line of the checklist; `done` is None for a step that was not checked."""

    number: int
    step: str
    title: str
    done: bool | None
    seconds: float
    detail: str


class Report(About):
    """The report of a recovery, as its JSON file holds it. `incident` is {} where there is none."""

    healthy: bool
    changed: bool
    seconds: float
    cause: str
    meaning: str
    evidence: list[str]
    remedies: list[RemedyRecord]
    checklist: list[Line]
    failed_step: str
    next_step: str
    problem: str
    checks: ProbeResult | NotAsked
    timeline: list[TimelineEntry]
    incident: KeptIncident
    verdict: str


class _Step(NamedTuple):
    """A step that was reached."""

    done: bool | None
    seconds: float
    detail: str
    names: Sequence[str] = ()


def build(about: About, clock: Times, ssh: Ssh, findings: Sequence[Finding], recovery: Outcome, problem: str) -> Report:
    """Put the report together.

    :arg findings: what is wrong with the values from the vault.
    :arg problem: why there is no outcome.
    """
    described = describe(findings).splitlines()
    problem = ssh["problem"] or problem or " ".join(described)
    healthy = bool(recovery.get("healthy"))
    lines = _checklist(about, clock, ssh, findings, recovery, problem)
    language = _language(about)
    failed = [line for line in lines if line["done"] is False]
    # The step that went wrong says so; the steps after it were only not reached.
    failed = [line for line in failed if line["detail"] != NOT_REACHED] or failed
    nothing: NotAsked = {}
    no_incident: KeptIncident = {}
    built: Report = {
        **about,
        "healthy": healthy,
        "changed": bool(recovery.get("changed")),
        "seconds": round(clock["ended"] - clock["started"], 2),
        "cause": recovery.get("cause") or ("unreachable" if ssh["problem"] else "not diagnosed"),
        "meaning": recovery.get("meaning") or "",
        "evidence": list(recovery.get("evidence") or described or ([problem] if problem else [])),
        "remedies": list(recovery.get("remedies") or []),
        "checklist": lines,
        "failed_step": "" if healthy or not failed else _failed_step(failed[0], language),
        "next_step": "" if healthy else _next_step(ssh, findings, "proved" in clock, recovery),
        "problem": problem,
        "checks": recovery.get("checks") or nothing,
        "timeline": list(recovery.get("timeline") or []),
        "incident": recovery.get("incident") or no_incident,
        "verdict": "",
    }
    return {**built, "verdict": _verdict(built)}


def _checklist(
    about: About, clock: Times, ssh: Ssh, findings: Sequence[Finding], recovery: Outcome, problem: str
) -> list[Line]:
    """The lines of the checklist, all of them, in their order."""
    known = _known_lines(clock, ssh, findings, recovery, problem)
    language = _language(about)
    lines = [(step, known.get(step, _Step(False, 0.0, NOT_REACHED))) for step in STEPS]
    return [
        {
            "number": number,
            "step": step,
            "title": _title(language, step, line.names),
            "done": line.done,
            "seconds": round(line.seconds, 2),
            "detail": _one_line(line.detail),
        }
        for number, (step, line) in enumerate(lines, start=1)
    ]


def _language(about: About) -> str:
    return about["language"] if about["language"] in TITLES else "en"


def _known_lines(
    clock: Times, ssh: Ssh, findings: Sequence[Finding], recovery: Outcome, problem: str
) -> dict[str, _Step]:
    """The steps that were reached, by name."""
    reached = clock.get("reached", clock["ended"])
    validation = clock.get("proved", clock["ended"]) - reached
    known = {"ssh": _Step(not ssh["problem"], reached - clock["started"], ssh["problem"] or ssh["detail"])}
    for line in recovery.get("checklist") or []:
        extra = validation if line["step"] == "variables" else 0.0
        known[line["step"]] = _Step(line["done"], line["seconds"] + extra, line["detail"], line.get("names") or ())
    if not ssh["problem"] and len(known) == 1:
        step = "variables" if findings or "proved" not in clock else "env_backup"
        names = [finding["variable"] for finding in findings]
        known[step] = _Step(False, validation, problem, names)
    return known


def _title(language: str, step: str, names: Sequence[str]) -> str:
    """The title of a line; that of the variables has their names."""
    mine = list(dict.fromkeys(names))
    if step != "variables" or not mine:
        return TITLES[language][step]
    rest = len(mine) - _NAMES_SHOWN
    more = f" (+{rest})" if rest > 0 else ""
    return _UPDATED[language].format(", ".join(mine[:_NAMES_SHOWN]) + more)


def _failed_step(line: Line, language: str) -> str:
    return f"{line['number']} of {len(STEPS)}, {NAMES[language][line['step']]}: {line['detail']}".rstrip(". ")


def _next_step(ssh: Ssh, findings: Sequence[Finding], validated: bool, recovery: Outcome) -> str:
    if ssh["problem"]:
        return ssh["next_step"]
    if findings:
        names = ", ".join(dict.fromkeys(item["variable"] for item in findings))
        return f"Correct {names} in the vault (ansible-vault edit), then {_AGAIN}. {_LAST_GOOD}"
    if not validated:
        return f"Correct that, then {_AGAIN}. {_LAST_GOOD}"
    return recovery.get("next_step") or f"Correct that, then {_AGAIN}."


def _verdict(built: Report) -> str:
    """The last line of a run that failed: which step, why, and what to do."""
    if built["healthy"]:
        return ""
    failed = built["failed_step"]
    because = "; ".join(item for item in map(_one_line, built["evidence"]) if item.rstrip(".") not in failed)
    return (
        f"{built['app']} on {built['host']} is NOT recovered. Failed at step {failed}."
        + (f" Cause: {because.rstrip('.')}." if because else "")
        + f" Next: {built['next_step']}"
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _headline(report: Report) -> str:
    name, took = f"{report['app']} on {report['host']}", f"{report['seconds']:.1f} s"
    why = ": ".join(part for part in (report["cause"], report["meaning"]) if part)
    if report["healthy"]:
        acted = "recovered in" if report["remedies"] else "healthy, nothing was restarted,"
        return f"{name}: {acted} {took}" + (f" ({why})" if report["remedies"] else "")
    if report["check_mode"] and not report["problem"]:
        return f"{name}: would be recovered ({why})"
    return f"{name}: NOT recovered after {took} ({why})"


def screen(report: Report, where: str) -> str:
    """Return what a person reads on the screen; `where` is the path of the Markdown file, "" when none was written."""
    lines = [_headline(report)]
    for line in report["checklist"]:
        tick, detail = MARKS[line["done"]], line["detail"]
        shown = detail if len(detail) <= 160 else f"{detail[:157]}…"
        lines.append(f"[{tick}] {line['seconds']:6.2f} s  {line['number']}. {line['title']} ({shown})")
    if report["check_mode"]:
        lines += [f"would apply: {item['name']}" for item in report["remedies"]]
    return "\n".join(lines + ([f"Report: {where}"] if where else []))


def markdown(report: Report) -> str:
    """Return the report as a page."""
    lines = [f"# {_headline(report)}", ""]
    lines += [f"{report['id'].split('-')[0]}, host {report['host']} ({report['address']})", "", "## Checklist", ""]
    lines += [
        f"- [{MARKS[line['done']]}] {line['title']} ({line['seconds']:.2f} s): {line['detail']}"
        for line in report["checklist"]
    ]
    if report["next_step"]:
        lines += ["", "## Next", "", f"Failed at step {report['failed_step']}.", "", report["next_step"]]
    if report["evidence"]:
        lines += ["", "## Evidence", "", *[f"- {_one_line(item)}" for item in report["evidence"]]]
    if report["remedies"]:
        done = [f"1. {one['name']} ({one['seconds']:.2f} s): {_one_line(one['result'])}" for one in report["remedies"]]
        lines += ["", "## Remedies", "", *done]
    if report["timeline"]:
        lines += ["", "## Timeline", "", "| time | seconds | what |", "|---|---:|---|"]
        lines += [
            f"| {one['time']} | {one['seconds']:.2f} | {_one_line(one['what']).replace('|', chr(92) + '|')} |"
            for one in report["timeline"]
        ]
    if report["incident"]:
        lines += ["", f"Everything that was kept on the host: `{report['incident'].get('path', '')}`"]
    return "\n".join(lines) + "\n"
