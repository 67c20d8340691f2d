# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One text where a list is documented is one entry, in every role: an argument specification validates, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list
from ansible_collections.christmas.selfheal.plugins.plugin_utils.receivers import Receiver
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options import alerting

REPOSITORY = Path(__file__).resolve().parents[3]
FILTER = "christmas.selfheal.as_list"

GIVEN: list[tuple[str, object, list[object]]] = [
    ("a list", ["a", "b"], ["a", "b"]),
    ("a tuple", ("a", "b"), ["a", "b"]),
    ("one text", "ops@lab.internal", ["ops@lab.internal"]),
    ("a text with commas", "a@lab.internal, b@lab.internal", ["a@lab.internal", "b@lab.internal"]),
    ("a number", 443, ["443"]),
    ("an empty list", [], []),
    ("an empty text", "", []),
    ("nothing", None, []),
]


@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in GIVEN], ids=[case[0] for case in GIVEN])
def test_what_people_write(given: object, expected: list[object]) -> None:
    assert as_list(given) == expected


# --- every role ---

# Handed on whole: the option of a module turns a text into a list by itself, the library judges it.
WHOLE = {
    ("backup", "schemas"): "backup_config refuses a text",
    ("backup", "dump"): "backup_config refuses a text, a command is not a list of words with commas",
    ("backup", "load"): "backup_config refuses a text, a command is not a list of words with commas",
    ("drill", "drill_faults"): "an option of the module drill",
}


def options(role: str) -> Iterator[str]:
    """Options of a role that are lists of texts, and the keys of its tables that are."""

    def walk(found: dict[str, Any]) -> Iterator[str]:
        for name, option in found.items():
            if option.get("type") == "list" and option.get("elements") == "str":
                yield name
            yield from walk(option.get("options", {}))

    specs = yaml.safe_load((REPOSITORY / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))
    for spec in specs["argument_specs"].values():
        yield from walk(spec.get("options", {}))


LISTS = sorted(
    {(path.name, name) for path in REPOSITORY.glob("roles/*") if path.is_dir() for name in options(path.name)}
    - set(WHOLE)
)


@pytest.mark.parametrize(("role", "name"), LISTS, ids=str)
def test_a_template_reads_it_as_a_list(role: str, name: str) -> None:
    """Where Jinja takes a list apart, joins it or adds to it, a text would be taken letter by letter."""
    of_all_roles = name.startswith(f"{role}_")
    reading = rf"{'(?<![a-z_])' if of_all_roles else '[.]'}{name}(?: [|] default[(][^()]*[)])?(?= |[)])"
    apart = re.compile(rf"{reading} (?:[+]|[|] (?:join|map|select|reject|list|length > 1))|[+] [(]?[a-z.]*{reading}")
    whole = re.compile(rf'(?:loop|^ *[a-z_]+): "{{{{ {name} }}}}"')
    wrong = []
    for path in REPOSITORY.glob(f"roles/{'*' if of_all_roles else role}/*/*"):
        if path.parent.name not in ("tasks", "templates", "vars", "handlers"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            handed_on = whole.search(line) and (path.parent.name == "vars" or "loop" in line)
            if (apart.search(line) or handed_on) and FILTER not in line:
                wrong.append(f"{path.relative_to(REPOSITORY)}: {line.strip()}")
    assert wrong == [], f"write {name} | {FILTER}"


MAIL: Receiver = {"kind": "email", "from": "selfheal@lab.internal", "smarthost": "mail.lab.internal:587"}


def test_one_address_is_one_address(tmp_path: Path, run_tasks: Callable[[Path, list[dict[str, Any]]], None]) -> None:
    """The template of a real role, once with lists and once with what Ansible takes for the same."""
    rows: dict[str, Receiver] = {
        "lists": {**MAIL, "to": ["ops@lab.internal"], "severities": ["critical"]},
        "texts": {**MAIL, "to": "ops@lab.internal", "severities": "critical"},
    }
    role = REPOSITORY / "roles" / "alerting"
    tasks: list[dict[str, Any]] = [{"ansible.builtin.include_vars": str(role / "vars" / "main.yml")}]
    for name, row in rows.items():
        shown = {"src": str(role / "templates" / "alertmanager.yml.j2"), "dest": str(tmp_path / name)}
        given = {"alerting_receivers": [row], "alerting_deadman_url": ""}
        tasks.append({"ansible.builtin.template": shown, "vars": given})
        assert list(alerting.table_errors([row])) == []
    run_tasks(tmp_path, tasks)
    lists, texts = ((tmp_path / name).read_text(encoding="utf-8") for name in rows)
    assert lists == texts
    assert '"ops@lab.internal"' in texts
