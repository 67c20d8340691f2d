# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whom the data belongs to that a deploy copies for the first time. Pure.

The app can only write there as it could on the controller, so numeric owners, groups and modes stay. What belongs to
the person who deploys has no owner chosen for it: a service with a numeric `user` gets it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..compose.services import OverlayError, Service
from ..docker.model import Services

_USER = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")
_GROUP_WRITES, _ALL_WRITE = 0o020, 0o002


class Owner(NamedTuple):
    """Of a file or a folder; ids are numeric."""

    uid: int
    gid: int
    mode: int

    @property
    def ids(self) -> str:
        """As chown takes them."""
        return f"{self.uid}:{self.gid}"


class Owners(NamedTuple):
    """Of the data on the controller: the user who deploys, and what differs from the folder above, by relative path."""

    user: int
    paths: Mapping[str, Owner]

    def of(self, name: str) -> Owner | None:
        """The owner of a file or folder; the mode is that of a folder. None for one that was not read."""
        while name and name not in self.paths:
            name = name.rpartition("/")[0]
        return self.paths.get(name)


class User(NamedTuple):
    """Whom a service runs as; `gid` is None where only the image knows it."""

    uid: int
    gid: int | None

    @property
    def ids(self) -> str:
        """As chown takes them."""
        return str(self.uid) if self.gid is None else f"{self.uid}:{self.gid}"


def parse(given: Mapping[str, object]) -> Owners | None:
    """What the controller has sent; None when it has read nothing.

    :raises OverlayError: it is something else.
    """
    if not given:
        return None
    paths, user = given.get("paths"), given.get("user")
    if not isinstance(paths, Mapping) or not isinstance(user, int):
        raise OverlayError("owners", "is not what the controller reads", "leave it out: it follows from source")
    return Owners(user, {str(name): Owner(*ids) for name, ids in paths.items()})


def users(project: Services, table: Mapping[str, Service]) -> dict[str, User]:
    """The services whose user is a number in the inventory or in the compose file."""
    found = {}
    for name, spec in project.items():
        said = table[name].said.get("user") if name in table else None
        match = _USER.fullmatch(str(said or spec.get("user") or ""))
        if match:
            found[name] = User(int(match[1]), int(match[2]) if match[2] else None)
    return found


def given_to(owner: Owner, owners: Owners, user: User | None) -> Owner:
    """The owner on the host of what has this one on the controller."""
    if user is None or owner.uid != owners.user:
        return owner
    return owner._replace(uid=user.uid, gid=owner.gid if user.gid is None else user.gid)


def first_user(services: Sequence[str], known: Mapping[str, User]) -> tuple[str, User | None]:
    """Of the services that write to a folder, the first whose user is known."""
    found = [name for name in services if name in known]
    return (found[0], known[found[0]]) if found else (services[0], None)


def problem(owner: Owner, service: str, user: User | None, path: str) -> str:
    """Why a service may not be able to write to a folder of this owner, with the command; "" when it can."""
    if user is None:
        if owner.uid or owner.mode & _ALL_WRITE:
            return ""
        return f"If {service} runs as another user than root, give it the folder: chown -R UID:GID {path}"
    by_group = owner.gid == user.gid and bool(owner.mode & _GROUP_WRITES)
    if user.uid in (0, owner.uid) or by_group or owner.mode & _ALL_WRITE:
        return ""
    return f"{service} runs as {user.ids} and cannot write there. Fix, on the host: chown -R {user.ids} {path}"
