# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of init: read the project, guess, plan, write, report."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import ask as asking
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import guess, merge, read, vault, write
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import plan as planning
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.ask import Ask
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    File,
    Flaw,
    Guessed,
    InitError,
    Project,
    Target,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.render import HOSTS, PASSWORD_FILE, VAULT
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.report import Command, Report, report
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.vault import Identity, Vault
from ansible_collections.christmas.selfheal.plugins.plugin_utils.shown_path import shown_path

_FOLDER = "deploy"
_ENCRYPTED = "$ANSIBLE_VAULT;"
# Names that mean something else in an inventory.
_RESERVED = ("all", "backends", "localhost", "ungrouped")
_HOST = re.compile(r"(?:(?P<user>[a-z_][a-z0-9_.-]*)@)?(?P<address>[A-Za-z0-9_.-]+|\[?[0-9a-fA-F:]+\]?)")


class Request(NamedTuple):
    """What the user asks for, and what is known of this run.

    :arg here: the folder that relative paths start from.
    :arg collections: as in `Target`.
    :arg identities: the vault identities of this run; `encrypt_identity`: the one that is configured to encrypt.
    :arg connection: as in `Target`.
    :arg name: how this run calls the host, "" when it is not known.
    :arg services: rows of services that are known to need one.
    """

    given: Sequence[str]
    to: str
    host: str
    app: str
    here: str
    command: Command
    collections: str = ""
    identities: Sequence[Identity] = ()
    encrypt_identity: str = ""
    connection: Sequence[tuple[str, object]] = ()
    name: str = ""
    services: Mapping[str, Entry] = {}


class Diff(TypedDict):
    """One file's difference as Ansible shows it; of a vault, the names alone."""

    before_header: str
    after_header: str
    before: str
    after: str


class Outcome(NamedTuple):
    """What was written, or would be; `missing` are variables to correct before a deploy. None of it holds a value.

    `has_password_file`: the vault's password is a file in the folder.
    """

    changed: bool
    folder: str
    files: Sequence[str]
    missing: Sequence[str]
    report: Report
    diff: Sequence[Diff]
    has_password_file: bool


def run(
    request: Request, check: bool, now: float, require_valid: Callable[[Project], None], ask: Ask | None = None
) -> Outcome:
    """Write the inventory; in check mode, only say what would be written.

    :arg now: epoch seconds.
    :arg require_valid: asks Compose, where there is one.
    :arg ask: asks a person; None for the defaults.
    :raises InitError: nothing was written.
    """
    project = read.read(request.given, request.app, request.here)
    require_valid(project)
    path = _folder(request, project)
    texts = write.read(path, planning.ORDER)
    cipher, password = _cipher(request, texts.get(PASSWORD_FILE, "").strip())
    _require_open_vault(texts.get(VAULT, ""), cipher)
    request, project, guessed = _asked(request, project, texts, now, ask)
    has_file = bool(password) or PASSWORD_FILE in texts
    target = _target(request, project, path, has_file)
    wanted = planning.Wanted(project, guessed, target, password)
    planned = planning.plan(wanted, texts, cipher)
    flaws = planning.open_flaws(wanted, texts, cipher)
    if planned.files and not check:
        write.write(path, planned.files)
    return Outcome(
        changed=bool(planned.files),
        folder=path,
        files=[file.path for file in planned.files],
        missing=_names(flaws),
        report=report(
            project, guessed, target, planned, flaws, request.command, check, planning.checks(planned, texts, guessed)
        ),
        diff=[_diff(target, file) for file in planned.files],
        has_password_file=has_file,
    )


def _asked(
    request: Request, project: Project, texts: Mapping[str, str], now: float, ask: Ask | None
) -> tuple[Request, Project, Guessed]:
    """What is asked for, read and guessed, with a person's answers where this run writes them."""
    if ask is None:
        guessed = guess.guess(project, now)
        return request, project, guessed._replace(services={**guessed.services, **_merged(request, guessed)})
    try:
        if not request.host and HOSTS not in texts:
            request = request._replace(host=asking.host(ask, _problem_of_host))
        known = planning.known_variables(texts)
        project = asking.values(project, known, now, ask)
        guessed = guess.guess(project, now)
        return request, project, asking.checks(guessed, planning.known_services(texts, guessed), ask)
    except asking.NoTerminal:
        return request, project, guess.guess(project, now)


def _merged(request: Request, guessed: Guessed) -> dict[str, Entry]:
    """The rows that are known to be needed, with what was guessed for the same services."""
    found = {}
    for name, one in request.services.items():
        other = guessed.services.get(name, Entry({}, ""))
        comment = "; ".join(filter(None, (other.comment, one.comment)))
        found[name] = other._replace(row={**other.row, **one.row}, comment=comment)
    return found


def _problem_of_host(text: str) -> str:
    return "" if _HOST.fullmatch(text) else f"{text!r} is not an address"


def _names(flaws: Sequence[Flaw]) -> list[str]:
    return list(dict.fromkeys(flaw.name for flaw in flaws))


def _folder(request: Request, project: Project) -> str:
    default = os.path.join(project.folder, os.path.dirname(project.files[0]), _FOLDER)
    chosen = os.path.join(request.here, os.path.expanduser(request.to)) if request.to else default
    path = os.path.abspath(chosen)
    if path == project.folder or project.folder.startswith(f"{path}{os.sep}"):
        raise InitError(
            path, "it holds the project, which is copied to the server", "name a folder of its own: -e to=DIR"
        )
    return path


def _target(request: Request, project: Project, path: str, has_file: bool) -> Target:
    found = _HOST.fullmatch(request.host) if request.host else None
    if request.host and found is None:
        raise InitError(
            "host",
            _problem_of_host(request.host),
            "write -e host=ADDRESS or -e host=USER@ADDRESS, and a port into hosts.yml (ansible_port)",
        )
    address = found["address"].strip("[]") if found else ""
    below = os.path.relpath(path, project.folder)
    return Target(
        path=path,
        shown=shown_path(path, request.here),
        # As the system resolves it: the folder may be a link to another place.
        source=os.path.relpath(os.path.realpath(project.folder), os.path.realpath(path)),
        exclude="" if below.startswith("..") else below,
        address=address,
        name=_name(request.name or address, project.app),
        user=(found["user"] or "") if found else "",
        collections=request.collections,
        has_password_file=has_file,
        connection=request.connection,
    )


def _name(given: str, app: str) -> str:
    """How the inventory calls the host: as ssh does, where that is a name."""
    if given and given not in _RESERVED and not _is_ip(given):
        return given
    return f"{app}-1" if app[-1].isdigit() else f"{app}1"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _cipher(request: Request, password: str) -> tuple[Vault, str]:
    """What encrypts, and a new password where this run and the folder have none."""
    if password:
        return Vault(vault.identity(password), request.identities), ""
    configured = vault.configured(request.identities, request.encrypt_identity)
    if configured:
        return Vault(configured, request.identities), ""
    new = vault.new_password()
    return Vault(vault.identity(new), request.identities), new


def _require_open_vault(text: str, cipher: Vault) -> None:
    """Refuse a vault that this run cannot read: its passwords would be for nothing, and what is missing is unknown."""
    if text.startswith(_ENCRYPTED):
        cipher.decrypt(text)
    elif merge.is_ours(text):
        raise InitError(VAULT, "it is not encrypted", "encrypt it again: ansible-vault encrypt, with the same password")


def _diff(target: Target, file: File) -> Diff:
    path = f"{target.shown}/{file.path}"
    return Diff(before_header=path, after_header=path, before=file.shown_before, after=file.shown_after)
