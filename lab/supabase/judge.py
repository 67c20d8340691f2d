# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How Supabase judges a key, as pure functions: no clock, no I/O, standard library only.

Two generations are accepted side by side, as Supabase does:

* legacy: an HS256 JWT whose ``role`` claim is ``anon`` or ``service_role``, signed with the project's JWT secret
  (raw UTF-8 bytes, not base64-decoded);
* new: ``sb_publishable_…`` (acts as ``anon``) and ``sb_secret_…`` (acts as ``service_role``), opaque, compared as a
  whole, only ever valid in the ``apikey`` header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

SELF_HOSTED_REF = "supabase-self-hosted"
"""The checksum of a self-hosted project's keys uses this instead of the project's ref."""

_NEW_KEY = re.compile(r"sb_(?:publishable|secret)_[A-Za-z0-9_-]{22}_[A-Za-z0-9_-]{8}")


@dataclass(frozen=True)
class Keyring:
    """The secrets of one project. ``repr`` shows none of them, so a traceback cannot leak them."""

    jwt_secret: str = field(repr=False)
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Verdict:
    """The role that a key has. For an invalid key ``role`` is None, and ``reason`` says why, without the key."""

    role: str | None
    reason: str = ""
    claims: dict[str, Any] = field(default_factory=dict)


def b64url(data: bytes) -> str:
    """Base64url without padding, as in JWTs and key checksums."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unb64url(text: str) -> bytes:
    """Strict inverse of :func:`b64url`; raises ValueError for anything else than its output."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def key_checksum(body: str, ref: str = SELF_HOSTED_REF) -> str:
    """The last 8 characters of a new-generation key. ``body`` is prefix + 22 characters, e.g. ``sb_secret_xxx…``."""
    return b64url(hashlib.sha256(f"{ref}|{body}".encode()).digest())[:8]


def mint_jwt(claims: dict[str, Any], secret: str) -> str:
    """An HS256 JWT. With this key order the header has the 36 characters that every Supabase key starts with."""
    header = b64url(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    payload = b64url(json.dumps(claims, separators=(",", ":")).encode())
    signature = hmac.new(secret.encode(), f"{header}.{payload}".encode("ascii"), hashlib.sha256).digest()
    return f"{header}.{payload}.{b64url(signature)}"


def judge_jwt(token: str, secret: str, now: float, roles: frozenset[str]) -> Verdict:
    """Judges a JWT: shape, algorithm, signature, expiry (``now`` in seconds since the epoch), role, in this order."""
    try:
        header64, payload64, signature64 = token.split(".")
        header, claims = json.loads(_unb64url(header64)), json.loads(_unb64url(payload64))
        signature = _unb64url(signature64)
    except ValueError:
        return Verdict(None, "not a JWT")
    if not isinstance(header, dict) or not isinstance(claims, dict) or header.get("alg") != "HS256":
        return Verdict(None, "not an HS256 JWT")
    expected = hmac.new(secret.encode(), f"{header64}.{payload64}".encode("ascii"), hashlib.sha256).digest()
    if not hmac.compare_digest(signature, expected):
        return Verdict(None, "signature does not match")
    expiry = claims.get("exp")
    if not isinstance(expiry, (int, float)) or expiry <= now:
        return Verdict(None, "expired")
    role = claims.get("role")
    if not isinstance(role, str) or role not in roles:
        return Verdict(None, "role is not accepted here")
    return Verdict(role, claims=claims)


def judge_apikey(key: str | None, keyring: Keyring, now: float) -> Verdict:
    """Judges the ``apikey`` header. Roles: ``anon`` or ``service_role``."""
    if not key:
        return Verdict(None, "No API key found in request")
    if key.startswith("sb_"):
        body, checksum = key[:-9], key[-8:]
        if not _NEW_KEY.fullmatch(key) or not hmac.compare_digest(key_checksum(body), checksum):
            return Verdict(None, "Invalid API key")
        for known, role in ((keyring.publishable_key, "anon"), (keyring.secret_key, "service_role")):
            if hmac.compare_digest(key.encode(), known.encode()):
                return Verdict(role)
        return Verdict(None, "Invalid API key")
    verdict = judge_jwt(key, keyring.jwt_secret, now, frozenset({"anon", "service_role"}))
    return verdict if verdict.role else Verdict(None, "Invalid API key")


def judge_request(apikey: str | None, authorization: str | None, keyring: Keyring, now: float) -> Verdict:
    """The role a request acts as: a Bearer JWT wins over the apikey that admitted it; ``sb_*`` is never a Bearer."""
    admitted = judge_apikey(apikey, keyring, now)
    if admitted.role is None or not authorization:
        return admitted
    scheme, _unused, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return Verdict(None, "Authorization is not a Bearer token")
    if token.startswith("sb_"):
        return Verdict(None, "Expected 3 parts in JWT; got 1")
    bearer = judge_jwt(token, keyring.jwt_secret, now, frozenset({"anon", "authenticated", "service_role"}))
    return bearer if bearer.role else Verdict(None, f"Invalid Bearer token: {bearer.reason}")
