# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The policy is validated before it is used."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.drift import policy as drift_policy
from ansible_collections.christmas.selfheal.plugins.module_utils.drift.policy import PolicyError

WRONG: list[tuple[str, Any, str]] = [
    ("not a mapping", "correct", "drift_policy[0]: is not a mapping"),
    ("a key with a typing error", {"rolle": "watcher", "do": "correct"}, "drift_policy[0].rolle: unknown key"),
    ("no action", {"role": "watcher"}, "drift_policy[0].do: is missing"),
    ("an unknown action", {"role": "watcher", "do": "fix"}, "drift_policy[0].do: invalid value 'fix'"),
    ("without a pattern", {"do": "correct"}, "drift_policy[0]: no pattern"),
    ("ignored for ever", {"role": "watcher", "do": "ignore", "because": "x"}, "drift_policy[0].until: is missing"),
    (
        "ignored without a reason",
        {"role": "x", "do": "ignore", "until": "2027-01-01"},
        "drift_policy[0].because: is missing",
    ),
    (
        "not a date",
        {"role": "x", "do": "ignore", "until": "soon", "because": "y"},
        "drift_policy[0].until: invalid date 'soon'",
    ),
    (
        "a date in another form",
        {"role": "x", "do": "ignore", "until": "20270131", "because": "y"},
        "drift_policy[0].until: invalid date '20270131'",
    ),
    (
        "a date without ignore",
        {"role": "x", "do": "correct", "until": "2027-01-01"},
        "drift_policy[0].until: is only for",
    ),
]


@pytest.mark.parametrize(("entry", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_an_invalid_entry_is_refused(entry: Any, message: str) -> None:
    with pytest.raises(PolicyError) as refused:
        drift_policy.read_policy([entry])
    assert message in str(refused.value)
    assert "Fix: " in str(refused.value)


@pytest.mark.parametrize("text", ["25:00-26:00", "2-5", "Sunday 02:00-03:00", "02:00", "02:60-03:00", "02:00-02:00"])
def test_an_invalid_window_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"drift_windows\[0\]: .* Fix: "):
        drift_policy.read_windows([text])


@pytest.mark.parametrize(
    ("text", "weekday", "minute", "expected"),
    [
        ("02:00-05:00", 0, 120, True),
        ("02:00-05:00", 0, 300, False),
        ("Sat,Sun 02:00-05:00", 5, 121, True),
        ("Sat,Sun 02:00-05:00", 4, 121, False),
        ("Sat 23:00-01:00", 5, 1400, True),
        ("Sat 23:00-01:00", 6, 30, True),
        ("Sat 23:00-01:00", 5, 30, False),
    ],
)
def test_windows(text: str, weekday: int, minute: int, expected: bool) -> None:
    assert drift_policy.is_open(drift_policy.read_windows([text]), weekday, minute) is expected
