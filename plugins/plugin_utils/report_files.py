# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where playbooks write their reports on the controller."""

from __future__ import annotations

import os
from collections.abc import Sequence

_FOLDER = "reports"


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
