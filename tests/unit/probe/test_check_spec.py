# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal_checks` from the inventory → complete checks, or an error that names check, key and fix."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.probe import check_spec
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import (
    CheckError,
    Expectation,
    parse_checks,
)

URL = "http://127.0.0.1:8000/health"


def check(**keys: Any) -> dict[str, Any]:
    return {"name": "health", "url": URL, **keys}


# id, the list, what the error names: check, key, a part of the reason, a part of the fix
BAD = [
    ("no list", {"name": "x"}, "", "selfheal_checks", "a mapping, not a list", "list of"),
    ("nothing", None, "", "selfheal_checks", "nothing, not a list", "list of"),
    ("empty list", [], "", "selfheal_checks", "empty", "name: health"),
    ("a text among the checks", ["http://x/"], "1", "selfheal_checks", "a text", "{name"),
    ("no name", [{"url": URL}], "1", "name", "missing", "login"),
    ("blank name in the second", [check(), {"name": " ", "url": URL}], "2", "name", "missing", "login"),
    ("name of two lines", [check(name="a\nb")], "1", "name", "not a text", "login"),
    ("name twice", [check(), check()], "`health`", "name", "twice", "its own"),
    ("unknown key", [check(expect=200)], "`health`", "expect", "not a key", "status"),
    ("no url", [{"name": "health"}], "`health`", "url", "missing", "http://127.0.0.1:8000/health"),
    ("url is a number", [check(url=8000)], "`health`", "url", "a number", "http://"),
    ("url without scheme", [check(url="localhost:8000/health")], "`health`", "url", "http(s)", "http://"),
    ("url of another scheme", [check(url="ftp://x/")], "`health`", "url", "http(s)", "http://"),
    ("url without host", [check(url="http:///health")], "`health`", "url", "http(s)", "http://"),
    ("url with a bad port", [check(url="http://x:99999/")], "`health`", "url", "http(s)", "http://"),
    ("url with a space in the host", [check(url="http://a b/")], "`health`", "url", "http(s)", "http://"),
    ("url with a password", [check(url="http://u:p@x/")], "`health`", "url", "password", "Authorization"),
    ("url with a fragment", [check(url="http://x/#top")], "`health`", "url", "#", "%23"),
    ("bad name in url", [check(url="http://x/${1A}")], "`health`", "url", "names no value", "${NAME}"),
    ("unclosed name in url", [check(url="http://x/${A")], "`health`", "url", "names no value", "$${"),
    ("bad method", [check(method="GET /")], "`health`", "method", "not an HTTP method", "POST"),
    ("method is a list", [check(method=["GET"])], "`health`", "method", "a list", "POST"),
    ("headers are a list", [check(headers=["A: b"])], "`health`", "headers", "a list", "{Name: value}"),
    ("bad header name", [check(headers={"A b": "c"})], "`health`", "headers", "not a header name", "letters"),
    ("header is a list", [check(headers={"A": ["c"]})], "`health`", "headers", "a list", "{Name: value}"),
    ("header is a bool", [check(headers={"A": True})], "`health`", "headers", "true or false", "{Name: value}"),
    ("header of two lines", [check(headers={"A": "b\r\nX: y"})], "`health`", "headers", "line break", "one line"),
    ("bad name in a header", [check(headers={"A": "${ }"})], "`health`", "headers", "names no value", "${NAME}"),
    ("body and json", [check(json={}, body="x")], "`health`", "body", "in addition to `json`", "one of the two"),
    ("body is a mapping", [check(body={"a": 1})], "`health`", "body", "a mapping", "text"),
    ("json with a set", [check(json={"a": {1, 2}})], "`health`", "json", "JSON", "lists"),
    ("json with NaN", [check(json=[math.nan])], "`health`", "json", "JSON", "numbers"),
    ("bad name in json", [check(json={"a": [{"b": "${x-y}"}]})], "`health`", "json", "names no value", "${NAME}"),
    ("timeout 0", [check(timeout=0)], "`health`", "timeout", "between 0 and 3600", "e.g. 5"),
    ("timeout below 0", [check(timeout=-1)], "`health`", "timeout", "above 0", "e.g. 5"),
    ("timeout without end", [check(timeout=math.inf)], "`health`", "timeout", "between", "e.g. 5"),
    ("timeout is a word", [check(timeout="5s")], "`health`", "timeout", "a text, not a number", "e.g. 5"),
    ("timeout is a bool", [check(timeout=True)], "`health`", "timeout", "not a number", "e.g. 5"),
    ("status 99", [check(status=99)], "`health`", "status", "not an HTTP status", "[200, 204]"),
    ("status 200.5", [check(status=200.5)], "`health`", "status", "not an HTTP status", "[200, 204]"),
    ("status is a word", [check(status="2xx")], "`health`", "status", "a text", "[200, 204]"),
    ("no status", [check(status=[])], "`health`", "status", "not an HTTP status", "[200, 204]"),
    ("json_path is a list", [check(json_path=["$.a"])], "`health`", "json_path", "a list", "$.status"),
    ("path without $", [check(json_path={"status": "ok"})], "`health`", "json_path", "not a path", "$.items[0].id"),
    ("path with a filter", [check(json_path={"$..a": 1})], "`health`", "json_path", "not a path", "$.items[0].id"),
    ("path with a star", [check(json_path={"$.a[*]": 1})], "`health`", "json_path", "not a path", "$.items[0].id"),
    ("unknown comparison", [check(json_path={"$.a": {"gt": 1}})], "`health`", "json_path", "none of equals", "{exists"),
    (
        "two comparisons",
        [check(header={"A": {"matches": "a", "exists": True}})],
        "`health`",
        "header",
        "none of",
        "{ex",
    ),
    ("exists is a text", [check(json_path={"$.a": {"exists": "y"}})], "`health`", "json_path", "not true", "{exists"),
    ("bad pattern", [check(json_path={"$.a": {"matches": "("}})], "`health`", "json_path", "regular", "{matches"),
    ("pattern is a number", [check(header={"A": {"matches": 1}})], "`health`", "header", "regular", "{matches"),
    ("expected header is a list", [check(header={"A": ["b"]})], "`health`", "header", "a list", "{Name: value}"),
    (
        "bad name of an expected header",
        [check(header={"A:": "b"})],
        "`health`",
        "header",
        "not a header name",
        "letters",
    ),
    ("contains is a list", [check(contains=["a"])], "`health`", "contains", "a list", "text"),
    ("max_latency is a word", [check(max_latency="fast")], "`health`", "max_latency", "a text", "0.5"),
    ("days of plain http", [check(tls_days_left=14)], "`health`", "tls_days_left", "no certificate", "https://"),
    ("days is a list", [check(url="https://x/", tls_days_left=[1])], "`health`", "tls_days_left", "a list", "14"),
    ("capture is a text", [check(capture="$.a")], "`health`", "capture", "a text", "{token: $.access_token}"),
    ("bad name captured", [check(capture={"my token": "$.a"})], "`health`", "capture", "not a name", "{token"),
    (
        "captured from nowhere",
        [check(capture={"a": {"jar": "sid"}})],
        "`health`",
        "capture",
        "cookie, header",
        "{cookie: NAME}",
    ),
    (
        "captured twice",
        [check(capture={"a": {"cookie": "a", "header": "b"}})],
        "`health`",
        "capture",
        "none of",
        "NAME",
    ),
    (
        "a cookie without a name",
        [check(capture={"a": {"cookie": "a b"}})],
        "`health`",
        "capture",
        "not a header name",
        "letters",
    ),
    ("a pattern without a group", [check(capture={"a": {"body": "csrf"}})], "`health`", "capture", "one group", "csrf"),
    ("no pattern", [check(capture={"a": {"body": "("}})], "`health`", "capture", "one group", "csrf"),
    ("an invalid path of JSON", [check(capture={"a": {"json": "t"}})], "`health`", "capture", "not a path", "$.items"),
    ("form is a text", [check(form="a=b")], "`health`", "form", "a text", "{field: value}"),
    ("a field of many", [check(form={"a": ["b"]})], "`health`", "form", "a list", "{field: value}"),
    ("a form and JSON", [check(form={"a": "b"}, json={})], "`health`", "form", "in addition to `json`", "keep one"),
    ("a bad name in a form", [check(form={"a": "${no pe}"})], "`health`", "form", "names no value", "${NAME}"),
    ("bad path captured", [check(capture={"token": "access_token"})], "`health`", "capture", "not a path", "$.items"),
    ("an unknown subject", [check(proves="db")], "`health`", "proves", "'db'", "health, api, frontend"),
    ("verify_tls is a text", [check(verify_tls="no")], "`health`", "verify_tls", "a text", "self-signed"),
    (
        "used before it is captured",
        [check(headers={"A": "${token}"}), check(name="login", capture={"token": "$.t"})],
        "`health`",
        "url, headers, json, form or body",
        "by `login`",
        "before this one",
    ),
    (
        "used in the check that captures it",
        [check(headers={"A": "${token}"}, capture={"token": "$.t"})],
        "`health`",
        "url, headers, json, form or body",
        "later or here",
        "before this one",
    ),
]


@pytest.mark.parametrize(
    ("given_checks", "name", "key", "reason", "fix"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_a_bad_check_is_refused(given_checks: Any, name: str, key: str, reason: str, fix: str) -> None:
    with pytest.raises(CheckError) as caught:
        parse_checks(given_checks)
    error = caught.value
    assert (error.name, error.key) == (name, key)
    assert reason in error.reason
    assert fix in error.fix
    for part in ("selfheal_checks: ", name, f"`{key}`", error.reason, f"Fix: {error.fix}"):
        assert part in str(error)


def test_an_error_never_shows_a_value() -> None:
    for bad in ({"timeout": "s3cr3t"}, {"verify_tls": "s3cr3t"}, {"headers": {"A": "s3cr3t\n"}}, {"status": "s3cr3t"}):
        with pytest.raises(CheckError) as caught:
            parse_checks([check(**bad)])
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("given_checks", "known", "accepted"),
    [
        ([check(url="http://x:${PORT}/")], None, True),
        ([check(url="http://x:${PORT}/")], ["PORT"], True),
        ([check(url="http://x:${PROT}/")], ["PORT"], False),
        ([check(body="$${PROT}")], [], True),
        (
            [check(capture={"token": "$.t"}), check(name="b", url="${BASE}/b", headers={"A": "${token}"})],
            ["BASE"],
            True,
        ),
    ],
)
def test_names_are_checked_when_they_are_known(given_checks: Any, known: Any, accepted: bool) -> None:
    if accepted:
        parse_checks(given_checks, known)
        return
    with pytest.raises(
        CheckError, match=r"check `health`: .* uses \$\{PROT\}, which nothing defines. Fix: add PROT to"
    ):
        parse_checks(given_checks, known)


def test_defaults() -> None:
    (read,) = parse_checks([check()])
    assert read == (
        *("health", URL, "GET", (), None, 5.0, (200,), (), "", (), math.inf, None, (), "api", True),
        frozenset(),
    )


def test_everything_at_once() -> None:
    login, data = parse_checks(
        [
            {
                "name": "login",
                "url": "${BASE}/auth/login",
                "method": "post",
                "json": {"email": "${EMAIL}", "deep": [{"password": "${PASSWORD}"}, 1, None]},
                "status": [200, "201"],
                "capture": {"token": "$.access_token"},
                "timeout": "2.5",
                "headers": {"X-Try": 1},
                "contains": None,
            },
            {
                "name": "data",
                "url": "https://[::1]:8443/api/gifts?limit=1",
                "headers": {"Authorization": "Bearer ${token}"},
                "json_path": {"$.gifts[0].id": {"exists": True}, "$['a key'][\"b\"]": None, "$": {"equals": {"a": 1}}},
                "header": {"Content-Type": {"matches": "^application/json"}, "X-Count": 1},
                "max_latency": 0.5,
                "tls_days_left": 13.2,
                "verify_tls": False,
                "proves": "frontend",
            },
        ]
    )
    assert (login.method, login.status, login.timeout) == ("POST", (200, 201), 2.5)
    assert login.body == ({"email": "${EMAIL}", "deep": [{"password": "${PASSWORD}"}, 1, None]},)
    assert login.needs == {"BASE", "EMAIL", "PASSWORD"}
    assert login.headers == (("X-Try", "1"),)
    assert data.needs == {"token"}
    assert dict(data.json_path) == {
        "$.gifts[0].id": Expectation("exists", True),
        "$['a key'][\"b\"]": Expectation("equals", None),
        "$": Expectation("equals", {"a": 1}),
    }
    assert dict(data.header)["X-Count"] == Expectation("equals", "1")
    assert (data.tls_days_left, data.verify_tls, data.proves) == (14, False, "frontend")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(check_spec._KEYS)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=6), max_size=3) | JSON)
def test_anything_is_either_read_or_refused(anything: Any) -> None:
    """Any value in the inventory is accepted, or raises CheckError, which names key and fix."""
    try:
        parse_checks(anything)
    except CheckError as error:
        assert error.key and error.reason and error.fix


@given(KEYS, JSON)
def test_any_value_of_any_key_is_either_read_or_refused(key: str, value: Any) -> None:
    try:
        parse_checks([{"name": "health", "url": URL, key: value}])
    except CheckError as error:
        assert error.key and error.fix


def test_an_app_that_answers_no_request_has_no_check() -> None:
    assert check_spec.parse_checks([], may_be_empty=True) == []
