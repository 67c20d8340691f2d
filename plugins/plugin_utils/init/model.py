# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the stages of `init` hand on to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.core.variable import Variable

Spec = Mapping[str, Any]
"""One service as the compose files merge it (Compose Specification, services), not interpolated."""

Row = Mapping[str, object]
"""One row of a table of the inventory: of `app_env_variables`, `compose_app_services` or `selfheal_checks`."""


class InitError(Exception):
    """Nothing is written: where the problem is, why it is one, and what to do."""

    def __init__(self, where: str, reason: str, fix: str) -> None:
        super().__init__(f"{where}: {reason}. Nothing was written. Fix: {fix}")
        self.where, self.reason, self.fix = where, reason, fix


class Place(NamedTuple):
    """A line of a file of the project; line 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.file} line {self.line}" if self.line else self.file


class Use(NamedTuple):
    """A compose file names a variable.

    `operator` and `fallback` are those of `dotenv.Reference`; `is_passed`: only the name is there.
    """

    name: str
    place: Place
    operator: str
    fallback: str
    is_passed: bool = False


class Setting(NamedTuple):
    """A line of an env file: the name, the value as Compose reads it, and where it is."""

    name: str
    value: str
    place: Place


class Published(NamedTuple):
    """A port that a service publishes, as it is written, with variables; `published` is "" for a random one."""

    service: str
    address: str
    published: str
    target: str
    protocol: str


class Mounted(NamedTuple):
    """A path of the project that services may write to: how many files are there now, and their bytes.

    `owner`: UID:GID of the path, "" without one. `users`: the numeric users that the services run as, in their order.
    """

    name: str
    services: Sequence[str]
    files: int
    size: int
    owner: str = ""
    users: Sequence[int] = ()


class Project(NamedTuple):
    """A compose project as it was read.

    :arg folder: the one that holds everything that the compose files name; paths below are relative to it.
    :arg files: the compose files in order; `is_found`: `docker compose` finds just these by itself.
    :arg services: after the merge; `ports` are theirs.
    :arg uses: every variable that a compose file names.
    :arg env: the lines of `.env`; of a name that is set twice, the last one.
    :arg env_files: the lines of other env files, by file; `readers`: the services that read a file.
    :arg literal: where a compose file sets a variable of a container, by its name.
    :arg mounted: what services may write to.
    """

    folder: str
    files: Sequence[str]
    is_found: bool
    app: str
    services: Mapping[str, Spec]
    ports: Sequence[Published]
    uses: Sequence[Use]
    env: Mapping[str, Setting]
    env_files: Mapping[str, Mapping[str, Setting]]
    readers: Mapping[str, Sequence[str]]
    literal: Mapping[str, Place]
    mounted: Sequence[Mounted] = ()


class Guess(NamedTuple):
    """The kind of a variable: the row's other keys, the same as the library reads it, and why it was chosen."""

    options: Row
    variable: Variable
    reason: str


class Flaw(NamedTuple):
    """A value that has to be corrected: the name, where its value is, why, and what to do. It never holds the value.

    `is_unfilled`: it is missing or a placeholder, so that a value in the inventory corrects it.
    """

    name: str
    place: str
    reason: str
    fix: str
    is_unfilled: bool = False


class Entry(NamedTuple):
    """One row and its comment in one line; of a variable, its name, and the value when that is in the vault."""

    row: Row
    comment: str
    name: str = ""
    in_vault: bool = False
    value: str = ""


class Guessed(NamedTuple):
    """What the inventory will say.

    :arg known: services that need no row, with the reason.
    :arg left: what stays where it is, with the reason, a sentence each.
    :arg flaws: placeholders, missing values, and values that a deploy would refuse.
    :arg notes: what to know of the project before a deploy, a sentence each.
    """

    variables: Sequence[Entry]
    services: Mapping[str, Entry]
    checks: Mapping[str, Entry]
    known: Mapping[str, str]
    left: Sequence[str]
    flaws: Sequence[Flaw]
    notes: Sequence[str]


class Target(NamedTuple):
    """Where the inventory goes, and what is about the host.

    :arg path: the folder, absolute; `shown` is how messages call it.
    :arg source: the project's folder seen from it; `exclude`: it seen from the project's folder, "" when it is outside.
    :arg address: of the host, "" for the example; `user`: "" for root; `name`: how the inventory calls it.
    :arg collections: the folder that this collection was loaded from, "" for one that Ansible finds by itself.
    :arg has_password_file: whether the vault's password is a file in the folder.
    :arg connection: what else Ansible needs to connect to the host: names of its variables, and their values.
    """

    path: str
    shown: str
    source: str
    exclude: str
    address: str
    user: str
    collections: str
    has_password_file: bool
    name: str
    connection: Sequence[tuple[str, object]] = ()


class File(NamedTuple):
    """One file to write: a path relative to the folder, its text before ("" for a new one) and after.

    `shown_before` and `shown_after` are for people: of a vault, the names alone.
    """

    path: str
    before: str
    after: str
    shown_before: str
    shown_after: str
    mode: int = 0o644


class Plan(NamedTuple):
    """The files to write, those that stay as they are because init did not write them, and what to do by hand.

    `has_example`: the host's address is still the example.
    """

    files: Sequence[File]
    kept: Sequence[str]
    by_hand: Sequence[str]
    has_example: bool
