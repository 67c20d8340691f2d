# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One value by itself: what is around it, and whether it is of its variable's kind.

The order: references and samples, format and checksum, words and shapes, entropy last. Pure; never raises on any text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs, unquote

from . import key_files, supabase_keys, token_formats
from .placeholders import encrypted, is_sample, low_entropy, obvious, placeholder, unresolved
from .supabase_keys import Key, Problem
from .variables import HIGHEST_PORT, SERVER_KINDS, Variable, copy_again, own_words, place, source_hint

# The value is not of the slot's kind at all: it may belong into another one.
_MISFITS = frozenset(
    {
        "wrong_kind",
        "bad_format",
        "bad_url",
        "not_a_number",
        "out_of_range",
        "not_a_choice",
        "no_match",
        "bad_email",
    }
)

_MIN_LENGTH = {"token": 8, "jwt_secret": 32, "text": 0, "django_secret_key": 50, "rails_secret_key_base": 64}

_INVISIBLE = (
    "\ufeff\u200b\u200c\u200d\u2060\u00ad\u180e\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\u201c": "\u201d",
    "\u2018": "\u2019",
    "\u201e": "\u201c",
    "\u00ab": "\u00bb",
    "\u201d": "\u201d",
    "\u2019": "\u2019",
}

_QUOTE_MARKS = "".join({*_QUOTES, *_QUOTES.values()})

# In these no quote, space, comma or invisible character can be part of a good value.
_STRICT_KINDS = frozenset(
    {
        "supabase_url",
        "supabase_anon_key",
        "supabase_service_key",
        "port",
        "url",
        "enum",
        "integer",
        "email",
        "boolean",
        *SERVER_KINDS,
        *token_formats.FORMATS,
    }
)

_BOOLEANS = ("true", "false", "1", "0", "yes", "no", "on", "off")

_AS_IT_IS = "Put the value in alone, without what is around it."


def misfit(problems: Iterable[Problem]) -> bool:
    """Whether a value is not of its slot's kind at all: it may belong into another one."""
    return any(problem.rule in _MISFITS for problem in problems)


def blank(text: str) -> bool:
    """Whether nothing is in ``text`` but space, quotes and invisible characters."""
    return not text.strip(_INVISIBLE + _QUOTE_MARKS + " \t\r\n\v\f")


def unwrap(variable: Variable, text: str) -> tuple[str, list[Problem]]:
    """``text`` without quotes, spaces, line ends, invisible characters, ``NAME=`` and ``Bearer`` around it."""
    kind = variable.kind
    if kind in ("text", "pattern") and not variable.secret:
        return text, []
    found: dict[str, Problem] = {}
    before = None
    while text != before:
        before = text
        text = _peel(variable, text, found)
    if kind.startswith("supabase_") and kind.endswith("_key"):
        text = _join(text, found)
    return text, list(found.values())


def _peel(variable: Variable, text: str, found: dict[str, Problem]) -> str:
    """Take one layer off ``text`` and note it in ``found`` (rule → problem)."""
    strict = variable.kind in _STRICT_KINDS
    ends = text[:1] + text[-1:]
    if not text:
        return text
    if any(end in _INVISIBLE for end in ends):
        found["hidden_character"] = Problem("hidden_character", "there is an invisible character around it", _AS_IT_IS)
        return text.strip(_INVISIBLE)
    if any(end in "\r\n" for end in ends):
        bare = text.strip("\r\n")
        if not _is_pem(bare):  # a PEM file ends with a line end
            found["line_break"] = Problem("line_break", "there is a line end around it", _AS_IT_IS)
        return bare
    if any(end.isspace() for end in ends):
        found["whitespace"] = Problem("whitespace", "there is a space around it", _AS_IT_IS)
        return text.strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and not _is_command(text):
        found["quoted"] = Problem("quoted", "there are quotes around it, which are part of the value", _AS_IT_IS)
        return text[1:-1]
    if strict and any(end in _QUOTE_MARKS for end in ends) and not _is_command(text):
        found["quoted"] = Problem("quoted", "there is a quote at its end, which is part of the value", _AS_IT_IS)
        return text.strip(_QUOTE_MARKS)
    if strict and text[-1] in ",;":
        found["punctuation"] = Problem("punctuation", "there is a comma or semicolon after it", _AS_IT_IS)
        return text[:-1]
    return _peel_prefix(variable, text, found)


def _is_command(text: str) -> bool:
    """Whether the backticks around ``text`` are a shell's, not a quote's."""
    return text.startswith("`") and unresolved(text, inside=False) is not None


def _peel_prefix(variable: Variable, text: str, found: dict[str, Problem]) -> str:
    name = re.escape(variable.name)
    line = re.match(rf"(?:export\s+)?{name}\s*[=:]\s*", text)
    if line:
        found["assignment"] = Problem("assignment", "the variable's name is in front of it", _AS_IT_IS)
        return text[line.end() :]
    header = re.match(
        r"(?:(?:authorization|apikey|x-api-key)\s*:\s*)?(?:bearer|basic)\s+|(?:authorization|apikey)\s*:\s*", text, re.I
    )
    if header and variable.kind not in ("text", "pattern"):
        found["prefixed"] = Problem("prefixed", "a word of an HTTP header is in front of it", _AS_IT_IS)
        return text[header.end() :]
    return text


def _join(text: str, found: dict[str, Problem]) -> str:
    """A key that was broken over lines, or has invisible characters inside, in one piece."""
    if re.search(r"[\r\n]", text):
        found["line_break"] = Problem("line_break", "there is a line end in it", "Put the key on one line.")
    elif re.search(r"\s", text):
        found["whitespace"] = Problem("whitespace", "there is a space in it", "Put the key in without spaces.")
    if any(character in _INVISIBLE for character in text):
        found["hidden_character"] = Problem("hidden_character", "there is an invisible character in it", _AS_IT_IS)
    joined = "".join(character for character in text if not character.isspace() and character not in _INVISIBLE)
    # Words with spaces between them are a placeholder or a sentence, not a broken key.
    if " " in text and not re.match(r"ey|sb_", joined):
        found.pop("whitespace", None)
        return text
    return joined


def _is_pem(text: str) -> bool:
    return text.lstrip().startswith("-----BEGIN ")


def validate_text(variable: Variable, text: str, now: float) -> list[Problem]:
    """What is wrong with ``text`` as a value of this variable, by itself."""
    if text in variable.choices:
        return []
    # A text for people may hold a template on purpose; if it is nothing else, it was forgotten.
    free = variable.kind == "text" and not variable.secret
    for rule, reason in (
        ("encrypted", encrypted(text)),
        ("unresolved", unresolved(text, inside=not free)),
        ("placeholder", obvious(text)),
    ):
        if reason:
            fix = (
                "Was the vault opened for it? Put the plain value in"
                if rule == "encrypted"
                else "Put the value itself in"
            )
            return [Problem(rule, reason, f"{fix}.{source_hint(variable)}")]
    if text == variable.name:
        return [Problem("placeholder", "it is the variable's own name", copy_again(variable))]
    if variable.secret and is_sample(text):
        return [
            Problem(
                "sample",
                "it is the example that the vendor prints in its documentation: everybody has it",
                "Make one of your own.",
            )
        ]
    if variable.kind in _STRICT_KINDS and variable.kind != "enum":
        problem = _stray_character(variable, text)
        if problem:
            return [problem]
    return _VALIDATORS[variable.kind](variable, text, now)


def _stray_character(variable: Variable, text: str) -> Problem | None:
    """A character beyond ASCII in a format that has none: a letter that only looks right, a word processor's dash."""
    for position, character in enumerate(text, 1):
        if character in _INVISIBLE:
            return Problem(
                "hidden_character", f"there is an invisible character at position {position}", copy_again(variable)
            )
        if ord(character) > 0x7F and not _wordy(variable, text):
            what = (
                "a letter that only looks right"
                if unicodedata.category(character)[0] == "L"
                else "a character of another alphabet"
            )
            return Problem("bad_character", f"there is {what} at position {position}", copy_again(variable))
    return None


def _wordy(variable: Variable, text: str) -> bool:
    """Whether a placeholder rule says it better, or the kind allows other alphabets (host names, passwords)."""
    return variable.kind in ("url", "email", *SERVER_KINDS) or placeholder(text, own_words(variable)) is not None


def _placeholder_problem(variable: Variable, text: str) -> Problem | None:
    reason = placeholder(text, own_words(variable))
    if reason:
        return Problem("placeholder", reason, f"Put the real value in {place(variable)}.{source_hint(variable)}")
    return None


def _validate_key(variable: Variable, text: str, now: float) -> list[Problem]:
    key, problems = supabase_keys.read_key(text, now)
    wanted = "service" if variable.kind == "supabase_service_key" else "anon"
    if key is None and not problems:
        problem = _placeholder_problem(variable, text)
        return [problem or Problem("wrong_kind", f"it is not a Supabase key: {_resembles(text)}", copy_again(variable))]
    if key is not None and key.role != wanted:
        return [_wrong_role(variable, key), *problems]
    return [problem._replace(fix=f"{problem.fix}{source_hint(variable)}") for problem in problems]


def _wrong_role(variable: Variable, key: Key) -> Problem:
    if variable.kind == "supabase_anon_key" and key.role == "service":
        reason = "it is the service key, which may do everything, in the place of the public one"
    elif key.role == "anon":
        reason = "it is the public (anon) key in the place of the service key"
    else:
        reason = "it is a key for some other role"
    return Problem("wrong_kind", reason, copy_again(variable))


def _resembles(text: str) -> str:
    if "://" in text:
        return "it is an address"
    if re.fullmatch(r"[0-9a-fA-F-]+", text):
        return "it is a number or an id"
    return "such a key begins with sb_publishable_, sb_secret_ or eyJ"


def _validate_supabase_url(variable: Variable, text: str, now: float) -> list[Problem]:
    if re.match(r"sb[a-z]?_|eyJ", text):
        return [Problem("wrong_kind", "it is a key, not an address", copy_again(variable))]
    problems = supabase_keys.read_address(text)[1]
    return _placeholder_first(variable, text, problems) if problems else _reserved_host(variable, text)


def _placeholder_first(variable: Variable, text: str, problems: list[Problem]) -> list[Problem]:
    bare = re.sub(r"^[a-z]+://", "", text)
    problem = _placeholder_problem(variable, bare)
    return [problem] if problem and problems[0].rule == "bad_url" else problems


def _reserved_host(variable: Variable, text: str) -> list[Problem]:
    """Hosts that RFC 2606 keeps for examples, and those made of placeholder words."""
    parts = supabase_keys.split_url(text)
    host = (parts.hostname or "") if parts else ""
    example_host = re.search(r"(?:^|\.)(?:example\.(?:com|net|org)|example|invalid)$", host)
    words = re.match(
        r"your[-_.]|(?:.*[-.])?(?:your[-_]?(?:domain|host|app|site|server|company)|mydomain)\b"
        r"|(?:domain|host|site)\.(?:com|tld)$|xxx+[.-]|[^.]*placeholder|changeme",
        host,
    )
    if example_host or words:
        return [Problem("placeholder", "its host name is one that documentation uses", copy_again(variable))]
    return []


def _validate_url(variable: Variable, text: str, now: float) -> list[Problem]:
    parts = supabase_keys.split_url(text)
    if _has_named_gap(variable, text):
        return [Problem("placeholder", "a part of it is still to be filled in", copy_again(variable))]
    if parts is None or "://" not in text or re.search(r"\s", text):
        problem = _placeholder_problem(variable, text)
        return [
            problem or Problem("bad_url", "it is not an address with scheme and host", "Write it as https://host/path.")
        ]
    if parts.password and not variable.secret:
        return [
            Problem(
                "exposed",
                "it holds a password, and the table does not call this variable secret",
                "Say `secret: true` in its entry.",
            )
        ]
    return _reserved_host(variable, text)


def _has_named_gap(variable: Variable, text: str) -> bool:
    """``<name>`` anywhere, ``[name]`` or ``{name}`` in the host; in a secret address also ``your-…`` and ``xxxx``."""
    host = text.partition("://")[2].partition("/")[0]
    if re.search(r"<[A-Za-z][A-Za-z _-]*>", text) or re.search(r"[\[{][A-Za-z][A-Za-z _-]*[\]}]", host):
        return True
    gap = r"(?:^|[/=:.?&-])(?:your[-_]|x{4,}|change[-_]?me|replace[-_]?me)"
    return variable.secret and re.search(gap, text, re.I) is not None


def _validate_postgres_dsn(variable: Variable, text: str, now: float) -> list[Problem]:
    if re.search(r"(?:^|\s)(?:host|hostaddr|dbname|service)\s*=", text) and "://" not in text:
        return []  # libpq's keyword form; a local one may hold next to nothing
    bare = text[len("jdbc:") :] if text.startswith("jdbc:") else text
    return _validate_server_address(
        variable, bare, r"postgres(?:ql)?(?:\+[a-z0-9_]+)?", "postgresql://user:password@host:5432/db"
    )


def _validate_redis_url(variable: Variable, text: str, now: float) -> list[Problem]:
    if re.fullmatch(r"(?:redis\+)?(?:unix|socket)://\S+", text):
        return []
    return _validate_server_address(
        variable, text, r"(?:rediss?|valkeys?)(?:\+[a-z]+)?", "redis://:password@host:6379/0"
    )


def _validate_mysql_dsn(variable: Variable, text: str, now: float) -> list[Problem]:
    bare = text[len("jdbc:") :] if text.startswith("jdbc:") else text
    return _validate_server_address(
        variable, bare, r"(?:mysql2?|mysqlx|mariadb)(?:\+[a-z0-9_]+)?", "mysql://user:password@host:3306/db"
    )


def _validate_mongodb_dsn(variable: Variable, text: str, now: float) -> list[Problem]:
    return _validate_server_address(variable, text, r"mongodb(?:\+srv)?", "mongodb://user:password@host:27017/db")


def _validate_amqp_dsn(variable: Variable, text: str, now: float) -> list[Problem]:
    return _validate_server_address(variable, text, r"amqps?", "amqp://user:password@host:5672/vhost")


def _validate_smtp_dsn(variable: Variable, text: str, now: float) -> list[Problem]:
    return _validate_server_address(variable, text, r"smtps?(?:\+[a-z]+)?", "smtp://user:password@host:587")


def _validate_server_address(variable: Variable, text: str, scheme: str, form: str) -> list[Problem]:
    """An address with a password in it: scheme, brackets, characters that should have been quoted, the password."""
    again = f"Write it as {form}.{source_hint(variable)}"
    if re.search(r"\[[A-Za-z][A-Za-z0-9 _-]*\]|<[A-Za-z][A-Za-z0-9 _-]*>", text):
        return [Problem("placeholder", "it holds a name in brackets, where the password should be", again)]
    begins = re.match(rf"{scheme}://", text)
    if not begins:
        problem = _placeholder_problem(variable, text)
        return [problem or Problem("wrong_kind", f"it does not begin like {form.split('//')[0]}//", again)]
    if re.search(r"\s", text):
        return [Problem("bad_url", "it has a space in it", "Write special characters of the password as %XX.")]
    # There may be several hosts; the first will do to look at the rest.
    parts = supabase_keys.split_url(re.sub(r"(//(?:[^@/?#]*@)?[^@/?#,]*),[^@/?#]*", r"\1", text, count=1))
    rest = text[begins.end() :]
    if parts is None:
        if rest.startswith("/") and "host=" in rest:
            return []  # a socket's directory is named in the query
        return [_unquoted_password(again, rest)]
    if "@" in (parts.path + parts.query + parts.fragment) or parts.fragment:
        return [_unquoted_password(again, rest)]
    password = parts.password or parse_qs(parts.query).get("password", [""])[0]
    return _password_problems(variable, parts.hostname or "", password, again)


def _unquoted_password(again: str, rest: str) -> Problem:
    if "@" not in rest:
        return Problem("bad_url", "its host or port is invalid", again)
    return Problem(
        "bad_url",
        "its password holds a character that means something in an address (@ / # ? :)",
        "Write that character as %XX, for instance @ as %40.",
    )


_DEFAULT_PASSWORDS = (
    *("postgres", "postgresql", "dbpassword", "dbpass", "mysql", "mariadb", "mongo", "mongodb", "rabbitmq", "guest"),
)


def _password_problems(variable: Variable, host: str, password: str, again: str) -> list[Problem]:
    if re.search(r"%(?![0-9a-fA-F]{2})", password):
        return [Problem("bad_url", "its password holds a bare percent sign", "Write % as %25.")]
    hosted = host.endswith((".supabase.co", ".supabase.com"))
    if not password:
        return [Problem("bad_url", "it has no password in it", again)] if hosted else []
    plain = unquote(password)
    reason = encrypted(plain) or unresolved(plain) or placeholder(plain, _DEFAULT_PASSWORDS)
    if reason:
        return [Problem("placeholder", f"its password is a placeholder: {reason}", again)]
    if is_sample(plain):
        return [Problem("sample", "its password is the example of some documentation", again)]
    return _reserved_host(variable, f"https://{host}")


def _validate_jwt_secret(variable: Variable, text: str, now: float) -> list[Problem]:
    what = _public_or_other(text)
    if what:
        return [Problem("wrong_kind", f"it is {what}, not a secret to sign with", copy_again(variable))]
    return _validate_secret(variable, text)


def _public_or_other(text: str) -> str | None:
    if re.fullmatch(r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){1,2}", text):
        return "a token"
    if re.match(r"sb_(?:publishable|secret)_", text):
        return "a Supabase key"
    if re.match(r"[a-z][a-z0-9+.-]*://", text):
        return "an address"
    if _is_pem(text):
        return "a key or certificate file"
    if text.startswith("{") and _is_json(text):
        return "a JSON document"
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _validate_format(variable: Variable, text: str, now: float) -> list[Problem]:
    return token_formats.validate_format(variable, text)


def _validate_private_key(variable: Variable, text: str, now: float) -> list[Problem]:
    return key_files.validate_private_key(variable, text)


def _validate_service_account(variable: Variable, text: str, now: float) -> list[Problem]:
    return key_files.validate_service_account(variable, text)


def _validate_django(variable: Variable, text: str, now: float) -> list[Problem]:
    """As Django's own check security.W009, and the prefix that startproject gives a key for development."""
    if text.startswith("django-insecure-"):
        reason = "it begins with django-insecure-: startproject made it for development"
        return [Problem("placeholder", reason, f"Make one of your own.{source_hint(variable)}")]
    return _validate_secret(variable, text)


def _validate_token(variable: Variable, text: str, now: float) -> list[Problem]:
    if _is_pem(text):
        # On one line, its line ends are written as \n: that is how most frameworks expect it in an env.
        whole = re.search(r"-----END [A-Z0-9 ]+-----\s*$", text.replace("\\r", "").replace("\\n", "\n"))
        return [] if whole else [Problem("truncated", "its -----END----- line is missing", copy_again(variable))]
    if text.startswith("{") and _is_json(text):
        return []  # a service account's file
    if re.search(r"[\r\n]", text):
        return [
            Problem(
                "line_break",
                "there is a line end in it",
                "Put it on one line; a secret of several lines has kind text and `secret: true`.",
            )
        ]
    return _validate_secret(variable, text)


def _validate_text_kind(variable: Variable, text: str, now: float) -> list[Problem]:
    if variable.secret:
        return _validate_secret(variable, text)
    return _length_problems(variable, text)


def _validate_secret(variable: Variable, text: str) -> list[Problem]:
    """A value that must be random: what is inside, words and shapes, length, entropy."""
    hidden = next((at for at, sign in enumerate(text, 1) if sign in _INVISIBLE and not _joins_signs(text, at - 1)), 0)
    if hidden:
        return [
            Problem("hidden_character", f"there is an invisible character at position {hidden}", copy_again(variable))
        ]
    problem = _placeholder_problem(variable, text)
    if problem:
        return [problem]
    short = _length_problems(variable, text)
    if short:
        return short
    reason = low_entropy(text)
    return [Problem("low_entropy", reason, "Make a random one: openssl rand -hex 32.")] if reason else []


def _joins_signs(text: str, at: int) -> bool:
    """A zero-width joiner between two signs beyond ASCII makes an emoji or a letter of some scripts."""
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    return text[at] in "\u200c\u200d" and len(around) > 1 and not around.isascii() and min(around) > "\u007f"


def _length_problems(variable: Variable, text: str) -> list[Problem]:
    wanted = _MIN_LENGTH[variable.kind] if variable.min_length is None else variable.min_length
    if len(text) >= wanted:
        return []
    fix = "Make a longer one: openssl rand -hex 32." if variable.secret else copy_again(variable)
    return [Problem("too_short", f"it has {len(text)} of at least {wanted} characters", fix)]


def _validate_integer(variable: Variable, text: str, now: float) -> list[Problem]:
    port = variable.kind == "port"
    what = "a port" if port else "a whole number"
    # No leading zeros or plus signs: readers differ on them. An app does not read a number of more than 20 digits.
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}" if port else r"0|-?[1-9][0-9]{0,19}", text):
        return [Problem("not_a_number", f"it is not {what}", "Write digits only, as in 8000.")]
    lowest, highest = variable.min, variable.max
    if port:
        lowest = 1 if lowest is None else lowest
        highest = HIGHEST_PORT if highest is None else highest
    if (lowest is not None and int(text) < lowest) or (highest is not None and int(text) > highest):
        limits = " ".join(f"{word} {limit}" for word, limit in (("from", lowest), ("to", highest)) if limit is not None)
        return [Problem("out_of_range", f"{what} here goes {limits}", "Choose one in that range.")]
    return []


def _validate_enum(variable: Variable, text: str, now: float) -> list[Problem]:
    choices = variable.choices
    if text in choices:
        return []
    reason = "it is not one of the choices"
    if text.lower() in [choice.lower() for choice in choices]:
        reason += ", but one of them in other letters: small and capital ones differ"
    return [Problem("not_a_choice", reason, f"Write one of: {', '.join(choices)}.")]


def _validate_boolean(variable: Variable, text: str, now: float) -> list[Problem]:
    if text.lower() in _BOOLEANS:
        return []
    return [Problem("not_a_choice", "it is neither true nor false", "Write true or false, in quotes.")]


def _validate_pattern(variable: Variable, text: str, now: float) -> list[Problem]:
    if variable.secret:
        problem = _placeholder_problem(variable, text)
        if problem:
            return [problem]
    if re.fullmatch(variable.pattern, text):
        return []
    return [Problem("no_match", f"it does not match {variable.pattern}", copy_again(variable))]


def _validate_email(variable: Variable, text: str, now: float) -> list[Problem]:
    if not re.fullmatch(r"[^\s@<>\"(),:;\\]+@[^\s@.<>]+(?:\.[^\s@.<>]+)*", text):
        problem = None if "@" in text else _placeholder_problem(variable, text)
        return [problem or Problem("bad_email", "it is not an e-mail address", "Write it as name@host.")]
    if re.match(r"(?:your|you|change|replace|insert)[-_.]?[a-z_-]*@", text.lower()):
        return [Problem("placeholder", "the part before the @ is a placeholder", copy_again(variable))]
    return []


_VALIDATORS: dict[str, Callable[[Variable, str, float], list[Problem]]] = {
    "supabase_url": _validate_supabase_url,
    "supabase_anon_key": _validate_key,
    "supabase_service_key": _validate_key,
    "jwt_secret": _validate_jwt_secret,
    "port": _validate_integer,
    "url": _validate_url,
    "postgres_dsn": _validate_postgres_dsn,
    "redis_url": _validate_redis_url,
    "token": _validate_token,
    "enum": _validate_enum,
    "integer": _validate_integer,
    "pattern": _validate_pattern,
    "text": _validate_text_kind,
    "email": _validate_email,
    "boolean": _validate_boolean,
    "mysql_dsn": _validate_mysql_dsn,
    "mongodb_dsn": _validate_mongodb_dsn,
    "amqp_dsn": _validate_amqp_dsn,
    "smtp_dsn": _validate_smtp_dsn,
    "google_service_account": _validate_service_account,
    "private_key": _validate_private_key,
    "certificate": key_files.validate_certificate,
    "django_secret_key": _validate_django,
    "rails_secret_key_base": _validate_jwt_secret,
    **dict.fromkeys(token_formats.FORMATS, _validate_format),
}
