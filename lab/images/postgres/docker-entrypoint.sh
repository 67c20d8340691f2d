#!/usr/bin/env bash
# Does what the official image of PostgreSQL does before the server runs. As root: create the folders, give them to postgres,
# drop privileges. As postgres, in an empty volume: initdb, then a first server on the socket alone, which runs the files of
# /docker-entrypoint-initdb.d and is stopped. Then the real server, in this process.
set -euo pipefail

say() { printf '\n%s\n\n' "$*"; }
die() { printf 'Error: %s\n' "$*" >&2; exit 1; }

# NAME, or the content of the file that NAME_FILE names, or a default.
value() {
    local file=${1}_FILE
    if [ -n "${!1:-}" ] && [ -n "${!file:-}" ]; then die "both $1 and $file are set (but are exclusive)"; fi
    if [ -n "${!file:-}" ]; then
        printf -v "$1" '%s' "$(<"${!file}")"
    elif [ -z "${!1:-}" ]; then
        printf -v "$1" '%s' "${2:-}"
    fi
    export "${1?}"
    unset "$file"
}

folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 00700 "$PGDATA" || :
    chmod 03775 /var/run/postgresql || :
    [ "$(id -u)" = 0 ] || return 0
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
}

first_server() { # start | stop
    if [ "$1" = start ]; then
        PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    else
        PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
    fi
}

sql() { PGPASSWORD=$POSTGRES_PASSWORD psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password "$@"; }

first_init() {
    local auth=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} script
    [ -n "$POSTGRES_PASSWORD" ] || [ "$auth" = trust ] \
        || die 'the database is empty and has no superuser password: set POSTGRES_PASSWORD to a value that is not empty'
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") >/dev/null
    printf '\nhost all all all %s\n' "$auth" >>"$PGDATA/pg_hba.conf"
    first_server start
    if [ "$POSTGRES_DB" != postgres ]; then
        sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh) echo "$0: running $script"; bash "$script" ;;
            *.sql) echo "$0: running $script"; sql --dbname "$POSTGRES_DB" -f "$script" ;;
        esac
    done
    first_server stop
    say 'PostgreSQL init process complete; ready for start up.'
}

[ "${1:0:1}" != - ] || set -- postgres "$@"
if [ "$1" = postgres ]; then
    value POSTGRES_PASSWORD
    value POSTGRES_USER postgres
    value POSTGRES_DB "$POSTGRES_USER"
    folders
    if [ "$(id -u)" = 0 ]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
    if [ -s "$PGDATA/PG_VERSION" ]; then
        say 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
    else
        first_init
    fi
fi
exec "$@"
