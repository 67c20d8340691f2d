# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Diagnosis: facts → one cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.health import diagnosis
from ansible_collections.christmas.selfheal.plugins.module_utils.health.fact_types import Facts, Instance
from ansible_collections.christmas.selfheal.plugins.module_utils.probe.run import CheckResult, ProbeResult
from ansible_collections.christmas.selfheal.plugins.module_utils.recovery import ladder

FINDING = {"variable": "SUPABASE_SERVICE_KEY", "rule": "placeholder", "reason": "a placeholder", "fix": "paste it"}


def result(name: str, kind: str, part: str = "api", ok: bool = False) -> CheckResult:
    return cast(
        CheckResult,
        {
            "name": name,
            "ok": ok,
            "kind": kind,
            "proves": part,
            "reason": f"the reason is {kind}",
            "seconds": 0.1,
            "port": 8000,
        },
    )


def container(**changes: Any) -> Instance:
    return cast(
        Instance,
        {
            "name": "shop-backend-1",
            "service": "backend",
            "state": "running",
            "exit_code": 0,
            "error": "",
            "restarts": 0,
            "finished": "2025-05-27T02:00:00Z",
            "started_seconds": 3600.0,
            "finished_seconds": None,
            "oom_killed": False,
            "job_done": False,
            "stopped": False,
            "health": "none",
            "health_log": [],
            "ports": [8000],
            "limits": {"memory_bytes": 512 * 1048576},
            **changes,
        },
    )


def probe(*results: CheckResult) -> ProbeResult:
    ok = bool(results) and all(one["ok"] for one in results)
    return cast(ProbeResult, {"ok": ok, "summary": "n of m", "results": list(results)})


def facts(*results: CheckResult, **changes: Any) -> Facts:
    return cast(
        Facts,
        {
            "engine": {"answers": True, "kind": "", "reason": ""},
            "disk": [{"path": "/", "free_bytes": 1 << 30, "inodes_percent": 10.0}],
            "env": {"findings": []},
            "config_error": "",
            "services": ["backend"],
            "frozen": [],
            "needs": {},
            "stateful": [],
            "proxies": [],
            "instances": [container()],
            "oom": [],
            "images_missing": [],
            "network": [],
            "flushed": "",
            "dropped": [],
            "unanswered": [],
            "recovering": [],
            "refused": [],
            "by_hand": {},
            "no_room": [],
            "since": 0.0,
            "network_error": "",
            "load": {"cpu_busy": 0.2, "cpu_pressure": 0.0, "answered_seconds": 1.0, "idle": False},
            "ports": [{"port": 8000, "holders": []}],
            "upstream": [],
            "passed": None,
            "balancer": "",
            "one": "",
            "balanced": "",
            "few": "",
            "kept_out": "",
            "slow_balancer": "",
            "probe": probe(*results),
            **changes,
        },
    )


SHORT = {"started_seconds": 2.0, "finished_seconds": 1.0}
REFUSED = result("health", "refused", "health")
LATE = result("health", "timeout", "health")
DOWN = {"answers": False, "kind": "down", "reason": "no socket"}
BUSY = {"cpu_busy": 0.99, "cpu_pressure": 80.0, "answered_seconds": 3.0, "idle": False}
UPSTREAM = [{"name": "SUPABASE_URL", "reason": "no answer"}]
KILLED = [
    {"container": "shop-backend-1", "limit_bytes": 512 << 20, "peak_bytes": 511 << 20, "line": "", "seconds": 3.0}
]

CASES = [
    ("all checks pass", facts(result("health", "", ok=True)), "healthy", "n of m"),
    (
        "a service logs a full disk, and the disks of this host have room",
        facts(
            REFUSED,
            instances=[container(state="exited", exit_code=1)],
            no_room=[{"service": "db", "name": "shop-db-1", "line": "PANIC: could not write: No space left on device"}],
        ),
        "disk_full",
        "shop-db-1 ended, and its log says: PANIC",
    ),
    (
        "Compose is not installed",
        facts(REFUSED, instances=[], engine={"answers": False, "kind": "missing", "reason": "install docker-compose"}),
        "engine_incomplete",
        "install docker-compose",
    ),
    (
        "all checks pass, and the env is invalid",
        facts(result("health", "", ok=True), env={"findings": [FINDING]}),
        "env_invalid",
        "SUPABASE_SERVICE_KEY: placeholder",
    ),
    ("engine", facts(REFUSED, engine=DOWN), "engine_down", "no socket"),
    (
        "the engine is down, and the checks still pass",
        facts(result("a", "", ok=True), engine=DOWN),
        "engine_down",
        "no",
    ),
    (
        "a reload of the firewall removed the engine's rules, so the app waits for its upstream",
        facts(LATE, flushed="Docker's rules are gone", upstream=UPSTREAM),
        "network_broken",
        "rules are gone",
    ),
    (
        "a firewall rule drops the requests",
        facts(LATE, dropped=["-t raw -A PREROUTING -j DROP"]),
        "network_broken",
        "-t raw -A PREROUTING -j DROP",
    ),
    (
        "an upstream answers the host, but not the app",
        facts(LATE, unanswered=[{"name": "SUPABASE_URL", "reason": "packets are lost on the way"}]),
        "upstream_down",
        "lost on the way",
    ),
    (
        "an app whose processes are stopped does not wait for its upstream",
        facts(LATE, instances=[container(stopped=True)], unanswered=UPSTREAM, flushed="Docker's rules are gone"),
        "hung",
        "stopped",
    ),
    (
        "stopped by hand, a moment after it had crashed for the second time",
        facts(REFUSED, instances=[container(state="exited", restarts=2, restart_policy="unless-stopped", **SHORT)]),
        "crashed",
        "is exited",
    ),
    ("an engine that hangs", facts(LATE, engine={**DOWN, "kind": "hung"}), "engine_hung", "no socket"),
    (
        "a full disk explains all other faults",
        facts(REFUSED, disk=[{"path": "/data", "free_bytes": 0, "inodes_percent": 3.0}], instances=[]),
        "disk_full",
        "/data",
    ),
    (
        "a file system that the kernel made read-only explains why the container ended",
        facts(REFUSED, frozen=[{"path": "/data", "device": "/dev/sdb"}], instances=[container(state="exited")]),
        "disk_read_only",
        "/data (/dev/sdb)",
    ),
    (
        "no inodes left",
        facts(REFUSED, disk=[{"path": "/", "free_bytes": 1 << 40, "inodes_percent": 100.0}]),
        "disk_full",
        "100 %",
    ),
    (
        "a placeholder in the env makes the container restart in a loop",
        facts(REFUSED, env={"findings": [FINDING]}, instances=[container(state="restarting", restarts=7, **SHORT)]),
        "env_invalid",
        "placeholder",
    ),
    (
        "a crash loop, seen while the container runs and accepts no connection yet",
        facts(
            {**result("health", "timeout"), "reason": "no connection to 10.0.0.1:8000 within 2.00 s"},
            instances=[container(restarts=4, **SHORT)],
        ),
        "crash_loop",
        "restarted 4 times",
    ),
    (
        "it accepts connections, so it hangs, although it was restarted often",
        facts(
            {**result("health", "timeout"), "reason": "no answer within 2.00 s"},
            instances=[container(restarts=4, **SHORT)],
        ),
        "hung",
        "no answer",
    ),
    ("compose files", facts(REFUSED, config_error="yaml: line 3"), "config_damaged", "line 3"),
    (
        "the load balancer",
        facts(REFUSED, balancer="HAProxy does not answer"),
        "balancer_down",
        "HAProxy",
    ),
    (
        "HAProxy keeps out an instance that passes its checks",
        facts(result("health", "", "health", ok=True), kept_out="slot 0 is DOWN, L7STS 400 Bad Request"),
        "balancer_disagrees",
        "L7STS 400 Bad Request",
    ),
    (
        "one of two instances is late on a busy host, and the other is not",
        facts(LATE, load=BUSY, one="id"),
        "hung",
        "timeout",
    ),
    (
        "one of two instances is missing, and the checks pass",
        facts(result("health", "", "health", ok=True), few="service backend has 1 of 2 instances"),
        "container_missing",
        "1 of 2",
    ),
    (
        "a process holds the port",
        facts(REFUSED, ports=[{"port": 8000, "holders": [{"pid": 42, "process": "nginx"}]}]),
        "port_taken",
        "nginx (pid 42)",
    ),
    (
        "a container holds the port",
        facts(REFUSED, ports=[{"port": 8000, "holders": [{"container": "the container blog-web-1"}]}]),
        "port_taken",
        "port 8000 is held by the container blog-web-1",
    ),
    ("no container", facts(REFUSED, instances=[]), "container_missing", "backend"),
    (
        "no container and no image",
        facts(REFUSED, instances=[], images_missing=[{"service": "backend", "image": "shop:1"}]),
        "image_missing",
        "shop:1",
    ),
    (
        "killed at its memory limit, started again, and not answering yet",
        facts(REFUSED, instances=[container(restarts=1)], oom=KILLED),
        "out_of_memory",
        "limit of 512 MiB, its peak was 511 MiB",
    ),
    (
        "a kill that the app has recovered from does not explain an error",
        facts(result("data", "status"), oom=KILLED),
        "erroring",
        "data",
    ),
    (
        "an older kill of one of its processes does not explain why the container ended",
        facts(REFUSED, instances=[container(state="exited", oom_killed=True, exit_code=143)]),
        "crashed",
        "exit code 143",
    ),
    (
        "killed at its memory limit",
        facts(REFUSED, instances=[container(state="exited", oom_killed=True, exit_code=137)]),
        "out_of_memory",
        "512 MiB",
    ),
    ("loop", facts(REFUSED, instances=[container(state="restarting", restarts=4, **SHORT)]), "crash_loop", "4 times"),
    (
        "restarted sometimes, each time after it had worked for an hour",
        facts(REFUSED, instances=[container(state="restarting", restarts=4, finished_seconds=1.0)]),
        "crashed",
        "is restarting",
    ),
    (
        "found running between two restarts",
        facts(REFUSED, instances=[container(restarts=4, started_seconds=0.8)]),
        "crash_loop",
        "4 times",
    ),
    (
        "a finished job is not at fault",
        facts(
            REFUSED,
            services=["job", "backend"],
            instances=[container(), container(service="job", state="exited", job_done=True)],
        ),
        "not_listening",
        "refused",
    ),
    ("stopped", facts(REFUSED, instances=[container(state="exited", exit_code=143)]), "crashed", "143"),
    ("paused", facts(LATE, instances=[container(state="paused")]), "crashed", "paused"),
    (
        "the upstream does not answer",
        facts(result("data", "status"), upstream=UPSTREAM),
        "upstream_down",
        "SUPABASE_URL",
    ),
    (
        "only the front-end fails: restarting the app would not help",
        facts(result("health", "", ok=True), result("page", "refused", "frontend")),
        "upstream_down",
        "page",
    ),
    ("an app that waits for its upstream looks hung", facts(LATE, upstream=UPSTREAM), "upstream_down", "SUPABASE_URL"),
    ("an app that does not listen is at fault", facts(REFUSED, upstream=UPSTREAM), "not_listening", "refused"),
    (
        "a container that ended is at fault, not the upstream",
        facts(LATE, instances=[container(state="exited")], upstream=UPSTREAM),
        "crashed",
        "exited",
    ),
    ("the network", facts(REFUSED, network=["the port published for it does not"]), "network_broken", "published"),
    ("slow, and the host is busy", facts(LATE, load=BUSY), "overloaded", "99% busy"),
    ("the host is busy, and the app does nothing at all", facts(LATE, load={**BUSY, "idle": True}), "hung", "timeout"),
    (
        "busy, and started since the last answer",
        facts(LATE, load={**BUSY, "answered_seconds": 3.0}, instances=[container(started_seconds=1.0)]),
        "hung",
        "timeout",
    ),
    (
        "busy, and one of two instances started since the last answer",
        facts(
            LATE,
            load={**BUSY, "answered_seconds": 3.0},
            instances=[container(started_seconds=1.0), container(started_seconds=3600.0)],
        ),
        "overloaded",
        "99% busy",
    ),
    (
        "HAProxy runs and answers badly, on a host without a free processor",
        facts(result("health", "status"), load=BUSY, slow_balancer="HAProxy answers badly"),
        "overloaded",
        "99% busy",
    ),
    ("busy, and silent for half a minute", facts(LATE, load={**BUSY, "answered_seconds": 31.0}), "hung", "timeout"),
    ("busy, and no answer is known", facts(LATE, load={**BUSY, "answered_seconds": None}), "hung", "timeout"),
    ("busy, but one of its answers is wrong", facts(LATE, result("data", "status"), load=BUSY), "hung", "timeout"),
    ("only slower than its check allows", facts(result("data", "latency")), "overloaded", "data"),
    ("a name that does not resolve", facts(result("health", "dns", "health")), "upstream_down", "dns"),
    ("nothing listens", facts(REFUSED), "not_listening", "refused"),
    ("no answer in time", facts(result("health", "timeout", "health")), "hung", "timeout"),
    ("errors", facts(result("health", "", ok=True), result("data", "status")), "erroring", "data"),
    ("no check ran", facts(), "unknown", "n of m"),
]


@pytest.mark.parametrize(("given_facts", "cause", "part"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_cause(given_facts: Facts, cause: str, part: str) -> None:
    found = diagnosis.diagnose(given_facts)
    assert found.cause == cause
    assert part in "; ".join(found.evidence)


instances = st.builds(
    container,
    state=st.sampled_from(["running", "restarting", "exited", "dead", "created", "paused", "removing"]),
    oom_killed=st.booleans(),
    exit_code=st.integers(0, 255),
)
kinds = [
    "refused",
    "timeout",
    "reset",
    "dns",
    "unreachable",
    "tls",
    "answer",
    "status",
    "body",
    "header",
    "latency",
    "skipped",
]
results = st.builds(
    result, st.just("check"), st.sampled_from(kinds), st.sampled_from(["health", "api", "frontend"]), st.booleans()
)
some_kills = st.lists(st.sampled_from(KILLED), max_size=1)
any_facts = st.lists(results, max_size=3).flatmap(
    lambda found: st.builds(
        lambda **changes: facts(*found, **changes),
        engine=st.sampled_from([{**DOWN, "answers": True, "kind": ""}, DOWN, {**DOWN, "kind": "hung"}]),
        oom=some_kills,
        images_missing=st.lists(st.just({"service": "backend", "image": "shop:1"}), max_size=1),
        network=st.lists(st.just("no address"), max_size=1),
        load=st.sampled_from(
            [BUSY, {**BUSY, "cpu_busy": 0.1, "cpu_pressure": 0.0}, {**BUSY, "answered_seconds": None}]
        ),
        disk=st.lists(
            st.builds(
                lambda free, used: {"path": "/", "free_bytes": free, "inodes_percent": used},
                st.integers(0, 1 << 40),
                st.floats(0, 100),
            ),
            max_size=2,
        ),
        env=st.builds(lambda findings: {"findings": findings}, st.lists(st.just(FINDING), max_size=1)),
        config_error=st.sampled_from(["", "bad"]),
        instances=st.lists(instances, max_size=2),
        upstream=st.lists(st.sampled_from(UPSTREAM), max_size=1),
    )
)


@given(any_facts)
def test_any_facts_give_one_cause_with_a_next_step(given_facts: Facts) -> None:
    found = diagnosis.diagnose(given_facts)
    assert found.cause in {diagnosis.HEALTHY, *diagnosis.MEANING}
    assert found.evidence, "a cause without evidence"
    if given_facts["probe"]["ok"]:
        assert found.healthy or found.cause in (
            *("engine_down", "engine_hung", "disk_full", "env_invalid", "image_missing", "container_missing"),
            *("disk_read_only", "out_of_memory", "crash_loop", "crashed", "hung", "unhealthy"),
        )
    else:
        assert not found.healthy
    assert "{" not in ladder.next_step(found.cause, found.about, "", "/incidents/1", by_person=True)


@pytest.mark.parametrize(
    ("changes", "cause", "says"),
    [
        ({}, "healthy", "n of m"),
        ({"oom": KILLED}, "out_of_memory", "was killed at its limit of 512 MiB, its peak was 511 MiB"),
        ({"oom": [{**KILLED[0], "seconds": 50.0}]}, "healthy", "n of m"),
        ({"instances": [container(restarts=1, started_seconds=0.4)]}, "crashed", "restart policy has started it again"),
        ({"instances": [container(restarts=1, started_seconds=99.0)]}, "healthy", "n of m"),
        ({"instances": [container(restarts=0, started_seconds=0.4)]}, "healthy", "n of m"),
    ],
)
def test_a_fault_that_passed_by_itself_is_named_and_not_treated(changes: dict[str, Any], cause: str, says: str) -> None:
    """The restart policy was faster than the watcher. `passed` is how many seconds back the diagnosis looks."""
    found = diagnosis.diagnose(facts(result("health", "", ok=True), passed=3.5, **changes))
    assert (found.cause, found.passed) == (cause, cause != "healthy")
    assert says in found.evidence[0]


def test_only_the_faulty_service_is_touched() -> None:
    """The database of an app that hangs is left alone."""
    both = [container(), container(name="shop-db-1", service="db", ports=[5432])]
    assert diagnosis.diagnose(facts(LATE, instances=both)).services == ("backend",)
    dead = [container(), container(name="shop-db-1", service="db", ports=[5432], state="exited")]
    assert diagnosis.diagnose(facts(LATE, instances=dead, services=["backend", "db"])).services == ("db",)


def asked(port: int, kind: str = "timeout", status: int | None = None) -> CheckResult:
    return {**result("health", kind, "health"), "port": port, "status": status}


def parts(**changes: Any) -> list[Instance]:
    """A proxy, an app behind it, its database and cache, and a worker. `changes` are by the name of a service."""
    ports = {"web": [80], "app": [], "db": [], "cache": [], "worker": []}
    return [
        container(name=f"shop-{name}-1", service=name, ports=ports[name], **changes.get(name, {}))
        for name in ports
        if changes.get(name, {}).get("state") != "gone"
    ]


MODEL: dict[str, Any] = {
    "services": ["app", "cache", "db", "web", "worker"],
    "needs": {"web": ["app"], "app": ["db", "cache"], "worker": ["db"]},
    "stateful": ["cache", "db"],
    "proxies": ["web"],
}
GATEWAY, OK = asked(80, "status", 502), result("health", "", "health", ok=True)
EXITED, GONE, STOPPED = {"state": "exited", "exit_code": 137}, {"state": "gone"}, {"stopped": True}
SICK = {"health": "unhealthy"}
# Its disk was full until a moment ago.
YOUNG = {"restarts": 4, "started_seconds": 6.0, "finished_seconds": 6.4}
LOOPS = {"state": "restarting", "restarts": 7, "exit_code": 1, "started_seconds": 1.0, "finished_seconds": 0.5}


@pytest.mark.parametrize(
    ("answer", "changes", "cause", "services"),
    [
        (asked(80), {}, "hung", ("app",)),
        (GATEWAY, {}, "erroring", ("app",)),
        (asked(80, "status", 500), {"db": EXITED}, "crashed", ("db",)),
        (asked(80), {"db": STOPPED}, "hung", ("db",)),
        (asked(80), {"cache": STOPPED, "db": {**YOUNG, "health": "healthy"}}, "hung", ("cache",)),
        (GATEWAY, {"db": {**YOUNG, "health": "starting"}}, "crash_loop", ("db",)),
        (GATEWAY, {"app": LOOPS, "db": EXITED}, "crashed", ("db",)),
        (GATEWAY, {"app": EXITED, "db": GONE}, "container_missing", ("db",)),
        (GATEWAY, {"app": SICK, "db": SICK}, "unhealthy", ("db",)),
        (GATEWAY, {"app": SICK, "worker": EXITED}, "unhealthy", ("app",)),
        (asked(80, "refused"), {"web": STOPPED}, "hung", ("web",)),
        # A proxy that is about to end closes its connections.
        (asked(80, "reset"), {}, "not_listening", ("web",)),
        (OK, {"worker": EXITED}, "crashed", ("worker",)),
        (OK, {"worker": {"state": "paused"}}, "crashed", ("worker",)),
        (OK, {"worker": GONE}, "container_missing", ("worker",)),
        (OK, {"worker": LOOPS}, "crash_loop", ("worker",)),
        # It may be healthy by now: the engine has just started it again.
        (OK, {"worker": {**LOOPS, "state": "running", "started_seconds": 0.2}}, "healthy", ()),
        (OK, {"worker": SICK}, "unhealthy", ("worker",)),
        (OK, {"cache": STOPPED}, "hung", ("cache",)),
        (OK, {"worker": {"state": "restarting", "restarts": 1}}, "healthy", ()),
        (OK, {"worker": {**EXITED, "job_done": True}}, "healthy", ()),
        (asked(80, "status", 429), {}, "rate_limited", ()),
    ],
)
def test_the_service_at_the_root_is_named(
    answer: CheckResult, changes: dict[str, Any], cause: str, services: tuple[str, ...]
) -> None:
    found = diagnosis.diagnose(facts(answer, instances=parts(**changes), **MODEL))
    assert (found.cause, found.services) == (cause, services)


REPLAYS = [{"service": "db", "name": "shop-db-1", "line": "redo in progress, elapsed time: 10.00 s"}]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="all run"),
        pytest.param({"app": EXITED}, id="the app has given up"),
        pytest.param({"db": SICK}, id="its own health check fails meanwhile"),
    ],
)
def test_a_recovering_database_is_left_alone(changes: dict[str, Any]) -> None:
    found = diagnosis.diagnose(facts(GATEWAY, instances=parts(**changes), recovering=REPLAYS, **MODEL))
    assert (found.cause, found.evidence) == (
        "database_recovering",
        ["shop-db-1 takes no connections yet: redo in progress, elapsed time: 10.00 s"],
    )
    assert found.cause in ladder.HOLD


def refused(service: str, **changes: Any) -> dict[str, Any]:
    """A login that the database refused, as the log of this service says it."""
    return {
        **{"service": service, "name": f"shop-{service}-1", "line": "password authentication failed", "times": 1},
        **{"kind": "PostgreSQL", "user": "shop", "server": "db", "by_server": service == "db", "open": False},
        **{"users_of": ["app", "db"], **changes},
    }


SAID_BY_DB = refused("db", times=2)


@pytest.mark.parametrize(
    ("changes", "logs", "services"),
    [
        pytest.param({}, [refused("app")], ("app",), id="it answers with errors"),
        pytest.param({"app": LOOPS}, [refused("app")], ("app",), id="it dies again and again"),
        pytest.param({"app": {"state": "exited", "exit_code": 1}}, [refused("app")], ("app",), id="it has ended"),
        pytest.param({"web": SICK}, [refused("app")], ("app",), id="its proxy is unhealthy"),
        pytest.param({}, [SAID_BY_DB], ("app",), id="only the server says so"),
        pytest.param({"app": LOOPS}, [SAID_BY_DB], ("app",), id="only the server says so, and it dies again and again"),
        pytest.param({}, [refused("app", user="", server="")], ("app",), id="neither user nor server is known"),
    ],
)
def test_a_refused_login_is_the_cause_and_the_service_that_is_refused_is_named(
    changes: dict[str, Any], logs: list[dict[str, Any]], services: tuple[str, ...]
) -> None:
    found = diagnosis.diagnose(facts(GATEWAY, instances=parts(**changes), refused=logs, **MODEL))
    assert (found.cause, found.services) == ("credentials_refused", services)
    assert "password authentication failed" in found.evidence[0]
    assert found.about == ("shop@db (PostgreSQL)" if logs[0]["user"] else "PostgreSQL")


@pytest.mark.parametrize(
    ("changes", "log", "cause"),
    [
        pytest.param({}, refused("db"), "erroring", id="a single one"),
        pytest.param({}, {**SAID_BY_DB, "open": True}, "erroring", id="a server that others can reach"),
        pytest.param({}, {**SAID_BY_DB, "users_of": ["exporter"]}, "erroring", id="a user of another service"),
        pytest.param({}, {**SAID_BY_DB, "service": "archive"}, "erroring", id="a server that the app does not need"),
        pytest.param({"worker": LOOPS}, refused("worker"), "crash_loop", id="that of a worker, while users wait"),
        pytest.param({"db": EXITED}, refused("app"), "crashed", id="its database has crashed since"),
        pytest.param({"db": STOPPED}, SAID_BY_DB, "hung", id="the server hangs"),
        pytest.param({"db": SICK}, SAID_BY_DB, "unhealthy", id="the server is unhealthy itself"),
    ],
)
def test_refused_logins_that_do_not_explain_what_is_wrong(
    changes: dict[str, Any], log: dict[str, Any], cause: str
) -> None:
    assert diagnosis.diagnose(facts(GATEWAY, instances=parts(**changes), refused=[log], **MODEL)).cause == cause


def test_while_users_are_served_a_refused_login_is_the_cause_of_a_sick_service_only() -> None:
    logs = [refused("worker")]
    assert diagnosis.diagnose(facts(OK, instances=parts(), refused=logs, **MODEL)).healthy
    found = diagnosis.diagnose(facts(OK, instances=parts(worker=LOOPS), refused=logs, **MODEL))
    assert (found.cause, found.services) == ("credentials_refused", ("worker",))


def test_an_invalid_env_says_which_variables_to_correct() -> None:
    named = [FINDING, {**FINDING, "variable": "DB_PASSWORD"}, {**FINDING, "rule": "too_short"}]
    found = diagnosis.diagnose(facts(REFUSED, env={"findings": named}))
    assert found.about == "SUPABASE_SERVICE_KEY, DB_PASSWORD"
    assert diagnosis.diagnose(facts(REFUSED, env={"findings": [{**FINDING, "variable": ".env"}]})).about == ""


BY_HAND = {"app": "/root/shop", "db": "/root/shop"}


@pytest.mark.parametrize(
    ("answer", "changes", "by_hand", "cause", "services"),
    [
        pytest.param(GATEWAY, {}, BY_HAND, "replaced_by_hand", ("app", "db"), id="it answers with errors"),
        pytest.param(GATEWAY, {"app": GONE}, BY_HAND, "replaced_by_hand", ("app", "db"), id="not all are there yet"),
        pytest.param(GATEWAY, {"db": EXITED}, BY_HAND, "replaced_by_hand", ("db",), id="its database does not run"),
        pytest.param(GATEWAY, {"app": LOOPS}, {"worker": "/root"}, "crash_loop", ("app",), id="one that is not needed"),
        pytest.param(OK, {}, BY_HAND, "healthy", (), id="users are served"),
        pytest.param(OK, {"worker": EXITED}, BY_HAND, "replaced_by_hand", ("db",), id="a worker is down"),
    ],
)
def test_an_app_that_was_replaced_by_hand_is_sick_for_that_reason(
    answer: CheckResult, changes: dict[str, Any], by_hand: dict[str, str], cause: str, services: tuple[str, ...]
) -> None:
    found = diagnosis.diagnose(facts(answer, instances=parts(**changes), by_hand=by_hand, **MODEL))
    assert (found.cause, found.services) == (cause, services)
    if cause == "replaced_by_hand":
        named = f"service {services[0]} was" if len(services) == 1 else f"services {', '.join(services)} were"
        assert found.evidence == [f"{named} started by `docker compose` in /root/shop"]
        assert found.about == "/root/shop"


def test_a_health_check_that_no_remedy_helps_does_not_explain_an_outage() -> None:
    sick = facts(asked(80), instances=parts(cache=SICK), **MODEL)
    assert diagnosis.diagnose(sick).services == ("cache",)
    assert diagnosis.diagnose(sick, {"cache"}, {"cache"}).services == ("cache",)
    found = diagnosis.diagnose(sick, {"cache"}, {"cache"}, disbelieved={"cache"})
    assert (found.cause, found.services) == ("hung", ("app",))
    served = facts(OK, instances=parts(cache=SICK), **MODEL)
    assert diagnosis.diagnose(served, {"cache"}, {"cache"}, {"cache"}).cause == "unhealthy"


def ran(output: str, code: int = -1) -> dict[str, Any]:
    return {"begun": "", "time": "", "exit_code": code, "output": output}


NO_TIME = ran("Health check exceeded timeout (4s)")
REJECTED = ran("connection refused", 1)


@pytest.mark.parametrize(
    ("answer", "service", "log", "load", "cause", "services"),
    [
        pytest.param(OK, "app", [NO_TIME, NO_TIME], BUSY, "overloaded", (), id="users are served"),
        pytest.param(OK, "worker", [ran("", 0), NO_TIME], BUSY, "overloaded", (), id="it passed before"),
        pytest.param(OK, "app", [NO_TIME], {**BUSY, "cpu_busy": 0.2, "cpu_pressure": 9.0}, "unhealthy", ("app",)),
        pytest.param(OK, "app", [NO_TIME, REJECTED], BUSY, "unhealthy", ("app",), id="another reason, too"),
        pytest.param(OK, "app", [], BUSY, "unhealthy", ("app",), id="no reason is known"),
        pytest.param(GATEWAY, "db", [NO_TIME], BUSY, "overloaded", (), id="users wait for it"),
        pytest.param(GATEWAY, "worker", [NO_TIME], BUSY, "erroring", ("app",), id="nothing that fails needs it"),
        pytest.param(asked(80), "app", [NO_TIME], BUSY, "overloaded", (), id="the app is late as well"),
    ],
)
def test_a_health_check_that_only_lacks_a_processor_blames_the_host(
    answer: CheckResult,
    service: str,
    log: list[dict[str, Any]],
    load: dict[str, Any],
    cause: str,
    services: tuple[str, ...],
) -> None:
    instances = parts(**{service: {**SICK, "health_log": log}})
    found = diagnosis.diagnose(facts(answer, instances=instances, load=load, **MODEL))
    assert (found.cause, found.services) == (cause, services)
    if cause == "overloaded":
        assert "99% busy" in " ".join(found.evidence)


def test_a_dead_container_on_a_busy_host_is_still_the_cause() -> None:
    late = {**SICK, "health_log": [NO_TIME]}
    found = diagnosis.diagnose(facts(OK, instances=parts(app=late, worker=EXITED), load=BUSY, **MODEL))
    assert (found.cause, found.services) == ("crashed", ("worker",))


@pytest.mark.parametrize(("name", "services"), [("worker", ("app",)), ("cache", ("cache",))])
def test_a_service_that_nothing_needs_explains_an_outage_until_a_remedy_has_failed(
    name: str, services: tuple[str, ...]
) -> None:
    looping = facts(asked(80), instances=parts(**{name: LOOPS}), **MODEL)
    assert diagnosis.diagnose(looping).services == (name,)
    assert diagnosis.diagnose(looping, touched={name}).services == services


@pytest.mark.parametrize(
    ("model", "order"),
    [
        pytest.param(MODEL, [("app",), ("web", "worker"), ("cache",), ("db",)], id="a proxy and its services"),
        pytest.param({**MODEL, "stateful": list(MODEL["services"])}, [("app",)], id="all hold data"),
    ],
)
def test_which_service_is_suspected_without_a_published_port(
    model: dict[str, Any], order: list[tuple[str, ...]]
) -> None:
    tried: set[str] = set()
    for services in order:
        instances = [{**item, "ports": []} for item in parts()]
        assert diagnosis.diagnose(facts(asked(80), instances=instances, **model), tried).services == services
        tried.update(services)


def test_the_age_of_a_container_is_unknown_after_the_clock_was_set_back() -> None:
    back = {"restarts": 3, "started_seconds": None}
    found = diagnosis.diagnose(facts(asked(80), instances=parts(app=back), **MODEL))
    assert (found.cause, found.services) == ("hung", ("app",))


def test_a_missing_image_does_not_recreate_running_services() -> None:
    gone = [{"service": "app", "image": "shop"}]
    found = diagnosis.diagnose(facts(GATEWAY, instances=parts(app=GONE), images_missing=gone, **MODEL))
    assert (found.cause, found.services) == ("image_missing", ("app",))


def test_a_recovering_database_is_named() -> None:
    found = diagnosis.diagnose(facts(GATEWAY, instances=parts(), recovering=REPLAYS, **MODEL))
    assert (found.cause, found.services) == ("database_recovering", (REPLAYS[0]["service"],))


def test_a_recovering_database_that_the_checks_do_not_need_explains_nothing() -> None:
    other = [{**REPLAYS[0], "service": "archive"}]
    assert diagnosis.diagnose(facts(GATEWAY, instances=parts(), recovering=other, **MODEL)).cause == "erroring"


@pytest.mark.parametrize(
    ("answers", "since", "cause"),
    [
        pytest.param([(503, 120.0)], 100.0, "maintenance", id="its Retry-After is not over"),
        pytest.param([(503, 120.0)], 200.0, "erroring", id="its Retry-After is over"),
        pytest.param([(503, 1e9)], 5000.0, "erroring", id="the wait has a limit"),
        pytest.param([(503, None)], 1.0, "erroring", id="no Retry-After"),
        pytest.param([(503, 120.0), (500, None)], 1.0, "erroring", id="another check fails, too"),
    ],
)
def test_a_retry_after_is_maintenance_for_a_limited_time(
    answers: list[tuple[int, float | None]], since: float, cause: str
) -> None:
    results: list[CheckResult] = [
        {**result(f"check {number}", "status"), "status": status, "retry_after": seconds}
        for number, (status, seconds) in enumerate(answers)
    ]
    assert diagnosis.diagnose(facts(*results, since=since)).cause == cause


def test_which_service_is_suspected_after_each_failed_remedy() -> None:
    tried: set[str] = set()
    order = []
    while True:
        services = diagnosis.diagnose(facts(asked(80), instances=parts(), **MODEL), tried).services
        order.append(services)
        if set(services) <= tried:
            break
        tried.update(services)
    assert order == [("app",), ("web",), ("cache",), ("db",), ("app", "web")]


@pytest.mark.parametrize(
    "changes", [{"health": "unhealthy"}, {"restarts": 2, "started_seconds": 1.0}, {"state": "exited", "exit_code": 1}]
)
def test_a_bad_instance_that_haproxy_keeps_out_is_not_a_fault_of_the_service(changes: dict[str, Any]) -> None:
    both = [container(), container(name="shop-backend-2", **changes)]
    found = diagnosis.diagnose(facts(OK, instances=both, balanced="backend"))
    assert found.healthy


def test_a_failed_job_is_not_a_fault_where_compose_cannot_read_its_files() -> None:
    job = container(name="shop-migrate-1", service="migrate", ports=[], state="exited", exit_code=1)
    assert diagnosis.diagnose(facts(OK, instances=[container(), job], services=[], config_error="bad")).healthy


def test_a_missing_network_explains_why_nothing_starts() -> None:
    refusal = "docker compose up: could not find bridge br-1"
    found = diagnosis.diagnose(facts(asked(80, "refused"), instances=parts(app=EXITED), network_error=refusal, **MODEL))
    assert (found.cause, found.services) == ("network_broken", ())
    gone = {
        **EXITED,
        "error": "failed to create endpoint: adding interface veth1 to bridge br-1 failed: no such device",
    }
    found = diagnosis.diagnose(facts(asked(80, "refused"), instances=parts(app=gone), **MODEL))
    assert (found.cause, found.services) == ("network_broken", ())


def test_a_failed_job_is_not_a_stopped_service() -> None:
    job = container(name="shop-migrate-1", service="migrate", ports=[], state="exited", exit_code=1)
    assert diagnosis.diagnose(facts(OK, instances=[*parts(), job], **MODEL)).healthy


@pytest.mark.parametrize("page", ["runbook.md", "runbook.ko.md"])
def test_the_runbook_has_a_section_for_each_cause(page: str) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / page).read_text(encoding="utf-8")
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == list(diagnosis.MEANING)
