# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guess the kind of a variable from its name and its values, and try the guess with the rules that validate it. Pure.

A kind is taken only when it accepts every known value, or calls it a placeholder. What may be a secret counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ansible_collections.christmas.selfheal.plugins.module_utils.compose.merged_values import (
    SECRET_NAME,
    password_of,
)
from ansible_collections.christmas.selfheal.plugins.module_utils.env import rules
from ansible_collections.christmas.selfheal.plugins.module_utils.env.placeholders import entropy
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import SERVER_KINDS
from ansible_collections.christmas.selfheal.plugins.plugin_utils.init.model import Guess, Row

# Rules that find a value that was never filled in.
PLACEHOLDER_RULES = frozenset({"placeholder", "sample", "unresolved", "encrypted"})
# Rules about what is around a good value, or about its time: the kind is right, the value is not.
FLAW_RULES = frozenset(
    {"empty", "expired", "not_yet_valid", "hidden_character", "line_break", "whitespace", "quoted", "punctuation"}
    | {"assignment", "prefixed", "bad_checksum", "bad_character"}
)

# How a value begins → its kind. The rules of the kind have the last word.
_FORMS: tuple[tuple[str, str, str], ...] = (
    (r"(?:sk|rk)_(?:test|live)_", "stripe_key", "begins like a Stripe key"),
    (r"pk_(?:test|live)_", "stripe_publishable_key", "begins like a publishable Stripe key"),
    (r"whsec_", "stripe_webhook_secret", "begins like a Stripe webhook secret"),
    (r"SG\.", "sendgrid_key", "begins like a SendGrid key"),
    (r"(?:AKIA|ASIA)[A-Z0-9]+$", "aws_access_key_id", "begins like an AWS access key id"),
    (r"sk-", "openai_key", "begins like an OpenAI key"),
    (r"gh[pousr]_|github_pat_", "github_token", "begins like a GitHub token"),
    (r"xox[a-z][.-]|xapp-", "slack_token", "begins like a Slack token"),
    (r"https://hooks\.slack(?:-gov)?\.com/", "slack_webhook", "is an address of Slack webhooks"),
    (r"\d{5,16}:[\w-]{35}$", "telegram_token", "has the form of a Telegram bot token"),
    (r"base64:", "laravel_app_key", "begins like a Laravel key"),
    (r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY", "private_key", "is a private key in PEM format"),
    (r"-----BEGIN CERTIFICATE", "certificate", "is a certificate in PEM format"),
    (r"\{.*\"service_account\"", "google_service_account", "is the JSON file of a service account"),
    (r"(?:jdbc:)?postgres(?:ql)?(?:\+\w+)?://", "postgres_dsn", "is the address of a PostgreSQL database"),
    (r"(?:jdbc:)?(?:mysql2?|mariadb)(?:\+\w+)?://", "mysql_dsn", "is the address of a MySQL or MariaDB database"),
    (r"mongodb(?:\+srv)?://", "mongodb_dsn", "is the address of a MongoDB database"),
    (r"(?:rediss?|valkeys?)(?:\+\w+)?://", "redis_url", "is the address of a Redis"),
    (r"amqps?://", "amqp_dsn", "is the address of a RabbitMQ"),
    (r"smtps?(?:\+\w+)?://", "smtp_dsn", "is the address of a mail server"),
    (r"https?://[a-z0-9]{20}\.supabase\.co", "supabase_url", "is the address of a Supabase project"),
    (r"sb_publishable_", "supabase_anon_key", "begins like a publishable Supabase key"),
    (r"sb_secret_", "supabase_service_key", "begins like a secret Supabase key"),
    (r"eyJ[\w-]+\.eyJ", "supabase_anon_key", "is a token with the role anon"),
    (r"eyJ[\w-]+\.eyJ", "supabase_service_key", "is a token with the role service_role"),
)
# What a name holds → its kind, for a value that has no form of its own, or none at all.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"SUPABASE.*(?:ANON|PUBLISHABLE).*KEY", "supabase_anon_key"),
    (r"SUPABASE.*(?:SERVICE|SECRET).*KEY", "supabase_service_key"),
    (r"SUPABASE.*URL$", "supabase_url"),
    (r"STRIPE.*(?:WEBHOOK|WHSEC)", "stripe_webhook_secret"),
    (r"STRIPE.*(?:PUBLIC|PUBLISHABLE)", "stripe_publishable_key"),
    (r"STRIPE.*(?:KEY|SECRET|TOKEN)$", "stripe_key"),
    (r"SENDGRID.*KEY$", "sendgrid_key"),
    (r"AWS_ACCESS_KEY(?:_ID)?$", "aws_access_key_id"),
    (r"AWS_SECRET(?:_ACCESS)?_KEY$", "aws_secret_access_key"),
    (r"OPENAI.*KEY$", "openai_key"),
    (r"(?:GITHUB|GH).*TOKEN$", "github_token"),
    (r"SLACK.*WEBHOOK", "slack_webhook"),
    (r"SLACK.*TOKEN$", "slack_token"),
    (r"TELEGRAM.*TOKEN$", "telegram_token"),
    (r"FERNET.*KEY$", "fernet_key"),
    (r"(?:DJANGO.*SECRET|^SECRET)_KEY$", "django_secret_key"),
    (r"SECRET_KEY_BASE$", "rails_secret_key_base"),
    (r"RAILS_MASTER_KEY$", "rails_master_key"),
    (r"^APP_KEY$", "laravel_app_key"),
    (r"JWT.*SECRET|SECRET.*JWT", "jwt_secret"),
    (r"PRIVATE_KEY$", "private_key"),
    (r"(?:DATABASE|POSTGRES\w*|PG|DB).*(?:URL|URI|DSN)$", "postgres_dsn"),
    (r"(?:MYSQL|MARIADB).*(?:URL|URI|DSN)$", "mysql_dsn"),
    (r"MONGO.*(?:URL|URI|DSN)$", "mongodb_dsn"),
    (r"(?:REDIS|VALKEY).*(?:URL|URI|DSN)$", "redis_url"),
    (r"(?:AMQP|RABBIT).*(?:URL|URI|DSN)$", "amqp_dsn"),
    (r"(?:SMTP|MAILER).*(?:URL|URI|DSN)$", "smtp_dsn"),
)
_SWITCH = re.compile(r"RANDOM.*PASSWORD$|ALLOW_EMPTY.*PASSWORD$|^(?:IS|USE|HAS)_|ENABLED?$|DISABLED?$|DEBUG|^ENABLE_")
# Secrets whose names do not say so by their last word.
_SECRET_WORDS = re.compile(
    r"(?:SALT|PEPPER|HMAC|COOKIE|SIGNATURE|MNEMONIC|LICEN[CS]E|CREDENTIALS?|ENCRYPTION|ENCRYPTION_KEYS?|_AUTH)$|PRIVATE_KEY"
    r"|(?:PW|PASSCODE|PASSWORT|KENNWORT|(?:^|_)PIN)$"
)
_PUBLIC_TEXT = re.compile(
    r"(?:TAG|VERSION|SHA|COMMIT|DIGEST|REVISION|IMAGE|BRANCH|PATH|DIR|FILE|FOLDER|TZ|LANG|LOCALE)$"
)
# Names whose values anyone may read, unless the value holds a password.
_PUBLIC_NAME = re.compile(
    r"(?:NAME|USER|USERS|USERNAME|HOST|HOSTS|HOSTNAME|DOMAIN|DOMAINS|ORIGINS?|REGION|ZONE|TIMEZONE|BUCKET|DB|DATABASE|SCHEMA"
    r"|FROM|TO|CC|EMAIL|TITLE|DESCRIPTION|MODE|TYPE|FORMAT|PREFIX|SUFFIX|LEVEL|ENV|ENVIRONMENT|PROJECT|PLUGINS?|FLAGS|OPTIONS"
    r"|OPTS|ARGS|SIZE|TIMEOUT|INTERVAL|CRON|SCHEDULE|ADDRESS|LABELS?|PROFILES?|WORKERS|CURRENCY|COUNTRY|ENGINE|DRIVER"
    r"|BACKEND|PROVIDER|CHANNEL|TOPIC|QUEUE|ISSUER|AUDIENCE|ALGORITHM)$"
)
# Values that are a setting by their form.
_SETTING = re.compile(
    r"[~.]{0,2}/[^:@\s]*"  # a path
    r"|[a-z0-9+]+:///[^:@\s]*"  # the address of a file
    r"|(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?"  # a domain, with or without a port
    r"|[a-z][a-z-]*:\d+"  # a service and its port
    r"|-?\d+(?:\.\d+)*[A-Za-z%]{0,3}"  # a number with a unit
    r"|[A-Za-z]{1,16}|\*"  # one word; everything
)
# user:password, and no port or address.
_LOGIN = re.compile(r"[^\s:/]+:(?!\d+$|//)\S+")
# A part of an address that may be a key.
_KEY_IN_ADDRESS = re.compile(r"(?=[A-Za-z_-]*\d)[\w-]{16,}")
_PATH_NAME = re.compile(r"_(?:FILE|PATH|DIR)$")
_LEVELS = ("trace", "debug", "info", "notice", "warn", "warning", "error", "critical", "fatal")
_STAGES = ("development", "test", "staging", "production")
_STAGE_NAME = re.compile(r"^(?:NODE|APP|RAILS|RACK|FLASK|DJANGO|GO|MIX|PHP|ASPNETCORE)?_?ENV(?:IRONMENT)?$")
_RUN, _RANDOM_BITS = re.compile(r"[A-Za-z0-9+/=_-]{20,}"), 3.5
# Kinds whose rows may say how short a value may be.
_WITH_LENGTH = ("token", "text", "jwt_secret")


class _Candidate(NamedTuple):
    """A kind to try, with the row's other keys, and why."""

    kind: str
    reason: str
    options: Row = MappingProxyType({})


class _Verdict(NamedTuple):
    """Whether all values are of a kind; else, when a value is only too short for it, the length of the shortest."""

    fits: bool
    length: int = 0


def guess(name: str, values: Sequence[str], now: float) -> Guess:
    """The first kind that fits.

    :arg values: all that are known; empty texts say nothing. The first is the one of `.env`, if it has one.
    :arg now: epoch seconds.
    """
    known = [value for value in values if value.strip()]
    for candidate in _candidates(name.upper(), known[0] if known else ""):
        row = {"name": name, "kind": candidate.kind, **candidate.options}
        verdict = _verdict(row, known, now)
        if verdict.fits:
            return _guess(row, candidate.reason)
        if verdict.length and candidate.kind in _WITH_LENGTH:
            row = {**row, "min_length": verdict.length}
            if _verdict(row, known, now).fits:
                return _guess(row, f"{candidate.reason}; it is short: {verdict.length} characters")
    # Text without a rule; `unwrap` leaves it alone.
    return _guess({"name": name, "kind": "text"}, "any text")


def findings(row: Row, value: str, now: float) -> list[rules.Finding]:
    """What the rules say of one value."""
    return rules.validate(rules.parse_table([row]), {str(row["name"]): value}, now)


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a secret."""
    upper = name.upper()
    return bool(SECRET_NAME.search(upper) or _SECRET_WORDS.search(upper)) and not _SWITCH.search(upper)


def _guess(row: Row, reason: str) -> Guess:
    return Guess(row, rules.parse_table([row])[0], reason)


def _verdict(row: Row, values: Sequence[str], now: float) -> _Verdict:
    length = 0
    for value in values:
        for finding in findings(row, value, now):
            if finding["rule"] == "too_short":
                length = min(length or len(value), len(value))
            elif finding["rule"] not in PLACEHOLDER_RULES | FLAW_RULES:
                return _Verdict(False)
    return _Verdict(not length, length)


def _candidates(name: str, value: str) -> Iterator[_Candidate]:
    """Kinds to try: by the value's form, by the name, then from narrow to wide."""
    if not _PATH_NAME.search(name):
        yield from _by_form(value)
        yield from _by_name(name)
    yield from _settings(name, value)
    secret = is_secret_name(name)
    if secret or _looks_random(name, value):
        reason = "the name says that it is a secret" if secret else "the value looks random, like a secret"
        yield from _secrets(reason, has_lines="\n" in value.strip())
    yield from _texts(name, value)


def _by_form(value: str) -> Iterator[_Candidate]:
    for pattern, kind, reason in _FORMS:
        if not re.match(pattern, value, re.S):
            continue
        # An address without a password in it may be read by anyone.
        plain = kind in SERVER_KINDS and not _holds_password(value)
        yield _Candidate(kind, f"the value {reason}", {"secret": False} if plain else {})
    if re.search(r"(?:^|\s)(?:host|dbname)=\S+\s+\w+=", value):
        yield _Candidate("postgres_dsn", "the value is a list of connection settings")


def _holds_password(value: str) -> bool:
    return bool(password_of(value) or re.search(r"[?&]password=|://[^/\s]*@", value))


def _holds_key(address: str) -> bool:
    """Whether an address holds a query, or a part that may be a key: those of webhooks and signed addresses do."""
    path = address.partition("://")[2].partition("/")[2]
    return "?" in path or bool(_KEY_IN_ADDRESS.search(path))


def _by_name(name: str) -> Iterator[_Candidate]:
    for pattern, kind in _NAMES:
        if re.search(pattern, name):
            yield _Candidate(kind, f"the name says {kind}")


def _settings(name: str, value: str) -> Iterator[_Candidate]:
    """Kinds of settings that are not secret."""
    lower = value.lower()
    if is_secret_name(name):
        return
    if name.endswith("PORT"):
        yield _Candidate("port", "the name ends with PORT")
    if lower in ("true", "false", "yes", "no", "on", "off") or (value in ("0", "1") and _SWITCH.search(name)):
        yield _Candidate("boolean", f"the value is {lower}")
    choices = _choices(name, value)
    if choices:
        yield _Candidate("enum", "the value is one of the usual ones", {"choices": choices})
    if re.fullmatch(r"-?\d+", value):
        yield _Candidate("integer", "the value is a whole number")
    if re.match(r"[a-z][a-z0-9+.-]*://", lower):
        secret = {"secret": True} if _holds_password(value) or "HOOK" in name or _holds_key(value) else {}
        yield _Candidate("url", "the value is an address", secret)
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        yield _Candidate("email", "the value is an e-mail address")


def _choices(name: str, value: str) -> list[str]:
    """The usual values of a level or a stage, in the letters of this one."""
    if "LOG_LEVEL" in name or name.endswith("LOGLEVEL"):
        usual: tuple[str, ...] = _LEVELS
    elif _STAGE_NAME.search(name):
        usual = _STAGES
    else:
        return []
    for spelled in (str.lower, str.upper, str.capitalize):
        choices = [spelled(word) for word in usual]
        if value in choices:
            return choices
    return []


def _looks_random(name: str, value: str) -> bool:
    """Whether a part of the value is like a key, and the value is not a path."""
    if "PRIVATE KEY-----" in value or '"private_key"' in value:
        return True
    if _PUBLIC_TEXT.search(name) or re.match(r"[~.]{0,2}/", value):
        return False
    return any(
        re.search(r"\d", run) and re.search("[A-Za-z]", run) and entropy(run) >= _RANDOM_BITS
        for run in _RUN.findall(value)
    )


def _secrets(reason: str, has_lines: bool) -> Iterator[_Candidate]:
    if not has_lines:
        yield _Candidate("token", reason)
    yield _Candidate("text", f"{reason}; no token, as it has several lines", {"secret": True})
    yield _Candidate("pattern", f"{reason}; no token, as it is not random", {"pattern": r"[\s\S]+", "secret": True})


def _texts(name: str, value: str) -> Iterator[_Candidate]:
    if _holds_password(value):
        yield _Candidate("pattern", "the value is an address with a password", {"pattern": r"[\s\S]+", "secret": True})
    if not _is_public(name, value):
        yield _Candidate("text", "any text; in the vault, as it may be a secret", {"secret": True})
    yield _Candidate("text", "any text")


def _is_public(name: str, value: str) -> bool:
    """Whether a text is a setting that anyone may read, by its name or its form: every other text may be a secret."""
    if not value or re.search(r"\s", value):
        return True
    if _LOGIN.fullmatch(value) and not _PUBLIC_TEXT.search(name):
        return False
    return bool(_PUBLIC_TEXT.search(name) or _PUBLIC_NAME.search(name) or _SETTING.fullmatch(value))


def placeholder(row: Row, value: str, now: float) -> rules.Finding | None:
    """Why a value was never filled in; None when it was."""
    found = findings(row, value, now) if value.strip() else []
    return next((one for one in found if one["rule"] in PLACEHOLDER_RULES), None)


def flaw(row: Row, value: str, now: float) -> rules.Finding | None:
    """What is wrong with a value of the right kind."""
    found: Sequence[rules.Finding] = findings(row, value, now) if value.strip() else []
    return next((one for one in found if one["rule"] not in PLACEHOLDER_RULES), None)


def duplicates(rows: Mapping[str, Row], values: Mapping[str, str], now: float) -> dict[str, str]:
    """{a variable: the earlier one that holds the same secret}; its row needs `same_as`."""
    found: dict[str, str] = {}
    for _unused in rows:
        table = [{**row, "same_as": found[name]} if name in found else row for name, row in rows.items()]
        bad = [
            one["variable"]
            for one in rules.validate(rules.parse_table(table), values, now)
            if one["rule"] == "duplicate" and one["variable"] not in found
        ]
        if not bad:
            break
        for name in bad:
            found[name] = next(other for other in values if other != name and values[other] == values[name])
    return found
