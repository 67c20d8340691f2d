# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts and probe results → one cause. Pure: no clock, no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Callable, NamedTuple

from ..compose.app_model import AppModel
from ..docker.containers import times
from ..env import read as env_file
from ..host.oom_log import OomKill
from ..host.procfs import Holder
from ..probe.run import CheckResult
from ..releases import haproxy
from .fact_types import Facts, Instance, Load, LogLine, RefusedLogin

HEALTHY = "healthy"
# As the engine says it of a health check, and what its state counts as here while the processors are saturated.
_TIMED_OUT, _LATE = "Health check exceeded timeout", "late"
# Below this a container cannot even write its log line or a pid file; dockerd then fails in many different words.
DISK_FULL_BYTES = 16 * 1024 * 1024
# From here on a slow answer is the host's doing: the share of the processors' time, and of the time in which a task
# waited for them (PSI "some", percent over ten seconds).
BUSY_SHARE, BUSY_PRESSURE = 0.9, 60.0
# Docker's restart policy forgets its back-off for a container that ran for this long (its documentation).
_SHORT_LIFE_SECONDS = 10.0
# As web.py says it.
_NO_CONNECTION = "no connection to"
# An app that has answered nothing for this long is hung, however busy the host is.
SILENT_SECONDS = 30.0
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
# An app that asks for patience gets it, for so long.
LONGEST_PATIENCE_SECONDS = 3600.0
# After a start of what an app needs, its next answers may still be errors for so long: connections are made again.
_AGAIN_SECONDS = 10.0
# What the engine says when a container's network, or the bridge of it, is gone.
LOST_NETWORK = re.compile(
    r"network \S+ not found|could not find bridge|to bridge \S+ failed|set up container networking", re.IGNORECASE
)
# 128 + SIGKILL.
KILLED = 137
# A server's log of a single refusal explains no outage: a person may have mistyped a password.
_REFUSALS = 2

MEANING = {
    "engine_hung": "the Docker engine accepts questions and does not answer them",
    "engine_incomplete": "a part of the Docker engine is not installed",
    "engine_down": "the Docker engine does not run",
    "disk_full": "a file system has no room left",
    "disk_read_only": "the kernel made a file system read-only, as it does after an error of the disk",
    "env_invalid": "the env in force does not pass its rules",
    "config_damaged": "the compose files do not make a project",
    "balancer_down": "the load balancer does not answer, and the instances behind it may be well",
    "balancer_disagrees": "the load balancer sends nothing to instances that pass their own check",
    "port_taken": "another process or container holds the port that the app publishes",
    "database_recovering": "a database reads its own log after a kill, and takes no connections until that is done",
    "replaced_by_hand": "`docker compose`, run by hand, has replaced containers of the release with others",
    "image_missing": "a container of the app does not exist, and neither does its image",
    "container_missing": "a container of the app does not exist",
    "out_of_memory": "the kernel killed the app at its memory limit",
    "credentials_refused": "a database, a cache or a broker refuses the app's login",
    "crash_loop": "the container exits as soon as it starts, again and again",
    "crashed": "a container of the app is not running",
    "rate_limited": "the app refuses the checks themselves, since it is asked too often; it is not at fault",
    "maintenance": "the app asks for patience (503 with Retry-After); it is not at fault",
    "upstream_down": "something that the app depends on does not answer; the app itself is not at fault",
    "network_broken": "the app answers within its container, and the host's way to it is broken",
    "overloaded": "the app answers, too slowly: the host or the app has more to do than it can",
    "not_listening": "the container runs, and nothing answers on its port",
    "hung": "the app accepts requests and does not answer in time",
    "unhealthy": "a service does not pass its own health check",
    "erroring": "the app answers with errors",
    "unknown": "the checks fail and no fact says why",
}
"""The closed list of causes, each with its meaning, in the order in which they are looked for."""


class Diagnosis(NamedTuple):
    """One cause (a key of MEANING, or HEALTHY) and its evidence: facts, each a sentence for a person.

    `services` are those that a remedy should touch; () for all. `passed`: it is over already, there is nothing to do.
    `again`: the services ended, and run again for a few seconds; what fails may be over in a moment.
    `about` is what a person has to know of it: the variables of an invalid env, a user that is refused and its server,
    the folder of a `docker compose`.
    """

    cause: str
    evidence: Sequence[str] = ()
    services: tuple[str, ...] = ()
    passed: bool = False
    about: str = ""
    again: bool = False

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.cause == HEALTHY


Rule = Callable[[Facts], list[str]]


def _engine(kinds: tuple[str, ...]) -> Rule:
    def found(facts: Facts) -> list[str]:
        engine = facts["engine"]
        is_this = not engine["answers"] and engine["kind"] in kinds
        return [f"the engine does not answer: {engine['reason']}"] if is_this else []

    return found


def _disk(facts: Facts) -> list[str]:
    return [
        f"{item['path']}: {item['free_bytes'] >> 20} MiB free, {item['inodes_percent']:.0f} % of its inodes used"
        for item in facts["disk"]
        if item["free_bytes"] < DISK_FULL_BYTES or item["inodes_percent"] >= 100.0
    ] + [f"{item['name']} ended, and its log says: {item['line']}" for item in facts["no_room"]]


def _frozen(facts: Facts) -> list[str]:
    return [f"{item['path']} ({item['device']}) has become read-only" for item in facts["frozen"]]


def has_no_disk(facts: Facts) -> bool:
    """Whether a file system that the app needs takes no more writes: that explains whatever else is wrong."""
    return bool(_disk(facts) or _frozen(facts))


def _env(facts: Facts) -> list[str]:
    return [f"{item['variable']}: {item['rule']}: {item['reason']}" for item in facts["env"]["findings"]]


def _config(facts: Facts) -> list[str]:
    return [facts["config_error"]] if facts["config_error"] else []


def _kept_out(facts: Facts) -> list[str]:
    return [f"HAProxy keeps out what passes: {facts['kept_out']}"] if facts["kept_out"] else []


def _balancer(facts: Facts) -> list[str]:
    return [facts["balancer"]] if facts["balancer"] else []


def _port(facts: Facts) -> list[str]:
    return [
        f"port {port['port']} is held by {held_by(holder)}" for port in facts["ports"] for holder in port["holders"]
    ]


def held_by(holder: Holder) -> str:
    """Name who holds a port: a container, or a process with its pid."""
    return str(holder.get("container") or f"{holder['process']} (pid {holder['pid']})")


def to_free(holder: Holder, app: str) -> str:
    """How to get a port from who holds it, or to do without it."""
    if holder.get("process") == haproxy.UNIT.partition(".")[0]:
        return (
            "If that is the load balancer of this app: compose_app_instances: 1 keeps it, with one instance. "
            f"To do without it, remove {haproxy.CONFIG.format(app=app)} and reload haproxy first; "
            "then deploy. The app cannot be reached until that has ended."
        )
    return f"Stop that {'container' if 'container' in holder else 'process'}, or publish another port."


def app_model(facts: Facts) -> AppModel:
    """The model of the app whose facts these are."""
    needs = {name: frozenset(needed) for name, needed in facts["needs"].items()}
    return AppModel(needs, frozenset(facts["stateful"]), frozenset(facts["proxies"]))


def _absent(facts: Facts) -> list[str]:
    present = {item["service"] for item in facts["instances"]}
    return [name for name in facts["services"] if name not in present]


def sick(facts: Facts) -> dict[str, str]:
    """{service: what is wrong with it}, of those that have to run."""
    found = dict.fromkeys(_absent(facts), "it has no container")
    for item in facts["instances"]:
        if _has_to_run(facts, item):
            reason = _unwell(facts, item)
            if reason:
                found[item["service"]] = reason
    return found


def _has_to_run(facts: Facts, item: Instance) -> bool:
    """Whether a container has to run: a job that failed does not. Without a model, each counts once users notice.

    HAProxy does without an instance that is sick; which one that is, `one` says, and no other may be touched.
    """
    serves = facts["probe"]["ok"]
    if item["job_done"] or (serves and not facts["one"] and item["service"] == facts["balanced"]):
        return False
    return item["service"] in facts["services"] if facts["services"] else not serves


def _unwell(facts: Facts, item: Instance) -> str:
    if item["state"] != "running":
        # For a moment, that is how the engine's restart policy looks. While users are served there is time for it.
        is_brief = facts["probe"]["ok"] and item["state"] == "restarting" and not _loops(item)
        return "" if is_brief else f"it is {item['state']}"
    if _loops(item) and not facts["probe"]["ok"] and not set(item["ports"]) & _asked(facts):
        return "it restarts again and again"
    if item["stopped"]:
        return "its processes are stopped"
    return "it is unhealthy" if item["health"] == "unhealthy" else ""


def _asked(facts: Facts) -> set[int]:
    return {item["port"] for item in facts["probe"]["results"] if item.get("port")}


def _at_the_root(facts: Facts) -> Facts:
    """The facts of those services alone that are at the root of what is wrong: an app crashes without its database."""
    model, found = app_model(facts), set(sick(facts))
    if not facts["probe"]["ok"]:
        # What users see comes first; a service that nothing leads to may be needed all the same.
        found = found & behind(facts) or found
    roots = model.roots(found)
    if not roots or roots == set(sick(facts)):
        return facts
    return _only(facts, roots)


def _recovering(facts: Facts) -> list[str]:
    return [f"{item['name']} takes no connections yet: {item['line']}" for item in _needed_recovering(facts)]


def _needed_recovering(facts: Facts) -> list[LogLine]:
    holders, needed = _holders(facts), behind(facts)
    return [item for item in facts["recovering"] if not holders or item["service"] in needed]


def _replaced(facts: Facts) -> list[str]:
    return list(replaced(facts, _replaced_services(facts)).evidence)


def _replaced_services(facts: Facts) -> Collection[str]:
    """Those that were replaced by hand, of the services at fault and what they need."""
    return app_model(facts).reach(_at_fault(facts)) & set(facts["by_hand"])


def replaced(facts: Facts, services: Collection[str]) -> Diagnosis:
    """The diagnosis of an outage of services that were replaced by hand."""
    found = {name: facts["by_hand"][name] for name in sorted(services)}
    folders = sorted(set(found.values()))
    evidence = [_started_by_hand([name for name in found if found[name] == folder], folder) for folder in folders]
    return Diagnosis("replaced_by_hand", evidence, tuple(found), about=", ".join(folders))


def _started_by_hand(services: Sequence[str], folder: str) -> str:
    were = f"services {', '.join(services)} were" if len(services) > 1 else f"service {services[0]} was"
    return f"{were} started by `docker compose` in {folder}"


def _image(facts: Facts) -> list[str]:
    absent = _absent(facts)
    return [
        f"service {item['service']} has no container, and its image {item['image']} is not on this host"
        for item in facts["images_missing"]
        if item["service"] in absent
    ]


def _missing(facts: Facts) -> list[str]:
    return [f"service {name} has no container" for name in _absent(facts)] or ([facts["few"]] if facts["few"] else [])


def _memory(facts: Facts) -> list[str]:
    """A kill at the limit counts while the container is down, or up again and not answering yet."""
    down = {item["name"] for item in facts["instances"] if item["state"] != "running" and _has_to_run(facts, item)}
    silent = _failed_with(facts, ("refused", "reset"))
    return _kills(facts, lambda item: item["container"] in down or silent) or [
        f"{item['name']} was killed at its limit of {item['limits']['memory_bytes'] >> 20} MiB"
        for item in facts["instances"]
        # The flag stays, after a kill of one of its processes, for whatever it ends of later.
        if item["oom_killed"] and item["exit_code"] == KILLED
        if item["state"] != "running" and _has_to_run(facts, item)
    ]


def _kills(facts: Facts, counts: Callable[[OomKill], bool]) -> list[str]:
    return [
        f"{item['container']} was killed at its limit of {item['limit_bytes'] >> 20} MiB, "
        + (f"its peak was {item['peak_bytes'] >> 20} MiB" if item["peak_bytes"] else "its peak is not known")
        for item in facts["oom"]
        if counts(item)
    ]


def _memory_passed(facts: Facts) -> list[str]:
    passed = facts["passed"]
    return _kills(facts, lambda item: passed is not None and item["seconds"] <= passed)


def _restarted(facts: Facts) -> list[str]:
    """Containers that died since, and that the engine's restart policy has started again."""
    return [
        f"{item['name']} ended at {item['finished']}, and its restart policy has started it again"
        for item in _restarted_since(facts)
    ]


def _restarted_since(facts: Facts) -> list[Instance]:
    restarted = [item for item in facts["instances"] if item["state"] == "running" and item["restarts"]]
    return [item for item in restarted if _is_within(item["started_seconds"], facts["passed"])]


def _started_again(facts: Facts, touched: Collection[str]) -> Diagnosis | None:
    """The diagnosis of an app whose checks fail because what it needs has ended, and runs again for a few seconds.

    What the checks ask themselves, and what a remedy has started, does not count.
    """
    needed = behind(facts) - _holders(facts) - set(touched)
    again = [
        item
        for item in facts["instances"]
        if item["service"] in needed and item["state"] == "running" and not item["stopped"]
        if item["health"] != "unhealthy" and item["finished_seconds"] is not None and _has_to_run(facts, item)
        if _is_within(item["started_seconds"], _AGAIN_SECONDS)
    ]
    if not again or facts["probe"]["ok"]:
        return None
    return Diagnosis(
        "crashed",
        [f"{item['name']} ended at {item['finished']}, and was started again just now" for item in again],
        tuple(sorted({item["service"] for item in again})),
        again=True,
    )


def _is_within(seconds: float | None, limit: float | None) -> bool:
    return seconds is not None and limit is not None and seconds <= limit


def _holders(facts: Facts) -> set[str]:
    """The services that hold the ports of failing checks."""
    ports = {item.get("port") for item in _failed(facts)}
    return {item["service"] for item in facts["instances"] if ports.intersection(item["ports"])}


def behind(facts: Facts) -> frozenset[str]:
    """The services that the failing checks lead to: those that hold their ports, and all that these need."""
    return app_model(facts).reach(_holders(facts))


def _refused_logins(facts: Facts) -> list[RefusedLogin]:
    """The refused logins that explain why the app is sick.

    What a service that is at fault, or that it needs, says of its own login counts at once. What only a server says
    counts where such a service needs it, where it said so several times of late, where no one but the app can reach it
    (a scanner of the internet is refused, too), and where these services have that user in their environment (an
    exporter has one of its own).
    """
    model = app_model(facts)
    mine = model.reach(_at_fault(facts))
    own = [one for one in facts["refused"] if not one["by_server"] and one["service"] in mine]
    needed = {name for one in mine for name in model.needs.get(one, ())}
    return own or [
        one
        for one in facts["refused"]
        if one["by_server"] and one["service"] in needed and one["times"] >= _REFUSALS
        if not one["open"] and mine & set(one["users_of"])
    ]


def _at_fault(facts: Facts) -> Collection[str]:
    """The services that do not run as they should; where all do, those that the failing checks ask."""
    ill = set(sick(facts))
    if ill or facts["probe"]["ok"]:
        return ill
    return _holders(facts) or {item["service"] for item in facts["instances"]}


def _credentials(facts: Facts) -> list[str]:
    return [_refused_line(one) for one in _refused_logins(facts)]


def _refused_line(one: RefusedLogin) -> str:
    if one["by_server"]:
        return f"{one['name']} refused {one['times']} logins of late: {one['line']}"
    return f"the login of {one['name']} was refused: {one['line']}"


def _about(cause: str, facts: Facts) -> str:
    """What a person has to know of a cause to act on it, "" for nothing."""
    if cause == "env_invalid":
        named = [item["variable"] for item in facts["env"]["findings"]]
        # Of a file that is missing or damaged, no variable is known.
        return ", ".join(dict.fromkeys(name for name in named if name != env_file.WHOLE))
    if cause == "replaced_by_hand":
        return replaced(facts, _replaced_services(facts)).about
    if cause == "credentials_refused":
        return ", ".join(dict.fromkeys(map(_login, _refused_logins(facts))))
    return ""


def _login(one: RefusedLogin) -> str:
    """The user and the server of a refused login, as in letters@db (PostgreSQL)."""
    server = f"{one['server']} ({one['kind']})" if one["server"] else one["kind"]
    return f"{one['user']}@{server}" if one["user"] else server


def _crash_loop(facts: Facts) -> list[str]:
    """Restarted twice or more, and its last life was short: one that worked for a while has crashed."""
    # An app that lives for a second between two restarts is found "running" most of the time.
    # The way to a container that is just being started leads nowhere: connections time out. One that hangs takes them.
    dying = _failed_with(facts, ("refused", "reset")) or any(
        item["reason"].startswith(_NO_CONNECTION) for item in _failed(facts)
    )
    return [
        f"{item['name']} {_restarts(item)}{_last_code(item)}"
        for item in facts["instances"]
        if item["state"] == "restarting"
        or dying
        or (not facts["probe"]["ok"] and not set(item["ports"]) & _asked(facts))
        if _loops(item) and _has_to_run(facts, item) and not _is_well(item)
    ]


def _is_well(item: Instance) -> bool:
    """Whether its own health check has passed in this life."""
    return item["state"] == "running" and item["health"] == "healthy"


def _restarts(item: Instance) -> str:
    again = f"restarted {times(item['restarts'])}"
    return f"{again}, running just now" if item["state"] == "running" else f"is {item['state']}: {again}"


def _last_code(item: Instance) -> str:
    """The engine says 0 of a container that runs again, whatever it ended with."""
    return f", last exit code {item['exit_code']}" if item["state"] != "running" or item["exit_code"] else ""


def _loops(item: Instance) -> bool:
    """Whether a container dies young, again: its count of restarts alone goes back to its making."""
    if item["state"] == "exited" and item.get("restart_policy") in ("always", "unless-stopped"):
        # Docker would have started it again, so a person has stopped it.
        return False
    started, finished = item["started_seconds"], item["finished_seconds"]
    if started is None and item["state"] == "running":
        # The clock was set back since: what runs may have done so for long.
        return False
    ended = finished if finished is not None and item["state"] != "running" else 0.0
    lived = started - ended if started is not None else 0.0
    return item["restarts"] >= 2 and lived < _SHORT_LIFE_SECONDS


def _crashed(facts: Facts) -> list[str]:
    """A paused container counts: it is not running, and starting it again helps."""
    return [
        f"{item['name']} is {item['state']}, exit code {item['exit_code']}"
        + (f": {item['error']}" if item["error"] else "")
        for item in facts["instances"]
        if item["state"] != "running" and _has_to_run(facts, item) and _unwell(facts, item)
    ]


def _stopped(facts: Facts) -> list[str]:
    return [
        f"the processes of {item['name']} are stopped, as by kill -STOP"
        for item in facts["instances"]
        if item["state"] == "running" and item["stopped"] and _has_to_run(facts, item)
    ]


def _unhealthy(facts: Facts) -> list[str]:
    """A service that a failing check asks itself is named by what it answers."""
    holders = _holders(facts)
    return [
        f"{item['name']} is unhealthy{_last_words(item)}"
        for item in facts["instances"]
        if item["state"] == "running" and item["health"] == "unhealthy"
        if item["service"] not in holders and _has_to_run(facts, item)
    ]


def _last_words(item: Instance) -> str:
    """The last line of its own health check."""
    lines = [line for entry in item["health_log"] for line in str(entry["output"]).strip().splitlines()]
    return f": {lines[-1]}" if lines else ""


def _rate_limited(facts: Facts) -> list[str]:
    return [f"`{item['name']}`: {item['reason']}" for item in _failed(facts)] if is_rate_limited(facts) else []


def is_rate_limited(facts: Facts) -> bool:
    """Whether checks fail, and each of these because the app was asked too often."""
    failed = _failed(facts)
    return bool(failed) and all(item.get("status") == TOO_MANY_REQUESTS for item in failed)


def _maintenance(facts: Facts) -> list[str]:
    failed = _failed(facts)
    asking = [(item, float(asked)) for item in failed if (asked := _asked_patience(item)) is not None]
    if not asking or len(asking) < len(failed):
        return []
    patience = min(max(asked for _unused, asked in asking), LONGEST_PATIENCE_SECONDS)
    # Until it should have been back, and a check more.
    if facts["since"] > patience + SILENT_SECONDS:
        return []
    return [f"`{item['name']}`: {item['reason']}; it asks for {asked:.0f} s" for item, asked in asking]


def _asked_patience(item: CheckResult) -> float | None:
    """For how many seconds an answer asks for patience; None when it does not."""
    return item.get("retry_after") if item.get("status") == UNAVAILABLE else None


def _failed(facts: Facts) -> list[CheckResult]:
    return [item for item in facts["probe"]["results"] if not item["ok"] and item["kind"] != "skipped"]


def _failed_with(facts: Facts, kinds: tuple[str, ...]) -> bool:
    return any(item["kind"] in kinds for item in _failed(facts))


def _upstream(facts: Facts) -> list[str]:
    failed = _failed(facts)
    if failed and all(item["proves"] == "frontend" for item in failed):
        return [f"`{item['name']}`: {item['reason']}; the app's own checks pass" for item in failed]
    # A name that does not resolve says nothing of the app, and no restart makes it resolve.
    if failed and all(item["kind"] == "dns" for item in failed):
        return [f"`{item['name']}`: {item['reason']}" for item in failed]
    # An app that waits for an upstream looks hung; one that cannot be reached has a problem of its own.
    own = _failed_with(facts, ("refused", "reset", "unreachable"))
    waits = [*facts["upstream"], *facts["unanswered"]]
    return [] if own else [f"{item['name']}: {item['reason']}" for item in waits]


def _network_refused(facts: Facts) -> list[str]:
    errors = [facts["network_error"]] + [
        item["error"]
        for item in facts["instances"]
        if item["state"] != "running" and _has_to_run(facts, item) and LOST_NETWORK.search(item["error"])
    ]
    return [f"the engine cannot connect a container: {error}" for error in errors if error][:1]


def _firewall(facts: Facts) -> list[str]:
    dropped = [f"a rule of this host's firewall drops the app's packets: iptables {rule}" for rule in facts["dropped"]]
    return ([facts["flushed"]] if facts["flushed"] else []) + dropped


def _network(facts: Facts) -> list[str]:
    return list(facts["network"])


def is_busy(load: Load) -> bool:
    """Whether the host has more to do than its processors can."""
    return bool(load["cpu_busy"] >= BUSY_SHARE or load["cpu_pressure"] >= BUSY_PRESSURE)


def _busy(load: Load) -> str:
    return f"the processors are {load['cpu_busy']:.0%} busy, pressure {load['cpu_pressure']:.0f} %"


def _overloaded(facts: Facts) -> list[str]:
    failed = _failed(facts)
    if facts["slow_balancer"]:
        return [facts["slow_balancer"], _busy(facts["load"])]
    slow = [item for item in failed if item["kind"] in ("timeout", "latency")]
    if not slow or len(slow) < len(failed):
        return []
    slow_checks = [f"`{item['name']}`: {item['reason']}" for item in slow]
    if all(item["kind"] == "latency" for item in slow):
        return slow_checks
    load = facts["load"]
    answered = load["answered_seconds"]
    if answered is None or answered > SILENT_SECONDS or _is_younger(facts, answered):
        return []
    # Another instance on the same host answers in time, so it is not the host.
    if not is_busy(load) or load["idle"] or facts["one"]:
        return []
    return [*slow_checks, f"{_busy(load)}; the last good answer was {answered:.0f} s ago"]


def _is_younger(facts: Facts, answered: float) -> bool:
    """Whether all that could answer was started since the last answer (s ago): that came from another container."""
    ages = [item["started_seconds"] for item in facts["instances"] if item["service"] in _holders(facts)]
    return bool(ages) and all(age is not None and age < answered for age in ages)


def _late_health(facts: Facts) -> list[str]:
    """Health checks that only ended too late on a saturated host; where users wait, those of what they wait for."""
    needed = behind(facts) - _holders(facts)
    late = [
        f"the health check of {item['name']} does not end in time{_last_words(item)}"
        for item in facts["instances"]
        if item["health"] == _LATE and _has_to_run(facts, item)
        if facts["probe"]["ok"] or item["service"] in needed
    ]
    return [*late, _busy(facts["load"])] if late else []


def _probed(kinds: tuple[str, ...]) -> Rule:
    def found(facts: Facts) -> list[str]:
        return [f"`{item['name']}`: {item['reason']}" for item in _failed(facts) if item["kind"] in kinds]

    return found


_NOT_LISTENING = ("refused", "reset", "unreachable")
# First match wins: what explains the most comes first. A full disk makes containers exit, an invalid env makes them
# loop; asked the other way round, every night would be called a crash loop.
_RULES: tuple[tuple[str, Rule], ...] = (
    ("engine_hung", _engine(("hung",))),
    ("engine_incomplete", _engine(("missing",))),
    ("engine_down", _engine(("", "down"))),
    ("disk_full", _disk),
    ("disk_read_only", _frozen),
    ("env_invalid", _env),
    ("config_damaged", _config),
    ("balancer_down", _balancer),
    ("balancer_disagrees", _kept_out),
    ("port_taken", _port),
    ("network_broken", _network_refused),
    ("database_recovering", _recovering),
    ("replaced_by_hand", _replaced),
    ("image_missing", _image),
    ("container_missing", _missing),
    ("out_of_memory", _memory),
    ("credentials_refused", _credentials),
    ("crash_loop", _crash_loop),
    ("crashed", _crashed),
    ("hung", _stopped),
    ("rate_limited", _rate_limited),
    ("maintenance", _maintenance),
    ("network_broken", _firewall),
    ("upstream_down", _upstream),
    ("network_broken", _network),
    ("overloaded", _overloaded),
    ("overloaded", _late_health),
    ("unhealthy", _unhealthy),
    ("not_listening", _probed(_NOT_LISTENING)),
    ("hung", _probed(("timeout",))),
    ("erroring", _probed(("status", "body", "header", "latency", "tls", "answer"))),
)
# What is wrong although the app answers: it would not survive its next restart.
_NEXT_OUTAGE = (
    *("engine_hung", "engine_incomplete", "engine_down"),
    *("disk_full", "disk_read_only", "env_invalid", "balancer_disagrees"),
)
# And a service that no check asks.
_UNASKED = (
    *("replaced_by_hand", "image_missing", "container_missing", "out_of_memory"),
    *("credentials_refused", "crash_loop", "crashed", "unhealthy"),
)
# What may have come and gone between two looks, because the engine's restart policy was faster.
_PASSED: tuple[tuple[str, Rule], ...] = (("out_of_memory", _memory_passed), ("crashed", _restarted))
_DOWN = ("out_of_memory", "crash_loop", "crashed")
# How an app looks while what it needs comes back.
_MAY_BE_ANOTHERS = ("upstream_down", "overloaded", "unhealthy", "not_listening", "hung", "erroring", "unknown")
_ANSWERS_BADLY = ("network_broken", "not_listening", "hung", "erroring", "unknown")
_GATEWAY_ERRORS = (502, 503, 504)


def diagnose(
    facts: Facts, tried: Collection[str] = (), touched: Collection[str] = (), disbelieved: Collection[str] = ()
) -> Diagnosis:
    """Return exactly one diagnosis for any facts.

    :arg tried: the services that were restarted already, in vain: where the facts do not say which one is at fault,
        the next ones are what a remedy should touch.
    :arg touched: the services that a remedy was about already. One of them that stays sick, and that nothing which
        fails leads to, is not why users wait.
    :arg disbelieved: the services whose health checks fail whatever is done: they explain no outage.
    """
    healthy = facts["probe"]["ok"]
    facts = _with_late_health(facts)
    if not healthy:
        facts = _without_health(_without_asides(_with_asked_logins(facts), touched), disbelieved)
    again = _started_again(facts, touched)
    facts = _at_the_root(facts)
    for cause, rule in _RULES:
        if healthy and cause not in (*_NEXT_OUTAGE, *_UNASKED) and rule not in (_stopped, _late_health):
            continue
        evidence = rule(facts)
        if evidence and again and cause in _MAY_BE_ANOTHERS and rule is not _stopped:
            return again._replace(evidence=[*again.evidence, *evidence])
        if evidence:
            services = () if rule in (_network_refused, _firewall) else _culprits(cause, facts, rule is _stopped, tried)
            return Diagnosis(cause, evidence, services, about=_about(cause, facts))
    if healthy and facts["passed"] is not None:
        for cause, rule in _PASSED:
            evidence = rule(facts)
            if evidence:
                ended = {item["service"] for item in _restarted_since(facts)} if cause == "crashed" else set()
                return Diagnosis(cause, evidence, tuple(sorted(ended)), passed=True)
    if again:
        return again
    cause = HEALTHY if healthy else "unknown"
    return Diagnosis(cause, [facts["probe"]["summary"]], () if healthy else _culprits(cause, facts, False, tried))


def _with_asked_logins(facts: Facts) -> Facts:
    """The facts with those refused logins alone that may be why the failing checks fail: no remedy rules them out."""
    asked = behind(facts)
    return {**facts, "refused": [one for one in facts["refused"] if not asked or one["service"] in asked]}


def _without_asides(facts: Facts, touched: Collection[str]) -> Facts:
    """The facts without those of these services to which nothing leads that was asked."""
    holders = _holders(facts)
    asides = set(touched) - app_model(facts).reach(holders) if holders else set()
    return _only(facts, {*facts["services"], *(item["service"] for item in facts["instances"])} - asides)


def _only(facts: Facts, services: Collection[str]) -> Facts:
    """The facts of these services alone."""
    instances = [item for item in facts["instances"] if item["service"] in services]
    names = {item["name"] for item in instances}
    return {
        **facts,
        "instances": instances,
        "services": [name for name in facts["services"] if name in services],
        "oom": [item for item in facts["oom"] if item["container"] in names],
    }


def _with_late_health(facts: Facts) -> Facts:
    """The facts without unhealthy containers whose health checks only ended too late, on a saturated host."""
    if not is_busy(facts["load"]):
        return facts
    instances: list[Instance] = [{**item, "health": _LATE} if _only_late(item) else item for item in facts["instances"]]
    return {**facts, "instances": instances}


def _only_late(item: Instance) -> bool:
    if item["health"] != "unhealthy":
        return False
    failed = [str(entry["output"]) for entry in item["health_log"] if entry["exit_code"] != 0]
    return bool(failed) and all(said.startswith(_TIMED_OUT) for said in failed)


def _without_health(facts: Facts, services: Collection[str]) -> Facts:
    """The facts as they are when what the health checks of some services say is left out."""
    instances: list[Instance] = [
        {**item, "health": "none"} if item["service"] in services else item for item in facts["instances"]
    ]
    return {**facts, "instances": instances}


def _culprits(cause: str, facts: Facts, are_stopped: bool, tried: Collection[str]) -> tuple[str, ...]:
    """The services that a remedy should touch: a database must not be restarted because the app that needs it hangs."""
    there = facts["instances"]
    bad: Collection[str] = ()
    if cause in _DOWN:
        killed = {item["container"] for item in facts["oom"]} if cause == "out_of_memory" else set()
        bad = {
            item["service"]
            for item in there
            if item["name"] in killed
            or (_has_to_run(facts, item) and (_unwell(facts, item) or (_loops(item) and not facts["probe"]["ok"])))
        }
    elif cause in ("container_missing", "image_missing"):
        bad = set(_absent(facts))
    elif cause == "replaced_by_hand":
        bad = _replaced_services(facts)
    elif cause == "credentials_refused":
        bad = _refused_services(facts)
    elif cause == "database_recovering":
        bad = {item["service"] for item in _needed_recovering(facts)}
    elif cause == "unhealthy":
        bad = {item["service"] for item in there if item["health"] == "unhealthy" and _has_to_run(facts, item)}
    elif are_stopped:
        bad = {item["service"] for item in there if item["stopped"] and _has_to_run(facts, item)}
    elif cause in _ANSWERS_BADLY:
        bad = _suspects(facts, tried, _sound_servers(facts) if cause == "erroring" else ())
    return tuple(sorted(bad))


def _refused_services(facts: Facts) -> Collection[str]:
    """Those that are refused; where only a server says so, those at fault that need it. No server is touched."""
    found = _refused_logins(facts)
    own = {one["service"] for one in found if not one["by_server"]}
    model, servers = app_model(facts), {one["service"] for one in found}
    need = {name for name in model.reach(_at_fault(facts)) if servers & model.needs.get(name, frozenset())}
    # A job that has ended needs the server as well.
    return own or need & set(facts["services"]) or need


def _sound_servers(facts: Facts) -> set[str]:
    """The services that hold data, run, and pass their own health check: that an app answers with errors is its own."""
    ill = {
        item["service"]
        for item in facts["instances"]
        if item["state"] != "running" or item["health"] not in ("healthy", "starting")
    }
    return set(facts["stateful"]) - ill


def _suspects(facts: Facts, tried: Collection[str], sound: Collection[str]) -> Collection[str]:
    """The services to suspect of a bad answer, once those that were suspected before were restarted in vain.

    What holds the port comes first. A proxy, and what says that another does not answer it, is suspected after what it
    needs, unless it takes no connections itself; what holds data last, and alone.

    :arg sound: what holds data and is not suspected, unless the checks ask it.
    """
    model = app_model(facts)
    there = {item["service"] for item in facts["instances"] if not item["job_done"]}
    # The checks may ask a server in front of the app that is not one of its services.
    holders = _holders(facts) or {item["service"] for item in facts["instances"] if item["ports"]}
    # Or one that shares the host's network, and publishes nothing.
    holders = holders or _entries(model, there)
    answered = {item.get("status") for item in _failed(facts)}
    takes_none = all(item["kind"] in _NOT_LISTENING for item in _failed(facts))
    hands_on = (holders & model.proxies and not takes_none) or answered & set(_GATEWAY_ERRORS)
    direct = {needed for name in holders for needed in model.needs.get(name, ())} - holders
    rest = model.reach(holders) - holders - direct
    first, second = (direct, holders) if hands_on and direct - model.stateful else (holders, direct)
    tiers = [first - model.stateful, second - model.stateful, rest - model.stateful]
    tiers += [{name} for name in sorted((model.reach(holders) & model.stateful) - set(sound))]
    if holders <= model.stateful:
        tiers[:0] = [{name} for name in sorted(holders)]
    for tier in tiers:
        if (tier & there) - set(tried):
            return tier & there
    return holders | (direct - model.stateful) if hands_on else holders


def _entries(model: AppModel, there: Collection[str]) -> set[str]:
    """The services that no other one needs, without those that hold data; where each is needed, or holds data, all."""
    needed = {name for one in there for name in model.needs.get(one, ()) if name != one}
    rest = set(there) - model.stateful
    return rest - needed or rest or set(there)
