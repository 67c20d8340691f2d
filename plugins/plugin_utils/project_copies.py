# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The projects that a controller for drift checks needs copies of. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.christmas.selfheal.plugins.plugin_utils.as_list import as_list
from ansible_collections.christmas.selfheal.plugins.plugin_utils.command_options import env_of

# What is never copied: it comes from the vault, or from a deploy.
ALWAYS_EXCLUDED = ("/.env", "/.env.example", "/releases")
# The default of the role compose_app.
EXCLUDED = (".git", "__pycache__", "node_modules")


class Project(TypedDict):
    """A project on this machine, its copy on the controller, and the options of rsync for it."""

    source: str
    folder: str
    options: list[str]


class Projects(TypedDict):
    """Each project once, and the folder of each host's copy."""

    projects: list[Project]
    by_host: dict[str, str]


def project_copies(
    hosts: Sequence[str], variables: Mapping[str, Mapping[str, object]], directory: str, user: str
) -> Projects:
    """Return the projects of these hosts. Hosts with the same source and the same exclusions share a copy.

    :arg user: who reads the copies. They keep the modes of their files, so that user owns them: a file of mode 600 is
        compared, too.
    """
    kept = ["--chmod=D755", "--owner", f"--chown={user}"]
    copies: dict[str, Project] = {}
    by_host = {}
    for host in hosts:
        source = variables[host].get("compose_app_source") or ""
        # What is promoted comes from staging and not from this machine.
        if not source or boolean(variables[host].get("compose_app_promoted", False), strict=False):
            continue
        theirs = map(str, as_list(variables[host].get("compose_app_exclude", EXCLUDED)))
        exclude = [*ALWAYS_EXCLUDED, *env_of(variables[host].get("compose_app_files")), *theirs]
        name = hashlib.sha256(f"{source}{' '.join(exclude)}".encode()).hexdigest()[:12]
        folder = f"{directory}/projects/{name}"
        copies[folder] = Project(
            source=str(source), folder=folder, options=[*(f"--exclude={one}" for one in exclude), *kept]
        )
        by_host[str(host)] = folder
    return Projects(projects=list(copies.values()), by_host=by_host)


class CheckSettings(TypedDict):
    """What a controller runs its drift checks with: its settings folder, the paths of its inventories, limit, group."""

    settings: str
    inventories: Sequence[str]
    limit: str
    group: str


def check_options(by_host: Mapping[str, str], check: CheckSettings) -> list[str]:
    """Return the options of ansible-playbook for a drift check.

    `%d` is systemd's folder of credentials. What the inventory says of keys is about the machine it was written on.

    :arg by_host: the folder of the project's copy, by host.
    """
    inventories = [f"--inventory={path}" for path in check["inventories"]]
    limit = [f"--limit={check['limit']}"] if check["limit"] else []
    # The run that checks reads it, for each of its hosts.
    source = f"{{{{ {json.dumps(by_host)}[inventory_hostname] | default('') }}}}"
    hosts_file = f"{check['settings']}/known_hosts"
    variables = {
        "compose_app_source": source,
        "ansible_ssh_private_key_file": "%d/ssh-key",
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={hosts_file} -o StrictHostKeyChecking=yes",
    }
    if check["group"]:
        variables["selfheal_hosts"] = check["group"]
    return [*inventories, *limit, f"--extra-vars={json.dumps(variables)}"]
