# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vault's password, and text that is encrypted in memory, with Ansible's own library."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret, match_encrypt_secret

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import VAULT

_BYTES = 32


class Identity(NamedTuple):
    """A vault identity of this run: its name, and the object that holds its password."""

    name: str
    secret: Any


class Vault:
    """Encrypts with one password, and decrypts with any that this run has."""

    def __init__(self, encrypts: Identity, known: Sequence[Identity]) -> None:
        self._encrypts = encrypts
        self._lib = VaultLib([*known, encrypts])

    def encrypt(self, text: str) -> str:
        """The text, encrypted."""
        name = self._encrypts.name
        vault_id = None if name == "default" else name
        return str(VaultLib().encrypt(text, self._encrypts.secret, vault_id).decode())

    def decrypt(self, text: str) -> str:
        """The text of an encrypted file.

        :raises InitError: another password encrypted it.
        """
        try:
            return str(self._lib.decrypt(text.encode()).decode())
        except (AnsibleError, UnicodeDecodeError):
            raise InitError(
                VAULT,
                "it cannot be decrypted with the password of this run",
                "set ANSIBLE_VAULT_PASSWORD_FILE, or add --vault-password-file, as for ansible-vault edit",
            ) from None

    def can_decrypt(self, text: str) -> bool:
        """Whether a password of this run is that of an encrypted file."""
        try:
            self._lib.decrypt(text.encode())
        except AnsibleError:
            return False
        return True


def configured(known: Sequence[Identity], encrypt_identity: str) -> Identity | None:
    """The identity that `ansible-vault encrypt` would use; None when this run has no password for it."""
    try:
        found = match_encrypt_secret(list(known), encrypt_identity or None)
    except AnsibleError:
        return None
    return Identity(*found) if found else None


def identity(password: str) -> Identity:
    """The default identity with this password."""
    return Identity("default", VaultSecret(password.encode()))


def new_password() -> str:
    """A random password."""
    return secrets.token_urlsafe(_BYTES)
