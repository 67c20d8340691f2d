# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An invented week gives the expected bars, error budget and report, and the report is mailed.

The host's Prometheus gets seven days of samples up to the last midnight. Its own samples follow them.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from module_utils.core.clock import iso, stamp
from module_utils.reporting import slo_queries
from monitoring.tests.test_monitoring import APP, HOST, ask, query
from shared import history
from shared.acting import fetching, until
from shared.history import Episode

DAY = slo_queries.DAY
LABELS = slo_queries.of(APP, HOST)
OUTAGE = Episode(DAY + 7200, 43, 0.0, failed=1.0, seconds=8.0)
SLOW = Episode(3 * DAY + 28800, 600, 0.5, failed=0.0002, seconds=2.5)
UNSEEN = Episode(5 * DAY, 1440, None)
EPISODES = [OUTAGE, SLOW, UNSEEN]
# Day → its bar, and its seconds down, degraded, up, not measured.
BARS = [
    ("up", 0, 0, 86400, 0),
    ("down", 43 * 60, 0, 86400 - 43 * 60, 0),
    ("up", 0, 0, 86400, 0),
    ("degraded", 0, 36000, 50400, 0),
    ("up", 0, 0, 86400, 0),
    ("none", 0, 0, 0, 86400),
    ("up", 0, 0, 86400, 0),
]
# The used part of the 43.2 minutes that 30 days allow.
FAILED_MINUTES = 43 + 600 * 0.0002
INCIDENTS = [
    {
        "cause": "hung",
        "seconds": 12.5,
        "escalated": False,
        "evidence": [],
        "remedies": [{"name": "restart", "done": True}],
    },
    {"cause": "crash_loop", "seconds": 400.5, "escalated": True, "evidence": [], "remedies": []},
]
REPORTS = f"/var/lib/selfheal/{APP}/reports"
DASHBOARDS = Path(__file__).resolve().parents[3] / "docs" / "grafana"


@pytest.fixture(scope="module")
def week(host: Any) -> Iterator[int]:
    """Load the week, and two incidents; return its start."""
    end = int(time.time() - 3600) // DAY * DAY
    start = end - len(BARS) * DAY
    # The text is too long for a command's argument, so it is generated on the host.
    labels = {"app": APP, "host": HOST}
    made = f"print(openmetrics({labels}, {start}, {len(BARS) * 1440}, {EPISODES}), end='')"
    source = Path(history.__file__).read_text(encoding="utf-8")
    host.check_output(f"python3 - >/var/tmp/week <<'END'\n{source}\n{made}\nEND")
    host.check_output(
        "chmod 644 /var/tmp/week && runuser -u prometheus -- promtool tsdb create-blocks-from --max-block-duration=24h"
        " openmetrics /var/tmp/week /var/lib/prometheus/metrics2 && rm /var/tmp/week && systemctl restart prometheus"
    )
    folders = []
    for number, one in enumerate(INCIDENTS):
        name = f"{stamp(start + OUTAGE.begins + number)}-{one['cause']}"
        folders.append(f"/var/lib/selfheal/{APP}/incidents/{name}")
        seen = iso(start + OUTAGE.begins + number)
        content = json.dumps({**one, "id": name, "seen": seen, "healthy": True})
        host.check_output(f"mkdir -p {folders[-1]} && cat >{folders[-1]}/incident.json <<'END'\n{content}\nEND")
    until(lambda: host.run(fetching("9090/-/ready")).rc == 0)
    yield start
    host.check_output(f"rm -r {' '.join(folders)}")


def own_minutes(host: Any, since: int, at: float) -> float:
    """The failures after the week, which the host itself has measured."""
    span = max(round(at - since), 60)
    expression = urllib.parse.quote(f"sum_over_time(app:errors:minute{{{LABELS}}}[{span}s])")
    found = ask(host, f"query?time={at}&query={expression}")
    return float(found["result"][0]["value"][1]) if found["result"] else 0.0


def test_each_day_has_its_bar(host: Any, week: int) -> None:
    paths = slo_queries.day_paths(LABELS, week, len(BARS))
    minutes = slo_queries.minutes({name: slo_queries.counted(ask(host, path)) for name, path in paths.items()})
    bars = slo_queries.bars(week, len(BARS), minutes, time.time())
    assert [tuple(one.values())[1:] for one in bars] == BARS
    assert bars[0]["day"] == time.strftime("%Y-%m-%d", time.gmtime(week))
    looked, down = 6 * 1440, 43
    assert slo_queries.uptime(bars) == pytest.approx(1 - down / looked)


def panels() -> list[tuple[str, str, str]]:
    """(dashboard, panel, query) of each query of each dashboard, about this app and host."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$app", APP).replace("$host", HOST)
                found.append((dashboard["title"], panel["title"], expression))
    return found


# A healthy app has none of these.
SILENT = ("selfheal_incidents_total", "selfheal_remedies_total", "selfheal_last_recovery_seconds")


def test_each_query_of_each_dashboard_has_data(host: Any, week: int) -> None:
    asked = panels()
    assert len({title for title, *_unused in asked}) == 4
    expressions = {expression for _unused, _unused, expression in asked}
    assert [one for one in expressions if "$" in one] == []
    spoken = [one for one in expressions if not one.startswith(SILENT)]
    # Some queries cover minutes, and Prometheus has just started.
    silent = list(spoken)

    def all_have_had_data() -> bool:
        silent[:] = [one for one in silent if not query(host, one)]
        return not silent

    until(all_have_had_data, 180.0, lambda: silent)
    for expression in expressions - set(spoken):
        query(host, expression)


def test_the_report(host: Any, week: int, play: Callable[..., Any], tmp_path: Path) -> None:
    """The report on the month of the outage, with the days of the week that are in that month."""
    end = week + len(BARS) * DAY
    outage = week + OUTAGE.begins
    month = slo_queries.month(time.strftime("%Y-%m", time.gmtime(outage)), time.time())
    ended = play("slo.yml", extra={"slo_month": month.name, "slo_reports_directory": str(tmp_path)})
    assert ended.returncode == 0, ended.stdout[-3000:]
    path = tmp_path / f"slo-{month.name}-{APP}-{HOST}.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    names = ("state", "down", "degraded", "up", "none")
    shown = {one["day"]: tuple(one[name] for name in names) for one in report["days"]}
    days = {time.strftime("%Y-%m-%d", time.gmtime(week + number * DAY)): share for number, share in enumerate(BARS)}
    assert {day: shown[day] for day in days if day in shown} == {
        day: share for day, share in days.items() if day.startswith(month.name)
    }
    looked = [one for at, one in history.minutes(week, len(BARS) * 1440, EPISODES) if month.start <= at < month.end]
    measured_here = own_minutes(host, end, month.end) if month.end > end else 0.0
    assert report["budget"]["used"] == pytest.approx(sum(one.failed for one in looked) + measured_here, abs=0.2)
    found = {one["id"].partition("-")[2]: one for one in report["incidents"]}
    assert (found["hung"]["seconds"], found["hung"]["unattended"]) == (12.5, True)
    assert (found["crash_loop"]["seconds"], found["crash_loop"]["unattended"]) == (400.5, False)
    metrics = {one["name"]: one for one in report["metrics"]}
    # 43 minutes in a month that was mostly not measured.
    assert metrics["uptime"]["value"] < 99.9
    assert metrics["incidents"]["verdict"] == "missed"
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| Incidents | ≤ 1 a month |" in page
    assert time.strftime("| %Y-%m-%d | 43 min |", time.gmtime(outage)) in page
    assert "SLO report:" in ended.stdout


def test_a_second_report_on_a_complete_month_changes_nothing(play: Callable[..., Any], tmp_path: Path) -> None:
    extra = {"slo_reports_directory": str(tmp_path), "selfheal_language": "ko"}
    for changed in ("changed=2", "changed=0"):
        ended = play("slo.yml", extra=extra)
        assert ended.returncode == 0, ended.stdout[-3000:]
        assert changed in ended.stdout
    assert "알 수 없음" in ended.stdout
    assert len(list(tmp_path.iterdir())) == 2


def test_the_host_mails_it_once_a_month(host: Any, receivers: Any) -> None:
    assert host.service(f"selfheal-report@{APP}.timer").is_enabled
    assert host.service(f"selfheal-report@{APP}.timer").is_running
    began = time.monotonic()
    host.check_output(f"systemctl start selfheal-report@{APP}.service")
    [mail] = receivers.wait("SLO report", "email")
    print(f"mailed after {time.monotonic() - began:.1f} s")
    month = slo_queries.month("", time.time()).name
    assert mail.title.startswith(f"📋 SLO report: {APP} on {HOST}, {month}: ")
    assert "Uptime (≥ 99.9 %): " in mail.text
    assert "nothing here hears of them" in mail.text
    assert [one.where for one in receivers.received if "SLO report" in one.title] == ["email"]
    assert sorted(host.file(REPORTS).listdir()) == [f"slo-{month}.json", f"slo-{month}.md"]
    assert host.file(f"{REPORTS}/slo-{month}.md").mode == 0o600


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no month", {"slo_month": "2025-13"}, "slo_month: '2025-13' is not a month. Write year and month, as 2025-05"),
    ("an app that is not there", {"selfheal_app": "shop"}, f"this host has no app shop; it has {APP}."),
    ("a goal out of range", {"slo_goals": {"uptime_percent": 9}}, "slo_goals: uptime_percent is 9, out of range."),
    ("no Prometheus", {"slo_prometheus_port": 9}, "Prometheus does not answer: connection refused by 127.0.0.1:9: "),
]


@pytest.mark.parametrize(("extra", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_an_impossible_report_is_refused(
    play: Callable[..., Any], tmp_path: Path, extra: dict[str, Any], words: str
) -> None:
    ended = play("slo.yml", extra={"slo_reports_directory": str(tmp_path / "reports"), **extra})
    assert ended.returncode != 0
    assert words in " ".join(ended.stdout.split()), ended.stdout[-3000:]
    assert not (tmp_path / "reports").exists()


def test_an_undelivered_mail_is_tried_again(host: Any) -> None:
    """The report is kept, the command fails, and systemd starts the unit again later."""
    host.check_output(f"rm -r {REPORTS}; systemctl stop prometheus-alertmanager")
    try:
        ended = host.run("selfheal report --keep --send")
    finally:
        host.check_output("systemctl start prometheus-alertmanager")
    assert ended.rc == 2
    assert re.search(r"the report was not sent: Alertmanager did not take it: connection refused", ended.stderr)
    assert len(host.file(REPORTS).listdir()) == 2
    properties = host.check_output(f"systemctl show --property=Restart --property=RestartUSec selfheal-report@{APP}")
    assert properties.splitlines() == ["Restart=on-failure", "RestartUSec=10min"]


def test_the_budget_of_30_days(host: Any, week: int) -> None:
    end = week + len(BARS) * DAY

    def left() -> tuple[float, float]:
        [(_unused, at)] = query(host, f"timestamp(app:error_budget:left{{{LABELS}}})")
        expression = urllib.parse.quote(f"app:error_budget:left{{{LABELS}}}")
        return float(ask(host, f"query?time={at}&query={expression}")["result"][0]["value"][1]), at

    until(lambda: left()[1] > end and left()[0] < 0.01, 90.0, left)
    value, at = left()
    assert value == pytest.approx(1 - (FAILED_MINUTES + own_minutes(host, end, at)) / 43.2, abs=1e-6)
