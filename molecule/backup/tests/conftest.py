# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users who write during all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backup.tests.writer import Writer


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    """They write from the first test that uses them to the last."""
    found = Writer()
    found.start()
    yield found
    found.over.set()
    found.join(timeout=10.0)
