# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run of checks: captured values, judged answers, retries, and the messages."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import CheckError, parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import (
    KINDS,
    ProbeResult,
    judge,
    quantile,
    retry_after,
    run_checks,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.web import Answer, Fault, Request

BASE = "http://app.test:8000"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def always(answer: Answer) -> Callable[[Request, World], Any]:
    """A server that gives one answer to every request."""
    return lambda _request, _world: answer


class World:
    """A clock that only the test advances, and a server that answers from a table."""

    def __init__(self, answer: Callable[[Request, World], Any]) -> None:
        self.time = 100.0
        self.slept: list[float] = []
        self.sent: list[Request] = []
        self.answer = answer

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def ask(self, request: Request, _now: Callable[[], float]) -> Answer:
        self.sent.append(request)
        found = self.answer(request, self)
        if isinstance(found, Fault):
            self.time += 0.001
            raise found
        answer: Answer = found
        self.time += answer.seconds
        return answer

    def run(self, checks: Any, values: Mapping[str, str] | None = None, deadline: float = 0.0) -> ProbeResult:
        wall, parsed = 1_800_000_000.0, parse_checks(checks, may_be_empty=True)
        return run_checks(parsed, values or {}, deadline, self.now, self.sleep, ask=self.ask, wall=lambda: wall)


def got(
    status: int = 200, body: Any = b"", seconds: float = 0.034, expires: float | None = None, **headers: str
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, pairs, data, False, seconds, expires)


LOGIN = {
    "name": "login",
    "url": BASE + "/auth/login",
    "method": "POST",
    "json": {"email": "${EMAIL}", "password": "${PASSWORD}"},
    "capture": {"token": "$.access_token"},
}
DATA = {"name": "data", "url": BASE + "/api/gifts", "headers": {"Authorization": "Bearer ${token}"}}
HEALTH = {"name": "health", "url": BASE + "/health", "proves": "health", "json_path": {"$.status": "ok"}}
VALUES = {"EMAIL": "probe@example.test", "PASSWORD": "correct horse battery"}


def app(login: Any = None, data: Any = None, health: Any = None) -> Callable[[Request, World], Any]:
    answers = {
        "/auth/login": got(200, {"access_token": JWT}) if login is None else login,
        "/api/gifts": got(200, {"gifts": []}) if data is None else data,
        "/health": got(200, {"status": "ok"}) if health is None else health,
    }
    return lambda request, _world: answers[request.url.replace(BASE, "")]


def test_all_checks_pass() -> None:
    world = World(app())
    result = world.run([HEALTH, LOGIN, DATA], VALUES)
    assert result == {
        "ok": True,
        "passed": 3,
        "total": 3,
        "summary": "3 of 3 checks passed in 0.10 s",
        "seconds": 0.102,
        "latency": {"min": 0.034, "median": 0.034, "p95": 0.034},
        "results": [
            {
                "name": name,
                "ok": True,
                "proves": subject,
                "kind": None,
                "status": 200,
                "seconds": 0.034,
                "reason": "got 200 in 34 ms",
                "attempts": 1,
                "port": 8000,
                "down": [],
                "retry_after": None,
            }
            for name, subject in (("health", "health"), ("login", "api"), ("data", "api"))
        ],
    }
    login, data = world.sent[1:]
    assert (login.method, json.loads(login.body or b"")) == (
        "POST",
        {"email": VALUES["EMAIL"], "password": VALUES["PASSWORD"]},
    )
    assert login.headers == (("Content-Type", "application/json"),)
    assert data.headers == (("Authorization", f"Bearer {JWT}"),)
    assert world.slept == []


def test_partial_results() -> None:
    result = World(app(login=got(401, {"error": "bad password"}))).run([HEALTH, LOGIN, DATA], VALUES)
    assert (result["ok"], result["passed"], result["total"]) == (False, 1, 3)
    assert result["summary"] == (
        '1 of 3 checks passed; `login` got 401 in 34 ms: expected 200; it said: {"error": "bad password"}'
    )
    assert [item["kind"] for item in result["results"]] == [None, "status", "skipped"]
    assert result["results"][2]["reason"] == "skipped: needs `token` from `login`"
    assert result["results"][2]["status"] is None


def test_a_check_after_a_failed_one_still_runs() -> None:
    result = World(app(health=Fault("refused", "connection refused by app.test:8000"))).run(
        [HEALTH, LOGIN, DATA], VALUES
    )
    assert [item["ok"] for item in result["results"]] == [False, True, True]
    assert result["summary"] == "2 of 3 checks passed; `health` connection refused by app.test:8000"


def test_many_failures_are_summarized() -> None:
    checks = [{"name": f"c{number}", "url": BASE + "/health", "status": 204} for number in range(5)]
    summary = World(app()).run(checks)["summary"]
    assert (
        summary
        == "0 of 5 checks passed; "
        + "; ".join(f"`c{number}` got 200 in 34 ms: expected 204" for number in range(3))
        + "; and 2 more"
    )


@pytest.mark.parametrize(
    ("checks", "values", "reason"),
    [
        ([{"name": "a", "url": "http://x:${PORT}/"}], {}, "needs `PORT`, which the env does not hold"),
        ([{"name": "a", "url": "${BASE}/"}], {"BASE": "app"}, "with its values put in, ${BASE}/ is not an http(s) URL"),
        (
            [{"name": "a", "url": "${BASE}/"}],
            {"BASE": "http://x\n"},
            "with its values put in, ${BASE}/ is not an http(s) URL",
        ),
        (
            [{"name": "a", "url": BASE, "headers": {"X": "${KEY}"}}],
            {"KEY": "two\nlines"},
            "with its values put in, header `X` has a line break or control character",
        ),
    ],
)
def test_a_check_that_cannot_be_sent_is_skipped_and_not_ok(checks: Any, values: dict[str, str], reason: str) -> None:
    world = World(app())
    result = world.run(checks, values)
    assert (result["ok"], world.sent) == (False, [])
    assert (result["results"][0]["kind"], result["results"][0]["reason"]) == ("skipped", "skipped: " + reason)
    assert result["summary"] == f"0 of 1 checks passed; `a` skipped: {reason}"
    assert result["latency"] == {"min": None, "median": None, "p95": None}


def test_a_captured_value_wins_over_the_env() -> None:
    world = World(app())
    world.run([LOGIN, DATA], {**VALUES, "token": "stale"})
    assert world.sent[1].headers[0][1] == f"Bearer {JWT}"


def test_a_literal_dollar_brace() -> None:
    world = World(lambda _request, _world: got())
    world.run(
        [{"name": "a", "url": BASE + "/$${A}", "body": "$${A} ${B} $$ $B", "headers": {"X": "$${A}${B}"}}], {"B": "b"}
    )
    (request,) = world.sent
    assert (request.url, request.body, request.headers) == (BASE + "/${A}", b"${A} b $$ $B", (("X", "${A}b"),))


def test_a_value_is_not_expanded_again() -> None:
    world = World(lambda _request, _world: got())
    world.run([{"name": "a", "url": BASE, "json": ["${A}"]}], {"A": "${B}", "B": "no"})
    assert world.sent[0].body == b'["${B}"]'


def test_a_bad_check_is_an_error_before_anything_is_sent() -> None:
    world = World(app())
    with pytest.raises(CheckError):
        world.run([HEALTH, {**LOGIN, "status": "ok"}])
    assert world.sent == []


# --- retries ----------------------------------------------------------------------------------------------------------


def test_retries_until_it_passes() -> None:
    world = World(lambda _request, self: got(200 if self.time > 103 else 503, {"status": "ok"}))
    result = world.run([HEALTH], deadline=10)
    assert result["ok"]
    assert world.slept == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert result["results"][0]["attempts"] == 7
    assert result["summary"] == "1 of 1 checks passed after 7 attempts in 3.74 s"
    assert result["latency"]["p95"] == 0.034


def test_retries_end_at_the_deadline() -> None:
    world = World(lambda _request, _self: got(503, {"status": "no"}))
    result = world.run([HEALTH], deadline=2)
    assert not result["ok"]
    assert sum(world.slept) + 0.034 * len(world.sent) == pytest.approx(2, abs=0.1)
    assert world.time == pytest.approx(102, abs=0.1)
    assert "0 of 1 checks passed after 6 attempts; `health` got 503 in 34 ms: expected 200" in result["summary"]


@pytest.mark.parametrize("deadline", [0, -1.5])
def test_without_a_deadline_there_is_one_attempt(deadline: float) -> None:
    world = World(app(health=got(503)))
    world.run([HEALTH], deadline=deadline)
    assert (len(world.sent), world.slept) == (1, [])


def paths(world: World) -> list[str]:
    return [request.url.replace(BASE, "") for request in world.sent]


def test_a_retry_begins_at_the_check_that_failed() -> None:
    outcomes = iter([got(200, {"status": "ok"}), got(503), got(200, {"access_token": JWT}), got(200)])
    world = World(lambda _request, _self: next(outcomes))
    result = world.run([HEALTH, LOGIN, DATA], VALUES, deadline=5)
    assert result["ok"]
    assert paths(world) == ["/health", "/auth/login", "/auth/login", "/api/gifts"]
    assert [item["attempts"] for item in result["results"]] == [1, 2, 2]


def test_a_retry_asks_for_a_new_token() -> None:
    """The app may have been restarted with another JWT_SECRET between login and data."""
    logins = iter(["old", "new"])

    def answer(request: Request, _world: World) -> Any:
        if request.url.endswith("/login"):
            return got(200, {"access_token": next(logins)})
        return got(200 if dict(request.headers)["Authorization"] == "Bearer new" else 401)

    world = World(answer)
    assert world.run(
        [{**HEALTH, "json_path": {}, "status": [200, 401], "headers": {"Authorization": "x"}}, LOGIN, DATA], VALUES, 5
    )["ok"]
    assert paths(world) == ["/health", "/auth/login", "/api/gifts", "/auth/login", "/api/gifts"]


# --- judging ----------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000.0
BODY = {"status": "degraded", "n": 1, "f": 1.0, "t": True, "z": None, "items": [{"id": 7, "a b": "x"}], "token": "hush"}

# id, keys of the check, answer, kind (None: passes), what is said
JUDGED = [
    ("status", {}, got(204), "status", "got 204 in 34 ms: expected 200"),
    ("one of several", {"status": [200, 204]}, got(204), None, ""),
    (
        "none of many",
        {"status": [200, 204, 301, 404]},
        got(500, b"no db"),
        "status",
        "got 500 in 34 ms; it said: no db",
    ),
    (
        *("none of many, below them", {"status": [200, 204, 301, 404]}, got(400), "status"),
        "got 400 in 34 ms: expected one of 4 statuses, 200 to 404",
    ),
    ("none of several", {"status": [200, 204]}, got(500), "status", "got 500 in 34 ms: expected 200 or 204"),
    (
        "an error is quoted",
        {},
        got(500, b"no\n\n  database\x1b[0m"),
        "status",
        "expected 200; it said: no database [0m",
    ),
    (
        "a good answer is not",
        {"status": 401},
        got(200, b"data of a person"),
        "status",
        "got 200 in 34 ms: expected 401",
    ),
    ("quoted in short", {}, got(500, b"x" * 500), "status", "it said: " + "x" * 119 + "…"),
    ("equal text", {"json_path": {"$.status": "degraded"}}, got(200, BODY), None, ""),
    (
        "other text",
        {"json_path": {"$.status": "ok"}},
        got(200, BODY),
        "body",
        '`$.status` is "degraded": expected "ok"',
    ),
    ("1 is 1.0", {"json_path": {"$.n": 1.0, "$.f": 1}}, got(200, BODY), None, ""),
    ("1 is not true", {"json_path": {"$.n": True}}, got(200, BODY), "body", "`$.n` is 1: expected true"),
    ("true is not 1", {"json_path": {"$.t": 1}}, got(200, BODY), "body", "`$.t` is true: expected 1"),
    ("null is a value", {"json_path": {"$.z": None}}, got(200, BODY), None, ""),
    ("null is not missing", {"json_path": {"$.y": None}}, got(200, BODY), "body", "`$.y` is missing: expected null"),
    ("deep", {"json_path": {"$.items[0].id": 7, "$['items'][0][\"a b\"]": "x"}}, got(200, BODY), None, ""),
    ("past the end", {"json_path": {"$.items[1].id": 7}}, got(200, BODY), "body", "`$.items[1].id` is missing"),
    ("index of no list", {"json_path": {"$.status[0]": 7}}, got(200, BODY), "body", "is missing"),
    ("key of no object", {"json_path": {"$.items.id": 7}}, got(200, BODY), "body", "is missing"),
    ("whole document", {"json_path": {"$": {"equals": [1, {"a": True}]}}}, got(200, [1.0, {"a": True}]), None, ""),
    (
        "not the document",
        {"json_path": {"$": {"equals": [1]}}},
        got(200, [True]),
        "body",
        "`$` is a list of 1: expected a list of 1",
    ),
    ("exists", {"json_path": {"$.z": {"exists": True}}}, got(200, BODY), None, ""),
    ("does not", {"json_path": {"$.y": {"exists": True}}}, got(200, BODY), "body", "`$.y` is missing"),
    (
        "must not exist",
        {"json_path": {"$.z": {"exists": False}}},
        got(200, BODY),
        "body",
        "`$.z` is there: expected none",
    ),
    ("matches", {"json_path": {"$.status": {"matches": "^deg"}}}, got(200, BODY), None, ""),
    ("number matches", {"json_path": {"$.n": {"matches": r"^\d$"}}}, got(200, BODY), None, ""),
    ("no match", {"json_path": {"$.status": {"matches": "^ok$"}}}, got(200, BODY), "body", "expected a match of ^ok$"),
    (
        "missing match",
        {"json_path": {"$.y": {"matches": "a"}}},
        got(200, BODY),
        "body",
        "is missing: expected a match of a",
    ),
    (
        "secret by name",
        {"json_path": {"$.token": "x"}},
        got(200, BODY),
        "body",
        '`$.token` is not as expected: expected "x"',
    ),
    (
        "not JSON",
        {"json_path": {"$.a": 1}},
        got(200, b"<html>", Content_Type="text/html"),
        "body",
        "not JSON (6 bytes, text/html)",
    ),
    ("no body", {"json_path": {"$.a": 1}}, got(200), "body", "the body is not JSON (it is empty)"),
    ("too deep", {"json_path": {"$.a": 1}}, got(200, b"[" * 100_000), "body", "the body is not JSON (100000 bytes"),
    ("too large", {"json_path": {"$.a": 1}}, got(200)._replace(cut=True), "body", "the body is larger than 1 MiB"),
    ("contains", {"contains": "선물"}, got(200, "🎁 선물".encode()), None, ""),
    ("contains not", {"contains": "gift"}, got(200, b"none"), "body", 'the body does not contain "gift"'),
    ("contains in bytes that are no text", {"contains": "a"}, got(200, b"\xff\xfea"), None, ""),
    ("header", {"header": {"x-a": "1"}}, got(200, X_A="1"), None, ""),
    ("other header", {"header": {"X-A": "2"}}, got(200, x_a="1"), "header", 'header `X-A` is "1": expected "2"'),
    ("no header", {"header": {"X-A": "2"}}, got(200), "header", 'header `X-A` is missing: expected "2"'),
    (
        "header matches",
        {"header": {"Content-Type": {"matches": "json"}}},
        got(200, Content_Type="application/json"),
        None,
        "",
    ),
    (
        "unwanted header",
        {"header": {"Server": {"exists": False}}},
        got(200, Server="x"),
        "header",
        "is there: expected none",
    ),
    ("secret header", {"header": {"Set-Cookie": "a"}}, got(200, Set_Cookie="sid=1"), "header", "is not as expected"),
    ("days left", {"tls_days_left": 14}, got(200, expires=NOW + 14 * 86400), None, ""),
    (
        "too few",
        {"tls_days_left": 14},
        got(200, expires=NOW + 86400),
        "tls",
        "the certificate has 1.0 days left: expected 14 days",
    ),
    ("expired", {"tls_days_left": 0}, got(200, expires=NOW - 1), "tls", "the certificate has expired"),
    ("no TLS", {"tls_days_left": 14}, got(200), "tls", "without TLS"),
    (
        "nothing to capture",
        {"capture": {"a": "$.y"}},
        got(200, BODY),
        "body",
        "`$.y`, from which `a` is taken, is missing",
    ),
    ("null to capture", {"capture": {"a": "$.z"}}, got(200, BODY), "body", "is empty or not a single value"),
    ("a list to capture", {"capture": {"a": "$.items"}}, got(200, BODY), "body", "is empty or not a single value"),
    ("two lines to capture", {"capture": {"a": "$.b"}}, got(200, {"b": "x\ny"}), "body", "does not fit into a header"),
]


@pytest.mark.parametrize(
    ("keys", "answer", "kind", "said"), [row[1:] for row in JUDGED], ids=[row[0] for row in JUDGED]
)
def test_judging(keys: dict[str, Any], answer: Answer, kind: str | None, said: str) -> None:
    (check,) = parse_checks([{"name": "c", "url": "https://app.test/", **keys}])
    if kind is None:
        judge(check, answer, NOW, {})
        return
    with pytest.raises(Fault) as caught:
        judge(check, answer, NOW, {})
    assert caught.value.kind == kind
    assert said in str(caught.value)


def test_captures() -> None:
    keys = {"capture": {"a": "$.items[0].id", "b": "$.t", "c": "$.status", "d": "$.f"}}
    (check,) = parse_checks([{"name": "c", "url": BASE, **keys}])
    assert judge(check, got(200, BODY), NOW, {}) == {"a": "7", "b": "true", "c": "degraded", "d": "1.0"}


def test_a_slow_answer_is_not_ok_but_its_token_is_used() -> None:
    slow = got(200, {"access_token": JWT}, seconds=1.2)
    result = World(app(login=slow)).run([{**LOGIN, "max_latency": 1}, DATA], VALUES)
    assert [item["kind"] for item in result["results"]] == ["latency", None]
    assert result["results"][0]["reason"] == "got 200 in 1.20 s: expected 1.00 s or less"


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRET = 'pa55/w+rd with "quotes" & ünïcode'


def test_a_setting_is_shown_and_what_only_sounds_like_a_secret_is_not() -> None:
    said = b'FATAL: authentication failed for user "warehouse" with shelf-9981 and aisle-7742'
    values = {"DB_USER": "warehouse", "DB_PASSWORD": "shelf-9981", "SITE_TOKEN": "aisle-7742"}
    parsed = parse_checks([{"name": "c", "url": "http://app.test/${DB_USER}"}])
    it = World(always(got(500, said)))
    found = run_checks(parsed, values, 0.0, it.now, it.sleep, ask=it.ask, shown={"DB_USER", "SITE_TOKEN"})
    assert 'authentication failed for user "warehouse" with <DB_PASSWORD ' in found["summary"]
    assert "aisle-7742" not in found["summary"]
    unknown = run_checks(parsed, values, 0.0, it.now, it.sleep, ask=it.ask)
    assert "warehouse" not in unknown["summary"]


def test_a_setting_with_the_value_of_a_secret_is_hidden() -> None:
    parsed = parse_checks([{"name": "c", "url": "http://app.test/"}])
    it = World(always(got(500, b"failed for warehouse")))
    values = {"DB_USER": "warehouse", "DB_PASSWORD": "warehouse"}
    assert (
        "warehouse" not in run_checks(parsed, values, 0.0, it.now, it.sleep, ask=it.ask, shown={"DB_USER"})["summary"]
    )


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"json_path": {"$.echo": "x"}},
        {"json_path": {"$.echo": {"matches": "^x$"}}},
        {"header": {"X-Echo": "x"}},
        {"contains": "x-y-z"},
        {"capture": {"a": "$.none"}},
        {"tls_days_left": 3},
    ],
)
@pytest.mark.parametrize("status", [200, 401])
def test_a_value_of_the_env_is_redacted(keys: dict[str, Any], status: int) -> None:
    basic = base64.b64encode(f"user:{SECRET}".encode()).decode()
    for form, body in ((SECRET, {"echo": SECRET}), (SECRET, SECRET.encode()), (basic, {"echo": basic})):
        answer = got(status, body, X_Echo=form)
        check = {"name": "c", "url": "https://app.test/?q=${KEY}", "body": "${KEY}", **keys}
        result = World(always(answer)).run([check], {"KEY": SECRET})
        text = json.dumps(result, ensure_ascii=False)
        for part in (SECRET, "pa55", "quotes", form):
            assert part not in text


# --- a login by cookie -----------------------------------------------------------------------------------------------

FORM = b'<form method="post"><input type="hidden" name="csrf" value="f0rm+t0ken/3=="></form>'
FIELDS = {"email": "${EMAIL}", "password": "${PASSWORD}"}
COOKIES: list[tuple[str, list[dict[str, Any]], list[Answer], list[dict[str, str]], bytes]] = [
    (
        "Django: the token is a cookie and a header",
        [
            {"capture": {"csrf": {"cookie": "csrftoken"}}},
            {
                "method": "POST",
                "headers": {"Cookie": "csrftoken=${csrf}", "X-CSRFToken": "${csrf}"},
                "form": FIELDS,
                "status": 302,
                "capture": {"csrf2": {"cookie": "csrftoken"}, "session": {"cookie": "sessionid"}},
            },
            {"headers": {"Cookie": "sessionid=${session}; csrftoken=${csrf2}"}},
        ],
        [
            Answer(
                200,
                (("Set-Cookie", "csrftoken=c1; expires=Sat, 27 Nov 2027 00:00:00 GMT; Path=/"),),
                b"",
                False,
                0.1,
                None,
            ),
            Answer(
                302,
                (("Set-Cookie", "csrftoken=c2; Path=/"), ("Set-Cookie", "sessionid=s1; HttpOnly; Secure; Path=/shop")),
                b"",
                False,
                0.1,
                None,
            ),
            Answer(200, (), b"", False, 0.1, None),
        ],
        [{}, {"Cookie": "csrftoken=c1", "X-CSRFToken": "c1"}, {"Cookie": "sessionid=s1; csrftoken=c2"}],
        b"email=probe%40example.test&password=correct+horse+battery",
    ),
    (
        "Rails: the token is in the page",
        [
            {"capture": {"old": {"cookie": "_shop_session"}, "csrf": {"body": 'name="csrf" value="([^"]+)"'}}},
            {
                "method": "POST",
                "headers": {"Cookie": "_shop_session=${old}"},
                "form": {**FIELDS, "csrf": "${csrf}"},
                "status": 303,
                "capture": {"session": {"cookie": "_shop_session"}},
            },
            {"headers": {"Cookie": "_shop_session=${session}"}},
        ],
        [
            Answer(200, (("Set-Cookie", "_shop_session=a%2Bb==--9f; path=/; samesite=lax"),), FORM, False, 0.1, None),
            Answer(303, (("set-cookie", "_shop_session=c%2Fd==--1e; path=/"),), b"", False, 0.1, None),
            Answer(200, (), b"", False, 0.1, None),
        ],
        [{}, {"Cookie": "_shop_session=a%2Bb==--9f"}, {"Cookie": "_shop_session=c%2Fd==--1e"}],
        b"email=probe%40example.test&password=correct+horse+battery&csrf=f0rm%2Bt0ken%2F3%3D%3D",
    ),
    (
        "Express: JSON, the token is a header",
        [
            {"capture": {"csrf": {"header": "x-csrf-token"}, "id": "$.id"}},
            {
                "method": "POST",
                "headers": {"X-CSRF-Token": "${csrf}", "X-Id": "${id}"},
                "json": FIELDS,
                "capture": {"session": {"cookie": "connect.sid"}},
            },
            {"headers": {"Cookie": "connect.sid=${session}"}},
        ],
        [
            Answer(200, (("X-CSRF-Token", "h1"),), b'{"id": 7}', False, 0.1, None),
            Answer(200, (("Set-Cookie", "connect.sid=s%3Aabc.def; Path=/; HttpOnly"),), b"", False, 0.1, None),
            Answer(200, (), b"", False, 0.1, None),
        ],
        [{}, {"X-CSRF-Token": "h1", "X-Id": "7"}, {"Cookie": "connect.sid=s%3Aabc.def"}],
        b'{"email":"probe@example.test","password":"correct horse battery"}',
    ),
]


@pytest.mark.parametrize(
    ("steps", "answers", "headers", "body"), [case[1:] for case in COOKIES], ids=[case[0] for case in COOKIES]
)
def test_a_login_by_cookie(
    steps: list[dict[str, Any]], answers: list[Answer], headers: list[dict[str, str]], body: bytes
) -> None:
    checks = [{"name": f"c{number}", "url": f"{BASE}/{number}", **step} for number, step in enumerate(steps)]
    world = World(lambda request, _world: answers[int(request.url[-1])])
    assert world.run(checks, VALUES)["summary"].startswith("3 of 3 checks passed")
    sent = [{name: value for name, value in one.headers if name != "Content-Type"} for one in world.sent]
    assert (sent, world.sent[1].body) == (headers, body)
    form = "form" in steps[1]
    assert dict(world.sent[1].headers)["Content-Type"] == f"application/{'x-www-form-urlencoded' if form else 'json'}"


NOT_TAKEN: list[tuple[str, dict[str, str], tuple[tuple[str, str], ...], str, str]] = [
    ("no cookie", {"cookie": "sid"}, (), "header", "cookie `sid`, from which `a` is taken, is missing"),
    ("another cookie", {"cookie": "sid"}, (("Set-Cookie", "sid2=1"),), "header", "is missing"),
    ("a name in an attribute", {"cookie": "sid"}, (("Set-Cookie", "x=1; sid=2"),), "header", "is missing"),
    ("a removed cookie", {"cookie": "sid"}, (("Set-Cookie", "sid=1; max-age=0"),), "header", "is missing"),
    ("an empty cookie", {"cookie": "sid"}, (("Set-Cookie", "sid=; Path=/"),), "header", "is empty"),
    ("no header", {"header": "X-Token"}, (), "header", "header `X-Token`, from which `a` is taken, is missing"),
    ("nothing in the page", {"body": "csrf=(.+)"}, (), "body", "the body does not match the pattern from which `a`"),
]


@pytest.mark.parametrize(
    ("where", "headers", "kind", "said"), [case[1:] for case in NOT_TAKEN], ids=[case[0] for case in NOT_TAKEN]
)
def test_what_cannot_be_captured(
    where: dict[str, str], headers: tuple[tuple[str, str], ...], kind: str, said: str
) -> None:
    world = World(lambda _request, _world: Answer(200, headers, b"<p>csrf</p>", False, 0.1, None))
    result = world.run([{"name": "login", "url": BASE, "capture": {"a": where}}])["results"][0]
    assert (result["ok"], result["kind"]) == (False, kind)
    assert said in result["reason"]


def test_the_last_cookie_of_a_name_counts_and_is_a_secret() -> None:
    cookies = (("Set-Cookie", "sid=old-one; Max-Age=0"), ("Set-Cookie", 'sid="n3w=valu3"; Max-Age=60'))
    answers = [
        Answer(200, cookies, b"", False, 0.1, None),
        Answer(500, (), b'no session "n3w=valu3" here', False, 0.1, None),
    ]
    world = World(lambda request, _world: answers[int(request.url[-1])])
    checks = [
        {"name": "login", "url": f"{BASE}/0", "capture": {"session": {"cookie": "sid"}}},
        {"name": "data", "url": f"{BASE}/1", "headers": {"Cookie": "sid=${session}"}},
    ]
    result = world.run(checks)
    assert world.sent[1].headers == (("Cookie", 'sid="n3w=valu3"'),)
    assert "n3w" not in json.dumps(result)
    assert "no session" in result["results"][1]["reason"]


def test_a_captured_value_is_redacted() -> None:
    token = "opaque-token-of-the-app"
    outcome = {"/auth/login": got(200, {"access_token": token}), "/api/gifts": got(500, f"who is {token}?".encode())}
    result = World(lambda request, _self: outcome[request.url.replace(BASE, "")]).run([LOGIN, DATA], VALUES)
    assert token not in json.dumps(result)
    assert "it said: who is <token sha256:" in result["summary"]


@pytest.mark.parametrize("token", [JWT, "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"])
def test_an_unknown_token_is_redacted(token: str) -> None:
    result = World(lambda _request, _self: got(500, f"bad key {token}!".encode())).run([{"name": "c", "url": BASE}])
    assert result["summary"].endswith("it said: bad key <token>!")


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.95, 3.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.95, 95.0),
        ([float(n) for n in range(1, 11)], 0.95, 10.0),
    ],
)
def test_quantile(samples: list[float], q: float, expected: float | None) -> None:
    assert quantile(samples, q) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_samples(samples: list[float], q: float) -> None:
    found = quantile(samples, q)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= math.floor(q * len(samples))


@given(st.lists(st.sampled_from(["ok", "refused", "500"]), min_size=1, max_size=6), st.floats(0, 8))
def test_the_counts_add_up_for_any_outcome(outcomes: list[str], deadline: float) -> None:
    endless = iter(outcomes * 1000)

    def answer(_request: Request, _world: World) -> Any:
        return {"ok": got(), "500": got(500), "refused": Fault("refused", "no")}[next(endless)]

    world = World(answer)
    result = world.run([{"name": str(number), "url": BASE} for number in range(3)], deadline=deadline)
    assert result["passed"] == sum(item["ok"] for item in result["results"])
    assert result["ok"] == (result["passed"] == result["total"] == 3)
    assert sum(item["attempts"] for item in result["results"]) == len(world.sent)
    assert world.time <= 100 + deadline + 3 * 0.034 + 0.01
    assert all((item["kind"] is None) == item["ok"] for item in result["results"])
    assert all(item["kind"] in KINDS for item in result["results"] if not item["ok"])


# --- for real ---------------------------------------------------------------------------------------------------------


class App(BaseHTTPRequestHandler):
    """A small app with a login, on a real socket."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        elif self.headers["Authorization"] == f"Bearer {JWT}":
            self.answer(200, {"gifts": [{"id": 1}]})
        else:
            self.answer(401, {"error": "no token"})

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if given == {"email": VALUES["EMAIL"], "password": VALUES["PASSWORD"]}:
            self.answer(200, {"access_token": JWT})
        else:
            self.answer(401, {"error": "wrong email or password"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


CHECKS = [
    {"name": "health", "url": "http://127.0.0.1:${PORT}/health", "proves": "health", "json_path": {"$.status": "ok"}},
    {**LOGIN, "url": "http://127.0.0.1:${PORT}/auth/login"},
    {
        **DATA,
        "url": "http://127.0.0.1:${PORT}/api/gifts",
        "json_path": {"$.gifts[0].id": {"exists": True}},
        "header": {"Content-Type": "application/json"},
    },
]


def test_for_real(port: int) -> None:
    result = run_checks(parse_checks(CHECKS), {**VALUES, "PORT": str(port)})
    assert result["ok"], result["summary"]
    times = [result["latency"]["min"], result["latency"]["median"], result["latency"]["p95"]]
    assert times == sorted(filter(None, times))
    assert 0 < times[0] < times[2] < 1 if times[0] and times[2] else False


def test_for_real_with_a_wrong_password(port: int) -> None:
    result = run_checks(parse_checks(CHECKS), {**VALUES, "PORT": str(port), "PASSWORD": "wrong"}, 0.3)
    assert (result["ok"], result["passed"]) == (False, 1)
    assert 'expected 200; it said: {"error": "wrong email or password"}' in result["summary"]
    assert 0.3 <= result["seconds"] < 0.6


def test_without_checks_no_request_is_sent_and_the_summary_says_so() -> None:
    found = run_checks([], {}, ask=lambda *_: pytest.fail("something was asked"))
    assert (found["ok"], found["results"]) == (True, [])
    assert "no check" in found["summary"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    today = datetime(2026, 10, 21, 7, 28, tzinfo=timezone.utc).timestamp()
    answer = Answer(503, (("retry-after", header),) if header else (), b"", False, 0.1, None)
    assert retry_after(answer, today) == seconds
