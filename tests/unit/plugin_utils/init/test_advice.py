# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What init says of a project before its first deploy: databases without a named volume, public ports."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import advice
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.services import ports

OLD, NEW = "/var/lib/postgresql/data", "/var/lib/postgresql"

# id, the service, the folder that is named ("" for none)
DATA: list[tuple[str, dict[str, Any], str]] = [
    ("no volume", {"image": "redis:8"}, "/data"),
    ("a registry's full name", {"image": "docker.io/library/redis"}, "/data"),
    ("a named volume", {"image": "redis", "volumes": ["cache:/data"]}, ""),
    ("a named volume, long form", {"image": "redis", "volumes": [{"source": "cache", "target": "/data"}]}, ""),
    ("a folder of the host", {"image": "redis", "volumes": ["./cache:/data:rw"]}, ""),
    ("an anonymous volume", {"image": "redis", "volumes": ["/data"]}, "/data"),
    ("an anonymous volume, long form", {"image": "redis", "volumes": [{"type": "volume", "target": "/data"}]}, "/data"),
    ("a volume elsewhere", {"image": "redis", "volumes": ["conf:/etc/redis"]}, "/data"),
    ("in memory on purpose", {"image": "mysql:8", "tmpfs": "/var/lib/mysql:size=1g"}, ""),
    ("a cache", {"image": "redis", "command": 'redis-server --save ""'}, ""),
    ("a cache, as a list", {"image": "valkey/valkey", "command": ["valkey-server", "--save", ""]}, ""),
    ("a log of all writes", {"image": "redis", "command": 'redis-server --save "" --appendonly yes'}, "/data"),
    ("an old postgres", {"image": "postgres:17-alpine"}, OLD),
    ("an old postgres, a volume above its own", {"image": "postgres:16", "volumes": [f"db:{NEW}"]}, OLD),
    ("an old postgres with its folder below", {"image": "postgres:16", "volumes": [f"db:{OLD}/"]}, ""),
    ("a new postgres", {"image": "postgres:18"}, NEW),
    ("a new postgres with a volume", {"image": "postgres:18", "volumes": [f"db:{NEW}"]}, ""),
    ("postgres with its own folder", {"image": "postgres:16", "environment": {"PGDATA": "/pg/db"}}, "/pg/db"),
    (
        "a volume for its own folder",
        {"image": "postgres:16", "environment": ["PGDATA=/pg/db"], "volumes": ["db:/pg"]},
        "",
    ),
    (
        "its own folder in the image's",
        {"image": "postgres:16", "environment": {"PGDATA": f"{OLD}/pg"}, "volumes": [f"db:{OLD}"]},
        "",
    ),
    ("a variable version", {"image": "postgres:${V}"}, OLD),
    ("no database", {"image": "nginx:1"}, ""),
    ("built here", {"image": "redis", "build": "."}, ""),
]


@pytest.mark.parametrize(("spec", "folder"), [row[1:] for row in DATA], ids=[row[0] for row in DATA])
def test_a_database_without_a_named_volume(spec: dict[str, Any], folder: str) -> None:
    found = advice.unnamed_data({"db": spec}, {"V": "15"}, "compose.yaml")
    assert len(found) == bool(folder)
    assert all(f'add `volumes: ["db-data:{folder}"]` to db, and `db-data:`' in one for one in found)


def test_public_ports_are_said_once() -> None:
    services: dict[str, dict[str, Any]] = {
        "web": {"ports": ["${PORT}:80", "443:443", "443:443/udp"]},
        "db": {"ports": [{"target": 5432, "published": 5432, "host_ip": "0.0.0.0"}]},
        "admin": {"ports": ["127.0.0.1:8080:80", "9000"]},
    }
    (said,) = advice.public_ports(ports(services), {"PORT": "8000"})
    assert "port 8000, 443, 443/udp (web), 5432 (db). " in said
    assert advice.public_ports(ports({"admin": services["admin"]}), {}) == []
