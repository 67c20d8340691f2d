#!/usr/bin/env bash
# Uvicorn 0.54.0: a worker whose event loop is blocked passes the parent's health check for as long as it is blocked.
# Expected: with --timeout-worker-healthcheck 1, a worker that answers nothing for 8 s is killed and replaced, as by Gunicorn's --timeout.
# Seen: the blocked worker stays; one that is stopped (SIGSTOP) is replaced. The question is answered by a thread beside the loop, so a
# deadlock or a call that never comes back keeps a worker that takes connections and serves none.
set -euo pipefail
work=$(mktemp -d)
server=
clean_up() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } || true
    rm -rf "$work"
}
trap clean_up EXIT
pip install --quiet --target "$work/pip" uvicorn==0.54.0 2>/dev/null
cd "$work"
cat >app.py <<'PYTHON'
import os
import time


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/block":
        time.sleep(8)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
PYTHON
PYTHONPATH=$work/pip python3 -m uvicorn --port 18706 --workers 2 --timeout-worker-healthcheck 1 app:app 2>server.log >access.log &
server=$!
ask() { curl -s -m 20 "http://127.0.0.1:18706/${1:-}"; }
replaced() { grep -c "Child process \[$worker\] died" server.log || true; }
for _ in $(seq 100); do ask >first.txt && break; sleep 0.1; done
sleep 1
worker=$(ask block)
blocked=$(replaced)
kill -STOP "$worker"
for _ in $(seq 100); do [ "$(replaced)" = 0 ] || break; sleep 0.1; done
echo "replaced while blocked for 8 s: $blocked, while stopped: $(replaced)"
[ "$blocked $(replaced)" = "0 1" ]
