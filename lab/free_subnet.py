#!/usr/bin/env python3
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks whether this machine already routes a part of SUBNET: exit 1 and one line for each overlap on stderr.

Docker notices only its own networks. It would silently hide a VPN or an office network with the same addresses.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from typing import Any

Network = ipaddress.IPv4Network


def overlaps(subnet: Network, routes: list[dict[str, Any]]) -> list[str]:
    """The routes (objects of ``ip -json route``) that share addresses with the subnet, without the default route."""
    found = []
    for route in routes:
        if route["dst"] == "default":
            continue
        network = Network(route["dst"], strict=False)
        # A VPN for all traffic routes two halves of the address space. That is a default route, no overlap.
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
