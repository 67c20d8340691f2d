#!/usr/bin/env bash
# PgBouncer 1.18.0 and PostgreSQL 15.20 (Debian 12): one query while the database restarts, and everyone is turned away for 15 s.
# Expected: once PostgreSQL answers again, so does PgBouncer, to the next client at the latest: it opens a connection when it needs one.
# Seen: the query that came first waits 15 s (server_login_retry) and then works; those that come after the restart fail at once with
# "server login has been failing", although the database is up. A health check through PgBouncer calls it dead for that long.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "run this as root: PostgreSQL is started as nobody" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download postgresql-15=15.20-0+deb12u1 postgresql-client-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 \
    pgbouncer=1.18.0-1+deb12u1 libc-ares2=1.18.1-3 \
    libevent-2.1-7=2.1.12-stable-8+deb12u1 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
cat >ask.sh <<'SHELL'
set -euo pipefail
bin=$PWD/root/usr/lib/postgresql/15/bin
export LD_LIBRARY_PATH=$PWD/root/usr/lib/x86_64-linux-gnu
ask() {
    "$bin/psql" -h "$PWD/data" -p "$1" -U me -d postgres -Atc "select 'works'" 2>&1 |
        grep -o "works\\|server login has been failing" || true
}
start() {
    "$bin/postgres" -D data/db -k "$PWD/data" -c listen_addresses= -c port=5498 >>data/postgres.log 2>&1 &
    postgres=$!
    for _ in $(seq 100); do [ "$(ask 5498)" = works ] && break; sleep 0.1; done
}
cat >data/pgbouncer.ini <<INI
[databases]
postgres = host=$PWD/data port=5498 user=me
[pgbouncer]
listen_port = 6498
unix_socket_dir = $PWD/data
auth_type = any
INI
"$bin/initdb" -D data/db -U me -A trust >data/init.log 2>&1
start
root/usr/sbin/pgbouncer -q data/pgbouncer.ini 2>data/pgbouncer.log &
pgbouncer=$!
sleep 1
echo "before: $(ask 6498)"
kill -INT "$postgres"
wait "$postgres" || true
begin=$SECONDS
ask 6498 >data/first.txt &
first=$!
sleep 1
start
echo "database: $(ask 5498), through PgBouncer: $(ask 6498)"
sleep 5
echo "five seconds later: $(ask 6498)"
wait "$first"
echo "the query of the restart: $(cat data/first.txt), after $(((SECONDS - begin) / 5 * 5)) s"
echo "then: $(ask 6498)"
kill "$pgbouncer" "$postgres"
wait "$pgbouncer" "$postgres" || true
SHELL
install -d -o nobody -m 0700 data
chmod a+rx . && chmod -R a+rX root
su -s /bin/bash nobody -c 'bash ask.sh' | tee seen.txt
diff seen.txt - <<'TEXT'
before: works
database: works, through PgBouncer: server login has been failing
five seconds later: server login has been failing
the query of the restart: works, after 15 s
then: works
TEXT
