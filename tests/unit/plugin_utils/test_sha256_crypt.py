# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A password's hash is the same on every controller, and no error shows the password."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.sha256_crypt import sha256_crypt


@pytest.mark.parametrize(
    ("password", "salt", "made"),
    [
        # passlib makes the same two.
        ("Hello world!", "saltstring", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        ("secret", "0123456789abcdef", "$5$0123456789abcdef$r6nzC5LUC0uVXFw52gWstJ181ms.XFW71j20yui2zG7"),
    ],
)
def test_the_hash_is_what_others_make(password: str, salt: str, made: str) -> None:
    assert sha256_crypt(password, salt) == made


@pytest.mark.parametrize("password", ["a-secret\nof two lines", 257 * "x"], ids=["two lines", "long"])
def test_nothing_is_cut_off(password: str) -> None:
    with pytest.raises(RuntimeError, match="at most 256 bytes") as raised:
        sha256_crypt(password, "salt")
    assert password not in str(raised.value)
    assert sha256_crypt(256 * "x", "salt") != sha256_crypt(255 * "x", "salt")


def test_no_openssl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="install it") as raised:
        sha256_crypt("a-secret-password", "salt")
    assert "a-secret-password" not in str(raised.value)


def test_openssl_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho 'no such digest' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="no such digest"):
        sha256_crypt("a-secret-password", "salt")
