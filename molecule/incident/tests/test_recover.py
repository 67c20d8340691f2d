# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbook recover.yml ends the incident, and leaves a healthy app alone. The tests run in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

APP = "christmas-backend"
CONTAINER = f"{APP}-backend-1"
ENV = f"/opt/{APP}/.env"
STATE = f"/var/lib/selfheal/{APP}"
REPORTS = Path(__file__).resolve().parents[2] / "shared/reports"
PLACEHOLDER = "your-supabase-service-role-key"


@pytest.fixture
def started(containers: Callable[[], dict[str, dict[str, Any]]]) -> Callable[[], dict[str, str]]:
    """The start time of each container, by id: equal readings mean that nothing was restarted in between."""
    return lambda: {document["Id"]: document["State"]["StartedAt"] for document in containers().values()}


def newest_report() -> tuple[str, dict[str, Any]]:
    path = max(REPORTS.glob("*-molecule-incident.json"))
    return path.with_suffix(".md").read_text(encoding="utf-8"), json.loads(path.read_text(encoding="utf-8"))


def test_the_app_is_down(host: Any, containers: Callable[[], dict[str, dict[str, Any]]]) -> None:
    assert PLACEHOLDER in host.file(ENV).content_string
    assert containers()[CONTAINER]["RestartCount"] >= 3


def test_a_dry_run_names_the_cause_and_touches_nothing(host: Any, play: Callable[..., Any]) -> None:
    before = host.file(ENV).content_string, host.check_output(f"docker inspect --format {{{{.Id}}}} {CONTAINER}")
    ended = play("recover.yml", "--check", "--diff")
    assert ended.returncode == 0, ended.stdout
    assert "SUPABASE_SERVICE_KEY" in ended.stdout
    after = host.file(ENV).content_string, host.check_output(f"docker inspect --format {{{{.Id}}}} {CONTAINER}")
    assert before == after


def test_recover_ends_the_incident(host: Any, play: Callable[..., Any], leaks: Callable[[str], list[str]]) -> None:
    ended = play("recover.yml", "-vvv")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert leaks(ended.stdout) == []
    assert PLACEHOLDER not in host.file(ENV).content_string
    assert host.file(ENV).mode == 0o600
    markdown, document = newest_report()
    assert [line["done"] for line in document["checklist"]] == [True] * 7
    assert document["cause"] == "env_invalid"
    assert leaks(markdown + json.dumps(document)) == []
    for line in document["checklist"]:
        assert line["seconds"] >= 0


def test_the_app_serves_and_is_hardened_again(host: Any, containers: Callable[[], dict[str, dict[str, Any]]]) -> None:
    assert (
        host.run(
            f"python3 -c \"import urllib.request as u; u.urlopen('http://{host.backend.host.name}:8000/health')\""
        ).rc
        == 0
    )
    document = containers()[CONTAINER]
    assert document["State"]["Running"] is True
    assert document["HostConfig"]["ReadonlyRootfs"] is True
    assert document["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_the_incident_is_recorded_with_its_evidence(host: Any, leaks: Callable[[str], list[str]]) -> None:
    folder = host.check_output(f"ls -d {STATE}/incidents/*-env_invalid | tail -1")
    record = json.loads(host.file(f"{folder}/incident.json").content_string)
    assert record["healthy"] is True
    assert [step["name"] for step in record["remedies"]] == ["proved_env", "recreate"]
    assert any("SUPABASE_SERVICE_KEY" in item for item in record["evidence"])
    assert "SUPABASE_SERVICE_KEY" in host.file(f"{folder}/log-{CONTAINER}.txt").content_string
    everything = host.check_output(f"cat {folder}/*")
    assert leaks(everything) == []


def test_the_replaced_env_is_kept_but_not_as_a_good_one(host: Any) -> None:
    index = json.loads(host.file(f"{STATE}/env/index.json").content_string)
    kept = {version["id"]: host.file(f"{STATE}/env/{version['file']}").content_string for version in index["versions"]}
    bad = [version for version in index["versions"] if PLACEHOLDER in kept[version["id"]]]
    assert [version["good"] for version in bad] == [False]
    assert [version["good"] for version in index["versions"] if version not in bad][-1] is True


def test_a_healthy_app_is_left_alone(
    host: Any, play: Callable[..., Any], started: Callable[[], dict[str, str]]
) -> None:
    before = started()
    ended = play("recover.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert started() == before
    _unused, document = newest_report()
    assert [line["done"] for line in document["checklist"]] == [True] * 7
    assert document["remedies"] == []


def test_the_journal_holds_no_secret(host: Any, leaks: Callable[[str], list[str]]) -> None:
    assert leaks(host.check_output("journalctl --no-pager")) == []


@pytest.fixture
def again(host: Any) -> None:
    """Replay the incident again."""
    host.check_output(f"sed -i 's/^SUPABASE_SERVICE_KEY=.*/SUPABASE_SERVICE_KEY={PLACEHOLDER}/' {ENV}")
    host.check_output(f"docker rm -f {CONTAINER}")


@pytest.mark.usefixtures("again")
def test_a_failed_recovery_restores_the_env_and_names_the_next_step(host: Any, play: Callable[..., Any]) -> None:
    """Another process has taken the port meanwhile."""
    address = host.backend.host.name
    holder = host.check_output(f"setsid python3 -m http.server 8000 --bind {address} >/dev/null 2>&1 & echo $!")
    before = host.file(ENV).content_string
    try:
        ended = play("recover.yml")
    finally:
        host.check_output(f"kill {holder}")
    assert ended.returncode != 0
    assert host.file(ENV).content_string == before
    _unused, document = newest_report()
    assert "containers" in [line["step"] for line in document["checklist"] if line["done"] is False]
    assert f"python3 (pid {holder})" in json.dumps(document)
    assert document["next_step"] in " ".join(ended.stdout.split())


@pytest.mark.usefixtures("again")
def test_no_build_while_the_last_good_image_exists(host: Any, play: Callable[..., Any]) -> None:
    """The base image is missing, and no registry answers."""
    host.check_output("docker rmi selfheal-lab/python:latest && docker builder prune --all --force")
    ended = play("recover.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]


@pytest.mark.usefixtures("again")
def test_a_source_that_passed_no_gate_is_not_built(host: Any, play: Callable[..., Any]) -> None:
    host.check_output(f"echo 'raise SystemExit(3)' > /opt/{APP}/app.py")
    ended = play("recover.yml")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "passed no gate" in json.dumps(newest_report()[1])
