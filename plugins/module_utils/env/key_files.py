# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Private keys, certificates and service accounts: whole, of the right kind, in force, and of the same key pair.

PEM is RFC 7468, private keys RFC 5208, 5915 and 8017, certificates RFC 5280. Of DER, as much is read as is needed to
compare two public keys: the modulus of RSA, the point of an elliptic curve. What cannot be compared (Ed25519, an
encrypted key, OpenSSH's own format) is not a finding. Pure, and never raises on any text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from .placeholders import placeholder
from .supabase_keys import Problem
from .variables import Variable, copy_again

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END ([A-Z0-9 ]+)-----", re.S)
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_HEADERS = re.compile(r"^[A-Za-z-]+:[^\n]*$", re.M)
_SEQUENCE, _INTEGER, _BITS, _OCTETS, _VERSION, _POINT = 0x30, 0x02, 0x03, 0x04, 0xA0, 0xA1
_UTC_TIME, _TIME = 0x17, 0x18
_ACCOUNT_KEYS = ("type", "project_id", "private_key", "client_email")
_OPENSSH = b"openssh-key-v1\0"


class Pem(NamedTuple):
    """One block of a PEM file."""

    label: str
    der: bytes


class Certificate(NamedTuple):
    """What a certificate says: its public key, None when it cannot be compared, and when it is valid (epoch s)."""

    public: bytes | None
    begins: float
    ends: float


class Der(NamedTuple):
    """One element of DER, and the bytes that it holds."""

    tag: int
    content: bytes


def validate_private_key(variable: Variable, text: str) -> list[Problem]:
    """What is wrong with ``text`` as a private key."""
    blocks, problem = _blocks(variable, text)
    if problem:
        return [problem]
    labels = [block.label for block in blocks if block.label != "EC PARAMETERS"]
    if not any(label.endswith("PRIVATE KEY") for label in labels):
        return [Problem("wrong_kind", f"it is a {labels[0].lower()}, not a private key", copy_again(variable))]
    return []


def validate_certificate(variable: Variable, text: str, now: float) -> list[Problem]:
    """What is wrong with ``text`` as a certificate, or a chain of them, at ``now``."""
    blocks, problem = _blocks(variable, text)
    if problem:
        return [problem]
    if any(block.label.endswith("PRIVATE KEY") for block in blocks):
        return [Problem("wrong_kind", "a private key is in it, and a certificate is public", copy_again(variable))]
    if blocks[0].label not in ("CERTIFICATE", "TRUSTED CERTIFICATE"):
        return [Problem("wrong_kind", f"it is a {blocks[0].label.lower()}, not a certificate", copy_again(variable))]
    found = _certificate(blocks[0].der)
    if found is None:
        return [Problem("bad_format", "it cannot be read as a certificate", copy_again(variable))]
    if found.ends <= now:
        return [Problem("expired", f"it expired on {_date(found.ends)}", "Renew it.")]
    if found.begins > now + 86400.0:
        return [
            Problem("not_yet_valid", f"it is valid from {_date(found.begins)} on", "Check the clock of this machine.")
        ]
    return []


def validate_service_account(variable: Variable, text: str) -> list[Problem]:
    """What is wrong with ``text`` as the JSON of a Google service account, or as base64 of it."""
    bare = _from_base64(text, b"{")
    if not bare.lstrip().startswith("{"):
        reason = placeholder(text)
        if reason:
            return [Problem("placeholder", reason, copy_again(variable))]
        return [Problem("wrong_kind", "it is not the JSON file of a service account", copy_again(variable))]
    try:
        account = json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        whole = bare.rstrip().endswith("}")
        rule, reason = ("bad_format", "it is not JSON") if whole else ("truncated", "its end is missing")
        return [Problem(rule, reason, f"{copy_again(variable)} It is one line of JSON, in single quotes.")]
    absent = [key for key in _ACCOUNT_KEYS if not isinstance(account.get(key), str) or not account[key]]
    if absent:
        return [Problem("bad_format", f"{', '.join(absent)} is missing in it", copy_again(variable))]
    if account["type"] != "service_account":
        return [Problem("wrong_kind", "its `type` is not service_account", copy_again(variable))]
    inside = validate_private_key(variable, account["private_key"])
    return [problem._replace(reason=f"its private_key: {problem.reason}") for problem in inside]


def belongs(certificate: str, private_key: str) -> bool | None:
    """Whether the first certificate is that of the private key; None when the two cannot be compared."""
    try:
        found = _certificate(_read(certificate)[0].der)
        keys = [block for block in _read(private_key) if block.label.endswith("PRIVATE KEY")]
        mine = _public_of(keys[0]) if keys else None
    except (ValueError, IndexError):
        return None
    if found is None or found.public is None or mine is None:
        return None
    return found.public == mine


# --- PEM ------------------------------------------------------------------------------------------------------------


def _blocks(variable: Variable, text: str) -> tuple[list[Pem], Problem | None]:
    """The blocks of a PEM file, at least one, or what is wrong with it."""
    plain = _plain(text)
    if not _BEGIN.search(plain):
        reason = placeholder(text)
        if reason:
            return [], Problem("placeholder", reason, copy_again(variable))
        return [], Problem(
            "wrong_kind", "it is not a PEM file: its first line is -----BEGIN …-----", copy_again(variable)
        )
    if len(_BEGIN.findall(plain)) > len(_BLOCK.findall(plain)):
        return [], Problem("truncated", "its -----END----- line is missing", copy_again(variable))
    body = _BLOCK.findall(plain)[0][1].strip()
    reason = placeholder(body)
    if reason or re.fullmatch(r"\.{2,}|…|<.*>", body):
        return [], Problem("placeholder", reason or "it is abbreviated with dots", copy_again(variable))
    try:
        return _read(text), None
    except ValueError as error:
        rule = "truncated" if str(error) == _SHORT else "bad_format"
        return [], Problem(rule, str(error) if rule == "truncated" else _DAMAGED, copy_again(variable))


_SHORT = "a part of it is missing"
_DAMAGED = "a character in it was changed, lost or added"


def _plain(text: str) -> str:
    r"""The PEM file with line ends: in an env they are often written as \n, or all of it is base64."""
    return _from_base64(text, b"-----BEGIN ").replace("\\r", "").replace("\\n", "\n").replace("\r", "")


def _from_base64(text: str, begins: bytes) -> str:
    bare = "".join(text.split())
    try:
        raw = base64.b64decode(bare, validate=True)
        return raw.decode("utf-8") if raw.lstrip().startswith(begins) else text
    except (ValueError, binascii.Error):
        return text


def _read(text: str) -> list[Pem]:
    """Raises ValueError for a block that is not whole."""
    found = []
    for label, body, end in _BLOCK.findall(_plain(text)):
        if label != end:
            raise ValueError(_DAMAGED)
        encoded = "".join(_HEADERS.sub("", body).split())
        try:
            der = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(_DAMAGED) from None
        _require_whole(label, body, der)
        found.append(Pem(label, der))
    return found


def _require_whole(label: str, body: str, der: bytes) -> None:
    if label.startswith("OPENSSH"):
        if not der.startswith(_OPENSSH):
            raise ValueError(_DAMAGED)
        return
    if "ENCRYPTED" in body:
        return  # a cipher text, no DER
    element, rest = _element(der)
    if element.tag not in (_SEQUENCE, 0x06) or rest:
        raise ValueError(_DAMAGED)


# --- DER ------------------------------------------------------------------------------------------------------------


def _element(data: bytes) -> tuple[Der, bytes]:
    """The first element, and what follows it. Raises ValueError."""
    if len(data) < 2:
        raise ValueError(_SHORT)
    tag, length, at = data[0], data[1], 2
    if length > 0x80:
        size = length - 0x80
        length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    if at + length > len(data):
        raise ValueError(_SHORT)
    return Der(tag, data[at : at + length]), data[at + length :]


def _elements(data: bytes) -> list[Der]:
    found = []
    while data:
        element, data = _element(data)
        found.append(element)
    return found


def _certificate(der: bytes) -> Certificate | None:
    try:
        fields = _elements(_elements(_element(der)[0].content)[0].content)
        fields = fields[1:] if fields[0].tag == _VERSION else fields
        _serial, _signature, _issuer, validity, _subject, public = fields[:6]
        begins, ends = map(_moment, _elements(validity.content)[:2])
        return Certificate(_public_in(public.content), begins, ends)
    except (ValueError, IndexError, OverflowError):
        return None


def _moment(element: Der) -> float:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()


def _public_in(content: bytes) -> bytes | None:
    """The modulus or the point in a SubjectPublicKeyInfo."""
    bits = _elements(content)[1].content[1:]
    if bits[:1] in (b"\x02", b"\x03", b"\x04"):
        return bits
    if bits[:1] != bytes([_SEQUENCE]):
        return None
    return _elements(_element(bits)[0].content)[0].content


def _public_of(block: Pem) -> bytes | None:
    """The modulus or the point of a private key; None when it does not say."""
    if block.label not in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"):
        return None
    return _public_inside(_elements(_element(block.der)[0].content))


def _public_inside(fields: Sequence[Der]) -> bytes | None:
    second = fields[1]
    if second.tag == _INTEGER:
        return second.content
    if second.tag == _SEQUENCE and fields[2].content[:1] == bytes([_SEQUENCE]):
        return _public_inside(_elements(_element(fields[2].content)[0].content))
    point = next((field for field in fields if field.tag == _POINT), None)
    return _element(point.content)[0].content[1:] if point else None


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")
