# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts of an app and its host, and evidence: as complete as the time allows, and without secrets."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, cast

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import App, Balancer
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app_paths import AppPaths, app_paths
from ansible_collections.christmas.selfheal.plugins.module_utils.core.clock import Clock
from ansible_collections.christmas.selfheal.plugins.module_utils.core.variable import Variable
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import containers as docker_containers
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import engine
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import network as docker_network
from ansible_collections.christmas.selfheal.plugins.module_utils.docker import project as docker_project
from ansible_collections.christmas.selfheal.plugins.module_utils.env import history as env_history
from ansible_collections.christmas.selfheal.plugins.module_utils.env import read as env_file
from ansible_collections.christmas.selfheal.plugins.module_utils.health import evidence as health_evidence
from ansible_collections.christmas.selfheal.plugins.module_utils.health import facts as health_facts
from ansible_collections.christmas.selfheal.plugins.module_utils.health import login_log
from ansible_collections.christmas.selfheal.plugins.module_utils.health.diagnosis import diagnose
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import (
    ContainerFacts,
    Facts,
    Instance,
    Load,
    ModelFacts,
    SeenLoad,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.host import firewall, procfs
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.check_spec import parse_checks
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import CheckResult, ProbeResult
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import haproxy
from ansible_collections.christmas.selfheal.plugins.module_utils.releases import store as release_store

from ..host import test_firewall as of_firewall
from . import test_diagnosis as of_diagnosis
from . import test_login_log as of_login_log

KEY, OLDER = "Vq3mZk8TtPw2Lr9xHs5B", "Nw7cYd4JfGb6Ke1uQo0R"
NOW = 1_750_000_000.0


@pytest.fixture
def app(tmp_path: Path) -> App:
    found = App(app_paths("shop", root=str(tmp_path)), variables=[Variable("KEY", "token", secret=True)])
    Path(found.paths.directory).mkdir(parents=True)
    return found


def _absent(_path: Path) -> None:
    pass


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(600 << 20)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        pytest.param(lambda path: path.write_text(f"KEY={KEY}\n"), None, id="a valid one"),
        pytest.param(_absent, "missing", id="none"),
        pytest.param(_folder, "unreadable", id="a folder"),
        pytest.param(_pipe, "unreadable", id="a pipe without a writer"),
        pytest.param(_huge, "unreadable", id="a file of 600 MB"),
        pytest.param(lambda path: path.write_bytes(b"KEY=\xff\xfe\n"), "unreadable", id="not text"),
        pytest.param(lambda path: path.write_text(f'KEY="{KEY}\n'), "unreadable", id="a quote that does not end"),
        pytest.param(lambda path: path.write_text(""), "missing", id="an empty file"),
    ],
)
def test_an_env_has_at_most_one_finding(app: App, make: Callable[[Path], Any], rule: str | None) -> None:
    make(Path(app.paths.env))
    found = env_file.read(app.paths, app.variables, NOW)
    assert [one["rule"] for one in found["findings"]] == ([rule] if rule else [])
    assert found["exists"] == (make is not _absent)
    assert KEY not in json.dumps(found["findings"])


@pytest.mark.parametrize(
    ("why", "later", "found"),
    [("site", 5.0, []), ("recover", 5.0, []), ("site", 601.0, ["missing"]), ("found", 5.0, ["missing"])],
)
def test_an_env_that_a_play_has_just_written_is_not_validated_with_an_older_table(
    app: App, why: str, later: float, found: list[str]
) -> None:
    """A deploy that drops a variable writes the env before the watcher's table. The env must stay in between."""
    env_history.write_env(app.paths.env, app.paths.history, {"OTHER": KEY}, now=NOW, why=why)
    assert [one["rule"] for one in env_file.read(app.paths, app.variables, NOW + later)["findings"]] == found


def test_an_app_without_variables_needs_no_env(tmp_path: Path) -> None:
    found = env_file.read(app_paths("shop", str(tmp_path), root=str(tmp_path)), (), NOW)
    assert found == {"exists": False, "values": {}, "findings": [], "fingerprint": ""}


def facts(app: App, **more: Any) -> Facts:
    instance = {"id": "1", "name": "shop-web-1", "service": "web", "state": "running", "digest": "sha256:1"}
    env = env_file.read(app.paths, app.variables, NOW)
    known = {"instances": [instance], "environments": [{"KEY": OLDER}], "env": env}
    return cast(Facts, {"disk": [], "load": {"cpu_busy": 0.1, "cpu_pressure": 0.0}, "oom": [], **known, **more})


PROXY, OTHER = {"pid": 7, "process": "docker-proxy"}, {"pid": 42, "process": "nginx"}
HELD = {"container": "the container blog-web-1 of the compose project blog in /srv/blog"}


def publishes(port: str) -> dict[str, Any]:
    """The engine's document of a container of another project, with a published port."""
    project = "com.docker.compose.project"
    labels = {project: "blog", f"{project}.working_dir": "/srv/blog"}
    bound = {port: [{"HostIp": "0.0.0.0", "HostPort": "8000"}]}
    return {"Name": "/blog-web-1", "Config": {"Labels": labels}, "NetworkSettings": {"Ports": bound}}


@pytest.mark.parametrize(
    ("listening", "published", "held"),
    [
        pytest.param([PROXY, {**PROXY, "pid": 8}], "80/tcp", [HELD], id="a container, in IPv4 and IPv6"),
        pytest.param([{"pid": 7, "process": "dockerd"}], "80/tcp", [HELD], id="the engine without its proxies"),
        pytest.param([PROXY, OTHER], "80/tcp", [HELD, OTHER], id="a container and a process, at other addresses"),
        pytest.param([PROXY], "80/udp", [PROXY], id="no container has this port"),
        pytest.param([OTHER], "80/tcp", [OTHER], id="a process"),
    ],
)
def test_who_holds_a_port(
    monkeypatch: pytest.MonkeyPatch, listening: list[Any], published: str, held: list[Any]
) -> None:
    monkeypatch.setattr(procfs, "listeners", lambda _: listening)
    monkeypatch.setattr(docker_containers, "inspected", lambda _: [publishes(published)])
    assert health_facts.holders(8000) == held


@pytest.mark.parametrize(
    ("service", "held"), [("web", [OTHER]), ("old", [HELD, OTHER])], ids=["its own service", "a service that it had"]
)
def test_a_port_is_not_taken_by_a_new_container_of_the_service_that_publishes_it(
    monkeypatch: pytest.MonkeyPatch, service: str, held: list[Any]
) -> None:
    """`docker compose up`, run by hand, may create it while the engine is asked."""
    document = publishes("80/tcp")
    document["Config"]["Labels"]["com.docker.compose.service"] = service
    monkeypatch.setattr(procfs, "listeners", lambda _: [PROXY, OTHER])
    monkeypatch.setattr(docker_containers, "inspected", lambda _: [document])
    assert health_facts.holders(8000, ("blog", "web")) == held


def test_without_the_engine_the_process_that_holds_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_unused: str) -> None:
        raise engine.EngineError("no answer")

    monkeypatch.setattr(procfs, "listeners", lambda _: [PROXY])
    monkeypatch.setattr(docker_containers, "inspected", silent)
    assert health_facts.holders(8000) == [PROXY]


def probe_result(*results: Mapping[str, Any], ok: bool = True, summary: str = "") -> ProbeResult:
    return cast(ProbeResult, {"ok": ok, "summary": summary, "results": list(results)})


SEEN = "DOWN, L7STS 400 Bad Request"


@pytest.mark.parametrize(
    ("down_seconds", "up", "ok", "reported"),
    [
        (None, 0, True, f"slot 0 is {SEEN}; slot 1 is {SEEN}"),
        (None, 2, True, ""),
        (10.0, 0, True, ""),
        (60.0, 1, True, f"slot 1 is {SEEN}"),
        (60.0, 1, False, ""),
    ],
    ids=["a user asks", "HAProxy uses them again", "for a moment", "for a minute", "the instance fails, too"],
)
def test_healthy_instances_that_haproxy_keeps_out(
    down_seconds: float | None, up: int, ok: bool, reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balanced = App(app_paths("shop", str(tmp_path), root=str(tmp_path)), balancer=Balancer("web", 2, 18000, (80,)))
    slots = [haproxy.Slot(18000 + at, at < up, 0, "UP" if at < up else SEEN) for at in range(2)]
    monkeypatch.setattr(haproxy, "slots", lambda _paths: slots)
    asked = probe_result()
    monkeypatch.setattr(probe, "run_checks", lambda *_, **__: {**asked, "ok": ok})
    instances = [{"id": str(at), "service": "web", "ports": [18000 + at]} for at in range(2)]
    found = facts(balanced, instances=instances, services=["web"], balancer="", probe=asked, kept_out="")
    clock = Clock(now=lambda: NOW, monotonic=iter(range(100)).__next__, sleep=lambda _: None)
    found = health_facts._look_at_instances(balanced, found, lambda _: {**asked, "ok": ok}, clock, down_seconds)
    assert found["kept_out"] == reported


@pytest.mark.parametrize(("released", "found"), [(True, {"app": "/root/shop"}), (False, {})])
def test_who_was_started_without_the_overlay_since_the_first_release(
    app: App, monkeypatch: pytest.MonkeyPatch, released: bool, found: dict[str, str]
) -> None:
    compose = "com.docker.compose."

    def document(service: str, folder: str, files: str) -> dict[str, Any]:
        labels = {f"{compose}service": service, f"{compose}project.working_dir": folder}
        return {"Config": {"Labels": {**labels, f"{compose}project.config_files": files}}}

    documents = [
        document("app", "/root/shop", "/root/shop/compose.yaml"),
        document("db", "/opt/shop", "/opt/shop/compose.yaml,/opt/shop/compose.hardened.yaml"),
    ]
    monkeypatch.setattr(release_store, "last_good", lambda _: {} if released else None)
    assert health_facts._by_hand(app.paths, documents) == found


REFUSED = {"name": "health", "ok": False, "kind": "refused", "reason": "refused", "status": None, "proves": "health"}


@pytest.mark.parametrize(
    ("stopped", "error", "evidence"),
    [
        (True, "", "haproxy's processes are stopped, as by kill -STOP"),
        (False, "HAProxy does not start: config : bad", "HAProxy does not start: config : bad"),
        (False, "", "HAProxy does not answer at /run/haproxy/admin.sock: refused. Try: systemctl status haproxy"),
    ],
    ids=["stopped", "it does not start", "no reason is known"],
)
def test_why_haproxy_does_not_answer(
    stopped: bool, error: str, evidence: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users wait, so the engine is not asked. An HAProxy that is stopped is not asked either."""
    app.balancer = Balancer("web", 2, 18000, (80,))
    message = "HAProxy does not answer at /run/haproxy/admin.sock: refused. Try: systemctl status haproxy"

    def serving(_paths: AppPaths) -> int:
        assert not stopped
        raise haproxy.BalancerError(message)

    monkeypatch.setattr(haproxy, "is_stopped", lambda _paths: stopped)
    monkeypatch.setattr(haproxy, "serving", serving)
    monkeypatch.setattr(haproxy, "start_error", lambda: error)
    monkeypatch.setattr(engine, "state", lambda: pytest.fail("the engine was asked"))
    monkeypatch.setattr(health_facts, "engine_by_its_process", lambda: {"answers": True, "kind": "", "reason": ""})
    monkeypatch.setattr(procfs, "disk", lambda _: [])
    env_history.write_env(app.paths.env, app.paths.history, {"KEY": KEY}, now=NOW)
    asked = probe_result(REFUSED, ok=False, summary="0 of 1 checks passed")
    clock = Clock(now=lambda: NOW, monotonic=lambda: NOW, sleep=lambda _: None)
    found = diagnose(health_facts.read(app, None, 0.0, clock, health_facts.Seen(asked)))
    assert (found.cause, found.evidence) == ("balancer_down", [evidence])


class Engine:
    """A project whose log holds both keys; each answer takes `takes` seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: float = 0.0, broken: bool = False) -> None:
        self.now, self.takes, self.broken = 0.0, takes, broken
        self.limits: list[float] = []

        def text(_project: Any, _container: str, *words: float) -> str:
            self.limits.append(words[-1])
            self.now += self.takes
            if self.broken:
                raise engine.EngineError("the engine is gone")
            return f"now {KEY}, before {OLDER}"

        for name in ("logs", "top", "inspect"):
            monkeypatch.setattr(docker_project.Project, name, text)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: NOW, monotonic=lambda: self.now)


def test_evidence_holds_no_key_of_the_env_or_of_a_container(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(app.paths.env).write_text(f"KEY={KEY}\n")
    seen = facts(app)
    hidden = health_evidence.secrets(app.variables, seen, None)
    files = health_evidence.gather(app.paths, app.variables, seen, hidden, Engine(monkeypatch).clock)
    whole = "".join(files.values())
    assert {"facts.json", "host.txt", "fingerprints.json", "log-shop-web-1.txt", "top-shop-web-1.txt"} <= set(files)
    fingerprints = json.loads(files["fingerprints.json"])
    assert fingerprints["other_values_than_the_env"] == {"shop-web-1": ["KEY"]}
    assert KEY not in whole
    assert OLDER not in whole
    assert json.loads(files["facts.json"])["env"]["exists"]


def test_evidence_never_waits_longer_than_a_second(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(app.paths.env).write_text(f"KEY={KEY}\n")
    slow = Engine(monkeypatch, takes=0.6)
    files = health_evidence.gather(app.paths, app.variables, facts(app), {}, slow.clock)
    assert slow.limits == pytest.approx([health_evidence.EVIDENCE_SECONDS, health_evidence.EVIDENCE_SECONDS - 0.6])
    assert "inspect-shop-web-1.json: no time was left" in files["evidence.txt"]
    assert "log-shop-web-1.txt" in files


def test_evidence_of_services_that_no_remedy_touches_can_wait(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many services, gathering all of it would take longer than the remedy."""
    Path(app.paths.env).write_text(f"KEY={KEY}\n")
    Engine(monkeypatch)
    seen = facts(app)
    seen["instances"] = [{**seen["instances"][0], "service": name, "name": name, "id": name} for name in ("web", "db")]
    first = health_evidence.gather(app.paths, app.variables, seen, {}, Clock(), ["db"])
    rest = health_evidence.of_containers(app.paths, seen["instances"][:1], {"KEY": KEY}, Clock())
    assert {"facts.json", "log-db.txt", "inspect-db.json"} <= set(first)
    assert not [name for name in first if "web" in name]
    assert sorted(rest) == ["inspect-web.json", "log-web.txt", "top-web.txt"]
    assert KEY not in "".join(rest.values())


def test_evidence_that_cannot_be_read_is_named(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    files = health_evidence.gather(app.paths, app.variables, facts(app), {}, Engine(monkeypatch, broken=True).clock)
    assert files["evidence.txt"].count("the engine is gone") == 3


def test_evidence_that_surprises_keeps_the_rest(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Engine(monkeypatch)
    monkeypatch.setattr(docker_project.Project, "top", lambda *_: "".join([None]))  # type: ignore[list-item]
    files = health_evidence.gather(app.paths, app.variables, facts(app), {}, Clock())
    assert "top-shop-web-1.txt: TypeError" in files["evidence.txt"]
    assert "log-shop-web-1.txt" in files


def test_a_rewritten_env_has_another_stamp(app: App) -> None:
    stamps = [health_facts.env_stamp(app.paths)]
    for text in (f"KEY={KEY}\n", f"KEY={KEY}x\n"):
        Path(app.paths.env).write_text(text)
        stamps.append(health_facts.env_stamp(app.paths))
    assert stamps[0] == ()
    assert len(set(stamps)) == 3


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("active", ("hung", "no answer within 5 s")),
        ("deactivating", ("down", "its systemd unit is deactivating")),
        ("activating", ("down", "its systemd unit is activating")),
        ("", ("hung", "no answer within 5 s")),
    ],
)
def test_an_engine_that_systemd_stops_or_starts_does_not_hang(
    app: App, monkeypatch: pytest.MonkeyPatch, unit: str, expected: tuple[str, str]
) -> None:
    """On a slow host it still accepts connections for seconds while it shuts down."""
    state = {"answers": False, "kind": "hung", "reason": "no answer within 5 s", "version": ""}
    monkeypatch.setattr(engine, "state", lambda: dict(state))
    monkeypatch.setattr(engine, "unit_state", lambda: unit)
    found = health_facts.read_engine(app, env_file.read(app.paths, app.variables, NOW), NOW)
    assert (found.engine["kind"], found.engine["reason"]) == expected


@pytest.mark.parametrize(
    ("pressure", "idle", "asked"),
    [(80.0, False, [5.0, health_facts.ENGINE_SECONDS]), (80.0, True, [5.0]), (5.0, False, [5.0])],
    ids=["at work on a busy host", "idle on a busy host", "on a quiet host"],
)
def test_an_engine_that_waits_for_a_processor_does_not_hang(
    app: App, monkeypatch: pytest.MonkeyPatch, pressure: float, idle: bool, asked: list[float]
) -> None:
    """Twenty deploys at once on two cores kept the engine from answering for more than five seconds."""
    seen: list[float] = []

    def state(timeout: float = 5.0) -> dict[str, Any]:
        seen.append(timeout)
        return {"answers": False, "kind": "hung", "reason": f"no answer within {timeout:.0f} s", "version": ""}

    monkeypatch.setattr(engine, "state", state)
    monkeypatch.setattr(engine, "unit_state", lambda: "active")
    monkeypatch.setattr(procfs, "pressure", lambda: {"cpu": pressure, "memory": 0.0, "io": 0.0})
    monkeypatch.setattr(procfs, "engine_process", lambda: {"known": True, "alive": True, "stopped": False, "pid": 7})
    monkeypatch.setattr(procfs, "idle", lambda _pids: idle)
    found = health_facts.read_engine(app, env_file.read(app.paths, app.variables, NOW), NOW)
    assert (found.engine["kind"], seen) == ("hung", asked)


@pytest.mark.parametrize(("still", "kind"), [(True, "hung"), (False, "down")])
def test_an_engine_that_ends_between_two_requests_is_down(
    app: App, monkeypatch: pytest.MonkeyPatch, still: bool, kind: str
) -> None:
    answers = {"answers": True, "kind": "", "reason": "", "version": "26"}
    gone = {"answers": False, "kind": "down", "reason": "connection refused", "version": ""}
    states = [answers, answers if still else gone]
    monkeypatch.setattr(engine, "state", lambda: states.pop(0))

    def documents(_unused: docker_project.Project) -> list[dict[str, Any]]:
        raise engine.EngineError("docker inspect: no answer")

    monkeypatch.setattr(docker_project.Project, "documents", documents)
    found = health_facts.read_engine(app, env_file.read(app.paths, app.variables, NOW), NOW)
    assert (found.engine["answers"], found.engine["kind"]) == (False, kind)


def test_finished_jobs_and_services_scaled_to_zero_are_not_missing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"condition": "service_completed_successfully"}
    services = {"web": {"depends_on": {"migrate": done}}, "migrate": {}, "batch": {"deploy": {"replicas": 0}}}
    monkeypatch.setattr(engine, "state", lambda: {"answers": True, "kind": "", "reason": "", "version": "26"})
    monkeypatch.setattr(docker_project.Project, "documents", lambda _: [])
    monkeypatch.setattr(docker_project.Project, "config", lambda _: {"services": services})
    monkeypatch.setattr(
        docker_project.Project,
        "images_missing",
        lambda _, model: [{"service": name} for name in sorted(model["services"])],
    )
    found = health_facts.read_engine(app, env_file.read(app.paths, app.variables, NOW), NOW)
    assert found.model
    assert (found.model["services"], found.images_missing) == (["web"], [{"service": "web"}])


def test_configuration_is_read_from_disks_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read from a dead network file system would block."""
    for name in ("disk", "network"):
        (tmp_path / name).write_text(f"server {name}:80;", encoding="utf-8")
    monkeypatch.setattr(procfs, "on_disk", lambda paths: [path for path in paths if path.endswith("disk")])
    mounts = [{"type": "bind", "source": str(tmp_path / name), "read_only": True} for name in ("disk", "network")]
    assert health_facts._configuration({"services": {"web": {"volumes": mounts}}}) == {"web": "server disk:80;"}


@pytest.mark.parametrize(("answers", "part"), [([False, True], ""), ([False] * 200, "HAProxy answers badly")])
def test_haproxy_gets_a_moment_to_see_that_its_instances_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[bool], part: str
) -> None:
    """Killed at once, it would drop the requests that it has just begun to serve."""
    checks = parse_checks([{"name": "health", "url": "http://127.0.0.1:80/"}])
    app = App(app_paths("shop", root=str(tmp_path)), checks=checks, balancer=Balancer("web", 1, 18000, (80,)))
    now = [0.0]

    def run_checks(
        _checks: Any, _values: Any, seconds: float, *_unused: Any, ask: Any = None, **__: Any
    ) -> ProbeResult:
        ok = ask is not None or answers.pop(0)
        until = now[0] + seconds
        while not ok and now[0] < until:
            now[0] += 1.0
            ok = answers.pop(0)
        return probe_result({"ok": ok, "port": 80, "status": 200 if ok else 503}, ok=ok)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    instances = [{"service": "web", "ports": [18000], "id": "1"}]
    found = facts(app, instances=instances, services=["web"], balancer="", probe=run_checks([], {}, 0.0))
    found = health_facts._look_at_instances(app, found, lambda _: run_checks([], {}, 0.0, ask=True), Clock(), None)
    assert part in str(found["balancer"])
    assert bool(part) is bool(found["balancer"])


def test_lost_packets_to_an_upstream_are_not_blamed_on_a_rule_that_drops_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that drops every other packet is not certainly the cause; unanswered TCP segments are a fact."""
    app = App(
        app_paths("shop", root=str(tmp_path)), upstreams=parse_checks([{"name": "api", "url": "http://10.1.2.3:443/"}])
    )
    item = of_diagnosis.container(pid=7, networks={"shop": "172.18.0.2"}, targets=[])
    facts = of_diagnosis.facts(of_diagnosis.LATE, instances=[item], env={"findings": [], "values": {}})
    lossy = "-A DOCKER-USER -d 10.1.2.3/32 -p tcp -m statistic --mode random --probability 0.5 -j DROP\n"
    monkeypatch.setattr(procfs, "unanswered", lambda _: [("10.1.2.3", 443), ("10.9.9.9", 80)])
    monkeypatch.setattr(firewall, "read", lambda: of_firewall.DOCKERS.format(raw="", filter=lossy))
    monkeypatch.setattr(firewall, "is_the_engines", lambda: True)
    facts = {**facts, **health_facts._read_firewall(app, facts)}
    assert (facts["flushed"], facts["dropped"]) == ("", [])
    reason = "10.1.2.3:443 answers this host, and not shop-backend-1: packets are lost on the way"
    assert facts["unanswered"] == [{"name": "api", "reason": reason}]
    assert diagnose(facts)[:2] == ("upstream_down", [f"api: {reason}"])


LATE: CheckResult = {**of_diagnosis.result("health", "timeout", "health"), "port": 80, "status": None}
BUSY_LOAD = {"cpu_busy": 1.0, "cpu_pressure": 90.0, "answered_seconds": 60.0, "idle": False}


@pytest.mark.parametrize(
    ("services", "asked"),
    [pytest.param(["web"], True, id="all run"), pytest.param(["web", "db"], False, id="its database is missing")],
)
def test_a_busy_host_does_not_delay_a_known_cause(
    app: App, monkeypatch: pytest.MonkeyPatch, services: list[str], asked: bool
) -> None:
    """On a slow host each missing answer costs five seconds."""
    waits: list[float] = []

    def run_checks(checks: Any, *_unused: Any, **__: Any) -> ProbeResult:
        waits.append(checks[0].timeout)
        return probe_result(LATE, ok=False)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    monkeypatch.setattr(procfs, "idle", lambda *_: False)
    app.checks = parse_checks([{"name": "health", "url": "http://127.0.0.1:80/"}])
    instances = [of_diagnosis.container(service="web", ports=[80], pid=0)]
    env: dict[str, Any] = {"findings": [], "values": {}}
    found = of_diagnosis.facts(LATE, instances=instances, services=services, load=BUSY_LOAD, env=env)
    health_facts._read_slowness(app.checks, found, Clock())
    assert bool(waits) is asked


@pytest.mark.parametrize(("age", "seconds"), [(12.0, 12.0), (None, 86412.0)], ids=["known", "unknown"])
def test_a_running_container_is_as_old_as_its_process(
    monkeypatch: pytest.MonkeyPatch, age: float | None, seconds: float
) -> None:
    """Setting the clock a day forward would make every container a day older."""
    monkeypatch.setattr(procfs, "age", lambda _: age)
    running = of_diagnosis.container(pid=7, started_seconds=86412.0)
    ended = of_diagnosis.container(pid=7, started_seconds=86412.0, state="exited")
    assert health_facts._by_its_process(running)["started_seconds"] == seconds
    assert health_facts._by_its_process(ended)["started_seconds"] == 86412.0


class Balanced:
    """Two proxies behind HAProxy, the app that they need, and a worker. `asked` has the checks' ports and timeouts."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **states: str) -> None:
        checks = parse_checks([{"name": "health", "url": "http://127.0.0.1:80/", "timeout": 2.0}])
        self.app = App(app_paths("shop", root=str(tmp_path)), checks=checks, balancer=Balancer("web", 2, 18000, (80,)))
        self.states, self.asked = states, list[Any]()
        self.answers = dict.fromkeys((18000, 18001), False)
        self.passes = False
        monkeypatch.setattr(health_facts, "_missing_instances", lambda *_: (0, ""))
        monkeypatch.setattr(health_facts, "read_engine", self.read_engine)
        monkeypatch.setattr(haproxy, "aside", lambda _, port: port)
        monkeypatch.setattr(probe, "run_checks", self.run_checks)
        monkeypatch.setattr(health_facts, "_recovering", lambda *_: [])
        monkeypatch.setattr(health_facts, "_read_upstream", lambda *_: health_facts.UpstreamSays([], []))
        monkeypatch.setattr(health_facts, "_read_firewall", lambda *_: {})
        monkeypatch.setattr(docker_network, "broken_network", lambda _: [])
        monkeypatch.setattr(procfs, "disk", lambda _: [])
        monkeypatch.setattr(health_facts, "is_busy", lambda _: False)

    def instance(self, service: str, port: int, number: int = 1) -> Instance:
        state = self.states.get(service, "running")
        running = state in ("running", "stopped")
        item = {
            **INSTANCE,
            "service": service,
            "name": f"shop-{service}-{number}",
            "id": f"{service}{number}",
            "ports": [port] if port else [],
            "state": "running" if running else state,
            "stopped": state == "stopped",
        }
        return cast(Instance, item)

    def read_engine(self, *_unused: Any) -> health_facts.EngineSays:
        ports = self.app.balancer.slots[:2] if self.app.balancer else [80]
        instances = [self.instance("web", port, at + 1) for at, port in enumerate(ports)]
        instances += [self.instance("app", 0), self.instance("worker", 0)]
        instances = [item for item in instances if item["state"] != "gone"]
        model: ModelFacts = {
            "services": ["app", "web", "worker"],
            "needs": {"web": ["app"], "app": [], "worker": []},
            "stateful": [],
            "proxies": ["web"],
        }
        answers: engine.EngineState = {"answers": True, "kind": "", "reason": "", "version": ""}
        return health_facts.EngineSays(answers, cast(ContainerFacts, {"instances": instances}), model)

    def run_checks(self, checks: Any, *_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        self.asked.append(ask if ask is not None else checks[0].timeout)
        ok = self.answers.get(ask, False) if ask is not None else self.passes
        return self.result(ok)

    @staticmethod
    def result(ok: bool, kind: str = "timeout", status: int | None = None) -> ProbeResult:
        one = {"name": "health", "ok": ok, "kind": None if ok else kind, "reason": "no answer", "status": status}
        return probe_result({**one, "port": 80, "proves": "health", "down": []}, ok=ok)

    def read(self, load: SeenLoad | None = None, brief: bool = False) -> Facts:
        clock = Clock(now=lambda: NOW, monotonic=lambda: NOW, sleep=lambda _: None)
        asked: ProbeResult = {**self.result(False), "brief": brief}
        return health_facts.read(self.app, None, 0.0, clock, health_facts.Seen(asked, load or {}))


@pytest.mark.parametrize(("status", "asked"), [(429, 1), (500, 2)])
def test_an_app_that_limits_the_rate_of_checks_is_asked_once(
    status: int, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may allow only five logins a minute."""
    deadlines: list[float] = []

    def ask(_checks: Any, _env: Any, deadline: float, *_unused: Any) -> ProbeResult:
        deadlines.append(deadline)
        return Balanced.result(False, "status", status)

    it = Balanced(tmp_path, monkeypatch)
    it.app.balancer = None
    monkeypatch.setattr(health_facts, "ask", ask)
    clock = Clock(now=lambda: NOW, monotonic=lambda: NOW, sleep=lambda _: None)
    health_facts.read(it.app, None, 1.0, clock)
    assert deadlines == [0.0, 1.0][:asked]


@pytest.mark.parametrize(
    ("state", "code", "more", "services"),
    [
        ("restarting", 1, {}, ["db"]),
        ("exited", 1, {}, ["db"]),
        ("exited", 143, {}, []),
        ("running", 0, {}, []),
        ("exited", 1, {"finished_seconds": 86400.0}, []),
        ("exited", 1, {"service": "migrate"}, []),
    ],
)
def test_a_service_that_logged_a_full_disk_before_it_ended(
    app: App, monkeypatch: pytest.MonkeyPatch, state: str, code: int, more: dict[str, Any], services: list[str]
) -> None:
    """With a quota, or a volume on another machine, no file system of this host is full."""
    ended = "2026-01-02T03:04:05.6Z"
    log = "2026-01-02T03:04:05.1Z could not write: No space left on device"
    monkeypatch.setattr(docker_project.Project, "logs", lambda *_: log)
    item = {**INSTANCE, "service": "db", "name": "shop-db-1", "id": "1", "state": state, "exit_code": code}
    item = {**item, "finished": ended, "finished_seconds": 5.0, **more}
    found = health_facts._no_room(app.paths, facts(app, instances=[item], services=["db"]))
    assert [one["service"] for one in found] == services


LOGIN_REFUSED = 'error: password authentication failed for user "letters"'
LOGS = {
    "app": LOGIN_REFUSED,
    "db": 'UTC [9] FATAL:  password authentication failed for user "letters"\n' * 2,
    "cache": "WRONGPASS",
}


@pytest.mark.parametrize(
    ("logs", "changes", "found"),
    [
        ({}, {}, [("app", "letters", "db", False, ["app", "db"])]),
        ({"app": "Traceback"}, {}, [("db", "letters", "db", True, ["app", "db"])]),
        ({}, {"app": {"state": "exited", "exit_code": 1}}, [("app", "letters", "db", False, ["app", "db"])]),
        # What was killed says nothing of why, and what a container said long ago says nothing of now.
        ({}, {"app": {"state": "exited", "exit_code": 137}}, [("db", "letters", "db", True, ["app", "db"])]),
        ({"app": f"2026-01-02T03:00:00Z {LOGIN_REFUSED}"}, {}, [("db", "letters", "db", True, ["app", "db"])]),
        ({}, {"db": {"stopped": True}}, []),
    ],
)
def test_which_logins_were_refused_of_late(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    logs: dict[str, str],
    changes: dict[str, Any],
    found: list[tuple[Any, ...]],
) -> None:
    said = {**LOGS, **logs}
    now = "2026-01-02T03:04:05Z "
    monkeypatch.setattr(
        docker_project.Project,
        "logs",
        lambda _project, name, *_: "\n".join(
            line if line.startswith("2026") else now + line for line in said[name].splitlines()
        ),
    )
    instances = [
        {
            **INSTANCE,
            **{"service": name, "name": f"shop-{name}-1", "id": name, "state": "running", "stopped": False},
            **{"image": {"db": "postgres:17", "cache": "redis:8"}.get(name, "shop"), "ports": []},
            **changes.get(name, {}),
        }
        for name in ("app", "db", "cache")
    ]
    given = facts(
        app,
        instances=instances,
        environments=[{"URL": "postgres://letters:x@db/shop"}, {"POSTGRES_USER": "letters"}, {"OTHER": "letters1"}],
        services=["app", "cache", "db"],
        needs={"app": ["cache", "db"]},
        stateful=["cache", "db"],
        proxies=[],
        one="",
        balanced="",
        probe=Balanced.result(False, "status", 500),
        at=of_login_log.NOW,
    )
    refused = health_facts._refused_logins(app.paths, given)
    keys = ("service", "user", "server", "by_server", "users_of")
    assert [tuple(cast(Any, one)[key] for key in keys) for one in refused] == found
    assert all(not one["open"] for one in refused)


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, False),
        ({"targets": [{"host_ip": "127.0.0.1", "host_port": 5432, "container_port": 5432}]}, False),
        ({"targets": [{"host_ip": "0.0.0.0", "host_port": 5432, "container_port": 5432}]}, True),
        ({"network_mode": "host"}, True),
    ],
)
def test_whether_others_than_the_app_can_log_in_at_a_server(app: App, changes: dict[str, Any], reached: bool) -> None:
    item = cast(Instance, {**INSTANCE, "service": "db", "name": "shop-db-1", **changes})
    refusal = login_log.Refusal("PostgreSQL", "letters", "refused", 2)
    found = health_facts._refused_login(item, refusal, "db", facts(app, instances=[item], environments=[{}]))
    assert found["open"] is reached


INSTANCE: dict[str, Any] = {
    "image": "shop",
    "network_mode": "shop_default",
    "job_done": False,
    "health": "",
    "restarts": 0,
    "started_seconds": 600.0,
    "finished_seconds": None,
    "networks": {},
    "targets": [],
    "pid": 0,
    "oom_killed": False,
    "exit_code": 0,
    "error": "",
}


def test_all_instances_are_asked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked one after the other, each instance of a hanging app would cost a whole timeout."""
    it = Balanced(tmp_path, monkeypatch)
    slots = it.app.balancer.slots if it.app.balancer else []
    together = threading.Barrier(len(slots), timeout=20.0)
    monkeypatch.setattr(haproxy, "aside", lambda _, port: lambda *_: port)

    def run_checks(*_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        if ask is not None and ask is not health_facts._refused:
            together.wait()
        return it.result(False)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    found = diagnose(it.read())
    assert (found.cause, found.services) == ("hung", ("app",))


@pytest.mark.parametrize("room", [0, 1], ids=["no thread", "one thread"])
def test_instances_are_asked_even_when_no_thread_can_start(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Balanced(tmp_path, monkeypatch)
    it.answers[18001] = True
    start, started = threading.Thread.start, list[threading.Thread]()

    def full(thread: threading.Thread) -> None:
        if len(started) >= room:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", full)
    assert it.read()["one"] == "web1"


@pytest.mark.parametrize("state", ["stopped", "exited"])
def test_no_instance_is_blamed_when_a_service_that_they_need_is_down(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them may answer by chance, and the other would be restarted for nothing."""
    it = Balanced(tmp_path, monkeypatch, app=state)
    it.answers[18001] = True
    facts = it.read()
    assert (facts["one"], diagnose(facts).services) == ("", ("app",))


@pytest.mark.parametrize(("busy", "late", "one"), [(True, True, ""), (True, False, "web1"), (False, True, "web1")])
def test_an_instance_that_is_late_on_a_busy_host_is_not_at_fault(
    busy: bool, late: bool, one: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both wait for a processor, and one answers in time by chance."""
    it = Balanced(tmp_path, monkeypatch)

    def run_checks(checks: Any, *_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        return it.result(ask == 18001 or (late and checks[0].timeout > 2.0) or ask is None)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    monkeypatch.setattr(health_facts, "is_busy", lambda _: busy)
    assert it.read()["one"] == one


@pytest.mark.parametrize(
    ("busy", "kind", "cause"),
    [
        (True, "timeout", "overloaded"),
        (True, "status", "overloaded"),
        (True, "refused", "balancer_down"),
        (True, "reset", "balancer_down"),
        (False, "timeout", "balancer_down"),
        (False, "status", "balancer_down"),
    ],
)
def test_a_haproxy_that_runs_and_lacks_a_processor_is_not_at_fault(
    busy: bool, kind: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Balanced(tmp_path, monkeypatch)

    def run_checks(*_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        return it.result(ask is not None and ask is not health_facts._refused, kind)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    monkeypatch.setattr(health_facts, "is_busy", lambda _: busy)
    found = diagnose(it.read())
    assert (found.cause, found.evidence[0]) == (
        cause,
        "HAProxy answers badly, and every instance passes through its own port",
    )


@pytest.mark.parametrize(
    ("busy", "error", "problem"),
    [
        (True, haproxy.BalancerLate("timed out"), ""),
        (False, haproxy.BalancerLate("timed out"), "timed out"),
        (True, haproxy.BalancerError("refused"), "refused"),
    ],
)
def test_a_haproxy_whose_socket_is_late_on_a_busy_host_is_asked_for_what_users_get(
    busy: bool, error: haproxy.BalancerError, problem: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serving(_paths: AppPaths) -> int:
        raise error

    monkeypatch.setattr(haproxy, "is_stopped", lambda _paths: False)
    monkeypatch.setattr(haproxy, "serving", serving)
    monkeypatch.setattr(haproxy, "start_error", lambda: "")
    load = cast(Load, {"cpu_busy": 1.0 if busy else 0.1, "cpu_pressure": 0.0})
    assert health_facts._missing_instances(app.paths, Balancer("web", 2, 18000, (80,)), load) == (0, problem)


def test_instances_are_not_asked_when_a_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for their database, which ends as soon as it starts."""
    it = Balanced(tmp_path, monkeypatch)
    it.answers[18001] = True
    full = [{"path": "/data", "free_bytes": 0, "inodes_percent": 1.0}]
    monkeypatch.setattr(procfs, "disk", lambda _: full)
    monkeypatch.setattr(health_facts, "_ask_slots", lambda *_: lambda _port: pytest.fail("an instance was asked"))
    facts = it.read()
    assert (facts["one"], diagnose(facts).cause) == ("", "disk_full")


@pytest.mark.parametrize("service", ["app", "worker"], ids=["what it needs", "not known to be needed"])
@pytest.mark.parametrize(("state", "cause"), [("exited", "crashed"), ("gone", "container_missing")])
def test_a_service_that_the_health_check_of_the_instances_does_not_reach_is_named(
    service: str, state: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each instance is healthy, and users get errors: neither HAProxy nor an instance is at fault."""
    it = Balanced(tmp_path, monkeypatch, **{service: state})
    health = {"name": "health", "url": "http://127.0.0.1:80/health", "proves": "health", "timeout": 2.0}
    login = {"name": "login", "url": "http://127.0.0.1:80/login", "timeout": 2.0}
    it.app.checks = parse_checks([health, login])

    def run_checks(checks: Any, *_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        return it.result(ask is not None and len(checks) == 1)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    facts = it.read()
    found = diagnose(facts)
    assert (found.cause, found.services, facts["one"], facts["balancer"]) == (cause, (service,), "", "")
    every = ladder.FILES | ladder.TOUCHING
    assert ladder.decide(found.cause, ladder.Situation("i", [], []), every, ladder.Policy()).remedy == ladder.UP


def test_the_only_instance_that_fails_is_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Balanced(tmp_path, monkeypatch, worker="exited")
    it.answers[18001] = True
    assert it.read()["one"] == "web1"


@pytest.mark.parametrize(
    ("stopped", "passes"),
    [("app", True), ("worker", True), ("worker", False)],
    ids=["a service that the check reaches", "another, and the app was slow", "another, and the app hangs"],
)
def test_a_brief_check_is_enough_only_when_it_reaches_the_stopped_service(
    stopped: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer after 1.9 s is in time, whatever has happened to another service."""
    it = Balanced(tmp_path, monkeypatch, **{stopped: "stopped"})
    it.app.balancer, it.passes = None, passes
    facts = it.read(brief=True)
    assert it.asked == ([] if stopped == "app" else [2.0])
    assert facts["probe"]["ok"] is (passes and stopped != "app")
    assert diagnose(facts).cause == "hung"


@pytest.mark.parametrize(
    ("answers_within", "idle", "asked", "cause"),
    [
        (4.0, [], [5.0], "overloaded"),
        (15.0, [False], [5.0, 20.0], "overloaded"),
        (99.0, [False, False], [5.0, 20.0], "hung"),
        (99.0, [True], [5.0], "hung"),
    ],
    ids=["late", "very late, and the app works", "never, and the app works", "never, and the app is idle"],
)
def test_on_a_busy_host_an_app_that_works_gets_more_time(
    answers_within: float,
    idle: list[bool],
    asked: list[float],
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = Balanced(tmp_path, monkeypatch)
    it.app.balancer, patience = None, []

    def run_checks(checks: Any, *_unused: Any, ask: Any = None, **__: Any) -> ProbeResult:
        patience.append(checks[0].timeout)
        return it.result(False, status=200 if patience[-1] >= answers_within else None)

    monkeypatch.setattr(probe, "run_checks", run_checks)
    monkeypatch.setattr(health_facts, "is_busy", lambda _: True)
    monkeypatch.setattr(procfs, "idle", lambda *_: idle.pop(0))
    load: SeenLoad = {"cpu_busy": 1.0, "answered_seconds": 40.0}
    facts = it.read(load=load)
    assert (patience, idle) == (asked, [])
    assert diagnose(facts).cause == cause
