# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command of rsync that copies files over ssh, as another user than the one who logs in. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

SUDO_PASSWORD = "SELFHEAL_SUDO_PASSWORD"
"""The environment variable of rsync's process that has the password of sudo on the host."""

# The password is the first line of the stream, before what the two rsyncs say to each other, so it is in no argument.
# `sudo -S` and `read` take one byte at a time and leave the rest. Both shells become the program that they start: one
# that waited for `cat` would keep the connection open.
_ASKING_SUDO = (
    'if sudo -kn true </dev/null 2>/dev/null; then IFS= read -r _unused; exec sudo -n -u {user} rsync "$@"; '
    "else exec sudo -kS -p '' -u {user} rsync \"$@\"; fi"
)
_WITH_PASSWORD = f'exec "$@" < <(printf "%s\\n" "${SUDO_PASSWORD}"; exec cat)'

# A fresh clone has new times, so only different content is a change.
_MIRROR = ("--recursive", "--links", "--perms", "--delete", "--checksum")
_ALWAYS = ("--compress", "--delay-updates", "--itemize-changes")


class Connection(NamedTuple):
    """How ssh reaches a host, and who reads and writes there.

    `ssh` is the program with its options, without the host. `become` is the user that sudo is given, "" for none.
    """

    ssh: tuple[str, ...]
    address: str
    user: str = ""
    become: str = ""
    has_password: bool = False


def ssh_words(
    program: str, *, port: int | None, key: str, options: Sequence[str], checks_keys: bool, seconds: int
) -> tuple[str, ...]:
    """The ssh program and its options, as Ansible's own connection has them.

    :arg options: texts with options of ssh, split as a shell does.
    :arg seconds: within which the connection has to stand.
    """
    found = [program, "-o", "ControlPath=none", "-o", f"ConnectTimeout={seconds}"]
    found += ["-o", f"Port={port}"] if port else []
    found += ["-i", key] if key else []
    found += [] if checks_keys else ["-o", "StrictHostKeyChecking=no"]
    return (*found, *(word for text in options for word in shlex.split(text)))


def rsync_command(
    connection: Connection, source: str, target: str, *, pull: bool, options: Sequence[str], dry: bool
) -> list[str]:
    """The command that copies a folder, whose path ends in a slash, so that the target becomes the same; or a file.

    :arg source: and `target` are paths; one of them is on the host, as `pull` says.
    """
    mirror = _MIRROR if source.endswith("/") else ()
    at = f"{connection.user}@" if connection.user else ""
    # rsync takes an IPv6 address in brackets, and gives ssh what is between them.
    place = f"[{at}{connection.address}]" if ":" in connection.address else f"{at}{connection.address}"
    ends = (f"{place}:{source}", target) if pull else (source, f"{place}:{target}")
    return [
        *("rsync", *_ALWAYS, *mirror, *(["--dry-run"] if dry else []), *options),
        *(f"--rsh={_rsh(connection)}", *_rsync_path(connection), "--", *ends),
    ]


def _rsh(connection: Connection) -> str:
    words = connection.ssh
    if connection.become and connection.has_password:
        words = ("bash", "-c", _WITH_PASSWORD, "bash", *words)
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """Quote a word of --rsh: rsync knows no backslash there, and a quote inside quotes is written twice."""
    return "'" + word.replace("'", "''") + "'"


def _rsync_path(connection: Connection) -> list[str]:
    if not connection.become:
        return []
    user = shlex.quote(connection.become)
    if not connection.has_password:
        return [f"--rsync-path=sudo -n -u {user} rsync"]
    return [f"--rsync-path=sh -c {shlex.quote(_ASKING_SUDO.format(user=user))} rsync"]
