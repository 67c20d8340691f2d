# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hash of a password by `openssl passwd -5`, which makes the same of the same salt on every controller."""

from __future__ import annotations

import subprocess

# openssl ignores further bytes of a password without an error.
LONGEST = 256


def sha256_crypt(password: str, salt: str) -> str:
    """Hash a password. Raises RuntimeError when openssl is missing or fails, or would ignore a part of it."""
    if "\n" in password or len(password.encode()) > LONGEST:
        raise RuntimeError(f"a password must be one line of at most {LONGEST} bytes to be hashed: create a shorter one")
    # Other users of the machine can read arguments, so the password is not one.
    command = ["openssl", "passwd", "-5", "-salt", salt, "-stdin"]
    try:
        made = subprocess.run(command, input=password + "\n", text=True, capture_output=True, check=True, timeout=30)
    except FileNotFoundError:
        raise RuntimeError("openssl is missing on this controller, and hashes the password: install it") from None
    except subprocess.SubprocessError as error:
        reason = str(getattr(error, "stderr", "") or type(error).__name__).strip()
        raise RuntimeError(f"openssl failed to hash the password: {reason}") from None
    return made.stdout.strip()
