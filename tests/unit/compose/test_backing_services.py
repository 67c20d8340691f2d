# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inventory says of a cache and a pool → services of the overlay. Whether they run, molecule tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import overlay
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.backing_services import (
    BackingSettings,
    join,
    read_backing,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.overlay import OverlayError, read_table, render
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer

BOTH: BackingSettings = {"service": "backend", "cache": {"image": "redis:8"}, "pool": {"image": "pool:1"}}
PERSISTENT: BackingSettings = {"service": "backend", "cache": {"image": "redis:8", "persistent": True}}
BACKEND: dict[str, Any] = {"backend": {}}


def rendered(
    given: BackingSettings, table: dict[str, Any] | None = None, project: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The overlay, read back."""
    whole = join(read_backing(given), read_table(table or {}), project or BACKEND)
    text = render(whole.table, whole.project, (26, 1, 5), None, whole.lines, whole.volumes).text
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def maxmemory(found: dict[str, Any]) -> str:
    command = str(found["services"]["cache"]["command"][0])
    return next(line for line in command.splitlines() if line.startswith("maxmemory "))


@pytest.mark.parametrize("given", [None, {}, {"service": "backend", "cache": {}, "pool": {}}])
def test_without_them_the_overlay_does_not_change(given: BackingSettings | None) -> None:
    assert read_backing(given) is None
    table = read_table({"backend": {"port": 8000}})
    assert join(None, table, BACKEND) == (table, BACKEND, {}, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pool": {"image": ""}}, "compose_app_pool_image"),
        ({"cache": {"image": "redis: 8"}}, "compose_app_cache_image"),
        ({"cache": {"persistent": True}}, "compose_app_cache_image"),
        ({"pool": {"image": "pool:1", "size": 0}}, "compose_app_pool_size"),
        ({"pool": {"image": "pool:1", "size": "many"}}, "compose_app_pool_size"),
        ({"pool": {"image": "pool:1", "tls": "verify-full"}}, "compose_app_pool_tls"),
    ],
)
def test_invalid_settings_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(OverlayError, match=said):
        read_backing(cast(BackingSettings, {**BOTH, **change}))


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ({"backend": {}, "cache": {}}, "services.cache: has the name of .* compose_app_cache_enabled"),
        ({"backend": {}, "pool": {}}, "services.pool: has the name of .* compose_app_pool_enabled"),
        ({"web": {}}, "compose_app_service: backend is not a service"),
        ({"backend": {"network_mode": "host"}}, "services.backend.network_mode: is host"),
    ],
)
def test_a_project_that_conflicts_with_them_is_refused(project: dict[str, Any], said: str) -> None:
    with pytest.raises(OverlayError, match=said):
        join(read_backing(BOTH), {}, project)


def test_they_are_hardened_and_nothing_is_published() -> None:
    found = rendered(BOTH)["services"]
    for name in ("cache", "pool"):
        service = found[name]
        assert service["read_only"] and service["init"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        assert service["user"] not in ("root", "0", "0:0")
        assert service["tmpfs"] == ["/tmp"]
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert service["healthcheck"]["test"][0] == "CMD-SHELL"
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
        assert not {"ports", "network_mode", "volumes", "privileged"} & set(service)


def test_the_app_finds_them_and_waits_for_the_pool_alone() -> None:
    backend = rendered(BOTH)["services"]["backend"]
    assert backend["depends_on"] == {"pool": {"condition": "service_healthy"}}
    assert backend["environment"] == {
        "REDIS_HOST": "cache",
        "REDIS_PORT": "6379",
        "DATABASE_HOST": "pool",
        "DATABASE_PORT": "6432",
    }
    assert "depends_on" not in rendered(PERSISTENT)["services"]["backend"]


def test_each_service_gets_only_its_own_secrets_from_the_env() -> None:
    found = rendered(BOTH)["services"]
    assert found["cache"]["environment"] == {"REDISCLI_AUTH": "${REDIS_PASSWORD}"}
    assert found["pool"]["environment"] == {
        name: f"${{{name}}}"
        for name in ("DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_USER", "DATABASE_PASSWORD")
    }
    # With a single dollar sign Compose would put the value into the command.
    for name in ("cache", "pool"):
        for text in (found[name]["command"][0], found[name]["healthcheck"]["test"][1]):
            assert "$$" in text
            assert re.findall(r"(?<!\$)\$(?!\$)", text) == []


@pytest.mark.parametrize(
    ("given", "row", "expected"),
    [
        pytest.param(BOTH, {}, "maxmemory 179mb", id="default"),
        pytest.param(BOTH, {"memory": "1G"}, "maxmemory 716mb", id="more"),
        pytest.param(BOTH, {"memory": "6M"}, "maxmemory 4mb", id="the least"),
        pytest.param(BOTH, {"loosen": {"memory": {"to": "2G", "because": "why"}}}, "maxmemory 1433mb", id="loosened"),
        pytest.param(BOTH, {"loosen": {"memory": {"to": "none", "because": "why"}}}, "maxmemory 179mb", id="no limit"),
        pytest.param(PERSISTENT, {"memory": "1G"}, "maxmemory 460mb", id="persistent"),
    ],
)
def test_the_maximum_of_the_cache_follows_from_its_memory_limit(
    given: BackingSettings, row: dict[str, Any], expected: str
) -> None:
    assert maxmemory(rendered(given, {"cache": row})) == expected


def test_a_persistent_cache_is_in_a_volume_and_evicts_only_keys_that_expire() -> None:
    found = rendered(PERSISTENT)
    assert found["volumes"] == {"selfheal-cache": {}}
    assert found["services"]["cache"]["volumes"] == ["selfheal-cache:/data"]
    settings = found["services"]["cache"]["command"][0].splitlines()
    assert {"appendonly yes", "appendfsync everysec", "dir /data", "maxmemory-policy volatile-lru"} <= set(settings)
    assert "volumes" not in rendered(BOTH)
    settings = rendered(BOTH)["services"]["cache"]["command"][0].splitlines()
    assert {"appendonly no", "dir /tmp", "maxmemory-policy allkeys-lru"} <= set(settings)


def test_the_inventory_has_the_last_word_on_them() -> None:
    row = {"user": "999:1000", "memory": "64M", "healthcheck": {"interval": "1m"}}
    pool = rendered(BOTH, {"pool": row})["services"]["pool"]
    assert (pool["user"], pool["deploy"]["resources"]["limits"]["memory"]) == ("999:1000", "64M")
    assert (pool["healthcheck"]["interval"], pool["healthcheck"]["test"][0]) == ("1m", "CMD-SHELL")


def test_they_are_in_the_apps_networks() -> None:
    project = {"backend": {"networks": {"front": None, "a: b": {"ipv4_address": "10.0.0.2"}}}}
    found = rendered(BOTH, project=project)["services"]
    assert found["cache"]["networks"] == found["pool"]["networks"] == ["a: b", "front"]
    assert "networks" not in rendered(BOTH, project={"backend": {"networks": {"default": None}}})["services"]["pool"]


def test_a_limit_that_the_host_does_not_have_is_refused() -> None:
    whole = join(read_backing(BOTH), read_table({"cache": {"memory": "2G"}}), BACKEND)
    with pytest.raises(OverlayError, match=r"cache\.memory: 2G is more"):
        overlay.check_fit(whole.table, whole.project, 2, 1 << 30)


def test_compose_lint_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("compose_lint")
    # It requires images with a digest, which the inventory has to set.
    images = {name: {"image": f"{name}:1@sha256:{'0' * 64}"} for name in ("cache", "pool")}
    given = cast(BackingSettings, {"service": "backend", **images})
    whole = join(read_backing(given), read_table({"backend": {"healthcheck": {"test": ["CMD", "true"]}}}), BACKEND)
    (tmp_path / "compose.yaml").write_text("services:\n  backend:\n    build: .\n")
    text = render(whole.table, whole.project, (26, 1, 5), None, whole.lines, whole.volumes).text
    (tmp_path / "compose.override.yaml").write_text(text)
    argv = [sys.executable, "-m", "compose_lint", "check", "--fail-on", "low", "--format", "json"]
    asked = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "compose.override" in asked.stderr


def test_behind_the_load_balancer_they_have_one_instance() -> None:
    whole = join(read_backing(BOTH), read_table({"backend": {"port": 8000}}), BACKEND)
    balanced = Balancer("backend", 2, 18000, (80,))
    text = render(whole.table, whole.project, (26, 1, 5), balanced, whole.lines, whole.volumes).text
    assert text.count("replicas: 2") == 1
    assert text.count("ports:") == 1
