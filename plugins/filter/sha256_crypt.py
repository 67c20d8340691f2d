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
    Of the same salt C(ansible.builtin.password_hash) makes another hash with ansible-core 2.21, where the C library
    encodes the salt anew, than with 2.19 and 2.20, which need passlib for it. What one controller wrote would be
    changed by the next one. See U(https://github.com/ansible/ansible/issues/87259).
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


# openssl takes no more bytes of a password, and says so to nobody who reads it.
LONGEST = 256


def sha256_crypt(password: str, salt: str) -> str:
    """Hash a password; RuntimeError when openssl is missing or refuses, or would cut the password off."""
    if "\n" in password or len(password.encode()) > LONGEST:
        raise RuntimeError(
            f"a password that is to be hashed is one line of at most {LONGEST} bytes: make a shorter one"
        )
    # The password is no argument: those can be read by everybody on the machine.
    command = ["openssl", "passwd", "-5", "-salt", salt, "-stdin"]
    try:
        made = subprocess.run(command, input=password + "\n", text=True, capture_output=True, check=True, timeout=30)
    except FileNotFoundError:
        raise RuntimeError("openssl is not on this controller, which is to hash a password: install it") from None
    except subprocess.SubprocessError as error:
        reason = str(getattr(error, "stderr", "") or type(error).__name__).strip()
        raise RuntimeError(f"openssl did not hash a password: {reason}") from None
    return made.stdout.strip()


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return {name in templates: function}; the name carries the collection's in front."""
        return {"sha256_crypt": sha256_crypt}
