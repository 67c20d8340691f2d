# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table that status.yml shows of an app. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ansible.module_utils.common.text.formatters import bytes_to_human

from ansible_collections.christmas.selfheal.plugins.plugin_utils.messages.deployment import Checks

SECONDS_AN_HOUR = 3600
SHOWN_RELEASES = 5
LABEL = 12
# Of a digest, without its `sha256:`.
DIGEST = slice(7, 19)
TABLE = "{:<32} {:<10} {:<10} {:>8} {:>6} {:>10} {:>6}  {}"
COLUMNS = ("INSTANCE", "STATE", "HEALTH", "RESTARTS", "CPUS", "MEMORY", "PIDS", "IMAGE")


class Limits(TypedDict):
    """The limits of a container that are in force."""

    cpus: float | None
    memory_bytes: int | None
    pids: int | None


class Instance(TypedDict):
    """A container of the app."""

    name: str
    state: str
    health: str
    restarts: int
    limits: Limits
    digest: str
    image: str


class Release(TypedDict):
    """A recorded release, and who deployed it."""

    id: str
    by: str


class Origin(TypedDict):
    """Where a release was promoted from."""

    host: str
    release: str


class EnvFinding(TypedDict):
    """A variable of the env in force that is invalid."""

    variable: str


class Incident(TypedDict):
    """The newest incident."""

    id: str
    healthy: bool
    seconds: float


class BackupState(TypedDict):
    """Seconds since a backup was created, and since one was verified by restoring it; None for never."""

    made: float | None
    proved: float | None
    problems: Sequence[str]


class FileSystem(TypedDict):
    """How full a file system is."""

    path: str
    free_bytes: int
    total_bytes: int


class Memory(TypedDict):
    """The memory of the host."""

    total_bytes: int
    available_bytes: int


class Engine(TypedDict):
    """Why the engine does not answer, "" when it does."""

    reason: str


class AppInfo(TypedDict):
    """The state of an app, from the module app_info. `backup` is None for an app that is not backed up."""

    app: str
    healthy: bool
    cause: str
    summary: str
    checks: Checks
    env_fingerprint: str | None
    env_findings: Sequence[EnvFinding]
    release: str
    releases: Sequence[Release]
    rolls_back_to: str
    care: Sequence[str]
    promoted_from: Origin | Mapping[str, str]
    last_incident: Incident | None
    backup: BackupState | None
    disk: Sequence[FileSystem]
    memory: Memory
    instances: Sequence[Instance]
    engine: Engine


def status_message(info: AppInfo, host: str, address: str) -> str:
    """Return the table: what is known of the app, a line for each thing, then its instances."""
    verdict = "healthy" if info["healthy"] else f"NOT HEALTHY, {info['cause']}"
    lines = [f"{info['app']} on {host} ({address}): {verdict}"]
    if not info["healthy"]:
        lines.append(_row("cause", info["summary"]))
    lines += [
        _row("checks", info["checks"]["summary"]),
        _row("env", _env(info)),
        _row("release", _release(info)),
        *_release_rows(info),
        *_care_rows(info["care"]),
        _row("incident", _incident(info["last_incident"])),
        *_backup_rows(info["backup"]),
        *(_row("disk", _disk(disk)) for disk in info["disk"]),
        _row("memory", _memory(info["memory"])),
    ]
    return "\n".join([*lines, *_instance_lines(info)])


def _row(label: str, text: str) -> str:
    return f"{label:<{LABEL}} {text}"


def _env(info: AppInfo) -> str:
    fingerprint = info["env_fingerprint"]
    invalid = ", ".join(finding["variable"] for finding in info["env_findings"])
    if invalid:
        return f"{fingerprint or 'none'}, invalid: {invalid}"
    return f"{fingerprint}, validated" if fingerprint else "none"


def _release(info: AppInfo) -> str:
    origin = info["promoted_from"]
    promoted = f", promoted from {origin['host']}, {origin['release']}" if origin else ""
    return f"{info['release'] or 'none'}{promoted}"


def _release_rows(info: AppInfo) -> list[str]:
    """Return the newest releases, newest first; the one that serves only when it is known who deployed it."""
    rows = []
    # An id begins with the time.
    newest = sorted(info["releases"], key=lambda one: one["id"], reverse=True)[:SHOWN_RELEASES]
    for release in newest:
        serves = release["id"] == info["release"]
        label = "  serves" if serves else _when(release["id"], info["release"])
        by = f", by {release['by']}" if release["by"] else ""
        back = " (the next rollback goes there)" if release["id"] == info["rolls_back_to"] else ""
        if by or not serves:
            rows.append(_row(label, f"{release['id']}{by}{back}"))
    return rows


def _when(name: str, serving: str) -> str:
    return "  earlier" if name < serving else "  later"


def _care_rows(lines: Sequence[str]) -> list[str]:
    """What the watcher does, as `selfheal status` says it, in the columns of the table."""
    parts = [line.partition(": ") for line in lines]
    return [
        _row(label, text) if len(label) <= LABEL else _row("", line)
        for line, (label, _unused, text) in zip(lines, parts)
    ]


def _incident(incident: Incident | None) -> str:
    if not incident:
        return "none"
    outcome = "recovered in" if incident["healthy"] else "open for"
    return f"{incident['id']}, {outcome} {incident['seconds']} s"


def _backup_rows(backup: BackupState | None) -> list[str]:
    if not backup:
        return []
    ages = f"verified {_hours_ago(backup['proved'])}, created {_hours_ago(backup['made'])}"
    return [_row("backup", ages), *(_row("", problem) for problem in backup["problems"])]


def _hours_ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds / SECONDS_AN_HOUR:.1f} h ago"


def _disk(disk: FileSystem) -> str:
    return f"{disk['path']}: {bytes_to_human(disk['free_bytes'])} of {bytes_to_human(disk['total_bytes'])} free"


def _memory(memory: Memory) -> str:
    available, total = bytes_to_human(memory["available_bytes"]), bytes_to_human(memory["total_bytes"])
    return f"{available} of {total} available"


def _instance_lines(info: AppInfo) -> list[str]:
    if not info["instances"]:
        return [f"no instance: {info['engine']['reason'] or 'no container of this app exists'}"]
    return [_instance_line(*COLUMNS), *(_instance_line(*_cells(instance)) for instance in info["instances"])]


def _cells(instance: Instance) -> tuple[object, ...]:
    limits = instance["limits"]
    memory = bytes_to_human(limits["memory_bytes"]) if limits["memory_bytes"] else "-"
    return (
        instance["name"],
        instance["state"],
        instance["health"],
        instance["restarts"],
        limits["cpus"] or "-",
        memory,
        limits["pids"] or "-",
        f"{instance['digest'][DIGEST]} {instance['image']}",
    )


def _instance_line(*cells: object) -> str:
    return TABLE.format(*cells)
