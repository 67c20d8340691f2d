# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cause + what was tried → the next remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils import diagnosis, ladder
from ansible_collections.christmas.selfheal.plugins.module_utils.ladder import LAST_GOOD_ENV, PROVED_ENV, RECREATE, UP

ALL = {PROVED_ENV, LAST_GOOD_ENV, UP, RECREATE}

CASES = [
    ("the vault's env comes first", "env_invalid", [], ALL, PROVED_ENV),
    ("without the vault, the last good env", "env_invalid", [], {LAST_GOOD_ENV, UP, RECREATE}, LAST_GOOD_ENV),
    ("no env to put in place: a person is told", "env_invalid", [], {UP, RECREATE}, None),
    ("with the env in place, the containers are made anew", "crash_loop", [PROVED_ENV], ALL, RECREATE),
    ("what was tried is not tried again", "crash_loop", [RECREATE], ALL, LAST_GOOD_ENV),
    (
        "but for a new env, which is in force only in new containers",
        "crash_loop",
        [RECREATE, PROVED_ENV],
        ALL,
        RECREATE,
    ),
    ("once", "crash_loop", [RECREATE, PROVED_ENV, RECREATE], ALL, LAST_GOOD_ENV),
    ("the ladder ends", "crash_loop", [RECREATE, LAST_GOOD_ENV, RECREATE], ALL, None),
    ("a stopped container is only started", "stopped", [], ALL, UP),
    ("an upstream is nobody's to restart", "upstream_down", [], ALL, None),
    ("nor is a foreign process", "port_taken", [], ALL, None),
]


@pytest.mark.parametrize(("cause", "tried", "available", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_next_remedy(cause: str, tried: list[str], available: set[str], expected: str | None) -> None:
    assert ladder.next_remedy(cause, tried, available) == expected


@given(
    st.lists(st.sampled_from(sorted(diagnosis.MEANING)), min_size=30, max_size=30),
    st.sets(st.sampled_from(sorted(ALL))),
)
def test_the_ladder_ends_whatever_the_causes_are(causes: list[str], available: set[str]) -> None:
    tried: list[str] = []
    for cause in causes:
        remedy = ladder.next_remedy(cause, tried, available)
        if remedy is not None:
            assert remedy in available
            tried.append(remedy)
    # Each env once, and after each (and before the first) every other remedy at most once.
    assert len(tried) <= 2 + 3 * 2


def test_every_ladder_belongs_to_a_cause() -> None:
    assert set(ladder.LADDERS) | set(ladder.NEXT_STEP) <= set(diagnosis.MEANING)
