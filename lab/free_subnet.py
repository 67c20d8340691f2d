#!/usr/bin/env python3
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says whether this machine already routes a part of SUBNET somewhere: exit 1 and one line per overlap on stderr.

Docker itself notices only its own networks; a VPN or an office network behind the same addresses would silently vanish.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from typing import Any

Network = ipaddress.IPv4Network


def overlaps(subnet: Network, routes: list[dict[str, Any]]) -> list[str]:
    """The routes (objects of ``ip -json route``), but for the default one, that share addresses with the subnet."""
    found = []
    for route in routes:
        if route["dst"] == "default":
            continue
        network = Network(route["dst"], strict=False)
        # A VPN that takes everything routes two halves: another default route, beside which the lab's subnet stands.
        if network.prefixlen > 1 and network.overlaps(subnet):
            found.append(f"{network} on {route.get('dev', '?')}")
    return found


def main(argv: list[str]) -> int:
    """Name on stderr the routes of this machine that overlap the subnet argv[1]; 1 when there is one."""
    subnet = Network(argv[1])
    routes = subprocess.run(["ip", "-4", "-json", "route"], check=True, capture_output=True, text=True).stdout
    taken = overlaps(subnet, json.loads(routes))
    for line in taken:
        print(f"{subnet} overlaps {line}", file=sys.stderr)
    return 1 if taken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
