# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of what belongs to an app has a row for whatever a role puts on a host."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.removal import belongings
from ansible_collections.christmas.selfheal.plugins.plugin_utils import docker_daemon, scraping

REPOSITORY = Path(__file__).resolve().parents[3]
SHOP = belongings.App("shop", "/opt/shop", "web1")
KNOWN = {
    **{"selfheal_app": "shop", "inventory_hostname": "web1", "app_env_directory": "/opt/shop"},
    "__monitoring_of": "shop",
}
# A machine that checks others for drift runs none of the apps.
ROLES = sorted(path.name for path in REPOSITORY.glob("roles/*") if path.name not in ("drift_control", "drill"))
_NAME = re.compile(r"\{\{\s*(\w+)(?:\.\w+)?(?:\s*\|[^}]*)?\s*\}\}")


def described(role: str) -> Iterator[str]:
    """The paths of files that a role describes in its variables and tasks, with what is known put in."""
    variables: dict[str, Any] = dict(KNOWN)
    for name in ("defaults", "vars"):
        path = REPOSITORY / "roles" / role / name / "main.yml"
        if path.exists():
            variables.update(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    variables.update(KNOWN)
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "roles" / role).glob("[tv]a*/*.yml")]
    for found in re.findall(r"^\s*(?:- )?(?:path|dest): (.+)$", "\n".join(texts), re.MULTILINE):
        text = re.sub(r"^&\w+ ", "", found.strip()).strip('"')
        for _unused in range(5):
            text = _NAME.sub(lambda match: _value(variables, match), text)
        # The exporters' files are named in code.
        if text.startswith("/") and "*" not in text and "__monitoring_exporters[" not in text:
            yield text


def _value(variables: dict[str, Any], match: re.Match[str]) -> str:
    value = variables.get(match[1], "*")
    return value if isinstance(value, str) else "*"


def has_row(path: str) -> bool:
    names = [
        name
        for when in (belongings.APP, belongings.LAST, belongings.STAYS)
        for name in SHOP.names(belongings.FILES, when)
    ]
    return any(fnmatch.fnmatch(path, name) or path.startswith(f"{name}/") for name in names)


@pytest.mark.parametrize("role", ROLES)
def test_every_file_of_a_role_has_a_row(role: str) -> None:
    assert [path for path in described(role) if not has_row(path)] == []


def test_the_keys_of_the_engines_settings_are_those_of_the_role() -> None:
    defaults = yaml.safe_load((REPOSITORY / "roles/docker_engine/defaults/main.yml").read_text(encoding="utf-8"))
    bounds = docker_daemon.LogBounds({"max-size": "10m", "max-file": "3"})
    planned = docker_daemon.daemon_plan({}, defaults["docker_engine_daemon_defaults"], {}, bounds, in_swarm=False)
    assert sorted(planned["wanted"]) == list(belongings.DAEMON_KEYS)


def test_the_paths_of_the_roles_are_found() -> None:
    assert "/etc/selfheal/shop.json" in list(described("watcher"))
    assert "/etc/haproxy/selfheal/shop.cfg" in list(described("load_balancer"))


def test_files_that_code_names_have_a_row() -> None:
    ports = dict.fromkeys((*scraping.PACKAGES, "node", "containers", "blackbox"), 1)
    exporters = scraping.exporters(
        dict.fromkeys(scraping.PACKAGES, True), "shop", ports, "/etc/prometheus/selfheal-secrets"
    )
    scraped = scraping.Scraped(host="web1", app="shop", at="", ports=ports, own=[], balancer=1, tls="")
    targets = scraping.target_files(scraped, [], {}, exporters, "/etc/prometheus/selfheal")
    paths = [path for one in exporters for path in (one["file"], one["secret"])] + [one["path"] for one in targets]
    assert [path for path in paths if not has_row(path)] == []
    units = SHOP.names(belongings.UNITS, belongings.APP)
    assert [one["unit"] for one in exporters if one["unit"] not in units] == []


def test_every_unit_of_a_role_has_a_row() -> None:
    """A unit of which a file is removed is ended before."""
    units = {name.replace("@shop.", "@.") for when in ("app", "last") for name in SHOP.names(belongings.UNITS, when)}
    for role in ROLES:
        for path in (REPOSITORY / "roles" / role / "files").glob("selfheal*.timer"):
            assert path.name in units
        for path in (REPOSITORY / "roles" / role / "files").glob("selfheal*.path"):
            assert path.name in units


def test_the_state_goes_last_of_what_is_the_apps() -> None:
    names = SHOP.names(belongings.FILES, belongings.APP)
    assert names[-1] == "/var/lib/selfheal/shop"
    assert [name for name in names if "*" in name and "shop" not in name and "web1" not in name] == []
