# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An earlier revision of this collection, in a folder of its own, to set up the hosts that it is measured on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ansible_collections.christmas.selfheal.bench.recover import REPOSITORY
from ansible_collections.christmas.selfheal.bench.recovery.hosts import LAB, Trouble

_COLLECTION = Path(".venv/collections/ansible_collections/christmas/selfheal")


def check_out(revision: str) -> Path:
    """Write the files of a revision to a folder of the lab, replacing what is there. Raises Trouble."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision], cwd=REPOSITORY, capture_output=True, check=False
    )
    if archive.returncode:
        said = archive.stderr.decode("utf-8", "replace").strip()
        raise Trouble(f"--before: git has no files of {revision} here ({said}): name a commit of this repository")
    folder = LAB / "before" / revision
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive.stdout, check=True)
    # Its ansible.cfg looks for the collection there, and its inventory for the keys of the lab hosts.
    link = folder / _COLLECTION
    link.parent.mkdir(parents=True)
    link.symlink_to(folder, target_is_directory=True)
    (folder / ".lab").symlink_to(LAB, target_is_directory=True)
    return folder
