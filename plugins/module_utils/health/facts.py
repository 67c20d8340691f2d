# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read: everything that a diagnosis needs, and everything that a restart would wipe away. Changes nothing.

Each stage takes facts, and returns what it found or new facts: what was read is never rewritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Callable, NamedTuple

from ..compose import app_model, known_images, neighbours, start_order
from ..core.app import App, Balancer
from ..core.app_paths import AppPaths
from ..core.check import Check
from ..core.clock import Clock
from ..core.files import NoFile, read_small
from ..core.present import present
from ..core.redact import redact
from ..core.variable import Variable
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import network as docker_network
from ..docker import project as docker_project
from ..docker.containers import Container, Document
from ..docker.containers import label as _label
from ..docker.engine import EngineState
from ..docker.images import MissingImage
from ..docker.model import Model
from ..env import read as env_file
from ..env import rules as secret_rules
from ..env import supabase_online
from ..env.read import EnvState
from ..env.rules import Finding
from ..host import firewall, oom_log, procfs
from ..host.procfs import Holder
from ..probe import run as probe
from ..probe import web
from ..probe.run import Down, ProbeResult
from ..probe.web import Answer, Fault, Request
from ..releases import haproxy
from ..releases import store as release_store
from . import database_log, evidence, login_log
from .diagnosis import BUSY_PRESSURE, behind, diagnose, has_no_disk, is_busy, is_rate_limited, sick
from .diagnosis import app_model as known_model
from .disk_log import no_room
from .fact_types import (
    ContainerFacts,
    Facts,
    FirewallFacts,
    HeldPort,
    Instance,
    Load,
    LogLine,
    ModelFacts,
    RefusedLogin,
    SeenLoad,
)

_LAST_LINES = 30
_LATELY_SECONDS = 600.0
# 128 + SIGKILL, 128 + SIGTERM: what says nothing of why.
_BY_A_SIGNAL = (137, 143)
# Of a folder of configuration files that is mounted, so many are read.
MOST_FILES = 20
# An upstream that takes longer than this is down for an app that promises answers within two seconds.
UPSTREAM_SECONDS = 2.0
# On a busy host an answer may be late; an app that works at nothing and gives none within the first of these times
# hangs. One that works gets the second, too.
PATIENCE_SECONDS = (5.0, 20.0)
# On a busy host, an engine that is at work gets so long to answer.
ENGINE_SECONDS = 60.0
# What listens on the host for a container: the engine itself where it runs without its proxies (`userland-proxy`).
_PUBLISHES = ("docker-proxy", "dockerd")
# HAProxy may keep out for so long what passes its own check, a moment on a busy host, before a person is notified.
DISAGREES_SECONDS = 60.0


_NO_LOAD: SeenLoad = {}


class Seen(NamedTuple):
    """What a watcher has seen already, so that it need not be asked again while users wait.

    `probe`: the result that made it look closer; `good`: when the probe passed last (epoch s);
    `passed`: how many seconds ago, at most, something began that is over already, None without such a thing;
    `lacks`: for how many seconds HAProxy has kept an instance out, None when that was not watched;
    `services`: whether a service that no check asks may not be as it should, so that the engine has to be asked;
    `before`: the facts of a moment ago, whose compose files are still those: Compose need not read them again.
    """

    probe: ProbeResult | None = None
    load: SeenLoad = _NO_LOAD
    good: float | None = None
    passed: float | None = None
    lacks: float | None = None
    services: bool = True
    before: Facts | None = None


def ask(
    checks: Sequence[Check], values: Mapping[str, str], seconds: float, clock: Clock, shown: Collection[str] = ()
) -> ProbeResult:
    """Run the checks until they pass, for at most `seconds` (0: once). `shown` as for `run_checks`."""
    return probe.run_checks(checks, values, seconds, clock.monotonic, clock.sleep, shown=shown)


def _ask_by(
    app: App, checks: Sequence[Check], values: Mapping[str, str], clock: Clock, ask_it: probe.Ask
) -> ProbeResult:
    """Run the checks once, each request by `ask_it`."""
    return probe.run_checks(checks, values, 0.0, clock.monotonic, clock.sleep, ask=ask_it, shown=app.shown)


def read(app: App, given: Mapping[str, str] | None, confirm: float, clock: Clock, seen: Seen | None = None) -> Facts:
    """Read the facts that `diagnose` needs. Where a watcher saw that all is well, no docker command is run.

    :arg given: the validated values from the vault, None when there are none.
    :arg confirm: for how many seconds a failing probe may be asked again before it counts.
    :arg seen: what a watcher knows already; with its probe result, nothing is asked twice.
    """
    seen = seen or Seen()
    env = env_file.read(app.paths, app.variables, clock.now())
    known = {**env["values"], **(given or {})}
    facts = _without_the_engine(app, env, known, seen, clock)
    missing, balancer = 0, app.balancer
    if balancer:
        missing, problem = _missing_instances(app.paths, balancer, facts["load"])
        facts = {**facts, "balancer": problem}
    is_served = facts["probe"]["ok"]
    if is_served and seen.passed is None and not missing and not seen.services:
        return facts
    if facts["balancer"] and seen.probe and not seen.probe["ok"]:
        # Users wait for HAProxy; what else may be wrong is seen once it answers.
        return facts
    at = clock.now()
    alone = _ask_slots(app, env["values"], clock) if balancer and (missing or not is_served) else None
    said = read_engine(app, env, at, is_served, seen.before if is_served else None)
    facts = _with_the_engine({**facts, "at": at}, said)
    if balancer and alone and facts["engine"]["answers"]:
        facts = {**facts, "instances": _publish_balanced(balancer, facts["instances"])}
        if is_served or not (has_no_disk(facts) or _waits_for_others(balancer, facts)):
            facts = _look_at_instances(app, facts, alone, clock, seen.lacks)
        if facts["one"]:
            return facts
    facts = _read_causes(app, facts, known, confirm if seen.probe is None else None, clock)
    if given is not None and not has_no_disk(facts) and _is_at_fault(facts):
        facts = {**facts, "env": {**facts["env"], "findings": _differences(app.variables, env["values"], given)}}
    return facts


def _without_the_engine(app: App, env: EnvState, known: Mapping[str, str], seen: Seen, clock: Clock) -> Facts:
    """The facts that cost no question to the engine. The others are as if nothing was wrong."""
    engine_state = engine_by_its_process()
    disk, frozen = procfs.disk(places(app.paths)), procfs.frozen(places(app.paths))
    pressure = procfs.pressure()
    load: Load = {
        "cpu_busy": 0.0,
        "answered_seconds": None,
        "idle": False,
        "cpu_pressure": pressure["cpu"],
        "memory_pressure": pressure["memory"],
        "io_pressure": pressure["io"],
    }
    return {
        "engine": engine_state,
        "disk": disk,
        "frozen": frozen,
        "env": env,
        "config_error": "",
        "services": [],
        "instances": [],
        "needs": {},
        "stateful": [],
        "proxies": [],
        "environments": [],
        "oom": [],
        "by_hand": {},
        "images_missing": [],
        "ports": [],
        "upstream": [],
        "network": [],
        "flushed": "",
        "dropped": [],
        "recovering": [],
        "refused": [],
        "no_room": [],
        "since": 0.0,
        "unanswered": [],
        "network_error": "",
        "load": {**load, **seen.load},
        "probe": seen.probe or ask(app.checks, known, 0.0, clock, app.shown),
        "passed": seen.passed,
        "few": "",
        "kept_out": "",
        "at": clock.now(),
        "balancer": "",
        "slow_balancer": "",
        "balanced": app.balancer.service if app.balancer else "",
        "one": "",
    }


def _read_causes(app: App, facts: Facts, known: Mapping[str, str], confirm: float | None, clock: Clock) -> Facts:
    """The facts with what may be the cause, the more telling first.

    :arg confirm: for how many seconds a failing probe may be asked again before it counts; None for not at all.
    """
    if not facts["probe"]["ok"] and facts["probe"].get("brief") and not _leads_to_stopped(facts):
        # Little time was given for the sake of a service that is stopped, and the check does not lead there.
        facts = {**facts, "probe": ask(app.checks, known, 0.0, clock, app.shown)}
    if facts["engine"]["answers"]:
        facts = {**facts, "no_room": _no_room(app.paths, facts)}
    if has_no_disk(facts):
        return facts
    if not facts["probe"]["ok"] and facts["engine"]["answers"]:
        facts = {**facts, "recovering": _recovering(app.paths, facts)}
    if facts["engine"]["answers"] and diagnose(facts).cause in _MAY_BE_REFUSED:
        facts = {**facts, "refused": _refused_logins(app.paths, facts)}
    expected = [item for item in facts["instances"] if not facts["services"] or item["service"] in facts["services"]]
    running = bool(expected) and all(item["state"] == "running" for item in expected)
    if not running or facts["env"]["findings"] or facts["probe"]["ok"]:
        return facts
    # An app that is asked too often is not asked once more.
    if confirm is not None and not is_rate_limited(facts):
        facts = {**facts, "probe": ask(app.checks, known, confirm, clock, app.shown)}
    # A process that is stopped answers no request, whatever else is wrong.
    if not facts["probe"]["ok"] and not any(item["stopped"] for item in expected):
        facts = _read_surroundings(app, facts, clock)
    return facts


def _is_at_fault(facts: Facts) -> bool:
    """Whether the app itself fails, with an env that passes its rules."""
    return not facts["probe"]["ok"] and not facts["env"]["findings"] and diagnose(facts).cause != "upstream_down"


def _read_surroundings(app: App, facts: Facts, clock: Clock) -> Facts:
    """Why an app fails whose containers all run: what it depends on, its network, the firewall, a busy host."""
    said = _read_upstream(app, facts, clock)
    env: EnvState = {**facts["env"], "findings": [*facts["env"]["findings"], *said.findings]}
    facts = {**facts, "env": env, "upstream": said.down}
    facts = {**facts, "network": docker_network.broken_network(facts["instances"])}
    facts = {**facts, **_read_firewall(app, facts)}
    if is_busy(facts["load"]):
        facts = {**facts, "load": _read_slowness(app.checks, facts, clock)}
    return facts


def places(paths: AppPaths) -> list[str]:
    """Where the app cannot do without room, whatever it mounts."""
    return [paths.directory, paths.state, engine.data_root()]


def _missing_instances(paths: AppPaths, balancer: Balancer, load: Load) -> tuple[int, str]:
    """How many instances HAProxy misses; and, when it does not answer, why."""
    if haproxy.is_stopped(paths):
        # Each question to it would wait for its whole time.
        return 0, "haproxy's processes are stopped, as by kill -STOP"
    try:
        return max(0, balancer.instances - haproxy.serving(paths)), ""
    except haproxy.BalancerError as error:
        # One that only waits for a processor: what its users get says more.
        is_slow = isinstance(error, haproxy.BalancerLate) and is_busy(load)
        return 0, "" if is_slow else haproxy.start_error() or str(error)


def _ask_slots(app: App, values: Mapping[str, str], clock: Clock) -> Callable[[int], ProbeResult]:
    """Begin to ask every slot at once, through its own port; return what waits for the result of a port."""
    balancer, found = present(app.balancer), dict[int, ProbeResult]()

    def run(port: int) -> None:
        ask_it = haproxy.aside(balancer, port) if port else _refused
        found[port] = _ask_by(app, app.quick, values, clock, ask_it)

    # Port 0 is for a container that publishes none.
    threads = {port: threading.Thread(target=run, args=(port,), daemon=True) for port in (0, *balancer.slots)}
    # On a host that has no room for a thread they are asked one after the other, as they are waited for.
    with contextlib.suppress(RuntimeError):
        for thread in threads.values():
            thread.start()

    def wait(port: int) -> ProbeResult:
        if threads[port].ident is not None:
            threads[port].join()
        if port not in found:
            run(port)
        return found[port]

    return wait


def _publish_balanced(balancer: Balancer, instances: Sequence[Instance]) -> list[Instance]:
    """The instances with the balancer's ports: a request that goes there is answered by one of them."""
    service, ports = balancer.service, balancer.ports
    found: list[Instance] = []
    for item in instances:
        published = sorted({*item["ports"], *ports}) if item["service"] == service else item["ports"]
        found.append({**item, "ports": published})
    return found


def _leads_to_stopped(facts: Facts) -> bool:
    """Whether the failing checks lead to a service that is stopped."""
    reach = behind(facts)
    return any(item["stopped"] for item in facts["instances"] if item["service"] in reach)


def _waits_for_others(balancer: Balancer, facts: Facts) -> bool:
    """Whether the instances run, and a service that they need does not: then all of them fail, and it is not theirs.

    A health check that says unhealthy may be one that never passes.
    """
    runs = {item["service"] for item in facts["instances"] if item["state"] == "running" and not item["stopped"]}
    down = set(sick(facts)) - runs
    return bool(down & behind(facts)) and balancer.service not in down


def _look_at_instances(
    app: App, facts: Facts, alone: Callable[[int], ProbeResult], clock: Clock, lacks: float | None
) -> Facts:
    """Find out whether the fault is with one instance, with all, or with what is in front of them.

    While some serve, the facts become those of the first that does not: it is healed alone, as if it were the app.

    :arg alone: what an instance answered by itself, by the port of its slot.
    """
    balancer = present(app.balancer)
    mine = [item for item in facts["instances"] if item["service"] == balancer.service]
    wanted, failing = balancer.instances, list[tuple[Instance, ProbeResult]]()
    for item in mine:
        asked = _ask_alone(app, facts, item, alone, clock)
        if not asked["ok"]:
            failing.append((item, asked))
    serving = len(mine) - len(failing)
    if failing and serving:
        return _of_one_instance(facts, *failing[0])
    if failing and not facts["balancer"]:
        # HAProxy answers for them with an error of its own; their own answers say more.
        return {**facts, "probe": failing[0][1]}
    if serving < wanted and serving and facts["services"]:
        few = f"service {balancer.service} has {serving} of {wanted} instances"
        return {**facts, "one": balancer.service, "few": few}
    if not serving or facts["balancer"]:
        return facts
    if _through(balancer, facts):
        return _compare_with_the_balancer(app, facts, mine, clock)
    if lacks is None or lacks >= DISAGREES_SECONDS:
        wait = haproxy.AGREE_SECONDS if lacks is None else 0.0
        return {**facts, "kept_out": _kept_out(app.paths, balancer, mine, clock, wait)}
    return facts


def _ask_alone(
    app: App, facts: Facts, item: Instance, alone: Callable[[int], ProbeResult], clock: Clock
) -> ProbeResult:
    """What an instance answers by itself."""
    slots = present(app.balancer).slots
    port = next((one for one in item["ports"] if one in slots), 0)
    asked = alone(port)
    if port and _is_late(asked) and is_busy(facts["load"]) and not item["stopped"]:
        # That another one answers in time is chance, where they wait for a processor.
        return _ask_patiently(app, facts["env"]["values"], port, clock)
    return asked


def _of_one_instance(facts: Facts, item: Instance, asked: ProbeResult) -> Facts:
    """The facts of one instance alone, as if it were the app."""
    return {
        **facts,
        "one": item["id"],
        "instances": [item],
        "services": [item["service"]],
        "probe": asked,
        "ports": [],
        "images_missing": [],
    }


def _compare_with_the_balancer(app: App, facts: Facts, instances: Sequence[Instance], clock: Clock) -> Facts:
    """Checks fail at HAProxy, and the instances pass their own: ask past it, then say whose fault it is."""
    values = facts["env"]["values"]
    past = _past_the_balancer(app, values, instances, clock)
    if not past["ok"]:
        # What fails alike without HAProxy is not its fault.
        return {**facts, "probe": past}
    # One that answers with an error of its own may not have seen yet that they are back.
    answers = any(item["status"] is not None for item in facts["probe"]["results"])
    again = ask(app.checks, values, haproxy.AGREE_SECONDS if answers else 0.0, clock, app.shown)
    if again["ok"]:
        return {**facts, "probe": again}
    problem = "HAProxy answers badly, and every instance passes through its own port"
    refuses = any(item.get("kind") in ("refused", "reset", "unreachable") for item in again["results"])
    if is_busy(facts["load"]) and not refuses:
        # It runs, and its own checks of the instances wait for a processor, too: a restart would gain nothing.
        return {**facts, "probe": again, "slow_balancer": problem}
    return {**facts, "probe": again, "balancer": problem}


def _is_late(asked: ProbeResult) -> bool:
    """Whether nothing is wrong with an answer but that it did not come in time."""
    failed = [item for item in asked["results"] if not item["ok"] and item["kind"] != "skipped"]
    return not asked["ok"] and bool(failed) and all(item["kind"] == "timeout" for item in failed)


def _ask_patiently(app: App, values: Mapping[str, str], port: int, clock: Clock) -> ProbeResult:
    """Ask one instance once more, as long as a busy host may need."""
    patient = [check._replace(timeout=PATIENCE_SECONDS[0]) for check in app.quick]
    ask_it = haproxy.aside(present(app.balancer), port)
    return _ask_by(app, patient, values, clock, ask_it)


def _kept_out(paths: AppPaths, balancer: Balancer, instances: Sequence[Instance], clock: Clock, seconds: float) -> str:
    """What HAProxy sees of instances that it keeps out though they pass; it gets time to find them again itself."""
    ports = {port for item in instances for port in item["ports"]}
    try:
        return haproxy.kept_out(paths, balancer, ports, clock, seconds)
    except haproxy.BalancerError:
        return ""


def _past_the_balancer(app: App, values: Mapping[str, str], instances: Sequence[Instance], clock: Clock) -> ProbeResult:
    """Run all checks at one instance, through its own port."""
    balancer = present(app.balancer)
    ports = [port for item in instances for port in item["ports"] if port in balancer.slots]
    ask_it = haproxy.aside(balancer, ports[0]) if ports else _refused
    return _ask_by(app, app.checks, values, clock, ask_it)


def _through(balancer: Balancer, facts: Facts) -> bool:
    """Whether what fails was asked at the balancer."""
    return any(not item["ok"] and item["port"] in balancer.ports for item in facts["probe"]["results"])


def _refused(_request: Request, _now: Callable[[], float]) -> Answer:
    raise Fault("refused", "the instance does not run, so nothing listens at its port")


def engine_by_its_process() -> EngineState:
    """What can be said of the engine without asking it: whether its process lives."""
    process = procfs.engine_process()
    if process["known"] and not process["alive"]:
        return {"answers": False, "kind": "down", "reason": "its process is gone", "version": ""}
    if process["stopped"]:
        reason = "its process is stopped, as by kill -STOP"
        return {"answers": False, "kind": "hung", "reason": reason, "version": ""}
    return {"answers": True, "kind": "", "reason": "", "version": ""}


def _engine_now() -> EngineState:
    """Whether the engine answers, as `engine.state` says it. One that systemd is stopping or starting does not hang."""
    by_process = engine_by_its_process()
    # A process that is stopped would be waited for in vain.
    if by_process["kind"] == "hung":
        return by_process
    found = engine.state()
    if found["kind"] == "hung" and procfs.pressure()["cpu"] >= BUSY_PRESSURE and not _engine_is_idle():
        # It waits for a processor, as all others do. To kill it would end what it is at, such as a deploy.
        found = engine.state(ENGINE_SECONDS)
    if found["kind"] == "hung" and (unit := engine.unit_state()) in ("activating", "deactivating"):
        return {**found, "kind": "down", "reason": f"its systemd unit is {unit}"}
    return found


def _engine_is_idle() -> bool:
    pid = procfs.engine_process()["pid"]
    return not pid or procfs.idle([pid])


class EngineSays(NamedTuple):
    """What the engine says of an app. None, or empty, is what could not be read."""

    engine: EngineState
    containers: ContainerFacts | None = None
    model: ModelFacts | None = None
    config_error: str = ""
    ports: Sequence[HeldPort] = ()
    images_missing: Sequence[MissingImage] = ()


def _with_the_engine(facts: Facts, said: EngineSays) -> Facts:
    """The facts with what the engine says. What it does not say stays as it is."""
    facts = {
        **facts,
        "engine": said.engine,
        "config_error": said.config_error,
        "ports": list(said.ports),
        "images_missing": list(said.images_missing),
    }
    if said.containers is not None:
        facts = {**facts, **said.containers}
    if said.model is not None:
        facts = {**facts, **said.model}
    return facts


def read_engine(
    app: App, env: EnvState, now: float, is_served: bool = False, before: Facts | None = None
) -> EngineSays:
    """Ask the engine about the app.

    :arg is_served: whether the checks pass.
    :arg before: the facts of a moment ago: while nothing is missing, what they say of the compose files will do.
    """
    state = _engine_now()
    if not state["answers"]:
        return EngineSays(state)
    project = docker_project.Project(app.name, app.paths.directory)
    try:
        documents = project.documents()
    except engine.EngineError as error:
        # It has just said its version. While users are served, it is asked again next time.
        return EngineSays(state if is_served else _engine_after(error))
    containers = _read_containers(app.paths, documents, now)
    there = {item["service"] for item in containers["instances"]}
    if before and before["services"] and not before["one"] and not set(before["services"]) - there:
        return EngineSays(state, containers, _model_of(before))
    try:
        model = project.config()
    except engine.EngineError as error:
        if not engine.compose_version():
            reason = "the Docker Compose plugin is missing: install docker-compose (Debian) or docker-compose-plugin"
            return EngineSays({**state, "answers": False, "kind": "missing", "reason": reason}, containers)
        # Compose refuses the whole project for an env_file that is missing or does not parse, and quotes the line; then
        # the env is what is wrong, and the line may be a secret.
        readable = bool(env["values"]) or not app.variables
        environments = evidence.of_containers_by_number(containers["environments"])
        hidden = evidence.known_secrets(app.variables, env, environments, None)
        return EngineSays(state, containers, config_error=redact(str(error), hidden) if readable else "")
    known = _read_model(model)
    running = {"services": {name: model["services"][name] for name in known["services"]}}
    unheld = docker_network.unheld_ports(running, containers["instances"])
    ports: list[HeldPort] = [{**port, "holders": holders(port["port"], (app.name, port["service"]))} for port in unheld]
    images_missing = project.images_missing(running) if set(known["services"]) - there else []
    return EngineSays(state, containers, known, ports=ports, images_missing=images_missing)


def _engine_after(error: engine.EngineError) -> EngineState:
    """How the engine is after it answered, and then failed to."""
    asked = _engine_now()
    if not asked["answers"]:
        return asked
    return {**asked, "answers": False, "kind": error.kind, "reason": str(error)}


def _read_containers(paths: AppPaths, documents: Sequence[Document], now: float) -> ContainerFacts:
    """What the containers are, and the file systems that they write to."""
    instances = [_by_its_process(docker_containers.instance(document, now)) for document in documents]
    environments = [docker_containers.environment(document) for document in documents]
    limited = [
        oom_log.Limited(one["id"], one["name"], one["limits"]["memory_bytes"], one["finished_seconds"])
        for one in instances
    ]
    oom = oom_log.oom_kills(oom_log.read(), limited, time.clock_gettime(time.CLOCK_BOOTTIME))
    mounted = [mount["Source"] for one in documents for mount in one.get("Mounts") or [] if mount.get("RW")]
    written = [*places(paths), *procfs.on_disk(mounted)]
    return {
        "instances": instances,
        "environments": environments,
        "oom": oom,
        "by_hand": _by_hand(paths, documents),
        "disk": procfs.disk(written),
        "frozen": procfs.frozen(written),
    }


def _by_hand(paths: AppPaths, documents: Sequence[Document]) -> dict[str, str]:
    """Who was started without the overlay, and where. Before the first release, that is how an app runs."""
    if release_store.last_good(paths.directory) is None:
        return {}
    folders = {_label(one, "service"): docker_containers.started_by_hand(one) for one in documents}
    return {service: folder for service, folder in folders.items() if folder}


def _read_model(model: Model) -> ModelFacts:
    """What the merged compose files say of the app."""
    known = app_model.read(model, _configuration(model))
    return {
        "services": sorted(start_order.expected(model)),
        "needs": {name: sorted(needed) for name, needed in known.needs.items()},
        "stateful": sorted(known.stateful),
        "proxies": sorted(known.proxies),
    }


def _model_of(facts: Facts) -> ModelFacts:
    return {
        "services": facts["services"],
        "needs": facts["needs"],
        "stateful": facts["stateful"],
        "proxies": facts["proxies"],
    }


def _by_its_process(item: Container) -> Instance:
    """An instance with what its main process shows: whether it is stopped, and its age, however the clock was set."""
    if item["state"] != "running":
        return {**item, "stopped": False}
    age = procfs.age(item["pid"])
    return {
        **item,
        "stopped": procfs.stopped(item["pid"]),
        "started_seconds": item["started_seconds"] if age is None else age,
    }


def holders(port: int, own: tuple[str, str] = ("", "")) -> list[Holder]:
    """Name who holds a TCP port: the container that publishes it, else the processes that listen on it.

    :arg own: an app and its service that publishes the port: a container of it, created just now, holds it rightly.
    """
    found = procfs.listeners(port)
    if not any(one["process"] in _PUBLISHES for one in found):
        return found
    try:
        documents = docker_containers.inspected("")
    except engine.EngineError:
        return found
    container = neighbours.holder(port, documents)
    if not container:
        return found
    mine = [one for one in documents if (_label(one, "project"), _label(one, "service")) == own]
    if neighbours.holder(port, mine):
        return [one for one in found if one["process"] not in _PUBLISHES]
    return [{"container": container}, *[one for one in found if one["process"] not in _PUBLISHES]]


def _configuration(model: Model) -> dict[str, str]:
    """{service: what the files and folders say that are mounted into it read-only, as far as they are small texts}."""
    files = {name: str(one.get("file") or "") for name, one in (model.get("configs") or {}).items()}
    found = {}
    for service, spec in (model.get("services") or {}).items():
        paths = [str(m["source"]) for m in spec.get("volumes") or [] if m.get("type") == "bind" and m.get("read_only")]
        paths += [files.get(str(one.get("source")), "") for one in spec.get("configs") or []]
        # A dead network file system would be waited for, and files of /proc are not configuration.
        found[service] = "\n".join(text for path in procfs.on_disk(paths) for text in _texts(path))
    return found


def _texts(path: str) -> list[str]:
    try:
        names = [path] if os.path.isfile(path) else [os.path.join(path, name) for name in os.listdir(path)[:MOST_FILES]]
        contents = [read_small(name) for name in names if name and os.path.isfile(name)]
    except (NoFile, OSError):
        return []
    return [content.decode("utf-8", "replace") for content in contents if content]


# What a busy host may look like. Any other cause has facts of its own, whatever patience would find.
_MAY_BE_SLOW = ("overloaded", "hung", "unhealthy")


def _read_slowness(checks: Sequence[Check], facts: Facts, clock: Clock) -> Load:
    """On a busy host, find out whether a late answer comes after all, and whether the app works at it."""
    load = facts["load"]
    if diagnose(facts).cause not in _MAY_BE_SLOW:
        return load
    late = {item["name"] for item in facts["probe"]["results"] if item["kind"] == "timeout"}
    asked = [check for check in checks if check.name in late][:1]
    for patience in PATIENCE_SECONDS if asked else ():
        patient = [check._replace(timeout=patience) for check in asked]
        answer = ask(patient, facts["env"]["values"], 0.0, clock)
        if any(item["status"] is not None for item in answer["results"]):
            return {**load, "answered_seconds": 0.0}
        load = {**load, "idle": procfs.idle([item["pid"] for item in facts["instances"]], clock.sleep)}
        if load["idle"]:
            return load
    return load


class UpstreamSays(NamedTuple):
    """The dependencies that do not answer, and what is wrong with the env by what they answer."""

    down: list[Down]
    findings: list[Finding]


def _read_upstream(app: App, facts: Facts, clock: Clock) -> UpstreamSays:
    """Ask what the app depends on: its Supabase project, the declared upstreams; else believe what /health says."""
    values = facts["env"]["values"]
    down: list[Down] = []
    findings: list[Finding] = []
    for finding in supabase_online.validate_online(app.variables, values, UPSTREAM_SECONDS):
        if finding["rule"] == "unreachable":
            down.append({"name": finding["variable"], "reason": finding["reason"]})
        else:
            findings.append(finding)
    if app.upstreams:
        asked = ask(app.upstreams, values, 0.0, clock, app.shown)
        failed = [item for item in asked["results"] if not item["ok"]]
        down += [{"name": item["name"], "reason": item["reason"]} for item in failed]
    elif not supabase_online.asks(app.variables, values):
        # The dependency itself cannot be asked from here, so what the app says of it has to do.
        down += [one for item in facts["probe"]["results"] for one in item.get("down", [])]
    return UpstreamSays(down, findings)


def _recovering(paths: AppPaths, facts: Facts) -> list[LogLine]:
    """The databases that run, and say that they take no connections yet."""
    project = docker_project.Project(paths.name, paths.directory)
    found: list[LogLine] = []
    for item in facts["instances"]:
        if item["service"] in facts["stateful"] and item["state"] == "running" and not item["stopped"]:
            line = database_log.recovering(project.logs(item["id"], evidence.LOG_LINES, 1.0))
            if line:
                found.append({"service": item["service"], "name": item["name"], "line": line})
    return found


# How an app looks whose login is refused. Any other cause explains it without its log.
_MAY_BE_REFUSED = (
    *("crash_loop", "crashed", "upstream_down", "overloaded", "unhealthy"),
    *("not_listening", "hung", "erroring", "unknown"),
)


def _refused_logins(paths: AppPaths, facts: Facts) -> list[RefusedLogin]:
    """The logins that were refused of late, as the services that may be at fault say it, or else their servers."""
    project = docker_project.Project(paths.name, paths.directory)
    mine = known_model(facts).reach(set(sick(facts)) or behind(facts) or set(facts["services"]))
    there = [item for item in facts["instances"] if item["service"] in mine and not item["stopped"]]
    kinds = {item["service"]: login_log.kind_of(known_images.repository(item["image"])) for item in there}
    servers = [item for item in there if item["service"] in facts["stateful"] and kinds[item["service"]]]
    found: list[RefusedLogin] = []
    for item in there:
        if item in servers or (item["state"] != "running" and item["exit_code"] in (0, *_BY_A_SIGNAL)):
            continue
        log = project.logs(item["id"], evidence.LOG_LINES, 1.0)
        refusal = login_log.as_client(log, facts["at"], _since_its_end(item))
        if refusal:
            needed = known_model(facts).reach([item["service"]])
            of_kind = [name for name in sorted(needed) if kinds.get(name) == refusal.kind]
            found.append(_refused_login(item, refusal, of_kind[0] if len(of_kind) == 1 else "", facts))
    for item in servers if not found else ():
        log = project.logs(item["id"], evidence.LOG_LINES, 1.0)
        refusal = login_log.as_server(log, facts["at"], kinds[item["service"]])
        if refusal:
            found.append({**_refused_login(item, refusal, item["service"], facts), "by_server": True})
    return found


def _since_its_end(item: Instance) -> float:
    """Seconds since a container that does not run, or not for long, has ended last; 0.0 for another one."""
    age = item["started_seconds"]
    is_young = item["state"] != "running" or age is None or age < login_log.LATELY_SECONDS
    return (item["finished_seconds"] or 0.0) if is_young else 0.0


def _refused_login(item: Instance, refusal: login_log.Refusal, server: str, facts: Facts) -> RefusedLogin:
    named = re.compile(rf"(?<![\w.-]){re.escape(refusal.user)}(?![\w.-])") if refusal.user else None
    environments = zip(facts["instances"], facts["environments"])
    return {
        "service": item["service"],
        "name": item["name"],
        "line": refusal.line,
        "kind": refusal.kind,
        "user": refusal.user,
        "server": server,
        "times": refusal.times,
        "by_server": False,
        "open": item["network_mode"] == "host"
        or any(not target["host_ip"].startswith("127.") for target in item["targets"]),
        "users_of": sorted(
            {one["service"] for one, values in environments if named and any(map(named.search, values.values()))}
        ),
    }


def _no_room(paths: AppPaths, facts: Facts) -> list[LogLine]:
    """What a service that ended by itself said of a disk without room: a quota, or a disk that is not this host's."""
    project = docker_project.Project(paths.name, paths.directory)
    found: list[LogLine] = []
    for item in facts["instances"]:
        ended = item["finished_seconds"]
        has_to_run = not facts["services"] or item["service"] in facts["services"]
        if not has_to_run or ended is None or ended > _LATELY_SECONDS:
            # A job that failed days ago says nothing of the disk of today.
            continue
        if item["state"] in ("exited", "restarting", "dead") and item["exit_code"] not in (0, *_BY_A_SIGNAL):
            line = no_room(project.logs(item["id"], _LAST_LINES, 1.0), item["finished"])
            if line:
                found.append({"service": item["service"], "name": item["name"], "line": line})
    return found


def _read_firewall(app: App, facts: Facts) -> FirewallFacts:
    """Find out whose packets get no answer, and whether a rule of this host is why."""
    silent = _unanswered(app, facts)
    ports = {item["port"] for item in facts["probe"]["results"] if item["kind"] in _ON_THE_WAY}
    if not silent and not ports:
        return {"flushed": "", "dropped": [], "unanswered": []}
    rules = firewall.parse(firewall.read())
    flushed = firewall.flushed(rules) if firewall.is_the_engines() else ""
    asked = [packet for item in facts["instances"] for packet in _packets(item, ports)]
    passing = [firewall.Packet(one.source, one.address, one.port) for one in silent]
    dropped = [*firewall.local(rules, asked), *firewall.passing(rules, passing)]
    return {"flushed": flushed, "dropped": dropped, "unanswered": [one.as_down() for one in silent]}


def _packets(item: Instance, ports: Collection[int]) -> list[firewall.Packet]:
    """What a check sends to a container: to its published port, which the engine may rewrite on the way."""
    own = next(filter(None, item["networks"].values()), "")
    found = []
    for target in item["targets"]:
        if target["host_port"] in ports:
            host_ip = "127.0.0.1" if target["host_ip"] in ("", "0.0.0.0", "::") else target["host_ip"]
            found.append(firewall.Packet(host_ip, host_ip, target["host_port"], "lo"))
            found.append(firewall.Packet("", own, target["container_port"]))
    return found


# How a check fails whose packets, or the app's, do not arrive.
_ON_THE_WAY = ("timeout", "unreachable", "refused")


class _Unanswered(NamedTuple):
    """A container that waits for an upstream in vain; `source` is its own address."""

    container: str
    source: str
    upstream: str
    address: str
    port: int

    def as_down(self) -> Down:
        where = f"{self.address}:{self.port}"
        reason = f"{where} answers this host, and not {self.container}: packets are lost on the way"
        return {"name": self.upstream, "reason": reason}


def _unanswered(app: App, facts: Facts) -> list[_Unanswered]:
    """The upstreams that a container waits for in vain."""
    waits = {
        (item["name"], next(filter(None, item["networks"].values()), ""), *other)
        for item in facts["instances"]
        if item["state"] == "running" and not item["stopped"]
        for other in procfs.unanswered(item["pid"])
    }
    if not waits or facts["upstream"]:
        return []
    project = supabase_online.project(app.variables, facts["env"]["values"])
    urls = [*([project] if project else []), *((one.name, one.url) for one in app.upstreams)]
    known = {address: name for name, url in urls for address in web.addresses(url)}
    return sorted(
        _Unanswered(name, source, known[to, port], to, port) for name, source, to, port in waits if (to, port) in known
    )


def _differences(variables: Sequence[Variable], values: Mapping[str, str], given: Mapping[str, str]) -> list[Finding]:
    """The variables whose value in the env is not that of the vault."""
    wanted = secret_rules.texts(variables, given)
    return [
        {
            "variable": name,
            "rule": "differs",
            "reason": "the env in force and the vault differ",
            "fix": "write the vault's",
        }
        for name, value in wanted.items()
        if values.get(name) != value
    ]


def env_stamp(paths: AppPaths) -> tuple[int, ...]:
    """What changes when the env is written: cheap enough to be asked every second."""
    try:
        found = os.stat(paths.env)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
