# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the watcher knows, in the text format that node_exporter's textfile collector reads. Pure.

The format: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

from ..docker.cgroup import ContainerUsage
from ..records.incidents import IncidentRecord
from ..records.state import BackupDone, BackupMemory, CertificateMemory

Sample = tuple[Mapping[str, str], float]


class WatcherFacts(TypedDict):
    """What the watcher of an app knows. `incident` is the open one; `paused` says whether a pause goes on.

    `now` is when this turn of the watcher began (epoch s). `counts` are by "incident CAUSE", "remedy NAME done",
    "remedy NAME failed", "last recovery ms" and "alerts dropped"; one that is missing is 0.
    """

    healthy: bool
    served: bool
    probe_seconds: float | None
    probes: int
    failed_probes: int
    incident: IncidentRecord | None
    breaker_open: bool
    paused: object
    now: float
    problems: int
    alerts_waiting: int
    counts: Mapping[str, int]
    certificate: CertificateMemory | None


class CheckedHost(TypedDict):
    """When an app's host was compared last (epoch s)."""

    app: str
    time: float


class Drift(TypedDict):
    """One difference of a host, and what was decided about it: how it is counted."""

    host: str
    severity: str
    decision: str


def render(app: str, facts: WatcherFacts) -> str:
    """Return the metrics of one app."""
    lines: list[str] = []
    for name, kind, about, samples in _families(facts):
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{{{_labels({'app': app, **labels})}}} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def render_containers(apps: Mapping[str, Iterable[ContainerUsage]]) -> str:
    """Return the metrics of containers by app."""
    lines: list[str] = []
    for name, kind, about in _CONTAINER:
        samples: list[str] = []
        for app, containers in apps.items():
            for one in containers:
                labels = _labels({"app": app, "service": one["service"], "container": one["name"]})
                value = _container_value(name, one)
                samples += [] if value is None else [f"selfheal_container_{name}{{{labels}}} {_number(value)}"]
        if samples:
            lines += [f"# HELP selfheal_container_{name} {about}", f"# TYPE selfheal_container_{name} {kind}", *samples]
    return "\n".join(lines) + "\n"


def render_drift(checked: Mapping[str, CheckedHost], compared: Iterable[str], findings: Sequence[Drift]) -> str:
    """Return the metrics of a drift check: for each host that was compared, when, and how many drifts it has.

    What is ignored on purpose is not counted, nor what was corrected. `target` is the host that was compared; `host`,
    in Prometheus, is the one that exports the metric. The time of a host that could not be compared stays, so that
    DriftNotChecked fires. Without any time, because no check has come so far, that alert is about every host.

    :arg compared: the hosts that this check compared.
    """
    known: Mapping[str, CheckedHost] = checked or {"every host": {"app": "", "time": 0}}
    times = [
        f"{{{_labels({'app': one['app'], 'target': host})}}} {_number(one['time'])}"
        for host, one in sorted(known.items())
    ]
    found = []
    for host in compared:
        for severity in ("security", "availability", "cosmetic"):
            count = sum(
                one["host"] == host and one["severity"] == severity and one["decision"] not in ("ignored", "corrected")
                for one in findings
            )
            labels = _labels({"app": known[host]["app"], "target": host, "severity": severity})
            found.append(f"selfheal_drift_found{{{labels}}} {count}")
    name = "selfheal_drift_last_check_timestamp_seconds"
    lines = [f"# HELP {name} When the host was compared last.", f"# TYPE {name} gauge"]
    lines += [f"{name}{one}" for one in times]
    lines += ["# HELP selfheal_drift_found Drifts that are there.", "# TYPE selfheal_drift_found gauge", *found]
    return "\n".join(lines) + "\n"


def render_backup(app: str, record: BackupMemory) -> str:
    """Return the metrics of an app's backups, of what is remembered of them."""
    nothing: BackupDone = {}
    made, verified = record["last_success"] or nothing, record["last_verified"] or nothing
    lines: list[str] = []
    figures: tuple[tuple[str, str, float | None], ...] = (
        ("last_success_timestamp_seconds", "When the last backup was made.", made.get("at")),
        ("last_verified_timestamp_seconds", "When a backup was verified last, by restoring it.", verified.get("at")),
        ("size_bytes", "What the last backup holds.", made.get("bytes")),
        ("added_bytes", "What the last backup added to the repository.", made.get("added")),
        ("duration_seconds", "How long the last backup took.", made.get("seconds")),
        ("verify_duration_seconds", "How long the last verification took.", verified.get("seconds")),
        ("problems", "What is wrong with the backups.", len(record["problems"])),
    )
    for name, about, value in figures:
        # Never made, or never verified, counts as 1970.
        known = 0 if value is None and name.endswith("timestamp_seconds") else value
        if known is not None:
            full = f"selfheal_backup_{name}"
            lines += [
                f"# HELP {full} {about}",
                f"# TYPE {full} gauge",
                f"{full}{{{_labels({'app': app})}}} {_number(known)}",
            ]
    return "\n".join(lines) + "\n"


_CONTAINER = (
    ("running", "gauge", "Whether it runs."),
    ("restarts_total", "counter", "How often the restart policy has started it again."),
    ("start_timestamp_seconds", "gauge", "When it was started last."),
    ("cpu_limit_cores", "gauge", "The cores that it may use; those of the host when it has no limit."),
    ("memory_limit_bytes", "gauge", "The memory that it may use, when it has a limit."),
    ("cpu_seconds_total", "counter", "Processor time used."),
    ("cpu_throttled_seconds_total", "counter", "Time for which its limit has held it back."),
    ("memory_bytes", "gauge", "Memory in use that the kernel could not give back at once."),
    ("oom_kills_total", "counter", "Its processes that the kernel has ended at its memory limit since it was started."),
)


def _container_value(name: str, one: ContainerUsage) -> float | None:
    """One sample of a container; None when there is none."""
    usage = one["usage"]
    values: dict[str, float | None] = {
        "running": one["running"],
        "restarts_total": one["restarts"],
        "start_timestamp_seconds": one["started"],
        "cpu_limit_cores": one["cpus"],
        "memory_limit_bytes": one["memory_limit_bytes"] or None,
        "cpu_seconds_total": usage.get("cpu_seconds"),
        "cpu_throttled_seconds_total": usage.get("throttled_seconds"),
        "memory_bytes": usage.get("memory_bytes"),
        "oom_kills_total": usage.get("oom_kills"),
    }
    return values[name]


def _families(facts: WatcherFacts) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """Name, type, help and samples of each metric. One that has no sample is left out."""
    counts, record = facts["counts"], facts["incident"]
    open_samples: list[Sample] = [({"cause": record["cause"]}, 1)] if record else [({"cause": "none"}, 0)]
    recovery = counts.get("last recovery ms")
    found: list[tuple[str, str, str, list[Sample]]] = [
        ("selfheal_healthy", "gauge", "Whether the app's last probe passed.", [({}, facts["healthy"])]),
        ("selfheal_users_served", "gauge", "Whether users are served: all checks pass.", [({}, facts["served"])]),
        ("selfheal_probe_seconds", "gauge", "Seconds that the last probe took.", _maybe(facts["probe_seconds"])),
        ("selfheal_probes_total", "counter", "Probes since the watcher began.", [({}, facts["probes"])]),
        ("selfheal_probe_failures_total", "counter", "Those that failed.", [({}, facts["failed_probes"])]),
        ("selfheal_incident_open", "gauge", "Whether an incident is open, and its cause.", open_samples),
        ("selfheal_incidents_total", "counter", "Incidents by cause.", _counted(counts, "incident", "cause")),
        ("selfheal_remedies_total", "counter", "Remedies applied.", _counted(counts, "remedy", "remedy", "result")),
        (
            "selfheal_last_recovery_seconds",
            "gauge",
            "Seconds from the first failure to health in the last incident.",
            _maybe(recovery / 1000 if recovery is not None else None),
        ),
        ("selfheal_breaker_open", "gauge", "Whether no remedy is applied any more.", [({}, facts["breaker_open"])]),
        ("selfheal_paused", "gauge", "Whether a person holds the watcher.", [({}, bool(facts["paused"]))]),
        ("selfheal_watcher_turn_timestamp_seconds", "gauge", "When the watcher looked last.", [({}, facts["now"])]),
        ("selfheal_watcher_problems", "gauge", "What keeps the watcher from its work.", [({}, facts["problems"])]),
        ("selfheal_alerts_waiting", "gauge", "Alerts not taken by Alertmanager yet.", [({}, facts["alerts_waiting"])]),
        (
            "selfheal_alerts_dropped_total",
            "counter",
            "Alerts given up because too many waited.",
            [({}, counts.get("alerts dropped", 0))],
        ),
    ]
    yield from (family for family in [*found, *_of_certificate(facts["certificate"])] if family[3])


def _of_certificate(record: CertificateMemory | None) -> list[tuple[str, str, str, list[Sample]]]:
    """The certificate of the domain. The end of one that was never issued counts as 1970."""
    if record is None:
        return []
    ends: list[Sample] = [({}, record["ends"])]
    failing: list[Sample] = [({}, record["problem"] is not None)]
    return [
        ("selfheal_certificate_end_timestamp_seconds", "gauge", "When the certificate ends.", ends),
        ("selfheal_certificate_renewal_failing", "gauge", "Whether the last attempt to renew it failed.", failing),
    ]


def _maybe(value: float | None) -> list[Sample]:
    return [] if value is None else [({}, value)]


def _counted(counts: Mapping[str, float], what: str, *labels: str) -> list[Sample]:
    """The counts that are named `what` and one word for each label, in the order of their names."""
    found: list[Sample] = []
    for name in sorted(counts):
        first, *words = name.split(" ")
        if first == what and len(words) == len(labels):
            found.append((dict(zip(labels, words)), counts[name]))
    return found


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
