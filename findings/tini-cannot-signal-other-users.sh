#!/usr/bin/env bash
# tini (Debian's package; the engine's own docker-init is the same program): as root without CAP_KILL, it cannot hand a
# stop signal on to a child that became another user, and then it exits itself.
# Expected: an init that is root forwards SIGTERM to its child, as it does with all capabilities, and waits for its end.
# Seen: "Unexpected error when forwarding signal: 'Operation not permitted'", exit code 1 at once. In a container the
# kernel then kills the server in the middle of its work, at every stop. With CAP_KILL the child ends by itself (0).
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "run this as root" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq tini >/dev/null
dpkg -x tini_*.deb tini
"$work/tini/usr/bin/tini" --version
cat >server.sh <<'SH'
trap 'echo "the server ended by itself"; exit 0' TERM
while :; do sleep 0.1; done
SH
chmod 755 "$work" server.sh

# stop DROPPED: starts the server under tini without the capabilities DROPPED, stops it, prints the exit code of tini.
stop() {
    setpriv --bounding-set="$1" --inh-caps="$1" "$work/tini/usr/bin/tini" -s -- \
        setpriv --reuid=65534 --regid=65534 --clear-groups sh "$work/server.sh" >out 2>&1 &
    local tini=$! code=0
    sleep 1
    kill -TERM "$tini"
    wait "$tini" || code=$?
    cat out >&2
    echo "$code"
}

without=$(stop -kill)
# Only the server of this run, which its tini has left behind.
pgrep -f "$work/server.sh" | xargs --no-run-if-empty kill -KILL
with=$(stop -sys_time)
echo "without CAP_KILL: $without, with it: $with"
[ "$without" = 1 ] && [ "$with" = 0 ]
