# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the files of one app are on the host, and which names an app may have."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

# Compose's own rule for project names (compose-spec, "name").
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class AppError(Exception):
    """The app is described wrongly; the message names the key and the fix."""


def progress_path(name: str, root: str = "/") -> str:
    """Where a deploy writes its steps, a JSON line each. Every user of the host may read them."""
    return os.path.join(root, "run/selfheal", f"{name}.progress")


class AppPaths(NamedTuple):
    """The app's name, its directory, and the paths of what is kept of it below `root`."""

    name: str
    directory: str
    root: str = "/"

    @property
    def env(self) -> str:
        """The app's `.env`."""
        return os.path.join(self.directory, ".env")

    @property
    def state(self) -> str:
        """Where history, incidents and state are kept."""
        return os.path.join(self.root, "var/lib/selfheal", self.name)

    @property
    def history(self) -> str:
        """Where older versions of the env are kept."""
        return os.path.join(self.state, "env")

    @property
    def incidents(self) -> str:
        """Where incidents and their evidence are kept."""
        return os.path.join(self.state, "incidents")

    @property
    def reports(self) -> str:
        """Where the reports of the months are kept."""
        return os.path.join(self.state, "reports")

    @property
    def incoming(self) -> str:
        """Where a copy of the project waits until it is judged. A folder deep in our own: `../` of it is ours, too."""
        return os.path.join(self.state, "incoming", "project")

    @property
    def copied(self) -> str:
        """Says which files of the project were copied to the app's directory, and what each was."""
        return os.path.join(self.state, "copied.json")

    @property
    def written(self) -> str:
        """Says what the files of the project were when they were written last: a deploy puts them in force."""
        return os.path.join(self.state, "written.json")

    @property
    def haproxy(self) -> str:
        """Where HAProxy's files are kept as they were when they passed its own check."""
        return os.path.join(self.state, "haproxy")

    @property
    def spare(self) -> str:
        """Where the state is kept while its own place cannot be written: in memory, until the next boot."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.state.json")

    @property
    def domain(self) -> str:
        """Where the account of the app's domain at its CA is kept, and the certificate in use with its key."""
        return os.path.join(self.state, "domain")

    @property
    def certificate(self) -> str:
        """For which names the certificate of the domain is, when it ends, and why it could not be renewed."""
        return os.path.join(self.state, "certificate.json")

    @property
    def domain_lock(self) -> str:
        """The lock that each renewal of the certificate holds."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.domain.lock")

    @property
    def rollout(self) -> str:
        """Says that a deploy goes on, or was killed: what came before it."""
        return os.path.join(self.state, "rollout.json")

    @property
    def restoring(self) -> str:
        """Says that a restore is swapping its result in, or was killed while it did: what to roll back."""
        return os.path.join(self.state, "restore.json")

    @property
    def backup(self) -> str:
        """When the last backup was made, when one was verified, and what is wrong with them."""
        return os.path.join(self.state, "backup.json")

    @property
    def writes_paused(self) -> str:
        """Says that a backup has paused the app's writes, or was killed while they were."""
        return os.path.join(self.state, "writes-paused")

    @property
    def backup_lock(self) -> str:
        """The lock that backup, verification and restore share. A recovery need not wait for it."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.backup.lock")

    @property
    def engine_lock(self) -> str:
        """The lock of each start and restart of the engine, for all apps of the host."""
        return os.path.join(self.root, "run/selfheal", ".engine.lock")

    @property
    def lock(self) -> str:
        """The lock that deploy, recovery and the last step of a restore share."""
        return os.path.join(self.root, "run/selfheal", f"{self.name}.lock")


def app_paths(name: str, directory: str = "", root: str = "/") -> AppPaths:
    """The paths of an app, whose directory is /opt/<name> unless another is given. Raises AppError for a wrong name."""
    if not _NAME.fullmatch(name):
        raise AppError(
            f"selfheal_app: {name!r} cannot name a compose project: use lower-case letters, digits, - and _, "
            "beginning with a letter or a digit"
        )
    return AppPaths(name, directory or os.path.join(root, "opt", name), root)
