# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What backup.yml, restore.yml and rebuild.yml say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from ansible.module_utils.common.text.formatters import bytes_to_human

VOLUMES_COMMAND = "docker volume ls --filter label=christmas.selfheal.restore"


class Backup(TypedDict, total=False):
    """The result of the module app_backup that created a backup. In check mode it has nothing but the newest `set`."""

    set: str | None
    seconds: float
    bytes: int
    added: int
    not_in_it: Sequence[str]


class Verification(TypedDict, total=False):
    """The result of the module app_backup that verified a backup; of a skipped task, only `skipped`."""

    skipped: bool
    seconds: float
    checks: Sequence[Any]
    contents: Sequence[str]


class Restore(TypedDict, total=False):
    """The result of the module app_restore. In check mode it has only `differences`, `set` and `what`."""

    set: str
    what: str
    differences: Sequence[str]
    safety: str
    unsaved: bool
    seconds: float
    gap: float


def backup_message(backup: Backup, verification: Verification, app: str, host: str, check_mode: bool) -> str:
    """Return which backup was created, what is not in it, and whether it is verified."""
    name = f"{app} on {host}"
    if check_mode:
        return f"{name}: the repository can be opened; the newest backup is {backup.get('set') or 'none'}"
    size, added = bytes_to_human(backup["bytes"]), bytes_to_human(backup["added"])
    return "\n".join(
        [
            f"{name}: backup {backup['set']} was created in {backup['seconds']} s: {size}, {added} of it new",
            *(f"  not included: {left_out}" for left_out in backup["not_in_it"]),
            *_verification_lines(verification),
        ]
    )


def _verification_lines(verification: Verification) -> list[str]:
    if verification.get("skipped"):
        return ["It is not verified yet: the host does that on its schedule, -e backup_verify=true does it now"]
    passed = (
        f"It was verified in {verification['seconds']} s, by restoring it; {len(verification['checks'])} checks passed"
    )
    return [passed, *(f"  verified: {line}" for line in verification["contents"])]


def restore_message(restore: Restore, app: str, host: str, check_mode: bool) -> str:
    """Return what was restored and how to undo it; in check mode, what a restore would do."""
    name = f"{app} on {host}"
    if check_mode:
        header = f"{name}: nothing was changed. A restore would do this:"
        return "\n".join([header, *(f"  {difference}" for difference in restore["differences"])])
    what = restore["what"]
    done = (
        f"{name}: restored {what} from backup {restore['set']} in {restore['seconds']} s; "
        f"the app was stopped for {restore['gap']} s"
    )
    return "\n".join([done, *_undo_lines(restore)])


def _undo_lines(restore: Restore) -> list[str]:
    if restore["safety"]:
        part = "" if restore["what"] == "app" else f" -e restore_what={restore['what']}"
        return [f"To undo it: -e restore_to={restore['safety']}{part}"]
    if restore["unsaved"]:
        return [
            f"What it replaced could not be backed up and is kept on the host: `{VOLUMES_COMMAND}` lists its volumes"
        ]
    return []


def rebuild_message(restore: Restore, seconds: float, app: str, host: str, check: bool) -> str:
    """Return how long a rebuild took, and from which backup it was; in check mode, from which it would be."""
    backup = f"from backup {restore.get('set') or 'none'}"
    if check:
        return f"{app} on {host} would be rebuilt {backup}. Nothing was changed."
    return f"{app} on {host} was rebuilt in {round(seconds)} s, {backup}. Data written after that backup is not in it."
