# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The answers of a Supabase project → findings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules as secret_rules
from ansible_collections.christmas.selfheal.plugins.module_utils.env import supabase_online
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import web
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import GOOD, TABLE, new_key, noise

VARIABLES = secret_rules.parse_table(TABLE)
SETTINGS, REST = "/auth/v1/settings", "/rest/v1/"


class Project:
    """Replaces the network: answers each path with a status or a fault, and records the requests."""

    def __init__(self, **answers: int | web.Fault | ValueError) -> None:
        self.answers = {"settings": 200, "rest": 200, **answers}
        self.asked: list[web.Request] = []

    def __call__(self, request: web.Request) -> web.Answer:
        self.asked.append(request)
        answer = self.answers["settings" if request.url.endswith(SETTINGS) else "rest"]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return web.Answer(answer, (), b"{}", False, 0.01, None)


def ask(project: Project, **values: Any) -> list[dict[str, Any]]:
    return [dict(finding) for finding in supabase_online.validate_online(VARIABLES, {**GOOD, **values}, 3.0, project)]


def test_each_key_is_sent_to_its_endpoint_and_never_as_a_bearer_token() -> None:
    project = Project()
    assert ask(project) == []
    assert [(request.url, request.headers, request.timeout, request.method) for request in project.asked] == [
        (GOOD["SUPABASE_URL"] + SETTINGS, (("apikey", GOOD["SUPABASE_ANON_KEY"]),), 3.0, "GET"),
        (GOOD["SUPABASE_URL"] + REST, (("apikey", GOOD["SUPABASE_SERVICE_KEY"]),), 3.0, "GET"),
    ]


def test_a_self_hosted_address_may_have_a_path_and_a_slash() -> None:
    project = Project()
    assert ask(project, SUPABASE_URL="http://10.0.0.5:8000/supabase/") == []
    assert project.asked[1].url == "http://10.0.0.5:8000/supabase/rest/v1/"


ANSWERS = [
    ("a revoked service key", {"rest": 401}, "SUPABASE_SERVICE_KEY", "rejected", "status 401"),
    ("the anon key in its place", {"rest": 403}, "SUPABASE_SERVICE_KEY", "wrong_kind", "public (anon) key"),
    ("a revoked anon key", {"settings": 401}, "SUPABASE_ANON_KEY", "rejected", "status 401"),
    ("a forbidden anon key", {"settings": 403}, "SUPABASE_ANON_KEY", "rejected", "status 403"),
    ("a paused project", {"rest": 540}, "SUPABASE_URL", "unreachable", "answers 540"),
    ("a project that is down", {"settings": 503}, "SUPABASE_URL", "unreachable", "answers 503"),
    ("not Supabase", {"settings": 404}, "SUPABASE_URL", "unreachable", "answers 404"),
    ("no answer", {"settings": web.Fault("timeout", "no answer within 3 s")}, "SUPABASE_URL", "unreachable", "within"),
    ("an error with a secret", {"settings": ValueError("hush-hush")}, "SUPABASE_URL", "unreachable", "cannot be asked"),
]


@pytest.mark.parametrize(("answers", "name", "rule", "part"), [row[1:] for row in ANSWERS], ids=[r[0] for r in ANSWERS])
def test_answers(answers: dict[str, Any], name: str, rule: str, part: str) -> None:
    (finding,) = ask(Project(**answers))
    assert (finding["variable"], finding["rule"]) == (name, rule)
    assert part in finding["reason"]
    assert finding["fix"].endswith((".", "?"))
    shown = json.dumps(finding)
    assert not any(value in shown for name, value in GOOD.items() if name.endswith("KEY"))
    assert "hush" not in shown


def test_a_project_that_does_not_answer_is_asked_once() -> None:
    project = Project(settings=web.Fault("refused", "connection refused"))
    ask(project)
    assert len(project.asked) == 1


@pytest.mark.parametrize(
    ("row", "values", "requests"),
    [
        ("no address", {"SUPABASE_URL": None}, 0),
        ("an invalid address", {"SUPABASE_URL": "shop"}, 0),
        ("a key that a header cannot hold", {"SUPABASE_SERVICE_KEY": "hush\r\nX: y"}, 1),
        ("a key that is missing", {"SUPABASE_SERVICE_KEY": None}, 1),
        ("new keys", {"SUPABASE_SERVICE_KEY": new_key("secret"), "SUPABASE_ANON_KEY": new_key("publishable")}, 2),
        ("a key in quotes is sent without them", {"SUPABASE_SERVICE_KEY": f'"{new_key("secret")}"\n'}, 2),
    ],
)
def test_only_valid_addresses_and_keys_are_asked(row: str, values: dict[str, Any], requests: int) -> None:
    project = Project()
    assert ask(project, **values) == []
    assert len(project.asked) == requests


def test_with_two_projects_no_key_is_sent() -> None:
    project = Project()
    variables = secret_rules.parse_table([*TABLE, {"name": "OTHER_URL", "kind": "supabase_url"}])
    assert supabase_online.validate_online(variables, {**GOOD, "OTHER_URL": "http://10.0.0.5:8000"}, 3.0, project) == []
    assert project.asked == []


class Standin(BaseHTTPRequestHandler):
    """A project that knows one service key and one anon key, over a real socket."""

    keys: ClassVar = {"service": noise("service", 40), "anon": noise("anon", 40)}

    def log_message(self, *_words: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        key = self.headers["apikey"]
        known = key in self.keys.values() and "Authorization" not in self.headers
        status = 401 if not known else 403 if self.path == REST and key == self.keys["anon"] else 200
        self.send_response(status)
        self.end_headers()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Standin)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("service", "anon", "rules"),
    [
        ("service", "anon", []),
        ("anon", "anon", ["wrong_kind"]),
        ("other", "anon", ["rejected"]),
        ("other", "other", ["rejected", "rejected"]),
    ],
)
def test_over_a_real_connection(address: str, service: str, anon: str, rules: list[str]) -> None:
    keys = {**Standin.keys, "other": noise("other", 40)}
    values = {"SUPABASE_URL": address, "SUPABASE_SERVICE_KEY": keys[service], "SUPABASE_ANON_KEY": keys[anon]}
    assert [finding["rule"] for finding in supabase_online.validate_online(VARIABLES, values, 5.0)] == rules
