# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The CA: one order through Debian's client acme-tiny, and what its refusals mean (RFC 8555; errors: its 6.7).

acme-tiny needs the key of the account and a request for a certificate, never the certificate's own key.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..host import command as commands
from ..host.command import Result

# An order takes some seconds. The client itself would wait for an hour.
ORDER_SECONDS = 180.0
_ERROR = re.compile(r"urn:ietf:params:acme:error:(\w+)")
_DETAIL = re.compile(r"""["']detail["']: *(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
_CODE = re.compile(r"^Response Code: (\d+)", re.MULTILINE)
_RESPONSE = re.compile(r"^Response: (.*)", re.MULTILINE)
_NAME = re.compile(r"did not pass for ([^:\s]+):")
_URL = re.compile(r"^Url: (\S+)", re.MULTILINE)

_DNS = (
    "Let the name's DNS records (A, and AAAA if there is one) lead to this host, and open its port 80 to the Internet"
)
_LATER = "Wait, and do not run this again before: each attempt counts. The timer tries again by itself"
_CONTACT = "Correct load_balancer_acme_email, or empty it"
_NAMES = "Write only names of your own into load_balancer_domain; this CA issues nothing for this one"
# What a person does, by the CA's error type.
_FIXES = {
    "dns": _DNS,
    "connection": _DNS,
    "unauthorized": _DNS,
    "incorrectResponse": _DNS,
    "rateLimited": _LATER,
    "caa": "Allow this CA in the CAA record of the domain, or remove that record",
    "rejectedIdentifier": _NAMES,
    "unsupportedIdentifier": _NAMES,
    "invalidContact": _CONTACT,
    "unsupportedContact": _CONTACT,
    "userActionRequired": "Do what the CA asks for, then run this again",
    "externalAccountRequired": "Choose a CA that needs no account in advance, with load_balancer_acme_directory",
    "serverInternal": "This is the CA's own trouble: look at its status page. The timer tries again by itself",
}
_UNREACHABLE = (
    "Check the CA's URL (load_balancer_acme_directory), this host's DNS and its way out to port 443, and for a CA of "
    "your own load_balancer_acme_ca"
)
_OTHER = "Read the reason, then run christmas.selfheal.site again. The timer tries again by itself, too"


class Refusal(NamedTuple):
    """Why an order failed, in the CA's own words where it gave any, and what to do."""

    reason: str
    fix: str


class Order(NamedTuple):
    """What is asked of the CA. `key` is the account's, `request` a PKCS#10 file, `folder` is for the client's files."""

    key: str
    request: str
    folder: str
    email: str
    directory: str
    ca_file: str


def place(order: Order) -> Result:
    """Have the CA issue a certificate: the output is the chain, as PEM."""
    argv = ["env", f"TMPDIR={order.folder}"]
    # Python's TLS looks at this file as well as into the host's folder of trusted certificates.
    argv += [f"SSL_CERT_FILE={order.ca_file}"] if order.ca_file else []
    # HAProxy answers every challenge of this account, so the client need not look for the file that it writes.
    argv += ["acme-tiny", "--account-key", order.key, "--csr", order.request, "--acme-dir", order.folder]
    argv += ["--disable-check"]
    argv += ["--directory-url", order.directory] if order.directory else []
    argv += ["--contact", f"mailto:{order.email}"] if order.email else []
    return commands.run(argv, ORDER_SECONDS)


def refusal(result: Result) -> Refusal:
    """Read from the client's output why an order failed. Pure."""
    # Before it are the lines of the client's code that led there.
    said = result.err[result.err.rfind("\nValueError: ") + 1 :]
    if result.code == 127 or "acme-tiny: No such file" in said:
        return Refusal("acme-tiny is not installed", "Run christmas.selfheal.site, which installs it")
    kinds, details = _ERROR.findall(said), _details(said)
    if details or kinds:
        name = _NAME.search(said)
        reason = " ".join(filter(None, [f"{name[1]}:" if name else "", details or kinds[-1]])).rstrip(".")
        return Refusal(f"the CA says: {reason}", next((_FIXES[kind] for kind in kinds if kind in _FIXES), _OTHER))
    response, url, code = _RESPONSE.search(said), _URL.search(said), _CODE.search(said)
    if url and not code:
        why = response[1].strip("<>") if response else "no answer"
        return Refusal(f"the CA cannot be reached at {url[1]}: {why}", _UNREACHABLE)
    if url and code:
        fix = _LATER if code[1] == "429" else _FIXES["serverInternal"] if code[1][0] == "5" else _OTHER
        return Refusal(f"the CA answers {code[1]} to {url[1]}", fix)
    if result.code == 124:
        return Refusal(f"the CA did not finish the order within {ORDER_SECONDS:.0f} s", _FIXES["serverInternal"])
    return Refusal(f"acme-tiny failed: {result.reason}", _OTHER)


def _details(said: str) -> str:
    """The CA's sentences. The client prints answers as Python writes a dictionary."""
    found = [re.sub(r"\\(.)", r"\1", single or double) for single, double in _DETAIL.findall(said)]
    return "; ".join(dict.fromkeys(" ".join(one.split()) for one in found))
