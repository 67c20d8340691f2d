# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hash of a password by `openssl passwd -5`, which makes the same of the same salt on every controller."""

from __future__ import annotations

import subprocess

DOCUMENTATION = r"""
name: sha256_crypt
short_description: SHA-256 crypt hash of a password
version_added: 0.1.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - >-
    With the same salt, C(ansible.builtin.password_hash) returns a different hash with ansible-core 2.21, where the C
    library encodes the salt again, than with 2.19 and 2.20, which need passlib. Two controllers would overwrite each
    other's hash. See U(https://github.com/ansible/ansible/issues/87259).
requirements:
  - openssl on the controller
options:
  _input:
    description: The password, a line of at most 256 bytes.
    type: str
    required: true
  salt:
    description: 1 to 16 of the characters C(./0-9A-Za-z).
    type: str
    required: true
"""

EXAMPLES = r"""
hash: "{{ status_page_password | christmas.selfheal.sha256_crypt('0123456789abcdef') }}"
"""

RETURN = r"""
_value:
  description: C($5$), the salt, C($), and 43 characters; of 5000 rounds.
  type: str
"""


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


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return {name in templates: function}; the name carries the collection's in front."""
        return {"sha256_crypt": sha256_crypt}
