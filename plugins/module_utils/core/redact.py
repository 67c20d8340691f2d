# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take secrets out of text that people will read: logs, evidence, reports, error messages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from .fingerprint import fingerprint

# Shorter values occur in ordinary words and numbers: replacing "8000" or "dev" would eat the text around them.
SHORTEST = 6
# A line of a value of several lines (a PEM key) is looked for by itself, because logs indent and cut; if this long.
SHORTEST_LINE = 16
# The part of a base64 text that does not depend on what is before and after the value must be this long.
SHORTEST_BASE64 = 8
# A part of a list, a DSN or `name:token` is looked for by itself, if it is this long and has letters and digits. The
# parts of a JWT that begin with `eyJ` are not secret, and other tokens have the same.
SHORTEST_PART = 16
_SEPARATOR = re.compile(r"[\s,;:@/.?&=]+")
_RANDOM = re.compile(r"(?!eyJ)(?:\D*[A-Za-z]\D*\d|\d+\W*[A-Za-z])")
# The password of `scheme://user:password@host`, known or not. It ends at the last @ before the path; one with a slash
# is found, too, where it does not begin as a port does. Of two alternatives the first looks no further than a slash,
# the second no further than its limit: the time is in proportion to the text. `user:password@` is an example.
_IN_URL = re.compile(r"""(://(?!user:password@)[^\s/:@"<>]*:)([^\s/"<>]+|(?!\d{1,5}[/?#])[^\s"<>]{1,256})(?=@)""")


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """Return ``text`` with every value of ``secrets`` (name → value) replaced by ``<NAME sha256:…>``.

    Also found: the value URL-quoted, JSON- and HTML-escaped, as Python, shell, dotenv and Compose write it, in base64
    or base64url at any of the three alignments (``Basic`` headers), each long line of a value of several lines, and
    each long part of a list, a DSN or a token with a prefix.
    Longer forms win over shorter ones. Values of fewer than 6 characters are skipped. A password in an address is
    hidden even when it is not among ``secrets``.
    """
    found = labels(secrets)
    pattern = compiled(found)
    return hide_passwords(pattern.sub(lambda match: found[match.group()], text) if pattern else text)


def hide_passwords(text: str) -> str:
    """Return ``text`` with the password of each ``scheme://user:password@host`` replaced by its fingerprint."""
    if "://" not in text:
        return text
    return _IN_URL.sub(lambda match: f"{match[1]}<{fingerprint(match[2])}>", text)


def labels(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return {a form that a value may be written in: what is shown instead}, of all values."""
    found: dict[str, str] = {}
    for name, value in secrets.items():
        if len(value) < SHORTEST:
            continue
        label = f"<{name} {fingerprint(value)}>"
        for form in _forms(value):
            found.setdefault(form, label)
    return found


def compiled(forms: Iterable[str]) -> re.Pattern[str] | None:
    """Return the pattern that finds any of these forms, the longest first; None for no form."""
    found = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(re.escape(form) for form in found)) if found else None


def _forms(value: str) -> Iterator[str]:
    """Every way in which ``value`` may be written in a text; the value itself first."""
    yield value
    raw = value.encode("utf-8", "surrogatepass")
    # The third as JavaScript's encodeURIComponent does it.
    for quoted in (quote(raw, safe=""), quote(raw), quote(raw, safe="!'()*"), quote_plus(raw)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found.group().lower(), quoted)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    # As html.escape does, whose module would hold a table of all of HTML's characters in the watcher's memory.
    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield escaped.replace('"', "&quot;").replace("'", "&#x27;")
    yield escaped
    yield value.replace("'", "'\\''")
    yield value.replace("'", "'\"'\"'")
    yield value.replace("$", "$$")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    yield escaped
    yield escaped.replace("$", "\\$")
    stripped = value.strip()
    if len(stripped) >= SHORTEST:
        yield stripped
    yield from (part for part in _SEPARATOR.split(value) if len(part) >= SHORTEST_PART and _RANDOM.match(part))
    yield from (core for core in _base64_cores(raw) if len(core) >= SHORTEST_BASE64)
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= SHORTEST_LINE)


def _base64_cores(raw: bytes) -> Iterator[str]:
    """The characters of base64(before + raw + after) that only ``raw`` decides, for each alignment of ``before``."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        # `before` bytes reach into 0, 2 or 3 characters; the last character that `raw` decides alone is cut down to.
        core = encoded[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        yield core
        yield core.translate(str.maketrans("+/", "-_"))
