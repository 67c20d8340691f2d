# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the watcher hears of services that no check asks."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App, Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.health import service_watch
from ansible_collections.christmas.selfheal.plugins.module_utils.host import procfs


def container(service: str, state: str = "running", health: str = "", policy: str = "always") -> dict[str, Any]:
    status = {"Status": state, "Pid": 0, **({"Health": {"Status": health}} if health else {})}
    labels = {"com.docker.compose.service": service}
    return {
        "Name": f"/shop-{service}-1",
        "State": status,
        "Config": {"Labels": labels},
        "HostConfig": {"RestartPolicy": {"Name": policy}},
    }


class Engine:
    """What the engine says, and how often it was asked."""

    def __init__(self) -> None:
        self.documents = [container("web"), container("worker"), container("migrate", "exited", policy="no")]
        self.happened, self.lives, self.looks, self.connections = False, True, 0, 0
        self.since = 0.0

    def connect(self, _app: str, since: float) -> Engine:
        if not self.lives:
            raise engine.EngineError("gone")
        self.connections, self.since = self.connections + 1, since
        return self

    def new(self) -> bool:
        if not self.lives:
            raise engine.EngineError("gone")
        happened, self.happened = self.happened, False
        return happened

    def close(self) -> None:
        pass

    def look(self, _app: str, _timeout: float) -> list[dict[str, Any]]:
        self.looks += 1
        return self.documents

    def becomes(self, *documents: dict[str, Any]) -> None:
        self.documents, self.happened = list(documents), True


@pytest.fixture
def it(monkeypatch: pytest.MonkeyPatch) -> Engine:
    there = Engine()
    monkeypatch.setattr(engine, "Events", there.connect)
    monkeypatch.setattr(docker_containers, "documents", there.look)
    return there


def watch(
    tmp_path: Path, good: dict[str, Any] | None = None, balancer: Balancer | None = None, known: Any = None
) -> Any:
    if good is not None:
        folder = tmp_path / "opt/shop/releases/1"
        folder.mkdir(parents=True)
        nothing: dict[str, Any] = {"files": {}, "services": {}, "contexts": {}, "env": "", "source": ""}
        whole = {"id": "1", "names": good["images"], **nothing, **good}
        (folder / "release.json").write_text(json.dumps(whole), encoding="utf-8")
        os.symlink("1", folder.parent / "last-good")
    app = App("shop", str(tmp_path / "opt/shop"), root=str(tmp_path), balancer=balancer)
    return service_watch.ServiceWatch(app, lambda: 1_750_000_000.0, known)


def test_while_nothing_happens_the_engine_is_asked_once(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    assert [watched.wrong(float(second)) for second in range(60)] == [{}] * 60
    assert (it.connections, it.looks) == (1, 1)


@pytest.mark.parametrize(
    ("worker", "at_once", "told"),
    [
        ([], "", "has no container"),
        ([container("worker", "exited")], "", "is exited"),
        ([container("worker", "paused")], "", "is paused"),
        ([container("worker", health="unhealthy")], "is unhealthy", "is unhealthy"),
        ([container("worker", health="starting")], "", ""),
    ],
)
def test_what_is_wrong_for_more_than_a_moment_is_told(
    it: Engine, tmp_path: Path, worker: list[dict[str, Any]], at_once: str, told: str
) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), *worker)
    assert watched.wrong(1.0) == ({"worker": at_once} if at_once else {})
    assert watched.wrong(2.0) == ({"worker": told} if told else {})


def test_what_the_restart_policy_brings_back_is_not_told(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "exited"))
    watched.wrong(1.0)
    it.becomes(container("web"), container("worker"))
    assert [watched.wrong(2.0), watched.wrong(3.0)] == [{}, {}]


def test_the_last_good_release_says_what_has_to_run(it: Engine, tmp_path: Path) -> None:
    """A service that was gone before the watch began, no job, and not what the load balancer counts."""
    images = dict.fromkeys(("web", "worker", "mail", "migrate"), "sha256:0")
    watched = watch(tmp_path, {"images": images, "jobs": ["migrate"]}, Balancer("web", 2, 18000, (80,)))
    it.documents = [container("web")]
    watched.wrong(0.0)
    assert watched.wrong(2.0) == {"worker": "has no container", "mail": "has no container"}


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("running", "exited"), {}),
        (("restarting", "exited"), {}),
        (("exited", "exited"), {"web": service_watch.NONE_RUNS}),
        ((), {"web": service_watch.NONE_RUNS}),
    ],
)
def test_an_app_without_any_instance_is_told(
    states: tuple[str, ...], told: dict[str, str], it: Engine, tmp_path: Path
) -> None:
    """HAProxy counts its single instances, and takes seconds to say that there is none."""
    images = dict.fromkeys(("web", "worker"), "sha256:0")
    watched = watch(tmp_path, {"images": images, "jobs": []}, Balancer("web", 2, 18000, (80,)))
    it.documents = [container("web"), container("web"), container("worker")]
    watched.wrong(0.0)
    it.becomes(container("worker"), *(container("web", state) for state in states))
    assert watched.wrong(1.0) == {}
    assert watched.wrong(2.0) == told


def test_an_engine_that_is_gone_is_asked_again(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.lives = False
    assert [watched.wrong(float(second)) for second in range(1, 10)] == [{}] * 9
    it.lives, it.documents = True, [container("web")]
    watched.wrong(20.0)
    assert it.connections == 2


def test_the_next_watcher_goes_on_without_a_look(it: Engine, tmp_path: Path) -> None:
    first = watch(tmp_path)
    first.wrong(0.0)
    known = service_watch.from_json(json.loads(json.dumps(service_watch.to_json(first.known()))))
    second = watch(tmp_path, known=known)
    assert second.wrong(0.0) == {}
    assert (it.looks, it.connections, it.since) == (1, 2, 1_749_999_999.0)
    it.becomes(container("web"))
    second.wrong(1.0)
    assert second.wrong(2.0) == {"worker": "has no container"}


@pytest.mark.parametrize("damaged", [None, {}, {"at": "x", "containers": [], "expected": []}, {"containers": [1]}])
def test_a_damaged_note_is_none(damaged: Any) -> None:
    assert service_watch.from_json(damaged) is None


def test_what_was_found_well_is_excused_for_a_while(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"))
    watched.wrong(1.0)
    watched.excuse({"worker": "has no container"}, 2.0)
    assert watched.wrong(3.0) == {}
    it.becomes(container("web", "paused"))
    watched.wrong(4.0)
    assert watched.wrong(5.0) == {"web": "is paused"}
    assert "worker" in watched.wrong(2.0 + service_watch.EXCUSED_SECONDS)


def test_a_service_that_runs_now_and_then_is_not_excused(it: Engine, tmp_path: Path) -> None:
    """It loops, and a look may find it running: left alone for a minute, it would be looked at by chance alone."""
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "restarting"))
    watched.wrong(1.0)
    watched.excuse(watched.wrong(2.0), 2.0)
    assert watched.wrong(3.0) == {"worker": "is restarting"}


def test_a_release_that_is_recorded_later_says_what_has_to_run(it: Engine, tmp_path: Path) -> None:
    """A deploy removes a service, and then records the release without it: that is no event."""
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"))
    watched.wrong(1.0)
    watch(tmp_path, {"images": {"web": "sha256:0"}, "jobs": []})
    assert watched.wrong(2.0) == {}


def test_a_job_that_no_file_calls_one_is_not_missed(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "exited", policy="no"))
    watched.wrong(1.0)
    assert watched.wrong(2.0) == {}


def test_an_old_note_is_not_relied_on(it: Engine, tmp_path: Path) -> None:
    old = service_watch.Known(1_749_999_000.0, (), frozenset({"worker"}))
    watch(tmp_path, known=old).wrong(0.0)
    assert (it.looks, it.since) == (1, 0.0)


def test_processes_that_are_stopped_are_seen() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"]) as parent:
        try:
            assert not procfs.stopped(parent.pid)
            until = time.monotonic() + 5.0
            while not (child := Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text("ascii").split()):
                assert time.monotonic() < until
            os.kill(int(child[0]), 19)
            while not procfs.stopped(parent.pid):
                assert time.monotonic() < until
            assert not procfs.stopped(parent.pid, alone=True)
        finally:
            for pid in [*child, str(parent.pid)]:
                os.kill(int(pid), 9)


@pytest.mark.parametrize(
    ("restarts", "lived", "told"),
    [(3, 1, [service_watch.LOOPS]), (2, 1, []), (9, 3600, [])],
    ids=["the third time", "the second time", "it has worked for an hour"],
)
def test_a_service_that_dies_young_again_and_again_is_told_at_once(
    restarts: int, lived: int, told: list[str], it: Engine, tmp_path: Path
) -> None:
    """Between two of its ends it runs for a moment, so that it never looks down for long."""
    ended = time.time() - 5.0
    times = {"StartedAt": stamp(ended - lived), "FinishedAt": stamp(ended)}
    services = watch(tmp_path)
    assert services.wrong(0.0) == {}
    worker = container("worker", "restarting")
    worker["State"].update(times)
    it.becomes(container("web"), {**worker, "RestartCount": restarts})
    assert list(services.wrong(1.0).values()) == told


def test_for_how_long_the_engine_was_not_heard(it: Engine, tmp_path: Path) -> None:
    services = watch(tmp_path)
    services.wrong(0.0)
    it.lives = False
    for second in range(10, 41):
        services.wrong(float(second))
    assert (services.unheard(40.0), it.connections) == (30.0, 1)
    services.excuse({}, 40.0)
    assert services.unheard(45.0) == 5.0
    it.lives = True
    services.wrong(60.0)
    assert services.unheard(61.0) == 0.0


def test_what_was_just_restarted_may_die_again(it: Engine, tmp_path: Path) -> None:
    services = watch(tmp_path)
    it.documents = [container("web"), {**container("worker"), "RestartCount": 7}]
    services.wrong(0.0)
    assert not services.may_loop(0.0)
    it.becomes(container("web"), {**container("worker"), "RestartCount": 8})
    services.wrong(20.0)
    it.becomes(container("web"), {**container("worker"), "RestartCount": 8})
    services.wrong(25.0)
    assert [services.may_loop(at) for at in (25.0, 31.0)] == [True, False]


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def test_the_first_process_of_a_container_is_looked_at_each_time(
    it: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its processes cost more, so they wait for the next round."""
    stops: set[bool] = set()
    monkeypatch.setattr(procfs, "stopped", lambda _, alone=False: alone in stops)
    services = watch(tmp_path)
    assert services.wrong(0.0) == {}
    stops.add(False)
    assert services.wrong(1.0) == {}
    stops.add(True)
    assert set(services.wrong(1.5).values()) == {service_watch.STOPPED}


class Stream(http.server.BaseHTTPRequestHandler):
    """The engine's events: one at once, and the end when the test says so."""

    protocol_version = "HTTP/1.1"
    ends = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\n{}\n\r\n")
        self.ends.wait(10.0)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        return self.socket.accept()[0], ("engine", 0)


@pytest.fixture
def socket_path(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "docker.sock")
    with UnixServer(path, Stream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield path
        Stream.ends.set()
        server.shutdown()


def test_events_are_heard_and_their_end_is_noticed(socket_path: str) -> None:
    events = engine.Events("shop", path=socket_path)
    until = time.monotonic() + 5.0
    while not events.new():
        assert time.monotonic() < until
    assert not events.new()
    Stream.ends.set()
    with pytest.raises(engine.EngineError, match="ended"):
        while time.monotonic() < until:
            events.new()
    events.close()


def test_no_engine_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match="does not answer"):
        engine.Events("shop", path=str(tmp_path / "none.sock"))
