# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts and probe results → one cause. Pure: no clock, no I/O.

`facts` is what `observe.read` returns: {engine, disk, env, config_error, services, instances, oom, images_missing,
ports, upstream, network, load, probe, passed, at, balancer, one, few}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

HEALTHY = "healthy"
# Below this a container cannot even write its log line or a pid file; dockerd then fails in many different words.
DISK_FULL_BYTES = 16 * 1024 * 1024
# From here on a slow answer is the host's doing: the share of the processors' time, and of the time in which somebody
# waited for them (PSI "some", percent over ten seconds).
BUSY_SHARE, BUSY_PRESSURE = 0.9, 60.0
# Docker's restart policy forgets its back-off for a container that ran for this long (its documentation).
_SHORT_LIFE_SECONDS = 10.0
# As web.py says it.
_NO_CONNECTION = "no connection to"
# An app that has answered nothing for this long is hung, however busy the host is.
SILENT_SECONDS = 30.0

MEANING = {
    "engine_hung": "the Docker engine accepts questions and does not answer them",
    "engine_down": "the Docker engine does not run",
    "disk_full": "a file system has no room left",
    "env_invalid": "the env in force does not pass its rules",
    "config_damaged": "the compose files do not make a project",
    "balancer_down": "the load balancer does not answer, and the instances behind it may be well",
    "port_taken": "another process holds the port that the app publishes",
    "image_missing": "a container of the app does not exist, and neither does its image",
    "container_missing": "a container of the app does not exist",
    "out_of_memory": "the kernel killed the app at its memory limit",
    "crash_loop": "the container exits as soon as it starts, again and again",
    "crashed": "a container of the app is not running",
    "upstream_down": "something that the app depends on does not answer; the app itself is not at fault",
    "network_broken": "the app answers within its container, and the host's way to it is broken",
    "overloaded": "the app answers, too slowly: the host or the app has more to do than it can",
    "not_listening": "the container runs, and nothing answers on its port",
    "hung": "the app accepts requests and does not answer in time",
    "erroring": "the app answers with errors",
    "unknown": "the checks fail and no fact says why",
}
"""The closed list of causes, each with what it means, in the order in which they are told apart."""


class Diagnosis(NamedTuple):
    """One cause (a key of MEANING, or HEALTHY) and the facts that prove it, each a sentence for a person.

    `services` are those that a remedy should touch; () for all. `passed`: it is over already, there is nothing to do.
    """

    cause: str
    evidence: Sequence[str] = ()
    services: tuple[str, ...] = ()
    passed: bool = False

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.cause == HEALTHY


Facts = Mapping[str, Any]
Rule = Callable[[Facts], list[str]]


def _engine(kinds: tuple[str, ...]) -> Rule:
    def found(facts: Facts) -> list[str]:
        engine = facts["engine"]
        told = not engine["answers"] and engine["kind"] in kinds
        return [f"the engine does not answer: {engine['reason']}"] if told else []

    return found


def _disk(facts: Facts) -> list[str]:
    return [
        f"{item['path']}: {item['free_bytes'] >> 20} MiB free, {item['inodes_percent']:.0f} % of its inodes used"
        for item in facts["disk"]
        if item["free_bytes"] < DISK_FULL_BYTES or item["inodes_percent"] >= 100.0
    ]


def _env(facts: Facts) -> list[str]:
    return [f"{item['variable']}: {item['rule']}: {item['reason']}" for item in facts["env"]["findings"]]


def _config(facts: Facts) -> list[str]:
    return [facts["config_error"]] if facts["config_error"] else []


def _balancer(facts: Facts) -> list[str]:
    return [facts["balancer"]] if facts["balancer"] else []


def _port(facts: Facts) -> list[str]:
    return [
        f"port {port['port']} is held by {holder['process']} (pid {holder['pid']})"
        for port in facts["ports"]
        for holder in port["holders"]
    ]


def _absent(facts: Facts) -> list[str]:
    present = {item["service"] for item in facts["instances"]}
    return [name for name in facts["services"] if name not in present]


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
    down = {item["name"] for item in facts["instances"] if item["state"] != "running"}
    silent = _failed_with(facts, ("refused", "reset"))
    return _kills(facts, lambda item: item["container"] in down or silent) or [
        f"{item['name']} was killed at its limit of {item['limits']['memory_bytes'] >> 20} MiB"
        for item in facts["instances"]
        if item["oom_killed"] and item["state"] != "running"
    ]


def _kills(facts: Facts, counts: Callable[[Facts], bool]) -> list[str]:
    return [
        f"{item['container']} was killed at its limit of {item['limit_bytes'] >> 20} MiB, "
        + (f"its peak was {item['peak_bytes'] >> 20} MiB" if item["peak_bytes"] else "its peak is not known")
        for item in facts["oom"]
        if counts(item)
    ]


def _memory_passed(facts: Facts) -> list[str]:
    return _kills(facts, lambda item: item["seconds"] <= facts["passed"])


def _restarted(facts: Facts) -> list[str]:
    """Containers that died since, and that the engine's restart policy has started again."""
    return [
        f"{item['name']} ended at {item['finished']}, and its restart policy has started it again"
        for item in facts["instances"]
        if item["state"] == "running"
        and item["restarts"]
        and item["started_seconds"] is not None
        and item["started_seconds"] <= facts["passed"]
    ]


def _crash_loop(facts: Facts) -> list[str]:
    """Restarted twice or more, and its last life was short: who has worked for a while has crashed, however often."""
    # An app that lives for a second between two restarts is found "running" most of the time.
    # The way to a container that is just being started leads nowhere: connections time out. One that hangs takes them.
    dying = _failed_with(facts, ("refused", "reset")) or any(
        item["reason"].startswith(_NO_CONNECTION) for item in _failed(facts)
    )
    return [
        f"{item['name']} is {item['state']}: restarted {item['restarts']} times, last exit code {item['exit_code']}"
        for item in facts["instances"]
        if (item["state"] == "restarting" or dying) and _loops(item)
    ]


def _loops(item: Facts) -> bool:
    """Whether a container dies young, again: its count of restarts alone goes back to its making."""
    started, finished = item["started_seconds"], item["finished_seconds"]
    over = item["state"] != "running" and finished is not None
    lived = started - (finished if over else 0.0) if started is not None else 0.0
    return bool(item["restarts"] >= 2 and lived < _SHORT_LIFE_SECONDS)


def _crashed(facts: Facts) -> list[str]:
    """A paused container counts: it is not running, and starting it anew is what helps."""
    return [
        f"{item['name']} is {item['state']}, exit code {item['exit_code']}"
        + (f": {item['error']}" if item["error"] else "")
        for item in facts["instances"]
        if item["state"] != "running" and not item["job_done"]
    ]


def _failed(facts: Facts) -> list[Facts]:
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
    # Whoever waits for an upstream looks hung; whoever cannot be reached at all has a trouble of its own.
    own = _failed_with(facts, ("refused", "reset", "unreachable"))
    return [] if own else [f"{item['name']}: {item['reason']}" for item in facts["upstream"]]


def _network(facts: Facts) -> list[str]:
    return list(facts["network"])


def is_busy(load: Facts) -> bool:
    """Whether the host has more to do than its processors can."""
    return bool(load["cpu_busy"] >= BUSY_SHARE or load["cpu_pressure"] >= BUSY_PRESSURE)


def _overloaded(facts: Facts) -> list[str]:
    failed = _failed(facts)
    slow = [item for item in failed if item["kind"] in ("timeout", "latency")]
    if not slow or len(slow) < len(failed):
        return []
    told = [f"`{item['name']}`: {item['reason']}" for item in slow]
    if all(item["kind"] == "latency" for item in slow):
        return told
    load = facts["load"]
    answered = load["answered_seconds"]
    if answered is None or answered > SILENT_SECONDS:
        return []
    # Another instance on the same host answers in time, so it is not the host.
    if not is_busy(load) or load["idle"] or facts["one"]:
        return []
    busy = f"the processors are {load['cpu_busy']:.0%} busy, pressure {load['cpu_pressure']:.0f} %"
    return [*told, f"{busy}; the last good answer was {answered:.0f} s ago"]


def _probed(kinds: tuple[str, ...]) -> Rule:
    def found(facts: Facts) -> list[str]:
        return [f"`{item['name']}`: {item['reason']}" for item in _failed(facts) if item["kind"] in kinds]

    return found


# First match wins: what explains the most comes first. A full disk makes containers exit, an invalid env makes them
# loop; asked the other way round, every night would be called a crash loop.
_RULES: tuple[tuple[str, Rule], ...] = (
    ("engine_hung", _engine(("hung",))),
    ("engine_down", _engine(("", "down", "missing"))),
    ("disk_full", _disk),
    ("env_invalid", _env),
    ("config_damaged", _config),
    ("balancer_down", _balancer),
    ("port_taken", _port),
    ("image_missing", _image),
    ("container_missing", _missing),
    ("out_of_memory", _memory),
    ("crash_loop", _crash_loop),
    ("crashed", _crashed),
    ("upstream_down", _upstream),
    ("network_broken", _network),
    ("overloaded", _overloaded),
    ("not_listening", _probed(("refused", "reset", "unreachable"))),
    ("hung", _probed(("timeout",))),
    ("erroring", _probed(("status", "body", "header", "latency", "tls", "answer"))),
)
# What is wrong although the app answers: it would not survive its next restart.
_NEXT_OUTAGE = ("engine_hung", "engine_down", "disk_full", "env_invalid")
# What may have come and gone between two looks, because the engine's restart policy was faster.
_PASSED: tuple[tuple[str, Rule], ...] = (("out_of_memory", _memory_passed), ("crashed", _restarted))
_DOWN = ("out_of_memory", "crash_loop", "crashed")
_ANSWERS_BADLY = ("network_broken", "not_listening", "hung", "erroring")


def diagnose(facts: Facts) -> Diagnosis:
    """Return exactly one diagnosis for any facts."""
    healthy = facts["probe"]["ok"]
    for cause, rule in _RULES:
        if healthy and cause not in (*_NEXT_OUTAGE, *(("container_missing",) if facts["few"] else ())):
            continue
        evidence = rule(facts)
        if evidence:
            return Diagnosis(cause, evidence, _culprits(cause, facts))
    if healthy and facts["passed"] is not None:
        for cause, rule in _PASSED:
            evidence = rule(facts)
            if evidence:
                return Diagnosis(cause, evidence, passed=True)
    return Diagnosis(HEALTHY if healthy else "unknown", [facts["probe"]["summary"]])


def _culprits(cause: str, facts: Facts) -> tuple[str, ...]:
    """The services that a remedy should touch: a database must not be restarted because the app beside it hangs."""
    if cause in _DOWN:
        killed = {item["container"] for item in facts["oom"]} if cause == "out_of_memory" else set()
        bad = [
            item["service"]
            for item in facts["instances"]
            if item["name"] in killed or (item["state"] != "running" and not item["job_done"]) or _loops(item)
        ]
    elif cause in _ANSWERS_BADLY:
        ports = {item.get("port") for item in _failed(facts)}
        bad = [item["service"] for item in facts["instances"] if ports.intersection(item["ports"])]
    else:
        bad = []
    return tuple(sorted(set(bad)))
