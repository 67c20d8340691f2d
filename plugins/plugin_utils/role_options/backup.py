# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for the options of the role backup. No value of a secret is in an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible_collections.christmas.selfheal.plugins.plugin_utils.restic_files import sftp_target
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.rules import error
from ansible_collections.christmas.selfheal.plugins.plugin_utils.role_options.variables import Variables

SHORTEST_PASSWORD = 16
_PLACEHOLDER = re.compile("(?i)changeme|your.*here|placeholder|example|password")


def errors(variables: Variables) -> Iterator[str]:
    """Report what is wrong with the password, the repository and the checks."""
    yield from password_errors(variables.text("backup_password"))
    yield from _known_hosts(variables)
    yield from secrets_errors(variables.table("backup_secrets"))
    yield from repository_errors(variables.text("backup_repository"))
    yield from _checks(variables)


def password_errors(password: str) -> Iterator[str]:
    """Report a password that is too short or a placeholder."""
    if len(password) < SHORTEST_PASSWORD:
        length = f"shorter than {SHORTEST_PASSWORD} characters" if password else "empty"
        yield error(
            "backup_password",
            f"it is {length}, and it encrypts the backups",
            "Create one with `openssl rand -hex 32`, put it into the vault, and keep a copy outside of this server",
        )
    elif _PLACEHOLDER.search(password):
        fix = "Create one with `openssl rand -hex 32`, and put it into the vault"
        yield error("backup_password", "it is a placeholder", fix)


def _known_hosts(variables: Variables) -> Iterator[str]:
    target = sftp_target(variables.text("backup_repository")) if variables.text("backup_ssh_key") else None
    if target and not variables.text("backup_known_hosts"):
        yield error(
            "backup_known_hosts",
            f"it is empty, so the identity of {target.destination} cannot be verified",
            "Write the output of `ssh-keyscan` for that host, after you have compared it",
        )


def secrets_errors(secrets: Mapping[str, object]) -> Iterator[str]:
    """Report names and values that cannot be variables of a process."""
    for name in secrets:
        if not re.match("[A-Z][A-Z0-9_]*$", str(name)):
            fix = "Use capital letters, digits and _, for instance AWS_ACCESS_KEY_ID"
            yield error("backup_secrets", f"{name} is not a valid variable name", fix)
    for name, value in secrets.items():
        if "\n" in str(value).strip():
            yield error("backup_secrets", f"{name} has several lines", "Write its value in one line")


def repository_errors(repository: str) -> Iterator[str]:
    """Report a repository that restic does not know. Its value may hold a password, so it is not shown."""
    if not re.match("/|[a-z0-9]+:", repository):
        yield error("backup_repository", "invalid value", "Use a path that begins with /, or sftp:, rest: or s3:")
    if re.search("//[^/@]*:[^/@]*@", repository):
        fix = "Remove it from the URL, and set RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD in backup_secrets"
        yield error("backup_repository", "the URL holds a password", fix)


def _checks(variables: Variables) -> Iterator[str]:
    databases = variables.rows("backup_databases")
    if not databases or variables.rows("backup_checks"):
        return
    name = databases[0].get("name", "shop")
    check = f'{{database: {name}, ask: "SELECT count(*) FROM ...", minimum: 1}}'
    problem = "it is empty, so a restored database without rows would pass the verification"
    yield error("backup_checks", problem, f"Write at least {check}")
