# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A merged compose model → who needs whom."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import app_model

NGINX = """
upstream backend { server app:8000; }
server { listen 80; server_name app.example; location /ws { proxy_pass http://ws; } }
"""


def services(**specs: dict[str, Any]) -> dict[str, Any]:
    return {"services": specs}


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ({"depends_on": {"db": {"condition": "service_healthy"}}}, {"db"}),
        ({"environment": {"DATABASE_URL": "postgres://app:pw@db:5432/app?sslmode=disable"}}, {"db"}),
        ({"environment": {"DB_HOST": "db"}}, {"db"}),
        ({"environment": {"CACHE_URL": "redis://cache"}}, {"cache"}),
        ({"environment": {"SERVERS": "cache:6379,db:5432"}}, {"cache", "db"}),
        ({"environment": {"DB_HOST": "primary"}}, {"db"}),
        ({"environment": {"MODE": "db", "IMAGE": "registry.example/db", "PATTERN": "mydb:1", "NAME": None}}, set()),
        ({"environment": {"DATABASE_URL": "postgres://u:p@db.example:5432/x"}}, set()),
        ({"command": ["wait-for", "db:5432", "--", "serve"]}, {"db"}),
        ({"network_mode": "service:cache"}, {"cache"}),
        ({"links": ["cache:redis"], "depends_on": {"gone": {}}}, {"cache"}),
    ],
)
def test_what_a_service_needs(spec: dict[str, Any], needed: set[str]) -> None:
    model = services(app=spec, db={"networks": {"default": {"aliases": ["primary"]}}}, cache={})
    assert app_model.read(model, {}).needs["app"] == needed


def test_a_proxy_needs_its_upstreams() -> None:
    model = services(web={"image": "nginx:1.27"}, app={"image": "shop"}, ws={"image": "shop"})
    found = app_model.read(model, {"web": NGINX})
    assert found.needs["web"] == {"app", "ws"}
    assert found.proxies == {"web"}


def test_a_database_does_not_need_the_app_whose_name_it_has() -> None:
    app: dict[str, Any] = {"depends_on": {"db": {}}}
    model = services(app=app, db={"image": "postgres:17", "environment": {"POSTGRES_DB": "app", "PGHOST": "app"}})
    assert app_model.read(model, {}).needs == {"app": {"db"}, "db": set()}


def test_what_holds_data() -> None:
    volume = {"type": "volume", "source": "data", "target": "/data"}
    model = services(
        db={"image": "docker.io/library/postgres:17"},
        files={"image": "shop", "volumes": [volume]},
        reader={"image": "shop", "volumes": [{**volume, "read_only": True}]},
        web={"image": "caddy", "volumes": [volume], "depends_on": {"files": {}}},
    )
    assert app_model.read(model, {}).stateful == {"db", "files"}


NEEDS = {"web": frozenset({"app"}), "app": frozenset({"db", "cache"}), "a": frozenset({"b"}), "b": frozenset({"a"})}


@pytest.mark.parametrize(
    ("sick", "roots"),
    [
        ({"web", "app", "db"}, {"db"}),
        ({"web", "cache", "db"}, {"cache", "db"}),
        ({"a", "b"}, {"a", "b"}),
        (set(), set()),
    ],
)
def test_the_roots_of_what_is_sick(sick: set[str], roots: set[str]) -> None:
    assert app_model.AppModel(NEEDS).roots(sick) == roots
