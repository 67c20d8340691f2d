# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inventory says of a project: its variables and where their values are, checks, services, flaws."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import services as services_table
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import check_spec
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import guess, read
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Guessed, InitError
from ansible_collections.christmas.selfheal.tests.unit.corpus.compose_projects import ENV, PROJECTS
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import STACKS
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import NOW

IMAGE = "ghcr.io/acme/web:1"


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(text.encode())


def guessed(top: Path, files: dict[str, str], *given: str) -> Guessed:
    write(top, files)
    return guess.guess(read.read(given or ["compose.yaml"], here=str(top)), NOW)


def web(**keys: Any) -> dict[str, str]:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return {"compose.yaml": f"services: {{web: {{image: '{IMAGE}'{more}}}}}"}


# --- variables --------------------------------------------------------------------------------------------------------

# id, files, {name: (kind, required, where the value is: its text in the row, "vault", or None)}
VARIABLES: list[tuple[str, dict[str, str], dict[str, tuple[str, bool, object]]]] = [
    (
        "a setting and a secret",
        {**web(), ".env": "LEVEL=3\nTOKEN=kD8#vq2Z\n"},
        {"LEVEL": ("integer", True, 3), "TOKEN": ("token", True, "vault")},
    ),
    ("used and set", {**web(command='"$A"'), ".env": "A=b\n"}, {"A": ("text", True, "b")}),
    ("used and not set", web(command='"${A}"'), {"A": ("text", True, None)}),
    ("required and not set", web(command='"${A_TOKEN:?}"'), {"A_TOKEN": ("token", True, "vault")}),
    ("used with a default", web(command='"${A_PORT:-80}"'), {"A_PORT": ("port", False, None)}),
    ("used when it is set", web(command='"${A:+b}"'), {"A": ("text", False, None)}),
    ("a secret with a default", web(command='"${A_TOKEN:-x}"'), {"A_TOKEN": ("token", False, None)}),
    ("passed on and not set", web(environment="[A]"), {"A": ("text", False, None)}),
    ("passed on and set", {**web(environment="{A: }"), ".env": "A=1\n"}, {"A": ("integer", True, 1)}),
    ("empty", {**web(), ".env": "A=\n"}, {"A": ("text", False, "")}),
    ("empty, and used", {**web(command='"$A_PORT"'), ".env": "A_PORT=\n"}, {"A_PORT": ("text", False, "")}),
    ("empty, and required", {**web(command='"${A:?}"'), ".env": "A=\n"}, {"A": ("text", True, "")}),
    ("set by the compose file", web(environment="{A: b}"), {}),
    ("in an env file alone", {**web(env_file="a.env"), "a.env": "A=b\n"}, {}),
    (
        "in an env file, and passed on",
        {**web(env_file="a.env", environment="[A]"), "a.env": "A=b\n"},
        {},
    ),
    (
        "in an env file, and used by the compose file",
        {**web(env_file="a.env", command='"$A"'), "a.env": "A=b\n"},
        {"A": ("text", True, None)},
    ),
    (
        "in both",
        {**web(env_file="a.env"), ".env": "A=b\n", "a.env": "A=b\n"},
        {"A": ("text", True, "b")},
    ),
    (
        "in an env file, where another service reads .env",
        {
            "compose.yaml": "services: {a: {image: x, env_file: a.env}, b: {image: x, env_file: .env}}",
            "a.env": "A=b\n",
            ".env": "B=c\n",
        },
        {"B": ("text", True, "c")},
    ),
    (
        "one that an included file has",
        {
            "compose.yaml": "include: [{path: b.yaml, env_file: b.env}]",
            "b.yaml": "services: {b: {image: 'x:$TAG'}}",
            "b.env": "TAG=1\n",
        },
        {},
    ),
    (
        "Compose's own",
        {**web(), ".env": "COMPOSE_PROJECT_NAME=x\nCOMPOSE_PROFILES=a\n"},
        {"COMPOSE_PROFILES": ("text", True, "a")},
    ),
    (
        "a name that the table cannot have",
        {**web(env_file="a.env"), "a.env": "discovery.type=single-node\n", ".env": "A=b\n"},
        {"A": ("text", True, "b")},
    ),
    ("a secret of several lines", {**web(), ".env": 'KEY="kD8#vq2Z\nWq7#kd!f"\n'}, {"KEY": ("text", True, "vault")}),
    ("of several lines", {**web(), ".env": 'A="b\nc"\n'}, {"A": ("text", True, "b\nc")}),
]


@pytest.mark.parametrize(("files", "wanted"), [row[1:] for row in VARIABLES], ids=[row[0] for row in VARIABLES])
def test_variables(tmp_path: Path, files: dict[str, str], wanted: dict[str, tuple[str, bool, object]]) -> None:
    found = guessed(tmp_path, files).variables
    assert {
        one.name: (one.row["kind"], one.row.get("required", True), "vault" if one.in_vault else one.row.get("default"))
        for one in found
    } == wanted


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (web(ports='["${WEB_PORT:-8080}:80"]'), "the port of the host at which Docker publishes web"),
        (
            {"compose.yaml": "services: {web: {image: x, ports: ['$WEB_PORT:80']}, api: {extends: web}}"},
            "the port of the host at which Docker publishes web, api",
        ),
        (web(ports='["${WEB_PORT:-8080}:${WEB_PORT:-8080}"]'), ""),
        (web(ports='["${WEB_PORT:-8080}:80"]', environment='{URL: "http://x:$WEB_PORT"}'), ""),
    ],
    ids=["published", "extended", "the container's own, too", "used elsewhere, too"],
)
def test_a_variable_that_only_gives_a_published_port_says_so(
    tmp_path: Path, files: dict[str, str], source: str
) -> None:
    [found] = guessed(tmp_path, files).variables
    assert found.row.get("source", "") == source


def test_an_env_file_stays_and_the_report_says_so(tmp_path: Path) -> None:
    found = guessed(
        tmp_path, {**web(env_file="[a.env, b.env]"), "a.env": "LEVEL=1\n", "b.env": "X=1\nA_TOKEN=kD8#vq2Z\n"}
    )
    assert found.left[0] == (
        "a.env stays as it is (web reads it), with LEVEL: change them there. It is copied to the server."
    )
    assert found.left[1].startswith("b.env stays as it is (web reads it), with X, A_TOKEN: change them there.")
    assert "it holds A_TOKEN in plain text" in found.left[1]
    assert "kD8" not in str(found)


def test_a_secret_in_the_compose_file_stays_and_the_report_says_so(tmp_path: Path) -> None:
    environment = "{A_TOKEN: kD8#vq2Z, DATABASE_URL: 'postgres://a:${DB_PASSWORD}@db/a', B_KEY: changeme}"
    (said,) = guessed(tmp_path, {**web(environment=environment), ".env": "DB_PASSWORD=Vw3kP8sXq2Zt\n"}).left
    assert said.startswith("A_TOKEN stays in compose.yaml line 1, in plain text, for web")
    assert "kD8" not in said


def test_secrets_of_other_files_get_rows_and_no_value(tmp_path: Path) -> None:
    files = {
        **web(env_file="[api.env]", environment="{A_TOKEN: kD8#vq2Zx, POSTGRES_PASSWORD: postgres, LEVEL: debug}"),
        "api.env": "MAIL_PASSWORD=Vw3kP8sXq2Zt\nMODE=fast\n",
    }
    rows = {one.name: one for one in guessed(tmp_path, files).variables}
    # The database's default password would be refused.
    assert sorted(rows) == ["A_TOKEN", "MAIL_PASSWORD"]
    for one in rows.values():
        assert one.row["required"] is False
        assert one.comment.endswith("its value stays there")
        assert (one.in_vault, one.value) == (False, "")
        (variable,) = rules.parse_table([one.row])
        assert variable.secret


# id, the mount, files of the project, what the report says of it
MOUNTS: list[tuple[str, str, dict[str, str], str]] = [
    ("a folder with files", "./data:/data", {"data/a/b": "12345"}, "The first deploy copies its file (5.00 Bytes)"),
    (
        "a folder in long form",
        "{type: bind, source: ./data, target: /x}",
        {"data/a": "1", "data/b": "2"},
        "its 2 files",
    ),
    ("no folder", "./data:/data:rw", {}, "There is none here"),
    ("the whole project", ".:/app", {}, "The project's folder is data"),
    ("a file", "./a.sqlite:/a.sqlite", {"a.sqlite": "1"}, "a.sqlite is data, as web writes to it"),
    ("a variable", "./${D:-data}:/data", {"data/a": "1"}, "data is data"),
    ("a folder to read", "./data:/data:ro", {"data/a": "1"}, ""),
    ("a file to read", "{type: bind, source: ./a, target: /a, read_only: true}", {"a": "1"}, ""),
    ("the host's own", "/srv/data:/data", {}, ""),
    ("a volume", "data:/data", {}, ""),
]


@pytest.mark.parametrize(("mount", "files", "said"), [row[1:] for row in MOUNTS], ids=[row[0] for row in MOUNTS])
def test_data_in_the_project_is_reported(tmp_path: Path, mount: str, files: dict[str, str], said: str) -> None:
    given = mount if mount.startswith("{") else f"'{mount}'"
    compose = f"services: {{web: {{image: x, volumes: [{given}]}}}}\nvolumes: {{data: }}\n"
    found = guessed(tmp_path, {"compose.yaml": compose, **files}).left
    assert (len(found), said in "".join(found)) == (1 if said else 0, True)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "an empty folder, owned by root: user 1001 cannot write to it. Create it here first"),
        ({"data/a": "1"}, "to the server, for user 1001, which the service runs as"),
    ],
    ids=["no folder", "a folder of the person who deploys"],
)
def test_data_goes_to_the_user_of_the_service(tmp_path: Path, files: dict[str, str], said: str) -> None:
    compose = "services: {web: {image: x, user: '${WEB_USER:-1001}:1001', volumes: ['./data:/data']}}\n"
    assert said in "".join(guessed(tmp_path, {"compose.yaml": compose, **files}).left)


@pytest.mark.parametrize(
    ("users", "said"),
    [
        (("2000", "1001"), "for user 2000, which the service runs as"),
        (("node", "1001"), "for user 1001, which the service runs as"),
        (("node", "app:app"), "for the same owner"),
    ],
    ids=["the first", "the first with a number", "names, which only the image knows"],
)
def test_data_of_two_services_goes_to_the_first_whose_user_a_deploy_knows(
    tmp_path: Path, users: tuple[str, str], said: str
) -> None:
    one, other = (f"{{image: x, user: '{user}', volumes: ['./data:/data']}}" for user in users)
    files = {"compose.yaml": f"services: {{web: {one}, api: {other}}}\n", "data/a": "1"}
    assert said in "".join(guessed(tmp_path, files).left)


def test_an_empty_folder_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = guessed(tmp_path, {"compose.yaml": "services: {web: {image: x, volumes: ['./data:/data']}}\n"}).left
    owner = f"{os.geteuid()}:{(tmp_path / 'data').stat().st_gid}"
    assert f"It is empty here, so the server gets an empty folder, for the same owner ({owner})" in "".join(found)
    assert "owned by root" not in "".join(found)


def test_of_two_mounts_at_one_place_the_later_file_s_counts(tmp_path: Path) -> None:
    over = "services: {web: {volumes: [{type: bind, source: /srv/data, target: /data}]}}\n"
    files = {"compose.yaml": "services: {web: {image: x, volumes: ['./data:/data']}}\n", "compose.override.yaml": over}
    assert guessed(tmp_path, files).left == []


def test_the_same_secret_under_two_names(tmp_path: Path) -> None:
    found = guessed(tmp_path, {**web(), ".env": "A_PASSWORD=kD8#vq2Z\nB_PASSWORD=kD8#vq2Z\n"})
    assert [one.row.get("same_as") for one in found.variables] == [None, "A_PASSWORD"]
    assert "the same value as A_PASSWORD" in found.variables[1].comment
    assert found.flaws == []


# --- flaws ------------------------------------------------------------------------------------------------------------

FLAWS: list[tuple[str, dict[str, str], list[tuple[str, str, str]]]] = [
    ("none", {**web(), ".env": "TOKEN=kD8#vq2Z\n"}, []),
    ("a placeholder", {**web(), ".env": "\nTOKEN=changeme\n"}, [("TOKEN", ".env line 2", "placeholder: ")]),
    (
        "a placeholder of a setting",
        {**web(), ".env": "SITE=https://your-domain.com\n"},
        [("SITE", ".env line 1", "placeholder: ")],
    ),
    ("missing", web(command='"$A"'), [("A", "compose.yaml line 1", "it has no value")]),
    ("a name that the table cannot have", {**web(), ".env": "a.b=c\n"}, [("a.b", ".env line 1", "only letters")]),
    (
        "a space around a secret",
        {**web(), ".env": "TOKEN='kD8#vq2Z '\n"},
        [("TOKEN", ".env line 1", "a space around it")],
    ),
    (
        "a placeholder in the compose file",
        web(environment="{A_TOKEN: changeme}"),
        [("A_TOKEN", "compose.yaml line 1", "a placeholder")],
    ),
    (
        "in an address, once",
        {**web(environment="{URL: 'postgres://a:${P_PASSWORD}@b/c'}"), ".env": "P_PASSWORD=changeme\n"},
        [("P_PASSWORD", ".env line 1", "placeholder: ")],
    ),
    (
        "a placeholder as a default",
        web(environment="{A_TOKEN: '${A_TOKEN:-changeme}'}"),
        [("A_TOKEN", "compose.yaml line 1", "placeholder")],
    ),
    (
        "another value in an env file",
        {**web(env_file="[.env, a.env]"), ".env": "TOKEN=kD8#vq2Z\n", "a.env": "TOKEN=Wq7#kd!f\n"},
        [("TOKEN", "a.env line 1", "another value than the validated one")],
    ),
]


@pytest.mark.parametrize(("files", "flaws"), [row[1:] for row in FLAWS], ids=[row[0] for row in FLAWS])
def test_flaws(tmp_path: Path, files: dict[str, str], flaws: list[tuple[str, str, str]]) -> None:
    found = guessed(tmp_path, files).flaws
    assert [(one.name, one.place) for one in found] == [flaw[:2] for flaw in flaws], found
    assert [one for one, flaw in zip(found, flaws) if flaw[2] not in one.reason or not one.fix] == []
    assert "changeme" not in str(found)
    assert "kD8" not in str(found)


def test_a_placeholder_is_not_taken_into_the_vault(tmp_path: Path) -> None:
    found = guessed(tmp_path, {**web(), ".env": "TOKEN=changeme\n"}).variables
    assert [(one.in_vault, one.value) for one in found] == [(True, "")]


# --- checks and services ----------------------------------------------------------------------------------------------

CURL = "healthcheck: {test: [CMD, curl, -f, 'http://localhost:3000/health']}"
ANY = [200, 204, 301, 302, 303, 307, 308, 401, 403, 404]

# id, services, .env, {check: (url, status)}, {service: port}
CHECKS: list[tuple[str, str, str, dict[str, tuple[str, object]], dict[str, int]]] = [
    (
        "a published port",
        "web: {build: ., ports: ['3000:3000']}",
        "",
        {"web": ("http://127.0.0.1:3000/", ANY)},
        {"web": 3000},
    ),
    (
        "another port outside",
        "web: {image: x, ports: ['80:8080']}",
        "",
        {"web": ("http://127.0.0.1:80/", ANY)},
        {"web": 8080},
    ),
    (
        "an address",
        "web: {image: x, ports: ['10.0.0.5:80:8080']}",
        "",
        {"web": ("http://10.0.0.5:80/", ANY)},
        {"web": 8080},
    ),
    ("IPv6", "web: {image: x, ports: ['[::1]:80:8080']}", "", {"web": ("http://[::1]:80/", ANY)}, {"web": 8080}),
    ("TLS alone", "web: {image: x, ports: ['443:8443']}", "", {"web": ("https://127.0.0.1:443/", ANY)}, {"web": 8443}),
    ("both", "web: {image: 'caddy:2', ports: ['443:443', '80:80']}", "", {"web": ("http://127.0.0.1:80/", ANY)}, {}),
    (
        "a variable",
        "web: {build: ., ports: ['${P}:3000']}",
        "P=80\n",
        {"web": ("http://127.0.0.1:${P}/", ANY)},
        {"web": 3000},
    ),
    (
        "a variable with a default",
        "web: {build: ., ports: ['${P:-81}:3000']}",
        "",
        {"web": ("http://127.0.0.1:81/", ANY)},
        {"web": 3000},
    ),
    ("a variable without a value", "web: {build: ., ports: ['${P}:3000']}", "", {}, {}),
    (
        "its healthcheck",
        f"web: {{build: ., ports: ['80:3000'], {CURL}}}",
        "",
        {"web": ("http://127.0.0.1:80/health", None)},
        {"web": 3000},
    ),
    (
        "its healthcheck in words",
        "web: {build: ., ports: ['80:3000'], healthcheck: {test: 'wget -q localhost:3000/up || exit 1'}}",
        "",
        {"web": ("http://127.0.0.1:80/up", None)},
        {"web": 3000},
    ),
    (
        "a healthcheck with a variable",
        "web: {build: ., ports: ['80:3000'], healthcheck: {test: 'curl http://localhost:${P:-3000}/up'}}",
        "",
        {"web": ("http://127.0.0.1:80/up", None)},
        {"web": 3000},
    ),
    (
        "a healthcheck of its front page",
        "web: {build: ., ports: ['80:3000'], healthcheck: {test: 'curl http://web:3000'}}",
        "",
        {"web": ("http://127.0.0.1:80/", ANY[:7])},
        {"web": 3000},
    ),
    ("a healthcheck of a port that is not published", f"web: {{build: ., ports: ['80:80'], {CURL}}}", "", {}, {}),
    (
        "a healthcheck of another host",
        "web: {build: ., ports: ['3000:3000'], healthcheck: {test: 'curl http://other:1/'}}",
        "",
        {"web": ("http://127.0.0.1:3000/", ANY)},
        {"web": 3000},
    ),
    ("a port of no protocol that we know", "web: {image: x, ports: ['2525:2525']}", "", {}, {}),
    (
        "the only port of what is built here",
        "web: {build: ., ports: ['7777:7777']}",
        "",
        {"web": ("http://127.0.0.1:7777/", ANY)},
        {"web": 7777},
    ),
    ("a database", "db: {image: 'postgres:17', ports: ['5432:5432']}", "", {}, {}),
    ("UDP", "dns: {image: x, ports: ['8000:8000/udp']}", "", {}, {}),
    ("a random port", "web: {image: x, ports: ['3000']}", "", {}, {}),
    ("a profile", "web: {image: x, ports: ['80:80'], profiles: [a]}", "", {}, {}),
    ("PHP without a web server", "fpm: {image: 'php:8-fpm', ports: ['9000:9000']}", "", {}, {}),
    (
        "two",
        "a: {image: x, ports: ['80:80']}, b: {image: x, ports: ['81:80']}",
        "",
        {"a": ("http://127.0.0.1:80/", ANY), "b": ("http://127.0.0.1:81/", ANY)},
        {"a": 80, "b": 80},
    ),
]


@pytest.mark.parametrize(
    ("given", "env", "checks", "ports"), [row[1:] for row in CHECKS], ids=[row[0] for row in CHECKS]
)
def test_checks(
    tmp_path: Path, given: str, env: str, checks: dict[str, tuple[str, object]], ports: dict[str, int]
) -> None:
    found = guessed(tmp_path, {"compose.yaml": f"services: {{{given}}}", ".env": env})
    assert {name: (one.row["url"], one.row.get("status")) for name, one in found.checks.items()} == checks
    assert {name: one.row["port"] for name, one in found.services.items()} == ports
    assert [one.row.get("proves") for one in found.checks.values()][:1] == ["health"] * bool(checks)
    assert set(found.known) == set(found_services(tmp_path)) - set(ports)


def found_services(top: Path) -> list[str]:
    return list(read.read([str(top)]).services)


# --- the corpora ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", list(PROJECTS))
def test_every_project_gets_tables_that_the_product_accepts(tmp_path: Path, shape: str) -> None:
    files = {name: text for name, text in PROJECTS[shape].items() if name != "files"}
    given = PROJECTS[shape].get("files", "compose.yaml").split()
    check(guessed(tmp_path, {".env": ENV, **files}, *given))


ODD: list[Any] = [
    None,
    "",
    0,
    1.5,
    True,
    "x",
    "${A}",
    "$A",
    "${",
    "a:b:c:d",
    "80:80",
    "../x",
    "/x",
    [],
    [None],
    [[1]],
    {},
]
ODD += [{"a": None}, {"a": {"b": [1]}}, [{"a": 1}]]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each part of a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize("shape", [name for name, files in PROJECTS.items() if list(files) == ["compose.yaml"]][::3])
def test_a_file_with_anything_in_it_is_read_or_refused(tmp_path: Path, shape: str) -> None:
    """No part of a compose file, whatever is in its place, ends a run without a fix."""
    chooser = random.Random(shape)
    document = json.loads(json.dumps(yaml.safe_load(PROJECTS[shape]["compose.yaml"]), default=str))
    for path in list(places(document))[:40]:
        changed = json.loads(json.dumps(document))
        part = changed
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = chooser.choice(ODD)
        try:
            guessed(tmp_path, {"compose.yaml": json.dumps(changed), ".env": ENV})
        except InitError as error:
            assert error.fix


@pytest.mark.parametrize("name", list(STACKS))
def test_every_stack_is_complete(tmp_path: Path, name: str) -> None:
    stack = STACKS[name]
    found = guessed(tmp_path, dict(stack.files), *stack.given)
    check(found)
    assert found.flaws == []
    assert {one.name: one.value for one in found.variables if one.in_vault and one.row.get("required", True)} == {
        key: value for key, value in stack.secrets.items() if value
    }
    assert stack.settings.items() <= {one.name: one.row.get("default") for one in found.variables}.items()
    assert [one.row["url"] for one in found.checks.values()] == list(stack.checks)
    assert list(found.services) == list(stack.rows)


def check(found: Guessed) -> None:
    variables = rules.parse_table([one.row for one in found.variables])
    values = {one.name: one.value for one in found.variables if one.in_vault}
    flawed = {one.name for one in found.flaws}
    bad = [one for one in rules.validate(variables, values, NOW) if one["variable"] not in flawed]
    assert bad == []
    names = set(rules.texts(variables, values))
    check_spec.parse_checks([one.row for one in found.checks.values()], names, may_be_empty=True)
    services_table.read_table({name: one.row for name, one in found.services.items()})
