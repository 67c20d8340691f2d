#!/usr/bin/env python3
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints a fresh set of lab secrets as the plaintext of inventory/lab/group_vars/all/vault.yml.

    lab/keys.py | ansible-vault encrypt --output inventory/lab/group_vars/all/vault.yml

The values are valid only for the lab's Supabase stand-in, which reads them from the same file.
"""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "supabase"))

from judge import key_checksum, mint_jwt

TEN_YEARS = 10 * 365 * 24 * 3600


def new_key(kind: str) -> str:
    """A new-generation key; ``kind`` is ``publishable`` or ``secret``."""
    body = f"sb_{kind}_{secrets.token_urlsafe(17)[:22]}"
    return f"{body}_{key_checksum(body)}"


def legacy_key(role: str, secret: str, now: int) -> str:
    """A legacy key of a self-hosted project, without a ``ref`` claim."""
    claims: dict[str, Any] = {"iss": "supabase", "role": role, "iat": now, "exp": now + TEN_YEARS}
    return mint_jwt(claims, secret)


def lab_secrets(now: int) -> dict[str, str]:
    """One consistent set: the keys are signed with the project secret of the same set."""
    project_secret = secrets.token_urlsafe(48)
    return {
        "vault_supabase_anon_key": legacy_key("anon", project_secret, now),
        "vault_supabase_service_key": legacy_key("service_role", project_secret, now),
        "vault_supabase_publishable_key": new_key("publishable"),
        "vault_supabase_secret_key": new_key("secret"),
        "vault_supabase_jwt_secret": project_secret,
        "vault_jwt_secret": secrets.token_urlsafe(48),
        "vault_probe_email": "probe@christmas.lab",
        "vault_probe_password": secrets.token_urlsafe(18),
    }


if __name__ == "__main__":
    print("---")
    for name, value in lab_secrets(int(time.time())).items():
        print(f'{name}: "{value}"')
