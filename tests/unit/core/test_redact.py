# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Text and secrets → text without the secrets, in any encoding."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.core.fingerprint import fingerprint
from ansible_collections.christmas.selfheal.plugins.module_utils.core.redact import hide_passwords, redact
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv

SECRET = "p@ss/w'o\"r\\d $x%+연말&"
LABEL = f"<KEY {fingerprint(SECRET)}>"

FORMS = {
    "as it is": SECRET,
    "quoted for a URL": quote(SECRET, safe=""),
    "quoted for a path": quote(SECRET),
    "quoted for a form": quote_plus(SECRET),
    "quoted by JavaScript": quote(SECRET, safe="!'()*"),
    "quoted in small letters": re.sub(r"%[0-9A-F]{2}", lambda found: found.group().lower(), quote(SECRET, safe="")),
    "in JSON": json.dumps(SECRET)[1:-1],
    "in JSON with letters of its own": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "in Python": repr(SECRET)[1:-1],
    "in HTML": html.escape(SECRET),
    "in a shell": shlex.quote(SECRET)[1:-1],
    "in an env file": dotenv.encode({"KEY": SECRET}).split("=", 1)[1][1:-2],
    "as Compose prints it": SECRET.replace("$", "$$"),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_is_found(text: str) -> None:
    assert redact(f"before {text} after", {"KEY": SECRET}) == f"before {LABEL} after"


@pytest.mark.parametrize("before", ["", "u:", "user:", "me:x:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_any_alignment(before: str, encode: Callable[[bytes], bytes]) -> None:
    secret = "k3J9-xQ_7Zp+w/12"
    text = encode(f"{before}{secret}:after".encode()).decode()
    shown = redact(f"Authorization: Basic {text}", {"KEY": secret})
    left = shown.replace("Authorization: Basic ", "").replace(f"<KEY {fingerprint(secret)}>", "")
    # Only characters that also encode neighbouring bytes remain.
    assert len(left) <= len(text) - len(base64.b64encode(secret.encode())) + 4
    assert len(left) < len(text)


def test_longer_values_win_over_their_parts() -> None:
    secrets = {"SHORT": "abcdef", "LONG": "abcdefghij"}
    assert redact("abcdefghij abcdef", secrets) == (
        f"<LONG {fingerprint('abcdefghij')}> <SHORT {fingerprint('abcdef')}>"
    )


def test_short_values_are_not_redacted_because_words_contain_them() -> None:
    assert redact("port 8000 of dev", {"PORT": "8000", "MODE": "dev", "NONE": ""}) == "port 8000 of dev"


def test_a_value_of_several_lines_is_found_line_by_line() -> None:
    secret = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"
    log = "    MIIEvQIBADANBgkqhkiG9w0B\n    AQEFAASCBKcwggSjAgEAAoIB\n"
    assert "MIIEv" not in redact(log, {"PEM": secret})
    assert "AQEFA" not in redact(log, {"PEM": secret})
    assert redact(secret, {"PEM": secret}).startswith("<PEM sha256:")


def test_a_value_that_a_log_has_trimmed_is_found() -> None:
    assert "secret-value" not in redact("got secret-value.", {"KEY": " secret-value\n"})


@pytest.mark.parametrize(
    "value",
    [
        "*:*.5f0c1d7ea9b8c7d6e5f4",
        "reader,5f0c1d7ea9b8c7d6e5f4",
        "postgres://app:5f0c1d7ea9b8c7d6e5f4@db:5432/app",
        "Bearer 5f0c1d7ea9b8c7d6e5f4",
    ],
)
def test_the_secret_part_of_a_value_is_found_by_itself(value: str) -> None:
    redacted = redact("got 5f0c1d7ea9b8c7d6e5f4 for postgres", {"KEY": value})
    assert redacted == f"got <KEY {fingerprint(value)}> for postgres"


def test_without_secrets_the_text_does_not_change() -> None:
    assert redact("text", {}) == "text"


@pytest.mark.parametrize(
    ("text", "before", "password", "after"),
    [
        ("smtp://mailer:Bu33%21pass@mail.example.net:587", "smtp://mailer:", "Bu33%21pass", "@mail.example.net:587"),
        ("redis://:pw@cache/0", "redis://:", "pw", "@cache/0"),
        ('{"url": "amqp://a:b!c@queue/v"}', '{"url": "amqp://a:', "b!c", '@queue/v"}'),
        ("jdbc:postgresql+x://a:p@ss@db/shop?to=a@b", "jdbc:postgresql+x://a:", "p@ss", "@db/shop?to=a@b"),
        ("cannot reach mysql://a:s/l/a@db", "cannot reach mysql://a:", "s/l/a", "@db"),
        ("mongodb://a:pw@one:1,two:2/x", "mongodb://a:", "pw", "@one:1,two:2/x"),
        ("http://me:" + "k" * 3000 + "@x", "http://me:", "k" * 3000, "@x"),
        ("ftp://관리자:비밀번호@x", "ftp://관리자:", "비밀번호", "@x"),
    ],
)
def test_a_password_in_an_address_is_hidden_although_it_is_unknown(
    text: str, before: str, password: str, after: str
) -> None:
    shown = f"{before}<{fingerprint(password)}>{after}"
    assert redact(text, {}) == shown
    # What is hidden already stays as it is.
    assert redact(shown, {"OTHER": "something"}) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/users/joe@example.com",
        "see https://example.com: mail joe@example.com",
        '["http://web:80","joe@example.com"]',
        "https://joe@example.com/x",
        "postgresql://user:password@host:5432/db",
        "docker.io/library/postgres:17@sha256:abc",
        "://",
    ],
)
def test_an_address_without_a_password_stays_as_it_is(text: str) -> None:
    assert redact(text, {}) == text


def test_each_of_several_addresses_loses_its_password_and_a_known_one_keeps_its_name() -> None:
    text = "amqp://a:first@one,amqp://a:second9@two"
    shown = redact(text, {"QUEUE_PASSWORD": "second9"})
    assert shown == f"amqp://a:<{fingerprint('first')}>@one,amqp://a:<QUEUE_PASSWORD {fingerprint('second9')}>@two"


@pytest.mark.parametrize("part", ["://", "://a:", "://a:b", "://a:b/", "a:b@", "://a:/", ":/", "x"])
def test_a_long_text_takes_a_time_in_proportion(part: str) -> None:
    begun = time.process_time()
    hide_passwords("://a:" + part * (400_000 // len(part)))
    assert time.process_time() - begun < 3.0


@given(st.text(min_size=6), st.text(), st.text())
def test_no_value_survives_and_nothing_raises(secret: str, before: str, after: str) -> None:
    label = f"<KEY {fingerprint(secret)}>"
    shown = redact(before + secret + after, {"KEY": secret})
    if secret not in label:
        assert secret not in shown.replace(label, "\0") or secret in before + "\0" + after
    for form in (json.dumps(secret), quote(secret.encode("utf-8", "surrogatepass"), safe="")):
        assert label in redact(form, {"KEY": secret})
