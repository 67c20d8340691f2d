# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Verify backups: restore the newest one next to the app, ask whether all of it is there, and remove it again.

A restore asks the same questions before it touches the app.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, TypedDict

from ..core.clock import Clock, iso
from ..core.files import explain
from ..docker import containers as docker_containers
from ..docker import engine
from ..releases import store as release_store
from . import create as backup_create
from . import questions, restic, sqlite_files
from .config import Backup
from .databases import BackupError, Database, differs, held
from .questions import Answer, DataCheck
from .scratch import Scratch
from .sets import What
from .source import Source
from .stage import sqlite_places, stage

Say = Callable[[str], None]

ASK_SECONDS = 600.0


class Verified(TypedDict):
    """A verification that succeeded: the set's id, when (epoch s), how long it took, and what was asked.

    `contents` says of each thing in the set how it was verified.
    """

    set: str
    at: float
    seconds: float
    contents: list[str]
    checks: list[Answer]
    changed: bool


def verify(config: Backup, say: Say, clock: Clock) -> Verified:
    """Restore the newest backup next to the app, ask whether it is complete, and remove it.

    The newest that is not dated later than now: such a date says that a clock was wrong.

    :raises LockHeld: another backup, verification or restore of this app goes on.
    :raises BackupError, RepositoryError, EngineError, OSError: it is damaged, or that is not known.
    """
    begun = clock.monotonic()
    with backup_create.alone(config, "verify a backup of"):
        try:
            identity, checks, contents = _verify_newest(config, say, clock)
        except backup_create.EXPECTED as error:
            text = explain(error) if isinstance(error, OSError) else str(error)
            backup_create.trouble(config, clock, "verify", text)
            raise
        seconds = round(clock.monotonic() - begun, 1)
        at = clock.now()
        backup_create.remember(
            config, last_verified={"set": identity, "at": at, "seconds": seconds, "contents": contents}
        )
        backup_create.trouble(config, clock, "verify", "")
    for line in contents:
        say(f"verified: {line}")
    say(f"backup {identity} is verified: {len(checks)} checks passed")
    return {
        "set": identity,
        "at": at,
        "seconds": seconds,
        "contents": contents,
        "checks": checks,
        "changed": False,
    }


@backup_create.redacted
def _verify_newest(config: Backup, say: Say, clock: Clock) -> tuple[str, list[Answer], list[str]]:
    """The id of the newest backup, what was asked of it, and what was verified in which way."""
    restic.require()
    restic.make_ready(config.repository, may_make=False)
    restic.check(config.repository, config.check_percent)
    source, scratch = Source(config, iso(clock.now()), clock.now()), Scratch(config, "verify")
    say(f"verifying backup {source.set.id}")
    if source.manifest["images_mark"] and not source.images:
        raise BackupError(f"backup {source.set.id} is incomplete: its images are missing")
    try:
        folders = stage(source, scratch, What("app"), say, clock, remote=True)
        checks = ask_restored(source, scratch, folders, clock, every=True)
        wrong = [one["problem"] for one in checks if one["problem"]]
        contents = [] if wrong else _contents(source, scratch, checks, clock)
    finally:
        with contextlib.suppress(engine.EngineError, OSError):
            scratch.remove()
    if wrong:
        raise BackupError(f"backup {source.set.id} does not pass its checks: {'; '.join(wrong)}")
    return source.set.id, checks, contents


def ask_restored(
    source: Source, scratch: Scratch, folders: Mapping[str, str], clock: Clock, every: bool = False
) -> list[Answer]:
    """Ask the configured checks of what was restored.

    :arg every: a check whose database or volume is not in the backup is a problem; else it is left out.
    """
    config = source.config
    found: list[Answer] = []
    values = scratch.env_values(clock)
    loaded = {one.name: one for one in source.dumps([one for one in source.volumes if one.key in folders])}
    loaded.update({one.name: one for one in source.remote if every})
    for check in config.checks:
        if check.get("database", "") in loaded:
            database = loaded[check["database"]]
            secrets = {variable: values.get(name, "") for variable, name in database.secrets.items()}
            command = docker_containers.within(
                scratch.container(database.scratch), questions.question(database, check["ask"]), secrets
            )
            asked = restic.run_with(command, secrets, ASK_SECONDS)
            problem = (
                questions.judge(check, asked.out) if asked.code == 0 else f"{questions.about(check)}: {asked.reason}"
            )
        elif check.get("volume", "") in folders:
            problem = _ask_folder(check, folders[check["volume"]])
        elif every:
            problem = f"{questions.about(check)}: not in the backup"
        else:
            continue
        found.append({"about": questions.about(check), "problem": problem})
    found += [_compare_tables(source, scratch, one, values) for one in loaded.values() if one.tables]
    return found + _check_sqlite(source, scratch, folders)


def _compare_tables(source: Source, scratch: Scratch, database: Database, values: Mapping[str, str]) -> Answer:
    """Compare how many tables a dump made with what its server had."""
    counts = _counted(scratch, database, database.tables, values)
    known = (source.manifest.get("tables") or {}).get(database.name) or []
    dumped = [count for count in known if count is not None]
    problem = differs(database, sum(counts), dumped)
    return {"about": f"database {database.name}: as many as when it was dumped: {sum(counts)}", "problem": problem}


def _counted(scratch: Scratch, database: Database, words: Sequence[str], values: Mapping[str, str]) -> list[int]:
    """The numbers that a loaded database prints. Raises BackupError."""
    secrets = {variable: values.get(name, "") for variable, name in database.secrets.items()}
    asked = restic.run_with(
        docker_containers.within(scratch.container(database.scratch), words, secrets), secrets, ASK_SECONDS
    )
    lines = asked.out.split()
    if asked.code or not all(line.isdigit() for line in lines):
        raise BackupError(f"database {database.name}: {restic.first_error(asked.err or asked.out)}")
    return [int(line) for line in lines]


def _contents(source: Source, scratch: Scratch, checks: Iterable[Answer], clock: Clock) -> list[str]:
    """What was verified, and how, a line for each part."""
    values = scratch.env_values(clock)
    manifest = source.manifest
    last = release_store.last_good(scratch.directory)
    names = last["names"] if last else {}
    found = ["the app's own files: checksums"]
    for database in [*source.dumps(source.volumes), *source.remote]:
        image = database.image or names.get(database.service) or manifest["images"].get(database.service, "")
        how = f"database {database.name}: loaded into a throwaway server of {image}"
        counts = _counted(scratch, database, database.rows, values) if database.rows else []
        found.append(f"{how}, {held(database.kind, counts)}" if database.rows else f"{how}, not counted")
    found += [f"volume {one.key}: checksums of its files" for one in source.volumes if not one.covered]
    found += [str(one["about"]) for one in checks if str(one["about"]).startswith("SQLite ")]
    if manifest["images_mark"]:
        found.append("the images: they are in the repository")
    return found


def _check_sqlite(source: Source, scratch: Scratch, folders: Mapping[str, str]) -> list[Answer]:
    """Have SQLite check each database that was restored."""
    found: list[Answer] = []
    for one, path in sqlite_places(source, scratch, folders):
        content = sqlite_files.check(path)
        about = f"SQLite {one['path']}: integrity_check, {content.tables} tables, {content.rows} rows"
        problem = f"SQLite {one['path']}: {content.problem}" if content.problem else ""
        found.append({"about": about, "problem": problem})
    return found


def _ask_folder(check: DataCheck, folder: str) -> str:
    """Say why a restored folder is not as a check expects it, "" when it is."""
    path = os.path.join(folder, str(check.get("sums") or check["path"]).lstrip("/"))
    if not os.path.lexists(path):
        return f"{questions.about(check)} is not there"
    if "sums" in check:
        return _compare_sums(path, questions.about(check))
    if "equals" in check:
        with open(path, "rb") as stream:
            return questions.judge(check, stream.read(1 << 20).decode("utf-8", "replace"))
    count = (
        sum(len(files) for _folder, _folders, files in os.walk(path)) if os.path.isdir(path) else os.path.getsize(path)
    )
    return questions.judge(check, str(count))


def _compare_sums(path: str, about: str) -> str:
    """Compare files with the sums that sha256sum wrote of them; "" when all are as they were."""
    count = 0
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            # With * before the name when it was read as binary.
            wanted, name = line[:64], line.rstrip("\n")[66:]
            if line[64:66] not in ("  ", " *") or not name:
                return f"{about}: {line.strip()[:80]!r} is not a line of sha256sum"
            try:
                with open(os.path.join(os.path.dirname(path), name), "rb") as file:
                    made = hashlib.sha256()
                    while block := file.read(1 << 20):
                        made.update(block)
            except OSError as error:
                return f"{about}: {explain(error)}"
            if made.hexdigest() != wanted:
                return f"{about}: the checksum of {name} differs from the recorded one: the file was changed or damaged"
            count += 1
    return "" if count else f"{about} lists no file"
