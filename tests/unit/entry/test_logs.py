# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal logs`, with an engine that hands out prepared logs."""

from __future__ import annotations

import json
import re
import socketserver
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, logs, outcome
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

KEY = "Vq3mZk8TtPw2[Lr9x\nHs5B.secret"
PEM = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEF\n-----END KEY-----"


def at(second: float) -> str:
    return f"2026-05-27T02:00:{second:012.9f}Z"


def frame(second: float, text: str, stream: int = 1) -> bytes:
    message = f"{at(second)} {text}".encode()
    return struct.pack(">BxxxL", stream, len(message)) + message


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An engine with containers: {id: its document}, and {id: what its log is}."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Answer)
        self.containers: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.open_ended: set[str] = set()
        self.ended = threading.Event()

    def add(self, service: str, log: bytes, number: str = "1", identity: str = "", **config: Any) -> str:
        identity = identity or f"{service}{number}"
        labels = {"com.docker.compose.service": service, "com.docker.compose.container-number": number}
        self.containers[identity] = {
            "Id": identity,
            "Name": f"/shop-{service}-{number}",
            "State": {"Status": "running", "StartedAt": at(1)},
            "Config": {"Labels": labels, "Env": [f"KEY={KEY}"], **config},
        }
        self.logs[identity] = log
        return identity


class Answer(socketserver.StreamRequestHandler):
    """Answers one request of the Engine API."""

    server: Engine

    def handle(self) -> None:
        target = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(target)
        path = urllib.parse.urlsplit(target).path
        parts = path.split("/")
        found: Any = [{"Id": one} for one in self.server.containers]
        if parts[-1] == "logs":
            return self.say(200, self.server.logs[parts[2]], parts[2] in self.server.open_ended)
        if path != "/containers/json":
            found = self.server.containers.get(parts[2])
        return self.say(200 if found is not None else 404, json.dumps(found).encode())

    def say(self, status: int, body: bytes, stays: bool = False) -> None:
        self.wfile.write(f"HTTP/1.0 {status} X\r\nContent-Type: x\r\n\r\n".encode())
        for begin in range(0, len(body), 7000):
            self.wfile.write(body[begin : begin + 7000])
        if stays:
            self.server.ended.wait(10)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    path = str(tmp_path / "e")
    with Engine(path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    config = {
        "app": "shop",
        "variables": [{"name": "KEY", "kind": "token"}, {"name": "PEM", "kind": "token"}],
        "checks": [],
    }
    path = tmp_path / "etc/selfheal/shop.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(config), encoding="utf-8")
    folder = tmp_path / "opt/shop"
    folder.mkdir(parents=True)
    value = PEM.replace("\n", "\\n")
    (folder / ".env").write_text(f'PEM="{value}"\n', encoding="utf-8")

    def command(*words: str) -> tuple[int, str, str]:
        code = cli.main(["logs", *words], str(tmp_path))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_lines_of_all_services_are_in_the_order_of_their_times(engine: Engine, run: Run) -> None:
    engine.add("web", frame(1, "one\n") + frame(4, "four\n", 2) + frame(5, "five\n"))
    engine.add("db", frame(2, "two\n") + frame(6, "\x1b[31msix\x1b[0m \x07\n"))
    engine.add("web", frame(3, "three\n"), number="2")
    code, out, error = run()
    assert (code, error) == (cli.GOOD, "")
    assert [re.sub(r" \S+Z ", " ", line) for line in out.splitlines()] == [
        "web | one",
        "db | two",
        "web-2 | three",
        "web | four",
        "web | five",
        "db | six ?",
    ]
    assert "web | 2026-05-27T02:00:01Z one" in out
    assert [line.split(" |")[0] for line in run("db")[1].splitlines()] == ["db", "db"]
    engine.add("worker", frame(7, "seven\n"))
    assert [line.split(" |")[0] for line in run("db", "worker")[1].splitlines()] == ["db", "db", "worker"]


def test_no_secret_is_shown_wherever_the_log_cuts_it(engine: Engine, run: Run) -> None:
    long = "x" * 16380 + KEY.replace("\n", "\\n")
    pieces = [long[begin : begin + 16384] for begin in range(0, len(long), 16384)]
    log = b"".join(frame(2, piece) for piece in pieces) + frame(2, " and\n")
    log += b"".join(frame(3 + number, line + "\n") for number, line in enumerate(PEM.split("\n")))
    log += b"".join(frame(9, line + "\n", 2) for line in KEY.split("\n"))
    engine.add("web", frame(1, "begins\n") + log + frame(12, "ends\n"))
    out = run()[1]
    assert "MIIBVg" not in out
    assert "Hs5B" not in out
    assert "Vq3mZk" not in out
    assert out.count("<KEY") == 2
    assert out.count("<PEM") == 1
    assert out.splitlines()[-1].endswith("ends")


def test_a_password_in_an_address_is_hidden_although_no_table_lists_it(engine: Engine, run: Run) -> None:
    engine.add("web", frame(1, "mail by smtp://mailer:Bu33%21pass@mail.example.net:587\n"))
    _code, out, _err = run()
    assert "Bu33" not in out
    assert "smtp://mailer:<sha256:" in out
    assert ">@mail.example.net:587" in out


def test_a_line_without_an_end_is_shown_in_parts(engine: Engine, run: Run) -> None:
    engine.add("web", b"".join(frame(1, "y" * 16384) for _unused in range(12)))
    lines = run()[1].splitlines()
    assert [len(line) < 65600 for line in lines] == [True] * len(lines)
    assert sum(line.count("y") for line in lines) == 12 * 16384


def test_a_container_with_a_terminal_sends_no_frames(engine: Engine, run: Run) -> None:
    long = f"{at(1)} " + "z" * 16384 + f"{at(1)} zz\r\n"
    engine.add("web", f"{long}{at(2)} {json.dumps(KEY)}\r\n".encode(), Tty=True)
    lines = run()[1].splitlines()
    assert lines[0] == "web | 2026-05-27T02:00:01Z " + "z" * 16386
    assert lines[1].startswith('web | 2026-05-27T02:00:02Z "<KEY')


def test_an_unknown_service_is_refused_with_those_that_there_are(engine: Engine, run: Run) -> None:
    engine.add("web", b"")
    engine.add("db", b"")
    code, out, error = run("wbe")
    assert (code, out) == (outcome.WRONG, "")
    assert error == "selfheal: shop has no service 'wbe'; it has db, web\n"
    assert "--since: 'soon' is not a duration" in run("--since", "soon")[2]


def test_since_is_asked_of_the_engine(engine: Engine, run: Run) -> None:
    engine.add("web", b"")
    run("--all")
    assert "tail=100" in engine.asked[-1]
    run()
    assert "tail=5000" in engine.asked[-1]
    run("--since", "10m")
    assert "tail=all" in engine.asked[-1]
    since = float(engine.asked[-1].rpartition("since=")[2])
    assert 595 < time.time() - since < 700


def test_without_an_engine_it_says_where_older_logs_are(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/gone")
    code, _unused, error = run()
    assert code == outcome.WRONG
    assert f"{tmp_path}/var/lib/selfheal/shop/incidents" in error


def test_of_a_service_without_a_container_the_kept_log_is_shown(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_store, "last_good", lambda _: {"services": {"web": "", "db": ""}})
    engine.add("web", frame(1, "one\n"))
    folder = tmp_path / "var/lib/selfheal/shop/incidents/1"
    folder.mkdir(parents=True)
    (folder / "log-shop-db-1.txt").write_text(f"{at(1)} out of memory {KEY}\n", encoding="utf-8")
    _unused, out, error = run("db")
    assert out.startswith(f"db | {at(1)} out of memory <KEY")
    assert "log-shop-db-1.txt" in error


def test_following_goes_on_with_a_container_that_is_recreated(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "_LOOK_SECONDS", 0.05)
    engine.add("web", frame(1, "one\n"))
    rounds = iter(range(100))

    def check() -> None:
        number = next(rounds)
        if number == 3:
            engine.containers.clear()
            engine.open_ended.add(engine.add("web", frame(2, "two\n"), identity="another"))
        if number == 6:
            raise BrokenPipeError

    monkeypatch.setattr(logs, "_check_reader", check)
    monkeypatch.setattr(logs, "_let_go", lambda: None)
    code, out, _unused = run("--follow")
    assert code == cli.GOOD
    assert [line.rpartition(" ")[2] for line in out.splitlines()] == ["one", "two"]
