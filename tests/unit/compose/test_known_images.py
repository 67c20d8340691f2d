# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What official images need of the hardened defaults, and that a user's own values win."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import known_images
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.overlay import check_fit, read_table, render
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.services import (
    CAPABILITIES,
    SAID,
    SMALLEST_MEMORY,
    size,
)

ENGINE = (26, 1, 5)
POSTGRES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]
STEPS_DOWN = ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"]


def written(spec: dict[str, Any], row: dict[str, Any] | None = None, engine: tuple[int, ...] = ENGINE) -> Any:
    """The overlay of one service, read back."""
    text = render(read_table({"db": row or {}}), {"db": spec}, engine).text
    return yaml.safe_load(text.replace("!override ", ""))["services"]["db"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres", "postgres"),
        ("postgres:17-alpine", "postgres"),
        ("postgres@sha256:" + "0" * 64, "postgres"),
        ("docker.io/library/postgres:17@sha256:" + "0" * 64, "postgres"),
        ("docker.io/postgres", "postgres"),
        ("library/postgres", "postgres"),
        ("public.ecr.aws/docker/library/postgres:16", "postgres"),
        ("docker.io/valkey/valkey:8", "valkey/valkey"),
        ("quay.io/minio/minio:latest", "quay.io/minio/minio"),
        ("bitnami/postgresql:17", ""),
        ("bitnami/postgres", ""),
        ("registry.example.com:5000/postgres:17", ""),
        ("registry.example.com/library/postgres", ""),
        ("my-postgres", ""),
        ("php:8.3-cli", ""),
        ("php:8.3-fpm-alpine", "php"),
        ("", ""),
    ],
)
def test_which_names_are_those_of_official_images(image: str, name: str) -> None:
    assert (known_images.known(image) is not None) == bool(name)
    assert not name or known_images.repository(image) == name


@pytest.mark.parametrize("name", sorted(known_images.IMAGES))
def test_each_entry_says_where_it_is_from_and_what_the_table_would_take(name: str) -> None:
    entry = known_images.IMAGES[name]
    assert re.match(r"[a-zA-Z0-9-]+/[a-z-]+: ", entry.source)
    assert CAPABILITIES.issuperset([*entry.capabilities, *entry.always])
    assert SAID["tmpfs"][0](list(entry.tmpfs)) == list(entry.tmpfs)
    assert not entry.grace or SAID["stop_grace_period"][0](entry.grace)
    assert not entry.memory or (size(entry.memory) or 0) > SMALLEST_MEMORY
    assert not entry.health or entry.server


@pytest.mark.parametrize("name", sorted(name for name, entry in known_images.IMAGES.items() if entry.health))
def test_each_healthcheck_is_a_shell_command(name: str) -> None:
    text = known_images.IMAGES[name].health.replace("$$", "$")
    assert subprocess.run(["/bin/sh", "-n", "-c", text], capture_output=True, check=False).returncode == 0
    # Where no client is, the server is not said to be well.
    asked = subprocess.run(["/bin/sh", "-c", text], env={"PATH": "/nowhere"}, capture_output=True, check=False)
    assert asked.returncode != 0


# What the file says of the service, what the inventory says, the capabilities, and what is writable
NEEDS: list[tuple[str, dict[str, Any], dict[str, Any], list[str] | None, list[str] | None]] = [
    ("postgres", {"image": "postgres:17"}, {}, POSTGRES, ["/tmp", "/var/run/postgresql"]),
    ("with a user", {"image": "postgres:17", "user": "999:999"}, {}, None, ["/tmp", "/var/run/postgresql:mode=1777"]),
    (
        "with a user of the table",
        {"image": "postgres"},
        {"user": "999"},
        None,
        ["/tmp", "/var/run/postgresql:mode=1777"],
    ),
    ("as root", {"image": "postgres", "user": "root"}, {}, POSTGRES, ["/tmp", "/var/run/postgresql"]),
    ("built here", {"image": "postgres", "build": {"context": "."}}, {}, None, ["/tmp"]),
    (
        "a volume where it writes",
        {"image": "postgres", "volumes": [{"target": "/var/run/postgresql"}]},
        {},
        POSTGRES,
        ["/tmp"],
    ),
    (
        "a tmpfs of the file where it writes",
        {"image": "postgres", "tmpfs": ["/var/run/postgresql:size=1m"]},
        {},
        POSTGRES,
        ["/tmp"],
    ),
    ("the table's tmpfs wins", {"image": "postgres"}, {"tmpfs": ["/srv"]}, POSTGRES, ["/srv"]),
    (
        "the table's capabilities win",
        {"image": "postgres"},
        {"loosen": {"cap_add": {"to": ["CHOWN"], "because": "x"}}},
        ["CHOWN"],
        ["/tmp", "/var/run/postgresql"],
    ),
    (
        "some of the file's are there",
        {"image": "mysql:8", "cap_add": ["SYS_NICE", "CAP_CHOWN"]},
        {},
        ["DAC_OVERRIDE", "KILL", "SETGID", "SETUID"],
        ["/tmp", "/var/run/mysqld"],
    ),
    (
        "a complete list of the file wins",
        {"image": "mysql:8", "cap_drop": ["ALL"], "cap_add": ["SETUID"]},
        {},
        None,
        ["/tmp", "/var/run/mysqld"],
    ),
    ("redis", {"image": "redis:7"}, {}, STEPS_DOWN, ["/tmp"]),
    ("memcached", {"image": "memcached"}, {}, None, ["/tmp"]),
    (
        "nginx",
        {"image": "nginx"},
        {},
        ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"],
        ["/tmp", "/var/cache/nginx", "/run"],
    ),
    (
        "nginx in the host's network",
        {"image": "nginx", "network_mode": "host"},
        {},
        ["CHOWN", "DAC_OVERRIDE", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        ["/tmp", "/var/cache/nginx", "/run"],
    ),
    (
        "nginx with templates",
        {"image": "nginx", "volumes": [{"target": "/etc/nginx/templates"}]},
        {},
        ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"],
        ["/tmp", "/var/cache/nginx", "/run", "/etc/nginx/conf.d"],
    ),
    (
        "caddy with a user",
        {"image": "caddy", "user": "1000"},
        {},
        ["NET_BIND_SERVICE"],
        ["/tmp", "/config:mode=1777", "/data:mode=1777"],
    ),
    ("node", {"image": "node:22"}, {}, None, ["/tmp", "/root/.npm"]),
    ("node with a user", {"image": "node:22", "user": "node"}, {}, None, ["/tmp"]),
    ("unknown", {"image": "ghcr.io/x/y"}, {}, None, ["/tmp"]),
]


@pytest.mark.parametrize(
    ("spec", "row", "capabilities", "tmpfs"), [row[1:] for row in NEEDS], ids=[r[0] for r in NEEDS]
)
def test_what_a_service_gets_because_of_its_image(spec: Any, row: Any, capabilities: Any, tmpfs: Any) -> None:
    found = written(spec, row)
    assert found.get("cap_add") == capabilities
    assert found.get("tmpfs") == tmpfs


TEST = {"test": ["CMD", "x"]}


@pytest.mark.parametrize(
    ("spec", "row", "asked"),
    [
        ({"image": "postgres"}, {}, "pg_isready"),
        ({"image": "postgres", "command": ["-c", "shared_buffers=64MB"]}, {}, "pg_isready"),
        ({"image": "postgres", "command": ["postgres", "-c", "fsync=off"]}, {}, "pg_isready"),
        ({"image": "postgres", "command": ["-p", "5433"]}, {}, ""),
        ({"image": "postgres", "command": ["pg_dump"]}, {}, ""),
        ({"image": "postgres", "entrypoint": ["sh"]}, {}, ""),
        ({"image": "postgres", "healthcheck": TEST}, {}, ""),
        ({"image": "postgres", "healthcheck": {"disable": True}}, {}, ""),
        ({"image": "postgres"}, {"healthcheck": TEST}, "x"),
        ({"image": "postgres"}, {"job": True}, ""),
        ({"image": "redis", "command": ["/etc/redis.conf"]}, {}, "redis-cli"),
        ({"image": "redis", "command": ["redis-server", "--port", "0"]}, {}, ""),
        ({"image": "mariadb"}, {}, "mariadb-admin"),
        ({"image": "mysql"}, {}, "mysqladmin"),
        ({"image": "mongo"}, {}, "mongosh"),
        ({"image": "nginx"}, {}, ""),
    ],
)
def test_the_healthcheck_is_that_of_a_server_that_is_started_as_it_is_by_default(
    spec: Any, row: Any, asked: str
) -> None:
    test = (written(spec, row).get("healthcheck") or {}).get("test")
    assert bool(test) == bool(asked)
    assert not asked or asked in str(test)


def test_a_database_has_time_to_start_and_to_end() -> None:
    found = written({"image": "postgres"})
    assert found["stop_grace_period"] == "60s"
    assert found["healthcheck"]["start_period"] == "300s"
    assert written({"image": "postgres", "stop_grace_period": "2m"}).get("stop_grace_period") is None
    assert written({"image": "postgres"}, {"stop_grace_period": "9s"})["stop_grace_period"] == "9s"
    assert written({"image": "postgres"}, {"job": True})["stop_grace_period"] == "10s"


def test_an_image_with_its_own_init_and_files() -> None:
    found = written({"image": "docker.elastic.co/elasticsearch/elasticsearch:8.15.0"})
    assert (found["init"], found["read_only"], found.get("tmpfs")) == (False, False, None)
    assert found["deploy"]["resources"]["limits"] == {"cpus": "1.0", "memory": "2G", "pids": 2048}
    own = written({"image": "elasticsearch:8", "init": True, "read_only": True, "mem_limit": "1073741824"})
    assert own.get("init") is None
    assert own["read_only"] is True
    assert own["deploy"]["resources"]["limits"]["memory"] == "1073741824"


def test_a_limit_that_comes_with_the_image_has_to_fit_the_host() -> None:
    with pytest.raises(ValueError, match=r"2G \(the default\) is more than the 1024M"):
        check_fit({}, {"search": {"image": "elasticsearch:8"}}, 1, 1 << 30)


def test_on_an_older_engine_a_web_server_needs_its_port() -> None:
    assert "NET_BIND_SERVICE" in written({"image": "nginx"}, engine=(19, 3))["cap_add"]
