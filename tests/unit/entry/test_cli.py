# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command `selfheal`: its output, its files and its exit codes: 0 healthy, 1 unhealthy, 2 not possible."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any, Callable, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import cli, outcome, watch
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock, moment
from ansible_collections.christmas.selfheal.plugins.module_utils.core.locks import hold_lock
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.host import timers
from ansible_collections.christmas.selfheal.plugins.module_utils.records import incidents, state
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import config as agent_config
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import watcher, watcher_note
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

KEY = "Vq3mZk8TtPw2Lr9xHs5B"
Run = Callable[..., tuple[int, str, str]]


def configure(root: Path, name: str = "shop", **more: Any) -> Path:
    path = root / "etc/selfheal" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "app": name,
        "variables": [{"name": "KEY", "kind": "token"}],
        "checks": [{"name": "health", "url": "http://127.0.0.1:1/", "proves": "health"}],
        **more,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    (root / "opt" / name).mkdir(parents=True, exist_ok=True)
    (root / "opt" / name / ".env").write_text(f"KEY={KEY}\n", encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command on a host with one healthy app, and return its exit code, output and errors."""
    configure(tmp_path)
    answer(monkeypatch, "")
    monkeypatch.setattr(timers, "read", lambda _names: {})

    def command(*words: str) -> tuple[int, str, str]:
        code = cli.main(words, str(tmp_path))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def answer(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Let the check pass, or fail with a reason."""
    said = reason or "got 200 in 0.01 s"
    result = {"name": "health", "ok": not reason, "reason": said, "proves": "health", "port": 1}
    found = {"ok": not reason, "summary": f"{int(not reason)} of 1 checks passed", "results": [result]}
    monkeypatch.setattr(health_facts, "ask", lambda *_: found)


def folder(root: Path) -> str:
    return str(root / "var/lib/selfheal/shop")


def write_incident(root: Path, identity: str, **more: Any) -> None:
    record: dict[str, Any] = {
        **{"id": identity, "app": "shop", "cause": "hung", "meaning": "it hangs", "seen": "", "seconds": 2.5},
        **{"healthy": True, "evidence": [], "remedies": [], "hold": "", "next_step": "", "timeline": [], "files": []},
    }
    record = {**record, **more}
    incidents.write(os.path.join(folder(root), "incidents"), cast(incidents.IncidentRecord, record), {})


def leave_incident(
    root: Path, hold: str, escalated: bool = True, attempts: int = 0, unasked: bool = False, **more: Any
) -> None:
    """Let an incident be open, with the next step "Do it."."""
    texts = ("app", "host", "cause", "meaning", "seen", "confirmed", "ended")
    record: Any = {
        **dict.fromkeys(texts, "x"),
        **{"id": "20250527T020000Z-hung", "seconds": 1.0, "healthy": False, "escalated": escalated, "hold": hold},
        **{"evidence": [], "remedies": [], "timeline": [], "files": [], "next_step": "Do it.", **more},
    }
    attempt: state.Attempt = {"remedy": "restart", "incident": record["id"], "at": moment(), "unasked": unasked}
    memory = {**state.empty(), "incident": record, "seen": moment(), "attempts": [attempt] * attempts}
    state.save(folder(root), cast(state.State, memory), str(root / "spare"))


def test_a_healthy_app(run: Run) -> None:
    code, text, _unused = run("status")
    assert code == outcome.GOOD
    assert "shop: healthy (1 of 1 checks passed)" in text
    assert "watcher: NOT alive: systemctl status selfheal@shop.timer" in text
    code, text, _unused = run("status", "--json")
    report = json.loads(text)
    assert (code, report["healthy"], report["paused"], report["incident"]) == (outcome.GOOD, True, None, None)
    assert report["breaker"] == {"open": False, "attempts": 0, "of": 5, "window": 1800.0, "clean": 600.0}
    assert run("probe")[0] == outcome.GOOD


def test_an_unhealthy_app(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "connection refused")
    assert run("status")[:2] == (outcome.SICK, run("status")[1])
    code, text, _unused = run("probe")
    assert (code, text) == (outcome.SICK, "[ ] health: connection refused\n0 of 1 checks passed\n")
    assert not json.loads(run("probe", "--json")[1])["ok"]


def test_the_note_of_a_watcher_says_whether_it_is_alive(run: Run, tmp_path: Path) -> None:
    path = Path(watcher_note.note_path(str(tmp_path), "shop"))
    path.parent.mkdir(parents=True)
    at = moment()
    note = {"at": at, "pid": os.getpid(), "problems": ["no room for metrics"], "hold": "", "good": None}
    path.write_text(json.dumps(note), encoding="utf-8")
    text = run("status")[1]
    assert "watcher: alive" in text
    assert "problem: no room for metrics" in text
    long_ago = {**note, "at": {**at, "monotonic": at["monotonic"] - 3600}}
    path.write_text(json.dumps(long_ago), encoding="utf-8")
    assert "NOT alive" in run("status")[1]
    path.write_text('{"at', encoding="utf-8")
    assert "NOT alive" in run("status")[1]


@pytest.mark.parametrize(
    ("checks", "code", "summary"),
    [
        pytest.param(
            {"ok": True, "passed": 1, "total": 1}, outcome.GOOD, "healthy (1 of 1 checks passed, as", id="healthy"
        ),
        pytest.param({"ok": False, "passed": 0, "total": 1}, outcome.SICK, "NOT healthy (0 of 1", id="unhealthy"),
        pytest.param(
            {"ok": True, "passed": 0, "total": 0}, outcome.GOOD, "healthy (no check asks it, as", id="no check"
        ),
    ],
)
def test_status_shows_the_last_check_of_the_watcher_and_does_not_ask_the_app(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: dict[str, Any], code: int, summary: str
) -> None:
    monkeypatch.setattr(health_facts, "ask", lambda *_: pytest.fail("the app was asked"))
    path = Path(watcher_note.note_path(str(tmp_path), "shop"))
    path.parent.mkdir(parents=True)
    now = moment()
    seen = {**now, "monotonic": now["monotonic"] - 20.0}
    note = {"at": now, "pid": os.getpid(), "problems": [], "hold": "", "checks": {**checks, "at": seen}}
    path.write_text(json.dumps(note), encoding="utf-8")
    watcher_note.touch(str(tmp_path), "shop", moment(now["wall"] - 20.0))
    ended, text, _unused = run("status")
    assert (ended, f"shop: {summary}" in text, "the watcher saw 20 s ago" in text) == (code, True, True)
    assert json.loads(run("status", "--json")[1])["healthy"] is (code == outcome.GOOD)


def test_pause_and_resume(run: Run, tmp_path: Path) -> None:
    code, text, _unused = run("pause", "--for", "2h", "--reason", " a new\ndisk ")
    assert code == outcome.GOOD
    assert "paused until" in text
    assert "a new disk" in text
    paused = json.loads(run("status", "--json")[1])["paused"]
    assert paused["reason"] == "a new disk"
    assert 7100 < paused["left"] <= 7200
    assert "PAUSED for another 1" in run("status")[1]
    assert "the pause is over" in run("resume")[1]
    assert "was not paused" in run("resume")[1]
    assert state.read_orders(folder(tmp_path))["paused"] is None
    assert state.read_orders(folder(tmp_path))["resumed"] is not None


@pytest.mark.parametrize("escalated", [True, False])
def test_in_a_pause_only_what_is_left_to_a_person_comes_next(run: Run, tmp_path: Path, escalated: bool) -> None:
    leave_incident(tmp_path, "x", escalated=escalated)
    assert "next: Do it." in run("status")[1]
    run("pause", "--for", "2h", "--reason", "a new disk")
    assert ("next: Do it." in run("status")[1]) is escalated


@pytest.mark.parametrize("time", ["", "10", "-5m", "0s", "1.5h", "8d", "5 m", "forever", "999999d"])
def test_no_pause_without_an_end(run: Run, tmp_path: Path, time: str) -> None:
    code, _unused, error = run("pause", f"--for={time}", "--reason", "work")
    assert code == outcome.WRONG
    assert "write 90s, 30m, 2h or 1d" in error
    assert not os.path.exists(folder(tmp_path))


def test_no_pause_without_a_reason(run: Run, tmp_path: Path) -> None:
    code, _unused, error = run("pause", "--for", "1h", "--reason", "  ")
    assert code == outcome.WRONG
    assert "--reason" in error
    assert not os.path.exists(folder(tmp_path))


def test_incidents_newest_first(run: Run, tmp_path: Path) -> None:
    assert run("incidents")[:2] == (outcome.GOOD, "no incident so far\n")
    for day in ("20250525", "20250527", "20250526"):
        write_incident(tmp_path, f"{day}T020000Z-hung")
    (tmp_path / "var/lib/selfheal/shop/incidents/20250528T020000Z-hung").mkdir()  # nothing in it
    code, text, _unused = run("incidents", "--last", "2")
    assert code == outcome.GOOD
    assert text.splitlines()[0] == "20250527T020000Z-hung: healthy after 2.5 s; nothing was restarted"
    assert text.splitlines()[2].startswith("2 shown; ")
    assert [one["id"][:8] for one in json.loads(run("incidents", "--json")[1])] == ["20250527", "20250526", "20250525"]
    assert run("incidents", "--last", "0")[0] == outcome.WRONG


def test_a_damaged_state_is_reported_and_left_to_the_watcher(run: Run, tmp_path: Path) -> None:
    path = Path(folder(tmp_path)) / state.STATE
    path.parent.mkdir(parents=True)
    path.write_text('{"inc', encoding="utf-8")
    assert f"problem: {path} could not be read" in run("status")[1]
    assert path.exists()


def test_damaged_orders_are_reported(run: Run, tmp_path: Path) -> None:
    path = Path(folder(tmp_path)) / state.ORDERS
    path.parent.mkdir(parents=True)
    path.write_text('{"pau', encoding="utf-8")
    assert f"problem: {path}" in run("status")[1]


def test_a_broken_config(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "etc/selfheal/shop.json"
    path.write_text("{", encoding="utf-8")
    code, text, _unused = run("status")
    assert code == outcome.WRONG
    assert "is not valid JSON" in text
    report = json.loads(run("status", "--json")[1])
    assert (report["app"], report["healthy"]) == ("shop", False)
    assert "is not valid JSON" in report["problems"][0]
    for words in (["probe"], ["recover"], ["incidents"], ["resume"], ["pause", "--for", "1h", "--reason", "x"]):
        code, _unused, error = run(*words)
        assert code == outcome.WRONG
        assert "is not valid JSON" in error
    assert not os.path.exists(folder(tmp_path))


def test_check_config(run: Run, tmp_path: Path) -> None:
    path = configure(tmp_path)
    assert run("check-config", str(path))[:2] == (outcome.GOOD, f"{path}: good, for shop\n")
    code, _unused, error = run("check-config", str(configure(tmp_path, interval=0)))
    assert code == outcome.SICK
    assert "`interval`" in error


def test_which_app(run: Run, tmp_path: Path) -> None:
    configure(tmp_path, "blog")
    code, text, _unused = run("status")
    assert code == outcome.GOOD
    assert text.splitlines() == [
        "blog: healthy (1 of 1 checks passed)",
        "shop: healthy (1 of 1 checks passed)",
        "more: selfheal status --app NAME",
    ]
    assert [one["app"] for one in json.loads(run("status", "--json")[1])] == ["blog", "shop"]
    code, _unused, error = run("resume")
    assert code == outcome.WRONG
    assert "blog, shop: say which with --app" in error
    assert run("status", "--app", "blog")[1].startswith("blog: healthy")
    code, _unused, error = run("status", "--app", "forum")
    assert code == outcome.WRONG
    assert "known: blog, shop" in error
    write_incident(tmp_path, "20250527T020000Z-credentials_refused", cause="credentials_refused")
    assert run("incidents")[1].splitlines()[:2] == [
        "blog: no incident so far",
        "shop: 20250527T020000Z-credentials_refused: healthy after 2.5 s; "
        "nothing was restarted; it ended once the login was accepted",
    ]
    configure(tmp_path, "blog", app="forum")
    assert "`app` is 'forum'" in run("probe", "--app", "blog")[2]
    code, text, error = run("incidents")
    assert code == outcome.WRONG
    assert "`app` is 'forum'" in error
    assert "shop: 2025" in text
    assert run("status")[0] == outcome.WRONG


@pytest.mark.parametrize(
    "words", [[], ["heal"], ["status", "--yaml"], ["pause", "--for", "1h"], ["incidents", "--last", "x"]]
)
def test_invalid_arguments(run: Run, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2


def leave_note(root: Path, **more: Any) -> None:
    path = Path(watcher_note.note_path(str(root), "shop"))
    path.parent.mkdir(parents=True, exist_ok=True)
    checks = {"ok": True, "passed": 1, "total": 1, "at": moment()}
    note = {"at": moment(), "pid": os.getpid(), "problems": [], "hold": "", "checks": checks, **more}
    path.write_text(json.dumps(note), encoding="utf-8")


def test_status_says_who_holds_the_lock_and_since_when(run: Run, tmp_path: Path) -> None:
    waits = "waiting: pid 7 (rollback shop) works on the app since 02:00:00 UTC"
    leave_note(tmp_path, hold=waits)
    assert f"\n{waits}\n" in run("status")[1]
    leave_incident(tmp_path, "the breaker is open")
    assert f"\nincident 20250527T020000Z-hung: {waits}\n" in run("status")[1]


@pytest.mark.parametrize(
    ("hold", "locked", "says"),
    [
        ("no remedy here can help", False, "no remedy here can help"),
        ("", True, "a remedy is under way"),
        ("", False, "the watcher looks at it again in a moment"),
    ],
)
def test_status_says_what_is_done_about_an_incident(
    run: Run, tmp_path: Path, hold: str, locked: bool, says: str
) -> None:
    leave_note(tmp_path)
    leave_incident(tmp_path, hold)
    with contextlib.ExitStack() as held:
        if locked:
            held.enter_context(hold_lock(str(tmp_path / "run/selfheal/shop.lock"), 0.0, "recover shop"))
        assert f"\nincident 20250527T020000Z-hung: {says}\n" in run("status")[1]


@pytest.mark.parametrize("locked", [True, False])
def test_status_names_the_remedy_that_is_under_way(run: Run, tmp_path: Path, locked: bool) -> None:
    """The record's reason and next step are from before it. Without the lock, the remedy was killed."""
    remedy = {"name": "restart", "done": False, "result": "begun", "seconds": 0.0, "services": ["web"]}
    leave_incident(tmp_path, TOO_FRESH, remedies=[remedy])
    with contextlib.ExitStack() as held:
        if locked:
            held.enter_context(hold_lock(str(tmp_path / "run/selfheal/shop.lock"), 0.0, "recover shop"))
        text = run("status")[1]
    says = "the remedy restart of web is under way" if locked else TOO_FRESH
    assert f"\nincident 20250527T020000Z-hung: {says}\n" in text
    assert ("Do it." in text) is not locked


def test_an_open_breaker_explains_more_attempts_than_it_allows(run: Run, tmp_path: Path) -> None:
    leave_incident(tmp_path, "", attempts=12)
    text = run("status")[1]
    assert "breaker: OPEN, 12 attempts in the last 30 min. The watcher begins none from 5 on; recoveries that" in text


TOO_FRESH = "the last attempt is too fresh: the next one in 24 s"


def test_a_breaker_that_has_opened_since_leaves_no_promise_of_a_next_attempt(run: Run, tmp_path: Path) -> None:
    leave_incident(tmp_path, TOO_FRESH, escalated=False, attempts=5)
    text = run("status")[1]
    assert "breaker: OPEN" in text
    assert "incident 20250527T020000Z-hung: the breaker has opened, so the watcher leaves it to a person" in text
    assert "the next one in" not in text
    assert "next:" not in text


def test_attempts_from_when_users_were_served_do_not_open_the_breaker_for_what_they_wait_for(
    run: Run, tmp_path: Path
) -> None:
    leave_incident(tmp_path, TOO_FRESH, escalated=False, attempts=5, unasked=True)
    text = run("status")[1]
    assert "breaker: closed (0 of 5 attempts)" in text
    assert TOO_FRESH in text


def test_an_app_that_is_not_healthy_is_said_to_be_so_for_a_reason(run: Run, tmp_path: Path) -> None:
    leave_incident(tmp_path, "x", cause="overloaded")
    assert run("status")[1].startswith(
        "shop: NOT healthy: the app answers, too slowly: the host or the app has more to do than it can (1 of 1 checks"
    )


@pytest.mark.parametrize(
    ("serving", "code", "first", "row"),
    [
        (0, outcome.SICK, "NOT healthy: HAProxy sends requests to no instance (1 of 1", "instances: 0 of 1 serve"),
        (1, outcome.GOOD, "healthy (1 of 1", "instances: 1 of 1 serve"),
        (None, outcome.GOOD, "healthy (1 of 1", "instances: HAProxy does not say how many of 1 serve"),
    ],
)
def test_the_first_line_agrees_with_how_many_instances_serve(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serving: int | None,
    code: int,
    first: str,
    row: str,
) -> None:
    def asked(_paths: Any) -> int:
        if serving is None:
            raise haproxy.BalancerError("HAProxy does not answer")
        return serving

    monkeypatch.setattr(haproxy, "serving", asked)
    configure(tmp_path, balancer={"service": "web", "instances": 1, "first_port": 18000, "ports": [8000]})
    ended, text, _unused = run("status")
    assert (ended, text.startswith(f"shop: {first}"), row in text) == (code, True, True)


def test_no_value_of_a_secret_is_shown(run: Run) -> None:
    for words in (["status"], ["status", "--json"], ["probe", "--json"], ["incidents"]):
        assert KEY not in "".join(run(*words)[1:])


def test_systemd_is_notified_at_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    watch.notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        watch.notify("WATCHDOG=1")
        assert listener.recv(100) == b"WATCHDOG=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    watch.notify("WATCHDOG=1")  # only logged on stderr


@pytest.mark.parametrize(
    ("of_release", "code", "line"),
    [
        (
            {"web": "", "worker": ""},
            outcome.SICK,
            ": service worker keeps restarting, restarted 17 times, last exit code 1 (1 of 1 checks passed)\n",
        ),
        ({"web": ""}, outcome.GOOD, "\nnot of the release: service worker keeps restarting"),
    ],
    ids=["a service of the release", "a job of another profile"],
)
def test_status_names_a_service_that_no_check_asks(
    of_release: dict[str, str], code: int, line: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_store, "last_good", lambda _: {"services": of_release})
    state = {"Status": "restarting", "ExitCode": 1}
    labels = {"com.docker.compose.service": "worker"}
    document = {"Id": "1", "Name": "/w", "State": state, "Config": {"Labels": labels}, "HostConfig": {}}
    web = {**document, "State": {"Status": "running"}, "Config": {"Labels": {"com.docker.compose.service": "web"}}}
    monkeypatch.setattr(docker_containers, "inspected", lambda _: [web, {**document, "RestartCount": 17}])
    ended, out, _unused = run("status")
    assert (ended, "shop: NOT healthy: " in out) == (code, code == outcome.SICK)
    assert line in out


@pytest.mark.parametrize(
    ("containers", "unhealthy"),
    [
        pytest.param([("web", "running", 1), ("db", "exited", 9)], {"db": "exited with 137"}, id="it ended"),
        pytest.param([("web", "running", 1)], {"db": "has no container"}, id="it is gone"),
        pytest.param(
            [("web", "running", 1), ("db", "running", 9)],
            {"web": "fails the check health: connection refused"},
            id="a check says so",
        ),
    ],
)
def test_status_names_the_service_and_why(
    run: Run, monkeypatch: pytest.MonkeyPatch, containers: list[tuple[str, str, int]], unhealthy: dict[str, str]
) -> None:
    monkeypatch.setattr(
        release_store, "last_good", lambda _: {"services": {"web": "", "db": "", "job": ""}, "jobs": ["job"]}
    )
    ports = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]}
    documents = [
        {
            "Id": service,
            "Name": f"/shop-{service}-1",
            "State": {"Status": state_, "ExitCode": 137 if state_ == "exited" else 0},
            "Config": {"Labels": {"com.docker.compose.service": service}},
            "HostConfig": {"RestartPolicy": {"Name": "always"}, "PortBindings": ports if port == 1 else {}},
        }
        for service, state_, port in containers
    ]
    monkeypatch.setattr(docker_containers, "inspected", lambda _: documents)
    answer(monkeypatch, "connection refused" if "web" in unhealthy else "")
    code, text, _unused = run("status", "--json")
    assert code == cli.SICK
    assert json.loads(text)["unhealthy"] == [{"service": name, "reason": why} for name, why in unhealthy.items()]
    ((name, why),) = unhealthy.items()
    assert run("status")[1].startswith(f"shop: NOT healthy: service {name} {why} (")


# --- the timer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state_", "enabled", "reported"),
    [("active", True, False), ("inactive", True, True), ("failed", True, True), ("inactive", False, False)],
    ids=["it runs", "stopped by hand", "failed", "switched off by its role"],
)
def test_a_stopped_timer_is_reported_with_the_command_that_starts_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_: str, enabled: bool, reported: bool
) -> None:
    configure(tmp_path, enabled=enabled)
    monkeypatch.setattr(timers, "read", lambda _names: {"shop": timers.Timer(state_, "812")})
    code, text, _unused = run("status")
    assert code == outcome.GOOD, "a stopped timer does not make the app unhealthy"
    assert ("systemctl enable --now selfheal@shop.timer" in text) is reported
    assert ("watcher: off, as watcher_enabled says" in text) is not enabled
    found = json.loads(run("status", "--json")[1])
    assert (found["watcher"]["timer"], found["watcher"]["enabled"]) == (state_, enabled)
    assert any("systemctl enable --now" in problem for problem in found["problems"]) is reported


# --- a missing config ------------------------------------------------------------------------------------------------


class Life:
    """The lives of one app's watchers, one after the other. `during` runs in each of them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.path = configure(root)
        self.copy = Path(agent_config.copy_of("shop", str(root)))
        self.during: Callable[[], Any] = lambda: None
        self.watched: list[float] = []
        self.problems: list[str] = []
        self.began = 0
        monkeypatch.setattr(watcher, "watch", self.watch)
        monkeypatch.setattr(os, "execv", self.execv)
        monkeypatch.setattr(watch, "notify", lambda _text: None)

    def watch(self, config: Any, _clock: Any, _notify: Any, changed: Callable[[], tuple[bool, str]]) -> str:
        self.watched.append(config.interval)
        self.during()
        ends, problem = changed()
        self.problems.append(problem)
        return "the config has changed" if ends else ""

    def execv(self, *_unused: Any) -> int:
        self.began += 1
        return outcome.GOOD

    def live(self) -> int:
        return cli.main(["watch", "--app", "shop"], str(self.root))


@pytest.fixture
def life(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(tmp_path, monkeypatch)


def test_a_deleted_config_stays_in_force_when_the_watcher_starts_again(life: Life, run: Run) -> None:
    life.path = configure(life.root, interval=3)
    life.during = lambda: life.path.unlink(missing_ok=True)
    for _unused in range(3):
        assert life.live() == outcome.GOOD
    # Each life begins as a new program, so that memory does not grow.
    assert (life.watched, life.began) == ([3.0, 3.0, 3.0], 3)
    assert all(f"stays in force: {life.path} does not exist" in problem for problem in life.problems)
    code, text, _error = run("status", "--app", "shop")
    assert code == outcome.GOOD
    assert f"problem: the config that was in force before stays in force: {life.path} does not exist" in text
    assert f"{life.path} does not exist" in json.loads(run("status", "--app", "shop", "--json")[1])["problems"][0]
    code, _text, error = run("probe", "--app", "shop")
    assert (code, "stays in force" in error) == (outcome.GOOD, True)


def test_an_app_without_its_config_is_known_while_it_is_watched(life: Life, run: Run) -> None:
    life.live()
    life.path.unlink()
    assert "run christmas.selfheal.site" in run("status")[2]
    with hold_lock(watcher.lock_path(str(life.root), "shop"), 0.0, "watch shop"):
        assert run("status")[1].startswith("shop: healthy")


def test_a_restored_config_is_in_force_at_once(life: Life) -> None:
    life.live()
    life.path.unlink()
    life.during = lambda: configure(life.root, interval=5)
    life.live()
    assert life.problems == ["", ""]
    life.live()
    assert life.watched == [1.0, 1.0, 5.0]
    assert json.loads(life.copy.read_text(encoding="utf-8"))["interval"] == 5


def test_a_damaged_config_never_replaces_the_good_one(life: Life) -> None:
    life.live()
    good = life.copy.read_text(encoding="utf-8")
    life.during = lambda: life.path.write_text("{", encoding="utf-8")
    life.live()
    life.live()
    assert life.copy.read_text(encoding="utf-8") == good
    assert ["is not valid JSON" in problem for problem in life.problems] == [False, True, True]


def test_a_removed_app_is_not_watched_any_more(
    life: Life, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config and the copy of it are both missing."""
    life.live()

    def remove() -> None:
        life.path.unlink()
        life.copy.unlink()

    life.during = remove
    life.live()
    assert life.problems == ["", ""]
    assert "starts again: the config has changed" in capsys.readouterr().out
    # The next watcher waits for a config and checks nothing.
    monkeypatch.setattr(Clock, "sleep", lambda *_: configure(life.root), raising=False)
    monkeypatch.setattr(watch, "BROKEN_SECONDS", 0.0)
    stamps = iter([None, None, (1, 1)])
    monkeypatch.setattr(watch, "_stamp", lambda _path: next(stamps))
    assert life.live() == outcome.GOOD
    assert len(life.watched) == 2


def test_a_config_that_cannot_be_copied_stays_in_force_in_the_same_life(
    life: Life, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_unused: Any) -> None:
        raise OSError(28, "No space left on device", str(life.copy))

    monkeypatch.setattr(agent_config, "keep", full)

    def in_turn() -> None:
        if len(life.watched) == 1:
            life.path.unlink()
        if len(life.watched) == 3:
            configure(life.root)

    life.during = in_turn
    life.live()
    assert (len(life.watched), life.began) == (3, 1)
    assert ["does not exist" in problem for problem in life.problems] == [True, True, False]
    assert "the config cannot be kept" in capsys.readouterr().out
