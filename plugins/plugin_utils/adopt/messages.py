# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What adopt says at its end. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.deploy.adoption import Adoption, Instance
from ansible_collections.christmas.selfheal.plugins.plugin_utils.adopt.run import Place


class Next(NamedTuple):
    """The commands for the next change: to deploy the project, and to edit the vault."""

    deploy: str
    edit: str


def adopted(found: Adoption, where: Place) -> str:
    """The app is under this collection already."""
    lines = [
        f"{found['app']} on {where.host} is adopted already: it runs from {found['directory']}. Nothing was changed."
    ]
    by_hand = _by_hand(found)
    if by_hand:
        lines.append(f"{by_hand} Deploy to bring the hardened containers back: site.yml with the app's inventory.")
    if found["stage"] != "done":
        lines.append("It was deployed with another inventory than the one in this folder; use that one.")
    return "\n".join(lines)


def _by_hand(found: Adoption) -> str:
    if found["folder"] == found["directory"] or found["stage"] == "":
        return ""
    return f"But `docker compose` was run again in {found['folder']}: containers of it were started from there."


def to_do(lines: Sequence[str], check: bool) -> str:
    """What has to be done before the take-over."""
    listed = "\n".join(f"  - {line}" for line in lines)
    what = "The app was not touched, and nothing was written" if check else "The app was not touched"
    return f"{what}. To do first:\n{listed}\nThen run the same command again: it goes on from here."


def dry(where: Place) -> str:
    """A dry run has ended."""
    return f"Dry run: nothing was written, here or on {where.host}. Without adopt_dry and --check, this is done."


def failed(now: Adoption | None, found: Adoption, where: Place) -> str:
    """The take-over failed; say what runs now, as the host says it.

    :arg now: None when the host could not be asked.
    """
    fix = (
        "Correct what the run above names - in the inventory "
        f"{where.shown}/deploy, or in the project in {where.shown} - and run the same command again"
    )
    if now is None:
        return f"{found['app']} was not taken over, and the host could not be asked what runs now. {fix}."
    wanted = [one for one in now["instances"] if not _has_ended(one, found)]
    running = [one for one in wanted if one["state"] == "running"]
    origin = now["directory"] if now["stage"] in ("serves", "done") else _origin(now, found)
    states = f"{len(running)} of {len(wanted)} containers run, from {origin}"
    return f"{found['app']} was not taken over completely. Now {states}. {fix}."


def _has_ended(one: Instance, found: Adoption) -> bool:
    """Whether a container runs once, as for a migration: it had ended before, too. A server ran then."""
    before = [then["state"] for then in found["instances"] if then["service"] == one["service"]]
    return one["state"] == "exited" and one["exit_code"] == 0 and "exited" in before


def _origin(now: Adoption, found: Adoption) -> str:
    # By service: behind a load balancer, a container that came back may have another number.
    before = {(one["service"], one["image_id"]) for one in found["instances"]}
    same = all((one["service"], one["image_id"]) in before for one in now["instances"])
    return f"{now['folder']}, {'with the images as before' if same else 'with other images than before'}"


def done(found: Adoption, where: Place, notice: str, next_time: Next) -> str:
    """The app was taken over."""
    lines = [f"{found['app']} is adopted: it runs from {found['directory']} on {where.host}, hardened and watched."]
    lines += [f"The old folder stays as it is, with {notice}."] if notice else []
    lines += [f"From now on, change the project in {where.shown}, and deploy it from here:", f"  {next_time.deploy}"]
    lines += ["To change a secret, edit the vault first:", f"  {next_time.edit}"]
    if where.password_file:
        shown = f"{where.shown}/deploy/{os.path.basename(where.password_file)}"
        lines.append(f"Keep a copy of {shown} elsewhere: without it, no one can read the vault.")
    else:
        lines.append("The vault has the password of this run: ANSIBLE_VAULT_PASSWORD_FILE, or an option.")
    return "\n".join(lines)
