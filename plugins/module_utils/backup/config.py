# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of an app's backup: /etc/selfheal/backup/<app>.json, written by the role `backup`, without a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from ..core.app_paths import AppPaths
from ..recovery import config as agent_config
from ..recovery.config import Config, ConfigError, Wrong, check_keys
from .databases import BackupError, Database, Row, read_databases
from .questions import DataCheck, read_checks
from .restic import Repository
from .retention import Keep

FOLDER = "etc/selfheal/backup"
_NUMBERS: dict[str, tuple[int, int, int]] = {
    # key: (default, smallest, largest)
    "upload_kib": (0, 0, 10_000_000),
    "download_kib": (0, 0, 10_000_000),
    "check_percent": (5, 0, 100),
    "kept_days": (7, 0, 365),
}
_KEYS = {
    *("app", "repository", "ssh_command", "secrets", "databases", "checks", "before", "after", "keep", "host"),
    *("volumes_left_out", "images", *_NUMBERS),
}


class Hook(NamedTuple):
    """A command in a container of the app, before or after its data is read."""

    service: str
    command: list[str]


class Backup(NamedTuple):
    """What is backed up, where to, and how long it stays. `rows` are those that `databases` were read from."""

    watched: Config
    repository: Repository
    databases: list[Database]
    checks: list[DataCheck]
    before: list[Hook]
    after: list[Hook]
    keep: Keep
    host: str
    volumes_left_out: list[str]
    images: bool
    check_percent: int
    kept_days: int
    rows: list[Row]

    @property
    def paths(self) -> AppPaths:
        """Where the app's files are."""
        return self.watched.app.paths


def path_of(name: str, root: str = "/") -> str:
    """The path of the config of an app's backup; its password and its other secrets are in the same folder."""
    return os.path.join(root, FOLDER, f"{name}.json")


def apps(root: str = "/") -> list[str]:
    """The names of the apps that are backed up."""
    return agent_config.apps(root, FOLDER)


def load(name: str, root: str = "/", path: str = "") -> Backup:
    """Read and check the config of an app's backup, and that of its watcher. Raises ConfigError."""
    path = path or path_of(name, root)
    found = agent_config.read(path, f"{name} is not backed up. Set backup_repository, then run christmas.selfheal.site")
    try:
        return _checked(found, root)
    except (BackupError, Wrong) as error:
        raise ConfigError(f"{path}: {error}") from None


def _checked(found: Any, root: str) -> Backup:
    check_keys(found, _KEYS)
    name, url = str(found.get("app") or ""), _url(found)
    for other in (f"{name}-verify", f"{name}-restore"):
        if other in agent_config.apps(root):
            raise Wrong(f"the app {other} has the name of a scratch project of {name}. Fix: rename one of them")
    numbers = {key: _number(found, key, limits) for key, limits in _NUMBERS.items()}
    keep = _keep(found)
    databases = read_databases(found.get("databases") or [])
    watched = agent_config.load(agent_config.path_of(name, root), root)
    _check_dsn_variables(databases, [one.name for one in watched.app.variables])
    return Backup(
        watched=watched,
        repository=Repository(
            url,
            password_file=os.path.join(root, FOLDER, f"{name}.password"),
            secrets_file=os.path.join(root, FOLDER, f"{name}.env") if found.get("secrets") else "",
            ssh_command=str(found.get("ssh_command") or ""),
            upload_kib=numbers["upload_kib"],
            download_kib=numbers["download_kib"],
        ),
        databases=databases,
        checks=read_checks(found.get("checks") or [], databases),
        before=_hooks(found, "before"),
        after=_hooks(found, "after"),
        keep=keep,
        host=str(found.get("host") or watched.app.host),
        volumes_left_out=[str(key) for key in found.get("volumes_left_out") or []],
        images=bool(found.get("images", True)),
        check_percent=numbers["check_percent"],
        kept_days=numbers["kept_days"],
        rows=[cast(Row, dict(row)) for row in found.get("databases") or []],
    )


def _url(found: Mapping[str, Any]) -> str:
    """The repository's URL: the same place from everywhere, and without a password."""
    url = str(found.get("repository") or "")
    if not url:
        raise Wrong("backup_repository is empty. Fix: write a path, sftp:user@host:/path, rest:https://host/ or s3:...")
    if not re.match(r"/|[a-z0-9]+:", url):
        raise Wrong(
            f"backup_repository is {url!r}, which is relative to the folder it is read from. Fix: write a path that "
            "begins with /"
        )
    if re.search(r"//[^/@]*:[^/@]*@", url):
        raise Wrong(
            "backup_repository holds a password, which every list of processes would show. Fix: write the URL "
            "without it, and RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD into backup_secrets"
        )
    return url


def _keep(found: Mapping[str, Any]) -> Keep:
    keep = found.get("keep") or {}
    if not isinstance(keep, Mapping) or set(keep) - set(Keep._fields):
        raise Wrong(f"backup_keep has other keys than {', '.join(Keep._fields)}. Fix: remove them")
    return Keep(**{key: _number(keep, key, (default, 0, 1000)) for key, default in Keep()._asdict().items()})


def _check_dsn_variables(databases: Sequence[Database], variables: Sequence[str]) -> None:
    for one in databases:
        if one.dsn_variable and one.dsn_variable not in variables:
            raise Wrong(
                f"backup_databases ({one.name}): `dsn_variable` is {one.dsn_variable}, which the app's table does not "
                f"have; it has {', '.join(variables) or 'none'}. Fix: name one of app_env_variables"
            )


def _hooks(found: Mapping[str, Any], key: str) -> list[Hook]:
    hooks = []
    for number, row in enumerate(found.get(key) or [], 1):
        good = isinstance(row, Mapping) and row.get("service") and isinstance(row.get("command"), list)
        if not good:
            raise Wrong(
                f"backup_{key}, row {number}: expected a service and a command. Fix: write "
                "{service: backend, command: [my-command, --flag]}"
            )
        hooks.append(Hook(str(row["service"]), [str(word) for word in row["command"]]))
    return hooks


def _number(found: Mapping[str, Any], key: str, limits: tuple[int, int, int]) -> int:
    return int(agent_config.number(found, key, limits, f"backup_{key}"))
