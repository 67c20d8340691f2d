# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The watcher notices faults of services that no check asks."""

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
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import app_paths
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
    """A Docker engine that counts connections and looks."""

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

    def wait(self, _seconds: float) -> bool:
        return self.happened

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
    app = App(app_paths("shop", str(tmp_path / "opt/shop"), root=str(tmp_path)), balancer=balancer)
    return service_watch.ServiceWatch(app, lambda: 1_750_000_000.0, known)


def test_while_nothing_happens_the_engine_is_asked_once(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    assert [watched.wrong(float(second)) for second in range(60)] == [{}] * 60
    assert (it.connections, it.looks) == (1, 1)


@pytest.mark.parametrize(
    ("ages", "warms_up"),
    [
        ({11: 3600.0, 12: 3600.0}, False),
        ({11: 3600.0, 12: 2.0}, True),
        ({11: 3600.0, 12: None}, True),
    ],
    ids=["all run for long", "one was started just now", "one has just ended"],
)
def test_an_app_warms_up_after_a_container_was_started(
    it: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: dict[int, float | None], warms_up: bool
) -> None:
    monkeypatch.setattr(procfs, "age", lambda pid: ages[pid])
    watched = watch(tmp_path)
    assert watched.warms_up()
    job = container("migrate", policy="no")
    for pid, document in enumerate((one := container("web"), two := container("worker"), job), start=11):
        document["State"]["Pid"] = pid
    it.becomes(one, two, job)
    watched.wrong(0.0)
    assert watched.warms_up() is warms_up
    assert watched.pids() == [11, 12, 13]


@pytest.mark.parametrize(
    ("worker", "at_once", "later"),
    [
        ([], "", "has no container"),
        ([container("worker", "exited")], "", "is exited"),
        ([container("worker", "paused")], "", "is paused"),
        ([container("worker", health="unhealthy")], "is unhealthy", "is unhealthy"),
        ([container("worker", health="starting")], "", ""),
    ],
)
def test_a_fault_that_lasts_is_reported(
    it: Engine, tmp_path: Path, worker: list[dict[str, Any]], at_once: str, later: str
) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), *worker)
    assert watched.wrong(1.0) == ({"worker": at_once} if at_once else {})
    assert watched.wrong(2.0) == ({"worker": later} if later else {})


@pytest.mark.parametrize(
    ("web", "is_down"),
    [
        ([], True),
        ([container("web", "exited")], True),
        ([container("web", "exited"), container("web")], False),
        ([container("web", "restarting")], False),
        ([container("web", "created")], False),
        ([container("web", "paused")], False),
    ],
    ids=["removed", "stopped", "one of two stopped", "being restarted", "being created", "paused"],
)
def test_a_service_that_no_restart_policy_starts_is_down_at_once(
    it: Engine, tmp_path: Path, web: list[dict[str, Any]], is_down: bool
) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    assert watched.down() == frozenset()
    it.becomes(container("worker"), *web)
    assert watched.wrong(0.1) == {}
    assert watched.down() == (frozenset({"web"}) if is_down else frozenset())
    it.lives = False
    watched.wrong(0.2)
    assert watched.down() == frozenset()


def test_a_service_that_its_restart_policy_starts_again_is_not_reported(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "exited"))
    watched.wrong(1.0)
    it.becomes(container("web"), container("worker"))
    assert [watched.wrong(2.0), watched.wrong(3.0)] == [{}, {}]


def test_the_last_good_release_says_which_services_are_expected(it: Engine, tmp_path: Path) -> None:
    """Also one that was missing before the watch began, but neither a job nor the service behind the load balancer."""
    images = dict.fromkeys(("web", "worker", "mail", "migrate"), "sha256:0")
    watched = watch(tmp_path, {"images": images, "jobs": ["migrate"]}, Balancer("web", 2, 18000, (80,)))
    it.documents = [container("web")]
    watched.wrong(0.0)
    assert watched.wrong(2.0) == {"worker": "has no container", "mail": "has no container"}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("running", "exited"), {}),
        (("restarting", "exited"), {}),
        (("exited", "exited"), {"web": service_watch.NONE_RUNS}),
        ((), {"web": service_watch.NONE_RUNS}),
    ],
)
def test_an_app_without_any_instance_is_reported(
    states: tuple[str, ...], expected: dict[str, str], it: Engine, tmp_path: Path
) -> None:
    """HAProxy, which counts the instances, takes seconds to report that none is left."""
    images = dict.fromkeys(("web", "worker"), "sha256:0")
    watched = watch(tmp_path, {"images": images, "jobs": []}, Balancer("web", 2, 18000, (80,)))
    it.documents = [container("web"), container("web"), container("worker")]
    watched.wrong(0.0)
    it.becomes(container("worker"), *(container("web", state) for state in states))
    assert watched.wrong(1.0) == {}
    assert watched.wrong(2.0) == expected


def test_a_lost_connection_to_the_engine_is_opened_again(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.lives = False
    assert [watched.wrong(float(second)) for second in range(1, 10)] == [{}] * 9
    it.lives, it.documents = True, [container("web")]
    watched.wrong(20.0)
    assert it.connections == 2


def test_the_next_watcher_uses_the_note_of_the_last_one(it: Engine, tmp_path: Path) -> None:
    first = watch(tmp_path)
    first.wrong(0.0)
    known = service_watch.from_json(json.loads(json.dumps(service_watch.to_json(first.known()))))
    second = watch(tmp_path, known=known)
    assert second.wrong(0.0) == {}
    assert (it.looks, it.connections, it.since) == (1, 2, 1_749_999_999.0)
    it.becomes(container("web"))
    second.wrong(1.0)
    assert second.wrong(2.0) == {"worker": "has no container"}


def test_the_next_watcher_knows_at_once_what_was_replaced_by_hand(it: Engine, tmp_path: Path) -> None:
    web = service_watch.Container("web", "running", "", 0, job=False, by_hand="/srv")
    known = service_watch.Known(1_749_999_999.0, (web,), frozenset({"web"}))
    watched = watch(tmp_path, good={"images": {"web": ""}, "jobs": []}, known=known)
    watched.wrong(0.0)
    assert watched.by_hand() == {"web": "/srv"}


@pytest.mark.parametrize("damaged", [None, {}, {"at": "x", "containers": [], "expected": []}, {"containers": [1]}])
def test_a_damaged_note_is_ignored(damaged: Any) -> None:
    assert service_watch.from_json(damaged) is None


def test_a_service_that_a_check_found_healthy_is_not_reported_for_a_while(it: Engine, tmp_path: Path) -> None:
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


def test_a_service_in_a_restart_loop_is_always_reported(it: Engine, tmp_path: Path) -> None:
    """A check may find it running between two restarts. Ignored for a minute, it would be noticed only by chance."""
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "restarting"))
    watched.wrong(1.0)
    watched.excuse(watched.wrong(2.0), 2.0)
    assert watched.wrong(3.0) == {"worker": "is restarting"}


def test_a_release_that_is_recorded_later_says_which_services_are_expected(it: Engine, tmp_path: Path) -> None:
    """A deploy removes a service, then records the release without it. The engine sends no event for the record."""
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"))
    watched.wrong(1.0)
    watch(tmp_path, {"images": {"web": "sha256:0"}, "jobs": []})
    assert watched.wrong(2.0) == {}


def test_an_ended_container_without_a_restart_policy_is_not_missing(it: Engine, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.wrong(0.0)
    it.becomes(container("web"), container("worker", "exited", policy="no"))
    watched.wrong(1.0)
    assert watched.wrong(2.0) == {}


def test_an_old_note_is_ignored(it: Engine, tmp_path: Path) -> None:
    old = service_watch.Known(1_749_999_000.0, (), frozenset({"worker"}))
    watch(tmp_path, known=old).wrong(0.0)
    assert (it.looks, it.since) == (1, 0.0)


def test_stopped_processes_are_noticed() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"]) as parent:
        try:
            assert not procfs.stopped(parent.pid)
            until = time.monotonic() + 5.0
            while not (child := Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text("ascii").split()):
                assert time.monotonic() < until
            os.kill(int(child[0]), 19)
            while not procfs.stopped(parent.pid):
                assert time.monotonic() < until
            assert procfs.stopped(parent.pid, near=True)
        finally:
            for pid in [*child, str(parent.pid)]:
                os.kill(int(pid), 9)


@pytest.mark.parametrize(
    ("restarts", "lived", "faults"),
    [(3, 1, [service_watch.LOOPS]), (2, 1, []), (9, 3600, [])],
    ids=["the third restart", "the second restart", "after an hour of work"],
)
def test_a_service_in_a_crash_loop_is_reported_at_once(
    restarts: int, lived: int, faults: list[str], it: Engine, tmp_path: Path
) -> None:
    """It runs for a moment between two crashes, so it is never down for long."""
    ended = time.time() - 5.0
    times = {"StartedAt": stamp(ended - lived), "FinishedAt": stamp(ended)}
    services = watch(tmp_path)
    assert services.wrong(0.0) == {}
    worker = container("worker", "restarting")
    worker["State"].update(times)
    it.becomes(container("web"), {**worker, "RestartCount": restarts})
    assert list(services.wrong(1.0).values()) == faults


def test_how_long_the_engine_has_been_unreachable(it: Engine, tmp_path: Path) -> None:
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


def test_a_service_that_was_just_restarted_may_be_in_a_loop(it: Engine, tmp_path: Path) -> None:
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


def test_the_first_processes_of_a_container_are_checked_each_time(
    it: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking all its processes costs more, so that waits for the next round."""
    stops: set[bool] = set()
    monkeypatch.setattr(procfs, "stopped", lambda _, near=False: near in stops)
    services = watch(tmp_path)
    assert services.wrong(0.0) == {}
    stops.add(False)
    assert services.wrong(1.0) == {}
    assert not services.happens(0.01, lambda _: None)
    stops.add(True)
    assert services.happens(0.01, lambda _: None)
    assert set(services.wrong(1.5).values()) == {service_watch.STOPPED}
    assert not services.happens(0.01, lambda _: None)


class Stream(http.server.BaseHTTPRequestHandler):
    """The engine's events: one at once, and the end of the stream when the test sets `ends`."""

    protocol_version = "HTTP/1.1"
    ends = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\n{}\n\r\n")
        self.ends.wait(10.0)
        self.close_connection = True

    def log_message(self, *_unused: Any) -> None:
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


def test_events_are_read_and_the_end_of_the_stream_is_noticed(socket_path: str) -> None:
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


def test_a_missing_engine_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match="does not answer"):
        engine.Events("shop", path=str(tmp_path / "none.sock"))


def updated(**given: Any) -> dict[str, Any]:
    one = container("web")
    return {
        **one,
        "Image": "sha256:a",
        "HostConfig": {**one["HostConfig"], "Memory": 256 << 20, "PidsLimit": 100, **given},
    }


LIMITS = {"cpus": "0", "memory": "256 MiB", "memory reservation": "0 MiB", "pids": "100", "restart": "always"}
UPDATES: list[tuple[str, dict[str, Any], str]] = [
    ("nothing", {}, ""),
    ("memory", {"Memory": 128 << 20}, "memory 128 MiB instead of 256 MiB"),
    ("cpus", {"NanoCpus": 500000000}, "cpus 0.5 instead of 0"),
    ("no limit of processes", {"PidsLimit": -1}, "pids 0 instead of 100"),
    ("restart policy", {"RestartPolicy": {"Name": "no"}}, "restart no instead of always"),
]


@pytest.mark.parametrize(("given", "what"), [case[1:] for case in UPDATES], ids=[case[0] for case in UPDATES])
def test_a_container_that_docker_update_has_changed(
    given: dict[str, Any], what: str, it: Engine, tmp_path: Path
) -> None:
    it.documents = [updated()]
    watched = watch(tmp_path, {"images": {"web": "sha256:a"}, "settings": {"web": LIMITS}})
    watched.wrong(0.0)
    assert watched.updated() == {}
    it.becomes(updated(**given))
    watched.wrong(1.0)
    assert watched.updated() == ({"shop-web-1": what} if what else {})
    # The next watcher does not look again.
    known = service_watch.from_json(json.loads(json.dumps(service_watch.to_json(watched.known()))))
    following = watch(tmp_path, known=known)
    following.wrong(2.0)
    assert following.updated() == watched.updated()


def test_a_container_of_another_image_than_that_of_the_release(it: Engine, tmp_path: Path) -> None:
    it.documents = [{**updated(), "Image": "sha256:b"}]
    watched = watch(tmp_path, {"images": {"web": "sha256:a"}})
    watched.wrong(0.0)
    assert watched.updated() == {"shop-web-1": "image sha256:b instead of sha256:a"}
    release = tmp_path / "opt/shop/releases/1/release.json"
    release.write_text(release.read_text(encoding="utf-8").replace("sha256:a", "sha256:b"), encoding="utf-8")
    os.utime(release, (1, 1))
    watched.wrong(1.0)
    assert watched.updated() == {}, "a recovery has built it again, and the record says so"
    assert it.looks == 1


@pytest.mark.parametrize("settings", [None, [], {"web": 7}, {"other": LIMITS}, {"web": {"colour": "red"}}])
def test_a_release_of_which_no_limits_are_known(settings: Any, it: Engine, tmp_path: Path) -> None:
    it.documents = [updated()]
    watched = watch(tmp_path, {"images": {"web": "sha256:a"}, "settings": settings})
    watched.wrong(0.0)
    assert watched.updated() == {}
