#!/usr/bin/env bash
# gunicorn 27.0.1: its new control program `gunicornc` says "booted: false" of workers that serve, however long.
# Expected: `show workers` says true once a worker has answered a request.
# Seen: false for each, as the flag is set in the worker's own process alone; and after three workers were removed, `show stats` counts
# six killed, of four that were ever started. Who waits for "booted" after a deploy waits for ever.
set -euo pipefail
work=$(mktemp -d)
server=
end_all() { [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap end_all EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" gunicorn==27.0.1 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export PYTHONPATH="$work/lib:$work" HOME="$work"
unset XDG_RUNTIME_DIR
cat >app.py <<'PY'
import os

def app(_, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
PY
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/lib/bin/gunicorn" app:app --workers 1 --bind "127.0.0.1:$port" >log 2>&1 &
server=$!
control() { "$work/lib/bin/gunicornc" -c "$1" -j; }
field() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"of": json.load(sys.stdin)}))' "$1"; }
for _ in $(seq 100); do grep -q 'Control socket' log && break; sleep 0.1; done
answered=$(curl --silent --retry 20 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$port/")
sleep 3
booted=$(control 'show workers' | field "[(one['pid'] == $answered, one['booted']) for one in of['workers']]")
control 'worker add 3' >/dev/null
sleep 3
control 'worker remove 3' >/dev/null
sleep 3
counts=$(control 'show stats' | field "(of['workers_spawned'], of['workers_killed'])")
echo "gunicorn 27.0.1: (answered a request, booted) of each worker: $booted; (spawned, killed) after three were removed: $counts"
[ "$booted" = '[(True, False)]' ] && [ "$counts" = '(4, 6)' ]
