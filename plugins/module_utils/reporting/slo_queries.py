# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The SLO's queries to Prometheus, and what a month, a day's bar and an unattended recovery are. Pure.

The role `monitoring` records a sample a minute: `app:state:now` (0 down, 0.5 degraded, 1 up) and `app:errors:minute`
(the share that failed). A minute that was not measured has none, and is counted as nothing else. Days and months are
UTC's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple, TypedDict
from urllib.parse import urlencode

from ..records.incidents import IncidentRecord

DAY, MINUTE = 86400, 60
STATES = {"down": 0.0, "degraded": 0.5, "up": 1.0}
"""What a minute may have been, and the value of `app:state:now`."""
NONE: Final = "none"
"""A day, or a part of it, that was not measured."""
DEGRADED_SECONDS = 5 * MINUTE
"""A day that was degraded for less is still called up: a minute in which one check of twelve failed names no day."""
BUDGET_DAYS = 30

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


Matrix = Mapping[str, Any]
"""What Prometheus answers to a range query: the `data` of its HTTP API's query_range, {resultType, result}."""


class Bar(TypedDict):
    """A day ("2025-05-27"), the worst that has to be shown of it, and for how many seconds it was so."""

    day: str
    state: str
    down: float
    degraded: float
    up: float
    none: float


class SloError(Exception):
    """A report cannot be made; the message says why and what to do."""


class Month(NamedTuple):
    """A month from its first second (epoch s) up to `end`, which is its last, or now while it goes on."""

    name: str
    start: float
    end: float
    over: bool
    days: int


def month(text: str, now: float) -> Month:
    """The month that is called "2025-05"; "" is the last one that is over.

    :raises SloError: the month does not exist, or has not begun.
    """
    today = datetime.fromtimestamp(now, timezone.utc)
    if not text:
        year, number = (today.year, today.month - 1) if today.month > 1 else (today.year - 1, 12)
    else:
        found = _MONTH.fullmatch(text)
        if not found or not 1970 <= int(found[1]) < 9999:
            raise SloError(f"slo_month: {text!r} is not a month. Write year and month, as 2025-05")
        year, number = int(found[1]), int(found[2])
    start = _midnight(year, number)
    after = _midnight(year + number // 12, number % 12 + 1)
    if start > now:
        raise SloError(f"slo_month: {text} has not begun. Write this month, {today:%Y-%m}, or an earlier one")
    return Month(f"{year:04}-{number:02}", start, min(after, now), after <= now, round((after - start) / DAY))


def _midnight(year: int, number: int) -> float:
    return datetime(year, number, 1, tzinfo=timezone.utc).timestamp()


# --- what Prometheus is asked ----------------------------------------------------------------------------------------


def of(app: str, host: str) -> str:
    """The labels of one app on one host. Neither name has a character that would have to be escaped."""
    return f'app="{app}",host="{host}"'


def day_queries(labels: str) -> dict[str, str]:
    """What says how the minutes of the 24 hours before were. Asked at the end of each day, a step a day.

    Counting the minutes of each state would be a subquery: a hundred times as slow for 90 days.
    """
    minutes = f"app:state:now{{{labels}}}[1d]"
    return {
        "count": f"count_over_time({minutes})",
        "mean": f"avg_over_time({minutes})",
        "variance": f"stdvar_over_time({minutes})",
    }


def month_queries(labels: str, seconds: float) -> dict[str, str]:
    """What a report asks at the end of a time of so many seconds."""
    span = f"{max(seconds, MINUTE):.0f}s"
    return {
        "failed_minutes": f"sum_over_time(app:errors:minute{{{labels}}}[{span}])",
        "response_seconds": f"avg_over_time(app:response_seconds:avg5m{{{labels}}}[{span}])",
    }


def day_paths(labels: str, start: float, days: int) -> dict[str, str]:
    """By name, what to ask of Prometheus' API for the days from `start`, a midnight (epoch s)."""
    times = {"start": f"{start + DAY:.0f}", "end": f"{start + days * DAY:.0f}", "step": str(DAY)}
    return {
        name: f"query_range?{urlencode({'query': expression, **times})}"
        for name, expression in day_queries(labels).items()
    }


def counted(data: Matrix) -> dict[int, float]:
    """What Prometheus says to a path of `day_paths`, by the midnight (epoch s) at which the day began."""
    return {round(float(at)) - DAY: float(value) for one in data["result"][:1] for at, value in one["values"]}


def minutes(by_name: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """By state, how many minutes of each day were so.

    :arg by_name: for each name of `day_paths` what `counted` made of the answer.
    """
    found: dict[str, dict[int, float]] = {state: {} for state in STATES}
    for day, count in by_name["count"].items():
        mean, variance = by_name["mean"][day], by_name["variance"][day]
        # Of c minutes u were 1, g were 1/2, the rest 0: their mean is (u + g/2)/c, that of their squares (u + g/4)/c.
        degraded = round(4 * count * (mean - mean * mean - variance))
        up = round(count * mean - degraded / 2)
        found["down"][day], found["degraded"][day], found["up"][day] = count - degraded - up, degraded, up
    return found


# --- a day's bar -----------------------------------------------------------------------------------------------------


def bars(start: float, days: int, counts: Mapping[str, Mapping[int, float]], now: float) -> list[Bar]:
    """A bar for each day, oldest first.

    `state` is the worst that has to be shown: down if a minute was, degraded if more than five were, up, or none if
    nothing was measured. The rest of today is in none of the four.

    :arg start: the midnight at which the first day begins (epoch s).
    :arg counts: how many of each day's minutes were so, as `minutes` has them.
    """
    found = []
    for number in range(days):
        begun = round(start) + number * DAY
        lasts = min(max(now - begun, 0.0), DAY)
        seconds = {state: min(counts.get(state, {}).get(begun, 0.0) * MINUTE, DAY) for state in STATES}
        looked = sum(seconds.values())
        if seconds["down"]:
            state = "down"
        elif seconds["degraded"] > DEGRADED_SECONDS:
            state = "degraded"
        else:
            state = "up" if looked else NONE
        name = datetime.fromtimestamp(begun, timezone.utc).strftime("%Y-%m-%d")
        # The minute that goes on has its sample already, or has none yet.
        unseen = lasts - looked
        found.append(
            Bar(
                day=name,
                state=state,
                down=seconds["down"],
                degraded=seconds["degraded"],
                up=seconds["up"],
                none=unseen if unseen >= MINUTE else 0.0,
            )
        )
    return found


def uptime(of_days: Iterable[Bar]) -> float | None:
    """The share of the measured time for which the app was not down; None when nothing was measured."""
    down = looked = 0.0
    for one in of_days:
        down += one["down"]
        looked += one["down"] + one["degraded"] + one["up"]
    return 1 - down / looked if looked else None


def budget_minutes(days: float, slo_percent: float) -> float:
    """How many minutes of so many days may fail."""
    return days * DAY / MINUTE * (100 - slo_percent) / 100


# --- incidents -------------------------------------------------------------------------------------------------------


def unattended(record: IncidentRecord) -> bool | None:
    """Whether an incident ended without a person: none was called, and none applied a remedy. None while it is open."""
    if not record.get("healthy"):
        return None if not record.get("escalated") else False
    return not record.get("escalated") and not record.get("by_hand")
