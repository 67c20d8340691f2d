# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two texts are shortened so that they do not look alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import shortened

ALIKE = "0123456789" * 3
# id, two texts, both as shown in 20 signs
PAIRS: list[tuple[str, str, str, str, str]] = [
    ("short", "one", "two", "one", "two"),
    ("different at once", f"a{ALIKE}", f"b{ALIKE}", "a012345678901234567…", "b012345678901234567…"),
    ("different later", f"{ALIKE}old", f"{ALIKE}new", "…890123456789old", "…890123456789new"),
    ("one is the other's beginning", ALIKE, f"{ALIKE}more", "…890123456789", "…890123456789more"),
    ("the same", ALIKE, ALIKE, "0123456789012345678…", "0123456789012345678…"),
]


@pytest.mark.parametrize(("one", "other", "is_", "should"), [row[1:] for row in PAIRS], ids=[row[0] for row in PAIRS])
def test_a_pair(one: str, other: str, is_: str, should: str) -> None:
    assert shortened.pair(one, other, 20) == (is_, should)


@given(st.text("ab", max_size=60), st.text("ab", max_size=60))
def test_different_texts_look_different_and_fit(one: str, other: str) -> None:
    shown = shortened.pair(one, other, 20)
    assert max(map(len, shown)) <= 20
    assert (shown[0] == shown[1]) == (one == other)
