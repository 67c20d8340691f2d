# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One backup of the repository, and what of it is restored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from . import remote_postgres, restic
from . import sets as backup_sets
from .config import Backup
from .databases import BackupError, Database, read_databases
from .sets import Manifest, Set, What
from .volumes import Volume


class Source:
    """One backup of the repository, and its manifest."""

    def __init__(self, config: Backup, to: str, now: float) -> None:
        restic.require()
        self.config = config
        snapshots = restic.snapshots(config.repository)
        self.set: Set = backup_sets.choose(backup_sets.read_sets(snapshots), config.paths.name, config.host, to, now)
        text = restic.read_text(config.repository, self.set.parts[backup_sets.MANIFEST], "manifest.json")
        try:
            self.manifest: Manifest = json.loads(text)
            known = self.manifest["format"] in backup_sets.READABLE
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise BackupError(f"backup {self.set.id} was made by another version: update this one, then try again")
        problems = backup_sets.missing_parts(self.manifest, self.set.parts)
        if problems:
            raise BackupError(f"backup {self.set.id} is incomplete: {'; '.join(problems)}")
        self.images = backup_sets.read_images(snapshots).get(self.manifest["images_mark"], "")
        self.databases = read_databases(self.manifest["databases"])

    @property
    def volumes(self) -> list[Volume]:
        """The volumes that it holds."""
        return [Volume(one["key"], one["name"], one["covered"]) for one in self.manifest["volumes"]]

    def chosen(self, what: What) -> list[Volume]:
        """The volumes that are restored. Raises BackupError when the backup does not have what is asked for."""
        if what.kind == "env" and not self.manifest["env"]:
            raise BackupError(f"restore_what: backup {self.set.id} has no env: the app had none. Nothing was touched")
        if what.kind == "env":
            return []
        if what.kind == "app":
            return self.volumes
        if what.kind == "volume":
            found = [one for one in self.volumes if one.key == what.name]
            if not found:
                there = ", ".join(one.key for one in self.volumes) or "none"
                raise BackupError(f"restore_what: backup {self.set.id} has no volume {what.name}; it has {there}")
            return found
        databases = [one for one in self.databases if one.name == what.name]
        services = [one.service for one in databases]
        if not services:
            there = ", ".join(one.name for one in self.databases) or "none"
            raise BackupError(f"restore_what: backup {self.set.id} has no database {what.name}; it has {there}")
        if not services[0]:
            raise BackupError(f"nothing was touched: {self.by_hand(databases[0])}")
        found = [one for one in self.volumes if one.covered == services[0]]
        if not found:
            raise BackupError(f"restore_what: service {services[0]} has no volume of its own: restore the app instead")
        return found

    def dumps(self, volumes: Iterable[Volume]) -> list[Database]:
        """The databases whose dumps fill these volumes."""
        services = {one.covered for one in volumes if one.covered}
        return [one for one in self.databases if one.service in services]

    @property
    def remote(self) -> list[Database]:
        """The databases of other servers."""
        return [one for one in self.databases if not one.service]

    def by_hand(self, database: Database) -> str:
        """Say that the live database of another server is left alone, and how a person loads its dump."""
        words = restic.dump_words(self.config.repository, self.set.parts[database.part], database.file)
        return (
            f"database {database.name} is on another server, which a restore leaves alone: all of its users would lose "
            f"what was written since. To load its dump, {remote_postgres.by_hand(words, database)}"
        )


def parts_of(source: Source, what: What, chosen: Sequence[Volume]) -> list[str]:
    """The parts of a set that a restore reads."""
    parts = [backup_sets.APP] if what.kind in ("app", "env") else []
    if any(not one.covered for one in chosen):
        parts.append(backup_sets.VOLUMES)
    if backup_sets.SQLITE in source.manifest["parts"] and what.kind in ("app", "volume"):
        parts.append(backup_sets.SQLITE)
    return parts + [one.part for one in source.dumps(chosen)]
