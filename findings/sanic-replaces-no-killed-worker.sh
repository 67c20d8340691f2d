#!/usr/bin/env bash
# Sanic 25.12.1 with two workers: a worker that is killed (SIGKILL, as by the kernel when memory is short) is not replaced, and when the
# last one is gone the main process stays, says nothing, and still takes connections.
# Expected: the manager starts another worker, or ends with an error, so that a restart policy can do so.
# Seen: no line in the log, the main process lives, and a request waits for ever: the container is "running".
set -euo pipefail
work=$(mktemp -d)
sanic=
end_all() { [ -z "$sanic" ] || kill -TERM "$sanic" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap end_all EXIT
python3 -m pip --quiet --disable-pip-version-check install --no-warn-script-location --target "$work/lib" sanic==25.12.1 2>"$work/pip.log" ||
    { cat "$work/pip.log" >&2; exit 2; }
cd "$work"
export PYTHONPATH="$work/lib:$work"
cat >app.py <<'PY'
import os
from sanic import Sanic, text

app = Sanic("app")

@app.get("/")
async def home(_):
    return text(str(os.getpid()))
PY
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m sanic app:app --workers 2 --port "$port" >log 2>&1 &
sanic=$!
worker() { curl --silent --max-time 3 "http://127.0.0.1:$port/" || true; }
for _ in $(seq 150); do [ "$(grep -c 'Worker ready' log)" = 2 ] && break; sleep 0.1; done
lines=$(wc -l <log)
killed=0
for _ in 1 2; do
    pid=$(worker)
    [ -n "$pid" ] && kill -KILL "$pid" && killed=$((killed + 1))
    sleep 3
done
answer=$(curl --silent --max-time 3 --output /dev/null --write-out '%{http_code} %{time_connect}' "http://127.0.0.1:$port/" || true)
alive=$(kill -0 "$sanic" 2>/dev/null && echo lives || echo ended)
connected=$([ "${answer#* }" != 0.000000 ] && echo taken || echo refused)
echo "sanic 25.12.1, $killed workers killed: the main process $alive, a connection is $connected and gets ${answer% *};" \
    "new lines in its log: $(($(wc -l <log) - lines))"
[ "$killed" = 2 ] && [ "$alive" = lives ] && [ "$connected" = taken ] && [ "${answer% *}" = 000 ]
