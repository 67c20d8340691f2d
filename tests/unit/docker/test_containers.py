# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the engine's answers about containers are read."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-04-15T14:52:42.101978294Z", 7.898),
        ("2026-04-15T22:52:42.101978294+08:00", 7.898),
        ("2026-04-15T10:52:42-04:00", 8.0),
        ("2026-04-15T14:52:42", 8.0),
        ("2026-04-15T14:52:52Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-15T14:52:42Z", None),
        ("", None),
    ],
    ids=["UTC", "east of UTC", "west of UTC", "no zone", "in the future", "never", "no month", "no time"],
)
def test_the_times_of_health_checks_are_in_the_hosts_time_zone(text: str, seconds: float | None) -> None:
    assert docker_containers.seconds_since(text, 1776264770.0) == seconds
