# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the report of a month says of each goal, and that it says so when it does not know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import slo_queries, slo_report

MAY, JUNE = 1746057600.0, 1748736000.0
NOW = JUNE + slo_queries.DAY
MONTH = slo_queries.month("2025-05", NOW)
GOALS = {name: default for name, (default, *_unused) in slo_report.GOALS.items()}
ABOUT: slo_report.About = {"app": "shop", "host": "web1", "language": "en"}
FIGURES = {"failed_minutes": 20.0, "response_seconds": 0.12}


def record(day: int = 5, seconds: float = 4.2, **more: Any) -> IncidentRecord:
    found = {"id": f"202505{day:02}T020000Z-hung", "cause": "hung", "healthy": True, "escalated": False}
    return cast(IncidentRecord, {**found, "seconds": seconds, "remedies": [{"name": "restart"}], **more})


def days(down: int = 0, unseen: int = 0) -> list[slo_queries.Bar]:
    """A month that was up but for so many minutes of its second day, and so many days at its end."""
    counts: dict[str, dict[int, float]] = {"up": {}, "down": {}}
    for number in range(31 - unseen):
        counts["up"][int(MAY) + number * slo_queries.DAY] = 1440.0
    counts["down"][int(MAY) + slo_queries.DAY] = float(down)
    counts["up"][int(MAY) + slo_queries.DAY] = 1440.0 - down
    return slo_queries.bars(MAY, 31, counts, NOW)


def build(
    of_days: list[slo_queries.Bar],
    *records: IncidentRecord,
    figures: Mapping[str, float | None] = FIGURES,
    remembered: bool = True,
    language: str = "en",
) -> slo_report.Report:
    return slo_report.build({**ABOUT, "language": language}, MONTH, GOALS, of_days, figures, records, remembered)


NOTHING = {"failed_minutes": None, "response_seconds": None}
MET, AS_SEEN, MISSED, UNKNOWN = slo_report.MET, slo_report.AS_SEEN, slo_report.MISSED, slo_report.UNKNOWN


@pytest.mark.parametrize(
    ("report", "verdicts"),
    [
        (build(days()), (MET, MET, MET, MET, MET)),
        (build(days(44), record()), (MET, MET, MET, MET, MET)),
        (build(days(45), record(), record(6)), (MISSED, MET, MET, MET, MISSED)),
        (build(days(), figures={**FIGURES, "response_seconds": 0.501}), (MET, MISSED, MET, MET, MET)),
        (build(days(), record(seconds=301)), (MET, MET, MISSED, MET, MET)),
        (build(days(), record(escalated=True)), (MET, MET, MET, MISSED, MET)),
        (build(days(), record(healthy=False)), (MET, MET, UNKNOWN, UNKNOWN, MET)),
        (build(days(unseen=2)), (AS_SEEN,) * 5),
        (build(days(unseen=16), record(), record(6)), (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, MISSED)),
        (build(days(60, unseen=16)), (MISSED, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)),
        (build(slo_queries.bars(MAY, 31, {}, NOW), figures=NOTHING), (UNKNOWN,) * 5),
        (build(days(), remembered=False), (MET, MET, UNKNOWN, UNKNOWN, UNKNOWN)),
    ],
    ids=[
        *("all is well", "44 minutes down", "45 minutes down and two incidents", "slow", "a long recovery"),
        *(
            "a person was called",
            "it is not over",
            "two days not seen",
            "hardly seen",
            "hardly seen, and too long down",
        ),
        *("nothing seen", "incidents forgotten"),
    ],
)
def test_verdicts(report: slo_report.Report, verdicts: tuple[str, ...]) -> None:
    found = {one["name"]: one["verdict"] for one in report["metrics"]}
    assert tuple(found.values())[:5] == verdicts
    assert set(list(found.values())[5:]) == {slo_report.UNMEASURED}


def test_incidents_of_other_months_are_not_counted() -> None:
    others = [record(id="20250430T235959Z-hung"), record(id="20250601T000000Z-hung")]
    assert [one["id"] for one in build(days(), *others, record(31))["incidents"]] == ["20250531T020000Z-hung"]


@pytest.mark.parametrize("language", slo_report.LANGUAGES)
def test_the_page(language: str) -> None:
    report = build(days(43, unseen=3), record(), record(6, 400.0, escalated=True), language=language)
    page = slo_report.markdown(report)
    assert "99.893 %" in page, "40320 minutes were seen, and 43 of them it was down"
    assert "120 ms" in page
    drawn = page.partition("`")[2].partition("`")[0]
    assert drawn == "█▂" + "█" * 26 + "···"
    for row in ("| 2025-05-02 | 43", "| 2025-05-29 … 2025-05-31 |", "20250505T020000Z-hung", "20250506T020000Z-hung"):
        assert row in page
    for line in (one for one in page.splitlines() if one.startswith("|")):
        assert line.count("|") in (5, 6), line
    assert {"en": "2 of 5 goals met", "ko": "목표 5개 중 2개 달성"}[language] in page
    used = {"en": "44.6 min of the month; 20 min were used, 24.6 min are left", "ko": "(사용 20분, 남음 24.6분)"}
    assert used[language] in page


def test_both_languages_say_the_same_things() -> None:
    english, korean = (
        {name: set(re.findall(r"{\w+}", text)) for name, text in words.items()} for words in slo_report._WORDS.values()
    )
    assert english == korean


def test_more_than_there_was() -> None:
    report = build(days(), figures={**FIGURES, "failed_minutes": 50.0})
    assert "50 min were used, 5.4 min too much" in slo_report.text(report)


def test_what_is_not_known_is_said() -> None:
    text = slo_report.text(build(slo_queries.bars(MAY, 31, {}, NOW), figures=NOTHING))
    assert "0 of 5 goals met, 5 not known" in text
    assert "what was used is not known" in text
    assert "100 %" not in text


def test_a_share_is_not_rounded_up_to_its_goal() -> None:
    assert "99.899 %" in slo_report.text(build(days(45)))


def test_the_mail() -> None:
    alert = slo_report.alert(build(days(), record()), NOW, 300)
    assert alert["labels"] == {
        **{"alertname": "SelfhealReport", "severity": "info", "app": "shop", "host": "web1"},
        "incident": "report-2025-05-20250602T000000Z",
    }
    assert alert["annotations"]["summary"] == "SLO report: shop on web1, 2025-05: 5 of 5 goals met"
    assert "Uptime (≥ 99.9 %): 100 % ✅ met" in alert["annotations"]["description"]
    assert alert["startsAt"] < alert["endsAt"]
