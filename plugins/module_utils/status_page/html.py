# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page as HTML, in English and Korean, from the figures. Pure: no clock, no I/O.

All of it can be read without JavaScript. The page holds no style and no script of its own, so that its policy can
forbid both; what a chart is drawn from is a block of data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from html import escape
from typing import TypedDict
from urllib.parse import urlencode

from ..records.incidents import IncidentRecord
from ..reporting import alert_messages, slo_queries
from ..reporting.slo_queries import Bar
from .figures import (
    DEGRADED,
    DISK_PERCENT,
    DOWN,
    MONTH_DAYS,
    PAUSED,
    UNKNOWN,
    UP,
    Figures,
    FiringAlert,
    InstanceNow,
    parse,
)
from .queries import DAYS, About
from .words import ALERTS, WORDS

LANGUAGES = ("en", "ko")
_NAMES = {"en": "English", "ko": "한국어"}

NOTHING = WORDS["en"]["none"]
"""What is shown where nothing is known."""
_UNITS = {"en": ("d", "h", "min", "s"), "ko": ("일", "시간", "분", "초")}
# By state: it must be visible without colour as well.
_MARKS = {UP: "✓", DEGRADED: "!", DOWN: "✕", UNKNOWN: "?", PAUSED: "‖"}
_BAR = 32
# How many incidents are shown at once; the others are one click away.
_FEW = 3
REFRESH_SECONDS = 30


def choose(asked: str, accepted: str, default: str) -> str:
    """Return the language: the one asked for by a link, the browser's first that there is, or the default."""
    wanted = [asked, *(part.split(";")[0].strip().split("-")[0].lower() for part in accepted.split(","))]
    return next((one for one in wanted if one in LANGUAGES), default)


# --- how figures are written -----------------------------------------------------------------------------------------


def percent(share: float | None, digits: int = 0) -> str:
    """A share as "43 %"; what is not quite all is never rounded up to it."""
    if share is None:
        return NOTHING
    text = f"{share * 100:.{digits}f}"
    if share < 1 and float(text) >= 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text} %"


def seconds(number: float | None, language: str) -> str:
    """A time in the two units that matter: "340 ms", "12.4 s", "3 min 20 s", "2 d 4 h"."""
    if number is None:
        return NOTHING
    if number < 1:
        return f"{max(0.0, number) * 1000:.0f} ms"
    day, hour, minute, second = _UNITS[language]
    space = "" if language == "ko" else " "
    if number < 59.95:
        return f"{number:.1f}".removesuffix(".0") + space + second
    whole = round(number)
    parts = [(whole // 86400, day), (whole // 3600 % 24, hour), (whole // 60 % 60, minute), (whole % 60, second)]
    while not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count}{space}{unit}" for count, unit in parts[:2] if count)


def count(number: float | None) -> str:
    """A number without more digits than it is worth."""
    if number is None:
        return NOTHING
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


def moment(at: float, zone: tzinfo) -> str:
    """A time of day as people write it, with its date."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")


# --- the page --------------------------------------------------------------------------------------------------------


def render(
    figures: Figures,
    choice: Sequence[tuple[str, str]],
    chosen: str,
    language: str,
    zone: tzinfo,
) -> str:
    """Return the page.

    :arg choice: the apps there are, as (key, name); `chosen` is one of the keys.
    """
    say = _Words(language, zone, float(figures["now"]))
    parts = [
        _headline(figures, say),
        _alerts(figures["alerts"], say),
        _uptime(figures, say),
        '<div class="columns">',
        _app(figures, say),
        _promise(figures, say),
        _host(figures, say),
        _care(figures, say),
        "</div>",
        _incidents(figures, say),
        _charts(figures, say),
        '<div class="columns wide">',
        _instances(figures["instances"], say),
        _database(figures["database"], say),
        "</div>",
    ]
    end = int(figures["now"])
    data = {"charts": _chart_data(figures, say), "from": end - figures["window"], "to": end, "refresh": REFRESH_SECONDS}
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
        text = WORDS[self.language][key]
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", escape(str(part)))
        return text

    def seconds(self, number: float | None) -> str:
        return seconds(number, self.language)

    def ago(self, at: float) -> str:
        """How far away a time is, in whole minutes unless it is less, with the time itself for who points at it."""
        apart = abs(self.now - at)
        whole = apart // 60 * 60 if apart >= 60 else max(1, round(apart))
        text = self("ago" if at <= self.now else "in", **{"for": self.seconds(whole)})
        return f'<time title="{moment(at, self.zone)}">{text}</time>'


def _frame(body: str, title: str, about: About, choice: Sequence[tuple[str, str]], chosen: str, say: _Words) -> str:
    links = [_link({"app": chosen, "lang": tongue}, _NAMES[tongue], tongue == say.language) for tongue in LANGUAGES]
    apps = [_link({"app": key, "lang": say.language}, name, key == chosen) for key, name in choice]
    chooser = f'<nav class="apps" aria-label="{say("apps")}">{"".join(apps)}</nav>' if len(choice) > 1 else ""
    name = f"<b>{escape(about['app'])}</b>" if about["app"] else f"<b>{say('title')}</b>"
    return (
        f'<!DOCTYPE html>\n<html lang="{say.language}"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        '<link rel="icon" href="icon.svg" type="image/svg+xml"><link rel="stylesheet" href="page.css">'
        '<script src="dygraph.js" defer></script><script src="page.js" defer></script></head><body>'
        f'<header><p class="name">{name} <span>{escape(about["host"])}</span></p>{chooser}'
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


def _block(data: Mapping[str, object]) -> str:
    """Data for the charts. What could end the block is escaped."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="data">{text}</script>'


def _headline(figures: Figures, say: _Words) -> str:
    state = figures["state"]
    found = figures["open"]
    about = [
        _sentence(alert_messages.phrase({**found, "services": []}, say.language)) if found else say(f"about_{state}")
    ]
    if figures["since"]:
        about[-1] += " · " + say("since", **{"for": say.seconds(max(1, round(say.now - figures["since"])))})
    if found:
        about += _what_to_do(found, figures["paused"], say)
    if figures["silent"]:
        about.append(say("silent", **{"for": say.seconds(figures["silent"])}))
    if figures["breaker"]:
        about.append(say("breaker"))
    if not figures["answered"]:
        about.append(say("no_prometheus"))
    return (
        f'<section class="headline {state}"><span class="mark" aria-hidden="true">{_MARKS[state]}</span>'
        f"<div><h1>{say('state_' + state)}</h1><p>{'<br>'.join(about)}</p></div></section>"
    )


def _what_to_do(record: IncidentRecord, paused: bool, say: _Words) -> list[str]:
    """Which services are at fault, where an app has several, and what a person does next."""
    names = ", ".join(str(name) for name in record.get("services") or [])
    step = alert_messages.next_step(record, say.language)
    lines = [f'<span data-figure="at_fault">{say("at_fault", names=names)}</span>'] if names else []
    if paused:
        lines.append(say("about_paused"))
    elif step:
        lines.append(f'<span data-figure="next">{say("next", step=step)}</span>')
    return lines


def _cause(record: IncidentRecord, say: _Words) -> str:
    """What was wrong, after the services at fault, which are written as they are called."""
    text = alert_messages.phrase(record, say.language)
    return escape(text) if record.get("services") else _sentence(text)


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:])


def _uptime(figures: Figures, say: _Words) -> str:
    days, since = figures["days"], figures["measured_since"]
    spans = {span: (_span(span, figures, say), percent(share, 2)) for span, share in figures["uptime"].items()}
    parts = [
        f'<span class="figure" data-figure="uptime_{span}">{share}</span> <small>{of}</small>'
        for span, (of, share) in spans.items()
    ]
    if since and len(days) < DAYS:
        parts.append(f'<small data-figure="measured">{say("measured", since=_since(since, say))}</small>')
    shown = " · ".join(parts)
    bars = "".join(_bar(day, say) for day in days)
    label = escape(f"{say('uptime')}: " + ", ".join(f"{of} {share}" for of, share in spans.values()))
    begins = "".join(
        f'<span class="{kind}">{_begin(days[-most:], most, say)}</span>'
        for kind, most in (("long", DAYS), ("short", MONTH_DAYS))
    )
    return (
        f'<section class="card"><h2>{say("uptime")}<span class="aside">{shown}</span></h2>'
        f'<div class="days" role="img" aria-label="{label}">{bars}</div>'
        f'<p class="ends">{begins}{_legend(say)}<span>{say("today")}</span></p></section>'
    )


def _span(span: str, figures: Figures, say: _Words) -> str:
    """What an uptime is of: the last 24 hours, so many days, or all that was measured."""
    since = figures["measured_since"]
    if span == "day":
        return say("hours", count=24)
    if span != "all":
        return say("days", count=span)
    if since is None:
        return say("not_watched")
    age = say.now - since
    return say.seconds(max(60, age // 60 * 60)) if age < slo_queries.DAY else say("days", count=len(figures["days"]))


def _since(at: float, say: _Words) -> str:
    """A moment of the last 24 hours, or a day of UTC's."""
    return moment(at, say.zone) if say.now - at < slo_queries.DAY else moment(at, timezone.utc)[:10]


def _begin(days: Sequence[Bar], most: int, say: _Words) -> str:
    """The text below the first bar."""
    if len(days) == most:
        return say("days_ago", count=most)
    return str(days[0]["day"]) if len(days) > 1 else ""


def _legend(say: _Words) -> str:
    return (
        '<span class="legend">'
        + "".join(f'<span><i class="{key}"></i>{say(key)}</span>' for key in ("up", "degraded", "down"))
        + "</span>"
    )


def _bar(day: Bar, say: _Words) -> str:
    """A day: what was down is at the bottom, what was degraded above it, high enough to be seen."""
    looked = day["down"] + day["degraded"] + day["up"]
    # A day that is called up was degraded for no more than a moment.
    is_good = day["state"] in (UP, slo_queries.NONE)
    seconds_of = {DOWN: day["down"], DEGRADED: day["degraded"]}
    bad = {} if is_good else {key: of_it for key, of_it in seconds_of.items() if of_it}
    minutes = ", ".join(f"{say(key)} {say('minutes', count=round(of_it / 60))}" for key, of_it in bad.items())
    heights = {key: max(5, round(of_it / looked * _BAR)) for key, of_it in bad.items()}
    heights[UP if looked else slo_queries.NONE] = max(0, _BAR - sum(heights.values()))
    rects, at = [], _BAR
    for key, height in heights.items():
        at = max(0, at - height)
        rects.append(f'<rect class="{key}" y="{at}" height="{height}"/>')
    text = minutes or say("up" if looked else "not_watched")
    return f'<span class="{day["state"]}" title="{day["day"]}: {text}"><svg>{"".join(rects)}</svg></span>'


def _tile(name: str, label: str, shown: str, note: str = "", mark: str = "") -> str:
    more = f"<small>{note}</small>" if note else ""
    figure = f'<span class="figure" data-figure="{name}">{shown}</span>'
    return f'<div class="tile {mark}"><dt>{label}</dt><dd>{figure}{more}</dd></div>'


def _over(number: float | None, limit: float) -> str:
    return "over" if number is not None and number > limit else ""


def _card(title: str, tiles: Iterable[str], more: str = "") -> str:
    return f'<section class="card"><h2>{title}</h2><dl>{"".join(tiles)}</dl>{more}</section>'


def _app(figures: Figures, say: _Words) -> str:
    now, limits = figures["app_now"], figures["thresholds"]
    slow, wrong = limits["response_ms"] / 1000, limits["error_percent"] / 100
    tiles = [
        _tile(
            "response",
            say("response"),
            say.seconds(now["response"]),
            say("limit", at=say.seconds(slow)),
            _over(now["response"], slow),
        ),
        _tile(
            "errors",
            say("errors"),
            percent(now["errors"], 1),
            say("limit", at=percent(wrong)),
            _over(now["errors"], wrong),
        ),
    ]
    if now["requests"] is not None:
        tiles.append(_tile("requests", say("requests"), f"{count(now['requests'])} {say('per_minute')}"))
        tiles.append(_tile("connections", say("connections"), count(now["connections"])))
    if now["serving"] is not None:
        tiles.append(_tile("serving", say("serving"), count(now["serving"])))
    return _card(say("now"), tiles)


def _promise(figures: Figures, say: _Words) -> str:
    slo = figures["slo"]
    tiles = [
        _tile("budget_left", say("budget_left"), percent(slo["left"], 1), "", _over(0.0, slo["left"] or 0.0)),
        _tile("goal", say("goal"), f"{slo['goal'] * 100:g} %"),
    ]
    for window, rate in slo["burn"].items():
        shown = NOTHING if rate is None else f"{rate:.1f}×"  # noqa: RUF001
        tiles.append(_tile(f"burn_{window}", say("burn", window=window), shown, "", _over(rate, 1)))
    return _card(say("promise"), tiles, f'<p class="note">{say("burn_note")}</p>')


def _host(figures: Figures, say: _Words) -> str:
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
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="4"/>'
        f'<rect class="fill {mark}" width="{min(1.0, share or 0.0) * 100:.1f}" height="4"/>'
        f'<rect class="limit" x="{limit * 100 - 0.25:.2f}" width="0.5" height="4"/></svg></div>'
    )


def _care(figures: Figures, say: _Words) -> str:
    release, backup, drift = figures["release"], figures["backup"], figures["drift"]
    deployed = parse(release.get("time")) if release else None
    absent = f'<span class="quiet">{say("not_set_up")}</span>'
    tiles = [
        _tile(
            "release",
            say("release"),
            say.ago(deployed) if deployed else say("none"),
            say("by", who=release["by"]) if deployed and release["by"] else "",
        ),
        _tile("backup", say("backup"), say.ago(backup["at"]) if backup["at"] else absent),
    ]
    if backup["verified"]:
        tiles.append(_tile("verified", say("verified"), say.ago(backup["verified"])))
    found = drift["found"]
    note = ""
    if found is not None:
        note = say("drift_found", count=count(found)) if found else say("drift_none")
    tiles.append(
        _tile(
            "drift",
            say("drift"),
            say.ago(drift["at"]) if drift["at"] else absent,
            note if drift["at"] else "",
            _over(found if drift["at"] else None, 0),
        )
    )
    if figures["certificate"]:
        soon = figures["certificate"] - say.now < 14 * 86400
        tiles.append(
            _tile("certificate", say("certificate"), say.ago(figures["certificate"]), "", "over" if soon else "")
        )
    return _card(say("care"), tiles)


def _charts(figures: Figures, say: _Words) -> str:
    names = [name for name in _CHARTS if any(figures["charts"][line] for line in _CHARTS[name])]
    if not names:
        return ""
    keys = "".join(f'<span class="key {number}">{say(of)}</span>' for number, of in (("one", "memory"), ("two", "cpu")))
    boxes = "".join(
        f"<figure><figcaption>{say('chart_' + name)}{keys if len(_CHARTS[name]) > 1 else ''}</figcaption>"
        f'<div class="chart" id="chart-{name}" role="img" aria-label="{say("chart_" + name)}"></div></figure>'
        for name in names
    )
    minutes = figures["window"] // 60
    title = say("charts_minutes", count=minutes) if minutes <= 60 else say("charts_hours", count=minutes // 60)
    return (
        f'<section class="card"><h2>{title}</h2><noscript><p class="note">{say("no_script")}</p></noscript>'
        f'<div class="charts">{boxes}</div></section>'
    )


# The lines of each chart, and what a value is multiplied with.
_CHARTS: dict[str, tuple[str, ...]] = {
    "response": ("response",),
    "requests": ("requests",),
    "errors": ("errors",),
    "connections": ("connections",),
    "containers": ("container_memory", "container_cpu"),
    "host": ("host_memory", "host_cpu"),
}
_SHARES = ("errors", "container_memory", "container_cpu", "host_memory", "host_cpu")
_FACTORS = {"response": 1000.0, **dict.fromkeys(_SHARES, 100.0)}


class Chart(TypedDict):
    """What the page's script draws: a row is epoch seconds, and a value (or None) for each label."""

    labels: list[str]
    limits: list[float]
    rows: list[list[float | None]]


def _chart_data(figures: Figures, say: _Words) -> dict[str, Chart]:
    limits = figures["thresholds"]
    marks = {
        "response": [limits["response_ms"]],
        "errors": [limits["error_percent"]],
        "containers": [limits["memory_percent"], limits["cpu_percent"]],
        "host": [limits["memory_percent"], limits["cpu_percent"]],
    }
    found: dict[str, Chart] = {}
    for name, parts in _CHARTS.items():
        columns = [dict(figures["charts"][part]) for part in parts]
        times = sorted({at for column in columns for at in column})
        if times:
            rows: list[list[float | None]] = [
                [int(at), *(_rounded(column.get(at), _FACTORS.get(part, 1.0)) for part, column in zip(parts, columns))]
                for at in times
            ]
            labels = [say("memory"), say("cpu")] if len(parts) > 1 else [say("chart_" + name)]
            found[name] = {"labels": labels, "limits": marks.get(name, []), "rows": rows}
    return found


def _rounded(number: float | None, factor: float) -> float | None:
    return None if number is None else float(f"{number * factor:.4g}")


def _alerts(found: Sequence[FiringAlert], say: _Words) -> str:
    items = "".join(_alert(one, say) for one in found)
    shown = f'<ul class="alerts">{items}</ul>' if items else f'<p class="note">{say("no_alerts")}</p>'
    aside = f'<span class="aside" data-figure="alerts">{len(found)}</span>'
    kind = "card" if items else "card calm"
    return f'<section class="{kind}"><h2>{say("alerts")}{aside}</h2>{shown}</section>'


def _alert(one: FiringAlert, say: _Words) -> str:
    severity = "critical" if one["severity"] == "critical" else "warning"
    since = f" <small>{say.ago(one['since'])}</small>" if one["since"] else ""
    name = escape(_alert_name(one["name"], say.language))
    return (
        f'<li class="{severity}"><span class="badge">{say(severity)}</span> '
        f'<b data-alert="{escape(one["name"])}">{name}</b> {escape(one["about"])}{since}</li>'
    )


def _alert_name(name: str, language: str) -> str:
    """An alert's name in words: HostCpu as "Host CPU", or what is said in another language."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() and at else letter for at, letter in enumerate(name))
    for short in ("cpu", "oom"):
        spaced = spaced.replace(f" {short}", f" {short.upper()}")
    return ALERTS.get(language, {}).get(name, spaced)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; on a phone each row is a card, and each cell says what it is."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = "".join(
        "<tr>" + "".join(f'<td data-head="{name}">{cell}</td>' for name, cell in zip(heads, row)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _incidents(figures: Figures, say: _Words) -> str:
    month = figures["month"]
    summary = say(
        "month", count=month["count"], mean=say.seconds(month["mean_seconds"]), alone=percent(month["unattended"])
    )
    heads = [say(key) for key in ("when", "cause", "remedy", "took", "person")]
    rows = [_incident(one, say) for one in figures["incidents"]]
    shown = _table(heads, rows[:_FEW]) if rows else f'<p class="note">{say("no_incidents")}</p>'
    if rows[_FEW:]:
        more = say("more", count=len(rows) - _FEW)
        shown += f"<details><summary>{more}</summary>{_table(heads, rows[_FEW:])}</details>"
    aside = f'<span class="aside" data-figure="month">{summary}</span>'
    return f'<section class="card incidents"><h2>{say("incidents")}{aside}</h2>{shown}</section>'


def _incident(one: IncidentRecord, say: _Words) -> list[str]:
    took = say.seconds(float(one["seconds"])) if one.get("healthy") else f'<b class="down">{say("open")}</b>'
    person = say("called") if one.get("escalated") else say("alone") if slo_queries.unattended(one) else say("none")
    return [
        f'<time data-incident="{escape(one["id"])}">{moment(parse(one["seen"]) or 0.0, say.zone)}</time>',
        _cause(one, say),
        _sentence(alert_messages.tried(one, say.language)) or say("nothing_done"),
        f'<span data-figure="took">{took}</span>',
        person,
    ]


def _instances(found: Sequence[InstanceNow], say: _Words) -> str:
    heads = [say(key) for key in ("instance", "memory", "cpu", "started")]
    rows = [
        [
            f'<span><i class="dot {"up" if one["running"] else "down"}"></i>'
            f'<span data-figure="instance">{escape(one["container"])}</span>'
            f" <small>{say('runs' if one['running'] else 'stopped')}</small></span>",
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
        _tile(
            name, say(name), ways.get(name, count)(number), "", "over" if name == "database_up" and not number else ""
        )
        for name, number in found.items()
    ]
    return _card(say("database"), tiles)
