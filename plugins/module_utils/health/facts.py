# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read: everything that a diagnosis needs, and everything that a restart would wipe away. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ..compose import app_model, neighbours, start_order
from ..core.app import App
from ..core.clock import Clock
from ..core.files import NoFile, read_small
from ..core.redact import redact
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker import network as docker_network
from ..docker import project as docker_project
from ..env import read as env_file
from ..env import rules as secret_rules
from ..env import supabase_online
from ..host import firewall, oom_log, procfs
from ..probe import run as probe
from ..probe import web
from ..probe.web import Answer, Fault, Request
from ..releases import haproxy
from . import database_log, evidence
from .diagnosis import behind, diagnose, has_no_disk, is_busy, is_rate_limited, sick
from .disk_log import no_room

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
# What listens on the host for a container: the engine itself where it runs without its proxies (`userland-proxy`).
_PUBLISHES = ("docker-proxy", "dockerd")
# HAProxy may keep out for so long what passes its own check, a moment on a busy host, before a person is notified.
DISAGREES_SECONDS = 60.0


class Seen(NamedTuple):
    """What a watcher has seen already, so that it need not be asked again while users wait.

    `probe`: the result that made it look closer; `load` as in `facts`; `good`: when the probe passed last (epoch s);
    `passed`: how many seconds ago, at most, something began that is over already, None without such a thing;
    `lacks`: for how many seconds HAProxy has kept an instance out, None when that was not watched;
    `services`: whether a service that no check asks may not be as it should, so that the engine has to be asked;
    `before`: the facts of a moment ago, whose compose files are still those: Compose need not read them again.
    """

    probe: Mapping[str, Any] | None = None
    load: Mapping[str, Any] = {}
    good: float | None = None
    passed: float | None = None
    lacks: float | None = None
    services: bool = True
    before: Mapping[str, Any] | None = None


def ask(app: App, values: Mapping[str, str], seconds: float, clock: Clock) -> dict[str, Any]:
    """Run the journey until it passes, for at most `seconds` (0: once)."""
    found: dict[str, Any] = probe.run_checks(app.checks, values, seconds, clock.monotonic, clock.sleep)
    return found


def read(
    app: App, given: Mapping[str, str] | None, confirm: float, clock: Clock, seen: Seen | None = None
) -> dict[str, Any]:
    """Read the facts that `diagnose` needs. Where a watcher saw that all is well, no docker command is run.

    :arg given: the proved values from the vault, None when there are none.
    :arg confirm: for how many seconds a failing probe may be asked again before it counts.
    :arg seen: what a watcher knows already; with its probe result, nothing is asked twice.
    """
    seen = seen or Seen()
    env = env_file.read(app, clock.now())
    known = {**env["values"], **(given or {})}
    facts: dict[str, Any] = {
        "engine": engine_by_its_process(),
        "disk": procfs.disk(places(app)),
        # File systems that the kernel made read-only: [{path, device}].
        "frozen": procfs.frozen(places(app)),
        "env": env,
        "config_error": "",
        "services": [],
        "instances": [],
        "needs": {},
        "stateful": [],
        "proxies": [],
        "environments": [],
        "oom": [],
        "images_missing": [],
        "ports": [],
        "upstream": [],
        "network": [],
        # What the host's firewall does to the app: the engine's rules are gone, or a rule drops its packets.
        "flushed": "",
        "dropped": [],
        # Databases that run, and say that they take no connections yet: [{service, name, line}].
        "recovering": [],
        "no_room": [],
        # For how many seconds the app has been sick.
        "since": 0.0,
        # Upstreams that answer this host, and do not answer the app.
        "unanswered": [],
        # What the engine said of a network when a remedy failed.
        "network_error": "",
        "load": {"cpu_busy": 0.0, "answered_seconds": None, "idle": False, **_pressure(), **seen.load},
        "probe": seen.probe or ask(app, known, 0.0, clock),
        "passed": seen.passed,
        "few": "",
        # What HAProxy says of instances that pass their own check and that it sends nothing to.
        "kept_out": "",
        # When the engine was asked (epoch s): what is so many seconds old was so then.
        "at": clock.now(),
        "balancer": "",
        # The service whose instances are behind HAProxy.
        "balanced": app.balancer.service if app.balancer else "",
        # The one instance that this is about, while others serve; "" when it is about the app.
        "one": "",
    }
    lacking = _lacking(app, facts) if app.balancer else 0
    if facts["probe"]["ok"] and seen.passed is None and not lacking and not seen.services:
        return facts
    if facts["balancer"] and seen.probe and not seen.probe["ok"]:
        # Users wait for HAProxy; what else may be wrong is seen once it answers.
        return facts
    facts["at"] = clock.now()
    alone = _ask_slots(app, env["values"], clock) if app.balancer and (lacking or not facts["probe"]["ok"]) else None
    read_engine(app, facts, facts["at"], seen.before if facts["probe"]["ok"] else None)
    if alone and facts["engine"]["answers"]:
        _publish_balanced(app, facts)
        if facts["probe"]["ok"] or not (has_no_disk(facts) or _waits_for_others(app, facts)):
            _look_at_instances(app, facts, alone, clock, seen.lacks)
        if facts["one"]:
            return facts
    _read_causes(app, facts, known, confirm if seen.probe is None else None, clock)
    if given is not None and not has_no_disk(facts) and _is_at_fault(facts):
        env["findings"] = _differences(app, env["values"], given)
    return facts


def _read_causes(
    app: App, facts: dict[str, Any], known: Mapping[str, str], confirm: float | None, clock: Clock
) -> None:
    """Add to `facts` what may be the cause, the more telling first.

    :arg confirm: for how many seconds a failing probe may be asked again before it counts; None for not at all.
    """
    if not facts["probe"]["ok"] and facts["probe"].get("brief") and not _leads_to_stopped(facts):
        # Little time was given for the sake of a service that is stopped, and the check does not lead there.
        facts["probe"] = ask(app, known, 0.0, clock)
    if facts["engine"]["answers"]:
        facts["no_room"] = _no_room(app, facts)
    if has_no_disk(facts):
        return
    if not facts["probe"]["ok"] and facts["engine"]["answers"]:
        facts["recovering"] = _recovering(app, facts)
    expected = [item for item in facts["instances"] if not facts["services"] or item["service"] in facts["services"]]
    running = bool(expected) and all(item["state"] == "running" for item in expected)
    if not running or facts["env"]["findings"] or facts["probe"]["ok"]:
        return
    # An app that is asked too often is not asked once more.
    if confirm is not None and not is_rate_limited(facts):
        facts["probe"] = ask(app, known, confirm, clock)
    # A process that is stopped answers no request, whatever else is wrong.
    if not facts["probe"]["ok"] and not any(item["stopped"] for item in expected):
        _read_surroundings(app, facts, clock)


def _is_at_fault(facts: Mapping[str, Any]) -> bool:
    """Whether the app itself fails, with an env that passes its rules."""
    return not facts["probe"]["ok"] and not facts["env"]["findings"] and diagnose(facts).cause != "upstream_down"


def _read_surroundings(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """Why an app fails whose containers all run: what it depends on, its network, the firewall, a busy host."""
    _read_upstream(app, facts, clock)
    facts["network"] = docker_network.broken_network(facts["instances"])
    _read_firewall(app, facts)
    if is_busy(facts["load"]):
        _read_slowness(app, facts, clock)


def places(app: App) -> list[str]:
    """Where the app cannot do without room, whatever it mounts."""
    return [app.directory, app.state, engine.data_root()]


def _lacking(app: App, facts: dict[str, Any]) -> int:
    """How many instances HAProxy misses; when it does not answer, `facts["balancer"]` says why."""
    assert app.balancer is not None
    if haproxy.is_stopped(app):
        # Each question to it would wait for its whole time.
        facts["balancer"] = "haproxy's processes are stopped, as by kill -STOP"
        return 0
    try:
        return max(0, app.balancer.instances - haproxy.serving(app))
    except haproxy.BalancerError as error:
        facts["balancer"] = haproxy.start_error() or str(error)
        return 0


def _ask_slots(app: App, values: Mapping[str, str], clock: Clock) -> Callable[[int], Mapping[str, Any]]:
    """Begin to ask every slot at once, through its own port; return what waits for the result of a port."""
    assert app.balancer is not None
    found: dict[int, Mapping[str, Any]] = {}

    def run(port: int) -> None:
        ask_it = haproxy.aside(app.balancer, port) if app.balancer and port else _nobody
        found[port] = probe.run_checks(app.quick, values, 0.0, clock.monotonic, clock.sleep, ask=ask_it)

    # Port 0 stands for a container that publishes none.
    threads = {port: threading.Thread(target=run, args=(port,), daemon=True) for port in (0, *app.balancer.slots)}
    # On a host that has no room for a thread they are asked one after the other, as they are waited for.
    with contextlib.suppress(RuntimeError):
        for thread in threads.values():
            thread.start()

    def wait(port: int) -> Mapping[str, Any]:
        if threads[port].ident is not None:
            threads[port].join()
        if port not in found:
            run(port)
        return found[port]

    return wait


def _publish_balanced(app: App, facts: dict[str, Any]) -> None:
    """Give the instances the balancer's ports: a request that goes there is answered by one of them."""
    assert app.balancer is not None
    for item in facts["instances"]:
        if item["service"] == app.balancer.service:
            item["ports"] = sorted({*item["ports"], *app.balancer.ports})


def _leads_to_stopped(facts: Mapping[str, Any]) -> bool:
    """Whether the failing checks lead to a service that is stopped."""
    reach = behind(facts)
    return any(item["stopped"] for item in facts["instances"] if item["service"] in reach)


def _waits_for_others(app: App, facts: Mapping[str, Any]) -> bool:
    """Whether the instances run, and a service that they need does not: then all of them fail, and it is not theirs.

    A health check that says unhealthy may be one that never passes.
    """
    assert app.balancer is not None
    runs = {item["service"] for item in facts["instances"] if item["state"] == "running" and not item["stopped"]}
    down = set(sick(facts)) - runs
    return bool(down & behind(facts)) and app.balancer.service not in down


def _look_at_instances(
    app: App,
    facts: dict[str, Any],
    alone: Callable[[int], Mapping[str, Any]],
    clock: Clock,
    lacks: float | None,
) -> None:
    """Find out whether one instance is at fault, all, or what stands before them.

    While some serve, the facts become those of the first that does not: it is healed alone, as if it were the app.

    :arg alone: what an instance answered by itself, by the port of its slot.
    """
    assert app.balancer is not None
    mine = [item for item in facts["instances"] if item["service"] == app.balancer.service]
    wanted, failing = app.balancer.instances, []
    for item in mine:
        port = next((one for one in item["ports"] if one in app.balancer.slots), 0)
        asked = alone(port)
        if port and _is_late(asked) and is_busy(facts["load"]) and not item["stopped"]:
            # That another one answers in time is chance, where they wait for a processor.
            asked = _ask_patiently(app, facts, port, clock)
        if not asked["ok"]:
            failing.append((item, asked))
    serving = len(mine) - len(failing)
    if failing and serving:
        item, asked = failing[0]
        facts.update(one=item["id"], instances=[item], services=[item["service"]], probe=asked, ports=[])
        facts["images_missing"] = []
    elif failing and facts["balancer"] == "":
        # HAProxy answers for them with an error of its own; what they say themselves tells more.
        facts["probe"] = failing[0][1]
    elif serving < wanted and serving and facts["services"]:
        told = f"service {app.balancer.service} has {serving} of {wanted} instances"
        facts.update(one=app.balancer.service, few=told)
    elif serving and not facts["balancer"] and _through(app, facts):
        past = _past_the_balancer(app, facts, mine, clock)
        if past["ok"]:
            # One that answers with an error of its own may not have seen yet that they are back.
            answers = any(item["status"] is not None for item in facts["probe"]["results"])
            wait = haproxy.AGREE_SECONDS if answers else 0.0
            facts["probe"] = ask(app, facts["env"]["values"], wait, clock)
            if not facts["probe"]["ok"]:
                facts["balancer"] = "HAProxy answers badly, and every instance passes through its own port"
        else:
            # What fails alike without HAProxy is not its fault.
            facts["probe"] = past
    elif serving and not failing and not facts["balancer"] and (lacks is None or lacks >= DISAGREES_SECONDS):
        wait = haproxy.AGREE_SECONDS if lacks is None else 0.0
        facts["kept_out"] = _kept_out(app, mine, clock, wait)


def _is_late(asked: Mapping[str, Any]) -> bool:
    """Whether nothing is wrong with an answer but that it did not come in time."""
    failed = [item for item in asked["results"] if not item["ok"] and item["kind"] != "skipped"]
    return not asked["ok"] and bool(failed) and all(item["kind"] == "timeout" for item in failed)


def _ask_patiently(app: App, facts: Mapping[str, Any], port: int, clock: Clock) -> Mapping[str, Any]:
    """Ask one instance once more, as long as a busy host may need."""
    assert app.balancer is not None
    patient = [check._replace(timeout=PATIENCE_SECONDS[0]) for check in app.quick]
    ask_it = haproxy.aside(app.balancer, port)
    found: Mapping[str, Any] = probe.run_checks(
        patient, facts["env"]["values"], 0.0, clock.monotonic, clock.sleep, ask=ask_it
    )
    return found


def _kept_out(app: App, instances: Sequence[Mapping[str, Any]], clock: Clock, seconds: float) -> str:
    """What HAProxy sees of instances that it keeps out though they pass; it gets time to find them again itself."""
    ports = {port for item in instances for port in item["ports"]}
    try:
        return haproxy.kept_out(app, ports, clock.monotonic, clock.sleep, seconds)
    except haproxy.BalancerError:
        return ""


def _past_the_balancer(
    app: App, facts: Mapping[str, Any], instances: Sequence[Mapping[str, Any]], clock: Clock
) -> dict[str, Any]:
    """Run all checks at one instance, through its own port."""
    assert app.balancer is not None
    ports = [port for item in instances for port in item["ports"] if port in app.balancer.slots]
    ask_it = haproxy.aside(app.balancer, ports[0]) if ports else _nobody
    values = facts["env"]["values"]
    found: dict[str, Any] = probe.run_checks(app.checks, values, 0.0, clock.monotonic, clock.sleep, ask=ask_it)
    return found


def _through(app: App, facts: Mapping[str, Any]) -> bool:
    """Whether what fails was asked at the balancer."""
    ports = app.balancer.ports if app.balancer else ()
    return any(not item["ok"] and item["port"] in ports for item in facts["probe"]["results"])


def _nobody(_request: Request, _now: Callable[[], float]) -> Answer:
    raise Fault("refused", "the instance does not run, so nothing listens at its port")


def _pressure() -> dict[str, float]:
    found = procfs.pressure()
    return {f"{name}_pressure": found[name] for name in ("cpu", "memory", "io")}


def engine_by_its_process() -> dict[str, Any]:
    """What can be said of the engine without asking it: whether its process lives."""
    process = procfs.engine_process()
    if process["known"] and not process["alive"]:
        return {"answers": False, "kind": "down", "reason": "its process is gone"}
    if process["stopped"]:
        return {"answers": False, "kind": "hung", "reason": "its process is stopped, as by kill -STOP"}
    return {"answers": True, "kind": "", "reason": ""}


def _engine_now() -> dict[str, Any]:
    """Whether the engine answers, as `engine.state` says it. One that systemd is stopping or starting does not hang."""
    by_process = engine_by_its_process()
    # A process that is stopped would be waited for in vain.
    if by_process["kind"] == "hung":
        return {**by_process, "version": ""}
    found = engine.state()
    if found["kind"] == "hung" and (unit := engine.unit_state()) in ("activating", "deactivating"):
        return {**found, "kind": "down", "reason": f"its systemd unit is {unit}"}
    return found


def read_engine(app: App, facts: dict[str, Any], now: float, before: Mapping[str, Any] | None = None) -> None:
    """Add what the engine says of the app to `facts`.

    :arg before: the facts of a moment ago: while nothing is missing, what they say of the compose files will do.
    """
    facts["engine"] = _engine_now()
    if not facts["engine"]["answers"]:
        return
    project = docker_project.Project(app.name, app.directory)
    try:
        documents = project.documents()
    except engine.EngineError as error:
        if facts["probe"]["ok"]:
            # It has just said its version, and users are served: it is asked again next time.
            return
        asked = _engine_now()
        facts["engine"] = (
            {**asked, "answers": False, "kind": error.kind, "reason": str(error)} if asked["answers"] else asked
        )
        return
    facts["instances"] = [_by_its_process(docker_containers.instance(document, now)) for document in documents]
    facts["environments"] = [docker_containers.environment(document) for document in documents]
    limited = [
        oom_log.Limited(one["id"], one["name"], one["limits"]["memory_bytes"], one["finished_seconds"])
        for one in facts["instances"]
    ]
    facts["oom"] = oom_log.oom_kills(oom_log.read(), limited, time.clock_gettime(time.CLOCK_BOOTTIME))
    written = [mount["Source"] for one in documents for mount in one.get("Mounts") or [] if mount.get("RW")]
    written = [*places(app), *procfs.on_disk(written)]
    facts["disk"], facts["frozen"] = procfs.disk(written), procfs.frozen(written)
    there = {item["service"] for item in facts["instances"]}
    if before and before["services"] and not before["one"] and not set(before["services"]) - there:
        facts.update({name: before[name] for name in ("services", "needs", "stateful", "proxies")})
        return
    try:
        model = project.config()
    except engine.EngineError as error:
        if not engine.compose_version():
            reason = "the Docker Compose plugin is missing: install docker-compose (Debian) or docker-compose-plugin"
            facts["engine"] = {**facts["engine"], "answers": False, "kind": "missing", "reason": reason}
            return
        # Compose refuses the whole project for an env_file that is missing or does not parse, and quotes the line; then
        # the env is what is wrong, and the line may be a secret.
        readable = bool(facts["env"]["values"]) or not app.variables
        facts["config_error"] = redact(str(error), evidence.secrets(app, facts, None)) if readable else ""
        return
    facts["services"] = sorted(start_order.expected(model))
    known = app_model.read(model, _configuration(model))
    facts["needs"] = {name: sorted(needed) for name, needed in known.needs.items()}
    facts["stateful"], facts["proxies"] = sorted(known.stateful), sorted(known.proxies)
    running = {"services": {name: model["services"][name] for name in facts["services"]}}
    facts["ports"] = [
        {**port, "holders": holders(port["port"])} for port in docker_network.unheld_ports(running, facts["instances"])
    ]
    if set(facts["services"]) - there:
        facts["images_missing"] = project.images_missing(running)


def _by_its_process(item: dict[str, Any]) -> dict[str, Any]:
    """An instance with what its main process tells: whether it is stopped, and its age, however the clock was set."""
    if item["state"] != "running":
        return {**item, "stopped": False}
    age = procfs.age(item["pid"])
    return {
        **item,
        "stopped": procfs.stopped(item["pid"]),
        "started_seconds": item["started_seconds"] if age is None else age,
    }


def holders(port: int) -> list[dict[str, Any]]:
    """Name who holds a TCP port: [{container}] for what a container publishes, [{pid, process}] for any other."""
    found = procfs.listeners(port)
    if not any(one["process"] in _PUBLISHES for one in found):
        return found
    try:
        container = neighbours.holder(port, docker_containers.inspected(""))
    except engine.EngineError:
        container = ""
    if not container:
        return found
    return [{"container": container}, *[one for one in found if one["process"] not in _PUBLISHES]]


def _configuration(model: Mapping[str, Any]) -> dict[str, str]:
    """{service: what the files and folders say that are mounted into it read-only, as far as they are small texts}."""
    files = {name: str(one.get("file") or "") for name, one in (model.get("configs") or {}).items()}
    found = {}
    for service, spec in (model.get("services") or {}).items():
        paths = [str(m["source"]) for m in spec.get("volumes") or [] if m.get("type") == "bind" and m.get("read_only")]
        paths += [files.get(str(one.get("source")), "") for one in spec.get("configs") or []]
        # A dead network file system would be waited for, and files of /proc are no configuration.
        found[service] = "\n".join(text for path in procfs.on_disk(paths) for text in _texts(path))
    return found


def _texts(path: str) -> list[str]:
    try:
        names = [path] if os.path.isfile(path) else [os.path.join(path, name) for name in os.listdir(path)[:MOST_FILES]]
        contents = [read_small(name) for name in names if name and os.path.isfile(name)]
    except (NoFile, OSError):
        return []
    return [content.decode("utf-8", "replace") for content in contents if content]


# What a busy host may look like. Any other cause is told by facts of its own, whatever patience would find.
_MAY_BE_SLOW = ("overloaded", "hung", "unhealthy")


def _read_slowness(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """On a busy host, find out whether a late answer comes after all, and whether the app works at it."""
    if diagnose(facts).cause not in _MAY_BE_SLOW:
        return
    late = {item["name"] for item in facts["probe"]["results"] if item["kind"] == "timeout"}
    asked = [check for check in app.checks if check.name in late][:1]
    for patience in PATIENCE_SECONDS if asked else ():
        patient = [check._replace(timeout=patience) for check in asked]
        answer = probe.run_checks(patient, facts["env"]["values"], 0.0, clock.monotonic, clock.sleep)
        if any(item["status"] is not None for item in answer["results"]):
            facts["load"]["answered_seconds"] = 0.0
            return
        facts["load"]["idle"] = procfs.idle([item["pid"] for item in facts["instances"]], clock.sleep)
        if facts["load"]["idle"]:
            return


def _read_upstream(app: App, facts: dict[str, Any], clock: Clock) -> None:
    """Ask what the app depends on: its Supabase project, the declared upstreams; else believe what /health says."""
    values = facts["env"]["values"]
    for finding in supabase_online.validate_online(app.variables, values, UPSTREAM_SECONDS):
        if finding["rule"] == "unreachable":
            facts["upstream"].append({"name": finding["variable"], "reason": finding["reason"]})
        else:
            facts["env"]["findings"].append(finding)
    if app.upstreams:
        asked = probe.run_checks(app.upstreams, values, 0.0, clock.monotonic, clock.sleep)
        failed = [item for item in asked["results"] if not item["ok"]]
        facts["upstream"] += [{"name": item["name"], "reason": item["reason"]} for item in failed]
    elif not supabase_online.asks(app.variables, values):
        # Nobody here can ask the dependency itself, so what the app says of it has to do.
        facts["upstream"] += [down for item in facts["probe"]["results"] for down in item.get("down", [])]


def _recovering(app: App, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    project = docker_project.Project(app.name, app.directory)
    found = []
    for item in facts["instances"]:
        if item["service"] in facts["stateful"] and item["state"] == "running" and not item["stopped"]:
            line = database_log.recovering(project.logs(item["id"], evidence.LOG_LINES, 1.0))
            if line:
                found.append({"service": item["service"], "name": item["name"], "line": line})
    return found


def _no_room(app: App, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a service that ended by itself said of a disk without room: a quota, or a disk that is not this host's."""
    project = docker_project.Project(app.name, app.directory)
    found = []
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


def _read_firewall(app: App, facts: dict[str, Any]) -> None:
    """Find out whose packets get no answer, and whether a rule of this host is why."""
    silent = _unanswered(app, facts)
    ports = {item["port"] for item in facts["probe"]["results"] if item["kind"] in _ON_THE_WAY}
    if not silent and not ports:
        return
    rules = firewall.parse(firewall.read())
    if firewall.is_the_engines():
        facts["flushed"] = firewall.flushed(rules)
    asked = [packet for item in facts["instances"] for packet in _packets(item, ports)]
    passing = [firewall.Packet(source, address, port) for _, source, _, address, port in silent]
    facts["dropped"] = [*firewall.local(rules, asked), *firewall.passing(rules, passing)]
    facts["unanswered"] = [
        {"name": upstream, "reason": f"{address}:{port} answers this host, and not {name}: packets are lost on the way"}
        for name, _, upstream, address, port in silent
    ]


def _packets(item: Mapping[str, Any], ports: Collection[int]) -> list[firewall.Packet]:
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


def _unanswered(app: App, facts: Mapping[str, Any]) -> list[tuple[str, str, str, str, int]]:
    """[(container, its address, upstream, its address and port)] of upstreams that a container waits for in vain."""
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
    return sorted((name, source, known[to, port], to, port) for name, source, to, port in waits if (to, port) in known)


def _differences(app: App, values: Mapping[str, str], given: Mapping[str, str]) -> list[dict[str, str]]:
    wanted = secret_rules.texts(app.variables, given)
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


def env_stamp(app: App) -> Sequence[Any]:
    """What changes when somebody writes the env: cheap enough to be asked every second."""
    try:
        found = os.stat(app.env)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
