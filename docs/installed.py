# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What hosts and controllers get that is not of this project: a page, and a CycloneDX SBOM of the Python packages.

Debian's packages are what the roles hand to apt. They have no versions here: the distribution chooses them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins"))

from module_utils.host import docker_packages

COLLECTION = "christmas.selfheal"
# By role: packages whose names a filter gives (plugin_utils/scraping.py).
BY_FILTERS = {
    "monitoring": ("prometheus-pgbouncer-exporter", "prometheus-postgres-exporter", "prometheus-redis-exporter")
}
_PAGE = """# What is installed

An app's own images are not listed, nor what Debian's packages depend on.

## On hosts

From the distribution, each only where a role needs it and its program is missing. The case of `docker_engine` is
`docker_engine_packages` and the distribution; with `docker`, the packages come from Docker's repository.

| role | case | Debian packages |
| --- | --- | --- |
{debian}
Images that defaults of roles name:

| variable | image |
| --- | --- |
{images}
The library on the host, the command `selfheal` and its services need the standard library of Python only.

## On the controller

With `pip install --require-hashes -r requirements/controller.txt`; a drift controller has the same.
[sbom.cdx.json](sbom.cdx.json) is this list as CycloneDX.

| Python package | version | only where |
| --- | --- | --- |
{python}"""
_ELSEWHERE = "sys_platform == 'win32'"
_LOCKED = re.compile(r"^([\w.-]+)==([\w.]+)(?: ; (.+?))? \\$", re.MULTILINE)
_QUOTED = re.compile(r"'([^']+)'")
_VARIABLE = re.compile(r"\b(__\w+)")


class Package(NamedTuple):
    """A Python package; `condition` says where it is installed, "" for everywhere."""

    name: str
    version: str
    condition: str


def python_packages() -> list[Package]:
    """What `pip install -r requirements/controller.txt` installs on Linux, the only controller that is supported."""
    text = (ROOT / "requirements/controller.txt").read_text(encoding="utf-8")
    return [Package(*found) for found in _LOCKED.findall(text) if found[2] != _ELSEWHERE]


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def _tasks(entries: Any) -> Iterator[Mapping[str, Any]]:
    for task in entries or []:
        yield task
        yield from _tasks(task.get("block"))


def _names(value: Any, variables: Mapping[str, Any]) -> dict[str, set[str]]:
    """{"": packages} of the value of apt's `name`."""
    if isinstance(value, list):
        return {"": set(value)}
    return _of_text(value, variables) if "{{" in value else {"": {value}}


def _of_text(text: str, variables: Mapping[str, Any]) -> dict[str, set[str]]:
    """The packages that a template names, itself or by variables. A table of lists gives an entry for each key."""
    found: dict[str, set[str]] = {"": {name for name in _QUOTED.findall(text) if name in docker_packages.PACKAGES}}
    for name in _VARIABLE.findall(text):
        for case, names in _of_variable(variables.get(name), variables).items():
            found.setdefault(case, set()).update(names)
    return found


def _of_variable(value: Any, variables: Mapping[str, Any]) -> dict[str, set[str]]:
    """As above, of a variable of the role."""
    if isinstance(value, str):
        return _of_text(value, variables) if "{{" in value else {"": {value} & set(docker_packages.PACKAGES)}
    if isinstance(value, dict) and all(isinstance(names, list) for names in value.values()):
        return {case: set(names) for case, names in value.items()}
    return {}


def debian_packages(role: str) -> dict[str, list[str]]:
    """{case: packages} that a role may install, without what these depend on."""
    folder = ROOT / "roles" / role
    variables = _load(folder / "vars/main.yml") or {}
    found: dict[str, set[str]] = {"": set(BY_FILTERS.get(role, ()))}
    for path in sorted(folder.glob("tasks/*.yml")):
        for task in _tasks(_load(path)):
            for case, names in _names(task.get("ansible.builtin.apt", {}).get("name", []), variables).items():
                found.setdefault(case, set()).update(names)
    return {case: sorted(names) for case, names in sorted(found.items()) if names}


def images() -> dict[str, str]:
    """{variable: image} of the roles' defaults."""
    files = sorted(ROOT.glob("roles/*/defaults/main.yml"))
    defaults = {name: value for file in files for name, value in (_load(file) or {}).items()}
    return {name: value for name, value in sorted(defaults.items()) if name.endswith("_image") and value}


def page() -> str:
    """The page for people."""
    debian, python = "", ""
    for role in sorted(path.name for path in ROOT.glob("roles/*")):
        for case, names in debian_packages(role).items():
            shown = ", ".join(f"`{name}`" for name in names)
            debian += f"| [`{role}`](roles/{role}.md) | {case and f'`{case}`'} | {shown} |\n"
    for one in python_packages():
        python += f"| {one.name} | {one.version} | {one.condition and f'`{one.condition}`'} |\n"
    named = "".join(f"| `{name}` | `{image}` |\n" for name, image in images().items())
    return _PAGE.format(debian=debian, images=named, python=python)


def bom() -> str:
    """The Python packages as CycloneDX 1.6, without a date or serial number: it changes when the packages do."""
    components = []
    for one in python_packages():
        purl = f"pkg:pypi/{one.name}@{one.version}"
        component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": one.name, "version": one.version}
        component["purl"] = purl
        if one.condition:
            component["properties"] = [{"name": f"{COLLECTION}:condition", "value": one.condition}]
        components.append(component)
    about = _load(ROOT / "galaxy.yml")
    subject = {
        "type": "application",
        "bom-ref": COLLECTION,
        "name": COLLECTION,
        "version": about["version"],
        "licenses": [{"license": {"id": about["license"][0]}}],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
    }
    return json.dumps(document, indent=2) + "\n"
