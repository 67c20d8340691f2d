# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What belongs to a backup of an app, which one a restore uses, and whether it is complete. Pure: no clock, no I/O.

A backup is a *set* of restic snapshots that carry the same tag `set=`: `part=app` (the app's directory and its state),
`part=volumes`, `part=database:NAME` for each database, and `part=manifest`, which is written last and says what the set
is made of. A set without it is unfinished, and not a backup. The images of a release are a snapshot of their own
(`part=images`), shared by the sets whose manifest carries the same tag `images=`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import NamedTuple, TypedDict

from ..core.fingerprint import fingerprint
from .databases import BackupError, Row

# 2: with data folders and SQLite databases, which one that knows 1 alone would leave out.
FORMAT, READABLE = 2, (1, 2)
# A set may be dated so much later than now: two hosts' clocks.
AHEAD_SECONDS = 3600.0
SAFETY = "safety"
APP, VOLUMES, SQLITE, MANIFEST, IMAGES = "app", "volumes", "sqlite", "manifest", "images"
_STAMP = "%Y%m%dT%H%M%SZ"


class Summary(TypedDict, total=False):
    """What restic 0.17 and newer say of the run that made a snapshot."""

    total_bytes_processed: int


class Snapshot(TypedDict, total=False):
    """What `restic snapshots --json` prints of a snapshot, as far as it is used here."""

    id: str
    time: str
    tags: list[str] | None
    summary: Summary


class VolumeRow(TypedDict):
    """A volume of a backup, or a data folder of the project, which has no name.

    `covered` is the service whose dumps fill it, "" when its files are in the backup; `path` is where those were.
    `owner` is [user, group, mode] of the folder, [] when it is not known. `used`: bytes on the disk.
    """

    key: str
    name: str
    covered: str
    path: str
    owner: list[int]
    used: int


class SqliteRow(TypedDict):
    """A SQLite database of a backup: the name of its copy, its path, and [user, group, mode]."""

    file: str
    path: str
    owner: list[int]


class _Format2(TypedDict, total=False):
    sqlite: list[SqliteRow]
    tables: dict[str, list[int | None]]
    not_in_it: list[str]


class Manifest(_Format2):
    """What a restore has to know of a set.

    `directory` and `state` are the app's folders, `state_folders` those of its state that are in the set. `release` is
    the id of the last good one, `images` are its image ids by service, and `images_mark` is the tag of the snapshot
    that holds them, "" when a registry has them all. `env` is the fingerprint of the env. `parts` are sizes by part.
    `tables`: how many each database had before and after its dump. `not_in_it`: what of the app is not in the set.
    """

    format: int
    app: str
    host: str
    set: str
    time: str
    why: str
    directory: str
    state: str
    state_folders: list[str]
    release: str
    env: str
    images: dict[str, str]
    images_mark: str
    platform: str
    volumes: list[VolumeRow]
    databases: list[Row]
    parts: dict[str, int]


def images_mark(images: Mapping[str, str]) -> str:
    """The tag by which sets find the snapshot of their images."""
    return fingerprint(json.dumps(sorted(set(images.values())))).partition(":")[2]


# --- sets ------------------------------------------------------------------------------------------------------------


class Set(NamedTuple):
    """A backup: its id (the time when it began), whose it is, why it was made, and its snapshots by part.

    `bytes` is what it holds, None where restic does not say it: before 0.17.
    """

    id: str
    app: str
    host: str
    why: str
    images: str
    parts: dict[str, str]
    bytes: int | None = None

    @property
    def complete(self) -> bool:
        """Whether it was finished."""
        return MANIFEST in self.parts

    @property
    def time(self) -> float:
        """When it began, epoch seconds."""
        return datetime.strptime(self.id, _STAMP).replace(tzinfo=timezone.utc).timestamp()


def set_id(now: float) -> str:
    """The id of a set that begins now."""
    return datetime.fromtimestamp(now, timezone.utc).strftime(_STAMP)


def tags(app: str, host: str, identity: str, why: str, part: str) -> list[str]:
    """The tags of a snapshot of a set."""
    return [f"app={app}", f"host={host}", f"set={identity}", f"why={why}", f"part={part}"]


def read_sets(snapshots: Iterable[Snapshot]) -> list[Set]:
    """The sets that restic's snapshots make, oldest first. Of a part that was made twice the newer one counts."""
    found: dict[tuple[str, str, str], Set] = {}
    sizes: dict[tuple[str, str, str], dict[str, int | None]] = {}
    for snapshot in sorted(snapshots, key=lambda one: str(one.get("time"))):
        tagged = _tagged(snapshot)
        if not {"app", "host", "set", "part", "why"} <= set(tagged) or not _is_stamp(tagged["set"]):
            continue
        key = (tagged["app"], tagged["host"], tagged["set"])
        one = found.setdefault(key, Set(tagged["set"], tagged["app"], tagged["host"], tagged["why"], "", {}))
        one.parts[tagged["part"]] = str(snapshot["id"])
        sizes.setdefault(key, {})[tagged["part"]] = snapshot.get("summary", Summary()).get("total_bytes_processed")
        if tagged["part"] == MANIFEST:
            found[key] = one._replace(images=tagged.get("images", ""))
    measured = (one._replace(bytes=_sum(sizes[key].values())) for key, one in found.items())
    return sorted(measured, key=lambda one: one.id)


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum; None when one is not known."""
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)


def listed(sets: Iterable[Set], verified: str) -> list[str]:
    """A line for each backup: its id, why it was made, its size.

    :arg verified: the id of the one that was verified last. Of the others it is not recorded.
    """
    lines = []
    for one in sets:
        size = "" if one.bytes is None else f"{one.bytes / (1 << 20):.1f} MiB"
        last = "verified (the last one that was)" if one.id == verified else ""
        lines.append(f"{one.id}  {one.why:<8}  {size:>12}  {last}".rstrip())
    return lines


def _tagged(snapshot: Snapshot) -> dict[str, str]:
    """The tags of a snapshot, {name: value}."""
    return dict(tag.split("=", 1) for tag in snapshot.get("tags") or [] if "=" in tag)


def _is_stamp(text: str) -> bool:
    try:
        datetime.strptime(text, _STAMP)
    except ValueError:
        return False
    return True


def read_images(snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """{mark: snapshot} of the images that are kept."""
    found = {}
    for snapshot in sorted(snapshots, key=lambda one: str(one.get("time"))):
        tagged = _tagged(snapshot)
        if tagged.get("part") == IMAGES and tagged.get("images") and "set" not in tagged:
            found[tagged["images"]] = str(snapshot["id"])
    return found


def choose(sets: Sequence[Set], app: str, host: str, to: str, now: float) -> Set:
    """The set that `to` names: latest, an id, or the newest one before a time. Raises BackupError."""
    mine = [one for one in sets if one.app == app and one.host == host and one.complete]
    if to == "latest":
        found = _latest(mine, now)
    elif _is_stamp(to):
        found = _by_id(sets, app, host, to)
    else:
        moment = _moment(to)
        found = _newest(one for one in mine if one.time <= moment and one.why != SAFETY)
    if found:
        return found
    there = ", ".join(one.id for one in mine[-5:]) or "none"
    others = sorted({f"{one.app} on {one.host}" for one in sets if one.complete} - {f"{app} on {host}"})
    hint = f" The repository also has {', '.join(others)}." if others else ""
    raise BackupError(f"restore_to: no backup {to} of {app} on {host}. The newest: {there}.{hint}")


def _newest(sets: Iterable[Set]) -> Set | None:
    """The last one, since sets come oldest first."""
    return next(reversed(list(sets)), None)


def _latest(mine: Sequence[Set], now: float) -> Set | None:
    """The newest set; raises BackupError when it is dated later than now."""
    kept = [one for one in mine if one.why != SAFETY]
    found = _newest(kept)
    if found and found.time > now + AHEAD_SECONDS:
        past = [one.id for one in kept if one.time <= now]
        raise BackupError(
            f"restore_to: backup {found.id} is dated later than now. A clock is wrong, or was when it was made, so the "
            f"latest backup is not known. The newest before now: {(past or ['none'])[-1]}. Fix: set this host's clock, "
            "or name a backup"
        )
    return found


def _by_id(sets: Sequence[Set], app: str, host: str, identity: str) -> Set | None:
    """The set with this id; raises BackupError when there is one of another app or host."""
    found = [one for one in sets if one.id == identity and one.complete]
    for one in found:
        if (one.app, one.host) != (app, host):
            raise BackupError(
                f"restore_to: backup {identity} was made of {one.app} on {one.host}, and this run restores {app} on "
                f"{host}. Nothing was changed. Fix: choose a backup of {app}; if the host was renamed, set backup_host "
                "to its old name"
            )
    return _newest(found)


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BackupError(
            f"restore_to: {text!r} is neither a backup nor a time. Fix: write latest, an id as backup.yml lists them, "
            "or a time such as 2026-11-25T02:00:00Z"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


# --- a restore -------------------------------------------------------------------------------------------------------


class What(NamedTuple):
    """What is restored: the whole `app`, its `env`, one `volume` or one `database`, and its name."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def read_what(text: str) -> What:
    """Read `restore_what`. Raises BackupError."""
    kind, _unused, name = text.partition(":")
    if (kind in ("app", "env") and not name) or (kind in ("volume", "database") and name):
        return What(kind, name)
    raise BackupError(f"restore_what: invalid value {text!r}. Fix: use app, env, volume:NAME or database:NAME")


def missing_parts(manifest: Manifest, parts: Iterable[str]) -> list[str]:
    """Say what of its manifest a set does not have; [] when it is complete."""
    there = set(parts)
    found = [f"part {part} is missing" for part in sorted(set(manifest["parts"]) - there)]
    covered = {row.get("service") for row in manifest["databases"]}
    for volume in manifest["volumes"]:
        if volume["covered"] and volume["covered"] not in covered:
            found.append(f"volume {volume['key']} has neither files nor a dump")
    return found
