# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Invented keys and secrets, the table of their variables, and an env that is valid.

All of them come from fixed seeds, so that every run has the same rows.
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
    return "".join(chooser.choice(alphabet) for _unused in range(length))


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


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def key_pair(seed: str = "pair", begins: str = "250101000000Z", ends: str = "350101000000Z") -> tuple[str, str]:
    """A private key and a certificate in PEM whose numbers fit each other, and are no key at all: nothing signs."""
    chooser = random.Random(seed)
    modulus = der(0x02, b"\0" + bytes([0xC1]) + chooser.randbytes(255))
    exponent, small = der(0x02, b"\x01\x00\x01"), der(0x02, b"\x01")
    algorithm = der(0x30, der(0x06, bytes.fromhex("2a864886f70d010101")), der(0x05))
    inner = der(0x30, der(0x02, b"\0"), modulus, exponent, der(0x02, chooser.randbytes(256)))
    private = der(0x30, der(0x02, b"\0"), algorithm, der(0x04, inner))
    validity = der(0x30, der(0x17, begins.encode()), der(0x17, ends.encode()))
    public = der(0x30, algorithm, der(0x03, b"\0" + der(0x30, modulus, exponent)))
    version = der(0xA0, der(0x02, b"\x02"))
    body = der(0x30, version, small, algorithm, der(0x30), validity, der(0x30), public)
    certificate = der(0x30, body, algorithm, der(0x03, chooser.randbytes(257)))
    return pem("PRIVATE KEY", *lines(private)), pem("CERTIFICATE", *lines(certificate))


def lines(raw: bytes) -> list[str]:
    """base64 in lines of 64."""
    text = base64.b64encode(raw).decode()
    return [text[at : at + 64] for at in range(0, len(text), 64)]


def account(**entries: Any) -> str:
    """The JSON of a service account."""
    known: dict[str, Any] = {
        "type": "service_account",
        "project_id": "shop-4711",
        "private_key_id": noise("account", 40, HEX),
        "private_key": key_pair()[0],
        "client_email": "shop@shop-4711.iam.gserviceaccount.com",
    }
    return json.dumps({name: value for name, value in {**known, **entries}.items() if value is not None})


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
    {"name": "MYSQL_URL", "kind": "mysql_dsn", "required": False},
    {"name": "MONGO_URL", "kind": "mongodb_dsn", "required": False},
    {"name": "AMQP_URL", "kind": "amqp_dsn", "required": False},
    {"name": "MAILER_DSN", "kind": "smtp_dsn", "required": False},
    {"name": "STRIPE_KEY", "kind": "stripe_key", "required": False},
    {"name": "STRIPE_PUBLIC", "kind": "stripe_publishable_key", "required": False},
    {"name": "STRIPE_WEBHOOK", "kind": "stripe_webhook_secret", "required": False},
    {"name": "SENDGRID_KEY", "kind": "sendgrid_key", "required": False},
    {"name": "AWS_ACCESS_KEY_ID", "kind": "aws_access_key_id", "required": False},
    {"name": "AWS_SECRET_ACCESS_KEY", "kind": "aws_secret_access_key", "required": False},
    {"name": "OPENAI_KEY", "kind": "openai_key", "required": False},
    {"name": "GITHUB_TOKEN", "kind": "github_token", "required": False},
    {"name": "SLACK_TOKEN", "kind": "slack_token", "required": False},
    {"name": "SLACK_HOOK", "kind": "slack_webhook", "required": False},
    {"name": "TELEGRAM_TOKEN", "kind": "telegram_token", "required": False},
    {"name": "FIREBASE", "kind": "google_service_account", "required": False},
    {"name": "TLS_KEY", "kind": "private_key", "required": False},
    {"name": "TLS_CERTIFICATE", "kind": "certificate", "required": False, "private_key": "TLS_KEY"},
    {"name": "FERNET_KEY", "kind": "fernet_key", "required": False},
    {"name": "DJANGO_KEY", "kind": "django_secret_key", "required": False},
    {"name": "SECRET_KEY_BASE", "kind": "rails_secret_key_base", "required": False},
    {"name": "RAILS_MASTER_KEY", "kind": "rails_master_key", "required": False},
    {"name": "APP_KEY", "kind": "laravel_app_key", "required": False},
]

ALNUM = string.ascii_letters + string.digits
BASE64 = f"{ALNUM}+/"

# One whole value of each kind that has a shape. Joined here, so that no scanner takes this file for a leak.
SHAPED: dict[str, str] = {
    "STRIPE_KEY": "_".join(["sk", "live", noise("stripe key", 99, ALNUM)]),
    "STRIPE_PUBLIC": "_".join(["pk", "live", noise("stripe public", 99, ALNUM)]),
    "STRIPE_WEBHOOK": "_".join(["whsec", noise("stripe hook", 32, ALNUM)]),
    "SENDGRID_KEY": ".".join(["SG", noise("sendgrid a", 22), noise("sendgrid b", 43)]),
    "AWS_ACCESS_KEY_ID": "AKIA" + noise("aws id", 16, string.ascii_uppercase + "234567"),
    "AWS_SECRET_ACCESS_KEY": noise("aws secret", 40, BASE64),
    "OPENAI_KEY": "-".join(["sk", "proj", noise("openai", 120, ALNUM)]),
    "GITHUB_TOKEN": "_".join(["ghp", noise("github", 36, ALNUM)]),
    "SLACK_TOKEN": "-".join(["xoxb", "4711081500000", "4711081500001", noise("slack", 24, ALNUM)]),
    "SLACK_HOOK": "/".join(["https://hooks.slack.com/services", "T04SH0PQ1", "B04H00K27", noise("hook", 24, ALNUM)]),
    "TELEGRAM_TOKEN": "7048151623:" + noise("telegram", 35),
    "FERNET_KEY": base64.urlsafe_b64encode(random.Random("fernet").randbytes(32)).decode(),
    "DJANGO_KEY": noise("django", 50, string.ascii_lowercase + string.digits + "!@#$%^&*(-_=+)"),
    "SECRET_KEY_BASE": noise("rails", 128, HEX),
    "RAILS_MASTER_KEY": noise("rails master", 32, HEX),
    "APP_KEY": "base64:" + base64.b64encode(random.Random("laravel").randbytes(32)).decode(),
}

GOOD: dict[str, Any] = {
    "SUPABASE_URL": f"https://{REF}.supabase.co",
    "SUPABASE_ANON_KEY": legacy("anon"),
    "SUPABASE_SERVICE_KEY": legacy("service_role"),
    "JWT_SECRET": noise("jwt", 64, HEX),
    "PORT": "8000",
}
