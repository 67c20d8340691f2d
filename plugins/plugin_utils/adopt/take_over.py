# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run site.yml for the inventory of the app that is taken over, as a process of its own.

This run of Ansible has another inventory, and Ansible reads its inventories once, at its start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.christmas.selfheal.plugins.module_utils.core.present import present

# What of this run's command line is about its own inventory.
_OWN = ("inventory",)
# While the engine restarts, published ports refuse connections. The app's containers need no key that waits for that.
_SETTINGS = ("-e", "docker_engine_restart=false")


def command(
    playbook: str,
    hosts: str,
    password_file: str,
    passed_on: Callable[[Mapping[str, object]], list[str]],
    arguments: Mapping[str, object],
) -> list[str]:
    """The command line.

    :arg hosts: the new inventory.
    :arg password_file: of its vault, "" when this run has the password by another way.
    :arg passed_on: the words of this run's command line that another run needs.
    :arg arguments: Ansible's `context.CLIARGS`.
    """
    words = passed_on({name: value for name, value in arguments.items() if name not in _OWN})
    vault = ["--vault-password-file", password_file] if password_file else []
    return [sys.executable, "-m", "ansible", "playbook", playbook, "-i", hosts, *vault, *_SETTINGS, *words]


def run(argv: Sequence[str], collections: str, configuration: str, show: Callable[[str], None]) -> int:
    """Run it, show each line as it comes, and return its exit status.

    :arg collections: the folder of the collections, "" where Ansible finds it by itself.
    :arg configuration: the file to use, "" for the one of this run.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if configuration:
        environment["ANSIBLE_CONFIG"] = configuration
    if collections:
        known = environment.get("ANSIBLE_COLLECTIONS_PATH", "")
        environment["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(filter(None, (collections, known)))
    process = subprocess.Popen(
        list(argv),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in present(process.stdout):
        show(line.rstrip("\n"))
    with process:
        return process.wait()
