# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The placeholders in the commands of a fault."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import placeholders
from ansible_collections.christmas.selfheal.tests.unit.drills.factories import CONTAINER, OPTIONS


def test_placeholders_are_those_of_the_container_that_is_asked() -> None:
    labels = {
        "com.docker.compose.service": "web",
        "com.docker.compose.project.config_files": "/opt/shop/deploy/compose.yaml,/opt/shop/compose.hardened.yaml",
        "com.docker.compose.project.working_dir": "/opt/shop/deploy",
    }
    db = {**CONTAINER, "Name": "/shop-db-1", "HostConfig": {}}
    web = {**CONTAINER, "Config": {"Image": "shop:1", "Labels": labels}}
    values = placeholders.of_containers(OPTIONS, [web, db], "8000")
    assert (values["container"], values["service"]) == ("shop-web-1", "web")
    assert (values["image"], values["pid"]) == ("shop:1", 7)
    assert values["compose"] == [
        *("docker", "compose", "--project-name=shop", "--project-directory=/opt/shop/deploy"),
        *("--env-file=/opt/shop/.env", "--file=/opt/shop/deploy/compose.yaml"),
        "--file=/opt/shop/compose.hardened.yaml",
    ]
    assert placeholders.of_containers(OPTIONS, [web, db], "9000")["container"] == "shop-db-1"
    assert placeholders.known(OPTIONS)["compose"][-1] == "--file=/opt/shop/compose.hardened.yaml"
