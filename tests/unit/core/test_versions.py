# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Versions and their order. The order of package versions is also in the tests of drift."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core import versions


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.14.0", "0.17"),
        ("0.9", "0.10"),
        ("1.29.2", "2.24.0"),
        ("0.26.0~rc1", "0.26.0"),
        ("2.9", "1:1"),
        ("1.0-1+b1", "1.0-2"),
    ],
)
def test_what_is_older(older: str, newer: str) -> None:
    assert versions.is_older(older, newer)
    assert not versions.is_older(newer, older)


@pytest.mark.parametrize(("one", "other"), [("0.17", "0.17"), ("0.17.0", "0.17"), ("0.18.0", "0.17"), ("2.53", "2.9")])
def test_what_is_not_older(one: str, other: str) -> None:
    assert not versions.is_older(one, other)


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("0.14.0-1+b5", "0.14.0"),
        ("2.42.0+ds-5+deb12u1", "2.42.0"),
        ("1:2.24.6+ds1-0ubuntu1", "2.24.6"),
        ("0.26.0~rc1-1", "0.26.0~rc1"),
        ("2.40.3", "2.40.3"),
        ("", ""),
    ],
)
def test_the_upstream_version(version: str, upstream: str) -> None:
    assert versions.upstream_version(version) == upstream


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.26.1-4", (2, 26, 1)), ("2.24.6+ds1", (2, 24, 6)), ("2.x", (2,)), ("", ())]
)
def test_the_leading_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert versions.version_tuple(text) == numbers
