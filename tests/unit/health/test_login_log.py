# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log lines that report a refused login, of clients and of servers."""

from __future__ import annotations

import pytest

from ansible_collections.christmas.selfheal.plugins.module_utils.health import login_log

NOW = 1_767_323_045.0
JUST_NOW = "2026-01-02T03:04:04.678901234Z "

CLIENTS = [
    (
        'psycopg2.OperationalError: connection to server at "db" (10.0.0.2), port 5432 failed: '
        'FATAL:  password authentication failed for user "shop"',
        ("PostgreSQL", "shop"),
    ),
    ('error: password authentication failed for user "shop"', ("PostgreSQL", "shop")),
    (r'{"err":"FATAL: password authentication failed for user \"shop\" (SQLSTATE 28P01)"}', ("PostgreSQL", "shop")),
    ("    code: '28P01',", ("PostgreSQL", "")),
    ('org.postgresql.util.PSQLException: FATAL: role "shop" does not exist', ("PostgreSQL", "shop")),
    ('asyncpg.exceptions.InvalidAuthorizationSpecificationError: role "shop" does not exist', ("PostgreSQL", "shop")),
    ('FATAL:  no pg_hba.conf entry for host "10.0.0.3", user "shop", database "x"', ("PostgreSQL", "shop")),
    ("fe_sendauth: no password supplied", ("PostgreSQL", "")),
    ("SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string", ("PostgreSQL", "")),
    ("FATAL:  SASL authentication failed", ("PostgreSQL", "")),
    ('S-0x55: x/shop@10.0.0.2 server login failed: FATAL password authentication failed for user "shop"',
     ("PostgreSQL", "shop")),
    ("(1045, \"Access denied for user 'shop'@'10.0.0.3' (using password: YES)\")", ("MySQL", "shop")),
    ("code: 'ER_ACCESS_DENIED_ERROR',", ("MySQL", "")),
    ("redis.exceptions.AuthenticationError: invalid username-password pair or user is disabled.", ("Redis", "")),
    ("ReplyError: WRONGPASS invalid username-password pair", ("Redis", "")),
    ("redis.exceptions.ResponseError: NOAUTH Authentication required.", ("Redis", "")),
    ("pymongo.errors.OperationFailure: Authentication failed., full error: {'code': 18}", ("MongoDB", "")),
    ("MongoServerError: Authentication failed.", ("MongoDB", "")),
    ('auth error: sasl conversation error: unable to authenticate: (AuthenticationFailed) Authentication failed.',
     ("MongoDB", "")),
    ("403 (ACCESS-REFUSED) ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN", ("RabbitMQ", "")),
]  # fmt: skip
OTHERS = [
    # A statement that failed, and what users of the app mistyped.
    'ERROR:  role "reader" does not exist',
    'psycopg2.errors.UndefinedObject: role "reader" does not exist',
    "rest_framework.exceptions.AuthenticationFailed: Authentication failed for user bob",
    "ACCESS_REFUSED - access to queue 'x' in vhost '/' refused for user 'shop'",
    "LOG C-0x55: x/shop@10.0.0.9 closing because: SASL authentication failed",
    "connection refused",
]


@pytest.mark.parametrize(("line", "found"), CLIENTS)
def test_what_drivers_say_of_a_refused_login(line: str, found: tuple[str, str]) -> None:
    refusal = login_log.as_client(f"{JUST_NOW}start\n{JUST_NOW}{line}\n{JUST_NOW}the end", NOW)
    assert refusal is not None
    assert (refusal.kind, refusal.user, refusal.times) == (*found, 1)
    assert refusal.line
    assert refusal.line in line


@pytest.mark.parametrize("line", OTHERS)
def test_other_lines_are_not_about_a_login(line: str) -> None:
    assert login_log.as_client(JUST_NOW + line, NOW) is None


@pytest.mark.parametrize(
    ("kind", "line", "user"),
    [
        ("PostgreSQL", '2026 [29] FATAL:  password authentication failed for user "shop"', "shop"),
        # pg_isready without a user is refused by each server that has no role root.
        ("PostgreSQL", '2026 [29] FATAL:  role "root" does not exist', None),
        ("MySQL", "[Warning] Access denied for user 'shop'@'10.0.0.3' (using password: YES)", "shop"),
        ("MySQL", "[Warning] Access denied for user 'root'@'localhost' (using password: NO)", None),
        ("MongoDB", '{"msg":"Authentication failed","attr":{"user":"shop","remote":"10.0.0.3:5000"}}', "shop"),
        ("MongoDB", '{"msg":"Authentication failed","attr":{"user":"shop","remote":"127.0.0.1:5000"}}', None),
        ("RabbitMQ", "[warning] PLAIN login refused: user 'shop' - invalid credentials", "shop"),
        ("Redis", "Accepted 10.0.0.3:5000", None),
    ],
)
def test_what_servers_say_of_logins_from_other_containers(kind: str, line: str, user: str | None) -> None:
    found = login_log.as_server("\n".join([JUST_NOW + line] * 4), NOW, kind)
    assert (found and (found.user, found.times)) == (user and (user, 4))


@pytest.mark.parametrize(
    ("at", "before", "counts"),
    [
        ("2026-01-02T03:03:36Z", 0.0, True),
        ("2026-01-02T03:03:34Z", 0.0, False),
        ("2026-01-02T03:02:50Z", 60.0, True),
        ("not a time", 0.0, False),
    ],
)
def test_only_lately_counts(at: str, before: float, counts: bool) -> None:
    """A service that Docker starts again after a minute has said it before its end."""
    found = login_log.as_client(f"{at} WRONGPASS invalid username-password pair", NOW, before)
    assert bool(found) is counts


def test_the_user_is_that_of_the_newest_refusal_that_names_one() -> None:
    lines = [f'error: password authentication failed for user "{name}"' for name in ("old", "new")]
    found = login_log.as_client("\n".join(JUST_NOW + line for line in [*lines, "  code: '28P01',"]), NOW)
    assert found is not None
    assert (found.user, found.line, found.times) == ("new", "28P01',", 3)


def test_no_word_of_a_long_line_is_cut() -> None:
    """A secret of which only a part is shown would not be redacted."""
    secret = "Vq3mZk8TtPw2Lr9xHs5B"
    found = login_log.as_client(f"{JUST_NOW}postgres://x:{secret}@db WRONGPASS {'word ' * 21}{secret * 3} more", NOW)
    assert found is not None
    assert len(found.line) <= 122
    assert secret[:4] not in found.line


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("postgres", "PostgreSQL"),
        ("bitnami/postgresql", "PostgreSQL"),
        ("ghcr.io/shop/mysql", "MySQL"),
        ("mariadb", "MySQL"),
        ("valkey/valkey", "Redis"),
        ("mongo", "MongoDB"),
        ("rabbitmq", "RabbitMQ"),
        ("redis-shop/web", ""),
        ("shop", ""),
    ],
)
def test_the_kind_of_a_server_is_known_by_its_image(image: str, kind: str) -> None:
    assert login_log.kind_of(image) == kind
