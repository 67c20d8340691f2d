# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy asks what the gate asks: Host, headers, path, method, scheme and status are those of the health check."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import web
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.web import Answer, Request
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.plugin_utils.haproxy_check import haproxy_check

PLAIN = {"PORT": 8000}

# id: the health check, and what HAProxy has to send and expect of it.
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a path and the address itself": (
        {"url": "http://127.0.0.1:${PORT}/health"},
        "GET /health Host=127.0.0.1:8000 X-Forwarded-Proto=http",
        "200",
    ),
    "the app answers only to its own host": (
        {"url": "http://127.0.0.1:${PORT}/health", "headers": {"Host": "shop.example"}},
        "GET /health Host=shop.example X-Forwarded-Host=shop.example",
        "200",
    ),
    "the app insists on https": (
        {"url": "https://localhost/health?full=1", "verify_tls": False},
        "GET /health?full=1 Host=localhost X-Forwarded-Proto=https X-Forwarded-Port=443",
        "200",
    ),
    "a header of the app, with a percent sign and a quote": (
        {"url": "http://127.0.0.1:8000/", "headers": {"X-Probe": "it's 5 %"}, "method": "HEAD", "status": [200, 204]},
        "HEAD / X-Probe=it's 5 %%",
        "200,204",
    ),
    "its own header for the scheme counts": (
        {"url": "http://127.0.0.1:8000/", "headers": {"X-Forwarded-Proto": "https"}},
        "GET / X-Forwarded-Proto=https",
        "200",
    ),
}


def check(**keys: Any) -> dict[str, Any]:
    return {"name": "health", "proves": "health", **keys}


def read(send: str) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers of a `http-check send` line; HAProxy quotes like the shell."""
    words = shlex.split(send)
    assert words[0::2][:2] == ["meth", "uri"]
    rest = words[words.index("hdr") :]
    assert set(rest[0::3]) == {"hdr"}
    return words[1], words[3], dict(zip(rest[1::3], rest[2::3]))


@pytest.mark.parametrize(("health", "asked", "expected"), CASES.values(), ids=CASES)
def test_haproxy_asks_what_the_health_check_asks(health: dict[str, Any], asked: str, expected: str) -> None:
    directives = haproxy_check(
        [check(name="login", url="http://127.0.0.1/login", proves="api"), check(**health)], PLAIN
    )
    assert (directives["problem"], directives["expect"]) == ("", expected)
    method, target, headers = read(directives["send"])
    wanted = asked.split(" ", 2)
    assert [method, target] == wanted[:2]
    for word in [wanted[2]] if "X-Probe" in asked else wanted[2].split():
        name, _unused, value = word.partition("=")
        assert headers[name] == value


@pytest.mark.parametrize(("health", "asked", "expected"), CASES.values(), ids=CASES)
def test_the_gate_asks_an_instance_the_same(
    health: dict[str, Any], asked: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Request] = []

    def fetch(request: Request, _now: Any) -> Answer:
        sent.append(request)
        return Answer(200, (), b"", False, 0.01, None)

    monkeypatch.setattr(web, "fetch", fetch)
    ask = haproxy.aside(Balancer("web", 2, 18000, (8000, 80, 443)), 18001)
    probe.run_checks(probe.parse_checks([check(**health)]), {"PORT": "8000"}, ask=ask)
    method, target, headers = read(haproxy_check([check(**health)], PLAIN)["send"])
    assert (sent[0].method, sent[0].url) == (method, f"http://127.0.0.1:18001{target}")
    assert dict(sent[0].headers) == {name: value.replace("%%", "%") for name, value in headers.items()}


REFUSED = {
    "a secret in a header": (
        check(url="http://127.0.0.1/", headers={"Authorization": "Bearer ${TOKEN}"}),
        "uses ${TOKEN}, which is not known here",
    ),
    "a body": (check(url="http://127.0.0.1/", method="POST", json={"a": 1}), "sends a body"),
    "a check that is not valid": (check(url="ftp://127.0.0.1/"), "is not an http(s) URL"),
}


@pytest.mark.parametrize(("health", "said"), REFUSED.values(), ids=REFUSED)
def test_what_haproxy_cannot_ask_is_refused_with_a_fix(health: dict[str, Any], said: str) -> None:
    problem = haproxy_check([health], PLAIN)["problem"]
    assert said in problem
    assert "Fix: " in problem


def test_another_path_and_no_checks() -> None:
    send = haproxy_check([check(url="http://127.0.0.1/health", headers={"Host": "shop"})], {}, "/ready")["send"]
    assert read(send)[1:2] == ("/ready",)
    assert read(send)[2]["Host"] == "shop"
    assert haproxy_check([], {})["send"] == "meth GET uri /health ver HTTP/1.1 hdr Host localhost"
