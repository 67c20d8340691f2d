# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the containers get, compared with what was validated. Pure; no text that it returns holds a value.

The env is validated, and then ``environment:`` or another env_file of the compose file wins over it. So the model that
Compose has merged is read once more, each variable of each service:

- a secret of the table must be the validated one in every service that has it;
- another value of a plain variable must pass the rules of that variable, and is noted;
- what the table does not list is looked at for placeholders: by the rules for secrets where the name says so, else for
  shapes that are never a value. Defaults such as ``postgres`` or ``test`` work, so they are only noted.
  ``postgres://app:${DB_PASSWORD}@db`` holds a validated secret when the table lists DB_PASSWORD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from ..docker.model import Services, Spec
from ..env import dotenv
from ..env.placeholders import is_sample, placeholder, unfilled
from ..env.rules import validate
from ..env.variables import TABLE, Variable
from .services import OverlayError

# Anywhere in a name: what is never a value is looked for by the rules for secrets.
_SECRET_WORD = re.compile("KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL|DSN", re.I)
# At its end: the value itself is a secret, not a path to it or how long it lasts.
SECRET_NAME = re.compile(
    r"(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASS|PWD|PASSPHRASE|CREDENTIAL|DSN)S?(?:_BASE|_?\d+)?$", re.I
)
_DEFAULTS = (
    "admin",
    "guest",
    "mariadb",
    "minio",
    "mongo",
    "mysql",
    "postgres",
    "postgresql",
    "rabbitmq",
    "redis",
    "root",
)
_NAMES_SHOWN = 5


class Problem(NamedTuple):
    """One value that must not reach a container: where it is, why, and what to write."""

    where: str
    reason: str
    fix: str


class Verdict(NamedTuple):
    """What must be refused, and what people should know.

    :arg in_files: the secrets that the project's own files hold, so that no rule of the table validates them: names of
        variables, each with its service.
    """

    problems: list[Problem]
    notes: list[str]
    in_files: list[tuple[str, str]]


class ValuesError(OverlayError):
    """Values that are not the validated ones, all of them at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.where, first.reason, first.fix)
        self.args = ("\n".join(f"{one.where}: {one.reason}. Fix: {one.fix}" for one in problems),)


class EnvFile(NamedTuple):
    """An env file other than `.env`: how messages call it, and its values."""

    shown: str
    values: Mapping[str, str]


class Files(NamedTuple):
    """What the project's files hold: env files by the path that the model has, and the small texts of ``secrets:``."""

    env: Mapping[str, EnvFile] = {}
    secrets: Mapping[str, str] = {}


class Given(NamedTuple):
    """One variable of one service, as Compose has merged it."""

    service: str
    name: str
    value: str
    source: str


def judge(
    variables: Sequence[Variable],
    env: Mapping[str, str],
    merged: Services,
    written: Services,
    files: Files,
    now: float,
) -> Verdict:
    """Compare what the services get with what was validated.

    :arg env: the values of ``.env``.
    :arg merged: the services of the model, as ``docker compose config`` prints them.
    :arg written: the same with ``--no-interpolate``: it still says which env files a service names.
    """
    table = {variable.name: variable for variable in variables}
    problems: list[Problem] = []
    differing: list[Given] = []
    unlisted: list[Given] = []
    for given in _merged(merged, written, files.env):
        variable = table.get(given.name)
        if variable is None:
            unlisted.append(given)
        elif env.get(given.name) != given.value:
            problem = _judge_override(variable, given, given.name in env, now)
            problems += [problem] if problem else []
            differing += [given] if given.name in env else []
    found = [_judge_unlisted(given) for given in unlisted]
    problems += [problem for problem in found if problem]
    known = {problem.where for problem in problems}
    problems += [problem for problem in _judge_env_files(files.env, table) if problem.where not in known]
    problems += _judge_secret_files(files.secrets)
    secret = [given for given in unlisted if _holds_secret(given)]
    in_files = [given for given in secret if not _is_validated(given, written.get(given.service), table, env)]
    named = list(dict.fromkeys((given.name, given.service) for given in in_files))
    return Verdict(problems, _notes(differing, secret, in_files), named)


def require(verdict: Verdict) -> list[str]:
    """The notes of ``verdict``.

    :raises ValuesError: there are problems.
    """
    if verdict.problems:
        raise ValuesError(verdict.problems)
    return verdict.notes


def env_file_paths(written: Services) -> list[str]:
    """The env files that the services name, as the model with ``--no-interpolate`` has them."""
    paths = [path for entry in written.values() for path in _env_files_of(entry)]
    return list(dict.fromkeys(paths))


def _env_files_of(entry: Spec | None) -> list[str]:
    listed = (entry or {}).get("env_file") or []
    items = [listed] if isinstance(listed, str) else listed
    return [item if isinstance(item, str) else str(item.get("path", "")) for item in items]


def _environment_of(entry: Spec | None) -> Mapping[str, object]:
    """What is under ``environment:``, which is a list or a mapping."""
    listed = (entry or {}).get("environment") or {}
    if isinstance(listed, Mapping):
        return listed
    return dict(str(item).partition("=")[::2] for item in listed)


def _merged(merged: Services, written: Services, env_files: Mapping[str, EnvFile]) -> Iterator[Given]:
    for service, entry in sorted(merged.items()):
        for name, value in sorted(_environment_of(entry).items()):
            if value is not None:
                # `config` doubles each dollar, so that its output could be read again.
                source = _source(service, name, written.get(service), env_files)
                yield Given(service, name, str(value).replace("$$", "$"), source)


def _source(service: str, name: str, entry: Spec | None, env_files: Mapping[str, EnvFile]) -> str:
    """Who gives a variable to a service: `environment:` wins over the last env file that has it."""
    if name not in _environment_of(entry):
        for path in reversed(_env_files_of(entry)):
            if path in env_files and name in env_files[path].values:
                return f"env_file {env_files[path].shown}"
    return f"`environment:` of service {service}"


def _judge_override(variable: Variable, given: Given, validated: bool, now: float) -> Problem | None:
    where = f"{given.source}: {given.name}"
    fix = f"write {given.name}: ${{{given.name}}} there, or remove it there, so that the value of .env counts"
    if validated and variable.secret:
        return Problem(where, f"service {given.service} would get {_instead(given.value)}", fix)
    findings = validate([variable], {given.name: given.value}, now)
    if not findings:
        return None
    rule, reason = findings[0]["rule"], findings[0]["reason"]
    return Problem(where, f"service {given.service} would get a value that is invalid: {rule}: {reason}", fix)


def _instead(value: str) -> str:
    """What a service would get in the place of the validated secret."""
    if not value:
        return "an empty value instead of the validated one"
    reason = unfilled(value, True)
    return (
        f"a placeholder instead of the validated value: {reason}" if reason else "another value than the validated one"
    )


def _judge_unlisted(given: Given) -> Problem | None:
    value, secret = _secret_part(given.name, given.value)
    reason = unfilled(value, secret)
    if reason is None:
        return None
    return _placeholder(f"{given.source}: {given.name}", f"service {given.service} would get", reason)


def _secret_part(name: str, value: str) -> tuple[str, bool]:
    """The password of an address that has one, else the whole value; and whether that is a secret."""
    password = password_of(value)
    if password:
        return password, True
    return value, _SECRET_WORD.search(name) is not None


def password_of(value: str) -> str:
    """The password in an address; "" without one."""
    found = re.match(r"[a-z][a-z0-9+.-]*://[^:@/\s]*:([^@/\s]+)@", value, re.I)
    return unquote(found.group(1)) if found else ""


def _holds_secret(given: Given) -> bool:
    return bool(given.value) and bool(SECRET_NAME.search(given.name) or password_of(given.value))


def _is_validated(given: Given, written: Spec | None, table: Mapping[str, Variable], env: Mapping[str, str]) -> bool:
    """Whether the compose file takes the secret in a value from a variable of the table."""
    text = _environment_of(written).get(given.name)
    secret, _is_secret = _secret_part(given.name, given.value)
    used = dotenv.references(str(text)) if text is not None else []
    return any(one.name in table and env.get(one.name) == secret for one in used)


def _is_default(given: Given) -> bool:
    """Whether the value is one that everybody tries first."""
    value = password_of(given.value) or given.value
    return placeholder(value, _DEFAULTS) is not None or is_sample(value)


def _placeholder(where: str, who: str, reason: str) -> Problem:
    fix = f"put the real value there; or list the name in {TABLE}, its value in the vault, and write ${{NAME}} there"
    return Problem(where, f"{who} a placeholder: {reason}", fix)


def _judge_env_files(env_files: Mapping[str, EnvFile], table: Mapping[str, Variable]) -> list[Problem]:
    """Placeholders in env files that no service gets today: another one wins over them, until it is removed."""
    found = []
    for env_file in env_files.values():
        for name, text in env_file.values.items():
            value, secret = _secret_part(name, text)
            reason = unfilled(value, secret or name in table)
            if reason:
                found.append(_placeholder(f"env_file {env_file.shown}: {name}", "it holds", reason))
    return found


def _judge_secret_files(secrets: Mapping[str, str]) -> list[Problem]:
    found = []
    for name, content in secrets.items():
        reason = unfilled(content.strip(), True)
        if reason:
            found.append(
                Problem(f"secrets: {name}", f"its file holds a placeholder: {reason}", "put the real value in")
            )
    return found


def _notes(differing: Sequence[Given], secret: Sequence[Given], in_files: Sequence[Given]) -> list[str]:
    said = {
        "the compose file overrides .env for": differing,
        "well-known defaults are the value of": [given for given in secret if _is_default(given)],
        f"not in {TABLE}, so only looked at for placeholders": in_files,
    }
    return [f"{what}: {_shown(found)}" for what, found in said.items() if found]


def _shown(found: Sequence[Given]) -> str:
    names = list(dict.fromkeys(f"{given.name} ({given.service})" for given in found))
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
