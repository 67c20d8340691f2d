# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts and probe results → one cause. Pure: no clock, no I/O.

`facts` is what `recovery.read` returns: {engine, disk, env, config_error, services, instances, ports, upstream, probe}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

HEALTHY = "healthy"
# Below this a container cannot even write its log line or a pid file; dockerd then fails in many different words.
DISK_FULL_BYTES = 16 * 1024 * 1024

MEANING = {
    "engine_down": "the Docker engine does not answer",
    "disk_full": "a file system has no room left",
    "env_invalid": "the env in force does not pass its rules",
    "config_damaged": "the compose files do not make a project",
    "port_taken": "another process holds the port that the app publishes",
    "container_missing": "a container of the app does not exist",
    "out_of_memory": "the kernel killed the app at its memory limit",
    "crash_loop": "the container exits as soon as it starts, again and again",
    "stopped": "a container of the app is not running",
    "upstream_down": "something that the app depends on does not answer; the app itself is not at fault",
    "not_listening": "the container runs, and nothing answers on its port",
    "hung": "the app accepts requests and does not answer in time",
    "erroring": "the app answers with errors",
    "unknown": "the checks fail and no fact says why",
}
"""The closed list of causes, each with what it means, in the order in which they are told apart."""


@dataclass(frozen=True)
class Diagnosis:
    """One cause (a key of MEANING, or HEALTHY) and the facts that prove it, each a sentence for a person."""

    cause: str
    evidence: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.cause == HEALTHY


def _engine(facts: Mapping[str, Any]) -> list[str]:
    engine = facts["engine"]
    return [] if engine["answers"] else [f"the engine does not answer: {engine['reason']}"]


def _disk(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{item['path']}: {item['free_bytes'] // 1048576} MiB free, {item['inodes_percent']:.0f} % of its inodes used"
        for item in facts["disk"]
        if item["free_bytes"] < DISK_FULL_BYTES or item["inodes_percent"] >= 100.0
    ]


def _env(facts: Mapping[str, Any]) -> list[str]:
    return [f"{item['variable']}: {item['rule']}: {item['reason']}" for item in facts["env"]["findings"]]


def _config(facts: Mapping[str, Any]) -> list[str]:
    return [facts["config_error"]] if facts["config_error"] else []


def _port(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"port {port['port']} is held by {holder['process']} (pid {holder['pid']})"
        for port in facts["ports"]
        for holder in port["holders"]
    ]


def _missing(facts: Mapping[str, Any]) -> list[str]:
    present = {item["service"] for item in facts["instances"]}
    return [f"service {name} has no container" for name in facts["services"] if name not in present]


def _memory(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{item['name']} was killed at its limit of {item['limits']['memory_bytes'] // 1048576} MiB"
        for item in facts["instances"]
        if item["oom_killed"] and item["state"] != "running"
    ]


def _failed_with(facts: Mapping[str, Any], kinds: tuple[str, ...]) -> bool:
    # An app that lives for a second between two restarts is found "running" most of the time.
    return any(item["kind"] in kinds for item in _failed(facts))


def _crash_loop(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{item['name']} is {item['state']}: restarted {item['restarts']} times, last exit code {item['exit_code']}"
        for item in facts["instances"]
        if item["state"] == "restarting" or (item["restarts"] >= 2 and _failed_with(facts, ("refused", "reset")))
    ]


def _stopped(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{item['name']} is {item['state']}, exit code {item['exit_code']}"
        + (f": {item['error']}" if item["error"] else "")
        for item in facts["instances"]
        if item["state"] not in ("running", "restarting") and not item["job_done"]
    ]


def _failed(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item for item in facts["probe"]["results"] if not item["ok"] and item["kind"] != "skipped"]


def _upstream(facts: Mapping[str, Any]) -> list[str]:
    failed = _failed(facts)
    if failed and all(item["proves"] == "frontend" for item in failed):
        return [f"`{item['name']}`: {item['reason']}; the app's own checks pass" for item in failed]
    return [f"{item['variable']}: {item['reason']}" for item in facts["upstream"]]


def _probed(kinds: tuple[str, ...]) -> Callable[[Mapping[str, Any]], list[str]]:
    def found(facts: Mapping[str, Any]) -> list[str]:
        return [f"`{item['name']}`: {item['reason']}" for item in _failed(facts) if item["kind"] in kinds]

    return found


# First match wins: what explains the most comes first. A full disk makes containers exit, an invalid env makes them
# loop; asked the other way round, every night would be called a crash loop.
_RULES: tuple[tuple[str, Callable[[Mapping[str, Any]], list[str]]], ...] = (
    ("engine_down", _engine),
    ("disk_full", _disk),
    ("env_invalid", _env),
    ("config_damaged", _config),
    ("port_taken", _port),
    ("container_missing", _missing),
    ("out_of_memory", _memory),
    ("crash_loop", _crash_loop),
    ("stopped", _stopped),
    ("upstream_down", _upstream),
    ("not_listening", _probed(("refused", "reset", "dns", "unreachable"))),
    ("hung", _probed(("timeout",))),
    ("erroring", _probed(("status", "body", "header", "latency", "tls", "answer"))),
)


def diagnose(facts: Mapping[str, Any]) -> Diagnosis:
    """Return exactly one diagnosis for any facts.

    A passing probe means healthy, whatever else is odd, but for an invalid env: the next restart would not survive it.
    """
    if facts["probe"]["ok"]:
        evidence = _env(facts)
        return Diagnosis("env_invalid", evidence) if evidence else Diagnosis(HEALTHY, [facts["probe"]["summary"]])
    for cause, rule in _RULES:
        evidence = rule(facts)
        if evidence:
            return Diagnosis(cause, evidence)
    return Diagnosis("unknown", [facts["probe"]["summary"]])
