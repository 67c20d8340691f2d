# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal status`: how the app is, which service is ill, and what the watcher does about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..compose import start_order
from ..core.clock import Clock, iso
from ..core.locks import is_locked
from ..docker import containers as docker_containers
from ..docker import engine
from ..docker.containers import Container
from ..env import read as env_file
from ..health import facts as health_facts
from ..health import service_watch
from ..health.diagnosis import MEANING
from ..host import procfs, timers
from ..probe import web
from ..probe.run import CheckResult, ProbeResult
from ..records import incidents, state
from ..records.incidents import BEGUN, IncidentRecord, IncidentSummary
from ..recovery import config as agent_config
from ..recovery import watcher_note
from ..recovery.config import Config, ConfigError
from ..recovery.ladder import TOO_FRESH
from ..recovery.watcher_note import SeenChecks
from ..releases import haproxy
from ..releases import store as release_store
from .outcome import GOOD, SICK, WRONG


class _Paused(TypedDict):
    """A pause: until when (epoch s), why, and for how many seconds more."""

    until: float
    reason: str
    left: int


class _Instances(TypedDict):
    """How many instances HAProxy sends requests to, None when it does not say, and how many there should be."""

    serving: int | None
    of: int


class _WatcherNow(TypedDict):
    """The watcher; its note is `since_seconds` old. `enabled` is what the config says, `timer` what systemd says."""

    alive: bool
    since_seconds: float | None
    pid: int
    enabled: bool
    timer: str


class _Breaker(TypedDict):
    """The circuit breaker: how many attempts it counts, of how many that are allowed within `window` seconds.

    It forgets them after `clean` healthy seconds.
    """

    open: bool
    attempts: int
    of: int
    window: float
    clean: float


class _OpenIncident(TypedDict):
    """The incident that goes on."""

    id: str
    cause: str
    seconds: float
    next_step: str


class _Unhealthy(TypedDict):
    """A service that does not do its work, and why, as the rest of a sentence: "exited with 1"."""

    service: str
    reason: str


class _Care(TypedDict):
    """What the watcher does about an app."""

    watcher: _WatcherNow
    cause: str
    hold: str
    paused: _Paused | None
    breaker: _Breaker
    incident: _OpenIncident | None
    alerts_waiting: int
    problems: list[str]


class _Status(_Care):
    """What `selfheal status --json` prints. A service of `others` is not of the release."""

    app: str
    healthy: bool
    checks: str
    unhealthy: list[_Unhealthy]
    others: list[_Unhealthy]
    instances: _Instances | None
    last_incident: IncidentSummary | None
    backup: state.BackupAges | None
    certificate: state.CertificateMemory | None


class _Seen(NamedTuple):
    """What the engine says: the containers of the release, those of others, and {service: why it is unhealthy}."""

    mine: Sequence[Container] = ()
    others: Sequence[Container] = ()
    troubles: Mapping[str, str] = {}


class _Shown(NamedTuple):
    """The state of an app: the exit code, what `--json` prints, and the text."""

    code: int
    document: object
    text: str


def show(names: Sequence[str], as_json: bool, root: str) -> int:
    """Print the state of an app, or one line for each of several; return the worst exit code."""
    shown = [_state_of(name, root) for name in names]
    documents = [one.document for one in shown]
    if as_json:
        print(json.dumps(documents if len(names) > 1 else documents[0], indent=2))
    elif len(names) > 1:
        print("\n".join([*(one.text.partition("\n")[0] for one in shown), "more: selfheal status --app NAME"]))
    else:
        print(shown[0].text)
    return max(one.code for one in shown)


def _state_of(name: str, root: str) -> _Shown:
    clock = Clock()
    try:
        config, of_config = agent_config.in_force(name, root)
    except ConfigError as problem:
        unusable = {"app": name, "healthy": False, "problems": [str(problem)], "watcher": {"alive": False}}
        return _Shown(WRONG, unusable, f"{name}: {problem}")
    watched = _watched(config, of_config, clock)
    open_one, cared = watched.open_one, watched.care
    seen = _look(config)
    known = {**_of_incident(open_one), **seen.troubles}
    ok, checks, blamed = _checks(config, watched.checks, seen, clock)
    # What the engine says of a service is closer to the reason than that a check failed.
    unhealthy = known or blamed
    newest = incidents.latest(config.app.paths.incidents)
    instances = _instances(config)
    status: _Status = {
        "app": config.app.name,
        "healthy": ok and open_one is None and not unhealthy and not _serves_none(instances),
        "checks": checks,
        "unhealthy": _listed(unhealthy),
        "others": _listed({one.service: one.reason for one in start_order.troubles(seen.others)}),
        "watcher": cared["watcher"],
        "instances": instances,
        "cause": cared["cause"],
        "hold": cared["hold"],
        "paused": cared["paused"],
        "breaker": cared["breaker"],
        "incident": cared["incident"],
        "last_incident": incidents.summary_of(newest) if newest else None,
        "alerts_waiting": cared["alerts_waiting"],
        "backup": state.backups(config.app.paths.backup, clock.now()),
        "certificate": state.read_certificate(config.app.paths.certificate),
        "problems": cared["problems"],
    }
    return _Shown(GOOD if status["healthy"] else SICK, status, _status_text(status))


def care(name: str, root: str, clock: Clock) -> list[str]:
    """What the watcher does about an app, a line each, as `selfheal status` says it; [] for an app without one."""
    if not os.path.lexists(agent_config.path_of(name, root)):
        return []
    try:
        cared = _watched(*agent_config.in_force(name, root), clock).care
    except ConfigError as problem:
        return [f"problem: {problem}"]
    return [
        f"watcher: {_watcher_text(name, cared['watcher'])}",
        *_care_lines(cared),
        *(f"problem: {problem}" for problem in cared["problems"]),
    ]


class _Watched(NamedTuple):
    """What is known of the watcher's work: for people, its newest checks, and the incident that goes on."""

    care: _Care
    checks: SeenChecks | None
    open_one: IncidentRecord | None


def _watched(config: Config, of_config: str, clock: Clock) -> _Watched:
    name = config.app.name
    memory, damaged = state.load(config.app.paths.state, config.app.paths.spare, repair=False)
    orders = state.read_orders(config.app.paths.state)
    facts = watcher_note.status_facts(config, memory, clock)
    note = watcher_note.read_note(config, clock)
    open_one, pause = facts["incident"], facts["paused"]
    hold, step = _hold(config, open_one, note["hold"]), open_one["next_step"] if open_one else ""
    if _under_way(config, open_one):
        # The record's next step is from before.
        step = ""
    elif facts["breaker_open"] and hold.startswith(TOO_FRESH):
        # The record is from before the last attempt that counts.
        hold, step = _OPENED, ""
    timer = timers.read([name]).get(name)
    of_timer = timers.problem(name, timer) if config.enabled and timer else ""
    problems = filter(None, (of_timer, of_config, damaged, orders["problem"]))
    cared: _Care = {
        "watcher": {
            "alive": note["alive"],
            "since_seconds": note["age"],
            "pid": note["pid"],
            "enabled": config.enabled,
            "timer": timer.state if timer else "",
        },
        "cause": open_one["cause"] if open_one else "",
        "hold": hold,
        "paused": {"until": pause["until"], "reason": pause["reason"], "left": pause["left"]} if pause else None,
        "breaker": {
            "open": facts["breaker_open"],
            "attempts": facts["attempts"],
            "of": config.policy.attempts,
            "window": config.policy.window,
            "clean": config.policy.clean,
        },
        "incident": _open_incident(open_one, step, pause is not None) if open_one else None,
        "alerts_waiting": facts["alerts_waiting"],
        "problems": list(dict.fromkeys([*problems, *note["problems"]])),
    }
    return _Watched(cared, note["checks"], open_one)


def _hold(config: Config, record: IncidentRecord | None, noted: str) -> str:
    """Why nothing is done, or what is done about an open incident; "" when there is nothing to do."""
    if record is None or noted.startswith(_WAITING):
        return noted
    under_way = _under_way(config, record)
    if under_way or record["hold"]:
        return under_way or record["hold"]
    return "a remedy is under way" if is_locked(config.app.paths.lock) else "the watcher looks at it again in a moment"


def _under_way(config: Config, record: IncidentRecord | None) -> str:
    """The remedy that is applied just now; "" for none."""
    last = record["remedies"][-1] if record and record["remedies"] else None
    if last is None or last["result"] != BEGUN or not is_locked(config.app.paths.lock):
        return ""
    of = f" of {', '.join(last['services'])}" if last.get("services") else ""
    return f"the remedy {last['name']}{of} is under way"


_OPENED = "the breaker has opened, so the watcher leaves it to a person once it looks again"
# As the watcher says that another run holds the app's lock.
_WAITING = "waiting: "


def _listed(unhealthy: Mapping[str, str]) -> list[_Unhealthy]:
    return [{"service": service, "reason": reason} for service, reason in sorted(unhealthy.items())]


def _open_incident(record: IncidentRecord, step: str, is_paused: bool) -> _OpenIncident:
    # What the watcher would do next, it does not do in a pause.
    left = record["escalated"] or not is_paused
    return {
        "id": record["id"],
        "cause": record["cause"],
        "seconds": record["seconds"],
        "next_step": step if left else "",
    }


def _look(config: Config) -> _Seen:
    """Look at the containers, whether a check asks them or not. Nothing is known while the engine is down."""
    try:
        documents = docker_containers.inspected(config.app.name)
    except engine.EngineError:
        return _Seen()
    instances = [docker_containers.instance(document, time.time()) for document in documents]
    good = release_store.last_good(config.app.paths.directory)
    known = good["services"] if good else {}
    mine = [item for item in instances if not known or item["service"] in known]
    balanced = {config.app.balancer.service} if config.app.balancer else set()
    expected = frozenset(known) - set(map(str, (good or {}).get("jobs") or ())) - balanced
    stopped = [item["service"] for item in mine if item["state"] == "running" and procfs.stopped(item["pid"])]
    found = service_watch.wrong(expected, service_watch.containers(documents), stopped)
    # It says more of one that ended.
    found.update({one.service: one.reason for one in start_order.troubles(mine)})
    return _Seen(mine, [item for item in instances if item not in mine], found)


def _of_incident(record: IncidentRecord | None) -> dict[str, str]:
    """The services that an open incident is about."""
    if record is None:
        return {}
    return dict.fromkeys(record.get("services") or [], f"is in incident {record['id']}: {record['meaning']}")


def _checks(config: Config, noted: SeenChecks | None, seen: _Seen, clock: Clock) -> tuple[bool, str, dict[str, str]]:
    """Whether the checks passed, how they went, and {service: why it is unhealthy}, of what they ask.

    As the watcher saw it. Without one, the app is asked now.
    """
    if noted is None:
        values = env_file.read(config.app.paths, config.app.variables, clock.now())["values"]
        found = health_facts.ask(config.app.checks, values, 0.0, clock, config.app.shown)
        failed = {int(one["port"]): f"fails the check {one['name']}: {one['reason']}" for one in _failed(found)}
        return bool(found["ok"]), str(found["summary"]), _blamed(config, failed, seen)
    went = f"{noted['passed']} of {noted['total']} checks passed" if noted["total"] else "no check asks it"
    summary = f"{went}, as the watcher saw {noted['age']:.0f} s ago"
    if noted["ok"]:
        return True, summary, {}
    places = filter(None, (web.address(check.url) for check in config.app.checks))
    return False, summary, _blamed(config, {place.port: "fails its checks" for place in places}, seen)


def _failed(found: ProbeResult) -> list[CheckResult]:
    return [one for one in found["results"] if not one["ok"] and one.get("port")]


def _blamed(config: Config, failed: Mapping[int, str], seen: _Seen) -> dict[str, str]:
    """The services that publish the ports at which checks failed, {port: why}."""
    blamed: dict[str, str] = {}
    for port, why in failed.items():
        services = [item["service"] for item in seen.mine if port in item["ports"]]
        if config.app.balancer and not services:
            services = [config.app.balancer.service]
        blamed.update({service: why for service in services if service not in blamed})
    return blamed


def _instances(config: Config) -> _Instances | None:
    """How many instances HAProxy sends requests to, and how many there should be; None without a balancer.

    The first is None when HAProxy does not say.
    """
    if config.app.balancer is None:
        return None
    try:
        serving: int | None = haproxy.serving(config.app.paths)
    except haproxy.BalancerError:
        serving = None
    return {"serving": serving, "of": config.app.balancer.instances}


def _serves_none(instances: _Instances | None) -> bool:
    return instances is not None and instances["serving"] == 0


def _instances_text(instances: _Instances) -> str:
    if instances["serving"] is None:
        return f"HAProxy does not say how many of {instances['of']} serve"
    return f"{instances['serving']} of {instances['of']} serve"


def _backup_text(ages: state.BackupAges) -> list[str]:
    def ago(seconds: float | None) -> str:
        return "never" if seconds is None else f"{seconds / 3600:.1f} h ago"

    lines = [f"backup: verified {ago(ages['proved'])}, made {ago(ages['made'])}"]
    lines += [f"backup: verified: {line}" for line in ages["contents"]]
    return lines + [f"backup: {problem}" for problem in ages["problems"]]


def certificate_text(record: state.CertificateMemory | None, now: float) -> list[str]:
    """What is known of the certificate, a line each; [] for an app without a domain."""
    if record is None:
        return []
    if record["names"]:
        days = (record["ends"] - now) / 86400
        ends = iso(record["ends"])[:16].replace("T", " ")
        lines = [f"certificate: {', '.join(record['names'])}, until {ends} UTC ({days:.1f} days)"]
    else:
        lines = [f"certificate: none yet for {', '.join(record['wanted'])}"]
    problem = record["problem"]
    return lines + ([f"certificate: not renewed since {iso(problem['since'])}: {problem['text']}"] if problem else [])


def _watcher_text(name: str, watcher_now: _WatcherNow) -> str:
    if watcher_now["alive"]:
        return "alive"
    if not watcher_now["enabled"]:
        return "off, as watcher_enabled says"
    return f"NOT alive: systemctl status {timers.unit(name)}"


def _breaker_text(breaker: _Breaker) -> str:
    if not breaker["open"]:
        return f"closed ({breaker['attempts']} of {breaker['of']} attempts)"
    return (
        f"OPEN, {breaker['attempts']} attempts in the last {breaker['window'] / 60:.0f} min. "
        f"The watcher begins none from {breaker['of']} on; recoveries that people start count, and go on. "
        f"It closes after {breaker['clean'] / 60:.0f} healthy minutes, or by `selfheal resume`"
    )


def _care_lines(cared: _Care) -> list[str]:
    lines = []
    if cared["paused"]:
        left = cared["paused"]["left"]
        lines.append(f"PAUSED for another {left // 60} min {left % 60} s: {cared['paused']['reason']}")
    if cared["incident"]:
        lines.append(f"incident {cared['incident']['id']}: {cared['hold']}")
        lines += [f"next: {cared['incident']['next_step']}"] if cared["incident"]["next_step"] else []
    elif cared["hold"] and not cared["paused"]:
        is_waiting = cared["hold"].startswith(_WAITING)
        lines.append(cared["hold"] if is_waiting else f"nothing is done just now: {cared['hold']}")
    lines.append(f"breaker: {_breaker_text(cared['breaker'])}")
    return lines


def _status_text(status: _Status) -> str:
    reasons = [f"service {one['service']} {one['reason']}" for one in status["unhealthy"]]
    if status["cause"] and not reasons:
        # Such as an overloaded host: no service is to blame.
        reasons = [MEANING.get(status["cause"], status["cause"])]
    reasons += ["HAProxy sends requests to no instance"] if _serves_none(status["instances"]) else []
    how = "healthy" if status["healthy"] else ": ".join(["NOT healthy", *reasons[:1]])
    lines = [f"{status['app']}: {how} ({status['checks']})", *reasons[1:]]
    lines += [f"not of the release: service {one['service']} {one['reason']}" for one in status["others"]]
    lines.append(f"watcher: {_watcher_text(status['app'], status['watcher'])}")
    if status["instances"]:
        lines.append(f"instances: {_instances_text(status['instances'])}")
    lines += _care_lines(status)
    last = status["last_incident"]
    if last:
        ended = f"healthy after {last['seconds']:.1f} s" if last["healthy"] else "not over"
        lines.append(f"last incident: {last['id']}, {ended}")
    if status["backup"]:
        lines += _backup_text(status["backup"])
    lines += certificate_text(status["certificate"], time.time())
    if status["alerts_waiting"]:
        lines.append(f"alerts not delivered yet: {status['alerts_waiting']}")
    return "\n".join(lines + [f"problem: {problem}" for problem in status["problems"]])
