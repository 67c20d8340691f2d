# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A cache and a pool behind the app: hardened, with secret passwords and harmless faults. The tests run in order."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared.acting import incidents, paused, until

REPOSITORY = Path(__file__).resolve().parents[3]
APP = "christmas-backend"
CACHE, POOL, BACKEND = (f"{APP}-{name}-1" for name in ("cache", "pool", "backend"))
LAB = yaml.safe_load((REPOSITORY / "lab/vars/lab.yml").read_text(encoding="utf-8"))
# A part of each password that no quoting changes.
PLAIN = {"REDIS_PASSWORD": "fT9%%2u;*Jb=6Yq", "DATABASE_PASSWORD": "7%s;k=Zt4"}
THREADS = 8
STATS = 'PGPASSWORD=$DATABASE_PASSWORD psql -h 127.0.0.1 -p 6432 -U "$DATABASE_USER" -At -F, pgbouncer -c "show pools"'

Ask = Callable[[str], tuple[int, dict[str, Any]]]


def request(address: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, dict[str, Any]]:
    """One request, by a connection of its own: (status, what was answered); status 0 for no answer."""
    connection = http.client.HTTPConnection(address, 8000, timeout=10)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        return answer.status, found
    except (OSError, http.client.HTTPException) as error:
        return 0, {"error": type(error).__name__}
    finally:
        connection.close()


class Users:
    """They read gifts as fast as they get them, as long as this lasts; at its end no request has failed."""

    def __init__(self, ask: Ask) -> None:
        self.ask, self.over, self.lock = ask, threading.Event(), threading.Lock()
        self.answers, self.failed = 0, list[str]()

    def __enter__(self) -> Users:
        self.threads = [threading.Thread(target=self._read, daemon=True) for _unused in range(THREADS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: Any, *_unused: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(15)
        if kind is None:
            assert self.failed == []
            assert self.answers > 100, "so few requests put nothing to a test"

    def _read(self) -> None:
        while not self.over.wait(0.02):
            status, found = self.ask("/api/gifts")
            with self.lock:
                self.answers += 1
            if status != 200:
                self.failed.append(f"{status} {found.get('error')}")


@pytest.fixture
def ask(host: Any, secrets: dict[str, str]) -> Ask:
    """Ask the app as somebody who is logged in."""
    address = str(host.backend.host.name)
    email = host.check_output(f'sed -n "s/^PROBE_EMAIL=[\'\\"]*\\([^\'\\"]*\\).*/\\1/p" /opt/{APP}/.env')
    status, found = request(
        address, "POST", "/auth/login", {"email": email, "password": secrets["vault_probe_password"]}
    )
    assert status == 200, found
    return lambda path: request(address, "GET", path, token=found["access_token"])


@pytest.fixture
def hits(host: Any) -> Callable[[], int]:
    """The number of reads that Redis could answer."""
    return lambda: int(
        host.check_output(f"docker exec {CACHE} redis-cli info stats | sed -n 's/^keyspace_hits:\\([0-9]*\\).*/\\1/p'")
    )


@pytest.fixture
def state(host: Any, containers: Callable[[], dict[str, Any]]) -> Callable[[], Any]:
    """The state that a refused run, or one without a change, must keep."""

    def read() -> Any:
        files = ("compose.yaml", "compose.hardened.yaml", ".env")
        return (
            {name: host.file(f"/opt/{APP}/{name}").content_string for name in files},
            {name: (document["Id"], document["State"]["StartedAt"]) for name, document in containers().items()},
        )

    return read


def leaking(text: str) -> list[str]:
    """The passwords that are in a text, whole or in part."""
    assert PLAIN["REDIS_PASSWORD"] in LAB["lab_redis_password"]
    assert PLAIN["DATABASE_PASSWORD"] in LAB["lab_database"]["password"]
    return [name for name, value in PLAIN.items() if value in text]


def signal(host: Any, name: str, container: str) -> None:
    """Send a signal to a container's main program; `docker kill` would send it to its init only."""
    program = {CACHE: "redis-server", POOL: "pgbouncer"}[container]
    pids = host.check_output(f"docker top {container} -eo pid,comm").splitlines()
    host.check_output(f"kill -{name} {' '.join(line.split()[0] for line in pids if line.split()[1] == program)}")


def cache_state(ask: Ask) -> str:
    found = ask("/health")[1]
    return str(found["dependencies"]["cache"]["status"]) if "dependencies" in found else ""


def test_both_are_healthy_hardened_and_not_published(containers: Callable[[], dict[str, Any]]) -> None:
    found = containers()
    assert set(found) == {CACHE, POOL, BACKEND}
    for name in (CACHE, POOL):
        config, limits = found[name]["Config"], found[name]["HostConfig"]
        assert found[name]["State"]["Health"]["Status"] == "healthy"
        assert config["User"] not in ("", "0", "root")
        assert (limits["PortBindings"], limits["ReadonlyRootfs"], limits["CapDrop"]) == ({}, True, ["ALL"])
        assert limits["SecurityOpt"] == ["no-new-privileges:true"]
        assert limits["RestartPolicy"]["Name"] == "unless-stopped"
        assert limits["Memory"] in (256 << 20, 128 << 20)
        assert limits["PidsLimit"] == 256


def test_the_passwords_are_nowhere_else(host: Any, containers: Callable[[], dict[str, Any]]) -> None:
    documents = containers()
    texts = [host.file(f"/opt/{APP}/{name}").content_string for name in ("compose.hardened.yaml", ".env.example")]
    texts += [host.check_output("ps -eo args"), host.check_output("journalctl --no-pager")]
    texts += [host.check_output(f"docker logs {name} 2>&1") for name in documents]
    environment = json.dumps([document["Config"].pop("Env") for document in documents.values()])
    texts += [json.dumps(documents), host.check_output(f"cat /etc/selfheal/{APP}.json")]
    assert [leaking(text) for text in texts] == [[] for _unused in texts]
    # Only the services that need them have them.
    assert leaking(environment) == list(PLAIN)
    assert leaking(host.check_output(f"docker exec {CACHE} env")) == ["REDIS_PASSWORD"]
    assert leaking(host.check_output(f"docker exec {POOL} env")) == ["DATABASE_PASSWORD"]
    modes = host.check_output(f"docker exec {POOL} stat -c '%a %n' /tmp/userlist.txt /tmp/pgbouncer.ini").splitlines()
    assert [mode.split()[0] for mode in modes] == ["600", "600"]


def test_no_login_without_the_password(host: Any) -> None:
    def said(environment: str, command: str) -> str:
        return str(host.check_output(f"docker exec -e {environment} {CACHE} redis-cli {command} 2>&1"))

    assert "NOAUTH" in said("REDISCLI_AUTH=", "ping")
    assert "NOAUTH" in said("REDISCLI_AUTH=wrong", "ping")
    assert "NOPERM" in host.check_output(f"docker exec {CACHE} redis-cli config get dir")
    refused = host.run(f"docker exec -e DATABASE_PASSWORD=wrong {POOL} sh -c '{STATS}'")
    assert refused.rc != 0
    assert "authentication failed" in refused.stderr


def test_a_second_run_changes_nothing(
    play: Callable[..., Any], state: Callable[[], Any], leaks: Callable[[str], list[str]]
) -> None:
    before = state()
    for words in (["--check", "--diff", "-vvv"], ["-vvv"]):
        ended = play("site.yml", *words)
        assert ended.returncode == 0, ended.stdout[-4000:]
        assert "changed=0" in ended.stdout
        assert (leaks(ended.stdout), leaking(ended.stdout)) == ([], [])
    assert state() == before


def test_reads_come_from_the_cache_and_the_database_is_behind_the_pool(
    host: Any, ask: Ask, hits: Callable[[], int]
) -> None:
    def mostly() -> bool:
        before = hits()
        answers = [ask("/api/gifts") for _unused in range(20)]
        assert {status for status, _unused in answers} == {200}
        assert {gift["name"] for gift in answers[0][1]["gifts"]} >= {"wooden train", "kite"}
        assert all(answer == answers[0] for answer in answers)
        return hits() - before >= 15

    # After one late answer, as on a busy machine, the app leaves the cache alone for a second.
    until(mostly, 30)
    pools = [line.split(",") for line in host.check_output(f"docker exec {POOL} sh -c '{STATS}'").splitlines()]
    own = [line for line in pools if line[:2] == [LAB["lab_database"]["database"], LAB["lab_database"]["user"]]]
    # Clients active, and servers active or idle.
    assert own and int(own[0][2]) >= 1 and int(own[0][6]) + int(own[0][9]) >= 1, pools


def test_without_the_cache_no_request_fails_and_the_next_deploy_brings_it_back(
    host: Any, ask: Ask, hits: Callable[[], int], play: Callable[..., Any], containers: Callable[[], dict[str, Any]]
) -> None:
    known = len(incidents(host))
    backend = containers()[BACKEND]["State"]["StartedAt"]
    with paused(host), Users(ask):
        time.sleep(1)
        signal(host, "STOP", CACHE)
        until(lambda: cache_state(ask) == "down", 15)
        time.sleep(1)
        signal(host, "CONT", CACHE)
        until(lambda: cache_state(ask) == "ok", 15)
        host.check_output(f"docker stop -t 1 {CACHE}")
        until(lambda: cache_state(ask) == "down", 15)
        time.sleep(2)
        ended = play("deploy.yml")
        until(lambda: cache_state(ask) == "ok", 30)
        again = hits()
        until(lambda: hits() > again, 30)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert containers()[BACKEND]["State"]["StartedAt"] == backend
    assert len(incidents(host)) == known


@pytest.mark.parametrize(
    ("gone", "how", "cause"),
    [
        (POOL, "docker kill", "crashed"),
        (POOL, "docker rm -f", "container_missing"),
        (CACHE, "docker stop -t 1", "crashed"),
    ],
    ids=["the pool is killed", "the pool is removed", "the cache is stopped, and no request fails"],
)
def test_a_stopped_or_removed_service_is_started_by_the_watcher(
    gone: str, how: str, cause: str, host: Any, ask: Ask, containers: Callable[[], dict[str, Any]]
) -> None:
    def started() -> dict[str, str]:
        return {name: document["State"]["StartedAt"] for name, document in containers().items()}

    before, known = started(), len(incidents(host))
    with paused(host):
        # The watcher must not see it stopped before it is removed.
        host.check_output(f"{how} {gone}")
    until(lambda: len(incidents(host)) > known and incidents(host)[0]["healthy"], 90)
    last, after = incidents(host)[0], started()
    assert (last["cause"], [remedy["name"] for remedy in last["remedies"]]) == (cause, ["up"]), last
    assert (ask("/health")[0], ask("/api/gifts")[0]) == (200, 200)
    assert {name for name in after if after[name] != before[name]} == {gone}


def test_a_hanging_pool_exits_and_is_started(host: Any, ask: Ask, containers: Callable[[], dict[str, Any]]) -> None:
    before = containers()[POOL]["State"]["StartedAt"]
    signal(host, "STOP", POOL)
    until(lambda: containers()[POOL]["State"]["StartedAt"] != before, 90)
    until(lambda: ask("/health")[0] == 200 and ask("/api/gifts")[0] == 200, 30)
    # On a busy machine the watcher may have seen the app hang, and be about to restart it.
    until(lambda: all(incident["healthy"] for incident in incidents(host)), 90)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param({"REDIS_PASSWORD": "your-redis-password"}, "REDIS_PASSWORD", id="placeholder"),
        pytest.param({"REDIS_PASSWORD": '"k0Yd3mZ6v9yBq8eThWmZq4t7"'}, "REDIS_PASSWORD", id="quotes around it"),
        pytest.param({"REDIS_PASSWORD": ""}, "REDIS_PASSWORD", id="missing"),
    ],
)
def test_an_invalid_value_is_refused_before_anything_is_touched(
    extra: dict[str, str], said: str, play: Callable[..., Any], state: Callable[[], Any]
) -> None:
    before = state()
    plain = {"PORT": 8000, "PUBLISH_ADDRESS": "{{ ansible_host }}", **extra}
    ended = play("site.yml", extra={"app_env_plain": plain})
    assert ended.returncode != 0
    assert said in " ".join(ended.stdout.split())
    assert "changed=0" in ended.stdout
    assert state() == before


def test_missing_variables_are_named_before_anything_is_touched(
    play: Callable[..., Any], state: Callable[[], Any]
) -> None:
    before = state()
    ended = play("site.yml", extra={"backing_variables": [], "compose_app_pool_image": ""})
    assert ended.returncode != 0
    output = " ".join(ended.stdout.split())
    for name in ("REDIS_PASSWORD", "DATABASE_HOST", "DATABASE_PASSWORD"):
        assert f"{name} is missing, and compose_app_" in output
    assert "compose_app_pool_image: it is empty" in output
    assert state() == before


def test_a_persistent_cache_survives_and_a_disabled_one_is_removed(
    host: Any, ask: Ask, play: Callable[..., Any], containers: Callable[[], dict[str, Any]]
) -> None:
    kept = {"compose_app_cache_persistent": True}
    ended = play("deploy.yml", extra=kept)
    assert ended.returncode == 0, ended.stdout[-4000:]
    host.check_output(f"docker exec {CACHE} redis-cli set kept yes")
    time.sleep(1.2)  # the log is synced every second
    host.check_output(f"docker kill {CACHE} && docker start {CACHE}")
    until(lambda: host.run(f"docker exec {CACHE} redis-cli get kept").stdout.strip() == "yes")
    ended = play("deploy.yml", extra={"compose_app_cache_enabled": False})
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert set(containers()) == {POOL, BACKEND}
    assert f"{APP}_selfheal-cache" in host.check_output("docker volume ls -q")
    status, found = ask("/health")
    assert (status, sorted(found["dependencies"])) == (200, ["database", "supabase"])
