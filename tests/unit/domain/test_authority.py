# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What acme-tiny 5.0.1 prints when an order fails, as recorded with Pebble 2.6, and what people read."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.domain import authority
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result

CODE = """\
Verifying other.example...
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/acme_tiny.py", line 153, in get_crt
    raise ValueError("Challenge did not pass for {0}: {1}".format(domain, authorization))
"""
CHALLENGE = (
    CODE
    + "ValueError: Challenge did not pass for other.example: {'status': 'invalid', 'challenges': [{'type': 'http-01', "
    "'error': {'type': 'urn:ietf:params:acme:error:connection', 'detail': 'Get \"http://other.example:80/\": lookup "
    "other.example on 127.0.0.11:53: no such host', 'status': 400}}]}\n"
)
# A sentence with an apostrophe is in the other quotes.
QUOTED = CODE + (
    "ValueError: Challenge did not pass for a.example: {'challenges': [{'error': {'type': "
    "'urn:ietf:params:acme:error:unauthorized', 'detail': \"It's a 404\", 'status': 403}}]}\n"
)
ORDER = """\
Creating new order...
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/acme_tiny.py", line 45, in _do_request
    raise ValueError("{0}:\\nUrl: {1}\\nData: {2}\\nResponse Code: {3}\\nResponse: {4}".format(err_msg, url, …))
ValueError: Error creating new order:
Url: https://ca.example/newOrder
Data: b'{"protected": "c2VjcmV0", "payload": "", "signature": "c2VjcmV0"}'
"""
LIMIT = ORDER + (
    "Response Code: 429\nResponse: {'type': 'urn:ietf:params:acme:error:rateLimited', 'detail': 'too many certificates "
    "(5) already issued in the last 168h, retry after 2026-12-02 09:00:00 UTC', 'status': 429}\n"
)
AWAY = """\
Getting directory...
Traceback (most recent call last):
ValueError: Error getting directory:
Url: https://ca.example/dir
Data: None
Response Code: None
Response: <urlopen error [Errno 111] Connection refused>
"""
CASES = {
    "the name leads elsewhere": (Result(1, "", CHALLENGE), 'other.example: Get "http', "DNS records"),
    "an apostrophe": (Result(1, "", QUOTED), "the CA says: a.example: It's a 404", "DNS records"),
    "too often": (Result(1, "", LIMIT), "retry after 2026-12-02 09:00:00 UTC", "Wait, and do not run this again"),
    "busy": (Result(1, "", ORDER + "Response Code: 429\nResponse: slow\n"), "the CA answers 429 to https://ca", "Wait"),
    "broken": (Result(1, "", ORDER + "Response Code: 500\nResponse: <html>\n"), "the CA answers 500", "status page"),
    "not there": (Result(1, "", AWAY), "cannot be reached at https://ca.example/dir: urlopen", "way out to port 443"),
    "no end": (Result(124, "", "Verifying shop.example...\n"), "did not finish the order within 180 s", "status page"),
    "no client": (
        Result(127, "", "env: 'acme-tiny': No such file"),
        "acme-tiny is not installed",
        "christmas.selfheal.site",
    ),
    "else": (Result(1, "", "AssertionError: Polling timeout\n"), "acme-tiny failed: AssertionError: Polling", "again"),
}


@pytest.mark.parametrize(("result", "reason", "fix"), CASES.values(), ids=CASES)
def test_a_refusal_has_the_cas_reason_and_a_fix(result: Result, reason: str, fix: str) -> None:
    found = authority.refusal(result)
    assert reason in found.reason
    assert fix in found.fix
    assert "{0}" not in found.reason, "a line of the client's code"
    assert "c2VjcmV0" not in found.reason, "what was sent"


def test_what_is_not_set_is_left_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(commands, "run", lambda argv, _: ran.append(argv) or Result(0, "", ""))
    order = authority.Order("account.key", "request", "folder", "", "", "")
    authority.place(order)
    authority.place(order._replace(email="ops@shop.example", directory="https://ca.example/dir", ca_file="/etc/ca.pem"))
    assert not {"--contact", "--directory-url"} & set(ran[0])
    assert ran[1][-4:] == ["--directory-url", "https://ca.example/dir", "--contact", "mailto:ops@shop.example"]
    assert ("SSL_CERT_FILE=/etc/ca.pem" in ran[0], "SSL_CERT_FILE=/etc/ca.pem" in ran[1]) == (False, True)
