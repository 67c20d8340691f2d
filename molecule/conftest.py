# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fixtures for the verify step of every scenario. `host` is testinfra's: the lab host, over ssh."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
ENV = f"/opt/{APP}/.env"

Play = Callable[..., "subprocess.CompletedProcess[str]"]


def inventory() -> list[str]:
    """The arguments that point ansible at this scenario's hosts."""
    name = os.environ["MOLECULE_SCENARIO_NAME"]
    folder = REPOSITORY / "inventory" / "lab"
    shared = REPOSITORY / "molecule" / "shared" / "inventory.yml"
    known = yaml.safe_load(shared.read_text(encoding="utf-8"))["backends"]["hosts"]
    mine = [host for host, spec in known.items() if host == f"molecule-{name}" or spec.get("lab_scenario") == name]
    return [f"--inventory={folder}", f"--inventory={shared}", f"--limit={','.join(['localhost', *mine])}"]


@pytest.fixture(scope="session")
def play() -> Play:
    """Run a playbook as a user does, with extra variables and environment; output and errors come back together."""

    def run(
        playbook: str,
        *words: str,
        extra: dict[str, Any] | None = None,
        settings: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        argv = ["ansible-playbook", f"playbooks/{playbook}", *inventory(), *words]
        if extra:
            argv += ["--extra-vars", json.dumps(extra)]
        # Molecule's own settings for ansible would override those that a user has.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
        return subprocess.run(
            argv,
            cwd=REPOSITORY,
            env={**kept, **(settings or {})},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1800,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """The lab's secrets, name → value. None of them may leak."""
    vault = REPOSITORY / "inventory/lab/group_vars/all/vault.yml"
    shown = subprocess.run(
        ["ansible-vault", "view", str(vault)], cwd=REPOSITORY, text=True, capture_output=True, check=True
    )
    values = yaml.safe_load(shown.stdout)
    found = {name: value for name, value in values.items() if not name.endswith(("email", "url"))}
    assert len(found) >= 5, "the lab's vault holds fewer secrets than the app needs"
    return found


@pytest.fixture
def leaks(secrets: dict[str, str]) -> Callable[[str], list[str]]:
    """Name the secrets that are in a text."""
    return lambda text: sorted(name for name, value in secrets.items() if value in text)


@pytest.fixture
def containers(host: Any) -> Callable[[], dict[str, dict[str, Any]]]:
    """Read the app's containers from the engine: name → inspect document."""

    def read() -> dict[str, dict[str, Any]]:
        ids = host.check_output(f"docker ps -aq --filter label=com.docker.compose.project={APP}").split()
        # A container that is removed in between is left out; only the exit code says so.
        documents = json.loads(host.run(f"docker inspect {' '.join(ids)}").stdout) if ids else []
        return {document["Name"].lstrip("/"): document for document in documents}

    return read


@pytest.fixture
def drilled(host: Any) -> Callable[[], tuple[dict[str, Any], dict[str, list[str]]]]:
    """Read the newest report of this scenario's drills: (report, problems by fault, with the incident's text)."""

    def read() -> tuple[dict[str, Any], dict[str, list[str]]]:
        name = f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}"
        path = max((REPOSITORY / "molecule/shared/reports").glob(f"*-drill-{name}.json"))
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wrong = {}
        for run in report["runs"]:
            if run["problems"]:
                text = host.run(f"cat /var/lib/selfheal/{APP}/incidents/{run['incident'] or 'none'}/incident.md").stdout
                wrong[run["fault"]] = [*run["problems"], *text.splitlines()]
        return report, wrong

    return read


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add the host's journal and the app's log to the report of a failing test."""
    outcome = yield
    report = outcome.get_result()
    host = getattr(item, "funcargs", {}).get("host")
    if report.when == "call" and report.failed and host is not None:
        for command in ("journalctl --no-pager --lines=40 --unit=docker", f"docker logs --tail 20 {CONTAINER}"):
            shown = host.run(command)
            report.sections.append((command, shown.stdout + shown.stderr))
