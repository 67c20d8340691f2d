# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters: one file registers them, each is a function of plugin_utils, and each is documented."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.filter.filters import FILTERS, PLUGIN_UTILS, FilterModule

FOLDER = Path(__file__).resolve().parents[3] / "plugins" / "filter"
REGISTERED = [(module, name, function) for module, names in FILTERS.items() for name, function in names.items()]


@pytest.mark.parametrize(
    ("module", "name", "function"), REGISTERED, ids=[name for _unused, name, _unused in REGISTERED]
)
def test_a_filter_is_a_documented_function(module: str, name: str, function: str) -> None:
    assert callable(getattr(import_module(f"{PLUGIN_UTILS}.{module}"), function))
    document = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name
    assert f"christmas.selfheal.{name}" in document["EXAMPLES"]


def test_a_filter_passes_its_arguments_and_returns_the_result() -> None:
    filters = FilterModule().filters()
    assert filters["prefixed"]([".git"], "--exclude=") == ["--exclude=.git"]
    assert filters["size_in_bytes"]("1m") == 1024**2


def test_every_document_has_its_filter() -> None:
    assert {path.stem for path in FOLDER.glob("*.yml")} == {name for _unused, name, _unused in REGISTERED}


def test_one_file_registers_all_filters() -> None:
    """Ansible loads every file of the folder in each worker process: a second one makes each task slower."""
    assert [path.name for path in FOLDER.glob("*.py")] == ["filters.py"]
