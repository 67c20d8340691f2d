# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Parse `selfheal_checks`: a list of HTTP checks as people write it → checks to send, or an error with its fix.

Each check is one request with expectations; checks hand values on by name (log in, then read data). The keys are
described in the documentation of the module `health_probe`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.check import Capture, Check, Expectation, Form
from .web import CONTROL, address

__all__ = ["Capture", "Check", "CheckError", "Expectation", "Form", "parse_checks"]

PROVES = ("health", "api", "frontend")
# `$${` is a literal `${`; group 1 is the name, possibly a bad one, possibly without its brace at the end.
REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
# One step of a path like $.items[0]['a key']: a name, an index, or a quoted name.
STEP = re.compile(r"""\.([^.\[\]'"\s]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: method and header names
_KEYS = (
    *("name", "url", "method", "headers", "json", "form", "body", "timeout", "status", "json_path", "contains"),
    *("header", "max_latency", "tls_days_left", "capture", "proves", "verify_tls"),
)
_BODIES = ("json", "form", "body")
_USERS = "url, headers, json, form or body"
SOURCES = ("json", "cookie", "header", "body")
DEFAULT_TIMEOUT, _LONGEST_TIMEOUT = 5.0, 3600.0


class CheckError(ValueError):
    """A check is written wrongly: which check (its name or number), which of its keys, why, and what to write."""

    def __init__(self, name: str, key: str, reason: str, fix: str) -> None:
        where = f"check {name}: " if name else ""
        super().__init__(f"selfheal_checks: {where}`{key}` {reason}. Fix: {fix}")
        self.name, self.key, self.reason, self.fix = name, key, reason, fix


def parse_checks(
    checks: object,
    known: Iterable[str] | None = None,
    may_be_empty: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[Check]:
    """Parse a list of checks as people write them.

    :arg known: the names of the env's variables, when they are known: a check that uses another name is an error then.
    :arg may_be_empty: accept no check at all, for an app that only its services' states describe.
    :arg timeout: of a check that has none of its own (s).
    :raises CheckError: for the first thing that is wrong, naming the check, its key and the fix.
    """
    if not isinstance(checks, (list, tuple)):
        raise CheckError("", "selfheal_checks", f"is {kind(checks)}, not a list", "write a list of {name: …, url: …}")
    if not checks and not may_be_empty:
        fix = "add a check, e.g. {name: health, url: 'http://127.0.0.1:8000/health', proves: health}"
        raise CheckError("", "selfheal_checks", "is empty, so nothing would be checked", fix)
    parsed = [_parse(item, number, timeout) for number, item in enumerate(checks, start=1)]
    _require_unique(parsed)
    _require_defined(parsed, known)
    return parsed


def _require_unique(checks: Sequence[Check]) -> None:
    """Raise CheckError when two checks have one name."""
    seen: set[str] = set()
    for check in checks:
        if check.name in seen:
            raise CheckError(f"`{check.name}`", "name", "is used twice", "give each check a name of its own")
        seen.add(check.name)


def _require_defined(checks: Sequence[Check], known: Iterable[str] | None) -> None:
    """Raise CheckError when a check uses a name that neither an earlier check captures nor, if known, the env has."""
    captured_by: dict[str, int] = {}
    for number, check in enumerate(checks):
        for capture in check.capture:
            captured_by.setdefault(capture.name, number)
    names = None if known is None else {*known, *captured_by}
    for number, check in enumerate(checks):
        for name in sorted(check.needs):
            if captured_by.get(name, -1) >= number:
                source = checks[captured_by[name]].name
                reason = f"uses ${{{name}}}, which is captured later or here, by `{source}`"
                raise CheckError(f"`{check.name}`", _USERS, reason, "put the check that captures it before this one")
            if names is not None and name not in names:
                fix = f"add {name} to the env's variables, capture it in an earlier check, or write $${{ for ${{"
                raise CheckError(f"`{check.name}`", _USERS, f"uses ${{{name}}}, which nothing defines", fix)


def _parse(item: object, number: int, timeout: float) -> Check:
    if not isinstance(item, Mapping):
        raise CheckError(str(number), "selfheal_checks", f"holds {kind(item)} here", "write {name: …, url: …}")
    name = item.get("name")
    if not isinstance(name, str) or not name.strip() or CONTROL.search(name):
        raise CheckError(str(number), "name", "is missing or not a text", "give it a short name of its own, e.g. login")
    read = _Reader(name, item)
    for key in read.item:
        if key not in _KEYS:
            raise read.wrong(str(key), "is not a key of a check", f"use one of {', '.join(_KEYS)}")
    proves = read.text("proves", "api", f"write one of {', '.join(PROVES)}")
    if proves not in PROVES:
        raise read.wrong("proves", f"is {proves!r}", f"write one of {', '.join(PROVES)}")
    url, headers, body = read.url(), read.headers(), read.body()
    needs = read.names("url", url) | read.names("headers", [value for _name, value in headers])
    needs |= read.names(read.body_key(), body)
    return Check(
        name=name,
        url=url,
        method=read.method(),
        headers=headers,
        body=body,
        timeout=read.timeout(timeout),
        status=read.status(),
        json_path=read.json_path(),
        contains=read.text("contains", "", "write the text that the body must contain"),
        header=read.header(),
        max_latency=read.number("max_latency", math.inf, "write seconds, e.g. 0.5"),
        tls_days_left=read.tls_days_left(url),
        capture=read.capture(),
        proves=proves,
        verify_tls=read.verify_tls(),
        needs=frozenset(needs),
    )


class _Reader:
    """Reads the keys of one check; every error names the check, the key and the fix, and never a value."""

    def __init__(self, name: str, item: Mapping[Any, Any]) -> None:
        self.name = name
        # A key that is null is a key that is not there: Ansible fills in nulls.
        self.item = {key: value for key, value in item.items() if value is not None}

    def wrong(self, key: str, reason: str, fix: str) -> CheckError:
        """The error to raise about `key`."""
        return CheckError(f"`{self.name}`", key, reason, fix)

    def text(self, key: str, default: str, fix: str) -> str:
        """A text."""
        value = self.item.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, f"is {kind(value)}, not a text", fix)
        return value

    def number(self, key: str, default: float, fix: str) -> float:
        """A number that is not negative; texts that hold one are accepted too, templates make them."""
        return self.as_number(key, self.item.get(key, default), fix)

    def as_number(self, key: str, value: Any, fix: str) -> float:
        """`value` as a number that is not negative."""
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            raise self.wrong(key, f"is {kind(value)}, not a number", fix) from None
        if math.isnan(number) or number < 0:
            raise self.wrong(key, "is not a number above 0", fix)
        return number

    def mapping(self, key: str, fix: str) -> dict[Any, Any]:
        """A mapping, by default an empty one."""
        value = self.item.get(key, {})
        if not isinstance(value, Mapping):
            raise self.wrong(key, f"is {kind(value)}, not a mapping", fix)
        return dict(value)

    def names(self, key: str, value: Any) -> set[str]:
        """The names that the texts within `value` use, as ${NAME}."""
        names = set()
        for text in _texts(value):
            for found in REFERENCE.finditer(text):
                if found.group(1) is None:
                    continue
                if not found.group().endswith("}") or not _NAME.fullmatch(found.group(1)):
                    shown = found.group()[:30]
                    raise self.wrong(
                        key, f"holds {shown!r}, which names no value", "write ${NAME}, or $${ for a literal ${"
                    )
                names.add(found.group(1))
        return names

    def url(self) -> str:
        """The URL, as far as it can be judged before the names have values."""
        fix = "write e.g. http://127.0.0.1:8000/health or ${API_URL}/status"
        if "url" not in self.item:
            raise self.wrong("url", "is missing", fix)
        url = self.text("url", "", fix).strip()
        trial = REFERENCE.sub("1", url)  # "1" is good as (a part of) a host, a port and a path
        if "@" in trial.partition("//")[2].partition("/")[0]:
            raise self.wrong("url", "holds a user name or password", "send an Authorization header instead")
        if not url.startswith("${") and address(trial) is None:
            raise self.wrong("url", "is not an http(s) URL", fix)
        if "#" in url:
            raise self.wrong(
                "url",
                "has a `#`, and a client never sends the part after it",
                "remove that part, or write %23 for the character",
            )
        return url

    def method(self) -> str:
        """The HTTP method, in capitals."""
        method = self.text("method", "GET", "write e.g. POST").upper()
        if not _TOKEN.fullmatch(method):
            raise self.wrong("method", "is not an HTTP method", "write e.g. GET or POST")
        return method

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers to send, as pairs."""
        headers = []
        for name, value in self.mapping("headers", "write {Name: value}").items():
            headers.append((self.header_name("headers", name), self.header_value("headers", name, value)))
        return tuple(headers)

    def header_name(self, key: str, name: Any) -> str:
        """`name`, when it can name a header."""
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise self.wrong(key, f"holds {name!r}, which is not a header name", "use letters, digits and -")
        return name

    def header_value(self, key: str, name: str, value: Any) -> str:
        """`value` as the text of a header."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self.wrong(key, f"gives `{name}` {kind(value)}, not a text", "write {Name: value}")
        if CONTROL.search(str(value)):
            raise self.wrong(key, f"gives `{name}` a line break or control character", "write the value in one line")
        return str(value)

    def body(self) -> Any:
        """What is sent: None, a text, a form, or a 1-tuple of what is sent as JSON."""
        given = [key for key in _BODIES if key in self.item]
        if len(given) > 1:
            raise self.wrong(given[-1], f"is given in addition to `{given[0]}`", "keep one of the two")
        if "form" in self.item:
            return self.form()
        if "json" in self.item:
            try:
                json.dumps(self.item["json"], allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise self.wrong(
                    "json", "cannot be written as JSON", "use texts, numbers, lists and mappings"
                ) from None
            return (self.item["json"],)
        return self.text("body", "", "write the text to send") if "body" in self.item else None

    def body_key(self) -> str:
        """The key that says what is sent."""
        return next((key for key in _BODIES if key in self.item), "body")

    def form(self) -> Form:
        """The fields of a form, as texts."""
        fields = []
        for name, value in self.mapping("form", "write {field: value}").items():
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise self.wrong("form", f"gives `{name}` {kind(value)}, not a text", "write {field: value}")
            fields.append((str(name), str(value)))
        return Form(tuple(fields))

    def timeout(self, default: float) -> float:
        """Seconds for the whole request."""
        fix = "write the seconds that the whole request may take, e.g. 5"
        timeout = self.number("timeout", default, fix)
        if not 0 < timeout <= _LONGEST_TIMEOUT:
            raise self.wrong("timeout", f"is not between 0 and {_LONGEST_TIMEOUT:.0f} s", fix)
        return timeout

    def status(self) -> tuple[int, ...]:
        """The statuses that are expected, one at least."""
        fix = "write e.g. 200 or [200, 204]"
        given = self.item.get("status", 200)
        numbers = [
            self.as_number("status", item, fix) for item in (given if isinstance(given, (list, tuple)) else [given])
        ]
        if not numbers or any(not 100 <= number <= 599 or number != int(number) for number in numbers):
            raise self.wrong("status", "is not an HTTP status", fix)
        return tuple(int(number) for number in numbers)

    def path(self, key: str, path: Any) -> str:
        """`path`, when it is one."""
        if not isinstance(path, str) or not path.startswith("$") or STEP.sub("", path[1:]):
            raise self.wrong(key, f"holds {path!r}, which is not a path", "write e.g. $.items[0].id or $['a key']")
        return path

    def expectation(self, key: str, label: str, value: Any) -> Expectation:
        """A value to be equal to, or a mapping that says how to compare."""
        if not isinstance(value, Mapping):
            return Expectation("equals", value)
        fix = "write a value, {equals: value}, {matches: 'regular expression'} or {exists: true}"
        if len(value) != 1 or next(iter(value)) not in ("equals", "matches", "exists"):
            raise self.wrong(key, f"expects of `{label}` none of equals, matches, exists", fix)
        how, want = next(iter(value.items()))
        if how == "exists" and not isinstance(want, bool):
            raise self.wrong(key, f"gives `exists` of `{label}` {kind(want)}, not true or false", fix)
        if how == "matches":
            try:
                re.compile(want)
            except (re.error, TypeError, RecursionError):
                raise self.wrong(key, f"gives `matches` of `{label}` an invalid regular expression", fix) from None
        return Expectation(how, want)

    def json_path(self) -> tuple[tuple[str, Expectation], ...]:
        """What is expected of the JSON body, as (path, expectation)."""
        given = self.mapping("json_path", "write {'$.status': ok}")
        return tuple(
            (self.path("json_path", path), self.expectation("json_path", path, want)) for path, want in given.items()
        )

    def header(self) -> tuple[tuple[str, Expectation], ...]:
        """What is expected of the answer's headers, as (name, expectation)."""
        expected = []
        for name, want in self.mapping("header", "write {Content-Type: application/json}").items():
            how, value = self.expectation("header", self.header_name("header", name), want)
            text = self.header_value("header", name, value) if how == "equals" else value
            expected.append((name, Expectation(how, text)))
        return tuple(expected)

    def capture(self) -> tuple[Capture, ...]:
        """What is taken from the answer."""
        fix = "write {token: $.access_token} or {session: {cookie: sid}}; a name is letters, digits and _"
        captures = []
        for name, given in self.mapping("capture", fix).items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise self.wrong("capture", f"holds {name!r}, which is not a name", fix)
            captures.append(self.captured(name, given if isinstance(given, Mapping) else {"json": given}))
        return tuple(captures)

    def captured(self, name: str, given: Mapping[Any, Any]) -> Capture:
        """Where one value is taken from: {json|cookie|header|body: where}."""
        if len(given) != 1 or next(iter(given)) not in SOURCES:
            fix = 'write {cookie: NAME}, {header: NAME}, {body: \'name="csrf" value="([^"]+)"\'} or a path of JSON'
            raise self.wrong("capture", f"takes `{name}` from none of {', '.join(SOURCES)}", fix)
        source, where = next(iter(given.items()))
        if source == "json":
            return Capture(name, source, self.path("capture", where))
        if source == "body":
            return Capture(name, source, self.pattern(name, where))
        # RFC 6265: a cookie's name is a token, as a header's is.
        return Capture(name, source, self.header_name("capture", where))

    def pattern(self, name: str, where: Any) -> str:
        """A regular expression with one group."""
        try:
            groups = re.compile(where).groups
        except (re.error, TypeError, RecursionError):
            groups = 0
        if groups != 1:
            fix = 'write one with one group, e.g. \'name="csrf" value="([^"]+)"\''
            raise self.wrong(
                "capture", f"takes `{name}` from something else than a regular expression with one group", fix
            )
        return str(where)

    def tls_days_left(self, url: str) -> int | None:
        """The days that the certificate must be valid for, None when the check does not say."""
        if "tls_days_left" not in self.item:
            return None
        if url.startswith("http:"):
            fix = "use an https:// URL, or leave it out"
            raise self.wrong("tls_days_left", "is asked of an http:// URL, which has no certificate", fix)
        days = self.number("tls_days_left", 0, "write a number of days, e.g. 14")
        if math.isinf(days):
            raise self.wrong("tls_days_left", "is infinite", "write a number of days, e.g. 14")
        return math.ceil(days)

    def verify_tls(self) -> bool:
        """Whether the certificate must be one that this host trusts."""
        verify = self.item.get("verify_tls", True)
        if not isinstance(verify, bool):
            fix = "write true, or false for a self-signed certificate"
            raise self.wrong("verify_tls", f"is {kind(verify)}, not true or false", fix)
        return verify


def _texts(value: object) -> Iterator[str]:
    """Every text within a value, not counting the keys of mappings and the fields of a form."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Form):
        yield from (text for _field, text in value.fields)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def kind(value: object) -> str:
    """What a value is, for an error message: never its content, which may be a secret."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "nothing" if value is None else f"a {type(value).__name__}"
