# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of services + the user's compose file → compose.hardened.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import jobs, overlay
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.overlay import (
    OverlayError,
    check_fit,
    flow,
    read_table,
    render,
    weak_points,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer

ENGINE = (26, 1, 5)
DEFAULTS: dict[str, Any] = {
    "init": True,
    "read_only": True,
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
    "stop_grace_period": "10s",
    "memswap_limit": "512M",
    "deploy": {
        "resources": {
            "limits": {"cpus": "1.0", "memory": "512M", "pids": 256},
            "reservations": {"cpus": "0.5", "memory": "256M"},
        }
    },
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}
TEST = ["CMD", "python3", "/app/health.py"]
HEALTH = {
    "test": TEST,
    "interval": "30s",
    "timeout": "10s",
    "retries": 3,
    "start_period": "40s",
    "start_interval": "1s",
}


def asked_early(first: str) -> dict[str, str]:
    """What the user's own test gets: it is asked each second at first, and counts from `first` on."""
    return {"start_period": first, "start_interval": "1s"}


def rendered(
    row: dict[str, Any], spec: dict[str, Any] | None = None, engine: tuple[int, ...] = ENGINE
) -> dict[str, Any]:
    """The overlay of one service, read back."""
    text = render(read_table({"backend": row}), {"backend": spec or {}}, engine).text
    found: dict[str, Any] = yaml.safe_load(text.replace("!override ", ""))["services"]["backend"]
    return found


def changed(row: dict[str, Any], spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """What differs from the defaults; None for what is not there."""
    found = rendered(row, spec)
    keys = [*DEFAULTS, *(key for key in found if key not in DEFAULTS)]
    return {key: found.get(key) for key in keys if found.get(key) != DEFAULTS.get(key)}


def resources(limits: Any = None, reservations: Any = None) -> dict[str, Any]:
    """A deploy section, with the defaults where nothing is said."""
    given_ = {"limits": limits, "reservations": reservations}
    default: dict[str, Any] = DEFAULTS["deploy"]
    return {
        "resources": {part: default["resources"][part] if given_[part] is None else given_[part] for part in given_}
    }


BALANCED = Balancer("backend", 2, 18000, (80,))


AWAITED = {"depends_on": {"migrate": {"condition": "service_completed_successfully"}}}


def test_a_job_whose_files_are_watched_has_one_block_of_labels() -> None:
    watched = {"job": ["labels:", "  christmas.selfheal.files: sha256:1"]}
    text = render(read_table({"job": {"job": True}}), {"job": {}}, (26, 1, 5), added=watched).text
    assert text.count("labels:") == 1
    labels = yaml.safe_load(text)["services"]["job"]["labels"]
    assert labels == {"christmas.selfheal.job": "true", "christmas.selfheal.files": "sha256:1"}


def test_a_job_that_is_awaited_ends() -> None:
    project = {"web": AWAITED, "migrate": {}}
    found = yaml.safe_load(render({}, project, ENGINE).text)["services"]
    assert found["migrate"]["restart"] == "no"
    assert found["web"]["restart"] == "unless-stopped"
    merged = {name: {**spec, **found[name]} for name, spec in project.items()}
    assert jobs.jobs({"services": merged}) == {"migrate"}


def test_behind_the_load_balancer_a_scale_does_not_contradict_the_instances() -> None:
    text = render(read_table({"backend": {"port": 8000}}), {"backend": {"scale": 3}}, ENGINE, BALANCED).text
    assert "    scale: 2\n" in text


def test_behind_the_load_balancer_instances_have_loopback_ports() -> None:
    published = {"ports": [{"target": 8000, "published": "80"}], "container_name": "backend"}
    table = read_table({"backend": {"port": 8000}})
    text = render(table, {"backend": published, "db": {}}, ENGINE, BALANCED).text
    assert 'ports: !override ["127.0.0.1:18000-18002:8000"]' in text
    assert "container_name: !reset null" in text
    found = yaml.safe_load(text.replace("!override", "").replace("!reset", ""))["services"]
    assert found["backend"]["deploy"] == {"replicas": 2, **DEFAULTS["deploy"]}
    assert found["db"] == DEFAULTS
    assert weak_points({"backend": published}, BALANCED) == []


@pytest.mark.parametrize(
    ("row", "project", "said"),
    [
        ({"port": 8000}, {"web": {}}, "backend is not a service"),
        ({}, {"backend": {}}, "the load balancer needs it"),
        ({"port": 8000}, {"backend": {"ports": [{"target": 9000}]}}, "publishes port 9000 besides 8000"),
    ],
)
def test_what_no_two_instances_can_do_is_refused(row: Any, project: Any, said: str) -> None:
    with pytest.raises(OverlayError, match=said):
        render(read_table({"backend": row} if "backend" in project else {}), project, ENGINE, BALANCED)


def test_defaults() -> None:
    assert rendered({}) == DEFAULTS


def test_the_text_is_plain_enough_to_read() -> None:
    table = {
        "backend": {"healthcheck": {"test": TEST}, "loosen": {"cap_add": {"to": ["CHOWN"], "because": "chowns /data"}}}
    }
    assert render(read_table(table), {"backend": {"restart": "always"}, "job": {}}, (20, 10, 24)).text == (
        """\
# Written by christmas.selfheal from the inventory variable compose_app_services.
# A change made here is overwritten: make it there. Compose merges this file on top of compose.yaml.
services:
  backend:
    # as compose.yaml has it: restart
    init: true
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    # cap_add loosened: chowns /data
    cap_add: [CHOWN]
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: 10s
    memswap_limit: 512M
    deploy:
      resources:
        limits: {cpus: "1.0", memory: 512M, pids: 256}
        reservations: {cpus: "0.5", memory: 256M}
    healthcheck:
      test: [CMD, python3, /app/health.py]
      interval: 30s
      timeout: 10s
      retries: 3
      start_period: 40s
    logging: {driver: json-file, options: {max-size: 10m, max-file: "3"}}

  job:
    init: true
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    stop_grace_period: 10s
    memswap_limit: 512M
    deploy:
      resources:
        limits: {cpus: "1.0", memory: 512M, pids: 256}
        reservations: {cpus: "0.5", memory: 256M}
    logging: {driver: json-file, options: {max-size: 10m, max-file: "3"}}
"""
    )


# id, what the table says, what the user's file says (as `docker compose config` has it), what differs from the defaults
CASES = [
    # the table
    ("cpus", {"cpus": 2}, {}, {"deploy": resources({"cpus": "2", "memory": "512M", "pids": 256})}),
    (
        "few cpus lower the reservation",
        {"cpus": "0.25"},
        {},
        {"deploy": resources({"cpus": "0.25", "memory": "512M", "pids": 256}, {"cpus": "0.25", "memory": "256M"})},
    ),
    (
        "memory brings its swap",
        {"memory": "1G"},
        {},
        {"memswap_limit": "1G", "deploy": resources({"cpus": "1.0", "memory": "1G", "pids": 256})},
    ),
    (
        "little memory lowers the reservation",
        {"memory": "64M", "pids": 9, "cpus_reservation": "0.1"},
        {},
        {
            "memswap_limit": "64M",
            "deploy": resources({"cpus": "1.0", "memory": "64M", "pids": 9}, {"cpus": "0.1", "memory": "64M"}),
        },
    ),
    ("tmpfs", {"tmpfs": ["/run:size=1m", "/a"]}, {}, {"tmpfs": ["/run:size=1m", "/a"]}),
    ("no tmpfs", {"tmpfs": []}, {}, {"tmpfs": None}),
    ("user", {"user": "1000:1000"}, {}, {"user": "1000:1000"}),
    ("grace", {"stop_grace_period": "1m"}, {}, {"stop_grace_period": "1m"}),
    (
        "logs",
        {"log_max_size": "1g", "log_max_file": 5},
        {},
        {"logging": {"driver": "json-file", "options": {"max-size": "1g", "max-file": "5"}}},
    ),
    ("a test", {"healthcheck": {"test": TEST}}, {}, {"healthcheck": HEALTH}),
    ("a test as text", {"healthcheck": {"test": "a $$B"}}, {}, {"healthcheck": {**HEALTH, "test": "a $$B"}}),
    (
        "a test and its numbers",
        {"healthcheck": {"test": TEST, "interval": "5s", "start_interval": "2s"}},
        {},
        {"healthcheck": {**HEALTH, "interval": "5s", "start_interval": "2s"}},
    ),
    # loosened
    ("root", {"loosen": {"read_only": {"to": False, "because": "x"}}}, {}, {"read_only": False, "tmpfs": None}),
    (
        "root, with a tmpfs",
        {"tmpfs": ["/run"], "loosen": {"read_only": {"to": False, "because": "x"}}},
        {},
        {"read_only": False, "tmpfs": ["/run"]},
    ),
    ("init", {"loosen": {"init": {"to": False, "because": "x"}}}, {}, {"init": False}),
    ("some dropped", {"loosen": {"cap_drop": {"to": ["NET_RAW"], "because": "x"}}}, {}, {"cap_drop": ["NET_RAW"]}),
    ("none dropped", {"loosen": {"cap_drop": {"to": [], "because": "x"}}}, {}, {"cap_drop": None}),
    ("some added", {"loosen": {"cap_add": {"to": ["KILL"], "because": "x"}}}, {}, {"cap_add": ["KILL"]}),
    (
        "privileges",
        {"loosen": {"no_new_privileges": {"to": False, "because": "x"}}},
        {},
        {"security_opt": ["no-new-privileges:false"]},
    ),
    ("restart", {"loosen": {"restart": {"to": "no", "because": "x"}}}, {"restart": "always"}, {"restart": "no"}),
    (
        "no limit of memory: no limit of swap",
        {"loosen": {"memory": {"to": "none", "because": "x"}}},
        {},
        {"memswap_limit": None, "deploy": resources({"cpus": "1.0", "pids": 256})},
    ),
    (
        "no limits",
        {"loosen": {key: {"to": None, "because": "x"} for key in ("cpus", "memory", "pids")}},
        {},
        {"memswap_limit": None, "deploy": {"resources": {"reservations": {"cpus": "0.5", "memory": "256M"}}}},
    ),
    ("swap", {"loosen": {"memory_swap": {"to": "1G", "because": "x"}}}, {}, {"memswap_limit": "1G"}),
    ("all swap", {"loosen": {"memory_swap": {"to": "none", "because": "x"}}}, {}, {"memswap_limit": -1}),
    (
        "no healthcheck",
        {"loosen": {"healthcheck": {"to": "none", "because": "x"}}},
        {"healthcheck": {"test": TEST}},
        {"healthcheck": {"disable": True}},
    ),
    ("engine's logging", {"loosen": {"logging": {"to": "none", "because": "x"}}}, {}, {"logging": None}),
    (
        "other logging",
        {"loosen": {"logging": {"to": {"driver": "journald"}, "because": "x"}}},
        {},
        {"logging": {"driver": "journald", "options": {}}},
    ),
    # jobs
    (
        "a job of the table",
        {"job": True},
        {},
        {"restart": "no", "labels": {"christmas.selfheal.job": "true"}},
    ),
    (
        "a job of the table, which the file restarts",
        {"job": True},
        {"restart": "always"},
        {"restart": "no", "labels": {"christmas.selfheal.job": "true"}},
    ),
    (
        "a job of the table, which the file retries",
        {"job": True},
        {"restart": "on-failure:3"},
        {"restart": None, "labels": {"christmas.selfheal.job": "true"}},
    ),
    (
        "a job by its mode",
        {},
        {"deploy": {"mode": "replicated-job"}},
        {"restart": "no", "labels": {"christmas.selfheal.job": "true"}},
    ),
    # the user's file has said it
    ("own restart", {}, {"restart": "no"}, {"restart": None}),
    ("own restart policy", {}, {"deploy": {"restart_policy": {"condition": "any"}}}, {"restart": None}),
    ("own init", {}, {"init": False}, {"init": None}),
    ("own grace", {}, {"stop_grace_period": "3s"}, {"stop_grace_period": None}),
    (
        "own grace, but the table says",
        {"stop_grace_period": "9s"},
        {"stop_grace_period": "3s"},
        {"stop_grace_period": "9s"},
    ),
    ("own drop of all", {}, {"cap_drop": ["all"]}, {"cap_drop": None}),
    ("own drop of some", {}, {"cap_drop": ["NET_RAW"]}, {}),
    ("own option", {}, {"security_opt": ["seccomp=x"]}, {}),
    ("own privileges", {}, {"security_opt": ["no-new-privileges=false"]}, {"security_opt": None}),
    ("own logging", {}, {"logging": {"driver": "journald"}}, {"logging": None}),
    ("own logging, but the table says", {"log_max_size": "10m"}, {"logging": {"driver": "journald"}}, {}),
    ("own tmpfs", {}, {"tmpfs": ["/tmp:size=1m"]}, {"tmpfs": None}),
    ("own tmpfs elsewhere", {}, {"tmpfs": ["/run"]}, {}),
    ("own tmpfs, but the table says", {"tmpfs": ["/tmp:size=2m"]}, {"tmpfs": ["/tmp"]}, {"tmpfs": ["/tmp:size=2m"]}),
    ("own volume at /tmp", {}, {"volumes": [{"target": "/tmp/"}]}, {"tmpfs": None}),
    ("own healthcheck", {}, {"healthcheck": {"test": TEST}}, {"healthcheck": asked_early("30s")}),
    (
        "own healthcheck with an interval",
        {},
        {"healthcheck": {"test": TEST, "interval": "10s"}},
        {"healthcheck": asked_early("10s")},
    ),
    (
        "own healthcheck with a start period",
        {},
        {"healthcheck": {"test": TEST, "start_period": "1m0s"}},
        {"healthcheck": {"start_interval": "1s"}},
    ),
    ("own healthcheck, asked early", {}, {"healthcheck": {"test": TEST, "start_interval": "3s"}}, {}),
    ("own healthcheck off", {}, {"healthcheck": {"disable": True}}, {}),
    (
        "own healthcheck, with an interval from the table",
        {"healthcheck": {"interval": "5s"}},
        {"healthcheck": {"test": TEST}},
        {"healthcheck": {"interval": "5s", **asked_early("5s")}},
    ),
    (
        "own interval, with a test from the table",
        {"healthcheck": {"test": TEST}},
        {"healthcheck": {"test": ["CMD", "x"], "interval": "5s", "start_interval": "3s"}},
        {"healthcheck": {key: HEALTH[key] for key in ("test", "timeout", "retries", "start_period")}},
    ),
    (
        "own healthcheck off, with a test from the table",
        {"healthcheck": {"test": TEST}},
        {"healthcheck": {"disable": True}},
        {"healthcheck": {**HEALTH, "disable": False}},
    ),
    (
        "own limits",
        {},
        {"deploy": {"resources": {"limits": {"cpus": 0.2, "memory": "134217728", "pids": 5}}}},
        {
            "memswap_limit": 134217728,
            "deploy": {"resources": {"reservations": {"cpus": 0.2, "memory": "134217728"}}},
        },
    ),
    (
        "own limits in the older keys",
        {},
        {"cpus": 2, "mem_limit": "1073741824", "pids_limit": 5, "mem_reservation": "1048576", "memswap_limit": "-1"},
        {"memswap_limit": None, "deploy": {"resources": {"reservations": {"cpus": "0.5", "memory": "1048576"}}}},
    ),
    (
        "one own limit in an older key",
        {},
        {"mem_limit": "268435456"},
        {
            "memswap_limit": 268435456,
            "deploy": resources({"cpus": "1.0", "pids": 256, "memory": "268435456"}),
        },
    ),
    (
        "one own limit in an older key, and none wanted",
        {"loosen": {"memory": {"to": "none", "because": "x"}}},
        {"mem_limit": "268435456"},
        {
            "memswap_limit": 268435456,
            "deploy": resources({"cpus": "1.0", "pids": 256, "memory": "268435456"}),
        },
    ),
    (
        "own limits in the older keys, but the table says",
        {"cpus": 1, "memory": "128M", "pids": 9, "memory_reservation": "64M"},
        {"cpus": 2, "mem_limit": "1073741824", "pids_limit": 5, "mem_reservation": "1048576"},
        {
            **{"cpus": 1.0, "mem_limit": "128M", "pids_limit": 9, "mem_reservation": "64M", "memswap_limit": "128M"},
            "deploy": resources({"cpus": "1", "memory": "128M", "pids": 9}, {"cpus": "0.5", "memory": "64M"}),
        },
    ),
    ("own larger swap", {}, {"memswap_limit": "1073741824"}, {"memswap_limit": None}),
    ("own swap below the limit", {"memory": "512M"}, {"memswap_limit": "1048576"}, {}),
    (
        "own reservation above the default limit",
        {},
        {"mem_reservation": "1073741824"},
        {
            "memswap_limit": 1073741824,
            "deploy": resources(
                {"cpus": "1.0", "memory": "1073741824", "pids": 256}, {"cpus": "0.5", "memory": "1073741824"}
            ),
        },
    ),
]


@pytest.mark.parametrize(("row", "spec", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_written(row: dict[str, Any], spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert changed(row, spec) == expected


@pytest.mark.parametrize(
    ("row", "spec", "kept"),
    [
        ({}, {}, []),
        ({}, {"restart": "no", "init": True, "healthcheck": {"test": TEST}}, ["init", "restart", "healthcheck.test"]),
        ({"healthcheck": {"interval": "9s"}}, {"healthcheck": {"test": TEST}}, ["healthcheck.test"]),
        ({"memory": "1G"}, {"mem_limit": "99999999", "cpus": 1}, ["cpus"]),
        ({}, {"deploy": {"resources": {"limits": {"cpus": 1}}}}, ["deploy.resources.limits.cpus"]),
        ({}, {"security_opt": ["no-new-privileges:true"]}, ["security_opt"]),
    ],
)
def test_what_is_left_to_the_users_file(row: dict[str, Any], spec: dict[str, Any], kept: list[str]) -> None:
    result = render(read_table({"backend": row}), {"backend": spec}, ENGINE)
    assert result.kept == {"backend": kept}
    assert (f"# as compose.yaml has it: {', '.join(kept)}" in result.text) == bool(kept)


@pytest.mark.parametrize(
    ("table", "project", "where", "said"),
    [
        (
            {"web": {}},
            {"backend": {}, "db": {}},
            "compose_app_services.web",
            "not a service of compose.yaml.*: backend, db",
        ),
        ({"web": {}}, {}, "compose_app_services.web", "use one of its services: none"),
        (
            {"a": {"tmpfs": ["/data:size=1m"]}},
            {"a": {"volumes": [{"target": "/data"}]}},
            *(
                "compose_app_services.a.tmpfs",
                "names /data, where compose.yaml mounts a volume.*remove this path from tmpfs",
            ),
        ),
        (
            {"a": {"healthcheck": {"start_interval": "1s"}}},
            {"a": {}},
            "compose_app_services.a.healthcheck.start_interval",
            r"needs Docker Engine 25, and this host has 20\.10\.24",
        ),
        (
            {"a": {"memory": "128M"}},
            {"a": {"mem_reservation": "268435456"}},
            *("compose_app_services.a.memory", "less than the 268435456 bytes that compose.yaml reserves"),
        ),
    ],
)
def test_what_does_not_fit_together(table: Any, project: Any, where: str, said: str) -> None:
    with pytest.raises(OverlayError, match=said) as caught:
        render(read_table(table), project, (20, 10, 24))
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("row", "spec", "where", "said"),
    [
        ({}, {}, "", ""),
        ({"cpus": 2, "memory": "2G"}, {}, "", ""),
        ({"cpus": "2.5"}, {}, "compose_app_services.a.cpus", "2.5 is more than the 2 cores that this host has"),
        (
            {"memory": "4G"},
            {},
            "compose_app_services.a.memory",
            "4G is more than the 2048M of memory that this host has",
        ),
        ({}, {"cpus": 3}, "compose.yaml: services.a.cpus", "3 is more than the 2 cores"),
        ({}, {"mem_limit": "4294967296"}, "compose.yaml: services.a.mem_limit", "4294967296 is more than the 2048M"),
        ({"cpus": 1}, {"cpus": 3}, "", ""),
        ({"loosen": {"cpus": {"to": "none", "because": "x"}}}, {}, "", ""),
        ({"loosen": {"cpus": {"to": 4, "because": "x"}}}, {}, "compose_app_services.a.cpus", "4 is more than"),
        (
            {"loosen": {"cpus": {"to": "none", "because": "x"}}},
            {"cpus": 3},
            "compose.yaml: services.a.cpus",
            "3 is more",
        ),
    ],
)
def test_limits_fit_the_host(row: Any, spec: Any, where: str, said: str) -> None:
    table = read_table({"a": row})
    if not where:
        check_fit(table, {"a": spec}, 2, 2 << 30)
        return
    with pytest.raises(OverlayError) as caught:
        check_fit(table, {"a": spec}, 2, 2 << 30)
    assert caught.value.where == where
    assert said in caught.value.reason
    assert caught.value.fix == "write less"


def test_a_default_that_the_host_cannot_give_says_that_it_is_one() -> None:
    with pytest.raises(OverlayError, match=r"512M \(the default\) is more than the 256M of memory that this host has"):
        check_fit({}, {"a": {}}, 1, 256 << 20)


def test_the_health_shell_asks_the_port_and_path() -> None:
    (kind, shell) = rendered({"port": 8000, "health_path": "/health?a=b&c=;d#e|f(g)*"})["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert "\n" not in shell
    script = shell.replace("$$", "$")
    for names in (["curl"], ["wget"], ["python3"], ["node"], []):
        asked = _run_with(script, names)
        if names:
            assert asked.returncode == 0, asked.stderr
            assert "http://127.0.0.1:8000/health?a=b&c=;d#e|f(g)*" in asked.stdout
            assert asked.stdout.startswith(names[0])
        else:
            assert asked.returncode == 1
            assert "no curl, wget, python3 or node in this image" in asked.stdout


def _run_with(script: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script that finds only these programs, each of which says what it was asked."""
    stubs = "".join(f'{name}() {{ printf "{name} %s\\n" "$*"; }}; ' for name in names)
    found = " ".join(f"[ $2 = {name} ] ||" for name in names)
    shell = f"{stubs} command() {{ {found} return 1; }}; {script.replace('exec ', '')}"
    return subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=False)


WEAK = [
    ({"privileged": True}, "a is privileged"),
    ({"network_mode": "host"}, "a shares the host's network namespace (network_mode: host)"),
    ({"pid": "host"}, "a shares the host's pid namespace (pid: host)"),
    ({"volumes": [{"source": "/var/run/docker.sock", "target": "/s"}]}, "a mounts the engine's socket"),
    ({"security_opt": ["no-new-privileges=false"]}, "a allows new privileges"),
    ({"ports": [{"target": 80, "published": "8080"}]}, "a publishes port 8080 on every address"),
    ({"ports": [{"target": 80, "host_ip": "0.0.0.0"}]}, "a publishes port 80 on every address"),
    ({"ports": [{"target": 80, "host_ip": "127.0.0.1"}]}, ""),
    ({"ports": [{"target": 53, "published": "53", "protocol": "udp"}]}, "a publishes port 53/udp on every address"),
    (
        {"ports": [{"target": n, "published": str(n), "protocol": "udp"} for n in range(50000, 50101)]},
        "a publishes ports 50000-50100/udp on every address",
    ),
    (
        {"ports": [{"target": n, "published": str(n)} for n in (80, 443, 444)] + [{"target": 9, "published": "9-12"}]},
        "a publishes ports 80, 443-444, 9-12 on every address",
    ),
    ({"privileged": False, "volumes": [{"target": "/data"}], "network_mode": "bridge"}, ""),
]


@pytest.mark.parametrize(("spec", "said"), WEAK)
def test_weak_points(spec: dict[str, Any], said: str) -> None:
    found = weak_points({"a": spec})
    assert len(found) == bool(said)
    assert all(text.startswith(said) for text in found)


def test_the_ports_of_the_web_entry_are_public_by_intent() -> None:
    ports = {
        name: {"ports": [{"target": one, "published": str(one)} for one in ports]} for name, ports in PORTS.items()
    }
    assert [text.partition(" on every")[0] for text in weak_points(ports, asked={80, 8000})] == [
        "api publishes port 9000",
        "db publishes port 5432",
        "other publishes port 443",
    ]


PORTS = {"api": [8000, 9000], "db": [5432], "other": [443], "web": [80, 443]}

COPIED = {
    "configs": {
        "text": {"content": "x"},
        "file": {"file": "/x"},
        "env": {"environment": "X"},
        "there": {"external": True},
    },
    "secrets": {"token": {"environment": "TOKEN"}, "key": {"file": "/key"}},
}


@pytest.mark.parametrize(
    ("spec", "copied"),
    [
        ({}, []),
        ({"configs": [{"source": "file", "target": "/x"}], "secrets": [{"source": "key"}]}, []),
        ({"configs": [{"source": "text", "target": "/x"}]}, ["config text"]),
        ({"configs": [{"source": "env"}], "secrets": [{"source": "token"}]}, ["config env", "secret token"]),
        ({"configs": ["text"], "secrets": ["there"]}, ["config text"]),
    ],
)
def test_what_compose_copies_into_a_container_needs_a_writable_root(spec: dict[str, Any], copied: list[str]) -> None:
    text = render({}, {"a": spec}, ENGINE, model=COPIED).text
    found = yaml.safe_load(text)["services"]["a"]
    assert found["read_only"] is not bool(copied)
    assert ("tmpfs" in found) is not bool(copied)
    assert all(one in text for one in copied)
    notes = weak_points({"a": spec}, None, COPIED)
    assert len(notes) == bool(copied)
    assert all("a keeps a writable root file system" in note and copied[0] in note for note in notes)


def test_a_job_that_reads_files_of_the_project_has_both_labels() -> None:
    lines = {"migrate": ["labels:", "  christmas.selfheal.files: abc"]}
    text = render({}, {"web": AWAITED, "migrate": {}}, ENGINE, added=lines).text
    labels = yaml.safe_load(text)["services"]["migrate"]["labels"]
    assert labels == {"christmas.selfheal.files": "abc", "christmas.selfheal.job": "true"}
    assert text.count("labels:") == 1


@pytest.mark.parametrize("said", [False, "${READ_ONLY:-false}"])
def test_a_root_that_the_user_wants_writable_stays_so(said: Any) -> None:
    result = render({}, {"a": {}}, ENGINE, written={"services": {"a": {"read_only": said}}})
    found = yaml.safe_load(result.text)["services"]["a"]
    assert "read_only" not in found
    assert "tmpfs" not in found
    assert result.kept == {"a": ["read_only"]}
    asked = render({}, {"a": {"read_only": True}}, ENGINE, written={"services": {"a": {"read_only": "${YES}"}}})
    assert yaml.safe_load(asked.text)["services"]["a"]["read_only"] is True


def test_a_read_only_root_of_the_user_stays() -> None:
    spec = {"configs": [{"source": "text"}], "read_only": True}
    assert yaml.safe_load(render({}, {"a": spec}, ENGINE, model=COPIED).text)["services"]["a"]["read_only"] is True


@pytest.mark.parametrize("said", ["no-new-privileges:false", "no-new-privileges=false"])
def test_new_privileges_that_both_allow_are_written_once(said: str) -> None:
    row = {"loosen": {"no_new_privileges": {"to": False, "because": "sudo"}}}
    result = render(read_table({"a": row}), {"a": {"security_opt": [said]}}, ENGINE)
    assert "no-new-privileges" not in result.text
    assert result.kept["a"] == ["security_opt"]


def test_a_tmpfs_of_the_table_replaces_the_one_of_the_file_at_its_path() -> None:
    spec = {"tmpfs": ["/tmp:size=1m", "/run:size=2m"]}
    text = render(read_table({"a": {"tmpfs": ["/tmp:size=9m", "/srv"]}}), {"a": spec}, ENGINE).text
    assert 'tmpfs: !override ["/run:size=2m", "/tmp:size=9m", /srv]' in text


# --- YAML -------------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["on", "1e3", "0x1F", "1.0", "null", "~", "-", "12:30", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_whatever_is_written_is_read_back(value: Any) -> None:
    assert yaml.safe_load(f"a: {flow(value)}\n") == {"a": value}
    assert yaml.load(f"a: {flow(value)}\n", yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader) == {
        "a": value
    }


@given(
    st.text(min_size=1),
    st.lists(
        st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=3
    ),
    st.sampled_from(["backend", "on", "1", "1.0", "null", "a.b", "0x1", "-", "y", "1e3"]),
)
def test_nothing_in_the_table_breaks_out(reason: str, words: list[str], name: str) -> None:
    row = {"healthcheck": {"test": ["CMD", *words]}, "loosen": {"init": {"to": False, "because": f"x {reason}"[:300]}}}
    text = render(read_table({name: row}), {name: {}}, ENGINE).text
    found = yaml.safe_load(text)
    assert list(found) == ["services"]
    assert list(found["services"]) == [name]
    assert found["services"][name] == {**DEFAULTS, "init": False, "healthcheck": {**HEALTH, "test": ["CMD", *words]}}


# --- what a linter of compose files says ------------------------------------------------------------------------------

SAMPLE = """\
services:
  backend:
    build: .
    environment:
      JWT_SECRET: ${JWT_SECRET:?}
      PORT: ${PORT:?}
    ports:
      - "${PUBLISH_ADDRESS:?}:${PORT:?}:8000"
"""


def test_compose_lint_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("compose_lint")
    (tmp_path / "compose.yaml").write_text(SAMPLE)
    (tmp_path / ".env").write_text("PORT=8000\nPUBLISH_ADDRESS=127.0.0.1\nJWT_SECRET='4Vr8nq0sKzPpTg1f'\n")
    project = yaml.safe_load(SAMPLE)["services"]
    table = read_table({"backend": {"port": 8000, "health_path": "/health"}})
    for service in (table, {}):
        (tmp_path / "compose.override.yaml").write_text(render(service, project, ENGINE).text)
        argv = [sys.executable, "-m", "compose_lint", "check", "--fail-on", "low", "--format", "json"]
        asked = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "compose.override" in asked.stderr
        assert json.loads(asked.stdout) is not None


def test_what_the_module_offers() -> None:
    assert set(overlay.__all__) <= set(dir(overlay))
