# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this host's firewall does to an app's packets, as iptables-save(8) prints its rules. IPv4 only.

A rule counts only when it is certain that it takes the packet: one with a match that is not known here is passed over,
and so are the chains that the engine makes itself.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from . import command as commands

_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"')
# Chains that the engine writes (its documentation, "Packet filtering and firewalls"), but for the one that is people's.
_OWN = re.compile(r"DOCKER(?!-USER\b)")
_POLICY = re.compile(r"^:INPUT (DROP|REJECT)\b", re.MULTILINE)
_TABLE = re.compile(r"^table (\S+ \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_REFUSES = re.compile(
    r"hook input [^\n]*policy drop|^\s*(?:counter(?: packets \d+ bytes \d+)? )?(?:drop|reject\b[^\n]*)$", re.MULTILINE
)
# Where packets that pass through this host, and those that are its own, meet rules.
_FORWARDED = (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("mangle", "FORWARD"), ("filter", "FORWARD"))
_LOCAL = (
    *((table, "OUTPUT") for table in ("raw", "mangle", "filter")),
    *((table, "PREROUTING") for table in ("raw", "mangle")),
    *((table, "INPUT") for table in ("mangle", "filter")),
)


class Packet(NamedTuple):
    """A TCP packet: its addresses, the port it goes to, and the interface it comes by; "" for what is not known.

    `is_for_host`: it is known to go to an address of the host itself.
    """

    source: str
    target: str
    port: int
    interface: str = ""
    is_for_host: bool = False


class Rules(NamedTuple):
    """{table: {chain: its rules, each as words}}."""

    tables: Mapping[str, Mapping[str, Sequence[Sequence[str]]]]

    def jumps(self, table: str, chain: str) -> set[str]:
        """Where the rules of a chain lead."""
        rules = self.tables.get(table, {}).get(chain, ())
        return {rule[rule.index("-j") + 1] for rule in rules if "-j" in rule[:-1]}


def read(timeout: float = 2.0) -> str:
    """Return the rules of this host, "" where they cannot be read."""
    asked = commands.run(["iptables-save"], timeout)
    return asked.out if asked.code == 0 else ""


def parse(text: str) -> Rules:
    """Read what iptables-save prints."""
    tables: dict[str, dict[str, list[list[str]]]] = {}
    chains: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            words = _COMMENT.sub("comment", line).split()
            chains.setdefault(words[1], []).append(words[2:])
    return Rules(tables)


def is_the_engines(config: str = "/etc/docker/daemon.json") -> bool:
    """Whether the engine keeps its rules in iptables: `iptables` and `firewall-backend` of its configuration."""
    try:
        with open(config, encoding="utf-8") as stream:
            found = json.load(stream)
        return bool(found.get("iptables", True)) and found.get("firewall-backend", "iptables") == "iptables"
    except FileNotFoundError:
        return True
    except (OSError, ValueError, AttributeError):
        return False


def flushed(rules: Rules) -> str:
    """Say what of the engine's rules is gone, "" when nothing is: without them no container reaches the world."""
    if not rules.tables:
        return ""
    missing = []
    if "DOCKER" not in rules.jumps("nat", "PREROUTING"):
        missing.append("nat PREROUTING")
    if not any(_OWN.match(name) for name in rules.jumps("filter", "FORWARD")):
        missing.append("filter FORWARD")
    return f"Docker's rules are gone from the firewall: {' and '.join(missing)}" if missing else ""


def passing(rules: Rules, packets: Iterable[Packet]) -> list[str]:
    """Return the rules that drop packets which pass through this host."""
    return _dropping(rules, packets, _FORWARDED)


def local(rules: Rules, packets: Iterable[Packet]) -> list[str]:
    """Return the rules that drop packets which this host sends to itself, or to a container."""
    return _dropping(rules, packets, _LOCAL)


def closed(port: int, timeout: float = 2.0) -> str:
    """Say what may keep connections out that come to a port of this host itself; "" when nothing does.

    A published port of a container does not pass these rules.
    """
    return refusing(read(timeout), port) or native(commands.run(["nft", "list", "ruleset"], timeout).out)


def refusing(text: str, port: int) -> str:
    """Return the rule, or the policy, of iptables-save's INPUT that refuses a port, unless one is sure to accept it."""
    decided = _walk(parse(text), "filter", "INPUT", Packet("", "", port, is_for_host=True), 0)
    if decided:
        return "" if decided == "ACCEPT" else f"iptables {decided}"
    filtered = text.partition("*filter")[2]
    policy = _POLICY.search(filtered)
    return f"iptables -t filter -P INPUT {policy[1]}" if policy else ""


def native(ruleset: str) -> str:
    """Return the table of nftables that refuses what it does not know; "" without one.

    :arg ruleset: as nft(8) lists it, with the tables that iptables keeps there.
    """
    for name, body in _TABLE.findall(ruleset):
        if name not in ("ip filter", "ip6 filter") and "hook input" in body and _REFUSES.search(body):
            return f"nft table {name}"
    return ""


def _dropping(rules: Rules, packets: Iterable[Packet], path: Sequence[tuple[str, str]]) -> list[str]:
    found = [_walk(rules, table, chain, packet, 0) for packet in packets for table, chain in path]
    return list(dict.fromkeys(rule for rule in found if rule not in ("", "ACCEPT")))


def _walk(rules: Rules, table: str, chain: str, packet: Packet, depth: int) -> str:
    """The rule of a chain that drops a packet; "ACCEPT" when one lets it pass, "" when none decides."""
    for rule in rules.tables.get(table, {}).get(chain, ()) if depth < 8 else ():
        if not _takes(rule, packet):
            continue
        target = rule[rule.index("-j") + 1] if "-j" in rule[:-1] else ""
        if target in ("DROP", "REJECT"):
            return f"-t {table} -A {chain} {' '.join(rule)}"
        if target in ("ACCEPT", "RETURN"):
            return target if target == "ACCEPT" else ""
        if target in rules.tables[table] and not _OWN.match(target):
            decided = _walk(rules, table, target, packet, depth + 1)
            if decided:
                return decided
    return ""


def _takes(rule: Sequence[str], packet: Packet) -> bool:
    """Whether it is certain that a rule matches a packet."""
    words, negated = iter(rule), False
    for word in words:
        if word == "!":
            negated = True
            continue
        if word == "-j":
            return True
        value = next(words, "")
        matches = _matches(word, value, packet)
        if matches is None or matches is negated:
            return False
        negated = False
    return False


def _matches(option: str, value: str, packet: Packet) -> bool | None:
    """Whether one option of a rule matches; None for what is not known here."""
    if option == "-m":
        return True if value in ("tcp", "comment", "addrtype", "multiport", "conntrack", "state") else None
    if option in ("--ctstate", "--state"):
        # A packet to a port of the host itself is a client's first one.
        return True if packet.is_for_host and "NEW" in value.split(",") else None
    if option == "--dst-type":
        return True if value == "LOCAL" and packet.is_for_host else None
    if option == "--comment":
        return True
    if option == "-p":
        return value == "tcp"
    if option in ("--dport", "--dports"):
        return _is_among(packet.port, value.split(","))
    if option in ("-s", "-d"):
        return _within(packet.source if option == "-s" else packet.target, value)
    if option == "-i" and packet.interface:
        return value == packet.interface
    return None


def _is_among(port: int, ports: Sequence[str]) -> bool | None:
    """Whether a port is one of `80` and `8000:8010`; None for the name of a service."""
    ranges = [one.partition(":") for one in ports]
    if not all(first.isdigit() for first, _unused, _last in ranges):
        return None
    return any(int(first) <= port <= int(last or first) for first, _unused, last in ranges)


def _within(address: str, network: str) -> bool | None:
    base, _unused, length = network.partition("/")
    try:
        bits = 32 - int(length or 32)
        return _number(address) >> bits == _number(base) >> bits
    except (OSError, ValueError):
        return None


def _number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")
