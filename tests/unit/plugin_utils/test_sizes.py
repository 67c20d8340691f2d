# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A size of HAProxy's configuration in bytes."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.sizes import size_in_bytes


@pytest.mark.parametrize(
    ("size", "expected"), [("10m", 10 * 1024**2), ("512K", 512 * 1024), ("4096", 4096), (4096, 4096)]
)
def test_a_size_in_bytes(size: object, expected: int) -> None:
    assert size_in_bytes(size) == expected
