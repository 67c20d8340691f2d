# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An option that nothing knows is refused, with the one that was intended; every documented one is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils import option_names

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = option_names.read()

# option, playbook, what was intended
UNKNOWN: list[tuple[str, str, str]] = [
    ("adopt_dryrun", "adopt", "adopt_dry"),
    ("adopt-dry", "adopt", "adopt_dry"),
    ("dry", "adopt", "adopt_dry"),
    ("remove_stopp", "remove", "remove_stop"),
    ("confirm", "remove", "remove_confirm"),
    ("to", "restore", "restore_to"),
    ("restore_whot", "rebuild", "restore_what"),
    ("drill_fault", "drill", "drill_faults"),
    ("promote_soak_minute", "promote", "promote_soak_minutes"),
    ("drift_corect", "drift", "drift_correct"),
    ("compose_app_instancs", "site", "compose_app_instances"),
    ("selfheal_host", "site", "selfheal_hosts"),
]


@pytest.mark.parametrize(("name", "playbook", "intended"), UNKNOWN, ids=[row[0] for row in UNKNOWN])
def test_an_unknown_option_is_refused(name: str, playbook: str, intended: str) -> None:
    (said,) = option_names.problems([name], [playbook], NAMES)
    assert said.startswith(f"-e {name}: ")
    assert said.endswith(f"Did you mean {intended}?")


KNOWN = [
    ("adopt", ["adopt", "to", "app", "adopt_dry", "adopt_load_balancer", "ansible_port"]),
    ("init", ["from", "to", "host", "app", "ask"]),
    ("remove", ["remove_confirm", "remove_stop", "my_own", "image_tag", "selfheal_hosts"]),
    ("site", ["to", "app", "adopt", "adopt_dry", "docker_engine_restart"]),
]


@pytest.mark.parametrize(("playbook", "given"), KNOWN, ids=[row[0] for row in KNOWN])
def test_options_and_a_person_s_own_variables_pass(playbook: str, given: list[str]) -> None:
    assert option_names.problems(given, [playbook], NAMES) == []


def test_every_option_that_the_documents_name_is_known() -> None:
    documents = [*REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("playbooks/*.yml")]
    texts = [path.read_text(encoding="utf-8") for path in documents]
    given = {name for text in texts for name in re.findall(r"(?<=-e )'?\{?\"?([a-z_]+)\"?[=:]", text)}
    assert len(given) > 15
    # A run gives this one to another run of its own.
    given.add("drift_metrics")
    assert option_names.problems(sorted(given), [], NAMES) == []


@pytest.mark.parametrize(
    "given", ["playbooks/adopt.yml", "/x/selfheal/playbooks/adopt.yml", "christmas.selfheal.adopt"]
)
def test_the_playbook_of_a_run(given: str) -> None:
    assert option_names.playbooks([given]) == ["adopt"]
