# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands for Compose and the engine, and how their answers are read."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import images as docker_images
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import network as docker_network
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import volumes as docker_volumes
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.containers import Container
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.images import ReleaseImages
from ansible_collections.christmas.selfheal.plugins.module_utils.host import command as commands


def container(seconds: int | None) -> dict[str, Any]:
    return {"Id": str(seconds), "State": {"Status": "running"}, "Config": {"StopTimeout": seconds}}


def stops(ran: list[list[str]]) -> dict[str, list[str]]:
    """{seconds: the containers that were stopped with this timeout}."""
    return {argv[3]: argv[4:] for argv in ran if argv[:3] == ["docker", "stop", "-t"]}


@pytest.mark.parametrize(
    ("grace", "given"),
    [
        pytest.param(None, {"10": ["web"], "60": ["db"], "120": ["queue"]}, id="each its own, up to a maximum"),
        pytest.param(0.0, {"0": ["web", "db", "queue"]}, id="a hanging container is killed at once"),
    ],
)
def test_each_container_has_its_own_stop_timeout(
    grace: float | None, given: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], *_: Any, **__: Any) -> commands.Result:
        ran.append(argv)
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    known = {"web": None, "db": 60, "queue": 900}
    monkeypatch.setattr(engine, "ask", lambda question, *_: container(known[question.split("/")[2]]))
    docker_project.Project("shop", str(tmp_path)).remove(["web", "db", "queue"], grace)
    assert stops(ran) == given


@pytest.mark.parametrize(
    ("timeouts", "option", "seconds"),
    [([None, 60], [], 190.0), ([None, 900], ["--timeout", "120"], 250.0), ([], [], 120.0)],
    ids=["Compose uses its own", "one exceeds the maximum", "nothing runs"],
)
@pytest.mark.parametrize("act", ["up", "down"])
def test_compose_stops_each_container_with_its_own_timeout(
    act: str,
    timeouts: list[int | None],
    option: list[str],
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[list[str], float]] = []

    def run(argv: list[str], timeout: float, **_: Any) -> commands.Result:
        ran.append((argv, timeout))
        return commands.Result(0, "", "")

    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [container(seconds) for seconds in timeouts])
    getattr(docker_project.Project("shop", str(tmp_path)), act)()
    argv, timeout = ran[-1]
    assert ("--timeout" in argv) is bool(option)
    assert argv[argv.index("--timeout") :][:2] == option if option else timeout == seconds
    assert timeout == seconds


@pytest.mark.parametrize(
    ("words", "cwd", "age", "named"),
    [
        pytest.param(["docker-compose", "compose", "up", "-d"], "/opt/shop", 2, "up", id="in its directory"),
        pytest.param(["docker-compose", "compose", "-p", "shop", "restart"], "/root", 2, "restart", id="by its name"),
        pytest.param(["d", "compose", "--file=/opt/shop/compose.yaml", "down"], "/root", 2, "down", id="by its file"),
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
    found = engine.changed_by_hand("shop", "/opt/shop", str(tmp_path))
    assert found == (f"`docker compose {named}` (pid 7) runs on the app" if named else "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-04-15T14:52:42.101978294Z", 7.898),
        ("2026-04-15T22:52:42.101978294+08:00", 7.898),
        ("2026-04-15T10:52:42-04:00", 8.0),
        ("2026-04-15T14:52:42", 8.0),
        ("2026-04-15T14:52:52Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-15T14:52:42Z", None),
        ("", None),
    ],
    ids=["UTC", "east of UTC", "west of UTC", "no zone", "in the future", "never", "no month", "no time"],
)
def test_the_times_of_health_checks_are_in_the_hosts_time_zone(text: str, seconds: float | None) -> None:
    assert docker_containers.seconds_since(text, 1776264770.0) == seconds


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
                connection, _ = self.listener.accept()
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


# --- the docker CLI --------------------------------------------------------------------------------------------------


def cli(monkeypatch: pytest.MonkeyPatch, *answers: commands.Result) -> list[list[str]]:
    """Have docker give these answers in turn, and repeat the last one. Return the commands."""
    asked: list[list[str]] = []
    left = list(answers)

    def run(argv: list[str], *_: Any, **__: Any) -> commands.Result:
        asked.append(list(argv))
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(commands, "run", run)
    return asked


FAILED = commands.Result(1, "", "Error response from daemon: no room")
SHOP = docker_project.Project("shop", "/nowhere")


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
        (lambda: SHOP.top("web"), "docker top failed: .*no room"),
        (lambda: SHOP.inspect("web"), "docker inspect failed: .*no room"),
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


def test_the_description_of_a_container_omits_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    document = [{"Id": "1", "Config": {"Image": "shop", "Env": ["KEY=secret"]}}]
    cli(monkeypatch, commands.Result(0, json.dumps(document), ""))
    assert json.loads(SHOP.inspect("web")) == [{"Id": "1", "Config": {"Image": "shop"}}]


def test_output_and_errors_of_a_log_are_sorted_and_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    cli(monkeypatch, commands.Result(0, "2026-01-01T00:00:02Z two\n", "2026-01-01T00:00:01Z \x1b[31mone\x1b[0m\n"))
    assert SHOP.logs("web") == "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two"


def test_the_first_entrypoint_that_is_a_script_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    header = "x" * 512
    answers = [FAILED, commands.Result(0, header + "\x7fELF\0", ""), commands.Result(0, header + "#!/bin/sh\n\0\0", "")]
    cli(monkeypatch, *answers)
    assert SHOP.script("web", ["/gone", "/bin/app", "/entry.sh"]) == "#!/bin/sh\n"
    assert SHOP.script("web", []) == ""


def test_a_missing_image_of_a_release_is_pulled_and_the_others_are_tagged_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = commands.Result(1, "", "Error response from daemon: No such image: sha256:1")
    done = commands.Result(0, "", "")
    release: ReleaseImages = {
        "images": {"web": "sha256:1", "db": "sha256:2"},
        "names": {"web": "acme/web:1", "db": "postgres:17"},
        "pins": {"acme/web:1": "acme/web@sha256:9"},
    }
    asked = cli(monkeypatch, gone, done)
    assert SHOP.put_back_images(release).code == 0
    assert [words[1:] for words in asked] == [
        ["tag", "sha256:1", "acme/web:1"],
        ["pull", "--quiet", "acme/web@sha256:9"],
        ["tag", "acme/web@sha256:9", "acme/web:1"],
        ["tag", "sha256:2", "postgres:17"],
    ]
    asked = cli(monkeypatch, gone, FAILED, done)
    assert SHOP.put_back_images(release) == FAILED
    assert asked[-1][1:] == ["tag", "sha256:2", "postgres:17"]


def test_a_paused_container_is_unpaused_before_it_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = cli(monkeypatch, commands.Result(0, "web\n", ""), commands.Result(0, "", ""))
    SHOP.restart(["web", "db"])
    assert [words[1:] for words in asked[1:]] == [["unpause", "web"], ["restart", "-t", "0", "web", "db"]]


# --- the network path to a container ---------------------------------------------------------------------------------


def at(port: int, published: int, **more: Any) -> Container:
    """A container that listens at the loopback address, as far as this host can tell."""
    target = {"host_ip": "0.0.0.0", "host_port": published, "container_port": port}
    plain = {"name": "shop-web-1", "state": "running", "network_mode": "bridge", "networks": {"a": "127.0.0.1"}}
    return cast(Container, {**plain, "targets": [target], **more})


def test_a_port_that_the_engine_no_longer_leads_to_its_container_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port, taken = server.getsockname()[1], other.getsockname()[1]
        free = socket.create_server(("127.0.0.1", 0))
        closed = free.getsockname()[1]
        free.close()
        [said] = docker_network.broken_network([at(port, closed)])
        assert f"takes connections at 127.0.0.1:{port}" in said
        assert f"127.0.0.1:{closed}" in said
        assert (
            docker_network.broken_network([at(port, taken), at(closed, closed), at(port, closed, state="exited")]) == []
        )
        assert docker_network.broken_network([at(port, closed, network_mode="host")]) == []
        assert "has no address" in docker_network.broken_network([at(port, closed, networks={})])[0]
