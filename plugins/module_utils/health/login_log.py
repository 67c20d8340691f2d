# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a log says of logins that a database, a cache or a broker refused. Pure.

Two logs may say it: that of the service which was refused, in the words of its driver, and that of the server.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..docker.containers import seconds_since

# A service that is asked each second tries to log in about as often; one that has cured itself says no more of it.
LATELY_SECONDS = 30.0
_LONGEST = 120


class Words(NamedTuple):
    """How one kind of server refuses a login. `image`: how its images are called.

    `client` is what drivers write, `server` what it logs itself: of logins from another container only. A health check
    within its own container may be refused all the time, and means nothing. None for one that logs no refusals.
    """

    image: re.Pattern[str]
    client: re.Pattern[str]
    server: re.Pattern[str] | None


# In a log that is written as JSON, quotes are escaped.
_QUOTED = r'\\?"(?P<{}>[^"\\]+)'
_POSTGRES = (
    rf"password authentication failed for user {_QUOTED.format('user')}",
    rf'no pg_hba\.conf entry for [^"]*"[^"]*", user {_QUOTED.format("named")}',
)
WORDS = {
    # libpq (psycopg, ruby-pg), asyncpg, pgx, JDBC, node-pg; and PgBouncer, of the server and to its clients.
    "PostgreSQL": Words(
        re.compile(r"postg|timescale|pgvector"),
        re.compile(
            "|".join(
                (
                    *_POSTGRES,
                    # An ERROR of this text is a GRANT that failed; a login fails as FATAL.
                    rf"(?:FATAL:|\berror:|InvalidAuthorizationSpecificationError:)\s+role {_QUOTED.format('role')}"
                    r'\\?" does not exist',
                    r"\b28P01\b|SQLSTATE[\s\[(]+28000|code: '28000'",
                    r"no password supplied|client password must be a string",
                    r"(?<!closing because: )SASL authentication failed",
                )
            )
        ),
        re.compile("|".join(f"FATAL:\\s+{one}" for one in _POSTGRES)),
    ),
    "MySQL": Words(
        re.compile(r"mysql|mariadb|percona"),
        re.compile(r"Access denied for user '?(?P<user>[^'@\s]*)'?@|\bER_ACCESS_DENIED_ERROR\b"),
        re.compile(r"Access denied for user '(?P<user>[^']*)'@'(?!localhost'|127\.0\.0\.1'|::1')"),
    ),
    "Redis": Words(
        re.compile(r"redis|valkey|keydb|dragonfly"),
        re.compile(
            r"\bWRONGPASS\b|\bNOAUTH\b|invalid username-password pair|AuthenticationError: Authentication required"
            r"|AUTH <password> called without any password configured"
        ),
        None,
    ),
    "MongoDB": Words(
        re.compile(r"mongo"),
        re.compile(
            r"(?:MongoServerError|OperationFailure): Authentication failed|\(AuthenticationFailed\)"
            r"|codeName\W{1,6}AuthenticationFailed|MongoSecurityException"
        ),
        re.compile(
            r'"msg":"Authentication failed"(?!.*"remote":"127\.0\.0\.1:).*?"(?:user|principalName)":"(?P<user>[^"]+)"'
        ),
    ),
    "RabbitMQ": Words(
        re.compile(r"rabbit"),
        re.compile(r"ACCESS_REFUSED - Login was refused"),
        re.compile(r"login refused: user '(?P<user>[^']+)' - invalid credentials"),
    ),
}


class Refusal(NamedTuple):
    """The last refusal in a log: the `kind` of server, the `user` ("" for one that is not named), and the line.

    `times`: how many lines say so within LATELY_SECONDS.
    """

    kind: str
    user: str
    line: str
    times: int


def kind_of(image: str) -> str:
    """The kind of server that an image is of, by the image's name; "" for none."""
    name = image.rpartition("/")[2]
    return next((kind for kind, words in WORDS.items() if words.image.search(name)), "")


def as_client(log: str, now: float, before: float = 0.0) -> Refusal | None:
    """Return what the log of a service says of logins of its own; None for nothing.

    :arg log: lines that begin with their time, as the engine gives them, oldest first.
    :arg now: epoch seconds.
    :arg before: for how many seconds what the service said at its end counts longer, of one that has ended.
    """
    patterns = {kind: words.client for kind, words in WORDS.items()}
    return _last(log, now, before, patterns)


def as_server(log: str, now: float, kind: str) -> Refusal | None:
    """Return what the log of a server of this kind says of logins of others; see `as_client`."""
    pattern = WORDS[kind].server
    return _last(log, now, 0.0, {kind: pattern}) if pattern else None


def _last(log: str, now: float, before: float, patterns: dict[str, re.Pattern[str]]) -> Refusal | None:
    found: Refusal | None = None
    for line in log.splitlines():
        at, _unused, text = line.partition(" ")
        age = seconds_since(at, now)
        if age is None or age > LATELY_SECONDS + before:
            continue
        for kind, pattern in patterns.items():
            if match := pattern.search(text):
                found = _next(found, kind, match)
                break
    return found


def _next(before: Refusal | None, kind: str, match: re.Match[str]) -> Refusal:
    """The refusal that a line adds to those before it. Of several lines about one, not each names the user."""
    named = next((str(name) for name in match.groupdict().values() if name), "")
    known = before.user if before and before.kind == kind else ""
    return Refusal(kind, named or known, _words(match.string[match.start() :]), before.times + 1 if before else 1)


def _words(text: str) -> str:
    """The first words of a text. None is cut: of a secret, a part would not be found to be one."""
    if len(text) <= _LONGEST:
        return text.strip()
    return text[:_LONGEST].rpartition(" ")[0] + " …"
