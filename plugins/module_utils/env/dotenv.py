# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write and read ``.env`` files as Compose v2 does.

Written: single quotes where Compose, python-dotenv, node's dotenv and a shell all read them alike; double quotes, which
can hold every value for Compose, where they would not. Read: the rules of Compose's own parser (compose-go, package
``dotenv``), so that what we validate is what the container gets.

No error holds a value, nor a name from the file: a secret that was broken over two lines makes one look like
the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

HEADER = "# Written by christmas.selfheal from the vault. A change made here is overwritten: make it there.\n"

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Between single quotes, these are read differently by one parser or another: the quote and the backslash by Compose
# itself, `${` by python-dotenv, CR and line ends by shells and editors.
_NOT_IN_SINGLE_QUOTES = re.compile(r"['\\\r\n]|\$\{")
_DOUBLE_QUOTED = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r"}

# What Compose skips inside a line, and everywhere (Go's unicode.IsSpace).
_LINE_SPACE = "\t\v\f\r \x85\xa0"
_SPACE = _LINE_SPACE + "\n\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(r'\\(?:([abcfnrtv$"\\])|0([0-9]{0,3}))')
_HIGHEST_OCTAL = 0o377

_DOLLAR = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|(\{))")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+?])(.*))?", re.S)
_NOT_CLOSED = "a `${` is not closed, or holds no name; a literal one is written `$${`"


class DotenvError(Exception):
    """``line`` (from 1; 0: none) and ``reason``; never a value."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line, self.reason = line, reason


class Entry(NamedTuple):
    """One entry of a file: the line that it begins in, its name, and its value.

    The value is None when there is only the name, which Compose takes from its own environment.
    """

    line: int
    name: str
    value: str | None


class Reference(NamedTuple):
    """A variable that a text names: `operator` is "", or one of `:-`, `-`, `:?`, `?`, `:+`, `+`; `other` follows it."""

    name: str
    operator: str
    other: str


class _Scope(NamedTuple):
    """What names have values, and whether `$NAME` without a fallback may name another one."""

    values: Mapping[str, str]
    other: str | None = None
    strict: bool = False

    def get(self, name: str) -> str | None:
        return self.values.get(name, self.other)

    def plain(self, name: str, line: int) -> str:
        value = self.get(name)
        if value is None and self.strict:
            raise DotenvError(
                line,
                "it uses a variable that no line above sets, so Compose puts nothing in its place; "
                "a literal `$` needs single quotes around the value",
            )
        return value or ""


def encode(values: Mapping[str, str]) -> str:
    """The text of an ``.env`` that gives a container exactly ``values``, one line each, in the mapping's order.

    Raises DotenvError for what no environment can hold: an invalid name, NUL or half a surrogate pair in a value.
    """
    lines = [HEADER]
    for name, value in values.items():
        if not NAME.fullmatch(name):
            raise DotenvError(0, "a name is not made of letters, digits and underscores, or begins with a digit")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise DotenvError(
                0, f"{name}: its value has a NUL byte or invalid UTF-8, which no environment variable can hold"
            )
        lines.append(f"{name}={_quote(value)}\n")
    return "".join(lines)


def parse(text: str) -> dict[str, str]:
    """Name → value as a container would get it from ``env_file``; of a name that is set twice, the last one.

    ``$NAME`` is resolved against the lines above, or is empty, as in a Compose that is started with a clean
    environment. A name without ``=`` is left out, for the same reason. Raises DotenvError.
    """
    found: dict[str, str] = {}
    for entry in _entries(text, _Scope(found)):
        if entry.value is not None:
            found[entry.name] = entry.value
    return found


def entries(text: str, known: Mapping[str, str] | None = None) -> list[Entry]:
    """The entries of a file in order, with the values that ``parse`` gives; ``known`` has values from elsewhere.

    Raises DotenvError, also for ``$NAME`` without a fallback when no line above sets it: an empty text is not intended.
    """
    values: dict[str, str] = dict(known or {})
    found = []
    for entry in _entries(text, _Scope(values, strict=True)):
        found.append(entry)
        if entry.value is not None:
            values[entry.name] = entry.value
    return found


def references(text: str) -> list[Reference]:
    """The variables that a text of a compose file names, in order, those inside a fallback too. Raises DotenvError."""
    found: list[Reference] = []
    position = 0
    while match := _DOLLAR.search(text, position):
        position = match.end()
        if match.group(2):
            found.append(Reference(match.group(2), "", ""))
        elif match.group(3):
            end = _closing(text, position)
            inner = _BRACED.fullmatch(text[position:end] if end else "")
            if inner is None:
                raise DotenvError(0, _NOT_CLOSED)
            name, operator, other = inner.groups()
            found += [Reference(name, operator or "", other or ""), *references(other or "")]
            position = (end or 0) + 1
    return found


def resolve(text: str, values: Mapping[str, str]) -> str:
    """A text of a compose file as Compose resolves it. Raises DotenvError, also for a required name without a value."""
    return _resolve(text, 0, _Scope(values))


def resolved(text: str, values: Mapping[str, str]) -> str:
    """The same; "" where Compose refuses the text."""
    try:
        return resolve(text, values)
    except DotenvError:
        return ""


def duplicates(text: str) -> dict[str, list[int]]:
    """Names that are set more than once → their line numbers (the last one is in force). Raises DotenvError."""
    lines: dict[str, list[int]] = {}
    for entry in _entries(text, _Scope({}, other="")):
        lines.setdefault(entry.name, []).append(entry.line)
    return {name: at for name, at in lines.items() if len(at) > 1}


def _quote(value: str) -> str:
    if _NOT_IN_SINGLE_QUOTES.search(value):
        return '"' + "".join(_DOUBLE_QUOTED.get(character, character) for character in value) + '"'
    return f"'{value}'"


def _entries(text: str, scope: _Scope) -> Iterator[Entry]:
    """The entries of the file in order; ``scope`` has the values of the names above."""
    text = text[1:] if text.startswith("\ufeff") else text
    position, line = 0, 1
    while True:
        begin, position = position, _skip(text, position)
        line += text.count("\n", begin, position)
        if position >= len(text):
            return
        if "\0" in text[position : position + 1]:
            raise DotenvError(line, "there is a NUL byte in the place of a name; the file is damaged")
        begin, (name, position, only_name) = position, _name(text, position, line)
        value = None
        if not only_name:
            value, position = _value(text, position, line, scope)
        yield Entry(line, name, value)
        line += text.count("\n", begin, position)


def _skip(text: str, position: int) -> int:
    """Where the next entry begins: behind space and comments."""
    while position < len(text):
        if text[position] in _SPACE:
            position += 1
        elif text[position] == "#":
            end = text.find("\n", position)
            position = len(text) if end == -1 else end
        else:
            break
    return position


def _name(text: str, position: int, line: int) -> tuple[str, int, bool]:
    """(name, where its value begins, whether there is only the name)."""
    export = re.compile(r"export[ \t\f\r]+").match(text, position)
    begin = position = export.end() if export else position
    if begin >= len(text):
        raise DotenvError(line, "a name is missing after `export`")
    while position < len(text) and text[position] not in "=:\n":
        character = text[position]
        if not (character.isalpha() or character.isnumeric() or character in "_.-[]" or character in _LINE_SPACE):
            raise DotenvError(line, f"a name holds {_shown(character)}; is a quote or `=` missing, here or above?")
        position += 1
    name = text[begin:position].rstrip(_SPACE)
    if any(character in _LINE_SPACE for character in name):
        raise DotenvError(line, "a name holds a space; is a quote or `=` missing, here or above?")
    only_name = position >= len(text) or text[position] == "\n"
    if not name and not only_name:
        raise DotenvError(line, "a name is missing before the `=`")
    position += 1
    while not only_name and position < len(text) and text[position] in _LINE_SPACE:
        position += 1
    return name, position, only_name


def _shown(character: str) -> str:
    """How an error names one character."""
    return f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"


def _value(text: str, position: int, line: int, scope: _Scope) -> tuple[str, int]:
    """(value, where the rest begins)."""
    if text[position : position + 1] in ("'", '"'):
        return _quoted(text, position, line, scope)
    end = text.find("\n", position)
    end = len(text) if end == -1 else end
    raw = text[position:end].partition(" #")[0].rstrip(_SPACE)
    return _resolve(raw, line, scope), end + 1


def _quoted(text: str, position: int, line: int, scope: _Scope) -> tuple[str, int]:
    quote = text[position]
    # The body runs to the first quote without a backslash before it; otherwise a backslash is itself.
    body = re.compile(rf"(?:\\.|[^\\{quote}])*", re.S).match(text, position + 1)
    end = body.end() if body else len(text)
    if text[end : end + 1] != quote:
        raise DotenvError(line, "a quote is opened here and never closed")
    raw = text[position + 1 : end].replace("\\" + quote, quote) if quote == "'" else text[position + 1 : end]
    if quote == '"':
        raw = _resolve(_ESCAPE.sub(_unescape, raw), line, scope)
    return raw, end + 1


def _unescape(found: re.Match[str]) -> str:
    letter, octal = found.groups()
    if letter == "$":
        return "$$"  # the resolver makes one of it
    if letter is not None:
        return _ESCAPES.get(letter, found.group())
    number = int(octal, 8) if re.fullmatch(r"[0-7]{3}", octal) else _HIGHEST_OCTAL + 1
    # Compose drops the zero of what it cannot read as an octal number.
    return chr(number) if number <= _HIGHEST_OCTAL else "\\" + octal


def _resolve(text: str, line: int, scope: _Scope) -> str:
    """``text`` with ``$NAME``, ``${NAME}``, ``${NAME:-default}`` … and ``$$`` resolved."""
    parts: list[str] = []
    position = 0
    while True:
        found = _DOLLAR.search(text, position)
        if found is None:
            return "".join([*parts, text[position:]])
        parts.append(text[position : found.start()])
        position = found.end()
        if found.group(1):
            parts.append("$")
        elif found.group(2):
            parts.append(scope.plain(found.group(2), line))
        else:
            end = _closing(text, position)
            parts.append(_braced(text[position:end] if end else "", line, scope))
            position = (end or 0) + 1


def _closing(text: str, position: int) -> int | None:
    """Where the brace that was opened just before ``position`` is closed, on the same line.

    Where braces do not match in number, Compose takes the last one.
    """
    depth, last = 1, None
    while position < len(text) and text[position] != "\n":
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        last = position if text[position] == "}" else last
        if depth == 0:
            break
        position += 1
    return last


def _braced(inner: str, line: int, scope: _Scope) -> str:
    found = _BRACED.fullmatch(inner)
    if found is None:
        raise DotenvError(line, _NOT_CLOSED)
    name, operator, other = found.groups()
    if operator is None:
        return scope.plain(name, line)
    value = scope.get(name)
    there = value is not None and (value != "" or not operator.startswith(":"))
    if operator.endswith("+"):
        return _resolve(other, line, scope) if there else value or ""
    if there:
        return value or ""
    if operator.endswith("?"):
        raise DotenvError(line, f"{name} is required here (`${{{name}?…}}`), and has no value")
    return _resolve(other, line, scope)
