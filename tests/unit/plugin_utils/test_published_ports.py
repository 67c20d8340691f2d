# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ports that an app is going to have, before a deploy has read its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import BalancerSettings
from ansible_collections.christmas.selfheal.plugins.plugin_utils.published_ports import published_ports

FILES = {
    "compose.yaml": """
services:
  web: {image: web, ports: ["${WEB_PORT:-8080}:80", "127.0.0.1:9000:9000"]}
  dns: {image: dns, ports: ["53:53/udp", {published: "5353", target: 53}, "7000-7010:70", "80"]}
  admin: {image: admin, ports: ["9999:80"], profiles: [debug]}
""",
    "compose.prod.yaml": "services: {dns: {ports: !override ['54:53']}}\n",
    "broken.yaml": "services: [\n",
}
WEB = [("web", 8080), ("web", 9000)]
BALANCER: BalancerSettings = {"service": "web", "instances": 2, "first_port": 18000, "ports": [80, 443]}


@pytest.mark.parametrize(
    ("files", "values", "balancer", "expected"),
    [
        (["compose.yaml"], {}, {}, [*WEB, ("dns", 5353)]),
        (["compose.yaml"], {"WEB_PORT": 8081}, {}, [("web", 8081), ("web", 9000), ("dns", 5353)]),
        (["compose.yaml", "compose.prod.yaml"], {}, {}, [*WEB, ("dns", 54)]),
        (["compose.yaml"], {}, BALANCER, [("web", 80), ("web", 443), ("dns", 5353)]),
        (["broken.yaml"], {}, {}, []),
        (["none.yaml"], {}, {}, []),
    ],
    ids=["defaults", "the env's value", "of the last file", "behind a load balancer", "damaged", "missing"],
)
def test_the_ports_of_a_project(
    tmp_path: Path,
    files: list[str],
    values: dict[str, Any],
    balancer: BalancerSettings,
    expected: list[tuple[str, int]],
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = published_ports(str(tmp_path), files, values, balancer)
    assert [(one["service"], one["port"]) for one in found] == expected
