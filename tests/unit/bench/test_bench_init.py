# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The benchmark of init: which images a stack needs, and what counts as wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.bench import init
from ansible_collections.christmas.selfheal.bench.init import Ended
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import STACKS

STACK = STACKS["an app with postgres, redis and nginx, official images"]
OK = "localhost : ok=1 changed=1\nshop on shop1: healthy\n"
QUIET = OK.replace("changed=1", "changed=0")


def test_the_lab_has_the_images_of_eight_stacks() -> None:
    found = [name for name, stack in STACKS.items() if set(init.images(stack)) <= set(init.official())]
    assert init.images(STACK) == ["nginx:1", "postgres:17", "redis:8"]
    assert len(found) >= 8


# id, what init, site, status, init, site print; exit code of site; what is wrong
RUNS: list[tuple[str, list[str], int, list[str]]] = [
    ("good", [OK, OK, QUIET, QUIET, QUIET], 0, []),
    ("something to do", [f"{OK}To do first:\n", OK, QUIET, QUIET, QUIET], 0, ["init.yml left something to do"]),
    ("not set up", [OK, OK], 1, ["site.yml failed"]),
    ("not healthy", [OK, OK, "shop: down", QUIET, QUIET], 0, ["status.yml: not healthy"]),
    ("changed again", [OK, OK, QUIET, OK, OK], 0, ["second runs changed 2 tasks"]),
]


@pytest.mark.parametrize(("said", "code", "wrong"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], code: int, wrong: list[str]
) -> None:
    left = list(said)

    def play(*words: str) -> Ended:
        return Ended(1.5, code if words[0].endswith("site.yml") else 0, left.pop(0))

    monkeypatch.setattr(init, "play", play)
    found = init.measure("shop", STACK, tmp_path)
    assert (found.problems, found.services, left) == (wrong, 4, [])
    assert init.table([found]).splitlines()[-1].startswith("| shop | 4 | 1.5 | 1.5 |")
