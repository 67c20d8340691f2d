# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where playbooks write their reports on the controller."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

_FOLDER = "reports"


class NotMoved(ValueError):
    """Files are where an earlier version kept them; the message says how to move them."""


def reports_folder(inventory_dir: str, sources: Sequence[str]) -> str:
    """Return `reports` next to a host's inventory, wherever the playbook was started.

    :arg inventory_dir: the folder of the file that the host is in, "" for a host of the command line.
    :arg sources: the inventories of this run. Ansible reads every file below one that is a folder, so the reports are
        outside.
    """
    folder = os.path.realpath(inventory_dir or os.getcwd())
    read_whole = [os.path.realpath(source) for source in sources if os.path.isdir(source)]
    while any(f"{folder}/".startswith(f"{one}/") for one in read_whole) and folder != "/":
        folder = os.path.dirname(folder)
    return os.path.join(folder, _FOLDER)


def require_moved(folder: str, here: str) -> None:
    """Refuse a new baseline while that of earlier versions is in the folder that playbooks are started from.

    :arg folder: where the state of the drift checks is kept.
    :raises NotMoved: with the command that moves it.
    """
    before = os.path.join(here, _FOLDER, os.path.basename(folder))
    if os.path.exists(os.path.join(before, "state.json")) and not os.path.exists(os.path.join(folder, "state.json")):
        move = f"mkdir -p {shlex.quote(os.path.dirname(folder))} && mv {shlex.quote(before)} {shlex.quote(folder)}"
        raise NotMoved(f"the baseline and the log of earlier drift checks are in {before}. Fix: move them: {move}")
