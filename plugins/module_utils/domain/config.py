# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of an app's domain: /etc/selfheal/domain/<app>.json, written by the role `load_balancer`."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..core.app_paths import AppError, AppPaths, app_paths
from ..recovery import config as agent_config
from ..recovery.config import ConfigError, Wrong, check_keys

FOLDER = "etc/selfheal/domain"
_KEYS = ("app", "names", "email", "directory", "ca_file", "address")


class Domain(NamedTuple):
    """The names that the certificate is for, and who issues it.

    `email` is the contact of the account, `directory` the URL of the CA: the client's own default where it is "".
    `ca_file` has the certificates by which the CA is trusted, besides those that the host trusts. `address` is the one
    at which HAProxy answers this host.
    """

    paths: AppPaths
    names: tuple[str, ...]
    email: str
    directory: str
    ca_file: str
    address: str


def path_of(name: str, root: str = "/") -> str:
    """The path of the settings of an app's domain."""
    return os.path.join(root, FOLDER, f"{name}.json")


def load(name: str, root: str = "/") -> Domain:
    """Read and check the settings of an app's domain. Raises ConfigError."""
    path = path_of(name, root)
    missing = f"{name} has no domain. Set load_balancer_domain, then run christmas.selfheal.site"
    found = agent_config.read(path, missing)
    try:
        check_keys(found, _KEYS)
        names = tuple(map(str, found.get("names") or ()))
        if not names:
            raise Wrong("`names` is empty. Fix: set load_balancer_domain, then run christmas.selfheal.site")
        texts = {key: str(found.get(key) or "") for key in ("email", "directory", "ca_file")}
        address = str(found.get("address") or "127.0.0.1")
        return Domain(app_paths(name, root=root), names, **texts, address=address)
    except (AppError, Wrong) as error:
        raise ConfigError(f"{path}: {error}") from None
