# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of a run of ansible-playbook, for another run that has to connect to the same hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

# The options that are passed on: their names on the command line, and Ansible's own.
MANY = (
    ("--inventory", "inventory"),
    ("--extra-vars", "extra_vars"),
    ("--vault-id", "vault_ids"),
    ("--vault-password-file", "vault_password_files"),
)
ONE = (
    ("--user", "remote_user"),
    ("--private-key", "private_key_file"),
    ("--connection-password-file", "connection_password_file"),
    ("--become-password-file", "become_password_file"),
    ("--become-method", "become_method"),
    ("--become-user", "become_user"),
    ("--timeout", "timeout"),
    ("--forks", "forks"),
    ("--ssh-common-args", "ssh_common_args"),
    ("--ssh-extra-args", "ssh_extra_args"),
)
# A password that is typed is not among the options: the option that takes a file instead.
ASKED = (
    ("ask_pass", "--connection-password-file"),
    ("become_ask_pass", "--become-password-file"),
    ("ask_vault_pass", "--vault-password-file"),
)


class TypedPassword(Exception):
    """A password was typed, so another run cannot be given it; the message names the option to use."""


def passed_on(given: Mapping[str, object]) -> list[str]:
    """Return the words of the other run's command line. Raises TypedPassword.

    :arg given: Ansible's `context.CLIARGS`.
    """
    for name, instead in ASKED:
        if given.get(name):
            raise TypedPassword(f"a password that is typed cannot be passed on: use {instead} FILE")
    # One word each: a value may begin with a dash, as those of ssh do.
    words: list[str] = []
    for option, name in MANY:
        for value in cast(Iterable[object], given.get(name) or ()):
            words.append(f"{option}={value}")
    for option, name in ONE:
        value = given.get(name)
        if value is not None and value != "":
            words.append(f"{option}={value}")
    return [*words, "--become"] if given.get("become") else words
