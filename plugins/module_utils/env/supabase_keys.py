# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The formats of Supabase's API keys and addresses, of both generations; what they say about themselves.

Legacy keys are HS256 JWTs whose claims name the role, the project and the dates. New keys are ``sb_publishable_…`` and
``sb_secret_…``: 22 random characters and a checksum over project and key, see ``checksum``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import re
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..core.present import present
from .placeholders import is_sample, placeholder

REF = re.compile(r"[a-z0-9]{20}")
SELF_HOSTED = "supabase-self-hosted"

# A clock that is this far behind is worth a word of its own; keys are made minutes before they are used.
FUTURE_SECONDS = 86400.0

_NEW_KEY = re.compile(r"sb_(publishable|secret)_([A-Za-z0-9_-]{22})_([A-Za-z0-9_-]{8})")
_NEW_PREFIX = re.compile(r"sb_(publishable|secret)_")
_NEW_TAIL_LENGTH = 31
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

# Characters of an unpadded base64url signature, by algorithm. RSA's depends on the key: at least 2048 bits.
_SIGNATURE_LENGTH = {"HS256": 43, "HS384": 64, "HS512": 86, "ES256": 86, "EdDSA": 86}
_RSA_SIGNATURE_LENGTH = 342
_HMAC_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_TOKEN_PARTS = 3

# A token that has lost its first characters: the other two parts are as long as they must be.
_HEADLESS_TOKEN = re.compile(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{43,}")


Claims = dict[str, Any]
"""The JSON object in one part of a token: anything that its issuer put there (RFC 7519)."""


class Problem(NamedTuple):
    """Rule, reason and fix of a finding whose variable is known to the caller."""

    rule: str
    reason: str
    fix: str


class Key(NamedTuple):
    """What a well-formed key says about itself."""

    generation: str  # "legacy" | "new"
    role: str  # "anon" | "service" | whatever else a token claims
    ref: str | None  # project of a legacy key; None: self-hosted, or a new key, which only confirms a guess


class Address(NamedTuple):
    """A Supabase API address. ``ref`` is the project of a hosted one, None for a self-hosted or custom one."""

    ref: str | None


AGAIN = "Copy the whole key again"


def read_key(text: str, now: float) -> tuple[Key | None, list[Problem]]:
    """The key that ``text`` is, if any, and what is wrong with it by itself at ``now`` (epoch seconds).

    (None, []) means: nothing like a key. A key that is only expired is still a key.
    """
    if _NEW_PREFIX.match(text):
        return _read_new(text)
    if text.startswith("sbp_"):
        problem = "it is a personal access token for the management API (sbp_…), not a key of the project"
        return None, [Problem("wrong_kind", problem, "Take the key from the project's own settings.")]
    if text.startswith("sb_"):
        problem = "it begins like a Supabase key, but with neither sb_publishable_ nor sb_secret_"
        return None, [Problem("bad_format", problem, f"{AGAIN}.")]
    if text.startswith("ey") or _HEADLESS_TOKEN.fullmatch(text):
        return _read_legacy(text, now)
    return None, []


def checksum(ref: str, key: str) -> str:
    """The last eight characters that a new key must have in project ``ref`` (or ``SELF_HOSTED``)."""
    digest = hashlib.sha256(f"{ref}|{key[:-9]}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:8]


def belongs(text: str, ref: str) -> bool:
    """Whether the well-formed new key ``text`` was made for project ``ref``."""
    return hmac.compare_digest(checksum(ref, text), text[-8:])


def signed_by(text: str, secret: str) -> bool | None:
    """Whether the token ``text`` is signed with ``secret``; the HMAC key is the raw UTF-8 text.

    None for a token of another algorithm (ES256, RS256 …): its signature belongs to a key pair, not to a secret.
    """
    head, _unused, signature = text.rpartition(".")
    header = _decode(head.partition(".")[0]) or {}
    hashing = _HMAC_HASHES.get(str(header.get("alg")))
    if hashing is None:
        return None
    digest = hmac.new(secret.encode("utf-8", "surrogatepass"), head.encode("utf-8", "surrogatepass"), hashing)
    good = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
    return hmac.compare_digest(good.encode(), signature.encode("utf-8", "surrogatepass"))


def split_url(text: str) -> SplitResult | None:
    """The parts of ``text``, or None when it is not a URL with a host and a usable port."""
    try:
        parts = urlsplit(text)
        if not parts.hostname or (parts.port is not None and parts.port == 0):
            return None
    except ValueError:
        return None
    return parts


def read_address(text: str) -> tuple[Address | None, list[Problem]]:
    """The project address that ``text`` is, and what is wrong with it."""
    parts = split_url(text)
    if parts is None or not re.fullmatch(r"[!-~]+", text) or not parts.scheme:
        if REF.fullmatch(text):
            return None, [
                Problem(
                    "bad_url", "it is the project's ref alone", "Write https:// before it and .supabase.co behind it."
                )
            ]
        return None, [Problem("bad_url", "it is not an address", "Write it as https://<project ref>.supabase.co.")]
    problem = _not_an_api_address(parts)
    if problem:
        return None, [problem]
    host = parts.hostname or ""
    if not host.endswith(".supabase.co"):
        return Address(None), []
    return _read_hosted(parts, host[: -len(".supabase.co")])


def dsn_ref(text: str) -> str | None:
    """The hosted project that a PostgreSQL address leads to: ``db.<ref>.supabase.co`` or user ``postgres.<ref>``."""
    parts = split_url(text)
    if parts is None:
        return None
    host = parts.hostname or ""
    found = re.fullmatch(r"db\.([a-z0-9]{20})\.supabase\.(?:co|net)", host)
    if not found and host.endswith(".pooler.supabase.com"):
        found = re.fullmatch(r"[^.]+\.([a-z0-9]{20})", unquote(parts.username or ""))
    return found.group(1) if found else None


def _not_an_api_address(parts: SplitResult) -> Problem | None:
    host = parts.hostname or ""
    if parts.scheme in ("postgres", "postgresql") or re.match(
        r"db\..*\.supabase\.co$|.*\.pooler\.supabase\.com$", host
    ):
        return Problem("wrong_kind", "it is the address of the database, not of the API", "Use the project URL.")
    if parts.scheme not in ("http", "https"):
        return Problem("bad_url", "it does not begin with https:// (or http://)", "Write the whole address.")
    if host in ("supabase.com", "www.supabase.com", "app.supabase.com", "app.supabase.io", "api.supabase.com"):
        return Problem(
            "wrong_kind",
            "it is a page of supabase.com, not the address of the project",
            "Use the project URL, https://<project ref>.supabase.co.",
        )
    if parts.username is not None or parts.query or parts.fragment:
        return Problem("bad_url", "it has more in it than scheme, host and port", "Cut it after the host name.")
    return None


def _read_hosted(parts: SplitResult, label: str) -> tuple[Address | None, list[Problem]]:
    if parts.scheme != "https":
        return None, [Problem("bad_url", "a hosted project answers on https:// only", "Write https:// for http://.")]
    if parts.path or parts.port is not None:
        return None, [
            Problem(
                "bad_url",
                "the address of a hosted project has no path, port or slash at the end",
                "Cut it after .supabase.co.",
            )
        ]
    reason = placeholder(label, ("project", "ref", "id", "company", "xyz", "xyzcompany"))
    if reason:
        return None, [Problem("placeholder", f"its project ref is a placeholder: {reason}", "Put your own ref there.")]
    if not REF.fullmatch(label):
        rule = "truncated" if re.fullmatch(r"[a-z0-9]{10,19}", label) else "bad_url"
        return None, [
            Problem(
                rule,
                f"a project ref has 20 letters and digits, this one has {len(label)} characters",
                "Copy the project URL again.",
            )
        ]
    return Address(label), []


def _read_new(text: str) -> tuple[Key | None, list[Problem]]:
    prefix = present(_NEW_PREFIX.match(text))
    tail = text[prefix.end() :]
    role = "service" if prefix.group(1) == "secret" else "anon"
    if is_sample(text):
        return Key("new", role, None), [_SAMPLE]
    # A good key's random part may hold anything, words too, so only its shape is asked.
    good = _NEW_KEY.fullmatch(text)
    reason = placeholder(good.group(2) if good else tail, ("supabase",))
    if reason:
        return None, [Problem("placeholder", reason, "Put the real key there.")]
    if good:
        return Key("new", role, None), []
    if not _BASE64URL.fullmatch(tail):
        return None, [Problem("bad_format", "it has a character that no Supabase key has", f"{AGAIN}.")]
    length = f"{len(tail)} characters after its prefix, a whole key has {_NEW_TAIL_LENGTH}"
    if len(tail) < _NEW_TAIL_LENGTH:
        return None, [Problem("truncated", f"a part is missing: {length}", f"{AGAIN}, to its end.")]
    if len(tail) > _NEW_TAIL_LENGTH:
        return None, [Problem("bad_format", f"something is attached to it: {length}", f"{AGAIN}, alone.")]
    return None, [Problem("bad_format", "the underscore before its checksum is missing", f"{AGAIN}.")]


_SAMPLE = Problem(
    "sample",
    "it is the example that the vendor prints in its documentation: everybody has it",
    "Make a key of your own.",
)
_TYPO = Problem("bad_format", "a character in it was changed, lost or added: it does not decode", f"{AGAIN}.")


def _read_legacy(text: str, now: float) -> tuple[Key | None, list[Problem]]:
    if is_sample(text):
        return None, [_SAMPLE]
    parts = text.split(".")
    if placeholder(text) or any(placeholder(part) for part in parts[1:]):
        return None, [Problem("placeholder", "it, or a part of it, is a placeholder", "Put the real key there.")]
    if any(not _BASE64URL.fullmatch(part) for part in parts):
        return None, [_TYPO]
    if len(parts) > _TOKEN_PARTS:
        return None, [Problem("bad_format", f"it has {len(parts)} parts, a key has three", f"{AGAIN}, alone.")]
    header, claims = _decode(parts[0]), _decode(parts[1]) if len(parts) > 1 else None
    if len(parts) < _TOKEN_PARTS or not parts[2]:
        return None, [
            Problem(
                "truncated", "its end is missing: a key has three parts with dots between them", f"{AGAIN}, to its end."
            )
        ]
    if header is None:
        lost = not parts[0].startswith("eyJ")
        return None, [Problem("truncated", "its beginning is missing", f"{AGAIN}, from its start.") if lost else _TYPO]
    if claims is None:
        return None, [_TYPO]
    problem = _signature_problem(header, parts[2])
    if problem:
        return None, [problem]
    return _read_claims(claims, now)


def _decode(part: str) -> Claims | None:
    """The JSON object in one part of a token; None when a character is wrong anywhere in it."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != part:
            return None  # the unused bits of the last character are not zero
        found = json.loads(raw.decode("utf-8"))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _signature_problem(header: Claims, signature: str) -> Problem | None:
    algorithm = header.get("alg")
    if algorithm in ("RS256", "PS256"):
        wanted = max(len(signature), _RSA_SIGNATURE_LENGTH)
    elif isinstance(algorithm, str) and algorithm in _SIGNATURE_LENGTH:
        wanted = _SIGNATURE_LENGTH[algorithm]
    else:
        return Problem("bad_format", "it is not signed in a way that Supabase uses", f"{AGAIN}.")
    if len(signature) < wanted:
        return Problem(
            "truncated",
            f"its end is missing: {len(signature)} of {wanted} characters of the signature",
            f"{AGAIN}, to its end.",
        )
    if len(signature) > wanted:
        return Problem(
            "bad_format",
            f"something is attached to its end: {len(signature) - wanted} characters too many",
            f"{AGAIN}, alone.",
        )
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != signature:
        return _TYPO
    return None


def _read_claims(claims: Claims, now: float) -> tuple[Key | None, list[Problem]]:
    if claims.get("iss") == "supabase-demo":
        return None, [_SAMPLE]
    role = claims.get("role")
    if not isinstance(role, str) or role == "authenticated":
        what = "the session of a signed-in user" if role == "authenticated" else "no key of a Supabase project"
        return None, [Problem("wrong_kind", f"it is a token, but {what}", "Take the key from the project's settings.")]
    ref = claims.get("ref")
    if ref is not None and not (isinstance(ref, str) and REF.fullmatch(ref)):
        return None, [_TYPO]
    return Key("legacy", "service" if role == "service_role" else role, ref), _date_problems(claims, now)


def _date_problems(claims: Claims, now: float) -> list[Problem]:
    begins, ends = claims.get("nbf", claims.get("iat")), claims.get("exp")
    for moment in (begins, ends):
        if moment is not None and not _is_moment(moment):
            return [Problem("bad_format", "its dates cannot be read", f"{AGAIN}.")]
    if ends is not None and ends <= now:
        return [Problem("expired", f"it expired on {_date(ends)}", "Make a new key, or use the new key format.")]
    if begins is not None and begins > now + FUTURE_SECONDS:
        return [
            Problem(
                "not_yet_valid",
                f"it is valid from {_date(begins)} on, and today is {_date(now)}",
                "Check the clock of this machine (timedatectl), then make a new key.",
            )
        ]
    return []


def _is_moment(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _date(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")
    except (OverflowError, OSError, ValueError):
        return "a day beyond the calendar"
