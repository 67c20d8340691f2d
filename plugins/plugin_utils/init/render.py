# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The texts of an inventory. Pure.

Every file begins with a line by which the next run knows that it may add to it. The vault is plain text here.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    Guessed,
    Project,
    Row,
    Target,
)

BY_INIT = "# Written by init"
EXAMPLE_ADDRESS = "192.0.2.10"
PASSWORD_FILE = ".vault-password"
VARIABLES, VAULT = "group_vars/all/variables.yml", "group_vars/all/vault.yml"
APP, CHECKS, HOSTS = "group_vars/all/app.yml", "group_vars/all/checks.yml", "hosts.yml"
EXAMPLE, IGNORED, CONFIGURATION = ".env.example", ".gitignore", "ansible.cfg"
SEEN = "# Services that init has looked at: "

_WIDEST = 120
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")


class _Unsafe(str):
    """A text that Ansible must not read as a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML carries no types
    """YAML on one line: no folding, line ends as escapes."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text_node(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"' if "\n" in text else None)


def _unsafe_node(dumper: Any, text: _Unsafe) -> Any:
    return dumper.represent_scalar("!unsafe", str(text), style='"' if "\n" in text else "'")


_Dumper.add_representer(str, _text_node)
# Texts that come from Ansible are of a class of its own.
_Dumper.add_multi_representer(str, _text_node)
_Dumper.add_representer(_Unsafe, _unsafe_node)


class Part(NamedTuple):
    """A list or mapping of the inventory: its key, and the lines of each entry by the entry's name."""

    key: str
    entries: Mapping[str, str]


def flow(value: object) -> str:
    """A value in one line of YAML; texts with `{{` keep Ansible from reading them as templates."""
    text = yaml.dump(
        _guarded(value),
        Dumper=_Dumper,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
    )
    return str(text).removesuffix("\n").removesuffix("\n...")


def _guarded(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _guarded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_guarded(item) for item in value]
    if isinstance(value, str) and _TEMPLATE.search(value):
        return _Unsafe(value)
    return value


# --- the parts that a later run adds to -------------------------------------------------------------------------------


def variables(entries: Iterable[Entry]) -> Part:
    """The rows of the table."""
    return Part("app_env_variables", {one.name: _item(one.row, one.comment) for one in entries})


def values(entries: Iterable[Entry]) -> Part:
    """The values for the vault."""
    return Part("app_env_values", {one.name: f"  {one.name}: {flow(one.value)}\n" for one in entries if one.in_vault})


def checks(entries: Mapping[str, Entry]) -> Part:
    """The checks, by their service."""
    return Part("selfheal_checks", {name: _block(one.row, one.comment) for name, one in entries.items()})


def services(entries: Mapping[str, Entry]) -> Part:
    """The rows of services that need one."""
    lines = {name: f"{_comment(one.comment)}  {flow({name: one.row})[1:-1]}\n" for name, one in entries.items()}
    return Part("compose_app_services", lines)


def _item(row: Row, comment: str) -> str:
    line = f"  - {flow(row)}"
    if len(line) + len(comment) + 4 <= _WIDEST:
        return f"{line}  # {comment}\n"
    if len(line) <= _WIDEST:
        return f"{_comment(comment)}{line}\n"
    return _block(row, comment)


def _block(row: Row, comment: str) -> str:
    keys = [f"{key}: {flow(value)}" for key, value in row.items()]
    return f"{_comment(comment)}  - {keys[0]}\n" + "".join(f"    {key}\n" for key in keys[1:])


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDEST - 4, break_long_words=False, break_on_hyphens=False)
    return "".join(f"  # {line}\n" for line in lines)


def _listed(part: Part, empty: str) -> str:
    return f"{part.key}:\n{''.join(part.entries.values())}" if part.entries else f"{part.key}: {empty}\n"


# --- whole files ------------------------------------------------------------------------------------------------------


def files(project: Project, guessed: Guessed, target: Target) -> dict[str, str]:
    """Every file but the vault's password, by its path; the vault is not encrypted yet."""
    return {
        HOSTS: _hosts(project, target),
        APP: _app(project, guessed, target),
        VARIABLES: _variables(project, guessed),
        VAULT: _vault(guessed, target),
        CHECKS: _checks(project, guessed),
        EXAMPLE: example(guessed.variables),
        IGNORED: f"{BY_INIT}. The password of the vault, and reports of playbooks.\n/{PASSWORD_FILE}\n/reports/\n",
        CONFIGURATION: _configuration(target),
    }


def _named(project: Project) -> str:
    return ", ".join(project.files)


def _hosts(project: Project, target: Target) -> str:
    if target.address:
        address = f"      ansible_host: {flow(target.address)}\n"
    else:
        address = (
            f"      # EXAMPLE: write your server's address here. Every playbook refuses {EXAMPLE_ADDRESS} (RFC 5737).\n"
            f"      ansible_host: {EXAMPLE_ADDRESS}\n"
        )
    address += "".join(f"      {name}: {flow(value)}\n" for name, value in target.connection)
    user = target.user or "root"
    become = "    ansible_become: true\n" if user != "root" else ""
    other = (
        "" if become else "    # With another user than root:\n    # ansible_user: deploy\n    # ansible_become: true\n"
    )
    return (
        f"---\n{BY_INIT} from {_named(project)}. The server that {project.app} runs on.\n"
        f"backends:\n  hosts:\n    {flow(target.name)}:\n{address}"
        f"  vars:\n    # The server's newest Python, without a warning.\n    ansible_python_interpreter: auto_silent\n"
        f"    ansible_user: {flow(user)}\n{become}{other}"
    )


def _app(project: Project, guessed: Guessed, target: Target) -> str:
    source = yaml.dump(
        f"{{{{ inventory_dir }}}}/{target.source}", Dumper=_Dumper, default_style='"', width=float("inf")
    )
    named = f"compose_app_files: {flow(list(project.files))}\n" if not project.is_found else ""
    exclude = ""
    if target.exclude:
        names = [".git", "__pycache__", "node_modules", PASSWORD_FILE, f"/{target.exclude}"]
        exclude = f"# What is not copied to the server: this inventory, too.\ncompose_app_exclude: {flow(names)}\n"
    known = "".join(f"#   {name}: {reason}\n" for name, reason in guessed.known.items())
    without = f"# These need no row:\n{known}" if known else ""
    return (
        f"---\n{BY_INIT} from {_named(project)}. docs/guides/deploy.md of the collection says what else may be here.\n"
        f"selfheal_app: {flow(project.app)}\n\n"
        "# The folder with the compose file and every file that it names.\n"
        f"compose_app_source: {source}{named}{exclude}\n"
        f"{seen(project.services)}\n{without}{_listed(services(guessed.services), '{}')}"
    )


def seen(names: Iterable[str]) -> str:
    """The line by which the next run tells new services from those whose rows and checks were removed on purpose."""
    return SEEN + ", ".join(names)


def _variables(project: Project, guessed: Guessed) -> str:
    return (
        f"---\n{BY_INIT} from {_named(project)}. The variables of the app's .env, each with its kind and why.\n"
        "# A setting has its value here (default); a secret has it in vault.yml, under its own name. Change a kind\n"
        "# where the guess is wrong. docs/guides/secrets.md of the collection lists the kinds.\n"
        f"{_listed(variables(guessed.variables), '[]')}"
    )


def _vault(guessed: Guessed, target: Target) -> str:
    return (
        f"---\n{BY_INIT}. The secrets of the app's .env, by the names of their rows in variables.yml. To change one:\n"
        f"#   ansible-vault edit {target.shown}/{VAULT}\n"
        "# Put !unsafe before a value that contains {{ or {%, or Ansible reads it as a template.\n"
        f"{_listed(values(guessed.variables), '{}')}"
    )


def _checks(project: Project, guessed: Guessed) -> str:
    none = (
        ""
        if guessed.checks
        else "# No service publishes a port that answers HTTP, so the services' states are all that is watched.\n"
    )
    return (
        f"---\n{BY_INIT} from {_named(project)}. The checks of each release, in order; they run on the server.\n"
        "# ${NAME} is a variable of the .env. Add what a user does: a login, a request for data. A published\n"
        "# port that a check asks is public on purpose; a deploy warns of others that are open to every machine.\n"
        f"{none}{_listed(checks(guessed.checks), '[]')}"
    )


def example(entries: Sequence[Entry]) -> str:
    """The names of the variables, with their kinds and without any value."""
    return f"{BY_INIT}.\n{rules.example(_without_defaults(entries))}"


def example_of(entries: Sequence[Entry]) -> str:
    """The lines of some variables, without the head of the file."""
    return rules.example(_without_defaults(entries)).partition("\n")[2]


def _without_defaults(entries: Sequence[Entry]) -> list[rules.Variable]:
    rows = [{key: value for key, value in one.row.items() if key != "same_as"} for one in entries]
    return [one._replace(default=None) for one in rules.parse_table(rows)]


def _configuration(target: Target) -> str:
    password = (
        f"vault_password_file = {PASSWORD_FILE}"
        if target.has_password_file
        else "# vault_password_file = ~/.vault-password"
    )
    collections = ""
    if target.collections:
        collections = (
            "# Where this machine has the collection. Remove the line where it is installed from Galaxy.\n"
            f"collections_path = {target.collections}:~/.ansible/collections:/usr/share/ansible/collections\n"
        )
    return f"""{BY_INIT}. Ansible reads it in this folder: cd here, or set ANSIBLE_CONFIG.

[defaults]
inventory = {HOSTS}
{password}
{collections}
gathering = explicit
inject_facts_as_vars = false
interpreter_python = auto_silent
forks = 20
timeout = 10
host_key_checking = true

callback_result_format = yaml
display_skipped_hosts = false
nocows = true
localhost_warning = false

[inventory]
# A typing error in the inventory ends the run; it must not shorten the list of hosts.
any_unparsed_is_failed = true

[connection]
pipelining = true

[ssh_connection]
# One ssh connection per host, kept for a minute; a host that went away is noticed within 15 s.
ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5 -o ServerAliveCountMax=3
retries = 1
"""
