# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An installed collection: a scenario runs each playbook from the archive, and no message names what a clone has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shared import installed

REPOSITORY = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted(path.stem for path in REPOSITORY.glob("playbooks/*.yml"))
LISTS = {
    "PLAYBOOKS": set(installed.PLAYBOOKS),
    "WITH_OWN_TEST": set(installed.WITH_OWN_TEST),
    "INTERNAL": set(installed.INTERNAL),
}
# The program `selfheal` is in a clone alone.
OF_A_CLONE = REPOSITORY / "plugins/plugin_utils/front_door.py"
PYTHON = [path for path in sorted(REPOSITORY.glob("plugins/**/*.py")) if path != OF_A_CLONE]
YAML = sorted(path for folder in ("playbooks", "roles") for path in REPOSITORY.glob(f"{folder}/**/*.yml"))
# The keys of tasks that show a text.
SHOWN = ("fail_msg", "msg", "success_msg", "text")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_scenario_runs_each_playbook_from_the_archive(playbook: str) -> None:
    lists = [name for name, playbooks in LISTS.items() if playbook in playbooks]
    assert len(lists) == 1, f"{playbook}.yml belongs into one of the lists of molecule/shared/installed.py"


def test_the_lists_name_no_other_playbook() -> None:
    assert set().union(*LISTS.values()) - set(PLAYBOOKS) == set()


@pytest.mark.parametrize("playbook", installed.WITH_OWN_TEST)
def test_a_playbook_with_a_test_of_its_own_is_run_there(playbook: str) -> None:
    tests = (REPOSITORY / "molecule/installed/tests/test_installed.py").read_text(encoding="utf-8")
    helper = (REPOSITORY / "molecule/shared/installed.py").read_text(encoding="utf-8")
    assert re.search(rf'\.(?:play|run)\("{playbook}"', tests + helper)


@pytest.mark.parametrize("playbook", installed.INTERNAL)
def test_an_internal_playbook_is_run_by_another_or_by_the_check(playbook: str) -> None:
    paths = [*REPOSITORY.glob("playbooks/*.yml"), REPOSITORY / "plugins/plugin_utils/drift_control.py"]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.stem != playbook]
    assert [text for text in texts if re.search(rf'(?:import_playbook: |"){playbook}\.yml', text)]


def strings(tree: ast.AST) -> Iterator[str]:
    """Each string of a program that is not documentation."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def shown(value: object) -> Iterator[str]:
    """Each text that tasks show."""
    if isinstance(value, list):
        for one in value:
            yield from shown(one)
    elif isinstance(value, dict):
        yield from (str(text) for key, text in value.items() if key in SHOWN)
        for one in value.values():
            yield from shown(one)


def test_no_string_names_what_only_a_clone_has() -> None:
    assert {
        path.name: text
        for path in PYTHON
        for text in strings(ast.parse(path.read_text(encoding="utf-8")))
        if installed.OF_A_CLONE.search(text)
    } == {}


def test_no_task_shows_what_only_a_clone_has() -> None:
    assert {
        str(path): text
        for path in YAML
        for text in shown(yaml.safe_load(path.read_text(encoding="utf-8")))
        if installed.OF_A_CLONE.search(text)
    } == {}
