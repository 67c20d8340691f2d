# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian 12 with Docker's Compose: the core works, and what its packages are too old for is refused before any change.

The tests run in order.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
from shared.acting import HOST_PLAY, incidents, until

APP, HOST = "christmas-backend", "172.30.57.84"
PLUGIN = "/usr/libexec/docker/cli-plugins/docker-compose"
BACKUP = {"backup_repository": "/srv/backups", "backup_password": sha256(b"debian 12").hexdigest()}
PASSWORD = sha256(b"exporter").hexdigest()
MONITORING = {
    "monitoring_enabled": True,
    "monitoring_without_receivers": True,
    "monitoring_cache": True,
    "monitoring_cache_password": PASSWORD,
    "monitoring_pool": True,
    "monitoring_pool_user": "backend",
    "monitoring_pool_password": PASSWORD,
    "monitoring_database": {"host": "127.0.0.1", "user": "backend", "password": PASSWORD},
}
TELEGRAM = {"kind": "telegram", "chat_id": -1, "token": f"1:{sha256(b'telegram').hexdigest()[:35]}"}
DEADMAN = f"http://{HOST.rpartition('.')[0]}.1:9/ping/{sha256(b'deadman').hexdigest()[:35]}"
ALERTING = {"alerting_receivers": [{**TELEGRAM, "message_thread_id": 7}], "alerting_deadman_url": DEADMAN}

OFFERS = "Debian 12 (bookworm) offers"
OLD_ALERTMANAGER = f"{OFFERS} prometheus-alertmanager 0.25.0"

# Options of each part, what it lacks, and how to do without it.
LACKS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "backup": (
        BACKUP,
        [f"backup_repository: {OFFERS} restic 0.14.0, and 0.17 or newer is needed"],
        "leave backup_repository empty",
    ),
    "monitoring": (
        MONITORING,
        [
            f"monitoring_cache: {OFFERS} prometheus-redis-exporter 1.45.0, and 1.60 or newer is needed",
            f"monitoring_pool: {OFFERS} prometheus-pgbouncer-exporter 1.7",
            f"monitoring_database: {OFFERS} prometheus-postgres-exporter 0.11.1, and 0.16 or newer is needed",
        ],
        "leave monitoring_database empty",
    ),
    "alerting": (
        ALERTING,
        [
            f"alerting_receivers, kind telegram: {OLD_ALERTMANAGER}, and 0.26",
            f"alerting_receivers, message_thread_id: {OLD_ALERTMANAGER}, and 0.28",
            f"alerting_deadman_url: {OLD_ALERTMANAGER}, and 0.26",
        ],
        "use the kinds email and slack only",
    ),
}
TOO_OLD = f"docker_engine_packages: {OFFERS} docker-compose 1.29.2, and 2.24.0 or newer is needed"


@pytest.fixture
def state(host: Any) -> Callable[[], str]:
    """What a run could change: files with their times, packages and their lists, units, containers."""
    files = "find /etc /opt /srv /usr /var/lib/apt /var/lib/dpkg ! -name '*lock*' ! -type d -printf '%p %m %U %T@\\n'"
    units = "systemctl list-unit-files --no-legend --no-pager"
    containers = "docker ps -aq --no-trunc | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}}'"
    return lambda: str(host.check_output(f"{files} | sort; {units}; {containers}"))


@contextlib.contextmanager
def unchanged(state: Callable[[], str]) -> Iterator[None]:
    before = state().splitlines()
    yield
    after = state().splitlines()
    assert sorted(set(before) ^ set(after)) == []


def page() -> int:
    with urllib.request.urlopen(f"http://{HOST}:8000/health", timeout=10) as answer:
        return int(answer.status)


def test_the_host_is_what_debian_12_is(host: Any) -> None:
    assert (host.system_info.distribution, host.system_info.codename) == ("debian", "bookworm")
    versions = {
        "python3 --version": "Python 3.11",
        "docker version --format '{{.Server.Version}}'": "20.10",
        "docker compose version --short": "2.40",
        "haproxy -v": "HAProxy version 2.6",
    }
    assert {command: host.check_output(command)[: len(found)] for command, found in versions.items()} == versions


def test_the_app_is_healthy_behind_the_load_balancer(
    host: Any, containers: Callable[[], dict[str, dict[str, Any]]]
) -> None:
    until(lambda: host.run("selfheal status").rc == 0, why=lambda: host.run("selfheal status").stdout)
    assert sum(f"{APP}-backend-" in name for name in containers()) == 2
    assert page() == 200
    assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/selfheal").rc == 0


def test_the_watcher_heals_a_hang(host: Any, containers: Callable[[], dict[str, dict[str, Any]]]) -> None:
    name = min(name for name in containers() if f"{APP}-backend-" in name)
    before = len(incidents(host))
    # Its first process is Docker's init, not the app.
    host.check_output(f"docker top {name} -eo pid | tail -n +2 | xargs kill -STOP")
    until(
        lambda: len(incidents(host)) > before and incidents(host)[0]["healthy"],
        120.0,
        why=lambda: incidents(host)[:1],
    )
    assert incidents(host)[0]["cause"] == "hung"
    assert page() == 200


def test_recover_heals_what_the_watcher_leaves(host: Any, play: Callable[..., Any]) -> None:
    """The watcher is paused, and the app is gone."""
    host.check_output("selfheal pause --for 1h --reason 'recover.yml does it'")
    host.check_output(f"docker ps -aq --filter label=com.docker.compose.project={APP} | xargs docker rm -f")
    ended = play("recover.yml")
    host.check_output("selfheal resume")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert page() == 200


def test_validate_names_what_every_optional_part_lacks(play: Callable[..., Any], state: Callable[[], str]) -> None:
    extra = {key: value for options, *_unused in LACKS.values() for key, value in options.items()}
    with unchanged(state):
        ended = play("validate.yml", extra=extra)
    text = " ".join(ended.stdout.split())
    assert ended.returncode != 0
    for part, (_unused, lines, otherwise) in LACKS.items():
        assert [line for line in lines if line not in text] == [], text[-4000:]
        assert f"[ ] {part}" in text
        assert otherwise in text
    assert "upgrade the host to Debian 13" in text
    assert "3 of " in text
    assert "validations failed (alerting, backup, monitoring)" in text


@pytest.mark.parametrize("part", LACKS)
def test_site_refuses_a_part_before_it_changes_anything(
    part: str, play: Callable[..., Any], state: Callable[[], str]
) -> None:
    options, lines, _unused = LACKS[part]
    with unchanged(state):
        ended = play("site.yml", extra=options)
    text = " ".join(ended.stdout.split())
    assert ended.returncode != 0
    assert [line for line in lines if line not in text] == [], text[-4000:]
    assert HOST_PLAY not in ended.stdout


@pytest.mark.parametrize("playbook", ["validate.yml", "site.yml"])
def test_compose_of_debian_12_is_refused_before_anything_changes(
    host: Any, play: Callable[..., Any], state: Callable[[], str], playbook: str
) -> None:
    """Also before the load balancer, which is set up first."""
    host.check_output(f"mv {PLUGIN} /root/")
    try:
        with unchanged(state):
            ended = play(playbook)
    finally:
        host.check_output(f"mv /root/docker-compose {PLUGIN}")
    assert ended.returncode != 0
    text = " ".join(ended.stdout.split())
    assert TOO_OLD in text, text[-4000:]
    assert "set docker_engine_packages to docker" in text
    assert HOST_PLAY not in ended.stdout


EMAIL = {"kind": "email", "to": ["oncall@lab.internal"], "from": "selfheal@lab.internal", "smarthost": "127.0.0.1:25"}
SLACK = {"kind": "slack", "channel": "#alerts", "token": f"xoxb-{sha256(b'slack').hexdigest()[:35]}"}
WATCHED = {"alerting_receivers": [EMAIL, SLACK], "monitoring_enabled": True}


def test_monitoring_and_alerts_by_email_and_slack_work(host: Any, play: Callable[..., Any]) -> None:
    """Debian 12 has no package promtool, but the program."""
    for _unused in ("set up", "unchanged"):
        ended = play("site.yml", extra=WATCHED)
        assert ended.returncode == 0, ended.stdout[-4000:]
    assert "changed=0 " in ended.stdout, ended.stdout[-4000:]
    assert host.service("prometheus-alertmanager").is_running
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/api/v1/PAGE').read().decode())"

    def answer(page: str) -> Any:
        return json.loads(host.check_output(f'python3 -c "{ask.replace("PAGE", page)}"'))["data"]

    until(
        lambda: {one["health"] for one in answer("targets")["activeTargets"]} == {"up"}, why=lambda: answer("targets")
    )
    jobs = {one["labels"]["job"] for one in answer("targets")["activeTargets"]}
    assert jobs == {"node", "containers", "balancer", "checks", "monitoring"}
    rules = [rule for group in answer("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 30
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
