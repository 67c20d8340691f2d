# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role monitoring writes for Prometheus and its exporters."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

PORTS = {"node": 9100, "blackbox": "9115", "containers": 9417, "cache": 9121, "pool": "9127", "database": 9187}
SCRAPED: scraping.Scraped = {
    "host": "shop-1",
    "app": "shop",
    "at": "127.0.0.1",
    "ports": PORTS,
    "own": [9090, 9093],
    "balancer": 8405,
    "tls": "192.0.2.7:443",
}
EXPORTERS = scraping.exporters({"cache": True, "pool": "yes", "database": False}, "shop", PORTS, "/etc/secrets")
CACHE, POOL, DATABASE = EXPORTERS


def targets(checks: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    """The targets by job."""
    given = {"PORT": 8000, "TLS": True}
    scraped = cast("scraping.Scraped", {**SCRAPED, **changed})
    files = scraping.target_files(scraped, checks, given, EXPORTERS, "/etc/prometheus/selfheal")
    host = changed.get("host", "shop-1")
    prefix = f"/etc/prometheus/selfheal/{host}."
    assert all(one["path"].startswith(prefix) and one["content"].endswith("]\n") for one in files)
    return {one["path"][len(prefix) : -len(".json")]: json.loads(one["content"]) for one in files}


def test_each_job_has_a_file() -> None:
    found = targets([])
    app, host = {"app": "shop", "host": "shop-1"}, {"host": "shop-1"}
    certificate = {**app, "check": "certificate", "module": "tls", "via": "127.0.0.1:9115"}
    assert found == {
        "node": [{"targets": ["127.0.0.1:9100"], "labels": host}],
        "containers": [{"targets": ["127.0.0.1:9417"], "labels": host}],
        "monitoring": [{"targets": ["127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9115"], "labels": host}],
        "checks": [{"targets": ["192.0.2.7:443"], "labels": certificate}],
        "balancer": [{"targets": ["127.0.0.1:8405"], "labels": app}],
        "cache": [{"targets": ["127.0.0.1:9121"], "labels": app}],
        "pool": [{"targets": ["127.0.0.1:9127"], "labels": app}],
        "database": [],
    }


def test_the_packages_that_the_role_needs() -> None:
    """Only an exporter needs a certain version; each names the option that does without it."""
    needed = scraping.needed_packages(["prometheus", CACHE["package"], POOL["package"]], [CACHE, POOL])
    assert [tuple(one.values()) for one in needed] == [
        ("prometheus", "", "monitoring_enabled", "set monitoring_enabled to false"),
        ("prometheus-redis-exporter", "1.60", "monitoring_cache", "set monitoring_cache to false"),
        ("prometheus-pgbouncer-exporter", "1:0.10", "monitoring_pool", "set monitoring_pool to false"),
    ]
    (database,) = scraping.needed_packages([DATABASE["package"]], [DATABASE])
    assert (database["minimum"], database["otherwise"]) == ("0.16", "leave monitoring_database empty")


def test_what_is_not_there_has_an_empty_file() -> None:
    found = targets([], balancer=0, tls="", own=[])
    assert (found["balancer"], found["checks"]) == ([], [])
    assert found["monitoring"][0]["targets"] == ["127.0.0.1:9115"]


def test_a_file_is_what_ansible_writes_as_nice_json() -> None:
    files = scraping.target_files({**SCRAPED, "host": "가게"}, [], {}, EXPORTERS, "/etc")
    assert files[0] == {
        "path": "/etc/가게.node.json",
        "content": """[
    {
        "labels": {
            "host": "\\uac00\\uac8c"
        },
        "targets": [
            "127.0.0.1:9100"
        ]
    }
]
""",
    }


@pytest.mark.parametrize(
    ("check", "url"),
    [
        ({"url": "http://localhost:${PORT}/health"}, "http://localhost:8000/health"),
        ({"url": "http://localhost/${TLS}", "method": "GET"}, "http://localhost/True"),
        ({"url": "http://localhost/", "method": "POST"}, ""),
        ({"url": "http://localhost/${SECRET}"}, ""),
        *(({"url": "http://localhost/", key: {}}, "") for key in ("json", "body", "headers", "status")),
    ],
)
def test_a_check_is_made_from_outside_as_far_as_one_request_can(check: dict[str, Any], url: str) -> None:
    found = targets([{"name": "health", **check}], tls="")["checks"]
    assert [one["targets"] for one in found] == ([[url]] if url else [])
    assert [one["labels"]["check"] for one in found] == (["health"] if url else [])


def test_exporters() -> None:
    assert [one["wanted"] for one in EXPORTERS] == [True, True, False]
    assert POOL == {
        "kind": "pool",
        "package": "prometheus-pgbouncer-exporter",
        "wanted": True,
        "unit": "selfheal-pool-shop.service",
        "runtime": "selfheal-pool-shop",
        "file": "/etc/systemd/system/selfheal-pool-shop.service",
        "port": 9127,
        "secret": "/etc/secrets/shop.pool",
    }


def test_a_password_is_in_the_form_that_the_exporter_reads() -> None:
    passwords = {"cache": 'a"b', "database": r"c:d\e"}
    assert scraping.secret_files([CACHE, DATABASE], passwords, "/run/shop") == [
        {"path": "/etc/secrets/shop.cache", "mode": "0600", "content": '{"unix:///run/shop/cache": "a\\"b"}\n'},
        {"path": "/etc/secrets/shop.database", "mode": "0600", "content": "*:*:*:*:c\\:d\\\\e\n"},
    ]


def test_the_files_of_an_exporter_that_is_not_used() -> None:
    found = scraping.unused_files(EXPORTERS, ["/etc/old"])
    unit = "selfheal-database-shop.service"
    assert [one["path"] for one in found] == [
        f"/etc/systemd/system/multi-user.target.wants/{unit}",
        f"/etc/systemd/system/{unit}",
        "/etc/secrets/shop.database",
        "/etc/old",
    ]
    assert {one["state"] for one in found} == {"absent"}


def test_the_files_of_a_host_that_is_watched() -> None:
    found = scraping.watched_host_files(["web1", "web2"])
    assert len(found) == len(set(found)) == 26
    assert {"web1.tunnel", "web2.known_hosts", "web1.checks.json", "web1.database.json"} < set(found)
    assert {"rules-*@web1.yml", "rules-*@web1.backing.yml", "rules-*@web2.backup.yml"} < set(found)


def test_the_names_of_a_server() -> None:
    measured = {"monitoring_enabled": True}
    hosts: dict[str, dict[str, Any]] = {
        "shop": {**measured, "ansible_host": "192.0.2.1", "selfheal_app": "shop"},
        "bakery": {**measured, "ansible_host": "192.0.2.1", "ansible_port": "22", "selfheal_app": "bakery"},
        "other-port": {**measured, "ansible_host": "192.0.2.1", "ansible_port": 2222},
        "not-measured": {"ansible_host": "192.0.2.1"},
        "192.0.2.1": measured,
    }
    assert scraping.server_names(hosts, hosts, "shop") == ["192.0.2.1", "bakery", "shop"]
    assert scraping.server_names(hosts, hosts, "not-measured") == ["192.0.2.1", "not-measured", "bakery", "shop"]
