# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of an app's variables: what an entry may say, and ``.env.example`` made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from ..core.variable import Variable

__all__ = ["KINDS", "TableError", "Values", "Variable", "VariableEntry", "is_secret", "parse_entries"]

Values = Mapping[str, object]
"""The values of an env by name, as the vault or a file holds them: each may be any value of YAML."""


class _RequiredKeys(TypedDict):
    name: str
    kind: str


class VariableEntry(_RequiredKeys, total=False):
    """One entry of the table, as the inventory has it. `core.variable.Variable` says what the keys mean."""

    required: bool
    source: str
    secret: bool
    default: str | int | None
    pattern: str
    choices: list[str]
    min: int
    max: int
    min_length: int
    same_as: str
    signs_keys: bool
    private_key: str


# How the inventory calls the table; errors name it, because that is where it is corrected.
TABLE = "app_env_variables"

# Kind → what such a value is, and where it comes from when the entry does not say.
KINDS = {
    "supabase_url": "Supabase dashboard, Project Settings, Data API: project URL",
    "supabase_anon_key": "Supabase dashboard, Project Settings, API Keys: publishable or anon key",
    "supabase_service_key": "Supabase dashboard, Project Settings, API Keys: secret or service_role key",
    "jwt_secret": "made once with openssl rand -hex 32, the same for every instance of the app",
    "port": "the port that the app listens on, inside its container",
    "url": "a web address, with https://",
    "postgres_dsn": "your PostgreSQL, as postgresql://user:password@host:5432/db; of Supabase: dashboard, Connect",
    "redis_url": "your Redis, as redis://:password@host:6379/0",
    "token": "the service that the token is for",
    "enum": "one of the choices",
    "integer": "a whole number",
    "pattern": "a text that matches the pattern",
    "text": "any text",
    "email": "an e-mail address",
    "boolean": "true or false",
    "mysql_dsn": "your MySQL or MariaDB, as mysql://user:password@host:3306/db",
    "mongodb_dsn": "your MongoDB, as mongodb://user:password@host:27017/db, or mongodb+srv://… of Atlas",
    "amqp_dsn": "your RabbitMQ, as amqp://user:password@host:5672/vhost",
    "smtp_dsn": "your mail server, as smtp://user:password@host:587",
    "stripe_key": "Stripe dashboard, Developers, API keys: secret or restricted key",
    "stripe_publishable_key": "Stripe dashboard, Developers, API keys: publishable key",
    "stripe_webhook_secret": "Stripe dashboard, Developers, Webhooks: signing secret of the endpoint",
    "sendgrid_key": "SendGrid, Settings, API Keys",
    "aws_access_key_id": "AWS console, IAM, the user's Security credentials: access key",
    "aws_secret_access_key": "AWS console, IAM: shown once, when the access key is made",
    "openai_key": "OpenAI platform, API keys, or a provider with keys of the same form",
    "github_token": "GitHub, Settings, Developer settings: personal access token, or that of an app",
    "slack_token": "Slack, api.slack.com, the app's OAuth & Permissions, or its app-level tokens",
    "slack_webhook": "Slack, api.slack.com, the app's Incoming Webhooks",
    "telegram_token": "Telegram, @BotFather, /token",
    "google_service_account": "Google Cloud or Firebase console, Service accounts, Keys: the JSON file",
    "private_key": "the file in PEM format; its line ends may be written as \\n",
    "certificate": "the file in PEM format, the server's own certificate first",
    "fernet_key": "made once: cryptography.fernet.Fernet.generate_key()",
    "django_secret_key": "made once: django.core.management.utils.get_random_secret_key()",
    "rails_secret_key_base": "made once: bin/rails secret",
    "rails_master_key": "config/master.key of the Rails app",
    "laravel_app_key": "made once: php artisan key:generate --show",
}
# Kinds that are an address with a password in it; without one, it is not secret.
SERVER_KINDS = frozenset({"postgres_dsn", "redis_url", "mysql_dsn", "mongodb_dsn", "amqp_dsn", "smtp_dsn"})
_PLAIN_KINDS = frozenset(
    {"supabase_url", "port", "url", "enum", "integer", "boolean", "pattern", "text", "email", "certificate"}
    | {"stripe_publishable_key"}
)
# Of these, the description in KINDS says no more than a finding does.
_KINDS_WITHOUT_A_PLACE = frozenset(
    {"port", "url", "redis_url", "token", "enum", "integer", "pattern", "text", "email", "boolean"}
)

_ENTRY_KEYS = (
    "name",
    "kind",
    "required",
    "source",
    "secret",
    "default",
    "pattern",
    "choices",
    "min",
    "max",
    "min_length",
    "same_as",
    "signs_keys",
    "private_key",
)
# Key → the kinds that it means something to.
_ONLY_FOR = {
    "pattern": ("pattern",),
    "choices": ("enum",),
    "min": ("integer", "port"),
    "max": ("integer", "port"),
    "min_length": ("token", "text", "jwt_secret"),
    "signs_keys": ("jwt_secret",),
    "private_key": ("certificate",),
}
_TYPES: dict[str, tuple[type, str]] = {
    "required": (bool, "true or false"),
    "secret": (bool, "true or false"),
    "signs_keys": (bool, "true or false"),
    "source": (str, "one line of text"),
    "pattern": (str, "a regular expression"),
    "choices": (list, "a list of texts"),
    "min": (int, "a whole number"),
    "max": (int, "a whole number"),
    "min_length": (int, "a whole number"),
    "same_as": (str, "the name of another variable"),
    "private_key": (str, "the name of another variable"),
}

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HIGHEST_PORT = 65535


class TableError(Exception):
    """The table itself is wrong. ``key`` names entry and key, e.g. ``app_env_variables[2] (PORT): kind``."""

    def __init__(self, key: str, reason: str, fix: str) -> None:
        super().__init__(f"{key}: {reason}. Fix: {fix}.")
        self.key, self.reason, self.fix = key, reason, fix


def parse_entries(table: object) -> list[Variable]:
    """Parse the table. ``rules.parse_table`` also validates the defaults.

    :raises TableError: for the first error in the table.
    """
    if isinstance(table, (str, bytes, Mapping)) or not isinstance(table, Sequence):
        raise TableError(TABLE, "it is not a list", "write a list of entries, each with name and kind")
    entries: list[VariableEntry] = []
    found: dict[str, int] = {}
    for index, given_entry in enumerate(table):
        entry = _checked(index, given_entry)
        name = entry["name"]
        if name in found:
            raise TableError(label(index, name, "name"), f"entry {found[name]} has the same name", "remove one")
        found[name] = index
        entries.append(entry)
    for index, entry in enumerate(entries):
        others = {"same_as": entry.get("same_as"), "private_key": entry.get("private_key")}
        for key, other in others.items():
            if other is not None and (other not in found or other == entry["name"]):
                raise TableError(
                    label(index, entry["name"], key),
                    "no other variable of the table has this name",
                    f"name one of: {', '.join(sorted(set(found) - {entry['name']})) or 'none'}",
                )
    return [_parsed(entry) for entry in entries]


def _parsed(entry: VariableEntry) -> Variable:
    return Variable(
        name=str(entry["name"]),
        kind=str(entry["kind"]),
        secret=is_secret(entry),
        required=entry.get("required", True),
        source=entry.get("source", ""),
        default=text_of(entry.get("default")),
        pattern=entry.get("pattern", ""),
        choices=tuple(entry.get("choices", ())),
        min=entry.get("min"),
        max=entry.get("max"),
        min_length=entry.get("min_length"),
        same_as=entry.get("same_as", ""),
        signs_keys=entry.get("signs_keys", False),
        private_key=entry.get("private_key", ""),
    )


def is_secret(entry: VariableEntry) -> bool:
    """Whether the value must never be shown: what the entry says, else what its kind says."""
    return bool(entry.get("secret", str(entry.get("kind")) not in _PLAIN_KINDS))


def source(variable: Variable) -> str:
    """Where the value comes from, in one line."""
    return (variable.source or KINDS[variable.kind]).strip().rstrip(".")


def source_hint(variable: Variable) -> str:
    """`` Source: …`` to end a fix with; nothing where the kind says no more than the finding does."""
    is_known = variable.source or variable.kind not in _KINDS_WITHOUT_A_PLACE
    return f" Source: {source(variable)}." if is_known else ""


def place(variable: Variable) -> str:
    """Where a value is put in."""
    return "the vault" if variable.secret else "the inventory: `default:` of its row, or app_env_plain"


def copy_again(variable: Variable) -> str:
    """The fix for a value that was taken from the wrong place, or not whole."""
    return f"Copy it again.{source_hint(variable)}"


def own_words(variable: Variable) -> tuple[str, ...]:
    """The words that the variable's name is made of."""
    return tuple(word for word in re.split(r"[^a-z]+", variable.name.lower()) if len(word) > 1)


def text_of(value: object) -> str | None:
    """``value`` as it will be written: text as it is, a whole number in digits; None for all else."""
    if isinstance(value, str):
        return str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def texts(variables: Sequence[Variable], values: Values) -> dict[str, str]:
    """The env as it will be written: every listed variable that has a value or a default, as text, in table order."""
    found = {}
    for variable in variables:
        text = text_of(given(variable, values))
        if text is not None:
            found[variable.name] = text
    return found


def given(variable: Variable, values: Values) -> object:
    """The value of ``variable``, or its default; None when there is neither. YAML's null counts as not given."""
    value = values.get(variable.name)
    return variable.default if value is None else value


def secrets_of(variables: Sequence[Variable], values: Values) -> dict[str, str]:
    """Name → value of the secret variables that have one: what ``redact`` takes."""
    secret = {variable.name for variable in variables if variable.secret}
    return {name: text for name, text in texts(variables, values).items() if name in secret}


def example(variables: Sequence[Variable]) -> str:
    """The text of ``.env.example``: for each variable one line on what it is and where from, and the bare name."""
    lines = ["# Every variable of the app's .env, without the values. Made from the variable table of the inventory."]
    for variable in variables:
        notes = [variable.kind]
        notes += [] if variable.required else ["optional"]
        notes += ["secret"] if variable.secret else []
        notes += [f"default {variable.default}"] if variable.default is not None else []
        notes += [f"one of {', '.join(variable.choices)}"] if variable.choices else []
        lines += ["", f"# {', '.join(notes)}: {' '.join(source(variable).split())}", f"{variable.name}="]
    return "\n".join(lines) + "\n"


def label(index: int, name: object, key: str) -> str:
    """How an error names one key of one entry; an entry without a name is named by its place alone."""
    return f"{TABLE}[{index}]" + (f" ({name})" if isinstance(name, str) else "") + f": {key}"


def _checked(index: int, entry: object) -> VariableEntry:
    """The entry, when it is one. Raises TableError."""
    if not isinstance(entry, Mapping):
        raise TableError(f"{TABLE}[{index}]", "it is not a mapping", "write `- name: …` and, below it, `kind: …`")
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        what = "is missing" if name is None else "is not a name for an environment variable"
        raise TableError(
            label(index, name, "name"), f"it {what}", "use letters, digits and underscores, as in JWT_SECRET"
        )
    for key in entry:
        if key not in _ENTRY_KEYS:
            raise TableError(label(index, name, str(key)), "no such key", _did_you_mean(str(key), _ENTRY_KEYS))
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        what = "it is missing" if kind is None else "no such kind"
        raise TableError(label(index, name, "kind"), what, _did_you_mean(str(kind), tuple(KINDS)))
    for key, value in entry.items():
        _check_key(label(index, name, key), kind, key, value)
    checked = cast(VariableEntry, entry)
    _check_kind(index, checked)
    return checked


def _check_key(where: str, kind: str, key: str, value: object) -> None:
    kinds = _ONLY_FOR.get(key)
    if kinds and kind not in kinds:
        raise TableError(
            where, f"a variable of kind {kind} has no such key", f"remove the key, or set kind to {' or '.join(kinds)}"
        )
    wanted = _TYPES.get(key)
    if wanted and (not isinstance(value, wanted[0]) or (wanted[0] is int and isinstance(value, bool))):
        raise TableError(where, f"it is not {wanted[1]}", f"write {wanted[1]}")
    if key == "source" and "\n" in str(value).strip():
        raise TableError(where, "it has more than one line", "say it in one line")


def _check_kind(index: int, entry: VariableEntry) -> None:
    """What spans several keys of an entry."""
    name, kind = entry["name"], entry["kind"]
    if kind == "pattern":
        _check_pattern(label(index, name, "pattern"), entry.get("pattern", ""))
    choices = entry.get("choices", [])
    if kind == "enum" and not (choices and all(isinstance(choice, str) and choice for choice in choices)):
        raise TableError(
            label(index, name, "choices"),
            "kind enum needs a list of texts",
            'write choices: ["development", "production"], quoted',
        )
    lowest, highest = entry.get("min"), entry.get("max")
    if lowest is not None and highest is not None and lowest > highest:
        raise TableError(label(index, name, "min"), f"{lowest} is above max, {highest}", "swap them")
    for key, limit in (("min", lowest), ("max", highest)):
        if kind == "port" and limit is not None and not 1 <= limit <= HIGHEST_PORT:
            raise TableError(label(index, name, key), "it is not a port", f"choose from 1 to {HIGHEST_PORT}")
    if entry.get("min_length", 0) < 0:
        raise TableError(label(index, name, "min_length"), "it is below zero", "write 0 or more")
    _check_default(label(index, name, "default"), entry)


def _check_default(where: str, entry: VariableEntry) -> None:
    default = entry.get("default")
    if default is None:
        return
    if is_secret(entry):
        reason = "a secret has no default: the inventory would hold it"
        raise TableError(where, reason, "remove it and put the value in the vault")
    if text_of(default) is None:
        raise TableError(where, "it is neither text nor a whole number", "quote it")


def _check_pattern(where: str, pattern: str) -> None:
    if not pattern:
        raise TableError(where, "kind pattern needs one", "write the regular expression")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise TableError(where, f"it is not a regular expression ({error})", "correct it") from error


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    import difflib  # not needed by a watcher, whose memory it would take

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
