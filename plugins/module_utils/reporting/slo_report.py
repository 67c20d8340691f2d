# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a month: the incident report's success metrics against their goals, as facts and as Markdown.

Pure: no clock, no I/O. It says what cannot be known, and guesses nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from ..core.clock import iso, stamp
from ..records.incidents import IncidentRecord
from . import slo_queries
from .alert_messages import Alert
from .slo_queries import Bar

ALERT = "SelfhealReport"
MET, AS_SEEN, MISSED, UNKNOWN, UNMEASURED = "met", "met as far as seen", "missed", "not known", "not measured"
"""Verdicts. `AS_SEEN`: nothing was measured for a day or more, and what was measured meets the goal."""

GOALS: dict[str, tuple[float, float, float]] = {
    # name: (default, smallest, largest)
    "uptime_percent": (99.9, 50, 100),
    "response_ms": (500, 1, 60000),
    "recovery_seconds": (300, 1, 86400),
    "unattended_percent": (90, 0, 100),
    "incidents": (1, 0, 1000),
}
# How many days that were not up, and how many incidents, the page names.
_LONGEST = 62
# What sums of fractions may be off by.
_HAIR = 1e-9

_MARKS = {"up": "█", "degraded": "▅", "down": "▂", slo_queries.NONE: "·"}
_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "SLO report: {app} on {host}, {month}",
        "so_far": "{from_day} to {to_day} (UTC); the month goes on.",
        "whole": "{from_day} to {to_day} (UTC).",
        "met_of": "{met} of {of} goals met",
        "not_known": ", {count} not known",
        "head": "| metric | goal | measured | |",
        "uptime": "Uptime",
        "response": "Mean response time",
        "recovery": "Recovery from an incident",
        "unattended": "Recovered unattended",
        "incidents": "Incidents",
        "data_loss": "Data lost",
        "complaints": "Complaints of users",
        "security": "Security incidents",
        "at_least": "≥ {value}",
        "at_most": "≤ {value}",
        "a_month": "{count} a month",
        "times": "{count}",
        "no_data": "not measured",
        "no_incident": "no incident",
        "forgotten": "incidents of that time are not kept any more",
        "on_average": "{mean} on average, {longest} at most",
        "of": "{percent} ({count} of {of})",
        "still_open": "{count} not over",
        "unseen": "not measured for {time}",
        "no_loss": "no remedy deletes data, and nothing here counts what is lost",
        "no_complaints": "nothing here hears of them",
        "no_security": "nothing here looks for them",
        MET: "✅ met",
        AS_SEEN: "✅ met, as far as seen",
        MISSED: "❌ missed",
        UNKNOWN: "❔ not known",
        UNMEASURED: "⚪ not measured",
        "budget": "The error budget of {percent} is {allowed} of the month; {used} were used, {left} are left.",
        "budget_over": "The error budget of {percent} is {allowed} of the month; {used} were used, {left} too much.",
        "budget_unknown": "The error budget of {percent} is {allowed} of the month; what was used is not known.",
        "days": "Days",
        "legend": "█ up, ▅ degraded, ▂ down, · not measured",
        "day_head": "| day | down | degraded | not measured |",
        "incident_list": "Incidents",
        "incident_head": "| incident | cause | recovery | remedies | unattended |",
        "yes": "yes",
        "no": "no",
        "not_over": "not over",
        "nothing": "none",
        "more": "… and {count} more",
        "minutes": "{value} min",
        "seconds": "{value} s",
        "hours": "{value} h",
        "days_long": "{value} d",
    },
    "ko": {
        "title": "SLO 보고서: {app} ({host}), {month}",
        "so_far": "{from_day} ~ {to_day} (UTC), 이번 달은 아직 진행 중입니다.",
        "whole": "{from_day} ~ {to_day} (UTC).",
        "met_of": "목표 {of}개 중 {met}개 달성",
        "not_known": ", {count}개 알 수 없음",
        "head": "| 지표 | 목표 | 측정값 | |",
        # The words of the incident report itself.
        "uptime": "서버 가동률",
        "response": "평균 응답 시간",
        "recovery": "장애 복구 시간",
        "unattended": "무인 복구율",
        "incidents": "장애 발생 빈도",
        "data_loss": "데이터 손실",
        "complaints": "사용자 불만",
        "security": "보안 사고",
        "at_least": "{value} 이상",
        "at_most": "{value} 이하",
        "a_month": "월 {count}회",
        "times": "{count}건",
        "no_data": "측정된 것이 없음",
        "no_incident": "장애 없음",
        "forgotten": "그 기간의 장애 기록은 더 이상 보관되어 있지 않음",
        "on_average": "평균 {mean}, 최장 {longest}",
        "of": "{percent} ({of}건 중 {count}건)",
        "still_open": "{count}건 진행 중",
        "unseen": "{time} 동안 측정되지 않음",
        "no_loss": "어떤 복구 조치도 데이터를 삭제하지 않으며, 손실 여부는 측정하지 않음",
        "no_complaints": "수집하지 않음",
        "no_security": "탐지하지 않음",
        MET: "✅ 달성",
        AS_SEEN: "✅ 측정된 범위에서 달성",
        MISSED: "❌ 미달",
        UNKNOWN: "❔ 알 수 없음",
        UNMEASURED: "⚪ 측정하지 않음",
        "budget": "{percent} 목표에 따른 이 달의 오류 허용량: {allowed} (사용 {used}, 남음 {left}).",
        "budget_over": "{percent} 목표에 따른 이 달의 오류 허용량: {allowed} (사용 {used}, 초과 {left}).",
        "budget_unknown": "{percent} 목표에 따른 이 달의 오류 허용량: {allowed} (사용량은 알 수 없음).",
        "days": "일별 상태",
        "legend": "█ 정상, ▅ 성능 저하, ▂ 중단, · 측정되지 않음",
        "day_head": "| 날짜 | 중단 | 성능 저하 | 측정되지 않음 |",
        "incident_list": "장애 내역",
        "incident_head": "| 장애 | 원인 | 복구 시간 | 조치 | 무인 복구 |",
        "yes": "예",
        "no": "아니요",
        "not_over": "진행 중",
        "nothing": "없음",
        "more": "… 외 {count}건",
        "minutes": "{value}분",
        "seconds": "{value}초",
        "hours": "{value}시간",
        "days_long": "{value}일",
    },
}
LANGUAGES = tuple(_WORDS)


class About(TypedDict):
    """Whose report it is, and its language (en, ko)."""

    app: str
    host: str
    language: str


class _More(TypedDict, total=False):
    longest: float | None
    count: int
    of: int
    open: int


class Metric(_More):
    """A figure of the month, its goal, and whether it is met. `value` is None where nothing is known.

    Of recoveries `longest` is the longest one (s); `count` and `of` say how many of them were unattended; of incidents
    `open` is how many are not over.
    """

    name: str
    goal: float
    value: float | None
    verdict: str


class Budget(TypedDict):
    """The error budget of the month, in minutes; None where nothing is known."""

    allowed: float
    used: float | None
    left: float | None


class IncidentRow(TypedDict):
    """An incident of the month; `unattended` is None while it is open."""

    id: str
    cause: str
    seconds: float
    over: bool
    remedies: list[str]
    unattended: bool | None


# `from` is a keyword of Python.
_Span = TypedDict("_Span", {"from": str, "to": str})


class Report(About, _Span):
    """The report of a month ("2025-05"), from its first second `to` its last one, or to now while it goes on.

    `goals` are by the names of `GOALS`. `unseen_seconds`: nothing was measured for so long. `remembered`: all incidents
    of the month are still kept.
    """

    month: str
    over: bool
    goals: dict[str, float]
    metrics: list[Metric]
    budget: Budget
    days: list[Bar]
    unseen_seconds: int
    remembered: bool
    incidents: list[IncidentRow]


def build(
    about: About,
    month: slo_queries.Month,
    goals: Mapping[str, float],
    days: Sequence[Bar],
    figures: Mapping[str, float | None],
    incidents: Iterable[IncidentRecord],
    remembered: bool,
) -> Report:
    """Put the report together.

    :arg goals: a number for each name of `GOALS`.
    :arg days: the bars of the month's days, as `slo.bars` has them.
    :arg figures: what `slo.month_queries` gave, None where it gave nothing.
    :arg incidents: records; those that were not first seen in this month are passed over.
    :arg remembered: whether all incidents of the month are kept still.
    :returns: the report; its values are in the goals' units.
    """
    mine = [_row(one) for one in incidents if stamp(month.start) <= str(one["id"])[:16] < stamp(month.end)]
    unseen = sum(one[slo_queries.NONE] for one in days)
    lasted = month.end - month.start
    judge = _Judge(unseen, lasted, remembered)
    allowed = slo_queries.budget_minutes(lasted / slo_queries.DAY, goals["uptime_percent"])
    used = figures["failed_minutes"]
    return {
        **about,
        "month": month.name,
        "from": iso(month.start),
        "to": iso(month.end),
        "over": month.over,
        "goals": dict(goals),
        "metrics": [
            *_from_prometheus(goals, days, figures["response_seconds"], judge, lasted),
            *_from_incidents(goals, mine, judge),
            *[_metric(name, 0, None, UNMEASURED) for name in ("data_loss", "complaints", "security")],
        ],
        "budget": {
            "allowed": round(allowed, 2),
            "used": None if used is None else round(used, 2),
            "left": None if used is None else round(allowed - used, 2),
        },
        "days": list(days),
        "unseen_seconds": round(unseen),
        "remembered": remembered,
        "incidents": mine,
    }


def _row(record: IncidentRecord) -> IncidentRow:
    return {
        "id": str(record["id"]),
        "cause": str(record["cause"]),
        "seconds": float(record["seconds"]),
        "over": bool(record["healthy"]),
        "remedies": [str(one["name"]) for one in record.get("remedies") or []],
        "unattended": slo_queries.unattended(record),
    }


def _metric(name: str, goal: float, measured: float | None, verdict: str) -> Metric:
    return {"name": name, "goal": goal, "value": measured, "verdict": verdict}


class _Judge:
    """Says of a figure whether it meets its goal, by how much of the month was seen."""

    def __init__(self, unseen: float, lasted: float, remembered: bool) -> None:
        self.unseen, self.mostly_unseen, self.remembered = unseen, unseen > lasted / 2, remembered

    def seen(self, met: bool) -> str:
        """The verdict on what was measured: not known when that is less than half of the month."""
        if self.mostly_unseen:
            return UNKNOWN
        return MISSED if not met else AS_SEEN if self.unseen >= slo_queries.DAY else MET

    def kept(self, met: bool) -> str:
        """The verdict on what the incident files say, as far as they are kept."""
        return self.seen(met) if self.remembered else UNKNOWN


def _from_prometheus(
    goals: Mapping[str, float], days: Sequence[Bar], response: float | None, judge: _Judge, lasted: float
) -> list[Metric]:
    up, down = slo_queries.uptime(days), sum(one["down"] for one in days)
    percent = None if up is None else up * 100
    milliseconds = None if response is None else response * 1000
    goal = goals["uptime_percent"]
    verdict = UNKNOWN if percent is None else judge.seen(percent >= goal - _HAIR)
    if down > lasted * (100 + _HAIR - goal) / 100:
        # Whatever it was while nothing was measured.
        verdict = MISSED
    met = milliseconds is not None and milliseconds <= goals["response_ms"]
    return [
        _metric("uptime", goal, percent, verdict),
        _metric("response", goals["response_ms"], milliseconds, UNKNOWN if milliseconds is None else judge.seen(met)),
    ]


def _from_incidents(goals: Mapping[str, float], mine: Sequence[IncidentRow], judge: _Judge) -> list[Metric]:
    """What the incident files say. With no incident there was nothing to recover, and no goal is missed."""
    took = [one["seconds"] for one in mine if one["over"]]
    judged = [one["unattended"] for one in mine if one["unattended"] is not None]
    mean = sum(took) / len(took) if took else None
    share = 100 * sum(judged) / len(judged) if judged else None
    count = len(mine)

    def verdict(measured: float | None, met: bool) -> str:
        return UNKNOWN if measured is None and mine else judge.kept(measured is None or met)

    quick = mean is not None and mean <= goals["recovery_seconds"]
    alone = share is not None and share >= goals["unattended_percent"] - _HAIR
    # Incidents that were not seen, or are not kept any more, could only add to the number.
    few = MISSED if count > goals["incidents"] else judge.kept(True)
    recovery = _metric("recovery", goals["recovery_seconds"], mean, verdict(mean, quick))
    unattended = _metric("unattended", goals["unattended_percent"], share, verdict(share, alone))
    number = _metric("incidents", goals["incidents"], float(count), few)
    return [
        {**recovery, "longest": max(took, default=None)},
        {**unattended, "count": sum(judged), "of": len(judged)},
        {**number, "open": sum(not one["over"] for one in mine)},
    ]


# --- in words --------------------------------------------------------------------------------------------------------


def _time(words: Mapping[str, str], seconds: float) -> str:
    """12.3 → "12.3 s", 5400 → "90 min"."""
    for name, unit, most in (("seconds", 1, 120), ("minutes", 60, 7200), ("hours", 3600, 172800)):
        if seconds < most:
            return words[name].format(value=_short(seconds / unit))
    return words["days_long"].format(value=_short(seconds / slo_queries.DAY))


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _percent(number: float) -> str:
    """Cut off, not rounded: 99.8999 does not meet 99.9, and must not look as if it did."""
    return f"{math.floor(number * 1000 + 1e-6) / 1000:g} %"


def _goal(words: Mapping[str, str], metric: Metric) -> str:
    name, goal = metric["name"], metric["goal"]
    if name in ("uptime", "unattended"):
        return words["at_least"].format(value=_percent(goal))
    if name == "response":
        return words["at_most"].format(value=f"{goal:g} ms")
    if name == "recovery":
        return words["at_most"].format(value=_time(words, goal))
    if name == "incidents":
        return words["at_most"].format(value=words["a_month"].format(count=f"{goal:g}"))
    return words["times"].format(count=0)


def _measured(words: Mapping[str, str], report: Report, metric: Metric) -> str:
    name, number = metric["name"], metric["value"]
    if name == "data_loss":
        return words["no_loss"]
    if name in ("complaints", "security"):
        return words[f"no_{name}"]
    if name in ("uptime", "response"):
        if number is None:
            return words["no_data"]
        shown = _percent(number) if name == "uptime" else f"{number:.0f} ms"
        gap = report["unseen_seconds"]
        return f"{shown}; {words['unseen'].format(time=_time(words, gap))}" if gap else shown
    if not report["remembered"]:
        return words["forgotten"]
    if not report["incidents"]:
        return words["no_incident"] if _seen(report) else words["no_data"]
    if number is None:
        return words["not_over"]
    if name == "recovery":
        # There is a mean, so there is a longest one.
        longest = metric["longest"] or 0.0
        return words["on_average"].format(mean=_time(words, number), longest=_time(words, longest))
    if name == "unattended":
        return words["of"].format(percent=_percent(number), count=metric["count"], of=metric["of"])
    shown = words["times"].format(count=f"{number:g}")
    return f"{shown}; {words['still_open'].format(count=metric['open'])}" if metric["open"] else shown


def _seen(report: Report) -> bool:
    return any(one["state"] != slo_queries.NONE for one in report["days"])


def _title(words: Mapping[str, str], report: Report) -> str:
    return words["title"].format(app=report["app"], host=report["host"], month=report["month"])


def _span(words: Mapping[str, str], report: Report) -> str:
    days = {
        "from_day": report["from"][:10],
        "to_day": report["days"][-1]["day"] if report["over"] else report["to"][:10],
    }
    return words["whole" if report["over"] else "so_far"].format(**days)


def _budget(words: Mapping[str, str], report: Report) -> str:
    budget, percent = report["budget"], _percent(report["goals"]["uptime_percent"])
    allowed = _time(words, budget["allowed"] * 60)
    if budget["used"] is None or budget["left"] is None:
        return words["budget_unknown"].format(percent=percent, allowed=allowed)
    used, left = _time(words, budget["used"] * 60), _time(words, abs(budget["left"]) * 60)
    kind = "budget" if budget["left"] >= 0 else "budget_over"
    return words[kind].format(percent=percent, allowed=allowed, used=used, left=left)


def headline(report: Report) -> str:
    """How many goals were met, in a line. Goals that are not measured are left out."""
    words = _WORDS[report["language"]]
    judged = [one["verdict"] for one in report["metrics"] if one["verdict"] != UNMEASURED]
    unknown = judged.count(UNKNOWN)
    line = words["met_of"].format(met=judged.count(MET) + judged.count(AS_SEEN), of=len(judged))
    return line + (words["not_known"].format(count=unknown) if unknown else "")


def markdown(report: Report) -> str:
    """Return the report as a page."""
    words = _WORDS[report["language"]]
    lines = [f"# {_title(words, report)}", "", f"{_span(words, report)} **{headline(report)}.**", ""]
    lines += [words["head"], "|---|---|---|---|"]
    lines += [
        f"| {words[one['name']]} | {_goal(words, one)} | {_measured(words, report, one)} | {words[one['verdict']]} |"
        for one in report["metrics"]
    ]
    lines += ["", _budget(words, report), "", f"## {words['days']}", ""]
    lines += [f"`{''.join(_MARKS[one['state']] for one in report['days'])}` {words['legend']}"]
    lines += _table(words, words["day_head"], _day_rows(words, report["days"]))
    lines += ["", f"## {words['incident_list']}"]
    rows = _incident_rows(words, report["incidents"])
    nothing = "nothing" if report["remembered"] else "forgotten"
    lines += _table(words, words["incident_head"], rows) or ["", words[nothing]]
    return "\n".join(lines) + "\n"


def _table(words: Mapping[str, str], head: str, rows: Sequence[str]) -> list[str]:
    """A table of what there is, cut where it gets too long; nothing when there is nothing."""
    more = [words["more"].format(count=len(rows) - _LONGEST)] if len(rows) > _LONGEST else []
    return (
        ["", head, "|---" * (head.count("|") - 1) + "|", *rows[:_LONGEST], *(["", *more] if more else [])]
        if rows
        else []
    )


def _day_rows(words: Mapping[str, str], days: Sequence[Bar]) -> list[str]:
    """A row for each day that was not up; days in a row that were not measured are one."""
    rows = []
    for unseen, group in itertools.groupby(days, lambda one: one["state"] == slo_queries.NONE):
        of_group = list(group)
        if unseen:
            first, last = of_group[0]["day"], of_group[-1]["day"]
            gap = _time(words, sum(one[slo_queries.NONE] for one in of_group))
            rows.append(f"| {first if first == last else f'{first} … {last}'} |  |  | {gap} |")
            continue
        for one in of_group:
            parts = (one["down"], one["degraded"], one["none"])
            times = [_time(words, seconds) if seconds else "" for seconds in parts]
            rows += [f"| {one['day']} | {' | '.join(times)} |"] if any(times) else []
    return rows


def _incident_rows(words: Mapping[str, str], incidents: Sequence[IncidentRow]) -> list[str]:
    rows = []
    for one in incidents:
        took = _time(words, one["seconds"]) if one["over"] else words["not_over"]
        alone = {True: words["yes"], False: words["no"], None: words["not_over"]}[one["unattended"]]
        rows.append(
            f"| {one['id']} | {one['cause']} | {took} | {', '.join(one['remedies']) or words['nothing']} | {alone} |"
        )
    return rows


def text(report: Report) -> str:
    """Return the report for a screen and for a mail: the title, a line for each metric, the budget."""
    words = _WORDS[report["language"]]
    lines = [f"{_title(words, report)}: {headline(report)}", _span(words, report)]
    lines += [
        f"{words[one['name']]} ({_goal(words, one)}): {_measured(words, report, one)} {words[one['verdict']]}"
        for one in report["metrics"]
    ]
    return "\n".join([*lines, _budget(words, report)])


def alert(report: Report, now: float, seconds: float) -> Alert:
    """The report as Alertmanager takes it: it begins now (epoch s) and ends by itself. It is sent by email only."""
    title, _unused, body = text(report).partition("\n")
    return {
        "labels": {
            "alertname": ALERT,
            "severity": "info",
            "app": report["app"],
            "host": report["host"],
            # Alertmanager does not repeat an alert within hours: each report that is sent is one of its own.
            "incident": f"report-{report['month']}-{stamp(now)}",
        },
        "annotations": {"summary": title, "description": body},
        "startsAt": iso(now),
        "endsAt": iso(now + seconds),
    }
