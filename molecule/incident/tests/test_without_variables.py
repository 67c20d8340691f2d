# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second app on the host, without a variable: it is deployed, validated and recovered, and no env is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

COMPOSE = """
services:
  web:
    image: selfheal-lab/python:latest
    command: [python3, -m, http.server, "8090"]
    ports: ["8090:8090"]
"""


@pytest.fixture
def extra(host: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The inventory of that app, as extra variables; its containers and its watcher are removed afterwards."""
    (tmp_path / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
    # Another test removes the image that replaces the registry's.
    host.check_output("/usr/local/sbin/lab-load-images")
    yield {
        "selfheal_app": "plain",
        "app_env_variables": [],
        "app_env_values": {},
        "app_env_plain": {},
        "compose_app_source": str(tmp_path),
        "compose_app_pull": False,
        "compose_app_services": {"web": {"port": 8090, "health_path": "/"}},
        "selfheal_checks": [{"name": "health", "url": "http://127.0.0.1:8090/", "proves": "health"}],
        "watcher_enabled": True,
        "watcher_upstreams": [],
    }
    host.check_output("systemctl disable --now selfheal@plain.timer selfheal@plain.service")
    host.check_output("docker ps -aq --filter label=com.docker.compose.project=plain | xargs -r docker rm -f")


def test_an_app_without_variables_is_an_app(host: Any, play: Callable[..., Any], extra: dict[str, Any]) -> None:
    for playbook in ("validate.yml", "site.yml"):
        ended = play(playbook, extra=extra)
        assert ended.returncode == 0, ended.stdout[-4000:]
    assert "plain on molecule-incident is healthy" in ended.stdout
    assert host.service("selfheal@plain.timer").is_running
    host.check_output("systemctl stop selfheal@plain.service selfheal@plain.timer && docker rm -f plain-web-1")
    ended = play("recover.yml", extra=extra)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "3. Variables validated (no variables)" in ended.stdout
    assert not host.file("/opt/plain/.env").exists
    ended = play("status.yml", extra=extra)
    assert "healthy" in ended.stdout, ended.stdout[-2000:]
