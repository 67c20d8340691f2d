# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a drift check for people, programs and Prometheus."""

from __future__ import annotations

import html.parser
import re
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import report as drift_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.findings import Finding, Trouble
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.report import Report
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.store import CheckedHost
from ansible_collections.christmas.selfheal.plugins.module_utils.reporting import metrics
from ansible_collections.christmas.selfheal.tests.unit.drift.factories import finding


def report(*findings: Finding, **about: Any) -> Report:
    plain: Report = {
        "id": "x-drift",
        "time": 7200.0,
        "seconds": 9.6,
        "hosts": ["web1"],
        "compared": ["web1"],
        "unchanged": [],
        "checked": {"web1": checked("shop", 7200.0), "web2": checked("", 0.0)},
        "findings": list(findings),
        "troubles": [],
        "gone": [],
        "corrections": [],
        "accepted": [],
        "notes": [],
        "head": "0" * 64,
        "exit": 0,
    }
    return cast("Report", {**plain, **about})


def checked(app: str, time: float) -> CheckedHost:
    return {"app": app, "time": time, "as_meant_at": time, "release": ""}


TROUBLE: Trouble = {"host": "web2", "role": "", "what": "cannot be reached"}


@pytest.mark.parametrize(
    ("decisions", "troubles", "code"),
    [
        ([], [], 0),
        (["ignored", "corrected"], [], 0),
        (["ignored", "report"], [], 2),
        (["waits"], [], 2),
        (["failed"], [], 2),
        (["escalate"], [], 2),
        ([], [TROUBLE], 4),
        (["report"], [TROUBLE], 4),
    ],
)
def test_exit_code(decisions: list[str], troubles: list[Trouble], code: int) -> None:
    assert drift_report.exit_code([finding(decision=decision) for decision in decisions], troubles) == code


def test_the_table() -> None:
    shown = drift_report.screen(report(finding(), troubles=[TROUBLE]), "reports/x.md").splitlines()
    assert shown[0] == "1 host checked in 9.6 s: 1 drift (1 report), 1 could not be compared"
    wanted = ["web1", "security", "watcher", "/etc/x (content)", "a | b", "<script>", "1970-01-01 01:00", "report"]
    assert re.split(r"  +", shown[2]) == wanted
    assert shown[3] == "COULD NOT TELL  web2: cannot be reached"


def test_two_long_texts_are_cut_where_they_differ() -> None:
    start = '# selfheal: {"data": ["' + "x" * 200
    long = finding(**{"is": f"{start}/old", "should": f"{start}/new and more"})
    row = re.split(r"  +", drift_report.screen(report(long)).splitlines()[2])
    assert row[4:6] == ["…xxxxxxxxxxx/old", "…xxxxxxxxxxx/new and more"]


def test_what_could_not_be_compared_is_not_called_no_drift() -> None:
    assert drift_report.headline(report()) == "1 host checked in 9.6 s: no drift"
    headline = drift_report.headline(report(troubles=[TROUBLE]))
    assert headline == "1 host checked in 9.6 s: it could not tell, 1 could not be compared"


def test_the_page_is_self_contained_and_escaped() -> None:
    class Reader(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.append(tag)

    text = drift_report.page(report(finding()), [drift_report.entry(report(finding(), finding(decision="ignored")))])
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert "&lt;script&gt;" in text
    assert "<td>1<td>0<td>1<td>0" in text, "found, corrected, accepted, could not tell"
    written = drift_report.markdown(report(finding(object="![x](http://192.0.2.1/x)")))
    assert r"| !\[x](http://192.0.2.1/x) (content) | a \| b | \<script> |" in written


def rendered(one: Report) -> str:
    return metrics.render_drift(one["checked"], one["compared"], one["findings"])


def test_metrics() -> None:
    lines = rendered(report(finding(), finding(decision="ignored"), finding(severity="cosmetic"))).splitlines()
    assert 'selfheal_drift_last_check_timestamp_seconds{app="shop",target="web1"} 7200' in lines
    assert 'selfheal_drift_last_check_timestamp_seconds{app="",target="web2"} 0' in lines
    assert 'selfheal_drift_found{app="shop",target="web1",severity="security"} 1' in lines
    assert 'selfheal_drift_found{app="shop",target="web1",severity="availability"} 0' in lines
    assert not [line for line in lines if line.startswith("selfheal_drift_found") and "web2" in line]


def test_a_controller_that_has_compared_no_host_has_a_metric() -> None:
    lines = rendered(report(checked={}, compared=[])).splitlines()
    assert 'selfheal_drift_last_check_timestamp_seconds{app="",target="every host"} 0' in lines


@pytest.mark.parametrize(
    ("hosts", "unchanged", "said"),
    [
        (3, 0, ""),
        (1, 1, "1 host has not changed since the last whole comparison: compared by facts alone"),
        (8, 6, "6 hosts have not changed since the last whole comparison: compared by facts alone; 2 compared whole"),
    ],
)
def test_a_report_says_how_many_hosts_the_roles_did_not_compare(hosts: int, unchanged: int, said: str) -> None:
    assert drift_report.extent(hosts, unchanged) == said
