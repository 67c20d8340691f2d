# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The benchmark of single services: faults, when one has recovered, whether it was reported correctly, missed goals."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.bench.services import __main__ as program
from ansible_collections.christmas.selfheal.bench.services import faults, multi_service_app, results
from ansible_collections.christmas.selfheal.bench.services.faults import FAULTS, Back, Container, Event, Seen, Target
from ansible_collections.christmas.selfheal.bench.services.observers import Writer
from ansible_collections.christmas.selfheal.bench.services.results import ALONE, BALANCED, LOOP, OURS, POLICY
from ansible_collections.christmas.selfheal.plugins.module_utils.compose import services as services_table
from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis

TARGET = Target("letters-web-1 letters-web-2", "letters-web-1", "77")
HUNG, KILLED, DISK = FAULTS["db-hung"], FAULTS["db-killed"], FAULTS["db-disk"]

# --- the faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_a_shell_text_for_a_service_of_the_app(fault: faults.Fault) -> None:
    assert set(fault.causes) <= set(diagnosis.MEANING)
    assert fault.service in multi_service_app.MultiServiceApp(ALONE).expected
    for text in (fault.prepare, fault.inject, fault.undo, fault.cleanup):
        filled = faults.fill(text, TARGET)
        subprocess.run(["bash", "-n", "-c", f"set -eu; {{ {filled or ':'}; }}"], check=True)
    # After the fault the process has another pid.
    assert "{pid}" not in fault.undo + fault.cleanup


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker stop {names}", "docker stop letters-web-1 letters-web-2"),
        ("docker inspect --format '{{.Id}}' {name}", "docker inspect --format '{{.Id}}' letters-web-1"),
        ("kill -9 {pid}", "kill -9 77"),
    ],
    ids=["all", "a template of the engine stays", "process"],
)
def test_fill(text: str, expected: str) -> None:
    assert faults.fill(text, TARGET) == expected


def test_another_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError, match="service"):
        faults.fill("docker stop {service}", TARGET)


# --- the host's answers ----------------------------------------------------------------------------------------------


def test_containers_are_read() -> None:
    document = {
        "Name": "/letters-db-1",
        "State": {
            "Status": "running",
            "Pid": 7,
            "StartedAt": "2026-11-29T10:00:00.5Z",
            "Health": {"Status": "healthy"},
        },
        "Config": {
            "Labels": {"com.docker.compose.service": "db"},
            "Healthcheck": {"Interval": 10_000_000_000, "Timeout": 5_000_000_000, "Retries": 5},
        },
    }
    job = {
        "Name": "/letters-migrate-1",
        "State": {"Status": "exited", "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"},
        "Config": {"Labels": {"com.docker.compose.service": "migrate"}},
    }
    now = faults._epoch("2026-11-29T10:00:30Z")
    db, migrate = faults.read_containers([job, document], now)
    assert db == Container("db", "letters-db-1", 7, "running", "healthy", 30.0, 75.0)
    assert (migrate.state, migrate.health, migrate.slowest) == ("exited", "", 0.0)
    assert migrate.age > 1e9


def container(service: str, state: str = "running", health: str = "", number: int = 1) -> Container:
    return Container(service, f"letters-{service}-{number}", 7, state, health, 60.0, 0.0)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([container("db", health="healthy"), container("web"), container("migrate", "exited")], []),
        ([container("web")], ["service db has 0 of 1 containers running"]),
        ([container("db", "restarting"), container("web")], ["service db has 0 of 1 containers running"]),
        ([container("db", health="starting"), container("web")], ["letters-db-1 is starting"]),
        (
            [container("db"), container("web"), container("web", "exited", number=2)],
            ["service web has 1 of 1 containers running"],
        ),
    ],
    ids=["healthy", "missing", "restarts", "not healthy yet", "one too many"],
)
def test_unwell(there: list[Container], expected: list[str]) -> None:
    assert faults.unwell(there, {"db": 1, "web": 1}) == expected


def test_events_are_read_and_other_lines_are_skipped() -> None:
    attributes = {"com.docker.compose.service": "worker", "name": "letters-worker-1"}
    said = {"Action": "health_status: healthy", "timeNano": 12_500_000_000, "Actor": {"Attributes": attributes}}
    assert faults.read_event(json.dumps(said)) == Event(12.5, "worker", "health_status: healthy")
    for line in ("", '{"Action": "st', "[]", '{"Action": "start", "timeNano": 1, "Actor": {"Attributes": {}}}'):
        assert faults.read_event(line) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", Back()),
        ("9 start, 9.5 healthy", Back()),
        ("11 die, 12 start", Back(12.0)),
        ("11 die, 12 start, 13 healthy, 14 healthy", Back(12.0, 13.0)),
        ("11 die, 12 start, 12.1 die, 12.3 start, 12.4 die", Back()),
        ("10.5 healthy, 11 die, 12 start, 12.1 die, 14 start, 15 healthy", Back(14.0, 15.0)),
        ("12 start, 13 healthy, 14 unhealthy", Back()),
    ],
    ids=["nothing", "before the fault", "not healthy yet", "back", "loops", "looped", "unhealthy again"],
)
def test_a_worker_is_back_when_it_runs_and_is_healthy(said: str, expected: Back) -> None:
    pairs = [one.split() for one in said.split(", ") if one]
    words = {"healthy": "health_status: healthy", "unhealthy": "health_status: unhealthy"}
    events = [Event(float(at), "worker", words.get(action, action)) for at, action in pairs]
    events += [Event(50.0, "db", "die")]
    assert faults.back(events, "worker", 10.0) == expected


# --- one round -------------------------------------------------------------------------------------------------------


def incident(cause: str = "hung", services: Any = ("db",), evidence: str = "", **more: Any) -> Any:
    return {"id": "1", "cause": cause, "services": list(services), "evidence": [evidence], "healthy": True, **more}


GOOD = Seen(4.0, 4.1, 6.0, 0, [incident()])


@pytest.mark.parametrize(
    ("fault", "seen", "expected"),
    [
        (HUNG, GOOD, []),
        (HUNG, GOOD._replace(seconds=None, written=None, whole=None), ["not recovered"]),
        (HUNG, GOOD._replace(written=None), ["no writes since"]),
        (HUNG, GOOD._replace(whole=None), ["not whole again"]),
        (HUNG, GOOD._replace(lost=1), ["acknowledged rows lost"]),
        (HUNG, GOOD._replace(incidents=[]), ["no incident"]),
        (KILLED, GOOD._replace(incidents=[]), []),
        (HUNG, GOOD._replace(incidents=[incident(), incident()]), ["2 incidents instead of one"]),
        (HUNG, GOOD._replace(incidents=[incident("erroring")]), ["cause erroring, expected hung"]),
        (HUNG, GOOD._replace(incidents=[incident(services=["app", "db"])]), ["service app, db, expected db"]),
        (HUNG, GOOD._replace(incidents=[incident(services=())]), ["service none, expected db"]),
        (HUNG, GOOD._replace(incidents=[incident(services=(), evidence="letters-db-1 is stopped")]), []),
        (HUNG, GOOD._replace(incidents=[incident(healthy=False)]), ["the incident was not closed"]),
        (DISK, GOOD._replace(incidents=[incident("disk_full", (), "/x/letters_db/_data: 0 MiB free")]), []),
        (
            DISK,
            GOOD._replace(incidents=[incident("disk_full", (), "/var/lib/docker: 0 MiB free")]),
            ["service none, expected db"],
        ),
    ],
    ids=[
        *(
            "good",
            "never",
            "no writes",
            "not whole",
            "rows lost",
            "no incident",
            "too quick for an incident",
            "two incidents",
        ),
        *(
            "another cause",
            "another service too",
            "no service",
            "named by its container",
            "open",
            "the disk",
            "another",
        ),
    ],
)
def test_problems(fault: faults.Fault, seen: Seen, expected: list[str]) -> None:
    assert faults.problems(fault, seen) == expected


def test_only_what_was_acknowledged_can_be_lost() -> None:
    assert faults.lost({1, 2, 3}, ["1", "3", "4"]) == 1
    assert faults.lost(set(), ["1"]) == 0


@pytest.fixture
def port() -> Iterator[int]:
    """A server that accepts every second record. The others get an error or no answer, in turn."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            number = int(self.rfile.read(int(self.headers["Content-Length"])))
            if number % 4 == 3:
                self.close_connection = True
                return
            self.send_response(500 if number % 4 == 1 else 201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_unused: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_writer_counts_what_was_acknowledged(port: int) -> None:
    with Writer("127.0.0.1", port, rate=200.0) as writer:
        deadline = time.monotonic() + 20
        while len(writer.prober.samples()) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        samples = writer.prober.samples()[:8]
    assert writer.sent >= 8
    assert {2, 4, 6, 8} <= writer.acknowledged()
    assert not {number for number in writer.acknowledged() if number % 2}
    assert sum(sample.ok for sample in samples) == 4
    assert "status 500" in {sample.reason for sample in samples}


# --- the figures -----------------------------------------------------------------------------------------------------


def run(system: str, fault: str, seconds: float | None, *problems: str, **more: Any) -> Any:
    measured = {"detected": 2.0, "remedies": ["restart"], "incidents": 1, "lost": 0, "rate": 50.0}
    return {"system": system, "fault": fault, "seconds": seconds, "problems": list(problems), **measured, **more}


def test_keys() -> None:
    assert [results.key(OURS, variant) for variant in (ALONE, BALANCED)] == ["selfheal", "selfheal-balanced"]
    assert list(results.titles([BALANCED])) == [f"{system}-balanced" for system in (OURS, POLICY, LOOP)]
    assert [one for one in results.titles() if results.is_ours(one)] == ["selfheal", "selfheal-balanced"]


@pytest.mark.parametrize(
    ("system", "fault", "expected"),
    [(LOOP, HUNG, 135.0), (LOOP, KILLED, 60.0), (OURS, HUNG, 60.0), (POLICY, HUNG, 60.0)],
    ids=["goes by the health check", "no health check can tell", "watcher", "restart policy"],
)
def test_a_health_check_gets_its_time(system: str, fault: faults.Fault, expected: float) -> None:
    assert results.allowed(60.0, 75.0, system, fault) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], []),
        ([run(OURS, "db-hung", 6.0)] * 3, []),
        ([run(OURS, "db-hung", 4.0)] * 2 + [run(OURS, "db-hung", 40.0)], []),
        ([run(OURS, "db-hung", 6.4)] * 3, ["median 6.4 s, goal 6 s"]),
        ([run(OURS, "db-hung", None, "not recovered")], ["not recovered (1 of 1)", "median never, goal 6 s"]),
        ([run(OURS, "db-hung", 4.0), run(OURS, "db-hung", 4.0, "no incident")], ["no incident (1 of 2)"]),
    ],
    ids=["not measured", "met", "the median counts", "slow", "never", "a problem outweighs good times"],
)
def test_judge(runs: list[Any], expected: list[str]) -> None:
    assert results.judge(runs) == expected


RUNS = [
    run(OURS, "db-hung", 4.0),
    run(OURS, "db-hung", 5.0, "no incident", detected=None, remedies=[], incidents=0, lost=2),
    run("selfheal-balanced", "db-hung", 7.0),
    *[run(POLICY, "db-hung", None)] * 3,
    run(LOOP, "db-hung", 90.0, lost=1),
    run(POLICY, "proxy-down", None),
]


def test_the_table_shows_the_faults_that_a_system_never_heals() -> None:
    rows = results.table(FAULTS, RUNS)
    assert [(row["fault"], row["met"]) for row in rows] == [("db-hung", False), ("proxy-down", None)]
    assert rows[0]["missed"] == [
        "no incident (1 of 2)",
        "behind the load balancer: median 7.0 s, goal 6 s",
    ]
    head, _unused, database, proxy = results.shown(rows, ALONE).splitlines()
    titles = " | ".join(results.SYSTEMS.values())
    assert head == f"| fault | {titles} | as expected | detected | remedies | rows lost |"
    times = "4.5 / 5.0 (2) | never (0 of 3) | 90.0 / 90.0 (1)"
    assert database == f"| the database hangs | {times} | 1 of 2, 1 with an incident | 2.0 s | 0.5 | 2 / 0 / 1 |"
    assert proxy == "| the proxy is down |  | never (0 of 1) |  |  |  |  | - / 0 / - |"
    assert "7.0 / 7.0 (1)" in results.shown(rows, BALANCED)
    assert "proxy" not in results.shown(rows, BALANCED)
    assert results.shown([], ALONE) == ""


def test_the_last_line_names_what_was_missed() -> None:
    rows = results.table(FAULTS, [run(OURS, "db-hung", 4.0), run(OURS, "app-hung", 9.0)])
    assert results.verdict(rows, ["the host went away"], 3) == (
        "bench-services: 1 of 2 goals met; app-hung missed: median 9.0 s, goal 6 s; "
        "3 rounds are not measured yet (ARGS=--resume); the host went away"
    )


def test_missing_rounds_are_counted() -> None:
    assert results.unmeasured([POLICY, LOOP], ["db-hung", "app-hung"], 5, RUNS) == 5 + 4 + 5


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([], []), ([50.0, 49.8, 30.0], []), ([31.0], ["the writer sent 31 records a second, not 50"])],
    ids=["none", "the median counts", "slow"],
)
def test_a_slow_writer_makes_the_figures_void(rates: list[float], expected: list[str]) -> None:
    assert results.slow_writer([run(OURS, "db-hung", 1.0, rate=rate) for rate in rates]) == expected


# --- the program -----------------------------------------------------------------------------------------------------


def test_the_table_of_services_is_valid() -> None:
    for variant in (ALONE, BALANCED):
        services_table.read_table(multi_service_app.host_of(variant).extra["compose_app_services"])


def test_behind_the_load_balancer_the_proxy_has_two_instances() -> None:
    balanced = multi_service_app.host_of(BALANCED).extra
    assert balanced["compose_app_services"]["web"] == {"port": 80}
    assert (balanced["compose_app_service"], balanced["compose_app_instances"]) == ("web", 2)
    assert "compose_app_instances" not in multi_service_app.host_of(ALONE).extra


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds: 0: 1 or more is needed"),
        (["--timeout", "0.5"], "--timeout: 0.5: 1 or more is needed"),
        (["--faults", "db-hung,nope"], "--faults: 'nope' is not known here; use app-hung, db-killed"),
        (["--systems", "autoheal"], "--systems: 'autoheal' is not known here; use selfheal, restart-policy"),
        (["--variants", "both"], "--variants: 'both' is not known here; use alone, balanced"),
    ],
)
def test_invalid_options_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.arguments(words)
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["--rounds", "1"], False),
        (["--alternative-rounds", "3"], True),
        (["--faults", "db-hung"], False),
        (["--variants", "alone"], False),
    ],
    ids=["all", "few rounds", "fewer rounds of the alternatives", "a fault", "a variant"],
)
def test_a_trial_is_not_a_complete_measurement(words: list[str], expected: bool) -> None:
    assert program.is_whole(program.arguments(words)) is expected


def test_missing_rounds_are_counted_by_variant() -> None:
    given = program.arguments(["--rounds", "2", "--alternative-rounds", "1", "--faults", "db-hung"])
    assert program.unmeasured(given, RUNS, [ALONE]) == 0
    assert program.unmeasured(given, RUNS, [BALANCED]) == 1 + 1 + 1


def test_runs_are_saved_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "results" / "services.json"
    first = program.Book(path, {"begun": "then"}, resume=True)
    first.record(RUNS[0])
    second = program.Book(path, {"begun": "now"}, resume=True)
    second.record(RUNS[1])
    assert (second.about["begun"], second.runs) == ("then", RUNS[:2])
    assert json.loads(path.read_text(encoding="utf-8"))["table"][0]["lost"] == {"selfheal": 2}
    assert program.Book(path, {"begun": "now"}, resume=False).runs == []
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SystemExit, match="cannot be gone on with"):
        program.Book(path, {}, resume=True)
