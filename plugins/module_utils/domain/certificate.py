# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys, requests and certificates, made and read with openssl, on which acme-tiny depends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
from collections.abc import Sequence
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


def make_account_key(path: str) -> None:
    """Make the key of the account: RSA, the only kind that acme-tiny takes. Raises CertificateError."""
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path)


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


def make_request(names: Sequence[str], key: str, request: str) -> None:
    """Make a new key, and ask for a certificate of it. Raises CertificateError."""
    _make_key(key)
    _openssl("req", "-new", "-key", key, "-subj", "/", "-addext", _names(names), "-out", request)


def make_self_signed(names: Sequence[str], folder: str) -> str:
    """A certificate for a day with its key, as PEM, so that HAProxy starts. Raises CertificateError, OSError."""
    key = os.path.join(folder, "self-signed.key")
    _make_key(key)
    subject = f"/CN={SELF_SIGNED}"
    made = _openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-addext", _names(names), "-days", "1")
    with open(key, encoding="ascii") as stream:
        return made + stream.read()


def _make_key(path: str) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


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
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    except FileNotFoundError:
        raise CertificateError(f"{path} does not exist") from None
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", "") or error
        raise CertificateError(f"{path} is not a certificate with its key ({why})") from None
    said = _openssl("x509", "-in", path, "-noout", "-issuer", "-startdate", "-enddate", "-ext", "subjectAltName")
    dates = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", said, re.MULTILINE))
    try:
        begins, ends = (float(ssl.cert_time_to_seconds(dates[key])) for key in ("notBefore", "notAfter"))
    except (KeyError, ValueError):
        raise CertificateError(f"{path} has a certificate without dates") from None
    issuer = re.search(r"^issuer=(.+)$", said, re.MULTILINE)
    return Certificate(tuple(sorted(_NAME.findall(said))), begins, ends, issuer[1].strip() if issuer else "")


def _openssl(*words: str) -> str:
    result = commands.run(["openssl", *words], _SECONDS)
    if result.code:
        raise CertificateError(f"openssl {words[0]} failed: {result.reason}")
    return result.out
