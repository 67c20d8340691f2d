# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of an app's variables: what an entry may say, and ``.env.example`` made from it.

An entry: ``{name, kind, required=true, source="", secret=<by kind>, default, pattern, choices, min, max, min_length,
same_as, signs_keys, private_key}``. ``same_as`` names the variable that holds the same value on purpose; ``signs_keys``
says of a ``jwt_secret`` that it is Supabase's own, so that the legacy keys must be signed with it; ``private_key``
names the variable with the private key of a ``certificate``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Variable = Mapping[str, Any]

# How the inventory calls the table; errors name it, because that is where it is mended.
TABLE = "app_env_variables"

# Kind → what such a value is, and where it comes from when the entry does not say.
KINDS = {
    "supabase_url": "Supabase dashboard, Project Settings, Data API: project URL",
    "supabase_anon_key": "Supabase dashboard, Project Settings, API Keys: publishable or anon key",
    "supabase_service_key": "Supabase dashboard, Project Settings, API Keys: secret or service_role key",
    "jwt_secret": "made once with openssl rand -hex 32, the same for every instance of the app",
    "port": "the port that the app listens on, inside its container",
    "url": "a web address, with https://",
    "postgres_dsn": "Supabase dashboard, Connect: connection string, with the password filled in",
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
# Kinds that are an address with a password in it; without one, it is no secret.
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


def check_entries(variables: Sequence[Variable]) -> None:
    """Raise TableError for the first thing wrong with the table itself; defaults are ``secret_rules``' to prove."""
    if isinstance(variables, (str, bytes, Mapping)) or not isinstance(variables, Sequence):
        raise TableError(TABLE, "it is not a list", "write a list of entries, each with name and kind")
    names: dict[str, int] = {}
    for index, variable in enumerate(variables):
        _check_entry(index, variable)
        name = variable["name"]
        if name in names:
            raise TableError(label(index, variable, "name"), f"entry {names[name]} has the same name", "remove one")
        names[name] = index
    for index, variable in enumerate(variables):
        for key in ("same_as", "private_key"):
            other = variable.get(key)
            if other is not None and (other not in names or other == variable["name"]):
                raise TableError(
                    label(index, variable, key),
                    "no other variable of the table has this name",
                    f"name one of: {', '.join(sorted(set(names) - {variable['name']})) or 'none'}",
                )


def is_secret(variable: Variable) -> bool:
    """Whether the value must never be shown: what the entry says, else what its kind says."""
    return bool(variable.get("secret", str(variable.get("kind")) not in _PLAIN_KINDS))


def required(variable: Variable) -> bool:
    """Whether the app cannot do without."""
    return bool(variable.get("required", True))


def source(variable: Variable) -> str:
    """Where the value comes from, in one line."""
    return (
        str(variable.get("source") or KINDS.get(str(variable.get("kind")), "wherever it was made")).strip().rstrip(".")
    )


def whence(variable: Variable) -> str:
    """`` Source: …`` to end a fix with; nothing where the kind says no more than the finding does."""
    told = variable.get("source") or str(variable.get("kind")) not in _KINDS_WITHOUT_A_PLACE
    return f" Source: {source(variable)}." if told else ""


def copy_again(variable: Variable) -> str:
    """The fix for a value that was taken from the wrong place, or not whole."""
    return f"Copy it again.{whence(variable)}"


def own_words(variable: Variable) -> tuple[str, ...]:
    """The words that the variable's name is made of."""
    return tuple(word for word in re.split(r"[^a-z]+", str(variable["name"]).lower()) if len(word) > 1)


def text_of(value: object) -> str | None:
    """``value`` as it will be written: text as it is, a whole number in digits; None for all else."""
    if isinstance(value, str):
        return str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def texts(variables: Sequence[Variable], values: Mapping[str, Any]) -> dict[str, str]:
    """The env as it will be written: every listed variable that has a value or a default, as text, in table order."""
    found = {}
    for variable in variables:
        text = text_of(given(variable, values))
        if text is not None:
            found[str(variable["name"])] = text
    return found


def given(variable: Variable, values: Mapping[str, Any]) -> Any:
    """The value of ``variable``, or its default; None when there is neither. YAML's null counts as not given."""
    value = values.get(variable["name"])
    return variable.get("default") if value is None else value


def secrets_of(variables: Sequence[Variable], values: Mapping[str, Any]) -> dict[str, str]:
    """Name → value of the secret variables that have one: what ``redact`` takes."""
    secret = {variable["name"] for variable in variables if is_secret(variable)}
    return {name: text for name, text in texts(variables, values).items() if name in secret}


def example(variables: Sequence[Variable]) -> str:
    """The text of ``.env.example``: for each variable one line on what it is and whence, and the bare name."""
    lines = ["# Every variable of the app's .env, without the values. Made from the variable table of the inventory."]
    for variable in variables:
        marks = [str(variable["kind"])]
        marks += [] if required(variable) else ["optional"]
        marks += ["secret"] if is_secret(variable) else []
        marks += [f"default {variable['default']}"] if variable.get("default") is not None else []
        marks += [f"one of {', '.join(variable['choices'])}"] if variable.get("choices") else []
        lines += ["", f"# {', '.join(marks)}: {' '.join(source(variable).split())}", f"{variable['name']}="]
    return "\n".join(lines) + "\n"


def label(index: int, variable: object, key: str) -> str:
    """How an error names one key of one entry."""
    name = variable.get("name") if isinstance(variable, Mapping) else None
    return f"{TABLE}[{index}]" + (f" ({name})" if isinstance(name, str) else "") + f": {key}"


def _check_entry(index: int, variable: object) -> None:
    if not isinstance(variable, Mapping):
        raise TableError(f"{TABLE}[{index}]", "it is not a mapping", "write `- name: …` and, below it, `kind: …`")
    name = variable.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        what = "is missing" if name is None else "is not a name for an environment variable"
        raise TableError(
            label(index, variable, "name"), f"it {what}", "use letters, digits and underscores, as in JWT_SECRET"
        )
    for key in variable:
        if key not in _ENTRY_KEYS:
            raise TableError(label(index, variable, str(key)), "no such key", _did_you_mean(str(key), _ENTRY_KEYS))
    kind = variable.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        what = "it is missing" if kind is None else "no such kind"
        raise TableError(label(index, variable, "kind"), what, _did_you_mean(str(kind), tuple(KINDS)))
    for key, value in variable.items():
        _check_key(index, variable, key, value)
    _check_kind(index, variable)


def _check_key(index: int, variable: Variable, key: str, value: object) -> None:
    kinds = _ONLY_FOR.get(key)
    if kinds and variable["kind"] not in kinds:
        raise TableError(
            label(index, variable, key),
            f"it means nothing to kind {variable['kind']}",
            f"remove it, or use kind {' or '.join(kinds)}",
        )
    wanted = _TYPES.get(key)
    if wanted and (not isinstance(value, wanted[0]) or (wanted[0] is int and isinstance(value, bool))):
        raise TableError(label(index, variable, key), f"it is not {wanted[1]}", f"write {wanted[1]}")
    if key == "source" and "\n" in str(value).strip():
        raise TableError(label(index, variable, key), "it has more than one line", "say it in one line")


def _check_kind(index: int, variable: Variable) -> None:
    kind = variable["kind"]
    if kind == "pattern":
        _check_pattern(index, variable)
    if kind == "enum" and not (variable.get("choices") and all(isinstance(x, str) and x for x in variable["choices"])):
        raise TableError(
            label(index, variable, "choices"),
            "kind enum needs a list of texts",
            'write choices: ["development", "production"], quoted',
        )
    lowest, highest = variable.get("min"), variable.get("max")
    if lowest is not None and highest is not None and lowest > highest:
        raise TableError(label(index, variable, "min"), f"{lowest} is above max, {highest}", "swap them")
    for key in ("min", "max"):
        if kind == "port" and not 1 <= variable.get(key, 1) <= HIGHEST_PORT:
            raise TableError(label(index, variable, key), "it is no port", f"choose from 1 to {HIGHEST_PORT}")
    if variable.get("min_length", 0) < 0:
        raise TableError(label(index, variable, "min_length"), "it is below zero", "write 0 or more")
    default = variable.get("default")
    if default is not None and is_secret(variable):
        raise TableError(
            label(index, variable, "default"),
            "a secret has no default: it would stand in the inventory",
            "remove it and put the value in the vault",
        )
    if default is not None and text_of(default) is None:
        raise TableError(label(index, variable, "default"), "it is neither text nor a whole number", "quote it")


def _check_pattern(index: int, variable: Variable) -> None:
    pattern = variable.get("pattern")
    if not pattern:
        raise TableError(label(index, variable, "pattern"), "kind pattern needs one", "write the regular expression")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise TableError(
            label(index, variable, "pattern"), f"it is no regular expression ({error})", "mend it"
        ) from error


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    import difflib  # not needed by a watcher, whose memory it would take

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
