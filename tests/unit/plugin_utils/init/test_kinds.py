# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kind that is guessed for a variable accepts the value that it was guessed from, or calls it a placeholder."""

from __future__ import annotations

import string
from typing import Any

import pytest

from ansible_collections.christmas.selfheal.plugins.plugin_utils.init import kinds
from ansible_collections.christmas.selfheal.tests.unit.corpus import good, wrong
from ansible_collections.christmas.selfheal.tests.unit.corpus.init_stacks import KEY
from ansible_collections.christmas.selfheal.tests.unit.corpus.synthetic import (
    GOOD,
    HEX,
    NOW,
    key_pair,
    legacy,
    new_key,
    noise,
)

ALNUM = string.ascii_letters + string.digits
TOKEN = noise("token", 32)
SECRET: dict[str, Any] = {"secret": True}
ANYTHING: dict[str, Any] = {"pattern": r"[\s\S]+", "secret": True}
STAGES = {"choices": ["development", "test", "staging", "production"]}

# name, value, kind, the row's other keys
GUESSED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("POSTGRES_PASSWORD", "Wq7kdfPz2", "token", {}),
    ("POSTGRES_USER", "postgres", "text", {}),
    ("POSTGRES_DB", "shop", "text", {}),
    ("DB_PASS", "short", "token", {"min_length": 5}),
    ("ROOT_PASSWORD", "aabbaabbccaabbcca", "pattern", ANYTHING),
    ("DATABASE_URL", "postgres://app:Wq7kdfPz2@db:5432/app", "postgres_dsn", {}),
    ("DATABASE_URL", "postgresql+asyncpg://app:Wq7kdfPz2@db/app", "postgres_dsn", {}),
    ("DATABASE_URL", "mysql://app:Wq7kdfPz2@db/app", "mysql_dsn", {}),
    ("DATABASE_URL", "sqlite:///data/db.sqlite3", "text", {}),
    ("DATABASE_URL", "", "postgres_dsn", {}),
    ("API", "https://api.acme.dev/v1?api_key=Wq7kdfPz2", "url", SECRET),
    ("TEAMS", "https://acme.webhook.dev/hooks/0a1b2c3d4e5f60718293a4b5c6d7e8f9/x", "url", SECRET),
    ("SITE", "https://shop.acme.dev/de/winter", "url", {}),
    ("DB_PW", "Wq7kdfPz2vL4xR8n", "token", {}),
    ("ROOTPW", "ZZ8blueberries", "token", {}),
    ("BASIC", "admin:Wq7kdfPz2vLx", "text", SECRET),
    ("UNLOCK", "Zb-correct-horse-battery", "text", SECRET),
    ("CACHE", "redis:6379", "text", {}),
    ("THEME", "dark", "text", {}),
    ("MSSQL", "mssql://sa:Wq7kdfPz2@db/app", "url", SECRET),
    ("MONGO_URI", "mongodb+srv://app:Wq7kdfPz2@cluster0.acme.mongodb.net/app", "mongodb_dsn", {}),
    ("REDIS_URL", "redis://cache:6379/0", "redis_url", {"secret": False}),
    ("REDIS_URL", "redis://:Wq7kdfPz2@cache:6379/0", "redis_url", {}),
    ("BROKER", "amqp://guest:Wq7kdfPz2@broker:5672//", "amqp_dsn", {}),
    ("MAILER_DSN", "smtp://user:Wq7kdfPz2@mail.acme.dev:587", "smtp_dsn", {}),
    ("PORT", "3000", "port", {}),
    ("SMTP_PORT", "587", "port", {}),
    ("SUPPORT", "yes", "boolean", {}),
    ("WORKERS", "4", "integer", {}),
    ("PASSWORD_MIN_LENGTH", "12", "integer", {}),
    ("DEBUG", "0", "boolean", {}),
    ("TLS_ENABLED", "true", "boolean", {}),
    ("MYSQL_RANDOM_ROOT_PASSWORD", "yes", "boolean", {}),
    ("NODE_ENV", "production", "enum", STAGES),
    ("RAILS_ENV", "qa", "text", {}),
    ("SITE_URL", "https://shop.de", "url", {}),
    ("ADMIN_EMAIL", "ops@shop.de", "email", {}),
    ("MAIL_FROM", "Shop <ops@shop.de>", "text", {}),
    ("TAG", "1.10", "text", {}),
    ("GIT_SHA", noise("sha", 40, HEX), "text", {}),
    ("PASSWORD_FILE", "/run/secrets/password", "text", {}),
    ("STRIPE_SECRET_KEY", "sk_live_51" + noise("stripe", 40, ALNUM), "stripe_key", {}),
    ("STRIPE_PUBLISHABLE_KEY", "pk_live_51" + noise("stripe", 40, ALNUM), "stripe_publishable_key", {}),
    ("STRIPE_WEBHOOK_SECRET", "whsec_" + noise("hook", 32, ALNUM), "stripe_webhook_secret", {}),
    ("SENDGRID_API_KEY", f"SG.{noise('a', 22)}.{noise('b', 43)}", "sendgrid_key", {}),
    ("AWS_ACCESS_KEY_ID", "AKIA" + noise("aws", 16, string.ascii_uppercase + string.digits), "aws_access_key_id", {}),
    ("AWS_SECRET_ACCESS_KEY", noise("aws2", 40, ALNUM + "/+"), "aws_secret_access_key", {}),
    ("OPENAI_API_KEY", "sk-proj-" + noise("openai", 40), "openai_key", {}),
    ("GITHUB_TOKEN", "ghp_" + noise("gh", 36, ALNUM), "github_token", {}),
    ("BOT", "123456789:" + noise("bot", 35), "telegram_token", {}),
    ("SLACK", "https://hooks.slack.com/services/T0KD82MZQ/B0WX73NPR/" + noise("sl", 24, ALNUM), "slack_webhook", {}),
    ("ANON_KEY", legacy("anon"), "supabase_anon_key", {}),
    ("SERVICE_ROLE_KEY", legacy(), "supabase_service_key", {}),
    ("SB_KEY", new_key("secret"), "supabase_service_key", {}),
    ("SUPABASE_URL", GOOD["SUPABASE_URL"], "supabase_url", {}),
    ("JWT_SECRET", noise("jwt", 64, HEX), "jwt_secret", {}),
    ("JWT_SECRET", noise("jwt", 20), "jwt_secret", {"min_length": 20}),
    ("SECRET_KEY", noise("django", 50), "django_secret_key", {}),
    ("SECRET_KEY", noise("flask", 32), "token", {}),
    ("SECRET_KEY_BASE", noise("rails", 128, HEX), "rails_secret_key_base", {}),
    ("RAILS_MASTER_KEY", noise("master", 32, HEX), "rails_master_key", {}),
    ("SIGNING", key_pair()[0], "private_key", {}),
    ("TLS_CERT", key_pair()[1], "certificate", {}),
    ("SIGNING", KEY, "text", SECRET),
    ("CONFIG", f'{{"private_key": "{TOKEN}"}}', "token", {}),
    ("SEEDS", f"a:b.{TOKEN}", "token", {}),
    ("DATA", "/srv/data-1/" + noise("path", 30), "text", {}),
    ("CHAT_WEBHOOK", "https://chat.acme.dev/hooks/" + TOKEN, "url", SECRET),
    ("SENTRY_DSN", "https://" + noise("sentry", 32, HEX) + "@sentry.acme.dev/2", "token", {}),
    ("APP_SALT", noise("salt", 32, HEX), "token", {}),
    ("TRACKER", TOKEN, "token", {}),
    ("TITLE", "Example shop for a test", "text", {}),
    ("HELLO", "Hello {{ name }}", "text", {}),
    ("EMPTY", "", "text", {}),
]


@pytest.mark.parametrize(
    ("name", "value", "kind", "options"), GUESSED, ids=[f"{row[0]}={row[1][:16]}" for row in GUESSED]
)
def test_a_guess(name: str, value: str, kind: str, options: dict[str, Any]) -> None:
    found = kinds.guess(name, [value], NOW)
    assert dict(found.options) == {"name": name, "kind": kind, **options}
    if value:
        assert kinds.findings(found.options, value, NOW) == []
    assert found.reason
    assert len(value) < 6 or value not in found.reason


# name, value, kind
PLACEHOLDERS = [
    ("STRIPE_KEY", "your-stripe-key", "stripe_key"),
    ("JWT_SECRET", "changeme", "jwt_secret"),
    ("POSTGRES_PASSWORD", "postgres", "token"),
    ("API_KEY", "<your key>", "token"),
    ("SITE_URL", "https://your-domain.com", "url"),
    ("DATABASE_URL", "postgres://app:changeme@db/app", "postgres_dsn"),
    ("APP_NAME", "change_me", "text"),
    ("TOKEN", "${TOKEN}", "token"),
    ("OPENAI_API_KEY", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "openai_key"),
]


@pytest.mark.parametrize(("name", "value", "kind"), PLACEHOLDERS, ids=[row[0] for row in PLACEHOLDERS])
def test_a_placeholder_keeps_the_kind_of_its_name(name: str, value: str, kind: str) -> None:
    found = kinds.guess(name, [value], NOW)
    assert found.variable.kind == kind
    rules = {one["rule"] for one in kinds.findings(found.options, value, NOW)}
    assert rules & kinds.PLACEHOLDER_RULES


def test_a_guess_fits_all_values_that_are_known() -> None:
    assert kinds.guess("LEVEL", ["4", "high"], NOW).variable.kind == "text"
    assert kinds.guess("PORT", ["8000", "9000"], NOW).variable.kind == "port"


def values_of_the_corpus() -> list[tuple[str, str]]:
    rows = [*good.ROWS, *[(row[0], row[1], {}) for row in wrong.ROWS]]
    return [(name, value) for _row, changed, _keys in rows for name, value in changed.items() if isinstance(value, str)]


def test_no_kind_refuses_the_value_that_it_was_guessed_from() -> None:
    """Whatever the value is: it is accepted, or it is a placeholder, or something around it has to be removed."""
    refused = []
    for name, value in values_of_the_corpus():
        found = kinds.guess(name, [value], NOW)
        rules = {one["rule"] for one in kinds.findings(found.options, value, NOW)} if value.strip() else set()
        if rules - kinds.PLACEHOLDER_RULES - kinds.FLAW_RULES:
            refused.append((name, value[:20], found.variable.kind, rules))
    assert refused == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("API_KEY", True),
        ("DB_PASSWORD", True),
        ("SESSION_SECRET", True),
        ("PASSWORD_FILE", False),
        ("TOKEN_MINUTES", False),
        ("USE_TOKEN", False),
        ("HASH_SALT", True),
        ("KEYCLOAK_URL", False),
    ],
)
def test_names_that_say_that_they_are_secret(name: str, secret: bool) -> None:
    assert kinds.is_secret_name(name) == secret


def test_the_same_secret_twice() -> None:
    rows: dict[str, dict[str, object]] = {
        name: {"name": name, "kind": "token"} for name in ("A_TOKEN", "B_TOKEN", "C_TOKEN")
    }
    values = {"A_TOKEN": TOKEN, "B_TOKEN": TOKEN, "C_TOKEN": noise("other", 32)}
    assert kinds.duplicates(rows, values, NOW) == {"B_TOKEN": "A_TOKEN"}
