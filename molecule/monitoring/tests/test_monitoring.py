# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Metrics are correct, and each threshold of the incident report raises an alert within a minute after it is crossed.

The watcher is paused meanwhile: it would recover the app before any threshold fires.
"""

from __future__ import annotations

import functools
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from monitoring.tests import rule_cases
from shared.acting import HOST_PLAY, fetching, paused, until

APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
HOST = "molecule-monitoring"
ABOUT = f"{APP} @ {HOST}:"
FOLDER = "/etc/prometheus/selfheal"
RULES = (APP, f"{APP}.backup", "host", "drift")
UNITS = {
    "prometheus": "127.0.0.1:9090",
    "prometheus-node-exporter": "127.0.0.1:9100",
    "prometheus-blackbox-exporter": "127.0.0.1:9115",
    "selfheal-containers": "127.0.0.1:9417",
    "prometheus-alertmanager": "127.0.0.1:9093",
}
TLS_UNIT = "selfheal-test-tls.service"
# From the crossed threshold to the message.
GOAL_SECONDS = 60.0


def ask(host: Any, path: str) -> Any:
    """An answer of Prometheus's API."""
    return json.loads(host.check_output(fetching(f"9090/api/v1/{path}")))["data"]


def query(host: Any, expression: str) -> list[tuple[dict[str, str], float]]:
    found = ask(host, f"query?query={urllib.parse.quote(expression)}")
    return [(one["metric"], float(one["value"][1])) for one in found["result"]]


def targets(host: Any) -> dict[str, list[str]]:
    """By job, the health of each target."""
    found: dict[str, list[str]] = {}
    for one in ask(host, "targets?state=active")["activeTargets"]:
        found.setdefault(one["labels"]["job"], []).append(one["health"])
    return found


def texts(host: Any) -> dict[str, str]:
    """The rule files on the host: their content by path."""
    paths = [f"{FOLDER}/rules-{name}.yml" for name in RULES]
    return {path: host.file(path).content_string for path in paths}


def rules(host: Any) -> list[dict[str, Any]]:
    groups = [group for text in texts(host).values() for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_everything_listens_on_loopback_only(host: Any) -> None:
    listening = host.check_output("ss -Hltnp")
    for unit, address in UNITS.items():
        service = host.service(unit)
        assert service.is_running, unit
        assert service.is_enabled, unit
        assert address in listening, unit
        assert f"*:{address.rpartition(':')[2]}" not in listening, unit


def test_every_target_is_up(host: Any) -> None:
    wanted = {"node": 1, "containers": 1, "balancer": 1, "checks": 2, "monitoring": 3}
    until(lambda: targets(host) == {job: ["up"] * count for job, count in wanted.items()}, why=lambda: targets(host))
    until(lambda: query(host, "sum(probe_success) == 2"), why=lambda: query(host, "probe_success"))
    until(lambda: query(host, f'selfheal_healthy{{app="{APP}",host="{HOST}"}} == 1'), 90.0)


def agree(one: float, other: float) -> bool:
    return one == pytest.approx(other, rel=0.2)


def megabytes(host: Any) -> tuple[float, float]:
    """The memory of the container, as Prometheus and as the engine have it (MiB)."""
    stats = host.check_output(f"docker stats --no-stream --format '{{{{.MemUsage}}}}' {CONTAINER}")
    [(_labels, used)] = query(host, "selfheal_container_memory_bytes")
    return used / 2**20, float(stats.partition("MiB")[0])


def test_container_metrics_equal_the_engines_values(host: Any) -> None:
    until(lambda: query(host, "container:cpu:ratio"))
    about = json.loads(host.check_output(f"docker inspect {CONTAINER}"))[0]
    [(labels, _used)] = query(host, "selfheal_container_memory_bytes")
    assert (labels["app"], labels["host"], labels["container"], labels["service"]) == (APP, HOST, CONTAINER, "backend")
    # Prometheus has the value of its last scrape, and docker that of now.
    until(lambda: agree(*megabytes(host)), why=lambda: megabytes(host))
    assert query(host, "selfheal_container_memory_limit_bytes")[0][1] == about["HostConfig"]["Memory"] == 256 * 2**20
    assert query(host, "selfheal_container_cpu_limit_cores")[0][1] == 0.2
    ticks = host.check_output(f"cat /proc/{about['State']['Pid']}/stat").rpartition(")")[2].split()
    # The process of the app, not the container's init, which docker reports.
    used = query(host, "selfheal_container_cpu_seconds_total")[0][1]
    assert used >= sum(int(ticks[at]) for at in (11, 12)) / 100
    begun = int(host.check_output(f"date +%s --date {about['State']['StartedAt']}"))
    assert query(host, "selfheal_container_start_timestamp_seconds")[0][1] == pytest.approx(begun, abs=1.0)


def test_every_rule_fires_once_and_not_once(host: Any) -> None:
    """Promtool runs the cases of rule_cases.py with the rule files of the host."""
    alerts = {rule["alert"] for rule in rules(host) if "alert" in rule}
    records = {rule["record"] for rule in rules(host) if "record" in rule}
    assert {case.rule for case in rule_cases.ALERTS if case.gives} == alerts
    assert {case.rule for case in rule_cases.ALERTS if not case.gives} == alerts
    assert {case.rule for case in rule_cases.RECORDS if case.gives} == records
    assert {case.rule for case in rule_cases.RECORDS if case.gives is None} == records
    for name, document in rule_cases.documents(texts(host)).items():
        path = f"/run/rule-cases-{name}.yml"
        host.check_output(f"cat >{path} <<'END'\n{yaml.safe_dump(document)}END")
        judged = host.run(f"promtool test rules {path}")
        assert judged.rc == 0, judged.stdout + judged.stderr
        assert "SUCCESS" in judged.stdout + judged.stderr


def test_the_tools_accept_every_file(host: Any) -> None:
    for command in (
        "promtool check config /etc/prometheus/prometheus.yml",
        "promtool check rules " + " ".join(f"{FOLDER}/rules-{name}.yml" for name in RULES),
        "amtool check-config /etc/prometheus/alertmanager.yml",
        f"{fetching('9417/metrics')} | promtool check metrics",
    ):
        judged = host.run(command)
        assert judged.rc == 0, command + judged.stdout + judged.stderr
    assert [
        rule["name"] for group in ask(host, "rules")["groups"] for rule in group["rules"] if rule["health"] == "err"
    ] == []


def test_every_alert_has_a_meaning_and_a_link(host: Any) -> None:
    for rule in rules(host):
        if "alert" in rule:
            link = rule["annotations"]["runbook_url"]
            assert link.endswith(f"docs/alerts.md#{rule['alert'].lower()}")
            assert re.fullmatch(rf".{{20,}}\n→ {re.escape(link)}", rule["annotations"]["description"])
            assert rule["annotations"]["summary"].startswith(("{{ $labels.", APP, HOST))


def test_a_certificates_expiry_is_measured(host: Any) -> None:
    """Even a self-signed certificate's: `monitoring_tls_address` is checked in this way."""
    host.check_output(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=lab -keyout /run/lab.key -out /run/lab.crt 2>&1 &&"
        f" systemd-run --quiet --unit={TLS_UNIT}"
        " openssl s_server -www -accept 127.0.0.1:8443 -cert /run/lab.crt -key /run/lab.key"
    )
    try:
        until(lambda: "127.0.0.1:8443" in host.check_output("ss -Hltn"))
        said = host.check_output(fetching("9115/probe?module=tls&target=127.0.0.1:8443"))
    finally:
        host.run(f"systemctl stop {TLS_UNIT}; rm -f /run/lab.key /run/lab.crt")
    ends = re.search(r"^probe_ssl_earliest_cert_expiry (\S+)$", said, re.MULTILINE)
    assert ends, said
    assert float(ends[1]) - time.time() == pytest.approx(3 * 86400, abs=600)


# An alert that explains others, and the alert that it mutes. Without a severity no receiver gets them.
EXPLAINED = [
    ("alertname=HostDown host=far", "alertname=AppDown host=far app=a scope=app"),
    ("alertname=SelfhealIncident cause=upstream_down app=b host=b", "alertname=AppDown app=b host=b symptom=yes"),
    ("alertname=AppDown app=c host=c", "alertname=AppErrors app=c host=c"),
    ("alertname=BudgetBurnsFast app=d host=d", "alertname=BudgetBurns app=d host=d"),
    ("alertname=BudgetBurns app=e host=e", "alertname=BudgetBurnsSlowly app=e host=e"),
    ("alertname=SelfhealEscalated app=f host=f", "alertname=BreakerOpen app=f host=f"),
]


def test_an_explained_alert_is_muted(host: Any) -> None:
    for reason, result in EXPLAINED:
        elsewhere = re.sub("host=[a-z]+", "host=elsewhere", result)
        for labels in (reason, result, elsewhere):
            host.check_output(f"amtool --alertmanager.url=http://127.0.0.1:9093 alert add {labels} test=inhibition")
    states = {
        " ".join(sorted(f"{name}={value}" for name, value in one["labels"].items() if name != "test")): one["status"][
            "state"
        ]
        for one in json.loads(host.check_output(fetching("9093/api/v2/alerts?filter=test%3Dinhibition")))
    }
    for reason, result in EXPLAINED:
        elsewhere = re.sub("host=[a-z]+", "host=elsewhere", result)
        found = [states[" ".join(sorted(labels.split()))] for labels in (reason, result, elsewhere)]
        assert found == ["active", "suppressed", "active"], result


# --- the report's thresholds, crossed --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(host: Any, receivers: Any) -> Iterator[Any]:
    """The receivers, while the watcher is paused."""
    with paused(host):
        yield receivers


def python(name: str, script: str) -> str:
    """The command that runs a script in the container; `gone` ends it by its name."""
    first = f"import os, time; open('/tmp/{name}.pid', 'w').write(str(os.getpid()))"
    return f'docker exec --detach {CONTAINER} python3 -c "{first}\n{script}"'


def gone(name: str) -> str:
    """The command that ends a script, if it still runs."""
    return f"docker exec {CONTAINER} sh -c 'kill $(cat /tmp/{name}.pid)' || true"


# Together with the app's own memory this is more than 80 % of 256 MiB, and below the limit.
EAT = python("eat", "hoard = bytearray(195 << 20)\ntime.sleep(600)")
BURN = python("burn", "while True: pass")
FAULT = f"docker exec {CONTAINER} sh -c 'echo {{}} >/tmp/fault'"
SOUND = f"docker exec {CONTAINER} rm -f /tmp/fault"


class Threshold(NamedTuple):
    """`crossed` is a query with a result from the crossing on: a rate takes some time to rise."""

    cause: str
    crossed: str
    undo: str
    title: str
    meaning: str


MEMORY = Threshold(EAT, "container:memory:ratio > 0.8", gone("eat"), "of its memory limit in use", "above 80 %")
PROCESSOR = Threshold(BURN, "container:cpu:ratio > 0.7", gone("burn"), "of its CPU limit in use", "above 70 %")
ERRORS = Threshold(FAULT.format("errors"), "app:errors:ratio1m > 0.05", SOUND, "of the requests fail", "Above 5 %")
LATENCY = Threshold(FAULT.format("slow 3"), "probe_duration_seconds > 2", SOUND, "an answer takes", "Above 2000 ms")


@pytest.mark.parametrize(
    "crossed", [(MEMORY, LATENCY), (PROCESSOR, ERRORS)], ids=["memory and latency", "processor and errors"]
)
def test_two_thresholds_are_crossed(host: Any, held: Any, crossed: tuple[Threshold, ...]) -> None:
    held.received.clear()
    began = time.monotonic()
    try:
        for one in crossed:
            host.check_output(one.cause)
        for one in crossed:
            until(functools.partial(query, host, one.crossed), why=functools.partial(str, one.crossed))
            messages = held.wait(one.title, seconds=GOAL_SECONDS)
            print(f"{one.title!r}: sent to all after {time.monotonic() - began:.0f} s")
            for message in messages:
                assert message.title.startswith(f"🟡 {ABOUT} "), message
                assert one.meaning in message.text, message
                assert "docs/alerts.md#" in message.text, message
    finally:
        for one in crossed:
            host.check_output(one.undo)
    undone = time.monotonic()

    def over(title: str) -> bool:
        ended = [one for one in held.received if one.title.startswith(f"🟢 {ABOUT} over: ") and title in one.title]
        return {one.where for one in ended} >= set(held.everything)

    for one in crossed:
        until(functools.partial(over, one.title), 150.0, lambda: held.received)
        print(f"{one.title!r}: and over after another {time.monotonic() - undone:.0f} s")
    assert held.problems == []


# --- resource use ----------------------------------------------------------------------------------------------------


def test_monitoring_has_memory_limits(host: Any) -> None:
    """No program of it may take memory that the app needs."""
    for unit in ("prometheus", "prometheus-node-exporter", "prometheus-blackbox-exporter", "selfheal-containers"):
        assert int(host.check_output(f"systemctl show --property=MemoryMax --value {unit}")) < 300 * 2**20, unit
    flags = ask(host, "status/flags")
    assert (flags["storage.tsdb.retention.time"], flags["storage.tsdb.retention.size"]) == ("92d", "1GiB")
    units = "|".join(UNITS)
    resident = 0
    for unit in UNITS:
        pid = host.check_output(f"systemctl show --property=MainPID --value {unit}")
        found = re.search(r"^Rss:\s+(\d+)", host.check_output(f"cat /proc/{pid}/smaps_rollup"), re.M)
        assert found, unit
        resident += int(found[1])
    print(f"{units}: {resident / 1024:.0f} MB")
    assert resident / 1024 <= 250


BAD: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "no receivers",
        {"alerting_receivers": [], "alerting_deadman_url": ""},
        ("alerting_receivers: it is empty for molecule-monitoring", "monitoring_without_receivers: true"),
    ),
    (
        "a threshold out of range",
        {"monitoring_thresholds": {"memory_percent": 180}},
        ("monitoring_thresholds: memory_percent is 180", "Write a number from 1 to 99"),
    ),
    (
        "an unknown threshold",
        {"monitoring_thresholds": {"memroy_percent": 80}},
        ("memroy_percent", "memory_percent"),
    ),
    ("a port twice", {"monitoring_ports": {"node": 9090}}, ("monitoring_ports: 9090 is used twice",)),
]


@pytest.mark.parametrize(("extra", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_ends_before_the_host_is_touched(
    play: Callable[..., Any], extra: dict[str, Any], words: tuple[str, ...]
) -> None:
    ended = play("site.yml", extra=extra)
    output = " ".join(ended.stdout.split())
    assert ended.returncode != 0, output[-2000:]
    assert [word for word in words if word not in output] == [], output[-3000:]
    assert HOST_PLAY not in output, "the host was reached"


def test_an_app_that_is_not_there_is_refused(host: Any, play: Callable[..., Any]) -> None:
    before = host.check_output(f"ls {FOLDER}")
    ended = play("site.yml", "--tags", "monitoring", extra={"selfheal_app": "shop"})
    output = " ".join(ended.stdout.split())
    assert ended.returncode != 0
    assert f"molecule-monitoring has no app shop; it has {APP}. Correct the name" in output, output[-2000:]
    assert host.check_output(f"ls {FOLDER}") == before
    until(lambda: targets(host)["checks"] == ["up", "up"])
