# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Samples that documentation publishes are known."""

from __future__ import annotations

from ansible_collections.christmas.selfheal.plugins.module_utils.env.placeholders import is_sample


def test_the_samples_are_known_by_hash() -> None:
    assert is_sample(
        "-".join(["your", "super", "secret", "jwt", "token", "with", "at", "least", "32", "characters", "long"])
    )
    assert not is_sample("")
