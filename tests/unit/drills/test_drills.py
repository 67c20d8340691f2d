# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The catalogue of faults, the figures of a drill, its judgement and its report; and the prober."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.drills import fault as drill_fault
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import judge as drill_judge
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import report as drill_report
from ansible_collections.christmas.selfheal.plugins.module_utils.drills import run as drill_run
from ansible_collections.christmas.selfheal.plugins.module_utils.drills.options import Options
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import parse_entries
from ansible_collections.christmas.selfheal.plugins.module_utils.host.command import Result
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import continuous
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.continuous import Sample
from ansible_collections.christmas.selfheal.plugins.module_utils.records.incidents import IncidentRecord
from ansible_collections.christmas.selfheal.plugins.plugin_utils import fault_catalogue

FOLDER = Path(__file__).resolve().parents[3] / "roles/drill/faults"
CATALOGUE = sorted(path.stem for path in FOLDER.glob("*.yml"))
GOOD: dict[str, Any] = {
    "title": {"en": "It hangs", "ko": "멈춤"},
    "why": "It happens.",
    "inject": [["kill", "-STOP", "{pid}"]],
    "expect": "recovered",
    "causes": ["hung"],
    "goal": {"median": 5, "p95": 8},
}


def fault(**change: Any) -> drill_fault.Fault:
    return drill_fault.read_fault("hang", {**GOOD, **change})


# --- the catalogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_valid(name: str) -> None:
    described = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    found = drill_fault.read_fault(name, described)
    assert found.title["ko"]
    assert found.undo, "the drill ends every fault that the host does not end"
    assert not found.names or found.incident, "only an incident has evidence"


def test_every_fault_that_has_a_goal_is_a_drill() -> None:
    """The goal "one of two instances down" covers every fault with `instance` on a host with two instances."""
    assert set(CATALOGUE) == {
        *("crash", "hang", "errors", "silent", "oom", "stopped", "port_taken", "disk_full", "overload"),
        *("crash_loop", "crash_loop_without_release"),
        *("env_placeholder", "env_deleted", "env_emptied", "env_truncated", "compose_damaged"),
        *("container_removed", "image_removed", "engine_stopped", "engine_hung", "reboot"),
        *("upstream_503", "upstream_hangs", "upstream_refuses", "watcher_killed", "alerting_down", "bad_release"),
        *("firewall_flushed", "packets_dropped", "packets_lost", "lock_held", "bridge_deleted"),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"inject": None}, "inject is missing", id="no command"),
        pytest.param({"injct": []}, "injct is an unknown key", id="typing error"),
        pytest.param({"title": "Hang"}, "title has no English text", id="title"),
        pytest.param({"expect": "fine"}, "expect is 'fine'", id="expect"),
        pytest.param({"where": "moon"}, "where is 'moon'", id="where"),
        pytest.param({"needs": ["luck"]}, "needs has 'luck'", id="needs"),
        pytest.param({"goal": {"median": 5}}, "goal misses a number", id="goal"),
        pytest.param({"timeout": "long"}, "timeout is not a number", id="timeout"),
        pytest.param({"inject": ["kill -9"]}, "is not a list of strings", id="a shell line"),
        pytest.param({"inject": [["kill", -9]]}, "is not a list of strings", id="a number"),
        pytest.param({"undo": [["kill", "{pdi}"]]}, "{pdi} is an unknown placeholder", id="placeholder"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=r"^faults/hang\.yml: ") as raised:
        fault(**change)
    assert said in str(raised.value)


def test_fill() -> None:
    values: drill_fault.Values = {"compose": ["docker", "compose"], "pid": 7, "app": "shop"}
    assert drill_fault.fill(["{compose}", "up", "{app}-{pid}", "{else}"], values) == [
        *("docker", "compose", "up", "shop-7", "{else}")
    ]


def test_choose() -> None:
    catalogue = {
        "a": fault(fast=True),
        "b": drill_fault.read_fault("b", {**GOOD, "needs": ["lab"], "fast": True}),
        "c": drill_fault.read_fault("c", GOOD),
    }
    chosen, left_out = drill_fault.choose(catalogue, ["all"], set())
    assert chosen == [catalogue["a"], catalogue["c"]]
    assert [sentence.split()[0] for sentence in left_out] == ["b"]
    assert drill_fault.choose(catalogue, ["fast"], {"lab"})[0] == [catalogue["a"], catalogue["b"]]
    with pytest.raises(drill_fault.DrillError, match="b cannot be injected here"):
        drill_fault.choose(catalogue, ["b"], set())
    with pytest.raises(drill_fault.DrillError, match="no fault 'd'; there are a, b, c, all, fast and services"):
        drill_fault.choose(catalogue, ["d"], set())


def test_every_service_is_broken_in_every_way() -> None:
    found = drill_fault.service_faults("shop", {"web": 2, "db": 1}, {"db": 20.0})
    assert len(found) == 10
    catalogue = {"a": fault(fast=True), **found}
    assert drill_fault.choose(catalogue, ["services"], set())[0] == list(found.values())
    assert drill_fault.choose(catalogue, ["all"], set())[0] == [catalogue["a"]]
    assert drill_fault.choose(catalogue, ["db.hung"], set())[0] == [found["db.hung"]]
    [[*_, stop]] = found["db.stopped"].inject
    assert stop.startswith("docker stop --time=1 $(docker ps ") and "service=db" in stop and "project=shop" in stop
    # With one of two containers removed the service is not healthy, whatever the other one's name is.
    assert "-ge 2 ]" in found["web.removed"].until[-1]
    assert (found["db.stopped"].goal["median"], found["web.stopped"].goal["median"]) == (26.0, 6.0)
    # A service may have the name of a part of the host.
    assert not set(drill_fault.service_faults("shop", {"engine": 1}, {})) & set(CATALOGUE)
    # The commands contain no placeholder.
    for one in found.values():
        for command in one.commands():
            assert drill_fault.fill(command, {"compose": ["{compose}"]}) == list(command)


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "median", "p95"),
    [
        pytest.param([3.0], 3.0, 3.0, id="one"),
        pytest.param([4.0, 1.0], 2.5, 4.0, id="two"),
        pytest.param([float(n) for n in range(20, 0, -1)], 10.5, 19.0, id="twenty: the nineteenth"),
        pytest.param([float(n) for n in range(1, 22)], 11.0, 20.0, id="twenty-one: the twentieth"),
    ],
)
def test_statistics(seconds: list[float], median: float, p95: float) -> None:
    assert (drill_judge.median(seconds), drill_judge.p95(seconds)) == (median, p95)


def answers(text: str, start: float = 100.0, step: float = 0.1) -> list[Sample]:
    """A sample a letter: "." is a good answer, "x" is a failed one."""
    return [
        Sample(start + step * number, start + step * number + 0.01, letter == ".", "" if letter == "." else "refused")
        for number, letter in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        pytest.param("...xxx", 100.6, 100.2, id="the last good one before the first that failed"),
        pytest.param("xxx", 100.3, 100.0, id="at once"),
        pytest.param("...xxx", 100.0, 100.0, id="the command took no time"),
        pytest.param("......", 100.35, 100.3, id="the app goes on: until the command had ended"),
    ],
)
def test_injected_at(text: str, ended: float, expected: float) -> None:
    assert drill_judge.injected_at(100.0, ended, answers(text)) == pytest.approx(expected)


def test_a_request_that_waited_through_the_fault_is_not_the_last_good_one() -> None:
    waited = [Sample(sent, sent + (1.0 if sent > 100.25 else 0.01), ok, why) for sent, _, ok, why in answers("......")]
    assert drill_judge.injected_at(100.0, 100.6, waited) == pytest.approx(100.2)


def test_segments() -> None:
    samples = answers("..xxx..")
    samples[5] = Sample(samples[5].sent, samples[5].sent + 1.0, True, "")
    found = drill_judge.segments(samples, 100.2)
    assert found == [(-0.2, 0.0, "good"), (0.0, 0.3, "failed"), (0.3, 0.4, "late"), (0.4, 0.4, "good")]


RECORD: IncidentRecord = {
    "id": "20251123T000000Z-hung",
    "cause": "hung",
    "confirmed": "1970-01-01T00:01:43.000Z",
    "healthy": True,
    "evidence": ["no answer within 2 s"],
    "remedies": [{"name": "restart", "done": True, "result": "", "seconds": 0.5}],
}
SEEN = drill_judge.Seen(
    round=1,
    injected=100.0,
    since=100.0,
    recovered=104.0,
    well=True,
    ahead=1.0,
    samples=answers("." + "x" * 39 + "." * 20),
    incidents=[RECORD],
    held={},
    files=["log-shop-1.txt"],
    restarted=[],
    afterwards="",
    balanced=False,
    whole=None,
)


def test_judge() -> None:
    run = drill_judge.judge(fault(), SEEN)
    assert run["problems"] == []
    assert (run["mttr"], run["noticed"], run["mttd"]) == (4.0, 2.0, 1.9)
    assert (run["failed"], run["requests"], run["cause"], run["remedies"]) == (39, 60, "hung", ["restart"])
    assert run["evidence"] is True


def test_a_recovery_may_count_from_later_than_the_fault() -> None:
    run = drill_judge.judge(fault(), SEEN._replace(since=103.0))
    assert (run["mttr"], run["failed"], run["noticed"]) == (1.0, 39, 2.0)


HELD = {"expect": "held", "goal": {}}
QUIET: IncidentRecord = {**RECORD, "remedies": []}


@pytest.mark.parametrize(
    ("change", "seen", "said"),
    [
        pytest.param({}, {"recovered": None}, ["not recovered within 60 s"], id="not recovered"),
        pytest.param({}, {"well": False}, ["the app has not answered since"], id="down for good"),
        pytest.param({}, {"incidents": [], "files": []}, ["the host opened no incident"], id="no incident"),
        pytest.param({"incident": False}, {"incidents": [], "files": []}, [], id="over before it was noticed"),
        pytest.param({"causes": ["crashed"]}, {}, ["cause hung, expected crashed"], id="another cause"),
        pytest.param({}, {"files": []}, ["no evidence was kept"], id="no evidence"),
        pytest.param({}, {"incidents": [RECORD, RECORD]}, ["2 incidents instead of one"], id="two incidents"),
        pytest.param({"names": "nginx"}, {}, ["the evidence does not name nginx"], id="evidence"),
        pytest.param({"names": "2 s"}, {}, [], id="evidence that names it"),
        pytest.param(
            {}, {"incidents": [{**RECORD, "healthy": False}]}, ["the incident was not closed"], id="still open"
        ),
        pytest.param({}, {"afterwards": "no alert"}, ["afterwards: no alert"], id="afterwards"),
        pytest.param(
            {"instance": True},
            {"balanced": True, "whole": 107.0, "samples": answers("." + "x" * 19)},
            [],
            id="ejected in time",
        ),
        pytest.param(
            {"instance": True},
            {"balanced": True, "whole": 107.0},
            ["19 requests failed, the last one 3.9 s after the fault"],
            id="noticed by users",
        ),
        pytest.param(
            {"instance": True},
            {"balanced": True, "samples": answers("." * 9)},
            ["not all instances serve again"],
            id="one stays away",
        ),
        pytest.param(
            {"served": True},
            {"samples": answers("..x.")},
            ["1 requests failed, the last one 0.2 s after the fault"],
            id="a request was dropped",
        ),
        pytest.param(HELD, {"recovered": None, "incidents": [QUIET]}, [], id="held"),
        pytest.param(
            HELD,
            {"recovered": None, "incidents": [QUIET], "restarted": ["shop-1"]},
            ["touched the app (shop-1 started)"],
            id="not held",
        ),
        pytest.param(
            {**HELD, "expect": "escalated"},
            {"recovered": None, "held": {**QUIET, "escalated": False}},
            ["no person was notified"],
            id="not escalated",
        ),
        # The incident includes the remedies that ran once the port was free, after the fault was held.
        pytest.param(
            {**HELD, "expect": "escalated"},
            {"recovered": None, "held": {**QUIET, "escalated": True}},
            [],
            id="escalated, and restarted when that could help",
        ),
    ],
)
def test_problems(change: dict[str, Any], seen: dict[str, Any], said: list[str]) -> None:
    assert drill_judge.judge(fault(**change), SEEN._replace(**seen))["problems"] == said


# --- the report ------------------------------------------------------------------------------------------------------

ABOUT: drill_report.About = {
    "id": "20251123T000000Z-drill-lab1",
    "app": "shop",
    "host": "lab1",
    "address": "192.0.2.1",
    "url": "http://192.0.2.1:8000/health",
    "language": "ko",
    "left_out": ["reboot is left out: it needs a lab host"],
}


def runs(*seconds: float) -> list[drill_judge.Run]:
    return [drill_judge.judge(fault(), SEEN._replace(recovered=100.0 + one)) for one in seconds]


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        pytest.param([5.0], "drills: 1 of 1 goals met", id="met"),
        pytest.param([6.1], "drills: 0 of 1 goals met; hang missed: 6.1 s, goal 5 s", id="median"),
        pytest.param([4, 4, 9], "drills: 0 of 1 goals met; hang missed: p95 9.0 s, goal 8 s", id="p95"),
    ],
)
def test_verdict(seconds: list[float], verdict: str) -> None:
    report = drill_report.build(ABOUT, [fault()], runs(*seconds))
    assert report["verdict"] == verdict
    assert report["ok"] == (report["met"] == report["total"])
    assert drill_report.screen(report, "reports/x.md").splitlines()[-1] == verdict


def test_a_run_that_ended_early_is_no_success() -> None:
    report = drill_report.build(ABOUT, [fault()], [], ["ended early: the host does not answer"])
    assert report["ok"] is False
    assert report["verdict"] == "drills: 0 of 0 goals met; ended early: the host does not answer"


def test_pages() -> None:
    report = drill_report.build(ABOUT, [fault()], runs(4.0, 6.0, 9.0))
    page = drill_report.markdown(report, "x.svg")
    assert "| hang | 3 | 1.9 s | 6.0 s | 9.0 s | ≤ 5 / 8 s | 39 | hung | restart | yes | NO |" in page
    assert "- hang, 멈춤: 6.0 s, goal 5 s" in page
    assert "- reboot is left out: it needs a lab host" in page
    assert "![Timelines](x.svg)" in page
    picture = ElementTree.fromstring(drill_report.svg(report))
    colors = [node.get("fill") for node in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert colors.count("#c44e52") == 1
    assert colors.count("#55a868") == 2
    ElementTree.fromstring(drill_report.svg(drill_report.build(ABOUT, [fault()], [])))


# --- the prober ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server() -> Iterator[tuple[dict[str, int], str]]:
    """A server whose status can be set. With 0 it does not answer."""
    state = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while not state["status"]:
                time.sleep(0.02)
            self.send_response(state["status"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=listening.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state, f"http://127.0.0.1:{listening.server_address[1]}/health"
    finally:
        state["status"] = 200
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.mark.parametrize("status", [500, 0], ids=["errors", "hangs"])
def test_an_outage_is_measured(status: int) -> None:
    with server() as (state, url):
        ask, asked = continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, timeout=0.3)
        assert asked == url
        with continuous.Prober(ask, rate=50) as watching:
            assert watching.wait_healthy(watching.now(), 20) is not None
            state["status"], broken = status, watching.now()
            deadline = time.monotonic() + 20
            while sum(not sample.ok for sample in watching.samples(broken)) < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            state["status"], mended = 200, watching.now()
            recovered = watching.wait_healthy(broken, 20)
            samples = watching.samples(broken)
    failed = [sample for sample in samples if not sample.ok]
    assert len(failed) >= 5
    assert recovered is not None
    # A request that waited through the outage may be the first good one; its answer came after the outage.
    assert recovered >= mended
    assert all(sample.reason for sample in failed)
    assert all(sample.ended - sample.sent < 5 for sample in failed)


def test_requests_overlap_while_nothing_answers() -> None:
    with server() as (state, url):
        state["status"] = 0
        ask, _ = continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, timeout=1.0)
        with continuous.Prober(ask, rate=50) as watching:
            begun = watching.now()
            deadline = time.monotonic() + 20
            while len(watching.samples(begun)) < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            samples = watching.samples(begun)
    assert len(samples) >= 5
    assert samples[4].sent < samples[0].ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("x" * 5 + "." * 10, 100.51, id="ten in a row"),
        pytest.param("x" * 5 + "." * 9, None, id="nine"),
        pytest.param("." * 9 + "x" + "." * 10, 101.01, id="the row begins again"),
    ],
)
def test_first_of_row(text: str, expected: float | None) -> None:
    found = continuous.first_of_row(answers(text))
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_late_answer_is_not_the_first_good_one() -> None:
    """A packet to a container that is just starting is resent a second later, and answered then."""
    late, *others = answers("." * 10)
    assert continuous.first_of_row([late._replace(ended=101.2), *others]) == pytest.approx(100.11)


def test_the_prober_asks_a_check_without_secrets() -> None:
    login = {"name": "login", "url": "http://${HOST}/login", "headers": {"apikey": "${KEY}"}, "proves": "health"}
    page = {"name": "page", "url": "http://${HOST}/", "proves": "frontend"}
    health = {"name": "health", "url": "http://${HOST}/health", "proves": "health"}
    checks = parse_checks([login, page, health])
    assert continuous.asker(checks, {"HOST": "192.0.2.1"})[1] == "http://192.0.2.1/health"
    assert continuous.asker(checks[:2], {"HOST": "192.0.2.1"})[1] == "http://192.0.2.1/"
    with pytest.raises(ValueError, match="drill_url"):
        continuous.asker(checks[:1], {"HOST": "192.0.2.1"})


OUTSIDE = [
    ("loopback", "http://127.0.0.1:8000/health?full=1", "203.0.113.5", "http://203.0.113.5:8000/health?full=1"),
    ("a name of its own", "http://localhost/health", "web1.internal", "http://web1.internal:80/health"),
    ("loopback, IPv6", "https://[::1]/", "2001:db8::5", "https://[2001:db8::5]:443/"),
    ("every address", "http://0.0.0.0:8000/", "203.0.113.5", "http://203.0.113.5:8000/"),
    ("an address of its own", "http://203.0.113.9:8000/", "203.0.113.5", "http://203.0.113.9:8000/"),
    ("a name", "https://shop.internal/health", "203.0.113.5", "https://shop.internal/health"),
    ("the host is this machine", "http://127.0.0.1:8000/", "", "http://127.0.0.1:8000/"),
]


@pytest.mark.parametrize(("url", "outside", "asked"), [case[1:] for case in OUTSIDE], ids=[case[0] for case in OUTSIDE])
def test_the_host_is_probed_from_outside(url: str, outside: str, asked: str) -> None:
    assert continuous.asker(parse_checks([{"name": "health", "url": url}]), {}, outside=outside)[1] == asked


# --- what a drill does not do ----------------------------------------------------------------------------------------


class Untouched:
    """A host that must not be touched."""

    is_remote = True

    def execute(self, text: str) -> Result:
        pytest.fail(f"the host was touched: {text}")

    def reconnect(self) -> None:
        pytest.fail("the host was touched")


VARIABLES = parse_entries(
    [
        {"name": "PORT", "kind": "port"},
        {"name": "BOT_TOKEN", "kind": "token", "required": False},
        {"name": "STRIPE_KEY", "kind": "stripe_key"},
        {"name": "JWT_SECRET", "kind": "jwt_secret"},
    ]
)


def drill(check_mode: bool = False, **given: Any) -> drill_run.Outcome:
    """Ask for drills on a host that must not be touched."""
    plain = Options("web1", "shop", "/opt/shop", variables=VARIABLES, url="http://192.0.2.1/health")
    options = plain._replace(address="192.0.2.1", reports="/nonexistent", **given)
    return drill_run.drill(options, fault_catalogue.read(str(FOLDER)), Untouched(), check_mode, print)


def test_without_a_name_the_catalogue_is_listed() -> None:
    shown = drill()
    assert shown["ok"]
    assert all(name in shown["text"] for name in CATALOGUE)


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("names", [["hagn"], ["hang", "db"], ["services", "db.exploded"], [".killed"], ["hang hang"]])
def test_an_unknown_name_is_refused_before_anything_is_asked(names: list[str], check_mode: bool) -> None:
    with pytest.raises(
        drill_fault.DrillError, match=r"there is no fault .+; there are alerting_down, .+services.+\.hung"
    ):
        drill(check_mode=check_mode, faults=names, confirm="shop")


def test_service_names_are_checked_on_the_host_only() -> None:
    drill_fault.check_names({}, ["all", "fast", "services", "db.stopped", "my.app.killed"])


def test_a_dry_run_shows_what_would_be_done() -> None:
    shown = drill(check_mode=True, faults=["hang", "env_deleted"])
    assert "rm -f /opt/shop/.env" in shown["text"]
    assert "xargs kill" in shown["text"]


def test_the_placeholder_replaces_a_secret_of_the_app() -> None:
    shown = drill(check_mode=True, faults=["env_placeholder"])
    assert "s/^STRIPE_KEY=.*/STRIPE_KEY=your-secret-key-here/" in shown["text"]
    with pytest.raises(
        drill_fault.DrillError, match="env_placeholder cannot be injected here: it needs an app with a secret"
    ):
        drill(check_mode=True, faults=["env_placeholder"], variables=VARIABLES[:2])
    with pytest.raises(
        drill_fault.DrillError, match="env_deleted cannot be injected here: it needs an app with variables"
    ):
        drill(check_mode=True, faults=["env_deleted"], variables=[])


@pytest.mark.parametrize("confirm", ["", "another"])
def test_outside_the_lab_it_needs_the_name_of_the_app(confirm: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=r"web1 \(192\.0\.2\.1\) is not a lab host.*drill_confirm=shop"):
        drill(faults=["hang"], confirm=confirm)


@pytest.mark.parametrize("name", ["reboot", "disk_full", "overload"])
def test_a_fault_that_breaks_more_than_the_app_is_for_lab_hosts_only(name: str) -> None:
    with pytest.raises(drill_fault.DrillError, match=f"{name} cannot be injected here: it needs a lab host"):
        drill(faults=[name], confirm="shop")


def test_the_incident_must_name_the_broken_service() -> None:
    broken = drill_fault.service_faults("shop", {"db": 1}, {})["db.stopped"]
    record = cast(
        "IncidentRecord", {**RECORD, "cause": "crashed", "remedies": [], "services": ["web"], "unasked": True}
    )
    run = drill_judge.judge(broken, SEEN._replace(incidents=[record]))
    assert run["problems"] == ["the incident names web"]
    good = drill_judge.judge(broken, SEEN._replace(incidents=[{**record, "services": ["db"]}]))
    assert good["problems"] == []
    report = drill_report.build(ABOUT, [broken], [{**good, "failed": 0}])
    sentence = "No check would have noticed, and the watcher did: db.stopped"
    assert sentence in drill_report.screen(report, "there")
    assert sentence in drill_report.markdown(report, "picture.svg")
    # Failed requests are noticed, even when the restart policy recovers faster than the watcher.
    assert "No check" not in drill_report.screen(drill_report.build(ABOUT, [broken], [{**good, "failed": 2}]), "there")
