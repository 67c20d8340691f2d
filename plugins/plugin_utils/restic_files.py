# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How restic reaches a repository over ssh, and the file of its secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# sftp:USER@HOST:PATH, or sftp://USER@HOST[:PORT]/PATH, with a host that may be an IPv6 address in brackets.
_TARGET = re.compile(r"sftp:(?://)?(?P<user>[^@/]*@)?(?:\[(?P<ipv6>[^]]+)\]|(?P<host>[^:/]+))")
_PORT = re.compile(r"sftp://[^/]*?:([0-9]+)/")
_OPTIONS = (
    "-o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=10 -o StrictHostKeyChecking=yes"
)


class SftpTarget(NamedTuple):
    """Where ssh connects to: [USER@]HOST, and the port or ""."""

    destination: str
    port: str


def sftp_target(repository: str) -> SftpTarget | None:
    """Return where a repository is reached over ssh; None when it is reached in another way."""
    found = _TARGET.match(repository)
    if not found:
        return None
    port = _PORT.match(repository)
    destination = f"{found['user'] or ''}{found['ipv6'] or found['host']}"
    return SftpTarget(destination, port.group(1) if port else "")


def sftp_command(repository: str, key: str, key_file: str, hosts_file: str) -> str:
    """Return what restic runs instead of `ssh DESTINATION -s sftp`; "" when it needs nothing of ours.

    :arg key: the private key, "" when ssh finds its own.
    """
    target = sftp_target(repository)
    if not target or not key:
        return ""
    port = f" -p {target.port}" if target.port else ""
    return f"ssh -i {key_file} {_OPTIONS} -o UserKnownHostsFile={hosts_file}{port} {target.destination} -s sftp"


def environment_lines(variables: Mapping[str, object]) -> str:
    """Return a file of NAME=VALUE lines, by name; no value has a line break at its end."""
    return "".join(f"{name}={variables[name]}".strip() + "\n" for name in sorted(variables, key=str.lower))
