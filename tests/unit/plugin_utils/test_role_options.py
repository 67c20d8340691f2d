# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the options of a role must not be: for each rule a set of variables that breaks it alone, and the error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options import load_balancer, monitoring, slo
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.validate import RULES, validate
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import (
    Inventory,
    Variables,
    whole_number,
)

REPOSITORY = Path(__file__).resolve().parents[3]
HASH = "$5$abcdef$" + "k" * 43
PASSWORD = "k3q9" * 8
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"
HERE = str(Path(__file__))

# Options with which there is no error, as the role's defaults and its vars file make them.
GOOD: dict[str, dict[str, Any]] = {
    "alerting": {
        "alerting_receivers": [
            {
                "kind": "email",
                "to": ["ops@shop.dev"],
                "from": "selfheal@shop.dev",
                "smarthost": "mail.shop.dev:587",
                "username": "selfheal",
                "password": PASSWORD,
                "require_tls": True,
                "severities": ["critical"],
            }
        ]
    },
    "backup": {
        "backup_password": PASSWORD,
        "backup_repository": "sftp:backup@store:/srv/shop",
        "backup_ssh_key": "a key",
        "backup_known_hosts": "store ssh-ed25519 AAAA",
        "backup_secrets": {"AWS_ACCESS_KEY_ID": "AKIA\n"},
        "backup_databases": [{"name": "records"}],
        "backup_checks": [{"database": "records"}],
    },
    "compose_app": {
        "compose_app_variables": [
            *({"name": f"DATABASE_{name}", "kind": "text"} for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD")),
            {"name": "REDIS_PASSWORD", "kind": "token", "required": True},
        ],
        "compose_app_cache_enabled": True,
        "compose_app_pool_enabled": True,
        "compose_app_pool_image": "pgbouncer:1.24",
    },
    "load_balancer": {
        "load_balancer_instances": 2,
        "load_balancer_first_port": 18000,
        "load_balancer_port": "80",
        "load_balancer_metrics_port": 8405,
        "load_balancer_tls_port": 443,
        "load_balancer_acme_port": 0,
        "load_balancer_timeout": 30,
        "load_balancer_queue_seconds": 10,
        "load_balancer_instance_connections": 100,
        "load_balancer_rate": 400,
        "load_balancer_connections": 200,
        "load_balancer_max_body": "10m",
        "load_balancer_health_path": "",
        "load_balancer_trusted": ["127.0.0.0/8", "fd00::/8"],
        "load_balancer_address": "*",
        "load_balancer_certificate": "",
        "load_balancer_certificate_on_host": "",
        "load_balancer_domain": [],
        "load_balancer_acme_email": "",
        "load_balancer_acme_directory": "",
        "load_balancer_acme_ca": "",
        "__load_balancer_secure": False,
        "__load_balancer_check": {"send": "", "expect": "", "problem": ""},
    },
    "monitoring": {
        "monitoring_hub": "",
        "monitoring_without_receivers": False,
        "monitoring_thresholds": {"memory_percent": 80, "error_percent": 0.5},
        "monitoring_pool": True,
        "monitoring_pool_user": "shop",
        "monitoring_pool_password": PASSWORD,
        "monitoring_cache": True,
        "monitoring_cache_password": PASSWORD,
        "monitoring_database": {"host": "db", "user": "shop", "password": PASSWORD},
        "monitoring_memory_mb": 96,
        "monitoring_retention_days": 92,
        "monitoring_retention_mb": 1024,
        "__monitoring_names": ["shop-1"],
        "__monitoring_ports": {"prometheus": 9090, "node": 9100},
        "__monitoring_receivers": 1,
    },
    "slo": {"slo_goals": {"uptime_percent": 99.9}, "slo_send": True, "__slo_receiver_kinds": ["telegram", "email"]},
    "status_page": {
        "monitoring_enabled": True,
        "status_page_port": 9418,
        "status_page_public_port": 8443,
        "status_page_prometheus_port": 9090,
        "status_page_balancer": True,
        "status_page_user": "team",
        "status_page_password": PASSWORD,
        "status_page_password_hash": "",
        "status_page_certificate": "/etc/ssl/page.pem",
        "status_page_plain": False,
        "status_page_address": "*",
        "__status_page_public": True,
        "__status_page_has_password": True,
    },
}

HUB = "monitoring_hub: hub-1, the monitoring host of shop-1, "
HUBS: dict[str, dict[str, Any]] = {
    "hub-1": {"monitoring_enabled": True, "alerting_receivers": [{"kind": "slack"}]},
    "quiet": {"monitoring_enabled": "yes", "monitoring_without_receivers": "true"},
    "shop-2": {},
    "shop-3": {"monitoring_hub": "hub-1"},
}
EMAIL = GOOD["alerting"]["alerting_receivers"][0]
TELEGRAM = {"kind": "telegram", "chat_id": 1, "token": PASSWORD}


def receiver(**keys: Any) -> dict[str, Any]:
    return {"alerting_receivers": [{**EMAIL, **keys}]}


def without(key: str) -> dict[str, Any]:
    return {"alerting_receivers": [{name: value for name, value in EMAIL.items() if name != key}]}


# By role: what is set, and a part of each error, in their order.
CASES: dict[str, list[tuple[dict[str, Any], list[str]]]] = {
    "alerting": [
        ({"alerting_receivers": []}, ["alerting_receivers: it is empty for shop-1, so no one would be notified. Add"]),
        (receiver(smarthost=""), ["entry 1 (email): smarthost is missing. Add `smarthost: …` to the entry."]),
        (without("to"), ["to is missing"]),
        (
            receiver(chat_id=1),
            ["chat_id is not an option of kind email. Remove it; the entry takes to, from, smarthost, username"],
        ),
        ({"alerting_receivers": [EMAIL, {**TELEGRAM, "chat_id": 0}]}, ["entry 2 (telegram): chat_id is missing"]),
        (receiver(severities=[]), ["severities is empty, so this receiver would get no alert. Remove it, or write ["]),
        (receiver(smarthost="mail.shop.dev"), ["smarthost has no port"]),
        (receiver(username=""), ["username and password must be set together"]),
        (without("password"), ["username and password must be set together"]),
        (receiver(to="ops@shop.dev, ops"), ["(email): ops is not an e-mail address"]),
        (receiver(**{"from": "me@your-domain.com"}), ["me@your-domain.com is an example address"]),
        ({"alerting_receivers": [{**TELEGRAM, "message_thread_id": "x"}]}, ["not the number of a topic"]),
    ],
    "backup": [
        ({"backup_password": ""}, ["backup_password: it is empty, and it encrypts"]),
        ({"backup_password": "k3q9"}, ["backup_password: it is shorter than 16 characters"]),
        ({"backup_password": "ChangeMe" * 3}, ["backup_password: it is a placeholder"]),
        ({"backup_known_hosts": ""}, ["backup_known_hosts: it is empty, so the identity of backup@store cannot"]),
        ({"backup_known_hosts": "", "backup_ssh_key": ""}, []),
        ({"backup_known_hosts": "", "backup_repository": "/srv/backup"}, []),
        ({"backup_secrets": {"aws": "x"}}, ["backup_secrets: aws is not a valid variable name"]),
        ({"backup_secrets": {"AWS": "x\ny"}}, ["backup_secrets: AWS has several lines"]),
        ({"backup_repository": "srv/backup"}, ["backup_repository: invalid value. Use a path that begins with /"]),
        ({"backup_repository": "rest:https://me:k3q9@store/"}, ["backup_repository: the URL holds a password"]),
        ({"backup_checks": []}, ["backup_checks: it is empty, so a restored database without rows would pass"]),
        ({"backup_checks": []}, ["Write at least {database: records, ask:"]),
        ({"backup_checks": [], "backup_databases": []}, []),
    ],
    "compose_app": [
        (
            {"compose_app_variables": GOOD["compose_app"]["compose_app_variables"][:-1]},
            [
                "app_env_variables: REDIS_PASSWORD is missing, and compose_app_cache_enabled needs it. "
                "Add {name: REDIS_PASSWORD, kind: token}, and its value to the vault."
            ],
        ),
        (
            {"compose_app_variables": GOOD["compose_app"]["compose_app_variables"][:1]},
            [
                "REDIS_PASSWORD",
                "Add {name: DATABASE_PORT, kind: port}",
                "Add {name: DATABASE_NAME, kind: text}",
                "DATABASE_USER is missing, and compose_app_pool_enabled needs it",
                "Add {name: DATABASE_PASSWORD, kind: token}",
            ],
        ),
        (
            {
                "compose_app_variables": [{"name": "REDIS_PASSWORD", "kind": "token", "required": False}],
                "compose_app_pool_enabled": False,
                "compose_app_pool_image": "",
            },
            ["REDIS_PASSWORD is optional, and compose_app_cache_enabled needs it. Remove its `required: false`."],
        ),
        ({"compose_app_variables": [], "compose_app_cache_enabled": "no", "compose_app_pool_enabled": "no"}, []),
        ({"compose_app_pool_image": ""}, ["compose_app_pool_image: it is empty, and PgBouncer has no official image"]),
    ],
    "load_balancer": [
        ({"load_balancer_instances": 0}, ["load_balancer_instances: 0 is not between 1 and 64"]),
        ({"load_balancer_instances": 65}, ["load_balancer_instances: 65 is not between 1 and 64"]),
        ({"load_balancer_first_port": 1000}, ["the slots would use the ports 1000 to 1002, which are not all"]),
        ({"load_balancer_first_port": 65534}, ["the slots would use the ports 65534 to 65536"]),
        ({"load_balancer_port": 0}, ["load_balancer_port: 0 is not a port"]),
        ({"load_balancer_metrics_port": "much"}, ["load_balancer_metrics_port: 0 is not a port"]),
        ({"load_balancer_acme_port": 70000}, ["load_balancer_acme_port: 70000 is not a port"]),
        ({"load_balancer_tls_port": 80}, []),
        (
            {"load_balancer_tls_port": 80, "__load_balancer_secure": True},
            ["load_balancer_port: 80 is also the port of load_balancer_tls_port. Choose another one for one of them."],
        ),
        (
            {"load_balancer_port": 18002},
            ["load_balancer_port: port 18002 is among the ports of the slots, 18000 to 18002. Choose another one, or"],
        ),
        ({"load_balancer_port": 18003}, []),
        *(
            ({f"load_balancer_{name}": 0}, [f"load_balancer_{name}: 0 is too small. Write 1 or more."])
            for name in load_balancer.AT_LEAST_ONE
        ),
        ({"load_balancer_max_body": "lots"}, ["load_balancer_max_body: lots is not a size"]),
        ({"load_balancer_max_body": 1048576}, []),
        ({"load_balancer_health_path": "health"}, ["load_balancer_health_path: health is not a path"]),
        (
            {"__load_balancer_check": {"problem": "selfheal_checks: it sends a body. Fix: send none"}},
            ["selfheal_checks: it sends a body. Fix: send none."],
        ),
        ({"load_balancer_trusted": "10.0.0.0/8,localhost"}, ["load_balancer_trusted: localhost is not an address"]),
        ({"load_balancer_address": "web"}, ["load_balancer_address: web is not an address"]),
        ({"load_balancer_address": "192.0.2.7"}, []),
        (
            {"load_balancer_certificate": HERE, "load_balancer_certificate_on_host": "/etc/ssl/x.pem"},
            ["load_balancer_certificate: load_balancer_certificate_on_host is set, too. Empty one of them."],
        ),
        ({"load_balancer_certificate": "/nowhere.pem"}, ["/nowhere.pem does not exist on this machine"]),
        ({"load_balancer_certificate": HERE, "__load_balancer_pem": KEY}, ["holds no certificate"]),
        ({"load_balancer_certificate": HERE, "__load_balancer_pem": CERTIFICATE}, ["holds no key"]),
        ({"load_balancer_certificate": HERE, "__load_balancer_pem": CERTIFICATE + KEY}, []),
        ({"load_balancer_certificate_on_host": "x.pem"}, ["_on_host: x.pem is not an absolute path"]),
        ({"load_balancer_certificate_on_host": "/etc/ssl/x.pem"}, []),
        ({"load_balancer_domain": "shop.example"}, []),
        ({"load_balancer_domain": ["shop.example", "xn--9d0bt0qo2b.example", "a-1.co.uk"]}, []),
        *(
            ({"load_balancer_domain": name}, [f"load_balancer_domain: {name} {said}"])
            for name, said in {
                "192.0.2.7": "is an IP address, and certificates are for names",
                "2001:db8::1": "is an IP address",
                "*.shop.example": "is a wildcard, which needs the challenge DNS-01",
                "shop.example:443": "has a port. Write the name alone",
                "https://shop.example": "is a URL. Write the name alone",
                "shop.example/app": "is a URL",
                "Shop.example": "has capital letters. Write it in lower case",
                "산타.example": "has letters outside of a-z. Write its ASCII form, which begins with xn--",
                "shop.example.": "ends with a dot. Remove the dot",
                "shop_1.example": "is not a host name",
                "-shop.example": "is not a host name",
                f"{'a' * 64}.example": "is not a host name",
                "shop..example": "is not a host name",
                "shop.7": "ends in a number",
                "localhost": "has no dot, so it is not a name of the public DNS",
            }.items()
        ),
        ({"load_balancer_domain": "shop", "load_balancer_acme_directory": "https://ca.example/dir"}, []),
        ({"load_balancer_domain": ["a.example", "a.example"]}, ["load_balancer_domain: a.example is there twice"]),
        ({"load_balancer_domain": [f"a{n}.example" for n in range(101)]}, ["101 names are too many"]),
        (
            {
                "load_balancer_domain": "a.example",
                "load_balancer_certificate": HERE,
                "__load_balancer_pem": CERTIFICATE + KEY,
            },
            ["load_balancer_domain: load_balancer_certificate is set, too. Empty one of them."],
        ),
        (
            {"load_balancer_domain": "a.example", "load_balancer_certificate_on_host": "/etc/ssl/x.pem"},
            ["load_balancer_domain: load_balancer_certificate_on_host is set, too. Empty one of them."],
        ),
        (
            {"load_balancer_domain": "a.example", "load_balancer_acme_port": 8888},
            ["load_balancer_acme_port: load_balancer_domain is set, too. Remove it"],
        ),
        (
            {"load_balancer_domain": "a.example", "load_balancer_port": 8080},
            ["load_balancer_domain: the CA asks at port 80, and load_balancer_port is 8080. Write 80"],
        ),
        *(
            ({"load_balancer_domain": "a.example", f"load_balancer_acme_{name}": value}, [said])
            for name, value, said in (
                ("directory", "http://ca.example", "load_balancer_acme_directory: http://ca.example is not the URL"),
                ("email", "ops", "load_balancer_acme_email: ops is not an address"),
                ("ca", "/nowhere.pem", "load_balancer_acme_ca: /nowhere.pem does not exist on this machine"),
                ("ca", HERE, "holds a private key"),
            )
        ),
    ],
    "monitoring": [
        ({"__monitoring_receivers": 0}, ["alerting_receivers: it is empty for shop-1, so no one would be notified"]),
        ({"__monitoring_receivers": 0, "monitoring_without_receivers": "yes"}, []),
        ({"monitoring_hub": "hub-1", "__monitoring_receivers": 0}, []),
        ({"monitoring_hub": "shop-1"}, ["shop-1, the monitoring host of shop-1, is the same server. Leave"]),
        ({"monitoring_hub": "localhost"}, ["localhost, the monitoring host of shop-1, is not a host of the inventory"]),
        ({"monitoring_hub": "shop-2"}, ["shop-2, the monitoring host of shop-1, does not measure"]),
        ({"monitoring_hub": "quiet"}, []),
        (
            {"__monitoring_names": ["shop-1", "shop-2", "shop-3"], "ansible_host": "10.0.0.5"},
            ["monitoring_hub: shop-1 and shop-2, shop-3 are one server, 10.0.0.5, and a monitoring host keeps one"],
        ),
        ({"__monitoring_names": ["shop-2", "shop-1"], "monitoring_hub": "hub-1"}, ["shop-1 and shop-2 are one server"]),
        ({"__monitoring_names": ["shop-2", "shop-1"]}, []),
        (
            {"monitoring_thresholds": {"memory_percent": 180, "restarts": True, "disk_hours": "4"}},
            [
                "monitoring_thresholds: memory_percent is 180, out of range. Write a number from 1 to 99.",
                "monitoring_thresholds: restarts is true, which is not a number. Write one from 1 to 100.",
                'disk_hours is "4", which is not a number',
            ],
        ),
        ({"monitoring_thresholds": {"slo_percent": 99.999, "pool_wait_seconds": 0.1}}, ["from 90 to 99.99."]),
        ({"monitoring_pool_user": ""}, ["monitoring_pool_user: it is empty for shop-1, and monitoring_pool is true"]),
        ({"monitoring_pool_password": ""}, ["Set DATABASE_PASSWORD in app_env_values, or this variable."]),
        ({"monitoring_pool_password": "", "monitoring_pool": False}, []),
        (
            {"monitoring_cache_password": ""},
            ["monitoring_cache_password: it is empty for shop-1, and monitoring_cache"],
        ),
        ({"monitoring_cache_password": "", "monitoring_cache": False}, []),
        ({"monitoring_database": {}}, []),
        (
            {"monitoring_database": {"host": "db"}},
            ["monitoring_database: user is missing for shop-1", "monitoring_database: password is missing"],
        ),
        (
            {"monitoring_database": {"host": "me@db", "user": 'a"b', "password": PASSWORD}},
            ['monitoring_database: host is "me@db", which is not valid', r'user is "a\"b", which is not valid'],
        ),
        (
            {"__monitoring_ports": {"prometheus": 9090, "node": "9090", "cache": 70000}},
            [
                "monitoring_ports: 9090 is used twice. Each of prometheus, node, cache needs one of its own.",
                "monitoring_ports: 70000 is not a port.",
            ],
        ),
        ({"monitoring_memory_mb": 63}, ["monitoring_memory_mb: 63 is too small for Prometheus. Write 64 or more"]),
        ({"monitoring_retention_days": 3}, ["monitoring_retention_days: 3 is shorter than"]),
        ({"monitoring_retention_mb": "127"}, ["monitoring_retention_mb: 127 is too small"]),
    ],
    "slo": [
        ({"slo_goals": {"uptime_percent": 9}}, ["slo_goals: uptime_percent is 9, out of range."]),
        ({"slo_goals": {"incidents": None}}, ["slo_goals: incidents is null, which is not a number."]),
        ({"__slo_receiver_kinds": ["slack"]}, ["slo_send: it is true for shop-1, and alerting_receivers has no entry"]),
        ({"__slo_receiver_kinds": [], "slo_send": False}, []),
    ],
    "status_page": [
        ({"monitoring_enabled": False}, ["status_page_enabled: monitoring_enabled is false for shop-1, so the page"]),
        ({"monitoring_hub": "hub-1"}, ["status_page_enabled: hub-1 has the figures of shop-1 (monitoring_hub), and"]),
        ({"status_page_port": 0}, ["status_page_port: 0 is not a port"]),
        ({"status_page_port": 80}, ["status_page_port: 80 is also the port of load_balancer_port"]),
        ({"status_page_port": 9090}, ["status_page_port: 9090 is also the port of status_page_prometheus_port"]),
        ({"load_balancer_metrics_port": 8443}, ["status_page_public_port: 8443 is also the port of load_balancer_m"]),
        (
            {"status_page_public_port": 9418},
            [
                "status_page_port: 9418 is also the port of status_page_public_port",
                "status_page_public_port: 9418 is also the port of status_page_port",
            ],
        ),
        ({"status_page_public_port": 9418, "__status_page_public": False}, []),
        ({"status_page_user": "a team"}, ["status_page_user: it is not a name that HAProxy accepts"]),
        ({"status_page_password": PASSWORD * 9}, ["status_page_password: it is longer than the 256 bytes"]),
        ({"status_page_password_hash": HASH}, ["status_page_password_hash: status_page_password is set, too"]),
        ({"status_page_password_hash": HASH, "status_page_password": ""}, []),
        (
            {"status_page_password_hash": "plain", "status_page_password": ""},
            ["status_page_password_hash: it is not a SHA-256 or SHA-512 crypt hash"],
        ),
        (
            {"status_page_balancer": False, "__status_page_public": False, "status_page_port": 80},
            ["status_page_balancer: there is a password, and no HAProxy"],
        ),
        ({"status_page_certificate": ""}, ["status_page_certificate: it is empty, so the password would cross the"]),
        ({"status_page_certificate": "", "status_page_plain": True}, []),
        ({"status_page_certificate": "page.pem"}, ["status_page_certificate: page.pem is not an absolute path"]),
        ({"status_page_certificate": "/etc/my page.pem"}, ["/etc/my page.pem has a space, a quote, a backslash"]),
        ({"status_page_address": "web"}, ["status_page_address: web is not an address"]),
    ],
}
ROWS = [
    pytest.param(role, changed, expected, id=f"{role}: {' '.join(map(str, changed))} {number}")
    for role, rows in CASES.items()
    for number, (changed, expected) in enumerate(rows)
]


def variables(given: Mapping[str, Any]) -> Variables:
    hosts = {"shop-1": given, **HUBS}
    return Variables(given, given.__getitem__, Inventory("shop-1", list(hosts), {**hosts, "localhost": {}}))


@pytest.mark.parametrize("role", RULES)
def test_good_options_have_no_error(role: str) -> None:
    assert validate(role, variables(GOOD[role])) == []


@pytest.mark.parametrize(("role", "changed", "expected"), ROWS)
def test_an_error_names_the_option_and_the_fix(role: str, changed: dict[str, Any], expected: list[str]) -> None:
    found = validate(role, variables({**GOOD[role], **changed}))
    assert len(found) == len(expected), found
    for line, words in zip(found, expected):
        assert words in line
        assert line.endswith(".")
        assert "\n" not in line
    assert "k3q9" not in "".join(found), "the value of a secret"


def test_a_hub_that_notifies_no_one() -> None:
    given = {**GOOD["monitoring"], "monitoring_hub": "hub-1"}
    hosts = {"shop-1": given, "hub-1": {"monitoring_enabled": True, "alerting_receivers": []}}
    found = validate("monitoring", Variables(given, given.__getitem__, Inventory("shop-1", list(hosts), hosts)))
    assert len(found) == 1
    assert found[0].startswith(f"{HUB}has no alerting_receivers, so no one would be notified")


@pytest.mark.parametrize(
    ("role", "option", "ranges"),
    [("monitoring", "monitoring_thresholds", monitoring.THRESHOLDS), ("slo", "slo_goals", slo.GOALS)],
)
def test_every_number_of_a_role_has_a_range(role: str, option: str, ranges: dict[str, Any]) -> None:
    specs = yaml.safe_load((REPOSITORY / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))
    assert set(specs["argument_specs"]["main"]["options"][option]["options"]) == set(ranges)


@pytest.mark.parametrize(
    ("value", "expected"), [(7, 7), ("7", 7), ("7.9", 7), (7.9, 7), ("", 0), (None, 0), ("much", 0), ("inf", 0)]
)
def test_a_number_is_what_the_filter_int_makes_of_it(value: object, expected: int) -> None:
    assert whole_number(value) == expected


def test_the_action_fails_with_all_errors_and_shows_no_secret(
    tmp_path: Path, run_tasks: Callable[[Path, list[dict[str, Any]]], None]
) -> None:
    given = {**GOOD["backup"], "secret": "k3q9", "backup_password": "{{ secret }}", "backup_secrets": {"aws": "x"}}
    shown = {"content": "{{ [good, bad] | to_json }}", "dest": str(tmp_path / "shown.json"), "mode": "0600"}
    action = {"christmas.selfheal.role_options": {"role": "backup"}}
    run_tasks(
        tmp_path,
        [
            {**action, "vars": GOOD["backup"], "register": "good"},
            {**action, "vars": given, "register": "bad", "ignore_errors": True},
            {"ansible.builtin.copy": shown},
        ],
    )
    good, bad = json.loads((tmp_path / "shown.json").read_text(encoding="utf-8"))
    assert (good["changed"], good["failed"]) == (False, False)
    assert (bad["changed"], bad["failed"]) == (False, True)
    lines = bad["msg"].splitlines()
    assert [line.split(":")[0] for line in lines] == ["backup_password", "backup_secrets"]
    assert lines[0].startswith("backup_password: it is shorter than 16 characters, and it encrypts the backups. Create")
    assert "k3q9" not in json.dumps(bad)
