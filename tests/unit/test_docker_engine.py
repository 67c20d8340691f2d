# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role reads from a host's answers: who runs its engine, and which Compose its distribution offers.

The variables of the role, computed by Ansible in one run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROLE = REPOSITORY / "roles" / "docker_engine"
COMPOSE = {"Plugins": [{"Name": "compose", "Version": "2.26.1-4"}]}


def answer(root: str, *units: str) -> str:
    """What the host says: the engine, its configuration, at boot, now, is docker.service there, is snap's."""
    about = {"ServerVersion": "26.1.5", "DockerRootDir": root, "ClientInfo": COMPOSE} if root else {}
    return "\n".join([json.dumps(about) if about else "", "e30=", "enabled", "active", *units, "end"])


FOREIGN = {
    "the package's own": (answer("/var/lib/docker", "loaded", "not-found"), "", ""),
    "data elsewhere": (answer("/srv/docker", "loaded", "not-found"), "", ""),
    "nothing is installed": (answer("", "not-found", "not-found"), "", ""),
    "stopped": (answer("", "loaded", "not-found"), "", ""),
    "no systemd": (answer("", "", ""), "", ""),
    "snap": (answer("/var/snap/docker/common/var-lib-docker", "not-found", "loaded"), "snap", "snap remove docker"),
    "snap, stopped": (answer("", "not-found", "loaded"), "snap", "back up its volumes"),
    "snap answers, a package is there": (answer("/var/snap/docker/common/x", "loaded", "loaded"), "snap", "from snap"),
    "snap is there, the package answers": (answer("/var/lib/docker", "loaded", "loaded"), "", ""),
    "rootless": (
        answer("/home/ops/.local/share/docker", "not-found", "not-found"),
        "another",
        "docker.service does not",
    ),
}

TRIXIE = "docker-compose:\n  Installed: (none)\n  Candidate: 2.26.1-4\n  Version table:\n"
# Distribution, its release, what apt says of the package, the version that counts.
OFFERED = {
    "Debian 13": ("Debian", "13", TRIXIE, "2.26.1"),
    "Debian testing": ("Debian", "forky/sid", TRIXIE.replace("2.26.1-4", "2.40.3-2"), "2.40.3"),
    "Debian testing without lists": ("Debian", "forky/sid", "", ""),
    "Debian 12": ("Debian", "12", TRIXIE.replace("2.26.1-4", "1.29.2-3"), "1.29.2"),
    "Debian 12 without lists": ("Debian", "12", TRIXIE.replace("2.26.1-4", "(none)"), "1.29.2"),
    "Debian 12 with newer packages": ("Debian", "12", TRIXIE, "2.26.1"),
    "Ubuntu, with an epoch": ("Ubuntu", "24", TRIXIE.replace("2.26.1-4", "1:2.24.6+ds1-0ubuntu1"), "2.24.6"),
}
TOO_OLD = {"Debian 12", "Debian 12 without lists"}


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

    for case, (said, _, _) in FOREIGN.items():
        message = "__docker_engine_foreign_messages[__docker_engine_foreign] | default('')"
        given = {"__docker_engine_answer": {"stdout": said}}
        ask(case, given, "{{ [__docker_engine_foreign, __docker_engine_version, " + message + "] }}")
    for case, (distribution, release, said, _) in OFFERED.items():
        facts = {"distribution": distribution, "distribution_major_version": release}
        given = {"ansible_facts": facts, "__docker_engine_policy": {"stdout": said}}
        ask(case, given, "{{ [__docker_engine_offered, __docker_engine_compose_name] }}")
    written = {"content": "{{ found | to_json }}", "dest": str(folder / "found.json"), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": written})
    run_tasks(folder, tasks)
    values: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return values


@pytest.mark.parametrize("case", FOREIGN)
def test_who_runs_the_engine(found: dict[str, Any], case: str) -> None:
    answered, expected, words = FOREIGN[case]
    foreign, version, said = found[case]
    assert (foreign, bool(version)) == (expected, "ServerVersion" in answered)
    assert words in said
    assert bool(said) == bool(expected)
    assert not expected or ("localhost" in said and "Nothing was changed. Fix: " in said)


@pytest.mark.parametrize("case", OFFERED)
def test_a_release_is_judged_by_its_packages(found: dict[str, Any], case: str) -> None:
    """Testing and unstable have no number: `forky/sid` < 13 is an error of Python's."""
    offered, package = found[case]
    assert offered == OFFERED[case][3]
    assert package == ("docker-compose" if OFFERED[case][0] == "Debian" else "docker-compose-v2")
    too_old = bool(offered) and tuple(map(int, offered.split("."))) < (2, 24)
    assert too_old == (case in TOO_OLD)


def test_no_role_compares_the_number_of_a_release() -> None:
    pattern = "distribution_major_version'] is version"
    files = [path for path in REPOSITORY.glob("roles/*/*/*") if path.is_file()]
    assert [str(path) for path in files if pattern in path.read_text(encoding="utf-8")] == []
