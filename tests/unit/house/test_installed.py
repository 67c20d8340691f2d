# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The list of what is installed: it has every package that roles install, and the SBOM keeps to its schema."""

from __future__ import annotations

import json

import pytest

from ansible_collections.christmas.selfheal.docs import installed
from ansible_collections.christmas.selfheal.plugins.module_utils.host import docker_packages
from ansible_collections.christmas.selfheal.plugins.module_utils.removal import belongings
from ansible_collections.christmas.selfheal.plugins.plugin_utils import scraping

ROLES = sorted(path.name for path in (installed.ROOT / "roles").iterdir())


def listed() -> set[str]:
    return {name for role in ROLES for names in installed.debian_packages(role).values() for name in names}


def test_every_package_that_a_role_installs_is_listed() -> None:
    assert set(docker_packages.PACKAGES) - listed() == set()
    assert set(belongings.PACKAGES) - listed() == set()
    assert set(scraping.PACKAGES.values()) == set(installed.BY_FILTERS["monitoring"])


@pytest.mark.parametrize(
    ("role", "packages"),
    [
        ("watcher", {"": ["rsync"]}),
        ("load_balancer", {"": ["acme-tiny", "haproxy"]}),
        ("drift_control", {"": ["openssh-client", "python3-venv", "rsync"]}),
        ("slo", {}),
    ],
)
def test_packages_are_those_of_the_role(role: str, packages: dict[str, list[str]]) -> None:
    assert installed.debian_packages(role) == packages


def test_docker_has_a_case_for_each_source_and_distribution() -> None:
    cases = installed.debian_packages("docker_engine")
    assert cases["debian-Ubuntu"] == ["docker-compose-v2", "docker.io"]
    assert sorted(cases) == ["debian-Debian", "debian-Ubuntu", "docker-Debian", "docker-Ubuntu"]


def test_the_bom_has_each_package_once() -> None:
    components = json.loads(installed.bom())["components"]
    purls = [one["purl"] for one in components]
    assert len(set(purls)) == len(purls) >= 20
    assert any(purl.startswith("pkg:pypi/ansible-core@2.") for purl in purls)


def test_the_bom_keeps_to_the_schema() -> None:
    schema = pytest.importorskip("cyclonedx.schema", reason="cyclonedx-python-lib is not installed")
    validation = pytest.importorskip("cyclonedx.validation.json")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(installed.bom()) is None
    assert validator.validate_str(installed.bom().replace('"library"', '"book"')) is not None
