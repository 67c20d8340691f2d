# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values that must pass: (id, changes of the good env, keys that are added to entries of the table)."""

from __future__ import annotations

import string
from base64 import b64encode
from typing import Any

from .synthetic import (
    ALNUM,
    GOOD,
    HEX,
    NOW,
    OTHER_REF,
    REF,
    SELF_HOSTED,
    SHAPED,
    SIGNING_SECRET,
    YEAR,
    account,
    key_pair,
    legacy,
    new_key,
    noise,
    pem,
    token,
)

Row = tuple[str, dict[str, Any], dict[str, dict[str, Any]]]

ROWS: list[Row] = [("legacy keys of a hosted project", {}, {})]


def _accept(row: str, values: dict[str, Any], **entries: dict[str, Any]) -> None:
    ROWS.append((row, values, entries))


def _accept_each(name: str, values: dict[str, Any], **entry: Any) -> None:
    for row, value in values.items():
        _accept(f"{name}: {row}", {name: value}, **({name: entry} if entry else {}))


_NEW = {"SUPABASE_ANON_KEY": new_key("publishable"), "SUPABASE_SERVICE_KEY": new_key("secret")}
_OWN = {"SUPABASE_URL": "http://10.20.30.40:8000"}

# --- keys of both generations, hosted, self-hosted, behind an address of one's own ----------------------------------

_accept("new keys of a hosted project", _NEW)
for _seed in ("one", "two", "three", "four", "five", "six"):
    _accept(
        f"new keys {_seed}",
        {
            "SUPABASE_ANON_KEY": new_key("publishable", seed=_seed),
            "SUPABASE_SERVICE_KEY": new_key("secret", seed=_seed),
        },
    )
_accept("both generations at once", {"SUPABASE_SERVICE_KEY": new_key("secret")})
_accept("the other way round", {"SUPABASE_ANON_KEY": new_key("publishable")})
_accept("a key that expires tomorrow", {"SUPABASE_SERVICE_KEY": legacy(exp=int(NOW) + 86400)})
_accept("a key made this second", {"SUPABASE_SERVICE_KEY": legacy(iat=int(NOW))})
_accept("a key of a clock that is an hour ahead", {"SUPABASE_SERVICE_KEY": legacy(iat=int(NOW) + 3600)})
_accept(
    "self-hosted, legacy", {**_OWN, "SUPABASE_ANON_KEY": legacy("anon", None), "SUPABASE_SERVICE_KEY": legacy(ref=None)}
)
_accept(
    "self-hosted, no dates",
    {**_OWN, "SUPABASE_ANON_KEY": token({"role": "anon"}), "SUPABASE_SERVICE_KEY": token({"role": "service_role"})},
)
_accept(
    "self-hosted, new",
    {
        **_OWN,
        "SUPABASE_ANON_KEY": new_key("publishable", SELF_HOSTED),
        "SUPABASE_SERVICE_KEY": new_key("secret", SELF_HOSTED),
    },
)
_accept(
    "self-hosted, new, with another checksum",
    {**_OWN, "SUPABASE_ANON_KEY": new_key("publishable", "local"), "SUPABASE_SERVICE_KEY": new_key("secret", "local")},
)
_accept(
    "self-hosted, its issuer",
    {
        **_OWN,
        "SUPABASE_SERVICE_KEY": legacy(ref=None, iss="shop"),
        "SUPABASE_ANON_KEY": legacy("anon", None, iss="shop"),
    },
)
_accept(
    "self-hosted, header the other way round",
    {**_OWN, "SUPABASE_SERVICE_KEY": token({"role": "service_role"}, header={"typ": "JWT", "alg": "HS256"})},
)
_accept(
    "self-hosted, signed with the secret",
    {
        **_OWN,
        "JWT_SECRET": SIGNING_SECRET,
        "SUPABASE_ANON_KEY": legacy("anon", None),
        "SUPABASE_SERVICE_KEY": legacy(ref=None),
    },
    JWT_SECRET={"signs_keys": True},
)
_accept("a domain of one's own, legacy", {"SUPABASE_URL": "https://api.shop.de"})
_accept("a domain of one's own, new", {"SUPABASE_URL": "https://api.shop.de", **_NEW})
_accept("an app's own signing secret", {"JWT_SECRET": noise("own", 48)})
_accept(
    "another project altogether",
    {
        "SUPABASE_URL": f"https://{OTHER_REF}.supabase.co",
        "SUPABASE_ANON_KEY": legacy("anon", OTHER_REF),
        "SUPABASE_SERVICE_KEY": new_key("secret", OTHER_REF),
    },
)
_accept_each(
    "SUPABASE_URL",
    {
        "a path of one's own": "https://shop.de/supabase",
        "a slash on one's own": "https://api.shop.de/",
        "this host": "http://localhost:54321",
        "a container": "http://kong:8000",
        "IPv6": "http://[fd00::12]:8000",
        "capitals": f"https://{REF.upper()}.supabase.co",
    },
)

# --- secrets --------------------------------------------------------------------------------------------------------

_BASE64 = string.ascii_letters + string.digits + "+/"
_ALL = string.ascii_letters + string.digits + string.punctuation
_accept_each(
    "JWT_SECRET",
    {
        "hex": noise("a", 64, HEX),
        "hex, 128": noise("b", 128, HEX),
        "base64, padded": noise("c", 43, _BASE64) + "=",
        "base64, 88": noise("d", 86, _BASE64) + "==",
        "base64url": noise("e", 43),
        "40 characters, as hosted ones are": noise("f", 40, _ALL.replace('"', "").replace("'", "")),
        "exactly 32": noise("g", 32, HEX),
        "test in the middle": noise("h", 16) + "test" + noise("i", 16),
        "secret in the middle": noise("h", 20) + "_secret_" + noise("i", 20),
        "changeme in the middle": noise("j", 12) + "-changeme-" + noise("k", 18),
        "your in the middle": noise("x", 14, _BASE64) + "your" + noise("y", 25, _BASE64),
        "xxxx in the middle": noise("l", 20) + "xxxx" + noise("m", 20),
        "dots in the middle": noise("n", 20, _ALL) + "~#..." + noise("o", 20, _ALL),
        "a dollar": noise("p", 20) + "$HOME" + noise("q", 20),
        "a passphrase": "otter lamp violin gravel moss september",
        "a passphrase with placeholder words": "otter-secret-lamp-violin-test-gravel",
        "another alphabet": "Δέκα-λίμνες-και-μία-σκιά-στον-άνεμο",
        "Hangul": "스무마리고양이가지붕위에서달을보고노래하던겨울밤의긴이야기책한권",
        "a UUID": "5b0f9a3e-6c1d-4f27-9e8a-d2b47c60f1a3",
    },
)
_accept_each("JWT_SECRET", {"a shorter one, by the table": noise("short", 24)}, min_length=20)
_accept_each(
    "PAYMENT_TOKEN",
    {
        "Stripe": "sk_test_51" + noise("stripe", 96, string.ascii_letters + string.digits),
        "a bot": "7" + noise("bot", 9, string.digits) + ":AA" + noise("bot2", 33),
        "GitHub": "ghp_" + noise("gh", 36, string.ascii_letters + string.digits),
        "a JWT": token({"sub": "0d9f", "aud": "shop"}),
        "a PEM file": pem("PRIVATE KEY", noise("pem", 64, _BASE64), noise("pem2", 40, _BASE64) + "="),
        "a PEM file on one line": pem(
            "PRIVATE KEY", noise("pem", 64, _BASE64), noise("pem2", 40, _BASE64) + "="
        ).replace("\n", "\\n"),
        "a PEM file on one line, with a line end": pem("PRIVATE KEY", noise("pem", 64, _BASE64)).replace("\n", "\\n")
        + "\n",
        "a service account": '{"type": "service_account", "private_key_id": "'
        + noise("sa", 40, HEX)
        + '", "test": [1]}',
        "eight characters": "kD8#vq2Z",
        "all kinds of characters": "a\\b'c\"d$e`f#g h;i&j|k<l>m(n)o{p}q[r]s!t%u^v*w~x",
        "a quote at one end": "'" + noise("quote", 20),
        "angle brackets that do not enclose the value": "<" + noise("angle", 12, _ALL.replace(">", "")) + "#>" + "9",
        "digits": "4719305826173940",
        "hex, 16": "9f3b7a51c08e46d2",
        "words that no placeholder has": "blue-harbour-tango-42",
        "a dollar and digits": "$2b$12$" + noise("bcrypt", 53, _BASE64),
        "a family emoji": "k\U0001f468\u200d\U0001f469\u200d\U0001f467q7Zr",
        "its own word inside": "payment" + noise("own word", 20),
    },
)
_accept_each(
    "SMTP_PASSWORD",
    {
        "a good one": "Wq7#kd!fPz2",
        "with spaces": "abqz kdwm rtvn lpoe",
        "leet": "Gr4v3l&M0ss!",
        "of several lines": noise("ml", 20) + "\n" + noise("ml2", 20),
    },
)
_accept_each("LICENCE", {"a good one": "LIC-" + noise("lic", 20)})

# --- the rest -------------------------------------------------------------------------------------------------------

_accept_each("PORT", {"as a number": 8000, "the lowest": "1", "the highest": "65535"})
_accept_each(
    "FRONTEND_URL",
    {
        "a path": "https://shop.de/login?next=%2F",
        "a port": "http://172.30.57.10:3000",
        "my-": "https://my-shop.de",
        "WebSocket": "wss://live.shop.de/socket",
    },
)
_accept_each(
    "WEBHOOK_URL",
    {
        "a secret path": "https://hooks.chat.de/services/T0" + noise("hook", 30),
        "a password": "https://user:Wq7kdfPz2@shop.de",
    },
)
_accept_each(
    "DATABASE_URL",
    {
        "direct": f"postgresql://postgres:Wq7kdfPz2@db.{REF}.supabase.co:5432/postgres",
        "the pooler": f"postgres://postgres.{REF}:Wq7kdfPz2@aws-0-eu-west-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
        "a quoted password": "postgresql://app:Wq%407%23kd@10.0.0.7/shop?sslmode=require",
        "a driver": "postgresql+asyncpg://app:Wq7kdfPz2@db:5432/shop",
        "a socket": "postgresql:///shop?host=/run/postgresql",
        "several hosts": "postgresql://app:Wq7kdfPz2@10.0.0.7:5432,10.0.0.8:5432/shop?target_session_attrs=read-write",
        "keywords": "host=10.0.0.7 dbname=shop user=app password=Wq7kdfPz2",
        "JDBC": "jdbc:postgresql://10.0.0.7:5432/shop?user=app&password=Wq7kdfPz2",
        "IPv6": "postgresql://app:Wq7kdfPz2@[fd00::7]:5432/shop",
        "no password, on a trusted network": "postgresql://app@10.0.0.7/shop",
    },
)
_accept_each(
    "REDIS_URL",
    {
        "plain": "redis://10.0.0.7:6379/0",
        "a password": "redis://:Wq7kdfPz2@10.0.0.7:6379",
        "TLS": "rediss://user:Wq7kdfPz2@cache:6380/1",
        "a socket": "unix:///run/redis.sock",
    },
)
_accept_each("LOG_LEVEL", {"a choice": "info"})
_accept("a choice that looks like a placeholder", {"LOG_LEVEL": "todo"}, LOG_LEVEL={"choices": ["todo", "done"]})
_accept_each("WORKERS", {"the lowest": "1", "as a number": 64})
_accept_each("OFFSET", {"below zero": "-3", "zero": 0, "large": "9007199254740993"})
_accept_each("REGION", {"a match": "eu-west-1"})
_accept_each(
    "APP_TITLE",
    {
        "words": "Example shop for a test",
        "quotes": '"Shop"',
        "a template for people": "Hello {{ name }}, your code is {{ .Code }}",
        "empty": "",
        "brackets": "[shop]",
        "HTML": "<b>Shop</b>",
        "spaces": " Shop ",
    },
)
_accept_each(
    "PROBE_EMAIL",
    {
        "plain": "probe@shop.de",
        "a tag": "probe+1@mail.shop.de",
        "reserved": "probe@example.com",
        "another alphabet": "연말@상점.한국",
    },
)
_accept_each("DEBUG", {"true": "true", "zero": "0", "capitals": "FALSE"})
_accept("optional ones, empty", {"FRONTEND_URL": "", "PAYMENT_TOKEN": None, "DEBUG": ""})
_accept("names that the table does not list", {"SOMETHING": "changeme"})

# --- several variables ----------------------------------------------------------------------------------------------

_accept(
    "one token under two names, as the table says",
    {"PAYMENT_TOKEN": noise("same", 30), "BOT_TOKEN": noise("same", 30)},
    BOT_TOKEN={"same_as": "PAYMENT_TOKEN"},
)
_accept(
    "the anon key under two names",
    {"BOT_TOKEN": GOOD["SUPABASE_ANON_KEY"]},
    BOT_TOKEN={"kind": "supabase_anon_key", "min_length": None},
)
_accept("two short values that are alike", {"LOG_LEVEL": "info", "APP_TITLE": "info"})
_accept(
    "address, keys and database of one project",
    {"DATABASE_URL": f"postgresql://postgres:Wq7kdfPz2@db.{REF}.supabase.co/postgres", **_NEW},
)
_accept("ten years of keys", {"SUPABASE_ANON_KEY": legacy("anon", iat=int(NOW) - 9 * YEAR, exp=int(NOW) + YEAR)})

# --- keys with a shape, addresses of servers, files ------------------------------------------------------------------

for _name, _value in SHAPED.items():
    _accept(f"{_name}: a whole one", {_name: _value})
for _seed in ("one", "two", "three"):
    _accept(f"keys of AWS {_seed}", {"AWS_SECRET_ACCESS_KEY": noise(f"aws {_seed}", 40, ALNUM + "+/")})
    _accept(f"a key of Stripe {_seed}", {"STRIPE_KEY": "_".join(["rk", "test", noise(_seed, 24, ALNUM)])})
_accept_each(
    "GITHUB_TOKEN",
    {
        "fine-grained": "_".join(["github", "pat", noise("fine", 22, ALNUM), noise("grained", 59, ALNUM)]),
        "of an app": "_".join(["ghs", noise("app", 36, ALNUM)]),
        "an old one": noise("old github", 40, HEX),
    },
)
_accept_each(
    "SLACK_TOKEN", {"app-level": "-".join(["xapp", "1", "A04SH0PQ1", "4711081500000", noise("xapp", 64, HEX)])}
)
_accept_each(
    "SLACK_HOOK", {"a workflow": "https://hooks.slack.com/workflows/T04SH0PQ1/A04H00K27/" + noise("flow", 24, ALNUM)}
)
_accept_each("OPENAI_KEY", {"another provider": "-".join(["sk", "or", "v1", noise("router", 64, HEX)])})
_accept_each("APP_KEY", {"AES-128": "base64:" + b64encode(bytes(range(40, 56))).decode()})
_accept_each(
    "FIREBASE",
    {
        "JSON": account(),
        "on several lines": account().replace(", ", ",\n  "),
        "in base64": b64encode(account().encode()).decode(),
    },
)
_TLS_KEY, _TLS_CERTIFICATE = key_pair()
_accept_each(
    "TLS_KEY",
    {
        "PEM": _TLS_KEY,
        "on one line": _TLS_KEY.replace("\n", "\\n"),
        "in base64": b64encode(_TLS_KEY.encode()).decode(),
        "of OpenSSH": pem("OPENSSH PRIVATE KEY", b64encode(b"openssh-key-v1\0" + bytes(range(200))).decode()),
    },
)
_accept("a certificate and its key", {"TLS_KEY": _TLS_KEY, "TLS_CERTIFICATE": _TLS_CERTIFICATE})
_accept("a certificate on one line", {"TLS_KEY": _TLS_KEY, "TLS_CERTIFICATE": _TLS_CERTIFICATE.replace("\n", "\\n")})
_accept("a chain", {"TLS_KEY": _TLS_KEY, "TLS_CERTIFICATE": _TLS_CERTIFICATE + key_pair("another")[1]})
_accept("a certificate alone", {"TLS_CERTIFICATE": _TLS_CERTIFICATE})
_accept_each(
    "MYSQL_URL",
    {
        "plain": "mysql://app:Wq7kdfPz2@db:3306/shop",
        "a driver": "mysql+pymysql://app:Wq7kdfPz2@db/shop?charset=utf8mb4",
        "MariaDB": "mariadb://app:Wq7kdfPz2@db/shop",
        "JDBC": "jdbc:mysql://db:3306/shop?user=app&password=Wq7kdfPz2",
        "TLS options": 'mysql://app:Wq7kdfPz2@db/shop?ssl={"rejectUnauthorized":true}',
    },
)
_accept_each(
    "MONGO_URL",
    {
        "plain": "mongodb://app:Wq7kdfPz2@db:27017/shop?authSource=admin",
        "Atlas": "mongodb+srv://app:Wq7kdfPz2@shop.k3v9z.mongodb.net/?retryWrites=true&w=majority",
        "a replica set": "mongodb://app:Wq7kdfPz2@db1:27017,db2:27017,db3:27017/shop?replicaSet=rs0",
        "no password": "mongodb://db1:27017,db2:27017/shop",
    },
)
_accept_each(
    "AMQP_URL", {"a vhost": "amqp://app:Wq7kdfPz2@rabbitmq:5672/%2F", "TLS": "amqps://app:Wq7kdfPz2@mq.shop.de/shop"}
)
_accept_each(
    "MAILER_DSN",
    {
        "plain": "smtp://shop%40shop.de:Wq7kdfPz2@mail.shop.de:587",
        "TLS": "smtps://shop:Wq7kdfPz2@mail.shop.de:465?timeout=5",
    },
)
