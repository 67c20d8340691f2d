# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read of a host: who runs its engine, and how that is configured.

The variables of the role are computed by Ansible in one run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host import docker_packages
from ansible_collections.christmas.selfheal.plugins.module_utils.host.docker_packages import (
    Configuration,
    DockerFacts,
    Engine,
    Unit,
)

REPOSITORY = Path(__file__).resolve().parents[3]
ROLE = REPOSITORY / "roles" / "docker_engine"
BUILDX = {"Name": "buildx", "Version": "1.2"}
COMPOSE = {"Plugins": [{"Name": "compose", "Version": "2.26.1-4"}]}


def facts(root: str, docker: str, snap: str) -> DockerFacts:
    """What is read of a host: the folder of an engine that answers, whether docker.service is there, and snap's."""
    about = {"ServerVersion": "26.1.5", "DockerRootDir": root, "ClientInfo": COMPOSE} if root else {}
    engine = docker_packages.parse_info(json.dumps(about) if about else "")
    return docker_packages.combine(engine, Unit(docker, "active", "enabled"), Unit(snap), Configuration("{}", {}))


FOREIGN = {
    "the package's own": (facts("/var/lib/docker", "loaded", "not-found"), "", ""),
    "data elsewhere": (facts("/srv/docker", "loaded", "not-found"), "", ""),
    "nothing is installed": (facts("", "not-found", "not-found"), "", ""),
    "stopped": (facts("", "loaded", "not-found"), "", ""),
    "no systemd": (facts("", "", ""), "", ""),
    "snap": (facts("/var/snap/docker/common/var-lib-docker", "not-found", "loaded"), "snap", "snap remove docker"),
    "snap, stopped": (facts("", "not-found", "loaded"), "snap", "back up its volumes"),
    "snap answers, a package is there": (facts("/var/snap/docker/common/x", "loaded", "loaded"), "snap", "from snap"),
    "snap is there, the package answers": (facts("/var/lib/docker", "loaded", "loaded"), "", ""),
    "rootless": (
        facts("/home/ops/.local/share/docker", "not-found", "not-found"),
        "another",
        "docker.service does not",
    ),
}

# By distribution: the package of its own Compose.
COMPOSE_PACKAGES = {"Debian": "docker-compose", "Ubuntu": "docker-compose-v2"}


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, run_tasks: Callable[[Path, list[dict[str, Any]]], None]
) -> dict[str, Any]:
    """Case → what the variables are."""
    folder = tmp_path_factory.mktemp("docker_engine")
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_vars": str(ROLE / name / "main.yml")} for name in ("defaults", "vars")
    ]

    def ask(case: str, given: dict[str, Any], text: str) -> None:
        put = {"found": "{{ found | default({}) | combine({case: text}) }}"}
        tasks.append({"ansible.builtin.set_fact": put, "vars": {**given, "case": case, "text": text}})

    for case, (read, *_expected) in FOREIGN.items():
        message = "__docker_engine_foreign_messages[__docker_engine_facts.foreign] | default('')"
        given: dict[str, Any] = {"ansible_facts": {"selfheal_host": {"engine": read._asdict()}}}
        ask(case, given, "{{ [__docker_engine_version, " + message + "] }}")
    for distribution in COMPOSE_PACKAGES:
        ask(distribution, {"ansible_facts": {"distribution": distribution}}, "{{ __docker_engine_needed }}")
    written = {"content": "{{ found | to_json }}", "dest": str(folder / "found.json"), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": written})
    run_tasks(folder, tasks)
    values: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return values


@pytest.mark.parametrize("case", FOREIGN)
def test_who_runs_the_engine(found: dict[str, Any], case: str) -> None:
    read, expected, words = FOREIGN[case]
    version, said = found[case]
    assert (read.foreign, version) == (expected, read.version)
    assert words in said
    assert bool(said) == bool(expected)
    assert not expected or ("localhost" in said and "Nothing was changed. Fix: " in said)


@pytest.mark.parametrize("distribution", COMPOSE_PACKAGES)
def test_the_compose_that_the_role_needs(found: dict[str, Any], distribution: str) -> None:
    (needed,) = found[distribution]
    assert (needed["name"], needed["minimum"]) == (COMPOSE_PACKAGES[distribution], "2.24.0")


def test_no_role_compares_the_number_of_a_release() -> None:
    """Testing and unstable have no number: `forky/sid` < 13 is an error of Python's."""
    pattern = "distribution_major_version'] is version"
    files = [path for path in REPOSITORY.glob("roles/*/*/*") if path.is_file()]
    assert [str(path) for path in files if pattern in path.read_text(encoding="utf-8")] == []


# --- what is read ---

INFO: list[tuple[str, str, Engine]] = [
    ("no docker", "", Engine()),
    ("no JSON", "Cannot connect to the Docker daemon", Engine()),
    (
        "an engine that does not answer",
        json.dumps({"ServerVersion": "", "ClientInfo": COMPOSE, "ServerErrors": ["no"]}),
        Engine(compose_version="2.26.1"),
    ),
    ("an engine alone", json.dumps({"ServerVersion": "20.10.5", "ClientInfo": {"Plugins": None}}), Engine("20.10.5")),
    (
        "in a Swarm",
        json.dumps({"ServerVersion": "27.0", "DockerRootDir": "/srv", "Swarm": {"LocalNodeState": "active"}}),
        Engine("27.0", "", "/srv", True),
    ),
    (
        "another plugin, and a version with a letter",
        json.dumps({"ClientInfo": {"Plugins": [BUILDX, {"Name": "compose", "Version": "v2.40.3"}]}}),
        Engine(compose_version="2.40.3"),
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in INFO], ids=[case[0] for case in INFO])
def test_what_the_engine_says(text: str, expected: Engine) -> None:
    assert docker_packages.parse_info(text) == expected


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('{"live-restore": true}\r\n', {"live-restore": True}),
        ("", None),
        ("{", None),
        ("[]", None),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", None),
    ],
)
def test_a_configuration_is_an_object_or_cannot_be_used(
    tmp_path: Path, text: str, options: dict[str, Any] | None
) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(text.encode())
    assert docker_packages.read_configuration(str(path)) == Configuration(text, options)


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert docker_packages.read_configuration(str(tmp_path / "bytes")) == Configuration("", None)
    assert docker_packages.read_configuration(str(tmp_path)) == Configuration("", None)


def test_a_file_that_does_not_exist_configures_nothing(tmp_path: Path) -> None:
    assert docker_packages.read_configuration(str(tmp_path / "daemon.json")) == Configuration("{}", {})


@pytest.mark.parametrize(
    ("printed", "has_unit", "runs_at_boot"),
    [
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", True, True),
        ("LoadState=loaded\nActiveState=active\nUnitFileState=disabled\n", True, False),
        ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\n", True, False),
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", False, False),
        ("", True, False),
    ],
)
def test_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str, has_unit: bool, runs_at_boot: bool
) -> None:
    def run(argv: Sequence[str], _timeout: float) -> commands.Result:
        if argv[0] == "docker":
            return commands.Result(127, "", "docker is not installed")
        return commands.Result(0, printed if argv[-1] == "docker.service" else "LoadState=not-found\n", "")

    monkeypatch.setattr(commands, "run", run)
    found = docker_packages.read(str(tmp_path / "daemon.json"))
    assert (found.has_unit, found.runs_at_boot) == (has_unit, runs_at_boot)
    assert (found.version, found.compose_version, found.foreign, found.configuration) == ("", "", "", {})


# --- what roles need ---


def test_a_package_is_missing_when_its_program_or_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "proxy"
    program.touch(mode=0o755)
    (tmp_path / "text").touch(mode=0o644)
    monkeypatch.setattr(commands, "environment", lambda: {"PATH": str(tmp_path)})
    evidence = {
        "a": "proxy",
        "b": "absent",
        "c": "text",
        "d": str(tmp_path / "text"),
        "e": str(tmp_path / "absent"),
        "f": str(tmp_path),
    }
    assert docker_packages.missing_packages(evidence) == ["b", "c", "e", "f"]


def test_every_package_that_a_role_looks_up_is_known() -> None:
    """A name that is not in the table would never be missing, so it would never be installed."""
    vars_files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in REPOSITORY.glob("roles/*/vars/main.yml")]
    named = {
        name
        for values in vars_files
        for key, value in (values or {}).items()
        if key.endswith(("_package", "_packages"))
        for name in re.findall(r"(?<!=)'([a-z-]+)'", value) or [value]
    }
    tasks = "".join(path.read_text(encoding="utf-8") for path in REPOSITORY.glob("roles/*/*/*.yml"))
    named |= set(re.findall(r"'([a-z-]+)' in ansible_facts\['selfheal_host'\]\.missing_packages", tasks))
    assert named - set(docker_packages.PACKAGES) == set()
    assert {"haproxy", "logrotate", "restic", "promtool", "libjs-dygraphs", "rsync"} <= named


def test_apps_whose_project_was_copied(tmp_path: Path) -> None:
    (tmp_path / "shop/incoming/project").mkdir(parents=True)
    (tmp_path / "blog/incoming").mkdir(parents=True)
    assert docker_packages.copied_projects(f"{tmp_path}/*/incoming/project") == ["shop"]
