# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes that hold a port which HAProxy needs."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.christmas.selfheal.plugins.plugin_utils import listening

DOCUMENTATION = r"""
name: port_holders
short_description: Processes that hold a port of HAProxy
version_added: 0.2.0
author: Contributors to the christmas.selfheal project (@christmas)
description:
  - Reads the output of C(ss) and returns each listener that is in the way of HAProxy, without HAProxy itself.
options:
  _input:
    description: Lines of C(ss --no-header --listening --numeric --tcp --processes).
    type: list
    elements: str
    required: true
  address:
    description: Address of the public ports.
    type: str
    required: true
  public:
    description: The public ports.
    type: list
    elements: int
    required: true
  metrics:
    description: Port of the metrics, on the loopback address.
    type: int
    required: true
"""

EXAMPLES = r"""
holders: "{{ listening.stdout_lines | christmas.selfheal.port_holders('*', [80, 443], 8405) }}"
"""

RETURN = r"""
_value:
  description: C(address), C(port), C(who) and C(pid) of each, where C(who) is the name of the process.
  type: list
  elements: dict
"""


def port_holders(lines: Sequence[str], address: str, public: Sequence[int], metrics: int) -> list[listening.Holder]:
    """Return the listeners that are in the way."""
    return listening.holders(lines, listening.Wanted(address, public, metrics))


class FilterModule:
    """What Ansible asks for its filters."""

    def filters(self) -> dict[str, object]:
        """Return them by name."""
        return {"port_holders": port_holders}
