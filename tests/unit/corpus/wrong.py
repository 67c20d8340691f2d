# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values that must be refused: (id, changes of the good env, the expected findings: variable → rules)."""

from __future__ import annotations

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
    YEAR,
    account,
    b64,
    changed,
    key_pair,
    legacy,
    new_key,
    noise,
    pem,
    token,
)

Row = tuple[str, dict[str, Any], dict[str, list[str]]]

ROWS: list[Row] = []


def _refuse(name: str, rules: str, values: dict[str, Any]) -> None:
    """Rows for one variable: ``values`` is id → value, ``rules`` the rules of all of them."""
    for row, value in values.items():
        ROWS.append((f"{name}: {rules}: {row}", {name: value}, {name: rules.split()}))


def _refuse_env(row: str, values: dict[str, Any], **found: str) -> None:
    """A row over several variables."""
    ROWS.append((row, values, {name: rules.split() for name, rules in found.items()}))


_HEX = noise("another", 64, HEX)
_SERVICE, _ANON = GOOD["SUPABASE_SERVICE_KEY"], GOOD["SUPABASE_ANON_KEY"]
_HEADER, _CLAIMS, _SIGNATURE = _SERVICE.split(".")
_NEW_SECRET, _NEW_ANON = new_key("secret"), new_key("publishable")

# --- the incident's own shape, and its relatives --------------------------------------------------------------------

_PLACEHOLDERS = {
    "the incident's": "your_supabase_service_key_here",
    "words": "your-service-role-key",
    "words and a number": "service_key_1",
    "order": "CHANGE_ME",
    "order in one word": "changeme",
    "order with exclamation marks": "changeme!!",
    "order with digits": "changeme123",
    "replace me": "REPLACE_ME",
    "replace with": "replace-with-your-key",
    "insert": "<insert key>",
    "insert here": "insert_key_here",
    "paste": "paste-key-here",
    "angle brackets": "<service_role_key>",
    "square brackets": "[YOUR-SERVICE-KEY]",
    "braces": "{service-key}",
    "todo": "TODO",
    "tbd": "tbd",
    "fixme": "fixme",
    "placeholder": "placeholder",
    "dummy": "dummy-key",
    "example": "example_service_key",
    "sample": "sample-key",
    "fake": "fake_key",
    "test": "test-service-key",
    "x": "xxxxxxxxxxxxxxxx",
    "X and dashes": "XXXX-XXXX-XXXX-XXXX",
    "stars": "****************",
    "bullets": "••••••••••••••••••••",
    "dots": "....................",
    "none": "None",
    "null": "null",
    "undefined": "undefined",
    "nil": "nil",
    "an ellipsis": "eyJhbGciOi…",
    "three dots": "eyJhbGci...",
    "three dots in the middle": "eyJhbGciOiJIUzI1NiIs...dQ4w9",
    "a prefix and dots": "sb_secret_...",
    "a prefix and a word": "sb_secret_your_key_here",
    "a prefix and x": "sb_secret_xxxxxxxxxxxxxxxxxxxxxx_xxxxxxxx",
    "a prefix and brackets": "sb_secret_<random>",
    "a prefix and bullets": "sb_secret_••••••••••••••••",
    "a token whose signature is a word": f"{_HEADER}.{_CLAIMS}.your-signature-here",
    "a token whose signature is a letter": f"{_HEADER}.{_CLAIMS}.{'A' * 43}",
    "its own name": "SUPABASE_SERVICE_KEY",
    "its own name in words": "supabase_service_key_value",
    "Korean": "여기에_키를_입력하세요",
    "Korean, to be changed": "변경하세요",
}
_refuse("SUPABASE_SERVICE_KEY", "placeholder", _PLACEHOLDERS)

_refuse(
    "JWT_SECRET",
    "placeholder",
    {
        "words": "your-jwt-secret",
        "words with the app's name": "christmas-backend-jwt-secret-change-me",
        "words long enough": "this_is_a_very_long_secret_key_for_development_only",
        "super secret": "super_secret_key_change_this_in_production",
        "a password": "password",
        "a password in leet": "P@ssw0rd123",
        "a password with a year": "Password2025!",
        "secret": "secret",
        "one letter": "a" * 40,
        "two characters": "01" * 20,
        "a block again and again": "abc123" * 6,
        "a hex word again and again": "deadbeef" * 8,
        "the alphabet": "abcdefghijklmnopqrstuvwxyz0123456789",
        "digits in order": "1234567890123456789012345678901234567890",
        "hex digits in order": "0123456789abcdef0123456789abcdef",
        "the keyboard": "qwertyuiopasdfghjklzxcvbnm123456",
        "backwards": "zyxwvutsrqponmlkjihgfedcba9876543210",
        "its name": "JWT_SECRET",
        "nothing but zeros": "0" * 64,
        "the null UUID": "00000000-0000-0000-0000-000000000000",
    },
)
_refuse(
    "PAYMENT_TOKEN",
    "placeholder",
    {
        "a vendor's prefix and x": "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
        "a vendor's prefix and words": "sk_test_your_key_here",
        "brackets": "<payment token>",
        "masked": "sk_live_****************",
        "abbreviated": "sk-proj-9aXb...",
        "admin": "admin123",
        "letmein": "letmein",
        "welcome": "welcome1",
        "the keyboard": "qwerty123",
        "digits": "12345678",
        "digits backwards": "87654321",
        "the keyboard, upright": "1qaz2wsx",
        "twice a short block": "12341234",
        "not set": "not-set",
        "do not use": "do-not-use",
        "to be replaced": "to be replaced",
        "temporary": "temporary-token",
        "a default": "default_token",
        "set me": "set-me",
        "Korean example": "예시-토큰-값",
    },
)
_refuse(
    "SMTP_PASSWORD",
    "placeholder",
    {"words": "your_password", "leet": "s3cr3t-p4ssw0rd", "behind a number": "7012345678:your-bot-token-here"},
)
_refuse("LICENCE", "placeholder", {"words": "LIC-your-licence-here"})
_refuse("APP_TITLE", "placeholder", {"an order": "changeme", "brackets": "<title>", "words": "your_title_here"})
_refuse("REGION", "placeholder", {"brackets": "<region>", "an order": "REPLACE_ME"})
_refuse("PORT", "placeholder", {"brackets": "<port>", "an order": "changeme", "words": "your_port"})
_refuse("LOG_LEVEL", "placeholder", {"an order": "TODO"})
_refuse("PROBE_EMAIL", "placeholder", {"you": "you@shop.de", "your": "your-email@shop.de", "words": "your_email_here"})

_UNRESOLVED = {
    "a variable": "$SUPABASE_SERVICE_KEY",
    "a variable in braces": "${SUPABASE_SERVICE_KEY}",
    "with a default": "${SERVICE_KEY:-none}",
    "inside": "sb_secret_${SERVICE_KEY}",
    "a template": "{{ vault_supabase_service_key }}",
    "a template without spaces": "{{vault_service_key}}",
    "a lookup": "{{ lookup('env', 'SERVICE_KEY') }}",
    "Windows": "%SERVICE_KEY%",
    "at signs": "@SERVICE_KEY@",
    "underscores": "__SERVICE_KEY__",
    "a command": "$(cat /run/secrets/key)",
    "backticks": "`cat key`",
    "1Password": "op://vault/supabase/service",
    "a cloud's store": "arn:aws:secretsmanager:eu-west-1:1:secret:supabase",
    "a vault's path": "vault:secret/data/shop#service_key",
    "code": "process.env.SERVICE_KEY",
    "Python": "os.environ['SERVICE_KEY']",
}
_refuse("SUPABASE_SERVICE_KEY", "unresolved", _UNRESOLVED)
_refuse("PORT", "unresolved", {"a variable": "${PORT}", "a variable with a default": "${PORT:-8000}"})
_refuse("SUPABASE_URL", "unresolved", {"a template": "https://{{ project_ref }}.supabase.co"})
_refuse("APP_TITLE", "unresolved", {"a template": "{{ app_title }}", "a variable": "${TITLE}"})
_refuse("JWT_SECRET", "unresolved", {"a variable": "$JWT_SECRET", "a template": "{{ vault_jwt_secret }}"})

_refuse(
    "JWT_SECRET",
    "encrypted",
    {
        "Ansible Vault": "$ANSIBLE_VAULT;1.1;AES256\n6132333435363738",
        "sops": "ENC[AES256_GCM,data:9sT3,iv:4z==,tag:1==,type:str]",
        "Vault transit": "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
        "PGP": pem("PGP MESSAGE", "hQEMA"),
    },
)

# --- what everybody has ---------------------------------------------------------------------------------------------

_CLI_SECRET = "-".join(["super", "secret", "jwt", "token", "with", "at", "least", "32", "characters", "long"])
_DEMO = {"iss": "supabase-demo", "role": "service_role", "exp": 1983812996}
_refuse(
    "SUPABASE_SERVICE_KEY",
    "sample",
    {
        "the CLI's, made again": token(_DEMO, _CLI_SECRET),
        "the demo's issuer, another signature": token(_DEMO),
        "the demo's issuer, other dates": token({**_DEMO, "exp": int(NOW) + YEAR}),
    },
)
_refuse("SUPABASE_ANON_KEY", "sample", {"the demo's issuer": token({**_DEMO, "role": "anon"}, _CLI_SECRET)})
_refuse("JWT_SECRET", "sample", {"the CLI's": _CLI_SECRET, "the self-hosted default": f"your-{_CLI_SECRET}"})
_refuse("SMTP_PASSWORD", "sample", {"a cartoon's": "correct horse battery staple"})
_refuse(
    "PAYMENT_TOKEN",
    "sample",
    {
        "jwt.io's": token(
            '{"sub":"1234567890","name":"John Doe","iat":1516239022}', "-".join(["your", "256", "bit", "secret"])
        )
    },
)

# --- nothing there, or not a text -----------------------------------------------------------------------------------

_refuse("SUPABASE_SERVICE_KEY", "missing", {"not given": None})
_refuse("JWT_SECRET", "missing", {"not given": None})
_refuse(
    "SUPABASE_SERVICE_KEY",
    "empty",
    {
        "empty": "",
        "a space": " ",
        "a line end": "\n",
        "quotes": '""',
        "a BOM": "\ufeff",
        "its name": "SUPABASE_SERVICE_KEY=",
    },
)
_refuse("PORT", "empty", {"empty": "", "quotes": "''"})
_refuse(
    "JWT_SECRET",
    "not_text",
    {"a number": 12345678901234567890, "a fraction": 0.5, "true": True, "a list": ["a"], "a mapping": {"a": "b"}},
)
_refuse("PORT", "not_text", {"true": True, "a fraction": 8000.0, "a list": [8000]})
_refuse("DEBUG", "not_text", {"YAML's true": True, "YAML's no": False})
_refuse("LOG_LEVEL", "not_text", {"YAML's on": True})
_refuse("JWT_SECRET", "bad_character", {"NUL": _HEX + "\0", "half a character": _HEX + "\ud800"})

# --- around a good value --------------------------------------------------------------------------------------------

for _name, _good in (("SUPABASE_SERVICE_KEY", _SERVICE), ("JWT_SECRET", _HEX), ("SUPABASE_URL", GOOD["SUPABASE_URL"])):
    _refuse(
        _name, "quoted", {"double quotes": f'"{_good}"', "single quotes": f"'{_good}'", "curly": f"\u201c{_good}\u201d"}
    )
    _refuse(_name, "line_break", {"a line end": f"{_good}\n", "CR": f"{_good}\r", "CR LF": f"{_good}\r\n"})
    _refuse(_name, "whitespace", {"a space before": f" {_good}", "a space behind": f"{_good} ", "a tab": f"\t{_good}"})
    _refuse(_name, "whitespace", {"a no-break space": f"{_good}\u00a0"})
    _refuse(
        _name, "hidden_character", {"a BOM": f"\ufeff{_good}", "zero width": f"{_good}\u200b", "soft": f"\u00ad{_good}"}
    )
    _refuse(_name, "assignment", {"a line of the file": f"{_name}={_good}", "an export": f"export {_name}={_good}"})
    _refuse(_name, "quoted line_break", {"quotes and a line end": f'"{_good}"\n'})
_refuse("SUPABASE_SERVICE_KEY", "assignment quoted", {"a quoted line": f'SUPABASE_SERVICE_KEY="{_SERVICE}"'})
_refuse("SUPABASE_SERVICE_KEY", "quoted", {"one quote": f'{_SERVICE}"'})
_refuse("SUPABASE_SERVICE_KEY", "prefixed", {"Bearer": f"Bearer {_SERVICE}", "a header": f"apikey: {_SERVICE}"})
_refuse("PAYMENT_TOKEN", "prefixed", {"Bearer": f"Bearer {_HEX}"})
_refuse("SUPABASE_SERVICE_KEY", "punctuation", {"a comma": f"{_SERVICE},", "a semicolon": f"{_NEW_SECRET};"})
_refuse("SUPABASE_URL", "punctuation", {"a comma": f"https://{REF}.supabase.co,"})
_refuse(
    "SUPABASE_SERVICE_KEY",
    "line_break",
    {"broken over two lines": f"{_SERVICE[:80]}\n{_SERVICE[80:]}", "indented": f"{_SERVICE[:80]}\n    {_SERVICE[80:]}"},
)
_refuse("SUPABASE_SERVICE_KEY", "whitespace", {"a space inside": f"{_SERVICE[:80]} {_SERVICE[80:]}"})
_refuse("SUPABASE_SERVICE_KEY", "hidden_character", {"zero width inside": f"{_SERVICE[:80]}\u200b{_SERVICE[80:]}"})
_refuse("JWT_SECRET", "hidden_character", {"zero width inside": f"{_HEX[:9]}\u200b{_HEX[9:]}"})
_refuse("PAYMENT_TOKEN", "line_break", {"broken over lines": f"{_HEX[:32]}\n{_HEX[32:]}"})
_refuse("PORT", "quoted", {"quotes": '"8000"'})
_refuse("PORT", "whitespace", {"a space": "8000 "})
_refuse("PORT", "line_break", {"a line end": "8000\n"})
_refuse("LOG_LEVEL", "quoted", {"quotes": "'info'"})
_refuse("PROBE_EMAIL", "whitespace", {"a space": "probe@shop.de "})
_refuse("PAYMENT_TOKEN", "quoted placeholder", {"quotes around words": '"your-token-here"'})

# --- Supabase keys --------------------------------------------------------------------------------------------------

_refuse(
    "SUPABASE_SERVICE_KEY",
    "truncated",
    {
        "the last character": _SERVICE[:-1],
        "half the signature": _SERVICE[:-20],
        "the signature": f"{_HEADER}.{_CLAIMS}.",
        "the signature and its dot": f"{_HEADER}.{_CLAIMS}",
        "in the claims": f"{_HEADER}.{_CLAIMS[:30]}",
        "the header alone": _HEADER,
        "its beginning": _SERVICE[6:],
        "a new key's last character": _NEW_SECRET[:-1],
        "a new key's checksum": _NEW_SECRET[:-9],
        "half a new key": _NEW_SECRET[:22],
        "a new key's prefix": "sb_secret_",
    },
)
_refuse(
    "SUPABASE_SERVICE_KEY",
    "bad_format",
    {
        "a header's character": changed(_SERVICE, 8),
        "the signature's last character": _SERVICE[:-1] + ("B" if _SERVICE[-1] != "B" else "D"),
        "something behind": _SERVICE + "abc",
        "four parts": _SERVICE + ".Qx9",
        "two keys": _SERVICE + _ANON,
        "padding": _SERVICE + "=",
        "base64 that is not URL-safe": f"{_HEADER}.{_CLAIMS}.{_SIGNATURE[:20]}+/{_SIGNATURE[22:]}",
        "claims that are no JSON": f"{_HEADER}.{b64('role: service_role')}.{_SIGNATURE}",
        "claims that are a list": f"{_HEADER}.{b64('[1]')}.{_SIGNATURE}",
        "no algorithm": token({"role": "service_role"}, header={"typ": "JWT"}),
        "algorithm none": token({"role": "service_role"}, header={"alg": "none"}),
        "dates that are text": legacy(exp="2035-01-01"),
        "a ref with a capital": legacy(ref=REF.upper()),
        "a new key and something behind": _NEW_SECRET + "xY",
        "a new key with a slash": _NEW_SECRET.replace(_NEW_SECRET[15], "/", 1),
        "a new key of an unknown kind": "sb_temp_" + noise("t", 31),
    },
)
_refuse(
    "SUPABASE_SERVICE_KEY",
    "wrong_kind",
    {
        "another anon key": legacy("anon", iat=int(NOW) - 2 * YEAR),
        "a publishable key": new_key("publishable"),
        "a user's session": legacy("authenticated", sub="0d9f"),
        "a token of something else": token({"sub": "0d9f", "aud": "shop"}),
        "an admin's role": legacy("supabase_admin"),
        "a personal access token": "sbp_" + noise("pat", 40, HEX),
        "hex": _HEX,
        "a UUID": "5b0f9a3e-6c1d-4f27-9e8a-d2b47c60f1a3",
        "an address": "https://shop.de",
        "something random": noise("r", 43),
        "a password": "Wq7#kd!fPz2",
    },
)
_refuse(
    "SUPABASE_ANON_KEY",
    "wrong_kind",
    {"another service key": legacy(iat=int(NOW) - 2 * YEAR), "a secret key": _NEW_SECRET},
)
_refuse(
    "SUPABASE_SERVICE_KEY",
    "expired",
    {
        "yesterday": legacy(exp=int(NOW) - 86400),
        "this second": legacy(exp=int(NOW)),
        "long ago": legacy(iat=1, exp=2),
        "with a fraction": legacy(exp=NOW - 0.5),
    },
)
_refuse("SUPABASE_ANON_KEY", "expired", {"a year ago": legacy("anon", exp=int(NOW) - YEAR)})
_refuse(
    "SUPABASE_SERVICE_KEY",
    "not_yet_valid",
    {
        "made in two years": legacy(iat=int(NOW) + 2 * YEAR),
        "milliseconds": legacy(iat=int(NOW) * 1000, exp=int(NOW) * 2000),
        "not before": legacy(nbf=int(NOW) + YEAR),
        "beyond the calendar": legacy(iat=10**17, exp=10**18),
    },
)
_refuse(
    "SUPABASE_SERVICE_KEY",
    "wrong_project",
    {
        "another project's": legacy(ref=OTHER_REF),
        "a self-hosted one": legacy(ref=None),
        "a self-hosted new one": new_key("secret", SELF_HOSTED),
    },
)
_refuse("SUPABASE_ANON_KEY", "wrong_project", {"another project's": legacy("anon", OTHER_REF)})
_refuse(
    "SUPABASE_SERVICE_KEY",
    "bad_checksum",
    {
        "a typo": changed(_NEW_SECRET, 14),
        "a typo in the checksum": changed(_NEW_SECRET, 34),
        "two characters the other way round": _NEW_SECRET[:12] + _NEW_SECRET[13] + _NEW_SECRET[12] + _NEW_SECRET[14:],
        "a project that nothing names": new_key("secret", OTHER_REF),
    },
)
_refuse("SUPABASE_ANON_KEY", "bad_checksum", {"a typo": changed(_NEW_ANON, 20)})
_refuse("SUPABASE_SERVICE_KEY", "bad_character", {"a Cyrillic letter": _SERVICE[:50] + "\u0430" + _SERVICE[51:]})
_refuse("SUPABASE_SERVICE_KEY", "bad_character", {"a long dash": _NEW_SECRET[:12] + "\u2014" + _NEW_SECRET[13:]})

# --- addresses ------------------------------------------------------------------------------------------------------

_refuse(
    "SUPABASE_URL",
    "bad_url",
    {
        "no scheme": f"{REF}.supabase.co",
        "the ref alone": REF,
        "plain http": f"http://{REF}.supabase.co",
        "a slash at the end": f"https://{REF}.supabase.co/",
        "the REST path": f"https://{REF}.supabase.co/rest/v1",
        "a port": f"https://{REF}.supabase.co:5432",
        "a query": f"https://{REF}.supabase.co?apikey=1",
        "a user": f"https://user:pw@{REF}.supabase.co",
        "another scheme": f"ftp://{REF}.supabase.co",
        "one slash": f"https:/{REF}.supabase.co",
        "a space": f"https://{REF} .supabase.co",
        "a bad port": "http://10.0.0.5:80000",
        "a capital in the scheme's place": "https//" + REF,
        "the name of a company": "https://christmas-shop.supabase.co",
        "a ref that is too long": f"https://{REF}ab.supabase.co",
    },
)
_refuse("SUPABASE_URL", "truncated", {"a ref that is cut": f"https://{REF[:-2]}.supabase.co"})
_refuse(
    "SUPABASE_URL",
    "wrong_kind",
    {
        "the dashboard": f"https://supabase.com/dashboard/project/{REF}",
        "the database": f"postgresql://postgres:x@db.{REF}.supabase.co:5432/postgres",
        "the database's host": f"https://db.{REF}.supabase.co",
        "a key": new_key("secret", seed="other"),
    },
)
_refuse(
    "SUPABASE_URL",
    "placeholder",
    {
        "words": "https://your-project.supabase.co",
        "brackets": "https://<project-ref>.supabase.co",
        "x": "https://xxxxxxxxxxxxxxxxxxxx.supabase.co",
        "the alphabet": "https://abcdefghijklmnopqrst.supabase.co",
        "the documentation's": "https://xyzcompany.supabase.co",
        "a reserved host": "https://supabase.example.com",
        "words alone": "your-supabase-url",
    },
)
_refuse_env(
    "SUPABASE_URL: both keys are of another project",
    {"SUPABASE_URL": f"https://{OTHER_REF}.supabase.co"},
    SUPABASE_URL="wrong_project",
)
_refuse(
    "FRONTEND_URL",
    "bad_url",
    {"no scheme": "shop.de", "no host": "https://", "a space": "https://sh op.de", "port 0": "http://a.de:0"},
)
_refuse(
    "FRONTEND_URL",
    "placeholder",
    {"reserved": "https://app.example.com", "your": "https://your-domain.com", "x": "https://xxxx.de"},
)
_refuse("FRONTEND_URL", "placeholder", {"brackets": "https://<host>/login", "braces": "https://{host}/login"})
_refuse("FRONTEND_URL", "exposed", {"a password": "https://user:Wq7kdfPz2@shop.de"})
_refuse("WEBHOOK_URL", "placeholder", {"words in the path": "https://hooks.chat.de/your-webhook-id/xxxx"})
_DSN = "postgresql://postgres:{}@db." + REF + ".supabase.co:5432/postgres"
_refuse(
    "DATABASE_URL",
    "placeholder",
    {
        "the dashboard's": _DSN.format("[YOUR-PASSWORD]"),
        "brackets": _DSN.format("<password>"),
        "a word": _DSN.format("password"),
        "an order": _DSN.format("changeme"),
        "the user's name": "postgresql://postgres:postgres@10.0.0.7:5432/shop",
        "words": "your-database-url",
    },
)
_refuse(
    "DATABASE_URL",
    "bad_url",
    {
        "a bare @": _DSN.format("Wq7@kd/fPz2"),
        "a bare #": _DSN.format("Wq7#kdfPz2"),
        "a bare %": _DSN.format("Wq7%kdfPz2"),
        "a space": _DSN.format("Wq7 kdfPz2"),
        "no password": f"postgresql://postgres@db.{REF}.supabase.co:5432/postgres",
        "a bad port": "postgresql://app:Wq7kdfPz2@10.0.0.7:99999/shop",
    },
)
_refuse(
    "DATABASE_URL",
    "wrong_kind",
    {"MySQL": "mysql://app:Wq7kdfPz2@10.0.0.7/shop", "the API": f"https://{REF}.supabase.co/rest"},
)
_refuse("DATABASE_URL", "wrong_project", {"another project's": _DSN.format("Wq7kdfPz2").replace(REF, OTHER_REF)})
_refuse(
    "DATABASE_URL",
    "wrong_project",
    {
        "another project's pooler": f"postgres://postgres.{OTHER_REF}:Wq7kdfPz2@aws-0-eu-west-1.pooler.supabase.com:6543/postgres"
    },
)
_refuse("REDIS_URL", "wrong_kind", {"http": "http://10.0.0.7:6379", "a host": "10.0.0.7:6379"})
_refuse(
    "REDIS_URL",
    "placeholder",
    {"a word": "redis://:password@10.0.0.7:6379/0", "brackets": "redis://:<password>@10.0.0.7"},
)

# --- the rest -------------------------------------------------------------------------------------------------------

_refuse(
    "PORT",
    "not_a_number",
    {
        "a word": "http",
        "a mapping": "8000:8000",
        "a protocol": "8000/tcp",
        "a colon": ":8000",
        "a fraction": "8000.0",
        "a sign": "+8000",
        "below zero": "-1",
        "a leading zero": "08000",
        "hex": "0x1F40",
        "two": "8000 8001",
        "an underscore": "8_000",
        "five thousand digits": "1" * 5000,
    },
)
_refuse("PORT", "bad_character", {"full-width digits": "\uff18\uff10\uff10\uff10"})
_refuse("PORT", "out_of_range", {"zero": "0", "too high": "65536", "far too high": "8000000"})
_refuse("WORKERS", "out_of_range", {"too many": "65", "none": "0", "below zero": "-3", "as a number": 65})
_refuse("WORKERS", "not_a_number", {"a word": "four", "a fraction": "1.5", "empty words": "1 2"})
_refuse("LOG_LEVEL", "not_a_choice", {"unknown": "loud", "capitals": "INFO", "two": "info,debug"})
_refuse("DEBUG", "not_a_choice", {"a word": "maybe", "two": "2", "a letter": "t"})
_refuse("REGION", "no_match", {"capitals": "EU-WEST-1", "too much": "eu-west-1a", "nothing like it": "Frankfurt"})
_refuse(
    "PROBE_EMAIL",
    "bad_email",
    {"no at": "probe.shop.de", "two": "a@b@shop.de", "a name": "Probe <probe@shop.de>", "no host": "probe@"},
)
_refuse(
    "JWT_SECRET", "too_short", {"16 bytes in hex": noise("s", 31, HEX), "a good password": "Wq7#kd!fPz2", "one": "k"}
)
_refuse("BOT_TOKEN", "too_short", {"15": noise("b", 15), "a few": "k3J9x"})
_refuse("SMTP_PASSWORD", "too_short", {"seven": "Wq7#kd!"})
_refuse("JWT_SECRET", "low_entropy", {"three letters": noise("l", 40, "abc"), "few signs": noise("m", 48, "kQ7!")})
_refuse("PAYMENT_TOKEN", "low_entropy", {"three letters": noise("n", 40, "xyz"), "few digits": noise("o", 24, "178")})
_refuse(
    "JWT_SECRET",
    "wrong_kind",
    {
        "a token": token({"sub": "0d9f"}),
        "a Supabase key": new_key("secret", seed="else"),
        "an address": "https://10.0.0.7/jwks/0d9f3b7a51",
        "a public key": pem("PUBLIC KEY", noise("public", 40)),
        "a JSON key": '{"kty": "oct", "k": "Wq7kdfPz2Wq7kdfPz2Wq7kdfPz2"}',
    },
)
_refuse("PAYMENT_TOKEN", "truncated", {"a PEM file without its end": pem("PRIVATE KEY", noise("pem", 40), whole=False)})

# --- several variables ----------------------------------------------------------------------------------------------

_refuse_env(
    "anon and service are swapped",
    {"SUPABASE_ANON_KEY": _SERVICE, "SUPABASE_SERVICE_KEY": _ANON},
    SUPABASE_ANON_KEY="swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "new keys are swapped",
    {"SUPABASE_ANON_KEY": _NEW_SECRET, "SUPABASE_SERVICE_KEY": _NEW_ANON},
    SUPABASE_ANON_KEY="swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "swapped across generations",
    {"SUPABASE_ANON_KEY": _NEW_SECRET, "SUPABASE_SERVICE_KEY": _ANON},
    SUPABASE_ANON_KEY="swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "swapped, and one has expired",
    {"SUPABASE_ANON_KEY": legacy(exp=int(NOW) - 9), "SUPABASE_SERVICE_KEY": _ANON},
    SUPABASE_ANON_KEY="swapped",
    SUPABASE_SERVICE_KEY="swapped expired",
)
_refuse_env(
    "swapped, and one is quoted",
    {"SUPABASE_ANON_KEY": f'"{_SERVICE}"', "SUPABASE_SERVICE_KEY": _ANON},
    SUPABASE_ANON_KEY="quoted swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "address and key are swapped",
    {"SUPABASE_URL": _SERVICE, "SUPABASE_SERVICE_KEY": GOOD["SUPABASE_URL"]},
    SUPABASE_URL="swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "signing secret and key are swapped",
    {"JWT_SECRET": _SERVICE, "SUPABASE_SERVICE_KEY": GOOD["JWT_SECRET"]},
    JWT_SECRET="swapped",
    SUPABASE_SERVICE_KEY="swapped",
)
_refuse_env(
    "port and address are swapped",
    {"PORT": "https://shop.de", "FRONTEND_URL": "8000"},
    PORT="swapped",
    FRONTEND_URL="swapped",
)
_refuse_env("the anon key in both slots", {"SUPABASE_SERVICE_KEY": _ANON}, SUPABASE_SERVICE_KEY="pasted")
_refuse_env("the service key in both slots", {"SUPABASE_ANON_KEY": _SERVICE}, SUPABASE_ANON_KEY="pasted")
_refuse_env(
    "the address in the key's slot", {"SUPABASE_SERVICE_KEY": GOOD["SUPABASE_URL"]}, SUPABASE_SERVICE_KEY="pasted"
)
_refuse_env("the key in the address's slot", {"SUPABASE_URL": _SERVICE}, SUPABASE_URL="pasted")
_refuse_env("the service key as signing secret", {"JWT_SECRET": _SERVICE}, JWT_SECRET="pasted")
_refuse_env("the signing secret as a token", {"PAYMENT_TOKEN": GOOD["JWT_SECRET"]}, PAYMENT_TOKEN="duplicate")
_refuse_env("the service key as a token", {"PAYMENT_TOKEN": _SERVICE}, PAYMENT_TOKEN="duplicate")
_refuse_env("one token twice", {"PAYMENT_TOKEN": _HEX, "BOT_TOKEN": _HEX}, BOT_TOKEN="duplicate")
_refuse_env(
    "a password that is the e-mail address",
    {"PROBE_EMAIL": "probe@shop.de", "SMTP_PASSWORD": "probe@shop.de"},
    SMTP_PASSWORD="duplicate",
)
_refuse_env(
    "two projects behind an address of one's own",
    {"SUPABASE_URL": "https://api.shop.de", "SUPABASE_SERVICE_KEY": legacy(ref=OTHER_REF)},
    SUPABASE_SERVICE_KEY="wrong_project",
)
_refuse_env(
    "a new key of the project that the other key names",
    {
        "SUPABASE_ANON_KEY": legacy("anon", OTHER_REF),
        "SUPABASE_SERVICE_KEY": new_key("secret", OTHER_REF),
        "DATABASE_URL": _DSN.format("Wq7kdfPz2"),
    },
    SUPABASE_ANON_KEY="wrong_project",
    SUPABASE_SERVICE_KEY="wrong_project",
)
_refuse_env(
    "everything is a placeholder",
    {
        "SUPABASE_URL": "https://your-project.supabase.co",
        "SUPABASE_ANON_KEY": "your-anon-key",
        "SUPABASE_SERVICE_KEY": "your-service-key",
        "JWT_SECRET": "your-jwt-secret",
        "PORT": "your-port",
    },
    SUPABASE_URL="placeholder",
    SUPABASE_ANON_KEY="placeholder",
    SUPABASE_SERVICE_KEY="placeholder",
    JWT_SECRET="placeholder",
    PORT="placeholder",
)

# --- keys with a shape, addresses of servers, files ------------------------------------------------------------------

# Those of which a part can be seen to be missing.
_WITH_A_LENGTH = [name for name in SHAPED if name not in ("DJANGO_KEY", "SECRET_KEY_BASE")]
for _name in _WITH_A_LENGTH:
    _whole = SHAPED[_name]
    _refuse(
        _name, "truncated", {"its end": _whole[:-8] if _name == "SLACK_HOOK" else _whole[: min(len(_whole) // 2, 20)]}
    )
    _refuse(_name, "quoted", {"quotes": f'"{_whole}"'})
    _refuse(_name, "whitespace", {"a space": f" {_whole}"})
    _refuse(_name, "placeholder", {"words": f"your_{_name.lower()}_here", "an order": "changeme"})
for _name in ("DJANGO_KEY", "SECRET_KEY_BASE"):
    _refuse(_name, "too_short", {"its end": SHAPED[_name][:40]})
    _refuse(_name, "placeholder", {"words": f"your_{_name.lower()}_here", "an order": "changeme"})
_refuse(
    "STRIPE_KEY",
    "placeholder",
    {"words behind": "sk_test_your_key_here", "x behind": "sk_live_" + "x" * 24, "dots": "sk_live_51H..."},
)
_refuse(
    "STRIPE_KEY", "wrong_kind", {"a publishable one": SHAPED["STRIPE_PUBLIC"], "a GitHub token": SHAPED["GITHUB_TOKEN"]}
)
_refuse("STRIPE_PUBLIC", "wrong_kind", {"a secret one": SHAPED["STRIPE_KEY"].replace("_live_", "_test_")})
_refuse("STRIPE_WEBHOOK", "wrong_kind", {"a key": SHAPED["STRIPE_KEY"]})
_refuse("OPENAI_KEY", "wrong_kind", {"a Stripe key": SHAPED["STRIPE_KEY"]})
_refuse("OPENAI_KEY", "placeholder", {"x": "sk-" + "x" * 40, "words behind": "sk-your-api-key-here"})
_refuse("SENDGRID_KEY", "placeholder", {"x": "SG." + "x" * 22 + "." + "x" * 43})
_refuse("AWS_ACCESS_KEY_ID", "sample", {"the vendor's": "AKIA" + "IOSFODNN7" + "EXAMPLE"})
_refuse("AWS_SECRET_ACCESS_KEY", "sample", {"the vendor's": "wJalrXUtnFEMI" + "/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"})
_refuse("GITHUB_TOKEN", "placeholder", {"x": "ghp_" + "x" * 36})
_refuse(
    "SLACK_HOOK", "placeholder", {"the vendor's": "https://hooks.slack.com/services/T00000000/B00000000/" + "X" * 24}
)
_refuse("SLACK_HOOK", "wrong_kind", {"a token": SHAPED["SLACK_TOKEN"]})
_refuse("TELEGRAM_TOKEN", "wrong_kind", {"a Slack token": SHAPED["SLACK_TOKEN"]})
_refuse(
    "FERNET_KEY",
    "bad_format",
    {"another alphabet": "!" + SHAPED["FERNET_KEY"][1:], "too long": SHAPED["FERNET_KEY"] * 2},
)
_refuse("RAILS_MASTER_KEY", "bad_format", {"a secret_key_base": SHAPED["SECRET_KEY_BASE"]})
_refuse("APP_KEY", "wrong_kind", {"without base64:": SHAPED["APP_KEY"][7:]})
_refuse("DJANGO_KEY", "placeholder", {"of startproject": "django-insecure-" + noise("insecure", 50)})
_refuse("SECRET_KEY_BASE", "wrong_kind", {"an address": "https://shop.de/" + noise("base", 60)})
_refuse_env(
    "both keys of AWS are swapped",
    {"AWS_ACCESS_KEY_ID": SHAPED["AWS_SECRET_ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": noise("alnum", 3, ALNUM) + "!" * 9},
    AWS_ACCESS_KEY_ID="wrong_kind",
    AWS_SECRET_ACCESS_KEY="truncated",
)
_refuse_env(
    "both keys of Stripe are swapped",
    {"STRIPE_KEY": SHAPED["STRIPE_PUBLIC"], "STRIPE_PUBLIC": SHAPED["STRIPE_KEY"]},
    STRIPE_KEY="swapped",
    STRIPE_PUBLIC="swapped",
)
_refuse_env(
    "a live and a test key of Stripe",
    {"STRIPE_KEY": SHAPED["STRIPE_KEY"], "STRIPE_PUBLIC": SHAPED["STRIPE_PUBLIC"].replace("_live_", "_test_")},
    STRIPE_PUBLIC="wrong_mode",
)

_TLS_KEY, _TLS_CERTIFICATE = key_pair()
_CUT = "\n".join([*_TLS_KEY.splitlines()[:9], *_TLS_KEY.splitlines()[-1:]])
_refuse("TLS_KEY", "truncated", {"no last line": _TLS_KEY[:400], "lines are missing": _CUT})
_refuse("TLS_KEY", "bad_format", {"a character": _TLS_KEY[:100] + "!" + _TLS_KEY[101:]})
_refuse("TLS_KEY", "wrong_kind", {"a certificate": _TLS_CERTIFICATE, "a password": "Wq7#kd!fPz2"})
_refuse(
    "TLS_KEY",
    "placeholder",
    {"words": "your-private-key", "dots": "-----BEGIN PRIVATE KEY-----\\n...\\n-----END PRIVATE KEY-----\\n"},
)
_refuse(
    "TLS_CERTIFICATE", "wrong_kind", {"its key": key_pair("another")[0], "with its key": _TLS_CERTIFICATE + _TLS_KEY}
)
_refuse("TLS_CERTIFICATE", "expired", {"last year": key_pair(ends="250601000000Z")[1]})
_refuse("TLS_CERTIFICATE", "not_yet_valid", {"next year": key_pair(begins="270601000000Z")[1]})
_refuse("TLS_CERTIFICATE", "truncated", {"no last line": _TLS_CERTIFICATE[:300]})
_refuse_env(
    "a certificate of another key",
    {"TLS_KEY": _TLS_KEY, "TLS_CERTIFICATE": key_pair("another")[1]},
    TLS_CERTIFICATE="mismatched",
)
_refuse("FIREBASE", "truncated", {"its end": account()[:200]})
_refuse("FIREBASE", "bad_format", {"no JSON": account().replace(":", ";", 1), "no key": account(private_key=None)})
_refuse(
    "FIREBASE", "wrong_kind", {"of a user": account(type="authorized_user"), "a path": "/run/secrets/firebase.json"}
)
_refuse(
    "FIREBASE", "placeholder", {"words": "your-firebase-json", "the key in it": account(private_key="your-private-key")}
)

for _name, _scheme in (("MYSQL_URL", "mysql"), ("MONGO_URL", "mongodb"), ("AMQP_URL", "amqp"), ("MAILER_DSN", "smtp")):
    _refuse(
        _name,
        "placeholder",
        {
            "words": f"{_scheme}://user:password@host/name",
            "brackets": f"{_scheme}://app:<password>@db/shop",
            "an order": f"{_scheme}://app:changeme@db/shop",
        },
    )
    _refuse(_name, "wrong_kind", {"another scheme": "https://app:Wq7kdfPz2@db/shop"})
    _refuse(_name, "bad_url", {"a password with @": f"{_scheme}://app:Wq7@kd#fPz2@db/shop"})
    _refuse(_name, "quoted", {"quotes": f"'{_scheme}://app:Wq7kdfPz2@db/shop'"})
