# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a release may go from staging to production. Pure: facts in, every reason against it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ..docker.containers import Container
from ..env.rules import Finding
from ..probe.run import ProbeResult
from ..releases.store import Release

ROOM_LEFT = 256 * 1024 * 1024
"""Bytes that have to stay free on a file system that images are written to."""
# So many incidents are named, the newest; of the others their number.
_SHOWN = 5


class Refusal(NamedTuple):
    """One reason why a release must not go to production, and what to do about it."""

    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.reason}. Do: {self.fix}"


class PastIncident(TypedDict):
    """An incident of staging, and how long it has been over (s)."""

    id: str
    cause: str
    open: bool
    ago: float


class WatcherSeen(TypedDict):
    """Whether the watcher of staging runs, and how long it has been kept running (s)."""

    alive: bool
    since: float


class PauseSeen(TypedDict):
    """How long a pause still lasts (s, 0 for one that is over), and how long ago it ended (s)."""

    left: float
    reason: str
    ago: float


class StagingFacts(TypedDict):
    """What a staging host knows of the release that may go to production.

    `engine` says why the engine does not answer, `busy` who deploys or recovers there; both are "" when all is well.
    `serving` is how long ago the release became the last good one (s). `missing` are its services whose image is gone,
    `changed` its files that are not as recorded, `mounted` the files that its containers mount and that do not go with
    it.
    """

    app: str
    engine: str
    busy: str
    release: Release | None
    serving: float
    missing: list[str]
    changed: list[str]
    mounted: list[str]
    incidents: list[PastIncident]
    watcher: WatcherSeen
    paused: PauseSeen | None
    probe: ProbeResult
    env: list[Finding]
    instances: list[Container]


class Room(TypedDict):
    """A file system, by its device's number, and what is free on it."""

    device: int
    free_bytes: int


def refusals(facts: StagingFacts, soak: float) -> list[Refusal]:
    """Every reason that refuses the promotion, [] when it may go.

    :arg soak: for how long the release has to have run healthy, in seconds.
    """
    release = facts["release"]
    if release is None:
        fix = "deploy there first: christmas.selfheal.deploy, with the inventory of staging"
        return [Refusal("no release has passed its gate there yet", fix)]
    return [
        *_busy(facts),
        *_too_young(facts, soak),
        *_incidents(facts, soak),
        *_unwatched(facts, soak),
        *_not_as_recorded(facts, release),
        *_unhealthy(facts),
    ]


def _busy(facts: StagingFacts) -> Iterator[Refusal]:
    if facts["busy"]:
        yield Refusal(f"the app is busy there: {facts['busy']}", "run promote.yml again when it has ended")


def _too_young(facts: StagingFacts, soak: float) -> Iterator[Refusal]:
    serving = float(facts["serving"])
    if serving < soak:
        yield Refusal(
            f"it has served for {minutes(serving)}, and {minutes(soak)} are asked for",
            f"wait {minutes(soak - serving)} more, or ask for fewer promote_soak_minutes",
        )


def _incidents(facts: StagingFacts, soak: float) -> Iterator[Refusal]:
    folder = f"/var/lib/selfheal/{facts['app']}/incidents"
    found = [one for one in facts["incidents"] if one["open"] or one["ago"] < soak]
    for one in found[:_SHOWN]:
        when = "is open" if one["open"] else f"was over {minutes(one['ago'])} ago"
        fix = f"read {folder}/{one['id']}/incident.md there, and find out whether the release is to blame; "
        fix += "selfheal status says what it waits for" if one["open"] else f"then wait {minutes(soak - one['ago'])}"
        yield Refusal(f"incident {one['id']} ({one['cause']}) {when}", fix)
    if len(found) > _SHOWN:
        yield Refusal(f"{len(found) - _SHOWN} more incidents before those", "selfheal incidents there lists them")


def _unwatched(facts: StagingFacts, soak: float) -> Iterator[Refusal]:
    watcher, paused, unit = facts["watcher"], facts["paused"], f"selfheal@{facts['app']}"
    if not watcher["alive"]:
        fix = f"systemctl status {unit}.timer {unit}.service there; christmas.selfheal.site sets it up"
        yield Refusal("the watcher does not run, so the app was not watched", fix)
    elif watcher["since"] < soak:
        fix = f"wait {minutes(soak - watcher['since'])}"
        yield Refusal(f"the watcher has run for {minutes(watcher['since'])} only", fix)
    if paused and paused["left"] > 0:
        fix = f"selfheal resume there, then wait {minutes(soak)}"
        yield Refusal(f"healing is paused there: {paused['reason']}", fix)
    elif paused and paused["ago"] < soak:
        yield Refusal(
            f"a person paused or resumed healing there {minutes(paused['ago'])} ago",
            f"wait {minutes(soak - paused['ago'])}",
        )


def _not_as_recorded(facts: StagingFacts, good: Release) -> Iterator[Refusal]:
    again = "deploy it there again, with christmas.selfheal.deploy"
    for name in facts["changed"]:
        yield Refusal(f"{name} differs from the release", again)
    for service in facts["missing"]:
        yield Refusal(f"the image of service {service} is gone from that host", again)
    if facts["engine"]:
        yield Refusal(f"the Docker engine there does not answer: {facts['engine']}", "systemctl status docker there")
        return
    for service, image in sorted(good["images"].items()):
        mine = [item for item in facts["instances"] if item["service"] == service]
        other = [item["name"] for item in mine if item["digest"] != image]
        idle = [f"{item['name']} is {item['state']}" for item in mine if _idle(item)]
        if other:
            yield Refusal(f"{', '.join(other)} runs another image than the release", again)
        if idle:
            # A recovery does nothing while the app passes its checks.
            yield Refusal(", ".join(idle), again)
        if not mine and service not in good.get("jobs", ()):
            yield Refusal(f"service {service} has no container", again)
    unmanaged = sorted({item["name"] for item in facts["instances"] if item["service"] not in good["images"]})
    if unmanaged:
        yield Refusal(f"{', '.join(unmanaged)} is not part of the release", again)
    if facts["mounted"]:
        yield Refusal(
            f"it mounts files that are on this host alone: {', '.join(facts['mounted'])}",
            "add them to the project, and deploy it there again",
        )


def _idle(item: Container) -> bool:
    return item["state"] != "running" and not item["job_done"]


def _unhealthy(facts: StagingFacts) -> Iterator[Refusal]:
    for finding in facts["env"]:
        yield Refusal(f"the env there: {finding['variable']}: {finding['reason']}", finding["fix"])
    if not facts["probe"]["ok"]:
        fix = (
            "with the inventory of staging, christmas.selfheal.status says more, and christmas.selfheal.recover ends it"
        )
        yield Refusal(f"it does not pass its checks now: {facts['probe']['summary']}", fix)


def missing_room(wanted: Sequence[tuple[str, int]], disks: Mapping[str, Room]) -> list[str]:
    """Say on which file systems there is not enough room.

    :arg wanted: (path, bytes that are going to be written there); paths of one file system add up.
    :arg disks: by path.
    """
    sums: dict[int, int] = {}
    for path, size in wanted:
        sums[disks[path]["device"]] = sums.get(disks[path]["device"], 0) + size
    found: dict[int, str] = {}
    for path, _size in wanted:
        disk = disks[path]
        needed = sums[disk["device"]] + ROOM_LEFT
        if disk["free_bytes"] < needed:
            found.setdefault(disk["device"], f"{path}: {mib(disk['free_bytes'])} free, {mib(needed)} needed")
    return list(found.values())


def mib(size: float) -> str:
    """Bytes for a person: "113 MiB"."""
    return f"{size / 2**20:,.0f} MiB"


def minutes(seconds: float) -> str:
    """Seconds for a person: "1.5 min", "40 s"."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{max(0, math.ceil(seconds))} s"
