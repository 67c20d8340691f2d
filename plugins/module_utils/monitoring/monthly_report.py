# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A month's report, made on the host: Prometheus and the incident files are asked, and the report is kept and sent.

Its settings are in /etc/selfheal/slo/<app>.json, written by the role `slo`: {goals: {name: number}, prometheus: port,
alertmanager: URL, or "" when the report is only kept}.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from ..core.files import atomic_write
from ..probe import prometheus_client, web
from ..records import incidents
from ..recovery import config as agent_config
from ..recovery.config import Config
from ..reporting import slo_queries, slo_report
from ..reporting.slo_queries import SloError
from ..reporting.slo_report import About, Report
from ..status_page import figures as page_figures

FOLDER = "etc/selfheal/slo"
# For how long Alertmanager keeps it firing.
HOLD_SECONDS = 300.0


class Settings(NamedTuple):
    """What a report goes by."""

    goals: Mapping[str, float]
    prometheus: int
    alertmanager: str = ""


def settings(given: Mapping[str, object], where: str) -> Settings:
    """Check what was given; `where` names it in an error. Raises SloError."""
    for key in given:
        if key not in Settings._fields:
            raise SloError(f"{where}: unknown key `{key}`. Fix: run christmas.selfheal.site, which writes it again")
    wanted = given.get("goals")
    if not isinstance(wanted, Mapping):
        raise SloError(
            f"{where}: `goals` is {wanted!r}, not a mapping. Fix: write a number for each of {_names()}, or {{}}"
        )
    port = given.get("prometheus")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise SloError(f"{where}: `prometheus` is {port!r}, not a port. Fix: write 9090, or where it listens")
    address = str(given.get("alertmanager") or "")
    if address and web.address(address) is None:
        raise SloError(
            f"{where}: `alertmanager` is {address!r}, not an http(s) URL. Fix: write http://127.0.0.1:9093, or nothing"
        )
    return Settings(_goals(wanted, where), port, address.rstrip("/"))


def _names() -> str:
    return ", ".join(slo_report.GOALS)


def _goals(wanted: Mapping[str, object], where: str) -> dict[str, float]:
    for name, number in wanted.items():
        if name not in slo_report.GOALS:
            raise SloError(f"{where}: unknown goal `goals.{name}`. Fix: write {_names()}")
        _unused, smallest, largest = slo_report.GOALS[name]
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not smallest <= number <= largest:
            raise SloError(
                f"{where}: `goals.{name}` is {number!r}. Fix: write a number from {smallest:g} to {largest:g}"
            )
    defaults = {name: float(default) for name, (default, *_unused) in slo_report.GOALS.items()}
    given = {name: float(number) for name, number in wanted.items() if isinstance(number, (int, float))}
    return {**defaults, **given}


def load(name: str, root: str = "/") -> Settings:
    """The settings of an app's reports. Raises SloError."""
    path = os.path.join(root, FOLDER, f"{name}.json")
    try:
        found = agent_config.read(
            path, "with monitoring_enabled: true, and no monitoring_hub, christmas.selfheal.site writes it"
        )
    except agent_config.ConfigError as error:
        raise SloError(str(error)) from None
    if not isinstance(found, Mapping):
        raise SloError(f"{path} is not a JSON object: run christmas.selfheal.site, which writes it again")
    return settings(found, path)


def config(name: str, root: str = "/") -> Config:
    """The agent's config of an app that this host has. Raises SloError, ConfigError."""
    known = agent_config.apps(root)
    if name not in known:
        have = ", ".join(known) or "none"
        raise SloError(
            f"selfheal_app: this host has no app {name}; it has {have}. Correct the name, or run site.yml first"
        )
    return agent_config.load(agent_config.path_of(name, root), root)


def measure(config: Config, by: Settings, wanted: str, now: float, language: str = "") -> Report:
    """Return the report of a month ("2025-05", or "" for the last one that is over); `now` is epoch seconds.

    :raises SloError: there is no such month.
    :raises PrometheusError: Prometheus cannot be asked.
    """
    month = slo_queries.month(wanted, now)
    labels = slo_queries.of(config.app.name, config.app.host)
    counts = slo_queries.minutes(
        {
            name: slo_queries.counted(prometheus_client.ask(by.prometheus, path))
            for name, path in slo_queries.day_paths(labels, month.start, month.days).items()
        }
    )
    begun = math.ceil((month.end - month.start) / slo_queries.DAY)
    days = slo_queries.bars(month.start, begun, counts, now)
    figures = {
        name: prometheus_client.value(by.prometheus, expression, month.end)
        for name, expression in slo_queries.month_queries(labels, month.end - month.start).items()
    }
    records = [one for one in incidents.every(config.app.paths.incidents) if page_figures.is_incident(one)]
    oldest = min((at for one in records if (at := page_figures.parse(one["seen"])) is not None), default=None)
    remembered = (
        month.start >= now - config.keep_days * slo_queries.DAY
        or len(records) < incidents.KEPT
        # What is older is still there, so nothing of the month was forgotten.
        or (oldest is not None and oldest < month.start)
    )
    about: About = {"app": config.app.name, "host": config.app.host, "language": language or config.app.language}
    return slo_report.build(about, month, by.goals, days, figures, reversed(records), remembered)


def keep(config: Config, report: Report) -> str:
    """Write the report as Markdown and as JSON; return the path of the Markdown. What is the same is written again."""
    os.makedirs(config.app.paths.reports, mode=0o700, exist_ok=True)
    path = os.path.join(config.app.paths.reports, f"slo-{report['month']}")
    atomic_write(f"{path}.json", (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    atomic_write(f"{path}.md", slo_report.markdown(report).encode())
    return f"{path}.md"


def send(by: Settings, report: Report, now: float) -> str:
    """Hand the report to Alertmanager, which mails it, and say so. Raises SloError when it is not taken."""
    if not by.alertmanager:
        return "not sent: no notification goes by mail"
    body = json.dumps([slo_report.alert(report, now, HOLD_SECONDS)]).encode()
    request = web.Request(
        f"{by.alertmanager}/api/v2/alerts", "POST", (("Content-Type", "application/json"),), body, timeout=10.0
    )
    try:
        answer = web.fetch(request)
        why = "" if answer.status == 200 else f"status {answer.status}"
    except web.Fault as fault:
        why = str(fault)
    if why:
        raise SloError(
            f"the report was not sent: Alertmanager did not take it: {why}."
            " On the host: systemctl status prometheus-alertmanager"
        )
    return "sent: Alertmanager has taken it"
