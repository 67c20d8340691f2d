# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The databases of an app, by kind: the commands within a container that dump, load, ask and count one. Pure.

User, database and password come from the container's own environment, as its image's entrypoint reads them. They are
read there, by the shell that needs them: no password is in an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict, cast

KINDS = ("postgres", "mysql", "mariadb", "mongodb", "redis", "command")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The last line of a dump: a truncated one does not have it. Dumps in repositories end with this text, so it stays.
WHOLE = "selfheal: the dump is whole"


class BackupError(Exception):
    """A backup, or a restore, cannot be done as it was asked for; the message says why and what to do."""


class Row(TypedDict, total=False):
    """A row of `backup_databases`, as the inventory and the manifest of a backup have it.

    `password` and `dsn_variable` name variables of the app's env; `dump` and `load` are commands of kind `command`.
    """

    name: str
    kind: str
    service: str
    volume: str
    user: str
    database: str
    password: str
    dump: list[str]
    load: list[str]
    dsn_variable: str
    image: str
    schemas: list[str]


class Database(NamedTuple):
    """One database of the app, and how its service dumps and loads it: commands within the container.

    `secrets`: {variable of the commands' environment: variable of the app's env}. `volume`: the one that its dump
    fills, "" for the only one of the service. `who` prints the user and the database, a line each, nothing where
    neither is needed; `ready` succeeds when the server answers.
    `tables` prints how many tables there are, `rows` the number of rows of each, a line each.

    Of one on another server `service` is "", `dsn_variable` the variable of the app's env that says how it is reached,
    and `image` what it is dumped and verified with.
    """

    name: str
    kind: str
    service: str
    dump: list[str]
    load: list[str]
    secrets: dict[str, str]
    ask: list[str]
    volume: str = ""
    dsn_variable: str = ""
    image: str = ""
    who: Sequence[str] = ()
    ready: Sequence[str] = ()
    tables: Sequence[str] = ()
    rows: Sequence[str] = ()

    @property
    def part(self) -> str:
        """The part of a set that holds its dump."""
        return f"database:{self.name}"

    @property
    def file(self) -> str:
        """What the dump is called in its snapshot."""
        return f"{self.name}.dump"

    @property
    def scratch(self) -> str:
        """The service of a scratch project that takes the dump."""
        return self.service or f"remote.{self.name}"


# `first NAME...` prints the value of the first variable that is set, itself or by the file that NAME_FILE names.
_FIRST = r"""
first() {
    for name in "$@"; do
        eval "value=\${$name:-} file=\${${name}_FILE:-}"
        if test -z "$value" && test -n "$file"; then value=$(cat "$file"); fi
        if test -n "$value"; then printf %s "$value"; return; fi
    done
}
"""
# `choose FALLBACK`, of the databases in `$known`: the one that is given as `$2`, else the one of the row's name (`$3`).
_CHOOSE = r"""
has() { printf '%s\n' "$known" | grep -Fqx -- "$1"; }
choose() {
    database=$2
    if test -z "$database" && has "$3"; then database=$3; fi
    database=${database:-$4}
    if ! has "$database"; then
        echo "error: the server has no database '${database:-$3}'; it has" $known >&2
        exit 1
    fi
    printf '%s\n' "$user" "$database"
}
"""

# --- PostgreSQL: `$1` is the user, `$2` the database ------------------------------------------------------------------

# Whether a password is needed within the container is up to pg_hba.conf.
_POSTGRES = (
    _FIRST
    + r"""
user=${1:-$(first POSTGRES_USER)}
user=${user:-postgres}
PGPASSWORD=${PGPASSWORD:-$(first POSTGRES_PASSWORD)}
export PGPASSWORD
"""
)
_POSTGRES_WHO = (
    _POSTGRES
    + _CHOOSE
    + r"""
known=$(psql -X -A -t -U "$user" -d template1 -c 'SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1')
default=$(first POSTGRES_DB)
choose "$@" "${default:-$user}"
"""
)
_POSTGRES_READY = _POSTGRES + r"""psql -X -q -A -t -U "$user" -d template1 -c 'SELECT 1' >/dev/null"""
# Roles first: those that exist already are no error.
_POSTGRES_DUMP = (
    _POSTGRES
    + r"""
printf '%s\n' '\set ON_ERROR_STOP off'
pg_dumpall -U "$user" --globals-only
printf '%s\n' '\set ON_ERROR_STOP on'
pg_dump -U "$user" --create --clean --if-exists "$2"
"""
    + rf"printf '%s\n' '\echo {WHOLE}'"
)
# Nothing may be connected to a database that is replaced. What has no last line was cut off. That a role is there
# already says nothing: the entrypoint has made it.
_POSTGRES_LOAD = (
    _POSTGRES
    + rf"""
{{
    {{ psql -X -q -v ON_ERROR_STOP=1 -U "$user" -d template1 2>&1 >&3 || echo "psql ended with code $?"; }} |
        grep -v 'ERROR:  role ".*" already exists$' >&2
}} 3>&1 | grep -qx '{WHOLE}'
"""
)
_POSTGRES_ASK = _POSTGRES + r"""exec psql -X -q -A -t -U "$user" -d "$2" -c "$3" """
_POSTGRES_TABLES = (
    "FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND relpersistence <> 't' \
AND nspname NOT IN ('pg_catalog', 'information_schema')"
)
_POSTGRES_COUNT = _POSTGRES + f"""exec psql -X -q -A -t -U "$user" -d "$2" -c "SELECT count(*) {_POSTGRES_TABLES}" """
_POSTGRES_ROWS = (
    _POSTGRES
    + rf"""
printf '%s\n' "SELECT format('SELECT count(*) FROM ONLY %I.%I', nspname, relname) {_POSTGRES_TABLES} \\gexec" |
    psql -X -q -A -t -v ON_ERROR_STOP=1 -U "$user" -d "$2"
"""
)
# restic compresses, and finds what it has already: in what is compressed it would find nothing.
_REMOTE_DUMP = ["pg_dump", "--format=custom", "--compress=0"]
# A dump of another server refers to what is not in it: roles, extensions, schemas that the user must not dump. What
# cannot be created without them (a policy, a foreign key) is reported. A table or rows that cannot be loaded are a
# failure, and so is a truncated dump.
_REMOTE_LOAD = r"""
code=0
pg_restore --dbname=postgres --no-owner --no-privileges 2>/tmp/said || code=$?
test "$code" = 0 || tail -n 1 /tmp/said | grep -q 'errors ignored on restore' || { cat /tmp/said >&2; exit "$code"; }
if grep -m 1 -A 1 'from TOC entry [0-9]*; [0-9]* [0-9]* \(TABLE\|SEQUENCE\|BLOB\)' /tmp/said; then exit 1; fi
grep 'pg_restore: error' /tmp/said || true
"""

# --- MySQL and MariaDB: `$1` is the user, `$2` the database -----------------------------------------------------------

# The programs carry the name of one or the other. MYSQL_PWD is read by both; it is in no list of arguments.
_MYSQL = (
    _FIRST
    + r"""
program() {
    for name in "$@"; do
        if command -v "$name" >/dev/null 2>&1; then break; fi
    done
    printf %s "$name"
}
client=$(program mariadb mysql)
dumper=$(program mariadb-dump mysqldump)
own=$(first MARIADB_USER MYSQL_USER)
root=$(first MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD)
user=$1
if test -z "$user"; then
    user=root
    if test -z "$root" && test -n "$own"; then user=$own; fi
fi
if test -z "${MYSQL_PWD:-}"; then
    if test "$user" = root; then MYSQL_PWD=$root; fi
    if test "$user" = "$own"; then MYSQL_PWD=$(first MARIADB_PASSWORD MYSQL_PASSWORD); fi
fi
export MYSQL_PWD
ask() { "$client" --user="$user" --default-character-set=utf8mb4 --batch --skip-column-names --raw "$@"; }
"""
)
_MYSQL_WHO = (
    _MYSQL
    + _CHOOSE
    + r"""
known=$(ask -e "SELECT schema_name FROM information_schema.schemata
    WHERE schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')")
choose "$@" "$(first MARIADB_DATABASE MYSQL_DATABASE)"
"""
)
_MYSQL_READY = _MYSQL + "ask -e 'SELECT 1' >/dev/null"
# The other users, with their rights; a user who must not read them dumps the database alone. The health check's own
# user is made by the entrypoint, with a password of its own.
_MYSQL_DUMP = (
    _MYSQL
    + r"""
has() { "$dumper" --help | grep -q -e "$1"; }
set -- "$2" --single-transaction --quick --routines --triggers --events --hex-blob --no-tablespaces
if has --set-gtid-purged; then set -- "$@" --set-gtid-purged=OFF; fi
database=$1
shift
"$dumper" --user="$user" --default-character-set=utf8mb4 "$@" --add-drop-database --databases "$database"
if ask -e 'SELECT 1 FROM mysql.user LIMIT 1' >/dev/null 2>&1; then
    if has --system; then
        users=$("$dumper" --user="$user" --default-character-set=utf8mb4 --system=users --insert-ignore)
    else
        users=$(ask -e "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user WHERE user NOT LIKE 'mysql.%'" |
            while read -r one; do
                made=$(ask -e "SET print_identified_with_as_hex = ON; SHOW CREATE USER $one")
                printf 'CREATE USER IF NOT EXISTS %s;
' "${made#CREATE USER }"
                printf 'ALTER USER %s;
' "$(printf %s "${made#CREATE USER }" | sed 's/ DEFAULT ROLE [^ ]*//')"
                ask -e "SHOW GRANTS FOR $one" | sed 's/$/;/'
            done)
    fi
    printf '%s
' "$users" | grep -v 'healthcheck.@'
fi
"""
    + f"""printf '%s\n' "SELECT '{WHOLE}';" """
)
_MYSQL_LOAD = _MYSQL + f"ask | grep -qx '{WHOLE}'"
_MYSQL_ASK = _MYSQL + r"""ask --database="$2" -e "$3" """
_MYSQL_TABLES = "FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type LIKE '%TABLE' \
OR table_schema = DATABASE() AND table_type = 'SYSTEM VERSIONED'"
_MYSQL_COUNT = _MYSQL + f"""ask --database="$2" -e "SELECT COUNT(*) {_MYSQL_TABLES}" """
_MYSQL_ROWS = (
    _MYSQL
    + rf"""
quoted="REPLACE(table_name, '\`', '\`\`')"
ask --database="$2" -e "SELECT CONCAT('SELECT COUNT(*) FROM \`', $quoted, '\`;') {_MYSQL_TABLES}" | ask --database="$2"
"""
)

# --- MongoDB: `$1` is the user, `$2` the database, "" for all --------------------------------------------------------

# The tools read the password from a file in YAML: the shell's pipe is one. What a shell of MongoDB reads, it evaluates.
_MONGO = (
    _FIRST
    + r"""
user=${1:-$(first MONGO_INITDB_ROOT_USERNAME)}
password=${MONGO_PASSWORD:-$(first MONGO_INITDB_ROOT_PASSWORD)}
tool() {
    name=$1
    shift
    if test -z "$user"; then "$name" "$@"; return; fi
    "$name" --config=/dev/fd/3 --username="$user" --authenticationDatabase=admin "$@" 3<<END
password: '$(printf %s "$password" | sed "s/'/''/g")'
END
}
ask() {
    client=mongosh
    command -v mongosh >/dev/null 2>&1 || client=mongo
    export MONGO_USER="$user" MONGO_PASSWORD="$password" MONGO_DATABASE="$2"
    "$client" --quiet --norc --eval "$MONGO_ENTER$1"
}
MONGO_ENTER='
    const given = (name) => typeof process === "undefined" ? _getEnv(name) : process.env[name] || "";
    if (given("MONGO_USER")) db.getSiblingDB("admin").auth(given("MONGO_USER"), given("MONGO_PASSWORD"));
    db = db.getSiblingDB(given("MONGO_DATABASE") || "test");
'
MONGO_COUNT='
    const names = [], counts = [];
    for (const one of db.adminCommand({listDatabases: 1, nameOnly: true}).databases)
        if (!["admin", "config", "local"].includes(one.name)) names.push(one.name);
    for (const name of given("MONGO_DATABASE") ? [given("MONGO_DATABASE")] : names)
        for (const one of db.getSiblingDB(name).getCollectionInfos({type: "collection"}))
            if (!one.name.startsWith("system."))
                counts.push(db.getSiblingDB(name).getCollection(one.name).countDocuments({}));
'
"""
)
_MONGO_WHO = (
    _MONGO
    + r"""
known=$(ask "$MONGO_COUNT names.join('\n')" "")
if test -n "$2" && ! printf '%s\n' "$known" | grep -Fqx -- "$2"; then
    echo "error: the server has no database '$2'; it has" $known >&2
    exit 1
fi
printf '%s\n' "$user" "$2"
"""
)
_MONGO_READY = _MONGO + r"""ask 'db.adminCommand({ping: 1}).ok' "" | grep -qx 1"""
_MONGO_DUMP = _MONGO + r"""tool mongodump --quiet --archive ${2:+--db="$2"}"""
# What is there already of what the archive holds is dropped; an archive that was cut off is an error of the tool.
_MONGO_LOAD = _MONGO + "tool mongorestore --quiet --archive --drop --stopOnError"
_MONGO_ASK = _MONGO + r"""ask "$3" "$2" """
_MONGO_TABLES = _MONGO + r"""ask "$MONGO_COUNT counts.length" "$2" """
_MONGO_ROWS = _MONGO + r"""ask "$MONGO_COUNT counts.join('\n')" "$2" """

# --- Redis -----------------------------------------------------------------------------------------------------------

_REDIS = _FIRST + "REDISCLI_AUTH=${REDISCLI_AUTH:-$(first REDIS_PASSWORD VALKEY_PASSWORD)}\nexport REDISCLI_AUTH\n"
_REDIS_WHO = (
    _REDIS
    + r"""
answer=$(redis-cli --raw PING 2>&1) || true
case $answer in
    *PONG) printf '\n\n' ;;
    *) printf 'error: %s\n' "$answer" >&2; exit 1 ;;
esac
"""
)
# The dump is served by a second Redis, of which the first becomes the replica: that works with and without AOF, and a
# dump that is cut off, or damaged, is not loaded.
_REDIS_LOAD = (
    _REDIS
    + r"""
set -eu
cd "$(redis-cli --raw CONFIG GET dir | sed -n 2p)"
trap 'rm -f selfheal-load.rdb; redis-cli REPLICAOF NO ONE >/dev/null; kill $second 2>/dev/null || true' EXIT
second=
cat >selfheal-load.rdb
set -- --port 16379 --bind 127.0.0.1 --appendonly no --save '' --repl-diskless-sync-delay 0
redis-server "$@" --dir "$PWD" --dbfilename selfheal-load.rdb >/dev/null &
second=$!
tries=0
until REDISCLI_AUTH= redis-cli -p 16379 ping 2>/dev/null | grep -q PONG; do
    kill -0 $second || { echo 'Redis does not take the dump: it is damaged, or not whole' >&2; exit 1; }
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli REPLICAOF 127.0.0.1 16379 >/dev/null
until redis-cli INFO replication | grep -q master_link_status:up; do
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli REPLICAOF NO ONE >/dev/null
while redis-cli INFO persistence | grep -q 'aof_rewrite_in_progress:1\|aof_rewrite_scheduled:1'; do
    tries=$((tries + 1)); test $tries -lt 6000; sleep 0.1
done
redis-cli SAVE >/dev/null
"""
)

# What tables and their rows are called, by kind.
_UNITS = {"mongodb": ("collections", "documents"), "redis": ("databases", "keys")}


def held(kind: str, counts: Sequence[int]) -> str:
    """What a loaded database holds, in words."""
    tables, rows = _UNITS.get(kind, ("tables", "rows"))
    return f"{len(counts)} {tables}, {sum(counts)} {rows}"


def differs(database: Database, tables: int, dumped: Sequence[int]) -> str:
    """Say that a dump loaded another number of tables than its server had before and after it, "" when it did not."""
    if not dumped or min(dumped) <= tables <= max(dumped):
        return ""
    unit = _UNITS.get(database.kind, ("tables", ""))[0]
    return f"database {database.name}: {tables} {unit} were loaded, and its server had {max(dumped)} when it was dumped"


# What to do about a server that refuses the login, by kind.
_FIXES = {
    "postgres": "write `user: NAME`, a superuser, or `database: NAME`, or `password: VARIABLE`, into its row",
    "mysql": "write `user: NAME`, or `database: NAME`, or `password: VARIABLE`, into its row",
    "mariadb": "write `user: NAME`, or `database: NAME`, or `password: VARIABLE`, into its row",
    "mongodb": "write `user: NAME` and `password: VARIABLE`, or `database: NAME`, into its row",
    "redis": "write `password: VARIABLE` into its row, the variable of the app's env that holds the password",
}


def cannot_enter(database: Database, reason: str) -> str:
    """Say that a server refuses the login, and which line of the row corrects that."""
    fix = _FIXES.get(database.kind, "correct its row")
    return f"backup_databases ({database.name}): service {database.service}: {reason}. Fix: {fix}"


# --- the table of the inventory --------------------------------------------------------------------------------------


def read_databases(given: object) -> list[Database]:
    """Read `backup_databases`. Raises BackupError, which names the row and the fix."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BackupError(
            "backup_databases: expected a list. Fix: write - {name: shop, kind: postgres, service: database}"
        )
    found: list[Database] = []
    for number, one in enumerate(given, 1):
        where = f"backup_databases, row {number}"
        if not isinstance(one, Mapping):
            raise BackupError(
                f"{where}: expected a mapping. Fix: write {{name: shop, kind: postgres, service: database}}"
            )
        row = cast(Row, one)
        name, kind, service = (str(one.get(key) or "") for key in ("name", "kind", "service"))
        if not _NAME.fullmatch(name) or name in [database.name for database in found]:
            raise BackupError(f"{where}: `name` is {name!r}. Fix: write a name of its own, of letters, digits, - and _")
        if kind not in KINDS:
            raise BackupError(f"{where} ({name}): `kind` is {kind!r}. Fix: write one of {', '.join(KINDS)}")
        if "dsn_variable" in row:
            found.append(_remote(f"{where} ({name})", name, kind, row))
            continue
        if not service:
            raise BackupError(
                f"{where} ({name}): `service` is missing. Fix: name the service of the compose file; for a PostgreSQL "
                "on another server write `dsn_variable` and `image`"
            )
        known = {"name", "kind", "service", "volume", "user", "database", "password", "dump", "load"}
        for key in row:
            if key not in known:
                raise BackupError(f"{where} ({name}): unknown key `{key}`. Fix: remove it")
        found.append(_database(where, name, kind, service, row)._replace(volume=str(row.get("volume") or "")))
    return found


def _shell(script: str, *given: str) -> list[str]:
    return ["sh", "-ec", script, "sh", *given]


def _database(where: str, name: str, kind: str, service: str, row: Row) -> Database:
    password = str(row.get("password") or "")
    user, database = str(row.get("user") or ""), str(row.get("database") or "")
    if kind == "postgres":
        return Database(
            name,
            kind,
            service,
            dump=_shell(_POSTGRES_DUMP, user, database or name),
            load=_shell(_POSTGRES_LOAD, user),
            secrets={"PGPASSWORD": password} if password else {},
            ask=_shell(_POSTGRES_ASK, user, database or name),
            who=_shell(_POSTGRES_WHO, user, database, name),
            ready=_shell(_POSTGRES_READY, user),
            tables=_shell(_POSTGRES_COUNT, user, database or name),
            rows=_shell(_POSTGRES_ROWS, user, database or name),
        )
    if kind in ("mysql", "mariadb"):
        return Database(
            name,
            kind,
            service,
            dump=_shell(_MYSQL_DUMP, user, database or name),
            load=_shell(_MYSQL_LOAD, user),
            secrets={"MYSQL_PWD": password} if password else {},
            ask=_shell(_MYSQL_ASK, user, database or name),
            who=_shell(_MYSQL_WHO, user, database, name),
            ready=_shell(_MYSQL_READY, user),
            tables=_shell(_MYSQL_COUNT, user, database or name),
            rows=_shell(_MYSQL_ROWS, user, database or name),
        )
    if kind == "mongodb":
        return Database(
            name,
            kind,
            service,
            dump=_shell(_MONGO_DUMP, user, database),
            load=_shell(_MONGO_LOAD, user),
            secrets={"MONGO_PASSWORD": password} if password else {},
            ask=_shell(_MONGO_ASK, user, database),
            who=_shell(_MONGO_WHO, user, database),
            ready=_shell(_MONGO_READY, user),
            tables=_shell(_MONGO_TABLES, user, database),
            rows=_shell(_MONGO_ROWS, user, database),
        )
    if kind == "redis":
        return Database(
            name,
            kind,
            service,
            dump=_shell(_REDIS + "exec redis-cli --rdb -"),
            load=_shell(_REDIS_LOAD),
            secrets={"REDISCLI_AUTH": password} if password else {},
            ask=_shell(_REDIS + 'exec redis-cli --raw "$@"'),
            who=_shell(_REDIS_WHO),
            rows=_shell(_REDIS + r"redis-cli INFO keyspace | sed -n 's/^db[0-9]*:keys=\([0-9]*\).*/\1/p'"),
        )
    commands = {}
    given: Mapping[str, object] = row
    for key in ("dump", "load"):
        words = given.get(key)
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise BackupError(f"{where} ({name}): `{key}`: expected a list of words. Fix: write [my-dump, --to-stdout]")
        commands[key] = list(words)
    return Database(name, kind, service, commands["dump"], commands["load"], {}, [])


def _remote(where: str, name: str, kind: str, row: Row) -> Database:
    """A PostgreSQL on another server."""
    if row.get("service"):
        raise BackupError(
            f"{where}: has both `service` and `dsn_variable`. Fix: keep `service` when it runs in the compose file, "
            "`dsn_variable` when it is on another server"
        )
    if kind != "postgres":
        raise BackupError(f"{where}: `dsn_variable` is for kind postgres only. Fix: remove it, or write kind: postgres")
    for key in row:
        if key not in ("name", "kind", "dsn_variable", "image", "schemas"):
            raise BackupError(f"{where}: unknown key `{key}` of a database on another server. Fix: remove it")
    variable, image, schemas = str(row["dsn_variable"] or ""), str(row.get("image") or ""), row.get("schemas") or []
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise BackupError(
            f"{where}: `dsn_variable` is not the name of a variable. Fix: write the name of the variable of the app's "
            "env that holds the DSN, and the DSN only there"
        )
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9._/:@-]*", image):
        raise BackupError(
            f"{where}: `image` is {image!r}. Fix: name an image of PostgreSQL, of the server's major version or a "
            "newer one, such as postgres:17"
        )
    if not isinstance(schemas, list) or not all(isinstance(one, str) and one for one in schemas):
        raise BackupError(f"{where}: `schemas`: expected a list of names. Fix: write [public]")
    dump = [*_REMOTE_DUMP, *(["--strict-names"] if schemas else []), *(f"--schema={one}" for one in schemas)]
    load, ask = ["sh", "-ec", _REMOTE_LOAD], ["psql", "-X", "-q", "-A", "-t", "-c"]
    return Database(name, kind, "", dump, load, {}, ask, dsn_variable=variable, image=image)
