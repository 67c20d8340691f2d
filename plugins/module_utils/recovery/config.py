# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The agent's config: /etc/selfheal/<app>.json, written by the role `watcher`, without a secret in it.

A copy of the last good one is in the app's state: it stays in force when the file is deleted or damaged.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

from ..core.app import App, Balancer, BalancerSettings, read_balancer
from ..core.app_paths import AppError, app_paths
from ..core.files import atomic_write, explain, readable
from ..env import rules as secret_rules
from ..probe import check_spec, web
from . import ladder

FOLDER = "etc/selfheal"
_STATE = "var/lib/selfheal"
STAYS = "the config that was in force before stays in force"

_SECONDS: dict[str, tuple[float, float, float]] = {
    # key: (default, smallest, largest)
    "interval": (1.0, 0.2, 60.0),
    "response_seconds": (2.0, 0.1, 60.0),
    "journey_seconds": (15.0, 1.0, 3600.0),
    "settle_seconds": (20.0, 1.0, 600.0),
    "pause_alert_seconds": (3600.0, 60.0, 604800.0),
}
_KEEP_DAYS = (100.0, 1.0, 3650.0)
_KEYS = {
    *("app", "enabled", "directory", "variables", "checks", "upstreams", "host", "language", "keep_days", "policy"),
    *("alertmanager", "metrics_directory", "balancer", *_SECONDS),
}


class ConfigError(Exception):
    """The config cannot be used; the message names the file, the key and the fix."""


class Config(NamedTuple):
    """What the watcher of one app goes by. Seconds throughout but for `keep_days`.

    `enabled`: whether the app is to be watched at all (watcher_enabled).
    """

    app: App
    enabled: bool
    interval: float
    response_seconds: float
    journey_seconds: float
    settle_seconds: float
    pause_alert_seconds: float
    keep_days: float
    policy: ladder.Policy
    alertmanager: str
    metrics_directory: str

    @property
    def silence(self) -> float:
        """How long the watcher may go without a sign of life, in seconds: all checks may run out of their time."""
        return 30.0 + self.interval + sum(check.timeout for check in self.app.checks)


def path_of(name: str, root: str = "/") -> str:
    """The path of an app's config."""
    return os.path.join(root, FOLDER, f"{name}.json")


def copy_of(name: str, root: str = "/") -> str:
    """Where the last good config of an app is kept."""
    return os.path.join(root, _STATE, name, "config.json")


def kept(root: str = "/") -> list[str]:
    """The names of the apps of which a config is kept, whether or not the config itself is there."""
    folder = os.path.join(root, _STATE)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if os.path.isfile(copy_of(name, root)))


def keep(name: str, content: bytes, root: str = "/") -> None:
    """Keep a good config of an app for the day when it is gone. Raises OSError."""
    copy = copy_of(name, root)
    if content != readable(copy):
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        atomic_write(copy, content)


def in_force(name: str, root: str = "/") -> tuple[Config, str]:
    """The config of an app, and why it is not the one in /etc/selfheal but the last good one, "" when it is.

    :raises ConfigError: it cannot be used, and no good one is kept.
    """
    try:
        return of_app(name, path_of(name, root), root), ""
    except ConfigError as problem:
        try:
            return of_app(name, copy_of(name, root), root), f"{STAYS}: {problem}"
        except ConfigError:
            raise problem from None


def of_app(name: str, path: str, root: str = "/") -> Config:
    """Read and check a config, which has to be that app's. Raises ConfigError."""
    config = load(path, root)
    if config.app.name != name:
        raise ConfigError(f"{path}: `app` is {config.app.name!r}. Fix: write {name!r}, as the file is called")
    return config


def to_be_watched(root: str = "/") -> dict[str, str]:
    """The apps of this host that are to be watched, each with the name that its host has in the inventory.

    One whose config cannot be read counts as well: it was not taken out by its role.
    """
    found: dict[str, str] = {}
    for name in apps(root):
        given: Any = None
        with contextlib.suppress(ConfigError):
            given = read(path_of(name, root))
        given = given if isinstance(given, Mapping) else {}
        if given.get("enabled", True):
            found[name] = str(given.get("host") or "") or socket.gethostname()
    return found


def apps(root: str = "/", folder: str = FOLDER) -> list[str]:
    """The names of the apps that have a config on this host, of the agent or of what else has a folder of configs."""
    folder = os.path.join(root, folder)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name[:-5] for name in names if name.endswith(".json") and not name.startswith("."))


def read(path: str, missing: str = "christmas.selfheal.site writes it") -> Any:
    """The JSON of a config, unchecked. `missing` says what to do without one. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: {missing}") from None
    except OSError as error:
        raise ConfigError(explain(error)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not valid JSON ({error}): run christmas.selfheal.site, which writes it again"
        ) from None


def load(path: str, root: str = "/") -> Config:
    """Read and check a config.

    :raises ConfigError: it is missing, does not parse, or is not valid.
    """
    found = read(path)
    try:
        return _checked(found, root)
    except (AppError, check_spec.CheckError, ladder.PolicyError, secret_rules.TableError, Wrong) as error:
        raise ConfigError(f"{path}: {error}") from None


class Wrong(Exception):
    """What is wrong in a config, and the fix; the reader of the file adds its path."""


def check_keys(found: Any, keys: Collection[str]) -> None:
    """Raise Wrong unless it is an object with no other keys than these."""
    if not isinstance(found, Mapping):
        raise Wrong("is not a JSON object. Fix: run christmas.selfheal.site, which writes it again")
    for key in found:
        if key not in keys:
            raise Wrong(f"unknown key `{key}`. Fix: remove it, or update the agent with christmas.selfheal.site")


def number(found: Mapping[str, object], key: str, limits: tuple[float, float, float], name: str = "") -> float:
    """The number under a key; it is whole where its default is.

    :arg limits: (default, smallest, largest).
    :arg name: what the user calls it, where that is not the key.
    :raises Wrong: it is not a number, or out of its limits.
    """
    default, smallest, largest = limits
    value = found.get(key, default)
    is_whole = isinstance(default, int)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and is_whole:
        is_number = isinstance(value, int)
    if not is_number or not isinstance(value, (int, float)) or not smallest <= value <= largest:
        called = "a whole number" if is_whole else "a number"
        raise Wrong(f"`{name or key}` is {value!r}. Fix: write {called} from {smallest:.12g} to {largest:.12g}")
    return value


def _checked(found: Any, root: str) -> Config:
    check_keys(found, _KEYS)
    for key, kind in (("app", str), ("checks", list), ("variables", list)):
        if not isinstance(found.get(key), kind):
            raise Wrong(
                f"`{key}` is missing or of the wrong type. Fix: run christmas.selfheal.site, which writes it again"
            )
    variables = secret_rules.parse_table(found["variables"])
    names = [variable.name for variable in variables]
    seconds = {key: number(found, key, limits) for key, limits in _SECONDS.items()}
    enabled, language = _enabled(found), _language(found)
    # The agent's own timeout holds for a check that has none.
    timeout = seconds["response_seconds"]
    upstreams = check_spec.parse_checks(found.get("upstreams") or [], names, may_be_empty=True, timeout=timeout)
    checks = check_spec.parse_checks(found["checks"], names, may_be_empty=True, timeout=timeout)
    address = _alertmanager(found)
    app = App(
        paths=app_paths(found["app"], str(found.get("directory") or "").rstrip("/"), root),
        variables=variables,
        checks=checks,
        upstreams=upstreams,
        language=language,
        host=str(found.get("host") or ""),
        balancer=_balancer(found),
    )
    return Config(
        app=app,
        enabled=enabled,
        keep_days=number(found, "keep_days", _KEEP_DAYS),
        policy=ladder.check_policy(found.get("policy") or {}),
        alertmanager=address,
        metrics_directory=str(found.get("metrics_directory") or ""),
        **seconds,
    )


def _enabled(found: Mapping[str, object]) -> bool:
    enabled = found.get("enabled", True)
    if not isinstance(enabled, bool):
        raise Wrong(f"`enabled` is {enabled!r}. Fix: write true or false")
    return enabled


def _language(found: Mapping[str, object]) -> str:
    language = found.get("language", "en")
    if language not in ("en", "ko"):
        raise Wrong(f"`language` is {language!r}. Fix: write en or ko")
    return str(language)


def _alertmanager(found: Mapping[str, object]) -> str:
    address = str(found.get("alertmanager") or "")
    if address and web.address(address) is None:
        raise Wrong(f"`alertmanager` is {address!r}, not an http(s) URL. Fix: write http://127.0.0.1:9093, or nothing")
    return address.rstrip("/")


def _balancer(found: Mapping[str, object]) -> Balancer | None:
    given = found.get("balancer") or {}
    if not isinstance(given, Mapping):
        raise Wrong("`balancer` is not a JSON object. Fix: run christmas.selfheal.site, which writes it again")
    return read_balancer(cast(BalancerSettings, given))
