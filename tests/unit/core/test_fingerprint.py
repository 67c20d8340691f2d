# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fingerprints of texts and bytes."""

from __future__ import annotations

import re

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint


@pytest.mark.parametrize("data", ["", "abc", "연말", b"\xff", "\ud800"])
def test_fingerprints_are_short_and_tell_apart(data: str | bytes) -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", fingerprint(data))
    assert fingerprint("abc") == fingerprint(b"abc") != fingerprint("abd")
