# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine: its socket, its configuration, and the message of each command that it refuses."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes
from ansible_collections.christmas.selfheal.tests.unit.docker.docker_cli import FAILED, SHOP, cli


@pytest.mark.parametrize(
    ("words", "cwd", "age", "named"),
    [
        pytest.param(["docker-compose", "compose", "up", "-d"], "/opt/shop", 2, "up", id="in its directory"),
        pytest.param(["docker-compose", "compose", "-p", "shop", "restart"], "/root", 2, "restart", id="by its name"),
        pytest.param(["d", "compose", "--file=/opt/shop/compose.yaml", "down"], "/root", 2, "down", id="by its file"),
        pytest.param(["docker-compose", "compose", "up", "-d"], "/root/shop", 2, "up", id="where it was adopted from"),
        pytest.param(["docker-compose", "compose", "up"], "/opt/shop", 3000, "", id="in the foreground, since long"),
        pytest.param(["docker-compose", "compose", "logs", "-f"], "/opt/shop", 2, "", id="it only looks"),
        pytest.param(["docker-compose", "compose", "up", "-d"], "/opt/shop2", 2, "", id="another app"),
    ],
)
def test_a_compose_command_by_hand_is_found(words: list[str], cwd: str, age: int, named: str, tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "uptime").write_text("100000.00 1.00\n")
    mine, other = tmp_path / "7", tmp_path / "8"
    for folder, comm in ((mine, "docker-compose"), (other, "nginx")):
        folder.mkdir()
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "cmdline").write_text("\0".join(words) + "\0")
        (folder / "stat").write_text(f"7 ({comm}) S {' '.join(['0'] * 18)} {(100000 - age) * ticks} 0\n")
        (folder / "cwd").symlink_to(cwd)
    found = engine.changed_by_hand("shop", ["/opt/shop", "/root/shop"], str(tmp_path))
    assert found == (f"`docker compose {named}` (pid 7) runs on the app" if named else "")


# --- the engine's socket ---------------------------------------------------------------------------------------------


class Socket:
    """A listener in place of the engine; `say` sends to the newest connection."""

    def __init__(self, path: str, greeting: bytes | None) -> None:
        self.path, self.greeting = path, greeting
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        self.connected: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        try:
            while True:
                connection, _unused = self.listener.accept()
                self.connected.append(connection)
                if self.greeting is not None:
                    connection.recv(65536)
                    connection.sendall(self.greeting)
                    if not self.greeting.startswith(b"HTTP/1.1 200"):
                        connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def say(self, data: bytes) -> None:
        self.connected[-1].sendall(data)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        for one in (self.listener, *self.connected):
            one.close()
        self.thread.join()


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[[bytes | None], Socket]]:
    made: list[Socket] = []

    def begin(greeting: bytes | None) -> Socket:
        made.append(Socket(os.path.relpath(tmp_path / f"{len(made)}.sock"), greeting))
        return made[-1]

    yield begin
    for one in made:
        one.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("greeting", "kind", "reason"),
    [
        pytest.param(None, "hung", "no answer within 0 s", id="it accepts and says nothing"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "down", "", id="it is something else"),
        pytest.param(b"", "down", "", id="it hangs up"),
    ],
)
def test_a_listener_that_does_not_answer_is_not_an_engine(
    listen: Callable[[bytes | None], Socket], greeting: bytes | None, kind: str, reason: str
) -> None:
    found = engine.state(0.2, listen(greeting).path)
    assert (found["answers"], found["kind"], reason in found["reason"]) == (False, kind, True)


@pytest.mark.parametrize(
    ("docker", "kind", "reason"),
    [("/usr/bin/docker", "down", "listens at"), (None, "missing", "docker is not installed")],
)
def test_an_engine_is_down_or_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, docker: str | None, kind: str, reason: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: docker)
    found = engine.state(0.2, str(tmp_path / "docker.sock"))
    assert (found["answers"], found["kind"], reason in found["reason"]) == (False, kind, True)


def test_events_are_received_once_until_the_engine_ends(listen: Callable[[bytes | None], Socket]) -> None:
    it = listen(OK)
    events = engine.Events("shop", 1_750_000_000.0, 2.0, it.path)
    assert not events.new()
    it.say(b'{"Action": "die"}')
    begun = time.monotonic()
    events.wait(30.0)
    assert time.monotonic() - begun < 30.0
    it.say(b'{"Action": "start"}')
    assert [events.new(), events.new()] == [True, False]
    it.connected[-1].shutdown(socket.SHUT_RDWR)
    with pytest.raises(engine.EngineError, match="events have ended"):
        events.new()
    events.close()


def test_events_from_before_the_request_are_received_at_once(listen: Callable[[bytes | None], Socket]) -> None:
    events = engine.Events("shop", 0.0, 2.0, listen(OK + b'{"Action": "die"}').path)
    assert [events.new(), events.new()] == [True, False]
    events.close()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 500 Oops\r\n\r\n", b"", b"nonsense\r\n\r\n"])
def test_an_engine_without_events_is_named_with_its_socket(
    listen: Callable[[bytes | None], Socket], greeting: bytes
) -> None:
    it = listen(greeting)
    with pytest.raises(engine.EngineError, match=f"the Docker engine does not answer at {it.path}: "):
        engine.Events("shop", 0.0, 2.0, it.path)


def test_an_engine_that_refuses_a_question_is_named(listen: Callable[[bytes | None], Socket]) -> None:
    it = listen(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(engine.EngineError, match=f"does not answer at {it.path}: 500 for /containers/json"):
        docker_containers.inspected("shop", 2.0, it.path)


@pytest.mark.parametrize(
    ("text", "root", "live"),
    [
        ('{"data-root": "/srv/docker", "live-restore": true}', "/srv/docker", True),
        ('{"data-root": "docker"}', "/var/lib/docker", False),
        ("[]", "/var/lib/docker", False),
        ("{", "/var/lib/docker", False),
        (None, "/var/lib/docker", False),
    ],
)
def test_the_engines_configuration_is_read_and_a_damaged_one_gives_defaults(
    tmp_path: Path, text: str | None, root: str, live: bool
) -> None:
    path = tmp_path / "daemon.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert (engine.data_root(str(path)), engine.live_restore(str(path))) == (root, live)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", ""),
        (
            b'HTTP/1.1 500 Error\r\nContent-Length: 22\r\n\r\n{"message": "no room"} ',
            "Error response from daemon: no room",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "the Docker engine did not end /containers/web/restart"),
        (None, "the Docker engine did not end /containers/web/restart: timed out"),
    ],
    ids=["done", "it is so already", "it refuses", "it is something else", "it says nothing"],
)
def test_what_the_engine_did_or_says(
    monkeypatch: pytest.MonkeyPatch, listen: Callable[[bytes | None], Socket], answer: bytes | None, said: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{listen(answer).path}")
    done = engine.act("/containers/web/restart?t=0", 0.2)
    assert (done.code == 0) is (said == "")
    assert done.err.startswith(said)


def test_the_plugin_runs_compose_unless_a_person_has_set_other_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    monkeypatch.setattr(engine, "PLUGIN_FOLDERS", (str(first), str(second)))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert engine.compose_program() == ["docker", "compose"]
    plugin = second / "docker-compose"
    plugin.touch(mode=0o755)
    assert engine.compose_program() == [str(plugin)]
    (tmp_path / "config.json").write_text('{"cliPluginsExtraDirs": ["/opt/plugins"]}', encoding="utf-8")
    assert engine.compose_program() == ["docker", "compose"]


# --- the docker CLI --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (engine.platform, "the Docker engine does not answer: .*no room.*systemctl status docker"),
        (lambda: docker_images.image_facts(["a"]), "docker image inspect failed: .*no room"),
        (lambda: docker_images.save_images(["a"], "/x.tar"), "docker save failed: .*no room"),
        (lambda: docker_images.load_images("/x.tar"), "docker load failed: .*no room"),
        (lambda: docker_volumes.volume_facts(["a"]), "docker volume inspect failed: .*no room"),
        (lambda: docker_volumes.make_volume("a", {}), "docker volume create failed: .*no room"),
        (lambda: docker_volumes.labelled_volumes("a"), "docker volume ls failed: .*no room"),
        (lambda: docker_volumes.remove_volumes(["a"]), "docker volume rm failed: .*no room"),
        (lambda: docker_containers.remove_labelled("a"), "docker ps failed: .*no room"),
        (SHOP.config, "/nowhere holds no compose file, such as compose.yaml"),
        (SHOP.hashes, "the compose files in /nowhere do not make a project: .*no room"),
    ],
)
def test_a_command_that_fails_is_named_with_what_docker_says(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], said: str
) -> None:
    cli(monkeypatch, FAILED)
    with pytest.raises(engine.EngineError, match=said):
        act()
