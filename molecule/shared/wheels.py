# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Python packages of a drift controller, for a host that may reach no index: this machine downloads them."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKED = REPOSITORY / "requirements/controller.txt"
ON_HOST = "/root/wheels"
PIP_OPTIONS = ["--no-index", f"--find-links={ON_HOST}"]
"""What `drift_control_pip_options` is on such a host."""


def send(host: Any) -> None:
    """Copy the packages to the folder ON_HOST of a host, for its own Python."""
    version = host.check_output("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    kept = REPOSITORY / ".lab/wheels"
    kept.mkdir(exist_ok=True)
    # Another scenario may read it just now, so it is emptied under the lock.
    with (kept.parent / "wheels.txt").open("a", encoding="utf-8") as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)
        wanted.truncate(0)
        wanted.write(_needed(version))
        wanted.flush()
        fetch = [sys.executable, "-m", "pip", "download", "-q", "-d", str(kept), "--only-binary=:all:", "--no-deps"]
        given = ["--python-version", version, "--require-hashes", "-r", wanted.name]
        subprocess.run([*fetch, *given], cwd=REPOSITORY, check=True)
        address = f"root@{host.backend.host.name}:{ON_HOST}/"
        command = ["rsync", "-r", "--delete", "-e", "ssh -F ../shared/ssh_config", f"{kept}/", address]
        subprocess.run(command, check=True)


def _needed(version: str) -> str:
    """The locked packages for a Python. pip itself would choose for the Python that it runs with."""
    found = []
    for line, hashes in re.findall(
        r"^(\w.*?) \\\n((?: +--hash=.*\n)+)", LOCKED.read_text(encoding="utf-8"), re.MULTILINE
    ):
        package = Requirement(line)
        if package.marker is None or package.marker.evaluate({"python_full_version": f"{version}.0"}):
            found.append(f"{package.name}{package.specifier} \\\n{hashes}")
    return "".join(found)
