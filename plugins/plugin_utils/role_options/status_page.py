# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role status_page. No value of a password is in an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import (
    error,
    is_address,
    not_a_port,
    same_port,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables
from ansible_collections.christmas.selfheal.plugins.plugin_utils.sha256_crypt import LONGEST

# The ports of HAProxy that the page cannot have, with the defaults of the role load_balancer.
BALANCER_PORTS = {"load_balancer_port": 80, "load_balancer_tls_port": 443, "load_balancer_metrics_port": 8405}
_USER = "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
_CRYPT = "^[$][56][$](rounds=[0-9]{1,9}[$])?[./0-9A-Za-z]{1,16}[$][./0-9A-Za-z]{43}([./0-9A-Za-z]{43})?$"


def errors(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the ports, the password and the certificate."""
    yield from _figures(variables)
    yield from port_errors(_own_ports(variables), _other_ports(variables))
    if not re.match(_USER, variables.text("status_page_user")):
        fix = "Write up to 32 letters and digits"
        yield error("status_page_user", "it is not a name that HAProxy accepts", fix)
    yield from password_errors(variables.text("status_page_password"), variables.text("status_page_password_hash"))
    yield from _access(variables)
    yield from certificate_errors(variables.text("status_page_certificate"))
    address = variables.text("status_page_address")
    if address != "*" and not is_address(address):
        yield error("status_page_address", f"{address} is not an address", 'Write one such as 192.0.2.7, or "*"')


def _figures(variables: Variables) -> Iterator[str]:
    """Report a page that would have no figures."""
    hub = variables.text("monitoring_hub", "")
    if not variables.flag("monitoring_enabled", False):
        yield error(
            "status_page_enabled",
            f"monitoring_enabled is false for {variables.host}, so the page would have nothing to show",
            "Set monitoring_enabled: true, or status_page_enabled: false",
        )
    if hub:
        problem = f"{hub} has the figures of {variables.host} (monitoring_hub), and shows them on its own page"
        yield error("status_page_enabled", problem, "Remove status_page_enabled")


def _own_ports(variables: Variables) -> dict[str, int]:
    names = ["status_page_port"]
    if variables.flag("__status_page_public"):
        names.append("status_page_public_port")
    return {name: variables.number(name) for name in names}


def _other_ports(variables: Variables) -> dict[str, int]:
    taken = {"status_page_prometheus_port": variables.number("status_page_prometheus_port")}
    if variables.flag("status_page_balancer"):
        taken = {**{name: variables.number(name, port) for name, port in BALANCER_PORTS.items()}, **taken}
    return taken


def port_errors(ports: Mapping[str, int], taken: Mapping[str, int]) -> Iterator[str]:
    """Report what is not a port, and a port of the page that is named twice, or used by another role."""
    for name, port in ports.items():
        yield from not_a_port(name, port)
        for other, same in {**taken, **ports}.items():
            if other != name and same == port:
                yield same_port(name, other, port)


def password_errors(password: str, hashed: str) -> Iterator[str]:
    """Report a password that cannot be hashed, or a hash that is not one."""
    if len(password.encode()) > LONGEST:
        problem = f"it is longer than the {LONGEST} bytes that openssl hashes"
        yield error("status_page_password", problem, "Create a shorter one: openssl rand -base64 24")
    if password and hashed:
        yield error("status_page_password_hash", "status_page_password is set, too", "Empty one of them")
    elif hashed and not re.match(_CRYPT, hashed):
        fix = "Write the output of `openssl passwd -5`"
        yield error("status_page_password_hash", "it is not a SHA-256 or SHA-512 crypt hash", fix)


def _access(variables: Variables) -> Iterator[str]:
    """Report a page that no one could read, or that would be read over plain HTTP."""
    if variables.flag("__status_page_has_password") and not variables.flag("status_page_balancer"):
        yield error(
            "status_page_balancer",
            "there is a password, and no HAProxy to ask for it, so the page would not be served",
            "Set compose_app_instances to 1 or more, or remove the password and read the page through ssh -L",
        )
    secure = variables.text("status_page_certificate") or variables.flag("status_page_plain")
    if variables.flag("__status_page_public") and not secure:
        yield error(
            "status_page_certificate",
            "it is empty, so the password would cross the network unencrypted",
            "Set load_balancer_certificate or status_page_certificate; remove the password and read the page "
            "through ssh -L; or set status_page_plain: true",
        )


def certificate_errors(path: str) -> Iterator[str]:
    """Report a path that HAProxy cannot be given."""
    name = "status_page_certificate"
    if path and not path.startswith("/"):
        yield error(name, f"{path} is not an absolute path on the host", "Correct it")
    elif re.search(r"""[\s"'#\\]""", path):
        problem = f"{path} has a space, a quote, a backslash or a # in it, where HAProxy would end the path"
        yield error(name, problem, "Rename the file")
