# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of adopt on the controller, up to the take-over: receive the files, write the inventory, make the plan."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import adopted_mounts
from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt import front, owners, plan, receive
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import run as init
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError, Project
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import (
    APP,
    CONFIGURATION,
    HOSTS,
    PASSWORD_FILE,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.shown_path import shown_path

_INVENTORY = "deploy"
_MEMORY = "/dev/shm"


class Place(NamedTuple):
    """Where the project goes on the controller: absolute, and as messages show it; the host for the inventory."""

    to: str
    shown: str
    host: str

    @property
    def inventory(self) -> str:
        """The folder of the inventory."""
        return os.path.join(self.to, _INVENTORY)

    @property
    def hosts(self) -> str:
        """The inventory's file of hosts."""
        return os.path.join(self.inventory, HOSTS)

    @property
    def configuration(self) -> str:
        """The inventory's ansible.cfg, "" when there is none."""
        path = os.path.join(self.inventory, CONFIGURATION)
        return path if os.path.isfile(path) else ""

    @property
    def password_file(self) -> str:
        """The file with the vault's password, "" when there is none."""
        path = os.path.join(self.inventory, PASSWORD_FILE)
        return path if os.path.isfile(path) else ""


class Prepared(NamedTuple):
    """The plan, what a person has to do before the take-over, and whether files are or would be written here."""

    plan: str
    to_do: Sequence[str]
    changed: bool


def place(to: str, app: str, host: str, here: str) -> Place:
    """Where the project of an app goes.

    :arg to: what the user named, "" for a folder of the app's name.
    """
    path = os.path.abspath(os.path.join(here, os.path.expanduser(to or app)))
    return Place(path, _shown(path, here), host)


def _shown(path: str, here: str) -> str:
    shown = shown_path(path, here)
    return shown if shown.startswith((".", "/")) else f"./{shown}"


def is_known(where: Place, found: Adoption) -> bool:
    """Whether the folder has the inventory of this app on this host."""
    said = receive.record(where.to)
    return said is not None and said["app"] == found["app"] and os.path.isfile(where.hosts)


def prepare(
    found: Adoption,
    where: Place,
    request: init.Request,
    now: float,
    require_valid: Callable[[Project], None],
    check: bool,
    in_front: bool = False,
) -> Prepared:
    """Receive the files and write the inventory; in check mode, say what would be written.

    :arg request: for init, without what comes from the host.
    :arg in_front: put a load balancer in front first. An inventory that has one keeps it.
    :raises InitError: the folder holds something else, or init refuses the project. Nothing was written.
    :raises OSError: a file cannot be written. Those that are there already stay; the next run goes on.
    """
    is_balanced = front.is_written(where.inventory) or in_front
    if is_balanced:
        front.require(found["front"])
    if not check:
        _require_accepted(found, where, request, now, require_valid)
    record = receive.Record(host=where.host, folder=found["folder"], app=found["app"], temporary_env="")
    received = receive.compare(found["archive"], where.to, found["files"], record)
    _require_all_files(found, where)
    if not check:
        # First, so that a run that is killed here can be completed.
        receive.write_record(
            where.to, {**record, "temporary_env": received.env if received.env in received.new else ""}
        )
    notes = _of_owners(found, where)
    rows = {one["service"]: owners.row(one) for one in found["foreign"]}
    with _files(found, where, received, check) as source:
        given = [os.path.join(source, name) for name in found["files"]]
        asked = request._replace(given=given, to=where.inventory, host=where.host, app=found["app"], services=rows)
        done = init.run(asked, check, now, require_valid)
    if not check:
        receive.write_record(where.to, record)
        if in_front:
            front.write(where.inventory, found)
    folders = plan.Folders(where.shown, f"{where.shown}/{_INVENTORY}", where.host)
    left = [f"Not in the inventory: {line}" for line in done.report.left]
    known: Adoption = {**found, "notes": [*found["notes"], *notes, *done.report.notes]}
    queue = front.queue_seconds(where.inventory, found) if is_balanced else None
    text = plan.render(known, received, folders, [*done.report.written, *left], queue)
    stays = [name for name in received.new if name != received.env]
    return Prepared(text, done.report.to_do, bool(stays) or done.changed)


def _require_accepted(
    found: Adoption, where: Place, request: init.Request, now: float, require_valid: Callable[[Project], None]
) -> None:
    """Refuse, before the first file is written, what init refuses. Raises InitError."""
    prepare(found, where, request, now, require_valid, check=True)


def _of_owners(found: Adoption, where: Place) -> list[str]:
    """What becomes of services that work as root on files of others: an inventory that is there stays as it is."""
    try:
        with open(os.path.join(where.inventory, APP), encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return [owners.kept(one) for one in found["foreign"]]
    return [] if owners.CAPABILITY in text else [owners.lost(one) for one in found["foreign"]]


def _require_all_files(found: Adoption, where: Place) -> None:
    """Refuse an inventory that does not name the file of the data: the app would start without it."""
    path = os.path.join(where.inventory, APP)
    if not os.path.isfile(path) or os.path.basename(found["files"][-1]) != adopted_mounts.FILE:
        return
    with open(path, encoding="utf-8") as stream:
        if adopted_mounts.FILE in stream.read():
            return
    listed = ", ".join(found["files"])
    raise InitError(
        f"{where.shown}/{_INVENTORY}/{APP}",
        f"it does not name {adopted_mounts.FILE}, which says where data stays on the host",
        f"write there: compose_app_files: [{listed}]",
    )


@contextlib.contextmanager
def _files(found: Adoption, where: Place, received: receive.Received, check: bool) -> Iterator[str]:
    """The folder with the project's files. The `.env` is there for init alone: its values go to the inventory."""
    if check:
        # The `.env` is among them: in memory, so that a kill leaves it on no disk.
        memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="selfheal-adopt-", dir=memory) as scratch:
            receive.unpack(found["archive"], scratch)
            yield scratch
        return
    os.makedirs(where.to, exist_ok=True)
    receive.unpack(found["archive"], where.to)
    try:
        yield where.to
    finally:
        if received.env in received.new:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(where.to, received.env))
