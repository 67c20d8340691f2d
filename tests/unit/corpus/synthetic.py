# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys and secrets that are made here and belong to nobody, the table that they fill, and an env in which all is well.

Everything is derived from fixed seeds, so that a failing row is the same row tomorrow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import string
from typing import Any

NOW = 1_780_000_000.0  # 2026-05-28
YEAR = 365 * 86400

REF = "kq3vz7hw2mtd9xjfplnb"
OTHER_REF = "wz8cjr4ynhtp1dvqk6sm"
SELF_HOSTED = "supabase-self-hosted"

BASE64URL = string.ascii_letters + string.digits + "-_"
HEX = "0123456789abcdef"


def noise(seed: str, length: int, alphabet: str = BASE64URL) -> str:
    """Text that looks random and is the same each time."""
    chooser = random.Random(seed)
    return "".join(chooser.choice(alphabet) for _ in range(length))


# What signs the tokens below.
SIGNING_SECRET = noise("signing", 64, HEX)


def b64(raw: bytes | str) -> str:
    """base64url without padding."""
    data = raw.encode() if isinstance(raw, str) else raw
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(claims: dict[str, Any] | str, secret: str = SIGNING_SECRET, header: dict[str, str] | None = None) -> str:
    """A JWT with HS256, whatever the header says."""
    head = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}, separators=(",", ":")))
    body = b64(claims if isinstance(claims, str) else json.dumps(claims, separators=(",", ":")))
    signature = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{b64(signature)}"


def legacy(role: str = "service_role", ref: str | None = REF, **claims: Any) -> str:
    """A legacy key: made a year ago, good for nine more. A claim that is None is left out."""
    found: dict[str, Any] = {"iss": "supabase", "ref": ref, "role": role}
    found.update({"iat": int(NOW) - YEAR, "exp": int(NOW) + 9 * YEAR}, **claims)
    return token({name: value for name, value in found.items() if value is not None})


def new_key(kind: str = "secret", ref: str = REF, seed: str = "key") -> str:
    """A key of the new generation: sb_<kind>_<22 random>_<8 checksum>."""
    body = f"sb_{kind}_{noise(seed, 22)}"
    digest = hashlib.sha256(f"{ref}|{body}".encode()).digest()
    return f"{body}_{base64.urlsafe_b64encode(digest).decode()[:8]}"


def pem(label: str, *lines: str, whole: bool = True) -> str:
    """A file in PEM format, with its line end; ``whole``: with its last line."""
    return "\n".join([f"-----BEGIN {label}-----", *lines, *([f"-----END {label}-----"] if whole else []), ""])


def changed(text: str, at: int) -> str:
    """``text`` with the letter or digit at or after ``at`` replaced by its neighbour: a typo."""
    while not text[at].isalnum():
        at += 1
    return text[:at] + ("b" if text[at] == "a" else "a") + text[at + 1 :]


TABLE: list[dict[str, Any]] = [
    {"name": "SUPABASE_URL", "kind": "supabase_url", "source": "the dashboard"},
    {"name": "SUPABASE_ANON_KEY", "kind": "supabase_anon_key"},
    {"name": "SUPABASE_SERVICE_KEY", "kind": "supabase_service_key"},
    {"name": "JWT_SECRET", "kind": "jwt_secret"},
    {"name": "PORT", "kind": "port"},
    {"name": "FRONTEND_URL", "kind": "url", "required": False},
    {"name": "WEBHOOK_URL", "kind": "url", "secret": True, "required": False},
    {"name": "DATABASE_URL", "kind": "postgres_dsn", "required": False},
    {"name": "REDIS_URL", "kind": "redis_url", "required": False},
    {"name": "PAYMENT_TOKEN", "kind": "token", "required": False},
    {"name": "BOT_TOKEN", "kind": "token", "min_length": 16, "required": False},
    {"name": "LOG_LEVEL", "kind": "enum", "choices": ["debug", "info", "warning"], "required": False},
    {"name": "WORKERS", "kind": "integer", "min": 1, "max": 64, "required": False},
    {"name": "OFFSET", "kind": "integer", "required": False},
    {"name": "REGION", "kind": "pattern", "pattern": "[a-z]{2}-[a-z]+-[0-9]", "required": False},
    {"name": "LICENCE", "kind": "pattern", "pattern": "LIC-.+", "secret": True, "required": False},
    {"name": "APP_TITLE", "kind": "text", "required": False},
    {"name": "SMTP_PASSWORD", "kind": "text", "secret": True, "min_length": 8, "required": False},
    {"name": "PROBE_EMAIL", "kind": "email", "required": False},
    {"name": "DEBUG", "kind": "boolean", "required": False},
]

GOOD: dict[str, Any] = {
    "SUPABASE_URL": f"https://{REF}.supabase.co",
    "SUPABASE_ANON_KEY": legacy("anon"),
    "SUPABASE_SERVICE_KEY": legacy("service_role"),
    "JWT_SECRET": noise("jwt", 64, HEX),
    "PORT": "8000",
}
