# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host watches another over ssh: its app, cache, pool and database. The tunnel permits nothing else.

`host` is the host that watches. The alerts are those of its Alertmanager. The tests build on each other, in order.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backing_cases
import pytest
import testinfra
import yaml
from monitoring.tests import rule_cases
from shared.acting import HOST_PLAY, fetching, paused, slow, until

REPOSITORY = Path(__file__).resolve().parents[3]
LAB = yaml.safe_load((REPOSITORY / "lab/vars/lab.yml").read_text(encoding="utf-8"))
APP = "christmas-backend"
HUB, WATCHED = "molecule-monitoring-hub", "molecule-monitoring-app"
CACHE, POOL = f"{APP}-cache-1", f"{APP}-pool-1"
FOLDER = "/etc/prometheus/selfheal"
BACKING_RULES = f"{FOLDER}/rules-{APP}@{WATCHED}.backing.yml"
TUNNEL = f"selfheal-tunnel@{WATCHED}.service"
EXPORTERS = {
    "cache": "127.0.0.1:9121",
    "pool": "127.0.0.1:9127",
    "database": "127.0.0.1:9187",
}
# The units of a host that watches itself.
OWN = ["prometheus.service", "prometheus-alertmanager.service", "selfheal-page.socket", f"selfheal-report@{APP}.timer"]
# A part of each password that no quoting changes.
PLAIN = ["fT9%%2u;*Jb=6Yq", "7%s;k=Zt4"]


@pytest.fixture(scope="module")
def watched() -> Any:
    return testinfra.get_host("ssh://root@172.30.57.49", ssh_config="../shared/ssh_config")


def fetch(host: Any, address: str) -> str:
    return str(host.check_output(fetching(address)))


def ask(host: Any, path: str) -> Any:
    return json.loads(fetch(host, f"9090/api/v1/{path}"))["data"]


def query(host: Any, expression: str) -> list[tuple[dict[str, str], float]]:
    found = ask(host, f"query?query={urllib.parse.quote(expression)}")
    return [(one["metric"], float(one["value"][1])) for one in found["result"]]


def value(host: Any, expression: str) -> float:
    """The query's only value, as soon as it has one: a late scrape on a busy machine leaves a gap."""
    found: list[tuple[dict[str, str], float]] = []

    def there() -> bool:
        found[:] = query(host, expression)
        return bool(found)

    until(there, 90.0, lambda: expression)
    [(_unused, number)] = found
    return number


def targets(host: Any) -> dict[tuple[str, str], list[str]]:
    """By host and job, the health of each target."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in ask(host, "targets?state=active")["activeTargets"]:
        found.setdefault((one["labels"]["host"], one["labels"]["job"]), []).append(one["health"])
    return found


def fired(host: Any, of: str = WATCHED) -> dict[str, str]:
    """Alertmanager's alerts about a host: the state of each, by its name."""
    found = json.loads(fetch(host, "9093/api/v2/alerts"))
    return {
        one["labels"]["alertname"]: one["status"]["state"]
        for one in found
        if one["labels"].get("host") == of and one["labels"]["severity"] != "none"
    }


def ready(host: Any) -> bool:
    """Whether Prometheus answers."""
    return bool(host.run(fetching("9090/-/ready")).rc == 0)


def firing(host: Any) -> set[str]:
    """The alerts that Prometheus itself fires now, without those from before a restart."""
    return {one["labels"]["alertname"] for one in ask(host, "alerts")["alerts"] if one["state"] == "firing"}


def quiet(host: Any) -> bool:
    return fired(host) == {} and fired(host, HUB) == {}


@pytest.fixture
def calm(host: Any) -> None:
    """Wait until no alert fires, so that a test's alerts are its own."""
    until(lambda: quiet(host), 240.0, lambda: (fired(host), fired(host, HUB)))


def test_every_target_of_both_hosts_is_up(host: Any) -> None:
    both = {"node": 1, "containers": 1, "checks": 2}
    wanted = {(name, job): ["up"] * count for name in (HUB, WATCHED) for job, count in both.items()}
    wanted |= {(WATCHED, job): ["up"] for job in EXPORTERS}
    wanted |= {(HUB, "monitoring"): ["up"] * 3, (WATCHED, "monitoring"): ["up"]}
    until(lambda: targets(host) == wanted, 90.0, lambda: targets(host))


def test_alerts_of_the_watched_hosts_watcher_arrive(host: Any) -> None:
    def signs() -> set[str]:
        """The hosts with a sign of life, which each watcher sends once a minute."""
        found = json.loads(fetch(host, "9093/api/v2/alerts"))
        return {one["labels"]["host"] for one in found if one["labels"]["alertname"] == "SelfhealWatchdog"}

    until(lambda: signs() == {HUB, WATCHED}, 90.0, signs)


def test_no_port_is_opened_and_the_watched_host_has_no_prometheus(host: Any, watched: Any) -> None:
    for one, name in ((host, HUB), (watched, WATCHED)):
        addresses = [line.split()[3] for line in one.check_output("ss -Hltn").splitlines()]
        public = {address for address in addresses if not address.startswith(("127.", "[::1]"))}
        assert public == {"0.0.0.0:22", "[::]:22", f"{one.backend.host.name}:8000"}, name
    for unit, address in EXPORTERS.items():
        service = watched.service(f"selfheal-{unit}-{APP}")
        assert service.is_running and service.is_enabled, unit
        assert int(watched.check_output(f"systemctl show -P MemoryMax selfheal-{unit}-{APP}")) == 48 << 20
        assert address in watched.check_output("ss -Hltn")
    # Debian's own units would listen on every address after the next boot.
    for package in ("redis", "pgbouncer", "postgres"):
        assert watched.check_output(f"systemctl is-enabled prometheus-{package}-exporter || true") == "masked"
    assert not watched.service("prometheus").is_running
    assert not watched.package("prometheus").is_installed
    resident = 0
    for unit in [f"selfheal-{name}-{APP}" for name in EXPORTERS] + ["selfheal-containers"]:
        pid = watched.check_output(f"systemctl show -P MainPID {unit}")
        found = re.search(r"^Rss:\s+(\d+)", watched.check_output(f"cat /proc/{pid}/smaps_rollup"), re.M)
        assert found
        resident += int(found[1])
        print(f"{unit}: {int(found[1]) / 1024:.0f} MB")
    assert resident / 1024 < 100


def test_the_passwords_are_nowhere_else(watched: Any) -> None:
    assert PLAIN[0] in LAB["lab_redis_password"]
    assert PLAIN[1] in LAB["lab_database"]["password"]
    said = [watched.check_output("ps -eo args"), watched.check_output("journalctl --no-pager")]
    for unit in EXPORTERS:
        pid = watched.check_output(f"systemctl show -P MainPID selfheal-{unit}-{APP}")
        said.append(watched.check_output(f"tr '\\0' '\\n' </proc/{pid}/environ"))
        said.append(watched.check_output(f"cat /etc/systemd/system/selfheal-{unit}-{APP}.service"))
        assert watched.check_output(f"stat -c '%U %a' /etc/prometheus/selfheal-secrets/{APP}.{unit}") == "root 600"
        copied = watched.check_output(f"stat -c '%U %a' /run/selfheal-{unit}-{APP}/password")
        assert copied == "prometheus 400"
        said.append(fetch(watched, f"{EXPORTERS[unit].rpartition(':')[2]}/metrics"))
    assert [[word for word in PLAIN if word in text] for text in said] == [[] for _unused in said]


def test_a_second_run_prints_no_password_and_changes_nothing(play: Callable[..., Any]) -> None:
    ended = play("site.yml", "--diff", "-vvv")
    assert ended.returncode == 0, ended.stdout[-3000:]
    changed = [task for task in ended.stdout.split("\nTASK ") if "\nchanged: [" in task]
    assert (changed, ended.stdout.count("changed=0")) == ([], 2)
    assert [word for word in PLAIN if word in ended.stdout] == []


def test_metrics_equal_the_services_own_values(host: Any, watched: Any) -> None:
    for kind in ("redis", "pgbouncer", "pg"):
        until(functools.partial(query, host, f"{kind}_up == 1"), 30.0)
    said = watched.check_output(f"docker exec {CACHE} redis-cli info memory")
    limit = re.search(r"^maxmemory:(\d+)", said, re.M)
    assert limit
    assert value(host, "redis_memory_max_bytes") == float(limit[1])
    assert value(host, "pgbouncer_databases_pool_size") == 20
    assert value(host, "pgbouncer_config_max_client_connections") == 500
    assert value(host, "pg_settings_max_connections") == 100
    assert value(host, "app:database:queries_active") >= 1
    # Unused series are not kept.
    for job, most in (("cache", 15), ("pool", 25), ("database", 80)):
        kept = value(host, f'count({{job="{job}",host="{WATCHED}"}})')
        print(f"{job}: {kept:.0f} series")
        assert kept <= most


def test_every_rule_fires_once_and_not_once(host: Any) -> None:
    text = host.file(BACKING_RULES).content_string
    groups = yaml.safe_load(text)["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert {case.rule for case in backing_cases.ALERTS if case.gives} == alerts
    assert {case.rule for case in backing_cases.ALERTS if not case.gives} == alerts
    assert {case.rule for case in backing_cases.RECORDS if case.gives} == records
    assert {case.rule for case in backing_cases.RECORDS if case.gives is None} == records
    cases = rule_cases.documents({BACKING_RULES: text}, backing_cases.ALERTS, backing_cases.RECORDS)
    for name, document in cases.items():
        path = f"/run/backing-cases-{name}.yml"
        host.check_output(f"cat >{path} <<'END'\n{yaml.safe_dump(document)}END")
        judged = host.run(f"promtool test rules {path}")
        assert judged.rc == 0, judged.stdout + judged.stderr
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        assert rule["annotations"]["runbook_url"].endswith(f"docs/alerts.md#{rule['alert'].lower()}")


# --- what the tunnel may do ------------------------------------------------------------------------------------------


def test_the_key_goes_to_the_exporters_and_nowhere_else(host: Any) -> None:
    def other_key() -> str:
        host.check_output("rm -f /run/other_key*; ssh-keygen -q -t ed25519 -N '' -C '' -f /run/other_key")
        return str(host.check_output("cat /run/other_key.pub")).strip().replace("/", "\\/")

    def tried(command: str) -> str:
        """Run a command as an attacker on the monitoring host would; its output and exit code."""
        return str(host.check_output(f"timeout 15 {command} </dev/null 2>&1; echo exit $?"))

    host.check_output(f"sed '/Forward /d' /etc/selfheal/{WATCHED}.tunnel >/run/bare.tunnel")
    ssh = "ssh -F /run/bare.tunnel"
    shell = tried(f"{ssh} {WATCHED} id")
    assert "uid=" not in shell
    assert "exit 0" not in shell
    assert "exit 0" not in tried(f"sftp -F /run/bare.tunnel -b /dev/null {WATCHED}")
    assert "Permission denied" in tried(f"{ssh} -l root {WATCHED} id")
    assert "exit 255" in tried(f"{ssh} -N -R 127.0.0.1:7777:127.0.0.1:22 {WATCHED}"), "it may listen where it likes"
    # Ports of other programs, on the host and elsewhere; a program listens at each of them.
    assert "exit 0" in tried(f"{ssh} -W 127.0.0.1:9100 {WATCHED}")
    for place in ("127.0.0.1:22", "127.0.0.1:9193", "172.30.57.9:5432"):
        assert "forwarding failed" in tried(f"{ssh} -W {place} {WATCHED}"), place
    # A host with another key is refused.
    host.check_output(f"sed 's/ssh-ed25519 .*/{other_key()}/' /etc/selfheal/{WATCHED}.known_hosts >/run/other")
    assert "Host key verification failed" in tried(f"{ssh} -o UserKnownHostsFile=/run/other -N {WATCHED}")
    assert host.check_output("stat -c '%U %a' /var/lib/selfheal-hub/.ssh/id_ed25519") == "selfheal-hub 600"


@pytest.mark.usefixtures("calm")
def test_a_killed_tunnel_restarts_before_an_alert_fires(host: Any) -> None:
    before = host.check_output(f"systemctl show -P MainPID {TUNNEL}")
    host.check_output(f"systemctl kill -s KILL {TUNNEL}")

    def again() -> bool:
        pid = host.check_output(f"systemctl show -P MainPID {TUNNEL}")
        return pid not in ("0", before) and f"pid={pid}," in host.check_output("ss -Hltnp 'sport = :9417'")

    took = until(again, 30.0)
    print(f"the tunnel was killed: open again after {took:.0f} s")
    # A scrape that failed meanwhile is repeated after half a minute.
    until(lambda: all(health == ["up"] * len(health) for health in targets(host).values()), 90.0, lambda: targets(host))
    assert "HostDown" not in fired(host)


@slow
@pytest.mark.usefixtures("calm")
def test_a_tunnel_that_stays_down_is_reported_and_over_when_it_is_back(host: Any) -> None:
    host.check_output(f"systemctl stop {TUNNEL}")
    took = until(lambda: fired(host).get("HostDown") == "active", 150.0, lambda: fired(host))
    print(f"the tunnel is down: notified after {took:.0f} s")
    # Other alerts about the host have the same reason.
    assert {state for name, state in fired(host).items() if name != "HostDown"} <= {"suppressed"}, fired(host)
    host.check_output(f"systemctl start {TUNNEL}")
    print(f"and over {until(lambda: fired(host) == {}, 180.0, lambda: fired(host)):.0f} s after it is back")


# --- the services behind the app -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
def test_a_cache_that_is_gone_is_reported(host: Any, watched: Any) -> None:
    # The watcher would start the cache before the alert fires.
    with paused(watched):
        watched.check_output(f"docker stop -t 1 {CACHE}")
        took = until(lambda: fired(host) == {"CacheGone": "active"}, 120.0, lambda: fired(host))
        print(f"the cache is gone: notified after {took:.0f} s")
        watched.check_output(f"docker start {CACHE}")
    print(f"and over after another {until(lambda: fired(host) == {}, 120.0, lambda: fired(host)):.0f} s")


@pytest.fixture
def crowd(watched: Any) -> Iterator[None]:
    """More clients than the pool has connections; each statement takes longer than the threshold."""
    script = (
        "for i in $(seq 30); do (while true; do PGCONNECT_TIMEOUT=20 PGPASSWORD=$DATABASE_PASSWORD"
        ' psql -h 127.0.0.1 -p 6432 -U "$DATABASE_USER" -d "$DATABASE_NAME" -c "select pg_sleep(90)" >/dev/null 2>&1;'
        " sleep 0.3; done) & done; wait"
    )
    watched.check_output(f"systemd-run --quiet --unit=crowd docker exec {POOL} sh -c '{script}'")
    yield
    watched.run(f"systemctl stop crowd; docker restart -t 1 {POOL}")


@slow
@pytest.mark.usefixtures("calm", "crowd")
def test_an_exhausted_pool_and_slow_statements_are_reported(host: Any) -> None:
    wanted = {"PoolExhausted", "SlowQueries"}
    began = time.monotonic()

    def is_active(name: str) -> bool:
        return fired(host).get(name) == "active"

    for name in sorted(wanted):
        until(functools.partial(is_active, name), 150.0, lambda: fired(host))
        print(f"{name}: notified after {time.monotonic() - began:.0f} s")
    assert value(host, "app:pool:used_ratio") == 1
    assert value(host, "sum(pgbouncer_pools_client_waiting_connections)") > 0
    assert value(host, "app:database:queries_active") >= 20


@slow
@pytest.mark.usefixtures("calm")
def test_an_exporter_that_ended_is_reported_and_the_host_is_not_down(host: Any, watched: Any) -> None:
    watched.check_output(f"systemctl stop selfheal-cache-{APP}")
    try:
        took = until(lambda: fired(host) == {"TargetDown": "active"}, 150.0, lambda: fired(host))
        print(f"an exporter is down: notified after {took:.0f} s")
    finally:
        watched.check_output(f"systemctl start selfheal-cache-{APP}")
    until(lambda: fired(host) == {}, 120.0, lambda: fired(host))


# --- full disk, ended Prometheus, lost host --------------------------------------------------------------------------


@slow
@pytest.mark.usefixtures("calm")
def test_a_full_disk_of_prometheus_is_reported_and_stops_nothing_else(host: Any) -> None:
    """Prometheus gets a small, full file system; its own data is mounted again at the end."""
    data = "/var/lib/prometheus/metrics2"
    mount = f"mount -t tmpfs -o size=16m,mode=755,uid=$(id -u prometheus) tmpfs {data}"
    host.check_output(f"systemctl stop prometheus && {mount} && systemctl start prometheus")
    try:
        until(lambda: ready(host))
        until(lambda: len(query(host, "up")) > 10)
        host.run(f"dd if=/dev/zero of={data}/fill bs=1M")
        took = until(lambda: fired(host, HUB).get("MeasuringStopped") == "active", 200.0, lambda: fired(host, HUB))
        print(f"Prometheus' disk is full: notified after {took:.0f} s")
        assert json.loads(host.check_output("selfheal status --json"))
        assert host.run("selfheal probe").rc == 0
        # A restart with a full disk does not end the alert either.
        host.check_output("systemctl restart prometheus")
        until(lambda: ready(host))
        until(lambda: "MeasuringStopped" in firing(host), 100.0, lambda: firing(host))
        host.check_output(f"rm {data}/fill")
        until(lambda: len(query(host, "up")) > 10, 60.0)
        # Alerts from before the restart end in Alertmanager four minutes after they were sent last.
        print(f"and over {until(lambda: quiet(host), 300.0, lambda: fired(host, HUB)):.0f} s after there is room")
    finally:
        host.check_output(f"systemctl stop prometheus && umount {data} && systemctl start prometheus")


@slow
@pytest.mark.usefixtures("calm")
def test_a_prometheus_that_ended_is_reported_by_another(host: Any) -> None:
    host.check_output("systemctl stop prometheus")
    try:
        took = until(lambda: fired(host, HUB).get("MeasuringStopped") == "active", 200.0, lambda: fired(host, HUB))
        print(f"Prometheus has ended: notified after {took:.0f} s")
    finally:
        host.check_output("systemctl start prometheus")
    print(f"and over {until(lambda: quiet(host), 300.0, lambda: fired(host, HUB)):.0f} s after it is back")


@slow
@pytest.mark.usefixtures("calm")
def test_a_watched_host_that_is_gone_is_reported_once_and_over_when_it_is_back(host: Any) -> None:
    """As in a power cut: no program of the host ends cleanly."""
    subprocess.run(["docker", "kill", WATCHED], check=True, stdout=subprocess.DEVNULL)
    try:
        took = until(lambda: fired(host).get("HostDown") == "active", 180.0, lambda: fired(host))
        print(f"the host is gone: notified after {took:.0f} s")
        until(lambda: fired(host).get("TargetDown") == "suppressed", 60.0, lambda: fired(host))
        assert [name for name, state in fired(host).items() if state == "active"] == ["HostDown"], fired(host)
    finally:
        subprocess.run(["docker", "start", WATCHED], check=True, stdout=subprocess.DEVNULL)
    print(f"and over {until(lambda: fired(host) == {}, 300.0, lambda: fired(host)):.0f} s after its power is back")


# --- bad input -------------------------------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("no such host", {"monitoring_hub": "missing"}, ("missing", "is not a host of the inventory", WATCHED)),
    ("itself", {"monitoring_hub": WATCHED}, ("is the same server", "Leave monitoring_hub empty")),
    (
        "one that does not measure",
        {"monitoring_hub": "molecule-monitoring"},
        ("molecule-monitoring, the monitoring host of", "does not measure"),
    ),
    (
        "a hub without receivers",
        {"alerting_receivers": [], "alerting_deadman_url": ""},
        (f"{HUB}, the monitoring host of {WATCHED}, has no alerting_receivers",),
    ),
    ("a database without a user", {"monitoring_database": {"host": "db"}}, ("monitoring_database: user is missing",)),
    (
        "a database's address with its user",
        {"monitoring_database": {"host": "me@db", "user": "me", "password": "x" * 20}},
        ('monitoring_database: host is "me@db"', "without quotes"),
    ),
    ("no password", {"monitoring_cache_password": ""}, ("monitoring_cache_password: it is empty", "REDIS_PASSWORD")),
    ("a threshold", {"monitoring_thresholds": {"pool_wait_seconds": 60}}, ("pool_wait_seconds is 60", "from 0.1 to 9")),
    (
        "a placeholder for the token",
        {
            "alerting_receivers": [
                {"kind": "telegram", "chat_id": -1, "token": "123456789:your-telegram-bot-token-goes-here-now"}
            ]
        },
        ("alerting_receivers_1_token", "placeholder"),
    ),
]


@pytest.mark.parametrize(("extra", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_ends_before_a_host_is_touched(
    host: Any, play: Callable[..., Any], extra: dict[str, Any], words: tuple[str, ...]
) -> None:
    before = host.check_output(f"cat {FOLDER}/* /etc/selfheal/*.tunnel | sha256sum")
    ended = play("site.yml", extra=extra)
    said = " ".join(ended.stdout.split())
    assert ended.returncode != 0, said[-2000:]
    assert [word for word in words if word not in said] == [], said[-3000:]
    assert HOST_PLAY not in said, "the hosts were reached"
    assert host.check_output(f"cat {FOLDER}/* /etc/selfheal/*.tunnel | sha256sum") == before


# The roles that monitoring_hub affects.
CONCERNED = "--tags=alerting,watcher,monitoring,slo,status_page"


def test_a_host_that_is_no_longer_watched_leaves_nothing(host: Any, watched: Any, play: Callable[..., Any]) -> None:
    extra = {
        "monitoring_hub": "",
        "monitoring_database": {},
        "alerting_receivers": [
            {"kind": "telegram", "chat_id": -1, "token": f"1:{'Zk3v' * 9}", "api_url": "http://172.30.57.1:9"}
        ],
    }
    ended = play("site.yml", CONCERNED, extra=extra)
    assert ended.returncode == 0, ended.stdout[-3000:]
    left = host.check_output(f"find /etc /run/systemd /var/lib/prometheus -name '*{WATCHED}*' -not -path '*/ssh/*'")
    assert left == ""
    assert not host.service(TUNNEL).is_running
    # Prometheus applies a new list of targets within 5 s after the reload.
    until(lambda: {of for of, _unused in targets(host)} == {HUB}, 30.0, lambda: targets(host))
    for path in ("/var/lib/selfheal-tunnel/.ssh/authorized_keys", "/etc/ssh/sshd_config.d/selfheal-tunnel.conf"):
        assert not watched.file(path).exists, path
    # The host measures itself now, without the database, which has no monitoring user any more.
    assert not watched.file(f"/etc/systemd/system/selfheal-database-{APP}.service").exists
    assert not watched.file(f"/etc/prometheus/selfheal-secrets/{APP}.database").exists
    assert ":9187" not in watched.check_output("ss -Hltn")
    until(lambda: query(watched, "redis_up == 1") and query(watched, "pgbouncer_up == 1"), 90.0)
    for unit in OWN:
        assert watched.service(unit).is_running, unit


def test_a_host_that_has_watched_itself_is_watched_again(host: Any, watched: Any, play: Callable[..., Any]) -> None:
    ended = play("site.yml", CONCERNED)
    assert ended.returncode == 0, ended.stdout[-3000:]
    for unit in OWN:
        assert not watched.service(unit).is_running, unit
        assert watched.run(f"systemctl is-enabled {unit}").rc != 0, unit
    assert (
        watched.run("find /etc/selfheal-page /etc/selfheal/slo /etc/systemd/system/selfheal-page* -type f").stdout == ""
    )
    until(lambda: (WATCHED, "database") in targets(host), 120.0, lambda: targets(host))
    until(
        lambda: all(health == ["up"] * len(health) for health in targets(host).values()), 120.0, lambda: targets(host)
    )
