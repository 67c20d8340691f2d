# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The workflows of GitHub and GitLab: their shell steps run here, and their lists are those of ci/run.py."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.ci import run
from ansible_collections.christmas.selfheal.tests.unit.ci.place import COLLECTION, Place

Ended = subprocess.CompletedProcess[str]
Pipeline = Callable[[Place, Mapping[str, str]], Ended]


def load(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((COLLECTION / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


WORKFLOW = load(".github/workflows/playbook.yml")
CALLER = load("ci/github.yml")
GITLAB = load("ci/gitlab.yml")
# YAML 1.1 reads the key `on` as true.
CALLED, ASKED = WORKFLOW[True]["workflow_call"], CALLER[True]["workflow_dispatch"]


def run_github(place: Place, given: Mapping[str, str]) -> Ended:
    """The shell steps of the workflow; the variables are its inputs and secrets."""
    inputs = {name: str(about.get("default", "")).lower() for name, about in CALLED["inputs"].items()}
    inputs |= {name.lower(): value for name, value in given.items()}
    values = {f"inputs.{name}": value for name, value in inputs.items()}
    values |= {f"secrets.{name}": given.get(name, "") for name in CALLED["secrets"]}
    values["runner.temp"] = str(place.temporary)
    output, code = "", 0
    for step in WORKFLOW["jobs"]["playbook"]["steps"]:
        if "run" not in step or code:
            continue
        environment = {
            name: re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: values[found[1]], text)
            for name, text in step.get("env", {}).items()
        }
        ended = place.run(["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]], environment)
        output, code = output + ended.stdout, ended.returncode
    return subprocess.CompletedProcess([], code, output)


def run_gitlab(place: Place, given: Mapping[str, str]) -> Ended:
    """The script of the job, with its secrets in files, as variables of the type File are."""
    job = GITLAB["selfheal"]
    variables = {name: about["value"] for name, about in GITLAB["variables"].items()}
    variables |= {**job["variables"], "COLLECTIONS": str(place.temporary / "collections")}
    for name, value in given.items():
        if name in run.SECRETS:
            file = place.folder / name
            file.write_text(value, encoding="utf-8")
            variables[f"{name}_FILE"] = str(file)
        else:
            variables[name] = value
    script = "\n".join([*job["before_script"], *job["script"]])
    return place.run(["sh", "-e", "-c", script], variables)


PIPELINES: list[Pipeline] = [run_github, run_gitlab]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_deploy_installs_what_is_pinned_and_runs_the_playbook(place: Place, pipeline: Pipeline) -> None:
    ended = pipeline(place, place.secrets)
    assert ended.returncode == 0, ended.stdout
    pip = next(call["argv"] for call in place.seen("python") if "pip" in call["argv"])
    assert pip[-3:] == ["--require-hashes", "--requirement", "deploy/requirements.txt"]
    (galaxy,) = place.seen("ansible-galaxy")
    assert galaxy["argv"][-2:] == ["--requirements-file", "deploy/requirements.yml"]
    (seen,) = place.seen("ansible-playbook")
    assert seen["argv"][1:] == ["christmas.selfheal.deploy", "--inventory=deploy/hosts.yml"]
    assert seen["environment"]["ANSIBLE_COLLECTIONS_PATH"] == str(place.temporary / "collections")
    assert seen["vault_password"] == place.secrets["VAULT_PASSWORD"]
    assert place.fingerprint in seen["keys"]
    assert "192.0.2.1 ssh-ed25519 AAAA\n" in (place.home / ".ssh/known_hosts").read_text(encoding="utf-8")
    assert place.exposed(ended.stdout) == []
    assert place.remaining() == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_check_mode_and_soak_minutes_are_passed_on(place: Place, pipeline: Pipeline) -> None:
    given = {**place.secrets, "PLAYBOOK": "promote", "CHECK": "true", "SOAK_MINUTES": "90"}
    assert pipeline(place, given).returncode == 0
    (seen,) = place.seen("ansible-playbook")
    assert seen["argv"][3:] == ["--check", "--diff", '--extra-vars={"promote_soak_minutes": 90}']


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", ["remove", "../evil", "$(touch evil)"])
def test_an_unknown_playbook_is_refused(place: Place, pipeline: Pipeline, name: str) -> None:
    ended = pipeline(place, {**place.secrets, "PLAYBOOK": name})
    assert ended.returncode == run.INVALID
    assert f"ci: PLAYBOOK: invalid value {name!r}. Use one of {', '.join(run.PLAYBOOKS)}\n" in ended.stdout
    assert place.seen("ansible-playbook") == []
    assert not (place.repository / "evil").exists()
    assert place.exposed(ended.stdout) == []
    assert place.remaining() == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_failed_playbook_forgets_the_secrets(place: Place, pipeline: Pipeline) -> None:
    fake = place.folder / "bin/ansible-playbook"
    fake.write_text(fake.read_text(encoding="utf-8").replace('"FAKE_CODE", "0"', '"FAKE_CODE", "4"'), encoding="utf-8")
    ended = pipeline(place, place.secrets)
    assert ended.returncode == 4
    assert place.exposed(ended.stdout) == []
    assert place.remaining() == []


def test_the_lists_of_playbooks_are_one() -> None:
    assert ASKED["inputs"]["playbook"]["options"] == list(run.PLAYBOOKS)
    assert GITLAB["variables"]["PLAYBOOK"]["options"] == list(run.PLAYBOOKS)
    *others, last = run.PLAYBOOKS
    assert CALLED["inputs"]["playbook"]["description"] == f"{', '.join(others)} or {last}"


def test_the_caller_passes_what_the_workflow_takes() -> None:
    (job,) = CALLER["jobs"].values()
    assert set(job["with"]) <= set(CALLED["inputs"])
    assert {name for name, about in CALLED["inputs"].items() if about.get("required")} <= set(job["with"])
    assert set(job["secrets"]) == set(CALLED["secrets"])


def test_users_get_the_workflow_and_the_collection_of_one_version() -> None:
    version = load("galaxy.yml")["version"]
    (job,) = CALLER["jobs"].values()
    assert job["uses"] == f"christmas/selfheal/.github/workflows/playbook.yml@{version}"
    guide = (COLLECTION / "docs/guides/ci.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:playbook\.yml@|version: |selfheal-)(\d[\d.]+\d)", guide)) == {version}


@pytest.mark.parametrize("name", ["playbook", "test"])
def test_a_workflow_has_few_rights_and_pinned_actions(name: str) -> None:
    workflow = load(f".github/workflows/{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []


def test_runs_of_an_inventory_wait_for_each_other() -> None:
    github, gitlab = WORKFLOW["jobs"]["playbook"]["concurrency"], GITLAB["selfheal"]
    assert github == {"group": "selfheal-${{ inputs.inventory }}", "cancel-in-progress": False}
    assert (gitlab["resource_group"], gitlab["interruptible"]) == ("selfheal-$INVENTORY", False)
