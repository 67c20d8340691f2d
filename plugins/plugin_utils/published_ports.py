# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ports of the host that an app is going to have, from its files on the controller: no deploy has read them yet."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import BalancerSettings
from ansible_collections.christmas.selfheal.plugins.module_utils.docker.network import Port
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import Values
from ansible_collections.christmas.selfheal.plugins.plugin_utils import project_source
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import InitError


def published_ports(source: str, files: Sequence[str], values: Values, balancer: BalancerSettings) -> list[Port]:
    """Return the TCP ports that services publish, and HAProxy's in the place of those of the service behind it.

    A service with a profile may not run, and of a range of ports the engine takes a free one: they are left out. So are
    files that cannot be read; others say what is wrong with them.

    :arg source: the folder of the project.
    :arg files: the compose files, relative to it.
    :arg values: the app's env.
    :arg balancer: the load balancer as the modules take it, {} without one.
    """
    try:
        project = project_source.read(source, files)
        services = compose.merge(project.documents, project.files)
    except (project_source.ProjectError, InitError, OSError):
        return []
    texts = {name: str(value) for name, value in values.items()}
    behind = str(balancer.get("service", ""))
    found = [Port(service=behind, port=int(port)) for port in balancer.get("ports", ())]
    for one in compose.ports(services):
        port = dotenv.resolved(one.published, texts)
        may_run = not services[one.service].get("profiles")
        if port.isdigit() and one.protocol == "tcp" and may_run and one.service != behind:
            found.append(Port(service=one.service, port=int(port)))
    return found
