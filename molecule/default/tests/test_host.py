# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of a bare host after site.yml."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
HERE = f"/opt/{APP}"


def cgroup_file(host: Any, pid: int, controller: str, v1: str, v2: str) -> str:
    """Read a limit from the kernel, with either cgroup version."""
    for line in host.check_output(f"cat /proc/{pid}/cgroup").splitlines():
        _unused, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            found = host.run(f"cat /sys/fs/cgroup/{controllers}{path}/{v1}")
            if found.rc == 0:
                return str(found.stdout).strip()
    unified = host.check_output(f"sed -n s/^0:://p /proc/{pid}/cgroup")
    return str(host.check_output(f"cat /sys/fs/cgroup{unified}/{v2}")).strip()


@pytest.fixture
def pid(host: Any) -> int:
    return int(host.check_output(f"docker inspect --format {{{{.State.Pid}}}} {CONTAINER}"))


def test_the_engine_is_set_up(host: Any) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["LoggingDriver"] == "json-file"
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["log-opts"]["max-size"]
    assert settings["default-ulimits"]["nofile"]


def test_the_env_is_for_root_alone(host: Any, secrets: dict[str, str]) -> None:
    env = host.file(f"{HERE}/.env")
    assert (env.mode, env.user, env.group) == (0o600, "root", "root")
    assert secrets["vault_supabase_service_key"] in env.content_string
    example = host.file(f"{HERE}/.env.example")
    assert "SUPABASE_SERVICE_KEY" in example.content_string
    assert not [name for name, value in secrets.items() if value in example.content_string]


def test_the_users_compose_file_is_theirs_byte_for_byte(host: Any) -> None:
    mine = Path(__file__).resolve().parents[3] / "lab/backend/compose.yaml"
    assert host.file(f"{HERE}/compose.yaml").content == mine.read_bytes()


def test_limits_are_in_force_in_the_kernel(host: Any, pid: int) -> None:
    assert int(cgroup_file(host, pid, "memory", "memory.limit_in_bytes", "memory.max")) == 512 * 1024 * 1024
    quota = cgroup_file(host, pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert int(quota) == 100_000
    assert 0 < int(cgroup_file(host, pid, "pids", "pids.max", "pids.max")) <= 512


def test_the_container_may_do_little(host: Any, pid: int) -> None:
    status = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[kind], 16) == 0, f"{kind} is {status[kind]}"
    assert status["NoNewPrivs"] == "1"
    assert host.run(f"docker exec {CONTAINER} touch /opt/x").rc != 0, "the root file system can be written"
    assert host.run(f"docker exec {CONTAINER} touch /tmp/x").rc == 0, "/tmp cannot be written"


def test_the_container_is_looked_after(host: Any, containers: Callable[[], dict[str, dict[str, Any]]]) -> None:
    document = containers()[CONTAINER]
    assert document["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert document["HostConfig"]["Init"] is True
    health = document["Config"]["Healthcheck"]
    seconds = {name: health[name] / 1e9 for name in ("Interval", "Timeout", "StartPeriod")}
    assert seconds == {"Interval": 30, "Timeout": 10, "StartPeriod": 40}
    assert health["Retries"] == 3
    assert document["State"]["Health"]["Status"] == "healthy"


def test_only_the_published_address_listens(host: Any) -> None:
    listening = [line.split()[3] for line in host.check_output("ss -Hltn").splitlines()]
    assert [address for address in listening if address.endswith(":8000")] == ["172.30.57.21:8000"]


def test_container_logs_rotate_when_they_are_filled(host: Any) -> None:
    settings = json.loads(
        host.check_output(f"docker inspect --format '{{{{json .HostConfig.LogConfig}}}}' {CONTAINER}")
    )
    size, count = settings["Config"]["max-size"], int(settings["Config"]["max-file"])
    assert size.endswith("m")
    limit = int(size[:-1]) * 1024 * 1024
    # Lines go to the main process's own output, as the app's would; a little more than all files together may hold.
    lines = (limit * (count + 1)) // 4001
    host.check_output(
        f"docker exec {CONTAINER} python3 -c \"import sys; out = open('/proc/1/fd/1', 'w'); "
        f"[out.write('x' * 4000 + chr(10)) for _ in range({lines})]\""
    )
    folder = host.check_output(f"dirname $(docker inspect --format {{{{.LogPath}}}} {CONTAINER})")
    sizes = [int(found) for found in host.check_output(f"find {folder} -name '*-json.log*' -printf '%s\\n'").split()]
    assert 2 <= len(sizes) <= count
    # The engine rotates after the write that crosses the limit, and JSON wraps each line.
    assert sum(sizes) <= count * limit * 1.1


def test_the_hosts_own_logs_are_bounded(host: Any) -> None:
    assert host.run("logrotate --debug /etc/logrotate.conf").rc == 0
    assert "SystemMaxUse" in host.check_output("systemd-analyze cat-config systemd/journald.conf")


def test_a_release_is_recorded_as_last_good(host: Any) -> None:
    release = json.loads(host.file(f"{HERE}/releases/last-good/release.json").content_string)
    running = host.check_output(f"docker inspect --format {{{{.Image}}}} {CONTAINER}")
    assert release["images"] == {"backend": running}


def test_no_secret_is_outside_its_place(host: Any, leaks: Callable[[str], list[str]]) -> None:
    places = {
        "journal": "journalctl --no-pager",
        "labels": "docker inspect --format '{{json .Config.Labels}}' $(docker ps -aq)",
        "container logs": f"docker logs {CONTAINER} 2>&1",
        "arguments": "ps -eo args",
        "own state": "find /etc/selfheal /var/lib/selfheal -type f ! -name '*.env' -exec cat {} + 2>/dev/null || true",
        "releases": f"find {HERE}/releases -type f -exec cat {{}} +",
        "compose files": f"cat {HERE}/compose*.yaml",
        "left by ansible": "find /root/.ansible /tmp /var/tmp -type f -exec cat {} + 2>/dev/null || true",
    }
    found = {name: leaks(host.run(command).stdout) for name, command in places.items()}
    assert {name: names for name, names in found.items() if names} == {}
    kept = host.check_output("stat -c '%a %U' /var/lib/selfheal/christmas-backend/env/*.env").splitlines()
    assert set(kept) == {"600 root"}


def test_compose_lint_finds_nothing_but_the_digest_pin(host: Any, tmp_path: Path) -> None:
    """The image is built on the host, and no registry holds a digest of it; every other rule counts.

    Linted is the merged project that Compose deploys, with the values of the env taken out again.
    """
    merged = host.check_output(
        f"cd {HERE} && docker compose -f compose.yaml -f compose.hardened.yaml config --format json"
    )
    model = json.loads(merged)
    for service in model["services"].values():
        service["environment"] = {name: f"${{{name}}}" for name in service["environment"]}
    path = tmp_path / "compose.yaml"
    path.write_text(json.dumps(model), encoding="utf-8")
    linted = subprocess.run(
        ["compose-lint", "--format", "json", str(path)], text=True, capture_output=True, check=False
    )
    report = json.loads(linted.stdout)
    assert (report["errors"], report["warnings"]) == ([], [])
    assert [(found["rule_id"], found["suppressed"]) for found in report["findings"]] == [("CL-0019", False)]
