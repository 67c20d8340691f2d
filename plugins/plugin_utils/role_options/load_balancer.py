# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role load_balancer."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import (
    error,
    is_address,
    not_a_port,
    same_port,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables

MOST_INSTANCES = 64
AT_LEAST_ONE = ("timeout", "queue_seconds", "instance_connections", "rate", "connections")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
HTTP_PORT = 80
# Let's Encrypt's limit for one certificate.
MOST_NAMES = 100
_LABEL = re.compile("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_NAME_FIX = "Write a name such as shop.example"


def _has_wrong_label(name: str) -> bool:
    return len(name) > 253 or not all(map(_LABEL.match, name.split(".")))


class _NameRule(NamedTuple):
    """What is wrong with a name, the fix, and whether it applies."""

    problem: str
    fix: str
    applies: Callable[[str], bool]


# The first that applies counts.
_NAME_RULES = (
    _NameRule("is a URL", "Write the name alone, such as shop.example", lambda name: "://" in name or "/" in name),
    _NameRule(
        "is an IP address, and certificates are for names",
        _NAME_FIX,
        lambda name: is_address(name.strip("[]")),
    ),
    _NameRule("has a port", "Write the name alone; load_balancer_tls_port is the port", lambda name: ":" in name),
    _NameRule(
        "is a wildcard, which needs the challenge DNS-01",
        "List each name, or get the certificate in another way and set load_balancer_certificate_on_host",
        lambda name: "*" in name,
    ),
    _NameRule(
        "has letters outside of a-z",
        "Write its ASCII form, which begins with xn--: python3 -c \"print('NAME'.encode('idna').decode())\"",
        lambda name: not name.isascii(),
    ),
    _NameRule("has capital letters", "Write it in lower case", lambda name: name != name.lower()),
    _NameRule("ends with a dot", "Remove the dot", lambda name: name.endswith(".")),
    _NameRule("is not a host name", _NAME_FIX, _has_wrong_label),
    _NameRule(
        "ends in a number, as no public name does",
        _NAME_FIX,
        lambda name: name.rpartition(".")[2].isdigit(),
    ),
)
_KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----")


def errors(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the numbers, the addresses and the certificate."""
    first, instances = variables.number("load_balancer_first_port"), variables.number("load_balancer_instances")
    yield from slot_errors(first, instances)
    yield from port_errors(_ports(variables), range(first, first + instances + 1))
    for name in (f"load_balancer_{name}" for name in AT_LEAST_ONE):
        if variables.number(name) < 1:
            yield error(name, f"{variables.value(name)} is too small", "Write 1 or more")
    yield from _formats(variables)
    problem = variables.table("__load_balancer_check")["problem"]
    if problem:
        yield f"{problem}."
    yield from _addresses(variables)
    yield from _certificate(variables)
    yield from _domain(variables)


def slot_errors(first: int, instances: int) -> Iterator[str]:
    """Report a number of instances, or a range of their ports, that cannot be."""
    if not 1 <= instances <= MOST_INSTANCES:
        yield error(
            "load_balancer_instances",
            f"{instances} is not between 1 and {MOST_INSTANCES}",
            "Set compose_app_instances to the number of instances; 2 is enough to survive the loss of one",
        )
    last = first + instances
    if first < 1024 or last > 65535:
        problem = f"the slots would use the ports {first} to {last}, which are not all between 1024 and 65535"
        yield error("load_balancer_first_port", problem, "Leave it at 18000")


def _ports(variables: Variables) -> dict[str, int]:
    """The ports of HAProxy itself, by option."""
    names = ["load_balancer_port", "load_balancer_metrics_port"]
    if variables.flag("__load_balancer_secure"):
        names.append("load_balancer_tls_port")
    if variables.number("load_balancer_acme_port"):
        names.append("load_balancer_acme_port")
    return {name: variables.number(name) for name in names}


def port_errors(ports: Mapping[str, int], slots: range) -> Iterator[str]:
    """Report what is not a port, a port of the slots, and a port that is named twice."""
    for name, port in ports.items():
        invalid = list(not_a_port(name, port))
        yield from invalid
        if port in slots and not invalid:
            problem = f"port {port} is among the ports of the slots, {slots[0]} to {slots[-1]}"
            yield error(name, problem, "Choose another one, or change load_balancer_first_port")
        for other, same in ports.items():
            if other > name and same == port:
                yield same_port(name, other, port)


def _formats(variables: Variables) -> Iterator[str]:
    size, path = variables.text("load_balancer_max_body"), variables.text("load_balancer_health_path")
    if not re.match("^[1-9][0-9]{0,9}[kKmM]?$", size):
        fix = "Write bytes, or a number with k or m, for instance 1m"
        yield error("load_balancer_max_body", f"{size} is not a size", fix)
    if not re.match("^(/[A-Za-z0-9._~/?=&%-]*)?$", path):
        fix = "Begin it with a slash, for instance /health"
        yield error("load_balancer_health_path", f"{path} is not a path", fix)


def _addresses(variables: Variables) -> Iterator[str]:
    for entry in variables.texts("load_balancer_trusted"):
        if entry != "*" and not is_address(entry, network=True):
            fix = "Write one such as 192.0.2.7 or 192.0.2.0/24"
            yield error("load_balancer_trusted", f"{entry} is not an address", fix)
    address = variables.text("load_balancer_address")
    if address != "*" and not is_address(address, network=True):
        yield error("load_balancer_address", f"{address} is not an address", "Write one such as 192.0.2.7")


def _certificate(variables: Variables) -> Iterator[str]:
    """Report the first thing that is wrong with the certificate; no part of the file is shown."""
    path, on_host = (variables.text(f"load_balancer_certificate{suffix}") for suffix in ("", "_on_host"))
    name = "load_balancer_certificate"
    if path and on_host:
        yield error(name, "load_balancer_certificate_on_host is set, too", "Empty one of them")
    elif path and not os.path.isfile(path):
        fix = "Correct the path, or empty it for plain HTTP"
        yield error(name, f"{path} does not exist on this machine", fix)
    elif path:
        yield from pem_errors(path, variables.text("__load_balancer_pem"))
    elif on_host and not on_host.startswith("/"):
        yield error("load_balancer_certificate_on_host", f"{on_host} is not an absolute path", "Correct it")


def _domain(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the domain, and with what it excludes."""
    names = variables.texts("load_balancer_domain")
    if not names:
        return
    for option in ("load_balancer_certificate", "load_balancer_certificate_on_host"):
        if variables.text(option):
            yield error("load_balancer_domain", f"{option} is set, too", "Empty one of them")
    if variables.number("load_balancer_acme_port"):
        fix = "Remove it: HAProxy answers the CA by itself"
        yield error("load_balancer_acme_port", "load_balancer_domain is set, too", fix)
    if variables.number("load_balancer_port") != HTTP_PORT:
        problem = f"the CA asks at port 80, and load_balancer_port is {variables.number('load_balancer_port')}"
        fix = "Write 80, or get a certificate in another way and set load_balancer_certificate_on_host"
        yield error("load_balancer_domain", problem, fix)
    yield from name_errors(names)
    yield from _authority(variables)
    if not variables.text("load_balancer_acme_directory"):
        for name in names:
            if re.match("^[a-z0-9-]+$", name):
                fix = "Write a name such as shop.example, or the URL of your own CA into load_balancer_acme_directory"
                yield error("load_balancer_domain", f"{name} has no dot, so it is not a name of the public DNS", fix)


def name_errors(names: Sequence[str]) -> Iterator[str]:
    """Report each name for which a CA issues no certificate by HTTP-01, and one that is there twice."""
    for name in names:
        broken = next((rule for rule in _NAME_RULES if rule.applies(name)), None)
        if broken:
            yield error("load_balancer_domain", f"{name or 'an empty name'} {broken.problem}", broken.fix)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield error("load_balancer_domain", f"{name} is there twice", "Remove one")
    if len(names) > MOST_NAMES:
        problem = f"{len(names)} names are too many for one certificate"
        yield error("load_balancer_domain", problem, f"Write at most {MOST_NAMES}")


def _authority(variables: Variables) -> Iterator[str]:
    directory, email = variables.text("load_balancer_acme_directory"), variables.text("load_balancer_acme_email")
    if directory and not re.match(r"^https://[^\s/]+(/\S*)?$", directory):
        fix = "Write the URL of its directory, which begins with https://, or empty it for Let's Encrypt"
        yield error("load_balancer_acme_directory", f"{directory} is not the URL of a CA", fix)
    if email and not re.match(r"^[^\s@,]+@[^\s@,]+[.][^\s@,]+$", email):
        yield error("load_balancer_acme_email", f"{email} is not an address", "Write one such as ops@shop.example")
    path = variables.text("load_balancer_acme_ca")
    if path and not os.path.isfile(path):
        yield error("load_balancer_acme_ca", f"{path} does not exist on this machine", "Correct the path, or empty it")
    elif path:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if _KEY.search(text):
            fix = "Write only the CA's certificates into it: no one else needs a key"
            yield error("load_balancer_acme_ca", f"{path} holds a private key", fix)
        elif _CERTIFICATE not in text:
            yield error("load_balancer_acme_ca", f"{path} holds no certificate", "Put the CA's into it, as PEM")


def pem_errors(path: str, pem: str) -> Iterator[str]:
    """Report a file without a certificate, or without its key."""
    name = "load_balancer_certificate"
    if _CERTIFICATE not in pem:
        fix = "Put certificate, chain and key into it, as PEM"
        yield error(name, f"{path} holds no certificate", fix)
    elif not _KEY.search(pem):
        fix = "Append the private key, as PEM and without a password: cat fullchain.pem privkey.pem"
        yield error(name, f"{path} holds no key", fix)
