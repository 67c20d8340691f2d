# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guess what the inventory should say of a project: variables with kinds, services, checks. Pure.

What a deploy would refuse is found here, by the same rules, so that it can be corrected before the first deploy.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import merged_values
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv, rules
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import NAME, TableError
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import advice, checks, kinds, mounts
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import services as compose
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import (
    Entry,
    Flaw,
    Guess,
    Guessed,
    Project,
    Row,
    Setting,
    Use,
)
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.read import ENV, OF_COMPOSE

# A use with one of these works without a value.
_OPTIONAL = ("-", ":-", "+", ":+")
_FALLBACK = ("-", ":-")
_FIX_SECRET = "put the real value into vault.yml"
_FIX_PLAIN = "write it as `default:` in its row of variables.yml"


class _Found(NamedTuple):
    """All that the project says of one variable; `setting` is None where nothing sets it."""

    name: str
    setting: Setting | None
    uses: Sequence[Use]
    others: Sequence[Setting]

    @property
    def place(self) -> str:
        if self.setting:
            return str(self.setting.place)
        return str(self.uses[0].place)

    @property
    def is_needed(self) -> bool:
        """Whether a use of it fails, or gets an empty text, without a value."""
        return any(not use.is_passed and use.operator not in _OPTIONAL for use in self.uses)


def guess(project: Project, now: float) -> Guessed:
    """Guess the content of the inventory.

    :arg now: epoch seconds, for keys that expire.
    """
    left: list[str] = []
    found = [one for one in _variables(project, left) if NAME.fullmatch(one.name)]
    values = {one.name: one.setting.value for one in found if one.setting}
    guesses = {one.name: _guess(one, now) for one in found}
    rows = {name: dict(one.options) for name, one in guesses.items()}
    for name, services in _published(project).items():
        if name in rows:
            rows[name]["source"] = f"the port of the host at which Docker publishes {', '.join(services)}"
    same = kinds.duplicates(rows, values, now)
    for name, other in same.items():
        rows[name]["same_as"] = other
    findings = rules.validate(rules.parse_table(list(rows.values())), values, now)
    unfilled = {one["variable"] for one in findings if one["rule"] in kinds.PLACEHOLDER_RULES}
    places = {one.name: one.place for one in found}
    secret = {name for name, one in guesses.items() if one.variable.secret}
    flaws = [_flaw(one, places[one["variable"]], one["variable"] in secret) for one in findings]
    flaws += [_misnamed(one) for one in project.env.values() if not NAME.fullmatch(one.name)]
    merged = _merged(project, values, unfilled)
    verdict = _judge_as_a_deploy(project, merged, list(rows.values()), now)
    flaws += [_flaw_of_problem(project, one) for one in verdict.problems]
    left += _in_compose_files(project, verdict)
    entries = [_entry(one, guesses[one.name], rows[one.name], unfilled) for one in found]
    entries += _entries_of_files(project, merged, verdict, now)
    known = {name: value for name, value in values.items() if name not in unfilled and value}
    guessed = checks.guess(project, known)
    left += mounts.sentences(project.mounted)
    env = {name: one.value for name, one in project.env.items()}
    notes = advice.unnamed_data(project.services, env, project.files[0]) + advice.public_ports(project.ports, env)
    return Guessed(entries, guessed.rows, guessed.checks, guessed.known, left, flaws, notes)


# --- variables --------------------------------------------------------------------------------------------------------


def _variables(project: Project, left: list[str]) -> Iterator[_Found]:
    """Every variable of the table, in the order of `.env`, then of the compose files.

    What only another env file sets is left there: a service reads that file, and a variable has one place.
    """
    used: dict[str, list[Use]] = {}
    for use in project.uses:
        if use.name not in OF_COMPOSE:
            used.setdefault(use.name, []).append(use)
    elsewhere: dict[str, list[Setting]] = {}
    for settings in project.env_files.values():
        for setting in settings.values():
            elsewhere.setdefault(setting.name, []).append(setting)
    for name in dict.fromkeys((*project.env, *used)):
        others = elsewhere.get(name, [])
        if name not in project.env and all(use.is_passed for use in used[name]) and others:
            continue  # nothing to pass on, and the env file sets it
        included = [one.place.file for one in others if one.place.file not in project.readers]
        if name not in project.env and included:
            continue
        yield _Found(name, project.env.get(name), used.get(name, []), others)
    left += [_stays(project, file, list(settings)) for file, settings in project.env_files.items() if settings]


def _published(project: Project) -> dict[str, list[str]]:
    """The variables that give a port of the host, and nothing else: {name: the services that are published there}."""
    found: dict[str, list[str]] = {}
    for one in project.ports:
        for reference in dotenv.references(one.published):
            found.setdefault(reference.name, []).append(one.service)
    times = Counter(use.name for use in project.uses)
    # A service that others extend is written once.
    return {name: list(dict.fromkeys(named)) for name, named in found.items() if times[name] <= len(named)}


def _stays(project: Project, file: str, names: Sequence[str]) -> str:
    """Say that an env file stays where it is, and what would move its secrets into the vault."""
    readers = project.readers.get(file)
    who = f"{', '.join(readers)} read{'s' if len(readers) == 1 else ''} it" if readers else "an included file uses it"
    said = f"{file} stays as it is ({who}), with {', '.join(names)}: change them there. It is copied to the server"
    secret = [name for name in names if kinds.is_secret_name(name)]
    if not secret:
        return f"{said}."
    first = secret[0]
    return (
        f"{said}, where it holds {', '.join(secret)} in plain text. To move a secret into the vault: move its line to "
        f".env, write `{first}: ${{{first}}}` under `environment:` of the service, and run init again."
    )


def _in_compose_files(project: Project, verdict: merged_values.Verdict) -> list[str]:
    """Say which secrets the compose files hold themselves, and what would move them into the vault."""
    refused = {problem.where.rpartition(": ")[2] for problem in verdict.problems}
    readers: dict[str, list[str]] = {}
    for name, service in verdict.in_files:
        if name in compose.environment(project.services[service]) and name in project.literal and name not in refused:
            readers.setdefault(name, []).append(service)
    return [
        f"{name} stays in {project.literal[name]}, in plain text, for {', '.join(named)}. "
        f"To move it into the vault: put {name} with its value into .env, write `{name}: ${{{name}}}` in its "
        "place, and run init again."
        for name, named in readers.items()
    ]


def _guess(found: _Found, now: float) -> Guess:
    values = [found.setting.value] if found.setting else []
    values += [one.value for one in found.others]
    values += [use.fallback for use in found.uses if use.operator in _FALLBACK and "$" not in use.fallback]
    chosen = kinds.guess(found.name, values, now)
    if _needs_value(found):
        return chosen
    options = {**chosen.options, "required": False}
    if found.setting and not chosen.variable.secret and not _takes(options, ""):
        options = {"name": found.name, "kind": "text", "required": False}
    return Guess(options, rules.parse_table([options])[0], chosen.reason)


def _needs_value(found: _Found) -> bool:
    """Whether the row is required: it has a value today, or something fails without one."""
    if found.setting is None:
        return found.is_needed
    return bool(found.setting.value.strip()) or any(use.operator == ":?" for use in found.uses)


def _takes(row: Row, default: str) -> bool:
    """Whether the row may have this default."""
    try:
        rules.parse_table([{**row, "default": default}])
    except TableError:
        return False
    return True


def _entry(found: _Found, guessed: Guess, row: Row, unfilled: set[str]) -> Entry:
    comment = f"{found.place}: {guessed.reason}"
    value = found.setting.value if found.setting else None
    others = list(dict.fromkeys(one.place.file for one in found.others))
    if others:
        comment += f"; {', '.join(others)} has it, too, so change it there as well"
    if value is None and not guessed.variable.required:
        is_passed = all(use.is_passed for use in found.uses)
        comment += f"; without a value, {'it is not set' if is_passed else 'the compose file has its own'}"
    if "same_as" in row:
        comment += f"; the same value as {row['same_as']}"
    kept = "" if found.name in unfilled or value is None else value
    if guessed.variable.secret:
        # Without a value, an empty one would win over the compose file's own.
        has_line = value is not None or guessed.variable.required
        return Entry(row, comment, found.name, has_line, kept)
    if value is None or found.name in unfilled:
        return Entry(row, comment, found.name)
    if "same_as" not in row and _takes(row, kept):
        return Entry({**row, "default": _default(row, kept)}, comment, found.name)
    return Entry(row, comment, found.name, True, kept)


def _default(row: Row, value: str) -> str | int:
    """A number as YAML writes it, when it is exactly that."""
    is_number = row["kind"] in ("port", "integer") and re.fullmatch("0|-?[1-9][0-9]*", value)
    return int(value) if is_number else value


# --- what a deploy would refuse ---------------------------------------------------------------------------------------


def _flaw(finding: rules.Finding, place: str, secret: bool) -> Flaw:
    if finding["rule"] in ("missing", "empty"):
        return Flaw(finding["variable"], place, "it has no value", _FIX_SECRET if secret else _FIX_PLAIN, True)
    if finding["rule"] in kinds.PLACEHOLDER_RULES:
        reason = f"placeholder: {finding['reason']}"
        return Flaw(finding["variable"], place, reason, _FIX_SECRET if secret else _FIX_PLAIN, True)
    return Flaw(finding["variable"], place, finding["reason"], finding["fix"].rstrip("."))


def _misnamed(setting: Setting) -> Flaw:
    reason = "only letters, digits and _ may be in a name of the table, so the server's .env will not have it"
    return Flaw(setting.name, str(setting.place), reason, "set it under `environment:` of its service")


class _Merged(NamedTuple):
    """What the containers would get: the `.env`, the other env files, and each service's environment."""

    env: Mapping[str, str]
    files: Mapping[str, merged_values.EnvFile]
    services: Mapping[str, Mapping[str, str]]


def _merged(project: Project, values: Mapping[str, str], unfilled: set[str]) -> _Merged:
    """What the containers would get. A value that is not there yet counts as a good one."""
    missing = {one.name for one in project.uses if not values.get(one.name) and one.operator not in _OPTIONAL}
    env = {**values, **{name: _good(name) for name in (*unfilled, *missing)}}
    files = {
        path: merged_values.EnvFile(path, {name: one.value for name, one in settings.items()})
        for path, settings in project.env_files.items()
    }
    in_files: dict[str, Mapping[str, str]] = {ENV: env, **{path: one.values for path, one in files.items()}}
    services = {}
    for service, spec in project.services.items():
        got: dict[str, str] = {}
        for path in merged_values.env_file_paths({service: spec}):
            got.update(in_files.get(path, {}))
        for name, text in compose.environment(spec).items():
            value = env.get(name) if text is None else dotenv.resolved(text, env)
            if value is not None:
                got[name] = value
        services[service] = got
    return _Merged(env, files, services)


def _judge_as_a_deploy(project: Project, merged: _Merged, rows: Sequence[Row], now: float) -> merged_values.Verdict:
    """What a deploy would say of it."""
    # As `docker compose config` prints them, where a `$` is doubled.
    model = {
        service: {"environment": {name: value.replace("$", "$$") for name, value in got.items()}}
        for service, got in merged.services.items()
    }
    table = rules.parse_table(list(rows))
    files = merged_values.Files(merged.files)
    return merged_values.judge(table, merged.env, model, project.services, files, now)


def _entries_of_files(project: Project, merged: _Merged, verdict: merged_values.Verdict, now: float) -> Iterator[Entry]:
    """The rows of secrets that stay in the project's files: with a row, a deploy validates and hides them.

    One that no kind accepts gets none: a deploy would refuse what runs today.
    """
    readers: dict[str, list[str]] = {}
    for name, service in verdict.in_files:
        readers.setdefault(name, []).append(service)
    for name, named in readers.items():
        values = list(dict.fromkeys(merged.services[service][name] for service in named))
        chosen = kinds.guess(name, values, now)
        row = {**chosen.options, "required": False}
        table = rules.parse_table([row])
        if chosen.variable.secret and not any(rules.validate(table, {name: value}, now) for value in values):
            place = project.literal.get(name) or f"an env file of {', '.join(named)}"
            yield Entry(row, f"{place}: {chosen.reason}; its value stays there", name)


def _good(name: str) -> str:
    """A text that no rule takes for a placeholder."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _flaw_of_problem(project: Project, problem: merged_values.Problem) -> Flaw:
    where, _unused, name = problem.where.rpartition(": ")
    file = where.removeprefix("env_file ")
    setting = project.env_files.get(file, {}).get(name)
    place = setting.place if setting else project.literal.get(name)
    return Flaw(name, str(place or where), problem.reason, problem.fix)
