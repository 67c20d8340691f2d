# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page as HTML, in English and Korean, from the figures. Pure: no clock, no I/O.

All of it can be read without JavaScript. The page holds no style and no script of its own, so that its policy can forbid
both; what a chart is drawn from is a block of data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from html import escape
from typing import Any
from urllib.parse import urlencode

from . import alerts
from .page_figures import DEGRADED, DISK_PERCENT, DOWN, MONTH_DAYS, PAUSED, UNKNOWN, UP, is_unattended, parse
from .page_queries import DAYS

LANGUAGES = ("en", "ko")
_NAMES = {"en": "English", "ko": "한국어"}

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Status",
        "state_up": "All is well",
        "state_degraded": "Degraded",
        "state_down": "Down",
        "state_unknown": "Not known",
        "state_paused": "Healing is paused",
        "about_up": "Every check passes.",
        "about_degraded": "It answers, but not as it should.",
        "about_down": "Users cannot use it.",
        "about_unknown": "Nobody has looked lately.",
        "about_paused": "A person has told the watcher to leave the app alone.",
        "silent": "The watcher has not looked for {for}.",
        "breaker": "The host has given up healing it: a person is needed.",
        "no_prometheus": "Prometheus does not answer, so only incidents and releases are known.",
        "since": "for {for}",
        "uptime": "Uptime",
        "days": "{count} days",
        "today": "today",
        "days_ago": "{count} days ago",
        "not_watched": "not watched",
        "up": "up",
        "degraded": "degraded",
        "down": "down",
        "minutes": "{count} min",
        "promise": "Promise (SLO)",
        "goal": "Goal",
        "budget_left": "Error budget left, 30 days",
        "burn": "Burn rate, {window}",
        "burn_note": "times as fast as allowed",
        "now": "App, now",
        "response": "Response time",
        "requests": "Requests",
        "errors": "Failed requests",
        "connections": "Connections",
        "serving": "Instances serving",
        "per_minute": "/min",
        "limit": "limit {at}",
        "host": "Host",
        "memory": "Memory",
        "cpu": "CPU",
        "disk": "Disk",
        "instances": "Instances",
        "instance": "Container",
        "runs": "runs",
        "stopped": "stopped",
        "started": "Started",
        "database": "Database and cache",
        "database_up": "Database answers",
        "database_active": "Active queries",
        "database_used": "Connections in use",
        "database_limit": "Connections allowed",
        "database_longest": "Longest transaction",
        "pool_active": "Pool: busy connections",
        "pool_idle": "Pool: free connections",
        "pool_waiting": "Pool: clients waiting",
        "pool_query": "Average query time",
        "cache_memory": "Cache: memory used",
        "cache_hits": "Cache: hits",
        "yes": "yes",
        "no": "no",
        "charts": "Last 24 hours",
        "chart_response": "Response time, ms",
        "chart_requests": "Requests per minute",
        "chart_errors": "Failed requests, %",
        "chart_connections": "Connections",
        "chart_host": "Host: memory and CPU, %",
        "no_script": "Charts need JavaScript. Every figure is above.",
        "alerts": "Open alerts",
        "no_alerts": "None.",
        "critical": "critical",
        "warning": "warning",
        "incidents": "Last incidents",
        "no_incidents": "None is known.",
        "month": "30 days: {count} · mean time to recover {mean} · {alone} without a person",
        "when": "When",
        "cause": "Cause",
        "remedy": "Remedy",
        "took": "Lasted",
        "person": "Person",
        "open": "goes on",
        "alone": "not needed",
        "called": "called",
        "nothing_done": "none",
        "care": "Care",
        "release": "Last deploy",
        "backup": "Last backup",
        "verified": "Backup restored on trial",
        "drift": "Drift check",
        "drift_none": "no drift",
        "drift_found": "drift found: {count}",
        "certificate": "Certificate ends",
        "by": "by {who}",
        "not_set_up": "not set up",
        "none": "–",
        "ago": "{for} ago",
        "in": "in {for}",
        "asked": "As of {when}",
        "apps": "Apps",
        "language": "Language",
        "unknown_app": "No app of that name is known here.",
        "no_app": "No app is known yet. Prometheus needs a minute after the first run.",
    },
    "ko": {
        "title": "상태",
        "state_up": "정상",
        "state_degraded": "성능 저하",
        "state_down": "장애",
        "state_unknown": "알 수 없음",
        "state_paused": "자동 복구 일시 중지",
        "about_up": "모든 점검을 통과하고 있습니다.",
        "about_degraded": "응답은 하지만 정상은 아닙니다.",
        "about_down": "사용자가 이용할 수 없습니다.",
        "about_unknown": "최근 점검 기록이 없습니다.",
        "about_paused": "담당자가 자동 복구를 멈춰 두었습니다.",
        "silent": "감시 프로그램이 {for} 동안 점검하지 않았습니다.",
        "breaker": "호스트가 자동 복구를 포기했습니다. 사람이 필요합니다.",
        "no_prometheus": "Prometheus가 응답하지 않아 장애 기록과 배포 기록만 표시합니다.",
        "since": "{for}째",
        "uptime": "가동률",
        "days": "{count}일",
        "today": "오늘",
        "days_ago": "{count}일 전",
        "not_watched": "점검 기록 없음",
        "up": "정상",
        "degraded": "성능 저하",
        "down": "장애",
        "minutes": "{count}분",
        "promise": "서비스 목표(SLO)",
        "goal": "목표",
        "budget_left": "남은 오류 예산(30일)",
        "burn": "소진 속도({window})",
        "burn_note": "허용 속도 대비 배수",
        "now": "앱 현황",
        "response": "응답 시간",
        "requests": "요청",
        "errors": "실패한 요청",
        "connections": "연결",
        "serving": "서비스 중인 인스턴스",
        "per_minute": "/분",
        "limit": "기준 {at}",
        "host": "호스트",
        "memory": "메모리",
        "cpu": "CPU",
        "disk": "디스크",
        "instances": "인스턴스",
        "instance": "컨테이너",
        "runs": "실행 중",
        "stopped": "멈춤",
        "started": "시작",
        "database": "데이터베이스와 캐시",
        "database_up": "데이터베이스 응답",
        "database_active": "실행 중인 쿼리",
        "database_used": "사용 중인 연결",
        "database_limit": "허용 연결 수",
        "database_longest": "가장 긴 트랜잭션",
        "pool_active": "풀: 사용 중인 연결",
        "pool_idle": "풀: 남은 연결",
        "pool_waiting": "풀: 대기 중인 클라이언트",
        "pool_query": "평균 쿼리 시간",
        "cache_memory": "캐시: 메모리 사용량",
        "cache_hits": "캐시: 적중률",
        "yes": "예",
        "no": "아니요",
        "charts": "최근 24시간",
        "chart_response": "응답 시간(ms)",
        "chart_requests": "분당 요청 수",
        "chart_errors": "실패한 요청(%)",
        "chart_connections": "연결 수",
        "chart_host": "호스트 메모리·CPU(%)",
        "no_script": "차트를 보려면 JavaScript가 필요합니다. 모든 수치는 위에 있습니다.",
        "alerts": "열린 알림",
        "no_alerts": "없음.",
        "critical": "긴급",
        "warning": "주의",
        "incidents": "최근 장애",
        "no_incidents": "기록이 없습니다.",
        "month": "최근 30일: {count}건 · 평균 복구 시간 {mean} · 무인 복구 {alone}",
        "when": "시각",
        "cause": "원인",
        "remedy": "조치",
        "took": "지속 시간",
        "person": "사람",
        "open": "진행 중",
        "alone": "필요 없었음",
        "called": "호출함",
        "nothing_done": "없음",
        "care": "관리",
        "release": "마지막 배포",
        "backup": "마지막 백업",
        "verified": "백업 복원 시험",
        "drift": "드리프트 점검",
        "drift_none": "차이 없음",
        "drift_found": "차이 {count}건",
        "certificate": "인증서 만료",
        "by": "{who}",
        "not_set_up": "설정되지 않음",
        "none": "–",
        "ago": "{for} 전",
        "in": "{for} 후",
        "asked": "{when} 기준",
        "apps": "앱",
        "language": "언어",
        "unknown_app": "그런 이름의 앱이 없습니다.",
        "no_app": "아직 알려진 앱이 없습니다. 첫 실행 후 1분쯤 걸립니다.",
    },
}

# The alerts of the role monitoring, as a heading has them.
ALERTS: dict[str, dict[str, str]] = {
    "ko": {
        "ContainerMemory": "컨테이너 메모리 부족",
        "ContainerCpu": "컨테이너 CPU 과다",
        "AppErrors": "요청 실패 증가",
        "AppSlow": "응답 지연",
        "AppDown": "앱 응답 없음",
        "CertificateEnds": "인증서 만료 임박",
        "ContainerOom": "메모리 부족으로 종료됨",
        "RestartLoop": "반복 재시작",
        "BreakerOpen": "자동 복구 포기",
        "WatcherNotSeen": "감시 프로그램이 보이지 않음",
        "BudgetBurnsFast": "오류 예산 급속 소진",
        "BudgetBurns": "오류 예산 소진",
        "BudgetBurnsSlowly": "오류 예산 서서히 소진",
        "HostMemory": "호스트 메모리 부족",
        "HostCpu": "호스트 CPU 과다",
        "DiskFullSoon": "곧 디스크가 가득 참",
        "ClockOff": "시계 오차",
        "HostDown": "호스트 응답 없음",
        "TargetDown": "측정 대상 응답 없음",
    }
}
_UNITS = {"en": ("d", "h", "min", "s"), "ko": ("일", "시간", "분", "초")}
# By state, so that it is told without colour as well.
_MARKS = {UP: "✓", DEGRADED: "!", DOWN: "✕", UNKNOWN: "?", PAUSED: "‖"}
_BAR = 32


def choose(asked: str, accepted: str, default: str) -> str:
    """Return the language: the one asked for by a link, the browser's first that there is, or the default."""
    wanted = [asked, *(part.split(";")[0].strip().split("-")[0].lower() for part in accepted.split(","))]
    return next((one for one in wanted if one in LANGUAGES), default)


# --- how figures are written -----------------------------------------------------------------------------------------


def percent(share: float | None, digits: int = 0) -> str:
    """A share as "43 %"; what is not quite all is never rounded up to it."""
    if share is None:
        return "–"
    text = f"{share * 100:.{digits}f}"
    if share < 1 and float(text) >= 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text} %"


def seconds(number: float | None, language: str) -> str:
    """A time in the two units that matter: "340 ms", "12.4 s", "3 min 20 s", "2 d 4 h"."""
    if number is None:
        return "–"
    if number < 1:
        return f"{max(0.0, number) * 1000:.0f} ms"
    day, hour, minute, second = _UNITS[language]
    space = "" if language == "ko" else " "
    if number < 59.95:
        return f"{number:.1f}{space}{second}"
    whole = round(number)
    parts = [(whole // 86400, day), (whole // 3600 % 24, hour), (whole // 60 % 60, minute), (whole % 60, second)]
    while not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count}{space}{unit}" for count, unit in parts[:2] if count)


def count(number: float | None) -> str:
    """A number without more digits than it is worth."""
    if number is None:
        return "–"
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


def moment(at: float, zone: tzinfo) -> str:
    """A time of day as people write it, with its date."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")


# --- the page --------------------------------------------------------------------------------------------------------


def render(
    figures: Mapping[str, Any],
    choice: Sequence[tuple[str, str]],
    chosen: str,
    language: str,
    zone: tzinfo,
) -> str:
    """Return the page.

    :arg figures: as `page_figures.build` has them.
    :arg choice: the apps there are, as (key, name); `chosen` is one of the keys.
    """
    say = _Words(language, zone, float(figures["now"]))
    parts = [
        _headline(figures, say),
        _uptime(figures, say),
        '<div class="columns">',
        _app(figures, say),
        _promise(figures, say),
        _host(figures, say),
        _care(figures, say),
        "</div>",
        _charts(figures, say),
        _alerts(figures["alerts"], say),
        _incidents(figures, say),
        '<div class="columns wide">',
        _instances(figures["instances"], say),
        _database(figures["database"], say),
        "</div>",
    ]
    data = {"charts": _chart_data(figures, say), "refresh": 30}
    body = f'<main id="page" data-state="{escape(figures["state"])}">{"".join(parts)}</main>' + _block(data)
    return _frame(body, f"{figures['app']}: {say('state_' + figures['state'])}", figures, choice, chosen, say)


def nothing(why: str, choice: Sequence[tuple[str, str]], language: str, now: float, zone: tzinfo) -> str:
    """Return the page that shows no app; `why` is "unknown_app" or "no_app"."""
    say = _Words(language, zone, now)
    body = f'<main id="page"><section class="headline unknown"><h1>{say(why)}</h1></section></main>'
    return _frame(body, say("title"), {"app": "", "host": ""}, choice, "", say)


class _Words:
    """How it is said in one language, in one time zone, at one moment."""

    def __init__(self, language: str, zone: tzinfo, now: float) -> None:
        self.language, self.zone, self.now = language, zone, now

    def __call__(self, key: str, **parts: object) -> str:
        text = _WORDS[self.language][key]
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", escape(str(part)))
        return text

    def seconds(self, number: float | None) -> str:
        return seconds(number, self.language)

    def ago(self, at: float) -> str:
        """How far away a time is, with the time itself for who points at it."""
        apart = self.now - at
        text = self("ago" if apart >= 0 else "in", **{"for": self.seconds(max(1.0, abs(apart)))})
        return f'<time title="{moment(at, self.zone)}">{text}</time>'


def _frame(
    body: str, title: str, figures: Mapping[str, Any], choice: Sequence[tuple[str, str]], chosen: str, say: _Words
) -> str:
    links = [_link({"app": chosen, "lang": tongue}, _NAMES[tongue], tongue == say.language) for tongue in LANGUAGES]
    apps = [_link({"app": key, "lang": say.language}, name, key == chosen) for key, name in choice]
    chooser = f'<nav class="apps" aria-label="{say("apps")}">{"".join(apps)}</nav>' if len(choice) > 1 else ""
    name = f"<b>{escape(figures['app'])}</b>" if figures["app"] else f"<b>{say('title')}</b>"
    return (
        f'<!DOCTYPE html>\n<html lang="{say.language}"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        '<link rel="icon" href="icon.svg" type="image/svg+xml"><link rel="stylesheet" href="page.css">'
        '<script src="dygraph.js" defer></script><script src="page.js" defer></script></head><body>'
        f'<header><p class="name">{name} <span>{escape(figures["host"])}</span></p>{chooser}'
        f'<nav class="languages" aria-label="{say("language")}">{"".join(links)}</nav></header>'
        f"{body}"
        f'<footer id="asked">{say("asked", when=_with_zone(say))}</footer></body></html>\n'
    )


def _with_zone(say: _Words) -> str:
    return datetime.fromtimestamp(say.now, say.zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _link(query: Mapping[str, str], text: str, current: bool) -> str:
    asked = urlencode({key: value for key, value in query.items() if value})
    here = ' aria-current="true"' if current else ""
    return f'<a href="./?{escape(asked)}"{here}>{escape(text)}</a>'


def _block(data: Mapping[str, Any]) -> str:
    """Data for the charts. What could end the block cannot stand in it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return f'<script type="application/json" id="data">{text}</script>'


def _headline(figures: Mapping[str, Any], say: _Words) -> str:
    state = figures["state"]
    about = [say(f"about_{state}")]
    if figures["open"]:
        about = [_cause(figures["open"], say)]
    if figures["since"]:
        about[-1] += " · " + say("since", **{"for": say.seconds(max(1.0, say.now - figures["since"]))})
    if figures["silent"]:
        about.append(say("silent", **{"for": say.seconds(figures["silent"])}))
    if figures["breaker"]:
        about.append(say("breaker"))
    if not figures["answered"]:
        about.append(say("no_prometheus"))
    return (
        f'<section class="headline {state}"><span class="mark" aria-hidden="true">{_MARKS[state]}</span>'
        f'<div><h1>{say("state_" + state)}</h1><p>{"<br>".join(about)}</p></div></section>'
    )


def _cause(record: Mapping[str, Any], say: _Words) -> str:
    text = alerts.phrase(record, say.language)
    return escape(text[:1].upper() + text[1:])


def _uptime(figures: Mapping[str, Any], say: _Words) -> str:
    days = figures["days"]
    shown = " · ".join(
        f'<span class="figure" data-figure="uptime_{span}">{percent(figures["uptime"][span], 2)}</span> '
        f"<small>{say('days', count=span)}</small>"
        for span in (str(MONTH_DAYS), str(DAYS))
    )
    bars = "".join(_bar(day, say) for day in days)
    label = escape(f"{say('uptime')}: " + ", ".join(
        f"{say('days', count=span)} {percent(figures['uptime'][span], 2)}" for span in (str(MONTH_DAYS), str(DAYS))
    ))
    return (
        f'<section class="card"><h2>{say("uptime")}<span class="aside">{shown}</span></h2>'
        f'<div class="days" role="img" aria-label="{label}">{bars}</div>'
        f'<p class="ends"><span class="long">{say("days_ago", count=DAYS)}</span>'
        f'<span class="short">{say("days_ago", count=MONTH_DAYS)}</span>{_legend(say)}<span>{say("today")}</span></p></section>'
    )


def _legend(say: _Words) -> str:
    return '<span class="legend">' + "".join(
        f'<span><i class="{key}"></i>{say(key)}</span>' for key in ("up", "degraded", "down")
    ) + "</span>"


def _bar(day: Mapping[str, Any], say: _Words) -> str:
    """A day: what was down stands below, what was degraded over it; the least of either can still be seen."""
    if not day["minutes"]:
        return f'<span title="{day["date"]}: {say("not_watched")}"><svg><rect class="none" height="{_BAR}"/></svg></span>'
    told = [f"{say(key)} {say('minutes', count=round(day[key] * day['minutes']))}" for key in ("down", "degraded")
            if round(day[key] * day["minutes"])]
    heights = {key: max(4, round(day[key] * _BAR)) if day[key] * day["minutes"] >= 0.5 else 0 for key in ("down", "degraded")}
    heights["down"] = min(heights["down"], _BAR - heights["degraded"])
    rects, at = [], _BAR
    for key, height in (*heights.items(), ("up", _BAR - sum(heights.values()))):
        at -= height
        rects += [f'<rect class="{key}" y="{at}" height="{height}"/>'] if height else []
    text = ", ".join(told) or f"{say('up')} {percent(day['up'])}"
    return f'<span title="{day["date"]}: {text}"><svg>{"".join(rects)}</svg></span>'


def _tile(name: str, label: str, shown: str, note: str = "", mark: str = "") -> str:
    return (
        f'<div class="tile {mark}"><dt>{label}</dt>'
        f'<dd><span class="figure" data-figure="{name}">{shown}</span>{f"<small>{note}</small>" if note else ""}</dd></div>'
    )


def _over(number: float | None, limit: float) -> str:
    return "over" if number is not None and number > limit else ""


def _card(title: str, tiles: Iterable[str], more: str = "") -> str:
    return f'<section class="card"><h2>{title}</h2><dl>{"".join(tiles)}</dl>{more}</section>'


def _app(figures: Mapping[str, Any], say: _Words) -> str:
    now, limits = figures["app_now"], figures["thresholds"]
    slow, wrong = limits["response_ms"] / 1000, limits["error_percent"] / 100
    tiles = [
        _tile("response", say("response"), say.seconds(now["response"]),
              say("limit", at=say.seconds(slow)), _over(now["response"], slow)),
        _tile("errors", say("errors"), percent(now["errors"], 1),
              say("limit", at=percent(wrong)), _over(now["errors"], wrong)),
    ]
    if now["requests"] is not None:
        tiles.append(_tile("requests", say("requests"), f"{count(now['requests'])} {say('per_minute')}"))
        tiles.append(_tile("connections", say("connections"), count(now["connections"])))
    if now["serving"] is not None:
        tiles.append(_tile("serving", say("serving"), count(now["serving"])))
    return _card(say("now"), tiles)


def _promise(figures: Mapping[str, Any], say: _Words) -> str:
    slo = figures["slo"]
    tiles = [
        _tile("budget_left", say("budget_left"), percent(slo["left"], 1), "", _over(0.0, slo["left"] or 0.0)),
        _tile("goal", say("goal"), f"{slo['goal'] * 100:g} %"),
    ]
    for window, rate in slo["burn"].items():
        shown = "–" if rate is None else f"{rate:.1f} ×"
        tiles.append(_tile(f"burn_{window}", say("burn", window=window), shown, "", _over(rate, 1)))
    return _card(say("promise"), tiles, f'<p class="note">{say("burn_note")}</p>')


def _host(figures: Mapping[str, Any], say: _Words) -> str:
    host, limits = figures["host_now"], figures["thresholds"]
    rows = [
        ("memory", host["memory"], limits["memory_percent"] / 100),
        ("cpu", host["cpu"], limits["cpu_percent"] / 100),
        ("disk", host["disk"], DISK_PERCENT / 100),
    ]
    return _card(say("host"), (_gauge(name, share, limit, say) for name, share, limit in rows))


def _gauge(name: str, share: float | None, limit: float, say: _Words) -> str:
    """A bar with a mark where it is too much."""
    mark = _over(share, limit)
    return (
        f'<div class="tile gauge {mark}"><dt>{say(name)}</dt><dd><span class="figure" data-figure="host_{name}">'
        f"{percent(share)}</span><small>{say('limit', at=percent(limit))}</small></dd>"
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="4"/>'
        f'<rect class="fill {mark}" width="{min(1.0, share or 0.0) * 100:.1f}" height="4"/>'
        f'<rect class="limit" x="{limit * 100 - 0.25:.2f}" width="0.5" height="4"/></svg></div>'
    )


def _care(figures: Mapping[str, Any], say: _Words) -> str:
    release, backup, drift = figures["release"], figures["backup"], figures["drift"]
    deployed = parse(release.get("time")) if release else None
    absent = f'<span class="quiet">{say("not_set_up")}</span>'
    tiles = [
        _tile("release", say("release"), say.ago(deployed) if deployed else say("none"),
              say("by", who=release["by"]) if deployed and release["by"] else ""),
        _tile("backup", say("backup"), say.ago(backup["at"]) if backup["at"] else absent),
    ]
    if backup["verified"]:
        tiles.append(_tile("verified", say("verified"), say.ago(backup["verified"])))
    found = drift["found"]
    told = "" if found is None else say("drift_found", count=count(found)) if found else say("drift_none")
    tiles.append(_tile("drift", say("drift"), say.ago(drift["at"]) if drift["at"] else absent,
                       told if drift["at"] else "", _over(found if drift["at"] else None, 0)))
    if figures["certificate"]:
        soon = figures["certificate"] - say.now < 14 * 86400
        tiles.append(_tile("certificate", say("certificate"), say.ago(figures["certificate"]), "", "over" if soon else ""))
    return _card(say("care"), tiles)


def _charts(figures: Mapping[str, Any], say: _Words) -> str:
    names = [name for name in _CHARTS if any(figures["charts"][line] for line in _CHARTS[name])]
    if not names:
        return ""
    boxes = "".join(
        f'<figure><figcaption>{say("chart_" + name)}</figcaption><div class="chart" id="chart-{name}" role="img"'
        f' aria-label="{say("chart_" + name)}"></div></figure>'
        for name in names
    )
    return (
        f'<section class="card"><h2>{say("charts")}</h2><noscript><p class="note">{say("no_script")}</p></noscript>'
        f'<div class="charts">{boxes}</div></section>'
    )


# The lines of each chart, and what a value is multiplied with.
_CHARTS: dict[str, tuple[str, ...]] = {
    "response": ("response",),
    "requests": ("requests",),
    "errors": ("errors",),
    "connections": ("connections",),
    "host": ("host_memory", "host_cpu"),
}
_FACTORS = {"response": 1000.0, "errors": 100.0, "host_memory": 100.0, "host_cpu": 100.0}


def _chart_data(figures: Mapping[str, Any], say: _Words) -> dict[str, Any]:
    """{chart: {labels, limits, rows: [[epoch s, value or null, …]]}}"""
    limits = figures["thresholds"]
    marks = {
        "response": [limits["response_ms"]],
        "errors": [limits["error_percent"]],
        "host": [limits["memory_percent"], limits["cpu_percent"]],
    }
    found: dict[str, Any] = {}
    for name, parts in _CHARTS.items():
        columns = [dict(figures["charts"][part]) for part in parts]
        times = sorted({at for column in columns for at in column})
        if times:
            rows = [
                [int(at), *(_rounded(column.get(at), _FACTORS.get(part, 1.0)) for part, column in zip(parts, columns))]
                for at in times
            ]
            labels = [say("memory"), say("cpu")] if name == "host" else [say("chart_" + name)]
            found[name] = {"labels": labels, "limits": marks.get(name, []), "rows": rows}
    return found


def _rounded(number: float | None, factor: float) -> float | None:
    return None if number is None else float(f"{number * factor:.4g}")


def _alerts(found: Sequence[Mapping[str, Any]], say: _Words) -> str:
    if not found:
        return f'<section class="card"><h2>{say("alerts")}</h2><p class="note" data-figure="alerts">{say("no_alerts")}</p></section>'
    items = "".join(
        f'<li class="{"critical" if one["severity"] == "critical" else "warning"}"><span class="badge">'
        f'{say("critical" if one["severity"] == "critical" else "warning")}</span> '
        f'<b data-figure="alert">{escape(_alert_name(one["name"], say.language))}</b> {escape(one["about"])}'
        f'{f" <small>{say.ago(one["since"])}</small>" if one["since"] else ""}</li>'
        for one in found
    )
    return f'<section class="card"><h2>{say("alerts")}<span class="aside">{len(found)}</span></h2><ul class="alerts">{items}</ul></section>'


def _alert_name(name: str, language: str) -> str:
    """ "ContainerMemory" as "Container memory", or what is said in another language."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() and at else letter for at, letter in enumerate(name))
    return ALERTS.get(language, {}).get(name, spaced)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; on a phone each row stands alone, and each cell says what it is."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = "".join(
        "<tr>" + "".join(f'<td data-head="{name}">{cell}</td>' for name, cell in zip(heads, row)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _incidents(figures: Mapping[str, Any], say: _Words) -> str:
    month = figures["month"]
    told = say("month", count=month["count"], mean=say.seconds(month["mean_seconds"]), alone=percent(month["unattended"]))
    heads = [say(key) for key in ("when", "cause", "remedy", "took", "person")]
    shown = _table(heads, (_incident(one, say) for one in figures["incidents"]))
    if not figures["incidents"]:
        shown = f'<p class="note">{say("no_incidents")}</p>'
    return (
        f'<section class="card incidents"><h2>{say("incidents")}<span class="aside" data-figure="month">{told}</span></h2>'
        f"{shown}</section>"
    )


def _incident(one: Mapping[str, Any], say: _Words) -> list[str]:
    took = say.seconds(float(one["seconds"])) if one.get("healthy") else f'<b class="down">{say("open")}</b>'
    person = say("called") if one.get("escalated") else say("alone") if is_unattended(one) else say("none")
    return [
        f'<time data-incident="{escape(one["id"])}">{moment(parse(one["seen"]) or 0.0, say.zone)}</time>',
        _cause(one, say),
        escape(alerts.tried(one, say.language)) or say("nothing_done"),
        f'<span data-figure="took">{took}</span>',
        person,
    ]


def _instances(found: Sequence[Mapping[str, Any]], say: _Words) -> str:
    heads = [say(key) for key in ("instance", "memory", "cpu", "started")]
    rows = [
        [
            f'<i class="dot {"up" if one["running"] else "down"}"></i>'
            f'<span data-figure="instance">{escape(one["container"])}</span>'
            f' <small>{say("runs" if one["running"] else "stopped")}</small>',
            percent(one["memory"]),
            percent(one["cpu"]),
            say.ago(one["started"]) if one["started"] else say("none"),
        ]
        for one in found
    ]
    shown = _table(heads, rows) if rows else f'<p class="note">{say("none")}</p>'
    return f'<section class="card"><h2>{say("instances")}</h2>{shown}</section>'


def _database(found: Mapping[str, float], say: _Words) -> str:
    if not found:
        return ""
    ways: dict[str, Callable[[float], str]] = {
        "database_up": lambda number: say("yes" if number else "no"),
        "database_longest": say.seconds,
        "pool_query": say.seconds,
        "cache_memory": percent,
        "cache_hits": percent,
    }
    tiles = [
        _tile(name, say(name), ways.get(name, count)(number), "", "over" if name == "database_up" and not number else "")
        for name, number in found.items()
    ]
    return _card(say("database"), tiles)
