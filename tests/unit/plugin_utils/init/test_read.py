# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading a project: what is found, and bad input, each with where, why and a fix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import docker_compose, read, services
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError, Place, Use

ONE = "services: {web: {image: 'ghcr.io/acme/web:1'}}\n"
WITH_ENV_FILE = "services: {web: {image: x, env_file: app.env}}\n"
SECRET = "Zq7Xw3Kd9mTv"


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(text.encode("utf-8", "surrogateescape"))


# id, files, from, where, reason, fix
BAD: list[tuple[str, dict[str, str], list[str], str, str, str]] = [
    ("nothing is named", {}, [], "from", "names no compose file", "add -e from="),
    ("a folder without one", {"x.txt": ""}, ["."], "", "holds no compose file (compose.yaml", "name the file"),
    (
        "a folder above one",
        {"docker/compose.yaml": ONE, "docker/compose.override.yaml": ONE},
        ["."],
        "",
        "holds no compose file",
        "/docker/compose.yaml",
    ),
    ("a file that is not there", {}, ["compose.yaml"], "compose.yaml", "no such file", "correct -e from"),
    (
        "invalid YAML",
        {"compose.yaml": "services:\n  web: [\n"},
        ["compose.yaml"],
        "",
        "expected node content",
        "correct the file",
    ),
    ("no text", {"compose.yaml": "\udcff\udcfe"}, ["compose.yaml"], "", "is not a compose file", "correct the file"),
    ("an empty file", {"compose.yaml": ""}, ["compose.yaml"], "", "is empty", "correct the file"),
    ("a list", {"compose.yaml": "- a\n"}, ["compose.yaml"], "", "it has no services", "correct the file"),
    (
        "no services",
        {"compose.yaml": "volumes: {a: }\n"},
        ["compose.yaml"],
        "compose.yaml",
        "has no services",
        "-e from",
    ),
    ("services as a list", {"compose.yaml": "services: [a]\n"}, ["compose.yaml"], "services", "not a mapping", "web:"),
    (
        "a service as a text",
        {"compose.yaml": "services: {a: b}\n"},
        ["compose.yaml"],
        "services.a",
        "not a mapping",
        "image",
    ),
    (
        "an unknown element",
        {"compose.yaml": f"{ONE}servces: {{}}\n"},
        ["compose.yaml"],
        "servces",
        "top-level",
        "did you mean services?",
    ),
    (
        "one that is like no other",
        {"compose.yaml": f"{ONE}qqq: 1\n"},
        ["compose.yaml"],
        "qqq",
        "top-level",
        "begin it with x-",
    ),
    (
        "a key of a service with a letter missing",
        {"compose.yaml": "services:\n  a:\n    image: x\n    enviroment: {A: b}\n"},
        ["compose.yaml"],
        "compose.yaml line 4: services.a.enviroment",
        "no such key",
        "did you mean environment?",
    ),
    (
        "neither image nor build",
        {"compose.yaml": "services: {a: {ports: ['1:1']}}\n"},
        ["compose.yaml"],
        "services.a",
        "neither an image",
        "add `image",
    ),
    (
        "ports as a text",
        {"compose.yaml": "services: {a: {image: x, ports: '80:80'}}\n"},
        ["compose.yaml"],
        "services.a.ports",
        "another type",
        "docker compose config",
    ),
    (
        "environment as a text",
        {"compose.yaml": "services: {a: {image: x, environment: A}}\n"},
        ["compose.yaml"],
        "services.a.environment",
        "another type",
        "config",
    ),
    (
        "volumes as a list",
        {"compose.yaml": f"{ONE}volumes: [a]\n"},
        ["compose.yaml"],
        "volumes",
        "not a mapping",
        "NAME:",
    ),
    (
        "include as a text",
        {"compose.yaml": f"{ONE}include: a.yaml\n"},
        ["compose.yaml"],
        "",
        "`include` is not a list",
        "correct",
    ),
    (
        "an included file that is not there",
        {"compose.yaml": f"{ONE}include: [a.yaml]\n"},
        ["compose.yaml"],
        "",
        "names the file a.yaml",
        "add the file",
    ),
    (
        "an extended file that is not there",
        {"compose.yaml": "services: {a: {extends: {file: b.yaml, service: a}}}\n"},
        ["compose.yaml"],
        "",
        "names the file b.yaml",
        "add the file",
    ),
    (
        "an extended service that is not there",
        {"compose.yaml": "services: {a: {extends: b}}\n"},
        ["compose.yaml"],
        "services.a.extends",
        "no service b",
        "correct the name",
    ),
    (
        "a template that does not end",
        {"compose.yaml": "services: {a: {image: '${TAG'}}\n"},
        ["compose.yaml"],
        "services.a.image",
        "not closed",
        "$$",
    ),
    (
        "a service that is not there",
        {"compose.yaml": "services: {a: {image: x, depends_on: [db]}}\n"},
        ["compose.yaml"],
        "services.a.depends_on",
        "db is not declared: no service",
        "correct the name",
    ),
    (
        "a volume that is not there",
        {"compose.yaml": "services: {a: {image: x, volumes: ['./x:/x', 'data:/data']}}\n"},
        ["compose.yaml"],
        "services.a.volumes",
        "data is not declared",
        "correct the name",
    ),
    (
        "a secret that is not there",
        {"compose.yaml": "services: {a: {image: x, secrets: [{source: pw}]}}\n"},
        ["compose.yaml"],
        "services.a.secrets",
        "pw is not declared",
        "correct the name",
    ),
    (
        "a key twice",
        {"compose.yaml": "services:\n  web: {image: x}\n  db: {image: y}\n  web: {image: z}\n"},
        ["compose.yaml"],
        "compose.yaml line 4",
        "the key web is in line 2 already",
        "docker compose config",
    ),
    (
        "no YAML",
        {"compose.yaml": "services:\n  web: {image: x\n"},
        ["compose.yaml"],
        "compose.yaml line 3",
        "expected",
        "docker compose config",
    ),
    (
        "a name that Compose does not take",
        {"compose.yaml": "services:\n  web shop: {image: x}\n"},
        ["compose.yaml"],
        "compose.yaml line 2: services.web shop",
        "no such name",
        "letters",
    ),
    (
        "a port that is a name",
        {"compose.yaml": "services:\n  a:\n    image: x\n    ports: ['80:http']\n"},
        ["compose.yaml"],
        "compose.yaml line 4: services.a.ports",
        "80:http/tcp is not a port",
        "8080:80",
    ),
    (
        "a port that is too high",
        {"compose.yaml": "services: {a: {image: x, ports: [{target: 80, published: 80800}]}}\n"},
        ["compose.yaml"],
        "compose.yaml line 1: services.a.ports",
        "80800:80/tcp",
        "65535",
    ),
    (
        "a port by a variable",
        {"compose.yaml": "services: {a: {image: x, ports: ['${P}:80']}}\n", ".env": "P=many\n"},
        ["compose.yaml"],
        "services.a.ports",
        "many:80/tcp is not a port",
        "8080:80",
    ),
    (
        "an unknown protocol",
        {"compose.yaml": "services: {a: {image: x, ports: ['80:80/http']}}\n"},
        ["compose.yaml"],
        "services.a.ports",
        "80:80/http",
        "8080:80",
    ),
    (
        "one port twice",
        {
            "compose.yaml": "services: {a: {image: x, ports: ['80:80']}, "
            "b: {image: x, ports: ['127.0.0.1:${P:-80}:8080']}}\n"
        },
        ["compose.yaml"],
        "services.b.ports",
        "port 80/tcp is published by a too",
        "another port for one of a and b",
    ),
    (
        "one port in a range",
        {
            "compose.yaml": "services: {a: {image: x, ports: ['8000-8010:8000-8010']}, "
            "b: {image: x, ports: [{target: 1, published: '8005'}]}}\n"
        },
        ["compose.yaml"],
        "services.b.ports",
        "port 8005/tcp",
        "another port",
    ),
    (
        "an invalid name",
        {"compose.yaml": f"name: 'Web Shop'\n{ONE}"},
        ["compose.yaml"],
        "app",
        "'Web Shop'",
        "-e app=NAME",
    ),
    (
        "an env file that is not there",
        {"compose.yaml": WITH_ENV_FILE},
        ["compose.yaml"],
        "app.env",
        "no such file",
        "add ",
    ),
    (
        "a .env that is read and not there",
        {"compose.yaml": "services: {web: {image: x, env_file: .env}}\n"},
        ["compose.yaml"],
        ".env",
        "service web reads it",
        "add it",
    ),
    (
        "an env file that is a folder",
        {"compose.yaml": WITH_ENV_FILE, "app.env/x": ""},
        ["compose.yaml"],
        "app.env",
        "is not a file",
        "NAME=value",
    ),
    (
        "an env file in UTF-16",
        {"compose.yaml": ONE, ".env": "\udcff\udcfeA\0=\0"},
        ["compose.yaml"],
        ".env line 1",
        "not UTF-8",
        "save ",
    ),
    (
        "a quote that is not closed",
        {"compose.yaml": ONE, ".env": f"A=1\nB='{SECRET}\nC=2\n"},
        ["compose.yaml"],
        ".env line 2",
        "never closed",
        "single quotes",
    ),
    (
        "a secret over two lines",
        {"compose.yaml": ONE, ".env": f"A=abc\n{SECRET}/x\n"},
        ["compose.yaml"],
        ".env line 2",
        "a name holds `/`",
        "NAME=value",
    ),
    (
        "export alone",
        {"compose.yaml": ONE, ".env": "export "},
        ["compose.yaml"],
        ".env line 1",
        "a name is missing",
        "NAME=value",
    ),
    (
        "a name with a space",
        {"compose.yaml": ONE, ".env": "A B=1\n"},
        ["compose.yaml"],
        ".env line 1",
        "holds a space",
        "NAME=value",
    ),
    (
        "a dollar in a password",
        {"compose.yaml": ONE, ".env": f"A=1\n\nB=x${SECRET}\n"},
        ["compose.yaml"],
        ".env line 3",
        "no line above sets",
        "single quotes",
    ),
    (
        "a reference to a later line",
        {"compose.yaml": ONE, ".env": "A=${B}\nB=1\n"},
        ["compose.yaml"],
        ".env line 1",
        "no line above sets",
        "single quotes",
    ),
    (
        "a reference to nothing in another env file",
        {"compose.yaml": WITH_ENV_FILE, "app.env": "A=${B}\n"},
        ["compose.yaml"],
        "app.env line 1",
        "no line above sets",
        "single quotes",
    ),
]


@pytest.mark.parametrize(
    ("files", "given", "where", "reason", "fix"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input(tmp_path: Path, files: dict[str, str], given: list[str], where: str, reason: str, fix: str) -> None:
    write(tmp_path, files)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(InitError) as raised:
        read.read(given, here=str(tmp_path))
    message = str(raised.value)
    assert where in raised.value.where
    assert reason in message.partition(" Fix: ")[0]
    assert fix in raised.value.fix
    assert "Nothing was written" in message
    assert SECRET not in message
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read every file, so the system's answer is simulated."""
    write(tmp_path, {"compose.yaml": ONE, ".env": "A=1\n"})

    def refuse(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(read, "read_small", refuse)
    with pytest.raises(InitError, match=r"\.env: it cannot be read: Permission denied.* Fix: make .*\.env readable"):
        read.read(["compose.yaml"], here=str(tmp_path))


GOOD_ENV: list[tuple[str, str, dict[str, str]]] = [
    ("quotes", "A='a b'\nB=\"c # d\"\n", {"A": "a b", "B": "c # d"}),
    ("export and comments", "# x\nexport A=1 # one\n", {"A": "1"}),
    ("several lines", 'A="b\nc"\nD=1\n', {"A": "b\nc", "D": "1"}),
    ("CRLF and BOM", "\ufeffA=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
    ("a reference to a line above", "A=1\nB=x${A}y\nC=${Z:-z}\n", {"A": "1", "B": "x1y", "C": "z"}),
    ("set twice", "A=1\nA=2\n", {"A": "2"}),
    ("a name alone", "A\nB=1\n", {"B": "1"}),
    ("Compose's own", "COMPOSE_PROJECT_NAME=own\nA=1\n", {"A": "1"}),
]


@pytest.mark.parametrize(("text", "values"), [row[1:] for row in GOOD_ENV], ids=[row[0] for row in GOOD_ENV])
def test_env_files_as_compose_reads_them(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    write(tmp_path, {"compose.yaml": WITH_ENV_FILE, ".env": text, "app.env": text})
    found = read.read(["compose.yaml"], here=str(tmp_path))
    assert {name: one.value for name, one in found.env.items()} == values
    assert values.items() <= {name: one.value for name, one in found.env_files["app.env"].items()}.items()


NAMES: list[tuple[str, str, str, str, str]] = [
    ("the folder", "", "", "", "web_shop-2"),
    ("the compose file", "name: shop\n", "", "", "shop"),
    ("a variable in it", "name: ${NAME:-other}\n", "NAME=mine\n", "", "mine"),
    ("the variable of Compose", "name: shop\n", "COMPOSE_PROJECT_NAME=own\n", "", "own"),
    ("what is asked for", "name: shop\n", "COMPOSE_PROJECT_NAME=own\n", "asked", "asked"),
]


@pytest.mark.parametrize(("line", "env", "app", "name"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_the_name_is_that_of_compose(tmp_path: Path, line: str, env: str, app: str, name: str) -> None:
    """Under another name, an app that runs already would get empty volumes."""
    top = tmp_path / "_Web_Shop-2!"
    write(top, {"compose.yaml": line + ONE, ".env": env})
    assert read.read(["compose.yaml"], app, str(top)).app == name


def test_uses_with_their_lines(tmp_path: Path) -> None:
    text = (
        "services:\n  web:\n    image: x:${TAG:-1}\n    environment:\n      - A=$B\n      - PASSED\n"
        "    command: echo $$C ${D:+${E}}\nsecrets: {one: {environment: F}}\n"
    )
    write(tmp_path, {"compose.yaml": text})
    found = read.read([str(tmp_path)]).uses
    place = [(use.name, use.place.line, use.operator, use.is_passed) for use in found]
    assert place == [
        ("TAG", 3, ":-", False),
        ("B", 5, "", False),
        ("D", 7, ":+", False),
        ("E", 7, "", False),
        ("PASSED", 6, "", True),
        ("F", 8, "", True),
    ]
    assert found[0] == Use("TAG", Place("compose.yaml", 3), ":-", "1")


def test_the_folder_is_one_that_holds_all_that_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"docker/compose.yaml": "services: {a: {build: .., env_file: ../a.env}}", "a.env": "A=1", ".env": "B=2"},
    )
    found = read.read(["docker/compose.yaml"], here=str(tmp_path))
    assert (found.folder, found.files, found.is_found) == (str(tmp_path), ["docker/compose.yaml"], False)
    assert list(found.env_files) == ["a.env"]
    assert list(found.env) == ["B"]


def test_an_override_file_is_found_as_compose_finds_it(tmp_path: Path) -> None:
    write(
        tmp_path, {"compose.yaml": ONE, "compose.override.yaml": "services: {web: {ports: ['80:80']}}\n", "x.yaml": ONE}
    )
    found = read.read(["compose.yaml"], here=str(tmp_path))
    assert (found.files, found.is_found) == (["compose.yaml", "compose.override.yaml"], True)
    other = read.read(["compose.yaml", "x.yaml"], here=str(tmp_path))
    assert (other.files, other.is_found) == (["compose.yaml", "x.yaml"], False)


def test_aliases_of_aliases(tmp_path: Path) -> None:
    """A short file, which is endless when each alias is followed."""
    levels = "".join(f"x-{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    write(tmp_path, {"compose.yaml": f"x-0: &l0 ['$A']\n{levels}x-self: &self [*self]\n{ONE}"})
    assert [one.name for one in read.read(["compose.yaml"], here=str(tmp_path)).uses] == ["A"]


def test_a_path_far_above(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/c/d/compose.yaml": "services: {a: {build: ../../../..}}"})
    with pytest.raises(InitError, match="move the compose file"):
        read.read(["a/b/c/d/compose.yaml"], here=str(tmp_path))


PORTS: list[tuple[object, tuple[str, str, str, str]]] = [
    (3000, ("", "", "3000", "tcp")),
    ("8000:80", ("", "8000", "80", "tcp")),
    ("127.0.0.1:8001:8001", ("127.0.0.1", "8001", "8001", "tcp")),
    ("127.0.0.1::5000", ("127.0.0.1", "", "5000", "tcp")),
    ("[::1]:7880:7880", ("[::1]", "7880", "7880", "tcp")),
    ("6060:6060/udp", ("", "6060", "6060", "udp")),
    ("${PORT:-8000}:80", ("", "${PORT:-8000}", "80", "tcp")),
    ("${IP:-10.0.0.1}:${PORT}:80", ("${IP:-10.0.0.1}", "${PORT}", "80", "tcp")),
    ({"target": 80, "published": 8080, "host_ip": "10.0.0.1"}, ("10.0.0.1", "8080", "80", "tcp")),
]


@pytest.mark.parametrize(("port", "parts"), PORTS, ids=[str(row[0]) for row in PORTS])
def test_ports(port: object, parts: tuple[str, ...]) -> None:
    assert [one[1:] for one in services.ports({"a": {"ports": [port]}})] == [parts]


def test_texts_of_yaml_1_2(tmp_path: Path) -> None:
    """Compose reads `2222:22` as a port, and `yes` as a text; YAML 1.1 makes a number and a switch of them."""
    write(tmp_path, {"compose.yaml": "services: {a: {image: x, ports: [2222:22], environment: {A: yes, B: true}}}\n"})
    found = read.read(["compose.yaml"], here=str(tmp_path))
    assert [one[2:4] for one in found.ports] == [("2222", "22")]
    assert services.environment(found.services["a"]) == {"A": "yes", "B": "true"}


def test_an_error_in_an_override_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE, "compose.override.yaml": "services:\n  web:\n    ports: ['x:y']\n"})
    with pytest.raises(InitError, match=r"^compose\.override\.yaml line 3: services\.web\.ports: "):
        read.read(["compose.yaml"], here=str(tmp_path))


def test_services_apart_in_address_protocol_or_profile_do_not_clash() -> None:
    given = {
        "a": {"ports": ["10.0.0.1:80:80", "53:53/udp"]},
        "b": {"ports": ["10.0.0.2:80:80", "53:53/tcp"]},
        "c": {"ports": ["10.0.0.1:80:80"], "profiles": ["debug"]},
    }
    services.require_no_clash(given, services.ports(given), {})


def compose(folder: Path, script: str) -> Callable[[], None]:
    """A program called docker in a folder of its own, and the call that asks it about a project."""
    program = folder / "bin/docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    write(folder, {"compose.yaml": ONE, ".env": f"TOKEN={SECRET}\n"})
    return lambda: docker_compose.require_valid(read.read(["compose.yaml"], here=str(folder)))


@pytest.mark.parametrize("script", ["exit 0", "echo \"docker: 'compose' is not a docker command\" >&2; exit 1"])
def test_a_compose_that_accepts_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    ask = compose(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    ask()


def test_a_compose_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = compose(tmp_path, f"echo 'services.web Additional property imge: {SECRET}' >&2; exit 15")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    with pytest.raises(InitError, match=r"docker compose refuses it: .*Additional property imge") as raised:
        ask()
    assert SECRET not in str(raised.value)
