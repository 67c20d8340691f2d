# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validate which hosts a run would connect to, before it connects to any. Pure.

A play whose pattern matches no host ends with 0, and an inventory that was not edited has an example's address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple

VARIABLE = "selfheal_hosts"
DEFAULT = "backends"
EXAMPLE = "selfheal_example_address"

# RFC 5737 and RFC 3849: addresses of documentation. RFC 2606: its names.
_EXAMPLE_NETWORKS = tuple(
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
_EXAMPLE_DOMAINS = (".example", ".invalid", ".example.com", ".example.net", ".example.org")
# Other connections (local, to a container) do not use the address.
_SSH = ("", "ssh", "smart", "paramiko", "paramiko_ssh")
_GROUPS_OF_ANSIBLE = ("all", "ungrouped")


class Target(NamedTuple):
    """One host of the run: where Ansible connects to, and the address that the inventory calls an example."""

    name: str
    address: str
    connection: str
    example: str


def target(name: str, variables: Mapping[str, object]) -> Target:
    """Read a host's variables."""
    address = variables.get("ansible_host") or variables.get("ansible_ssh_host") or name
    connection = str(variables.get("ansible_connection") or "").rpartition(".")[2]
    return Target(name, str(address).strip(), connection, str(variables.get(EXAMPLE) or "").strip())


def ignored_setting(hosts: Sequence[str]) -> str:
    """The error when the inventory sets what only the command line can."""
    return (
        f"{VARIABLE} is set in the inventory ({', '.join(hosts)}), but it chooses the hosts of a play, before "
        "Ansible reads the inventory's variables. "
        f"Fix: remove it there. Then add -e {VARIABLE}=GROUP to the command, or make your GROUP part of `{DEFAULT}` "
        f"in hosts.yml: {DEFAULT}: {{children: {{GROUP: {{}}}}}}"
    )


def missing(pattern: str, variable: str, matched: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """The error for a run that selects no host.

    :arg variable: the one that sets the pattern on the command line, "" when there is none.
    :arg matched: the hosts of the pattern, before ``--limit``.
    """
    if matched:
        return (
            f"no host to run on: `{pattern}` is {', '.join(matched)}, and --limit leaves none of them. "
            f"Fix: name one of them in --limit, or leave --limit out"
        )
    filled = {name: hosts for name, hosts in sorted(groups.items()) if hosts and name not in _GROUPS_OF_ANSIBLE}
    if not filled:
        return (
            "no host to run on: no group of the inventory has a host. "
            "Fix: name your inventory (-i FILE), and put your hosts into it"
        )
    named = "; ".join(f"{name} ({', '.join(hosts)})" for name, hosts in filled.items())
    first = next(iter(filled))
    choice = f"add -e {variable}={first}, or " if variable else ""
    return (
        f"no host to run on: `{pattern}` matches no host. The inventory has the groups {named}. "
        f"Fix: {choice}put a group into `{pattern}` in hosts.yml, e.g. {pattern}: {{children: {{{first}: {{}}}}}}"
    )


def problems(targets: Sequence[Target]) -> list[str]:
    """The reasons not to connect to these hosts, a sentence each."""
    return [problem for one in targets for problem in (_problem(one),) if problem]


def _problem(one: Target) -> str:
    if one.connection not in _SSH:
        return ""
    if one.example and one.address == one.example:
        return (
            f"{one.name}: {one.address} is the address that the inventory was shipped with. "
            f"Fix: put your server's address into hosts.yml. If it is yours, remove {EXAMPLE} there"
        )
    if _is_example(one.address):
        return (
            f"{one.name}: {one.address} is an address for documentation, which no server has. "
            f"Fix: put your server's address into hosts.yml (ansible_host)"
        )
    return ""


def _is_example(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return f".{address.lower().rstrip('.')}".endswith(_EXAMPLE_DOMAINS)
    return any(parsed in network for network in _EXAMPLE_NETWORKS)
