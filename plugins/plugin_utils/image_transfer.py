# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which images staging sends to production. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.christmas.selfheal.plugins.module_utils.promotion.image_archive import Comparison, Image

HostVariables = Mapping[str, Mapping[str, Comparison]]
"""The variables of each host, as Ansible has them; of these only the result of a comparison is read."""


def images_to_send(hosts: Iterable[str], variables: HostVariables, source: str) -> list[Image]:
    """Return each image that is missing on one of the hosts, once.

    :arg variables: of each host; a host that has compared its images has `compose_app_compared`.
    :arg source: the variable that holds the result of the comparison.
    """
    found: dict[str, Image] = {}
    for host in hosts:
        compared = variables[host].get(source)
        for image in compared.get("missing", []) if compared else []:
            found.setdefault(image["id"], image)
    return list(found.values())
