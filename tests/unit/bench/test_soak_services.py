# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The soak of an app of eight services: its schedule, needless remedies, and which calls are the collection's."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.christmas.selfheal.bench import engine_calls
from ansible_collections.christmas.selfheal.bench.recovery.hosts import Trouble
from ansible_collections.christmas.selfheal.bench.services.results import ALONE, BALANCED
from ansible_collections.christmas.selfheal.bench.soak_services import __main__ as program
from ansible_collections.christmas.selfheal.bench.soak_services import happenings, judge, project, schedule
from ansible_collections.christmas.selfheal.bench.soak_services.judge import Done
from ansible_collections.christmas.selfheal.bench.soak_services.schedule import BUSY, DEPLOY, JOB, LIMITED, Span
from ansible_collections.christmas.selfheal.plugins.module_utils.compose import services as services_table
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample

SOURCE = Path(__file__).resolve().parents[3] / "molecule/multi-service/project"

# --- the schedule ----------------------------------------------------------------------------------------------------


def times(minutes: float, kind: str) -> list[float]:
    return [span.at for span in schedule.schedule(minutes) if span.kind == kind]


def test_an_hour_has_four_deploys_and_busy_cores_half_of_it() -> None:
    assert times(60, DEPLOY) == [60.0, 960.0, 1860.0, 2760.0]
    busy = [span for span in schedule.schedule(60) if span.kind == BUSY]
    assert sum(span.seconds for span in busy) == 1800.0
    assert (len(times(60, LIMITED)), len(times(60, JOB))) == (8, 20)


def test_a_trial_has_one_of_each_and_a_job_that_fails() -> None:
    assert (times(6, DEPLOY), times(6, LIMITED)) == ([60.0], [270.0])
    assert [schedule.job(number).code for number, _unused in enumerate(times(6, JOB), 1)] == [0, 1]


@pytest.mark.parametrize("minutes", [6, 7.5, 20, 60, 90])
def test_only_busy_cores_coincide_with_a_deploy(minutes: float) -> None:
    spans = schedule.schedule(minutes)
    assert spans == sorted(spans, key=lambda span: span.at)
    for deploy in (span for span in spans if span.kind == DEPLOY):
        for span in spans:
            if span.kind in (LIMITED, JOB):
                assert span.at >= deploy.at + deploy.seconds or span.at + span.seconds <= deploy.at
    assert all(span.at + span.seconds <= minutes * 60 for span in spans)


def test_each_way_to_run_a_job_fails_every_other_time() -> None:
    jobs = [schedule.job(number) for number in range(1, 6)]
    assert [(one.by_run, one.code) for one in jobs] == [(True, 0), (True, 1), (False, 0), (False, 1), (True, 0)]


# --- the project -----------------------------------------------------------------------------------------------------


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    target = tmp_path / "project"
    project.bring(SOURCE, target)
    return target


def test_the_app_has_eight_services_and_two_jobs(brought: Path) -> None:
    document = yaml.safe_load((brought / "compose.yaml").read_text(encoding="utf-8"))
    names = {*document["services"], "worker"}
    app = happenings.soaked(ALONE)
    assert len(app.expected) == 8
    assert names == {*app.expected, "migrate", project.JOB_SERVICE}
    assert document["include"] == ["worker.yaml"]
    assert document["services"]["web"]["ports"] == ["8000:80"]
    assert document["services"]["app"]["command"] == ["sh", "-c", "sleep 75; exec python3 app.py"]
    assert set(document["volumes"]) == {"db", "cache", "sessions"}


def test_a_job_is_in_a_profile_and_its_exit_code_is_the_shells(brought: Path) -> None:
    job = yaml.safe_load((brought / "compose.yaml").read_text(encoding="utf-8"))["services"][project.JOB_SERVICE]
    assert (job["profiles"], job["restart"]) == (["jobs"], "no")
    assert job["environment"] == {"REPORT_EXIT": "${REPORT_EXIT:-0}"}
    # As Compose passes it to the shell.
    text = job["command"][2].replace("$$", "$").replace("sleep 3", "sleep 0")
    assert subprocess.run(["sh", "-c", text], env={"REPORT_EXIT": "1"}, check=False).returncode == 1


def test_the_proxy_has_a_limit(brought: Path) -> None:
    text = (brought / "nginx.conf").read_text(encoding="utf-8")
    assert text.startswith("limit_req_zone $server_port zone=all:1m rate=10r/s;\nserver {\n    listen 80;\n")
    assert "    limit_req zone=all burst=20 nodelay;\n    limit_req_status 429;\n" in text
    with pytest.raises(ValueError, match="listen 80"):
        project.nginx("server {}")


def test_each_release_changes_a_file_of_the_copy_only(brought: Path) -> None:
    before = (SOURCE / "app.env").read_text(encoding="utf-8")
    project.next_release(brought, 1)
    project.next_release(brought, 2)
    assert (brought / "app.env").read_text(encoding="utf-8") == f"{before}RELEASE=1\nRELEASE=2\n"
    assert (SOURCE / "app.env").read_text(encoding="utf-8") == before


def test_the_hosts_are_not_those_of_the_benchmark() -> None:
    for variant in (ALONE, BALANCED):
        host = happenings.soaked(variant).host
        assert host.name == f"soak-services-{variant}"
        assert host.extra["compose_app_source"] == str(happenings.PROJECT)
        services_table.read_table(host.extra["compose_app_services"])
    assert happenings.soaked(ALONE).host.extra["compose_app_services"] == {}
    assert happenings.soaked(BALANCED).expected["web"] == 2


# --- the engine's log ------------------------------------------------------------------------------------------------

OLD = 'time="2026-11-29T10:00:00Z" level=debug msg="Calling {}"'
NEW = 'time="2026" level=debug msg="handling GET request" method=GET module=api request-url={} vars="map[]"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (OLD.format("GET /v1.45/containers/json?all=1"), "GET /v1.45/containers/json?all=1"),
        (OLD.format("HEAD /_ping"), "HEAD /_ping"),
        (NEW.format('"/v1.48/containers/json?all=1"'), "GET /v1.48/containers/json?all=1"),
        (NEW.format("/version"), "GET /version"),
        ('level=debug msg="handling GET request"', "GET"),
        ('level=info msg="Calling it a day"', ""),
        ("", ""),
    ],
    ids=["to 27", "a ping", "from 28, quoted", "from 28", "without its path", "no call", "nothing"],
)
def test_a_call_is_read(line: str, expected: str) -> None:
    assert engine_calls.read_call(line) == expected


class Journal:
    """A host whose engine logs one call for each `docker ps`."""

    def __init__(self) -> None:
        self.lines, self.config, self.logs = list[str](), '{"live-restore": true}', True

    def ask(self, text: str, stdin: str) -> str:
        if text.startswith("cat >"):
            self.config = stdin
        elif text.startswith("cat "):
            return self.config
        elif text == "docker ps" and self.logs:
            message = OLD.format("GET /v1.45/containers/json").replace('"', '\\"')
            self.lines.append(f'{{"__REALTIME_TIMESTAMP": "5000000", "MESSAGE": "{message}"}}')
        elif "--show-cursor" in text:
            self.lines.clear()
            return "-- cursor: s=1\n"
        elif "--after-cursor='s=1'" in text:
            return "\n".join(self.lines)
        return ""


def test_calls_are_counted_in_debug_mode_which_ends() -> None:
    journal = Journal()
    calls = engine_calls.EngineCalls("host", journal.ask)
    with calls.counted():
        assert '"debug": true' in journal.config
        assert '"live-restore": true' in journal.config
        assert calls.calls() == [{"at": 5.0, "what": "GET /v1.45/containers/json"}]
    assert journal.config == '{"live-restore": true}'


def test_an_engine_that_logs_nothing_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    journal.logs = False
    monkeypatch.setattr(engine_calls, "_CHECK_SECONDS", 0.0)
    with (
        pytest.raises(engine_calls.Uncounted, match="calls cannot be counted"),
        engine_calls.EngineCalls("host", journal.ask).counted(),
    ):
        pass
    assert journal.config == '{"live-restore": true}'


# --- whose calls -----------------------------------------------------------------------------------------------------


def test_the_previous_version_of_the_api() -> None:
    assert judge.older("1.45\n") == "1.44"


def call(at: float, what: str = "GET /containers/json?all=true") -> engine_calls.Call:
    return {"at": at, "what": what}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (call(50.0), "unprompted"),
        (call(50.0, "GET /v1.45/containers/json"), "unprompted"),
        (call(50.0, "GET /v1.44/containers/json"), ""),
        (call(50.0, "GET /v1.4/containers/json"), "unprompted"),
        (call(50.0, "GET /events?filters=x"), ""),
        (call(50.0, "GET /v1.45/events"), ""),
        (call(50.0, "HEAD /_ping"), ""),
        (call(103.0), "after_event"),
        (call(99.0), "unprompted"),
        (call(105.5), "unprompted"),
        (call(209.0), "after_kill"),
        (call(301.0), "aside"),
    ],
    ids=[
        *("ours", "ours, by the CLI", "the job's", "another version", "the stream", "a stream by the CLI", "a ping"),
        *("after an event", "before it", "long after it", "after a kill", "in an incident"),
    ],
)
def test_a_call_is_sorted(one: engine_calls.Call, expected: str) -> None:
    found = judge.counted([one], [(300.0, 310.0)], [100.0], [200.0], "1.44")
    counts = {**found._asdict(), "unprompted": len(found.unprompted)}
    assert [kind for kind, count in counts.items() if count] == ([expected] if expected else [])


def test_calls_in_a_deploy_or_an_incident_do_not_count() -> None:
    incidents = [{"seen": "1970-01-01T00:01:00Z", "ended": "1970-01-01T00:02:00Z"}, {"seen": "1970-01-01T00:05:00Z"}]
    assert judge.incident_windows(incidents, 400.0) == [(58.0, 125.0), (298.0, 405.0)]
    done = [Done(DEPLOY, 1, 10.0, 20.0), Done(JOB, 1, 30.0, 40.0)]
    assert judge.deploy_windows(done) == [(10.0, 35.0)]


# --- remedies --------------------------------------------------------------------------------------------------------

DONE = [Done(BUSY, 1, 0.0, 180.0, 1.0), Done(DEPLOY, 1, 60.0, 150.0, 80.0), Done(LIMITED, 1, 270.0, 300.0, 0.9)]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (100.0, "both cores busy since 100 s, a deploy since 40 s"),
        (200.0, "both cores busy until 20 s before, a deploy until 50 s before"),
        (1000.0, "nothing went on"),
    ],
)
def test_meanwhile(at: float, expected: str) -> None:
    assert judge.meanwhile(at, DONE) == expected


def incident(**more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "cause": "erroring",
        "services": ["app"],
        "seen": "1970-01-01T00:04:30Z",
        "confirmed": "1970-01-01T00:04:31Z",
        "ended": "1970-01-01T00:05:40Z",
        "seconds": 70.0,
        "healthy": True,
        "remedies": [],
        **more,
    }


def test_each_needless_remedy_names_what_happened_meanwhile() -> None:
    timeline = [
        {"time": "1970-01-01T00:04:31Z", "what": "cause: erroring: 502"},
        {"time": "1970-01-01T00:04:40Z", "what": "restart: letters-app-1 restarted"},
    ]
    remedies = [{"name": "restart", "services": ["app"]}, {"name": "up"}]
    found = judge.needless([incident(remedies=remedies, timeline=timeline), incident(cause=judge.RATE_LIMITED)], DONE)
    assert [(one.name, one.at, one.services) for one in found] == [
        ("up", 271.0, ("app",)),
        ("restart", 280.0, ("app",)),
    ]
    assert found[1].why == "nothing was broken; 429s since 10 s"


# --- requests --------------------------------------------------------------------------------------------------------


def sample(sent: float, reason: str = "") -> Sample:
    return Sample(sent, sent + 0.1, not reason, reason)


def test_requests_are_sorted_by_what_happened_meanwhile() -> None:
    samples = [
        *(sample(50.0), sample(100.0, "502"), sample(160.0, "502"), sample(200.0, "TimeoutError")),
        *(sample(280.0, "429"), sample(302.0, "429"), sample(280.5, "502"), sample(400.0, "429")),
    ]
    found = judge.requests(samples, DONE)
    assert found == judge.Requests(8, 2, 2, 3, {"TimeoutError": 1, "502": 1, "429": 1})


def test_a_start_is_the_longest_time_without_a_good_answer() -> None:
    samples = [sample(1.0), sample(1.5), sample(2.0, "502"), sample(79.0, "502"), sample(80.5), sample(81.0)]
    assert judge.longest_gap(samples) == 79.0
    assert judge.longest_gap([]) == 0.0
    assert judge.share(samples, "502") == pytest.approx(1 / 3)


# --- whether the soak is valid ---------------------------------------------------------------------------------------

WANTED = {DEPLOY: 1, LIMITED: 1, BUSY: 1, JOB: 1}
WELL = [*DONE, Done(JOB, 1, 20.0, 26.0, 0.0)]
LIMIT = [incident(cause=judge.RATE_LIMITED)]


@pytest.mark.parametrize(
    ("done", "incidents", "expected"),
    [
        (WELL, LIMIT, []),
        (WELL, [], ["the watcher met no 429s: no incident has the cause rate_limited"]),
        (WELL[:-1], LIMIT, ["job: 0 of 1 took place"]),
        ([*WELL[:-1], Done(JOB, 1, 0.0, 1.0, None, "exit code 125")], LIMIT, ["job 1: exit code 125"]),
        ([WELL[0]._replace(measured=0.4), *WELL[1:]], LIMIT, ["busy 1: the cores were busy for 40% only"]),
        (
            [WELL[0], WELL[1]._replace(measured=9.0), *WELL[2:]],
            LIMIT,
            ["deploy 1: the app was without an answer for 9 s only, 75 s were planned"],
        ),
        (
            [*WELL[:2], WELL[2]._replace(measured=0.1), WELL[3]],
            LIMIT,
            ["429s 1: 10% of the load was refused with 429 only"],
        ),
    ],
    ids=["as planned", "not met", "missing", "a failed job", "idle cores", "a quick start", "hardly a limit"],
)
def test_a_soak_that_did_not_go_as_planned_is_void(done: list[Done], incidents: list[Any], expected: list[str]) -> None:
    assert judge.void(done, incidents, WANTED) == expected


# --- the report ------------------------------------------------------------------------------------------------------


def soaked(remedies: int = 0, calls: int = 0, **more: Any) -> Any:
    remedy = {"name": "restart", "at": 1.0, "cause": "erroring", "services": ["app"], "why": "nothing was broken; x"}
    counted = {"unprompted": [call(1.0)] * calls, "after_event": 44, "after_kill": 0, "aside": 90}
    return {
        "minutes": 60.0,
        "begun": 0.0,
        "ended": 3600.0,
        "services": 8,
        "incidents": [judge.brief(incident(cause=judge.RATE_LIMITED), DONE)],
        "needless": [remedy] * remedies,
        "calls": counted,
        "requests": {"sent": 7200, "limited": 400, "in_deploys": 600, "failed": 1, "reasons": {"502": 1}},
        "happened": [one._asdict() for one in WELL],
        "well": [],
        "troubles": [],
        **more,
    }


GOOD = "soak-services: without a load balancer, 60 minutes: 0 needless remedies, 0 Docker calls while healthy"


@pytest.mark.parametrize(
    ("one", "code", "message"),
    [
        (soaked(), 0, f"{GOOD} (besides 44 after events)"),
        (
            soaked(remedies=1),
            1,
            "soak-services: without a load balancer, 60 minutes: MISSED, needless remedies: restart (erroring)",
        ),
        (
            soaked(calls=3, troubles=["job 1: exit code 125"]),
            1,
            "soak-services: without a load balancer, 60 minutes: MISSED, Docker calls while healthy: 3; "
            "not as planned: job 1: exit code 125",
        ),
        (
            soaked(troubles=["the watcher met no 429s"]),
            2,
            f"{GOOD} (besides 44 after events); not as planned: the watcher met no 429s",
        ),
        (
            soaked(well=["the watcher is not alive"]),
            1,
            "soak-services: without a load balancer, 60 minutes: MISSED, well at the end: the watcher is not alive",
        ),
    ],
    ids=["good", "a remedy", "calls outweigh what was not as planned", "not as planned", "not well"],
)
def test_the_last_line_and_the_exit_code(one: Any, code: int, message: str) -> None:
    assert judge.verdict({ALONE: one}, [ALONE]) == message
    assert judge.exit_code({ALONE: one}, [ALONE]) == code


def test_a_missing_variant_is_reported() -> None:
    assert judge.verdict({ALONE: soaked()}, [ALONE, BALANCED]).endswith("; behind the load balancer: not measured")
    assert judge.exit_code({ALONE: soaked()}, [ALONE, BALANCED]) == 2


def test_the_table_names_each_incident_remedy_and_call() -> None:
    text = judge.shown(soaked(remedies=1, calls=2))
    for line in (
        "| needless remedies | restart (erroring) | 0 | **no** |",
        "| Docker calls while healthy | 2 | 0 | **no** |",
        "| requests; 429 on purpose | 7200; 400 |  |  |",
        "| other failed requests | 1 x 502 |  |  |",
        "| a deploy | 1; the app started in 80 to 80 s |  |  |",
        "| a job | 1; 0 failed |  |  |",
        "- 1: rate_limited of app, 70 s, no remedy; 429s since 1 s",
        "- needless: restart of app: nothing was broken; x",
        "- a call while healthy: GET /containers/json, 2 times",
    ):
        assert line in text.splitlines()


# --- the happenings --------------------------------------------------------------------------------------------------


class Machine:
    """A lab host that records its commands. `code`: the exit code of each."""

    name, address = "soak-services-alone", "127.0.0.1"

    def __init__(self, code: int = 0) -> None:
        self.code, self.texts = code, list[str]()

    def ask(self, text: str, *_unused: Any) -> str:
        self.texts.append(text)
        return "7\n8\n"

    def shell(self, text: str, *_unused: Any) -> tuple[int, str, str]:
        self.texts.append(text)
        return self.code, "", "no such image"


def happen(machine: Machine, *spans: Span) -> happenings.Happenings:
    app: Any = SimpleNamespace(host=machine)
    return happenings.Happenings(app, spans, "1.44")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2, " run --rm --no-deps -T report"),
        (4, " up --detach --no-deps --no-build report && exit $(docker wait letters-report-1)"),
    ],
)
def test_a_job_uses_its_own_version_of_the_api(number: int, words: str) -> None:
    machine = Machine(code=1)
    found = happen(machine, Span(JOB, 0.0, 20.0, number))
    found.begin_due(0.0)
    found.end(10.0)
    [text] = machine.texts
    assert text.startswith("export DOCKER_API_VERSION=1.44 REPORT_EXIT=1; docker compose --project-name letters ")
    assert text.endswith(words)
    subprocess.run(["bash", "-n", "-c", text], check=True)
    assert [(one.measured, one.trouble) for one in found.done()] == [(1.0, "")]


def test_a_job_with_another_exit_code_is_trouble() -> None:
    found = happen(Machine(code=125), Span(JOB, 0.0, 20.0, 1))
    found.begin_due(0.0)
    found.end(10.0)
    assert [one.trouble for one in found.done()] == ["exit code 125 instead of 0: no such image"]


def test_busy_cores_are_ended_by_their_pids() -> None:
    machine = Machine()
    found = happen(machine, Span(BUSY, 0.0, 1.0, 1))
    found.begin_due(0.0)
    found.end(10.0)
    assert machine.texts[-1] == "kill 7 8"
    for text in machine.texts:
        subprocess.run(["bash", "-n", "-c", text], check=True)


def test_only_busy_cores_begin_during_a_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def deploy(self: happenings.Happenings, span: Span) -> happenings.Seen:
        goes_on.wait(10.0)
        raise Trouble("deploy.yml was ended")

    monkeypatch.setattr(happenings.Happenings, "_deploy", deploy)
    found = happen(Machine(), Span(DEPLOY, 0.0, 1.0, 1), Span(JOB, 0.0, 1.0, 1), Span(BUSY, 0.0, 1.0, 1))
    found.begin_due(0.0)
    assert sorted(one.span.kind for one in found.begun) == [BUSY, DEPLOY]
    goes_on.set()
    deadline = time.monotonic() + 10
    while DEPLOY in found.going() and time.monotonic() < deadline:
        time.sleep(0.01)
    found.begin_due(1.0)
    found.end(10.0)
    assert {one.kind: one.trouble for one in found.done()} == {DEPLOY: "deploy.yml was ended", BUSY: "", JOB: ""}
    assert found.waiting == []


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("TASK [x]\nfatal: [host]: FAILED! => no\nPLAY RECAP\nhost: ok=1", "fatal: [host]: FAILED! => no"),
        ("a\n\nb\n", "b"),
        ("", "it said nothing"),
    ],
)
def test_why_a_playbook_failed(out: str, expected: str) -> None:
    assert happenings._reason(out) == expected


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "5"], "--minutes: 5: 6 or more is needed"),
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
    [([], True), (["--minutes", "6"], False), (["--variants", "alone"], False)],
    ids=["all", "short", "a variant"],
)
def test_a_trial_is_not_a_complete_measurement(words: list[str], expected: bool) -> None:
    assert program.is_whole(program.arguments(words)) is expected
