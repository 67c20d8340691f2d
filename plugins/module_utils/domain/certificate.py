# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys, requests and certificates, made and read with openssl, on which acme-tiny depends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from ..core.clock import iso
from ..host import command as commands

_SECONDS = 60.0
_CHAIN = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
_NAME = re.compile(r"DNS:([^,\s]+)")
# Of the certificate with which HAProxy starts before there is another one. Who trusts its name trusts the CA.
SELF_SIGNED = "self-signed by selfheal"


class CertificateError(Exception):
    """A certificate or a key cannot be made, or is not what it should be; the message says why."""


class Certificate(NamedTuple):
    """What a certificate says: its names, when it is valid (epoch s), and who signed it."""

    names: tuple[str, ...]
    begins: float
    ends: float
    issuer: str

    @property
    def is_self_signed(self) -> bool:
        """Whether it is the one that waits for the first certificate of the CA."""
        return SELF_SIGNED in self.issuer

    def describe(self) -> str:
        """The names and the end, for people."""
        return f"{', '.join(self.names)}, until {iso(self.ends)[:16].replace('T', ' ')} UTC"


# openssl says nothing of a full disk, so it writes no file here.
def make_account_key() -> str:
    """A key for the account, as PEM: RSA, the only kind that acme-tiny takes. Raises CertificateError."""
    return _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


def make_key() -> str:
    """A key for a certificate, as PEM. Raises CertificateError."""
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def make_request(names: Sequence[str], key: str) -> str:
    """A request for a certificate of a key, as PEM. Raises CertificateError."""
    return _openssl("req", "-new", "-key", key, "-subj", "/", "-addext", _names(names))


def make_self_signed(names: Sequence[str], key: str) -> str:
    """A certificate of a key for a day, as PEM, so that HAProxy starts. Raises CertificateError."""
    subject = f"/CN={SELF_SIGNED}"
    return _openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-addext", _names(names), "-days", "1")


def thumbprint(path: str) -> str:
    """What HAProxy answers a challenge with, after its token: RFC 8555, 8.1, and RFC 7638. Raises CertificateError."""
    said = _openssl("rsa", "-in", path, "-noout", "-modulus")
    try:
        modulus = bytes.fromhex(said.partition("Modulus=")[2].strip())
    except ValueError:
        modulus = b""
    if not modulus:
        raise CertificateError(f"{path} is not the key of an account")
    # openssl's default for the exponent, 65537, is AQAB.
    key = {"e": "AQAB", "kty": "RSA", "n": _base64url(modulus)}
    return _base64url(hashlib.sha256(json.dumps(key, separators=(",", ":"), sort_keys=True).encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _names(names: Sequence[str]) -> str:
    return "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)


def chain(text: str) -> str:
    """The certificates in a text, without anything else in it. Raises CertificateError."""
    found = _CHAIN.findall(text)
    if not found:
        raise CertificateError("the CA sent no certificate")
    return "".join(f"{one.rstrip()}\n" for one in found)


def read(path: str) -> Certificate:
    """Read a file with a certificate, its chain and its key. Raises CertificateError when they are not one."""
    if not os.path.exists(path):
        raise CertificateError(f"{path} does not exist")
    asked = ("-noout", "-pubkey", "-issuer", "-startdate", "-enddate", "-dateopt", "iso_8601", "-ext", "subjectAltName")
    said = _openssl("x509", "-in", path, *asked)
    if _openssl("pkey", "-in", path, "-pubout").strip() not in said:
        raise CertificateError(f"{path} has the key of another certificate")
    begins, ends = _date(said, "notBefore"), _date(said, "notAfter")
    issuer = re.search(r"^issuer=(.+)$", said, re.MULTILINE)
    return Certificate(tuple(sorted(_NAME.findall(said))), begins, ends, issuer[1].strip() if issuer else "")


def _date(said: str, name: str) -> float:
    """A date as openssl writes it (epoch s). Raises CertificateError."""
    found = re.search(rf"^{name}=([-0-9: ]+)Z$", said, re.MULTILINE)
    if not found:
        raise CertificateError(f"openssl does not say {name} of a certificate")
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


def _openssl(*words: str) -> str:
    result = commands.run(["openssl", *words], _SECONDS)
    if result.code:
        raise CertificateError(f"openssl {words[0]} failed: {result.reason}")
    return result.out
